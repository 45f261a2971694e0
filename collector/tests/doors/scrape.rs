//! Scrapes of a server that says what a test tells it: what is stored of it, and what of answers that are none.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Body, extract::Request, response::Response, routing::any};
use devmesh_collector::{
    Door, Intake, Settings,
    scrape::{self, Config},
};
use devmesh_schema::{Signal, limits};
use http::HeaderMap;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, metric::Data, number_data_point::Value};

use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::support::*;

const TEXT: &str = "text/plain; version=0.0.4";
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROTO: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// How a target answers.
type Answer = Box<dyn Fn(&HeaderMap) -> Response + Send + Sync>;

/// A target that can change its mind.
#[derive(Clone)]
struct Target {
    answer: Arc<Mutex<Answer>>,
    address: String,
}

impl Target {
    async fn start(answer: impl Fn(&HeaderMap) -> Response + Send + Sync + 'static) -> Self {
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(answer)));
        let own = Arc::clone(&answer);
        let router = Router::new().fallback(any(move |request: Request| async move {
            let answer = own.lock().unwrap();
            answer(request.headers())
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { answer, address }
    }

    fn now_says(&self, answer: impl Fn(&HeaderMap) -> Response + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }
}

fn says(kind: &'static str, body: impl Into<bytes::Bytes>) -> impl Fn(&HeaderMap) -> Response + Send + Sync {
    let body = body.into();
    move |_| Response::builder().header("content-type", kind).body(Body::from(body.clone())).unwrap()
}

/// A scraper in front of a [`Recorder`].
struct Scraper {
    recorder: Arc<Recorder>,
    intake: Arc<Intake>,
    stop: CancellationToken,
    _tasks: JoinSet<()>,
}

impl Scraper {
    fn start(config: &str) -> Self {
        Self::of(Config::read(config, std::path::Path::new("/")).unwrap())
    }

    /// Scrapes one address every second, with further lines of its job.
    fn one(address: &str, more: &str) -> Self {
        Self::start(&format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: test\n  static_configs: [{{targets: \
             ['{address}']}}]\n{more}"
        ))
    }

    fn of(config: Config) -> Self {
        let recorder = Arc::new(Recorder::default());
        let intake = Intake::new(recorder.clone(), Settings::default());
        let stop = CancellationToken::new();
        let _tasks = scrape::spawn(config, &intake, &stop).unwrap();
        Self { recorder, intake, stop, _tasks }
    }

    /// Waits until `count` scrapes are stored.
    async fn scrapes(&self, count: usize) {
        self.until(|scraper| scraper.recorder.batches().len() >= count).await;
    }

    /// Waits for a scrape that the target answered; its number among all. One may come too late on a busy machine.
    async fn answered(&self) -> usize {
        let at = |scraper: &Self| scraper.values("up").iter().position(|up| *up == Some(1.0));
        self.until(|scraper| at(scraper).is_some()).await;
        at(self).unwrap()
    }

    /// Waits until what is stored is as wanted.
    async fn until(&self, wanted: impl Fn(&Self) -> bool) {
        let mut stored = self.recorder.stored.subscribe();
        let waited = async {
            while !wanted(self) {
                stored.changed().await.unwrap();
            }
        };
        limit(waited).await;
    }

    /// The metrics of all scrapes so far, in their order.
    fn metrics(&self) -> Vec<Metric> {
        self.recorder.metrics()
    }

    /// The points of a metric of numbers.
    fn points(&self, name: &str) -> Vec<NumberDataPoint> {
        let named = self.metrics().into_iter().filter(|metric| metric.name == name);
        let points = named.flat_map(|metric| match metric.data {
            Some(Data::Gauge(gauge)) => gauge.data_points,
            Some(Data::Sum(sum)) => sum.data_points,
            other => panic!("{name} is no metric of numbers: {other:?}"),
        });
        points.collect()
    }

    /// The values of a metric; `None` for the end of a series.
    fn values(&self, name: &str) -> Vec<Option<f64>> {
        let value = |point: NumberDataPoint| match point.value {
            Some(Value::AsDouble(value)) => Some(value),
            _ => {
                assert_eq!(point.flags, 1);
                None
            }
        };
        self.points(name).into_iter().map(value).collect()
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Attributes as texts.
fn labels(point: &NumberDataPoint) -> Vec<(String, String)> {
    let text = |value: &opentelemetry_proto::tonic::common::v1::AnyValue| match &value.value {
        Some(opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(text)) => text.clone(),
        other => panic!("{other:?}"),
    };
    point.attributes.iter().map(|a| (a.key.clone(), text(a.value.as_ref().unwrap()))).collect()
}

#[tokio::test]
async fn what_a_target_says_is_stored_with_its_labels_and_what_is_known_of_it() {
    let text = "# HELP jobs_total Jobs done.\n# TYPE jobs_total counter\njobs_total{queue=\"a\",job=\"own\"} 5\n# TYPE took \
                histogram\ntook_bucket{le=\"1\"} 2\ntook_bucket{le=\"+Inf\"} 3\ntook_sum 4\ntook_count 3\nat_time 7 1000\n";
    let target = Target::start(says(TEXT, text)).await;
    let scraper = Scraper::one(&target.address, "  honor_timestamps: false\n");
    let at = scraper.answered().await;
    let metrics = scraper.metrics();
    let jobs = metrics.iter().find(|metric| metric.name == "jobs_total").unwrap();
    assert_eq!((jobs.description.as_str(), &jobs.data), ("Jobs done.", &jobs.data));
    assert!(matches!(&jobs.data, Some(Data::Sum(sum)) if sum.is_monotonic));
    let own = [("exported_job".to_owned(), "own".to_owned()), ("queue".to_owned(), "a".to_owned())];
    assert_eq!(labels(&scraper.points("jobs_total")[0]), own, "the target's own label gives way");
    let bounds: Vec<String> = scraper.points("took_bucket").iter().map(|point| labels(point)[0].1.clone()).collect();
    assert_eq!(&bounds[..2], ["1.0", "+Inf"]);
    assert_eq!(scraper.values("scrape_samples_scraped")[at], Some(6.0));
    assert_eq!(scraper.values("scrape_series_added")[at], Some(6.0));
    assert!(scraper.values("scrape_duration_seconds")[at].unwrap() > 0.0);
    let (up, own) = (scraper.points("up")[at].time_unix_nano, scraper.points("at_time")[0].time_unix_nano);
    assert_eq!(up, own, "the scrape's time where the target's is not honoured");
    assert!(scraper.intake.counters().taken(Door::Scrape, Signal::Metrics).items >= 11);
}

#[tokio::test]
async fn labels_of_the_target_are_kept_where_they_are_honoured_and_rules_apply_to_metrics() {
    let target = Target::start(says(TEXT, "a{job=\"own\",x=\"1\"} 1\nb 2\n")).await;
    let rules = "  honor_labels: true\n  metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}, \
                 {regex: x, action: labeldrop}]\n";
    let scraper = Scraper::one(&target.address, rules);
    let at = scraper.answered().await;
    assert_eq!((labels(&scraper.points("a")[0]), scraper.points("b").len()), (Vec::new(), 0));
    assert_eq!(scraper.values("scrape_samples_post_metric_relabeling")[at], Some(1.0));
    let requests = scraper
        .recorder
        .exported::<opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest>(Signal::Metrics);
    let service = |request: &opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest| {
        let resources = request.resource_metrics.iter().map(|resource| format!("{:?}", resource.resource));
        resources.collect::<String>()
    };
    assert!(service(&requests[at]).contains("own"), "the series' own job");
}

#[tokio::test]
async fn a_series_that_is_gone_ends_and_all_end_where_the_target_fails() {
    let target = Target::start(says(TEXT, "a 1\nb 2\n")).await;
    let scraper = Scraper::one(&target.address, "");
    scraper.answered().await;
    target.now_says(says(TEXT, "a 1\n"));
    let before = scraper.recorder.batches().len();
    scraper.scrapes(before + 2).await;
    target.now_says(|_| Response::builder().status(500).body(Body::empty()).unwrap());
    let before = scraper.recorder.batches().len();
    scraper.scrapes(before + 3).await;
    assert_eq!(scraper.values("up").last(), Some(&Some(0.0)));
    for name in ["a", "b"] {
        let values = scraper.values(name);
        assert_eq!(values.last(), Some(&None), "{name}");
        assert!(values.windows(2).all(|two| two != [None, None]), "{name} ends once: {values:?}");
    }
    // It comes back.
    target.now_says(says(TEXT, "a 1\n"));
    scraper.until(|scraper| scraper.values("a").last() == Some(&Some(1.0))).await;
}

#[tokio::test]
async fn native_histograms_come_in_the_binary_format() {
    fn field(number: u32, wire: u32, value: u64, out: &mut Vec<u8>) {
        prost::encoding::encode_varint(u64::from(number << 3 | wire), out);
        prost::encoding::encode_varint(value, out);
    }
    fn double(number: u32, value: f64, out: &mut Vec<u8>) {
        prost::encoding::encode_varint(u64::from(number << 3 | 1), out);
        out.extend_from_slice(&value.to_le_bytes());
    }
    let mut histogram = Vec::new();
    field(1, 0, 3, &mut histogram);
    double(2, 4.5, &mut histogram);
    field(5, 0, 6, &mut histogram);
    double(6, 0.001, &mut histogram);
    field(7, 0, 1, &mut histogram);
    let mut span = Vec::new();
    field(1, 0, 2, &mut span);
    field(2, 0, 1, &mut span);
    histogram.extend(crate::support::field(12, &span));
    histogram.extend(crate::support::field(13, &[4]));
    let metric = crate::support::field(7, &histogram);
    let mut family = [crate::support::field(1, b"took"), crate::support::field(2, b"how long")].concat();
    field(3, 0, 4, &mut family);
    family.extend(crate::support::field(4, &metric));
    let mut body = Vec::new();
    prost::encoding::encode_varint(family.len() as u64, &mut body);
    body.extend(family);
    let seen: Arc<Mutex<String>> = Arc::default();
    let (own, answer) = (Arc::clone(&seen), says(PROTO, body));
    let target = Target::start(move |headers| {
        *own.lock().unwrap() = headers["accept"].to_str().unwrap().to_owned();
        answer(headers)
    })
    .await;
    let scraper = Scraper::one(&target.address, "  scrape_native_histograms: true\n");
    scraper.answered().await;
    assert!(
        seen.lock().unwrap().starts_with("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;")
    );
    let metrics = scraper.metrics();
    let took = metrics.iter().find(|metric| metric.name == "took").unwrap();
    let Some(Data::ExponentialHistogram(native)) = &took.data else { panic!("{took:?}") };
    let point = &native.data_points[0];
    assert_eq!((point.count, point.sum, point.scale, point.zero_count), (3, Some(4.5), 3, 1));
    let positive = point.positive.as_ref().unwrap();
    assert_eq!((positive.offset, &positive.bucket_counts[..]), (0, &[2][..]));
    assert_eq!(took.description, "how long");
}

#[tokio::test]
async fn e2_to_e12_answers_that_are_none_are_up_0_and_nothing_is_kept() {
    let lines = |count: u64| (0..count).map(|n| format!("a{{n=\"{n}\"}} 1\n")).collect::<String>();
    let status = |status: u16| {
        move |_: &HeaderMap| {
            Response::builder().status(status).header("content-type", TEXT).body("a 1\n".into()).unwrap()
        }
    };
    let redirect = |_: &HeaderMap| {
        Response::builder().status(302).header("location", "http://169.254.169.254/").body(Body::empty()).unwrap()
    };
    let zipped = |bytes: usize| {
        let body = gzip(&vec![b'\n'; bytes]);
        move |_: &HeaderMap| {
            let answer = Response::builder().header("content-type", TEXT).header("content-encoding", "gzip");
            answer.body(Body::from(body.clone())).unwrap()
        }
    };
    let untyped = |_: &HeaderMap| Response::builder().body(Body::from("a 1\n")).unwrap();
    let endless = |_: &HeaderMap| {
        let line = bytes::Bytes::from("a 1\n".repeat(100_000));
        let body = futures::stream::iter(std::iter::repeat_with(move || Ok::<_, std::io::Error>(line.clone())));
        Response::builder().header("content-type", TEXT).body(Body::from_stream(body)).unwrap()
    };
    let table: Vec<(&str, Answer)> = vec![
        ("e2 html", Box::new(says("text/html", "<html>"))),
        ("e2 html that says it is text", Box::new(says(TEXT, "<html>\n"))),
        ("e2 204", Box::new(status(204))),
        ("e2 401", Box::new(status(401))),
        ("e2 500", Box::new(status(500))),
        ("e2 redirect", Box::new(redirect)),
        ("e3 endless", Box::new(endless)),
        ("e3 a bomb", Box::new(zipped(40 << 20))),
        ("e4 too many samples", Box::new(says(TEXT, lines(limits::SCRAPE_SAMPLES + 1)))),
        ("e5 cut", Box::new(says(TEXT, "a 1\nb 2"))),
        ("e5 no end", Box::new(says(OPEN, "a 1\n"))),
        ("e6 a bad line", Box::new(says(TEXT, "a 1\nfoo{a=\"b} 1\n"))),
        ("e8 no UTF-8", Box::new(says(TEXT, &b"a{b=\"\xff\"} 1\n"[..]))),
        ("e9 a label with the name", Box::new(says(TEXT, "a{__name__=\"b\"} 1\n"))),
        ("e11 no protobuf", Box::new(says(PROTO, &b"\xff\xff\xff"[..]))),
        ("e12 text as protobuf", Box::new(says(PROTO, "a 1\n"))),
        ("e12 no type", Box::new(untyped)),
        ("e12 another message", Box::new(says("application/vnd.google.protobuf; proto=x; encoding=delimited", ""))),
    ];
    for (row, answer) in table {
        let target = Target::start(answer).await;
        let scraper = Scraper::one(&target.address, "");
        scraper.scrapes(1).await;
        let names: Vec<String> = scraper.metrics().into_iter().map(|metric| metric.name).collect();
        assert_eq!(scraper.values("up")[0], Some(0.0), "{row}");
        assert!(names.iter().all(|name| name == "up" || name.starts_with("scrape_")), "{row}: {names:?}");
        assert_eq!(scraper.values("scrape_samples_scraped")[0], Some(0.0), "{row}");
    }
}

#[tokio::test]
async fn e1_and_e13_nobody_there_and_a_drip_are_up_0_and_delay_no_other_target() {
    let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow_address = slow.local_addr().unwrap();
    // It takes connections and never answers.
    let held = tokio::spawn(async move {
        let mut all = Vec::new();
        loop {
            all.push(slow.accept().await.unwrap());
        }
    });
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let good = Target::start(says(TEXT, "a 1\n")).await;
    let scraper = Scraper::start(&format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 150ms}}\nscrape_configs:\n- job_name: test\n  static_configs: \
         [{{targets: ['{slow_address}', '{closed}', 'no.such.name.invalid:80', '{}']}}]\n",
        good.address
    ));
    let count = |scraper: &Scraper, value: f64| scraper.values("up").iter().filter(|up| **up == Some(value)).count();
    scraper.until(|scraper| count(scraper, 1.0) >= 2 && count(scraper, 0.0) >= 6).await;
    held.abort();
}

#[tokio::test]
async fn e7_and_e10_of_two_samples_of_a_series_the_first_counts_and_times_are_bounded() {
    let text = "a 1\na 2\n# TYPE b counter\n# TYPE b gauge\nb 3\nc 4 99999999999999\nd 5 0\n";
    let target = Target::start(says(TEXT, text)).await;
    let scraper = Scraper::one(&target.address, "");
    scraper.answered().await;
    assert_eq!((scraper.values("a")[0], scraper.values("b")[0]), (Some(1.0), Some(3.0)));
    assert_eq!((scraper.points("c").len(), scraper.points("d").len()), (0, 0));
    let rejected = scraper.intake.counters().rejected();
    for reason in ["duplicate_sample", "too_far_in_future", "bad_time"] {
        assert!(
            rejected.iter().any(|(door, why, count)| (*door, *why) == (Door::Scrape, reason) && *count > 0),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn targets_come_and_go_with_files_and_http_and_their_series_end() {
    let target = Target::start(says(TEXT, "a 1\n")).await;
    let listed = format!("[{{\"targets\": [\"{}\"], \"labels\": {{\"from\": \"http\"}}}}]", target.address);
    let discovery = Target::start(says("application/json", listed)).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("web-1.yml");
    std::fs::write(&file, format!("- targets: ['{}']\n  labels: {{from: file}}\n", target.address)).unwrap();
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: test\n  file_sd_configs: [{{files: ['web-*.yml'], \
         refresh_interval: 100ms}}]\n  http_sd_configs: [{{url: 'http://{}/', refresh_interval: 100ms}}]\n",
        discovery.address
    );
    let scraper = Scraper::of(Config::read(&text, dir.path()).unwrap());
    let values = |scraper: &Scraper, source: &str| {
        let points = scraper.points("a").into_iter().filter(|point| labels(point)[0].1 == source);
        points.filter(|point| point.value.is_some()).count()
    };
    scraper.until(|scraper| values(scraper, "file") > 0 && values(scraper, "http") > 0).await;
    // A torn file changes nothing; one that is gone ends its targets.
    std::fs::write(&file, "- targets: [").unwrap();
    let before = values(&scraper, "file");
    scraper.until(|scraper| values(scraper, "file") >= before + 4).await;
    // The series about the scrape end too, and only with their target.
    let ends = |scraper: &Scraper| scraper.values("up").iter().filter(|value| value.is_none()).count();
    assert_eq!(ends(&scraper), 0, "a torn file");
    std::fs::remove_file(&file).unwrap();
    scraper.until(|scraper| ends(scraper) == 1).await;
    discovery.now_says(says("application/json", "[]"));
    scraper.until(|scraper| ends(scraper) == 2).await;
    for source in ["file", "http"] {
        let of = |point: &NumberDataPoint| labels(point)[0].1 == source;
        let last = scraper.points("a").into_iter().rfind(of).unwrap();
        assert!(last.value.is_none(), "{source}");
    }
}

#[tokio::test]
async fn a_target_is_asked_with_credentials_and_headers() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "from-a-file\n").unwrap();
    for (more, want) in [
        ("  basic_auth: {username: me, password: secret}\n", "Basic bWU6c2VjcmV0"),
        ("  authorization: {credentials_file: token}\n", "Bearer from-a-file"),
        ("  bearer_token: abc\n", "Bearer abc"),
        ("  http_headers: {Authorization: {values: ['Custom x']}}\n", "Custom x"),
    ] {
        let answer = says(TEXT, "a 1\n");
        let target = Target::start(move |headers| {
            let right = headers.get("authorization").is_some_and(|value| value == want);
            let timed = headers["x-prometheus-scrape-timeout-seconds"] == "1";
            if right && timed { answer(headers) } else { Response::builder().status(401).body(Body::empty()).unwrap() }
        })
        .await;
        let text = format!(
            "scrape_configs:\n- job_name: test\n  scrape_interval: 1s\n  static_configs: [{{targets: ['{}']}}]\n{more}",
            target.address
        );
        let scraper = Scraper::of(Config::read(&text, dir.path()).unwrap());
        scraper.answered().await;
    }
}

#[test]
fn a_configuration_works_as_it_is_or_the_error_names_the_key() {
    let whole = "\
global:
  scrape_interval: 15s
  scrape_timeout: 5s
  evaluation_interval: 15s
  external_labels: {cluster: a}
scrape_configs:
- job_name: node
  honor_labels: true
  honor_timestamps: false
  metrics_path: /m
  scheme: https
  params: {a: [b]}
  sample_limit: 1000
  body_size_limit: 10MB
  follow_redirects: false
  enable_compression: false
  fallback_scrape_protocol: PrometheusText0.0.4
  static_configs:
  - targets: [a:1, b:2]
    labels: {x: 1}
  relabel_configs:
  - source_labels: [__address__]
    target_label: y
";
    assert!(Config::read(whole, std::path::Path::new("/")).is_ok());
    let job = |more: &str| format!("scrape_configs: [{{job_name: a, {more}}}]");
    for (text, part) in [
        ("rule_files: [a]".to_owned(), "rule_files: not supported"),
        ("remote_write: []".to_owned(), "remote_write: not supported"),
        ("global: {scrape_interval: soon}".to_owned(), "global.scrape_interval: \"soon\" is no duration"),
        ("global: {query_log_file: a}".to_owned(), "global.query_log_file: not supported"),
        ("scrape_configs: [{}]".to_owned(), "scrape_configs[0].job_name: it is missing"),
        ("scrape_configs: [{job_name: a}, {job_name: a}]".to_owned(), "the job \"a\" is there twice"),
        (job("consul_sd_configs: []"), "scrape_configs[0].consul_sd_configs: not supported"),
        (job("kubernetes_sd_configs: [{role: pod}]"), "kubernetes_sd_configs: not supported"),
        (job("oauth2: {}"), "scrape_configs[0].oauth2: not supported"),
        (job("proxy_url: x"), "proxy_url: not supported"),
        (job("follow_redirects: true"), "follow_redirects: not supported: redirects are never followed"),
        (job("scrape_interval: 1s, scrape_timeout: 2s"), "scrape_timeout: it is longer than the interval"),
        (job("scheme: ftp"), "scheme: it has to be http or https"),
        (job("tls_config: {min_version: TLS13}"), "tls_config.min_version: not supported"),
        (job("tls_config: {cert_file: a}"), "cert_file and key_file belong together"),
        (job("basic_auth: {username: a}, bearer_token: b"), "one of basic_auth"),
        (job("basic_auth: {password: a, password_file: b}"), "password_file is set as well"),
        (job("scrape_protocols: [X]"), "scrape_protocols: \"X\" is not supported"),
        (job("static_configs: [{target: [a]}]"), "static_configs[0].target: not supported"),
        (job("static_configs: {}"), "static_configs: it has to be a list"),
        (job("file_sd_configs: [{files: ['a/*/b']}]"), "one * can stand in the last part"),
        (job("http_sd_configs: [{url: x}]"), "http_sd_configs[0].url"),
        (job("relabel_configs: [{action: x}]"), "relabel_configs[0].action"),
        (job("sample_limit: many"), "sample_limit: it has to be a whole number"),
        (job("honor_labels: 1"), "honor_labels: it has to be true or false"),
        ("[".to_owned(), "no YAML"),
        ("a".to_owned(), "it has to be a mapping"),
    ] {
        let error = Config::read(&text, std::path::Path::new("/")).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    let missing =
        Config::read(&job("scheme: https, tls_config: {ca_file: /no/such}"), std::path::Path::new("/")).unwrap();
    let intake = Intake::new(Arc::new(Recorder::default()), Settings::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let error = runtime.block_on(async { scrape::spawn(missing, &intake, &CancellationToken::new()).unwrap_err() });
    assert!(error.to_string().contains("the job \"a\": tls_config: "), "{error}");
}
