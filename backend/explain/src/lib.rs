//! What happened in a window, and why: suspects in order, each with evidence that anybody can ask again.
//!
//! There is no I/O here, and no model. A [`Question`] becomes a few SQL [`statements`] that aggregate both windows; their rows are
//! [`Facts`]; [`judge()`] compares the windows and ranks services; what it says carries the SQL that proves it, which is asked too, and
//! [`Judgement::proven`] makes the answer of that. Whoever has an engine asks the statements (`devmesh` does).
//!
//! ```text
//! Question ─ statements ─(SQL)→ Facts ─ judge → Judgement ─ claims ─(SQL)→ proven → Explanation
//! ```
//!
//! A claim whose statement shows nothing is dropped: an explanation says only what its evidence shows.

pub mod answer;
mod claims;
mod collect;
mod facts;
mod judge;
mod logs;
mod metrics;
mod question;
mod robust;
pub mod statements;
mod strip;
mod traces;

pub use answer::{Explanation, Proof, Verdict};
pub use claims::Claim;
pub use facts::{Facts, Source};
pub use judge::{Judgement, judge};
pub use question::{Question, Range, Wrong};

/// What a finding is about. The order is that of the tables of weights in `judge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Between a caller and the service, outside of both, time is lost.
    CallLatency,
    /// The service's own operations take longer, without what they wait for.
    SelfTime,
    /// Requests of an operation make fewer calls of one kind than before.
    MissingCalls,
    /// Requests of an operation return without the calls that they made before.
    EarlyReturn,
    /// Spans fail that did not.
    FailingRequests,
    /// Warnings and errors in logs that were fewer.
    ErrorLogs,
    /// Logs that were not written before.
    NewLogs,
    /// Logs that are written more often.
    MoreLogs,
    /// Logs that are not written any more.
    GoneLogs,
    /// Logs that are written less often.
    FewerLogs,
    /// The processor is busier.
    Cpu,
    /// Memory, disks, queues fill.
    Saturation,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 12] = [
        Kind::CallLatency,
        Kind::SelfTime,
        Kind::MissingCalls,
        Kind::EarlyReturn,
        Kind::FailingRequests,
        Kind::ErrorLogs,
        Kind::NewLogs,
        Kind::MoreLogs,
        Kind::GoneLogs,
        Kind::FewerLogs,
        Kind::Cpu,
        Kind::Saturation,
    ];

    /// Its name in an answer.
    pub fn name(self) -> &'static str {
        match self {
            Kind::CallLatency => "call_latency",
            Kind::SelfTime => "self_time",
            Kind::MissingCalls => "missing_calls",
            Kind::EarlyReturn => "early_return",
            Kind::FailingRequests => "failing_requests",
            Kind::ErrorLogs => "error_logs",
            Kind::NewLogs => "new_logs",
            Kind::MoreLogs => "more_logs",
            Kind::GoneLogs => "gone_logs",
            Kind::FewerLogs => "fewer_logs",
            Kind::Cpu => "cpu",
            Kind::Saturation => "saturation",
        }
    }
}
