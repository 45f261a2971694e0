/** What the overview asks of the server. */

import { rows } from '../api.ts';
import { bin, timestamp } from '../query.ts';

/** Minutes that the overview shows. */
export const MINUTES = 15;
/** Seconds of a bar of its chart. */
export const STEP = 15;

interface VolumeRow {
  t: string;
  signal: string;
  level: string;
  n: number;
}

export interface ServiceRow {
  service: string;
  logs: number;
  log_errors: number;
  spans: number;
  span_errors: number;
  metrics: number;
  p95: number | null;
  last: string;
}

/** Records a bin, a signal and a level or status. */
export function volumes(from: number, signal: AbortSignal): Promise<VolumeRow[]> {
  const since = `WHERE time >= ${timestamp(from)}`;
  const t = `${bin(STEP)} AS t`;
  return rows<VolumeRow>(
    `SELECT ${t}, 'logs' AS signal, level, count(*) AS n FROM logs ${since} GROUP BY 1, 3
UNION ALL SELECT ${t}, 'spans' AS signal, status_code AS level, count(*) AS n FROM spans ${since} GROUP BY 1, 3
UNION ALL SELECT ${t}, 'metrics' AS signal, '' AS level, count(*) AS n FROM metrics ${since} GROUP BY 1`,
    10_000,
    signal,
  );
}

/** One row a service that sent anything since `from`, the busiest first. */
export function services(from: number, signal: AbortSignal): Promise<ServiceRow[]> {
  const since = `WHERE time >= ${timestamp(from)} GROUP BY service`;
  const grave = `level IN ('ERROR', 'CRITICAL', 'FATAL')`;
  return rows<ServiceRow>(
    `SELECT service, sum(logs) AS logs, sum(log_errors) AS log_errors, sum(spans) AS spans, sum(span_errors) AS span_errors,
  sum(metrics) AS metrics, max(p95) AS p95, max(last) AS last FROM (
  SELECT service, count(*) AS logs, sum(CASE WHEN ${grave} THEN 1 ELSE 0 END) AS log_errors, 0 AS spans, 0 AS span_errors,
    0 AS metrics, CAST(NULL AS DOUBLE) AS p95, max(time) AS last FROM logs ${since}
  UNION ALL SELECT service, 0, 0, count(*), sum(CASE WHEN status_code = 'ERROR' THEN 1 ELSE 0 END), 0,
    CAST(approx_percentile_cont(duration_ns, 0.95) AS DOUBLE), max(time) FROM spans ${since}
  UNION ALL SELECT service, 0, 0, 0, 0, count(*), CAST(NULL AS DOUBLE), max(time) FROM metrics ${since}
) GROUP BY service ORDER BY sum(logs) + sum(spans) + sum(metrics) DESC`,
    1000,
    signal,
  );
}
