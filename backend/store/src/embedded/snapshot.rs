//! What a query reads: rows in memory, rows on their way to a file, files, as they were at one moment.

use std::sync::Arc;

use async_trait::async_trait;
use devmesh_schema::{Signal, TimestampNs, stored};
use futures::{StreamExt, stream};

use super::{
    Shared,
    beside::may_decide,
    files::{Files, StoredFile, pin},
    group::Question,
    manifest::Place,
};
use crate::{
    Error, Filter, Fragment, GroupBy, Groups, ParquetFile, PatternMap, Scan,
    front::tables::{State, Tables},
    memtable::Chunk,
    patterns::filter,
};

/// The part of a file's rows below which its summary is not read.
const FEW: u64 = 8;

/// What queries see of the files.
#[derive(Debug)]
pub(crate) struct Live {
    /// By signal.
    pub(crate) files: [Arc<Vec<Arc<StoredFile>>>; 3],
    /// Records whose time lies before it are forgotten, by signal.
    pub(crate) horizon: [TimestampNs; 3],
}

/// One table at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) files: Arc<Vec<Arc<StoredFile>>>,
    pub(crate) horizon: TimestampNs,
}

/// What a query reads: all tables at one moment.
#[derive(Debug)]
pub(crate) struct View {
    tables: [Snapshot; 3],
    files: Arc<Files>,
    patterns: Arc<PatternMap>,
}

impl Tables<Live> {
    /// The rows of a signal as of now.
    pub(super) fn snapshot(&self, signal: Signal) -> Snapshot {
        self.lock().snapshot(signal)
    }
}

impl State<Live> {
    fn snapshot(&self, signal: Signal) -> Snapshot {
        Snapshot {
            chunks: self.chunks(signal),
            files: Arc::clone(&self.live.files[signal as usize]),
            horizon: self.live.horizon[signal as usize],
        }
    }
}

impl Live {
    pub(crate) fn new(files: [Vec<Arc<StoredFile>>; 3], horizon: [TimestampNs; 3]) -> Self {
        Self { files: files.map(Arc::new), horizon }
    }

    /// Puts files in and takes others out.
    pub(crate) fn replace(&mut self, signal: Signal, add: Vec<Arc<StoredFile>>, remove: &[String]) {
        let files = &mut self.files[signal as usize];
        let mut next: Vec<_> = Vec::with_capacity(files.len() + add.len());
        for file in files.iter() {
            if remove.contains(&file.entry.path) {
                continue;
            }
            next.push(Arc::clone(file));
        }
        next.extend(add);
        *files = Arc::new(next);
    }
}

impl View {
    /// The rows of all signals as of now.
    pub(super) fn new(shared: &Shared) -> Self {
        let tables = {
            let state = shared.tables.lock();
            Signal::ALL.map(|signal| state.snapshot(signal))
        };
        // After the rows: it knows all of their templates.
        Self { tables, files: Arc::clone(&shared.back.files), patterns: shared.templates.map() }
    }

    /// The rows in memory and the files that can have rows of a scan.
    fn pieces(&self, scan: &Scan) -> (Vec<Chunk>, Vec<Arc<StoredFile>>) {
        let Snapshot { mut chunks, files, horizon } = self.tables[scan.signal as usize].clone();
        let start = scan.time.start.max(horizon);
        let overlaps = |(least, greatest): (TimestampNs, TimestampNs)| greatest >= start && least < scan.time.end;
        chunks.retain(|chunk| overlaps(chunk.time));
        let mut files: Vec<Arc<StoredFile>> = files.iter().filter(|file| overlaps(file.entry.time)).cloned().collect();
        if scan.newest_first {
            chunks.sort_by_key(|chunk| std::cmp::Reverse(chunk.time.1));
            files.sort_by_key(|file| std::cmp::Reverse(file.entry.time.1));
        }
        (chunks, files)
    }

    /// The fragments of rows in memory and of files, which are pinned from here on.
    async fn fragments(
        &self,
        scan: &Scan,
        chunks: Vec<Chunk>,
        files: Vec<Arc<StoredFile>>,
    ) -> Result<Vec<Fragment>, Error> {
        let selected = if scan.filters.is_empty() {
            files.iter().map(|file| file.select(&[])).collect()
        } else {
            let files = files.clone();
            let asked = |asked: &Filter| filter::by_ids(asked, &self.patterns).unwrap_or_else(|| asked.clone());
            let filters: Vec<Filter> = scan.filters.iter().map(asked).collect();
            let select = move || {
                let select = |file: &Arc<StoredFile>| by_template(file, &filters, file.select(&filters)?);
                files.iter().map(select).collect::<Vec<_>>()
            };
            tokio::task::spawn_blocking(select).await.map_err(|_panic| Error::NotReady("the index failed".into()))?
        };
        let mut fragments = Vec::with_capacity(3);
        if !chunks.is_empty() {
            fragments.push(Fragment::Memory(chunks.into_iter().map(|chunk| chunk.rows).collect()));
        }
        let pin = pin(files.clone());
        for place in [Place::Local, Place::Remote] {
            let here = files.iter().zip(&selected).filter(|(file, _)| file.entry.place == place);
            let here: Vec<_> = here.filter_map(|(_, file)| file.clone()).collect();
            if !here.is_empty() {
                let store = self.files.object_store(place);
                fragments.push(Fragment::Parquet { store, files: here, pin: Arc::clone(&pin) });
            }
        }
        Ok(fragments)
    }
}

/// The file, where templates do not tell that no row of it holds the words that are asked for.
fn by_template(file: &StoredFile, filters: &[Filter], found: ParquetFile) -> Option<ParquetFile> {
    let words = |filter: &Filter| match filter {
        Filter::Words { column, words } if column == stored::BODY => Some(words.clone()),
        _ => None,
    };
    let words: Vec<Vec<String>> = filters.iter().filter_map(words).collect();
    let selected = found.selection.iter().flatten().map(|rows| rows.len() as u64).sum::<u64>();
    // Of a few rows the bodies are read as quickly.
    let is_needle = found.selection.is_some() && selected * FEW < found.rows;
    if words.is_empty() || is_needle || !words.iter().all(|words| may_decide(words)) {
        return Some(found);
    }
    let words: Vec<&[String]> = words.iter().map(Vec::as_slice).collect();
    match file.summary().and_then(|summary| summary.decided(&words)) {
        Some(false) => None,
        Some(true) => Some(ParquetFile { by_template: true, ..found }),
        None => Some(found),
    }
}

#[async_trait]
impl crate::Snapshot for View {
    async fn scan(&self, scan: &Scan) -> Result<Vec<Fragment>, Error> {
        let (chunks, files) = self.pieces(scan);
        self.fragments(scan, chunks, files).await
    }

    /// Counts of log records are answered from the files' summaries, as far as those say it exactly.
    async fn group(&self, scan: &Scan, group: &GroupBy) -> Result<Option<Groups>, Error> {
        let Some(question) = Question::new(scan, group, &self.patterns) else { return Ok(None) };
        let (chunks, files) = self.pieces(scan);
        if files.is_empty() {
            return Ok(None);
        }
        let patterns = Arc::clone(&self.patterns);
        let answer = tokio::task::spawn_blocking(move || question.answer(files, &patterns));
        let answer = answer.await.map_err(|_panic| Error::NotReady("reading summaries failed".into()))?;
        let Some((groups, rest)) = answer? else { return Ok(None) };
        let rest = self.fragments(scan, chunks, rest).await?;
        Ok(Some(Groups { groups: stream::once(async { Ok(groups) }).boxed(), rest }))
    }

    fn patterns(&self) -> Arc<PatternMap> {
        Arc::clone(&self.patterns)
    }

    fn horizon(&self, signal: Signal) -> TimestampNs {
        self.tables[signal as usize].horizon
    }
}
