//! Rows that other programs wrote into `log_events` and `metric_events`, as stored rows.
//!
//! They become what the direct path (`POST /ingest/logs`) makes of the same fields, so that a program's rows look alike by
//! whichever way they come: `service`, `host` and `source` are the resource, `meta_json` are the attributes, and the view
//! `log_events` shows the row as it is.

use std::borrow::Cow;

use arrow_array::RecordBatch;
use devmesh_schema::{
    IngestPath, Signal,
    otlp::{
        Context, decode,
        write::{Attribute, LogRecord, LogsRequest, Value, Writer, write_attributes, write_resource},
    },
    stored,
};
use serde_json::Value as Json;
use sqlx::{Row, mysql::MySqlRow};

use super::connection::Fault;

/// The columns that a row is read by, in the order in which [`stored_rows`] takes them. Times are microseconds since 1970;
/// what is no time, or one that ns cannot say, comes as the nearest that they can.
pub(super) fn columns(signal: Signal) -> &'static str {
    match signal {
        Signal::Logs => {
            "id, CAST(COALESCE(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', timestamp), 0) AS SIGNED), CAST(source AS CHAR), \
             CAST(service AS CHAR), CAST(host AS CHAR), CAST(COALESCE(meta_json, '') AS CHAR), CAST(level AS CHAR), \
             trace_id, span_id, event_type, error_code, CAST(message AS CHAR)"
        }
        _ => {
            "id, CAST(COALESCE(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', timestamp), 0) AS SIGNED), CAST(source AS CHAR), \
             CAST(service AS CHAR), CAST(host AS CHAR), CAST(COALESCE(labels_json, '') AS CHAR), CAST(metric_name AS CHAR), \
             CAST(metric_type AS CHAR), value, unit"
        }
    }
}

/// The name of a metric whose row has none.
pub(super) const UNNAMED: &str = "unnamed";

/// What both tables have.
struct Common<'r> {
    /// ns since the epoch.
    time: i64,
    origin: Vec<Attribute<'r>>,
    attributes: Vec<Attribute<'r>>,
}

/// The stored rows of rows that were read by [`columns`], one each, in their order.
///
/// # Errors
/// The rows were not read by these columns.
pub(super) fn stored_rows(signal: Signal, rows: &[MySqlRow]) -> Result<RecordBatch, Fault> {
    let mut times = Vec::with_capacity(rows.len());
    let request = match signal {
        Signal::Logs => {
            let mut request = LogsRequest::new();
            for row in rows {
                times.push(put_log(&mut request, row)?);
            }
            request.finish()
        }
        _ => {
            let mut request = Writer::new();
            for row in rows {
                times.push(put_metric(&mut request, row)?);
            }
            request.into_vec()
        }
    };
    // A time of 0 or before 1970 is none on the wire: it is put in afterwards.
    let context = Context { path: IngestPath::Direct, received: i64::MAX };
    let decoded =
        decode(signal, &request, context).map_err(|e| Fault::Refused(format!("a row of another program: {e}")))?;
    if decoded.rows.num_rows() != rows.len() {
        let why = decoded.rejections.first().map_or("", |rejection| rejection.message.as_str());
        return Err(Fault::Refused(format!("a row of another program cannot be read: {why}")));
    }
    with_times(&decoded.rows, times).map_err(|e| Fault::Refused(e.to_string()))
}

/// The rows with these times, and none on the wire beside them.
fn with_times(rows: &RecordBatch, times: Vec<i64>) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let time = arrow_array::TimestampNanosecondArray::from(times).with_timezone("UTC");
    let time: arrow_array::ArrayRef = std::sync::Arc::new(time);
    let schema = rows.schema();
    let fields = schema.fields().iter().zip(rows.columns());
    let kept = fields.filter(|(field, _)| field.name() != stored::WIRE_TIME);
    let (fields, arrays): (Vec<_>, Vec<_>) = kept
        .map(|(field, array)| (field.clone(), if field.name() == stored::TIME { time.clone() } else { array.clone() }))
        .unzip();
    RecordBatch::try_new(std::sync::Arc::new(arrow_schema::Schema::new(fields)), arrays)
}

/// What the row's JSON is.
fn json(row: &MySqlRow) -> Result<(String, Option<Json>), Fault> {
    let text: String = row.try_get(5)?;
    let json = serde_json::from_str(&text).ok();
    Ok((text, json))
}

/// `json_key`: the attribute that keeps what is no object.
fn common<'r>(row: &MySqlRow, json: &'r (String, Option<Json>), json_key: &'static str) -> Result<Common<'r>, Fault> {
    let micros: i64 = row.try_get(1)?;
    let time = micros.clamp(i64::MIN / 1000, i64::MAX / 1000) * 1000;
    let mut origin = Vec::new();
    for (at, key) in [(3, "service.name"), (4, "host.name"), (2, stored::SOURCE_ATTRIBUTE)] {
        let value: String = row.try_get(at)?;
        if !value.is_empty() {
            origin.push((Cow::Borrowed(key), Value::Text(value.into())));
        }
    }
    let attributes = match json {
        (_, Some(Json::Object(entries))) => {
            entries.iter().map(|(key, value)| (Cow::Borrowed(key.as_str()), Value::Json(value))).collect()
        }
        (_, Some(Json::Null)) => Vec::new(),
        (_, Some(other)) => vec![(Cow::Borrowed(json_key), Value::Json(other))],
        (text, None) if text.is_empty() => Vec::new(),
        (text, None) => vec![(Cow::Borrowed(json_key), Value::Text(text.as_str().into()))],
    };
    Ok(Common { time, origin, attributes })
}

/// Adds an attribute, unless the JSON has one of this name.
fn add(attributes: &mut Vec<Attribute<'_>>, key: &'static str, value: String) {
    if !attributes.iter().any(|(known, _)| known == key) {
        attributes.push((key.into(), Value::Text(value.into())));
    }
}

/// An id of `N` bytes in hex of any case; what is none stays as an attribute.
fn id<const N: usize>(
    row: &MySqlRow,
    at: usize,
    key: &'static str,
    attributes: &mut Vec<Attribute<'_>>,
) -> Result<Option<[u8; N]>, Fault> {
    let Some(text) = row.try_get::<Option<String>, _>(at)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    let mut id = [0; N];
    if hex::decode_to_slice(&text, &mut id).is_ok() && id.iter().any(|byte| *byte != 0) {
        return Ok(Some(id));
    }
    add(attributes, key, text);
    Ok(None)
}

fn put_log(request: &mut LogsRequest, row: &MySqlRow) -> Result<i64, Fault> {
    let json = json(row)?;
    let Common { time, origin, mut attributes } = common(row, &json, "meta_json")?;
    let level: String = row.try_get(6)?;
    let trace_id = id::<16>(row, 7, "trace_id", &mut attributes)?;
    let span_id = id::<8>(row, 8, "span_id", &mut attributes)?;
    let event: Option<String> = row.try_get(9)?;
    if let Some(code) = row.try_get::<Option<String>, _>(10)?.filter(|code| !code.is_empty()) {
        add(&mut attributes, "error_code", code);
    }
    let message: String = row.try_get(11)?;
    let record = LogRecord {
        time: 1,
        severity_number: severity(&level),
        severity_text: &level,
        body: Some(Value::Text(message.into())),
        attributes: &attributes,
        trace_id,
        span_id,
        event_name: event.as_deref().unwrap_or_default(),
        ..LogRecord::default()
    };
    request.resource(&origin, |scope| scope.record(&record));
    Ok(time)
}

/// OpenTelemetry's number for a level of the column (logs data model, appendix B).
fn severity(level: &str) -> i32 {
    match level {
        "DEBUG" => 5,
        "INFO" => 9,
        "WARN" | "WARNING" => 13,
        "ERROR" => 17,
        "CRITICAL" => 18,
        "FATAL" => 21,
        _ => 0,
    }
}

/// Writes a metric of one point. What a type with buckets says in one number is its sum, as the view `metric_events` has it.
fn put_metric(out: &mut Writer, row: &MySqlRow) -> Result<i64, Fault> {
    let json = json(row)?;
    let Common { time, origin, attributes } = common(row, &json, "labels_json")?;
    let name: String = row.try_get(6)?;
    let kind: String = row.try_get(7)?;
    let value: Option<f64> = row.try_get(8)?;
    let unit: Option<String> = row.try_get(9)?;
    // The fields of `Metric` for each kind, and in its point those of time, number, attributes and flags.
    let (field, [at, number, labels, flags]) = match kind.as_str() {
        "sum" | "counter" => (7, [3, 4, 7, 8]),
        "histogram" => (9, [3, 5, 9, 10]),
        "exponential_histogram" => (10, [3, 5, 1, 10]),
        "summary" => (11, [3, 5, 7, 8]),
        _ => (5, [3, 4, 7, 8]),
    };
    let resource = out.begin(1);
    write_resource(out, &origin);
    let scope = out.begin(2);
    let metric = out.begin(2);
    // A metric without a name is none.
    out.text(1, if name.is_empty() { UNNAMED } else { &name });
    out.text(3, unit.as_deref().unwrap_or_default());
    let data = out.begin(field);
    let point = out.begin(1);
    out.fixed64(at, 1);
    if let Some(value) = value {
        out.put_double(number, value);
    }
    write_attributes(out, labels, &attributes);
    // Flag 1: no recorded value.
    out.uint(flags, u64::from(value.is_none()));
    out.end(point);
    if matches!(field, 7 | 9 | 10) {
        out.int(2, 2);
    }
    if field == 7 {
        out.boolean(3, kind == "counter");
    }
    out.end(data);
    out.end(metric);
    out.end(scope);
    out.end(resource);
    Ok(time)
}
