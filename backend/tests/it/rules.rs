//! Rules through the doors: what they record, what fires, who is told, and what outlives a restart. The receivers are real HTTP
//! servers of the test.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::server::{Server, devmesh, logs, until};

/// A request as a receiver saw it.
#[derive(Clone, Debug)]
struct Request {
    head: String,
    body: Value,
}

/// A receiver: it answers with what was prepared, then with 200.
#[derive(Clone)]
struct Hook {
    address: String,
    seen: Arc<Mutex<Vec<Request>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

impl Hook {
    fn start(answers: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hook = Self {
            address: listener.local_addr().unwrap().to_string(),
            seen: Arc::default(),
            answers: Arc::new(Mutex::new(answers.iter().copied().collect())),
        };
        let this = hook.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream);
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                        break;
                    }
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    head.push_str(&line);
                }
                let mut body = vec![0; length];
                if head.is_empty() || reader.read_exact(&mut body).is_err() {
                    continue;
                }
                let status = this.answers.lock().unwrap().pop_front().unwrap_or(200);
                let body = serde_json::from_slice(&body).unwrap();
                this.seen.lock().unwrap().push(Request { head, body });
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
                drop(reader.into_inner().write_all(answer.as_bytes()));
            }
        });
        hook
    }

    fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits for a message that is wanted.
    fn wait(&self, what: &str, wanted: impl Fn(&Request) -> bool) -> Request {
        until(what, || self.seen().into_iter().find(&wanted))
    }
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

/// Sends a gauge's value of now.
fn gauge(server: &Server, name: &str, value: f64) {
    let points = json!([{"timeUnixNano": now().to_string(), "asDouble": value}]);
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
    let scopes = json!([{"metrics": [{"name": name, "gauge": {"dataPoints": points}}]}]);
    let body = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": scopes}]});
    assert_eq!(server.post_json("otlp-http", "/v1/metrics", &body).status, 200);
}

fn write(path: &Path, text: &str) -> String {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Starts a server with a file of rules and one of receivers.
fn start(dir: &Path, rules: &str, receivers: &str) -> Server {
    let rules = format!("rules.files={}", write(&dir.join("rules.yml"), rules));
    let receivers = format!("rules.receivers_file={}", write(&dir.join("receivers.yml"), receivers));
    Server::start_with(dir, &["--set", &rules, "--set", &receivers, "--set", "rules.interval=1s"])
}

fn one_webhook(hook: &Hook) -> String {
    format!(
        "route: {{receiver: all, group_wait: 0s, group_interval: 1s, repeat_interval: 4h}}\nreceivers: [{{name: all, \
         webhook_configs: [{{url: 'http://{}/s3cret-path'}}]}}]\n",
        hook.address
    )
}

/// The one number of a query's answer.
fn number(server: &Server, query: &str) -> Option<String> {
    let path = format!("/api/v1/query?query={}", url_encoded(query));
    let answer = server.get(&path).json();
    answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
}

fn url_encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { (b as char).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn rule<'r>(rules: &'r Value, name: &str) -> &'r Value {
    let groups = rules["data"]["groups"].as_array().unwrap();
    let mut all = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    all.find(|rule| rule["name"] == name).unwrap_or_else(|| panic!("no {name}: {rules}"))
}

fn evaluations(server: &Server) -> f64 {
    let page = server.get("/metrics").text();
    let line = page.lines().find(|line| line.starts_with("devmesh_rule_evaluations_total")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

const ALWAYS: &str = "
groups:
- name: shop
  rules:
  - {record: 'shop:answer', expr: vector(40) + 2, labels: {team: shop}}
  - alert: Always
    expr: shop:answer{team=\"shop\"} > 5
    labels: {severity: page}
    annotations: {summary: '{{ $labels.team }} has {{ $value }}'}
";

#[test]
fn what_rules_record_and_find_is_read_told_once_and_outlives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let hook = Hook::start(&[]);
    let server = start(dir.path(), ALWAYS, &one_webhook(&hook));
    let told = hook.wait("the alert is told", |_| true);
    assert!(told.head.starts_with("POST /s3cret-path HTTP/1.1"), "{}", told.head);
    assert_eq!((&told.body["version"], &told.body["status"]), (&json!("4"), &json!("firing")));
    let alert = &told.body["alerts"][0];
    assert_eq!(alert["labels"], json!({"alertname": "Always", "severity": "page", "team": "shop"}));
    assert_eq!(alert["annotations"], json!({"summary": "shop has 42"}));
    assert!(alert["generatorURL"].as_str().unwrap().ends_with("/alerts?rule=Always"), "{alert}");
    assert_eq!(number(&server, "shop:answer{team=\"shop\"}").as_deref(), Some("42"));
    let firing = "ALERTS{alertname=\"Always\",alertstate=\"firing\",severity=\"page\",team=\"shop\"}";
    assert_eq!(number(&server, firing).as_deref(), Some("1"));
    let shown = server.get("/api/v1/alerts").json()["data"]["alerts"].clone();
    assert_eq!((&shown[0]["state"], &shown[0]["value"]), (&json!("firing"), &json!("4.2e+01")));
    let sql = "SELECT name, state, severity, value, summary, fired_at IS NOT NULL, resolved_at IS NULL FROM alerts";
    assert_eq!(server.sql(sql)["rows"], json!([["Always", "firing", "page", 42.0, "shop has 42", true, true]]));
    let listed = server.get("/v1/alerts?resolved=false&state=firing").json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["name"]), (1, &json!("Always")));
    assert_eq!(server.get("/v1/alerts?resolved=true").json(), json!([]));
    assert_eq!(server.get("/v1/alerts?server_id=none").json(), json!([]));
    for wrong in ["/v1/alerts?resolved=maybe", "/v1/alerts?state=bad", "/v1/alerts?foo=1"] {
        assert_eq!(server.get(wrong).status, 400, "{wrong}");
    }
    let (log, page) = until("the message is counted", || {
        let page = server.get("/metrics").text();
        let counted = page.contains("devmesh_notifications_total{receiver=\"webhook\",outcome=\"ok\"} 1");
        counted.then(|| (server.log(), page))
    });
    assert!(!log.contains("s3cret") && !page.contains("s3cret"), "{log}");
    assert!(server.stop().success());
    let server = start(dir.path(), ALWAYS, &one_webhook(&hook));
    until("rules are evaluated again", || (evaluations(&server) >= 6.0).then_some(()));
    let again = server.get("/api/v1/alerts").json()["data"]["alerts"].clone();
    assert_eq!(again[0]["activeAt"], shown[0]["activeAt"], "it is the same alert");
    assert_eq!(server.get("/v1/alerts").json()[0]["id"], listed[0]["id"]);
    assert_eq!(hook.seen().len(), 1, "what was told is not told again");
    // A state that was written survives a kill.
    server.kill();
    let server = start(dir.path(), ALWAYS, &one_webhook(&hook));
    assert_eq!(server.get("/api/v1/alerts").json()["data"]["alerts"][0]["activeAt"], shown[0]["activeAt"]);
}

#[test]
fn an_alert_is_pending_fires_ends_and_its_end_is_told_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let hook = Hook::start(&[]);
    let rules = "groups: [{name: g, rules: [{alert: Full, expr: 'queue > 5', for: 2s, labels: {server_id: s-1}}]}]";
    let server = start(dir.path(), rules, &one_webhook(&hook));
    let state = || rule(&server.get("/api/v1/rules").json(), "Full")["state"].as_str().unwrap().to_owned();
    assert_eq!(state(), "inactive");
    gauge(&server, "queue", 9.0);
    until("it fires", || (state() == "firing").then_some(()));
    let alerts = server.get("/v1/alerts?server_id=s-1").json();
    let at = |name: &str| alerts[0][name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(at("fired_at").duration_since(at("active_at")).as_secs() >= 2, "{alerts}");
    hook.wait("it is told", |request| request.body["status"] == "firing");
    gauge(&server, "queue", 1.0);
    let over = hook.wait("its end is told", |request| request.body["status"] == "resolved");
    assert_eq!(over.body["alerts"][0]["labels"]["alertname"], "Full");
    assert_ne!(over.body["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
    let over = server.get("/v1/alerts?resolved=true").json();
    assert_eq!((&over[0]["state"], &over[0]["id"]), (&json!("resolved"), &alerts[0]["id"]));
    assert_eq!(server.get("/v1/alerts?resolved=false").json(), json!([]));
    // Its series have ended, not faded.
    assert_eq!(number(&server, "ALERTS{alertname=\"Full\"}"), None);
    assert!(server.stop().success());
    let server = start(dir.path(), rules, &one_webhook(&hook));
    let sql = "SELECT state, server_id FROM alerts WHERE resolved_at > fired_at";
    assert_eq!(server.sql(sql)["rows"], json!([["resolved", "s-1"]]));
}

#[test]
fn rules_in_sql_and_promql_are_made_by_the_api_listed_kept_and_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--set", "rules.interval=1s"]);
    assert_eq!(server.get("/v1/alert-rules").json(), json!([]));
    let sql = "SELECT service, level, count(*) AS value FROM logs WHERE body LIKE 'boom%' GROUP BY service, level";
    let body = json!({
        "name": "Boom", "sql": sql, "labels": {"severity": "major"},
        "annotations": {"summary": "{{ $value }} in {{ $labels.service }}"},
    });
    let made = server.post_json("http", "/v1/alert-rules", &body);
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!((&made["name"], &made["sql"], &made["source"]), (&json!("Boom"), &json!(sql), &json!("api")));
    let promql = json!({"name": "Quiet", "expr": "absent(heartbeat)", "for": "1h", "interval": "2s"});
    let quiet = server.post_json("http", "/v1/alert-rules", &promql).json();
    assert_eq!((&quiet["for"], &quiet["interval"]), (&json!("1h"), &json!("2s")));
    let body = logs("cart", &["boom 1", "boom 2", "fine"]);
    assert_eq!(server.post_json("otlp-http", "/v1/logs", &body).status, 200);
    let alert = until("both rows are counted", || {
        let alerts = server.get("/v1/alerts?name=Boom").json();
        (alerts[0]["value"] == 2.0).then(|| alerts[0].clone())
    });
    let labels = json!({"alertname": "Boom", "level": "ERROR", "service": "cart", "severity": "major"});
    assert_eq!((&alert["labels"], &alert["summary"]), (&labels, &json!("2 in cart")));
    until("the other waits", || (server.get("/v1/alerts?state=pending").json()[0]["name"] == "Quiet").then_some(()));
    // They outlive a kill.
    server.kill();
    let server = Server::start_with(dir.path(), &["--set", "rules.interval=1s"]);
    let listed = server.get("/v1/alert-rules?source=api").json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    until("it fires still", || (server.get("/v1/alerts?name=Boom").json()[0]["state"] == "firing").then_some(()));
    // Wrong ones are refused with what is wrong.
    for (body, part) in [
        (json!({"name": "A"}), "expr"),
        (json!({"name": "A", "expr": "up =="}), "parse"),
        (json!({"name": "A", "sql": "SELECT nothing FROM logs"}), "nothing"),
        (json!({"name": "A", "sql": "DELETE FROM logs"}), "sql"),
        (json!({"name": "A", "expr": "up", "for": "5"}), "for"),
        (json!({"name": "A", "expr": "up", "interval": "10ms"}), "interval"),
        (json!({"name": "A", "expr": "up", "annotations": {"a": "{{ nofun }}"}}), "nofun"),
    ] {
        let answer = server.post_json("http", "/v1/alert-rules", &body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.problem().contains(part), "{body}: {}", answer.problem());
    }
    assert_eq!(server.get(&format!("/v1/alert-rules/{id}")).json()["name"], "Boom");
    let delete = |path: String| server.delete(&path).status;
    assert_eq!(delete(format!("/v1/alert-rules/{id}")), 204);
    assert_eq!(delete(format!("/v1/alert-rules/{id}")), 404);
    assert_eq!(delete(format!("/v1/alert-rules?id={}", quiet["id"].as_str().unwrap())), 204);
    assert_eq!(delete("/v1/alert-rules".to_owned()), 400);
    assert_eq!(server.get("/v1/alert-rules").json(), json!([]));
    assert_eq!(server.get("/v1/alerts").json(), json!([]));
}

#[test]
fn files_are_read_again_at_a_hang_up_and_a_wrong_one_leaves_what_is_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let hook = Hook::start(&[]);
    let server = start(dir.path(), ALWAYS, &one_webhook(&hook));
    until("it fires", || (server.get("/v1/alerts?state=firing").json()[0]["name"] == "Always").then_some(()));
    let before = server.get("/v1/alerts").json()[0]["id"].clone();
    let file = dir.path().join("rules.yml");
    write(&file, &format!("{ALWAYS}  - {{alert: More, expr: vector(1)}}\n"));
    server.signal(Signal::HUP);
    until("the new rule fires", || (server.get("/v1/alerts?name=More").json()[0]["state"] == "firing").then_some(()));
    assert_eq!(server.get("/v1/alerts?name=Always").json()[0]["id"], before, "its alert goes on");
    write(&file, "groups: [{name: g, rules: [{alert: Bad, expr: '('}]}]");
    server.signal(Signal::HUP);
    until("it is told", || {
        let log = server.log();
        (log.contains("rule 1, \\\"Bad\\\"") || log.contains("rule 1, \"Bad\"")).then_some(())
    });
    let rules = server.get("/api/v1/rules").json();
    assert_eq!(
        (&rule(&rules, "More")["type"], &rule(&rules, "Always")["state"]),
        (&json!("alerting"), &json!("firing"))
    );
    // What is gone ends.
    write(&file, "groups: []");
    server.signal(Signal::HUP);
    until("no rules are left", || {
        server.get("/api/v1/rules").json()["data"]["groups"].as_array().unwrap().is_empty().then_some(())
    });
    until("the series have ended", || number(&server, "shop:answer").is_none().then_some(()));
}

#[test]
fn what_is_not_taken_is_sent_again_and_secrets_of_files_reach_only_their_receivers() {
    let dir = tempfile::tempdir().unwrap();
    let (slack, discord, telegram) = (Hook::start(&[500, 429]), Hook::start(&[404]), Hook::start(&[]));
    let manager = Hook::start(&[503]);
    let secret = |name: &str, text: &str| write(&dir.path().join(name), text);
    secret("slack", &format!("http://{}/services/s3cret\n", slack.address));
    secret("discord", &format!("http://{}/webhooks/s3cret\n", discord.address));
    secret("bot", "7:s3cret-token\n");
    secret("password", "s3cret-word\n");
    let receivers = format!(
        "alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}], basic_auth: {{username: mesh, password_file: \
         password}}}}]}}\nroute: {{receiver: all, group_wait: 0s, group_interval: 5m}}\nreceivers:\n- name: all\n  \
         slack_configs: [{{api_url_file: slack, channel: '#shop'}}]\n  discord_configs: [{{webhook_url_file: discord}}]\n  \
         telegram_configs: [{{api_url: 'http://{}', bot_token_file: bot, chat_id: -42}}]\n",
        manager.address, telegram.address
    );
    let server = start(dir.path(), ALWAYS, &receivers);
    let taken = until("Slack has taken it", || slack.seen().get(2).cloned());
    assert!(taken.head.starts_with("POST /services/s3cret "), "{}", taken.head);
    assert_eq!(taken.body["channel"], "#shop");
    assert!(taken.body["attachments"][0]["title"].as_str().unwrap().contains("[FIRING:1] Always"), "{}", taken.body);
    let said = telegram.wait("Telegram is told", |_| true);
    assert!(said.head.starts_with("POST /bot7:s3cret-token/sendMessage "), "{}", said.head);
    assert_eq!(said.body["chat_id"], -42);
    let embed = discord.wait("Discord is told", |_| true).body["embeds"][0].clone();
    assert!(embed["description"].as_str().unwrap().contains("**shop has 42** firing"), "{embed}");
    let alerts = until("the Alertmanager has taken it", || manager.seen().get(1).cloned());
    assert!(alerts.head.starts_with("POST /api/v2/alerts "), "{}", alerts.head);
    assert!(alerts.head.to_lowercase().contains("authorization: basic bwvzadpzm2nyzxqtd29yza=="), "{}", alerts.head);
    assert_eq!(alerts.body[0]["labels"]["alertname"], "Always");
    // 404 is for good; the others were sent again.
    let count = |line: &str| {
        until(line, || server.get("/metrics").text().lines().any(|found| found == line).then_some(()));
    };
    count("devmesh_notifications_total{receiver=\"slack\",outcome=\"retried\"} 2");
    count("devmesh_notifications_total{receiver=\"slack\",outcome=\"ok\"} 1");
    count("devmesh_notifications_total{receiver=\"discord\",outcome=\"failed\"} 1");
    assert_eq!(discord.seen().len(), 1);
    let log = server.log();
    assert!(log.contains("sent again") && log.contains("404"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn wrong_files_end_the_start_and_rules_check_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let good = write(&dir.path().join("good.yml"), ALWAYS);
    let bad = write(&dir.path().join("bad.yml"), "groups: [{name: g, rules: [{alert: A, expr: 'sum('}, {record: b}]}]");
    let run = |args: &[&str]| devmesh().args(args).output().unwrap();
    let checked = run(&["rules", "check", &good]);
    assert!(checked.status.success());
    assert!(String::from_utf8_lossy(&checked.stdout).contains("1 groups, 1 alerting rules, 1 recording rules"));
    let setting = format!("rules.files={bad}");
    let data = dir.path().join("data");
    let serve = ["serve", "--http", "127.0.0.1:0", "--otlp-grpc", "off", "--otlp-http", "off", "--postgres", "off"];
    let serve = [&serve[..], &["--data-dir", data.to_str().unwrap(), "--set", &setting]].concat();
    for output in [run(&["rules", "check", &good, &bad]), run(&serve)] {
        assert_eq!(output.status.code(), Some(2));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        for part in ["bad.yml: group \"g\", rule 1, \"A\": could not parse", "rule 2, \"b\": field 'expr' must be set"]
        {
            assert!(told.contains(part), "{told}");
        }
    }
    let receivers = write(&dir.path().join("r.yml"), "receivers: [{name: a, email_configs: []}]");
    let output = run(&["rules", "check", "--receivers", &receivers]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("email_configs"));
    assert_eq!(run(&["rules", "check"]).status.code(), Some(2));
}
