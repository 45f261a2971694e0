//! `POST /query/sql`: any query, as JSON, CSV or an Arrow stream.
//!
//! Rows are sent as they come. What goes wrong before the first [`HEAD_BYTES`] are together is a problem with its
//! status; what goes wrong later breaks the connection off, so that half an answer is never taken for a whole one.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::SchemaRef;
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use devmesh_query::{Answer, Stats, limits};
use futures::{StreamExt, stream};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Api, problem::Problem};
use crate::answer::{csv, json};

/// Bytes of an answer that are held back in case the query fails on its way.
const HEAD_BYTES: usize = 1 << 20;
/// Bytes of a JSON answer at most. Arrow and CSV have no such limit: they are read as they come.
const JSON_BYTES: usize = 64 << 20;
/// Rows of a CSV or Arrow answer at most, where a limit is asked for.
const STREAM_ROWS: usize = 10_000_000;

/// A query.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// One query: SELECT, WITH, EXPLAIN, SHOW TABLES, DESCRIBE. Anything else is refused.
    sql: String,
    /// `json` (the default), `csv` or `arrow`; the header `Accept` does as well.
    format: Option<Format>,
    /// Rows at most: 10,000 unless said otherwise; up to 100,000 as JSON, 10,000,000 as CSV or Arrow.
    limit: Option<u64>,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// One JSON object. Integers beyond 2^53, NaN and infinities are strings, bytes base64, times RFC 3339.
    Json,
    /// CSV with a header.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
}

/// The answer as JSON.
#[derive(Debug, ToSchema)]
#[allow(dead_code)]
pub(crate) struct SqlAnswer {
    /// The columns, in order.
    columns: Vec<AnswerColumn>,
    /// The rows, each an array in the order of the columns.
    rows: Vec<Vec<serde_json::Value>>,
    /// From the question to the last row.
    elapsed_ms: f64,
    /// Rows that were looked at.
    rows_scanned: u64,
    /// Whether there were more rows than the limit.
    truncated: bool,
}

/// A column of an answer.
#[derive(Debug, ToSchema)]
#[allow(dead_code)]
pub(crate) struct AnswerColumn {
    /// Its name.
    name: String,
    /// text, bigint, integer, double, boolean, timestamp, date, map, list, struct, bytes, decimal, interval.
    #[schema(rename = "type")]
    kind: String,
}

/// Answers a query in SQL. Read-only.
#[utoipa::path(post, path = "/query/sql", tag = "query", request_body = Question,
    responses((status = 200, body = SqlAnswer), (status = 400, body = super::problem::ProblemBody),
        (status = 408, body = super::problem::ProblemBody), (status = 429, body = super::problem::ProblemBody)))]
pub(super) async fn sql(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let question = question(&headers, &body)?;
    let format = match question.format {
        Some(format) => format,
        None => accepted(&headers)?,
    };
    let most = if format == Format::Json { limits::ROWS_MAX } else { STREAM_ROWS };
    let asked = question.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if asked == Some(0) {
        return Err(Problem::bad_request(format!("limit: it lies between 1 and {most}")));
    }
    let answer = api.queries.sql(&question.sql, asked.map(|limit| limit.min(most))).await?;
    let mut response = respond(answer, format).await?;
    if asked.is_some_and(|limit| limit > most) {
        response.headers_mut().insert(LIMIT_APPLIED, HeaderValue::from(most));
    }
    Ok(response)
}

/// Says that a limit was lowered, and to what.
pub(super) const LIMIT_APPLIED: HeaderName = HeaderName::from_static("x-limit-applied");

fn question(headers: &HeaderMap, body: &[u8]) -> Result<Question, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let text = "the content type of a query is application/json: {\"sql\":\"SELECT …\"}";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("the body: {error}")))
}

fn accepted(headers: &HeaderMap) -> Result<Format, Problem> {
    let Some(accept) = headers.get(header::ACCEPT) else { return Ok(Format::Json) };
    let accept = accept.to_str().unwrap_or_default().to_ascii_lowercase();
    for kind in accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim()) {
        match kind {
            "" | "*/*" | "application/*" | "application/json" => return Ok(Format::Json),
            "text/csv" | "text/*" => return Ok(Format::Csv),
            "application/vnd.apache.arrow.stream" => return Ok(Format::Arrow),
            _ => {}
        }
    }
    let text = "answers are application/json, text/csv or application/vnd.apache.arrow.stream";
    Err(Problem::new(StatusCode::NOT_ACCEPTABLE, text))
}

/// Writes rows in a format, batch by batch.
struct Encoder {
    format: Format,
    schema: SchemaRef,
    arrow: Option<StreamWriter<Vec<u8>>>,
    first: bool,
    written: usize,
}

impl Encoder {
    fn begin(format: Format, schema: SchemaRef) -> Result<(Self, Vec<u8>), Problem> {
        let mut text = String::new();
        let mut arrow = None;
        match format {
            Format::Json => json::begin(&mut text, &schema),
            Format::Csv => csv::header(&mut text, &schema),
            Format::Arrow => arrow = Some(StreamWriter::try_new(Vec::new(), &schema).map_err(broken)?),
        }
        let mut encoder = Self { format, schema, arrow, first: true, written: 0 };
        let mut bytes = text.into_bytes();
        bytes.extend(encoder.drained());
        Ok((encoder, bytes))
    }

    fn drained(&mut self) -> Vec<u8> {
        self.arrow.as_mut().map(|writer| std::mem::take(writer.get_mut())).unwrap_or_default()
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, Problem> {
        let mut text = String::new();
        match self.format {
            Format::Json => json::arrays(&mut text, batch, self.first),
            Format::Csv => csv::rows(&mut text, batch),
            Format::Arrow => {
                if let Some(writer) = &mut self.arrow {
                    // A row of a view may say of a column that it is never NULL where the plan does not know.
                    let batch = batch.clone().with_schema(Arc::clone(&self.schema)).map_err(broken)?;
                    writer.write(&batch).map_err(broken)?;
                }
                return Ok(self.drained());
            }
        }
        self.first &= batch.num_rows() == 0;
        self.written += text.len();
        if self.format == Format::Json && self.written > JSON_BYTES {
            let text = "the answer is larger than 64 MiB; ask for fewer rows or columns, or for csv or arrow";
            return Err(Problem::bad_request(text));
        }
        Ok(text.into_bytes())
    }

    fn end(mut self, stats: &Stats) -> Result<Vec<u8>, Problem> {
        match self.format {
            Format::Json => {
                let mut text = String::new();
                json::end(&mut text, stats);
                Ok(text.into_bytes())
            }
            Format::Csv => Ok(Vec::new()),
            Format::Arrow => {
                if let Some(writer) = &mut self.arrow {
                    writer.finish().map_err(broken)?;
                }
                Ok(self.drained())
            }
        }
    }
}

fn broken(error: arrow_schema::ArrowError) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to write the answer: {error}"))
}

async fn respond(mut answer: Answer, format: Format) -> Result<Response, Problem> {
    let (mut encoder, mut head) = Encoder::begin(format, Arc::clone(&answer.schema))?;
    let mut whole = true;
    while let Some(batch) = answer.rows.next().await {
        head.extend(encoder.batch(&batch?)?);
        if head.len() > HEAD_BYTES {
            whole = false;
            break;
        }
    }
    let stats = Arc::clone(&answer.stats);
    let mut response = if whole {
        head.extend(encoder.end(&stats)?);
        head.into_response()
    } else {
        streamed(head, answer, encoder)
    };
    let headers = response.headers_mut();
    let kind = match format {
        Format::Json => "application/json",
        Format::Csv => "text/csv; charset=utf-8; header=present",
        Format::Arrow => "application/vnd.apache.arrow.stream",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if whole {
        headers.extend(figures(&stats));
    }
    Ok(response)
}

/// The figures of an answer that has no room for them in its body.
fn figures(stats: &Stats) -> [(HeaderName, HeaderValue); 3] {
    [
        (HeaderName::from_static("x-elapsed-ms"), elapsed(stats)),
        (HeaderName::from_static("x-rows-scanned"), HeaderValue::from(stats.rows_scanned())),
        (
            HeaderName::from_static("x-truncated"),
            HeaderValue::from_static(if stats.truncated() { "true" } else { "false" }),
        ),
    ]
}

/// Milliseconds of a query.
pub(super) fn elapsed(stats: &Stats) -> HeaderValue {
    let text = format!("{:.3}", stats.elapsed().as_secs_f64() * 1000.0);
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0"))
}

fn streamed(head: Vec<u8>, answer: Answer, encoder: Encoder) -> Response {
    let rest = stream::try_unfold(Some((answer, encoder)), |state| async move {
        let Some((mut answer, mut encoder)) = state else { return Ok(None) };
        let next = match answer.rows.next().await {
            Some(batch) => {
                let bytes = batch.map_err(Problem::from).and_then(|batch| encoder.batch(&batch)).map_err(cut)?;
                (bytes, Some((answer, encoder)))
            }
            None => (encoder.end(&answer.stats).map_err(cut)?, None),
        };
        Ok::<_, std::io::Error>(Some((Bytes::from(next.0), next.1)))
    });
    let head = stream::once(async move { Ok::<_, std::io::Error>(Bytes::from(head)) });
    Body::from_stream(head.chain(rest)).into_response()
}

fn cut(problem: Problem) -> std::io::Error {
    tracing::warn!(detail = problem.detail(), "an answer was cut off");
    std::io::Error::other(problem.detail().to_owned())
}
