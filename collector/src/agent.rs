//! Wires the agent: doors and journal into the queue, the queue to the server; starts and stops them in order.
//!
//! At SIGTERM or SIGINT the doors stop first, then the journal, then the queue is closed, then what is in flight gets its
//! time. What remains is queued on disk, and its number is the last line of the log.

use std::{
    io::{self, Write},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use anyhow::{Context, Result};
use devmesh_schema::limits;
use devmesh_wal::{Options, Recovery};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Doors, Intake,
    forward::{self, Forwarder, dead_letters::DeadLetters},
    host::Host,
    journald::{self, Journal},
    queue::Queue,
    scrape,
    settings::{Durability, Settings},
};

/// Bytes that wait for the disk at once.
const WAITING_BYTES: usize = 32 << 20;

/// Runs the agent until it is told to stop.
///
/// # Errors
/// The queue cannot be opened, or a door's address cannot be listened on.
pub async fn run(settings: Settings) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let options = Options {
        segment_bytes: settings.queue.segment_bytes,
        max_bytes: settings.queue.max_bytes,
        queue_bytes: WAITING_BYTES,
        wait: limits::SINK_WAIT,
        durability: match settings.queue.durability {
            Durability::Fsync => devmesh_wal::Durability::Fsync,
            Durability::Os => devmesh_wal::Durability::Os,
        },
        ..Options::default()
    };
    // What is queued is nobody else's on this machine.
    rustix::process::umask(rustix::fs::Mode::RWXO | rustix::fs::Mode::WGRP);
    let (queue, outlet, recovery) = Queue::open(&settings.queue.dir, options).context("open the queue")?;
    let listener = match settings.listen().map_err(anyhow::Error::msg)? {
        Some(address) => {
            let advice = "stop what listens there, or name another place with --otlp ADDR:PORT";
            let bound = TcpListener::bind(address).await;
            Some(bound.with_context(|| format!("cannot listen for OTLP on {address}; {advice}"))?)
        }
        None => None,
    };
    let bound = listener.as_ref().map(TcpListener::local_addr).transpose().context("listen for OTLP")?;
    let journal =
        settings.journald.enabled.then(|| Journal::new(&settings)).transpose().context("follow the journal")?;
    let targets = targets(&settings).context("scrape")?;
    let target = forward::Settings {
        to: settings.target().map_err(anyhow::Error::msg)?,
        ca: Some(settings.forward.ca.clone()).filter(|path| !path.as_os_str().is_empty()),
        own: Some((settings.forward.cert.clone(), settings.forward.key.clone()))
            .filter(|(cert, _)| !cert.as_os_str().is_empty()),
        compression: settings.forward.compression,
        token: settings.token().context("forward.token")?,
        in_flight: settings.forward.in_flight,
        in_flight_bytes: settings.forward.in_flight_bytes,
    };
    let letters = DeadLetters::new(settings.queue.dir.join("dead-letters"), settings.forward.dead_letter_bytes);
    let forwarder = Forwarder::new(Arc::clone(&queue), outlet, target, letters)?;
    let counters = forwarder.counters();

    let audit = tokio::task::spawn_blocking(move || audit(recovery));
    let (stop_taking, stop_sending) = (CancellationToken::new(), CancellationToken::new());
    let forwarding = tokio::spawn(forwarder.run(stop_sending.clone()));
    let intake = Intake::new(
        Arc::<Queue>::clone(&queue),
        crate::Settings { intake_bytes: limits::AGENT_INTAKE_BYTES, ..crate::Settings::default() },
    );
    let mut doors = crate::spawn(Doors { otlp_http: listener, ..Doors::default() }, &intake, &stop_taking);
    let mut scrapes = scrape::spawn(targets, &intake, &stop_taking)?;
    let following = journal.map(|journal| tokio::spawn(journal.run(Arc::<Queue>::clone(&queue), stop_taking.clone())));
    let measuring =
        settings.host.metrics.then(|| tokio::spawn(Host::new(&settings).run(Arc::clone(&intake), stop_taking.clone())));
    announce(bound.map(|address| format!("listening otlp {address}")), queue.waiting());

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop_taking.cancel();
    while let Some(ended) = doors.join_next().await {
        let (door, drained) = ended.context("serve OTLP")?;
        tracing::info!(door = door.name(), finished = drained.finished, cut = drained.cut, "door closed");
    }
    while scrapes.join_next().await.is_some() {}
    if let Some(measuring) = measuring {
        measuring.await.context("measure this machine")?;
    }
    if let Some(following) = following {
        log_journal(&following.await.context("follow the journal")?);
    }
    stop_sending.cancel();
    forwarding.await.context("forward")?;
    queue.close().await;
    if !audit.is_finished() {
        audit.abort();
    }
    tracing::info!(
        forwarded = counters.batches.load(Relaxed),
        bytes = counters.bytes.load(Relaxed),
        retries = counters.retries.load(Relaxed),
        dead_letters = counters.dead_letters.load(Relaxed),
        rejected_items = counters.rejected_items.load(Relaxed),
        remaining = queue.waiting(),
        "stopped; remaining batches stay queued on disk"
    );
    Ok(())
}

/// What is scraped: the URLs of the command line, and what a file says.
fn targets(settings: &Settings) -> Result<scrape::Config> {
    let mut config = scrape::Config::of_urls(&settings.scrape.urls)?;
    let path = &settings.scrape.config_file;
    if !path.as_os_str().is_empty() {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let base = path.parent().unwrap_or(std::path::Path::new(""));
        config.add(scrape::Config::read(&text, base).with_context(|| path.display().to_string())?);
    }
    Ok(config)
}

fn log_journal(counts: &journald::Counts) {
    tracing::info!(?counts, "journal left");
}

/// Reads what an earlier process left, to say what is damaged; the forwarder reads it again for itself.
fn audit(mut recovery: Recovery) {
    for record in recovery.by_ref() {
        if let Err(error) = record {
            tracing::error!(%error, "cannot read the queue");
        }
    }
    let report = recovery.report();
    if report.lost_records > 0 || report.lost_bytes > 0 {
        tracing::error!(?report, "the queue was damaged");
    } else if report.records > 0 {
        tracing::info!(batches = report.records, bytes = report.bytes, "batches are queued from before");
    }
}

/// The lines that scripts wait for, on stdout.
fn announce(door: Option<String>, waiting: u64) {
    let mut out = io::stdout().lock();
    let lines = door.into_iter().chain(["ready".to_owned()]);
    for line in lines {
        if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
            tracing::debug!(%error, "nobody reads stdout");
        }
    }
    tracing::info!(waiting, "ready");
}
