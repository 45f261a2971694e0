/** Every call to the server. Nothing else in the console fetches. */

import type { Alert, Rule } from './alerts/fetch.ts';
import { readLog } from './logs/read.ts';
import type { Labels, Line, Metric } from './metrics/promql.ts';

/** An error as the server describes it (RFC 9457). */
export class ApiError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export type Attributes = Record<string, string | null>;

export interface SqlColumn {
  name: string;
  type: string;
}

export interface SqlAnswer {
  columns: SqlColumn[];
  rows: unknown[][];
  elapsed_ms: number;
  rows_scanned: number;
  truncated: boolean;
}

export interface TableDoc {
  name: string;
  doc: string;
  columns: { name: string; type: string; doc: string }[];
}

export interface Info {
  version: string;
  started: string;
  uptime_seconds: number;
  store: string;
  doors: { name: string; address: string }[];
  tables: {
    signal: string;
    table: string;
    received: number;
    stored: number;
    rejected: number;
    rows: number;
    memory_rows: number;
    file_bytes: number;
    files: number;
    retention: string;
  }[];
  wal_bytes: number;
  memory_bytes: number;
  quarantined: number;
}

export interface Log {
  time: string;
  level: string;
  service: string;
  host: string;
  body: string;
  trace_id: string | null;
  span_id: string | null;
  attributes: Attributes;
  resource_attributes: Attributes;
  [column: string]: unknown;
}

export interface TraceSummary {
  trace_id: string;
  time: string;
  duration_ns: number;
  service: string;
  name: string;
  spans: number;
  errors: number;
  services: string[];
}

export interface SpanEvent {
  time: string;
  name: string;
  attributes: Attributes;
}

export interface SpanLink {
  trace_id: string;
  span_id: string;
  trace_state: string;
  attributes: Attributes;
}

export interface Span {
  time: string;
  end_time: string;
  duration_ns: number;
  service: string;
  host: string;
  name: string;
  kind: string;
  status_code: string;
  status_message: string | null;
  trace_id: string;
  span_id: string;
  parent_span_id: string | null;
  trace_state?: string | null;
  attributes: Attributes;
  resource_attributes: Attributes;
  scope_name: string;
  scope_version: string;
  events: SpanEvent[];
  links: SpanLink[];
}

/** A stretch of the critical path. */
export interface Segment {
  span_id: string;
  /** Nanoseconds after the start of the trace. */
  start_offset_ns: number;
  duration_ns: number;
}

export interface Trace {
  spans: Span[];
  critical_path: Segment[];
  logs: Log[];
  /** Whether there is more than the answer has room for. */
  truncated: boolean;
}

async function request(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (cause) {
    if (init.signal?.aborted) throw cause;
    throw new ApiError(0, 'the server does not answer; is it running?');
  }
  if (response.ok) return response;
  const text = await response.text();
  let detail = text;
  try {
    // Prometheus' API has its own form.
    const problem = JSON.parse(text) as { detail?: string; title?: string; error?: string };
    detail = problem.detail ?? problem.error ?? problem.title ?? text;
  } catch {
    // No JSON: something between here and the server answered; its text is all there is.
  }
  throw new ApiError(response.status, detail || `the server answered ${response.status}`);
}

/** Why the server refuses a stream of events; empty where it does not (any more). An EventSource does not tell. */
export async function refusal(path: string, signal: AbortSignal): Promise<string> {
  try {
    const response = await request(path, { signal });
    await response.body?.cancel();
    return '';
  } catch (error) {
    if (error instanceof ApiError) return error.message;
    throw error;
  }
}

async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(path, { signal: signal ?? null, headers: { accept: 'application/json' } });
  return (await response.json()) as T;
}

/** Runs a query; `limit` is at most 10,000. */
export async function sql(text: string, limit = 1000, signal?: AbortSignal): Promise<SqlAnswer> {
  const response = await request('/query/sql', {
    method: 'POST',
    signal: signal ?? null,
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({ sql: text, format: 'json', limit }),
  });
  return (await response.json()) as SqlAnswer;
}

/** A query whose rows become objects. */
export async function rows<T>(text: string, limit = 1000, signal?: AbortSignal): Promise<T[]> {
  const answer = await sql(text, limit, signal);
  return answer.rows.map((row) => Object.fromEntries(answer.columns.map(({ name }, i) => [name, row[i]])) as T);
}

export const info = (signal?: AbortSignal) => get<Info>('/info', signal);

export const tables = () => get<TableDoc[]>('/query/tables');

export interface TraceSearch {
  service: string;
  operation: string;
  min_duration_ms: string;
  status: string;
  /** `key=value` each. */
  attribute: string[];
}

/** A trace as `GET /query/traces` has it. */
interface SummaryAnswer {
  trace_id: string;
  start_time: string;
  duration_ms: number;
  root_service: string;
  root_operation: string;
  spans: number;
  errors: number;
  services: string[];
}

/** A span as `GET /query/traces/{trace_id}` has it, as far as it differs from the table `spans`. */
interface SpanAnswer extends Omit<Span, 'time' | 'name' | 'status_code'> {
  start_time: string;
  operation: string;
  status: string;
}

interface TraceAnswer {
  spans: SpanAnswer[];
  critical_path: Segment[];
  logs: Record<string, unknown>[];
  truncated: boolean;
}

/** Summaries of the traces that have a matching span in the range (ms since the epoch), newest first. */
export async function traces(search: TraceSearch, from: number, to: number, limit: number, signal?: AbortSignal): Promise<TraceSummary[]> {
  const query = new URLSearchParams({ start_time: new Date(from).toISOString(), end_time: new Date(to).toISOString(), limit: String(limit) });
  for (const [name, value] of Object.entries(search)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one) query.append(name, one);
  }
  const found = await get<SummaryAnswer[]>(`/query/traces?${query}`, signal);
  return found.map(({ start_time, duration_ms, root_service, root_operation, ...rest }) => ({
    ...rest,
    time: start_time,
    duration_ns: duration_ms * 1e6,
    service: root_service,
    name: root_operation,
  }));
}

/** The spans of a trace, its critical path and its logs. */
export async function trace(id: string, signal?: AbortSignal): Promise<Trace> {
  const answer = await get<TraceAnswer>(`/query/traces/${encodeURIComponent(id)}`, signal);
  const spans = answer.spans.map(({ start_time, operation, status, ...rest }) => ({
    ...rest,
    trace_id: id,
    time: start_time,
    name: operation,
    status_code: status,
  }));
  return { spans, critical_path: answer.critical_path, logs: answer.logs.map(readLog), truncated: answer.truncated };
}

/** A log of a pattern that was found. */
export type Example = Log & { score: number };

/** A pattern of logs that a question means. */
export interface SearchResult {
  pattern_id: string;
  template: string;
  score: number;
  count: number;
  services: string[];
  levels: string[];
  first_seen: string;
  last_seen: string;
  examples: Example[];
}

export interface SearchAnswer {
  results: SearchResult[];
  /** The model that took part; `none: words only …` where none did. */
  model: string;
  elapsed_ms: number;
}

export interface SearchFilter {
  query: string;
  service: string;
  level: string;
}

/** The patterns of logs in the range (ms since the epoch) that a question means, best first. */
export async function search({ query, service, level }: SearchFilter, from: number, to: number, top: number, signal: AbortSignal): Promise<SearchAnswer> {
  const response = await request('/search/semantic', {
    method: 'POST',
    signal,
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({
      query,
      top_k: top,
      start_time: new Date(from).toISOString(),
      end_time: new Date(to).toISOString(),
      ...(service ? { service } : {}),
      ...(level ? { level } : {}),
    }),
  });
  const answer = (await response.json()) as Omit<SearchAnswer, 'results'> & { results: (Omit<SearchResult, 'examples'> & { examples: Record<string, unknown>[] })[] };
  const example = (json: Record<string, unknown>): Example => ({ ...readLog(json), score: Number(json['score']) });
  return { ...answer, results: answer.results.map((result) => ({ ...result, examples: result.examples.map(example) })) };
}

/** What Prometheus' API answers. */
interface Answer<T> {
  data: T;
  warnings?: string[];
  infos?: string[];
}

const prometheus = <T>(call: string, parameters: Record<string, string>, signal: AbortSignal) =>
  get<Answer<T>>(`/api/v1/${call}?${new URLSearchParams(parameters)}`, signal);

const between = (from: number, to: number) => ({ start: String(from / 1000), end: String(to / 1000) });

/** The metrics that have points in the range (ms since the epoch), by name. */
export async function metrics(from: number, to: number, signal: AbortSignal): Promise<Metric[]> {
  const { data } = await prometheus<Record<string, Omit<Metric, 'name'>[]>>('metadata', between(from, to), signal);
  const first = (name: string, all: Omit<Metric, 'name'>[]): Metric => ({ name, ...(all[0] ?? { type: 'unknown', help: '', unit: '' }) });
  return Object.entries(data).map(([name, all]) => first(name, all)).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The labels of the series that a selector wants. */
export async function metricSeries(match: string, from: number, to: number, signal: AbortSignal): Promise<Labels[]> {
  const { data } = await prometheus<Labels[]>('series', { 'match[]': match, ...between(from, to), limit: '2000' }, signal);
  return data;
}

/** A query in PromQL over a range; `step` in seconds. What is dubious about the answer stands beside it. */
export async function promql(query: string, from: number, to: number, step: number, signal: AbortSignal): Promise<{ lines: Line[]; notes: string[] }> {
  const answer = await prometheus<{ result: Line[] }>('query_range', { query, ...between(from, to), step: String(step) }, signal);
  return { lines: answer.data.result, notes: [...(answer.warnings ?? []), ...(answer.infos ?? [])] };
}

/** An observation with the trace that made it. */
export interface Exemplar {
  /** Seconds since the epoch. */
  timestamp: number;
  value: number;
  labels: Labels;
  series: Labels;
}

/** The exemplars of the series that a query reads, that name a trace. */
export async function exemplars(query: string, from: number, to: number, signal: AbortSignal): Promise<Exemplar[]> {
  type Found = { seriesLabels: Labels; exemplars: { labels: Labels; value: string; timestamp: number }[] };
  const { data } = await prometheus<Found[]>('query_exemplars', { query, ...between(from, to) }, signal);
  const all = data.flatMap(({ seriesLabels, exemplars }) => exemplars.map(({ value, ...rest }) => ({ ...rest, value: Number(value), series: seriesLabels })));
  return all.filter(({ labels }) => labels['trace_id']);
}

/** Names of the services that sent anything since `from`. */
export async function serviceNames(from: string, signal?: AbortSignal): Promise<string[]> {
  const table = (name: string) => `SELECT DISTINCT service FROM ${name} WHERE time >= ${from}`;
  const found = await rows<{ service: string }>(
    `SELECT service FROM (${table('logs')} UNION ${table('spans')}) ORDER BY service`,
    1000,
    signal,
  );
  return found.map(({ service }) => service).filter(Boolean);
}

/** A service's figures in a range. */
export interface ServiceFigures {
  service: string;
  calls: number;
  errors: number;
  p50_ms: number | null;
  p95_ms: number | null;
  p99_ms: number | null;
}

/** The calls of one service to another, or to a database or host that sends no spans. */
export interface ServiceEdge {
  client: string;
  server: string;
  connection_type: string;
  calls: number;
  errors: number;
  p95_ms: number | null;
}

export interface ServiceMap {
  nodes: ServiceFigures[];
  edges: ServiceEdge[];
}

const within = (from: number, to: number) => new URLSearchParams({ start_time: new Date(from).toISOString(), end_time: new Date(to).toISOString() });

/** Who calls whom in the range (ms since the epoch). */
export const serviceMap = (from: number, to: number, signal: AbortSignal) => get<ServiceMap>(`/query/service-map?${within(from, to)}`, signal);

/** A node of the graph: a service, host, operation, error, pattern or incident. */
export interface GraphNode {
  id: string;
  type: string;
  name: string;
  count: number;
  errors: number;
  properties: Record<string, string>;
}

export interface GraphEdge {
  from: string;
  to: string;
  type: string;
}

/** A node and what is around it. */
export interface GraphPart {
  id: string;
  nodes: GraphNode[];
  edges: GraphEdge[];
}

/** What the graph has one edge away from a service, by its name; nothing where it knows no such service. */
export async function neighbours(service: string, from: number, to: number, signal: AbortSignal): Promise<GraphPart> {
  const found = await get<{ nodes: GraphNode[] }>(`/graph/nodes?${new URLSearchParams({ type: 'Service', q: service, limit: '1000' })}`, signal);
  // A service of a namespace has that in its id.
  const node = found.nodes.find(({ name }) => name === service);
  if (!node) return { id: '', nodes: [], edges: [] };
  const query = within(from, to);
  query.set('limit', '1000');
  return get<GraphPart>(`/graph/neighbors/${encodeURIComponent(node.id)}?${query}`, signal);
}

/** Alerts: those that are there first, then those that are over. */
export const alerts = (limit: number, signal: AbortSignal) => get<Alert[]>(`/v1/alerts?limit=${limit}`, signal);

/** Alerting rules, those of files and those made by the API. */
export const alertRules = (limit: number, signal: AbortSignal) => get<Rule[]>(`/v1/alert-rules?limit=${limit}`, signal);
