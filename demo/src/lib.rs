//! Deterministic telemetry of an imaginary shop, for demonstrations, tests and benchmarks.
//!
//! The same [`Plan`] gives the same bytes on every machine. Requests are `Export…ServiceRequest` messages as an
//! OpenTelemetry SDK sends them: resources with a dozen attributes, records with 15 to 20, bodies from some sixty
//! templates with random ids in them, traces of 8 to 40 spans that go through several services.

mod logs;
mod metrics;
mod rng;
mod sentences;
mod shop;
mod traces;

pub use rng::Rng;
pub use sentences::{QUESTIONS, sentences};

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Start of the random sequence: other seeds give other data of the same kind.
    pub seed: u64,
    /// Records in all.
    pub records: u64,
    /// Records a request.
    pub batch: u64,
    /// Time of the first record, ns since the epoch.
    pub start_ns: u64,
    /// Time from the first record to the last, ns.
    pub span_ns: u64,
}

impl Plan {
    /// The time of the `n`-th record.
    fn time(&self, n: u64) -> u64 {
        let offset = u128::from(n) * u128::from(self.span_ns) / u128::from(self.records.max(1));
        self.start_ns + u64::try_from(offset).unwrap_or(u64::MAX)
    }
}

/// An export request, ready to be posted.
#[derive(Clone, Debug)]
pub struct Request {
    /// The protobuf bytes.
    pub body: Vec<u8>,
    /// Leaf items in it.
    pub records: u64,
}

/// `ExportLogsServiceRequest`s.
pub fn logs(plan: Plan) -> impl Iterator<Item = Request> {
    logs::Logs::new(plan)
}

/// `ExportTraceServiceRequest`s. Traces are never cut, so a request may hold up to 40 spans more than `plan.batch`.
pub fn traces(plan: Plan) -> impl Iterator<Item = Request> {
    traces::Traces::new(plan)
}

/// `ExportMetricsServiceRequest`s: rounds over the same series.
pub fn metrics(plan: Plan) -> impl Iterator<Item = Request> {
    metrics::Metrics::new(plan)
}
