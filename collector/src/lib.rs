//! Everything that takes records in, and the small agent for a node.
//!
//! A door reads a request through the one bounded reader ([`body`]), turns it into the bytes of an OTLP request, and
//! gives it to a [`Sink`](devmesh_schema::Sink): the server's store or the agent's disk queue. It answers success only
//! after the sink has: acknowledged means durable. Nothing here knows a table or a query.

pub mod agent;
pub mod body;
pub mod counters;
pub mod direct;
pub mod forward;
pub mod host;
pub mod intake;
pub mod journald;
pub mod otlp;
mod prometheus;
pub mod queue;
pub mod rate;
pub mod recorded;
pub mod refusal;
pub mod remote_write;
pub mod scrape;
pub mod secret_file;
pub mod serve;
pub mod settings;
pub mod tls;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use devmesh_schema::TimestampNs;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use crate::{
    counters::{Counters, Door},
    intake::{Denied, Guard, Intake, Origins, Settings},
    rate::Rates,
    refusal::{Reason, Refusal},
    serve::Drained,
};

/// The listeners of the OTLP doors; `None` is a door that is off.
#[derive(Debug, Default)]
pub struct Doors {
    /// Port 4317.
    pub otlp_grpc: Option<TcpListener>,
    /// Port 4318.
    pub otlp_http: Option<TcpListener>,
    /// What both show their clients; `None`: they speak without TLS.
    pub tls: Option<tls::Tls>,
}

/// Opens the OTLP doors. Each serves until `stop`, then finishes the requests that it has begun and says how many.
pub fn spawn(doors: Doors, intake: &Arc<Intake>, stop: &CancellationToken) -> JoinSet<(Door, Drained)> {
    let mut tasks = JoinSet::new();
    let listeners = [(Door::OtlpGrpc, doors.otlp_grpc), (Door::OtlpHttp, doors.otlp_http)];
    for (door, listener) in listeners {
        let Some(listener) = listener else { continue };
        let router = otlp::router(Arc::clone(intake));
        let (tls, stop) = (doors.tls.clone(), stop.clone());
        tasks.spawn(async move { (door, serve::serve(listener, tls, router, stop).await) });
    }
    tasks
}

/// The attribute of a record whose time was none, so that it has that of its receipt.
pub(crate) const BAD_TIME: &str = "devmesh.bad_time";

/// The time now, in nanoseconds since the epoch.
pub(crate) fn now() -> TimestampNs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampNs::try_from(since.as_nanos()).unwrap_or(TimestampNs::MAX)
}
