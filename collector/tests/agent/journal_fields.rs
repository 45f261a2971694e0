//! What becomes of the fields of an entry: rows F1 to F15 of the bad-input catalogue, through real journal files.

use std::sync::Arc;

use devmesh_collector::journald::entry::{Redaction, parse};

use crate::{
    journal::{Following, follow, journal, open},
    support::{BOOT, JournalEntry, Recorder, attribute, body, now},
};

const CURSOR: &str = "s=7fb0;i=4;b=bbbb;m=3eb;t=660c9275dd209;x=af02";

/// The record of one line, as it is sent.
fn record(fields: &str) -> opentelemetry_proto::tonic::logs::v1::LogRecord {
    use prost::Message;
    let line = format!("{{\"__CURSOR\":\"{CURSOR}\",\"__REALTIME_TIMESTAMP\":\"1795266925416969\",{fields}}}");
    let entry = parse(line.as_bytes(), &Redaction::default(), &mut 0).unwrap();
    let mut request = devmesh_schema::otlp::write::LogsRequest::new();
    request.resource(&[], |scope| scope.record(&entry.record()));
    let request = request.finish();
    let request =
        opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest::decode(&request[..]).unwrap();
    request.resource_logs[0].scope_logs[0].log_records[0].clone()
}

#[tokio::test]
async fn f1_f3_f4_every_kind_of_field_comes_out_of_a_real_journal() {
    let time = now() - 3_600_000_000;
    let large = "L".repeat(100_000);
    let dir = journal(&[
        JournalEntry::new(time, b"two\nlines").with("_PID", b"42").with("_COMM", b"app").with("SYSLOG_FACILITY", b"3"),
        JournalEntry::new(time + 1, b"bad \xff\xfe bytes"),
        JournalEntry::new(time + 2, large.as_bytes()),
        JournalEntry::bare(time + 3).with("SYSLOG_IDENTIFIER", b"kernel").with("KEY", b"one").with("KEY", b"two"),
        JournalEntry::new(time + 4, "grüße 日本".as_bytes()).with("BLOB", b"\x00\xff").with("TRACE_ID", &[b'a'; 32]),
    ]);
    let recorder = Arc::new(Recorder::default());
    let following = Following::start(dir.path(), &recorder);
    following.has(5).await;
    following.end().await;
    let records = recorder.records();
    let find = |text: &str| records.iter().find(|(_, record)| body(record).contains(text)).unwrap();
    let (_, first) = find("two\nlines");
    assert_eq!(first.time_unix_nano, time * 1000);
    assert_eq!(first.severity_text, "INFO");
    for (key, value) in [
        ("process.pid", "42"),
        ("process.command", "app"),
        ("syslog.facility", "3"),
        ("systemd.unit", "app.service"),
        ("journald._BOOT_ID", BOOT),
    ] {
        assert_eq!(attribute(&first.attributes, key).unwrap(), value, "{key}");
    }
    let (_, bytes) = find("bad \u{fffd}\u{fffd} bytes");
    assert_eq!(attribute(&bytes.attributes, "journald.MESSAGE.base64").unwrap(), "YmFkIP/+IGJ5dGVz");
    assert_eq!(body(&find("LLL").1), large);
    let (resource, several) = records.iter().find(|(_, record)| record.body.is_none()).unwrap();
    assert_eq!(attribute(resource, "service.name").unwrap(), "kernel");
    let mut values: Vec<_> =
        attribute(&several.attributes, "journald.KEY").unwrap().split(',').map(str::to_owned).collect();
    values.sort();
    assert_eq!(values, ["one", "two"]);
    let (_, unicode) = find("grüße 日本");
    assert_eq!(attribute(&unicode.attributes, "journald.BLOB").unwrap(), "[0, 255]");
    assert_eq!(unicode.trace_id, [0xaa; 16]);
}

#[test]
fn f2_a_field_left_out_for_its_size_is_marked() {
    let record = record(r#""MESSAGE":null,"OTHER":null"#);
    assert!(record.body.is_none());
    assert_eq!(attribute(&record.attributes, "devmesh.field_elided").unwrap(), "MESSAGE");
}

#[test]
fn f5_priorities_are_levels() {
    for (priority, text, number) in [
        (r#""PRIORITY":"0""#, "FATAL", 21),
        (r#""PRIORITY":"1""#, "CRITICAL", 18),
        (r#""PRIORITY":"2""#, "CRITICAL", 18),
        (r#""PRIORITY":"3""#, "ERROR", 17),
        (r#""PRIORITY":"4""#, "WARN", 13),
        (r#""PRIORITY":"5""#, "INFO", 9),
        (r#""PRIORITY":"6""#, "INFO", 9),
        (r#""PRIORITY":"7""#, "DEBUG", 5),
        (r#""PRIORITY":"9""#, "INFO", 9),
        (r#""PRIORITY":"abc""#, "INFO", 9),
        (r#""PRIORITY":null"#, "INFO", 9),
        (r#""X":"1""#, "INFO", 9),
    ] {
        let record = record(priority);
        assert_eq!((record.severity_text.as_str(), record.severity_number), (text, number), "{priority}");
    }
}

#[test]
fn f6_the_source_time_counts_where_it_is_sane() {
    let journal = 1_795_266_925_416_969_000;
    for (source, time) in [
        ("1795266925000000", 1_795_266_925_000_000_000),
        ("0", journal),
        ("1000000000000000000", journal),
        ("abc", journal),
        ("1595266925000000", journal),
        ("1995266925000000", journal),
    ] {
        assert_eq!(record(&format!(r#""_SOURCE_REALTIME_TIMESTAMP":"{source}""#)).time_unix_nano, time, "{source}");
    }
    for bad in ["\"0\"", "\"1000000000000000000\"", "\"abc\"", "null", "7"] {
        let line = format!("{{\"__CURSOR\":\"{CURSOR}\",\"__REALTIME_TIMESTAMP\":{bad}}}");
        let entry = parse(line.as_bytes(), &Redaction::default(), &mut 0).unwrap();
        let record = entry.record();
        if bad != "7" {
            assert_eq!(record.time, 0x660c9275dd209 * 1000, "{bad}: the cursor's time");
            assert_eq!(record.attributes[0].0, "devmesh.bad_time", "{bad}");
        }
    }
}

#[test]
fn f7_what_is_no_entry_is_an_error_and_no_panic() {
    for line in [
        &b""[..],
        b"x",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"{\"__CURSOR\":\"x\"}",
        b"{\"__CURSOR\":5}",
        b"\xff\xfe",
        b"-- No entries --",
    ] {
        assert!(parse(line, &Redaction::default(), &mut 0).is_err(), "{line:?}");
    }
    let deep = format!("{{\"__CURSOR\":\"{CURSOR}\",\"A\":{}1{}}}", "[".repeat(1000), "]".repeat(1000));
    assert!(parse(deep.as_bytes(), &Redaction::default(), &mut 0).is_err());
}

#[test]
fn f8_unknown_own_fields_are_passed_over_and_too_many_fields_are_counted() {
    let many: Vec<String> = (0..5000).map(|n| format!("\"F{n}\":\"v\"")).collect();
    let record = record(&format!("\"__NEW\":\"x\",\"MESSAGE\":\"m\",{}", many.join(",")));
    assert!(record.attributes.len() <= 256);
    assert_eq!(record.attributes.len() as u32 + record.dropped_attributes_count, 5000);
    assert!(attribute(&record.attributes, "journald.__NEW").is_none());
    assert_eq!(body(&record), "m");
}

#[test]
fn f13_messages_that_journald_dropped_are_counted() {
    let line = |identifier: &str| {
        format!(
            "{{\"__CURSOR\":\"{CURSOR}\",\"SYSLOG_IDENTIFIER\":\"{identifier}\",\"MESSAGE\":\"Suppressed 1234 messages from app.service\"}}"
        )
    };
    let suppressed = |identifier| parse(line(identifier).as_bytes(), &Redaction::default(), &mut 0).unwrap().suppressed;
    assert_eq!(suppressed("systemd-journald"), 1234);
    assert_eq!(suppressed("app"), 0);
}

#[tokio::test]
async fn f14_f15_own_units_are_left_out_and_secrets_hidden() {
    let time = now() - 3_600_000_000;
    let mut entries = vec![JournalEntry::new(time, b"login token=abc123 ok").with("ARGS", b"--token=zzz")];
    entries.push(JournalEntry::bare(time + 1).with("_SYSTEMD_UNIT", b"own.service").with("MESSAGE", b"mine"));
    entries.push(JournalEntry::new(time + 2, b"end"));
    let dir = journal(&entries);
    let recorder = Arc::new(Recorder::default());
    let redaction = Redaction::new(&["token=[a-z0-9]+".to_owned()]).unwrap();
    let reader = open(dir.path(), "journalctl", 10, std::time::Duration::from_secs(60)).with_redaction(redaction);
    let following = follow(reader, Arc::clone(&recorder));
    following.has(2).await;
    let counts = following.end().await;
    assert_eq!(recorder.bodies(), ["login [redacted] ok", "end"]);
    assert_eq!(attribute(&recorder.records()[0].1.attributes, "journald.ARGS").unwrap(), "--[redacted]");
    assert_eq!((counts.excluded, counts.redacted), (1, 2));
}
