//! `POST /ask`: a question in plain language, answered by a query that a language model writes and this server runs.
//!
//! The query is shown, and it goes through the guards and limits of all queries: whatever the model writes, nothing but rows comes of it.
//! Where it does not work, the model is told why, once. No row goes to the model.

use std::{sync::Arc, time::Instant};

use arrow_schema::Schema;
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use devmesh_llm::{
    Endpoint, Error,
    ask::{self, Asked, Said},
};
use devmesh_query::rest::TimeRange;
use devmesh_schema::time;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{
    Api, Queries,
    params::now,
    problem::{Problem, ProblemBody},
};
use crate::answer::{cell, json as rows_json};

/// Bytes of a question.
const QUESTION_BYTES: usize = 4 << 10;
/// Rows of an answer.
const ROWS: usize = 1_000;
/// The fields of a question.
const FIELDS: [&str; 1] = ["question"];
/// How far back services are looked for whose names the model is told.
const SERVICES_SINCE_NS: i64 = 24 * 3_600 * 1_000_000_000;

/// A question.
#[derive(Debug, ToSchema)]
#[allow(dead_code)]
pub(crate) struct AskQuestion {
    /// In plain language. At most 4 KiB.
    question: String,
}

/// The answer.
#[derive(Debug, ToSchema)]
#[allow(dead_code)]
pub(crate) struct AskAnswer {
    /// The question.
    question: String,
    /// The query that a language model made of it: read it before you believe the rows.
    sql: String,
    /// The columns, as `/query/sql` gives them.
    #[schema(value_type = Vec<Object>)]
    columns: Value,
    /// The rows, at most 1,000.
    rows: Vec<Vec<Value>>,
    /// How to draw them: `type` (line, bar, point, number, table), `x`, `y`, `series`, and the same as `vega_lite`.
    #[schema(value_type = Object)]
    chart: Value,
    /// The model that wrote the query.
    model: String,
    /// Whether its first query did not work and this is the second.
    repaired: bool,
    /// From the question to the last row.
    elapsed_ms: f64,
    /// Rows that were looked at.
    rows_scanned: u64,
    /// Whether there were more rows than the limit.
    truncated: bool,
}

/// Answers a question in plain language: a language model writes one query that only reads, which is shown, run, and drawn.
#[utoipa::path(post, path = "/ask", tag = "query", request_body = AskQuestion,
    responses((status = 200, body = AskAnswer), (status = 400, body = ProblemBody), (status = 422, body = ProblemBody),
        (status = 429, body = ProblemBody), (status = 501, body = ProblemBody), (status = 502, body = ProblemBody),
        (status = 504, body = ProblemBody)))]
pub(super) async fn ask(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Problem> {
    let started = Instant::now();
    let question = read(&headers, &body)?;
    let Some(model) = api.models.ask.as_deref() else {
        let text = "no language model is configured for questions: set llm.url (an OpenAI-compatible endpoint, such as \
                    http://127.0.0.1:11434/v1), llm.model, and llm.ask = \"llm\"; see docs/models.md. Without one, ask in SQL at \
                    /query/sql";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, text));
    };
    let mut answer = answered(&api.queries, model, &question).await?;
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("question".to_owned(), question.into());
        fields.insert("model".to_owned(), model.model().into());
        fields.insert("elapsed_ms".to_owned(), (started.elapsed().as_secs_f64() * 1000.0).into());
    }
    Ok(Json(answer))
}

async fn answered(queries: &Queries, model: &Endpoint, question: &str) -> Result<Value, Problem> {
    let mut asked = context(queries, model, question).await?;
    let first = model.complete(asked.messages()).await?;
    let wrong = match asked.read(&first) {
        Some(said) => match run(queries, &said).await {
            Ok(answer) => return Ok(with(answer, false)),
            Err(problem) if repairable(&problem) => problem.detail().to_owned(),
            Err(problem) => return Err(problem),
        },
        None => "it is no JSON object with a query in `sql`".to_owned(),
    };
    asked.repair(&first, &wrong);
    let second = model.complete(asked.messages()).await?;
    let unprocessable = |text: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text);
    let Some(said) = asked.read(&second) else {
        return Err(unprocessable("the language model made no query of it; ask in other words".to_owned()));
    };
    let answer = run(queries, &said).await.map_err(|problem| {
        if !repairable(&problem) {
            return problem;
        }
        unprocessable(format!(
            "the language model's query does not work, nor did its first: {}; ask in other words, or correct the query and ask it at \
             /query/sql: {}",
            problem.detail(),
            said.sql
        ))
    })?;
    Ok(with(answer, true))
}

fn with(mut answer: Value, repaired: bool) -> Value {
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("repaired".to_owned(), repaired.into());
    }
    answer
}

/// Whether it is the query that is wrong.
fn repairable(problem: &Problem) -> bool {
    problem.status() == StatusCode::BAD_REQUEST
}

/// The question with the tables, and for a private model with the names of services.
async fn context(queries: &Queries, model: &Endpoint, question: &str) -> Result<Asked, Problem> {
    let tables = queries.tables().await?.iter().map(|table| ask::Table {
        name: table.name.clone(),
        columns: table
            .columns
            .iter()
            .map(|column| (column.name.clone(), cell::type_name(&column.data_type).to_owned()))
            .collect(),
    });
    let tables: Vec<ask::Table> = tables.collect();
    let services: Option<Vec<String>> = match model.is_private() {
        true => {
            let range = TimeRange { start: Some(now() - SERVICES_SINCE_NS), end: None };
            let services = queries.count(queries.engine().services(range)).await?;
            Some(services.into_iter().map(|service| service.service).collect())
        }
        false => None,
    };
    Ok(Asked::new(question, &time::format(now()), &tables, services.as_deref(), model.prompt_bytes() / 2))
}

async fn run(queries: &Queries, said: &Said) -> Result<Value, Problem> {
    let answer = queries.sql(&said.sql, Some(ROWS)).await?;
    let columns = columns(&answer.schema);
    let stats = Arc::clone(&answer.stats);
    let mut text = String::new();
    rows_json::begin(&mut text, &answer.schema);
    let mut first = true;
    for batch in answer.collect().await? {
        rows_json::arrays(&mut text, &batch, first);
        first &= batch.num_rows() == 0;
    }
    rows_json::end(&mut text, &stats);
    let mut whole: Value =
        serde_json::from_str(&text).map_err(|error| devmesh_query::Error::Internal(error.to_string()))?;
    let rows = whole.get("rows").and_then(Value::as_array).map_or(0, Vec::len);
    whole["sql"] = json!(said.sql);
    whole["chart"] = ask::chart(said.chart.as_ref(), &columns, rows);
    Ok(whole)
}

/// Names and types, as `/query/sql` says them.
fn columns(schema: &Schema) -> Vec<(String, String)> {
    let fields = schema.fields().iter();
    fields.map(|field| (field.name().clone(), cell::type_name(field.data_type()).to_owned())).collect()
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        tracing::warn!(error = text, "the language model gave no answer");
        match error {
            Error::Spent { seconds } => {
                let text = format!("{text}; raise daily_tokens, or ask tomorrow");
                Problem::later(StatusCode::TOO_MANY_REQUESTS, text, seconds)
            }
            Error::Slow(_) => {
                Problem::new(StatusCode::GATEWAY_TIMEOUT, format!("{text}; raise timeout, or take a smaller model"))
            }
            Error::Large { .. } => {
                Problem::bad_request(format!("{text}; ask a shorter question, or raise prompt_tokens"))
            }
            _ => Problem::new(StatusCode::BAD_GATEWAY, format!("{text}; see llm.url, llm.model and llm.api_key")),
        }
    }
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<String, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let text = "the content type of a question is application/json: {\"question\":\"…\"}";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let fields: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("the body: {error}")))?;
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        let unknown: String = unknown.chars().take(64).collect();
        return Err(Problem::bad_request(format!(
            "there is no field `{unknown}` here; there are: {}",
            FIELDS.join(", ")
        )));
    }
    let question = match fields.get("question") {
        None | Some(Value::Null) => return Err(Problem::bad_request("question is missing")),
        Some(question) => question.as_str().ok_or_else(|| Problem::bad_request("question is no string"))?,
    };
    match question.trim() {
        "" => Err(Problem::bad_request("question is empty; ask in plain words")),
        long if long.len() > QUESTION_BYTES => {
            Err(Problem::bad_request(format!("question has {} bytes; it has at most {QUESTION_BYTES}", long.len())))
        }
        nul if nul.contains('\0') => Err(Problem::bad_request("question holds a NUL")),
        question => Ok(question.to_owned()),
    }
}
