//! Queries that run in the database, and the same asked of it directly, one after the other.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::Server;

/// How often each side is asked.
const RUNS: usize = 9;
/// What devmesh may take beyond the database: a share, and ms.
const SHARE: f64 = 1.2;
const MORE_MS: f64 = 5.0;

/// A query of a user.
pub(super) struct Query {
    pub(super) name: &'static str,
    /// Of devmesh.
    sql: String,
    /// Of ClickHouse, on the exporter's tables.
    pub(super) clickhouse: String,
    /// Of MariaDB, on `log_events` and `spans`.
    pub(super) mariadb: String,
}

/// The queries, about things that are in the data.
pub(super) fn queries(server: &Server) -> Result<Vec<Query>> {
    let text = |sql: &str| -> Result<String> {
        let rows = server.sql(sql)?;
        let value = rows.first().and_then(|row| row.first()).and_then(|value| value.as_str());
        Ok(value.with_context(|| format!("{sql} gave no text"))?.to_owned())
    };
    let values = [
        (":service", text("SELECT service FROM logs GROUP BY service ORDER BY count(*) DESC LIMIT 1 OFFSET 2")?),
        (":trace", text("SELECT trace_id FROM spans ORDER BY time DESC LIMIT 1 OFFSET 4000")?),
        (
            ":log_trace",
            text("SELECT trace_id FROM logs WHERE trace_id IS NOT NULL ORDER BY time DESC LIMIT 1 OFFSET 4000")?,
        ),
        (":tenant", text("SELECT attributes['tenant.id'] FROM logs ORDER BY time DESC LIMIT 1 OFFSET 2000")?),
    ];
    let filled = |sql: &str| {
        // The longer name first.
        let named = [2, 0, 1, 3].into_iter().map(|at: usize| &values[at]);
        named.fold(sql.to_owned(), |sql, (place, value)| sql.replace(place, value))
    };
    let query = |(name, sql, clickhouse, mariadb): &(&'static str, &str, &str, &str)| Query {
        name,
        sql: filled(sql),
        clickhouse: filled(clickhouse),
        mariadb: filled(mariadb),
    };
    Ok(QUERIES.iter().map(query).collect())
}

/// Name, and what devmesh, ClickHouse and MariaDB are asked.
const QUERIES: [(&str, &str, &str, &str); 9] = [
    (
        "count by service and minute",
        "SELECT service, date_bin(INTERVAL '1 minute', time) AS minute, count(*) AS n FROM logs GROUP BY service, minute",
        "SELECT ServiceName, toStartOfMinute(Timestamp) AS minute, count() FROM otel_logs GROUP BY ServiceName, minute",
        "SELECT service, UNIX_TIMESTAMP(timestamp) DIV 60 AS minute, COUNT(*) FROM log_events GROUP BY service, minute",
    ),
    (
        "errors by minute",
        "SELECT date_bin(INTERVAL '1 minute', time) AS minute, count(*) AS n FROM logs WHERE level = 'ERROR' GROUP BY minute",
        "SELECT toStartOfMinute(Timestamp) AS minute, count() FROM otel_logs WHERE SeverityText = 'ERROR' GROUP BY minute",
        "SELECT UNIX_TIMESTAMP(timestamp) DIV 60 AS minute, COUNT(*) FROM log_events WHERE level = 'ERROR' GROUP BY minute",
    ),
    (
        "newest 100 of a service",
        "SELECT time, level, body FROM logs WHERE service = ':service' ORDER BY time DESC LIMIT 100",
        "SELECT Timestamp, SeverityText, Body FROM otel_logs WHERE ServiceName = ':service' ORDER BY Timestamp DESC LIMIT 100",
        "SELECT timestamp, level, message FROM log_events WHERE service = ':service' ORDER BY timestamp DESC LIMIT 100",
    ),
    (
        "newest 100 with a word",
        "SELECT time, service, body FROM logs WHERE matches(body, 'failed') ORDER BY time DESC LIMIT 100",
        "SELECT Timestamp, ServiceName, Body FROM otel_logs WHERE hasToken(lower(Body), 'failed') ORDER BY Timestamp DESC LIMIT 100",
        "SELECT timestamp, service, message FROM log_events WHERE message LIKE '%failed%' ORDER BY timestamp DESC LIMIT 100",
    ),
    (
        "100 with a word",
        "SELECT time, service, body FROM logs WHERE matches(body, 'failed') LIMIT 100",
        "SELECT Timestamp, ServiceName, Body FROM otel_logs WHERE hasToken(lower(Body), 'failed') LIMIT 100",
        "SELECT timestamp, service, message FROM log_events WHERE message LIKE '%failed%' LIMIT 100",
    ),
    (
        "spans of a trace",
        "SELECT time, service, name, duration_ns, span_id, parent_span_id FROM spans WHERE trace_id = ':trace'",
        "SELECT Timestamp, ServiceName, SpanName, Duration, SpanId, ParentSpanId FROM otel_traces WHERE TraceId = ':trace'",
        "SELECT time_ns, service, name, duration_ns, span_id, parent_span_id FROM spans WHERE trace_id = ':trace'",
    ),
    (
        "logs of a trace",
        "SELECT time, service, body FROM logs WHERE trace_id = ':log_trace'",
        "SELECT Timestamp, ServiceName, Body FROM otel_logs WHERE TraceId = ':log_trace'",
        "SELECT timestamp, service, message FROM log_events WHERE trace_id = ':log_trace'",
    ),
    (
        "newest 100 with an attribute",
        "SELECT time, service, body FROM logs WHERE attributes['tenant.id'] = ':tenant' ORDER BY time DESC LIMIT 100",
        "SELECT Timestamp, ServiceName, Body FROM otel_logs WHERE LogAttributes['tenant.id'] = ':tenant' ORDER BY Timestamp DESC LIMIT 100",
        "SELECT timestamp, service, message FROM log_events WHERE JSON_VALUE(meta_json, '$.\"tenant.id\"') = ':tenant' \
         ORDER BY timestamp DESC LIMIT 100",
    ),
    (
        "count with an attribute",
        "SELECT count(*) AS n FROM logs WHERE attributes['tenant.id'] = ':tenant'",
        "SELECT count() FROM otel_logs WHERE LogAttributes['tenant.id'] = ':tenant'",
        "SELECT COUNT(*) FROM log_events WHERE JSON_VALUE(meta_json, '$.\"tenant.id\"') = ':tenant'",
    ),
];

/// Asks both sides in turn and prints the middle times. `direct` answers how many rows there were.
pub(super) fn compare(
    server: &Server,
    name: &str,
    queries: &[Query],
    mut direct: impl FnMut(&Query) -> Result<usize>,
) -> Result<()> {
    println!("| {name} | rows | direct ms | devmesh ms | allowed ms | |\n|---|---|---|---|---|---|");
    for query in queries {
        let mut times = [Vec::new(), Vec::new()];
        let mut rows = 0;
        // The first of each warms up.
        for run in 0..=RUNS {
            let begin = Instant::now();
            let theirs = direct(query).context(query.name)?;
            let middle = Instant::now();
            let ours = server.sql(&query.sql).context(query.name)?.len();
            let end = Instant::now();
            ensure!(ours == theirs && ours > 0, "{}: {ours} rows of devmesh, {theirs} of {name}", query.name);
            rows = ours;
            if run > 0 {
                times[0].push((middle - begin).as_secs_f64() * 1000.0);
                times[1].push((end - middle).as_secs_f64() * 1000.0);
            }
        }
        let [theirs, ours] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
        let allowed = theirs * SHARE + MORE_MS;
        let verdict = if ours <= allowed { "ok" } else { "too slow" };
        println!("| {} | {rows} | {theirs:.1} | {ours:.1} | {allowed:.1} | {verdict} |", query.name);
    }
    Ok(())
}
