//! The settings: one typed tree, the defaults beside the keys, the keys' documentation beside both.
//!
//! The macro writes each section as a struct and lists the documentation of its keys, so that the reference page, the
//! names of environment variables and "did you mean" come from this file alone.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use devmesh_schema::limits;
use devmesh_store::settings::{Durability, Replay};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    secret::Secret,
    store_url::StoreUrl,
    units::{Size, Span, as_text},
};

/// Where a door listens, or that it stays shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// The door is not opened.
    Off,
    /// An address and port; port 0 takes a free one.
    At(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Listen::Off);
        }
        let numeric = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        let wrong = |_| format!("`{text}` is no place to listen; write ADDRESS:PORT such as 127.0.0.1:8000, or off");
        numeric.parse().map(Listen::At).map_err(wrong)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Off => f.write_str("off"),
            Listen::At(address) => address.fmt(f),
        }
    }
}

as_text!(Listen);

/// How the server writes its own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// One readable line an event.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which language model does a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Route {
    /// That of the section `llm`.
    Llm,
    /// That of the section `hosted`.
    Hosted,
    /// None.
    Off,
}

macro_rules! settings {
    ($(
        $(#[doc = $about:literal])+
        $section:ident: $name:ident {
            $( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr, )+
        }
    )+) => {
        /// Everything that can be set.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct Settings {
            $( $(#[doc = $about])+ pub(crate) $section: $name, )+
        }

        $(
            $(#[doc = $about])+
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(default, deny_unknown_fields)]
            pub(crate) struct $name {
                $( $(#[doc = $doc])+ pub(crate) $key: $type, )+
            }

            impl Default for $name {
                fn default() -> Self {
                    Self { $( $key: $default, )+ }
                }
            }
        )+

        impl Settings {
            /// The keys whose values differ.
            pub(crate) fn changed(&self, other: &Self) -> Vec<&'static str> {
                let mut keys = Vec::new();
                $( $( if self.$section.$key != other.$section.$key {
                    keys.push(concat!(stringify!($section), ".", stringify!($key)));
                } )+ )+
                keys
            }
        }

        /// Sections with what they are about, and their keys with what they do, in the order of the reference page.
        pub(super) const DOCS: &[(&str, &str, &[(&str, &str)])] = &[
            $( (
                stringify!($section),
                concat!($($about,)+),
                &[ $( (stringify!($key), concat!($($doc,)+)), )+ ],
            ), )+
        ];
    };
}

fn loopback(port: u16) -> Listen {
    Listen::At(SocketAddr::from(([127, 0, 0, 1], port)))
}

settings! {
    /// Where the data is kept.
    store: Store {
        /// The store: `file://DIR`; `s3://BUCKET/PREFIX` for Parquet on an object store; `mariadb://USER:PASSWORD@HOST:3306/devmesh`
        /// or `clickhouse://USER:PASSWORD@HOST:8123/otel` for a database (`?secure` for HTTPS to ClickHouse), each with
        /// the log in `data_dir`. Empty: files in `data_dir`. Flag `--store`.
        url: StoreUrl = StoreUrl::default(),
        /// A file with that URL instead, which may have a password in it; nobody but its owner and group may read it.
        url_file: PathBuf = PathBuf::new(),
        /// The directory of the write-ahead log, the embedded store's files and the lock. Flag `--data-dir`.
        data_dir: PathBuf = PathBuf::from("./devmesh-data"),
        /// Disk space that must stay free for writes to be taken; at most a twentieth of the disk. Below it senders are
        /// told to come back, queries go on.
        min_free_disk: Size = Size(1 << 30),
        /// Memory of rows that lie in no file or database yet. Where it is used up, writes wait; before a database that is
        /// away they go on, in the log alone.
        memory: Size = Size(96 << 20),
        /// Age at which rows move from memory to files. They are in the log from the first moment.
        flush: Span = Span::secs(120),
        /// Age at which rows move from memory to a database at the latest: other programs read them there.
        database_flush: Span = Span::secs(5),
        /// Connections to a database that are kept open.
        pool_min: u32 = 1,
        /// Connections to a database at most; what needs a further one waits.
        pool_max: u32 = 10,
        /// How long to wait for a connection to a database and for its short answers.
        timeout: Span = Span::secs(10),
        /// How long to wait for a database to take a block of rows; then it is sent again.
        insert_timeout: Span = Span::secs(60),
        /// Name of the ClickHouse cluster on which the tables are made. Empty: one server.
        cluster: String = String::new(),
        /// Whether a server makes the schema of a database, or brings it up to date, when it first reaches it. Else
        /// `devmesh migrate` does, and a server waits for it.
        migrate: bool = true,
    }
    /// The write-ahead log.
    wal: Wal {
        /// A segment file of the log.
        segment: Size = Size(64 << 20),
        /// All segments; where they are full, writes wait.
        max: Size = Size(4 << 30),
        /// What an acknowledgement survives: `fsync` a power cut, `os` the death of the process alone.
        durability: Durability = Durability::Fsync,
        /// What to do about a damaged log: `recover` sets it aside and counts it, `strict` refuses to start.
        replay: Replay = Replay::Recover,
    }
    /// How the object store of `s3://` is reached. What is empty is taken from the environment (`AWS_ENDPOINT_URL`,
    /// `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`) or the machine's role.
    s3: S3 {
        /// URL of a service other than AWS.
        endpoint: String = String::new(),
        /// Region.
        region: String = String::new(),
        /// Access key.
        access_key_id: String = String::new(),
        /// Its secret.
        secret_access_key: Secret = Secret::default(),
        /// A file with its secret instead; nobody but its owner and group may read it.
        secret_access_key_file: PathBuf = PathBuf::new(),
        /// Whether `http://` endpoints are taken.
        allow_http: bool = false,
        /// How long one request may take.
        timeout: Span = Span::secs(30),
    }
    /// The door for the API and the console; OTLP/HTTP is answered here as well.
    http: Http {
        /// Where to listen, or `off`. Flag `--http`.
        listen: Listen = loopback(8000),
        /// Further names under which browsers may reach the server (the header `Host`). A server that listens on
        /// loopback alone answers to `localhost` and loopback addresses, so that no foreign page can talk to it by a
        /// name of its own.
        hosts: Vec<String> = Vec::new(),
    }
    /// The doors for OTLP.
    otlp: Otlp {
        /// Where to listen for OTLP/gRPC, or `off`. Flag `--otlp-grpc`.
        grpc: Listen = loopback(4317),
        /// Where to listen for OTLP/HTTP, or `off`. Flag `--otlp-http`.
        http: Listen = loopback(4318),
    }
    /// The door for the Postgres wire protocol.
    postgres: Postgres {
        /// Where to listen, or `off`. Flag `--postgres`.
        listen: Listen = loopback(5433),
        /// Connections it holds at once.
        connections: usize = 64,
    }
    /// Who may talk to the server. Without tokens everybody who reaches it may, which is why it then listens on
    /// loopback alone. Senders put a token in `Authorization: Bearer …`, psql in the password.
    auth: Auth {
        /// Tokens that may send data, at every door. At least 16 characters each; separated by commas in the
        /// environment.
        ingest_tokens: Vec<Secret> = Vec::new(),
        /// A file with these tokens instead, one a line; nobody but its owner and group may read it.
        ingest_tokens_file: PathBuf = PathBuf::new(),
        /// Tokens that may read: API, console and Postgres wire.
        read_tokens: Vec<Secret> = Vec::new(),
        /// A file with these tokens instead, one a line; nobody but its owner and group may read it.
        read_tokens_file: PathBuf = PathBuf::new(),
        /// Listen beyond loopback although no tokens are set. Flag `--insecure`.
        insecure: bool = false,
    }
    /// TLS of all doors; without a certificate they speak in the clear. With one, none does: psql is told so where it does
    /// not ask for TLS. The files are read at the start, and again at SIGHUP.
    tls: Tls {
        /// File of the certificate and those that vouch for it, PEM, the server's own first.
        cert: PathBuf = PathBuf::new(),
        /// File of its private key, PEM, without a password.
        key: PathBuf = PathBuf::new(),
        /// File of the certificates that vouch for clients, PEM. With it, every client of every door has to show a
        /// certificate: senders, browsers, psql. Tokens may be asked for besides.
        client_ca: PathBuf = PathBuf::new(),
        /// File of revocation lists, PEM: clients' certificates that are not taken any more.
        client_crl: PathBuf = PathBuf::new(),
        /// Names of the clients that are let in: whole DNS names or URIs among the alternative names of their certificates.
        /// Empty: all that `client_ca` vouches for.
        client_names: Vec<String> = Vec::new(),
    }
    /// Log records.
    logs: Logs {
        /// Cut the bodies of log records into templates and parameters as they come in: `pattern_id`, `log_patterns`, search by
        /// meaning, and smaller files. What was cut stays readable without it.
        templates: bool = true,
    }
    /// Prometheus targets that the server scrapes.
    scrape: Scrape {
        /// A file in Prometheus' own format, of which `global` and `scrape_configs` are read; a key that is not supported is
        /// an error. Read at the start.
        config_file: PathBuf = PathBuf::new(),
    }
    /// Recording and alerting rules, and who is told of alerts.
    rules: Rules {
        /// Files of rules in Prometheus' format; the last part of a path may have `*` and `?`. Read at the start, and again at
        /// SIGHUP; separated by commas in the environment.
        files: Vec<String> = Vec::new(),
        /// A file with who is told: `alerting` as in Prometheus' own file, `route` and `receivers` as in Alertmanager's. Read at
        /// the start, and again at SIGHUP.
        receivers_file: PathBuf = PathBuf::new(),
        /// Time between two evaluations of a group of rules that says no other.
        interval: Span = Span::secs(60),
        /// The URL by which people reach this server, for the links in messages. Empty: where the API listens.
        external_url: String = String::new(),
    }
    /// How long records are kept. Older ones are deleted by the server, whatever the store.
    retention: Retention {
        /// Log records.
        logs: Span = Span::secs(90 * 86_400),
        /// Spans.
        traces: Span = Span::secs(90 * 86_400),
        /// Metric data points.
        metrics: Span = Span::secs(90 * 86_400),
    }
    /// Bounds of what senders send.
    limits: Limits {
        /// A request's body as sent.
        body: Size = Size(limits::BODY_BYTES as u64),
        /// An OTLP request, decompressed.
        request: Size = Size(limits::REQUEST_BYTES as u64),
        /// A body on the direct path (`/ingest/…`), decompressed.
        direct: Size = Size(limits::DIRECT_BYTES as u64),
        /// Requests in memory that all doors together may hold; further ones wait, then are told to come back.
        intake: Size = Size(limits::INTAKE_BYTES as u64),
    }
    /// How much one sender may send a second. A sender is a token, wherever it is used, and an address other than this
    /// machine's own. One that sends more is told to come back (429 with `Retry-After`; gRPC: `RESOURCE_EXHAUSTED` with
    /// `RetryInfo`), before anything was stored. Twice as much may come at once after a pause. 0: any number.
    rate: Rate {
        /// Requests a second.
        requests: u64 = limits::RATE_REQUESTS,
        /// Bytes a second, decompressed.
        bytes: Size = Size(limits::RATE_BYTES),
        /// Log records, spans and data points a second.
        items: u64 = limits::RATE_ITEMS,
    }
    /// Bounds of queries.
    query: Query {
        /// How long a query may run.
        timeout: Span = Span::secs(30),
        /// Memory that one query may hold; beyond it sorts and groups spill to disk.
        memory: Size = Size(1 << 30),
        /// Memory that all queries together may hold.
        total_memory: Size = Size(2 << 30),
        /// Disk space that one query may spill to, in `data_dir`.
        spill: Size = Size(2 << 30),
        /// Queries that run at once; further ones wait 10 s for their turn, then are told to come back.
        concurrency: usize = 16,
        /// Threads that queries run on; 0: as many as there are cores.
        threads: usize = 0,
    }
    /// The model that search by meaning goes by. Without it, search goes by words.
    model: Model {
        /// The directory of models, which `devmesh model pull` fills. Empty: `models` in `data_dir`.
        directory: PathBuf = PathBuf::new(),
    }
    /// A language model behind an OpenAI-compatible endpoint: Ollama, vLLM, llama.cpp, or a hosted one. Without one, everything works but
    /// `POST /ask`. See docs/models.md.
    llm: Llm {
        /// Base URL, such as `http://127.0.0.1:11434/v1`. Empty: no model.
        url: String = String::new(),
        /// The model's name there.
        model: String = String::new(),
        /// Its key, where it wants one. Over `http://` it is sent to this machine alone.
        api_key: Secret = Secret::default(),
        /// A file with that key instead; nobody but its owner and group may read it.
        api_key_file: PathBuf = PathBuf::new(),
        /// Certificates (PEM) that vouch for an endpoint of `https://`, instead of those that this machine trusts.
        ca: PathBuf = PathBuf::new(),
        /// Whether the endpoint is yours: names of services, errors and questions are sent to it as they are. Texts of logs are sent to none.
        private: bool = false,
        /// How long an answer may take. An explanation comes without a model's words where they take longer.
        timeout: Span = Span::secs(60),
        /// Tokens of a question at most.
        prompt_tokens: usize = 8000,
        /// Tokens of an answer at most.
        answer_tokens: usize = 1000,
        /// Tokens a day (UTC), questions and answers together; counted from the start of the server.
        daily_tokens: u64 = 1_000_000,
        /// Which model words explanations: `llm`, `hosted` or `off`.
        narrate: Route = Route::Llm,
        /// Which model translates questions to SQL (`POST /ask`): `llm`, `hosted` or `off`.
        ask: Route = Route::Llm,
    }
    /// A second endpoint, for the tasks that `llm.narrate` and `llm.ask` send there. It is never taken for a private one.
    hosted: Hosted {
        /// Base URL, such as `https://api.example.com/v1`.
        url: String = String::new(),
        /// The model's name there.
        model: String = String::new(),
        /// Its key.
        api_key: Secret = Secret::default(),
        /// A file with that key instead; nobody but its owner and group may read it.
        api_key_file: PathBuf = PathBuf::new(),
        /// How long an answer may take.
        timeout: Span = Span::secs(60),
        /// Tokens of a question at most.
        prompt_tokens: usize = 8000,
        /// Tokens of an answer at most.
        answer_tokens: usize = 1000,
        /// Tokens a day (UTC), questions and answers together; counted from the start of the server.
        daily_tokens: u64 = 200_000,
    }
    /// Baselines of what comes in, and incidents where it is abnormal.
    anomalies: Anomalies {
        /// Whether the server looks for them. Incidents that people open are kept in any case.
        enabled: bool = true,
        /// Time between two looks. What is judged are whole minutes, 30 s after their end.
        interval: Span = Span::secs(60),
    }
    /// The graph of services, hosts, operations and errors, and who calls whom.
    graph: Graph {
        /// Whether the server keeps one.
        enabled: bool = true,
        /// The Neo4j that keeps it: `bolt://HOST:7687`, or `bolt+s://…` for TLS. Empty: the server itself. Needs a build with
        /// the feature `neo4j`.
        neo4j: String = String::new(),
        /// Its user.
        neo4j_user: String = "neo4j".to_owned(),
        /// The user's password.
        neo4j_password: Secret = Secret::default(),
        /// A file with the password instead; nobody but its owner and group may read it.
        neo4j_password_file: PathBuf = PathBuf::new(),
        /// The name of its database.
        neo4j_database: String = "neo4j".to_owned(),
    }
    /// The server's own log, on stderr.
    log: Log {
        /// `error`, `warn`, `info`, `debug` or `trace`, or targets: `info,devmesh_store=debug`.
        level: String = "info".to_owned(),
        /// `text`, `json`, or `auto`: text on a terminal, else JSON.
        format: LogFormat = LogFormat::Auto,
    }
    /// Browsers that send telemetry from other origins (OTLP/HTTP).
    cors: Cors {
        /// Origins that may send, such as `https://shop.example.com`; `*` for all. Empty: pages of this machine
        /// (`http://localhost`, any port).
        origins: Vec<String> = Vec::new(),
    }
}
