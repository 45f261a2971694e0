/** What may be written at a place of a query. Knows nothing of the editor. */

import type { TableDoc } from '../api.ts';
import { FUNCTIONS, KEYWORDS } from './functions.ts';

export interface Suggestion {
  kind: 'table' | 'column' | 'function' | 'keyword' | 'attribute';
  label: string;
  insert: string;
  detail: string;
  doc: string;
  /** Lower comes first. */
  order: number;
}

/** The tables that a query names after FROM and JOIN. */
export function named(query: string, tables: readonly TableDoc[]): TableDoc[] {
  const names = [...query.matchAll(/\b(?:from|join)\s+"?([a-z_][a-z0-9_]*)"?/gi)].map((match) => match[1]?.toLowerCase());
  return tables.filter(({ name }) => names.includes(name));
}

/** The map whose key is being written: `attributes['http.` gives `attributes` and `http.`. */
export function openKey(before: string): { map: string; written: string } | null {
  const match = /\b(attributes|resource_attributes|scope_attributes)\[\s*'((?:[^']|'')*)$/i.exec(before);
  return match ? { map: (match[1] ?? '').toLowerCase(), written: match[2] ?? '' } : null;
}

/** Whether a text ends within a literal or a comment. */
function quoted(before: string): boolean {
  const bare = before.replaceAll(/'(?:[^']|'')*'|--[^\n]*\n/g, '');
  return /'|--/.test(bare);
}

/** What may follow `before` in `query`. */
export function suggest(query: string, before: string, tables: readonly TableDoc[]): Suggestion[] {
  if (quoted(before)) return [];
  const wantsTable = /\b(?:from|join|describe)\s+"?[a-z0-9_]*$/i.test(before);
  const fromTables = tables.map(({ name, doc }) => ({ kind: 'table' as const, label: name, insert: name, detail: 'table', doc, order: wantsTable ? 0 : 2 }));
  if (wantsTable) return fromTables;
  const used = named(query, tables);
  const columns = new Map<string, Suggestion>();
  for (const table of used.length > 0 ? used : tables.slice(0, 3)) {
    for (const { name, type, doc } of table.columns) {
      const known = columns.get(name);
      if (known) known.detail = `${known.detail}, ${table.name}`;
      else columns.set(name, { kind: 'column', label: name, insert: name, detail: `${type} · ${table.name}`, doc, order: 1 });
    }
  }
  const functions = FUNCTIONS.map(([label, usage, doc]) => ({ kind: 'function' as const, label, insert: `${label}(`, detail: usage, doc, order: 3 }));
  const keywords = KEYWORDS.map((label) => ({ kind: 'keyword' as const, label, insert: label, detail: '', doc: '', order: 4 }));
  return [...columns.values(), ...fromTables, ...functions, ...keywords];
}

/** The query that finds the keys of a map of a table, by how often they came of late. */
export function keysSql(table: string, map: string): string {
  return `SELECT key, count(*) AS n FROM (
  SELECT unnest(map_keys(${map})) AS key FROM (SELECT ${map} FROM ${table} WHERE time >= now() - INTERVAL '1 hour' LIMIT 2000)
) GROUP BY key ORDER BY n DESC`;
}

/** The columns of a table, as a query that reads them. */
export function starter(table: TableDoc): string {
  const columns = table.columns.slice(0, 8).map(({ name }) => name);
  const order = table.columns.some(({ name }) => name === 'time') ? '\nORDER BY time DESC' : '';
  return `SELECT ${columns.join(', ')}\nFROM ${table.name}${order}\nLIMIT 100`;
}

/** Line and column, from 1, that an error of the server names; null where it names none. */
export function position(message: string): { line: number; column: number } | null {
  const match = /\bline:?\s*(\d+)\s*[,;]?\s*(?:column|col):?\s*(\d+)/i.exec(message);
  return match ? { line: Number(match[1]), column: Number(match[2]) } : null;
}

