//! `metrics`: OTLP data points, one a row.

use arrow_schema::DataType;

use super::{Column, attributes, column, exemplar, list, list_of, quantile, text, timestamp};

pub(super) fn columns() -> Vec<Column> {
    vec![
        column("time", timestamp(), false, "Time of the point"),
        column("start_time", timestamp(), true, "Start of the interval it covers"),
        column("ingest_path", text(), false, "collector or direct"),
        column("source", text(), false, "otlp, scrape, remote_write, or what the sender of plain JSON named"),
        column("service", text(), false, "Resource attribute service.name, else empty"),
        column("host", text(), false, "Resource attribute host.name, else k8s.node.name, else empty"),
        column("name", text(), false, "Name of the metric"),
        column("description", text(), false, "What it measures"),
        column("unit", text(), false, "Its unit (UCUM)"),
        column("kind", text(), false, "gauge, sum, histogram, exponential_histogram or summary"),
        column("temporality", text(), true, "delta, cumulative or unspecified; NULL for gauges and summaries"),
        column("is_monotonic", DataType::Boolean, true, "Whether a sum only grows"),
        column("attributes", attributes(), false, "Attributes of the point"),
        column("resource_attributes", attributes(), false, "Attributes of the resource"),
        column("value", DataType::Float64, true, "Value of a gauge or sum"),
        column("count", DataType::UInt64, true, "Observations of a histogram or summary"),
        column("sum", DataType::Float64, true, "Their sum"),
        column("min", DataType::Float64, true, "The least of them"),
        column("max", DataType::Float64, true, "The greatest of them"),
        column("buckets", list(DataType::UInt64), true, "Histogram: observations a bucket"),
        column("bounds", list(DataType::Float64), true, "Histogram: upper bounds of all buckets but the last"),
        column("scale", DataType::Int32, true, "Exponential histogram: base = 2^(2^-scale)"),
        column("zero_count", DataType::UInt64, true, "Exponential histogram: observations at zero"),
        column("zero_threshold", DataType::Float64, true, "Exponential histogram: width of the zero bucket"),
        column("positive_offset", DataType::Int32, true, "Exponential histogram: index of the first positive bucket"),
        column(
            "positive_buckets",
            list(DataType::UInt64),
            true,
            "Exponential histogram: positive observations a bucket",
        ),
        column("negative_offset", DataType::Int32, true, "Exponential histogram: index of the first negative bucket"),
        column(
            "negative_buckets",
            list(DataType::UInt64),
            true,
            "Exponential histogram: negative observations a bucket",
        ),
        column("quantiles", list_of(quantile()), true, "Summary: quantile, value"),
        column("exemplars", list_of(exemplar()), false, "Exemplars: time, value, trace_id, span_id, attributes"),
        column("flags", DataType::UInt32, false, "Data point flags; bit 0: no recorded value"),
    ]
}
