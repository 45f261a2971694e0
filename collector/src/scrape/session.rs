//! Scrapes one target, again and again, in a task of its own: a slow target delays nobody, and no scrape of its own either.

use std::{
    hash::Hasher,
    sync::Arc,
    time::{Duration, Instant},
};

use devmesh_schema::{Batch, IngestPath, Signal};
use http::{HeaderName, HeaderValue, header};
use tokio::time::{Instant as TokioInstant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::Xxh3;

use super::{
    client::{Client, Fetched, Within},
    config::{Job, Protocol},
    series::Store,
    target::Target,
};
use crate::{
    counters::Door,
    intake::Intake,
    prometheus::{Bounds, Ready},
    refusal::Refusal,
};

/// A target with what it takes to scrape it.
#[derive(Debug)]
pub(super) struct Session {
    target: Target,
    job: Arc<Job>,
    client: Client,
    intake: Arc<Intake>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// `None` only while it is at work on another thread.
    store: Option<Store>,
    /// The last scrape failed: it was said.
    failing: bool,
}

impl Session {
    pub(super) fn new(target: Target, job: Arc<Job>, client: Client, intake: Arc<Intake>) -> Self {
        let store = Store::new(Arc::clone(&job), Arc::clone(&target.labels));
        let headers = headers(&job, &target);
        Self { target, job, client, intake, headers, store: Some(store), failing: false }
    }

    /// Scrapes until the target is `gone`, whose series are ended then, or the server stops.
    pub(super) async fn run(mut self, gone: CancellationToken, stop: CancellationToken) {
        let mut ticks = tokio::time::interval_at(TokioInstant::now() + self.offset(), self.target.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = gone.cancelled() => break,
                _ = ticks.tick() => {}
            }
            // A scrape that was begun ends by its own timeout.
            if stop.run_until_cancelled(self.scrape()).await.is_none() {
                return;
            }
        }
        let bounds = self.bounds();
        if let Some(store) = &mut self.store {
            let ready = store.end(now(), bounds);
            self.write(ready).await;
        }
    }

    /// Targets are scraped at different moments of their interval, each always at the same.
    fn offset(&self) -> Duration {
        let mut hash = Xxh3::new();
        hash.write(self.target.url.to_string().as_bytes());
        for (name, value) in self.target.labels.iter() {
            hash.write(name.as_bytes());
            hash.write(value.as_bytes());
        }
        let interval = u64::try_from(self.target.interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        let since_epoch = u64::try_from(crate::now()).unwrap_or_default();
        // Of the interval's grid since the epoch, shifted by the hash.
        let next = (hash.finish() % interval + interval - since_epoch % interval) % interval;
        Duration::from_nanos(next)
    }

    fn bounds(&self) -> Bounds {
        Bounds::new(crate::now(), self.intake.settings.past)
    }

    async fn scrape(&mut self) {
        let (time, started) = (now(), Instant::now());
        let within = Within { bytes: self.job.limits.body, time: self.target.timeout };
        let fetched = self.client.get(&self.target.url, &self.headers, within, &self.intake.budget).await;
        let at = (time, started.elapsed().as_secs_f64());
        let Some(mut store) = self.store.take() else { return };
        let (job, bounds) = (Arc::clone(&self.job), self.bounds());
        let digested = tokio::task::spawn_blocking(move || {
            let taken = fetched.and_then(|fetched| digest(&mut store, &job, fetched, at, bounds));
            let (ready, error) = match taken {
                Ok(ready) => (ready, None),
                Err(error) => (store.failed(at, bounds), Some(error)),
            };
            (store, ready, error)
        });
        let (ready, error) = match digested.await {
            Ok((store, ready, error)) => {
                self.store = Some(store);
                (ready, error)
            }
            Err(error) => {
                // A fault of ours: the target begins anew.
                self.store = Some(Store::new(Arc::clone(&self.job), Arc::clone(&self.target.labels)));
                (Ready::default(), Some(error.to_string()))
            }
        };
        self.say(error);
        self.write(ready).await;
    }

    /// Says when a target begins to fail, and when it is well again.
    fn say(&mut self, error: Option<String>) {
        let (job, url) = (self.job.name.as_str(), &self.target.url);
        match &error {
            Some(error) if !self.failing => tracing::warn!(job, %url, "cannot scrape: {error}"),
            None if self.failing => tracing::info!(job, %url, "scraped again"),
            _ => {}
        }
        self.failing = error.is_some();
    }

    async fn write(&self, ready: Ready) {
        let Ready { request, points, refused, .. } = ready;
        let counters = self.intake.counters();
        counters.request(Door::Scrape);
        if refused.items > 0 {
            counters.reject(Door::Scrape, refused.items, refused.named.iter().map(|bad| bad.reason));
            let first = refused.named.first().map_or("", |bad| bad.message.as_str());
            tracing::debug!(url = %self.target.url, refused = refused.items, "samples of a scrape are refused: {first}");
        }
        if points == 0 {
            return;
        }
        let (signal, path) = (Signal::Metrics, IngestPath::Collector);
        let batch = Batch { signal, id: None, path, received: crate::now(), request: request.into() };
        if let Err(Refusal { reason, message, .. }) = self.intake.write(Door::Scrape, batch).await {
            // The next scrape comes; what was measured now is lost, as it is in Prometheus.
            counters.refuse(Door::Scrape, reason, &message);
        }
    }
}

/// Now, ms since the epoch.
fn now() -> i64 {
    crate::now() / 1_000_000
}

/// Reads an answer in the format that it says it has.
fn digest(store: &mut Store, job: &Job, fetched: Fetched, at: (i64, f64), bounds: Bounds) -> Result<Ready, String> {
    let said = fetched.content_type.as_deref();
    let protocol = said.and_then(protocol).or(job.fallback).ok_or_else(|| match said {
        None => "the answer has no Content-Type, and there is no fallback_scrape_protocol".to_owned(),
        Some(said) => format!("the answer has the Content-Type {said:?}, and there is no fallback_scrape_protocol"),
    })?;
    store.take(&fetched.body.bytes, protocol, at, bounds)
}

/// The format that a Content-Type names.
fn protocol(content_type: &str) -> Option<Protocol> {
    let mut parts = content_type.split(';').map(str::trim);
    let kind = parts.next()?.to_ascii_lowercase();
    let has = |wanted: &str| content_type.split(';').any(|part| part.trim().eq_ignore_ascii_case(wanted));
    match kind.as_str() {
        "text/plain" => Some(Protocol::Text0),
        "application/openmetrics-text" => Some(Protocol::OpenMetrics1),
        "application/vnd.google.protobuf" => {
            let family = has("proto=io.prometheus.client.MetricFamily") && has("encoding=delimited");
            family.then_some(Protocol::Proto)
        }
        _ => None,
    }
}

/// What a scrape says of itself.
fn headers(job: &Job, target: &Target) -> Vec<(HeaderName, HeaderValue)> {
    let accepted: Vec<String> = job.protocols.iter().enumerate().map(|(n, protocol)| accept(*protocol, n)).collect();
    let accepted = format!("{},*/*;q=0.{}", accepted.join(","), 9_usize.saturating_sub(job.protocols.len()).max(1));
    let seconds = target.timeout.as_secs_f64();
    let encoding = if job.compress { "gzip" } else { "identity" };
    let texts = [
        (header::ACCEPT, accepted),
        (header::ACCEPT_ENCODING, encoding.to_owned()),
        (header::USER_AGENT, concat!("devmesh/", env!("CARGO_PKG_VERSION")).to_owned()),
        (HeaderName::from_static("x-prometheus-scrape-timeout-seconds"), seconds.to_string()),
    ];
    texts.into_iter().filter_map(|(name, text)| Some((name, text.parse().ok()?))).collect()
}

/// A format in `Accept`, the first one preferred.
fn accept(protocol: Protocol, place: usize) -> String {
    let name = match protocol {
        Protocol::Proto => "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
        Protocol::OpenMetrics1 => "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
        Protocol::OpenMetrics0 => "application/openmetrics-text;version=0.0.1",
        Protocol::Text1 => "text/plain;version=1.0.0;escaping=allow-utf-8",
        Protocol::Text0 => "text/plain;version=0.0.4",
    };
    format!("{name};q=0.{}", 9_usize.saturating_sub(place))
}
