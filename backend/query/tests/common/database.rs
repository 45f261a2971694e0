//! A store that does what a database does: it filters, cuts and groups the rows it has, and some rows are in memory still.
//! What it answers is computed of the rows, without the engine.

use std::{
    cmp::Ordering,
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
    cast::AsArray,
    types::{Float64Type, Int64Type},
};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema};
use arrow_select::{filter::filter_record_batch, interleave::interleave, take::take_record_batch};
use async_trait::async_trait;
use devmesh_schema::{
    Batch, IngestPath, Receipt, Signal, Sink, TimestampNs, WriteError,
    otlp::{self, Context},
    stored, view,
};
use devmesh_store::{
    Capabilities, Committed, Drained, Error, Filter, Fragment, GroupBy, Groups, Key, Measure, Op, Scan, Snapshot,
    Stats, Store, Value,
};
use futures::{StreamExt, stream};
use tokio::sync::broadcast;

/// The store.
#[derive(Clone)]
pub struct DatabaseStore {
    tables: Arc<[Vec<RecordBatch>; 3]>,
    /// Whether it makes groups.
    groups: bool,
    /// Records before it are forgotten.
    pub horizon: TimestampNs,
    /// Why it cannot be read.
    pub error: Option<fn() -> Error>,
    /// Scans it was asked for.
    pub scans: Arc<Mutex<Vec<Scan>>>,
    /// Rows of the database that left it by scans.
    pub pulled: Arc<Mutex<usize>>,
    /// Groups it was asked for.
    pub grouped: Arc<Mutex<Vec<GroupBy>>>,
}

impl DatabaseStore {
    pub fn of_requests(requests: &[(Signal, IngestPath, Vec<u8>)], groups: bool) -> Self {
        let mut tables: [Vec<RecordBatch>; 3] = Default::default();
        for (signal, path, request) in requests {
            let context = Context { path: *path, received: 1_767_230_000_000_000_000 };
            tables[*signal as usize].push(otlp::decode(*signal, request, context).unwrap().rows);
        }
        let (scans, pulled, grouped) = (Arc::default(), Arc::default(), Arc::default());
        Self { tables: Arc::new(tables), groups, horizon: i64::MIN, error: None, scans, pulled, grouped }
    }

    /// The first, third, … batch is in the database, the others are in memory.
    fn rows(&self, signal: Signal, in_database: bool) -> impl Iterator<Item = &RecordBatch> {
        let of_kind = move |(number, _): &(usize, &RecordBatch)| (number % 2 == 0) == in_database;
        self.tables[signal as usize].iter().enumerate().filter(of_kind).map(|(_, batch)| batch)
    }

    fn memory(&self, signal: Signal) -> Fragment {
        Fragment::Memory(self.rows(signal, false).cloned().map(Arc::new).collect())
    }
}

fn times(rows: &RecordBatch) -> Vec<i64> {
    cast(rows.column_by_name(stored::TIME).unwrap(), &DataType::Int64)
        .unwrap()
        .as_primitive::<Int64Type>()
        .values()
        .to_vec()
}

/// A value, comparable.
fn compare(array: &ArrayRef, row: usize, with: &Value) -> Option<Ordering> {
    if array.is_null(row) {
        return None;
    }
    match with {
        Value::Text(text) => Some(array.as_string_view().value(row).cmp(text.as_str())),
        Value::Int(number) => {
            let numbers = cast(array, &DataType::Int64).unwrap();
            Some(numbers.as_primitive::<Int64Type>().value(row).cmp(number))
        }
        Value::Double(number) => {
            let numbers = cast(array, &DataType::Float64).unwrap();
            numbers.as_primitive::<Float64Type>().value(row).partial_cmp(number)
        }
    }
}

fn passes(scan: &Scan, rows: &RecordBatch) -> Vec<bool> {
    let mut passes: Vec<bool> = times(rows).iter().map(|time| scan.time.contains(time)).collect();
    for filter in &scan.filters {
        let column = |name: &str| view::derive(scan.signal, name, rows).unwrap();
        let array = match filter {
            Filter::Compare { column: name, .. }
            | Filter::OneOf { column: name, .. }
            | Filter::Words { column: name, .. } => column(name),
            Filter::Attribute { key, .. } => view::attribute_text(key, rows).unwrap(),
        };
        for (row, passes) in passes.iter_mut().enumerate() {
            *passes &= match filter {
                Filter::Compare { op, value, .. } => compare(&array, row, value).is_some_and(|order| match op {
                    Op::Eq => order.is_eq(),
                    Op::Lt => order.is_lt(),
                    Op::LtEq => order.is_le(),
                    Op::Gt => order.is_gt(),
                    Op::GtEq => order.is_ge(),
                }),
                Filter::OneOf { values, .. } => {
                    values.iter().any(|value| compare(&array, row, value) == Some(Ordering::Equal))
                }
                Filter::Attribute { value, .. } => {
                    compare(&array, row, &Value::Text(value.clone())) == Some(Ordering::Equal)
                }
                Filter::Words { words, .. } => {
                    array.is_valid(row) && {
                        let mut found = Vec::new();
                        devmesh_store::words(array.as_string_view().value(row), |word| found.push(word.to_owned()));
                        words.iter().all(|word| found.contains(word))
                    }
                }
            };
        }
    }
    passes
}

/// Just the stored columns that the scan's columns are made of.
fn narrowed(scan: &Scan, rows: RecordBatch) -> RecordBatch {
    let Some(columns) = &scan.columns else { return rows };
    let schema = rows.schema();
    let wanted = schema.fields().iter().enumerate().filter(|(_, field)| {
        columns.iter().any(|column| {
            view::sources(scan.signal, column).contains(&field.name().as_str())
                || (view::needs_attribute_columns(column) && stored::parse_attribute_column(field.name()).is_some())
        })
    });
    let wanted: Vec<usize> = wanted.map(|(index, _)| index).collect();
    rows.project(&wanted).unwrap()
}

#[async_trait]
impl Snapshot for DatabaseStore {
    async fn scan(&self, scan: &Scan) -> Result<Vec<Fragment>, Error> {
        self.scans.lock().unwrap().push(scan.clone());
        if let Some(error) = self.error {
            return Err(error());
        }
        let mut batches = Vec::new();
        for rows in self.rows(scan.signal, true) {
            let rows = filter_record_batch(rows, &BooleanArray::from(passes(scan, rows))).unwrap();
            if rows.num_rows() > 0 {
                batches.push(rows);
            }
        }
        if let Some(limit) = scan.limit {
            let all = batches.iter().enumerate();
            let mut order: Vec<(i64, usize, u32)> = all
                .flat_map(|(batch, rows)| {
                    times(rows).into_iter().enumerate().map(move |(row, time)| (time, batch, row as u32))
                })
                .collect();
            if scan.newest_first {
                order.sort_by_key(|(time, ..)| std::cmp::Reverse(*time));
            }
            order.truncate(limit);
            let taken = order.iter().map(|(_, batch, row)| {
                take_record_batch(&batches[*batch], &arrow_array::UInt32Array::from(vec![*row])).unwrap()
            });
            batches = taken.collect();
        }
        *self.pulled.lock().unwrap() += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        let batches: Vec<_> = batches.into_iter().map(|rows| Ok(narrowed(scan, rows))).collect();
        Ok(vec![Fragment::Rows(stream::iter(batches).boxed()), self.memory(scan.signal)])
    }

    async fn group(&self, scan: &Scan, group: &GroupBy) -> Result<Option<Groups>, Error> {
        if !self.groups {
            return Ok(None);
        }
        if let Some(error) = self.error {
            return Err(error());
        }
        self.grouped.lock().unwrap().push(group.clone());
        // Each batch by itself: a group comes more than once.
        let batches: Vec<_> = self.rows(scan.signal, true).map(|rows| Ok(groups(scan, group, rows))).collect();
        Ok(Some(Groups { groups: stream::iter(batches).boxed(), rest: vec![self.memory(scan.signal)] }))
    }

    fn horizon(&self, _: Signal) -> TimestampNs {
        self.horizon
    }
}

fn key(scan: &Scan, key: &Key, rows: &RecordBatch) -> ArrayRef {
    match key {
        Key::Column(name) => view::derive(scan.signal, name, rows).unwrap(),
        Key::Attribute(key) => cast(&view::attribute_text(key, rows).unwrap(), &DataType::Utf8).unwrap(),
        Key::Time { width, origin } => {
            let bucket = |time: i64| (time - origin).div_euclid(*width) * width + origin;
            let buckets: Vec<i64> = times(rows).into_iter().map(bucket).collect();
            Arc::new(TimestampNanosecondArray::from(buckets).with_timezone("UTC"))
        }
    }
}

fn groups(scan: &Scan, group: &GroupBy, rows: &RecordBatch) -> RecordBatch {
    let keys: Vec<ArrayRef> = group.keys.iter().map(|k| key(scan, k, rows)).collect();
    let texts: Vec<StringArray> =
        keys.iter().map(|k| cast(k, &DataType::Utf8).unwrap().as_string::<i32>().clone()).collect();
    let mut found: HashMap<Vec<Option<&str>>, Vec<usize>> = HashMap::new();
    if group.keys.is_empty() {
        found.insert(vec![], vec![]);
    }
    for row in (0..rows.num_rows()).zip(passes(scan, rows)).filter(|(_, passes)| *passes).map(|(row, _)| row) {
        let values = texts.iter().map(|text| text.is_valid(row).then(|| text.value(row))).collect();
        found.entry(values).or_default().push(row);
    }
    let found: Vec<Vec<usize>> = found.into_values().collect();
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (i, key) in keys.iter().enumerate() {
        let places: Vec<(usize, usize)> = found.iter().map(|rows| (0, rows[0])).collect();
        columns.push(match places.is_empty() {
            true => key.slice(0, 0),
            false => interleave(&[key.as_ref()], &places).unwrap(),
        });
        fields.push(Field::new(format!("k{i}"), key.data_type().clone(), true));
    }
    for (i, measure) in group.measures.iter().enumerate() {
        let column = self::measure(scan, measure, rows, &found);
        fields.push(Field::new(format!("m{i}"), column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn measure(scan: &Scan, measure: &Measure, rows: &RecordBatch, groups: &[Vec<usize>]) -> ArrayRef {
    let column = |name: &str| view::derive(scan.signal, name, rows).unwrap();
    match measure {
        Measure::CountAll => Arc::new(groups.iter().map(|rows| rows.len() as i64).collect::<Int64Array>()),
        Measure::Count(name) => {
            let values = column(name);
            let count = |rows: &Vec<usize>| rows.iter().filter(|row| values.is_valid(**row)).count() as i64;
            Arc::new(groups.iter().map(count).collect::<Int64Array>())
        }
        Measure::Sum(name) => {
            let values = column(name);
            if *values.data_type() == DataType::Float64 {
                let values = values.as_primitive::<Float64Type>();
                let valid =
                    |rows: &Vec<usize>| rows.iter().copied().filter(|r| values.is_valid(*r)).collect::<Vec<_>>();
                let sum = |rows: Vec<usize>| (!rows.is_empty()).then(|| rows.iter().map(|r| values.value(*r)).sum());
                return Arc::new(groups.iter().map(valid).map(sum).collect::<Float64Array>());
            }
            let values = cast(&values, &DataType::Int64).unwrap();
            let values = values.as_primitive::<Int64Type>();
            let valid = |rows: &Vec<usize>| rows.iter().copied().filter(|r| values.is_valid(*r)).collect::<Vec<_>>();
            let sum = |rows: Vec<usize>| (!rows.is_empty()).then(|| rows.iter().map(|r| values.value(*r)).sum());
            Arc::new(groups.iter().map(valid).map(sum).collect::<Int64Array>())
        }
        Measure::Min(name) | Measure::Max(name) => {
            let values = column(name);
            let order = |a: &usize, b: &usize| match values.data_type() {
                DataType::Utf8View => values.as_string_view().value(*a).cmp(values.as_string_view().value(*b)),
                DataType::Float64 => {
                    let values = values.as_primitive::<Float64Type>();
                    values.value(*a).total_cmp(&values.value(*b))
                }
                _ => {
                    let values = cast(&values, &DataType::Int64).unwrap();
                    values.as_primitive::<Int64Type>().value(*a).cmp(&values.as_primitive::<Int64Type>().value(*b))
                }
            };
            let null = arrow_array::new_null_array(values.data_type(), 1);
            let places = groups.iter().map(|rows| {
                let valid = rows.iter().copied().filter(|row| values.is_valid(*row));
                let found = if matches!(measure, Measure::Min(_)) { valid.min_by(order) } else { valid.max_by(order) };
                found.map_or((1, 0), |row| (0, row))
            });
            let places: Vec<(usize, usize)> = places.collect();
            match places.is_empty() {
                true => values.slice(0, 0),
                false => interleave(&[values.as_ref(), null.as_ref()], &places).unwrap(),
            }
        }
    }
}

impl fmt::Debug for DatabaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseStore")
    }
}

impl fmt::Display for DatabaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a database of the tests")
    }
}

#[async_trait]
impl Sink for DatabaseStore {
    async fn write(&self, _: Batch) -> Result<Receipt, WriteError> {
        Err(WriteError::Closed)
    }
}

#[async_trait]
impl Store for DatabaseStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { words: true, attributes: true }
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(self.clone())
    }

    async fn expire(&self, _: Signal, _: TimestampNs) -> Result<u64, Error> {
        Ok(0)
    }

    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }

    fn subscribe(&self) -> broadcast::Receiver<Committed> {
        broadcast::channel(1).1
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }

    async fn close(&self) -> Result<Drained, Error> {
        Ok(Drained::default())
    }
}
