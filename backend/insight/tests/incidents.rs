//! A healthy system has no incidents, a broken one has one that closes: over the generator's telemetry, counted as the
//! statements would.

#![allow(clippy::unwrap_used, reason = "a test fails by it, and clippy knows only functions marked #[test]")]

use std::collections::BTreeMap;

use devmesh_demo::{Plan, Rng, logs, traces};
use devmesh_insight::anomaly::{
    Incidents, Monitor, Severity,
    monitor::GRACE,
    signals::{Measure, Row, Source},
};
use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value},
};
use prost::Message;

const MINUTE: i64 = 60_000_000_000;
/// A Saturday, 00:00 UTC.
const START: i64 = 1_795_219_200_000_000_000;

/// What is counted of a service's spans of one name, or logs, in one bucket.
type Counts = BTreeMap<(i64, Source, String, String), (u64, u64, f64)>;

fn service(attributes: &[KeyValue]) -> String {
    let named = attributes.iter().find(|attribute| attribute.key == "service.name");
    match named.and_then(|attribute| attribute.value.as_ref()).and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(name)) => name.clone(),
        _ => String::new(),
    }
}

/// A broken stretch: a service whose operations fail and are slow.
#[derive(Clone, Copy)]
struct Fault {
    service: &'static str,
    minutes: (i64, i64),
}

impl Fault {
    fn holds(fault: Option<Self>, name: &str, minute: i64) -> bool {
        fault.is_some_and(|fault| fault.service == name && (fault.minutes.0..fault.minutes.1).contains(&minute))
    }
}

/// The shop's spans and logs over so many minutes, whose number is not the same every minute, with a fault.
fn counted(minutes: i64, seed: u64, fault: Option<Fault>) -> Counts {
    let mut counts = Counts::new();
    let mut traffic = Rng::new(seed);
    for minute in 0..minutes {
        let start = START + minute * MINUTE;
        // Day and night, and chance.
        let day = 1.0 + 0.5 * (minute as f64 / 1440.0 * std::f64::consts::TAU).sin();
        let records = (200.0 * day) as u64 + traffic.below(40);
        let plan =
            Plan { seed: seed + minute as u64, records, batch: 20, start_ns: start as u64, span_ns: MINUTE as u64 };
        for request in traces(plan) {
            let request = ExportTraceServiceRequest::decode(request.body.as_slice()).unwrap();
            for resource in request.resource_spans {
                let name = service(&resource.resource.unwrap().attributes);
                let broken = Fault::holds(fault, &name, minute);
                for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans).filter(|span| span.kind != 1) {
                    let failed = broken || span.status.as_ref().is_some_and(|status| status.code == 2);
                    let nanos = (span.end_time_unix_nano - span.start_time_unix_nano) as f64;
                    let nanos = if broken { nanos * 10.0 } else { nanos };
                    let key = (start, Source::Operation, name.clone(), span.name.clone());
                    let counted = counts.entry(key).or_default();
                    *counted = (counted.0 + 1, counted.1 + u64::from(failed), counted.2 + nanos);
                }
            }
        }
        for request in logs(plan) {
            let request = ExportLogsServiceRequest::decode(request.body.as_slice()).unwrap();
            for resource in request.resource_logs {
                let name = service(&resource.resource.unwrap().attributes);
                let broken = Fault::holds(fault, &name, minute);
                for record in resource.scope_logs.iter().flat_map(|scope| &scope.log_records) {
                    let failed = broken || record.severity_number >= 17;
                    let counted = counts.entry((start, Source::Logs, name.clone(), String::new())).or_default();
                    *counted = (counted.0 + 1, counted.1 + u64::from(failed), 0.0);
                }
            }
        }
    }
    counts
}

/// Watches what was counted, tick by tick.
fn watch(counts: &Counts, minutes: i64) -> (Monitor, Incidents) {
    let (mut monitor, mut incidents) = (Monitor::new(60), Incidents::default());
    let mut by_time: BTreeMap<i64, Vec<(Source, Row)>> = BTreeMap::new();
    for ((time, source, service, name), (count, failed, total)) in counts {
        let row = Row {
            time: *time,
            service: service.clone(),
            name: name.clone(),
            count: *count,
            failed: *failed,
            total: *total,
        };
        by_time.entry(*time).or_default().push((*source, row));
    }
    for minute in 0..minutes {
        let now = START + (minute + 1) * MINUTE + GRACE;
        while let Some(range) = monitor.next(now) {
            let rows = by_time.range(range.start..range.end).flat_map(|(_, rows)| rows.clone()).collect();
            monitor.take(range, rows, &mut incidents);
            monitor.train().unwrap();
        }
    }
    (monitor, incidents)
}

#[test]
fn a_long_healthy_run_opens_no_incident() {
    for seed in [1, 5] {
        let counts = counted(300, seed, None);
        let (monitor, incidents) = watch(&counts, 300);
        assert!(monitor.watched() > 100, "{} series", monitor.watched());
        let found: Vec<String> = incidents.newest().map(|incident| format!("{incident:#?}")).collect();
        assert!(found.is_empty(), "seed {seed}: {}", found.join("\n"));
    }
}

#[test]
fn a_broken_service_opens_one_incident_within_minutes_and_it_closes_after_recovery() {
    let fault = Fault { service: "catalog", minutes: (150, 165) };
    let counts = counted(220, 3, Some(fault));
    let (_, incidents) = watch(&counts, 220);
    let found: Vec<_> = incidents.newest().collect();
    assert_eq!(found.len(), 1, "{found:#?}");
    let incident = found[0];
    let minute = |time: i64| (time - START) / MINUTE;
    assert!((150..=153).contains(&minute(incident.opened)), "opened in minute {}", minute(incident.opened));
    let closed = incident.closed.expect("it is closed");
    assert!((164..=172).contains(&minute(closed)), "closed in minute {}", minute(closed));
    assert_eq!(incident.services[0], "catalog", "{incident:#?}");
    assert!(incident.severity >= Severity::Major);
    assert!(incident.title.starts_with("catalog: "), "{}", incident.title);
    let has = |source| {
        incident.what.iter().any(|f| f.source == source && f.measure == Measure::Errors && f.service == "catalog")
    };
    assert!(has(Source::Operation) && has(Source::Logs), "{incident:#?}");
    for finding in &incident.what {
        assert!(finding.sql.starts_with("SELECT") && finding.sql.contains(&finding.service), "{}", finding.sql);
    }
}

#[test]
fn a_restart_in_the_middle_changes_nothing() {
    let fault = Fault { service: "catalog", minutes: (130, 140) };
    let counts = counted(160, 4, Some(fault));
    let (whole, incidents) = watch(&counts, 160);
    let (first, mut known) = watch(&counts, 132);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    devmesh_insight::anomaly::state::save(&path, &first).unwrap();
    let mut again: Monitor = devmesh_insight::anomaly::state::load(&path).unwrap().unwrap();
    while let Some(range) = again.next(START + 160 * MINUTE + GRACE) {
        let rows = counts.iter().filter(|(key, _)| (range.start..range.end).contains(&key.0));
        let rows = rows.map(|((time, source, service, name), (count, failed, total))| {
            let (service, name) = (service.clone(), name.clone());
            (*source, Row { time: *time, service, name, count: *count, failed: *failed, total: *total })
        });
        again.take(range, rows.collect(), &mut known);
        again.train().unwrap();
    }
    assert_eq!(again.taken(), whole.taken());
    let times = |incidents: &Incidents| -> Vec<_> {
        incidents.newest().map(|incident| (incident.opened, incident.closed, incident.services.clone())).collect()
    };
    assert_eq!(times(&known), times(&incidents));
    assert_eq!(times(&known).len(), 1);
}
