//! What travels from a door to the log: one OTLP export request and what the door knew of it.

use std::{fmt, str::FromStr, sync::Arc};

use bytes::Bytes;

use crate::TimestampNs;

/// One of OpenTelemetry's three signals; each has one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Log records, in the table `logs`.
    Logs,
    /// Spans, in the table `spans`.
    Traces,
    /// Metric data points, in the table `metrics`.
    Metrics,
}

impl Signal {
    /// All signals, in the order in which they are listed everywhere.
    pub const ALL: [Signal; 3] = [Signal::Logs, Signal::Traces, Signal::Metrics];

    /// OpenTelemetry's name of the signal, as in the path `/v1/{name}`.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Logs => "logs",
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
        }
    }

    /// The SQL table that holds the signal's records.
    pub fn table(self) -> &'static str {
        match self {
            Signal::Logs => "logs",
            Signal::Traces => "spans",
            Signal::Metrics => "metrics",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// By which of the two ways records came in (CONTRACT §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IngestPath {
    /// OTLP, journald, scrape, remote write.
    Collector,
    /// JSON posted to `/ingest/...` and `/v1/ingest`.
    Direct,
}

impl IngestPath {
    /// The value of the column `ingest_path`.
    pub fn name(self) -> &'static str {
        match self {
            IngestPath::Collector => "collector",
            IngestPath::Direct => "direct",
        }
    }
}

/// A sender's name for a batch: the same id is stored once. 1 to 128 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(Arc<str>);

impl BatchId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no batch id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch id is 1 to 128 visible ASCII characters")]
pub struct InvalidBatchId;

impl FromStr for BatchId {
    type Err = InvalidBatchId;

    fn from_str(text: &str) -> Result<Self, InvalidBatchId> {
        let visible = text.bytes().all(|b| b.is_ascii_graphic());
        if text.is_empty() || text.len() > 128 || !visible {
            return Err(InvalidBatchId);
        }
        Ok(Self(text.into()))
    }
}

/// One export request, committed together or not at all.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which of the three `Export…ServiceRequest` messages `request` holds.
    pub signal: Signal,
    /// The sender's id, where it gave one.
    pub id: Option<BatchId>,
    /// By which way it came in.
    pub path: IngestPath,
    /// When the door had read it, ns since the epoch. Stands in for a record's missing time.
    pub received: TimestampNs,
    /// The protobuf bytes of `opentelemetry.proto.collector.{signal}.v1.Export…ServiceRequest`.
    pub request: Bytes,
}
