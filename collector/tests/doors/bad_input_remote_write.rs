//! The bad-input catalogue, group D: remote write.

use bytes::Bytes;
use devmesh_schema::Signal;
use http::{Method, StatusCode, Version};
use prost::Message;

use crate::support::{remote::*, *};

const SNAPPY: (&str, &str) = ("content-encoding", "snappy");

/// After every case a good request succeeds.
async fn well(server: &Server, row: &str) {
    let mut request = v2::Request::new();
    request.sample(&["__name__", "well", "row", row], 1.0, now());
    let reply = server.remote_write(V2, &request.encode_to_vec()).await;
    assert_eq!((reply.status, reply.written()), (StatusCode::NO_CONTENT, [1, 0, 0]), "{row}: {}", reply.text());
}

fn good() -> Vec<u8> {
    v1(vec![sample(&["__name__", "x"], 1.0, now())])
}

#[tokio::test]
async fn d1_and_d15_only_snappy_blocks_of_the_named_messages_are_taken() {
    let server = Server::start().await;
    let framed = {
        let mut writer = snap::write::FrameEncoder::new(Vec::new());
        std::io::Write::write_all(&mut writer, &good()).unwrap();
        writer.into_inner().unwrap()
    };
    let block = snappy(&good());
    type Headers<'h> = &'h [(&'h str, &'h str)];
    let table: [(&str, Headers<'_>, Bytes, u16); 14] = [
        ("framed", &[("content-type", V1), SNAPPY], framed.into(), 400),
        ("no snappy at all", &[("content-type", V1), SNAPPY], good().into(), 400),
        ("gzip", &[("content-type", V1), ("content-encoding", "gzip")], gzip(&good()).into(), 415),
        ("deflate", &[("content-type", V1), ("content-encoding", "deflate")], zlib(&good()).into(), 415),
        ("no encoding", &[("content-type", V1)], good().into(), 415),
        ("identity", &[("content-type", V1), ("content-encoding", "identity")], good().into(), 415),
        ("json", &[("content-type", "application/json"), SNAPPY], block.clone(), 415),
        ("image", &[("content-type", "image/png"), SNAPPY], block.clone(), 415),
        ("no type", &[SNAPPY], block.clone(), 415),
        ("unknown message", &[("content-type", "application/x-protobuf;proto=other"), SNAPPY], block.clone(), 415),
        ("no version header", &[("content-type", V1), SNAPPY], block.clone(), 204),
        (
            "named",
            &[("content-type", "Application/X-Protobuf; proto=prometheus.WriteRequest"), SNAPPY],
            block.clone(),
            204,
        ),
        ("any case", &[("content-type", V1), ("content-encoding", "Snappy")], block.clone(), 204),
        (
            "the version header says nothing",
            &[("content-type", V1), SNAPPY, ("x-prometheus-remote-write-version", "2.0.0")],
            block.clone(),
            204,
        ),
    ];
    for (row, headers, body, status) in table {
        let reply = server.remote_write_with(headers, body).await;
        assert_eq!(reply.status.as_u16(), status, "{row}: {}", reply.text());
        well(&server, row).await;
    }
    let reply = server.client.method(Method::GET, Version::HTTP_11, server.api, WRITE, &[], Bytes::new()).await;
    assert_eq!((reply.status, reply.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
}

#[tokio::test]
async fn d2_a_block_that_says_it_is_huge_is_refused_before_anything_is_made_for_it() {
    let server = Server::start().await;
    for (row, body, status) in [
        ("4 GiB", &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0][..], 413),
        ("more than 4 GiB", &[0xff; 10][..], 400),
        ("33 MiB", &[0x80, 0x80, 0xc0, 0x10, 0, 0][..], 413),
        ("31 MiB in 6 bytes", &[0x80, 0x80, 0xc0, 0x0f, 0, 0][..], 400),
        ("empty", &[][..], 400),
        ("cut", &snappy(&good())[..10], 400),
    ] {
        let headers = [("content-type", V2), SNAPPY];
        let reply = server.remote_write_with(&headers, Bytes::copy_from_slice(body)).await;
        assert_eq!((reply.status.as_u16(), reply.written()), (status, [0; 3]), "{row}: {}", reply.text());
        assert!(server.intake.bytes_held() < 64 << 10, "{row}");
        well(&server, row).await;
    }
}

#[tokio::test]
async fn d3_and_d5_messages_that_are_none_or_the_other_version() {
    let server = Server::start().await;
    let mut second = v2::Request::new();
    second.sample(&["__name__", "x"], 1.0, now());
    let second = second.encode_to_vec();
    let mut unnamed = v2::Request::new();
    unnamed.symbols[0] = "x".into();
    unnamed.sample(&["__name__", "x"], 1.0, now());
    let mut reference = v2::Request::new();
    reference.sample(&["__name__", "x"], 1.0, now()).labels = vec![1, 77];
    let mut odd = v2::Request::new();
    odd.sample(&["__name__", "x"], 1.0, now()).labels.push(0);
    let mut help = v2::Request::new();
    help.sample(&["__name__", "x"], 1.0, now()).metadata = Some(v2::Metadata { kind: 1, help: 88, unit: 0 });
    let cut = good();
    for (row, kind, body, part) in [
        ("v2 as v1", V1, second.clone(), "remote write 2.0"),
        ("v1 as v2", V2, good(), "remote write 1.0"),
        ("garbage as v1", V1, vec![0xff; 40], "byte"),
        ("garbage as v2", V2, vec![0xff; 40], "byte"),
        ("cut v1", V1, cut[..cut.len() - 1].to_vec(), "byte"),
        ("cut v2", V2, second[..second.len() - 1].to_vec(), "byte"),
        ("a group", V1, vec![0x0b, 0x0c], "groups"),
        ("the first symbol", V2, unnamed.encode_to_vec(), "first symbol"),
        ("a reference beyond", V2, reference.encode_to_vec(), "beyond the table"),
        ("odd references", V2, odd.encode_to_vec(), "odd"),
        ("a help beyond", V2, help.encode_to_vec(), "beyond the table"),
    ] {
        let before = server.recorder.count(Signal::Metrics);
        let reply = server.remote_write(kind, &body).await;
        let written = if kind == V2 { [0; 3] } else { [-1; 3] };
        assert_eq!((reply.status, reply.written()), (StatusCode::BAD_REQUEST, written), "{row}: {}", reply.text());
        assert!(reply.text().contains(part), "{row}: {}", reply.text());
        assert_eq!(server.recorder.count(Signal::Metrics), before, "{row}");
        well(&server, row).await;
    }
}

#[tokio::test]
async fn d4_labels() {
    let server = Server::start().await;
    let long = "x".repeat(1 << 20);
    let odd = |name: &[u8], value: &[u8]| {
        let mut series = sample(&["__name__", "x"], 1.0, now());
        series.labels.push(Label { name: name.into(), value: value.into() });
        series
    };
    for (row, series, status) in [
        ("unsorted", sample(&["z", "1", "a", "2", "__name__", "x"], 1.0, now()), 204),
        ("twice", odd(b"__name__", b"y"), 400),
        ("empty name", odd(b"", b"y"), 400),
        ("empty value", odd(b"a", b""), 204),
        ("no metric's name", sample(&["a", "b"], 1.0, now()), 400),
        ("no labels", sample(&[], 1.0, now()), 400),
        ("name no UTF-8", odd(b"\xff", b"y"), 400),
        ("value no UTF-8", odd(b"a", b"\xff"), 400),
        ("name of 1 MiB", odd(long.as_bytes(), b"y"), 400),
        ("value of 1 MiB", odd(b"a", long.as_bytes()), 400),
    ] {
        let before = server.recorder.count(Signal::Metrics);
        let reply = server.remote_write(V1, &v1(vec![series, sample(&["__name__", "good"], 1.0, now())])).await;
        assert_eq!(reply.status.as_u16(), status, "{row}: {}", reply.text());
        let kept = server.recorder.count(Signal::Metrics) - before;
        assert_eq!(kept, if status == 204 { 2 } else { 1 }, "{row}: the good one is kept");
        well(&server, row).await;
    }
}

#[tokio::test]
async fn d6_to_d9_values_and_times() {
    let server = Server::start().await;
    let now = now();
    let one = |value: f64, time: i64| vec![sample(&["__name__", "x"], value, time)];
    let two = |value: f64| [one(1.0, now), one(value, now)].concat();
    for (row, series, status, kept) in [
        ("d6 NaN", one(f64::from_bits(0x7ff8_0000_0000_0001), now), 204, 1),
        ("d6 the end of a series", one(STALE, now), 204, 1),
        ("d6 infinity", one(f64::INFINITY, now), 204, 1),
        ("d7 the same twice", two(1.0), 204, 1),
        ("d7 another at this time", two(2.0), 400, 1),
        ("d8 one second late", [one(1.0, now), one(1.0, now - 1000)].concat(), 204, 2),
        ("d8 two hours late", [one(1.0, now), one(1.0, now - 7_200_000)].concat(), 204, 2),
        ("d9 the least", one(1.0, i64::MIN), 400, 0),
        ("d9 the greatest", one(1.0, i64::MAX), 400, 0),
        ("d9 zero", one(1.0, 0), 400, 0),
        ("d9 negative", one(1.0, -5), 400, 0),
        ("d9 microseconds", one(1.0, now * 1000), 400, 0),
    ] {
        let before = server.recorder.count(Signal::Metrics);
        let reply = server.remote_write(V1, &v1(series)).await;
        assert_eq!(reply.status.as_u16(), status, "{row}: {}", reply.text());
        assert_eq!(server.recorder.count(Signal::Metrics) - before, kept, "{row}");
        well(&server, row).await;
    }
}

#[tokio::test]
async fn d10_native_histograms() {
    let server = Server::start().await;
    let good = || native(now());
    for (row, histogram) in [
        ("schema 127", Histogram { schema: 127, ..good() }),
        ("schema -128", Histogram { schema: -128, ..good() }),
        ("spans overflow", Histogram { positive_spans: vec![Span { offset: i32::MAX, length: u32::MAX }], ..good() }),
        ("a span before the first", Histogram { positive_spans: vec![Span { offset: i32::MIN, length: 5 }], ..good() }),
        ("negative counts", Histogram { positive_deltas: vec![-1, 2, 1, 3, 1], ..good() }),
        ("the greatest delta twice", Histogram { positive_deltas: vec![i64::MAX, i64::MAX, 0, 0, 0], ..good() }),
        ("count", Histogram { count: Some(Count::Int(26)), ..good() }),
        ("no count", Histogram { count: None, ..good() }),
        ("too few buckets", Histogram { positive_deltas: vec![1], ..good() }),
        (
            "custom, not ascending",
            Histogram {
                schema: -53,
                custom_values: vec![2.0, 1.0],
                ..Histogram { timestamp: now(), ..Histogram::default() }
            },
        ),
    ] {
        let mut request = v2::Request::new();
        request.histogram(&["__name__", "bad"], histogram);
        request.histogram(&["__name__", "good"], good());
        let before = server.recorder.count(Signal::Metrics);
        let reply = server.remote_write(V2, &request.encode_to_vec()).await;
        assert_eq!((reply.status, reply.written()), (StatusCode::BAD_REQUEST, [0, 1, 0]), "{row}: {}", reply.text());
        assert_eq!(server.recorder.count(Signal::Metrics) - before, 1, "{row}: the good one is kept");
        well(&server, row).await;
    }
    let many = Histogram {
        positive_deltas: vec![0; 70_000],
        positive_spans: vec![Span { offset: 0, length: 70_000 }],
        ..good()
    };
    let mut request = v2::Request::new();
    request.histogram(&["__name__", "many"], many);
    let reply = server.remote_write(V2, &request.encode_to_vec()).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.text());
}

#[tokio::test]
async fn d12_requests_without_samples() {
    let server = Server::start().await;
    let metadata = MetricMetadata { kind: 1, family: "x".into(), help: "y".into(), unit: String::new() };
    let told = WriteRequest { timeseries: Vec::new(), metadata: vec![metadata] };
    let mut shown = v2::Request::new();
    let labels = shown.refs(&["__name__", "x"]);
    let exemplars = vec![v2::Exemplar { labels: Vec::new(), value: 1.0, timestamp: now() }];
    shown.timeseries.push(v2::TimeSeries { labels, exemplars, ..v2::TimeSeries::default() });
    let mut described = v2::Request::new();
    let labels = described.refs(&["__name__", "x"]);
    let metadata = Some(v2::Metadata { kind: 1, help: 1, unit: 0 });
    described.timeseries.push(v2::TimeSeries { labels, metadata, ..v2::TimeSeries::default() });
    for (row, kind, body, written) in [
        ("nothing, v1", V1, Vec::new(), [-1; 3]),
        ("nothing, v2", V2, Vec::new(), [0; 3]),
        ("metadata, v1", V1, told.encode_to_vec(), [-1; 3]),
        ("metadata, v2", V2, described.encode_to_vec(), [0; 3]),
        ("exemplars, v2", V2, shown.encode_to_vec(), [0, 0, 1]),
    ] {
        let reply = server.remote_write(kind, &body).await;
        assert_eq!((reply.status, reply.written()), (StatusCode::NO_CONTENT, written), "{row}: {}", reply.text());
        well(&server, row).await;
    }
}

#[tokio::test]
async fn more_items_than_a_request_may_hold_are_refused_and_said() {
    let server = Server::start().await;
    let now = now();
    let mut series = sample(&["__name__", "x"], 1.0, now);
    let at = |n: i64| Sample { value: 0.0, timestamp: now - n, start_timestamp: 0 };
    series.samples = (0..devmesh_schema::limits::ITEMS as i64 + 5).map(at).collect();
    let reply = server.remote_write(V1, &v1(vec![series])).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.text().contains("5 refused, 1000000 written"), "{}", reply.text());
    assert_eq!(server.recorder.count(Signal::Metrics), devmesh_schema::limits::ITEMS);
}
