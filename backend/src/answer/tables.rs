//! Which tables and views there are, with their columns: for the SQL page's completions and `\d` in psql.

use arrow_schema::DataType;
use devmesh_query::{Engine, Error, SqlOptions};
use devmesh_schema::{Signal, tables};

/// A table or view.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Its name in SQL.
    pub(crate) name: String,
    /// What it holds.
    pub(crate) doc: String,
    /// Whether it is a view.
    pub(crate) view: bool,
    /// Its columns, in order.
    pub(crate) columns: Vec<Column>,
}

/// A column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// Its name in SQL.
    pub(crate) name: String,
    /// Its type.
    pub(crate) data_type: DataType,
    /// Whether it may be NULL.
    pub(crate) nullable: bool,
    /// What it holds; empty for columns of views, which go by the names of the systems they imitate.
    pub(crate) doc: String,
}

/// All tables and views, the three tables first.
///
/// # Errors
/// The engine cannot plan one of its own views.
pub(crate) async fn all(engine: &Engine) -> Result<Vec<Table>, Error> {
    let mut all: Vec<Table> = Signal::ALL.iter().map(|signal| base(*signal)).collect();
    for name in engine.tables() {
        if all.iter().any(|table| table.name == *name) {
            continue;
        }
        let sql = format!("SELECT * FROM {name} LIMIT 0");
        let answer = engine.sql(&sql, SqlOptions { limit: Some(0), timeout: None }).await?;
        let column = |field: &std::sync::Arc<arrow_schema::Field>| Column {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
            doc: String::new(),
        };
        let columns = answer.schema.fields().iter().map(column).collect();
        all.push(Table { name: name.clone(), doc: view_doc(name).to_owned(), view: true, columns });
    }
    Ok(all)
}

fn base(signal: Signal) -> Table {
    let doc = match signal {
        Signal::Logs => "Log records, whatever door they came by.",
        Signal::Traces => "Spans.",
        Signal::Metrics => "Metric data points, one a row.",
    };
    let columns = tables::columns(signal).iter().map(|column| Column {
        name: column.name.to_owned(),
        data_type: column.data_type.clone(),
        nullable: column.nullable,
        doc: column.doc.to_owned(),
    });
    Table { name: signal.table().to_owned(), doc: doc.to_owned(), view: false, columns: columns.collect() }
}

fn view_doc(name: &str) -> &'static str {
    match name {
        "log_events" => "logs, flat: message and one JSON of all else.",
        "metric_events" => "metrics, flat: one value and one JSON of labels.",
        "log_embeddings" => "The vector of each pattern of logs, as the embedding model sees it.",
        "alerts" => "What rules found, each once from its beginning to its end.",
        "incidents" => "What was abnormal, from its opening to its end, and what people opened.",
        "traces_unified_view" => "Spans of both ingestion paths.",
        "ai_traces_direct" => "Spans of the direct path, flat.",
        "services" => "Calls, errors and latencies of each service, from its spans.",
        "service_edges" => "Who calls whom, with errors and latencies.",
        name if name.starts_with("otel_") => "As the OpenTelemetry Collector's ClickHouse exporter names it.",
        _ => "",
    }
}
