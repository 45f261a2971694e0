"""Logs, spans and metrics from the Python SDK with its default settings.

usage: emit.py grpc|http COUNT     (where to: OTEL_EXPORTER_OTLP_ENDPOINT)
"""

import logging
import sys

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

PROTOCOL, COUNT = sys.argv[1], int(sys.argv[2])

if PROTOCOL == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

resource = Resource.create({"service.name": f"python-{PROTOCOL}", "host.name": "python-host"})
traces = TracerProvider(resource=resource)
traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
metrics = MeterProvider(resource=resource, metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter())])
logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
try:
    from opentelemetry.instrumentation.logging.handler import LoggingHandler
except ImportError:
    from opentelemetry.sdk._logs import LoggingHandler
logging.getLogger().addHandler(LoggingHandler(logger_provider=logs))

tracer = traces.get_tracer("devmesh.tests")
meter = metrics.get_meter("devmesh.tests")
requests = meter.create_counter("test.requests", unit="{request}")
duration = meter.create_histogram("test.duration", unit="ms")
for n in range(COUNT):
    with tracer.start_as_current_span("parent") as parent:
        parent.set_attribute("n", n)
        with tracer.start_as_current_span("child"):
            logging.error("request %d failed", n)
            requests.add(1, {"route": "/a"})
            duration.record(12.5, {"route": "/a"})
for provider in (traces, metrics, logs):
    provider.shutdown()
