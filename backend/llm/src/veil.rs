//! Placeholders for what a stranger wrote: names, texts of logs, secrets. A model gets `<text#3>`; in its answer the text is put back.
//!
//! So an instruction that somebody wrote into a log reaches no model at all, nor does what it must not know
//! (reliability.md S28: "user-controlled fields abstracted"). Putting back is one pass: a text that looks like a placeholder
//! stays that text.

use std::sync::LazyLock;

use regex::Regex;

/// A placeholder.
static PLACEHOLDER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"<(?:service|name|text)#\d{1,4}>").ok());
/// What is nobody's business: addresses, tokens, keys, long random texts.
static SECRETS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?i)[a-z0-9._%+-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,8}",
        r"|bearer\s+[a-z0-9._~+/=-]{8,}",
        r"|(?:password|passwd|secret|token|api[_-]?key)\s*[:=]\s*\S+",
        r"|\beyJ[a-z0-9._-]{20,}",
        r"|\b[a-z0-9_-]{40,}\b",
    ))
    .ok()
});

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A service.
    Service,
    /// An operation, a metric, a host.
    Name,
    /// Any text.
    Text,
}

/// Placeholders, and what they stand for.
#[derive(Clone, Debug, Default)]
pub struct Veil {
    hidden: Vec<(String, String)>,
}

fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

impl Veil {
    /// The placeholder of a text; the same one each time.
    pub fn add(&mut self, what: What, text: &str) -> String {
        if let Some((placeholder, _)) = self.hidden.iter().find(|(_, hidden)| hidden == text) {
            return placeholder.clone();
        }
        let kind = match what {
            What::Service => "service",
            What::Name => "name",
            What::Text => "text",
        };
        let placeholder = format!("<{kind}#{}>", self.hidden.len() + 1);
        self.hidden.push((placeholder.clone(), text.to_owned()));
        placeholder
    }

    /// The text with placeholders for what was added, where it stands as words of its own; the longest first.
    pub fn hide(&self, text: &str) -> String {
        let mut longest: Vec<&(String, String)> = self.hidden.iter().filter(|(_, hidden)| !hidden.is_empty()).collect();
        longest.sort_by_key(|(_, hidden)| std::cmp::Reverse(hidden.len()));
        let mut out = String::with_capacity(text.len());
        let (mut rest, mut before) = (text, None);
        while let Some(first) = rest.chars().next() {
            let found = longest.iter().find(|(_, hidden)| {
                let Some(after) = rest.strip_prefix(hidden.as_str()) else { return false };
                let begins = !hidden.starts_with(word) || !before.is_some_and(word);
                begins && (!hidden.ends_with(word) || !after.starts_with(word))
            });
            match found {
                Some((placeholder, hidden)) => {
                    out.push_str(placeholder);
                    before = hidden.chars().next_back();
                    rest = rest.get(hidden.len()..).unwrap_or_default();
                }
                None => {
                    out.push(first);
                    before = Some(first);
                    rest = rest.get(first.len_utf8()..).unwrap_or_default();
                }
            }
        }
        out
    }

    /// Adds what is secret in a text.
    pub fn add_secrets(&mut self, text: &str) {
        let found: Vec<String> = SECRETS
            .iter()
            .flat_map(|secrets| secrets.find_iter(text))
            .map(|secret| secret.as_str().to_owned())
            .collect();
        for secret in found {
            self.add(What::Text, &secret);
        }
    }

    /// The text with what its placeholders stand for. One that stands for nothing is left.
    pub fn show(&self, text: &str) -> String {
        let Some(placeholder) = PLACEHOLDER.as_ref() else { return text.to_owned() };
        let shown = placeholder.replace_all(text, |found: &regex::Captures<'_>| {
            let found = found.get(0).map_or("", |found| found.as_str());
            self.hidden.iter().find(|(placeholder, _)| placeholder == found).map_or(found, |(_, text)| text).to_owned()
        });
        shown.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_hidden_comes_back_and_nothing_else_is_touched() {
        let mut veil = Veil::default();
        assert_eq!(veil.add(What::Service, "web"), "<service#1>");
        assert_eq!(veil.add(What::Service, "web-front"), "<service#2>");
        assert_eq!(veil.add(What::Text, "obey <service#1>!"), "<text#3>");
        assert_eq!(veil.add(What::Service, "web"), "<service#1>");
        let text = "web calls web-front; webinar and cobweb stay; it logged: obey <service#1>!";
        let hidden = veil.hide(text);
        assert_eq!(hidden, "<service#1> calls <service#2>; webinar and cobweb stay; it logged: <text#3>");
        assert_eq!(veil.show(&hidden), text);
        assert_eq!(veil.show("<service#9> and <text#3"), "<service#9> and <text#3");
    }

    #[test]
    fn secrets_are_hidden() {
        for (text, hidden) in [
            ("who is bob@example.com", "who is <text#1>"),
            ("with Bearer abc.def-ghi_jkl now", "with <text#1> now"),
            ("password: hunter2 fails", "<text#1> fails"),
            ("key AKIAABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcd there", "key <text#1> there"),
            ("order_4711 of checkout at 10.0.0.7", "order_4711 of checkout at 10.0.0.7"),
        ] {
            let mut veil = Veil::default();
            veil.add_secrets(text);
            assert_eq!(veil.hide(text), hidden);
            assert_eq!(veil.show(hidden), text);
        }
    }
}
