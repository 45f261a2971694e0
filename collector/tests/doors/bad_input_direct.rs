//! The bad-input catalogue, group C: plain JSON.

use devmesh_schema::{Signal, limits, stored};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::*;

const NDJSON: &str = "application/x-ndjson";

async fn lines(server: &Server, body: impl Into<bytes::Bytes>) -> Reply {
    server.client.send(server.api, "/ingest/logs", &[("content-type", NDJSON)], body.into()).await
}

async fn one(server: &Server, record: &str) -> Value {
    server.ingest("/ingest/logs", format!("{{\"logs\":[{record}]}}")).await.json()
}

#[tokio::test]
async fn c1_one_bad_line_of_a_thousand_is_named_by_its_number() {
    let server = Server::start().await;
    let mut body: Vec<String> = (0..1000).map(|n| format!(r#"{{"message":"m{n}"}}"#)).collect();
    body[16] = "{oops".into();
    let answer = lines(&server, body.join("\n")).await.json();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(999), &json!(1)));
    assert_eq!((&answer["errors"][0]["line"], &answer["errors"][0]["index"]), (&json!(17), &json!(16)));
    assert_eq!(server.recorder.count(Signal::Logs), 999);
}

#[tokio::test]
async fn c2_a_body_without_any_record_is_400() {
    let server = Server::start().await;
    for body in ["oops\nmore", "[1]\n2\n", "\n \n"] {
        assert_eq!(lines(&server, body).await.status, StatusCode::BAD_REQUEST, "{body:?}");
    }
}

#[tokio::test]
async fn c3_line_ends_blank_lines_and_a_last_line_that_is_cut() {
    let server = Server::start().await;
    let answer = lines(&server, "{\"message\":\"a\"}\r\n\r\n\n{\"message\":\"b\"}\n{\"mess").await.json();
    assert_eq!((&answer["accepted"], &answer["errors"][0]["line"]), (&json!(2), &json!(5)));
}

#[tokio::test]
async fn c4_lists_lines_and_envelopes_are_told_apart_by_their_beginning() {
    let server = Server::start().await;
    for body in [
        r#"[{"message":"a"},{"message":"b"}]"#,
        "{\"message\":\"a\"}\n{\"message\":\"b\"}",
        "  \n {\"logs\": [{\"message\":\"a\"}, {\"message\":\"b\"}]}\n",
        r#"{"batch":{"logs":1},"logs":[{"message":"a"},{"message":"b"}]}"#,
    ] {
        assert_eq!(server.ingest("/ingest/logs", body).await.json()["accepted"], 2, "{body}");
    }
    assert_eq!(server.ingest("/ingest/logs", r#"{"message":"alone"}"#).await.json()["accepted"], 1);
}

#[tokio::test]
async fn c5_a_long_line_is_cut_and_reading_goes_on_after_it() {
    let server = Server::start().await;
    let body = format!("{{\"message\":\"{}\"}}\n{{\"message\":\"after\"}}", "x".repeat(5 << 20));
    assert_eq!(lines(&server, body).await.json()["accepted"], 2);
    let stored = server.recorder.logs();
    let size = prost::Message::encoded_len(stored[0].body.as_ref().unwrap());
    assert!(size < 300 << 10 && stored[1].body == Some(text("after")), "{size}");
}

#[tokio::test]
async fn c7_times() {
    let server = Server::start().await;
    for (time, expected) in [
        ("\"2026-01-01T00:00:00Z\"", TIME),
        ("\"2026-01-01t00:00:00z\"", TIME),
        ("\"2026-01-01 01:00:00.000000000+01:00\"", TIME),
        ("\"2026-01-01T00:00:00\"", TIME),
        ("\"2025-12-31T23:59:60Z\"", TIME),
        ("1767225600", TIME),
        ("1767225600000", TIME),
        ("1767225600000000", TIME),
        ("1767225600000000000", TIME),
        ("\"1767225600\"", TIME),
        ("1767225600.5", TIME + 500_000_000),
    ] {
        let answer = one(&server, &format!(r#"{{"message":"m","timestamp":{time}}}"#)).await;
        assert_eq!(answer["accepted"], 1, "{time}: {answer}");
        assert_eq!(server.recorder.logs().last().unwrap().time_unix_nano, expected, "{time}");
    }
    for time in [
        "\"2026-02-30T00:00:00Z\"",
        "\"yesterday\"",
        "\"now\"",
        "-1",
        "1e300",
        "\"10000-01-01T00:00:00Z\"",
        "0",
        "true",
        "\"9999-12-31T00:00:00Z\"",
        "\"2026-01-01T00:00:00+25:00\"",
        "{}",
        "\"1960-01-01T00:00:00Z\"",
    ] {
        let answer = one(&server, &format!(r#"{{"message":"m","timestamp":{time}}}"#)).await;
        assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(1), &json!(0)), "{time}");
        assert_eq!(answer["warnings"][0]["index"], 0);
        assert!(answer["warnings"][0]["warning"].as_str().unwrap().starts_with("timestamp: "), "{answer}");
        // What was sent can be read, and its time is that of the receipt.
        let kept = server.recorder.logs().pop().unwrap();
        let keys: Vec<_> = kept.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
        assert_eq!((kept.time_unix_nano, keys), (0, vec!["timestamp", "devmesh.bad_time"]), "{time}");
    }
    for record in [r#"{"message":"m"}"#, r#"{"message":"m","timestamp":null}"#, r#"{"message":"m","timestamp":"x"}"#] {
        assert_eq!(one(&server, record).await["accepted"], 1);
        let received = server.recorder.batches().last().unwrap().received;
        let rows = server.recorder.rows(Signal::Logs);
        let time = rows.last().unwrap().column_by_name(stored::TIME).unwrap().clone();
        let time = arrow_cast::cast(&time, &arrow_schema::DataType::Int64).unwrap();
        assert_eq!(arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(&time).value(0), received);
    }
}

#[tokio::test]
async fn c6_c8_c9_c10_c12_odd_values_are_kept() {
    let server = Server::start().await;
    for record in [
        r#"{"message":null}"#,
        r#"{"message":{"a":1},"level":3}"#,
        r#"{"message":"m","level":"💥"}"#,
        r#"{"message":"m","level":null}"#,
        r#"{"message":"m","a.b":1,"":2,"__proto__":{},"constructor":null,"SELECT":"*"}"#,
        r#"{"message":"m","n":1e400,"z":-0,"big":123456789012345678901234567890}"#,
        r#"{"message":"\u001b[2J\n</script>{{7*7}}${jndi:ldap://x}=cmd()"}"#,
        r#"{"message":"m","service":"../../etc","host":"","source":"\u0000"}"#,
        r#"{"message":"m","trace_id":"not hex","span_id":7}"#,
    ] {
        assert_eq!(one(&server, record).await["accepted"], 1, "{record}");
    }
    let stored = server.recorder.logs();
    let numbers = [1, 2, 3].map(|at| stored[at].severity_number);
    assert_eq!(numbers, [0, 0, 0]);
    let attribute = |record: usize, key: &str| {
        let found = stored[record].attributes.iter().find(|attribute| attribute.key == key);
        found.unwrap_or_else(|| panic!("no {key}")).value.clone().unwrap()
    };
    assert_eq!(attribute(5, "n"), text("1e400"));
    assert_eq!(attribute(5, "big"), text("123456789012345678901234567890"));
    assert_eq!(stored[6].body, Some(text("\x1b[2J\n</script>{{7*7}}${jndi:ldap://x}=cmd()")));
    assert_eq!(attribute(8, "trace_id"), text("not hex"));
    let one_type = one(&server, r#"{"message":"m","k":1}"#).await;
    let another = one(&server, r#"{"message":"m","k":"text"}"#).await;
    assert_eq!((&one_type["accepted"], &another["accepted"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn c11_depth_and_width_are_bounded() {
    let server = Server::start().await;
    let deep = format!(r#"{{"message":"m","d":{}{}}}"#, "[".repeat(65), "]".repeat(65));
    let answer = server.ingest("/ingest/logs", format!("[{deep},{{\"message\":\"after\"}}]")).await.json();
    assert_eq!((&answer["accepted"], &answer["errors"][0]["index"]), (&json!(1), &json!(0)), "{answer}");
    let keys: Vec<String> = (0..100_000).map(|n| format!("\"k{n}\":{n}")).collect();
    assert_eq!(one(&server, &format!("{{\"message\":\"wide\",{}}}", keys.join(","))).await["accepted"], 1);
    let wide = server.recorder.logs().pop().unwrap();
    assert_eq!((wide.attributes.len(), wide.dropped_attributes_count), (limits::ATTRIBUTES, 100_000 - 256));
    let answer = server.ingest("/ingest/logs", "[".repeat(1_000_000)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn c14_another_content_type_is_415() {
    let server = Server::start().await;
    for kind in ["application/x-www-form-urlencoded", "application/xml", "text/plain", ""] {
        let reply = server.client.send(server.api, "/ingest/logs", &[("content-type", kind)], "{}".into()).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (415, "application/problem+json"), "{kind}");
    }
    let reply = server.client.send(server.api, "/ingest/logs", &[], "{}".into()).await;
    assert_eq!(reply.status.as_u16(), 415);
}

#[tokio::test]
async fn c15_bombs_and_large_bodies_are_413() {
    let server = Server::start().await;
    let zeros = vec![b' '; limits::DIRECT_BYTES + 1];
    for (encoding, body) in [("identity", zeros.clone()), ("gzip", gzip(&zeros)), ("zstd", zstd(&zeros))] {
        let headers = [("content-type", JSON), ("content-encoding", encoding)];
        let reply = server.client.send(server.api, "/ingest/logs", &headers, body.into()).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{encoding}");
    }
    assert_eq!(server.intake.bytes_held(), 0);
}

#[tokio::test]
async fn c17_half_a_body_stores_nothing() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.api).await.unwrap();
    let head =
        "POST /ingest/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\ncontent-length: 99\r\n\r\n";
    stream.write_all(format!("{head}{{\"message\":\"a\"}}\n").as_bytes()).await.unwrap();
    drop(stream);
    assert_eq!(one(&server, r#"{"message":"b"}"#).await["accepted"], 1);
    assert_eq!(server.recorder.count(Signal::Logs), 1);
}

#[tokio::test]
async fn c19_what_is_no_utf8_is_400() {
    let server = Server::start().await;
    let utf16: Vec<u8> = r#"{"logs":[]}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for body in [utf16, b"{\"logs\":[{\"message\":\"\xff\"}]}".to_vec(), b"\xef\xbb\xbf{\"logs\":[]}".to_vec()] {
        assert_eq!(server.ingest("/ingest/logs", body).await.status, StatusCode::BAD_REQUEST);
    }
    let answer = lines(&server, b"{\"message\":\"a\"}\n{\"message\":\"\xff\"}\n".to_vec()).await.json();
    assert_eq!((&answer["accepted"], &answer["errors"][0]["line"]), (&json!(1), &json!(2)));
}
