//! `/metrics`: the server about itself, in the Prometheus text format.
//!
//! `devmesh_received_items_total = devmesh_stored_items_total + devmesh_rejected_items_total + devmesh_deduplicated_items_total`
//! holds for each signal at all times.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use devmesh_collector::{Counters, Door, Reason};
use devmesh_schema::{Signal, limits};
use devmesh_store::{Stats, TableStats};

use super::{Api, process};

/// Figures of the server.
#[utoipa::path(get, path = "/metrics", tag = "server",
    responses((status = 200, description = "Prometheus text format", content_type = "text/plain")))]
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let mut page = Page::default();
    signals(&mut page, &api.store.stats());
    doors(&mut page, &api);
    queries(&mut page, &api);
    search(&mut page, &api);
    rules(&mut page, &api);
    graph(&mut page, &api).await;
    limit_values(&mut page, &api);
    machine(&mut page, &api);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page.0).into_response()
}

/// The graph; where a database that keeps it is away, its size is left out.
async fn graph(page: &mut Page, api: &Api) {
    let Some(graph) = &api.graph else { return };
    let lost = graph.lost() as f64;
    let help = "Commits that came faster than the graph read them; what they show was read by SQL.";
    page.one("devmesh_graph_missed_commits_total", "counter", help, lost);
    let Ok(size) = graph.graph().size().await else { return };
    page.one("devmesh_graph_nodes", "gauge", "Nodes of the graph.", size.nodes as f64);
    page.one("devmesh_graph_edges", "gauge", "Edges of the graph.", size.edges as f64);
    let refused = size.refused as f64;
    page.one("devmesh_graph_refused_total", "counter", "Nodes and edges that found no room.", refused);
}

/// The page as it is written.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// Label values are words of our own: nothing in them needs escaping.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.0.push_str(&format!("{name}{labels} {value}\n"));
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

type Figure = (&'static str, &'static str, &'static str, fn(&TableStats) -> u64);

const FIGURES: [Figure; 10] = [
    ("devmesh_received_items_total", "counter", "Items of accepted requests: stored + rejected + deduplicated.", |t| {
        t.received
    }),
    ("devmesh_stored_items_total", "counter", "Items stored.", |t| t.stored),
    ("devmesh_deduplicated_items_total", "counter", "Items whose batch id was known already.", |t| t.deduplicated),
    ("devmesh_memory_rows", "gauge", "Rows in memory, in the log but in no file yet.", |t| t.memory_rows),
    ("devmesh_file_rows", "gauge", "Rows in files.", |t| t.file_rows),
    ("devmesh_file_bytes", "gauge", "Bytes of files.", |t| t.file_bytes),
    ("devmesh_files", "gauge", "Files.", |t| t.files),
    ("devmesh_database_rows", "gauge", "Rows in the database, as it estimates them.", |t| t.database_rows),
    ("devmesh_database_bytes", "gauge", "Bytes of the database's tables, as it estimates them.", |t| t.database_bytes),
    ("devmesh_unusable_items_total", "counter", "Items refused for good, whatever the reason.", |t| t.rejected),
];

fn signals(page: &mut Page, stats: &Stats) {
    for (name, kind, help, figure) in FIGURES {
        page.family(name, kind, help);
        for (signal, table) in Signal::ALL.iter().zip(&stats.tables) {
            page.sample(name, &[("signal", signal.name())], figure(table) as f64);
        }
    }
    page.family("devmesh_rejected_items_total", "counter", "Items refused for good, by reason.");
    for (signal, reason, count) in &stats.rejections {
        page.sample("devmesh_rejected_items_total", &[("signal", signal.name()), ("reason", reason)], *count as f64);
    }
    page.one("devmesh_wal_bytes", "gauge", "Bytes of the write-ahead log.", stats.wal_bytes as f64);
    page.one("devmesh_memory_bytes", "gauge", "Bytes of rows in memory.", stats.memory_bytes as f64);
    let bytes = stats.spilled_bytes as f64;
    page.one("devmesh_spilled_bytes", "gauge", "Bytes of log records whose rows found no room in memory.", bytes);
    if let Some(database) = &stats.database {
        let up = f64::from(u8::from(database.up));
        page.one("devmesh_database_up", "gauge", "Whether the database answered when it was last asked.", up);
        let blocks = database.blocks as f64;
        page.one("devmesh_database_blocks_total", "counter", "Blocks of rows that the database took over.", blocks);
        let retries = database.retries as f64;
        page.one("devmesh_database_retries_total", "counter", "Times that a block had to be sent again.", retries);
    }
    page.one("devmesh_commits_total", "counter", "Commits to the log; each is one fdatasync.", stats.commits as f64);
    page.one("devmesh_wal_replayed_total", "counter", "Log records replayed at the start.", stats.replayed as f64);
    page.one(
        "devmesh_quarantined_total",
        "counter",
        "Damaged files and records set aside.",
        stats.quarantined.0 as f64,
    );
    let bytes = stats.quarantined.1 as f64;
    page.one("devmesh_quarantined_bytes_total", "counter", "Bytes of what was set aside.", bytes);
}

fn doors(page: &mut Page, api: &Api) {
    let counters: &Counters = api.intake.counters();
    page.family("devmesh_requests_total", "counter", "Requests that reached a door.");
    for door in Door::ALL {
        page.sample("devmesh_requests_total", &[("door", door.name())], counters.requests(door) as f64);
    }
    page.family("devmesh_request_bytes_total", "counter", "Bytes of committed requests, as OTLP protobuf.");
    for door in Door::ALL {
        for signal in Signal::ALL {
            let labels = [("door", door.name()), ("signal", signal.name())];
            page.sample("devmesh_request_bytes_total", &labels, counters.taken(door, signal).bytes as f64);
        }
    }
    page.family("devmesh_refused_requests_total", "counter", "Requests refused as a whole, by reason.");
    for door in Door::ALL {
        for reason in Reason::ALL {
            let count = counters.refused(door, reason);
            if count > 0 {
                let labels = [("door", door.name()), ("reason", reason.label())];
                page.sample("devmesh_refused_requests_total", &labels, count as f64);
            }
        }
    }
    let senders = api.intake.senders() as f64;
    page.one("devmesh_rate_senders", "gauge", "Tokens and addresses whose rate is counted at present.", senders);
    let held = api.intake.bytes_held() as f64;
    page.one("devmesh_intake_bytes", "gauge", "Bytes of requests that the doors hold.", held);
}

fn queries(page: &mut Page, api: &Api) {
    let figures = api.queries.figures();
    page.family("devmesh_queries_total", "counter", "Queries answered, by outcome.");
    for (outcome, count) in [("ok", figures.ok), ("refused", figures.refused), ("failed", figures.failed)] {
        page.sample("devmesh_queries_total", &[("outcome", outcome)], count as f64);
    }
    page.one("devmesh_query_seconds_total", "counter", "Time spent on queries.", figures.seconds);
    page.one("devmesh_tails", "gauge", "Live tails that are open.", api.tails.open() as f64);
}

fn search(page: &mut Page, api: &Api) {
    let Some(status) = api.search.as_ref().map(crate::meaning::Search::status) else { return };
    page.one("devmesh_search_patterns", "gauge", "Patterns of logs that search finds.", status.patterns as f64);
    let waiting = status.waiting as f64;
    page.one("devmesh_search_waiting_patterns", "gauge", "Patterns that wait for their vector.", waiting);
    let embedded = status.embedded as f64;
    page.one("devmesh_search_embedded_patterns_total", "counter", "Vectors made since the start.", embedded);
    let ready = f64::from(u8::from(status.weights == devmesh_insight::meaning::Weights::Ready));
    page.one("devmesh_search_model_ready", "gauge", "Whether search goes by meaning; else by words alone.", ready);
}

fn rules(page: &mut Page, api: &Api) {
    let (rules, delivery) = (&api.rules, api.rules.delivery());
    let groups = rules.groups();
    let all = || groups.iter().flat_map(|group| &group.rules);
    page.one("devmesh_rule_groups", "gauge", "Groups of rules in force.", groups.len() as f64);
    page.family("devmesh_rules", "gauge", "Rules in force.");
    let alerting = all().filter(|running| running.rule.is_alert()).count();
    page.sample("devmesh_rules", &[("type", "alerting")], alerting as f64);
    page.sample("devmesh_rules", &[("type", "recording")], (all().count() - alerting) as f64);
    let states: Vec<&str> =
        all().flat_map(|running| running.state().alerts.active().map(|a| a.state.name()).collect::<Vec<_>>()).collect();
    page.family("devmesh_alerts", "gauge", "Alerts that are there, by state.");
    for name in ["pending", "firing"] {
        let count = states.iter().filter(|state| **state == name).count();
        page.sample("devmesh_alerts", &[("state", name)], count as f64);
    }
    let figures = &rules.figures;
    let micros = figures.micros.load(Relaxed) as f64 / 1e6;
    for (name, help, value) in [
        ("devmesh_rule_evaluations_total", "Evaluations of rules.", figures.evaluations.load(Relaxed) as f64),
        ("devmesh_rule_evaluation_failures_total", "Those that failed.", figures.failed.load(Relaxed) as f64),
        ("devmesh_rule_evaluation_seconds_total", "Time that they took.", micros),
        ("devmesh_rule_group_missed_total", "Turns of groups that passed unused.", figures.missed.load(Relaxed) as f64),
        ("devmesh_rule_group_slow_total", "Turns longer than their interval.", figures.slow.load(Relaxed) as f64),
        ("devmesh_rule_refused_series_total", "Series that cannot be stored.", figures.refused.load(Relaxed) as f64),
        ("devmesh_notifications_dropped_total", "Alerts that found no room.", delivery.dropped() as f64),
    ] {
        page.one(name, "counter", help, value);
    }
    page.one("devmesh_notifications_waiting", "gauge", "Alerts in groups and queues.", delivery.waiting() as f64);
    page.family("devmesh_notifications_total", "counter", "Messages to receivers, by outcome.");
    for (receiver, sent) in delivery.sent() {
        for (outcome, count) in [("ok", &sent.ok), ("failed", &sent.failed), ("retried", &sent.retried)] {
            let labels = [("receiver", receiver), ("outcome", outcome)];
            page.sample("devmesh_notifications_total", &labels, count.load(Relaxed) as f64);
        }
    }
}

fn limit_values(page: &mut Page, api: &Api) {
    let set = &api.settings;
    page.family("devmesh_limit", "gauge", "The limits in force, in bytes, seconds or pieces.");
    let values: [(&str, f64); 16] = [
        ("body_bytes", set.limits.body.0 as f64),
        ("request_bytes", set.limits.request.0 as f64),
        ("direct_bytes", set.limits.direct.0 as f64),
        ("intake_bytes", set.limits.intake.0 as f64),
        ("items", limits::ITEMS as f64),
        ("rate_requests", set.rate.requests as f64),
        ("rate_bytes", set.rate.bytes.0 as f64),
        ("rate_items", set.rate.items as f64),
        ("connections", limits::CONNECTIONS as f64),
        ("postgres_connections", set.postgres.connections as f64),
        ("query_seconds", set.query.timeout.0.as_secs_f64()),
        ("query_bytes", set.query.memory.0 as f64),
        ("query_total_bytes", set.query.total_memory.0 as f64),
        ("query_concurrency", set.query.concurrency as f64),
        ("list_rows", super::params::LIMIT_MAX as f64),
        ("tails", super::tail::TAILS as f64),
    ];
    for (name, value) in values {
        page.sample("devmesh_limit", &[("name", name)], value);
    }
}

fn machine(page: &mut Page, api: &Api) {
    page.family("devmesh_build_info", "gauge", "What is running.");
    page.sample("devmesh_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let started = api.started_at as f64 / 1e9;
    page.one("process_start_time_seconds", "gauge", "When the process started, since the epoch.", started);
    let Some(process) = process::usage() else { return };
    page.one("process_cpu_seconds_total", "counter", "Processor time used.", process.cpu_seconds);
    page.one("process_resident_memory_bytes", "gauge", "Memory in use.", process.resident_bytes as f64);
    page.one("process_open_fds", "gauge", "Open files and sockets.", process.open_files as f64);
}
