//! The table `incidents`: what the server found abnormal, and what people opened. Whoever keeps them is handed in
//! ([`Engine::with_incidents`](crate::Engine::with_incidents)); an engine without has no rows.

use std::{
    fmt,
    sync::{Arc, LazyLock, OnceLock},
};

use arrow_array::{
    ArrayRef, Float64Array, ListArray, RecordBatch, StringViewArray, StructArray, TimestampNanosecondArray,
    builder::{ListBuilder, StringViewBuilder},
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::{
    catalog::Session,
    common::Result,
    datasource::{TableProvider, TableType, memory::MemorySourceConfig},
    logical_expr::Expr,
    physical_plan::ExecutionPlan,
};
use devmesh_schema::TimestampNs;

/// Its name in SQL.
pub(crate) const NAME: &str = "incidents";

/// A signal that was abnormal.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// Whose.
    pub service: String,
    /// Which, in words.
    pub signal: String,
    /// 0.5 to 1.
    pub score: f64,
    /// What it was at its worst.
    pub value: f64,
    /// What was expected.
    pub expected: f64,
    /// When it was first abnormal.
    pub first: TimestampNs,
    /// When last.
    pub last: TimestampNs,
    /// The statement that shows it.
    pub sql: String,
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Its id.
    pub id: String,
    /// When it began.
    pub opened: TimestampNs,
    /// When it ended.
    pub closed: Option<TimestampNs>,
    /// `open` or `closed`.
    pub state: &'static str,
    /// `minor`, `major` or `critical`.
    pub severity: &'static str,
    /// Who is concerned.
    pub services: Vec<String>,
    /// One line.
    pub title: String,
    /// The signals, worst first.
    pub what: Vec<Signal>,
}

/// Keeps incidents.
pub trait Incidents: fmt::Debug + Send + Sync {
    /// All that are kept, newest first; they are some thousand at most.
    fn all(&self) -> Vec<Incident>;
}

/// What an engine was handed, if it was.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot(Arc<OnceLock<Arc<dyn Incidents>>>);

impl Slot {
    /// Hands it over; the first counts.
    pub(crate) fn set(&self, incidents: Arc<dyn Incidents>) {
        self.0.get_or_init(|| incidents);
    }
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

static SIGNAL: LazyLock<Fields> = LazyLock::new(|| {
    let field = |name: &str, kind| Field::new(name, kind, false);
    Fields::from(vec![
        field("service", DataType::Utf8View),
        field("signal", DataType::Utf8View),
        field("score", DataType::Float64),
        field("value", DataType::Float64),
        field("expected", DataType::Float64),
        field("first", time()),
        field("last", time()),
        field("sql", DataType::Utf8View),
    ])
});

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |name: &str, kind| Field::new(name, kind, false);
    let list = |item| DataType::List(Arc::new(Field::new_list_field(item, false)));
    Arc::new(Schema::new(vec![
        field("id", DataType::Utf8View),
        field("opened", time()),
        Field::new("closed", time(), true),
        field("state", DataType::Utf8View),
        field("severity", DataType::Utf8View),
        field("services", list(DataType::Utf8View)),
        field("title", DataType::Utf8View),
        field("what", list(DataType::Struct(SIGNAL.clone()))),
    ]))
});

/// The table.
#[derive(Debug)]
pub(crate) struct Table(pub(crate) Slot);

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = self.0.0.get().map(|incidents| incidents.all()).unwrap_or_default();
        Ok(MemorySourceConfig::try_new_exec(&[vec![rows(&all)?]], self.schema(), projection.cloned())?)
    }
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringViewArray::from_iter_values(texts))
}

fn times(times: impl Iterator<Item = Option<TimestampNs>>) -> ArrayRef {
    Arc::new(times.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
}

fn rows(all: &[Incident]) -> Result<RecordBatch> {
    let item = Arc::new(Field::new_list_field(DataType::Utf8View, false));
    let mut services = ListBuilder::new(StringViewBuilder::new()).with_field(item);
    for incident in all {
        incident.services.iter().for_each(|service| services.values().append_value(service));
        services.append(true);
    }
    let signals: Vec<&Signal> = all.iter().flat_map(|incident| &incident.what).collect();
    let columns: Vec<ArrayRef> = vec![
        texts(signals.iter().map(|signal| signal.service.as_str())),
        texts(signals.iter().map(|signal| signal.signal.as_str())),
        Arc::new(Float64Array::from_iter_values(signals.iter().map(|signal| signal.score))),
        Arc::new(Float64Array::from_iter_values(signals.iter().map(|signal| signal.value))),
        Arc::new(Float64Array::from_iter_values(signals.iter().map(|signal| signal.expected))),
        times(signals.iter().map(|signal| Some(signal.first))),
        times(signals.iter().map(|signal| Some(signal.last))),
        texts(signals.iter().map(|signal| signal.sql.as_str())),
    ];
    let item = Arc::new(Field::new_list_field(DataType::Struct(SIGNAL.clone()), false));
    let offsets = OffsetBuffer::from_lengths(all.iter().map(|incident| incident.what.len()));
    let what = ListArray::try_new(item, offsets, Arc::new(StructArray::try_new(SIGNAL.clone(), columns, None)?), None)?;
    let columns: Vec<ArrayRef> = vec![
        texts(all.iter().map(|incident| incident.id.as_str())),
        times(all.iter().map(|incident| Some(incident.opened))),
        times(all.iter().map(|incident| incident.closed)),
        texts(all.iter().map(|incident| incident.state)),
        texts(all.iter().map(|incident| incident.severity)),
        Arc::new(services.finish()),
        texts(all.iter().map(|incident| incident.title.as_str())),
        Arc::new(what),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
}
