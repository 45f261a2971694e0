-- The name in the exporter's README for what its code calls otel_metrics_exponential_histogram.
SELECT * FROM otel_metrics_exponential_histogram
