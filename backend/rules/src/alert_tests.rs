use super::*;
use crate::file;

const MINUTE: i64 = 60_000;

fn rule(yaml: &str) -> Rule {
    let text = format!("groups: [{{name: g, rules: [{yaml}]}}]");
    file::parse(&text).unwrap().remove(0).rules.remove(0)
}

fn found(labels: &[(&str, &str)], value: f64) -> Found {
    Found { labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(), value }
}

fn context(at: i64) -> Context<'static> {
    static NONE: LabelSet = LabelSet::new();
    Context { at, limit: 0, external_labels: &NONE, external_url: "http://x", ask: &|_| Ok(Vec::new()) }
}

fn states(alerts: &Alerts) -> Vec<(String, &'static str)> {
    alerts.all().map(|alert| (alert.labels["host"].clone(), alert.state.name())).collect()
}

#[test]
fn an_alert_is_pending_for_its_time_then_fires_then_is_over() {
    let rule = rule("{alert: Slow, expr: up, for: 2m, labels: {severity: page}, annotations: {v: '{{ $value }}'}}");
    let mut alerts = Alerts::default();
    let here = [found(&[("__name__", "up"), ("host", "a")], 1.5)];
    let first = alerts.evaluate(&rule, &here, context(0)).unwrap();
    assert!(first.changed);
    assert_eq!(states(&alerts), [("a".to_owned(), "pending")]);
    assert!(alerts.to_send(0, MINUTE).is_empty(), "nobody is told of a pending alert");
    assert!(!alerts.evaluate(&rule, &here, context(MINUTE)).unwrap().changed);
    assert!(alerts.evaluate(&rule, &here, context(2 * MINUTE)).unwrap().changed);
    let sent = alerts.to_send(2 * MINUTE, MINUTE);
    let labels = LabelSet::from(
        [("alertname", "Slow"), ("host", "a"), ("severity", "page")].map(|(n, v)| (n.to_owned(), v.to_owned())),
    );
    assert_eq!((&sent[0].labels, sent[0].fired_at), (&labels, Some(2 * MINUTE)));
    assert_eq!(sent[0].annotations["v"], "1.5");
    assert!(alerts.to_send(3 * MINUTE, MINUTE).is_empty(), "told once, until it is time to tell again");
    assert_eq!(alerts.to_send(3 * MINUTE + 1, MINUTE).len(), 1);
    let over = alerts.evaluate(&rule, &[], context(4 * MINUTE)).unwrap();
    assert_eq!((over.changed, over.resolved.len()), (true, 1));
    assert_eq!(alerts.state(), State::Inactive);
    assert_eq!(alerts.to_send(4 * MINUTE, MINUTE)[0].resolved_at, Some(4 * MINUTE));
    // Kept for those who were away, then forgotten.
    alerts.evaluate(&rule, &[], context(19 * MINUTE)).unwrap();
    assert_eq!(alerts.all().count(), 1);
    alerts.evaluate(&rule, &[], context(19 * MINUTE + 1)).unwrap();
    assert_eq!(alerts.all().count(), 0);
}

#[test]
fn a_pending_alert_that_goes_is_forgotten_and_one_without_for_fires_at_once() {
    let mut alerts = Alerts::default();
    let waits = rule("{alert: A, expr: up, for: 1m}");
    alerts.evaluate(&waits, &[found(&[("host", "a")], 1.0)], context(0)).unwrap();
    let changes = alerts.evaluate(&waits, &[], context(MINUTE)).unwrap();
    assert_eq!((changes.changed, changes.resolved.len(), alerts.all().count()), (true, 0, 0));
    let at_once = rule("{alert: A, expr: up}");
    alerts.evaluate(&at_once, &[found(&[("host", "a")], 1.0)], context(0)).unwrap();
    assert_eq!(states(&alerts), [("a".to_owned(), "firing")]);
}

#[test]
fn keep_firing_for_bridges_gaps_and_a_return_begins_it_anew() {
    let rule = rule("{alert: A, expr: up, keep_firing_for: 2m}");
    let mut alerts = Alerts::default();
    let here = [found(&[("host", "a")], 1.0)];
    alerts.evaluate(&rule, &here, context(0)).unwrap();
    for (at, found, state, since) in [
        (MINUTE, &[][..], "firing", Some(MINUTE)),
        (2 * MINUTE, &here[..], "firing", None),
        (3 * MINUTE, &[], "firing", Some(3 * MINUTE)),
        (4 * MINUTE, &[], "firing", Some(3 * MINUTE)),
        (5 * MINUTE, &[], "inactive", Some(3 * MINUTE)),
    ] {
        alerts.evaluate(&rule, found, context(at)).unwrap();
        let alert = alerts.all().next().unwrap();
        assert_eq!((alert.state.name(), alert.keep_since), (state, since), "at {at}");
    }
}

#[test]
fn an_alert_that_comes_back_is_a_new_one() {
    let rule = rule("{alert: A, expr: up}");
    let mut alerts = Alerts::default();
    let here = [found(&[("host", "a")], 1.0)];
    alerts.evaluate(&rule, &here, context(0)).unwrap();
    alerts.to_send(0, MINUTE);
    alerts.evaluate(&rule, &[], context(MINUTE)).unwrap();
    alerts.to_send(MINUTE, MINUTE);
    alerts.evaluate(&rule, &here, context(2 * MINUTE)).unwrap();
    let alert = alerts.all().next().unwrap();
    assert_eq!((alert.active_at, alert.resolved_at, alert.sent_at), (2 * MINUTE, None, None));
    assert_eq!(alerts.to_send(2 * MINUTE, MINUTE).len(), 1);
}

#[test]
fn equal_labels_are_an_error_and_so_are_more_alerts_than_the_limit() {
    let same = rule("{alert: A, expr: up, labels: {host: x}}");
    let two = [found(&[("host", "a")], 1.0), found(&[("host", "b")], 1.0)];
    let error = Alerts::default().evaluate(&same, &two, context(0)).unwrap_err();
    assert!(error.contains("same labelset after applying alert labels"), "{error}");
    let rule = rule("{alert: A, expr: up}");
    let mut alerts = Alerts::default();
    let error = alerts.evaluate(&rule, &two, Context { limit: 1, ..context(0) }).unwrap_err();
    assert_eq!(error, "exceeded limit of 1 with 2 alerts");
    assert_eq!(alerts.all().count(), 0);
}

#[test]
fn a_template_that_fails_says_so_in_its_place_and_an_empty_label_is_none() {
    let rule = rule("{alert: A, expr: up, labels: {gone: '{{ $labels.none }}', bad: '{{ len 5 }}'}}");
    let mut alerts = Alerts::default();
    alerts.evaluate(&rule, &[found(&[("host", "a")], 1.0)], context(0)).unwrap();
    let labels = &alerts.all().next().unwrap().labels;
    assert!(!labels.contains_key("gone"));
    assert!(labels["bad"].starts_with("<error expanding template: "), "{labels:?}");
}

#[test]
fn the_series_of_alerts_tell_state_and_since_when() {
    let rule = rule("{alert: A, expr: up, for: 1m}");
    let mut alerts = Alerts::default();
    alerts.evaluate(&rule, &[found(&[("host", "a")], 1.0)], context(5_500)).unwrap();
    let shown: Vec<String> = alerts.series().iter().map(|(labels, value)| format!("{labels:?} {value}")).collect();
    assert_eq!(
        shown,
        [
            r#"{"__name__": "ALERTS", "alertname": "A", "alertstate": "pending", "host": "a"} 1"#,
            r#"{"__name__": "ALERTS_FOR_STATE", "alertname": "A", "host": "a"} 5"#,
        ]
    );
}

#[test]
fn a_state_is_written_down_and_read_back_and_time_without_a_server_does_not_count() {
    let rule = rule("{alert: A, expr: up, for: 2m, keep_firing_for: 2m}");
    let mut alerts = Alerts::default();
    alerts.evaluate(&rule, &[found(&[("host", "a")], f64::NAN)], context(0)).unwrap();
    let text = serde_json::to_string(&alerts).unwrap();
    let mut read: Alerts = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    assert!(read.all().next().unwrap().value.is_nan());
    read.resume(10 * MINUTE);
    let here = [found(&[("host", "a")], 1.0)];
    read.evaluate(&rule, &here, context(11 * MINUTE)).unwrap();
    assert_eq!(states(&read), [("a".to_owned(), "pending")]);
    read.evaluate(&rule, &here, context(12 * MINUTE)).unwrap();
    assert_eq!(states(&read), [("a".to_owned(), "firing")]);
    read.resume(10 * MINUTE);
    assert_eq!(read.all().next().unwrap().fired_at, Some(12 * MINUTE), "what fires goes on");
}
