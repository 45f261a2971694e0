//! Export requests of logs and traces.

use super::{Attribute, Mark, Value, Writer, write_attributes, write_resource};

/// An `ExportLogsServiceRequest` in the making.
///
/// ```
/// use devmesh_schema::otlp::write::{LogRecord, LogsRequest};
///
/// let mut request = LogsRequest::new();
/// request.resource(&[("service.name".into(), "shop".into())], |scope| {
///     scope.record(&LogRecord { time: 1, body: Some("sold".into()), ..LogRecord::default() });
/// });
/// assert_eq!(request.records(), 1);
/// let bytes: Vec<u8> = request.finish();
/// # assert!(!bytes.is_empty());
/// ```
#[derive(Debug, Default)]
pub struct LogsRequest {
    out: Writer,
    records: u64,
}

/// A log record. Times are ns since the epoch, 0 for none; empty texts are absent.
#[derive(Clone, Debug, Default)]
pub struct LogRecord<'a> {
    /// When it happened.
    pub time: u64,
    /// When it was seen.
    pub observed_time: u64,
    /// OpenTelemetry severity, 1 to 24; 0 for unspecified.
    pub severity_number: i32,
    /// The severity as the source wrote it.
    pub severity_text: &'a str,
    /// The message.
    pub body: Option<Value<'a>>,
    /// Attributes, in order.
    pub attributes: &'a [Attribute<'a>],
    /// How many more there were.
    pub dropped_attributes_count: u32,
    /// W3C trace flags.
    pub flags: u32,
    /// The trace it belongs to.
    pub trace_id: Option<[u8; 16]>,
    /// The span it belongs to.
    pub span_id: Option<[u8; 8]>,
    /// The name of the event, where it is one.
    pub event_name: &'a str,
}

/// Takes the log records of one resource.
#[derive(Debug)]
pub struct ScopeLogsWriter<'w> {
    out: &'w mut Writer,
    records: u64,
}

impl LogsRequest {
    /// A request without records.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a resource with one (unnamed) scope, whose records `write` gives.
    pub fn resource(&mut self, attributes: &[Attribute<'_>], write: impl FnOnce(&mut ScopeLogsWriter<'_>)) {
        self.scoped_resource(attributes, "", "", write);
    }

    /// Adds a resource with one scope of this name and version.
    pub fn scoped_resource(
        &mut self,
        attributes: &[Attribute<'_>],
        scope: &str,
        version: &str,
        write: impl FnOnce(&mut ScopeLogsWriter<'_>),
    ) {
        let envelope = Envelope::begin(&mut self.out, attributes, scope, version);
        let mut writer = ScopeLogsWriter { out: &mut self.out, records: 0 };
        write(&mut writer);
        self.records += writer.records;
        envelope.end(&mut self.out);
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes so far.
    pub fn size(&self) -> usize {
        self.out.len()
    }

    /// The request's protobuf bytes.
    pub fn finish(self) -> Vec<u8> {
        self.out.into_vec()
    }
}

impl<'w> ScopeLogsWriter<'w> {
    /// Writes records as the contents of a `ScopeLogs` message, for whoever writes the messages around it.
    pub fn contents_of(out: &'w mut Writer) -> Self {
        Self { out, records: 0 }
    }

    /// Adds a record.
    pub fn record(&mut self, record: &LogRecord<'_>) {
        self.records += 1;
        self.out.message(2, |out| {
            out.fixed64(1, record.time);
            out.int(2, i64::from(record.severity_number));
            out.text(3, record.severity_text);
            if let Some(body) = &record.body {
                body.write(out, 5);
            }
            write_attributes(out, 6, record.attributes);
            out.uint(7, u64::from(record.dropped_attributes_count));
            out.fixed32(8, record.flags);
            out.bytes(9, record.trace_id.as_ref().map_or(&[], |id| id));
            out.bytes(10, record.span_id.as_ref().map_or(&[], |id| id));
            out.fixed64(11, record.observed_time);
            out.text(12, record.event_name);
        });
    }
}

/// An `ExportTraceServiceRequest` in the making.
#[derive(Debug, Default)]
pub struct TracesRequest {
    out: Writer,
    spans: u64,
}

/// A span. Times are ns since the epoch; empty texts are absent.
#[derive(Clone, Debug, Default)]
pub struct Span<'a> {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span.
    pub span_id: [u8; 8],
    /// W3C tracestate.
    pub trace_state: &'a str,
    /// The parent, none at a root.
    pub parent_span_id: Option<[u8; 8]>,
    /// The operation.
    pub name: &'a str,
    /// `SpanKind`: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: i32,
    /// Start.
    pub start_time: u64,
    /// End.
    pub end_time: u64,
    /// Attributes, in order.
    pub attributes: &'a [Attribute<'a>],
    /// Events, in order.
    pub events: &'a [SpanEvent<'a>],
    /// Links, in order.
    pub links: &'a [SpanLink<'a>],
    /// `StatusCode` (0 unset, 1 ok, 2 error) and message, where there is a status.
    pub status: Option<(i32, &'a str)>,
    /// W3C trace flags and OTLP's remote bits.
    pub flags: u32,
}

/// An event of a span.
#[derive(Clone, Debug, Default)]
pub struct SpanEvent<'a> {
    /// When, ns since the epoch.
    pub time: u64,
    /// What.
    pub name: &'a str,
    /// Attributes, in order.
    pub attributes: &'a [Attribute<'a>],
}

/// A link of a span.
#[derive(Clone, Debug, Default)]
pub struct SpanLink<'a> {
    /// The other trace.
    pub trace_id: [u8; 16],
    /// The other span.
    pub span_id: [u8; 8],
    /// Attributes, in order.
    pub attributes: &'a [Attribute<'a>],
}

/// Takes the spans of one resource.
#[derive(Debug)]
pub struct ScopeSpansWriter<'w> {
    out: &'w mut Writer,
    spans: u64,
}

impl TracesRequest {
    /// A request without spans.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a resource with one (unnamed) scope, whose spans `write` gives.
    pub fn resource(&mut self, attributes: &[Attribute<'_>], write: impl FnOnce(&mut ScopeSpansWriter<'_>)) {
        self.scoped_resource(attributes, "", "", write);
    }

    /// Adds a resource with one scope of this name and version.
    pub fn scoped_resource(
        &mut self,
        attributes: &[Attribute<'_>],
        scope: &str,
        version: &str,
        write: impl FnOnce(&mut ScopeSpansWriter<'_>),
    ) {
        let envelope = Envelope::begin(&mut self.out, attributes, scope, version);
        let mut writer = ScopeSpansWriter { out: &mut self.out, spans: 0 };
        write(&mut writer);
        self.spans += writer.spans;
        envelope.end(&mut self.out);
    }

    /// Spans so far.
    pub fn spans(&self) -> u64 {
        self.spans
    }

    /// Bytes so far.
    pub fn size(&self) -> usize {
        self.out.len()
    }

    /// The request's protobuf bytes.
    pub fn finish(self) -> Vec<u8> {
        self.out.into_vec()
    }
}

impl<'w> ScopeSpansWriter<'w> {
    /// Writes spans as the contents of a `ScopeSpans` message, for whoever writes the messages around it.
    pub fn contents_of(out: &'w mut Writer) -> Self {
        Self { out, spans: 0 }
    }

    /// Adds a span.
    pub fn span(&mut self, span: &Span<'_>) {
        self.spans += 1;
        self.out.message(2, |out| {
            out.bytes(1, &span.trace_id);
            out.bytes(2, &span.span_id);
            out.text(3, span.trace_state);
            out.bytes(4, span.parent_span_id.as_ref().map_or(&[], |id| id));
            out.text(5, span.name);
            out.int(6, i64::from(span.kind));
            out.fixed64(7, span.start_time);
            out.fixed64(8, span.end_time);
            write_attributes(out, 9, span.attributes);
            for event in span.events {
                out.message(11, |out| {
                    out.fixed64(1, event.time);
                    out.text(2, event.name);
                    write_attributes(out, 3, event.attributes);
                });
            }
            for link in span.links {
                out.message(13, |out| {
                    out.bytes(1, &link.trace_id);
                    out.bytes(2, &link.span_id);
                    write_attributes(out, 4, link.attributes);
                });
            }
            if let Some((code, message)) = span.status {
                out.message(15, |out| {
                    out.text(2, message);
                    out.int(3, i64::from(code));
                });
            }
            out.fixed32(16, span.flags);
        });
    }
}

/// The two messages around records: `Resource…` and `Scope…`, alike in all three signals.
#[derive(Debug)]
pub(super) struct Envelope {
    resource: Mark,
    scope: Mark,
}

impl Envelope {
    /// Begins both, with the resource's attributes and the scope's name in them.
    pub(super) fn begin(out: &mut Writer, attributes: &[Attribute<'_>], name: &str, version: &str) -> Self {
        let resource = out.begin(1);
        write_resource(out, attributes);
        let scope = out.begin(2);
        if !name.is_empty() || !version.is_empty() {
            out.message(1, |out| {
                out.text(1, name);
                out.text(2, version);
            });
        }
        Self { resource, scope }
    }

    /// Ends both.
    pub(super) fn end(self, out: &mut Writer) {
        out.end(self.scope);
        out.end(self.resource);
    }
}
