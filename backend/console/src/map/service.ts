/** What the map shows of services and calls: figures in words, and how bad they are. */

import type { ServiceEdge, ServiceFigures } from '../api.ts';
import { duration, percent, rate } from '../format.ts';

/** What a box stands for. */
export type Sort = 'service' | 'database' | 'queue' | 'outside';

export interface Box {
  name: string;
  sort: Sort;
  figures: ServiceFigures | undefined;
  calls: number;
  errors: number;
}

const SORTS: Record<string, Sort> = { database: 'database', messaging_system: 'service', virtual_node: 'outside' };

/** The services, and what they call that sends no spans of its own. */
export function boxes(nodes: readonly ServiceFigures[], edges: readonly ServiceEdge[]): Box[] {
  const found = new Map<string, Box>();
  for (const figures of nodes) {
    if (figures.service) found.set(figures.service, { name: figures.service, sort: 'service', figures, calls: figures.calls, errors: figures.errors });
  }
  for (const { client, server, connection_type, calls, errors } of edges) {
    if (client && !found.has(client)) found.set(client, { name: client, sort: 'service', figures: undefined, calls: 0, errors: 0 });
    const known = found.get(server);
    if (!known) found.set(server, { name: server, sort: SORTS[connection_type] ?? 'service', figures: undefined, calls, errors });
    else if (!known.figures) {
      known.calls += calls;
      known.errors += errors;
    }
  }
  return [...found.values()];
}

/** How bad a share of failed calls is. */
export function state(errors: number, calls: number): 'error' | 'warn' | 'ok' {
  const share = calls > 0 ? errors / calls : 0;
  return share >= 0.05 ? 'error' : share >= 0.01 ? 'warn' : 'ok';
}

/** Calls a second, failed ones and the time they take, in one line. */
export function words(calls: number, errors: number, p95: number | null | undefined, seconds: number): string {
  const parts = [`${rate(calls / Math.max(1, seconds))}/s`];
  if (errors > 0) parts.push(`${percent(errors, calls)} failed`);
  if (p95 !== null && p95 !== undefined) parts.push(`p95 ${duration(p95 * 1e6)}`);
  return parts.join(' · ');
}

/** How thick a line is, in pixels, for its share of the calls of the busiest. */
export const thickness = (calls: number, most: number) => 1 + 4 * Math.sqrt(calls / Math.max(1, most));

/** A name as far as there is room; the whole one stands in a title. */
export const cut = (text: string, letters: number) => (text.length > letters ? `${text.slice(0, letters - 1)}…` : text);
