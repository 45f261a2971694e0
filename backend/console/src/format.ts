/** Figures and times as people read them. */

/** Nanoseconds since the epoch of an RFC 3339 time with up to nine decimals; 0n where it is none. */
export function nanoseconds(text: string | null | undefined): bigint {
  if (!text) return 0n;
  const match = /^(.+?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)$/.exec(text);
  const seconds = match ? Date.parse(`${match[1]}${match[3]}`) : Date.parse(text);
  if (Number.isNaN(seconds)) return 0n;
  return BigInt(seconds) * 1_000_000n + BigInt((match?.[2] ?? '').padEnd(9, '0'));
}

/** Milliseconds since the epoch, with fractions. */
export function milliseconds(text: string | null | undefined): number {
  return Number(nanoseconds(text) / 1000n) / 1000;
}

/** A time of nanoseconds as RFC 3339 in UTC. */
export function rfc3339(ns: bigint): string {
  const ms = ns / 1_000_000n;
  const rest = ns - (ns / 1_000_000_000n) * 1_000_000_000n;
  return `${new Date(Number(ms)).toISOString().slice(0, 19)}.${rest.toString().padStart(9, '0')}Z`;
}

const pad = (number: number, digits = 2) => String(number).padStart(digits, '0');

/** Time of day in the browser's zone, to the millisecond. */
export function clock(text: string | null | undefined): string {
  const date = new Date(Math.floor(milliseconds(text)));
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}.${pad(date.getMilliseconds(), 3)}`;
}

/** Day and time in the browser's zone, to the second. */
export function moment(ms: number): string {
  const date = new Date(ms);
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day} ${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

/** Month, day and time of day, for lists that reach over midnight. */
export function shortMoment(text: string): string {
  return `${moment(milliseconds(text)).slice(5, 10)} ${clock(text)}`;
}

const HOUR = 3_600_000;

/** A mark of a time axis, in seconds since the epoch: as much of the time as tells it from its neighbours. */
export function tickTime(seconds: number, next: number, first: number): string {
  const text = moment(seconds * 1000);
  const previous = moment(first * 1000);
  const step = Math.abs(next - seconds);
  if (step >= 86_400 || (text.slice(11, 16) === '00:00' && text.slice(0, 10) !== previous.slice(0, 10))) return text.slice(5, 10);
  return text.endsWith(':00') ? text.slice(11, 16) : text.slice(11);
}

/** How long ago, in one unit. */
export function ago(ms: number, now: number): string {
  const past = Math.max(0, now - ms);
  if (past < 1500) return 'now';
  if (past < 60_000) return `${Math.round(past / 1000)} s ago`;
  if (past < HOUR) return `${Math.round(past / 60_000)} min ago`;
  if (past < 48 * HOUR) return `${Math.round(past / HOUR)} h ago`;
  return `${Math.round(past / (24 * HOUR))} d ago`;
}

const digits = (value: number) => (value >= 100 ? 0 : value >= 10 ? 1 : 2);
const trimmed = (value: number) => String(Number(value.toFixed(digits(value))));

/** A duration of nanoseconds in the unit that fits: 1.2 ms. */
export function duration(ns: number): string {
  const size = Math.abs(ns);
  if (size < 1000) return `${Math.round(ns)} ns`;
  if (size < 1e6) return `${trimmed(ns / 1e3)} µs`;
  if (size < 1e9) return `${trimmed(ns / 1e6)} ms`;
  if (size < 60e9) return `${trimmed(ns / 1e9)} s`;
  return `${Math.floor(ns / 60e9)} min ${Math.round((ns % 60e9) / 1e9)} s`;
}

/** A count, grouped: 12 345. */
export function count(value: number): string {
  return Math.round(value).toString().replace(/\B(?=(\d{3})+(?!\d))/g, '\u202f');
}

/** A count in few characters: 12.3k. */
export function short(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e9) return `${trimmed(value / 1e9)}G`;
  if (size >= 1e6) return `${trimmed(value / 1e6)}M`;
  if (size >= 10_000) return `${trimmed(value / 1e3)}k`;
  return Number.isInteger(value) ? count(value) : trimmed(value);
}

/** A rate per second. */
export function rate(value: number): string {
  if (value === 0) return '0';
  return value < 0.01 ? '<0.01' : short(Number(value.toFixed(digits(value))));
}

/** Bytes in binary units. */
export function bytes(value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${trimmed(value)} ${units[unit]}`;
}

/** A share as per cent. */
export function percent(part: number, whole: number): string {
  if (whole === 0 || part === 0) return '0 %';
  const share = (100 * part) / whole;
  return share < 0.1 ? '<0.1 %' : `${share >= 10 ? Math.round(share) : share.toFixed(1)} %`;
}
