//! The tools: what each is for, what it takes, and which call of the API it is.

use std::sync::{Arc, OnceLock};

use axum::http::Method;
use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

use super::Call;

/// Rows of an answer in SQL where the caller names no number, and at most: more than a model reads is asked for as a group.
const ROWS: u64 = 100;
const ROWS_MAX: u64 = 1_000;
/// Entries of the lists of patterns, likewise.
const PATTERNS: u64 = 50;

/// The arguments of a call.
type Arguments = Map<String, Value>;

/// A tool.
pub(super) struct Definition {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    /// The JSON schema of its arguments: `properties`, and which of them are needed.
    properties: Value,
    required: &'static [&'static str],
    call: fn(&Arguments) -> Result<Call, String>,
    /// Fields of the answer that repeat others.
    repeats: &'static [&'static str],
}

const SQL: &str = "Answers one read-only SQL query (SELECT, WITH, DESCRIBE, SHOW TABLES) over all telemetry. Dialect: DataFusion, close to \
    PostgreSQL. Tables:\n\
    - logs: time, service, host, level (TRACE DEBUG INFO WARN ERROR FATAL), severity_number, body, trace_id, span_id, pattern_id, source, \
    attributes, resource_attributes\n\
    - spans: time, end_time, duration_ns, service, host, name, kind (SERVER CLIENT INTERNAL PRODUCER CONSUMER), status_code (UNSET OK ERROR), \
    status_message, trace_id, span_id, parent_span_id, attributes, resource_attributes, events, links\n\
    - metrics: time, service, host, name, unit, kind (gauge sum histogram exponential_histogram summary), temporality, is_monotonic, value, \
    count, sum, min, max, attributes, resource_attributes\n\
    - views: log_patterns, services, service_edges, incidents; DESCRIBE logs lists the columns of a table.\n\
    attributes['http.route'] reads an attribute. matches(body, 'connection refused') is true where every word stands in the body. \
    semantic('payment declined') is a table of pattern_id, template, score to join with logs. Always bound the time: \
    time >= now() - INTERVAL '1 hour'. Group and count rather than list rows. Examples:\n\
    SELECT service, level, count(*) AS n FROM logs WHERE time >= now() - INTERVAL '1 hour' GROUP BY 1, 2 ORDER BY n DESC\n\
    SELECT date_bin(INTERVAL '1 minute', time) AS minute, count(*) AS calls, count(*) FILTER (WHERE status_code = 'ERROR') AS errors FROM \
    spans WHERE service = 'checkout' AND time >= now() - INTERVAL '1 hour' GROUP BY 1 ORDER BY 1\n\
    SELECT trace_id, name, duration_ns / 1e6 AS ms FROM spans WHERE parent_span_id IS NULL AND time >= now() - INTERVAL '15 minutes' ORDER BY \
    duration_ns DESC LIMIT 10\n\
    SELECT time, body FROM logs WHERE service = 'payment' AND level = 'ERROR' AND time >= now() - INTERVAL '1 hour' ORDER BY time DESC LIMIT 20";

const SEARCH: &str = "Finds logs by what they mean: a question in plain words gives the patterns of logs (templates with <*> for what varies) \
    that answer it, best first, each with its count, services, levels, first and last time, and examples. Ids and names in the question \
    (order_4711, 10.0.0.7) are looked up in the logs themselves. `pattern_id` can be used in SQL: logs.pattern_id.";

const EXPLAIN: &str = "Says what happened in a window of time and why. Compares the window with a baseline before it, across logs, traces and \
    metrics, and answers with a verdict (incident, no_incident, inconclusive), suspects in order with a confidence from 0 to 1, a \
    timeline, and evidence e1, e2, … with the SQL that proves each. No language model takes part. Cite evidence by its id. A verdict of \
    no_incident or inconclusive is an answer: do not make up a cause.";

const TRACE: &str = "Shows one request by its trace id: its spans in order of their start with depth, own time and status, the critical path, and \
    the logs that were written on the way. Trace ids stand in logs and spans: SELECT trace_id FROM spans WHERE status_code = 'ERROR' AND \
    time >= now() - INTERVAL '1 hour' LIMIT 10";

const SERVICE_MAP: &str = "Shows who calls whom: services with calls, errors and latencies (p50, p95, p99), and the edges between them with theirs. \
    Derived from spans in the given time; without one, from all of them.";

const PATTERNS_ABOUT: &str = "Lists what the logs say as patterns (templates with <*> for what varies) with their counts, the most frequent first. \
    With `compare_start` it says instead what is different from that earlier time: new, gone, more, fewer. That is the quickest way to see \
    what changed in the logs.";

/// A time.
fn time(what: &str) -> Value {
    json!({"type": "string", "description": format!("{what}: RFC 3339, Unix nanoseconds, or relative such as now-15m"), "examples": ["now-1h"]})
}

fn text(what: &str) -> Value {
    json!({ "type": "string", "description": what })
}

fn number(what: &str, least: u64, most: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most, "description": what })
}

/// All of them, in the order in which they are shown.
pub(super) fn all() -> &'static [Definition] {
    static ALL: OnceLock<Vec<Definition>> = OnceLock::new();
    ALL.get_or_init(|| vec![explain(), sql(), semantic_search(), patterns(), trace(), service_map()])
}

/// The tool of a name.
pub(super) fn find(name: &str) -> Option<&'static Definition> {
    all().iter().find(|tool| tool.name == name)
}

/// Their names.
pub(super) fn names() -> String {
    all().iter().map(|tool| tool.name).collect::<Vec<_>>().join(", ")
}

fn sql() -> Definition {
    Definition {
        name: "sql",
        title: "Ask in SQL",
        description: SQL,
        properties: json!({
            "sql": text("One query that only reads."),
            "limit": number("Rows at most: 100 unless said otherwise.", 1, ROWS_MAX),
        }),
        required: &["sql"],
        call: |arguments| {
            let limit = match arguments.get("limit") {
                None => json!(ROWS),
                Some(limit) => limit.as_u64().map_or_else(|| limit.clone(), |limit| json!(limit.min(ROWS_MAX))),
            };
            Ok(post("/query/sql", json!({ "sql": arguments.get("sql"), "limit": limit })))
        },
        repeats: &[],
    }
}

fn semantic_search() -> Definition {
    Definition {
        name: "semantic_search",
        title: "Search logs by meaning",
        description: SEARCH,
        properties: json!({
            "query": text("The question, in plain words."),
            "top_k": number("Patterns at most: 10 unless said otherwise.", 1, 100),
            "start_time": time("Only logs from then on"),
            "end_time": time("Only logs before"),
            "service": text("Only logs of this service."),
            "level": text("Only logs of this level, such as ERROR."),
        }),
        required: &["query"],
        call: |arguments| Ok(post("/search/semantic", Value::Object(arguments.clone()))),
        repeats: &[],
    }
}

fn explain() -> Definition {
    Definition {
        name: "explain",
        title: "Explain a window of time",
        description: EXPLAIN,
        properties: json!({
            "start_time": time("Begin of the window, at most 24 hours before its end"),
            "end_time": time("End of the window, exclusive"),
            "query": text("What was noticed, in words: services that it names come first among equals."),
            "baseline_start": time("Begin of the time to compare with, before the window; chosen by the server unless given"),
            "baseline_end": time("End of the time to compare with"),
        }),
        required: &["start_time", "end_time"],
        call: |arguments| {
            let mut body = arguments.clone();
            let baseline = (body.remove("baseline_start"), body.remove("baseline_end"));
            match baseline {
                (None, None) => {}
                (Some(start), Some(end)) => {
                    body.insert("baseline".to_owned(), json!({ "start_time": start, "end_time": end }));
                }
                _ => return Err("baseline_start and baseline_end: give both, or neither".to_owned()),
            }
            // The client's own model words it.
            body.insert("narrate".to_owned(), json!(false));
            Ok(post("/explain/incident", Value::Object(body)))
        },
        repeats: &["markdown"],
    }
}

fn trace() -> Definition {
    Definition {
        name: "trace",
        title: "Show a trace",
        description: TRACE,
        properties: json!({ "trace_id": text("32 hexadecimal digits.") }),
        required: &["trace_id"],
        call: |arguments| {
            let id = arguments.get("trace_id").and_then(Value::as_str).unwrap_or_default();
            if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(
                    "trace_id: it has 32 hexadecimal digits; find one with sql in the tables logs or spans".to_owned()
                );
            }
            Ok(Call { method: Method::GET, path: format!("/query/traces/{id}"), body: None })
        },
        repeats: &[],
    }
}

fn service_map() -> Definition {
    Definition {
        name: "service_map",
        title: "Show who calls whom",
        description: SERVICE_MAP,
        properties: json!({ "start_time": time("Only spans from then on"), "end_time": time("Only spans before") }),
        required: &[],
        call: |arguments| get("/query/service-map", arguments),
        repeats: &[],
    }
}

fn patterns() -> Definition {
    Definition {
        name: "patterns",
        title: "List patterns of logs, or what changed in them",
        description: PATTERNS_ABOUT,
        properties: json!({
            "start_time": time("Only logs from then on; needed for a comparison"),
            "end_time": time("Only logs before"),
            "service": text("Only logs of this service."),
            "compare_start": time("Begin of the earlier time to compare with"),
            "compare_end": time("End of the earlier time; start_time unless said otherwise"),
            "limit": number("Entries of each list at most: 50 unless said otherwise.", 1, 1_000),
        }),
        required: &[],
        call: |arguments| {
            let mut arguments = arguments.clone();
            arguments.entry("limit").or_insert_with(|| json!(PATTERNS));
            get("/query/patterns", &arguments)
        },
        repeats: &[],
    }
}

fn post(path: &str, body: Value) -> Call {
    Call { method: Method::POST, path: path.to_owned(), body: Some(body) }
}

fn get(path: &str, arguments: &Arguments) -> Result<Call, String> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in arguments {
        match value {
            Value::String(text) => query.append_pair(name, text),
            Value::Number(number) => query.append_pair(name, &number.to_string()),
            _ => return Err(format!("{name} is neither a text nor a number")),
        };
    }
    Ok(Call { method: Method::GET, path: format!("{path}?{}", query.finish()), body: None })
}

impl Definition {
    /// As clients see it.
    pub(super) fn shown(&self) -> Tool {
        let schema = json!({
            "type": "object", "properties": self.properties, "required": self.required, "additionalProperties": false,
        });
        let answer = json!({
            "type": "object",
            "properties": {
                "about": {"type": "string", "description": "What kind of text this is."},
                "answer": {"type": "object", "description": "What the server answers."},
                "cut": {"type": "array", "items": {"type": "string"}, "description": "What was left out, where something was."},
            },
            "required": ["about", "answer"],
        });
        let object = |value: Value| Arc::new(value.as_object().cloned().unwrap_or_default());
        Tool::new(self.name, self.description, object(schema))
            .with_title(self.title)
            .with_raw_output_schema(object(answer))
            .with_annotations(
                ToolAnnotations::with_title(self.title)
                    .read_only(true)
                    .destructive(false)
                    .idempotent(true)
                    .open_world(false),
            )
    }

    /// The call of the API that answers it. NULL is as good as nothing.
    ///
    /// # Errors
    /// An argument that is unknown, missing or wrong in a way that the API could not name.
    pub(super) fn call(&self, arguments: &Arguments) -> Result<Call, String> {
        let known = self.properties.as_object().into_iter().flat_map(Map::keys);
        let known: Vec<&str> = known.map(String::as_str).collect();
        if let Some(unknown) = arguments.keys().find(|name| !known.contains(&name.as_str())) {
            let unknown: String = unknown.chars().take(64).collect();
            return Err(format!("{} takes no argument `{unknown}`; it takes: {}", self.name, known.join(", ")));
        }
        let mut given = arguments.clone();
        given.retain(|_, value| !value.is_null());
        if let Some(missing) = self.required.iter().find(|name| !given.contains_key(**name)) {
            return Err(format!("{}: the argument `{missing}` is missing", self.name));
        }
        (self.call)(&given)
    }

    /// Leaves out of an answer what stands in it twice.
    pub(super) fn spare(&self, answer: &mut Value) {
        if let Some(fields) = answer.as_object_mut() {
            fields.retain(|name, _| !self.repeats.contains(&name.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(tool: &str, arguments: Value) -> Result<Call, String> {
        find(tool).unwrap().call(arguments.as_object().unwrap())
    }

    #[test]
    fn each_tool_is_one_call_of_the_api() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        for (tool, arguments, expected) in [
            ("sql", json!({"sql": "SELECT 1"}), post("/query/sql", json!({"sql": "SELECT 1", "limit": 100}))),
            ("sql", json!({"sql": "x", "limit": 7}), post("/query/sql", json!({"sql": "x", "limit": 7}))),
            ("sql", json!({"sql": "x", "limit": 90_000}), post("/query/sql", json!({"sql": "x", "limit": 1000}))),
            ("semantic_search", json!({"query": "q", "level": null}), post("/search/semantic", json!({"query": "q"}))),
            (
                "explain",
                json!({"start_time": "now-1h", "end_time": "now", "baseline_start": "now-3h", "baseline_end": "now-2h"}),
                post(
                    "/explain/incident",
                    json!({"start_time": "now-1h", "end_time": "now", "narrate": false, "baseline": {"start_time": "now-3h", "end_time": "now-2h"}}),
                ),
            ),
            ("trace", json!({"trace_id": id}), get(&format!("/query/traces/{id}"), &Map::new()).unwrap()),
            (
                "patterns",
                json!({"service": "a&b=c", "limit": 3}),
                Call { method: Method::GET, path: "/query/patterns?service=a%26b%3Dc&limit=3".to_owned(), body: None },
            ),
        ] {
            let mut found = call(tool, arguments.clone()).unwrap();
            found.path = found.path.trim_end_matches('?').to_owned();
            let expected = Call { path: expected.path.trim_end_matches('?').to_owned(), ..expected };
            assert_eq!(found.method, expected.method, "{tool} {arguments}");
            assert_eq!(found.body, expected.body, "{tool} {arguments}");
            let sorted = |path: &str| {
                let (path, query) = path.split_once('?').unwrap_or((path, ""));
                let mut pairs: Vec<String> = query.split('&').map(str::to_owned).collect();
                pairs.sort();
                (path.to_owned(), pairs)
            };
            assert_eq!(sorted(&found.path), sorted(&expected.path), "{tool} {arguments}");
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (tool, arguments, part) in [
            ("sql", json!({}), "`sql` is missing"),
            ("sql", json!({"sql": null}), "`sql` is missing"),
            ("sql", json!({"sql": "x", "format": "arrow"}), "no argument `format`; it takes: limit, sql"),
            ("trace", json!({"trace_id": "../sql"}), "32 hexadecimal digits"),
            ("trace", json!({"trace_id": 7}), "32 hexadecimal digits"),
            ("explain", json!({"start_time": "now-1h", "end_time": "now", "baseline_end": "now"}), "give both"),
            ("service_map", json!({"start_time": {"a": 1}}), "start_time is neither"),
        ] {
            let wrong = call(tool, arguments.clone()).unwrap_err();
            assert!(wrong.contains(part), "{tool} {arguments}: {wrong}");
        }
    }

    #[test]
    fn every_tool_only_reads_and_says_so_and_every_argument_is_described() {
        for tool in all() {
            let shown = serde_json::to_value(tool.shown()).unwrap();
            assert_eq!(shown["annotations"]["readOnlyHint"], true, "{shown}");
            assert_eq!(shown["inputSchema"]["additionalProperties"], false);
            assert!(shown["description"].as_str().unwrap().len() > 100, "{shown}");
            for (name, property) in shown["inputSchema"]["properties"].as_object().unwrap() {
                assert!(property["description"].as_str().unwrap().len() > 10, "{name}");
            }
            for needed in tool.required {
                assert!(tool.properties.get(*needed).is_some(), "{needed}");
            }
        }
    }
}
