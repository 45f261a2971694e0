//! What remote write and scrapes have in common: series with samples, checked and written as an OTLP request.
//!
//! A series that breaks a rule is refused alone, with a reason; the others are kept. [`devmesh_schema::prometheus`] says
//! how a series becomes points. Nothing that the sink would refuse gets as far as the request, so that the counts here are
//! those of what is stored.

mod exemplar;
mod families;
mod histogram;
mod labels;
mod request;

pub(crate) use self::{
    families::{About, Families, Type},
    histogram::{Histogram, Number, Reset, Side},
    request::{Bounds, Ready, Refused, Request},
};

/// The bits of the value that says that a series ended (Prometheus' `StaleNaN`).
pub(crate) const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Whether the value says that a series ended. An ordinary NaN does not.
pub(crate) fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE
}

/// A number at a time. Times are ms since the epoch; a start of 0 is none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) time: i64,
    pub(crate) start: i64,
    pub(crate) value: f64,
}

/// One observation of many, with what says where it comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exemplar<'a> {
    pub(crate) labels: Vec<(&'a str, &'a str)>,
    pub(crate) time: i64,
    pub(crate) value: f64,
}

/// A series as it came, with its metric's name among the labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series<'a> {
    pub(crate) labels: Vec<(&'a str, &'a str)>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) histograms: Vec<Histogram>,
    pub(crate) exemplars: Vec<Exemplar<'a>>,
    /// What the sender says of the metric.
    pub(crate) about: Option<About<'a>>,
}

impl Series<'_> {
    /// Empties it for the next one, and keeps its room.
    pub(crate) fn clear(&mut self) {
        self.labels.clear();
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.about = None;
    }

    /// Samples, histograms and exemplars.
    pub(crate) fn items(&self) -> u64 {
        self.counts().total()
    }

    fn counts(&self) -> Counts {
        Counts {
            samples: self.samples.len() as u64,
            histograms: self.histograms.len() as u64,
            exemplars: self.exemplars.len() as u64,
        }
    }
}

/// How many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) samples: u64,
    pub(crate) histograms: u64,
    pub(crate) exemplars: u64,
}

impl Counts {
    pub(crate) fn total(self) -> u64 {
        self.samples + self.histograms + self.exemplars
    }
}

/// Why something was refused: a stable word for the counters, and what was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Bad {
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}
