/** The result of a query as text, as a file, as a chart. */

import type { SqlAnswer } from '../api.ts';
import { LEVEL_NAMES, levelOf } from '../colour.ts';
import { milliseconds } from '../format.ts';

/** A cell as it is shown. */
export function cell(value: unknown): string {
  if (value === null || value === undefined) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

const NUMBERS = ['bigint', 'integer', 'double', 'decimal'];

export const isNumber = (type: string): boolean => NUMBERS.includes(type);

/** A cell of a file: quoted where it must be, and never a formula of a spreadsheet. */
function csvCell(value: unknown, type: string): string {
  let text = cell(value);
  if (!isNumber(type) && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The rows as CSV (RFC 4180). */
export function csv({ columns, rows }: SqlAnswer): string {
  const head = columns.map(({ name }) => csvCell(name, 'text')).join(',');
  const lines = rows.map((row) => row.map((value, i) => csvCell(value, columns[i]?.type ?? 'text')).join(','));
  return [head, ...lines, ''].join('\r\n');
}

/** Widths of the columns in characters, by the longest of the first rows. */
export function widths({ columns, rows }: SqlAnswer): number[] {
  return columns.map(({ name }, i) => {
    const longest = rows.slice(0, 200).reduce((most, row) => Math.max(most, cell(row[i]).length), name.length + 1);
    return Math.max(5, Math.min(70, longest));
  });
}

export interface Graph {
  times: number[];
  step: number;
  series: { label: string; colour: string; values: (number | null)[] }[];
  /** Series that did not fit. */
  left: number;
}

/** Lines of a chart that can still be told apart. */
const LINES = 12;

/**
 * A chart of a result whose first column is a time: a line for each column of numbers, or, where there is a column of
 * text, for each of its values. Null where it is no such result.
 */
export function graph({ columns, rows }: SqlAnswer): Graph | null {
  if (columns[0]?.type !== 'timestamp' || rows.length < 2) return null;
  const numbers = columns.flatMap(({ type }, i) => (i > 0 && isNumber(type) ? [i] : []));
  const texts = columns.flatMap(({ type }, i) => (type === 'text' ? [i] : []));
  if (numbers.length === 0) return null;
  const times = [...new Set(rows.map((row) => milliseconds(cell(row[0])) / 1000))].sort((a, b) => a - b);
  if (times.length < 2) return null;
  const at = new Map(times.map((time, i) => [time, i]));
  const lines = new Map<string, (number | null)[]>();
  for (const row of rows) {
    const name = texts.map((i) => cell(row[i]) || '–').join(' ');
    for (const i of numbers) {
      const number = columns[i]?.name ?? '';
      const label = texts.length === 0 ? number : numbers.length === 1 ? name : `${name} ${number}`;
      let line = lines.get(label);
      if (!line) lines.set(label, (line = times.map(() => null)));
      const value = row[i] === null ? null : Number(row[i]);
      line[at.get(milliseconds(cell(row[0])) / 1000) ?? 0] = Number.isFinite(value) ? value : null;
    }
  }
  const step = times.slice(1).reduce((least, time, i) => Math.min(least, time - (times[i] ?? 0)), Infinity);
  const isLevel = (label: string) => Object.values(LEVEL_NAMES).some((names) => names.includes(label));
  const colour = (label: string, i: number) => (isLevel(label) ? `--${levelOf(label)}` : `--hue-${i}`);
  const series = [...lines].slice(0, LINES).map(([label, values], i) => ({ label, colour: colour(label, i), values }));
  return { times, step, series, left: Math.max(0, lines.size - LINES) };
}
