//! The configuration: Prometheus' own file, of which `global` and `scrape_configs` are read.
//!
//! A file works as it is, or the error says which key is not supported. Keys about what devmesh does elsewhere and that
//! change no scrape (`evaluation_interval`, `external_labels`) are passed over. Redirects are never followed: a target
//! could name any address that this machine reaches.

use std::{collections::HashSet, path::PathBuf, time::Duration};

use devmesh_schema::limits;
use serde_yaml_ng::Value;

use super::{fields::Fields, relabel::Rule, sample::Owned};

/// What a scrape may be, unless the file says less.
const SAMPLES: u64 = limits::SCRAPE_SAMPLES;
const BODY: u64 = limits::SCRAPE_BYTES;

/// Why a configuration is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub(super) String);

/// What to scrape.
#[derive(Clone, Debug)]
pub struct Config {
    pub(super) jobs: Vec<Job>,
}

/// One entry of `scrape_configs`.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) name: String,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) scheme: String,
    pub(super) path: String,
    pub(super) params: Vec<(String, Vec<String>)>,
    pub(super) honor_labels: bool,
    pub(super) honor_timestamps: bool,
    pub(super) track_staleness: bool,
    pub(super) native: bool,
    pub(super) classic: bool,
    pub(super) compress: bool,
    /// The format of an answer that does not say it.
    pub(super) fallback: Option<Protocol>,
    pub(super) protocols: Vec<Protocol>,
    pub(super) limits: Limits,
    pub(super) http: Http,
    pub(super) groups: Vec<Group>,
    pub(super) files: Vec<FileDiscovery>,
    pub(super) urls: Vec<HttpDiscovery>,
    pub(super) relabel: Vec<Rule>,
    pub(super) metric_relabel: Vec<Rule>,
}

/// Bounds of a scrape; what exceeds them fails as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) body: u64,
    pub(super) samples: u64,
    pub(super) labels: u64,
    pub(super) name: u64,
    pub(super) value: u64,
    pub(super) targets: u64,
}

/// A format that a target may answer in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Proto,
    OpenMetrics1,
    OpenMetrics0,
    Text1,
    Text0,
}

/// How a server is talked to.
#[derive(Clone, Debug, Default)]
pub(super) struct Http {
    pub(super) auth: Auth,
    pub(super) tls: TlsFiles,
    pub(super) headers: Vec<(String, Vec<String>)>,
}

/// Credentials. What is in a file is read before each request, so that it can change.
#[derive(Clone, Default)]
pub(super) enum Auth {
    #[default]
    None,
    /// A scheme, such as `Bearer`, and what follows it.
    Scheme(String, Secret),
    /// A user and a password.
    Basic(String, Secret),
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Auth::None) { "none" } else { "set" })
    }
}

/// A secret, or the file that holds it.
#[derive(Clone)]
pub(super) enum Secret {
    Here(String),
    File(PathBuf),
}

#[derive(Clone, Debug, Default)]
pub(super) struct TlsFiles {
    pub(super) ca: Option<PathBuf>,
    pub(super) own: Option<(PathBuf, PathBuf)>,
    pub(super) server_name: Option<String>,
    pub(super) insecure: bool,
}

/// Targets with labels of their own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    pub(super) targets: Vec<String>,
    pub(super) labels: Owned,
}

#[derive(Clone, Debug)]
pub(super) struct FileDiscovery {
    /// Paths, whose last part may have a `*`.
    pub(super) patterns: Vec<PathBuf>,
    pub(super) refresh: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct HttpDiscovery {
    pub(super) url: String,
    pub(super) refresh: Duration,
    pub(super) http: Http,
}

/// What `global` says for jobs that do not.
#[derive(Clone, Debug)]
struct Global {
    interval: Duration,
    timeout: Option<Duration>,
    protocols: Option<Vec<Protocol>>,
    native: bool,
    classic: bool,
    limits: Limits,
}

impl Config {
    /// Reads a file's text. Paths in it are relative to `base`.
    ///
    /// # Errors
    /// The first key that is wrong or not supported.
    pub fn read(text: &str, base: &std::path::Path) -> Result<Self, ConfigError> {
        Self::parse(text, base).map_err(ConfigError)
    }

    /// Of URLs to scrape every 15 s, in the job `scrape`, as the flag `--scrape` has them.
    ///
    /// # Errors
    /// A URL is none.
    pub fn of_urls(urls: &[String]) -> Result<Self, ConfigError> {
        let mut jobs = Vec::new();
        for url in urls {
            let wrong = |reason: &str| ConfigError(format!("{url}: {reason}; it has to be http://HOST:PORT/metrics"));
            let parsed = url::Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
            if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
                return Err(wrong("it is no URL to scrape"));
            }
            let global = Global { interval: Duration::from_secs(15), ..Global::default() };
            let mut job = Job::new("scrape".to_owned(), &global);
            job.scheme = parsed.scheme().to_owned();
            let path = parsed.path();
            job.path = if path == "/" { "/metrics".to_owned() } else { path.to_owned() };
            for (name, value) in parsed.query_pairs() {
                job.params.push((name.into_owned(), vec![value.into_owned()]));
            }
            let port = parsed.port_or_known_default().unwrap_or(80);
            let target = format!("{}:{port}", parsed.host_str().unwrap_or_default());
            job.groups.push(Group { targets: vec![target], labels: Owned::new() });
            jobs.push(job);
        }
        Ok(Self { jobs })
    }

    /// Scrapes what another configuration says as well.
    pub fn add(&mut self, mut other: Self) {
        self.jobs.append(&mut other.jobs);
    }

    fn parse(text: &str, base: &std::path::Path) -> Result<Self, String> {
        let value: Value = serde_yaml_ng::from_str(text).map_err(|error| format!("no YAML: {error}"))?;
        let mut fields = Fields::new("", value)?;
        let global = match fields.below("global")? {
            Some(fields) => Global::read(fields)?,
            None => Global::default(),
        };
        let jobs = fields.each("scrape_configs", |fields| Job::read(fields, &global, base))?;
        fields.end()?;
        let mut names = HashSet::new();
        if let Some(twice) = jobs.iter().find(|job| !names.insert(job.name.as_str())) {
            return Err(format!("scrape_configs: the job {:?} is there twice", twice.name));
        }
        Ok(Self { jobs })
    }
}

impl Default for Global {
    fn default() -> Self {
        let limits = Limits { body: BODY, samples: SAMPLES, labels: 0, name: 0, value: 0, targets: 0 };
        let interval = Duration::from_secs(60);
        Self { interval, timeout: None, protocols: None, native: false, classic: false, limits }
    }
}

impl Global {
    fn read(mut fields: Fields) -> Result<Self, String> {
        let default = Self::default();
        let global = Self {
            interval: positive(&mut fields, "scrape_interval")?.unwrap_or(default.interval),
            timeout: positive(&mut fields, "scrape_timeout")?,
            protocols: protocols(&mut fields)?,
            native: fields.boolean("scrape_native_histograms")?.unwrap_or(false),
            classic: fields.boolean("always_scrape_classic_histograms")?.unwrap_or(false),
            limits: default.limits.read(&mut fields)?,
        };
        // About rules and remote storage: no scrape is another for it.
        fields.duration("evaluation_interval")?;
        fields.below("external_labels")?.map(Fields::rest).transpose()?;
        fields.end()?;
        Ok(global)
    }
}

impl Limits {
    /// A limit of 0 is none; those of ours stay.
    fn read(self, fields: &mut Fields) -> Result<Self, String> {
        let within = |said: Option<u64>, own: u64| match said {
            None | Some(0) => own,
            Some(said) => said.min(own),
        };
        Ok(Self {
            body: within(fields.size("body_size_limit")?, self.body),
            samples: within(fields.number("sample_limit")?, self.samples),
            labels: fields.number("label_limit")?.unwrap_or(self.labels),
            name: fields.number("label_name_length_limit")?.unwrap_or(self.name),
            value: fields.number("label_value_length_limit")?.unwrap_or(self.value),
            targets: fields.number("target_limit")?.unwrap_or(self.targets),
        })
    }
}

fn positive(fields: &mut Fields, key: &str) -> Result<Option<Duration>, String> {
    match fields.duration(key)? {
        Some(Duration::ZERO) => Err(fields.wrong(key, "it has to be above 0")),
        other => Ok(other),
    }
}

fn protocol(name: &str) -> Option<Protocol> {
    Some(match name {
        "PrometheusProto" => Protocol::Proto,
        "OpenMetricsText1.0.0" => Protocol::OpenMetrics1,
        "OpenMetricsText0.0.1" => Protocol::OpenMetrics0,
        "PrometheusText1.0.0" => Protocol::Text1,
        "PrometheusText0.0.4" => Protocol::Text0,
        _ => return None,
    })
}

fn protocols(fields: &mut Fields) -> Result<Option<Vec<Protocol>>, String> {
    let names = fields.texts("scrape_protocols")?;
    let read = |name: &String| {
        protocol(name).ok_or_else(|| fields.wrong("scrape_protocols", format!("{name:?} is not supported")))
    };
    let all: Vec<Protocol> = names.iter().map(read).collect::<Result<_, _>>()?;
    Ok((!all.is_empty()).then_some(all))
}

impl Job {
    fn new(name: String, global: &Global) -> Self {
        use Protocol::{OpenMetrics0, OpenMetrics1, Proto, Text0, Text1};
        let mut protocols = global.protocols.clone().unwrap_or_else(|| vec![OpenMetrics1, OpenMetrics0, Text1, Text0]);
        if global.native && !protocols.contains(&Proto) {
            protocols.insert(0, Proto);
        }
        Self {
            name,
            interval: global.interval,
            timeout: global.timeout.unwrap_or(Duration::from_secs(10)).min(global.interval),
            scheme: "http".to_owned(),
            path: "/metrics".to_owned(),
            params: Vec::new(),
            honor_labels: false,
            honor_timestamps: true,
            track_staleness: false,
            native: global.native,
            classic: global.classic,
            compress: true,
            fallback: None,
            protocols,
            limits: global.limits,
            http: Http::default(),
            groups: Vec::new(),
            files: Vec::new(),
            urls: Vec::new(),
            relabel: Vec::new(),
            metric_relabel: Vec::new(),
        }
    }

    fn read(mut fields: Fields, global: &Global, base: &std::path::Path) -> Result<Self, String> {
        let name = fields.text("job_name")?.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| fields.wrong("job_name", "it is missing"))?;
        let native = fields.boolean("scrape_native_histograms")?.unwrap_or(global.native);
        let classic = fields.boolean("always_scrape_classic_histograms")?.unwrap_or(global.classic);
        let chosen = protocols(&mut fields)?;
        let global =
            Global { native, classic, protocols: chosen.or_else(|| global.protocols.clone()), ..global.clone() };
        let mut job = Self::new(name, &global);
        job.times(&mut fields, &global)?;
        job.scheme = fields.text("scheme")?.unwrap_or(job.scheme);
        if !matches!(job.scheme.as_str(), "http" | "https") {
            return Err(fields.wrong("scheme", "it has to be http or https"));
        }
        job.path = fields.text("metrics_path")?.unwrap_or(job.path);
        job.params = params(&mut fields)?;
        job.honor_labels = fields.boolean("honor_labels")?.unwrap_or(false);
        job.honor_timestamps = fields.boolean("honor_timestamps")?.unwrap_or(true);
        job.track_staleness = fields.boolean("track_timestamps_staleness")?.unwrap_or(false);
        job.compress = fields.boolean("enable_compression")?.unwrap_or(true);
        if let Some(name) = fields.text("fallback_scrape_protocol")? {
            let fallback = protocol(&name);
            job.fallback = Some(fallback.ok_or_else(|| fields.wrong("fallback_scrape_protocol", "not supported"))?);
        }
        job.limits = job.limits.read(&mut fields)?;
        job.http = Http::read(&mut fields, base)?;
        job.groups = fields.each("static_configs", Group::read)?;
        job.files = fields.each("file_sd_configs", |fields| FileDiscovery::read(fields, base))?;
        job.urls = fields.each("http_sd_configs", |fields| HttpDiscovery::read(fields, base))?;
        job.relabel = fields.each("relabel_configs", Rule::read)?;
        job.metric_relabel = fields.each("metric_relabel_configs", Rule::read)?;
        fields.end()?;
        Ok(job)
    }

    fn times(&mut self, fields: &mut Fields, global: &Global) -> Result<(), String> {
        self.interval = positive(fields, "scrape_interval")?.unwrap_or(global.interval);
        let timeout = positive(fields, "scrape_timeout")?;
        if timeout.is_some_and(|timeout| timeout > self.interval) {
            return Err(fields.wrong("scrape_timeout", "it is longer than the interval"));
        }
        // Where only the interval is said, the timeout follows.
        let default = global.timeout.unwrap_or(Duration::from_secs(10));
        self.timeout = timeout.unwrap_or(default.min(self.interval));
        Ok(())
    }
}

fn params(fields: &mut Fields) -> Result<Vec<(String, Vec<String>)>, String> {
    let Some(below) = fields.below("params")? else { return Ok(Vec::new()) };
    let path = fields.at("params");
    let read = |(name, value): (String, Value)| {
        let mut one = Fields::new(&*path, Value::Mapping([(Value::from(name.as_str()), value)].into_iter().collect()))?;
        Ok((name.clone(), one.texts(&name)?))
    };
    below.values()?.into_iter().map(read).collect()
}

impl Http {
    fn read(fields: &mut Fields, base: &std::path::Path) -> Result<Self, String> {
        if fields.boolean("follow_redirects")? == Some(true) {
            return Err(fields.wrong("follow_redirects", "not supported: redirects are never followed"));
        }
        // Which version of HTTP is spoken changes no answer.
        fields.boolean("enable_http2")?;
        let headers = match fields.below("http_headers")? {
            None => Vec::new(),
            Some(below) => {
                let read = |(name, value): (String, Value)| {
                    let mut one = Fields::new(format!("http_headers.{name}"), value)?;
                    let values = one.texts("values")?;
                    one.end()?;
                    Ok((name, values))
                };
                below.values()?.into_iter().map(read).collect::<Result<_, String>>()?
            }
        };
        Ok(Self { auth: auth(fields, base)?, tls: TlsFiles::read(fields, base)?, headers })
    }
}

fn secret(fields: &mut Fields, base: &std::path::Path, key: &str) -> Result<Option<Secret>, String> {
    let file_key = format!("{key}_file");
    match (fields.text(key)?, fields.text(&file_key)?) {
        (Some(_), Some(_)) => Err(fields.wrong(key, format!("{file_key} is set as well"))),
        (Some(text), None) => Ok(Some(Secret::Here(text))),
        (None, Some(path)) => Ok(Some(Secret::File(base.join(path)))),
        (None, None) => Ok(None),
    }
}

fn auth(fields: &mut Fields, base: &std::path::Path) -> Result<Auth, String> {
    let mut all = Vec::new();
    if let Some(mut below) = fields.below("basic_auth")? {
        let user = below.text("username")?.unwrap_or_default();
        let password = secret(&mut below, base, "password")?.unwrap_or(Secret::Here(String::new()));
        below.end()?;
        all.push(Auth::Basic(user, password));
    }
    if let Some(mut below) = fields.below("authorization")? {
        let scheme = below.text("type")?.unwrap_or_else(|| "Bearer".to_owned());
        if scheme.eq_ignore_ascii_case("basic") {
            return Err(below.wrong("type", "basic is said by basic_auth"));
        }
        let credentials = secret(&mut below, base, "credentials")?;
        let credentials = credentials.ok_or_else(|| below.wrong("credentials", "it is missing"))?;
        below.end()?;
        all.push(Auth::Scheme(scheme, credentials));
    }
    if let Some(token) = secret(fields, base, "bearer_token")? {
        all.push(Auth::Scheme("Bearer".to_owned(), token));
    }
    match all.len() {
        0 | 1 => Ok(all.pop().unwrap_or_default()),
        _ => Err(fields.wrong("authorization", "one of basic_auth, authorization and bearer_token can be set")),
    }
}

impl TlsFiles {
    fn read(fields: &mut Fields, base: &std::path::Path) -> Result<Self, String> {
        let Some(mut below) = fields.below("tls_config")? else { return Ok(Self::default()) };
        let mut path = |key: &str| below.text(key).map(|path| path.map(|path| base.join(path)));
        let (ca, cert, key) = (path("ca_file")?, path("cert_file")?, path("key_file")?);
        let own = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(below.wrong("cert_file", "cert_file and key_file belong together")),
        };
        let (server_name, insecure) = (below.text("server_name")?, below.boolean("insecure_skip_verify")?);
        below.end()?;
        Ok(Self { ca, own, server_name, insecure: insecure.unwrap_or(false) })
    }
}

impl Group {
    /// Also an element of the files and answers of discovery.
    pub(super) fn read(mut fields: Fields) -> Result<Self, String> {
        let targets = fields.texts("targets")?;
        let labels = fields.below("labels")?.map(Fields::rest).transpose()?.unwrap_or_default();
        fields.end()?;
        Ok(Self { targets, labels })
    }

    /// The groups of a file or an answer of discovery: YAML, of which JSON is a part.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn list(text: &str) -> Result<Vec<Self>, String> {
        let value: Value = serde_yaml_ng::from_str(text).map_err(|error| format!("neither YAML nor JSON: {error}"))?;
        let Value::Sequence(all) = value else { return Err("it has to be a list of groups of targets".to_owned()) };
        let read = |(n, value): (usize, Value)| Self::read(Fields::new(format!("[{n}]"), value)?);
        all.into_iter().enumerate().map(read).collect()
    }
}

impl FileDiscovery {
    fn read(mut fields: Fields, base: &std::path::Path) -> Result<Self, String> {
        let files = fields.texts("files")?;
        for file in &files {
            let (dir, name) = file.rsplit_once('/').unwrap_or(("", file));
            if dir.contains('*') || name.matches('*').count() > 1 {
                return Err(fields.wrong("files", format!("{file:?}: one * can stand in the last part of a path")));
            }
        }
        let refresh = positive(&mut fields, "refresh_interval")?.unwrap_or(Duration::from_secs(300));
        fields.end()?;
        Ok(Self { patterns: files.iter().map(|file| base.join(file)).collect(), refresh })
    }
}

impl HttpDiscovery {
    fn read(mut fields: Fields, base: &std::path::Path) -> Result<Self, String> {
        let url = fields.text("url")?.ok_or_else(|| fields.wrong("url", "it is missing"))?;
        let valid = url::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !valid {
            return Err(fields.wrong("url", "it has to be http:// or https://"));
        }
        let refresh = positive(&mut fields, "refresh_interval")?.unwrap_or(Duration::from_secs(60));
        let http = Http::read(&mut fields, base)?;
        fields.end()?;
        Ok(Self { url, refresh, http })
    }
}
