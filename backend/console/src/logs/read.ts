/** Log records in the columns of `log_events`: those of the tail and of a trace. */

import type { Attributes, Log } from '../api.ts';

const record = (value: unknown): Attributes => {
  if (typeof value === 'string') {
    try {
      return JSON.parse(value) as Attributes;
    } catch {
      return {};
    }
  }
  return (value ?? {}) as Attributes;
};

/** A record with the names of the table `logs`, which it may have already. */
export function readLog(json: Record<string, unknown>): Log {
  const text = (value: unknown) => (value === null || value === undefined ? '' : String(value));
  return {
    ...json,
    time: text(json['time'] ?? json['timestamp']),
    level: text(json['level']),
    service: text(json['service']),
    host: text(json['host']),
    event_name: text(json['event_name'] ?? json['event_type']) || null,
    body: text(json['body'] ?? json['message']),
    trace_id: text(json['trace_id']) || null,
    span_id: text(json['span_id']) || null,
    attributes: record(json['attributes'] ?? json['meta_json']),
    resource_attributes: record(json['resource_attributes']),
  };
}
