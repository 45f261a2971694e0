//! A request as the list of its items with all that they share: equal for requests that differ in grouping alone.

use devmesh_schema::Signal;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    metrics::v1::{Metric, metric::Data},
};
use prost::Message;

/// An item, as the bytes of its messages (so that NaN equals itself) and as text for people.
pub(crate) struct Flat {
    bytes: Vec<Vec<u8>>,
    text: String,
}

impl PartialEq for Flat {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl std::fmt::Debug for Flat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A message's bytes and its text.
type Part = (Vec<u8>, String);

fn part(message: &(impl Message + std::fmt::Debug)) -> Part {
    (message.encode_to_vec(), format!("{message:?}"))
}

fn flat(parts: impl IntoIterator<Item = Part>) -> Flat {
    let (bytes, texts): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    Flat { bytes, text: texts.join("\n  ") }
}

/// What prost reads in the bytes.
pub(crate) fn flatten(signal: Signal, request: &[u8]) -> Result<Vec<Flat>, prost::DecodeError> {
    Ok(match signal {
        Signal::Logs => logs(ExportLogsServiceRequest::decode(request)?),
        Signal::Traces => traces(ExportTraceServiceRequest::decode(request)?),
        Signal::Metrics => metrics(ExportMetricsServiceRequest::decode(request)?),
    })
}

fn logs(request: ExportLogsServiceRequest) -> Vec<Flat> {
    let mut out = Vec::new();
    for mut resource in request.resource_logs {
        for mut scope in std::mem::take(&mut resource.scope_logs) {
            for item in std::mem::take(&mut scope.log_records) {
                out.push(flat([part(&resource), part(&scope), part(&item)]));
            }
        }
    }
    out
}

fn traces(request: ExportTraceServiceRequest) -> Vec<Flat> {
    let mut out = Vec::new();
    for mut resource in request.resource_spans {
        for mut scope in std::mem::take(&mut resource.scope_spans) {
            for item in std::mem::take(&mut scope.spans) {
                out.push(flat([part(&resource), part(&scope), part(&item)]));
            }
        }
    }
    out
}

fn metrics(request: ExportMetricsServiceRequest) -> Vec<Flat> {
    let mut out = Vec::new();
    for mut resource in request.resource_metrics {
        for mut scope in std::mem::take(&mut resource.scope_metrics) {
            for mut metric in std::mem::take(&mut scope.metrics) {
                for point in points(&mut metric) {
                    out.push(flat([part(&resource), part(&scope), part(&metric), point]));
                }
            }
        }
    }
    out
}

/// Takes the points out of a metric.
fn points(metric: &mut Metric) -> Vec<Part> {
    fn take<M: Message + std::fmt::Debug>(points: &mut Vec<M>) -> Vec<Part> {
        std::mem::take(points).iter().map(part).collect()
    }
    match &mut metric.data {
        None => Vec::new(),
        Some(Data::Gauge(data)) => take(&mut data.data_points),
        Some(Data::Sum(data)) => take(&mut data.data_points),
        Some(Data::Histogram(data)) => take(&mut data.data_points),
        Some(Data::ExponentialHistogram(data)) => take(&mut data.data_points),
        Some(Data::Summary(data)) => take(&mut data.data_points),
    }
}
