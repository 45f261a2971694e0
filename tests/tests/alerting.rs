//! Our rules beside a real Prometheus, and our alerts in a real Alertmanager.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use devmesh_tests::{Server, client, program, server::Start, until};
use serde_json::{Map, Value, json};

const LONG: Duration = Duration::from_secs(180);

/// Ends a program when the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        client::ignore(self.0.kill());
        client::ignore(self.0.wait());
    }
}

/// Starts a program that listens on a free port, and reads from its log which one it is.
fn start(name: &str, args: &[String], dir: &Path) -> Result<(Running, String)> {
    let path = dir.join(format!("{name}.log"));
    let log = std::fs::File::create(&path)?;
    let mut command = Command::new(program::installed(name)?);
    command.args(args).arg("--web.listen-address=127.0.0.1:0").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let running = Running(command.spawn().with_context(|| format!("failed to start {name}"))?);
    let address = until(LONG, name, || {
        let text = std::fs::read_to_string(&path)?;
        let line = text.lines().find(|line| line.contains("Listening on"));
        let address = line.and_then(|line| line.split("address=").nth(1)?.split_whitespace().next());
        Ok(address.map(|address| address.trim_matches('"').to_owned()))
    })?;
    let url = format!("http://{address}");
    let ready = format!("{url}/-/ready");
    until(LONG, name, || Ok(client::get(&ready).ok().filter(|answer| answer.status == 200)))?;
    Ok((running, url))
}

/// A receiver: it takes everything, and shows what it was sent by path.
#[derive(Clone)]
struct Hook {
    address: String,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Hook {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hook = Self { address: listener.local_addr().unwrap().to_string(), seen: Arc::default() };
        let seen = Arc::clone(&hook.seen);
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
                let path = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
                seen.lock().unwrap().push((path, serde_json::from_slice(&body).unwrap()));
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                client::ignore(reader.into_inner().write_all(answer.as_bytes()));
            }
        });
        hook
    }

    /// Waits for a message at a path with a status.
    fn wait(&self, path: &str, status: &str) -> Value {
        let wanted = |(at, body): &&(String, Value)| at == path && body["status"] == status;
        let find = || Ok(self.seen.lock().unwrap().iter().find(wanted).map(|(_, body)| body.clone()));
        until(LONG, &format!("{status} at {path}"), find).unwrap()
    }
}

fn ask(base: &str, path: &str) -> Result<Value> {
    let answer = client::get(&format!("{base}{path}"))?;
    let body: Value = serde_json::from_slice(&answer.body).with_context(|| format!("{path}: {}", answer.text()))?;
    anyhow::ensure!(body["status"] == "success", "{path}: {body}");
    Ok(body["data"].clone())
}

/// Without what differs from server to server: times, and where the file lies.
fn alike(value: &Value) -> Value {
    const OWN: [&str; 5] = ["evaluationTime", "lastEvaluation", "activeAt", "keepFiringSince", "file"];
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !OWN.contains(&key.as_str()));
            Value::Object(kept.map(|(key, value)| (key.clone(), alike(value))).collect::<Map<_, _>>())
        }
        Value::Array(all) => {
            let mut all: Vec<Value> = all.iter().map(alike).collect();
            if all.iter().all(|one| one.get("activeAt").is_none() && one.get("value").is_some()) {
                all.sort_by_key(|alert| alert["labels"].to_string());
            }
            Value::Array(all)
        }
        other => other.clone(),
    }
}

/// Rules of every sort, over what both compute alike.
const RULES: &str = r#"
groups:
- name: first
  interval: 1s
  limit: 20
  labels: {team: shop, severity: low}
  rules:
  - record: answer
    expr: sum(vector(40)) by (job)+2
  - record: hosts:count
    expr: label_replace(vector(3), "host", "web-1.example.org:9100", "", "")  or label_replace(vector(5),"host","db","","")
    labels: {source: rules, severity: none}
  - alert: Fires
    expr: hosts:count > 2.5
    labels: {severity: page, shown: '{{ $labels.host | stripDomain }}', empty: ''}
    annotations:
      summary: '{{ $labels.host }} counts {{ $value }}, {{ humanize 123456.789 }}, {{ humanizeDuration 3725 }}'
      all: '{{ range query "answer" }}{{ .Value }}{{ end }} {{ printf "%.3f" $value }} {{ if gt $value 4.0 }}high{{ else }}low{{ end }}'
      times: '{{ humanizeTimestamp 1435065584.128 }} {{ humanizePercentage 0.1234 }} {{ humanize1024 5000 }} {{ title "a bc" }}'
      text: '{{ reReplaceAll "(.*)-(.*)" "$2" "a-b" }} {{ match "^a" "abc" }} {{ $externalURL | len | lt 5 }} {{ toUpper "x" }}'
  - alert: Waits
    expr: absent(nothing{job="x", instance=~"a.*"})
    for: 1h30m
    annotations: {summary: none}
  - alert: Never
    expr: vector(1) > 2
    keep_firing_for: 5m
- name: second
  interval: 2s
  rules:
  - alert: Twice
    expr: label_replace(vector(1), "a", "b", "", "") or label_replace(vector(1), "a", "c", "", "")
    labels: {a: same}
  - record: gone
    expr: 'sum without (x) (rate(nothing_total{a!="b"}[5m] offset 1m)) / on (job) group_left (y) vector(1) > bool 0'
"#;

#[test]
fn the_same_rules_are_in_the_same_state_as_in_a_real_prometheus() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let rules = dirs[1].path().join("rules.yml");
    std::fs::write(&rules, RULES).unwrap();
    let config = dirs[1].path().join("prometheus.yml");
    std::fs::write(&config, "global: {evaluation_interval: 1s}\nrule_files: [rules.yml]\n").unwrap();
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", dirs[1].path().join("tsdb").display()),
        "--web.external-url=http://mesh.example/".to_owned(),
        "--web.route-prefix=/".to_owned(),
    ];
    let (_prometheus, theirs) = start("prometheus", &args, dirs[1].path()).unwrap();
    let server = Start::new(dirs[0].path()).unwrap();
    let server = server
        .env("DEVMESH_RULES_FILES", rules.to_str().unwrap())
        .env("DEVMESH_RULES_INTERVAL", "1s")
        .env("DEVMESH_RULES_EXTERNAL_URL", "http://mesh.example/")
        .ready()
        .unwrap();
    let ours = server.url("http", "");
    for path in ["/api/v1/rules", "/api/v1/rules?type=alert&exclude_alerts=true", "/api/v1/rules?type=record"] {
        same(&ours, &theirs, path);
    }
    for path in ["/api/v1/rules?rule_name[]=Fires", "/api/v1/rules?rule_group[]=second", "/api/v1/alerts"] {
        same(&ours, &theirs, path);
    }
    same(&ours, &theirs, "/api/v1/rules?match[]=%7Bteam%3D%22shop%22%2Csource%21%3D%22rules%22%7D");
    // What they wrote: the names and labels of all series, and that those of states have values.
    let series = |base: &str| -> Result<Value> {
        let query = "%7B__name__%3D~%22ALERTS%7CALERTS_FOR_STATE%7Canswer%7Chosts%3Acount%7Cgone%22%7D%20%3E%200%20and%20on()%20vector(1)";
        let data = ask(base, &format!("/api/v1/query?query={query}"))?;
        let mut all: Vec<String> =
            data["result"].as_array().context("no list")?.iter().map(|one| one["metric"].to_string()).collect();
        all.sort();
        Ok(json!(all))
    };
    until(LONG, "the same series", || {
        let (ours, theirs) = (series(&ours)?, series(&theirs)?);
        anyhow::ensure!(ours == theirs && ours.as_array().is_some_and(|all| all.len() == 9), "{ours:#}\n{theirs:#}");
        Ok(Some(()))
    })
    .unwrap();
    // What is wrong is refused in Prometheus' words.
    for path in ["/api/v1/rules?type=x", "/api/v1/rules?exclude_alerts=x", "/api/v1/rules?group_next_token=x"] {
        let refused = |base: &str| {
            let answer = client::get(&format!("{base}{path}")).unwrap();
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            (answer.status, body["errorType"].clone(), body["error"].clone())
        };
        assert_eq!(refused(&ours), refused(&theirs), "{path}");
    }
    // Pages of one group.
    let page = ask(&ours, "/api/v1/rules?group_limit=1").unwrap();
    let token = page["groupNextToken"].as_str().unwrap();
    assert_eq!(page["groups"][0]["name"], "first");
    let last = ask(&ours, &format!("/api/v1/rules?group_limit=1&group_next_token={token}")).unwrap();
    assert_eq!((&last["groups"][0]["name"], last.get("groupNextToken")), (&json!("second"), None));
}

/// Waits until both answer alike, but for what is their own.
fn same(ours: &str, theirs: &str, path: &str) {
    until(LONG, &format!("the same answer to {path}"), || {
        let (here, there) = (alike(&ask(ours, path)?), alike(&ask(theirs, path)?));
        let pending = here.to_string().contains("\"unknown\"");
        anyhow::ensure!(here == there && !pending, "ours {here:#}\ntheirs {there:#}");
        Ok(Some(()))
    })
    .unwrap();
}

#[test]
fn promtool_and_our_check_agree_on_files() {
    let dir = tempfile::tempdir().unwrap();
    let devmesh = program::built("devmesh").unwrap();
    let promtool = program::installed("promtool").unwrap();
    for (text, good) in [
        (RULES, true),
        ("groups: []\n", true),
        ("groups: [{name: g, rules: [{alert: A, expr: 'up =='}]}]\n", false),
        ("groups: [{name: g, rules: [{alert: A, expr: up, fro: 1m}]}]\n", false),
        ("groups: [{name: g, rules: [{record: a, expr: up, for: 1m}]}]\n", false),
        ("groups: [{name: g, rules: [{alert: A, expr: up, annotations: {a: '{{ $nothing }}'}}]}]\n", false),
        ("groups: [{name: g, rules: [{alert: A, expr: up, labels: {a: '{{ nofun 1 }}'}}]}]\n", false),
        ("groups: [{name: g}, {name: g}]\n", false),
        ("groups: [{name: g, interval: 5}]\n", false),
    ] {
        let file = dir.path().join("rules.yml");
        std::fs::write(&file, text).unwrap();
        let checked = |program: &Path, args: &[&str]| Command::new(program).args(args).arg(&file).output().unwrap();
        let (ours, theirs) = (checked(&devmesh, &["rules", "check"]), checked(&promtool, &["check", "rules"]));
        let shown = |output: &[u8]| String::from_utf8_lossy(output).into_owned();
        assert_eq!(ours.status.success(), good, "{text}\n{}", shown(&ours.stderr));
        assert_eq!(theirs.status.success(), good, "{text}\n{}{}", shown(&theirs.stdout), shown(&theirs.stderr));
    }
}

fn gauge(server: &Server, value: f64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let points = json!([{"timeUnixNano": now.to_string(), "asDouble": value}]);
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
    let scopes = json!([{"metrics": [{"name": "queue", "gauge": {"dataPoints": points}}]}]);
    let body = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": scopes}]});
    client::post_json(&server.url("http", "/v1/metrics"), &body).unwrap();
}

#[test]
fn a_real_alertmanager_takes_our_alerts_and_our_webhook_says_what_its_does() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let hook = Hook::start();
    let route = "route: {receiver: people, group_by: [alertname, job], group_wait: 0s, group_interval: 1s}\n";
    let receivers = |path: &str| {
        format!("{route}receivers: [{{name: people, webhook_configs: [{{url: 'http://{}/{path}'}}]}}]\n", hook.address)
    };
    let config = dirs[1].path().join("alertmanager.yml");
    std::fs::write(&config, receivers("theirs")).unwrap();
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.path={}", dirs[1].path().display()),
        "--cluster.listen-address=".to_owned(),
    ];
    let (_alertmanager, manager) = start("alertmanager", &args, dirs[1].path()).unwrap();
    let target = manager.trim_start_matches("http://");
    let own = format!(
        "alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{target}']}}]}}]}}\n{}",
        receivers("ours")
    );
    let (rules_file, receivers_file) = (dirs[0].path().join("rules.yml"), dirs[0].path().join("receivers.yml"));
    std::fs::write(&receivers_file, own).unwrap();
    // It holds an address that lets whoever has it send.
    program::run(Command::new("chmod").arg("600").arg(&receivers_file)).unwrap();
    let rules = "groups: [{name: g, interval: 1s, rules: [{alert: Full, expr: 'queue > 5', labels: {severity: page, ünïcode: 'ja \"x\"'}, \
                 annotations: {summary: 'queue is {{ $value }}'}}]}]";
    std::fs::write(&rules_file, rules).unwrap();
    let server = Start::new(dirs[0].path()).unwrap();
    let server = server
        .env("DEVMESH_RULES_FILES", rules_file.to_str().unwrap())
        .env("DEVMESH_RULES_RECEIVERS_FILE", receivers_file.to_str().unwrap())
        .ready()
        .unwrap();
    gauge(&server, 9.0);
    let amtool = || -> Result<Value> {
        let mut command = Command::new(program::installed("amtool")?);
        let output = program::run(command.args(["alert", "query", "-o", "json", "--alertmanager.url", &manager]))?;
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let alerts = until(LONG, "the alert in Alertmanager", || {
        let alerts = amtool()?;
        Ok(alerts.as_array().is_some_and(|all| all.len() == 1).then_some(alerts))
    })
    .unwrap();
    let labels = json!({"alertname": "Full", "job": "shop", "severity": "page", "ünïcode": "ja \"x\""});
    assert_eq!((&alerts[0]["labels"], &alerts[0]["status"]["state"]), (&labels, &json!("active")), "{alerts}");
    assert_eq!(alerts[0]["annotations"], json!({"summary": "queue is 9"}));
    let compare = |status: &str| {
        let (mut ours, mut theirs) = (hook.wait("/ours", status), hook.wait("/theirs", status));
        for key in ["externalURL", "notification_reason", "routeLabels"] {
            for body in [&mut ours, &mut theirs] {
                body.as_object_mut().unwrap().remove(key);
            }
        }
        // Written in UTC by us, with the zone of the machine by Alertmanager; ms here, ns there.
        for body in [&mut ours, &mut theirs] {
            let alert = body["alerts"][0].as_object_mut().unwrap();
            let starts = alert.remove("startsAt").unwrap();
            assert!(starts.as_str().is_some_and(|time| time.starts_with("20")), "{starts}");
            let ends = alert.remove("endsAt").unwrap();
            assert_eq!(ends == "0001-01-01T00:00:00Z", status == "firing", "{ends}");
        }
        assert_eq!(ours, theirs);
    };
    compare("firing");
    gauge(&server, 1.0);
    compare("resolved");
    until(LONG, "the alert's end in Alertmanager", || Ok((amtool()? == json!([])).then_some(()))).unwrap();
}
