//! The web application at `/`, built into the program. Nothing in it is fetched from elsewhere.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "console/dist"]
struct Files;

/// Paths of the application's own pages: each is answered with the one page that it has.
const PAGES: [&str; 8] = ["/", "/logs", "/search", "/traces", "/map", "/promql", "/alerts", "/sql"];

/// What is served where the program was built without its console.
const NOT_BUILT: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>devmesh</title>\n\
    <h1>devmesh runs</h1>\n\
    <p>This program was built without its console. To have it, install Node and build once more:</p>\n\
    <pre>make build</pre>\n\
    <p>The API is here all the same: <a href=\"/docs\">/docs</a>.</p>\n</html>\n";

/// The file for a path; `None` where the console has none.
pub(crate) fn file(path: &str, headers: &HeaderMap) -> Option<Response> {
    let page = PAGES.contains(&path) || path.starts_with("/traces/");
    let name = if page { "index.html" } else { path.strip_prefix('/')? };
    let Some(file) = Files::get(name) else { return page.then(|| Html(NOT_BUILT).into_response()) };
    let hash: String = hex::encode(file.metadata.sha256_hash());
    let etag = format!("\"{}\"", hash.get(..32).unwrap_or(&hash));
    // Names under assets/ hold a hash of their content; the page itself must be asked for again.
    let cache = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = file.metadata.mimetype().to_owned();
        ([(header::CONTENT_TYPE, kind)], file.data.into_owned()).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    Some(response)
}
