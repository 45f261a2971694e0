//! `GET /query/services` and `GET /query/service-map`: rate, errors, duration; who calls whom.

use serde::Serialize;

use super::{Condition, TimeRange, cells};
use crate::{Engine, Error, SqlOptions};

/// Services or edges that an answer has at most.
const AT_MOST: usize = 10_000;

/// A service's figures, in the columns of the view `services`.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct ServiceFigures {
    /// Its name.
    pub service: String,
    /// Calls it answered.
    pub calls: u64,
    /// Of them, failed.
    pub errors: u64,
    /// Errors over calls; 0 without calls.
    pub error_rate: f64,
    /// Calls a second: over the range asked for, or from the first span to the last, a second at least.
    pub calls_per_second: f64,
    /// Duration of a call, milliseconds.
    pub p50_ms: Option<f64>,
    /// Likewise.
    pub p95_ms: Option<f64>,
    /// Likewise.
    pub p99_ms: Option<f64>,
    /// Its first span, RFC 3339.
    pub first_seen: Option<String>,
    /// Its last.
    pub last_seen: Option<String>,
}

/// An edge, in the columns of the view `service_edges`.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct ServiceEdge {
    /// Who calls.
    pub client: String,
    /// Who is called: a service, a database, or a host without spans of its own.
    pub server: String,
    /// Empty, `messaging_system`, `database` or `virtual_node`.
    pub connection_type: String,
    /// Calls.
    pub calls: u64,
    /// Of them, failed.
    pub errors: u64,
    /// Duration as the server saw it (as the client, where the server has no spans), milliseconds.
    pub p50_ms: Option<f64>,
    /// Likewise.
    pub p95_ms: Option<f64>,
    /// Likewise.
    pub p99_ms: Option<f64>,
}

/// Who calls whom.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct ServiceMap {
    /// The services.
    pub nodes: Vec<ServiceFigures>,
    /// Their calls.
    pub edges: Vec<ServiceEdge>,
}

impl Engine {
    /// Figures of every service with spans in the range, by name.
    ///
    /// # Errors
    /// As [`Engine::sql`].
    pub async fn services(&self, range: TimeRange) -> Result<Vec<ServiceFigures>, Error> {
        let sql = format!("SELECT * FROM ({}) ORDER BY service", self.view_over("services", range)?);
        let batches = self.sql(&sql, SqlOptions { limit: Some(AT_MOST), timeout: None }).await?.collect().await?;
        Ok(cells::rows(&batches).map(|row| figures(&row, range)).collect())
    }

    /// Services and the calls between them in the range.
    ///
    /// # Errors
    /// As [`Engine::sql`].
    pub async fn service_map(&self, range: TimeRange) -> Result<ServiceMap, Error> {
        let sql = format!("SELECT * FROM ({}) ORDER BY client, server", self.view_over("service_edges", range)?);
        let batches = self.sql(&sql, SqlOptions { limit: Some(AT_MOST), timeout: None }).await?.collect().await?;
        let edges = cells::rows(&batches).map(|row| edge(&row)).collect();
        Ok(ServiceMap { nodes: self.services(range).await?, edges })
    }

    /// A view's query with the table `spans` cut to a range.
    fn view_over(&self, view: &str, range: TimeRange) -> Result<String, Error> {
        let sql = devmesh_schema::views::VIEWS.iter().find(|(name, _)| *name == view).map(|(_, sql)| *sql);
        let sql = sql.ok_or_else(|| Error::Internal(format!("there is no view {view}")))?;
        if range == TimeRange::default() {
            return Ok(sql.into());
        }
        let mut condition = Condition::new();
        condition.time(range);
        let spans = format!("spans_in_range AS (SELECT * FROM spans WHERE {})", condition.0);
        Ok(format!(
            "WITH {spans} {}",
            sql.replace("FROM spans", "FROM spans_in_range").replace("JOIN spans", "JOIN spans_in_range")
        ))
    }
}

fn figures(row: &cells::Row<'_>, range: TimeRange) -> ServiceFigures {
    let (calls, errors) = (row.count("calls"), row.count("errors"));
    let seen = TimeRange { start: row.ns("first_seen"), end: row.ns("last_seen") };
    // One call lasts a millisecond, and is not a thousand a second.
    let seconds = range.seconds().or(seen.seconds().map(|seconds| seconds.max(1.0)));
    ServiceFigures {
        service: row.text_or_empty("service"),
        calls,
        errors,
        error_rate: if calls == 0 { 0.0 } else { errors as f64 / calls as f64 },
        calls_per_second: seconds.map_or(0.0, |seconds| calls as f64 / seconds),
        p50_ms: row.double("p50_ms"),
        p95_ms: row.double("p95_ms"),
        p99_ms: row.double("p99_ms"),
        first_seen: row.time("first_seen"),
        last_seen: row.time("last_seen"),
    }
}

fn edge(row: &cells::Row<'_>) -> ServiceEdge {
    ServiceEdge {
        client: row.text_or_empty("client"),
        server: row.text_or_empty("server"),
        connection_type: row.text_or_empty("connection_type"),
        calls: row.count("calls"),
        errors: row.count("errors"),
        p50_ms: row.double("p50_ms"),
        p95_ms: row.double("p95_ms"),
        p99_ms: row.double("p99_ms"),
    }
}
