//! From a URL to a store.

use std::{path::PathBuf, sync::Arc};

use object_store::{ClientOptions, RetryConfig, aws::AmazonS3Builder, path::Path};

use url::Url;

use crate::{
    Error, Store,
    database::Database,
    embedded::{self, Remote},
    external::{self, address::redacted},
    settings::{S3, Settings},
};

/// Opens the store that `settings.url` names, and waits until its log is replayed. A database need not answer.
///
/// # Errors
/// The URL is not known, the directory is in use or cannot be read or written, or a later version wrote it.
pub async fn open(settings: &Settings) -> Result<Arc<dyn Store>, Error> {
    let url = settings.url.as_str();
    let (scheme, rest) = url.split_once("://").unwrap_or(("file", url));
    let (root, remote) = match scheme {
        "file" if rest.is_empty() => return Err(Error::Url(format!("{url}: name a directory, as in file://./data"))),
        "file" => (PathBuf::from(rest), None),
        "s3" => (settings.data_dir.clone(), Some(s3(rest, &settings.s3)?)),
        _ => {
            let settings = Settings { url: canonical(url), ..settings.clone() };
            let database = connect(&settings).await?;
            return Ok(Arc::new(external::open(settings, database).await?));
        }
    };
    let store = embedded::open(settings.clone(), root, remote, url.to_owned()).await?;
    Ok(Arc::new(store))
}

/// The URL with the one name that each database has here.
pub(crate) fn canonical(url: &str) -> String {
    match url.split_once("://") {
        Some(("mysql", rest)) => format!("mariadb://{rest}"),
        Some(("clickhouses", rest)) if rest.contains('?') => format!("clickhouse://{rest}&secure"),
        Some(("clickhouses", rest)) => format!("clickhouse://{rest}?secure"),
        _ => url.to_owned(),
    }
}

/// The database that the settings name; it is not connected to yet.
async fn connect(settings: &Settings) -> Result<Arc<dyn Database>, Error> {
    let url = Url::parse(&settings.url).map_err(|error| Error::Url(format!("{}: {error}", redacted(&settings.url))))?;
    match url.scheme() {
        "clickhouse" => crate::clickhouse::connect(&url, settings).await,
        "mariadb" => crate::mariadb::connect(&url, settings).await,
        other => {
            let shown = redacted(&settings.url);
            Err(Error::Url(format!("unsupported scheme {other}:// in {shown}; known: file, s3, mariadb, clickhouse")))
        }
    }
}

pub(crate) fn s3(rest: &str, settings: &S3) -> Result<Remote, Error> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(Error::Url("name a bucket, as in s3://BUCKET/PREFIX".into()));
    }
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    for (value, set) in [
        (&settings.endpoint, AmazonS3Builder::with_endpoint as fn(AmazonS3Builder, String) -> AmazonS3Builder),
        (&settings.region, AmazonS3Builder::with_region),
        (&settings.access_key_id, AmazonS3Builder::with_access_key_id),
        (&settings.secret_access_key.0, AmazonS3Builder::with_secret_access_key),
    ] {
        if !value.is_empty() {
            builder = set(builder, value.clone());
        }
    }
    // Ours come on top of these, with longer pauses: `upload` tries for as long as it takes.
    let retry = RetryConfig { max_retries: 2, retry_timeout: settings.timeout * 2, ..RetryConfig::default() };
    let client = ClientOptions::new().with_timeout(settings.timeout).with_allow_http(settings.allow_http);
    let store = builder.with_client_options(client).with_retry(retry).build()?;
    let prefix = Path::parse(prefix.trim_matches('/')).map_err(object_store::Error::from)?;
    Ok(Remote { store: Arc::new(store), prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_has_one_name() {
        for (given, expected) in [
            ("mysql://u:p@h/d", "mariadb://u:p@h/d"),
            ("mariadb://h", "mariadb://h"),
            ("clickhouses://h/d", "clickhouse://h/d?secure"),
            ("clickhouses://h/d?a=b", "clickhouse://h/d?a=b&secure"),
            ("file://x", "file://x"),
            ("./x", "./x"),
        ] {
            assert_eq!(canonical(given), expected);
        }
    }

    #[tokio::test]
    async fn an_unknown_scheme_is_told_without_the_password() {
        let settings = Settings { url: "mongodb://root:hunter2@h/d".into(), ..Settings::default() };
        let error = open(&settings).await.unwrap_err().to_string();
        assert!(error.contains("mongodb://") && error.contains("mariadb") && !error.contains("hunter2"), "{error}");
    }
}
