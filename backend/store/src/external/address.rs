//! Where a database is, from its URL: `SCHEME://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE`.

use std::fmt;

use url::Url;

use crate::{Error, settings::Secret};

/// The parts of a database's URL, percent-decoded. Shown without the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) scheme: String,
    /// Empty: none was given.
    pub(crate) user: String,
    pub(crate) password: Secret,
    /// A name, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: String,
    /// What stands behind `?`, in its order.
    pub(crate) options: Vec<(String, String)>,
}

impl Address {
    /// Takes a URL apart; `port` and `database` are what counts where it names none.
    ///
    /// # Errors
    /// It names no host, more than one path segment, or has text that is no UTF-8.
    pub(crate) fn parse(url: &Url, port: u16, database: &str) -> Result<Self, Error> {
        let scheme = url.scheme().to_owned();
        let example = format!("{scheme}://USER:PASSWORD@HOST:{port}/{database}");
        let wrong = |what: &str| Error::Url(format!("{}: {what}; write {example}", redacted(url.as_str())));
        let text = |part: &str| decode(part).ok_or_else(|| wrong("a part of it is no UTF-8"));
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong("name a host"));
        }
        let path = url.path().trim_matches('/');
        if path.contains('/') {
            return Err(wrong("name one database"));
        }
        Ok(Self {
            user: text(url.username())?,
            password: Secret(text(url.password().unwrap_or_default())?),
            host: text(host)?,
            port: url.port().unwrap_or(port),
            database: if path.is_empty() { database.to_owned() } else { text(path)? },
            options: url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect(),
            scheme,
        })
    }

    /// The value of an option; the empty text where it has none (`?secure`).
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{}://{host}:{}/{}", self.scheme, self.port, self.database)
    }
}

/// The URL without a password.
pub fn redacted(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => match parsed.set_password(Some("***")) {
            Ok(()) => parsed.to_string(),
            Err(()) => parsed.scheme().to_owned(),
        },
        Ok(_) => url.to_owned(),
        // Whatever it is, what stands before the last @ may be a secret.
        Err(_) => match (url.split_once("://"), url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://***@{rest}"),
            _ => url.to_owned(),
        },
    }
}

/// Percent-decoded text; `None` where that is no UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).ok()?);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, Error> {
        Address::parse(&Url::parse(url).unwrap(), 3306, "devmesh")
    }

    #[test]
    fn the_parts_of_a_url_are_decoded_and_the_rest_has_defaults() {
        let address = parse("mariadb://us%40er:p%3Aw%2F%C3%A4@db.example:3307/logs?ssl=required&x").unwrap();
        assert_eq!((address.user.as_str(), address.password.0.as_str()), ("us@er", "p:w/ä"));
        assert_eq!((address.host.as_str(), address.port, address.database.as_str()), ("db.example", 3307, "logs"));
        assert_eq!(
            (address.option("ssl"), address.option("x"), address.option("y")),
            (Some("required"), Some(""), None)
        );
        let address = parse("mariadb://[::1]").unwrap();
        assert_eq!((address.host.as_str(), address.to_string().as_str()), ("::1", "mariadb://[::1]:3306/devmesh"));
        assert_eq!((address.user.as_str(), address.port), ("", 3306));
    }

    #[test]
    fn a_password_shows_nowhere() {
        let address = parse("mariadb://root:hunter2@db/x").unwrap();
        let error = parse("mariadb://root:hunter2@db/x/y").unwrap_err();
        let shown = format!("{address} {address:?} {error} {}", redacted("clickhouse://a:hunter2@h:notaport/"));
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(parse("mariadb:///x").is_err() && parse("mariadb://h/%ff").is_err());
    }
}
