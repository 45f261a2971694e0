//! The URL of the store: it may have a password in it, which it never shows.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize, Serializer};
use url::Url;

/// A URL. `Display`, `Debug` and `Serialize` write `***` for the password.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub(crate) struct StoreUrl(String);

impl StoreUrl {
    /// Wraps a URL that stood in a file.
    pub(super) fn new(url: String) -> Self {
        Self(url)
    }

    /// The URL as it was set, for the one place that connects.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&devmesh_store::redacted(&self.0))
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Serialize for StoreUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The URL that the older names `DB_HOST`, `DB_PORT`, `DB_NAME`, `DB_USER` and `DB_PASSWORD` make, where `DB_HOST` is set.
///
/// # Errors
/// The name of the variable that is wrong, and what is wrong with it.
pub(super) fn from_older_names(env: &BTreeMap<String, String>) -> Option<Result<String, String>> {
    let given = |name| env.get(name).map(String::as_str).filter(|value| !value.is_empty());
    // The rest is encoded by `url`, which takes a % for one that is encoded already.
    let literal = |name| given(name).map(|value| value.replace('%', "%25"));
    given("DB_HOST").map(|host| {
        let mut url = Url::parse("mariadb://localhost").map_err(|error| error.to_string())?;
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        url.set_host(Some(&bracketed)).map_err(|error| format!("DB_HOST: `{host}`: {error}"))?;
        if let Some(port) = given("DB_PORT") {
            let port = port.parse().map_err(|_number| format!("DB_PORT: `{port}` is no port; write 3306"))?;
            url.set_port(Some(port)).map_err(|()| "DB_PORT cannot be set".to_owned())?;
        }
        url.set_path(literal("DB_NAME").as_deref().unwrap_or("devmesh"));
        if let Some(user) = literal("DB_USER") {
            url.set_username(&user).map_err(|()| "DB_USER cannot be set".to_owned())?;
        }
        if let Some(password) = literal("DB_PASSWORD") {
            url.set_password(Some(&password)).map_err(|()| "DB_PASSWORD cannot be set".to_owned())?;
        }
        Ok(url.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(pairs: &[(&str, &str)]) -> Option<Result<String, String>> {
        from_older_names(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn older_names_make_a_url() {
        assert_eq!(url(&[("DB_PORT", "1"), ("DB_HOST", "")]), None);
        assert_eq!(url(&[("DB_HOST", "db")]), Some(Ok("mariadb://db/devmesh".into())));
        let all = [
            ("DB_HOST", "10.0.0.1"),
            ("DB_PORT", "3307"),
            ("DB_NAME", "logs"),
            ("DB_USER", "me@x"),
            ("DB_PASSWORD", "p:/w%@"),
        ];
        let expected = "mariadb://me%40x:p%3A%2Fw%25%40@10.0.0.1:3307/logs";
        assert_eq!(url(&all), Some(Ok(expected.into())));
        assert_eq!(url(&[("DB_HOST", "::1")]), Some(Ok("mariadb://[::1]/devmesh".into())));
        assert!(url(&[("DB_HOST", "db"), ("DB_PORT", "x")]).unwrap().unwrap_err().contains("DB_PORT"));
    }

    #[test]
    fn the_password_is_not_shown() {
        let url = StoreUrl("mariadb://root:hunter2@db/x".into());
        let shown = format!("{url} {url:?} {}", serde_json::to_string(&url).unwrap());
        assert!(!shown.contains("hunter2") && shown.contains("root:***@db"), "{shown}");
        assert!(url.reveal().contains("hunter2"));
        assert_eq!(serde_json::to_string(&StoreUrl::default()).unwrap(), "\"\"");
    }
}
