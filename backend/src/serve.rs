//! `devmesh serve`: opens everything in order, says so, and closes it in the reverse order.
//!
//! All ports are bound before any work begins, so that a port in use costs nothing but the message. A stop takes no
//! further requests, finishes those begun (10 s at most), moves what is in memory to files and lets go of the directory.
//! A second signal ends the process at once: what was acknowledged lies in the log.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt, sync::Arc, time::Instant};

use anyhow::Context;
use devmesh_collector::{Doors, Intake, tls::Tls};
use devmesh_query::Engine;
use devmesh_schema::Sink;
use devmesh_store::Store;
use rustix::fs::Mode;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access,
    anomalies::Anomalies,
    api::{self, Api, DoorInfo, Hosts, Queries, Tails},
    cli::{Failure, print},
    filesystem,
    graph::{Graphed, InSql, Sources, Stored},
    meaning::Search,
    models::Models,
    postgres, reload,
    rules::{Board, Rules},
    scrape,
    settings::{Listen, Settings},
};

/// The listeners, in the order in which they are announced.
struct Listeners {
    http: Option<TcpListener>,
    otlp_grpc: Option<TcpListener>,
    otlp_http: Option<TcpListener>,
    postgres: Option<TcpListener>,
    tls: Option<Tls>,
    doors: Vec<DoorInfo>,
}

/// Runs the server until a signal; `read` reads the settings again.
pub(crate) async fn serve(
    settings: Settings,
    read: impl Fn() -> Result<Settings, Failure> + Send + 'static,
) -> Result<(), Failure> {
    let started = Instant::now();
    let mut signals = Signals::new()?;
    let hangup = signal(SignalKind::hangup())?;
    let models = Models::open(&settings).context("llm")?;
    let listeners = bind(&settings).await?;
    private(&settings);
    let store = devmesh_store::open(&settings.for_store()).await.map_err(anyhow::Error::from)?;
    let engine = Engine::new(Arc::clone(&store), settings.for_queries()).map_err(anyhow::Error::from)?;
    let search = search(&store, &settings)?;
    let engine = match &search {
        Some(search) => engine.with_meaning(Arc::new(search.clone())),
        None => engine,
    };
    let anomalies = Anomalies::open(settings.for_anomalies());
    let engine = engine.with_incidents(Arc::clone(&anomalies) as Arc<dyn devmesh_query::incidents::Incidents>);
    let board = Arc::new(Board::default());
    let engine = engine.with_alerts(Arc::clone(&board) as Arc<dyn devmesh_query::alerts::Alerts>);
    let graph = graph(&settings);
    let engine = match &graph {
        Some(graph) => engine.with_graph(Arc::new(InSql(Arc::clone(graph)))),
        None => engine,
    };
    // Before the doors open, so that it sees what comes first.
    let commits = graph.as_ref().map(|_| store.subscribe());
    let sink: Arc<dyn Sink> = Arc::clone(&store) as Arc<dyn Sink>;
    let intake = Intake::new(Arc::clone(&sink), settings.for_doors());
    let queries = Arc::new(Queries::new(Arc::new(engine)));
    let stop = CancellationToken::new();
    let doors = listeners.doors.clone();
    let rules = rules(&settings, &listeners, Arc::clone(queries.engine()), sink)?;
    board.show(Arc::downgrade(&rules));
    // Ends with the runtime: nothing waits for it.
    tokio::spawn(reload::run(hangup, settings.clone(), read, listeners.tls.clone(), Arc::clone(&rules)));
    let mut scrapes = scrape::start(&settings, &intake, &stop)?;
    let parts = Parts {
        store: &store,
        queries: &queries,
        intake: &intake,
        search: search.as_ref(),
        anomalies: &anomalies,
        rules: &rules,
        graph: graph.as_ref(),
        models: &models,
    };
    let stored = match &graph {
        Some(_) => Some(Stored::of(queries.engine()).await),
        None => None,
    };
    let mut tasks = open(listeners, &settings, parts, &stop, started);
    let graph = graph.zip(commits).zip(stored).map(|((graph, commits), stored)| {
        let engine = Arc::clone(queries.engine());
        let sources = Sources { store: Arc::clone(&store), engine, anomalies: Arc::clone(&anomalies) };
        let drained = CancellationToken::new();
        (tokio::spawn(graph.run(sources, commits, stored, drained.clone())), drained)
    });
    if settings.anomalies.enabled {
        let (engine, interval, stop) = (Arc::clone(queries.engine()), settings.anomalies.interval.0, stop.clone());
        tasks.spawn(async move {
            anomalies.run(engine, interval, stop).await;
            ("anomalies", 0, 0)
        });
    }
    let stopping = stop.clone();
    tasks.spawn(async move {
        rules.run(stopping).await;
        ("rules", 0, 0)
    });
    tasks.spawn(async move {
        while scrapes.join_next().await.is_some() {}
        ("scrape", 0, 0)
    });
    tracing::info!(store = %store, elapsed_ms = started.elapsed().as_millis() as u64, "ready");
    announce(&settings, &doors)?;
    let name = signals.next().await;
    tracing::info!(signal = name, "stopping: no further requests are taken");
    stop.cancel();
    tokio::select! {
        result = close(&mut tasks, search, graph, store) => result,
        name = signals.next() => {
            tracing::warn!(signal = name, "stopping at once; what was acknowledged is in the log");
            Err(Failure::Failed(anyhow::anyhow!("stopped by a second signal before everything was drained")))
        }
    }
}

/// Keeps what is written from other users of this machine: telemetry tells more than its senders know.
fn private(settings: &Settings) {
    rustix::process::umask(Mode::RWXO | Mode::WGRP);
    let dir = settings.local_dir();
    let mode = std::fs::metadata(&dir).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o002 != 0 {
        tracing::warn!("{}: every user of this machine can write into it; chmod 750", dir.display());
    }
    if let Some(concern) = filesystem::concern(&dir) {
        tracing::warn!("{}: {concern}", dir.display());
    }
    if rustix::process::geteuid().is_root() {
        tracing::info!("running as root, which the server does not need; give it a user of its own");
    }
}

/// Search by meaning, where the store knows patterns of logs.
fn search(store: &Arc<dyn Store>, settings: &Settings) -> Result<Option<Search>, Failure> {
    let started = store.patterns().map(|patterns| Search::start(patterns, settings.for_search()));
    Ok(started.transpose().context("failed to start search by meaning")?)
}

/// The graph, where one is kept. A file of it that cannot be read is said; the graph is then made again of the telemetry.
fn graph(settings: &Settings) -> Option<Arc<Graphed>> {
    if !settings.graph.enabled {
        return None;
    }
    #[cfg(feature = "neo4j")]
    if !settings.graph.neo4j.is_empty() {
        let neo4j = devmesh_graph::neo4j::Neo4j::new(settings.for_neo4j());
        return Some(Graphed::new(Arc::new(neo4j), settings.graph_retention()));
    }
    let (memory, damaged) = devmesh_graph::Memory::open(settings.graph_file());
    if let Some(error) = damaged {
        tracing::warn!(%error, "the graph is made again");
    }
    Some(Graphed::new(Arc::new(memory), settings.graph_retention()))
}

/// The rules, begun; their messages link to where the API listens, unless the settings say otherwise.
fn rules(
    settings: &Settings,
    listeners: &Listeners,
    engine: Arc<Engine>,
    sink: Arc<dyn Sink>,
) -> Result<Arc<Rules>, Failure> {
    let scheme = if settings.tls.files().is_some() { "https" } else { "http" };
    let http = listeners.doors.iter().find(|door| door.name == "http");
    let url = match settings.rules.external_url.trim_end_matches('/') {
        "" => http.map_or_else(String::new, |door| format!("{scheme}://{}", door.address)),
        url => url.to_owned(),
    };
    Rules::start(settings, engine, sink, url).map_err(|problems| Failure::Usage(problems.join("\n")))
}

/// What stands behind the doors.
#[derive(Clone, Copy)]
struct Parts<'a> {
    store: &'a Arc<dyn Store>,
    queries: &'a Arc<Queries>,
    intake: &'a Arc<Intake>,
    search: Option<&'a Search>,
    anomalies: &'a Arc<Anomalies>,
    rules: &'a Arc<Rules>,
    graph: Option<&'a Arc<Graphed>>,
    models: &'a Models,
}

/// Opens the doors for whoever waits at them.
fn open(
    listeners: Listeners,
    settings: &Settings,
    Parts { store, queries, intake, search, anomalies, rules, graph, models }: Parts<'_>,
    stop: &CancellationToken,
    started: Instant,
) -> JoinSet<(&'static str, usize, usize)> {
    let access = Access::new(&settings.auth);
    let mut tasks = JoinSet::new();
    if let Some(listener) = listeners.http {
        let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let api = Api {
            store: Arc::clone(store),
            queries: Arc::clone(queries),
            intake: Arc::clone(intake),
            search: search.cloned(),
            anomalies: Arc::clone(anomalies),
            rules: Arc::clone(rules),
            graph: graph.cloned(),
            models: models.clone(),
            settings: settings.clone(),
            access: access.clone(),
            hosts: Hosts::new(&settings.http.hosts, loopback),
            doors: listeners.doors,
            tails: Tails::default(),
            stopping: stop.clone(),
            started,
            started_at: api::params::now(),
        };
        let (router, tls, stop) = (api::router(Arc::new(api)), listeners.tls.clone(), stop.clone());
        tasks.spawn(async move {
            let drained = devmesh_collector::serve::serve(listener, tls, router, stop).await;
            ("http", drained.finished, drained.cut)
        });
    }
    if let Some(listener) = listeners.postgres {
        let (queries, stop, connections) = (Arc::clone(queries), stop.clone(), settings.postgres.connections);
        let tls = listeners.tls.clone();
        tasks.spawn(async move {
            postgres::serve(listener, tls, queries, access, connections, stop).await;
            ("postgres", 0, 0)
        });
    }
    let doors = Doors { otlp_grpc: listeners.otlp_grpc, otlp_http: listeners.otlp_http, tls: listeners.tls };
    let mut otlp = devmesh_collector::spawn(doors, intake, stop);
    tasks.spawn(async move {
        let (mut finished, mut cut) = (0, 0);
        while let Some(Ok((_, drained))) = otlp.join_next().await {
            finished += drained.finished;
            cut += drained.cut;
        }
        ("otlp", finished, cut)
    });
    tasks
}

/// The task that follows the store, and what tells it that nothing more will come.
type Following = (tokio::task::JoinHandle<()>, CancellationToken);

/// Waits for the doors, then ends the graph and the search and closes the store.
async fn close(
    tasks: &mut JoinSet<(&'static str, usize, usize)>,
    search: Option<Search>,
    graph: Option<Following>,
    store: Arc<dyn Store>,
) -> Result<(), Failure> {
    while let Some(door) = tasks.join_next().await {
        match door {
            Ok((door, finished, cut)) => tracing::info!(door, finished, cut, "door closed"),
            Err(error) => tracing::error!(%error, "a door ended by a fault"),
        }
    }
    if let Some((graph, drained)) = graph {
        drained.cancel();
        if let Err(error) = graph.await {
            tracing::error!(%error, "the graph ended by a fault");
        }
    }
    if let Some(search) = search
        && tokio::task::spawn_blocking(move || search.stop()).await.is_err()
    {
        tracing::error!("search by meaning ended by a fault");
    }
    let drained = store.close().await.map_err(anyhow::Error::from).context("failed to close the store")?;
    tracing::info!(rows_flushed = drained.rows_flushed, "stopped");
    Ok(())
}

/// Binds all ports, and reads the certificate that they show.
async fn bind(settings: &Settings) -> Result<Listeners, Failure> {
    let tls = settings.tls.load().map_err(|error| Failure::Usage(format!("tls: {error}")))?;
    tls.iter().flat_map(Tls::concerns).for_each(|concern| tracing::warn!("tls: {concern}"));
    let mut doors = Vec::new();
    let mut listeners = Vec::new();
    for ((key, listen), name) in settings.doors().into_iter().zip(["http", "otlp-grpc", "otlp-http", "postgres"]) {
        let Listen::At(address) = listen else {
            listeners.push(None);
            continue;
        };
        let listener = listen_at(key, name, address).await?;
        let bound = listener.local_addr().map_err(anyhow::Error::from)?;
        doors.push(DoorInfo { name, address: bound.to_string() });
        listeners.push(Some(listener));
    }
    let mut listeners = listeners.into_iter();
    let mut next = || listeners.next().flatten();
    Ok(Listeners { http: next(), otlp_grpc: next(), otlp_http: next(), postgres: next(), tls, doors })
}

async fn listen_at(key: &str, name: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    let hint = format!("stop what listens there, or choose another port with --{name} ADDR:PORT (0: any free one)");
    let failed = |error: std::io::Error| {
        let advice = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!("; {hint}"),
            std::io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege, choose another".to_owned(),
            std::io::ErrorKind::AddrNotAvailable => "; this machine has no such address".to_owned(),
            _ => String::new(),
        };
        Failure::Failed(anyhow::anyhow!("{key}: cannot listen at {address}: {error}{advice}"))
    };
    TcpListener::bind(address).await.map_err(failed)
}

/// Says on stdout what is open, and on stderr what to do with it.
fn announce(settings: &Settings, doors: &[DoorInfo]) -> Result<(), Failure> {
    let address = |name: &str| doors.iter().find(|door| door.name == name).map(|door| door.address.as_str());
    let scheme = if settings.tls.files().is_some() { "https" } else { "http" };
    if let Some(http) = address("http") {
        tracing::info!("console: {scheme}://{http}/");
    }
    if let Some(otlp) = address("otlp-http").or(address("http")) {
        tracing::info!("OpenTelemetry SDKs: OTEL_EXPORTER_OTLP_ENDPOINT={scheme}://{otlp}");
    }
    if let Some(postgres) = address("postgres").and_then(|address| address.parse::<SocketAddr>().ok()) {
        let tls = if settings.tls.files().is_some() { " (with sslmode=verify-full)" } else { "" };
        tracing::info!("SQL: psql -h {} -p {}{tls}, or devmesh sql \"SELECT …\"", postgres.ip(), postgres.port());
    }
    if settings.auth.insecure {
        tracing::warn!("--insecure: doors beyond loopback are open to everybody who reaches them");
    }
    for (key, address) in settings.in_the_clear() {
        tracing::warn!(
            "{key}: {address} can be reached from other machines, and tokens and data travel in the clear; set tls.cert \
             and tls.key, or stand a TLS proxy before it"
        );
    }
    let lines: String = doors.iter().map(|door| format!("listening {} {}\n", door.name, door.address)).collect();
    match print(format!("{lines}ready\n").as_bytes()) {
        // Nobody reads what we say; the server serves all the same.
        Err(Failure::Unread) => Ok(()),
        result => result,
    }
}

/// The signals that end the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
