//! `/openapi.json`, and the same as a page at `/docs`: written by the server, without a script or a foreign request.

use axum::{
    Json,
    http::header,
    response::{Html, IntoResponse},
};
use serde_json::Value;
use utoipa::{OpenApi, openapi};

/// The description of the API, from the handlers themselves.
#[derive(OpenApi)]
#[openapi(
    info(title = "devmesh", description = "Telemetry in, durable, answers out in SQL."),
    tags(
        (name = "ingest", description = "Sending telemetry. Success means that it is durable."),
        (name = "query", description = "Asking. Times are RFC 3339, Unix nanoseconds, or relative: now-15m."),
        (name = "prometheus", description = "PromQL, as Prometheus answers it. Each GET may be a POST with a form."),
        (name = "alerts", description = "Alerts, and the rules that find them."),
        (name = "server", description = "The server itself."),
    ),
    paths(
        super::health::health,
        super::health::ready,
        super::health::info,
        super::metrics::metrics,
        super::sql::sql,
        super::tables::tables,
        super::lists::logs,
        super::lists::traces,
        super::lists::trace,
        super::lists::services,
        super::lists::service_map,
        super::patterns::patterns,
        super::search::semantic,
        super::explain::incident,
        super::ask::ask,
        super::mcp::mcp,
        super::incidents::incidents,
        super::incidents::incident,
        super::incidents::open,
        super::incidents::close,
        super::incidents::anomalies,
        super::incidents::state,
        super::graph::nodes,
        super::graph::neighbors,
        super::graph::path,
        super::tail::tail,
        super::prometheus::query,
        super::prometheus::query_range,
        super::prometheus::series,
        super::prometheus::labels,
        super::prometheus::label_values,
        super::prometheus::metadata,
        super::prometheus::query_exemplars,
        super::prometheus::format_query,
        super::prometheus::parse_query,
        super::prometheus::buildinfo,
        super::prometheus::rules::rules,
        super::prometheus::rules::alerts,
        super::alerts::alerts,
        super::alerts::rules,
        super::alerts::rule,
        super::alerts::make,
        super::alerts::unmake,
        super::alerts::unmake_named,
        super::ingest::v1_logs,
        super::ingest::v1_traces,
        super::ingest::v1_metrics,
        super::ingest::otlp_v1_metrics,
        super::ingest::remote_write,
        super::ingest::ingest_logs,
        super::ingest::ingest_traces,
    )
)]
struct Description;

/// The description as OpenAPI 3.1.
pub(super) async fn openapi() -> Json<openapi::OpenApi> {
    Json(Description::openapi())
}

/// The style sheet of the page: a file of its own, since the policy of all pages allows no inline one.
pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)
}

/// The description as a page.
pub(super) async fn page() -> Html<String> {
    let description = serde_json::to_value(Description::openapi()).unwrap_or_default();
    Html(render(&description))
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
    color-scheme:light dark}code,pre{font-family:ui-monospace,monospace}h3 code{font-size:1.05rem}\
    table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;\
    border-bottom:1px solid #8884}details{margin:.5rem 0}pre{overflow:auto;background:#8881;padding:.75rem}\
    .method{font-weight:700;text-transform:uppercase}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Text as it stands in doc comments: what is between backticks is code.
fn prose(text: &str) -> String {
    let mut parts = text.split('`').map(escape).collect::<Vec<_>>();
    // The last backtick of an odd number begins nothing.
    if parts.len().is_multiple_of(2)
        && let Some(last) = parts.pop()
        && let Some(before) = parts.last_mut()
    {
        *before = format!("{before}`{last}");
    }
    let code = |(index, part): (usize, String)| if index % 2 == 0 { part } else { format!("<code>{part}</code>") };
    parts.into_iter().enumerate().map(code).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn objects<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.get(key).and_then(Value::as_object).into_iter().flatten()
}

fn render(description: &Value) -> String {
    let mut page = String::new();
    let info = description.get("info").unwrap_or(&Value::Null);
    page.push_str(&format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>devmesh API</title>\
         <link rel=\"icon\" href=\"/favicon.svg\" type=\"image/svg+xml\"><link rel=\"stylesheet\" href=\"/docs.css\"><h1>devmesh {} API</h1><p>{} Machine-readable: <a href=\"/openapi.json\">/openapi.json</a>. Errors are \
         <code>application/problem+json</code>: type, title, status, detail.</p>",
        escape(text(info, "version")),
        prose(text(info, "description")),
    ));
    for tag in description.get("tags").and_then(Value::as_array).into_iter().flatten() {
        page.push_str(&format!("<h2>{}</h2><p>{}</p>", escape(text(tag, "name")), prose(text(tag, "description"))));
        for (path, methods) in objects(description, "paths") {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                let tags = operation.get("tags").and_then(Value::as_array);
                if tags.is_some_and(|tags| tags.contains(tag.get("name").unwrap_or(&Value::Null))) {
                    operation_html(&mut page, path, method, operation);
                }
            }
        }
    }
    page.push_str("<h2>Shapes</h2>");
    for (name, schema) in description.get("components").into_iter().flat_map(|all| objects(all, "schemas")) {
        let pretty = serde_json::to_string_pretty(schema).unwrap_or_default();
        page.push_str(&format!(
            "<details id=\"{0}\"><summary><code>{0}</code></summary><pre>{1}</pre></details>",
            escape(name),
            escape(&pretty)
        ));
    }
    page.push_str("</html>");
    page
}

fn operation_html(page: &mut String, path: &str, method: &str, operation: &Value) {
    let summary = [text(operation, "summary"), text(operation, "description")].join(" ");
    page.push_str(&format!(
        "<h3><code><span class=\"method\">{}</span> {}</code></h3><p>{}</p>",
        escape(method),
        escape(path),
        prose(summary.trim())
    ));
    let parameters: Vec<&Value> = operation.get("parameters").and_then(Value::as_array).into_iter().flatten().collect();
    if !parameters.is_empty() {
        page.push_str("<table>");
        for parameter in parameters {
            page.push_str(&format!(
                "<tr><td><code>{}</code></td><td>{}</td></tr>",
                escape(text(parameter, "name")),
                prose(text(parameter, "description"))
            ));
        }
        page.push_str("</table>");
    }
    let reference = |value: &Value| {
        let content = value.get("content").and_then(Value::as_object)?;
        let schema = content.values().next()?.get("schema")?;
        let name = schema.get("$ref").or_else(|| schema.get("items")?.get("$ref"))?.as_str()?;
        name.rsplit('/').next().map(str::to_owned)
    };
    if let Some(name) = operation.get("requestBody").and_then(reference) {
        page.push_str(&format!("<p>Takes <a href=\"#{0}\">{0}</a>.</p>", escape(&name)));
    }
    for (status, response) in objects(operation, "responses") {
        let name = reference(response);
        let link = name.map_or_else(String::new, |name| format!("<a href=\"#{0}\">{0}</a>", escape(&name)));
        page.push_str(&format!(
            "<p><code>{}</code> {} {link}</p>",
            escape(status),
            prose(text(response, "description"))
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_backticks_is_code_and_nothing_is_markup() {
        for (text, html) in [
            ("plain <b>", "plain &lt;b&gt;"),
            ("columns of `log_events`.", "columns of <code>log_events</code>."),
            ("`a < b` and `c`", "<code>a &lt; b</code> and <code>c</code>"),
            ("an odd ` one", "an odd ` one"),
            ("`a` and ` b", "<code>a</code> and ` b"),
            ("", ""),
        ] {
            assert_eq!(prose(text), html, "{text}");
        }
    }

    #[test]
    fn no_backtick_is_left_on_the_page_but_in_the_shapes() {
        let page = render(&serde_json::to_value(Description::openapi()).unwrap());
        let (operations, shapes) = page.split_once("<h2>Shapes</h2>").unwrap();
        assert!(!operations.contains('`') && operations.contains("<code>log_events</code>"), "{operations}");
        assert!(shapes.contains("<details"));
    }
}
