import { describe, expect, test } from 'vitest';
import type { Span } from '../src/api.ts';
import { rfc3339 } from '../src/format.ts';
import { layout, ticks, visible } from '../src/traces/layout.ts';

const BASE = 1_760_000_000_123_456_789n;

function span(id: string, parent: string | null, start: number, length: number, rest: Partial<Span> = {}): Span {
  return {
    time: rfc3339(BASE + BigInt(start)),
    end_time: rfc3339(BASE + BigInt(start + length)),
    duration_ns: length,
    service: 'shop',
    host: '',
    name: id,
    kind: 'INTERNAL',
    status_code: 'UNSET',
    status_message: null,
    trace_id: 't',
    span_id: id,
    parent_span_id: parent,
    trace_state: null,
    attributes: {},
    resource_attributes: {},
    scope_name: '',
    scope_version: '',
    events: [],
    links: [],
    ...rest,
  };
}

const names = (spans: Span[]) => layout(spans, [], []).rows.map(({ span: { name }, depth }) => `${' '.repeat(depth)}${name}`);

describe('layout', () => {
  test('children stand below their parent, by start, whatever order they came in', () => {
    const spans = [span('d', 'b', 30, 5), span('c', 'a', 50, 10), span('a', null, 0, 100), span('b', 'a', 20, 20)];
    expect(names(spans)).toEqual(['a', ' b', '  d', ' c']);
  });

  test('a span whose parent is missing is a root and says so', () => {
    const { rows } = layout([span('a', null, 0, 100), span('b', 'gone', 5, 10)], [], []);
    expect(rows.map(({ span: { name }, orphan }) => [name, orphan])).toEqual([['a', false], ['b', true]]);
  });

  test('spans that are each other’s parents are still shown, once each', () => {
    const { rows } = layout([span('a', 'b', 0, 10), span('b', 'a', 1, 5), span('c', 'c', 2, 1)], [], []);
    expect(rows.map(({ span: { name } }) => name).sort()).toEqual(['a', 'b', 'c']);
  });

  test('two spans with one id are both shown', () => {
    expect(names([span('a', null, 0, 10), span('a', null, 2, 3), span('b', 'a', 3, 1)])).toHaveLength(3);
  });

  test('nanoseconds are kept', () => {
    const { rows, start, duration } = layout([span('a', null, 1, 1000), span('b', 'a', 4, 3)], [], []);
    expect(start).toBe(BASE + 1n);
    expect(rows.map((row) => [row.start, row.end])).toEqual([[0, 1000], [3, 6]]);
    expect(duration).toBe(1000);
  });

  test('stretches of the critical path stand on their rows, and count for their services', () => {
    const spans = [span('a', null, 5, 100), span('b', 'a', 15, 30, { service: 'cart' }), span('c', 'a', 20, 3)];
    const path = [['a', 0, 10], ['b', 10, 30], ['a', 40, 60], ['gone', 0, 1]] as const;
    const segments = path.map(([span_id, start_offset_ns, duration_ns]) => ({ span_id, start_offset_ns, duration_ns }));
    const { rows, services } = layout(spans, segments, []);
    expect(rows.map(({ critical }) => critical)).toEqual([[[0, 10], [40, 100]], [[10, 40]], []]);
    expect(services.map(({ service, critical }) => [service, critical])).toEqual([['shop', 70], ['cart', 30]]);
  });

  test('a chain of 10,000 spans is laid out', () => {
    const spans = Array.from({ length: 10_000 }, (_, i) => span(`s${i}`, i > 0 ? `s${i - 1}` : null, i, 20_000 - i));
    const { rows } = layout(spans, [], []);
    expect(rows).toHaveLength(10_000);
    expect(rows[0]?.descendants).toBe(9999);
    expect(rows.at(-1)?.depth).toBe(9999);
  });

  test('nothing gives nothing', () => {
    expect(layout([], [], []).rows).toEqual([]);
  });

  test('a closed row hides all that is below it and nothing else', () => {
    const { rows } = layout([span('a', null, 0, 100), span('b', 'a', 1, 50), span('c', 'b', 2, 5), span('d', 'a', 60, 5)], [], []);
    expect(visible(rows, new Set(['b'])).map((i) => rows[i]?.span.name)).toEqual(['a', 'b', 'd']);
  });
});

test('marks of the scale are round and lie within', () => {
  expect(ticks(0, 900, 6)).toEqual([0, 200, 400, 600, 800]);
  expect(ticks(5, 5)).toEqual([5]);
});
