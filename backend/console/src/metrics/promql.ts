/** The queries of the page Metrics, and what their answers become. */

/** What is known of a metric. */
export interface Metric {
  name: string;
  type: string;
  help: string;
  unit: string;
}

/** What is shown of a metric: of a histogram a quantile, its average or how often. */
export type View = 'p50' | 'p95' | 'p99' | 'avg' | 'rate' | 'value';

/** What can be shown of a type; the first unless the reader says otherwise. */
export function views(type: string): readonly View[] {
  if (type === 'histogram') return ['p95', 'p50', 'p99', 'avg', 'rate'];
  return type === 'counter' ? ['rate', 'value'] : ['value', 'rate'];
}

/** A label that must have a value. */
export interface Filter {
  label: string;
  value: string;
}

/** As it stands in the page's address: `job=cart`. */
export const filterText = ({ label, value }: Filter) => `${label}=${value}`;

/** The reverse; null where it is none. */
export function readFilter(text: string): Filter | null {
  const at = text.indexOf('=');
  return at > 0 ? { label: text.slice(0, at), value: text.slice(at + 1) } : null;
}

const PLAIN = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
const quoted = (text: string) => JSON.stringify(text);
const label = (name: string) => (PLAIN.test(name) ? name : quoted(name));

/** A selector; a name that is none of classic Prometheus stands inside the braces. */
export function selector(name: string, filters: readonly Filter[]): string {
  const conditions = filters.map((filter) => `${label(filter.label)}=${quoted(filter.value)}`);
  if (!/^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name)) return `{${[quoted(name), ...conditions].join(', ')}}`;
  return conditions.length > 0 ? `${name}{${conditions.join(', ')}}` : name;
}

/** Seconds that a rate looks back: four points of a sender that exports once a minute, and no fewer than four steps. */
export const window = (step: number) => Math.max(300, 4 * step);

/** The query that shows a metric, split by a label. */
export function build(metric: Metric, view: View, by: string, filters: readonly Filter[], step: number): string {
  const of = (suffix: string) => selector(metric.name + suffix, filters);
  const rate = (suffix: string) => `rate(${of(suffix)}[${window(step)}s])`;
  const split = (...labels: string[]) => {
    const all = [...labels, ...(by ? [by] : [])].map(label);
    return all.length > 0 ? ` by (${all.join(', ')})` : '';
  };
  if (metric.type === 'histogram') {
    // A histogram is classic, or native: the one that is not there adds nothing.
    if (view === 'rate') return `sum${split()} (${rate('_count')}) or sum${split()} (histogram_count(${rate('')}))`;
    if (view === 'avg') return `sum${split()} (${rate('_sum')}) / sum${split()} (${rate('_count')}) or histogram_avg(sum${split()} (${rate('')}))`;
    const quantile = { p50: '0.5', p95: '0.95', p99: '0.99', value: '0.95' }[view];
    return `histogram_quantile(${quantile}, sum${split('le')} (${rate('_bucket')})) or histogram_quantile(${quantile}, sum${split()} (${rate('')}))`;
  }
  if (metric.type === 'summary') return view === 'rate' ? `sum${split()} (${rate('_count')})` : `avg${split('quantile')} (${of('')})`;
  if (view === 'rate') return `sum${split()} (${rate('')})`;
  return `${metric.type === 'counter' ? 'sum' : 'avg'}${split()} (${of('')})`;
}

/** The unit of what is shown. */
export function unit(metric: Metric, view: View): string {
  if (view === 'rate') return 'per second';
  const text = metric.unit.replaceAll(/[{}]/g, '');
  return text === '1' ? '' : text;
}

export type Labels = Record<string, string>;

/** A series of an answer: seconds since the epoch, and a number as text. */
export interface Line {
  metric: Labels;
  values?: [number, string][];
}

/** What a chart draws. */
export interface Drawn {
  times: number[];
  series: { name: string; values: (number | null)[]; mean: number }[];
  /** How many there are. */
  all: number;
}

/** A series in few words: the label that it was split by, otherwise all of them. */
export function title(metric: Labels, by: string): string {
  const value = metric[by];
  const rest = Object.entries(metric).filter(([name]) => name !== by && name !== '__name__' && name !== 'le');
  const others = rest.map(([name, text]) => (rest.length > 1 || by ? `${name}=${text}` : text)).join(', ');
  if (by && value !== undefined) return others ? `${value} (${others})` : value;
  return others || metric['__name__'] || 'all';
}

/** The series of an answer at the times of a grid, the greatest first, `most` of them. */
export function draw(lines: readonly Line[], by: string, from: number, to: number, step: number, most: number): Drawn {
  const times: number[] = [];
  for (let at = from; at <= to + 1e-6; at += step) times.push(at);
  const series = lines.map(({ metric, values = [] }) => {
    const points: (number | null)[] = times.map(() => null);
    let [sum, count] = [0, 0];
    for (const [time, text] of values) {
      const place = Math.round((time - from) / step);
      const value = Number(text.replace('Inf', 'Infinity'));
      if (place < 0 || place >= points.length || !Number.isFinite(value)) continue;
      points[place] = value;
      sum += value;
      count += 1;
    }
    return { name: title(metric, by), values: points, mean: count > 0 ? sum / count : -Infinity };
  });
  const shown = series.filter(({ mean }) => mean > -Infinity).sort((a, b) => b.mean - a.mean || (a.name < b.name ? -1 : 1));
  return { times, series: shown.slice(0, most), all: shown.length };
}

/** Metrics whose name has all words of a text, those that begin with it first. */
export function find(metrics: readonly Metric[], text: string): Metric[] {
  const words = text.toLowerCase().split(/[\s_.]+/).filter(Boolean);
  const found = metrics.filter(({ name }) => words.every((word) => name.toLowerCase().includes(word)));
  const begins = ({ name }: Metric) => Number(!!text && name.toLowerCase().startsWith(text.toLowerCase()));
  return found.sort((a, b) => begins(b) - begins(a));
}
