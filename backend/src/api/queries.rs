//! The engine as the API asks it: counted, and with its errors as problems.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use devmesh_query::{Answer, Engine, Error, SqlOptions};
use tokio::sync::OnceCell;

use super::problem::Problem;
use crate::answer::tables::{self, Table};

/// The engine, what was asked of it, and the tables it has.
#[derive(Debug)]
pub(crate) struct Queries {
    engine: Arc<Engine>,
    tables: OnceCell<Vec<Table>>,
    ok: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    micros: AtomicU64,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Answered.
    pub(crate) ok: u64,
    /// Wrong, too large, too many.
    pub(crate) refused: u64,
    /// Failed by a fault of ours.
    pub(crate) failed: u64,
    /// Time up to the first row of all of them.
    pub(crate) seconds: f64,
}

impl Queries {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        let zero = || AtomicU64::new(0);
        Self { engine, tables: OnceCell::new(), ok: zero(), refused: zero(), failed: zero(), micros: zero() }
    }

    /// Answers a query in SQL.
    pub(crate) async fn sql(&self, sql: &str, limit: Option<usize>) -> Result<Answer, Error> {
        self.count(self.engine.sql(sql, SqlOptions { limit, timeout: None })).await
    }

    /// Counts a question to the engine.
    pub(crate) async fn count<T>(&self, question: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let started = Instant::now();
        let answer = question.await;
        let counter = match &answer {
            Ok(_) => &self.ok,
            Err(Error::Internal(_) | Error::Store(_)) => &self.failed,
            Err(_) => &self.refused,
        };
        counter.fetch_add(1, Relaxed);
        self.micros.fetch_add(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX), Relaxed);
        if let Err(error @ (Error::Internal(_) | Error::Store(_))) = &answer {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(%error, cause, "a query failed");
        }
        answer
    }

    /// The engine itself.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The tables and views.
    pub(crate) async fn tables(&self) -> Result<&[Table], Error> {
        self.tables.get_or_try_init(|| tables::all(&self.engine)).await.map(Vec::as_slice)
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures {
            ok: self.ok.load(Relaxed),
            refused: self.refused.load(Relaxed),
            failed: self.failed.load(Relaxed),
            seconds: Duration::from_micros(self.micros.load(Relaxed)).as_secs_f64(),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let seconds = error.retry_after().map_or(1, |time| time.as_secs());
        match error {
            Error::BadQuery(_) | Error::Limit { .. } => Problem::bad_request(text),
            Error::Timeout(_) => Problem::new(StatusCode::REQUEST_TIMEOUT, text),
            Error::Busy { .. } => Problem::later(StatusCode::TOO_MANY_REQUESTS, text, seconds),
            Error::Store(_) => Problem::later(StatusCode::SERVICE_UNAVAILABLE, text, seconds),
            Error::NotFound(_) => Problem::not_found(text),
            Error::Unavailable(_) => Problem::new(StatusCode::NOT_IMPLEMENTED, text),
            _ => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text),
        }
    }
}
