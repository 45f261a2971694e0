//! The queue: durable before it answers, with an id that never changes.

use devmesh_collector::queue::{Queue, Queued, check};
use devmesh_schema::{
    Batch, Signal, Sink, WriteError,
    otlp::write::{MetricKind, MetricsRequest, NumberPoint, PointValue, Span, TracesRequest},
};
use devmesh_wal::Options;

use crate::support::{batch, logs};

fn options() -> Options {
    Options { segment_bytes: 1 << 20, max_bytes: 8 << 20, ..Options::default() }
}

/// All that is queued, as a forwarder would read it.
fn queued(dir: &std::path::Path) -> Vec<Queued> {
    let (_log, recovery) = devmesh_wal::open(dir, options()).unwrap();
    recovery.map(|record| Queued::from_record(record.unwrap().1).unwrap()).collect()
}

#[tokio::test]
async fn a_batch_is_on_disk_with_its_id_before_it_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, outlet, _) = Queue::open(dir.path(), options()).unwrap();
    let receipt = queue.write(batch(logs(&["a", "b"]))).await.unwrap();
    assert_eq!((receipt.accepted, receipt.rejected), (2, 0));
    assert_eq!(*outlet.committed.borrow(), 1);
    let own = Batch { id: Some("mine-1".parse().unwrap()), ..batch(logs(&["c"])) };
    queue.write(own).await.unwrap();
    queue.close().await;
    assert!(matches!(queue.write(batch(logs(&["d"]))).await, Err(WriteError::Closed)));
    let found = queued(dir.path());
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].request, logs(&["a", "b"]));
    assert_eq!(found[1].id.as_str(), "mine-1");
}

#[tokio::test]
async fn no_two_batches_ever_get_the_same_id() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = std::collections::BTreeSet::new();
    for start in 0..3 {
        let (queue, _, _) = Queue::open(dir.path(), options()).unwrap();
        for _batch in 0..5 {
            queue.write(batch(logs(&["x"]))).await.unwrap();
        }
        queue.close().await;
        if start == 1 {
            std::fs::write(dir.path().join("agent"), b"\xff damaged").unwrap();
        }
    }
    for one in queued(dir.path()) {
        assert!(all.insert(one.id.as_str().to_owned()), "{}", one.id.as_str());
    }
    assert_eq!(all.len(), 15);
}

#[tokio::test]
async fn bytes_that_no_server_would_take_are_refused_at_the_door() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _, _) = Queue::open(dir.path(), options()).unwrap();
    for bad in [&b"\xff\xff\xff"[..], b"\x0a\x7f", b"{\"resourceLogs\":[]}", b"\x0a\x05\x12\x03\x12\x01\x0a"] {
        let error = queue.write(batch(bytes::Bytes::copy_from_slice(bad))).await.unwrap_err();
        assert!(matches!(error, WriteError::Invalid(_)), "{bad:?}: {error}");
    }
    queue.close().await;
    assert!(queued(dir.path()).is_empty());
}

#[test]
fn the_items_of_each_signal_are_counted() {
    assert_eq!(check(Signal::Logs, &logs(&["a", "b", "c"])).unwrap(), 3);
    assert_eq!(check(Signal::Logs, b"").unwrap(), 0);
    let mut traces = TracesRequest::new();
    traces.resource(&[], |scope| {
        scope.span(&Span { trace_id: [1; 16], span_id: [2; 8], name: "a", flags: 257, ..Span::default() });
        scope.span(&Span { trace_id: [1; 16], span_id: [3; 8], status: Some((2, "no")), ..Span::default() });
    });
    assert_eq!(check(Signal::Traces, &traces.finish()).unwrap(), 2);
    let point = NumberPoint { time: 1, start_time: 0, value: Some(PointValue::Int(1)), attributes: &[] };
    let mut metrics = MetricsRequest::new();
    metrics.resource(&[], |scope| {
        scope.metric("a", "", "", MetricKind::Gauge, |metric| (0..2).for_each(|_| metric.point(&point)));
        scope.metric("b", "", "", MetricKind::Sum { monotonic: true }, |metric| metric.point(&point));
    });
    assert_eq!(check(Signal::Metrics, &metrics.finish()).unwrap(), 3);
    // A request of another signal: the time of a log record is no text.
    let mut log = devmesh_schema::otlp::write::LogsRequest::new();
    log.resource(&[], |scope| {
        scope.record(&devmesh_schema::otlp::write::LogRecord { time: 5, ..Default::default() });
    });
    assert!(check(Signal::Traces, &log.finish()).is_err());
}

#[tokio::test]
async fn a_full_queue_says_so_and_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _, _) = Queue::open(dir.path(), Options { max_bytes: 2 << 20, ..options() }).unwrap();
    let large = "x".repeat(100_000);
    let mut taken = 0;
    let error = loop {
        match queue.write(batch(logs(&[&large]))).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, WriteError::Unavailable(why) if why.contains("full")), "{error}");
    assert!(error.retry_after().is_some());
    assert_eq!(queue.waiting(), taken);
    queue.close().await;
    assert_eq!(queued(dir.path()).len() as u64, taken);
}
