//! The messages of OTLP as JSON names them: which keys there are, and what stands behind them (opentelemetry-proto 1.11).

use crate::Signal;

/// A message.
pub(super) struct Message {
    pub(super) fields: &'static [Field],
    pub(super) role: Role,
}

/// What happens when something in a message is wrong in a way that need not cost the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A leaf item: it is rejected.
    Item,
    /// A message around items: they all are rejected.
    Group,
    /// It is dropped where its id is none (reliability A33).
    Droppable,
    /// The message around it decides.
    Part,
    /// The same; and it counts as a level of nesting.
    Value,
}

/// A field.
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) presence: Presence,
}

/// When a field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// When it is not the default.
    Implicit,
    /// When it was sent.
    Explicit,
    /// When it was sent; it takes the place of the other members of the message's one `oneof`.
    Oneof,
}

/// What a field holds.
pub(super) enum Kind {
    Text,
    Texts,
    Bool,
    Enum,
    Int32,
    Int64,
    Sint32,
    Sfixed64,
    Uint32,
    Fixed32,
    Fixed64,
    Fixed64s,
    Uint64s,
    Double,
    Doubles,
    Base64,
    /// So many bytes in hex, or none.
    Id(usize),
    /// The same; one that is wrong counts as none.
    LenientId(usize),
    One(&'static Message),
    Many(&'static Message),
}

const fn field(key: &'static str, number: u32, kind: Kind) -> Field {
    Field { key, number, kind, presence: Presence::Implicit }
}

const fn explicit(key: &'static str, number: u32, kind: Kind) -> Field {
    Field { key, number, kind, presence: Presence::Explicit }
}

const fn oneof(key: &'static str, number: u32, kind: Kind) -> Field {
    Field { key, number, kind, presence: Presence::Oneof }
}

const fn part(fields: &'static [Field]) -> Message {
    Message { fields, role: Role::Part }
}

const fn group(fields: &'static [Field]) -> Message {
    Message { fields, role: Role::Group }
}

const fn item(fields: &'static [Field]) -> Message {
    Message { fields, role: Role::Item }
}

/// The export request of a signal.
pub(super) fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Logs => &LOGS_REQUEST,
        Signal::Traces => &TRACES_REQUEST,
        Signal::Metrics => &METRICS_REQUEST,
    }
}

static ANY_VALUE: Message = Message {
    role: Role::Value,
    fields: &[
        oneof("stringValue", 1, Kind::Text),
        oneof("intValue", 3, Kind::Int64),
        oneof("boolValue", 2, Kind::Bool),
        oneof("doubleValue", 4, Kind::Double),
        oneof("arrayValue", 5, Kind::One(&ARRAY)),
        oneof("kvlistValue", 6, Kind::One(&KEY_VALUE_LIST)),
        oneof("bytesValue", 7, Kind::Base64),
        oneof("stringValueStrindex", 8, Kind::Int32),
    ],
};
static ARRAY: Message = part(&[field("values", 1, Kind::Many(&ANY_VALUE))]);
static KEY_VALUE_LIST: Message = part(&[field("values", 1, Kind::Many(&KEY_VALUE))]);
static KEY_VALUE: Message = part(&[
    field("key", 1, Kind::Text),
    field("value", 2, Kind::One(&ANY_VALUE)),
    field("keyStrindex", 3, Kind::Int32),
]);
static ENTITY_REF: Message = part(&[
    field("schemaUrl", 1, Kind::Text),
    field("type", 2, Kind::Text),
    field("idKeys", 3, Kind::Texts),
    field("descriptionKeys", 4, Kind::Texts),
]);
static RESOURCE: Message = part(&[
    field("attributes", 1, Kind::Many(&KEY_VALUE)),
    field("droppedAttributesCount", 2, Kind::Uint32),
    field("entityRefs", 3, Kind::Many(&ENTITY_REF)),
]);
static SCOPE: Message = part(&[
    field("name", 1, Kind::Text),
    field("version", 2, Kind::Text),
    field("attributes", 3, Kind::Many(&KEY_VALUE)),
    field("droppedAttributesCount", 4, Kind::Uint32),
]);

static LOGS_REQUEST: Message = group(&[field("resourceLogs", 1, Kind::Many(&RESOURCE_LOGS))]);
static RESOURCE_LOGS: Message = group(&[
    field("resource", 1, Kind::One(&RESOURCE)),
    field("scopeLogs", 2, Kind::Many(&SCOPE_LOGS)),
    field("schemaUrl", 3, Kind::Text),
]);
static SCOPE_LOGS: Message = group(&[
    field("scope", 1, Kind::One(&SCOPE)),
    field("logRecords", 2, Kind::Many(&LOG_RECORD)),
    field("schemaUrl", 3, Kind::Text),
]);
static LOG_RECORD: Message = item(&[
    field("timeUnixNano", 1, Kind::Fixed64),
    field("observedTimeUnixNano", 11, Kind::Fixed64),
    field("severityNumber", 2, Kind::Enum),
    field("severityText", 3, Kind::Text),
    field("body", 5, Kind::One(&ANY_VALUE)),
    field("attributes", 6, Kind::Many(&KEY_VALUE)),
    field("droppedAttributesCount", 7, Kind::Uint32),
    field("flags", 8, Kind::Fixed32),
    field("traceId", 9, Kind::LenientId(16)),
    field("spanId", 10, Kind::LenientId(8)),
    field("eventName", 12, Kind::Text),
]);

static TRACES_REQUEST: Message = group(&[field("resourceSpans", 1, Kind::Many(&RESOURCE_SPANS))]);
static RESOURCE_SPANS: Message = group(&[
    field("resource", 1, Kind::One(&RESOURCE)),
    field("scopeSpans", 2, Kind::Many(&SCOPE_SPANS)),
    field("schemaUrl", 3, Kind::Text),
]);
static SCOPE_SPANS: Message = group(&[
    field("scope", 1, Kind::One(&SCOPE)),
    field("spans", 2, Kind::Many(&SPAN)),
    field("schemaUrl", 3, Kind::Text),
]);
static SPAN: Message = item(&[
    field("traceId", 1, Kind::Id(16)),
    field("spanId", 2, Kind::Id(8)),
    field("traceState", 3, Kind::Text),
    field("parentSpanId", 4, Kind::Id(8)),
    field("name", 5, Kind::Text),
    field("kind", 6, Kind::Enum),
    field("startTimeUnixNano", 7, Kind::Fixed64),
    field("endTimeUnixNano", 8, Kind::Fixed64),
    field("attributes", 9, Kind::Many(&KEY_VALUE)),
    field("droppedAttributesCount", 10, Kind::Uint32),
    field("events", 11, Kind::Many(&EVENT)),
    field("droppedEventsCount", 12, Kind::Uint32),
    field("links", 13, Kind::Many(&LINK)),
    field("droppedLinksCount", 14, Kind::Uint32),
    field("status", 15, Kind::One(&STATUS)),
    field("flags", 16, Kind::Fixed32),
]);
static STATUS: Message = part(&[field("message", 2, Kind::Text), field("code", 3, Kind::Enum)]);
static EVENT: Message = part(&[
    field("timeUnixNano", 1, Kind::Fixed64),
    field("name", 2, Kind::Text),
    field("attributes", 3, Kind::Many(&KEY_VALUE)),
    field("droppedAttributesCount", 4, Kind::Uint32),
]);
static LINK: Message = Message {
    role: Role::Droppable,
    fields: &[
        field("traceId", 1, Kind::Id(16)),
        field("spanId", 2, Kind::Id(8)),
        field("traceState", 3, Kind::Text),
        field("attributes", 4, Kind::Many(&KEY_VALUE)),
        field("droppedAttributesCount", 5, Kind::Uint32),
        field("flags", 6, Kind::Fixed32),
    ],
};

static METRICS_REQUEST: Message = group(&[field("resourceMetrics", 1, Kind::Many(&RESOURCE_METRICS))]);
static RESOURCE_METRICS: Message = group(&[
    field("resource", 1, Kind::One(&RESOURCE)),
    field("scopeMetrics", 2, Kind::Many(&SCOPE_METRICS)),
    field("schemaUrl", 3, Kind::Text),
]);
static SCOPE_METRICS: Message = group(&[
    field("scope", 1, Kind::One(&SCOPE)),
    field("metrics", 2, Kind::Many(&METRIC)),
    field("schemaUrl", 3, Kind::Text),
]);
static METRIC: Message = group(&[
    field("name", 1, Kind::Text),
    field("description", 2, Kind::Text),
    field("unit", 3, Kind::Text),
    oneof("gauge", 5, Kind::One(&GAUGE)),
    oneof("sum", 7, Kind::One(&SUM)),
    oneof("histogram", 9, Kind::One(&HISTOGRAM)),
    oneof("exponentialHistogram", 10, Kind::One(&EXPONENTIAL_HISTOGRAM)),
    oneof("summary", 11, Kind::One(&SUMMARY)),
    field("metadata", 12, Kind::Many(&KEY_VALUE)),
]);
static GAUGE: Message = group(&[field("dataPoints", 1, Kind::Many(&NUMBER_POINT))]);
static SUM: Message = group(&[
    field("dataPoints", 1, Kind::Many(&NUMBER_POINT)),
    field("aggregationTemporality", 2, Kind::Enum),
    field("isMonotonic", 3, Kind::Bool),
]);
static HISTOGRAM: Message =
    group(&[field("dataPoints", 1, Kind::Many(&HISTOGRAM_POINT)), field("aggregationTemporality", 2, Kind::Enum)]);
static EXPONENTIAL_HISTOGRAM: Message =
    group(&[field("dataPoints", 1, Kind::Many(&EXPONENTIAL_POINT)), field("aggregationTemporality", 2, Kind::Enum)]);
static SUMMARY: Message = group(&[field("dataPoints", 1, Kind::Many(&SUMMARY_POINT))]);
static NUMBER_POINT: Message = item(&[
    field("startTimeUnixNano", 2, Kind::Fixed64),
    field("timeUnixNano", 3, Kind::Fixed64),
    oneof("asDouble", 4, Kind::Double),
    oneof("asInt", 6, Kind::Sfixed64),
    field("exemplars", 5, Kind::Many(&EXEMPLAR)),
    field("attributes", 7, Kind::Many(&KEY_VALUE)),
    field("flags", 8, Kind::Uint32),
]);
static HISTOGRAM_POINT: Message = item(&[
    field("startTimeUnixNano", 2, Kind::Fixed64),
    field("timeUnixNano", 3, Kind::Fixed64),
    field("count", 4, Kind::Fixed64),
    explicit("sum", 5, Kind::Double),
    field("bucketCounts", 6, Kind::Fixed64s),
    field("explicitBounds", 7, Kind::Doubles),
    field("exemplars", 8, Kind::Many(&EXEMPLAR)),
    field("attributes", 9, Kind::Many(&KEY_VALUE)),
    field("flags", 10, Kind::Uint32),
    explicit("min", 11, Kind::Double),
    explicit("max", 12, Kind::Double),
]);
static EXPONENTIAL_POINT: Message = item(&[
    field("attributes", 1, Kind::Many(&KEY_VALUE)),
    field("startTimeUnixNano", 2, Kind::Fixed64),
    field("timeUnixNano", 3, Kind::Fixed64),
    field("count", 4, Kind::Fixed64),
    explicit("sum", 5, Kind::Double),
    field("scale", 6, Kind::Sint32),
    field("zeroCount", 7, Kind::Fixed64),
    field("positive", 8, Kind::One(&BUCKETS)),
    field("negative", 9, Kind::One(&BUCKETS)),
    field("flags", 10, Kind::Uint32),
    field("exemplars", 11, Kind::Many(&EXEMPLAR)),
    explicit("min", 12, Kind::Double),
    explicit("max", 13, Kind::Double),
    field("zeroThreshold", 14, Kind::Double),
]);
static BUCKETS: Message = part(&[field("offset", 1, Kind::Sint32), field("bucketCounts", 2, Kind::Uint64s)]);
static SUMMARY_POINT: Message = item(&[
    field("startTimeUnixNano", 2, Kind::Fixed64),
    field("timeUnixNano", 3, Kind::Fixed64),
    field("count", 4, Kind::Fixed64),
    field("sum", 5, Kind::Double),
    field("quantileValues", 6, Kind::Many(&QUANTILE)),
    field("attributes", 7, Kind::Many(&KEY_VALUE)),
    field("flags", 8, Kind::Uint32),
]);
static QUANTILE: Message = part(&[field("quantile", 1, Kind::Double), field("value", 2, Kind::Double)]);
static EXEMPLAR: Message = Message {
    role: Role::Droppable,
    fields: &[
        field("timeUnixNano", 2, Kind::Fixed64),
        oneof("asDouble", 3, Kind::Double),
        oneof("asInt", 6, Kind::Sfixed64),
        field("spanId", 4, Kind::Id(8)),
        field("traceId", 5, Kind::Id(16)),
        field("filteredAttributes", 7, Kind::Many(&KEY_VALUE)),
    ],
};
