import { describe, expect, test } from 'vitest';
import type { SqlAnswer, TableDoc } from '../src/api.ts';
import { ago, bytes, count, duration, nanoseconds, percent, rate, rfc3339, short } from '../src/format.ts';
import { readLog } from '../src/logs/read.ts';
import { passes } from '../src/logs/tail.ts';
import { attributeSql, attributeText, literal, logConditions, readAttribute, step } from '../src/query.ts';
import { point, resolve } from '../src/range.ts';
import { named, openKey, position, suggest } from '../src/sql/complete.ts';
import { csv, graph } from '../src/sql/result.ts';

const NOW = Date.parse('2026-01-02T03:04:05Z');

describe('figures', () => {
  test.each([
    [0, '0 ns'], [999, '999 ns'], [1500, '1.5 µs'], [12_340_000, '12.3 ms'], [100_000_000, '100 ms'], [2_500_000_000, '2.5 s'], [125e9, '2 min 5 s'],
  ])('%d ns is %s', (ns, text) => expect(duration(ns)).toBe(text));
  test.each([[0, '0 B'], [1023, '1023 B'], [1536, '1.5 KiB'], [5 * 2 ** 30, '5 GiB']])('%d bytes are %s', (size, text) => expect(bytes(size)).toBe(text));
  test('counts are grouped', () => expect(count(1_234_567)).toBe('1\u202f234\u202f567'));
  test('large counts are short', () => expect(short(12_345)).toBe('12.3k'));
  test('rates', () => expect([rate(0), rate(0.001), rate(1.5), rate(1234)]).toEqual(['0', '<0.01', '1.5', '1\u202f234']));
  test('shares', () => expect([percent(0, 0), percent(1, 10_000), percent(1, 3)]).toEqual(['0 %', '<0.1 %', '33 %']));
  test('how long ago', () => expect([ago(NOW, NOW), ago(NOW - 5000, NOW), ago(NOW - 3 * 3_600_000, NOW)]).toEqual(['now', '5 s ago', '3 h ago']));
});

describe('times', () => {
  test.each(['2026-01-02T03:04:05.123456789Z', '1970-01-01T00:00:00.000000001Z'])('%s is read and written to the nanosecond', (text) =>
    expect(rfc3339(nanoseconds(text))).toBe(text));
  test('fewer decimals and no decimals', () => {
    expect(nanoseconds('1970-01-01T00:00:01.5Z')).toBe(1_500_000_000n);
    expect(nanoseconds('1970-01-01T00:00:01Z')).toBe(1_000_000_000n);
    expect(nanoseconds('1970-01-01T01:00:01+01:00')).toBe(1_000_000_000n);
  });
  test('what is no time is 0', () => expect([nanoseconds(''), nanoseconds('soon'), nanoseconds(null)]).toEqual([0n, 0n, 0n]));
  test.each([['now', NOW], ['now-15m', NOW - 900_000], ['now-2d', NOW - 172_800_000], [String(NOW), NOW], ['tomorrow', null], ['now-5y', null]])('the point %s', (text, ms) =>
    expect(point(text, NOW)).toBe(ms));
  test('a range that is upside down becomes the last quarter of an hour', () =>
    expect(resolve({ from: 'now', to: 'now-1h' }, NOW)).toEqual({ from: NOW - 900_000, to: NOW }));
  test.each([[900_000, 90, 10], [3_600_000, 90, 60], [60_000, 90, 1]])('a range of %d ms in %d bars has bars of %d s', (ms, bars, seconds) => expect(step(ms, bars)).toBe(seconds));
});

describe('conditions', () => {
  test('a quote in a value stays in the value', () => expect(literal("x' OR '1'='1")).toBe("'x'' OR ''1''=''1'"));
  test.each([
    { map: 'attributes', key: 'http.route', value: '/a=b', not: false },
    { map: 'resource_attributes', key: 'a=b\\c', value: "it's", not: true },
    { map: 'attributes', key: '', value: '', not: false },
  ] as const)('the filter %j stands in the address and comes back', (filter) => expect(readAttribute(attributeText(filter))).toEqual(filter));
  test('attributes in SQL', () =>
    expect(attributeSql({ map: 'attributes', key: "a'b", value: 'c', not: true })).toBe("attributes['a''b'] IS DISTINCT FROM 'c'"));
  test('all levels are no condition; a level stands for its names', () => {
    const filter = { service: '', text: '', traceId: '', patternId: '', attributes: [] };
    expect(logConditions({ ...filter, levels: ['fatal', 'error', 'warn', 'info', 'debug'] })).toEqual([]);
    expect(logConditions({ ...filter, levels: [], patternId: '00ff' })).toEqual(["pattern_id = '00ff'"]);
    expect(logConditions({ ...filter, levels: ['fatal'] })).toEqual(["level IN ('FATAL', 'CRITICAL')"]);
  });
});

describe('the tail', () => {
  const log = readLog({ timestamp: '2026-01-01T00:00:00Z', message: 'm', level: 'WARNING', service: 's', meta_json: '{"k":"v"}', trace_id: '' });
  test('its records get the names of the table', () => expect(log).toMatchObject({ body: 'm', time: '2026-01-01T00:00:00Z', attributes: { k: 'v' }, trace_id: null }));
  test('a meta_json that is no JSON is no attribute', () => expect(readLog({ meta_json: '{' }).attributes).toEqual({}));
  test.each([
    [{ levels: ['warn' as const] }, true],
    [{ levels: ['error' as const] }, false],
    [{ attributes: [{ map: 'attributes' as const, key: 'k', value: 'v', not: false }] }, true],
    [{ attributes: [{ map: 'attributes' as const, key: 'k', value: 'v', not: true }] }, false],
    [{ traceId: 'x' }, false],
  ])('%j', (part, passed) => expect(passes(log, { service: '', text: '', traceId: '', levels: [], patternId: '', attributes: [], ...part })).toBe(passed));
});

describe('completions', () => {
  const column = (name: string) => ({ name, type: 'text', doc: '' });
  const tables: TableDoc[] = [
    { name: 'logs', doc: 'Log records', columns: [column('time'), column('body')] },
    { name: 'spans', doc: 'Spans', columns: [column('time'), column('duration_ns')] },
  ];
  const labels = (query: string, before: string) => suggest(query, before, tables).map(({ label }) => label);
  test('after FROM stand the tables and nothing else', () => expect(labels('SELECT * FROM lo', 'SELECT * FROM lo')).toEqual(['logs', 'spans']));
  test('columns are those of the tables that the query names, also before FROM', () => {
    const found = labels('SELECT  FROM spans', 'SELECT ');
    expect(found).toContain('duration_ns');
    expect(found).not.toContain('body');
    expect(found).toContain('count');
  });
  test('nothing within a literal or a comment', () => expect([labels("SELECT 'a", "SELECT 'a"), labels('-- a', '-- a')]).toEqual([[], []]));
  test('the tables of a join', () => expect(named('select * from logs l JOIN spans s', tables)).toHaveLength(2));
  test('the key that is being written', () => expect(openKey("WHERE attributes['http.r")).toEqual({ map: 'attributes', written: 'http.r' }));
  test.each([
    ['sql parser error: Expected: end, found: x at Line: 3, Column: 14', { line: 3, column: 14 }],
    ['at line 2, column 7', { line: 2, column: 7 }],
    ['no such table', null],
  ])('the position in %s', (message, found) => expect(position(message)).toEqual(found));
});

describe('results', () => {
  const answer = (columns: [string, string][], rows: unknown[][]): SqlAnswer => ({
    columns: columns.map(([name, type]) => ({ name, type })),
    rows,
    elapsed_ms: 1,
    rows_scanned: 1,
    truncated: false,
  });
  test('CSV quotes what must be quoted and disarms formulas, but no numbers', () =>
    expect(csv(answer([['a', 'text'], ['=n', 'bigint']], [['=1+1', -5], ['x,"y"\nz', null], ['@x', 1]]))).toBe('a,\'=n\r\n\'=1+1,-5\r\n"x,""y""\nz",\r\n\'@x,1\r\n'));
  test('a chart has a line for each value of the text column', () => {
    const chart = graph(answer([['t', 'timestamp'], ['level', 'text'], ['n', 'bigint']], [['2026-01-01T00:01:00Z', 'INFO', 2], ['2026-01-01T00:00:00Z', 'INFO', 1], ['2026-01-01T00:01:00Z', 'WARN', '9']]));
    expect(chart?.step).toBe(60);
    expect(chart?.series.map(({ label, values }) => [label, values])).toEqual([['INFO', [1, 2]], ['WARN', [null, 9]]]);
  });
  test('no chart without a time in front, numbers, or two times', () => {
    expect(graph(answer([['n', 'bigint']], [[1], [2]]))).toBeNull();
    expect(graph(answer([['t', 'timestamp'], ['s', 'text']], [['2026-01-01T00:00:00Z', 'a'], ['2026-01-01T00:01:00Z', 'b']]))).toBeNull();
    expect(graph(answer([['t', 'timestamp'], ['n', 'bigint']], [['2026-01-01T00:00:00Z', 1], ['2026-01-01T00:00:00Z', 2]]))).toBeNull();
  });
});
