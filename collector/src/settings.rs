//! The agent's settings: flags, then the environment, then a TOML file, then defaults.
//!
//! A value is set into the default tree, and the whole is read as [`Settings`]; so each error belongs to one value, and
//! each value to one place. A key that does not exist is an error that names the nearest one that does.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::secret_file;

/// The tree. Its keys are the settings' names: `forward.to`, `DEVMESH_FORWARD_TO`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where to send.
    pub forward: Forward,
    /// The OTLP door.
    pub otlp: Otlp,
    /// The queue on disk.
    pub queue: Queue,
    /// The journal.
    pub journald: Journald,
    /// Prometheus targets.
    pub scrape: Scrape,
    /// This machine's metrics.
    pub host: Host,
    /// This machine.
    pub node: Node,
    /// The agent's own log.
    pub log: Log,
}

/// Where to send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// `http://HOST:PORT` or `https://HOST:PORT` of a server that takes OTLP/HTTP.
    pub to: String,
    /// A file of certificates, PEM: a server of `https://` has to be vouched for by one of them. Empty: by one of those
    /// that this machine trusts.
    pub ca: PathBuf,
    /// A file of the certificate, PEM, that is shown to a server which asks for one.
    pub cert: PathBuf,
    /// A file of its key, PEM.
    pub key: PathBuf,
    /// Whether requests are compressed.
    pub compression: Compression,
    /// The agent's token.
    pub token: String,
    /// A file with the agent's token, instead of `token`; nobody but its owner and group may read it.
    pub token_file: PathBuf,
    /// Requests in flight.
    pub in_flight: usize,
    /// Bytes in flight.
    pub in_flight_bytes: usize,
    /// Bytes of batches kept that no server takes.
    pub dead_letter_bytes: u64,
}

/// Whether requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// gzip, unless the server is on this machine: there bytes cost less than the work.
    Auto,
    /// gzip.
    Gzip,
    /// Not at all.
    None,
}

/// The OTLP door: gRPC and HTTP on one port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// `ADDR:PORT`, or `off`. Empty: open on 127.0.0.1:4318 where nothing else is collected.
    pub listen: String,
    /// Allows to listen beyond this machine, where anybody may then send.
    pub insecure: bool,
}

/// The queue on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Its directory.
    pub dir: PathBuf,
    /// Bytes it may take; when they are used up senders are told to wait.
    pub max_bytes: u64,
    /// Bytes of one of its files.
    pub segment_bytes: u64,
    /// `fsync`: what is acknowledged survives a power cut; `os`: only the end of the process.
    pub durability: Durability,
}

/// See [`devmesh_wal::Durability`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// `fdatasync` before each answer.
    Fsync,
    /// Written to the operating system.
    Os,
}

/// The journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journald {
    /// Whether to follow it.
    pub enabled: bool,
    /// A directory of journal files, instead of the machine's own.
    pub directory: String,
    /// Journal files, instead of the machine's own.
    pub files: Vec<String>,
    /// Records of a batch.
    pub batch_size: usize,
    /// How many hours back to begin where there is no position yet.
    pub lookback_hours: u64,
    /// Where the position is kept. Empty: `journald.cursor` in the queue's directory.
    pub cursor_file: String,
    /// Only these units. Empty: all.
    pub units: Vec<String>,
    /// Not these units, and never the agent's own.
    pub exclude_units: Vec<String>,
    /// Regular expressions; what they match in texts is replaced before anything is written to disk.
    pub redact: Vec<String>,
    /// The program that reads the journal.
    pub program: String,
}

/// Prometheus targets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scrape {
    /// URLs that are scraped every 15 s.
    pub urls: Vec<String>,
    /// A file in Prometheus' own format, of which `global` and `scrape_configs` are read.
    pub config_file: PathBuf,
}

/// This machine's metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Whether they are measured.
    pub metrics: bool,
    /// Seconds from one reading to the next.
    pub interval_seconds: u64,
    /// How many processes are measured for their processor time, and how many for their memory.
    pub processes: usize,
}

/// This machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name, for `host.name`. Empty: as the journal says, or the machine itself.
    pub name: String,
}

/// The agent's own log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives like `devmesh_collector=debug`.
    pub level: String,
}

impl Default for Forward {
    fn default() -> Self {
        Self {
            to: String::new(),
            ca: PathBuf::new(),
            cert: PathBuf::new(),
            key: PathBuf::new(),
            compression: Compression::Auto,
            token: String::new(),
            token_file: PathBuf::new(),
            in_flight: 4,
            in_flight_bytes: 16 << 20,
            dead_letter_bytes: 64 << 20,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            dir: "devmesh-collector-queue".into(),
            max_bytes: 1 << 30,
            segment_bytes: 16 << 20,
            durability: Durability::Fsync,
        }
    }
}

impl Default for Journald {
    fn default() -> Self {
        Self {
            enabled: false,
            directory: String::new(),
            files: Vec::new(),
            batch_size: 500,
            lookback_hours: 24,
            cursor_file: String::new(),
            units: Vec::new(),
            exclude_units: Vec::new(),
            redact: Vec::new(),
            program: "journalctl".into(),
        }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self { metrics: false, interval_seconds: 15, processes: 10 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into() }
    }
}

/// What is wrong with the settings, one line each.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Problems(pub Vec<String>);

/// Names that earlier agents had, and what they set.
const OLDER: [(&str, &str); 9] = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "forward.to"),
    ("INGEST_URL", "forward.to"),
    ("AGENT_TOKEN", "forward.token"),
    ("INTERVAL_SEC", "host.interval_seconds"),
    ("NODE_NAME", "node.name"),
    ("SHIPPER_BATCH_SIZE", "journald.batch_size"),
    ("SHIPPER_LOOKBACK_HOURS", "journald.lookback_hours"),
    ("SHIPPER_CURSOR_FILE", "journald.cursor_file"),
    ("SYSTEMD_UNITS", "journald.units"),
];

/// Bytes of a settings file.
pub const FILE_BYTES: u64 = 1 << 20;

/// Reads the settings: `flags` (key and value) over `env` over the file's `text` over the defaults.
///
/// # Errors
/// Everything that is wrong, not only the first thing.
pub fn load(
    flags: &[(&str, String)],
    env: &BTreeMap<String, String>,
    file: Option<(&str, &str)>,
) -> Result<Settings, Problems> {
    let values = Table::try_from(Settings::default()).map_err(|error| Problems(vec![error.to_string()]))?;
    let mut tree = Tree { values, problems: Vec::new() };
    if let Some((name, text)) = file {
        tree.file(name, text);
    }
    for (name, key) in OLDER {
        if let Some(value) = env.get(name).filter(|value| !value.is_empty()) {
            tree.set_text(key, value, name);
        }
    }
    for (name, value) in env.range("DEVMESH_".to_owned()..).take_while(|(name, _)| name.starts_with("DEVMESH_")) {
        // Kubernetes sets DEVMESH_SERVICE_HOST, DEVMESH_PORT_8000_TCP and the like for a service called devmesh.
        if name == "DEVMESH_CONFIG" || name.starts_with("DEVMESH_SERVICE_") || name.starts_with("DEVMESH_PORT") {
            continue;
        }
        let rest = name.trim_start_matches("DEVMESH_").to_lowercase();
        let key = rest.split_once('_').map_or(rest.clone(), |(section, key)| format!("{section}.{key}"));
        tree.set_text(&key, value, name);
    }
    for (key, value) in flags {
        tree.set_text(key, value, "command line");
    }
    tree.finish()
}

struct Tree {
    values: Table,
    problems: Vec<String>,
}

impl Tree {
    fn file(&mut self, name: &str, text: &str) {
        let table: Table = match toml::from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
            Ok(table) => table,
            Err(error) => return self.problems.push(format!("{name}: {error}")),
        };
        for (section, content) in table {
            let place = format!("{name}:{}", line_of(text, &format!("[{section}]")));
            match content {
                Value::Table(keys) if self.values.contains_key(&section) => {
                    for (key, value) in keys {
                        let place = format!("{name}:{}", line_of(text, &key));
                        self.set(&format!("{section}.{key}"), value, &place);
                    }
                }
                _ => self.problems.push(format!("{place}: {}", self.unknown(&section))),
            }
        }
    }

    /// Sets a value given as text; the default says of what type it is.
    fn set_text(&mut self, key: &str, text: &str, place: &str) {
        let as_text = || Value::String(text.to_owned());
        let value = match self.at(key) {
            Some(Value::Integer(_)) => text.parse().map_or_else(|_not_a_number| as_text(), Value::Integer),
            Some(Value::Boolean(_)) => text.parse().map_or_else(|_neither| as_text(), Value::Boolean),
            Some(Value::Array(_)) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
            }
            _ => as_text(),
        };
        self.set(key, value, place);
    }

    fn set(&mut self, key: &str, value: Value, place: &str) {
        let mut trial = self.values.clone();
        let slot = key.split_once('.').and_then(|(section, key)| trial.get_mut(section)?.get_mut(key));
        let Some(slot) = slot else {
            return self.problems.push(format!("{place}: {}", self.unknown(key)));
        };
        *slot = value;
        match trial.clone().try_into::<Settings>() {
            Ok(_) => self.values = trial,
            Err(error) => self.problems.push(format!("{place}: {key}: {}", error.message())),
        }
    }

    fn at(&self, key: &str) -> Option<&Value> {
        let (section, key) = key.split_once('.')?;
        self.values.get(section)?.get(key)
    }

    fn unknown(&self, key: &str) -> String {
        let names = self.values.iter().flat_map(|(section, content)| {
            let keys = content.as_table().into_iter().flat_map(Table::keys);
            keys.map(move |key| format!("{section}.{key}")).chain([section.clone()])
        });
        let likeness = |name: &String| strsim::jaro_winkler(name, key);
        let nearest = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or_default();
        format!("there is no setting `{key}`; the nearest is `{nearest}`")
    }

    fn finish(mut self) -> Result<Settings, Problems> {
        match self.values.try_into::<Settings>() {
            Ok(mut settings) => {
                self.problems.extend(settings.read_token());
                self.problems.extend(settings.check());
                if self.problems.is_empty() { Ok(settings) } else { Err(Problems(self.problems)) }
            }
            Err(error) => Err(Problems(vec![error.message().to_owned()])),
        }
    }
}

/// The line that begins with `start`, counted from 1.
fn line_of(text: &str, start: &str) -> usize {
    text.lines().position(|line| line.trim_start().starts_with(start)).map_or(1, |line| line + 1)
}

impl Settings {
    /// Puts the token in its place that stands in a file.
    fn read_token(&mut self) -> Option<String> {
        let path = &self.forward.token_file;
        if path.as_os_str().is_empty() {
            return None;
        }
        if !self.forward.token.is_empty() {
            return Some("forward.token and forward.token_file are both set: set one of them".into());
        }
        match secret_file::read(path) {
            Ok(token) => {
                self.forward.token = token;
                None
            }
            Err(reason) => Some(format!("forward.token_file: {reason}")),
        }
    }

    /// What each value alone cannot say.
    fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut wrong = |problem: String| problems.push(problem);
        if self.forward.to.is_empty() {
            wrong("forward.to: say where to send: --to http://HOST:4318".into());
        } else if let Err(reason) = self.target() {
            wrong(format!("forward.to: {reason}"));
        }
        let https = self.target().is_ok_and(|uri| uri.scheme_str() == Some("https"));
        let given = |path: &Path| !path.as_os_str().is_empty();
        let forward = &self.forward;
        for (key, path) in [("ca", &forward.ca), ("cert", &forward.cert), ("key", &forward.key)] {
            if given(path) && !https {
                wrong(format!("forward.{key}: it is for a server of https://, and forward.to is none"));
            }
        }
        if given(&forward.cert) != given(&forward.key) {
            wrong("forward.cert and forward.key: set both, or neither".into());
        }
        if self.token().is_err() {
            wrong("forward.token: a token has only visible ASCII characters".into());
        }
        if let Err(reason) = self.listen() {
            wrong(format!("otlp.listen: {reason}"));
        }
        for (key, value, least) in [
            ("forward.in_flight", self.forward.in_flight as u64, 1),
            ("journald.batch_size", self.journald.batch_size as u64, 1),
            ("host.interval_seconds", self.host.interval_seconds, 1),
            ("queue.segment_bytes", self.queue.segment_bytes, 64 << 10),
            ("queue.max_bytes", self.queue.max_bytes, 1 << 20),
        ] {
            if value < least {
                wrong(format!("{key}: {value} is too little; the least is {least}"));
            }
        }
        if !self.journald.directory.is_empty() && !self.journald.files.is_empty() {
            wrong("journald.files: give either a directory or files".into());
        }
        for pattern in &self.journald.redact {
            if let Err(error) = regex::Regex::new(pattern) {
                wrong(format!("journald.redact: {error}"));
            }
        }
        problems
    }

    /// The server. The paths that earlier agents were given are taken for their server.
    ///
    /// # Errors
    /// It is no `http://` or `https://` URL.
    pub fn target(&self) -> Result<http::Uri, String> {
        let mut text = self.forward.to.trim().trim_end_matches('/');
        for path in ["/v1/ingest", "/ingest/logs", "/v1/logs"] {
            text = text.strip_suffix(path).unwrap_or(text);
        }
        let uri: http::Uri = text.parse().map_err(|error| format!("`{}`: {error}", self.forward.to))?;
        match uri.scheme_str() {
            Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
            _ => Err(format!("`{}` has to be http://HOST:PORT or https://HOST:PORT", self.forward.to)),
        }
    }

    /// The header that carries the token, where there is one.
    ///
    /// # Errors
    /// The token cannot stand in a header.
    pub fn token(&self) -> Result<Option<http::HeaderValue>, http::header::InvalidHeaderValue> {
        let token = self.forward.token.trim();
        if token.is_empty() {
            return Ok(None);
        }
        let mut value = http::HeaderValue::try_from(format!("Bearer {token}"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Where the OTLP door listens; `None` where it is off.
    ///
    /// # Errors
    /// No address, or one beyond this machine without `otlp.insecure`.
    pub fn listen(&self) -> Result<Option<SocketAddr>, String> {
        let text = match self.otlp.listen.as_str() {
            "off" => return Ok(None),
            "" if self.journald.enabled || self.host.metrics || self.scrape != Scrape::default() => return Ok(None),
            "" => "127.0.0.1:4318",
            text => text,
        };
        let address: SocketAddr =
            text.parse().map_err(|_no_address| format!("`{text}` is neither ADDRESS:PORT nor `off`"))?;
        if !address.ip().is_loopback() && !self.otlp.insecure {
            return Err(format!(
                "{address} can be reached from other machines: listen on 127.0.0.1, or say --insecure"
            ));
        }
        Ok(Some(address))
    }
}

#[cfg(test)]
mod tests;
