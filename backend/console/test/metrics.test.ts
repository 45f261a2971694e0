import { describe, expect, test } from 'vitest';
import { build, draw, filterText, find, type Metric, readFilter, selector, title, unit, views } from '../src/metrics/promql.ts';

const metric = (name: string, type: string, more: Partial<Metric> = {}): Metric => ({ name, type, help: '', unit: '', ...more });

describe('queries', () => {
  test.each([
    ['up', [], 'up'],
    ['up', [{ label: 'job', value: 'a"b\\c' }], 'up{job="a\\"b\\\\c"}'],
    ['http.requests', [{ label: 'k8s.pod', value: 'x' }], '{"http.requests", "k8s.pod"="x"}'],
  ])('the selector of %s', (name, filters, wanted) => expect(selector(name, filters)).toBe(wanted));
  test.each([
    ['calls_total', 'counter', 'rate', '', 'sum (rate(calls_total[300s]))'],
    ['calls_total', 'counter', 'rate', 'job', 'sum by (job) (rate(calls_total[300s]))'],
    ['calls_total', 'counter', 'value', '', 'sum (calls_total)'],
    ['load', 'gauge', 'value', 'host', 'avg by (host) (load)'],
    ['load', 'unknown', 'value', 'host.name', 'avg by ("host.name") (load)'],
    ['gc', 'summary', 'value', '', 'avg by (quantile) (gc)'],
    ['took', 'histogram', 'p95', 'job', 'histogram_quantile(0.95, sum by (le, job) (rate(took_bucket[300s]))) or histogram_quantile(0.95, sum by (job) (rate(took[300s])))'],
    ['took', 'histogram', 'rate', '', 'sum (rate(took_count[300s])) or sum (histogram_count(rate(took[300s])))'],
  ] as const)('%s as %s, %s by "%s"', (name, type, view, by, wanted) => expect(build(metric(name, type), view, by, [], 15)).toBe(wanted));
  test('a rate looks back over four steps', () => expect(build(metric('a_total', 'counter'), 'rate', '', [], 600)).toContain('[2400s]'));
  test('what is shown first', () => expect([views('histogram')[0], views('counter')[0], views('gauge')[0]]).toEqual(['p95', 'rate', 'value']));
  test('units', () => {
    const one = metric('x', 'gauge', { unit: '{call}' });
    expect([unit(one, 'value'), unit(one, 'rate'), unit(metric('x', 'gauge', { unit: '1' }), 'value')]).toEqual(['call', 'per second', '']);
  });
  test('a filter stands in the address and comes back', () => {
    const filter = { label: 'a', value: 'b=c' };
    expect([readFilter(filterText(filter)), readFilter('x'), readFilter('=x')]).toEqual([filter, null, null]);
  });
});

describe('answers', () => {
  test('series have the points of the grid, the greatest first', () => {
    const lines = [
      { metric: { job: 'small' }, values: [[100, '1'], [130, '3']] as [number, string][] },
      { metric: { job: 'large' }, values: [[115, '9'], [130, 'NaN'], [145, '+Inf']] as [number, string][] },
      { metric: { job: 'nothing' }, values: [[100, 'NaN']] as [number, string][] },
    ];
    const drawn = draw(lines, 'job', 100, 130, 15, 1);
    expect(drawn.times).toEqual([100, 115, 130]);
    expect(drawn.series).toEqual([{ name: 'large', values: [null, 9, null], mean: 9 }]);
    expect(drawn.all).toBe(2);
    expect(draw(lines, 'job', 100, 130, 15, 9).series[1]?.values).toEqual([1, null, 3]);
  });
  test.each([
    [{}, '', 'all'],
    [{ __name__: 'up' }, '', 'up'],
    [{ job: 'a' }, 'job', 'a'],
    [{ job: 'a', quantile: '0.5' }, 'job', 'a (quantile=0.5)'],
    [{ job: 'a', host: 'b' }, '', 'job=a, host=b'],
  ])('the title of %j by "%s"', (labels, by, wanted) => expect(title(labels as Record<string, string>, by)).toBe(wanted));
  test('metrics are found by words of their name', () => {
    const all = ['http_calls_total', 'calls', 'load'].map((name) => metric(name, 'gauge'));
    expect(find(all, 'calls').map(({ name }) => name)).toEqual(['calls', 'http_calls_total']);
    expect(find(all, 'total http').map(({ name }) => name)).toEqual(['http_calls_total']);
    expect(find(all, '').length).toBe(3);
  });
});
