//! `GET /tail/logs`: log records as they are committed, as server-sent events.
//!
//! A client that reads slowly holds nothing back: it loses the oldest records, and an event `dropped` says how many
//! commits it lost. Nothing is kept for a client beyond what the store's own bounded channel keeps for all.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, Uri, header, uri::Authority},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use devmesh_query::functions::matches::Words;
use devmesh_schema::Signal;
use devmesh_store::Committed;
use futures::stream;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{Api, params::Params, problem::Problem};
use crate::answer::event::Events;

/// Live tails at once. Each reads every commit.
pub(crate) const TAILS: usize = 64;
/// How often a silent stream says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How many tails are open.
#[derive(Debug, Default)]
pub(crate) struct Tails(Arc<AtomicUsize>);

/// A place among the open tails, given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Tails {
    pub(crate) fn open(&self) -> usize {
        self.0.load(Relaxed)
    }

    fn enter(&self) -> Option<Place> {
        let more = |open| (open < TAILS).then_some(open + 1);
        self.0.fetch_update(Relaxed, Relaxed, more).ok().map(|_| Place(Arc::clone(&self.0)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Follows log records. Each event is one record as JSON, as `/query/logs` has it, and `resource_attributes`; an event `dropped` says that the client was too slow.
#[utoipa::path(get, path = "/tail/logs", tag = "query",
    params(
        ("service" = Option<String>, Query, description = "Only this service"),
        ("level" = Option<String>, Query, description = "Only this level"),
        ("q" = Option<String>, Query, description = "Only messages in which every word stands"),
    ),
    responses((status = 200, description = "Server-sent events", content_type = "text/event-stream")))]
pub(super) async fn tail(State(api): State<Arc<Api>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    if !same_origin(&uri, &headers) {
        let text = "a page of another origin cannot follow the logs";
        return Err(Problem::new(StatusCode::FORBIDDEN, text));
    }
    let params = Params::read(&uri, &["service", "level", "q"], &[])?;
    let wanted = Wanted {
        service: params.string("service"),
        level: params.string("level").map(|level| one_level(&level.to_uppercase()).to_owned()),
        words: params.text("q").map(Words::new),
    };
    let Some(place) = api.tails.enter() else {
        let text = format!("{TAILS} tails are open already");
        return Err(Problem::later(StatusCode::TOO_MANY_REQUESTS, text, 5));
    };
    let state =
        Tail { commits: api.store.subscribe(), wanted, waiting: VecDeque::new(), api: Arc::clone(&api), _place: place };
    let events = stream::unfold(state, |mut tail| async move {
        let event = tail.next().await?;
        Some((Ok::<Event, Infallible>(event), tail))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

/// Whether no page of another origin asks. It could not read the answer, but each of its streams would take a place.
fn same_origin(uri: &Uri, headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("no text"));
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let host = uri.authority().map(Authority::as_str).or_else(|| text(header::HOST));
    let origin = text(header::ORIGIN).map(|origin| origin.split_once("://").map_or(origin, |(_, host)| host));
    site.is_none_or(|site| ["same-origin", "none"].contains(&site)) && origin.is_none_or(|origin| Some(origin) == host)
}

/// What a client wants to see.
struct Wanted {
    service: Option<String>,
    level: Option<String>,
    words: Option<Words>,
}

struct Tail {
    commits: Receiver<Committed>,
    wanted: Wanted,
    waiting: VecDeque<String>,
    api: Arc<Api>,
    _place: Place,
}

impl Tail {
    /// The next event; `None` when the server stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(record) = self.waiting.pop_front() {
                return Some(Event::default().data(record));
            }
            let committed = self.api.stopping.run_until_cancelled(self.commits.recv()).await?;
            match committed {
                Ok(committed) if committed.signal == Signal::Logs => match records(&committed.rows, &self.wanted) {
                    Ok(records) => self.waiting.extend(records),
                    Err(error) => tracing::error!(%error, "a commit cannot be shown in a tail"),
                },
                Ok(_) => {}
                Err(RecvError::Lagged(commits)) => {
                    return Some(Event::default().event("dropped").data(format!("{{\"commits\":{commits}}}")));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// The records that a client wants of a commit, as JSON.
fn records(rows: &RecordBatch, wanted: &Wanted) -> Result<Vec<String>, ArrowError> {
    let events = Events::new(rows)?;
    let fits = |row: &usize| {
        let service = wanted.service.as_deref().is_none_or(|service| service == events.service(*row));
        let level = wanted.level.as_deref().is_none_or(|level| level == one_level(events.level(*row)));
        let said = || {
            let words = wanted.words.as_ref();
            words.is_none_or(|words| events.body(*row).is_some_and(|body| words.stand_in(body)))
        };
        service && level && said()
    };
    Ok((0..rows.num_rows()).filter(fits).map(|row| events.json(row)).collect())
}

/// WARN and WARNING are one, as in `/query/logs`.
fn one_level(level: &str) -> &str {
    if level == "WARNING" { "WARN" } else { level }
}
