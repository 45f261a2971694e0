/** Ranges of time: relative to now or fixed. */

/** `from` and `to` are `now`, `now-15m` or milliseconds since the epoch as text. */
export interface Range {
  from: string;
  to: string;
}

/** A range that is resolved, in milliseconds since the epoch. */
export interface Span {
  from: number;
  to: number;
}

const UNITS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

export const PRESETS: readonly { label: string; from: string }[] = [
  { label: '5 min', from: 'now-5m' },
  { label: '15 min', from: 'now-15m' },
  { label: '1 h', from: 'now-1h' },
  { label: '6 h', from: 'now-6h' },
  { label: '24 h', from: 'now-24h' },
  { label: '7 d', from: 'now-7d' },
  { label: '30 d', from: 'now-30d' },
];

export const LAST_QUARTER: Range = { from: 'now-15m', to: 'now' };

/** A point of time in milliseconds; null where the text is none. */
export function point(text: string, now: number): number | null {
  const relative = /^now(?:-(\d{1,6})([smhd]))?$/.exec(text);
  if (relative) return now - Number(relative[1] ?? 0) * (UNITS[relative[2] ?? 's'] ?? 0);
  if (/^\d{12,14}$/.test(text)) return Number(text);
  const date = Date.parse(text);
  return Number.isNaN(date) ? null : date;
}

/** The range now; the last quarter of an hour where it says nothing sensible. */
export function resolve(range: Range, now = Date.now()): Span {
  const from = point(range.from, now);
  const to = point(range.to, now);
  return from !== null && to !== null && from < to ? { from, to } : { from: now - 900_000, to: now };
}

/** Whether the range moves with the clock. */
export function isLive(range: Range): boolean {
  return range.to === 'now';
}
