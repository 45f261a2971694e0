/** How often the patterns that were found came in each stretch of the range. */

import { rows, type SearchFilter } from '../api.ts';
import { milliseconds } from '../format.ts';
import { bin, literal, step, timestamp, where } from '../query.ts';
import type { Span } from '../range.ts';

/** Bars of a small chart. */
const BARS = 40;

/** Counts by pattern, one for each bar from the start of the range. */
export type Counts = ReadonlyMap<string, readonly number[]>;

/** Asks for them; no patterns have none. */
export async function fetchCounts(patterns: readonly string[], { service, level }: SearchFilter, { from, to }: Span, signal: AbortSignal): Promise<Counts> {
  const counts = new Map<string, number[]>();
  if (patterns.length === 0) return counts;
  const seconds = step(to - from, BARS);
  const levels = level === 'WARN' || level === 'WARNING' ? ['WARN', 'WARNING'] : [level];
  const conditions = [
    `pattern_id IN (${patterns.map(literal).join(', ')})`,
    `time >= ${timestamp(from)}`,
    `time < ${timestamp(to)}`,
    ...(service ? [`service = ${literal(service)}`] : []),
    ...(level ? [`level IN (${levels.map(literal).join(', ')})`] : []),
  ];
  const text = `SELECT pattern_id, ${bin(seconds)} AS time, count(*) AS n FROM logs ${where(conditions)} GROUP BY 1, 2`;
  const width = seconds * 1000;
  const first = Math.floor(from / width);
  const bars = Math.min(10 * BARS, Math.floor((to - 1) / width) - first + 1);
  for (const { pattern_id, time, n } of await rows<{ pattern_id: string; time: string; n: number }>(text, 10_000, signal)) {
    const known = counts.get(pattern_id) ?? new Array<number>(bars).fill(0);
    const place = Math.floor(milliseconds(time) / width) - first;
    if (place >= 0 && place < bars) known[place] = (known[place] ?? 0) + Number(n);
    counts.set(pattern_id, known);
  }
  return counts;
}
