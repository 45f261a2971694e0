// Logs, spans and metrics from the Node SDK with its default settings.
// usage: emit.mjs proto|json COUNT     (where to: OTEL_EXPORTER_OTLP_ENDPOINT; who: OTEL_SERVICE_NAME)
import { metrics, trace } from '@opentelemetry/api';
import { logs, SeverityNumber } from '@opentelemetry/api-logs';
import { BatchLogRecordProcessor } from '@opentelemetry/sdk-logs';
import { PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { NodeSDK } from '@opentelemetry/sdk-node';

const [encoding, count] = [process.argv[2], Number(process.argv[3])];
const suffix = encoding === 'json' ? 'http' : 'proto';
const { OTLPTraceExporter } = await import(`@opentelemetry/exporter-trace-otlp-${suffix}`);
const { OTLPMetricExporter } = await import(`@opentelemetry/exporter-metrics-otlp-${suffix}`);
const { OTLPLogExporter } = await import(`@opentelemetry/exporter-logs-otlp-${suffix}`);

const sdk = new NodeSDK({
  traceExporter: new OTLPTraceExporter(),
  metricReaders: [new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter() })],
  logRecordProcessors: [new BatchLogRecordProcessor({ exporter: new OTLPLogExporter() })],
});
sdk.start();
const tracer = trace.getTracer('devmesh.tests');
const requests = metrics.getMeter('devmesh.tests').createCounter('test.requests', { unit: '{request}' });
const logger = logs.getLogger('devmesh.tests');
for (let n = 0; n < count; n++) {
  tracer.startActiveSpan('parent', { attributes: { n } }, (parent) => {
    tracer.startActiveSpan('child', (child) => {
      logger.emit({
        severityNumber: SeverityNumber.ERROR,
        severityText: 'ERROR',
        body: `request ${n} failed`,
        attributes: { n, nested: { list: [1, 'two', true] } },
      });
      requests.add(1, { route: '/a' });
      child.end();
    });
    parent.end();
  });
}
await sdk.shutdown();
