//! The columns that the graph is made of, from rows as they are committed (stored form) or as SQL answers them.
//!
//! Both give the same arrays, so that what is read back after a restart is read as what comes in. Of a stored batch, attributes
//! beyond its typed columns are looked into only where they can be scalars: a batch of few columns has its lists and maps there.

use arrow_array::{
    Array, ArrayRef, Int64Array, ListArray, RecordBatch, StringViewArray, TimestampNanosecondArray,
    cast::AsArray,
    types::{Int64Type, TimestampNanosecondType},
};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, TimeUnit};
use devmesh_schema::{Signal, limits, stored, view};

/// Attributes of spans and logs that the graph reads: current names and those that are still sent (semantic conventions).
pub(crate) const ATTRIBUTES: [&str; 35] = [
    "http.request.method",
    "http.method",
    "http.route",
    "http.response.status_code",
    "http.status_code",
    "rpc.system.name",
    "rpc.system",
    "rpc.service",
    "rpc.method",
    "rpc.status_code",
    "rpc.grpc.status_code",
    "rpc.response.status_code",
    "db.system.name",
    "db.system",
    "db.namespace",
    "db.name",
    "db.collection.name",
    "db.sql.table",
    "db.operation.name",
    "db.operation",
    "messaging.system",
    "messaging.destination.name",
    "messaging.destination",
    "messaging.operation.type",
    "messaging.operation",
    "service.peer.name",
    "peer.service",
    "server.address",
    "server.port",
    "net.peer.name",
    "net.peer.port",
    "error.type",
    "exception.type",
    "exception.message",
    "exception.stacktrace",
];

/// Attributes of resources that the graph reads.
pub(crate) const RESOURCE: [&str; 18] = [
    "service.namespace",
    "service.version",
    "deployment.environment.name",
    "deployment.environment",
    "telemetry.sdk.language",
    "host.id",
    "host.name",
    "os.type",
    "container.id",
    "container.name",
    "k8s.container.name",
    "k8s.pod.uid",
    "k8s.pod.name",
    "k8s.namespace.name",
    "k8s.node.uid",
    "k8s.node.name",
    "k8s.cluster.name",
    "k8s.deployment.name",
];

/// The pattern of a log, in answers.
const PATTERN: &str = "pattern_id";

/// Rows of one signal.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// As they are committed.
    Stored(Signal, &'a RecordBatch),
    /// As a statement of [`statements`](crate::statements) is answered.
    Answered(&'a RecordBatch),
}

impl Rows<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Rows::Stored(_, rows) | Rows::Answered(rows) => rows.num_rows(),
        }
    }

    fn column(&self, name: &str) -> Result<Option<ArrayRef>, ArrowError> {
        match self {
            Rows::Stored(signal, rows) => view::derive(*signal, name, rows).map(Some),
            Rows::Answered(rows) => Ok(rows.column_by_name(name).cloned()),
        }
    }

    /// A column of text; `None` where all of it is NULL.
    pub(crate) fn text(&self, name: &str) -> Result<Option<StringViewArray>, ArrowError> {
        self.column(name)?.map_or(Ok(None), |array| texts(&array))
    }

    pub(crate) fn times(&self) -> Result<TimestampNanosecondArray, ArrowError> {
        let array = self.column(stored::TIME)?.ok_or_else(|| missing(stored::TIME))?;
        let array = cast(&array, &DataType::Timestamp(TimeUnit::Nanosecond, None))?;
        Ok(array.as_primitive::<TimestampNanosecondType>().clone())
    }

    pub(crate) fn durations(&self) -> Result<Int64Array, ArrowError> {
        let array = self.column(stored::DURATION_NS)?.ok_or_else(|| missing(stored::DURATION_NS))?;
        Ok(cast(&array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
    }

    /// The attributes of [`ATTRIBUTES`], in their order.
    pub(crate) fn attributes(&self) -> Result<Vec<Option<StringViewArray>>, ArrowError> {
        let rows = match self {
            Rows::Stored(_, rows) => rows,
            Rows::Answered(rows) => {
                let of = |index| rows.column_by_name(&format!("a{index}")).map_or(Ok(None), texts);
                return (0..ATTRIBUTES.len()).map(of).collect();
            }
        };
        let lean = without_rest(rows)?;
        let rows = lean.as_ref().unwrap_or(rows);
        let has_rest = rows.column_by_name(stored::REST).is_some();
        let of = |key: &str| {
            let mut columns = stored::Tag::COLUMNS.iter().map(|tag| stored::attribute_column(*tag, key));
            let known = has_rest || columns.any(|column| rows.column_by_name(&column).is_some());
            if known { texts(&view::attribute_text(key, rows)?) } else { Ok(None) }
        };
        ATTRIBUTES.into_iter().map(of).collect()
    }

    /// The resource attributes of [`RESOURCE`], in their order.
    pub(crate) fn resource(&self) -> Result<Vec<Option<StringViewArray>>, ArrowError> {
        match self {
            Rows::Stored(_, rows) => {
                let of = |key| texts(&view::envelope_attribute_text(rows, stored::RESOURCE, key)?);
                RESOURCE.into_iter().map(of).collect()
            }
            Rows::Answered(rows) => {
                let of = |index| rows.column_by_name(&format!("r{index}")).map_or(Ok(None), texts);
                (0..RESOURCE.len()).map(of).collect()
            }
        }
    }

    /// `events` or `links` of spans; `None` where no row has any.
    pub(crate) fn children(&self, name: &str) -> Result<Option<ListArray>, ArrowError> {
        if let Rows::Stored(_, rows) = self
            && rows.column_by_name(name).is_none_or(|array| array.null_count() == array.len())
        {
            return Ok(None);
        }
        Ok(self.column(name)?.and_then(|array| array.as_list_opt::<i32>().cloned()))
    }

    /// The texts of log templates, in answers the ids of their patterns, and which each row has: `None` where nobody looked for any.
    pub(crate) fn templates(&self) -> Result<Option<Templates>, ArrowError> {
        match self {
            Rows::Stored(Signal::Logs, rows) if rows.column_by_name(stored::TEMPLATE).is_some() => {
                view::distinct(rows, stored::TEMPLATE).map(Some)
            }
            Rows::Answered(rows) if rows.column_by_name(PATTERN).is_some() => view::distinct(rows, PATTERN).map(Some),
            _ => Ok(None),
        }
    }
}

/// Each text once, and the place of a row's own among them.
pub(crate) type Templates = (Vec<Option<String>>, arrow_array::UInt32Array);

/// The rows without what has no column, where that can be no scalar.
fn without_rest(rows: &RecordBatch) -> Result<Option<RecordBatch>, ArrowError> {
    let schema = rows.schema_ref();
    let columns = schema.fields().iter().filter(|field| stored::parse_attribute_column(field.name()).is_some()).count();
    let shapes = rows.column_by_name(stored::SHAPE).and_then(|array| array.as_any_dictionary_opt());
    let full =
        columns >= limits::ATTRIBUTE_COLUMNS || shapes.is_none_or(|shapes| shapes.values().len() >= stored::SHAPES);
    if full || schema.index_of(stored::REST).is_err() {
        return Ok(None);
    }
    let kept: Vec<usize> = (0..schema.fields().len()).filter(|at| schema.field(*at).name() != stored::REST).collect();
    rows.project(&kept).map(Some)
}

fn missing(name: &str) -> ArrowError {
    ArrowError::SchemaError(format!("there is no column {name}"))
}

fn texts(array: &ArrayRef) -> Result<Option<StringViewArray>, ArrowError> {
    if array.null_count() == array.len() {
        return Ok(None);
    }
    match array.as_string_view_opt() {
        Some(texts) => Ok(Some(texts.clone())),
        None => Ok(Some(cast(array, &DataType::Utf8View)?.as_string_view().clone())),
    }
}

/// What a row says in a column that may be absent; empty text says nothing.
pub(crate) fn at(column: Option<&StringViewArray>, row: usize) -> Option<&str> {
    let column = column.filter(|column| column.is_valid(row))?;
    Some(column.value(row)).filter(|text| !text.is_empty())
}

/// Where names stand in a list; a name that does not is an error of the compiler.
pub(crate) const fn places<const N: usize>(list: &[&str], names: [&str; N]) -> [usize; N] {
    let mut found = [0; N];
    let mut at = 0;
    while at < N {
        let mut place = 0;
        while !same(list[place].as_bytes(), names[at].as_bytes()) {
            place += 1;
        }
        found[at] = place;
        at += 1;
    }
    found
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// The attributes of a batch's records or resources.
#[derive(Debug)]
pub(crate) struct Attributes(Vec<Option<StringViewArray>>);

impl Attributes {
    /// [`ATTRIBUTES`].
    pub(crate) fn of_records(rows: &Rows<'_>) -> Result<Self, ArrowError> {
        rows.attributes().map(Self)
    }

    /// [`RESOURCE`].
    pub(crate) fn of_resources(rows: &Rows<'_>) -> Result<Self, ArrowError> {
        rows.resource().map(Self)
    }

    /// The first of the attributes in these places that the row has.
    pub(crate) fn first(&self, row: usize, places: &[usize]) -> Option<&str> {
        places.iter().find_map(|place| at(self.0.get(*place)?.as_ref(), row))
    }

    /// Whether two rows say the same in all of them.
    pub(crate) fn same(&self, a: usize, b: usize) -> bool {
        self.0.iter().flatten().all(|column| match (column.is_valid(a), column.is_valid(b)) {
            (true, true) => column.value(a) == column.value(b),
            (a, b) => a == b,
        })
    }
}
