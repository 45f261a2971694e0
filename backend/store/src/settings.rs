//! What can be set about a store, with the defaults in one place.

use std::{fmt, path::PathBuf, time::Duration};

use devmesh_schema::Signal;
use serde::{Deserialize, Serialize};

/// How a store is opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `file://DIR`, `s3://BUCKET/PREFIX`, `mariadb://USER:PASSWORD@HOST:PORT/DATABASE` or `clickhouse://` likewise. A
    /// bare path counts as `file://`.
    pub url: String,
    /// Directory of the write-ahead log before a database, or before `s3://` and of files on their way there; not used by
    /// `file://`, which has its own.
    pub data_dir: PathBuf,
    /// When rows move from memory to files.
    pub flush: Flush,
    /// How long records are kept.
    pub retention: Retention,
    /// The write-ahead log.
    pub wal: Wal,
    /// How the object store of `s3://` is reached.
    pub s3: S3,
    /// How the database of `mariadb://` or `clickhouse://` is used.
    pub database: Database,
    /// Bytes that must stay free on the disk of the data directory for writes to be taken; at most a twentieth of the
    /// disk, so that small disks can be used. Below it senders are told to come back; queries go on.
    pub min_free_disk: u64,
    /// Batch ids remembered at least, so that a batch that is sent again is stored once.
    pub dedup_batches: usize,
    /// How long a batch id is remembered at least.
    #[serde(with = "text_duration")]
    pub dedup_time: Duration,
    /// Whether small files are merged in the background.
    pub compact: bool,
    /// Whether the bodies of log records are cut into templates and parameters as they come in.
    pub templates: bool,
}

/// When rows move from memory to files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flush {
    /// Bytes of rows in memory.
    pub bytes: usize,
    /// Rows of one table in memory.
    pub rows: u64,
    /// Age of the oldest row in memory.
    #[serde(with = "text_duration")]
    pub age: Duration,
    /// Bytes of rows in memory, those on their way to a file included, above which writes wait.
    pub memory_bytes: usize,
}

/// How long records are kept, by their own time; `0s` is for ever.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Retention {
    #[serde(with = "text_duration")]
    pub logs: Duration,
    #[serde(with = "text_duration")]
    pub traces: Duration,
    #[serde(with = "text_duration")]
    pub metrics: Duration,
}

impl Retention {
    /// How long records of `signal` are kept; `None`: for ever.
    pub fn of(&self, signal: Signal) -> Option<Duration> {
        let time = match signal {
            Signal::Logs => self.logs,
            Signal::Traces => self.traces,
            Signal::Metrics => self.metrics,
        };
        (!time.is_zero()).then_some(time)
    }
}

/// The write-ahead log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wal {
    /// Bytes of a segment file.
    pub segment_bytes: u64,
    /// Bytes of all segments.
    pub max_bytes: u64,
    /// `fsync`: an answer survives a power cut; `os`: only the death of the process.
    pub durability: Durability,
    /// `recover`: what is damaged is set aside and counted; `strict`: the server does not start.
    pub replay: Replay,
}

/// What an answer survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Durability {
    #[default]
    Fsync,
    Os,
}

/// What to do about a damaged log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Replay {
    #[default]
    Recover,
    Strict,
}

/// How the object store is reached. What is empty is taken from the environment (`AWS_ENDPOINT_URL`,
/// `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`), or from the machine's role.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3 {
    /// URL of a service other than AWS.
    pub endpoint: String,
    /// Region.
    pub region: String,
    /// Access key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Secret,
    /// Whether `http://` endpoints are taken.
    pub allow_http: bool,
    /// How long one request may take.
    #[serde(with = "text_duration")]
    pub timeout: Duration,
}

/// How a database is used.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// Age at which rows move from memory to the database at the latest, whatever [`Flush::age`] says: other programs read
    /// them there.
    #[serde(with = "text_duration")]
    pub flush_age: Duration,
    /// Connections that are kept open.
    pub pool_min: u32,
    /// Connections at most; what needs a further one waits.
    pub pool_max: u32,
    /// How long to wait for a connection, and for the answer to anything but an insert or a query's rows.
    #[serde(with = "text_duration")]
    pub timeout: Duration,
    /// How long to wait for the answer to an insert.
    #[serde(with = "text_duration")]
    pub insert_timeout: Duration,
    /// Whether the schema is made and brought up to date when the database is first used.
    pub migrate: bool,
    /// Name of the cluster of ClickHouse on which the tables are made; empty: one server.
    pub cluster: String,
}

/// A text that is not shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "***" })
    }
}

const DAY: Duration = Duration::from_secs(86_400);

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "file://./devmesh-data".into(),
            data_dir: "./devmesh-data".into(),
            flush: Flush::default(),
            retention: Retention::default(),
            wal: Wal::default(),
            s3: S3::default(),
            database: Database::default(),
            min_free_disk: 1 << 30,
            dedup_batches: 1_000_000,
            dedup_time: DAY,
            compact: true,
            templates: true,
        }
    }
}

impl Default for Flush {
    fn default() -> Self {
        // One file of 131,072 rows is what a query reads in one piece; 48 MiB of rows, as many on their way to a file
        // and what is written of them stay within 256 MiB of memory.
        Self { bytes: 48 << 20, rows: 131_072, age: Duration::from_secs(120), memory_bytes: 96 << 20 }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { logs: 90 * DAY, traces: 90 * DAY, metrics: 90 * DAY }
    }
}

impl Default for Wal {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            max_bytes: 4 << 30,
            durability: Durability::default(),
            replay: Replay::default(),
        }
    }
}

impl Default for S3 {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            region: String::new(),
            access_key_id: String::new(),
            secret_access_key: Secret::default(),
            allow_http: false,
            timeout: Duration::from_secs(30),
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            flush_age: Duration::from_secs(5),
            pool_min: 1,
            pool_max: 10,
            timeout: Duration::from_secs(10),
            insert_timeout: Duration::from_secs(60),
            migrate: true,
            cluster: String::new(),
        }
    }
}

/// `90d`, `15m`, `1h30m`.
mod text_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        if duration.subsec_nanos() != 0 {
            return serializer.serialize_str(&format!("{}ms", duration.as_millis()));
        }
        serializer.serialize_str(&format!("{}s", duration.as_secs()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        let nanos = devmesh_schema::time::parse_duration(&text).map_err(D::Error::custom)?;
        u64::try_from(nanos).map(Duration::from_nanos).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_survive_a_round_trip_and_unknown_keys_are_errors() {
        let text = serde_json::to_string(&Settings::default()).unwrap();
        let again: Settings = serde_json::from_str(&text).unwrap();
        assert_eq!(again.retention.of(Signal::Logs), Some(90 * DAY));
        assert!(serde_json::from_str::<Settings>(r#"{"ulr":"x"}"#).is_err());
    }

    #[test]
    fn a_secret_is_not_shown() {
        let s3 = S3 { secret_access_key: Secret("hunter2".into()), ..S3::default() };
        assert!(!format!("{s3:?}").contains("hunter2"));
    }
}
