//! Bodies get their templates as they come in: a look-up without a lock for what is known, one lock a batch for what is not.

use std::{
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray, cast::AsArray};
use arrow_schema::{ArrowError, DataType, Schema};
use devmesh_schema::stored;
use devmesh_templates::{Config, MARK, Matcher, Miner, Scratch, Template, template_id};

use super::{ById, PatternMap, PatternText, Patterns};

/// Bytes of an example that are kept.
const EXAMPLE_BYTES: usize = 512;

/// Bounds of the templates of one store. Comparing them is done beside the ingestion.
pub(super) const BOUNDS: Config =
    Config { max_templates: 50_000, max_bytes: 64 << 20, merge_every: usize::MAX, max_memo: 65_536 };

/// The templates of a store.
#[derive(Debug)]
pub(crate) struct Templates {
    /// Whether bodies get templates.
    pub(super) is_on: bool,
    /// Whether nothing was known at the start.
    pub(super) began_empty: bool,
    pub(super) path: PathBuf,
    pub(super) known: Mutex<Known>,
    pub(super) matcher: RwLock<Arc<Matcher>>,
    /// Bodies that the matcher found, by template, since the miner was last told.
    pub(super) credits: Mutex<ById<u64>>,
    /// What patterns are shown as, since they were last compared.
    pub(super) shown: Mutex<ById<String>>,
    /// Made when it is asked for. Locked before `known` where both are.
    map: Mutex<Arc<PatternMap>>,
    /// Rises with every change of what is known.
    pub(super) changes: AtomicU64,
    /// Bodies seen, and those that the matcher did not know, since it was made.
    pub(super) seen: AtomicU64,
    pub(super) missed: AtomicU64,
    /// Whether there is something new that was not looked into yet.
    pub(super) news: AtomicBool,
    /// Held while somebody does.
    pub(super) turn: Mutex<()>,
    /// Wakes who looks into it.
    bell: (Mutex<bool>, Condvar),
    /// The change up to which the file has what is known.
    pub(super) saved: Mutex<u64>,
}

/// What has been learned.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) miner: Miner,
    /// A body of each template that was made of one.
    pub(super) examples: ById<Box<str>>,
    /// Templates that were compared with each other.
    pub(super) compared: usize,
    /// Templates that only rows of an earlier time have, and the template that a body of theirs has now.
    pub(super) aliases: ById<u64>,
}

impl Known {
    pub(super) fn new() -> Self {
        Self { miner: Miner::new(BOUNDS), examples: ById::default(), compared: 1, aliases: ById::default() }
    }

    /// The template of a body; whether it is new.
    pub(super) fn observe(&mut self, body: &str) -> (u64, bool) {
        let before = self.miner.templates().len();
        let id = self.miner.observe(body).template_id;
        let is_new =
            self.miner.templates().len() > before || (id == template_id(MARK) && !self.examples.contains_key(&id));
        if is_new {
            self.examples.insert(id, crop(body).into());
        }
        (id, is_new)
    }
}

fn crop(body: &str) -> &str {
    &body[..body.floor_char_boundary(EXAMPLE_BYTES)]
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The templates of a batch: a dictionary of those that its rows have.
#[derive(Default)]
struct Found {
    templates: Vec<Arc<Template>>,
    counts: Vec<u64>,
    by_id: ById<i32>,
    last: Option<(u64, i32)>,
}

impl Found {
    fn key(&mut self, template: &Arc<Template>) -> i32 {
        let id = template.id();
        if let Some((last, key)) = self.last
            && last == id
        {
            return key;
        }
        let next = self.templates.len();
        let key = *self.by_id.entry(id).or_insert_with(|| {
            self.templates.push(Arc::clone(template));
            self.counts.push(0);
            // A batch has no more rows than an `i32` can count.
            i32::try_from(next).unwrap_or(i32::MAX)
        });
        self.last = Some((id, key));
        key
    }
}

impl Templates {
    /// The rows with the column of their templates.
    ///
    /// # Errors
    /// The rows are not as the decoder makes them.
    pub(crate) fn mark(&self, rows: RecordBatch) -> Result<RecordBatch, ArrowError> {
        if !self.is_on {
            return Ok(rows);
        }
        let bodies = rows.column_by_name(stored::BODY).and_then(|column| column.as_string_opt::<i32>());
        let Some(bodies) = bodies else { return Ok(rows) };
        let values = rows.column_by_name(stored::BODY_VALUE);
        // An empty body says nothing.
        let says = |row: usize| bodies.is_valid(row) && !bodies.value(row).is_empty();
        let is_string = |row: usize| says(row) && values.is_none_or(|values| values.is_null(row));
        let mut found = Found::default();
        let keys = self.keys(bodies, is_string, &mut found);
        if found.templates.is_empty() {
            return Ok(rows);
        }
        let texts = StringArray::from_iter_values(found.templates.iter().map(|template| template.text()));
        let column = DictionaryArray::try_new(Int32Array::from(keys), Arc::new(texts) as ArrayRef)?;
        let field = stored::dictionary(stored::TEMPLATE, DataType::Utf8, true);
        let fields = rows.schema_ref().fields().iter().cloned().chain([Arc::new(field)]);
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let columns = rows.columns().iter().cloned().chain([Arc::new(column) as ArrayRef]);
        RecordBatch::try_new(schema, columns.collect())
    }

    fn keys(&self, bodies: &StringArray, is_string: impl Fn(usize) -> bool, found: &mut Found) -> Vec<Option<i32>> {
        let matcher = Arc::clone(&self.matcher.read().unwrap_or_else(PoisonError::into_inner));
        let mut scratch = Scratch::default();
        let mut keys = vec![None; bodies.len()];
        let mut unknown = Vec::new();
        let mut seen = 0;
        for (row, key) in keys.iter_mut().enumerate() {
            if !is_string(row) {
                continue;
            }
            seen += 1;
            match matcher.find_template(bodies.value(row), &mut scratch) {
                Some(template) => {
                    let place = found.key(template);
                    found.counts[place as usize] += 1;
                    *key = Some(place);
                }
                None => unknown.push(row),
            }
        }
        self.seen.fetch_add(seen, Ordering::Relaxed);
        if !found.templates.is_empty() {
            let mut credits = lock(&self.credits);
            for (template, count) in found.templates.iter().zip(&found.counts) {
                *credits.entry(template.id()).or_default() += count;
            }
        }
        if !unknown.is_empty() {
            self.learn_rows(bodies, &unknown, &mut keys, found);
        }
        keys
    }

    fn learn_rows(&self, bodies: &StringArray, unknown: &[usize], keys: &mut [Option<i32>], found: &mut Found) {
        let mut new = 0;
        {
            let mut known = lock(&self.known);
            for row in unknown {
                let (id, is_new) = known.observe(bodies.value(*row));
                new += u64::from(is_new);
                keys[*row] = known.miner.template(id).map(|template| found.key(template));
            }
            self.changes.fetch_add(new, Ordering::AcqRel);
        }
        self.missed.fetch_add(unknown.len() as u64, Ordering::Relaxed);
        self.tell();
    }

    /// There is something new.
    pub(super) fn tell(&self) {
        if !self.news.swap(true, Ordering::AcqRel) {
            self.ring();
        }
    }

    /// Wakes who looks into what is new.
    pub(crate) fn ring(&self) {
        *lock(&self.bell.0) = true;
        self.bell.1.notify_all();
    }

    /// Waits for something new, for being woken, or the time.
    pub(super) fn wait(&self, time: Duration) {
        if self.news.load(Ordering::Acquire) {
            return;
        }
        let silent = |rung: &mut bool| !*rung;
        let waited = self.bell.1.wait_timeout_while(lock(&self.bell.0), time, silent);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// Whether templates are looked for, and nothing was known at the start.
    pub(crate) fn began_empty(&self) -> bool {
        self.is_on && self.began_empty
    }

    /// Which pattern each template belongs to now.
    pub(crate) fn map(&self) -> Arc<PatternMap> {
        let mut map = lock(&self.map);
        if map.changes != self.changes.load(Ordering::Acquire) {
            *map = Arc::new(self.make_map(&map));
        }
        Arc::clone(&map)
    }

    fn make_map(&self, before: &PatternMap) -> PatternMap {
        let shown = lock(&self.shown);
        let known = lock(&self.known);
        let Known { miner, examples, aliases, .. } = &*known;
        let mut map = PatternMap { changes: self.changes.load(Ordering::Acquire), ..PatternMap::default() };
        let fallback = template_id(MARK);
        for template in miner.templates() {
            let id = template.id();
            if id == fallback && !examples.contains_key(&id) {
                continue;
            }
            let pattern = miner.pattern_id(id).unwrap_or(id);
            map.patterns.insert(id, pattern);
            map.templates.entry(pattern).or_default().push(id);
            map.texts.insert(id, Arc::clone(template));
            if pattern == id {
                let text = shown.get(&id).map_or(template.text(), String::as_str).to_owned();
                let example = examples.get(&id).map(|body| body.to_string()).unwrap_or_default();
                map.list.push(PatternText { id, text, example });
            }
        }
        for (alias, template) in aliases {
            let pattern = miner.pattern_id(*template).unwrap_or(*template);
            map.patterns.insert(*alias, pattern);
            map.templates.entry(pattern).or_default().push(*alias);
        }
        drop(known);
        let same = before.list.len() == map.list.len()
            && before.list.iter().zip(&map.list).all(|(old, new)| old.id == new.id && old.text == new.text);
        map.version = before.version + u64::from(!same);
        map
    }

    /// Without anything known.
    pub(super) fn empty(path: PathBuf, is_on: bool) -> Self {
        let known = Known::new();
        Self {
            is_on,
            began_empty: true,
            path,
            matcher: RwLock::new(Arc::new(known.miner.matcher())),
            known: Mutex::new(known),
            credits: Mutex::default(),
            shown: Mutex::default(),
            map: Mutex::default(),
            changes: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            news: AtomicBool::new(false),
            turn: Mutex::default(),
            bell: Default::default(),
            saved: Mutex::new(0),
        }
    }
}

impl Patterns for Templates {
    fn version(&self) -> u64 {
        self.map().version
    }

    fn list(&self) -> Vec<PatternText> {
        self.map().list.clone()
    }

    fn pattern_of(&self, id: u64) -> Option<u64> {
        self.map().pattern_of(id)
    }
}
