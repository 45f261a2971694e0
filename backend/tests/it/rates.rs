//! How much one sender may send, against the real program: rows B26 and C18 of the bad-input catalogue, requirement S36.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use serde_json::json;

use crate::{
    access::own_address,
    safeguards::figure,
    server::{Server, logs},
};

const NOISY: &str = "noisy-0123456789abcdef";
const QUIET: &str = "quiet-0123456789abcdef";

/// Status, and what `Retry-After` says.
fn send(agent: &ureq::Agent, url: &str, token: &str, body: &str) -> (u16, Option<u64>) {
    let mut request = agent.post(url).header("content-type", "application/json");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut answer = request.send(body).unwrap();
    // Read to its end, so that the connection is used again.
    answer.body_mut().read_to_vec().unwrap();
    let after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
    (answer.status().as_u16(), after)
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

#[test]
fn c18_many_requests_of_one_record_are_stored_or_told_to_come_back_and_what_is_acknowledged_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = format!("auth.ingest_tokens={NOISY},{QUIET}");
    let server = Server::start_with(dir.path(), &["--set", &tokens, "--set", "rate.requests=5"]);
    let url = format!("http://{}/v1/logs", server.door("otlp-http"));
    let (acknowledged, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let body = logs("noisy", &["one"]).to_string();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let agent = agent();
                for _ in 0..250 {
                    match send(&agent, &url, NOISY, &body) {
                        (200, None) => acknowledged.fetch_add(1, Relaxed),
                        (429, Some(1..=60)) => refused.fetch_add(1, Relaxed),
                        other => panic!("{other:?}"),
                    };
                }
            });
        }
    });
    let (acknowledged, refused) = (acknowledged.into_inner(), refused.into_inner());
    assert_eq!(acknowledged + refused, 2000);
    assert!(acknowledged >= 10, "twice the rate may come at once: {acknowledged}");
    assert!(refused > 0, "2000 requests in less than 6 minutes");
    assert_eq!(server.value("SELECT count(*) FROM logs"), json!(acknowledged));
    assert!(figure(&server, "devmesh_commits_total") <= acknowledged, "a commit may hold many requests");
    assert_eq!(figure(&server, "devmesh_refused_requests_total{door=\"otlp-http\",reason=\"rate_limited\"}"), refused);
    assert_eq!(figure(&server, "devmesh_limit{name=\"rate_requests\"}"), 5);
    // Another sender does not feel it.
    assert_eq!(send(&agent(), &url, QUIET, &logs("quiet", &["two"]).to_string()), (200, None));
    assert_eq!(figure(&server, "devmesh_rate_senders"), 2);
}

#[test]
fn b26_an_address_is_limited_whatever_its_tokens_and_this_machine_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(
        dir.path(),
        &["--otlp-http", "0.0.0.0:0", "--insecure", "--set", "rate.items=1", "--set", "rate.requests=0"],
    );
    let port = server.door("otlp-http").rsplit(':').next().unwrap();
    let url = |address: IpAddr| format!("http://{address}:{port}/v1/logs");
    let many = logs("many", &["x"; 60]).to_string();
    let (here, elsewhere) = (url([127, 0, 0, 1].into()), url(own_address()));
    for _ in 0..3 {
        assert_eq!(send(&agent(), &here, "", &many), (200, None));
    }
    assert_eq!(send(&agent(), &elsewhere, "", &many), (200, None));
    let (status, after) = send(&agent(), &elsewhere, "", &many);
    assert!(status == 429 && after.is_some_and(|after| (1..=60).contains(&after)), "{status} {after:?}");
    assert_eq!(send(&agent(), &here, "", &many), (200, None));
    assert_eq!(server.value("SELECT count(*) FROM logs"), json!(300));
    assert_eq!(figure(&server, "devmesh_rate_senders"), 1);
}
