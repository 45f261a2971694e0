//! What one query has of its own: the state of the store that it reads, and the files it opened.
//!
//! A statement may read a table several times, by a join, a sub-query or a view. All its scans go to one snapshot, so
//! that they agree. It is handed to them with the session's configuration, which is what DataFusion passes on.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::{catalog::Session, common::Result, error::DataFusionError};
use devmesh_store::{PatternMap, Snapshot, Store};
use object_store::path::Path;

/// Files that are looked at when a query fails, from the last opened.
const SUSPECTS: usize = 32;

/// A query's own.
pub(crate) struct Scope {
    /// What the query reads.
    pub(crate) snapshot: Arc<dyn Snapshot>,
    /// Which pattern each template belongs to, for all of the query.
    pub(crate) patterns: Arc<PatternMap>,
    opened: Mutex<Vec<Path>>,
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scope")
    }
}

impl Scope {
    pub(crate) fn new(store: &dyn Store) -> Arc<Self> {
        let snapshot = store.snapshot();
        Arc::new(Self { patterns: snapshot.patterns(), snapshot, opened: Mutex::default() })
    }

    /// The one that a query's session has.
    pub(crate) fn of(session: &dyn Session) -> Result<Arc<Self>> {
        let scope = session.config().get_extension::<Self>();
        scope.ok_or_else(|| DataFusionError::Internal("a table is read outside of a query".into()))
    }

    /// A file is about to be read.
    pub(crate) fn open(&self, path: &Path) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.len() == SUSPECTS {
            opened.remove(0);
        }
        opened.push(path.clone());
    }

    /// The file that the store set aside because it is damaged, where one is why the query failed. An error of a decoder
    /// names no file: the last ones opened are all looked at.
    pub(crate) async fn damaged(&self, store: &dyn Store) -> Option<Path> {
        let mut opened = std::mem::take(&mut *self.opened.lock().unwrap_or_else(PoisonError::into_inner));
        while let Some(path) = opened.pop() {
            if store.suspect(&path).await {
                return Some(path);
            }
        }
        None
    }
}
