//! The table `alerts`: what rules found, from its beginning to its end. Whoever keeps them is handed in
//! ([`Engine::with_alerts`](crate::Engine::with_alerts)); an engine without has no rows.

use std::{
    fmt,
    sync::{Arc, LazyLock, OnceLock},
};

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringViewArray, TimestampNanosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
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
pub(crate) const NAME: &str = "alerts";

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The same from its beginning to its end.
    pub id: String,
    /// The name that it has.
    pub name: String,
    /// The rule that found it.
    pub rule: String,
    /// The rule's group.
    pub group: String,
    /// `pending`, `firing` or `resolved`.
    pub state: &'static str,
    /// The label `severity`.
    pub severity: String,
    /// Which service is concerned, where a label says it.
    pub service: String,
    /// Which host is concerned, where a label says it.
    pub host: String,
    /// The label `server_id`.
    pub server_id: String,
    /// The annotation `summary`.
    pub summary: String,
    /// The value when it was last found.
    pub value: f64,
    /// When it was first found.
    pub active_at: TimestampNs,
    /// Since when it fires.
    pub fired_at: Option<TimestampNs>,
    /// When it was over.
    pub resolved_at: Option<TimestampNs>,
    /// All labels, as JSON.
    pub labels_json: String,
    /// All annotations, as JSON.
    pub annotations_json: String,
}

/// Keeps alerts.
pub trait Alerts: fmt::Debug + Send + Sync {
    /// All that are kept, newest first; they are some ten thousand at most.
    fn all(&self) -> Vec<Alert>;
}

/// What an engine was handed, if it was.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot(Arc<OnceLock<Arc<dyn Alerts>>>);

impl Slot {
    /// Hands it over; the first counts.
    pub(crate) fn set(&self, alerts: Arc<dyn Alerts>) {
        self.0.get_or_init(|| alerts);
    }
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let time = || DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let text = |name: &str| Field::new(name, DataType::Utf8View, false);
    Arc::new(Schema::new(vec![
        text("id"),
        text("name"),
        text("rule"),
        text("rule_group"),
        text("state"),
        text("severity"),
        text("service"),
        text("host"),
        text("server_id"),
        text("summary"),
        Field::new("value", DataType::Float64, false),
        Field::new("active_at", time(), false),
        Field::new("fired_at", time(), true),
        Field::new("resolved_at", time(), true),
        text("labels_json"),
        text("annotations_json"),
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
        let all = self.0.0.get().map(|alerts| alerts.all()).unwrap_or_default();
        Ok(MemorySourceConfig::try_new_exec(&[vec![rows(&all)?]], self.schema(), projection.cloned())?)
    }
}

fn rows(all: &[Alert]) -> Result<RecordBatch> {
    let texts =
        |of: fn(&Alert) -> &str| -> ArrayRef { Arc::new(StringViewArray::from_iter_values(all.iter().map(of))) };
    let times = |of: fn(&Alert) -> Option<TimestampNs>| -> ArrayRef {
        Arc::new(all.iter().map(of).collect::<TimestampNanosecondArray>().with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        texts(|alert| &alert.id),
        texts(|alert| &alert.name),
        texts(|alert| &alert.rule),
        texts(|alert| &alert.group),
        texts(|alert| alert.state),
        texts(|alert| &alert.severity),
        texts(|alert| &alert.service),
        texts(|alert| &alert.host),
        texts(|alert| &alert.server_id),
        texts(|alert| &alert.summary),
        Arc::new(Float64Array::from_iter_values(all.iter().map(|alert| alert.value))),
        times(|alert| Some(alert.active_at)),
        times(|alert| alert.fired_at),
        times(|alert| alert.resolved_at),
        texts(|alert| &alert.labels_json),
        texts(|alert| &alert.annotations_json),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
}
