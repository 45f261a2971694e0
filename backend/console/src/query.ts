/** SQL from what the pages filter by. */

import { LEVEL_NAMES, LEVELS, type Level } from './colour.ts';

/** A text as an SQL literal. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** Milliseconds since the epoch as an SQL literal. */
export function timestamp(ms: number): string {
  return `TIMESTAMP '${new Date(ms).toISOString()}'`;
}

/** A filter by an attribute of the record or its resource. */
export interface AttributeFilter {
  map: 'attributes' | 'resource_attributes';
  key: string;
  value: string;
  not: boolean;
}

/** As it stands in the page's address: `-resource:k8s.pod.name=web-1`. */
export function attributeText(filter: AttributeFilter): string {
  const key = filter.key.replaceAll('\\', '\\\\').replaceAll('=', '\\=');
  return `${filter.not ? '-' : ''}${filter.map === 'attributes' ? 'attribute' : 'resource'}:${key}=${filter.value}`;
}

/** The reverse of `attributeText`; null where it is none. */
export function readAttribute(text: string): AttributeFilter | null {
  const match = /^(-?)(attribute|resource):((?:\\.|[^=\\])*)=(.*)$/s.exec(text);
  if (!match) return null;
  return {
    not: match[1] === '-',
    map: match[2] === 'attribute' ? 'attributes' : 'resource_attributes',
    key: (match[3] ?? '').replaceAll(/\\(.)/gs, '$1'),
    value: match[4] ?? '',
  };
}

/** The condition of an attribute filter. */
export function attributeSql({ map, key, value, not }: AttributeFilter): string {
  const field = `${map}[${literal(key)}]`;
  return not ? `${field} IS DISTINCT FROM ${literal(value)}` : `${field} = ${literal(value)}`;
}

/** What the log page filters by. */
export interface LogFilter {
  service: string;
  levels: Level[];
  text: string;
  traceId: string;
  /** Of this template. */
  patternId: string;
  attributes: AttributeFilter[];
}

/** The conditions of a log filter, without those of time. */
export function logConditions(filter: LogFilter): string[] {
  const conditions: string[] = [];
  if (filter.service) conditions.push(`service = ${literal(filter.service)}`);
  const groups = filter.levels.filter((level) => LEVELS.includes(level));
  if (groups.length > 0 && groups.length < LEVELS.length) {
    const names = groups.flatMap((level) => LEVEL_NAMES[level]);
    conditions.push(`level IN (${names.map(literal).join(', ')})`);
  }
  if (filter.text) conditions.push(`matches(body, ${literal(filter.text)})`);
  if (filter.traceId) conditions.push(`trace_id = ${literal(filter.traceId)}`);
  if (filter.patternId) conditions.push(`pattern_id = ${literal(filter.patternId)}`);
  return conditions.concat(filter.attributes.map(attributeSql));
}

/** `WHERE` of conditions; empty where there are none. */
export function where(conditions: string[]): string {
  return conditions.length > 0 ? `WHERE ${conditions.join('\n  AND ')}` : '';
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400];

/** Seconds of a bar, so that about `bars` of them fill a range of `ms`. */
export function step(ms: number, bars: number): number {
  return STEPS.find((seconds) => ms / 1000 / seconds <= bars) ?? 86_400;
}

/** The bin of `time`. */
export function bin(seconds: number): string {
  return `date_bin(INTERVAL '${seconds} seconds', time)`;
}
