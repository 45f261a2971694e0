/** A trace as the waterfall draws it: the tree in order, what was on the critical path, who took part. */

import type { Log, Segment, Span } from '../api.ts';
import { nanoseconds } from '../format.ts';

export interface Row {
  span: Span;
  depth: number;
  /** Nanoseconds after the start of the trace. */
  start: number;
  end: number;
  /** Rows below this one that belong to it. */
  descendants: number;
  /** Whether the parent that it names is not in the trace. */
  orphan: boolean;
  error: boolean;
  /** Stretches of the critical path, nanoseconds after the start of the trace. */
  critical: [number, number][];
  logs: LogMark[];
}

export interface LogMark {
  log: Log;
  /** Nanoseconds after the start of the trace. */
  at: number;
}

export interface Party {
  service: string;
  spans: number;
  errors: number;
  /** Nanoseconds on the critical path. */
  critical: number;
}

export interface Layout {
  rows: Row[];
  /** Nanoseconds since the epoch. */
  start: bigint;
  /** Nanoseconds. */
  duration: number;
  services: Party[];
  logs: LogMark[];
  errors: number;
}

/** Parents by row; a row whose parent is absent, itself, or below itself is a root. */
function parents(rows: Row[]): (number | null)[] {
  const index = new Map<string, number>();
  rows.forEach(({ span }, i) => {
    if (!index.has(span.span_id)) index.set(span.span_id, i);
  });
  const found = rows.map(({ span }, i) => {
    const parent = span.parent_span_id ? index.get(span.parent_span_id) : undefined;
    return parent === undefined || parent === i ? null : parent;
  });
  // 0 unseen, 1 on the way up, 2 known to end at a root.
  const state = new Uint8Array(rows.length);
  for (let i = 0; i < rows.length; i += 1) {
    const way: number[] = [];
    let at: number | null = i;
    while (at !== null && state[at] === 0) {
      state[at] = 1;
      way.push(at);
      at = found[at] ?? null;
    }
    if (at !== null && state[at] === 1) found[at] = null;
    for (const one of way) state[one] = 2;
  }
  return found;
}

/** Rows from the root downwards, siblings by start; sets depth and descendants. */
function ordered(rows: Row[], children: number[][], roots: number[]): number[] {
  const order: number[] = [];
  const stack = roots.toReversed();
  while (stack.length > 0) {
    const at = stack.pop() as number;
    order.push(at);
    for (const child of (children[at] ?? []).toReversed()) {
      (rows[child] as Row).depth = (rows[at] as Row).depth + 1;
      stack.push(child);
    }
  }
  for (const at of order.toReversed()) {
    for (const child of children[at] ?? []) (rows[at] as Row).descendants += 1 + (rows[child] as Row).descendants;
  }
  return order;
}

function parties(rows: Row[]): Party[] {
  const found = new Map<string, Party>();
  for (const { span, error, critical } of rows) {
    let party = found.get(span.service);
    if (!party) found.set(span.service, (party = { service: span.service, spans: 0, errors: 0, critical: 0 }));
    party.spans += 1;
    party.errors += error ? 1 : 0;
    for (const [from, to] of critical) party.critical += to - from;
  }
  return [...found.values()].sort((a, b) => b.critical - a.critical || b.spans - a.spans);
}

/** Lays out the spans, critical path and logs of a trace. Takes time in the order of n log n; the depth of the tree is no matter. */
export function layout(spans: Span[], path: Segment[], logs: Log[]): Layout {
  const begins = spans.map(({ time }) => nanoseconds(time));
  const start = begins.reduce((least, time) => (time < least ? time : least), begins[0] ?? 0n);
  const rows = spans.map((span, i): Row => {
    const from = Number((begins[i] as bigint) - start);
    const error = span.status_code === 'ERROR';
    const end = from + Math.max(0, Number(span.duration_ns));
    return { span, depth: 0, start: from, end, descendants: 0, orphan: false, error, critical: [], logs: [] };
  });
  rows.sort((a, b) => a.start - b.start || b.end - a.end);
  const parent = parents(rows);
  const children: number[][] = rows.map(() => []);
  const roots: number[] = [];
  parent.forEach((up, i) => {
    if (up === null) {
      roots.push(i);
      (rows[i] as Row).orphan = !!(rows[i] as Row).span.parent_span_id;
    } else children[up]?.push(i);
  });
  const order = ordered(rows, children, roots);

  // The first of those with one id, as everywhere: `set` keeps the last.
  const bySpan = new Map(rows.toReversed().map((row) => [row.span.span_id, row]));
  for (const { span_id, start_offset_ns, duration_ns } of path) {
    bySpan.get(span_id)?.critical.push([start_offset_ns, start_offset_ns + duration_ns]);
  }
  const marks = logs.map((log) => ({ log, at: Number(nanoseconds(log.time) - start) })).sort((a, b) => a.at - b.at);
  for (const mark of marks) if (mark.log.span_id) bySpan.get(mark.log.span_id)?.logs.push(mark);
  return {
    rows: order.map((i) => rows[i] as Row),
    start,
    duration: rows.reduce((most, { end }) => Math.max(most, end), 0),
    services: parties(rows),
    logs: marks,
    errors: rows.filter(({ error }) => error).length,
  };
}

/** Indices of the rows to show, without those below a closed row. */
export function visible(rows: Row[], closed: ReadonlySet<string>): number[] {
  const shown: number[] = [];
  for (let i = 0; i < rows.length; i += 1) {
    const row = rows[i] as Row;
    shown.push(i);
    if (closed.has(row.span.span_id)) i += row.descendants;
  }
  return shown;
}

/** Round times between `from` and `to`, about `most` of them. */
export function ticks(from: number, to: number, most = 6): number[] {
  const rough = (to - from) / most;
  if (!(rough > 0)) return [from];
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough) ?? rough;
  const found: number[] = [];
  for (let at = Math.ceil(from / size) * size; at <= to; at += size) found.push(at);
  return found;
}
