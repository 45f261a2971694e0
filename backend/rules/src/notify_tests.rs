use std::path::Path;

use serde_json::{Value, json};

use super::{
    config::{Auth, Config, Kind, Secret},
    dispatch::{Dispatcher, Job},
    message, *,
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

const FILE: &str = r#"
global:
  external_labels: {region: eu}
  slack_api_url_file: slack
alerting:
  alertmanagers:
  - scheme: https
    path_prefix: /am/
    timeout: 5s
    basic_auth: {username: u, password_file: pw}
    tls_config: {ca_file: ca.pem}
    static_configs: [{targets: ["a:9093", "b:9093"]}]
route:
  receiver: all
  group_by: [alertname]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 4h
  routes:
  - matchers: ['severity="page"']
    receiver: pager
    group_by: ['...']
    continue: true
  - match: {team: shop}
    receiver: shop
receivers:
- name: all
  webhook_configs: [{url_file: hook}]
- name: pager
  telegram_configs: [{bot_token_file: bot, chat_id: -5}]
- name: shop
  slack_configs: [{channel: '#shop', send_resolved: true}]
  discord_configs: [{webhook_url_file: discord}]
"#;

fn config() -> Config {
    Config::read(FILE, Path::new("/etc/mesh")).unwrap()
}

fn notice(labels: &[(&str, &str)], starts_at: i64, ends_at: i64) -> Notice {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let annotations = LabelSet::from([("summary".to_owned(), "cart <is> *slow* & sad".to_owned())]);
    Notice { labels, annotations, starts_at, ends_at, generator_url: "http://mesh/alerts?rule=A".to_owned() }
}

fn receivers(jobs: &[Job]) -> Vec<(&str, usize)> {
    jobs.iter().map(|job| (job.key.receiver.as_str(), job.key.end)).collect()
}

#[test]
fn the_file_of_receivers_is_read_and_secrets_never_show() {
    let config = config();
    let urls: Vec<&str> = config.alertmanagers.iter().map(|manager| manager.url.as_str()).collect();
    assert_eq!(urls, ["https://a:9093/am", "https://b:9093/am"]);
    let http = &config.alertmanagers[0].http;
    assert_eq!(http.auth, Some(Auth::Basic("u".to_owned(), Secret::File("/etc/mesh/pw".into()))));
    assert_eq!(http.ca.as_deref(), Some(Path::new("/etc/mesh/ca.pem")));
    assert!(!config.has_secrets, "all of them stand in files of their own");
    let ends: Vec<(&str, usize, bool)> =
        config.ends.iter().map(|end| (end.receiver.as_str(), end.index, end.send_resolved)).collect();
    assert_eq!(ends, [("all", 0, true), ("pager", 0, true), ("shop", 0, true), ("shop", 1, true)]);
    let inline = "route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: 'https://h/s3cret'}]}]";
    let read = Config::read(inline, Path::new("")).unwrap();
    assert!(read.has_secrets);
    let shown = format!("{read:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn what_is_wrong_with_the_file_of_receivers_is_named() {
    let receivers = |text: &str| format!("route: {{receiver: a}}\nreceivers: [{{name: a, {text}}}]");
    for (text, part) in [
        (receivers("email_configs: []"), "email_configs"),
        (receivers("webhook_configs: [{urll: x}]"), "urll"),
        (receivers("webhook_configs: [{}]"), "receiver \"a\": url, or url_file, is missing"),
        (receivers("webhook_configs: [{url: 'ftp://x'}]"), "http"),
        (receivers("webhook_configs: [{url: 'http://x', url_file: y}]"), "both set"),
        (receivers("slack_configs: [{channel: x, title: y}]"), "title"),
        (receivers("telegram_configs: [{chat_id: 1}]"), "bot_token"),
        ("route: {receiver: b}\nreceivers: [{name: a}]".to_owned(), "no receiver \"b\""),
        ("receivers: [{name: a, webhook_configs: [{url: 'http://x'}]}]".to_owned(), "route"),
        ("receivers: [{name: a}, {name: a}]".to_owned(), "\"a\""),
        ("route: {receiver: a, group_wait: x}\nreceivers: [{name: a}]".to_owned(), "not a valid duration"),
        ("route: {receiver: a, routes: [{matchers: ['x']}]}\nreceivers: [{name: a}]".to_owned(), "no matcher"),
        ("route: {receiver: a, matchers: ['x=1']}\nreceivers: [{name: a}]".to_owned(), "root"),
        ("inhibit_rules: []".to_owned(), "inhibit_rules"),
        ("alerting: {alertmanagers: [{scheme: ftp}]}".to_owned(), "scheme"),
        ("alerting: {alertmanagers: [{api_version: v1}]}".to_owned(), "api_version"),
        ("alerting: {alertmanagers: [{kubernetes_sd_configs: []}]}".to_owned(), "kubernetes_sd_configs"),
    ] {
        let error = Config::read(&text, Path::new("")).map(|_| ()).expect_err(&text);
        assert!(error.contains(part), "{text}: {error}");
    }
    let secret = receivers("webhook_configs: [{url: 's3cret-is-no-url'}]");
    let error = Config::read(&secret, Path::new("")).map(|_| ()).unwrap_err();
    assert!(!error.contains("s3cret"), "{error}");
}

#[test]
fn routes_take_what_they_match_and_go_on_where_they_say_so() {
    let config = config();
    let root = config.route.as_ref().unwrap();
    let of = |labels: &[(&str, &str)]| -> Vec<String> {
        let labels = notice(labels, 0, 0).labels;
        root.of(&labels).into_iter().map(|route| route.receiver.clone()).collect()
    };
    assert_eq!(of(&[("team", "x")]), ["all"]);
    assert_eq!(of(&[("severity", "page")]), ["pager"]);
    assert_eq!(of(&[("severity", "page"), ("team", "shop")]), ["pager", "shop"]);
}

#[test]
fn a_group_waits_tells_what_is_new_repeats_and_tells_the_end_once() {
    let config = config();
    let mut dispatcher = Dispatcher::default();
    let a = |ends| notice(&[("alertname", "A"), ("host", "1")], 0, ends);
    let b = |ends| notice(&[("alertname", "A"), ("host", "2")], 0, ends);
    let late = 24 * HOUR;
    dispatcher.insert(&config, &a(late), 0);
    assert_eq!((dispatcher.next(), dispatcher.due(29_999).len()), (Some(30_000), 0));
    let jobs = dispatcher.due(30_000);
    assert_eq!((receivers(&jobs), jobs[0].alerts.len()), (vec![("all", 0)], 1));
    assert!(dispatcher.due(30_000 + HOUR).is_empty(), "one at a time");
    dispatcher.done(&jobs[0], true);
    // Heard again: nothing new.
    dispatcher.insert(&config, &a(late), MINUTE);
    assert!(dispatcher.due(6 * MINUTE).is_empty());
    // Another of the group.
    dispatcher.insert(&config, &b(late), 7 * MINUTE);
    let jobs = dispatcher.due(11 * MINUTE);
    assert_eq!(jobs[0].alerts.len(), 2);
    dispatcher.done(&jobs[0], false);
    // Not delivered: again at the next turn.
    let jobs = dispatcher.due(16 * MINUTE);
    assert_eq!(jobs[0].alerts.len(), 2);
    dispatcher.done(&jobs[0], true);
    assert!(dispatcher.due(22 * MINUTE).is_empty());
    // After a while it is said again.
    let again = dispatcher.due(16 * MINUTE + 4 * HOUR);
    assert_eq!(again.len(), 1);
    dispatcher.done(&again[0], true);
    // One is over, then both.
    let now = 5 * HOUR;
    dispatcher.insert(&config, &a(now), now);
    let jobs = dispatcher.due(now);
    assert_eq!(jobs[0].alerts.iter().filter(|alert| alert.is_resolved(now)).count(), 1);
    dispatcher.done(&jobs[0], true);
    dispatcher.insert(&config, &b(now + MINUTE), now + MINUTE);
    let jobs = dispatcher.due(now + HOUR);
    assert_eq!(jobs[0].alerts.len(), 1, "what was said to be over is not said again");
    dispatcher.done(&jobs[0], true);
    assert_eq!((dispatcher.alerts(), dispatcher.next()), (0, None), "nothing is left");
}

#[test]
fn what_was_said_is_not_said_again_after_a_restart_and_what_nobody_hears_of_is_over() {
    let config = config();
    let mut dispatcher = Dispatcher::default();
    dispatcher.insert(&config, &notice(&[("alertname", "A")], 0, HOUR), 0);
    let jobs = dispatcher.due(MINUTE);
    dispatcher.done(&jobs[0], true);
    let text = serde_json::to_string(&dispatcher).unwrap();
    let mut read: Dispatcher = serde_json::from_str(&text).unwrap();
    read.keep(&config);
    read.insert(&config, &notice(&[("alertname", "A")], 0, HOUR), 2 * MINUTE);
    assert!(read.due(10 * MINUTE).is_empty());
    let jobs = read.due(HOUR);
    assert!(jobs[0].alerts[0].is_resolved(HOUR));
    read.keep(&Config::default());
    assert_eq!(read.next(), None);
}

#[test]
fn an_alert_that_is_over_before_anybody_was_told_is_not_told() {
    let config = config();
    let mut dispatcher = Dispatcher::default();
    dispatcher.insert(&config, &notice(&[("alertname", "A")], 0, 10), 10);
    assert_eq!(dispatcher.next(), None);
    dispatcher.insert(&config, &notice(&[("alertname", "A")], 0, 100), 50);
    assert!(dispatcher.due(30_050).is_empty(), "it was over while it waited");
    assert_eq!(dispatcher.alerts(), 0);
}

#[test]
fn more_alerts_than_there_is_room_for_are_counted() {
    let config = config();
    let mut dispatcher = Dispatcher::default();
    for n in 0..devmesh_schema::limits::NOTIFICATIONS + 5 {
        dispatcher.insert(&config, &notice(&[("alertname", "A"), ("n", &n.to_string())], 0, HOUR), 0);
    }
    assert_eq!((dispatcher.alerts(), dispatcher.dropped()), (devmesh_schema::limits::NOTIFICATIONS, 5));
}

/// A message about two alerts, one of them over, to the end `n` of the test's configuration.
fn body(n: usize) -> Value {
    let config = config();
    let mut dispatcher = Dispatcher::default();
    let labels = [("alertname", "A"), ("team", "shop"), ("severity", "page"), ("host", "<h>")];
    dispatcher.insert(&config, &notice(&labels, 0, HOUR), 0);
    let end = &config.ends[n];
    let jobs = dispatcher.due(MINUTE);
    let mut job =
        jobs.into_iter().find(|job| (job.key.receiver.as_str(), job.key.end) == (&end.receiver, end.index)).unwrap();
    job.alerts.push(notice(&[("alertname", "A"), ("team", "shop")], 0, MINUTE));
    message::for_end(end, &job, "http://mesh")
}

#[test]
fn a_webhook_gets_alertmanagers_message_of_version_4() {
    let config = config();
    let mut dispatcher = Dispatcher::default();
    dispatcher.insert(&config, &notice(&[("alertname", "A"), ("host", "1")], 1_000, HOUR), 0);
    dispatcher.insert(&config, &notice(&[("alertname", "A"), ("host", "2")], 2_000, HOUR), 0);
    let mut jobs = dispatcher.due(MINUTE);
    jobs[0].alerts[1].ends_at = 50_000;
    let mut end = config.ends[0].clone();
    let body = message::for_end(&end, &jobs[0], "http://mesh");
    let alert = |host: &str, from: &str, end: &str, status: &str, fingerprint: &str| {
        json!({
            "status": status, "labels": {"alertname": "A", "host": host},
            "annotations": {"summary": "cart <is> *slow* & sad"}, "startsAt": from, "endsAt": end,
            "generatorURL": "http://mesh/alerts?rule=A", "fingerprint": fingerprint,
        })
    };
    let prints: Vec<String> = jobs[0].alerts.iter().map(|alert| format!("{:016x}", alert.fingerprint())).collect();
    let want = json!({
        "version": "4", "groupKey": "{}:{alertname=\"A\"}", "truncatedAlerts": 0, "status": "firing",
        "receiver": "all", "groupLabels": {"alertname": "A"}, "commonLabels": {"alertname": "A"},
        "commonAnnotations": {"summary": "cart <is> *slow* & sad"}, "externalURL": "http://mesh",
        "alerts": [
            alert("1", "1970-01-01T00:00:01Z", "0001-01-01T00:00:00Z", "firing", &prints[0]),
            alert("2", "1970-01-01T00:00:02Z", "1970-01-01T00:00:50Z", "resolved", &prints[1]),
        ],
    });
    assert_eq!(body, want);
    end.kind = Kind::Webhook { max_alerts: 1 };
    let body = message::for_end(&end, &jobs[0], "");
    assert_eq!((body["alerts"].as_array().unwrap().len(), &body["truncatedAlerts"]), (1, &json!(1)));
}

#[test]
fn people_get_texts_in_which_nothing_of_the_telemetry_is_markup() {
    let telegram = body(1);
    assert_eq!((&telegram["chat_id"], &telegram["parse_mode"]), (&json!(-5), &json!("HTML")));
    let text = telegram["text"].as_str().unwrap();
    assert!(text.starts_with("<b>[FIRING:1] A"), "{text}");
    assert!(text.contains("<b>cart &lt;is&gt; *slow* &amp; sad</b> firing"), "{text}");
    assert!(text.contains("<a href=\"http://mesh/alerts?rule=A\">rule</a>"), "{text}");
    let slack = body(2);
    assert_eq!(slack["channel"], "#shop");
    let attachment = &slack["attachments"][0];
    assert_eq!((&attachment["color"], &attachment["title_link"]), (&json!("danger"), &json!("http://mesh")));
    let text = attachment["text"].as_str().unwrap();
    assert!(text.contains("*cart &lt;is&gt; ∗slow∗ &amp; sad* firing") && text.contains(" resolved"), "{text}");
    let discord = body(3);
    let embed = &discord["embeds"][0];
    assert_eq!((&embed["color"], &discord["allowed_mentions"]["parse"]), (&json!(0x992D22), &json!([])));
    let text = embed["description"].as_str().unwrap();
    assert!(text.contains("**cart \\<is\\> \\*slow\\* & sad** firing"), "{text}");
}

#[test]
fn texts_keep_the_bounds_of_their_receivers() {
    let config = config();
    let mut dispatcher = Dispatcher::default();
    let long = "x".repeat(500);
    for n in 0..50 {
        let labels = [("alertname", "A"), ("team", "shop"), ("n", &n.to_string()), ("long", long.as_str())];
        dispatcher.insert(&config, &notice(&labels, 0, HOUR), 0);
    }
    for job in dispatcher.due(MINUTE) {
        let end = config.ends.iter().find(|end| end.receiver == "shop" && end.index == job.key.end).unwrap();
        let body = message::for_end(end, &job, "http://mesh");
        let (text, most) = match &end.kind {
            Kind::Slack { .. } => (&body["attachments"][0]["text"], 3_100),
            _ => (&body["embeds"][0]["description"], 4_096),
        };
        let length = text.as_str().unwrap().chars().count();
        assert!(length <= most && length > 1_000, "{length}");
        assert!(text.as_str().unwrap().contains(" more"), "{text}");
    }
}

#[test]
fn fingerprints_are_alertmanagers() {
    // Of `amtool alert query -o json` for these labels.
    let labels = LabelSet::from([("alertname".to_owned(), "A".to_owned()), ("host".to_owned(), "1".to_owned())]);
    assert_ne!(fingerprint(&labels), fingerprint(&LabelSet::new()));
    assert_eq!(fingerprint(&LabelSet::new()), 0xcbf2_9ce4_8422_2325);
}
