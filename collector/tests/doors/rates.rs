//! What one sender may send: row B26 of the bad-input catalogue and requirement S36.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use devmesh_collector::{Denied, Door, Guard, Rates, Reason, Settings};
use devmesh_schema::{Signal, limits};
use http::HeaderMap;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::*;

/// Knows the tokens `a` and `b`: connections of a test come from this machine, which has no limit without one.
#[derive(Debug)]
struct Tokens;

impl Guard for Tokens {
    fn check(&self, headers: &HeaderMap, _peer: Option<IpAddr>) -> Result<Option<usize>, Denied> {
        match headers.get("authorization").map(|value| value.as_bytes()) {
            Some(b"Bearer a") => Ok(Some(0)),
            Some(b"Bearer b") => Ok(Some(1)),
            _ => Err(Denied::Unknown),
        }
    }
}

async fn limited(rates: Rates) -> Server {
    Server::with(Settings { guard: Some(Arc::new(Tokens)), rates, ..Settings::default() }).await
}

fn refused(server: &Server, door: Door) -> u64 {
    server.intake.counters().refused(door, Reason::RateLimited)
}

#[tokio::test]
async fn b26_over_the_rate_is_429_with_retry_after_and_in_grpc_resource_exhausted_with_retry_info() {
    let server = limited(Rates { items: 1, ..Rates::default() }).await;
    let post = async |token: &str| {
        let headers = [("content-type", PROTOBUF), ("authorization", token)];
        let records = (0..30).map(|n| log(&n.to_string())).collect();
        server.client.send(server.http, "/v1/logs", &headers, logs(records).into()).await
    };
    // Two items may come at once, so that it owes half a minute's.
    assert_eq!(post("Bearer a").await.status.as_u16(), 200);
    let over = post("Bearer a").await;
    let seconds: u64 = over.header("retry-after").parse().unwrap();
    assert!(over.status.as_u16() == 429 && (1..=60).contains(&seconds), "{} {seconds}", over.status);
    let status = over.status_message();
    assert!(status.code == 8 && status.retry_delay().is_some_and(|delay| (1..=60).contains(&delay)), "{status:?}");

    let call = server.client.call(server.grpc, LOGS, &[("authorization", "Bearer a")], frame(0, &[])).await;
    let delay = call.retry_delay().unwrap();
    assert!(call.code == 8 && (1..=60).contains(&delay), "{call:?}");
    assert!(call.message.contains("more than one sender may"), "{}", call.message);

    let headers = [("content-type", JSON), ("authorization", "Bearer a")];
    let plain = server.client.send(server.api, "/ingest/logs", &headers, r#"{"logs":[{"message":"x"}]}"#.into()).await;
    let seconds: u64 = plain.header("retry-after").parse().unwrap();
    assert!(plain.status.as_u16() == 429 && (1..=60).contains(&seconds));
    assert_eq!((plain.header("content-type"), &plain.json()["status"]), ("application/problem+json", &429.into()));

    // Nothing of what was refused is stored, it is counted, and another sender does not feel it.
    assert_eq!(server.recorder.count(Signal::Logs), 30);
    assert_eq!([Door::OtlpHttp, Door::OtlpGrpc, Door::Direct].map(|door| refused(&server, door)), [1, 1, 1]);
    assert_eq!(post("Bearer b").await.status.as_u16(), 200);
    assert_eq!((server.intake.senders(), server.intake.bytes_held()), (2, 0));
}

#[tokio::test]
async fn b26_a_request_that_was_refused_is_taken_when_it_comes_back_after_the_time_it_was_told() {
    let server = limited(Rates { items: 10, ..Rates::default() }).await;
    let headers = [("content-type", PROTOBUF), ("authorization", "Bearer a")];
    let body = Bytes::from(logs((0..40).map(|n| log(&n.to_string())).collect()));
    let send = || server.client.send(server.http, "/v1/logs", &headers, body.clone());
    // A request of more items than a bucket holds gets through; the debt of twenty is waited for.
    assert_eq!(send().await.status.as_u16(), 200);
    let over = send().await;
    let told: u64 = over.header("retry-after").parse().unwrap();
    assert!(over.status.as_u16() == 429 && (1..=3).contains(&told), "{} {told}", over.status);
    let started = Instant::now();
    let taken = limit(async {
        loop {
            let waited = started.elapsed() >= Duration::from_secs(told);
            let status = send().await.status.as_u16();
            assert!(status == 200 || !waited, "{status} after {:?}", started.elapsed());
            if status == 200 {
                return;
            }
        }
    });
    taken.await;
    assert_eq!(server.recorder.count(Signal::Logs), 80);
}

#[tokio::test]
async fn b26_bytes_are_counted_decompressed_and_by_every_door() {
    let server = limited(Rates { bytes: 100_000, ..Rates::default() }).await;
    let body = logs(vec![log(&"x".repeat(2_000_000))]);
    let packed = gzip(&body);
    assert!(packed.len() < 5000);
    let token = ("authorization", "Bearer a");
    let headers = [("content-type", PROTOBUF), ("content-encoding", "gzip"), token];
    assert_eq!(server.client.send(server.http, "/v1/logs", &headers, packed.clone().into()).await.status.as_u16(), 200);
    assert_eq!(server.client.send(server.http, "/v1/logs", &headers, packed.clone().into()).await.status.as_u16(), 429);
    assert_eq!(server.client.call(server.grpc, LOGS, &[token], frame(0, &body)).await.code, 8);
    let token = ("authorization", "Bearer b");
    let metadata = [("grpc-encoding", "gzip"), token];
    assert_eq!(server.client.call(server.grpc, LOGS, &metadata, frame(1, &packed)).await.code, 0);
    assert_eq!(server.client.call(server.grpc, LOGS, &metadata, frame(1, &packed)).await.code, 8);
}

#[tokio::test]
async fn b26_the_answer_reaches_a_sender_that_writes_its_whole_body_first_and_the_connection_stays() {
    let server = limited(Rates { bytes: 1000, ..Rates::default() }).await;
    let body = logs(vec![log(&"x".repeat(limits::LOG_BODY_BYTES))]);
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\nauthorization: Bearer a\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    for expected in [200, 429, 429] {
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{expected}: {answer}");
        // The rest of the answer is the status.
        if expected == 429 && !answer.contains("sender") {
            read_until(&mut stream, "sender may").await;
        }
    }
}
