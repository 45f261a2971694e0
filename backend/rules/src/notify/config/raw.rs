//! The file of receivers, key by key.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::span;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) global: Global,
    pub(super) alerting: Alerting,
    pub(super) route: Option<Route>,
    pub(super) receivers: Vec<Receiver>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Global {
    pub(super) external_labels: BTreeMap<String, String>,
    pub(super) slack_api_url: Option<String>,
    pub(super) slack_api_url_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Alerting {
    pub(super) alertmanagers: Vec<Alertmanager>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Alertmanager {
    pub(super) scheme: Option<String>,
    pub(super) path_prefix: Option<String>,
    #[serde(deserialize_with = "span")]
    pub(super) timeout: Option<Duration>,
    pub(super) api_version: Option<String>,
    pub(super) static_configs: Vec<Targets>,
    #[serde(flatten)]
    pub(super) http: Http,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Targets {
    pub(super) targets: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Http {
    pub(super) basic_auth: Option<Basic>,
    pub(super) authorization: Option<Authorization>,
    pub(super) tls_config: Option<Tls>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Basic {
    pub(super) username: String,
    pub(super) password: Option<String>,
    pub(super) password_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Authorization {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) credentials: Option<String>,
    pub(super) credentials_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) ca_file: Option<PathBuf>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) insecure_skip_verify: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Route {
    pub(super) receiver: Option<String>,
    pub(super) group_by: Option<Vec<String>>,
    #[serde(deserialize_with = "span")]
    pub(super) group_wait: Option<Duration>,
    #[serde(deserialize_with = "span")]
    pub(super) group_interval: Option<Duration>,
    #[serde(deserialize_with = "span")]
    pub(super) repeat_interval: Option<Duration>,
    pub(super) matchers: Vec<String>,
    #[serde(rename = "match")]
    pub(super) equals: BTreeMap<String, String>,
    #[serde(rename = "match_re")]
    pub(super) matches: BTreeMap<String, String>,
    #[serde(rename = "continue")]
    pub(super) goes_on: bool,
    pub(super) routes: Vec<Route>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Receiver {
    pub(super) name: String,
    pub(super) webhook_configs: Vec<Webhook>,
    pub(super) slack_configs: Vec<Slack>,
    pub(super) discord_configs: Vec<Discord>,
    pub(super) telegram_configs: Vec<Telegram>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Common {
    pub(super) send_resolved: Option<bool>,
    pub(super) http_config: Option<Http>,
    #[serde(deserialize_with = "span")]
    pub(super) timeout: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Webhook {
    pub(super) url: Option<String>,
    pub(super) url_file: Option<PathBuf>,
    pub(super) max_alerts: usize,
    #[serde(flatten)]
    pub(super) common: Common,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Slack {
    pub(super) api_url: Option<String>,
    pub(super) api_url_file: Option<PathBuf>,
    pub(super) channel: String,
    pub(super) username: String,
    #[serde(flatten)]
    pub(super) common: Common,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Discord {
    pub(super) webhook_url: Option<String>,
    pub(super) webhook_url_file: Option<PathBuf>,
    pub(super) username: String,
    #[serde(flatten)]
    pub(super) common: Common,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Telegram {
    pub(super) bot_token: Option<String>,
    pub(super) bot_token_file: Option<PathBuf>,
    pub(super) chat_id: i64,
    pub(super) message_thread_id: Option<i64>,
    pub(super) disable_notifications: bool,
    pub(super) api_url: Option<String>,
    #[serde(flatten)]
    pub(super) common: Common,
}
