//! The graph in SQL: `graph_nodes([type])`, `graph_edges()`, `graph_neighbors(id [, depth])` and `graph_path(from, to)`.
//!
//! Whoever keeps the graph is handed in ([`Engine::with_graph`](crate::Engine::with_graph)). A call is asked when its plan is
//! made to run; an engine without a graph says so.

use std::{
    fmt,
    sync::{Arc, LazyLock, OnceLock},
};

use arrow_array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampNanosecondArray, UInt64Array,
    builder::{MapBuilder, MapFieldNames, StringBuilder},
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableFunction, TableFunctionArgs, TableFunctionImpl},
    common::{Result, ScalarValue},
    datasource::{TableProvider, TableType, memory::MemorySourceConfig},
    error::DataFusionError,
    logical_expr::Expr,
    physical_plan::ExecutionPlan,
};
use devmesh_schema::{TimestampNs, limits, tables};

use crate::error::Error;

/// A node or an edge.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The id of a node.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The ends of an edge.
    pub ends: (String, String),
    /// What it is or says.
    pub kind: &'static str,
    /// How far from the first node, in edges.
    pub distance: u64,
    /// When it was first and last seen.
    pub seen: (TimestampNs, TimestampNs),
    /// How often.
    pub count: u64,
    /// Of that, failed.
    pub errors: u64,
    /// How long it takes.
    pub mean_ms: Option<f64>,
    /// What else is known.
    pub properties: Vec<(String, String)>,
}

/// What is asked of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The nodes, of one type or of all.
    Nodes(Option<String>),
    /// The edges.
    Edges,
    /// A node and what is so many edges away at most.
    Neighbours(String, usize),
    /// The nodes of a shortest path.
    Path(String, String),
}

/// Keeps a graph.
#[async_trait]
pub trait Graph: fmt::Debug + Send + Sync {
    /// The rows of an answer, in order.
    ///
    /// # Errors
    /// [`Error::BadQuery`] where there is no such type or node; the graph cannot be asked.
    async fn ask(&self, asked: &Asked) -> Result<Vec<Row>, Error>;
}

/// What an engine was handed, if it was.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot(Arc<OnceLock<Arc<dyn Graph>>>);

impl Slot {
    /// Hands it over; the first counts.
    pub(crate) fn set(&self, graph: Arc<dyn Graph>) {
        self.0.get_or_init(|| graph);
    }
}

/// One of the functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Nodes,
    Edges,
    Neighbours,
    Path,
}

impl Name {
    const ALL: [Self; 4] = [Self::Nodes, Self::Edges, Self::Neighbours, Self::Path];

    fn name(self) -> &'static str {
        match self {
            Self::Nodes => "graph_nodes",
            Self::Edges => "graph_edges",
            Self::Neighbours => "graph_neighbors",
            Self::Path => "graph_path",
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::Nodes => "graph_nodes() or graph_nodes('Service')",
            Self::Edges => "graph_edges()",
            Self::Neighbours => "graph_neighbors('service:cart') or graph_neighbors('service:cart', depth)",
            Self::Path => "graph_path('service:frontend', 'service:cart')",
        }
    }

    fn asked(self, args: &[Expr]) -> Result<Asked> {
        let wrong = || DataFusionError::Plan(format!("{} is called as {}", self.name(), self.usage()));
        match (self, args) {
            (Self::Nodes, []) => Ok(Asked::Nodes(None)),
            (Self::Nodes, [kind]) => Ok(Asked::Nodes(Some(text(kind).ok_or_else(wrong)?))),
            (Self::Edges, []) => Ok(Asked::Edges),
            (Self::Neighbours, [id, depth @ ..]) if depth.len() < 2 => {
                let depth = depth.first().map_or(Some(1), number).ok_or_else(wrong)?;
                if !(1..=limits::GRAPH_DEPTH).contains(&depth) {
                    let text =
                        format!("depth of {} is {depth}; it lies between 1 and {}", self.name(), limits::GRAPH_DEPTH);
                    return Err(DataFusionError::Plan(text));
                }
                Ok(Asked::Neighbours(text(id).ok_or_else(wrong)?, depth))
            }
            (Self::Path, [from, to]) => {
                text(from).zip(text(to)).map(|(from, to)| Asked::Path(from, to)).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }
}

fn text(expr: &Expr) -> Option<String> {
    let Expr::Literal(value, _) = expr else { return None };
    value.try_as_str().flatten().map(str::to_owned)
}

fn number(expr: &Expr) -> Option<usize> {
    let Expr::Literal(value, _) = expr else { return None };
    match value.cast_to(&DataType::Int64).ok()? {
        ScalarValue::Int64(Some(number)) if value.data_type().is_integer() => {
            Some(usize::try_from(number).unwrap_or(0))
        }
        _ => None,
    }
}

/// The table functions. A name is looked up as it is written, in lower or upper case.
pub(crate) fn functions(slot: &Slot) -> Vec<Arc<TableFunction>> {
    let functions = Name::ALL.into_iter().flat_map(|name| {
        let function = Arc::new(Function { name, slot: slot.clone() });
        [name.name().to_owned(), name.name().to_uppercase()].map(|name| TableFunction::new(name, function.clone()))
    });
    functions.map(Arc::new).collect()
}

#[derive(Debug)]
struct Function {
    name: Name,
    slot: Slot,
}

impl TableFunctionImpl for Function {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let asked = self.name.asked(args.exprs())?;
        let none = || Error::Unavailable("there is no graph: graph.enabled is false".into());
        let graph = self.slot.0.get().ok_or_else(|| DataFusionError::External(Box::new(none())))?;
        Ok(Arc::new(Answer { name: self.name, asked, graph: Arc::clone(graph) }))
    }
}

/// The table of one call.
#[derive(Debug)]
struct Answer {
    name: Name,
    asked: Asked,
    graph: Arc<dyn Graph>,
}

#[async_trait]
impl TableProvider for Answer {
    fn schema(&self) -> SchemaRef {
        match self.name {
            Name::Nodes => Arc::clone(&NODES),
            Name::Edges => Arc::clone(&EDGES),
            Name::Neighbours => Arc::clone(&NEIGHBOURS),
            Name::Path => Arc::clone(&PATH),
        }
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.graph.ask(&self.asked).await.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let columns = self.schema().fields().iter().map(|field| column(field.name(), &rows)).collect::<Result<_>>()?;
        let rows = RecordBatch::try_new(self.schema(), columns)?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![rows]], self.schema(), projection.cloned())?)
    }
}

static NODES: LazyLock<SchemaRef> = LazyLock::new(|| schema(&["id", "type", "name"]));
static EDGES: LazyLock<SchemaRef> = LazyLock::new(|| schema(&["from_id", "to_id", "type"]));
static NEIGHBOURS: LazyLock<SchemaRef> = LazyLock::new(|| schema(&["distance", "id", "type", "name"]));
static PATH: LazyLock<SchemaRef> = LazyLock::new(|| schema(&["step", "id", "type", "name"]));

fn schema(first: &[&str]) -> SchemaRef {
    let rest = ["first_seen", "last_seen", "count", "errors", "mean_ms", "properties"];
    let field = |name: &&str| {
        let kind = match *name {
            "first_seen" | "last_seen" => tables::timestamp(),
            "count" | "errors" => DataType::UInt64,
            "distance" | "step" => DataType::Int64,
            "mean_ms" => DataType::Float64,
            "properties" => tables::attributes(),
            _ => DataType::Utf8View,
        };
        Field::new(*name, kind, *name == "mean_ms")
    };
    Arc::new(Schema::new(first.iter().chain(&rest).map(field).collect::<Vec<_>>()))
}

fn column(name: &str, rows: &[Row]) -> Result<ArrayRef> {
    let texts = |of: fn(&Row) -> &str| -> ArrayRef { Arc::new(StringViewArray::from_iter_values(rows.iter().map(of))) };
    let times = |of: fn(&Row) -> TimestampNs| -> ArrayRef {
        Arc::new(TimestampNanosecondArray::from_iter_values(rows.iter().map(of)).with_timezone("UTC"))
    };
    let counts = |of: fn(&Row) -> u64| -> ArrayRef { Arc::new(UInt64Array::from_iter_values(rows.iter().map(of))) };
    Ok(match name {
        "id" => texts(|row| &row.id),
        "name" => texts(|row| &row.name),
        "type" => texts(|row| row.kind),
        "from_id" => texts(|row| &row.ends.0),
        "to_id" => texts(|row| &row.ends.1),
        "first_seen" => times(|row| row.seen.0),
        "last_seen" => times(|row| row.seen.1),
        "count" => counts(|row| row.count),
        "errors" => counts(|row| row.errors),
        "mean_ms" => Arc::new(rows.iter().map(|row| row.mean_ms).collect::<Float64Array>()),
        "properties" => properties(rows)?,
        _ => Arc::new(rows.iter().map(|row| Some(row.distance.cast_signed())).collect::<Int64Array>()),
    })
}

fn properties(rows: &[Row]) -> Result<ArrayRef> {
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (key, value) in &row.properties {
            maps.keys().append_value(key);
            maps.values().append_value(value);
        }
        maps.append(true)?;
    }
    Ok(Arc::new(maps.finish()))
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::lit;

    use super::*;

    #[test]
    fn calls_say_what_they_ask_and_wrong_ones_how_it_is_done() {
        assert_eq!(Name::Nodes.asked(&[]).unwrap(), Asked::Nodes(None));
        assert_eq!(Name::Nodes.asked(&[lit("Error")]).unwrap(), Asked::Nodes(Some("Error".into())));
        assert_eq!(Name::Neighbours.asked(&[lit("a")]).unwrap(), Asked::Neighbours("a".into(), 1));
        assert_eq!(Name::Neighbours.asked(&[lit("a"), lit(3_i64)]).unwrap(), Asked::Neighbours("a".into(), 3));
        assert_eq!(Name::Path.asked(&[lit("a"), lit("b")]).unwrap(), Asked::Path("a".into(), "b".into()));
        for (name, args) in [
            (Name::Nodes, vec![lit(1_i64)]),
            (Name::Edges, vec![lit("a")]),
            (Name::Neighbours, vec![]),
            (Name::Neighbours, vec![lit("a"), lit(0_i64)]),
            (Name::Neighbours, vec![lit("a"), lit(11_i64)]),
            (Name::Neighbours, vec![lit("a"), lit("b")]),
            (Name::Neighbours, vec![lit("a"), lit(1_i64), lit(1_i64)]),
            (Name::Path, vec![lit("a")]),
        ] {
            let error = name.asked(&args).unwrap_err().to_string();
            assert!(error.contains(name.name()), "{args:?}: {error}");
        }
    }

    #[test]
    fn rows_fit_the_tables_of_all_functions() {
        let row = Row {
            id: "service:a".into(),
            kind: "Service",
            distance: 2,
            properties: vec![("type".into(), "service".into())],
            ..Row::default()
        };
        for schema in [&NODES, &EDGES, &NEIGHBOURS, &PATH] {
            let columns =
                schema.fields().iter().map(|field| column(field.name(), std::slice::from_ref(&row)).unwrap()).collect();
            assert_eq!(RecordBatch::try_new(Arc::clone(schema), columns).unwrap().num_rows(), 1);
        }
    }
}
