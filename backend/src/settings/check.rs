//! What no single value can tell: whether the settings go together.

use super::{
    load::STORES,
    tree::{Listen, Route, Settings, Tls},
};
use std::{net::SocketAddr, path::Path, time::Duration};

use devmesh_collector::tls;

/// Characters of a token at least: guessing shorter ones is feasible.
const TOKEN_CHARACTERS: usize = 16;

/// Everything that is wrong.
pub(super) fn check(settings: &Settings) -> Vec<String> {
    let mut problems = Vec::new();
    store(settings, &mut problems);
    doors(settings, &mut problems);
    match (settings.tls.cert.as_os_str().is_empty(), settings.tls.key.as_os_str().is_empty()) {
        (true, false) => problems.push("tls.key is set and tls.cert is not; set both, or neither".to_owned()),
        (false, true) => problems.push("tls.cert is set and tls.key is not; set both, or neither".to_owned()),
        _ => {}
    }
    clients(&settings.tls, &mut problems);
    let neo4j = settings.graph.neo4j.as_str();
    if !neo4j.is_empty()
        && !["bolt://", "bolt+s://", "neo4j://", "neo4j+s://"].iter().any(|scheme| neo4j.starts_with(scheme))
    {
        problems.push("graph.neo4j: it begins with bolt://, bolt+s://, neo4j:// or neo4j+s://".to_owned());
    }
    if !neo4j.is_empty() && cfg!(not(feature = "neo4j")) {
        problems.push("graph.neo4j: this program was built without Neo4j; build it with --features neo4j".to_owned());
    }
    numbers(settings, &mut problems);
    models(settings, &mut problems);
    if let Err(error) = crate::telemetry::filter(&settings.log.level) {
        problems.push(format!("log.level: `{}`: {error}", settings.log.level));
    }
    problems
}

/// What is said of clients' certificates needs somebody who vouches for them, and TLS.
fn clients(tls: &Tls, problems: &mut Vec<String>) {
    let ca = !tls.client_ca.as_os_str().is_empty();
    if ca && tls.files().is_none() {
        problems.push("tls.client_ca is set and tls.cert is not: without TLS no client shows a certificate".to_owned());
    }
    let needs_ca =
        [("client_crl", !tls.client_crl.as_os_str().is_empty()), ("client_names", !tls.client_names.is_empty())];
    for (key, _) in needs_ca.iter().filter(|(_, set)| *set && !ca) {
        problems.push(format!("tls.{key} is set and tls.client_ca is not, which vouches for clients"));
    }
}

fn store(settings: &Settings, problems: &mut Vec<String>) {
    let url = settings.store.url.reveal();
    let known = ["file://", "s3://", "mariadb://", "mysql://", "clickhouse://", "clickhouses://"];
    if !url.is_empty() && !known.iter().any(|scheme| url.starts_with(scheme)) {
        let scheme = url.split(':').next().unwrap_or_default();
        problems.push(format!("store.url: `{scheme}` is no store that this version knows; it knows {STORES}"));
    }
    if settings.store.pool_max == 0 || settings.store.pool_min > settings.store.pool_max {
        problems.push("store.pool_max: at least 1, and not less than store.pool_min".to_owned());
    }
    if settings.store.data_dir.as_os_str().is_empty() {
        problems.push("store.data_dir is empty; name a directory".to_owned());
    }
}

impl Settings {
    /// The doors by the key that sets them, in the order in which they are announced.
    pub(crate) fn doors(&self) -> [(&'static str, Listen); 4] {
        [
            ("http.listen", self.http.listen),
            ("otlp.grpc", self.otlp.grpc),
            ("otlp.http", self.otlp.http),
            ("postgres.listen", self.postgres.listen),
        ]
    }
}

impl Tls {
    /// The files of the certificate and of its key, where there is TLS.
    pub(crate) fn files(&self) -> Option<(&Path, &Path)> {
        (!self.cert.as_os_str().is_empty()).then_some((&self.cert, &self.key))
    }

    /// Reads the files, where there is TLS.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn load(&self) -> Result<Option<tls::Tls>, tls::TlsError> {
        let clients =
            tls::Clients { ca: self.client_ca.clone(), crl: self.client_crl.clone(), names: self.client_names.clone() };
        self.files().map(|(cert, key)| tls::Tls::load_for(cert, key, clients)).transpose()
    }
}

impl Settings {
    fn open(&self) -> Vec<(&'static str, SocketAddr)> {
        let at = |(key, listen)| match listen {
            Listen::At(address) => Some((key, address)),
            Listen::Off => None,
        };
        self.doors().into_iter().filter_map(at).collect()
    }

    /// The doors that other machines reach without TLS.
    pub(crate) fn in_the_clear(&self) -> Vec<(&'static str, SocketAddr)> {
        let tls = self.tls.files().is_some();
        let mut open = self.open();
        open.retain(|(_, address)| !address.ip().is_loopback() && !tls);
        open
    }
}

fn doors(settings: &Settings, problems: &mut Vec<String>) {
    let open = settings.open();
    if open.is_empty() {
        problems.push("all doors are off: open http.listen at least".to_owned());
    }
    for (index, (key, address)) in open.iter().enumerate() {
        let twin = open.iter().take(index).find(|(_, other)| other == address && address.port() != 0);
        if let Some((other, _)) = twin {
            problems.push(format!("{other} and {key} both listen at {address}; give one another port"));
        }
        // A certificate that somebody vouched for says who a client is, as a token does.
        let known = settings.auth.insecure || !settings.tls.client_ca.as_os_str().is_empty();
        if !address.ip().is_loopback() && !known {
            problems.extend(unguarded(settings, key, *address));
        }
    }
    let tokens = settings.auth.ingest_tokens.iter().chain(&settings.auth.read_tokens);
    if tokens.into_iter().any(|token| token.length() < TOKEN_CHARACTERS) {
        problems.push(format!(
            "auth: a token has less than {TOKEN_CHARACTERS} characters; `openssl rand -hex 24` makes a good one"
        ));
    }
}

/// What a door beyond loopback lacks.
fn unguarded(settings: &Settings, key: &str, address: SocketAddr) -> Option<String> {
    let reads = matches!(key, "http.listen" | "postgres.listen");
    let writes = key != "postgres.listen";
    let mut missing = Vec::new();
    if reads && settings.auth.read_tokens.is_empty() {
        missing.push("auth.read_tokens");
    }
    if writes && settings.auth.ingest_tokens.is_empty() {
        missing.push("auth.ingest_tokens");
    }
    let missing = missing.join(" and ");
    (!missing.is_empty()).then(|| {
        format!(
            "{key}: {address} can be reached from other machines, and no authentication is set. Set {missing} (see \
             docs/configuration.md) or tls.client_ca, or listen on 127.0.0.1, or say --insecure if the network is closed"
        )
    })
}

/// Language models: what names one names it wholly, and no key travels in the clear.
fn models(settings: &Settings, problems: &mut Vec<String>) {
    let (llm, hosted) = (&settings.llm, &settings.hosted);
    for (section, url, model, key) in
        [("llm", &llm.url, &llm.model, &llm.api_key), ("hosted", &hosted.url, &hosted.model, &hosted.api_key)]
    {
        if url.is_empty() {
            continue;
        }
        if model.is_empty() {
            problems.push(format!("{section}.url is set and {section}.model is not; name the model"));
        }
        let parsed = url::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(parsed) = parsed else {
            problems.push(format!("{section}.url: write it as http://HOST:PORT/v1 or https://HOST/v1"));
            continue;
        };
        if !parsed.username().is_empty() || parsed.password().is_some() || parsed.query().is_some() {
            problems.push(format!("{section}.url holds more than a base; a key belongs into {section}.api_key"));
        }
        let here = match parsed.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if parsed.scheme() == "http" && !here && key.length() > 0 {
            problems.push(format!("{section}.api_key would travel in the clear; write {section}.url with https://"));
        }
    }
    let routed = [("narrate", llm.narrate), ("ask", llm.ask)];
    for (task, _) in routed.iter().filter(|(_, route)| *route == Route::Hosted && hosted.url.is_empty()) {
        problems.push(format!("llm.{task} is `hosted`, and hosted.url is not set"));
    }
    for (section, prompt, answer) in
        [("llm", llm.prompt_tokens, llm.answer_tokens), ("hosted", hosted.prompt_tokens, hosted.answer_tokens)]
    {
        if !(2_000..=1_000_000).contains(&prompt) {
            problems.push(format!("{section}.prompt_tokens is {prompt}; it lies between 2000 and 1000000"));
        }
        if !(100..=100_000).contains(&answer) {
            problems.push(format!("{section}.answer_tokens is {answer}; it lies between 100 and 100000"));
        }
    }
    for (section, timeout) in [("llm", llm.timeout), ("hosted", hosted.timeout)] {
        if timeout.0.is_zero() || timeout.0 > Duration::from_secs(600) {
            problems.push(format!("{section}.timeout is {timeout}; it lies between 1ms and 10m"));
        }
    }
}

fn numbers(settings: &Settings, problems: &mut Vec<String>) {
    let retention = &settings.retention;
    for (key, span) in [("logs", retention.logs), ("traces", retention.traces), ("metrics", retention.metrics)] {
        if span.0 < Duration::from_secs(3600) {
            problems.push(format!("retention.{key} is {span}; the shortest is 1h"));
        }
    }
    if settings.query.timeout.0.is_zero() || settings.query.timeout.0 > Duration::from_secs(3600) {
        problems.push(format!("query.timeout is {}; it lies between 1ms and 1h", settings.query.timeout));
    }
    let interval = settings.anomalies.interval;
    if interval.0 < Duration::from_secs(1) || interval.0 > Duration::from_secs(3600) {
        problems.push(format!("anomalies.interval is {interval}; it lies between 1s and 1h"));
    }
    let interval = settings.rules.interval;
    if interval.0 < devmesh_schema::limits::RULE_INTERVAL || interval.0 > Duration::from_secs(86_400) {
        problems.push(format!("rules.interval is {interval}; it lies between 1s and 1d"));
    }
    let url = &settings.rules.external_url;
    if !url.is_empty() && !url::Url::parse(url).is_ok_and(|url| ["http", "https"].contains(&url.scheme())) {
        problems.push(format!("rules.external_url: `{url}` is no URL; write it as https://HOST[:PORT][/PATH]"));
    }
    if settings.query.memory.0 < 16 << 20 {
        problems.push(format!("query.memory is {}; a query needs 16MiB at least", settings.query.memory));
    }
    if settings.query.total_memory < settings.query.memory {
        problems.push("query.total_memory is less than query.memory, which one query may hold".to_owned());
    }
    let limits = &settings.limits;
    let least = devmesh_schema::limits::BODY_BYTES.min(1 << 20) as u64;
    for (key, size) in [("body", limits.body), ("request", limits.request), ("direct", limits.direct)] {
        if size.0 < least || size.0 > 1 << 30 {
            problems.push(format!("limits.{key} is {size}; it lies between 1MiB and 1GiB"));
        }
        if size > limits.intake {
            problems.push(format!("limits.intake is less than limits.{key}, so that such a request could never enter"));
        }
    }
    if !(1..=1024).contains(&settings.query.concurrency) {
        problems.push(format!("query.concurrency is {}; it lies between 1 and 1024", settings.query.concurrency));
    }
    if !(1..=10_000).contains(&settings.postgres.connections) {
        problems
            .push(format!("postgres.connections is {}; it lies between 1 and 10000", settings.postgres.connections));
    }
}
