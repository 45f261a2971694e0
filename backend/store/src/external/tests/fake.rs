//! A database in memory that can be told to fail.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use async_trait::async_trait;
use devmesh_schema::{Signal, TimestampNs};
use devmesh_wal::Seq;
use futures::{StreamExt, stream};

use crate::{
    Capabilities, Error, Fragment, GroupBy, Groups, Scan, columns,
    database::{Block, Database, Seen},
    memtable::time_range,
};

/// What becomes of an insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Stored and answered.
    Stored,
    /// Stored, but the answer is lost.
    AnswerLost,
    /// Not stored: nobody there.
    Away,
    /// Not stored: refused.
    Refused,
    /// Not stored, and never answered.
    Hangs,
    /// Stored, and never answered.
    StoredAndHangs,
}

type Decide = Box<dyn FnMut(&Block) -> Fate + Send>;
type Key = (String, Seq, u8);

struct Inner {
    away: bool,
    /// Inserts hang, all else goes on.
    stuck: bool,
    decide: Decide,
    blocks: BTreeMap<Key, Vec<Arc<RecordBatch>>>,
    foreign: Vec<(Signal, RecordBatch)>,
    inserts: Vec<(Seq, Signal)>,
    refused: u64,
}

/// The database; stays while stores come and go.
pub(super) struct Fake(Mutex<Inner>);

impl fmt::Display for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fake://")
    }
}

fn times(rows: &[Arc<RecordBatch>]) -> Vec<TimestampNs> {
    use arrow_array::{cast::AsArray, types::TimestampNanosecondType};
    let times = |rows: &Arc<RecordBatch>| {
        rows.column_by_name("time").unwrap().as_primitive::<TimestampNanosecondType>().values().to_vec()
    };
    rows.iter().flat_map(times).collect()
}

impl Fake {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            away: false,
            stuck: false,
            decide: Box::new(|_block| Fate::Stored),
            blocks: BTreeMap::new(),
            foreign: Vec::new(),
            inserts: Vec::new(),
            refused: 0,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn away(&self, away: bool) {
        self.lock().away = away;
    }

    /// Inserts that come from now on hang, or no longer.
    pub(super) fn stuck(&self, stuck: bool) {
        self.lock().stuck = stuck;
    }

    pub(super) fn decide(&self, decide: impl FnMut(&Block) -> Fate + Send + 'static) {
        self.lock().decide = Box::new(decide);
    }

    /// The inserts that were asked for, repeated ones too.
    pub(super) fn inserts(&self) -> Vec<(Seq, Signal)> {
        self.lock().inserts.clone()
    }

    /// Inserts that failed.
    pub(super) fn refused(&self) -> u64 {
        self.lock().refused
    }

    /// Rows of each block, and the last records of the blocks.
    pub(super) fn blocks(&self) -> Vec<(Seq, usize)> {
        let rows = |rows: &Vec<Arc<RecordBatch>>| rows.iter().map(|rows| rows.num_rows()).sum();
        self.lock().blocks.iter().map(|((_, last, _), batches)| (*last, rows(batches))).collect()
    }

    /// Rows of somebody else.
    pub(super) fn insert_foreign(&self, signal: Signal, rows: RecordBatch) {
        self.lock().foreign.push((signal, rows));
    }

    fn reach(&self) -> Result<MutexGuard<'_, Inner>, Error> {
        let inner = self.lock();
        if inner.away {
            return Err(Error::Away("fake:// does not answer".into()));
        }
        Ok(inner)
    }

    fn store(inner: &mut Inner, block: &Block) {
        let key = (block.writer.to_string(), block.last, block.signal as u8);
        match inner.blocks.get(&key) {
            // By its number alone; that it is the same is what the caller promises.
            Some(known) => assert_eq!(times(known), times(&block.rows), "another block of the number {}", block.last),
            None => drop(inner.blocks.insert(key, block.rows.clone())),
        }
    }

    fn rows(&self, scan: &Scan, seen: &Seen) -> Result<Vec<Arc<RecordBatch>>, Error> {
        let inner = self.reach()?;
        let visible = |(writer, last, signal): &Key| {
            *signal == scan.signal as u8 && (**writer != *seen.writer || *last <= seen.last)
        };
        let own = inner.blocks.iter().filter(|(key, _)| visible(key)).flat_map(|(_, rows)| rows.iter().cloned());
        let foreign = inner.foreign.iter().filter(|(signal, _)| *signal == scan.signal);
        let all = own.chain(foreign.map(|(_, rows)| Arc::new(rows.clone())));
        let mut kept = Vec::new();
        for rows in all {
            let (least, greatest) = time_range(&rows)?;
            if greatest >= scan.time.start && least < scan.time.end {
                kept.push(Arc::new(columns::not_before(&rows, scan.time.start)?));
            }
        }
        Ok(kept)
    }
}

#[async_trait]
impl Database for Fake {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn insert(&self, block: &Block) -> Result<(), Error> {
        let fate = {
            let mut inner = self.lock();
            inner.inserts.push((block.last, block.signal));
            let fate = match (inner.away, inner.stuck) {
                (true, _) => Fate::Away,
                (_, true) => Fate::Hangs,
                _ => (inner.decide)(block),
            };
            if matches!(fate, Fate::Stored | Fate::AnswerLost | Fate::StoredAndHangs) {
                Self::store(&mut inner, block);
            }
            inner.refused += u64::from(fate != Fate::Stored);
            fate
        };
        match fate {
            Fate::Stored => Ok(()),
            Fate::AnswerLost | Fate::Away => Err(Error::Away("fake:// cut the connection".into())),
            Fate::Refused => Err(Error::Database("fake:// refuses".into())),
            Fate::Hangs | Fate::StoredAndHangs => std::future::pending().await,
        }
    }

    async fn scan(&self, scan: &Scan, seen: &Seen) -> Result<Vec<Fragment>, Error> {
        let rows = self.rows(scan, seen)?.into_iter().map(|rows| Ok((*rows).clone()));
        Ok(vec![Fragment::Rows(stream::iter(rows.collect::<Vec<_>>()).boxed())])
    }

    /// Counts rows, without keys.
    async fn group(&self, scan: &Scan, group: &GroupBy, seen: &Seen) -> Result<Option<Groups>, Error> {
        if !group.keys.is_empty() {
            return Ok(None);
        }
        let rows: usize = self.rows(scan, seen)?.iter().map(|rows| rows.num_rows()).sum();
        let count: ArrayRef = Arc::new(Int64Array::from(vec![i64::try_from(rows).unwrap()]));
        let groups = RecordBatch::try_from_iter([("m0", count)])?;
        Ok(Some(Groups { groups: stream::iter([Ok(groups)]).boxed(), rest: Vec::new() }))
    }

    async fn expire(&self, signal: Signal, before: TimestampNs) -> Result<u64, Error> {
        let mut inner = self.reach()?;
        let mut gone = 0;
        for (_, batches) in inner.blocks.iter_mut().filter(|((_, _, of), _)| *of == signal as u8) {
            for rows in batches {
                let kept = columns::not_before(rows, before)?;
                gone += (rows.num_rows() - kept.num_rows()) as u64;
                *rows = Arc::new(kept);
            }
        }
        Ok(gone)
    }

    async fn ready(&self) -> Result<(), Error> {
        self.reach().map(|_inner| ())
    }

    async fn newest(&self, writer: &str) -> Result<Option<Seq>, Error> {
        let inner = self.reach()?;
        Ok(inner.blocks.keys().filter(|(of, ..)| of == writer).map(|(_, last, _)| *last).max())
    }

    async fn size(&self) -> Result<[(u64, u64); 3], Error> {
        let inner = self.reach()?;
        let mut size = [(0, 0); 3];
        for ((_, _, signal), rows) in &inner.blocks {
            let table = &mut size[usize::from(*signal)];
            table.0 += rows.iter().map(|rows| rows.num_rows() as u64).sum::<u64>();
            table.1 += rows.iter().map(|rows| rows.get_array_memory_size() as u64).sum::<u64>();
        }
        Ok(size)
    }

    async fn close(&self) {}
}
