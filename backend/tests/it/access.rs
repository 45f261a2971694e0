//! Tokens, at every door.

use serde_json::json;

use crate::server::{Server, devmesh, logs};

const SEND: &str = "send-0123456789abcdef";
const READ: &str = "read-0123456789abcdef";

fn guarded(dir: &tempfile::TempDir) -> Server {
    let send = format!("auth.ingest_tokens={SEND}");
    let read = format!("auth.read_tokens={READ}");
    Server::start_with(dir.path(), &["--http", "0.0.0.0:0", "--set", &send, "--set", &read])
}

#[test]
fn every_route_asks_for_the_token_of_its_scope() {
    let dir = tempfile::tempdir().unwrap();
    let server = guarded(&dir);
    let bearer = |token: &str| format!("Bearer {token}");
    let body = logs("a", &["one"]).to_string();
    let plain = json!({"logs": [{"message": "m"}]}).to_string();
    for (door, path, body) in
        [("otlp-http", "/v1/logs", &body), ("http", "/v1/logs", &body), ("http", "/ingest/logs", &plain)]
    {
        let send = |token: Option<&str>| {
            let token = token.map(bearer).unwrap_or_default();
            let mut headers = vec![("content-type", "application/json")];
            if !token.is_empty() {
                headers.push(("authorization", token.as_str()));
            }
            server.post(door, path, &headers, body.as_bytes()).status
        };
        assert_eq!(
            (send(None), send(Some("wrong")), send(Some(READ)), send(Some(SEND))),
            (401, 401, 403, 200),
            "{door} {path}"
        );
    }
    for path in [
        "/",
        "/info",
        "/metrics",
        "/docs",
        "/openapi.json",
        "/query/logs",
        "/query/tables",
        "/query/services",
        "/nothing",
    ] {
        let ask = |token: &str| server.get_with(path, &[("authorization", &bearer(token))]).status;
        let none = server.get(path);
        assert_eq!(none.status, 401, "{path}");
        assert!(none.header("www-authenticate").contains("Bearer"), "{path}");
        assert_eq!(none.problem(), server.get_with(path, &[("authorization", "Bearer wrong")]).problem());
        assert_eq!((ask("wrong"), ask(SEND)), (401, 403), "{path}");
        assert!([200, 404].contains(&ask(READ)), "{path}");
    }
    for path in ["/health", "/ready"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    // Row C20: a token in a URL would stand in every proxy's log.
    for (path, token) in [("/v1/logs", SEND), ("/ingest/logs", SEND), ("/query/sql", READ)] {
        for name in ["token", "access_token", "authorization"] {
            let path = format!("{path}?{name}={token}");
            let answer = server.post("http", &path, &[("content-type", "application/json")], plain.as_bytes());
            assert_eq!(answer.status, 401, "{path}");
        }
    }
    let log = server.log();
    assert!(!log.contains(SEND) && !log.contains(READ), "{log}");
}

#[test]
fn the_command_line_takes_the_token_from_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let server = guarded(&dir);
    let port = server.door("http").rsplit(':').next().unwrap().to_owned();
    let url = format!("http://127.0.0.1:{port}");
    let sql = |token: Option<&str>| {
        let mut command = devmesh();
        command.args(["sql", "SELECT 1 AS one", "--format", "csv", "--url", &url]);
        if let Some(token) = token {
            command.env("DEVMESH_TOKEN", token);
        }
        command.output().unwrap()
    };
    assert_eq!(sql(Some(READ)).stdout, b"one\r\n1\r\n");
    let refused = sql(None);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("token"));
}

/// An address of this machine that is not loopback's: wrong tokens are counted by address.
pub(crate) fn own_address() -> std::net::IpAddr {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent: connecting a datagram socket only looks for the way there.
    if socket.connect("192.0.2.1:9").is_ok() {
        return socket.local_addr().unwrap().ip();
    }
    // There is no way: the addresses of this machine are the local hosts among the kernel's routes.
    let routes = std::fs::read_to_string("/proc/net/fib_trie").unwrap();
    let hosts = routes.split("|-- ").filter(|route| route.contains("/32 host LOCAL"));
    let mut addresses = hosts.map(|route| route.lines().next().unwrap().parse::<std::net::IpAddr>().unwrap());
    addresses.find(|address| !address.is_loopback()).expect("an address besides loopback's")
}

#[test]
fn g6_wrong_tokens_are_slowed_and_a_right_one_from_the_same_address_never() {
    let dir = tempfile::tempdir().unwrap();
    let server = guarded(&dir);
    let address = own_address();
    let port = server.door("http").rsplit(':').next().unwrap();
    let ask = |token: &str| {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request =
            agent.get(format!("http://{address}:{port}/info")).header("authorization", format!("Bearer {token}"));
        let answer = request.call().unwrap();
        let after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
        (answer.status().as_u16(), after)
    };
    for _ in 0..10 {
        assert_eq!(ask("guess-0123456789"), (401, None));
    }
    for _ in 0..3 {
        let (status, after) = ask("guess-0123456789");
        assert!(status == 429 && after.is_some_and(|after| (1..=60).contains(&after)), "{status} {after:?}");
        assert_eq!(ask(READ), (200, None));
        assert_eq!(ask(SEND), (403, None));
    }
}
