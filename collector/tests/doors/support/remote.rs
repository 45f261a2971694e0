//! The messages of remote write, as senders have them, and requests with them.

use bytes::Bytes;
use prost::{Message, Oneof};

use super::{Reply, Server};

/// The path of the door.
pub(crate) const WRITE: &str = "/api/v1/write";
pub(crate) const V1: &str = "application/x-protobuf";
pub(crate) const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
pub(crate) const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) metadata: Vec<MetricMetadata>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(crate) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Label {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sample {
    #[prost(double, tag = "1")]
    pub(crate) value: f64,
    #[prost(int64, tag = "2")]
    pub(crate) timestamp: i64,
    #[prost(int64, tag = "3")]
    pub(crate) start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    pub(crate) labels: Vec<Label>,
    #[prost(double, tag = "2")]
    pub(crate) value: f64,
    #[prost(int64, tag = "3")]
    pub(crate) timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MetricMetadata {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(string, tag = "2")]
    pub(crate) family: String,
    #[prost(string, tag = "4")]
    pub(crate) help: String,
    #[prost(string, tag = "5")]
    pub(crate) unit: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Histogram {
    #[prost(oneof = "Count", tags = "1, 2")]
    pub(crate) count: Option<Count>,
    #[prost(double, tag = "3")]
    pub(crate) sum: f64,
    #[prost(sint32, tag = "4")]
    pub(crate) schema: i32,
    #[prost(double, tag = "5")]
    pub(crate) zero_threshold: f64,
    #[prost(oneof = "Zero", tags = "6, 7")]
    pub(crate) zero: Option<Zero>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) negative_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "9")]
    pub(crate) negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub(crate) negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) positive_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "12")]
    pub(crate) positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub(crate) positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    pub(crate) reset_hint: i32,
    #[prost(int64, tag = "15")]
    pub(crate) timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub(crate) custom_values: Vec<f64>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Count {
    #[prost(uint64, tag = "1")]
    Int(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Zero {
    #[prost(uint64, tag = "6")]
    Int(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Span {
    #[prost(sint32, tag = "1")]
    pub(crate) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(crate) length: u32,
}

pub(crate) mod v2 {
    use prost::Message;

    use super::{Histogram, Sample};

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Request {
        #[prost(string, repeated, tag = "4")]
        pub(crate) symbols: Vec<String>,
        #[prost(message, repeated, tag = "5")]
        pub(crate) timeseries: Vec<TimeSeries>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct TimeSeries {
        #[prost(uint32, repeated, tag = "1")]
        pub(crate) labels: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) histograms: Vec<Histogram>,
        #[prost(message, repeated, tag = "4")]
        pub(crate) exemplars: Vec<Exemplar>,
        #[prost(message, optional, tag = "5")]
        pub(crate) metadata: Option<Metadata>,
        #[prost(int64, tag = "6")]
        pub(crate) created: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Exemplar {
        #[prost(uint32, repeated, tag = "1")]
        pub(crate) labels: Vec<u32>,
        #[prost(double, tag = "2")]
        pub(crate) value: f64,
        #[prost(int64, tag = "3")]
        pub(crate) timestamp: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Metadata {
        #[prost(int32, tag = "1")]
        pub(crate) kind: i32,
        #[prost(uint32, tag = "3")]
        pub(crate) help: u32,
        #[prost(uint32, tag = "4")]
        pub(crate) unit: u32,
    }

    impl Request {
        pub(crate) fn new() -> Self {
            Self { symbols: vec![String::new()], timeseries: Vec::new() }
        }

        /// The references of texts, which stand in the table from now on.
        pub(crate) fn refs(&mut self, texts: &[&str]) -> Vec<u32> {
            let place = |table: &mut Vec<String>, text: &str| {
                let known = table.iter().position(|known| known == text);
                known.unwrap_or_else(|| {
                    table.push(text.to_owned());
                    table.len() - 1
                }) as u32
            };
            texts.iter().map(|text| place(&mut self.symbols, text)).collect()
        }

        /// Adds a series of one sample.
        pub(crate) fn sample(&mut self, labels: &[&str], value: f64, timestamp: i64) -> &mut TimeSeries {
            let labels = self.refs(labels);
            let samples = vec![Sample { value, timestamp, start_timestamp: 0 }];
            self.timeseries.push(TimeSeries { labels, samples, ..TimeSeries::default() });
            self.timeseries.last_mut().unwrap()
        }

        /// Adds a series of one histogram.
        pub(crate) fn histogram(&mut self, labels: &[&str], histogram: Histogram) -> &mut TimeSeries {
            let labels = self.refs(labels);
            self.timeseries.push(TimeSeries { labels, histograms: vec![histogram], ..TimeSeries::default() });
            self.timeseries.last_mut().unwrap()
        }
    }
}

/// Now, ms since the epoch.
pub(crate) fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Names and values in turn as labels.
pub(crate) fn labels(texts: &[&str]) -> Vec<Label> {
    let label = |pair: &[&str]| Label { name: pair[0].into(), value: pair[1].into() };
    texts.chunks(2).map(label).collect()
}

/// A series of one sample.
pub(crate) fn sample(texts: &[&str], value: f64, timestamp: i64) -> TimeSeries {
    let samples = vec![Sample { value, timestamp, start_timestamp: 0 }];
    TimeSeries { labels: labels(texts), samples, ..TimeSeries::default() }
}

pub(crate) fn v1(timeseries: Vec<TimeSeries>) -> Vec<u8> {
    WriteRequest { timeseries, metadata: Vec::new() }.encode_to_vec()
}

pub(crate) fn snappy(bytes: &[u8]) -> Bytes {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap().into()
}

/// A histogram of 27 observations: two negative, one zero, five positive buckets with a gap.
pub(crate) fn native(timestamp: i64) -> Histogram {
    Histogram {
        count: Some(Count::Int(27)),
        sum: 18.4,
        zero: Some(Zero::Int(1)),
        zero_threshold: 0.001,
        negative_spans: vec![Span { offset: 0, length: 2 }],
        negative_deltas: vec![1, 1],
        positive_spans: vec![Span { offset: 0, length: 3 }, Span { offset: 2, length: 2 }],
        positive_deltas: vec![1, 2, 1, 3, 1],
        timestamp,
        ..Histogram::default()
    }
}

impl Server {
    /// Sends a message of remote write as senders do.
    pub(crate) async fn remote_write(&self, kind: &str, message: &[u8]) -> Reply {
        self.remote_write_with(&[("content-type", kind), ("content-encoding", "snappy")], snappy(message)).await
    }

    pub(crate) async fn remote_write_with(&self, headers: &[(&str, &str)], body: Bytes) -> Reply {
        self.client.send(self.api, WRITE, headers, body).await
    }
}

impl Reply {
    /// Samples, histograms and exemplars written, as the answer's headers say; -1 for none.
    pub(crate) fn written(&self) -> [i64; 3] {
        ["samples", "histograms", "exemplars"].map(|what| {
            let name = format!("x-prometheus-remote-write-{what}-written");
            self.headers.get(name).map_or(-1, |value| value.to_str().unwrap().parse().unwrap())
        })
    }
}
