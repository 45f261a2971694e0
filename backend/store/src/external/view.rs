//! What a query reads: rows in memory, what is in the log alone, and the database up to the block before them, as they
//! were at one moment. A row that moves meanwhile is read where it was.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, StringViewArray};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use async_trait::async_trait;
use devmesh_schema::{Signal, TimestampNs, stored, view};
use futures::StreamExt;

use super::Shared;
use crate::{
    Error, Fragment, Groups, Key, Measure, PatternMap, Scan, Snapshot,
    database::Seen,
    front::spill::{self, LogPart},
    memtable::Chunk,
    pattern_id_text,
    patterns::filter,
    scan::GroupBy,
};

/// All tables at one moment.
#[derive(Debug)]
pub(super) struct View {
    shared: Arc<Shared>,
    chunks: [Vec<Chunk>; 3],
    log: Option<LogPart>,
    seen: Seen,
    horizon: [TimestampNs; 3],
    patterns: Arc<PatternMap>,
}

impl View {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let mut view = Self::of_tables(shared);
        // After the rows: it knows all of their templates.
        view.patterns = shared.templates.map();
        view
    }

    fn of_tables(shared: &Arc<Shared>) -> Self {
        let tables = shared.tables.lock();
        let part = |spilled: &spill::Spilled| LogPart {
            after: spilled.after,
            last: spilled.last,
            // Under the lock: the log is trimmed only after what it holds has moved.
            _pin: Arc::new(shared.pins().pin(spilled.after)),
        };
        Self {
            chunks: Signal::ALL.map(|signal| tables.chunks(signal)),
            log: tables.spilled.as_ref().filter(|spilled| !spilled.is_empty()).map(part),
            // Under the lock as well: a block arrives under it.
            seen: Seen { writer: shared.back.writer(), last: tables.live.stored, idle: shared.back.traffic.idle() },
            horizon: tables.live.horizon,
            patterns: Arc::default(),
            shared: Arc::clone(shared),
        }
    }

    /// The scan as the database is asked, without what is forgotten; and the rows that are not in the database.
    fn here(&self, scan: &Scan) -> (Scan, Vec<Fragment>) {
        let mut scan = scan.clone();
        for asked in &mut scan.filters {
            if let Some(templates) = filter::by_texts(asked, &self.patterns) {
                *asked = templates;
            }
        }
        scan.time.start = scan.time.start.max(self.horizon[scan.signal as usize]);
        let mut chunks = self.chunks[scan.signal as usize].clone();
        chunks.retain(|chunk| chunk.time.1 >= scan.time.start && chunk.time.0 < scan.time.end);
        if scan.newest_first {
            chunks.sort_by_key(|chunk| std::cmp::Reverse(chunk.time.1));
        }
        let mut fragments = Vec::with_capacity(3);
        if !chunks.is_empty() {
            fragments.push(Fragment::Memory(chunks.into_iter().map(|chunk| chunk.rows).collect()));
        }
        if let Some(part) = &self.log {
            fragments.push(spill::rows(&self.shared, part.clone(), scan.signal, scan.time.clone()));
        }
        (scan, fragments)
    }
}

#[async_trait]
impl Snapshot for View {
    async fn scan(&self, scan: &Scan) -> Result<Vec<Fragment>, Error> {
        let back = &self.shared.back;
        back.usable()?;
        let (scan, mut fragments) = self.here(scan);
        if scan.time.start < scan.time.end {
            fragments.extend(back.database.scan(&scan, &self.seen).await?);
        }
        Ok(fragments)
    }

    async fn group(&self, scan: &Scan, group: &GroupBy) -> Result<Option<Groups>, Error> {
        let back = &self.shared.back;
        back.usable()?;
        let (scan, fragments) = self.here(scan);
        let Some((asked, patterns)) = by_templates(group) else { return Ok(None) };
        let Some(mut groups) = back.database.group(&scan, &asked, &self.seen).await? else { return Ok(None) };
        groups.rest.extend(fragments);
        if !patterns.is_empty() {
            let map = Arc::clone(&self.patterns);
            groups.groups = groups.groups.map(move |batch| Ok(shown(&batch?, &patterns, &map)?)).boxed();
        }
        Ok(Some(groups))
    }

    fn patterns(&self) -> Arc<PatternMap> {
        Arc::clone(&self.patterns)
    }

    fn horizon(&self, signal: Signal) -> TimestampNs {
        self.horizon[signal as usize]
    }
}

/// The groups as the database makes them, by templates, and the names of the keys that are patterns; `None` where it
/// cannot.
fn by_templates(group: &GroupBy) -> Option<(GroupBy, Vec<String>)> {
    let mut patterns = Vec::new();
    let mut asked = group.clone();
    for (at, key) in asked.keys.iter_mut().enumerate() {
        if *key == Key::Column(filter::COLUMN.into()) {
            *key = Key::Column(stored::TEMPLATE.into());
            patterns.push(format!("k{at}"));
        }
    }
    for measure in &mut asked.measures {
        match measure {
            Measure::Count(column) if column == filter::COLUMN => *column = stored::TEMPLATE.into(),
            // The order of patterns is not the one of their templates.
            Measure::Min(column) | Measure::Max(column) if column == filter::COLUMN => return None,
            _ => {}
        }
    }
    Some((asked, patterns))
}

/// Groups with their patterns in the place of templates.
fn shown(groups: &RecordBatch, patterns: &[String], map: &PatternMap) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in groups.schema_ref().fields().iter().zip(groups.columns()) {
        if patterns.contains(field.name()) {
            let (texts, keys) = view::distinct(groups, field.name())?;
            let shown: Vec<Option<String>> =
                texts.iter().map(|text| Some(pattern_id_text(map.pattern_of_text(text.as_ref()?)))).collect();
            let row = |key: &u32| shown.get(*key as usize).cloned().flatten();
            let array: StringViewArray = keys.values().iter().map(row).collect();
            fields.push(Field::new(field.name(), DataType::Utf8View, true));
            columns.push(Arc::new(array) as ArrayRef);
        } else {
            fields.push(field.as_ref().clone());
            columns.push(Arc::clone(column));
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(groups.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}
