//! What a browser gets: the console, and headers that keep it safe.

use crate::server::Server;

#[test]
fn every_answer_has_the_headers_that_keep_a_browser_safe() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for path in
        ["/", "/health", "/docs", "/openapi.json", "/metrics", "/nothing", "/query/logs", "/query/logs?x", "/logs"]
    {
        let answer = server.get(path);
        for (name, part) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none'"),
            ("content-security-policy", "frame-ancestors 'none'"),
            ("content-security-policy", "script-src 'self';"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("permissions-policy", "camera=()"),
        ] {
            assert!(answer.header(name).contains(part), "{path}: {name}: {}", answer.header(name));
        }
        let cached = answer.header("cache-control");
        assert!(cached == "no-store" || cached == "no-cache", "{path}: {cached}");
        assert_eq!(answer.header("server"), "", "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
    }
}

#[test]
fn the_console_is_served_and_its_pages_are_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let page = server.get("/");
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"));
    for path in ["/logs", "/search", "/traces", "/sql", "/traces/0af7651916cd43dd8448eb211c80319c"] {
        assert_eq!(server.get(path).body, page.body, "{path}");
    }
    let etag = page.header("etag").to_owned();
    assert_eq!(server.get_with("/", &[("if-none-match", &etag)]).status, 304);
    for asset in page.text().split('"').filter(|part| part.starts_with("/assets/")) {
        let answer = server.get(asset);
        assert_eq!(answer.status, 200, "{asset}");
        assert!(answer.header("cache-control").contains("immutable"), "{asset}");
    }
}

#[test]
fn what_is_not_there_is_a_problem_and_no_page() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for path in
        ["/nothing", "/assets/none.js", "/assets/..%2findex.html", "/index.html/x", "/query", "/%2e%2e/etc/passwd"]
    {
        let answer = server.get(path);
        assert_eq!(answer.status, 404, "{path}");
        answer.problem();
    }
    let answer = server.post("http", "/health", &[], b"");
    assert_eq!(answer.status, 405);
    answer.problem();
}

#[test]
fn a_foreign_name_is_refused_on_loopback() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--set", "http.hosts=obs.example"]);
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io"] {
        let answer = server.get_with("/query/logs", &[("host", host)]);
        assert_eq!(answer.status, 403, "{host}");
        answer.problem();
    }
    for host in ["localhost:8000", "127.0.0.1", "[::1]:1", "obs.example"] {
        assert_eq!(server.get_with("/query/logs", &[("host", host)]).status, 200, "{host}");
    }
}

#[test]
fn a_page_of_another_site_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--set", "http.hosts=obs.example"]);
    let own = format!("http://{}", server.door("http"));
    let rule = br#"{"name": "Boom", "expr": "up == 0"}"#;
    for (origin, status) in [
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("https://obs.example", 201),
        ("http://localhost:5173", 201),
        (own.as_str(), 201),
    ] {
        let headers = [("content-type", "application/json"), ("origin", origin)];
        let answer = server.post("http", "/v1/alert-rules", &headers, rule);
        assert_eq!(answer.status, status, "{origin}: {}", answer.text());
        if let Some(id) = answer.json()["id"].as_str() {
            assert_eq!(server.delete(&format!("/v1/alert-rules/{id}")).status, 204);
        }
    }
}
