//! The stored form of the rows: what the in-memory table and the Parquet files hold. Lossless for OTLP.
//!
//! A stored batch has the columns below by name, those that it needs and no others; order means nothing. What a batch
//! lacks is NULL in every row. Low-cardinality columns are `Dictionary(Int32, …)` in memory and plain in Parquet.
//!
//! # Envelopes
//! What many records share is stored once a batch, as a dictionary of canonical protobuf bytes:
//! - [`RESOURCE`]: the `ResourceLogs`/`ResourceSpans`/`ResourceMetrics` message without its scopes (fields 1 and 3);
//! - [`SCOPE`]: the `ScopeLogs`/`ScopeSpans`/`ScopeMetrics` message without its records (fields 1 and 3);
//! - [`METRIC`]: the `Metric` message without its data points (name, description, unit, metadata, and the kind's own
//!   message with temporality and monotonicity).
//!
//! # Attributes
//! A record's attributes are cut into typed columns without anybody declaring a schema. The column of key `K` is named
//! `attributes.T:K`, where `T` is the [`Tag`] of its type; one key may have columns of several types. A value that has
//! no column (list, map, bytes, or a key beyond [`limits::ATTRIBUTE_COLUMNS`](crate::limits::ATTRIBUTE_COLUMNS)) stands
//! in [`REST`]: the `KeyValue` messages one after the other, each with its length before it (a varint).
//!
//! The column [`SHAPE`] says which attributes a record has, and in what order, so that it can be written out as it came.
//! It is a dictionary of few values: one entry an attribute, `tag` (1 byte), and for a tag other than `r` the key's
//! length (varint) and the key. Tag [`Tag::Rest`] takes the next message from [`REST`]; [`Tag::Empty`] is an attribute
//! whose value is not set. A batch with more than [`SHAPES`] shapes stores the further records wholly in [`REST`]:
//! their shape is a run of `r`.

use arrow_schema::{DataType, Field};

/// Shapes a batch has at most before records go to [`REST`] as a whole.
pub const SHAPES: usize = 4096;

/// `Timestamp(ns, UTC)`, never NULL: time of the record, as `tables` says. Spans: the start.
pub const TIME: &str = "time";
/// `UInt64`: the time on the wire, where [`TIME`] is another (0, or too far in the future).
pub const WIRE_TIME: &str = "wire_time";
/// `Timestamp(ns, UTC)`; logs. NULL for 0.
pub const OBSERVED_TIME: &str = "observed_time";
/// `Timestamp(ns, UTC)`; metrics. NULL for 0.
pub const START_TIME: &str = "start_time";
/// `Int64`, never NULL; spans: end less start, 0 where negative. The end is not stored beside it.
pub const DURATION_NS: &str = "duration_ns";
/// `UInt64`; spans: the end on the wire, where it is not start + duration on the wire.
pub const WIRE_END_TIME: &str = "wire_end_time";
/// `Dictionary(Int32, Utf8)`, never NULL.
pub const INGEST_PATH: &str = "ingest_path";
/// `Dictionary(Int32, Utf8)`, never NULL; logs and metrics. The resource attribute [`SOURCE_ATTRIBUTE`], else `otlp`.
pub const SOURCE: &str = "source";
/// The resource attribute that names the column `source` (journald, scrape, the direct path set it).
pub const SOURCE_ATTRIBUTE: &str = "devmesh.source";
/// `Dictionary(Int32, Utf8)`, never NULL: resource attribute `service.name`, else empty.
pub const SERVICE: &str = "service";
/// `Dictionary(Int32, Utf8)`, never NULL: resource attribute `host.name`, else `k8s.node.name`, else empty.
pub const HOST: &str = "host";
/// `Dictionary(Int32, Binary)`, never NULL.
pub const RESOURCE: &str = "resource";
/// `Dictionary(Int32, Binary)`, never NULL.
pub const SCOPE: &str = "scope";
/// `Dictionary(Int32, Binary)`, never NULL.
pub const SHAPE: &str = "attributes";
/// `Binary`, NULL where nothing is left.
pub const REST: &str = "attributes.rest";
/// Under this name a file says, in its key-value metadata, which keys stand in [`REST`]: a JSON list. A file that says
/// nothing may have any.
pub const REST_KEYS: &str = "devmesh.rest_keys";
/// `UInt32`, never NULL.
pub const DROPPED_ATTRIBUTES: &str = "dropped_attributes_count";
/// `UInt32`, never NULL: `trace_flags` of logs, `flags` of spans and data points.
pub const FLAGS: &str = "flags";

/// `Dictionary(Int32, Utf8)`, never NULL; logs.
pub const LEVEL: &str = "level";
/// `Int32`, never NULL; logs.
pub const SEVERITY_NUMBER: &str = "severity_number";
/// `Dictionary(Int32, Utf8)`; logs. NULL for empty.
pub const SEVERITY_TEXT: &str = "severity_text";
/// `Dictionary(Int32, Utf8)`; logs. NULL for empty.
pub const EVENT_NAME: &str = "event_name";
/// `Utf8`; logs: the body as text. NULL where it is absent or an empty `AnyValue`.
pub const BODY: &str = "body";
/// `Dictionary(Int32, Utf8)`; logs: the text of the body's template. NULL where the body is no string, and where nobody has
/// looked for a template.
pub const TEMPLATE: &str = "body.template";
/// `Binary`; logs, in files: the parameters of the body, which then is in [`BODY`] only where it is not of its template
/// ([`crate::body`]). Rows in memory have their bodies whole.
pub const PARAMS: &str = "body.params";
/// `FixedSizeBinary(16)`; logs, in files: the first parameter that is a UUID.
pub const UUIDS: &str = "body.uuid";
/// `Binary`; logs: the `AnyValue` message, where the body is no string. Zero bytes: an `AnyValue` with nothing set.
pub const BODY_VALUE: &str = "body_value";
/// `FixedSizeBinary(16)`, NULL for none.
pub const TRACE_ID: &str = "trace_id";
/// `FixedSizeBinary(8)`, NULL for none.
pub const SPAN_ID: &str = "span_id";

/// `FixedSizeBinary(8)`, NULL for none; spans.
pub const PARENT_SPAN_ID: &str = "parent_span_id";
/// `Utf8`; spans. NULL for empty.
pub const TRACE_STATE: &str = "trace_state";
/// `Dictionary(Int32, Utf8)`, never NULL; spans and metrics.
pub const NAME: &str = "name";
/// `Dictionary(Int32, Utf8)`, never NULL; spans (`SERVER`, …, a number for an unknown one) and metrics (`gauge`, …).
pub const KIND: &str = "kind";
/// `Dictionary(Int32, Utf8)`, never NULL; spans: `UNSET`, `OK`, `ERROR`, a number for an unknown one.
pub const STATUS_CODE: &str = "status_code";
/// `Utf8`; spans. NULL for empty.
pub const STATUS_MESSAGE: &str = "status_message";
/// `Boolean`, never NULL; spans: whether the message `Status` was there at all.
pub const HAS_STATUS: &str = "has_status";
/// `Binary`; spans: the `Event` messages, each with its length (a varint) before it. NULL for none.
pub const EVENTS: &str = "events";
/// `Binary`; spans: the `Link` messages, likewise.
pub const LINKS: &str = "links";
/// `UInt32`, never NULL; spans.
pub const DROPPED_EVENTS: &str = "dropped_events_count";
/// `UInt32`, never NULL; spans.
pub const DROPPED_LINKS: &str = "dropped_links_count";

/// `Dictionary(Int32, Binary)`, never NULL; metrics.
pub const METRIC: &str = "metric";
/// `Float64`; metrics: `as_double`.
pub const VALUE_DOUBLE: &str = "value_double";
/// `Int64`; metrics: `as_int`.
pub const VALUE_INT: &str = "value_int";
/// `Binary`; metrics: the `Exemplar` messages, each with its length (a varint) before it. NULL for none.
pub const EXEMPLARS: &str = "exemplars";
// `count`, `sum`, `min`, `max`, `buckets`, `bounds`, `scale`, `zero_count`, `zero_threshold`, `positive_offset`,
// `positive_buckets`, `negative_offset`, `negative_buckets` and `quantiles` are stored as `tables` shows them.
// An absent `positive`/`negative` message has a NULL offset.

/// The types an attribute column can have, each one letter in the column's name and in a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Tag {
    /// `Utf8`.
    Text = b's',
    /// `FixedSizeBinary(16)`: a string that is a UUID in its canonical form (lower case, 36 characters).
    Uuid = b'u',
    /// `Int64`.
    Int = b'i',
    /// `Float64`.
    Double = b'd',
    /// `Boolean`.
    Bool = b'b',
    /// No column: the value is not set. In shapes only.
    Empty = b'e',
    /// No column: the next message of [`REST`]. In shapes only.
    Rest = b'r',
}

impl Tag {
    /// The tags that have a column, in the order in which a reader looks for a key.
    pub const COLUMNS: [Tag; 5] = [Tag::Text, Tag::Uuid, Tag::Int, Tag::Double, Tag::Bool];

    /// The tag of a letter.
    pub fn from_byte(byte: u8) -> Option<Tag> {
        [Tag::Text, Tag::Uuid, Tag::Int, Tag::Double, Tag::Bool, Tag::Empty, Tag::Rest]
            .into_iter()
            .find(|tag| *tag as u8 == byte)
    }

    /// The type of the tag's columns; `None` where it has none.
    pub fn data_type(self) -> Option<DataType> {
        match self {
            Tag::Text => Some(DataType::Utf8),
            Tag::Uuid => Some(DataType::FixedSizeBinary(16)),
            Tag::Int => Some(DataType::Int64),
            Tag::Double => Some(DataType::Float64),
            Tag::Bool => Some(DataType::Boolean),
            Tag::Empty | Tag::Rest => None,
        }
    }
}

/// The name of the column for attribute `key` of type `tag`.
pub fn attribute_column(tag: Tag, key: &str) -> String {
    format!("attributes.{}:{key}", tag as u8 as char)
}

/// The tag and key of an attribute column; `None` for another column.
pub fn parse_attribute_column(name: &str) -> Option<(Tag, &str)> {
    let rest = name.strip_prefix("attributes.")?;
    let tag = Tag::from_byte(*rest.as_bytes().first()?)?;
    Some((tag, rest.get(1..)?.strip_prefix(':')?))
}

/// A dictionary-encoded field.
pub fn dictionary(name: &str, values: DataType, nullable: bool) -> Field {
    Field::new(name, DataType::Dictionary(Box::new(DataType::Int32), Box::new(values)), nullable)
}
