//! How old a record may be: row A16 of the bad-input catalogue.
//!
//! The catalogue refuses records before the edge of retention. This server does not: retention counts from a record's time
//! or from its arrival, whichever is later, so that an import or a sender that was away loses nothing. Hence there is no
//! edge at which a nanosecond decides, and nothing that is acknowledged goes at once.

use serde_json::json;

use crate::server::Server;

#[test]
fn a16_a_record_a_nanosecond_older_than_retention_is_kept_as_one_a_nanosecond_younger() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--set", "retention.logs=1h", "--set", "retention.traces=1h"]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let edge = now - 3_600_000_000_000;
    let times = [edge - 1, edge, edge + 1, now - 86_400_000_000_000 * 365];
    let records: Vec<_> = times.iter().map(|time| json!({"timeUnixNano": time.to_string()})).collect();
    let answer =
        server.post_json("otlp-http", "/v1/logs", &json!({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}));
    assert_eq!((answer.status, answer.json()), (200, json!({})), "nothing is rejected");
    let spans = times.iter().enumerate().map(|(number, time)| {
        json!({"traceId": format!("{:032x}", number + 1), "spanId": "00000000000000a1", "name": "s",
               "startTimeUnixNano": time.to_string(), "endTimeUnixNano": time.to_string()})
    });
    let spans: Vec<_> = spans.collect();
    let answer =
        server.post_json("otlp-http", "/v1/traces", &json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}));
    assert_eq!((answer.status, answer.json()), (200, json!({})));
    let count =
        |server: &Server| (server.value("SELECT count(*) FROM logs"), server.value("SELECT count(*) FROM spans"));
    assert_eq!(count(&server), (json!(4), json!(4)));
    // They are in files after a stop, and retention runs at the start.
    assert!(server.stop().success());
    let server = Server::start_with(dir.path(), &["--set", "retention.logs=1h", "--set", "retention.traces=1h"]);
    assert_eq!(count(&server), (json!(4), json!(4)));
}
