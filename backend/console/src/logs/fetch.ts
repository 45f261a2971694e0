/** The log records and their volume from the server. */

import { type Log, rows } from '../api.ts';
import { LEVELS, levelOf } from '../colour.ts';
import { milliseconds } from '../format.ts';
import { bin, literal, type LogFilter, logConditions, step, timestamp, where } from '../query.ts';
import type { Span } from '../range.ts';

/** Records of a page of the list. */
export const PAGE = 1000;
/** Records that the list holds at most: beyond it the reader narrows the range. */
export const MOST = 20_000;
const BARS = 90;

const COLUMNS =
  'time, observed_time, level, severity_text, service, host, source, event_name, body, trace_id, span_id, pattern_id, attributes, resource_attributes, scope_name, scope_version';

const between = ({ from, to }: Span) => [`time >= ${timestamp(from)}`, `time < ${timestamp(to)}`];

/** The query behind the list, as the SQL page shows it. */
export function listSql(filter: LogFilter, span: Span, before?: string): string {
  const conditions = [...between(span), ...(before ? [`time <= TIMESTAMP ${literal(before)}`] : []), ...logConditions(filter)];
  return `SELECT ${COLUMNS}\nFROM logs\n${where(conditions)}\nORDER BY time DESC`;
}

const key = (log: Log) => JSON.stringify(log);

/** The records before the last of `known`, newest first; all the newest where it is empty. */
export async function fetchLogs(filter: LogFilter, span: Span, known: readonly Log[], signal: AbortSignal): Promise<Log[]> {
  const last = known.at(-1)?.time;
  if (!last) return rows<Log>(`${listSql(filter, span)}\nLIMIT ${PAGE}`, PAGE, signal);
  // Records of the same nanosecond may lie on both pages: those that are known are taken out, each once.
  const same = new Map<string, number>();
  let ties = 0;
  for (let i = known.length - 1; i >= 0 && known[i]?.time === last; i -= 1) {
    const text = key(known[i] as Log);
    same.set(text, (same.get(text) ?? 0) + 1);
    ties += 1;
  }
  const limit = Math.min(10_000, PAGE + ties);
  const found = await rows<Log>(`${listSql(filter, span, last)}\nLIMIT ${limit}`, limit, signal);
  return found.filter((log) => {
    const left = log.time === last ? (same.get(key(log)) ?? 0) : 0;
    if (left > 0) same.set(key(log), left - 1);
    return left === 0;
  });
}

export interface Volume {
  times: number[];
  step: number;
  total: number;
  series: { label: string; colour: string; values: number[] }[];
}

/** How many records of each level lie in each bin of the range. */
export async function fetchVolume(filter: LogFilter, span: Span, signal: AbortSignal): Promise<Volume> {
  const seconds = step(span.to - span.from, BARS);
  const conditions = where([...between(span), ...logConditions(filter)]);
  const found = await rows<{ t: string; level: string; n: number }>(
    `SELECT ${bin(seconds)} AS t, level, count(*) AS n FROM logs ${conditions} GROUP BY 1, 2`,
    10_000,
    signal,
  );
  const first = Math.floor(span.from / 1000 / seconds) * seconds;
  const length = Math.max(1, Math.ceil((span.to / 1000 - first) / seconds));
  const times = Array.from({ length }, (_, i) => first + i * seconds);
  const series = LEVELS.map((level) => ({ label: level, colour: `--${level}`, values: times.map(() => 0) }));
  let total = 0;
  for (const { t, level, n } of found) {
    const at = Math.round((milliseconds(t) / 1000 - first) / seconds);
    const values = series[LEVELS.indexOf(levelOf(level))]?.values;
    if (values && at in values) values[at] = (values[at] ?? 0) + Number(n);
    total += Number(n);
  }
  return { times, step: seconds, total, series };
}
