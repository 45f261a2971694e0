//! The bad-input catalogue, group A: OTLP/gRPC. Rows about storage, queries and tokens stand with those.

use bytes::{BufMut, BytesMut};
use devmesh_schema::{Signal, limits, stored};
use http::{Method, StatusCode, Version};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceResponse, metrics::v1::ExportMetricsServiceResponse,
        trace::v1::ExportTraceServiceResponse,
    },
    common::v1::AnyValue,
    metrics::v1::{
        AggregationTemporality, ExponentialHistogramDataPoint, HistogramDataPoint, Summary, SummaryDataPoint,
        metric::Data, number_data_point, summary_data_point::ValueAtQuantile,
    },
};
use prost::Message;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::Duration};

use crate::support::*;

/// After every case a good request on the same kind of connection succeeds.
async fn well(server: &Server) {
    assert_eq!(server.call(LOGS, &logs(vec![log("good")])).await.code, 0);
}

#[tokio::test]
async fn a1_a2_empty_requests_are_ok() {
    let server = Server::start().await;
    for message in [vec![], logs(vec![])] {
        let call = server.call(LOGS, &message).await;
        assert_eq!((call.code, call.response.unwrap().len()), (0, 0));
    }
}

#[tokio::test]
async fn a3_a4_random_and_truncated_messages_are_invalid_arguments() {
    let server = Server::start().await;
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    for length in [1, 7, 100, 5000] {
        let mut next = || {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 56) as u8 | 0x80
        };
        let message: Vec<u8> = (0..length).map(|_| next()).collect();
        assert_eq!(server.call(LOGS, &message).await.code, 3, "{length} bytes");
    }
    let whole = spans(vec![span("a")]);
    for end in 1..whole.len() {
        assert_eq!(server.call(TRACES, &whole[..end]).await.code, 3, "cut at {end}");
    }
    well(&server).await;
}

#[tokio::test]
async fn a5_a_declared_length_of_4_gib_is_refused_before_it_is_read() {
    let server = Server::start().await;
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::MAX);
    body.put_slice(&[0; 10]);
    let call = server.client.call(server.grpc, LOGS, &[], body.freeze()).await;
    assert_eq!((call.code, call.retry_delay(), server.intake.bytes_held()), (8, None, 0));
    well(&server).await;
}

#[tokio::test]
async fn a6_a_message_of_64_mib_and_a_byte_is_too_large_and_one_of_64_mib_is_read() {
    let server = Server::start().await;
    let call = server.call(LOGS, &vec![0; limits::REQUEST_BYTES + 1]).await;
    assert_eq!((call.code, call.retry_delay()), (8, None));
    assert_eq!(server.call(LOGS, &vec![0; limits::REQUEST_BYTES]).await.code, 3, "read, and then no message");
    well(&server).await;
}

#[tokio::test]
async fn a8_an_unknown_encoding_is_unimplemented_and_names_the_known_ones() {
    let server = Server::start().await;
    let call = server.client.call(server.grpc, LOGS, &[("grpc-encoding", "br")], frame(1, b"x")).await;
    assert_eq!((call.code, call.headers["grpc-accept-encoding"].as_bytes()), (12, &b"identity,gzip,zstd,deflate"[..]));
    well(&server).await;
}

#[tokio::test]
async fn a9_broken_framing_is_internal_and_never_a_panic() {
    let server = Server::start().await;
    let message = logs(vec![log("a")]);
    let two = [frame(0, &message), frame(0, &message)].concat();
    for (what, body) in [
        ("compressed without an encoding", frame(1, &gzip(&message))),
        ("a flag that is none", frame(2, &message)),
        ("no message", Default::default()),
        ("half a prefix", vec![0, 0, 0].into()),
        ("half a message", frame(0, &message).slice(..20)),
        ("two messages", two.into()),
    ] {
        assert_eq!(server.client.call(server.grpc, LOGS, &[], body).await.code, 13, "{what}");
    }
    let broken = frame(1, &gzip(&message)[..20]);
    assert_eq!(server.client.call(server.grpc, LOGS, &[("grpc-encoding", "gzip")], broken).await.code, 3);
    assert_eq!(server.recorder.count(Signal::Logs), 0);
    well(&server).await;
}

#[tokio::test]
async fn a12_unknown_fields_are_passed_over_and_groups_that_nest_without_end_are_invalid() {
    let server = Server::start().await;
    // Field 100 as start and end of a group, and as a varint.
    let (start, end, unknown) = ([0xa3, 0x06], [0xa4, 0x06], [0xa0, 0x06, 0x01]);
    let groups = |depth: usize| [start.repeat(depth), unknown.to_vec(), end.repeat(depth)].concat();
    let known = logs(vec![log("known")]);
    for (what, unknown, code) in [
        ("unknown fields", unknown.repeat(1000), 0),
        ("a group", groups(1), 3),
        ("groups, 1,000 deep", groups(1000), 3),
        ("groups, a million deep", groups(1_000_000), 3),
        ("groups that never end", start.repeat(1_000_000), 3),
        ("a group that never began", end.to_vec(), 3),
    ] {
        for message in [[&known[..], &unknown].concat(), field(1, &field(2, &field(2, &unknown)))] {
            assert_eq!(server.call(LOGS, &message).await.code, code, "{what}");
            // A request beside it, and the same over HTTP.
            let status = if code == 0 { 200 } else { 400 };
            assert_eq!(server.post("/v1/logs", PROTOBUF, message).await.status.as_u16(), status, "{what}");
        }
    }
    let bodies: Vec<_> = server.recorder.logs().into_iter().map(|record| record.body).collect();
    assert_eq!(bodies.iter().filter(|body| **body == Some(text("known"))).count(), 2, "the known part is kept");
    well(&server).await;
}

#[tokio::test]
async fn a15_a17_times_that_cannot_be_cost_no_record() {
    let server = Server::start().await;
    let (mut late, mut never, mut backwards) = (log("late"), log("never"), span("backwards"));
    late.time_unix_nano = u64::MAX;
    (never.time_unix_nano, never.observed_time_unix_nano) = (0, 0);
    backwards.end_time_unix_nano = backwards.start_time_unix_nano - 1;
    let sent = [late, never];
    for call in
        [server.call(LOGS, &logs(sent.to_vec())).await, server.call(TRACES, &spans(vec![backwards.clone()])).await]
    {
        assert_eq!((call.code, call.response.unwrap().len()), (0, 0));
    }
    // What was sent can be written out again; the time of receipt stands in the table.
    assert_eq!(server.recorder.logs(), sent);
    assert_eq!(server.recorder.spans(), [backwards]);
    let rows = server.recorder.rows(Signal::Logs).remove(0);
    let times = arrow_cast::cast(rows.column_by_name(stored::TIME).unwrap(), &arrow_schema::DataType::Int64).unwrap();
    let received = server.recorder.batches()[0].received;
    let times = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(&times);
    assert_eq!(times.values().as_ref(), [received, received]);
}

#[tokio::test]
async fn a18_a_trace_id_of_a_wrong_length_costs_the_span_and_not_the_log() {
    let server = Server::start().await;
    for id in [vec![], vec![1; 8], vec![1; 15], vec![1; 17], vec![0; 16]] {
        let (mut bad, mut record) = (span("bad"), log("kept"));
        (bad.trace_id, record.trace_id) = (id.clone(), id);
        let call = server.call(TRACES, &spans(vec![bad, span("good")])).await;
        let answer = ExportTraceServiceResponse::decode(call.response.unwrap()).unwrap();
        assert_eq!(answer.partial_success.unwrap().rejected_spans, 1);
        let call = server.call(LOGS, &logs(vec![record])).await;
        let answer = ExportLogsServiceResponse::decode(call.response.unwrap()).unwrap();
        assert!(answer.partial_success.is_none_or(|partial| partial.rejected_log_records == 0));
    }
    assert_eq!((server.recorder.count(Signal::Traces), server.recorder.count(Signal::Logs)), (5, 5));
}

#[tokio::test]
async fn a19_repeated_span_ids_are_kept() {
    let server = Server::start().await;
    for _ in 0..2 {
        assert_eq!(server.call(TRACES, &spans(vec![span("a"), span("a")])).await.code, 0);
    }
    assert_eq!(server.recorder.count(Signal::Traces), 4);
}

#[tokio::test]
async fn a20_text_that_is_no_utf8_costs_its_bytes_and_not_the_batch() {
    let server = Server::start().await;
    // A body whose text is `a\xffb`, between two good ones.
    let body = field(5, &field(1, b"a\xffb"));
    let bad = field(1, &field(2, &field(2, &body)));
    let good = logs(vec![log("good")]);
    let call = server.call(LOGS, &[&good[..], &bad, &good].concat()).await;
    assert_eq!(call.code, 0);
    let bodies: Vec<_> = server.recorder.logs().into_iter().map(|record| record.body.unwrap()).collect();
    assert_eq!(bodies, ["good", "a\u{fffd}b", "good"].map(text));
}

#[tokio::test]
async fn a21_unusual_text_comes_back_byte_for_byte() {
    let server = Server::start().await;
    let unusual = ["a\0b", "\u{feff}x", "\u{202e}evil", "😀", "\u{ffff}", "<script>alert(1)</script>", "\x1b[2J"];
    let sent: Vec<_> = unusual.into_iter().map(log).collect();
    assert_eq!(server.call(LOGS, &logs(sent.clone())).await.code, 0);
    assert_eq!(server.recorder.logs(), sent);
}

#[tokio::test]
async fn a22_severities_beyond_the_scale_are_kept() {
    let server = Server::start().await;
    let records = [-1, 25, i32::MAX].map(|number| {
        let mut record = log("a");
        record.severity_number = number;
        record
    });
    assert_eq!(server.call(LOGS, &logs(records.to_vec())).await.code, 0);
    assert_eq!(server.recorder.count(Signal::Logs), 3);
}

#[tokio::test]
async fn a23_attributes_beyond_256_are_counted_and_long_keys_cut() {
    let server = Server::start().await;
    let mut record = log("a");
    record.attributes = (0..10_000).map(|n| attribute(&format!("k{n}"), text("v"))).collect();
    let mut long = log("b");
    long.attributes = vec![attribute(&"k".repeat(1 << 20), text("v")), attribute("", AnyValue::default())];
    assert_eq!(server.call(LOGS, &logs(vec![record, long])).await.code, 0);
    let stored = server.recorder.logs();
    assert_eq!((stored[0].attributes.len(), stored[0].dropped_attributes_count), (256, 10_000 - 256));
    assert!(stored[1].attributes.iter().all(|attribute| attribute.key.len() <= limits::KEY_BYTES));
}

#[tokio::test]
async fn a24_of_equal_keys_the_last_counts() {
    let server = Server::start().await;
    let mut record = log("a");
    record.attributes = ["first", "second", "last"].map(|value| attribute("key", text(value))).to_vec();
    assert_eq!(server.call(LOGS, &logs(vec![record])).await.code, 0);
    assert_eq!(server.recorder.logs()[0].attributes, [attribute("key", text("last"))]);
}

#[tokio::test]
async fn a26_of_two_million_records_a_million_is_taken_and_the_rest_named_and_counted() {
    let server = Server::start().await;
    // An empty record is two bytes.
    let records = [0x12, 0x00].repeat(2 * limits::ITEMS);
    let call = server.call(LOGS, &field(1, &field(2, &records))).await;
    let answer = ExportLogsServiceResponse::decode(call.response.unwrap()).unwrap().partial_success.unwrap();
    assert_eq!(answer.rejected_log_records as usize, limits::ITEMS, "{}", answer.error_message);
    assert!(answer.error_message.len() <= limits::MESSAGE_BYTES, "{}", answer.error_message.len());
    assert_eq!(server.recorder.count(Signal::Logs), limits::ITEMS);
    well(&server).await;
}

#[tokio::test]
async fn a25_a_body_of_60_mib_is_cut() {
    let server = Server::start().await;
    assert_eq!(server.call(LOGS, &logs(vec![log(&"x".repeat(60 << 20))])).await.code, 0);
    let stored = server.recorder.logs();
    let size = stored[0].body.as_ref().unwrap().encoded_len();
    assert!((200 << 10..300 << 10).contains(&size), "{size}");
}

#[tokio::test]
async fn a27_a28_odd_numbers_keep_their_bits() {
    let server = Server::start().await;
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 5e-324, f64::from_bits(0x7ff0_0000_0000_0002)];
    let mut integers = [i64::MIN, i64::MAX].map(|value| {
        let mut point = point(0.0);
        point.value = Some(number_data_point::Value::AsInt(value));
        point
    });
    integers[0].time_unix_nano += 1;
    let mut backwards = sum("backwards", AggregationTemporality::Cumulative, 1.0);
    if let Some(Data::Sum(sum)) = &mut backwards.data {
        sum.data_points[0].start_time_unix_nano = TIME + 1;
    }
    let sent = vec![gauge("odd", odd.map(point).to_vec()), gauge("integers", integers.to_vec()), backwards];
    let call = server.call(METRICS, &metrics(sent)).await;
    let partial = ExportMetricsServiceResponse::decode(call.response.unwrap()).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 1, "a28: its start lies after its time");
    let gauges = server.recorder.metrics().into_iter().map(|metric| match metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points,
        _ => Vec::new(),
    });
    let points: Vec<_> = gauges.flatten().collect();
    let bits: Vec<u64> = points
        .iter()
        .filter_map(|point| match point.value? {
            number_data_point::Value::AsDouble(value) => Some(value.to_bits()),
            number_data_point::Value::AsInt(_) => None,
        })
        .collect();
    assert_eq!(bits, odd.map(f64::to_bits));
    assert_eq!(points.len(), 8);
}

#[tokio::test]
async fn a29_a30_a31_points_that_contradict_themselves_are_rejected_and_the_others_kept() {
    let server = Server::start().await;
    let buckets = |counts: &[u64], bounds: &[f64]| HistogramDataPoint {
        time_unix_nano: TIME,
        bucket_counts: counts.to_vec(),
        explicit_bounds: bounds.to_vec(),
        ..HistogramDataPoint::default()
    };
    let scale = |scale| ExponentialHistogramDataPoint { time_unix_nano: TIME, scale, ..Default::default() };
    let quantile = |quantile| {
        let quantile_values = vec![ValueAtQuantile { quantile, value: 1.0 }];
        SummaryDataPoint { time_unix_nano: TIME, quantile_values, ..SummaryDataPoint::default() }
    };
    for (row, data, rejected) in [
        ("a29", histogram("h", vec![buckets(&[1], &[1.0]), buckets(&[1, 2], &[1.0])]), 1),
        ("a29", histogram("h", vec![buckets(&[1, 1, 1], &[2.0, 1.0]), buckets(&[1, 2], &[f64::NAN])]), 2),
        ("a29", histogram("h", vec![buckets(&[u64::MAX, u64::MAX], &[1.0])]), 0),
        ("a30", exponential("e", vec![scale(i32::MIN), scale(i32::MAX), scale(0)]), 2),
        ("a31", metric("s", Data::Summary(Summary { data_points: vec![quantile(1.5), quantile(0.5)] })), 1),
        ("a31", metric("s", Data::Summary(Summary { data_points: vec![SummaryDataPoint::default()] })), 0),
    ] {
        let call = server.call(METRICS, &metrics(vec![data])).await;
        let answer = ExportMetricsServiceResponse::decode(call.response.unwrap()).unwrap();
        assert_eq!(answer.partial_success.map_or(0, |partial| partial.rejected_data_points), rejected, "{row}");
    }
    assert_eq!(server.recorder.count(Signal::Metrics), 5);
    well(&server).await;
}

#[tokio::test]
async fn a32_a_metric_without_a_name_is_rejected() {
    let server = Server::start().await;
    let long = "m".repeat(1 << 20);
    let sent = vec![gauge("", vec![point(1.0)]), gauge(&long, vec![point(1.0)]), gauge("good", vec![point(1.0)])];
    let call = server.call(METRICS, &metrics(sent)).await;
    let partial = ExportMetricsServiceResponse::decode(call.response.unwrap()).unwrap().partial_success.unwrap();
    assert_eq!((partial.rejected_data_points, server.recorder.count(Signal::Metrics)), (2, 1));
}

#[tokio::test]
async fn a36_a_call_that_is_cancelled_holds_nothing() {
    let server = Server::start().await;
    let closed = server.recorder.gate.acquire_many(1000).await.unwrap();
    let message = logs(vec![log(&"x".repeat(100_000))]);
    let call = server.call(LOGS, &message);
    let held = async {
        while server.intake.bytes_held() == 0 {
            tokio::task::yield_now().await;
        }
    };
    // Whichever ends first: the answer cannot, so the call is dropped in the middle.
    limit(async {
        tokio::select! { _ = call => panic!("answered"), () = held => {} }
    })
    .await;
    limit(async {
        while server.intake.bytes_held() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(closed);
    assert_eq!(server.recorder.count(Signal::Logs), 0);
    well(&server).await;
}

#[tokio::test]
async fn a37_a_deadline_of_a_millisecond_stores_at_most_once() {
    let server = Server::start().await;
    let message = logs(vec![log("hurried")]);
    let mut answered = 0;
    for _ in 0..50 {
        let call = server.client.call(server.grpc, LOGS, &[("grpc-timeout", "1m")], frame(0, &message));
        // The client gives up by itself, as gRPC's do. The server may be first to say that the time is over.
        let reply = tokio::time::timeout(Duration::from_millis(1), call).await;
        answered += usize::from(reply.is_ok_and(|reply| reply.code == 0));
    }
    well(&server).await;
    limit(async {
        while server.intake.bytes_held() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let stored = server.recorder.count(Signal::Logs) - 1;
    assert!((answered..=50).contains(&stored), "{answered} told that it is stored, {stored} stored");
}

#[tokio::test]
async fn a40_what_is_no_call_of_this_server_is_told_so() {
    let server = Server::start().await;
    for path in ["/opentelemetry.proto.collector.logs.v1.LogsService/Nothing", "/some.Service/Export", "/"] {
        let call = server.client.call(server.grpc, path, &[], frame(0, &[])).await;
        assert_eq!(call.code, 12, "{path}");
        assert!(call.message.contains("LogsService"), "{}", call.message);
    }
    let headers = [("content-type", "application/grpc")];
    let send = server.client.method(Method::POST, Version::HTTP_11, server.grpc, LOGS, &headers, frame(0, &[]));
    let reply = send.await;
    assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(reply.text().contains("/v1/logs"), "{}", reply.text());
    // The beginning of TLS on a port without it.
    let mut stream = TcpStream::connect(server.grpc).await.unwrap();
    stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]).await.unwrap();
    stream.write_all(&[0x0a; 64]).await.unwrap();
    read_until(&mut stream, "").await;
    well(&server).await;
}

#[tokio::test]
async fn a41_profiles_are_unimplemented() {
    let server = Server::start().await;
    let path = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
    assert_eq!(server.client.call(server.grpc, path, &[], frame(0, &[])).await.code, 12);
}
