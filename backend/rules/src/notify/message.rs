//! Messages in the formats of the receivers. What they say comes from telemetry: it is escaped as each format wants it.

use serde_json::{Map, Value, json};

use super::{
    Notice,
    config::{Alertmanager, End, Kind},
    dispatch::{Job, Key},
    rfc3339,
};
use crate::{ALERT_NAME, LabelSet};

/// Alerts that a text for people names; the rest is counted.
const NAMED: usize = 20;
/// Characters of a text that Slack shows without folding.
const SLACK_TEXT: usize = 3_000;
/// Discord's bounds of an embed's title and description.
const DISCORD: (usize, usize) = (256, 4_096);
/// Telegram's bound of a message.
const TELEGRAM_TEXT: usize = 4_096;

/// Go's time that is none, as Alertmanager writes the end of what goes on.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// The body of `POST /api/v2/alerts`.
pub fn for_alertmanager(notices: &[Notice]) -> Value {
    let alert = |notice: &Notice| {
        json!({
            "labels": notice.labels, "annotations": notice.annotations, "startsAt": rfc3339(notice.starts_at),
            "endsAt": rfc3339(notice.ends_at), "generatorURL": notice.generator_url,
        })
    };
    notices.iter().map(alert).collect()
}

/// Where an Alertmanager takes alerts.
pub fn alertmanager_url(manager: &Alertmanager) -> String {
    format!("{}/api/v2/alerts", manager.url)
}

/// A message's body for an end, of the job at hand.
pub fn for_end(end: &End, job: &Job, external_url: &str) -> Value {
    let message = Message { job, external_url };
    match &end.kind {
        Kind::Webhook { max_alerts } => message.webhook(*max_alerts),
        Kind::Slack { channel, username } => message.slack(channel, username),
        Kind::Discord { username } => message.discord(username),
        Kind::Telegram { chat, thread, silent, .. } => message.telegram(*chat, *thread, *silent),
    }
}

/// How Alertmanager names a group.
pub fn group_key(key: &Key) -> String {
    let labels: Vec<String> = key.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{}:{{{}}}", key.route, labels.join(", "))
}

struct Message<'a> {
    job: &'a Job,
    external_url: &'a str,
}

impl Message<'_> {
    fn firing(&self) -> usize {
        self.job.alerts.iter().filter(|alert| !alert.is_resolved(self.job.at)).count()
    }

    fn status(&self) -> &'static str {
        if self.firing() > 0 { "firing" } else { "resolved" }
    }

    /// What all alerts have alike.
    fn common(&self, of: impl Fn(&Notice) -> &LabelSet) -> LabelSet {
        let Some((first, others)) = self.job.alerts.split_first() else { return LabelSet::new() };
        let mut common = of(first).clone();
        for other in others {
            common.retain(|name, value| of(other).get(name) == Some(value));
        }
        common
    }

    fn webhook(&self, max_alerts: usize) -> Value {
        let most = if max_alerts == 0 { usize::MAX } else { max_alerts };
        let alert = |notice: &Notice| {
            let resolved = notice.is_resolved(self.job.at);
            json!({
                "status": if resolved { "resolved" } else { "firing" },
                "labels": notice.labels,
                "annotations": notice.annotations,
                "startsAt": rfc3339(notice.starts_at),
                "endsAt": if resolved { rfc3339(notice.ends_at) } else { NO_TIME.to_owned() },
                "generatorURL": notice.generator_url,
                "fingerprint": format!("{:016x}", notice.fingerprint()),
            })
        };
        json!({
            "version": "4",
            "groupKey": group_key(&self.job.key),
            "truncatedAlerts": self.job.alerts.len().saturating_sub(most),
            "status": self.status(),
            "receiver": self.job.key.receiver,
            "groupLabels": self.job.key.labels,
            "commonLabels": self.common(|notice| &notice.labels),
            "commonAnnotations": self.common(|notice| &notice.annotations),
            "externalURL": self.external_url,
            "alerts": self.job.alerts.iter().take(most).map(alert).collect::<Vec<_>>(),
        })
    }

    /// `[FIRING:2] HighLatency eu (page)`: the group's labels, then those that all alerts share beside them.
    fn title(&self) -> String {
        let common = self.common(|notice| &notice.labels);
        let mut first: Vec<&str> = Vec::new();
        let name = common.get(ALERT_NAME).map(String::as_str);
        first.extend(name);
        let group = self.job.key.labels.iter().filter(|(label, _)| *label != ALERT_NAME);
        first.extend(group.map(|(_, value)| value.as_str()));
        let beside = |label: &String| label != ALERT_NAME && !self.job.key.labels.contains_key(label);
        let more: Vec<&str> =
            common.iter().filter(|(label, _)| beside(label)).map(|(_, value)| value.as_str()).collect();
        let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join(" ")) };
        let state = match self.firing() {
            0 => "[RESOLVED]".to_owned(),
            count => format!("[FIRING:{count}]"),
        };
        format!("{state} {}{more}", first.join(" "))
    }

    /// A paragraph for each alert. `bold` and `link` write in the receiver's markup what is escaped already.
    fn text(&self, markup: &Markup) -> String {
        let mut paragraphs: Vec<String> = Vec::new();
        for notice in self.job.alerts.iter().take(NAMED) {
            let get = |name: &str| notice.annotations.get(name).filter(|text| !text.is_empty());
            let state = if notice.is_resolved(self.job.at) { "resolved" } else { "firing" };
            let summary = get("summary").or_else(|| notice.labels.get(ALERT_NAME)).cloned().unwrap_or_default();
            let mut lines = vec![format!("{} {state}", (markup.bold)(&(markup.escape)(&summary)))];
            lines.extend(get("description").map(|text| (markup.escape)(text)));
            let labels: Vec<String> = notice.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            lines.push((markup.escape)(&labels.join(" ")));
            for (name, url) in [("rule", Some(&notice.generator_url)), ("runbook", get("runbook_url"))] {
                lines.extend(url.filter(|url| !url.is_empty()).map(|url| (markup.link)(name, url)));
            }
            paragraphs.push(lines.join("\n"));
        }
        let more = self.job.alerts.len().saturating_sub(NAMED);
        if more > 0 {
            paragraphs.push(format!("and {more} more"));
        }
        // Whole paragraphs: half a link is none.
        let mut out = String::new();
        for (at, paragraph) in paragraphs.iter().enumerate() {
            if out.chars().count() + paragraph.chars().count() + 2 > markup.most {
                out += &cut(&format!("\n\nand {} more", paragraphs.len() - at), 64);
                break;
            }
            out += if at > 0 { "\n\n" } else { "" };
            out += paragraph;
        }
        out.trim().to_owned()
    }

    fn slack(&self, channel: &str, username: &str) -> Value {
        let markup = Markup {
            escape: |text| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
            bold: |text| format!("*{}*", text.replace('*', "∗").replace('\n', " ")),
            link: |name, url| format!("<{}|{name}>", url.replace(['<', '>', '|'], "")),
            most: SLACK_TEXT,
        };
        let title = self.title();
        let mut body = Map::new();
        for (key, value) in [("channel", channel), ("username", username)] {
            if !value.is_empty() {
                body.insert(key.to_owned(), value.into());
            }
        }
        let attachment = json!({
            "title": (markup.escape)(&cut(&title, 1024)),
            "title_link": self.external_url,
            "fallback": (markup.escape)(&cut(&title, 1024)),
            "text": self.text(&markup),
            "color": if self.firing() > 0 { "danger" } else { "good" },
            "mrkdwn_in": ["text"],
        });
        body.insert("attachments".to_owned(), json!([attachment]));
        Value::Object(body)
    }

    fn discord(&self, username: &str) -> Value {
        let markup = Markup {
            escape: |text| escaped(text, "\\*_~`|>[]()#<"),
            bold: |text| format!("**{}**", text.replace('\n', " ")),
            link: |name, url| format!("[{name}](<{}>)", url.replace(['<', '>', ' ', '\n'], "")),
            most: DISCORD.1 - 64,
        };
        // Discord writes titles as they are, and nobody is called by a mention.
        let mut body = json!({
            "embeds": [{
                "title": cut(&self.title(), DISCORD.0),
                "description": self.text(&markup),
                "url": self.external_url,
                "color": if self.firing() > 0 { 0x992D22 } else { 0x2E_CC71 },
            }],
            "allowed_mentions": { "parse": [] },
        });
        if !username.is_empty() {
            body["username"] = username.into();
        }
        body
    }

    fn telegram(&self, chat: i64, thread: Option<i64>, silent: bool) -> Value {
        let markup = Markup {
            escape: html,
            bold: |text| format!("<b>{text}</b>"),
            link: |name, url| format!("<a href=\"{}\">{name}</a>", html(url)),
            most: TELEGRAM_TEXT - 1100,
        };
        let text = format!("<b>{}</b>\n\n{}", html(&cut(&self.title(), 256)), self.text(&markup));
        let mut body = json!({
            "chat_id": chat, "text": text, "parse_mode": "HTML", "disable_notification": silent,
            "link_preview_options": { "is_disabled": true },
        });
        if let Some(thread) = thread {
            body["message_thread_id"] = thread.into();
        }
        body
    }
}

/// How a receiver's markup is written.
struct Markup {
    escape: fn(&str) -> String,
    bold: fn(&str) -> String,
    link: fn(&str, &str) -> String,
    /// Characters of the text.
    most: usize,
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn escaped(text: &str, special: &str) -> String {
    let escape = |c: char| if special.contains(c) { format!("\\{c}") } else { c.to_string() };
    text.chars().map(escape).collect()
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}
