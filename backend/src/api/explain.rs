//! `POST /explain/incident`: what happened in a window and why. The statements of [`devmesh_explain`] are asked of the engine, what
//! they answer is judged, and what the judgement claims is asked again, so that each sentence has rows that prove it.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use devmesh_explain::{Explanation, Facts, Question, Range, answer::Shown, judge, statements};
use devmesh_llm::{
    Endpoint,
    narrate::{self, Narration},
};
use devmesh_query::Error;
use devmesh_schema::{TimestampNs, time};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    Api, Queries,
    params::now,
    problem::{Problem, ProblemBody},
};
use crate::answer::json;

/// Statements that are asked at the same time: not all of a server's turns belong to one explanation.
const TOGETHER: usize = 3;
/// The fields of a question, and of its baseline.
const FIELDS: [&str; 5] = ["start_time", "end_time", "query", "baseline", "narrate"];
const RANGE: [&str; 2] = ["start_time", "end_time"];

/// What is to be explained.
#[derive(Debug, ToSchema)]
#[allow(dead_code)]
pub(crate) struct ExplainQuestion {
    /// From when on: RFC 3339, Unix ns, now-15m. At most 24 hours before the end.
    start_time: String,
    /// Until when, exclusive.
    end_time: String,
    /// Words: services that they name come first among equals.
    query: Option<String>,
    /// What the window is compared with: before it, at most 7 days. Four times the window, at least half an hour, unless given.
    baseline: Option<ExplainRange>,
    /// Whether a language model words it, where one is configured: it does unless told otherwise.
    narrate: Option<bool>,
}

/// A stretch of time.
#[derive(Debug, ToSchema)]
#[allow(dead_code)]
pub(crate) struct ExplainRange {
    /// From when on.
    start_time: String,
    /// Until when, exclusive.
    end_time: String,
}

/// Explains a window: `verdict` (incident, no_incident, inconclusive), `summary`, `markdown`, `suspects` in order, a `timeline`, and the
/// `evidence` that each of them cites, with the SQL that shows it and the rows that it gave. `narrator` is the language model that worded
/// `summary` and the beginning of `markdown`, or `none`; it changes nothing else.
#[utoipa::path(post, path = "/explain/incident", tag = "query", request_body = ExplainQuestion,
    responses((status = 200, body = Object), (status = 400, body = ProblemBody), (status = 415, body = ProblemBody)))]
pub(super) async fn incident(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let started = Instant::now();
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let text =
            "the content type of a question is application/json: {\"start_time\":\"now-15m\",\"end_time\":\"now\"}";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let (question, narrated) = read(&body, now())?;
    let explanation = explain(&api.queries, question).await?;
    let mut answer = serde_json::to_value(explanation).map_err(internal)?;
    if let Some(model) = api.models.narrate.as_deref().filter(|_| narrated) {
        narrate(model, &mut answer).await;
    }
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("elapsed_ms".to_owned(), (started.elapsed().as_secs_f64() * 1000.0).into());
    }
    Ok(Json(answer))
}

fn internal(error: impl std::fmt::Display) -> Problem {
    Problem::from(Error::Internal(error.to_string()))
}

/// Words what is proven. Whatever goes wrong with the model, the explanation is as it was without one.
async fn narrate(model: &Endpoint, answer: &mut Value) {
    let Some(narration) = Narration::of(answer, model.prompt_bytes()) else { return };
    match model.complete(&narration.messages()).await {
        Ok(said) => {
            let told = narration.check(&said);
            if told.dropped > 0 {
                let kept = told.sentences.len();
                tracing::warn!(
                    model = model.model(),
                    dropped = told.dropped,
                    kept,
                    "sentences without evidence were dropped"
                );
            }
            narrate::put(answer, &told, model.model());
        }
        Err(error) => tracing::warn!(%error, "the explanation is told without the language model"),
    }
}

async fn explain(queries: &Queries, question: Question) -> Result<Explanation, Problem> {
    let (_, counted) = ask(queries, statements::volume(&question)).await?;
    let spans = counted.first().and_then(|row| row.first()).and_then(Value::as_u64).unwrap_or(0);
    let statements = statements::all(&question, statements::sample(spans));
    let answers: Vec<_> = stream::iter(statements)
        .map(|(source, sql)| async move { Ok::<_, Problem>((source, ask(queries, sql).await?.1)) })
        .buffered(TOGETHER)
        .try_collect()
        .await?;
    let judged = tokio::task::spawn_blocking(move || {
        let mut facts = Facts::default();
        for (source, rows) in &answers {
            facts.take(*source, rows);
        }
        judge(&question, &facts)
    });
    let judgement = judged.await.map_err(internal)?;
    let claims: Vec<String> = judgement.claims().map(|claim| claim.sql.clone()).collect();
    let shown: Vec<Option<Shown>> = stream::iter(claims)
        .map(|sql| async move {
            let shown = ask(queries, sql).await;
            shown.inspect_err(|problem| tracing::warn!(detail = problem.detail(), "a claim could not be proven")).ok()
        })
        .buffered(TOGETHER)
        .collect()
        .await;
    Ok(judgement.proven(&shown))
}

/// The rows of a statement, as `/query/sql` gives them.
async fn ask(queries: &Queries, sql: String) -> Result<Shown, Problem> {
    let answer = queries.sql(&sql, Some(statements::ROWS)).await?;
    let columns = answer.schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut rows = String::from("[");
    for batch in answer.collect().await? {
        let first = rows.len() == 1;
        json::arrays(&mut rows, &batch, first);
    }
    rows.push(']');
    Ok((columns, serde_json::from_str(&rows).map_err(internal)?))
}

/// Reads a question; what is wrong is named with its field.
fn read(body: &[u8], now: TimestampNs) -> Result<(Question, bool), Problem> {
    let fields: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("the body: {error}")))?;
    known(&fields, &FIELDS, "")?;
    let window = range(&fields, "", now)?;
    let baseline = match fields.get("baseline").filter(|value| !value.is_null()) {
        None => None,
        Some(Value::Object(fields)) => {
            known(fields, &RANGE, "baseline.")?;
            Some(range(fields, "baseline.", now)?)
        }
        Some(_) => return Err(Problem::bad_request("baseline: an object with start_time and end_time is needed")),
    };
    let words = match fields.get("query").filter(|value| !value.is_null()) {
        None => None,
        Some(Value::String(words)) => Some(words.clone()),
        Some(_) => return Err(Problem::bad_request("query is no string")),
    };
    let narrated = match fields.get("narrate").filter(|value| !value.is_null()) {
        None => true,
        Some(Value::Bool(narrated)) => *narrated,
        Some(_) => return Err(Problem::bad_request("narrate is neither true nor false")),
    };
    let question = Question::new(window, baseline, words).map_err(|wrong| Problem::bad_request(wrong.to_string()))?;
    Ok((question, narrated))
}

fn known(fields: &Map<String, Value>, names: &[&str], prefix: &str) -> Result<(), Problem> {
    let Some(unknown) = fields.keys().find(|name| !names.contains(&name.as_str())) else { return Ok(()) };
    let unknown: String = unknown.chars().take(64).collect();
    let text = format!("there is no field `{prefix}{unknown}` here; there are: {}", names.join(", "));
    Err(Problem::bad_request(text))
}

fn range(fields: &Map<String, Value>, prefix: &str, now: TimestampNs) -> Result<Range, Problem> {
    let time = |name: &str| {
        let text = match fields.get(name) {
            None | Some(Value::Null) => return Err(Problem::bad_request(format!("{prefix}{name} is missing"))),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(_) => return Err(Problem::bad_request(format!("{prefix}{name} is no time: write it as a string"))),
        };
        time::parse(&text, now).map_err(|error| Problem::bad_request(format!("{prefix}{name}: {error}")))
    };
    Ok(Range { start: time("start_time")?, end: time("end_time")? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: TimestampNs = 1_800_000_000_000_000_000;

    #[test]
    fn a_question_is_read() {
        let body = json!({"start_time": "now-15m", "end_time": NOW, "query": "checkout fails",
            "baseline": {"start_time": "now-2h", "end_time": "now-1h"}, "narrate": false});
        let (question, narrated) = read(body.to_string().as_bytes(), NOW).unwrap();
        assert!(!narrated);
        assert_eq!(question.window, Range { start: NOW - 900_000_000_000, end: NOW });
        assert_eq!(question.baseline.end, NOW - 3_600_000_000_000);
        assert_eq!(question.words.as_deref(), Some("checkout fails"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, part) in [
            (json!({}), "start_time"),
            (json!({"start_time": "now-1h"}), "end_time"),
            (json!({"start_time": "soon", "end_time": "now"}), "start_time"),
            (json!({"start_time": [1], "end_time": "now"}), "start_time"),
            (json!({"start_time": "now", "end_time": "now-1h"}), "start_time"),
            (json!({"start_time": "now-25h", "end_time": "now"}), "24 hours"),
            (json!({"start_time": "now-1h", "end_time": "now", "window": 1}), "window"),
            (json!({"start_time": "now-1h", "end_time": "now", "query": 1}), "query"),
            (json!({"start_time": "now-1h", "end_time": "now", "narrate": "no"}), "narrate"),
            (json!({"start_time": "now-1h", "end_time": "now", "baseline": "day"}), "baseline"),
            (
                json!({"start_time": "now-1h", "end_time": "now", "baseline": {"start_time": "now-2h"}}),
                "baseline.end_time",
            ),
            (json!({"start_time": "now-1h", "end_time": "now", "baseline": {"from": 1}}), "baseline.from"),
            (
                json!({"start_time": "now-1h", "end_time": "now", "baseline": {"start_time": "now-2h", "end_time": "now"}}),
                "baseline",
            ),
            (json!([]), "the body"),
        ] {
            let problem = read(body.to_string().as_bytes(), NOW).unwrap_err();
            assert!(problem.detail().contains(part), "{body}: {}", problem.detail());
        }
    }
}
