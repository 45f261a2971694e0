// OTLP/JSON as an SDK would send it.

import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';

const value = (one) =>
  typeof one === 'number' ? { intValue: String(one) } : typeof one === 'boolean' ? { boolValue: one } : { stringValue: one };
const attributes = (map = {}) => Object.entries(map).map(([key, one]) => ({ key, value: value(one) }));
const SEVERITY = { DEBUG: 5, INFO: 9, WARN: 13, ERROR: 17, FATAL: 21 };

/** Nanoseconds since the epoch of milliseconds. */
export const ns = (ms) => BigInt(Math.round(ms)) * 1_000_000n;

async function post(url, body) {
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  assert.ok(!JSON.parse(text).partialSuccess?.errorMessage, text);
}

/** Records by service; a service may be called `__proto__`. */
function grouped(records) {
  const found = new Map();
  for (const record of records) found.set(record.service, [...(found.get(record.service) ?? []), record]);
  return [...found];
}
const resource = (service, more = {}) => ({ attributes: attributes({ 'service.name': service, ...more }) });

/** Logs: `{ms, service, level, body, traceId?, spanId?, attributes?}` each. */
export function sendLogs(server, logs, resourceAttributes = {}) {
  const resourceLogs = grouped(logs).map(([service, records]) => ({
    resource: resource(service, resourceAttributes),
    scopeLogs: [
      {
        scope: { name: 'browser-test', version: '1' },
        logRecords: records.map((record) => ({
          timeUnixNano: String(ns(record.ms)),
          severityNumber: SEVERITY[record.level],
          severityText: record.level,
          body: { stringValue: record.body },
          traceId: record.traceId,
          spanId: record.spanId,
          attributes: attributes(record.attributes),
        })),
      },
    ],
  }));
  return post(`${server.url}/v1/logs`, { resourceLogs });
}

/** Spans: `{ms, length, service, name, traceId, spanId, parentSpanId?, error?, attributes?, events?, links?}` each. */
export function sendSpans(server, spans) {
  const resourceSpans = grouped(spans).map(([service, records]) => ({
    resource: resource(service),
    scopeSpans: [
      {
        scope: { name: 'browser-test' },
        spans: records.map((span) => ({
          traceId: span.traceId,
          spanId: span.spanId,
          parentSpanId: span.parentSpanId ?? '',
          name: span.name,
          kind: 2,
          startTimeUnixNano: String(ns(span.ms)),
          endTimeUnixNano: String(ns(span.ms + span.length)),
          attributes: attributes(span.attributes),
          status: span.error === undefined ? {} : { code: 2, message: span.error },
          events: (span.events ?? []).map((event) => ({ timeUnixNano: String(ns(event.ms)), name: event.name, attributes: attributes(event.attributes) })),
          links: (span.links ?? []).map((link) => ({ ...link, attributes: attributes(link.attributes) })),
        })),
      },
    ],
  }));
  return post(`${server.url}/v1/traces`, { resourceSpans });
}

/** Gauges: `{ms, service, name, value, attributes?}` each. */
export function sendGauges(server, points) {
  const resourceMetrics = grouped(points).map(([service, records]) => ({
    resource: resource(service),
    scopeMetrics: [
      {
        scope: { name: 'browser-test' },
        metrics: records.map((point) => ({
          name: point.name,
          unit: '1',
          gauge: { dataPoints: [{ timeUnixNano: String(ns(point.ms)), asDouble: point.value, attributes: attributes(point.attributes) }] },
        })),
      },
    ],
  }));
  return post(`${server.url}/v1/metrics`, { resourceMetrics });
}

/** Asks until the answer is true, and gives it. */
export async function eventually(ask, what) {
  const end = Date.now() + 180_000;
  for (;;) {
    const found = await ask();
    if (found) return found;
    assert.ok(Date.now() < end, `in vain: ${what}`);
    await setTimeout(100);
  }
}

/** Rows of a query. */
export async function query(server, sql) {
  const response = await fetch(`${server.url}/query/sql`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ sql }) });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  return JSON.parse(text).rows;
}
