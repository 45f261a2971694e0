// Logs, spans and metrics from the Go SDK with its default settings.
//
// usage: client grpc|http COUNT     (where to: OTEL_EXPORTER_OTLP_ENDPOINT; who: OTEL_SERVICE_NAME)
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

type exporters struct {
	spans   sdktrace.SpanExporter
	metrics sdkmetric.Exporter
	logs    sdklog.Exporter
}

func open(ctx context.Context, protocol string) exporters {
	if protocol == "grpc" {
		return exporters{must(otlptracegrpc.New(ctx)), must(otlpmetricgrpc.New(ctx)), must(otlploggrpc.New(ctx))}
	}
	return exporters{must(otlptracehttp.New(ctx)), must(otlpmetrichttp.New(ctx)), must(otlploghttp.New(ctx))}
}

func main() {
	ctx := context.Background()
	count := must(strconv.Atoi(os.Args[2]))
	to := open(ctx, os.Args[1])
	traces := sdktrace.NewTracerProvider(sdktrace.WithBatcher(to.spans))
	metrics := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(to.metrics)))
	logs := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(to.logs)))
	tracer := traces.Tracer("devmesh.tests")
	requests := must(metrics.Meter("devmesh.tests").Int64Counter("test.requests", metric.WithUnit("{request}")))
	logger := logs.Logger("devmesh.tests")
	for n := range count {
		inParent, parent := tracer.Start(ctx, "parent", trace.WithAttributes(attribute.Int("n", n)))
		inChild, child := tracer.Start(inParent, "child")
		requests.Add(inChild, 1, metric.WithAttributes(attribute.String("route", "/a")))
		var record log.Record
		record.SetSeverity(log.SeverityError)
		record.SetBody(attribute.StringValue(fmt.Sprintf("request %d failed", n)))
		record.AddAttributes(attribute.Int("n", n))
		logger.Emit(inChild, record)
		child.End()
		parent.End()
	}
	for _, stop := range []func(context.Context) error{traces.Shutdown, metrics.Shutdown, logs.Shutdown} {
		must(0, stop(ctx))
	}
}
