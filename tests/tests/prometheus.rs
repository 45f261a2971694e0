//! A real Prometheus scrapes real targets and remote-writes to us by both versions of the protocol; a server of ours
//! scrapes the same targets by the same configuration. PromQL's answers are compared over the same samples.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use devmesh_tests::{Server, client, program, server::Start, until};
use serde_json::Value;

/// Samples of a series before anything is asked. A busy machine leaves some out; both servers have the same ones.
const SAMPLES: f64 = 30.0;
const LONG: Duration = Duration::from_secs(300);

/// Ends a program when the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        client::ignore(self.0.kill());
        client::ignore(self.0.wait());
    }
}

fn start(program: &str, args: &[String], dir: &Path, port: u16) -> Result<Running> {
    let log = std::fs::File::create(dir.join(format!("{program}.log")))?;
    let mut command = Command::new(program::installed(program)?);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let running = Running(command.spawn().with_context(|| format!("failed to start {program}"))?);
    let url = format!("http://127.0.0.1:{port}/metrics");
    until(LONG, program, || Ok(client::get(&url).ok().filter(|answer| answer.status == 200)))?;
    Ok(running)
}

fn node_exporter(dir: &Path, port: u16) -> Result<Running> {
    // What other programs mount and plug in meanwhile would be series of one server alone.
    let args = [
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--collector.filesystem.mount-points-include=^/$".to_owned(),
        "--collector.netdev.device-include=^lo$".to_owned(),
        "--collector.netclass.ignored-devices=^[^l].*".to_owned(),
    ];
    start("node_exporter", &args, dir, port)
}

fn jobs(prometheus: u16, node: u16) -> String {
    format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: node\n  static_configs: \
         [{{targets: ['127.0.0.1:{node}']}}]\n- job_name: prometheus\n  scrape_native_histograms: true\n  \
         always_scrape_classic_histograms: true\n  static_configs: [{{targets: ['127.0.0.1:{prometheus}']}}]\n"
    )
}

/// A Prometheus that sends what it scrapes to servers: the address of each, and the message that it is sent.
fn prometheus(dir: &Path, port: u16, node: u16, to: &[(&Server, &str)]) -> Result<Running> {
    let mut config = jobs(port, node);
    config.push_str("remote_write:\n");
    for (server, message) in to {
        config.push_str(&format!(
            "- {{url: '{}', protobuf_message: {message}, send_native_histograms: true, metadata_config: \
             {{send_interval: 1s}}, queue_config: {{batch_send_deadline: 500ms}}}}\n",
            server.url("http", "/api/v1/write")
        ));
    }
    std::fs::write(dir.join("prometheus.yml"), config)?;
    let args = [
        format!("--config.file={}", dir.join("prometheus.yml").display()),
        format!("--storage.tsdb.path={}", dir.join("tsdb").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--enable-feature=metadata-wal-records,promql-experimental-functions".to_owned(),
    ];
    start("prometheus", &args, dir, port)
}

/// The members of the sets in `queries.txt`, put into the queries that stand for them.
fn queries() -> Vec<String> {
    let text = std::fs::read_to_string(program::root().join("tests/promql/queries.txt")).unwrap();
    let mut sets: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut all = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some((name, members)) = line.split_once(": ").filter(|(name, _)| name.chars().all(char::is_alphabetic)) {
            sets.insert(name, members.split(" | ").collect());
            continue;
        }
        match sets.iter().find(|(name, _)| line.contains(&format!("{{{name}}}"))) {
            None => all.push(line.to_owned()),
            Some((name, members)) => {
                all.extend(members.iter().map(|member| instead(line, &format!("{{{name}}}"), member)));
            }
        }
    }
    all
}

/// Puts a selector where `hole` is, before a suffix of its name or further labels.
fn instead(line: &str, hole: &str, selector: &str) -> String {
    let (name, labels) =
        selector.split_once('{').map_or((selector, ""), |(name, labels)| (name, labels.trim_end_matches('}')));
    let mut parts = line.split(hole);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let suffix = part.find(|c: char| c != '_' && !c.is_ascii_alphabetic()).unwrap_or(part.len());
        let suffix = if part.starts_with('_') { suffix } else { 0 };
        let rest = &part[suffix..];
        out.push_str(&format!("{name}{}", &part[..suffix]));
        match rest.strip_prefix('{') {
            Some(more) if !labels.is_empty() => out.push_str(&format!("{{{labels},{more}")),
            None if !labels.is_empty() => out.push_str(&format!("{{{labels}}}{rest}")),
            _ => out.push_str(rest),
        }
    }
    out
}

fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    text.bytes().map(|byte| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// An answer of the API: its data, or what kind of error it is.
fn ask(base: &str, path: &str) -> Result<Value> {
    let answer = client::get(&format!("{base}{path}"))?;
    let body: Value = serde_json::from_slice(&answer.body).with_context(|| format!("{path}: {}", answer.text()))?;
    if body["status"] == "success" { Ok(body["data"].clone()) } else { Ok(body["errorType"].clone()) }
}

fn instant(base: &str, query: &str, at: f64) -> Result<Value> {
    ask(base, &format!("/api/v1/query?query={}&time={at}", encode(query)))
}

/// The one number of a query's answer.
fn number(base: &str, query: &str, at: f64) -> Result<Option<f64>> {
    let data = instant(base, query, at)?;
    Ok(data["result"][0]["value"][1].as_str().and_then(|text| text.parse().ok()))
}

/// Series in the order of their labels, but for queries that sort.
fn in_order(mut data: Value, query: &str) -> Value {
    if query.starts_with("sort") {
        return data;
    }
    // An error is a text.
    let result = data.get_mut("result").and_then(Value::as_array_mut);
    if let Some(series) = result.filter(|all| all.iter().all(|one| one.get("metric").is_some())) {
        series.sort_by_key(|one| one["metric"].to_string());
    }
    data
}

/// Whether two answers are the same, numbers as near as sums of floats in another order are.
fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| alike(a, b)))
        }
        (Value::String(a), Value::String(b)) if a != b => match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-9),
            _ => false,
        },
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

/// Asks both every query by `path`, and lists where their answers differ.
fn differences(ours: &str, theirs: &str, path: impl Fn(&str) -> String) -> Vec<String> {
    let mut all = Vec::new();
    // All of them take seven minutes with a program that is not optimised: `make soak` asks them.
    let every = std::env::var("TEST_PROMQL_EVERY").map_or(10, |every| every.parse().unwrap());
    // Which of equals are the greatest three is not said; Prometheus' own scripts test the others.
    let told = |query: &String| !query.contains("topk(") && !query.contains("bottomk(");
    for query in queries().into_iter().filter(told).step_by(every) {
        let path = path(&encode(&query));
        let (ours, theirs) = (ask(ours, &path).unwrap(), ask(theirs, &path).unwrap());
        let (ours, theirs) = (in_order(ours, &query), in_order(theirs, &query));
        if !alike(&ours, &theirs) {
            let cut = |value: &Value| value.to_string().chars().take(600).collect::<String>();
            all.push(format!("{query}\n  ours   {}\n  theirs {}", cut(&ours), cut(&theirs)));
        }
    }
    all
}

/// Waits until a server has exactly the samples that Prometheus has of the last 45 s before `at`.
fn delivered(ours: &str, theirs: &str, at: f64) {
    let query = "{__name__=~\".+\"}[45s]";
    let samples = |data: &Value| {
        let of = |one: &Value, key: &str| one[key].as_array().map_or(0, Vec::len);
        let series = data["result"].as_array().map(Vec::as_slice).unwrap_or_default();
        series.iter().map(|one| of(one, "values") + of(one, "histograms")).sum::<usize>()
    };
    until(LONG, "all samples", || {
        let wanted = in_order(instant(theirs, query, at)?, query);
        anyhow::ensure!(samples(&wanted) > 10_000, "{} samples are too few to compare", samples(&wanted));
        let here = in_order(instant(ours, query, at)?, query);
        let different = std::iter::zip(
            here["result"].as_array().into_iter().flatten(),
            wanted["result"].as_array().into_iter().flatten(),
        );
        let first = different.into_iter().find(|(a, b)| !alike(a, b)).map(|(a, b)| format!("{a}\n{b}"));
        anyhow::ensure!(alike(&here, &wanted), "{} of {} samples; {first:?}", samples(&here), samples(&wanted));
        Ok(Some(()))
    })
    .unwrap();
}

#[test]
fn over_what_a_prometheus_writes_to_us_promql_has_its_answers() {
    let queries = queries();
    assert!(queries.len() >= 500, "{} queries", queries.len());
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let (first, second) = (Server::start(dirs[0].path()).unwrap(), Server::start(dirs[1].path()).unwrap());
    let (port, node_port) = (program::free_port(), program::free_port());
    let node = node_exporter(dirs[2].path(), node_port).unwrap();
    let to = [(&first, "prometheus.WriteRequest"), (&second, "io.prometheus.write.v2.Request")];
    let _prometheus = prometheus(dirs[2].path(), port, node_port, &to).unwrap();
    let theirs = format!("http://127.0.0.1:{port}");
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    until(LONG, "enough samples", || {
        let least = number(&theirs, "min(count_over_time(up[50s]))", now())?.unwrap_or_default();
        Ok((least >= SAMPLES).then_some(()))
    })
    .unwrap();
    // Not now: a scrape under way is stored with the time at which it began.
    let at = now().floor() - 3.0;
    for server in [&first, &second] {
        delivered(&server.url("http", ""), &theirs, at);
    }
    // By version 2 this Prometheus sends no help, whatever its settings; the tests of the door have it.
    let about = "/api/v1/metadata?metric=node_load1";
    let known = ask(&first.url("http", ""), about).unwrap();
    assert_eq!(known, ask(&theirs, about).unwrap(), "what is known of a metric");
    // Both have the same samples: one is asked for one time, the other for a range of times.
    let instant_at = |query: &str| format!("/api/v1/query?query={query}&time={at}");
    let range_to = |query: &str| format!("/api/v1/query_range?query={query}&start={}&end={at}&step=2", at - 20.0);
    let different = [
        differences(&first.url("http", ""), &theirs, instant_at),
        differences(&second.url("http", ""), &theirs, range_to),
    ]
    .concat();
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
    // A target that goes away: its series end at once, not after the lookback.
    drop(node);
    let gone = until(LONG, "the target's end", || {
        let at = now();
        Ok(number(&theirs, "up{job=\"node\"}", at)?.filter(|up| *up == 0.0).map(|_| at))
    })
    .unwrap();
    for server in [&first, &second] {
        let ours = server.url("http", "");
        until(LONG, "the end of the series", || {
            Ok((number(&ours, "up{job=\"node\"}", gone)? == Some(0.0)).then_some(()))
        })
        .unwrap();
        for query in ["node_load1", "count({job=\"node\"})", "count_over_time(node_load1[20s])", "absent(node_load1)"] {
            until(LONG, query, || {
                let (ours, theirs) = (instant(&ours, query, gone)?, instant(&theirs, query, gone)?);
                let (ours, theirs) = (in_order(ours, query), in_order(theirs, query));
                anyhow::ensure!(alike(&ours, &theirs), "{ours} {theirs}");
                Ok(Some(()))
            })
            .unwrap();
        }
    }
}

#[test]
fn the_official_suite_for_receivers_of_remote_write_passes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).unwrap();
    let config = dir.path().join("config.yml");
    let url = server.url("http", "/api/v1/write");
    std::fs::write(&config, format!("remote_write: [{{name: devmesh, url: '{url}'}}]\n")).unwrap();
    let mut suite = Command::new(program::installed("remote-write-suite").unwrap());
    let output = program::run(suite.arg("-test.v").env("PROMETHEUS_RW2_COMPLIANCE_CONFIG_FILE", &config)).unwrap();
    let passed = String::from_utf8_lossy(&output.stdout).matches("--- PASS: ").count();
    assert!(passed > 400, "{passed} cases");
}

/// The labels of all series, as texts.
fn series(base: &str, selector: &str, at: f64) -> Result<BTreeSet<String>> {
    let path = format!("/api/v1/series?match[]={}&start={}&end={at}", encode(selector), at - 5.0);
    let data = ask(base, &path)?;
    Ok(data.as_array().context("no list")?.iter().map(ToString::to_string).collect())
}

#[test]
fn what_we_scrape_are_the_series_that_a_prometheus_scrapes() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (port, node_port) = (program::free_port(), program::free_port());
    let node = node_exporter(dirs[1].path(), node_port).unwrap();
    let _prometheus = prometheus(dirs[1].path(), port, node_port, &[]).unwrap();
    let config = dirs[0].path().join("scrape.yml");
    std::fs::write(&config, jobs(port, node_port)).unwrap();
    let server = Start::new(dirs[0].path()).unwrap();
    let server = server.env("DEVMESH_SCRAPE_CONFIG_FILE", config.to_str().unwrap()).ready().unwrap();
    let (ours, theirs) = (server.url("http", ""), format!("http://127.0.0.1:{port}"));
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    for selector in ["{job=\"node\"}", "{__name__=~\"go_.*|process_.*|up|scrape_.*\"}", "{__name__=~\".*_bucket\"}"] {
        let same = || {
            let at = now();
            let (ours, theirs) = (series(&ours, selector, at)?, series(&theirs, selector, at)?);
            let differ: Vec<&String> = ours.symmetric_difference(&theirs).take(5).collect();
            anyhow::ensure!(differ.is_empty() && ours.len() > 20, "{} {} {differ:?}", ours.len(), theirs.len());
            Ok(Some(()))
        };
        until(LONG, &format!("the same series of {selector}"), same).unwrap();
    }
    let native = "histogram_count(prometheus_http_request_duration_seconds{handler=\"/metrics\"})";
    until(LONG, "a native histogram", || Ok(number(&ours, native, now())?.filter(|count| *count > 0.0))).unwrap();
    // What a target says of itself stays the same: its total memory, its build.
    for query in ["node_memory_MemTotal_bytes", "node_uname_info", "node_exporter_build_info"] {
        until(LONG, query, || {
            let at = now();
            let value = |base: &str| -> Result<Value> { Ok(instant(base, query, at)?["result"].clone()) };
            let (ours, theirs) = (value(&ours)?, value(&theirs)?);
            anyhow::ensure!(ours[0].is_object() && alike(&ours, &theirs), "{ours} {theirs}");
            Ok(Some(()))
        })
        .unwrap();
    }
    drop(node);
    let gone = until(LONG, "the target's end", || {
        let at = now();
        Ok(number(&ours, "up{job=\"node\"}", at)?.filter(|up| *up == 0.0).map(|_| at))
    })
    .unwrap();
    until(LONG, "the end of its series", || {
        Ok((instant(&ours, "node_load1", gone)?["result"] == Value::Array(Vec::new())).then_some(()))
    })
    .unwrap();
}
