//! Who is told: the file of receivers.
//!
//! `alerting` is that of Prometheus' own file, `route` and `receivers` are those of Alertmanager's, as far as they go here: what is
//! not supported is an error that names the key. Secrets stand in files of their own, or in this one, where it is not open to
//! every user; they never show.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use devmesh_schema::limits;
use serde::{Deserialize, Deserializer, de};

use super::matcher::Matcher;
use crate::{LabelSet, duration};

/// What one request may take unless the file says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How deep routes may be nested.
const DEPTH: usize = 20;
/// Receivers' ends that can be named.
const ENDS: usize = 1_000;

/// A secret, or the file that holds it.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// As it stands in the file of receivers.
    Here(String),
    /// In a file of its own, read before each use.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Here(_) => f.write_str("<redacted>"),
            Secret::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Credentials of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A scheme, such as `Bearer`, and what follows it.
    Scheme(String, Secret),
    /// A user and a password.
    Basic(String, Secret),
}

/// How a receiver is reached.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Http {
    /// Credentials.
    pub auth: Option<Auth>,
    /// Certificates that vouch for it; `None`: those of this machine.
    pub ca: Option<PathBuf>,
    /// Our certificate and key.
    pub own: Option<(PathBuf, PathBuf)>,
    /// Whether any certificate will do.
    pub insecure: bool,
}

/// An Alertmanager.
#[derive(Clone, Debug)]
pub struct Alertmanager {
    /// `http://HOST:PORT/PREFIX`, without a slash at its end.
    pub url: String,
    /// How it is reached.
    pub http: Http,
    /// What one request may take.
    pub timeout: Duration,
}

/// What a receiver understands.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Alertmanager's webhook, version 4.
    Webhook {
        /// Alerts in one message; 0: any number.
        max_alerts: usize,
    },
    /// An incoming webhook of Slack, or `chat.postMessage`.
    Slack {
        /// Where to, other than the webhook's own channel.
        channel: String,
        /// Under which name.
        username: String,
    },
    /// A webhook of Discord.
    Discord {
        /// Under which name.
        username: String,
    },
    /// A bot of Telegram; the URL is that of the API.
    Telegram {
        /// The bot's token.
        token: Secret,
        /// To whom.
        chat: i64,
        /// In which topic.
        thread: Option<i64>,
        /// Whether no telephone rings.
        silent: bool,
    },
}

/// One way in which a receiver is told.
#[derive(Clone, Debug)]
pub struct End {
    /// The receiver's name.
    pub receiver: String,
    /// Which of the receiver's ends it is.
    pub index: usize,
    /// Its format.
    pub kind: Kind,
    /// Where to.
    pub url: Secret,
    /// Whether it is told that alerts are over.
    pub send_resolved: bool,
    /// How it is reached.
    pub http: Http,
    /// What one request may take.
    pub timeout: Duration,
}

/// By which labels alerts are brought together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// These.
    Labels(Vec<String>),
    /// All: each alert alone.
    All,
}

/// Which alerts go where.
#[derive(Clone, Debug)]
pub struct Route {
    /// The receiver.
    pub receiver: String,
    /// Which alerts are wanted: those that all of them match.
    pub matchers: Vec<Matcher>,
    /// Whether later routes see what this one took.
    pub goes_on: bool,
    /// How alerts are brought together.
    pub group_by: GroupBy,
    /// How long the first alert of a group waits for others.
    pub group_wait: Duration,
    /// Time between two messages about a group.
    pub group_interval: Duration,
    /// After which what was said is said again.
    pub repeat_interval: Duration,
    /// Narrower ones.
    pub routes: Vec<Route>,
    /// What it is known by: its matchers and those above.
    pub key: String,
}

/// Who is told.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Labels that all alerts get, where they have none of that name.
    pub external_labels: LabelSet,
    /// Alertmanagers, each of which is told everything.
    pub alertmanagers: Vec<Alertmanager>,
    /// The root of the routes.
    pub route: Option<Route>,
    /// The ends of all receivers.
    pub ends: Vec<End>,
    /// Whether secrets stand in the file itself.
    pub has_secrets: bool,
}

impl Config {
    /// Reads the file's text. Paths in it are relative to `base`.
    ///
    /// # Errors
    /// The key that is wrong or not supported.
    pub fn read(text: &str, base: &Path) -> Result<Self, String> {
        if text.len() > limits::RECEIVERS_BYTES {
            return Err(format!("it has more than {} bytes", limits::RECEIVERS_BYTES));
        }
        let file: Option<raw::File> = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
        let mut reader = Reader { base: base.to_owned(), has_secrets: false };
        reader.file(file.unwrap_or_default())
    }

    /// The ends of a receiver.
    pub fn ends_of<'c>(&'c self, receiver: &'c str) -> impl Iterator<Item = &'c End> {
        self.ends.iter().filter(move |end| end.receiver == receiver)
    }
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text: Option<String> = Deserialize::deserialize(deserializer)?;
    text.map(|text| duration::parse(&text).map_err(de::Error::custom)).transpose()
}

/// The file as it is written.
mod raw;

struct Reader {
    base: PathBuf,
    has_secrets: bool,
}

impl Reader {
    fn file(&mut self, file: raw::File) -> Result<Config, String> {
        let mut alertmanagers = Vec::new();
        for (at, manager) in file.alerting.alertmanagers.into_iter().enumerate() {
            let place = format!("alerting.alertmanagers[{at}]");
            alertmanagers.extend(self.alertmanager(manager).map_err(|error| format!("{place}: {error}"))?);
        }
        let mut ends = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for receiver in file.receivers {
            let name = receiver.name.clone();
            if name.is_empty() || names.contains(&name) {
                return Err(format!("receivers: each has a name of its own, and {name:?} is none"));
            }
            ends.extend(self.receiver(receiver, &file.global).map_err(|error| format!("receiver {name:?}: {error}"))?);
            names.push(name);
        }
        if ends.len() + alertmanagers.len() > ENDS {
            return Err(format!("there are more than {ENDS} ends of receivers"));
        }
        let route = match file.route {
            Some(route) => Some(root(route, &names)?),
            None if ends.is_empty() => None,
            None => return Err("route: it says which alerts go to which receiver, and is missing".to_owned()),
        };
        let external_labels = file.global.external_labels;
        Ok(Config { external_labels, alertmanagers, route, ends, has_secrets: self.has_secrets })
    }

    fn alertmanager(&mut self, raw: raw::Alertmanager) -> Result<Vec<Alertmanager>, String> {
        if raw.api_version.as_deref().is_some_and(|version| version != "v2") {
            return Err("api_version: only v2 is supported".to_owned());
        }
        let scheme = raw.scheme.as_deref().unwrap_or("http");
        if !["http", "https"].contains(&scheme) {
            return Err(format!("scheme: {scheme:?} is neither http nor https"));
        }
        let http = self.http(raw.http)?;
        let timeout = raw.timeout.unwrap_or(TIMEOUT);
        let prefix = raw.path_prefix.unwrap_or_default();
        let prefix = prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        let targets = raw.static_configs.into_iter().flat_map(|group| group.targets);
        let url = |target: String| {
            let url = format!("{scheme}://{target}{slash}{prefix}");
            checked(&url).map(|()| Alertmanager { url, http: http.clone(), timeout })
        };
        targets.map(url).collect()
    }

    fn receiver(&mut self, raw: raw::Receiver, global: &raw::Global) -> Result<Vec<End>, String> {
        let mut ends: Vec<End> = Vec::new();
        let name = raw.name;
        let mut add = |kind, url, common: raw::Common, resolved: bool, reader: &mut Self| -> Result<(), String> {
            let raw::Common { send_resolved, http_config, timeout } = common;
            let timeout = timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(TIMEOUT);
            let http = reader.http(http_config.unwrap_or_default())?;
            let send_resolved = send_resolved.unwrap_or(resolved);
            let index = ends.len();
            ends.push(End { receiver: name.clone(), index, kind, url, send_resolved, http, timeout });
            Ok(())
        };
        for webhook in raw.webhook_configs {
            let url = self.url("url", webhook.url, webhook.url_file)?;
            add(Kind::Webhook { max_alerts: webhook.max_alerts }, url, webhook.common, true, self)?;
        }
        for slack in raw.slack_configs {
            let (here, file) = match (slack.api_url, slack.api_url_file) {
                (None, None) => (global.slack_api_url.clone(), global.slack_api_url_file.clone()),
                own => own,
            };
            let url = self.url("api_url", here, file)?;
            let kind = Kind::Slack { channel: slack.channel, username: slack.username };
            // As Alertmanager has it: Slack is told of ends only where one asks for it.
            add(kind, url, slack.common, false, self)?;
        }
        for discord in raw.discord_configs {
            let url = self.url("webhook_url", discord.webhook_url, discord.webhook_url_file)?;
            add(Kind::Discord { username: discord.username }, url, discord.common, true, self)?;
        }
        for telegram in raw.telegram_configs {
            let token = self.secret("bot_token", telegram.bot_token, telegram.bot_token_file)?;
            let url = telegram.api_url.unwrap_or_else(|| "https://api.telegram.org".to_owned());
            checked(&url)?;
            let (chat, thread, silent) = (telegram.chat_id, telegram.message_thread_id, telegram.disable_notifications);
            let kind = Kind::Telegram { token, chat, thread, silent };
            add(kind, Secret::Here(url.trim_end_matches('/').to_owned()), telegram.common, true, self)?;
        }
        Ok(ends)
    }

    /// A URL that lets whoever has it send: a secret.
    fn url(&mut self, key: &str, here: Option<String>, file: Option<PathBuf>) -> Result<Secret, String> {
        if let Some(url) = &here {
            checked(url).map_err(|error| format!("{key}: {error}"))?;
        }
        self.secret(key, here, file)
    }

    fn secret(&mut self, key: &str, here: Option<String>, file: Option<PathBuf>) -> Result<Secret, String> {
        match (here, file) {
            (Some(_), Some(_)) => Err(format!("{key} and {key}_file are both set; set one of them")),
            (None, None) => Err(format!("{key}, or {key}_file, is missing")),
            (Some(text), None) => {
                self.has_secrets = true;
                Ok(Secret::Here(text))
            }
            (None, Some(path)) => Ok(Secret::File(self.base.join(path))),
        }
    }

    fn http(&mut self, raw: raw::Http) -> Result<Http, String> {
        let auth = match (raw.basic_auth, raw.authorization) {
            (Some(_), Some(_)) => return Err("basic_auth and authorization are both set".to_owned()),
            (Some(basic), None) => {
                let password = self.secret("password", basic.password, basic.password_file)?;
                Some(Auth::Basic(basic.username, password))
            }
            (None, Some(bearer)) => {
                let credentials = self.secret("credentials", bearer.credentials, bearer.credentials_file)?;
                Some(Auth::Scheme(bearer.kind.unwrap_or_else(|| "Bearer".to_owned()), credentials))
            }
            (None, None) => None,
        };
        let tls = raw.tls_config.unwrap_or_default();
        let own = match (tls.cert_file, tls.key_file) {
            (Some(cert), Some(key)) => Some((self.base.join(cert), self.base.join(key))),
            (None, None) => None,
            _ => return Err("tls_config: cert_file and key_file belong together".to_owned()),
        };
        let ca = tls.ca_file.map(|ca| self.base.join(ca));
        Ok(Http { auth, ca, own, insecure: tls.insecure_skip_verify })
    }
}

/// Whether requests can be sent there. The message does not show it: it may be a secret.
fn checked(url: &str) -> Result<(), String> {
    let parsed = url::Url::parse(url).map_err(|error| format!("it is no URL: {error}"))?;
    if !["http", "https"].contains(&parsed.scheme()) || parsed.host_str().is_none_or(str::is_empty) {
        return Err("it has to be http://… or https://…".to_owned());
    }
    Ok(())
}

fn root(raw: raw::Route, receivers: &[String]) -> Result<Route, String> {
    if raw.receiver.is_none() {
        return Err("route: it needs a receiver".to_owned());
    }
    if !raw.matchers.is_empty() || !raw.equals.is_empty() || !raw.matches.is_empty() {
        return Err("route: the root takes all alerts and has no matchers".to_owned());
    }
    let defaults = Route {
        receiver: String::new(),
        matchers: Vec::new(),
        goes_on: false,
        group_by: GroupBy::Labels(Vec::new()),
        group_wait: Duration::from_secs(30),
        group_interval: Duration::from_secs(300),
        repeat_interval: Duration::from_secs(4 * 3600),
        routes: Vec::new(),
        key: String::new(),
    };
    route(raw, &defaults, receivers, 0)
}

fn route(raw: raw::Route, parent: &Route, receivers: &[String], depth: usize) -> Result<Route, String> {
    if depth > DEPTH {
        return Err(format!("routes are nested deeper than {DEPTH}"));
    }
    let receiver = raw.receiver.unwrap_or_else(|| parent.receiver.clone());
    if !receivers.contains(&receiver) {
        return Err(format!("route: there is no receiver {receiver:?}"));
    }
    let mut matchers: Vec<Matcher> =
        raw.matchers.iter().map(|text| Matcher::parse(text)).collect::<Result<_, _>>().map_err(in_route)?;
    for (all, regex) in [(&raw.equals, false), (&raw.matches, true)] {
        for (name, value) in all {
            matchers.push(Matcher::new(name, value, false, regex).map_err(in_route)?);
        }
    }
    let group_by = match raw.group_by {
        None => parent.group_by.clone(),
        Some(labels) if labels.iter().any(|label| label == "...") => GroupBy::All,
        Some(labels) => GroupBy::Labels(labels),
    };
    let own: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    let key = match depth {
        0 => "{}".to_owned(),
        _ => format!("{}/{{{}}}", parent.key, own.join(",")),
    };
    let mut route_here = Route {
        receiver,
        matchers,
        goes_on: raw.goes_on,
        group_by,
        group_wait: raw.group_wait.unwrap_or(parent.group_wait),
        group_interval: raw.group_interval.unwrap_or(parent.group_interval),
        repeat_interval: raw.repeat_interval.unwrap_or(parent.repeat_interval),
        routes: Vec::new(),
        key,
    };
    if route_here.group_interval.is_zero() || route_here.repeat_interval.is_zero() {
        return Err("route: group_interval and repeat_interval cannot be zero".to_owned());
    }
    for (at, raw) in raw.routes.into_iter().enumerate() {
        let mut below = route(raw, &route_here, receivers, depth + 1)?;
        // Two with the same matchers are two.
        below.key = format!("{}/{at}", below.key);
        route_here.routes.push(below);
    }
    Ok(route_here)
}

fn in_route(error: String) -> String {
    format!("route: {error}")
}

impl Route {
    /// The routes that take an alert.
    pub fn of<'r>(&'r self, labels: &LabelSet) -> Vec<&'r Route> {
        if !self.matchers.iter().all(|matcher| matcher.matches(labels)) {
            return Vec::new();
        }
        let mut all = Vec::new();
        for route in &self.routes {
            let found = route.of(labels);
            let stops = !found.is_empty() && !route.goes_on;
            all.extend(found);
            if stops {
                break;
            }
        }
        if all.is_empty() {
            all.push(self);
        }
        all
    }
}
