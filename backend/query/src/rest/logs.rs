//! `GET /query/logs`.

use serde::Serialize;

use super::{Condition, TimeRange, cells, quote};
use crate::{Engine, Error, SqlOptions};

/// Which logs.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// Of this service.
    pub service: Option<String>,
    /// Of this host.
    pub host: Option<String>,
    /// Of this level, whatever the case. WARN and WARNING are one.
    pub level: Option<String>,
    /// Of this trace: 32 hex digits, whatever the case.
    pub trace_id: Option<String>,
    /// With this template.
    pub pattern_id: Option<String>,
    /// In whose message all these words stand.
    pub q: Option<String>,
    /// From when to when.
    pub range: TimeRange,
    /// How many.
    pub limit: usize,
    /// How many of the newest to leave out.
    pub offset: usize,
}

/// A log record in the columns of `log_events`.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[allow(missing_docs, reason = "the columns of log_events, CONTRACT §4")]
pub struct LogEvent {
    pub id: String,
    pub timestamp: String,
    pub source: String,
    pub service: String,
    pub host: String,
    pub level: String,
    pub trace_id: Option<String>,
    pub span_id: Option<String>,
    pub event_type: Option<String>,
    pub error_code: Option<String>,
    pub message: Option<String>,
    pub meta_json: Option<serde_json::Value>,
}

/// What [`event`] reads, of `logs`.
pub(super) const COLUMNS: &str = "record_id(time, observed_time, service, host, level, trace_id, span_id, body, map_json(attributes)) AS id, \
     time AS timestamp, source, service, host, level, trace_id, span_id, \
     coalesce(event_name, attributes['event_type']) AS event_type, attributes['error_code'] AS error_code, \
     body AS message, map_json(attributes) AS meta_json";

impl Engine {
    /// The pattern that `id` has become part of: an id that was looked up a while ago still finds its logs.
    fn current_pattern(&self, id: &str) -> String {
        let id = id.to_ascii_lowercase();
        let now = devmesh_store::parse_pattern_id(&id).and_then(|id| self.store().patterns()?.pattern_of(id));
        now.map_or(id, devmesh_store::pattern_id_text)
    }

    /// Logs, newest first.
    ///
    /// # Errors
    /// As [`Engine::sql`].
    pub async fn logs(&self, query: &LogQuery) -> Result<Vec<LogEvent>, Error> {
        let mut condition = Condition::new();
        condition
            .level(query.level.as_deref())
            .time(query.range)
            .equals("service", query.service.as_deref())
            .equals("host", query.host.as_deref())
            .equals("trace_id", query.trace_id.as_deref().map(str::to_ascii_lowercase).as_deref())
            .equals("pattern_id", query.pattern_id.as_deref().map(|id| self.current_pattern(id)).as_deref());
        if let Some(q) = &query.q {
            condition.and(format_args!("matches(body, {})", quote(q)));
        }
        // The rows are chosen before anything is made of them.
        let sql = format!(
            "SELECT {COLUMNS} FROM (SELECT * FROM logs WHERE {} ORDER BY time DESC LIMIT {} OFFSET {}) \
             ORDER BY time DESC",
            condition.0, query.limit, query.offset
        );
        let options = SqlOptions { limit: Some(query.limit), timeout: None };
        let batches = self.sql(&sql, options).await?.collect().await?;
        Ok(cells::rows(&batches).map(|row| event(&row)).collect())
    }
}

pub(super) fn event(row: &cells::Row<'_>) -> LogEvent {
    LogEvent {
        id: row.text_or_empty("id"),
        timestamp: row.time("timestamp").unwrap_or_default(),
        source: row.text_or_empty("source"),
        service: row.text_or_empty("service"),
        host: row.text_or_empty("host"),
        level: row.text_or_empty("level"),
        trace_id: row.text("trace_id"),
        span_id: row.text("span_id"),
        event_type: row.text("event_type"),
        error_code: row.text("error_code"),
        message: row.text("message"),
        meta_json: row.text("meta_json").and_then(|text| serde_json::from_str(&text).ok()),
    }
}
