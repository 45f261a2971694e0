use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::any_value::Value,
    metrics::v1::{NumberDataPoint, metric::Data, number_data_point::Value as Number},
};
use prost::Message;

use super::*;

fn host(processes: usize) -> Host {
    let mut settings = Settings::default();
    settings.node.name = "box".into();
    settings.host.processes = processes;
    Host::new(&settings)
}

fn read(host: &mut Host) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest::decode(host.read().as_slice()).unwrap()
}

fn text(value: Option<opentelemetry_proto::tonic::common::v1::AnyValue>) -> String {
    match value.unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        other => panic!("{other:?}"),
    }
}

/// Points by metric: their attributes as `key=value`, and the number.
fn points(request: ExportMetricsServiceRequest) -> BTreeMap<String, Vec<(BTreeSet<String>, NumberDataPoint)>> {
    let metrics = request.resource_metrics.into_iter().flat_map(|r| r.scope_metrics).flat_map(|s| s.metrics);
    metrics
        .map(|metric| {
            let points = match metric.data.unwrap() {
                Data::Gauge(gauge) => gauge.data_points,
                Data::Sum(sum) => sum.data_points,
                other => panic!("{other:?}"),
            };
            let keyed = points.into_iter().map(|point| {
                let attributes = point.attributes.iter().map(|a| format!("{}={}", a.key, text(a.value.clone())));
                (attributes.collect(), point)
            });
            (metric.name, keyed.collect())
        })
        .collect()
}

fn number(point: &NumberDataPoint) -> f64 {
    match point.value.unwrap() {
        Number::AsInt(value) => value as f64,
        Number::AsDouble(value) => value,
    }
}

#[test]
fn the_machine_is_named_once_and_every_point_is_a_series_of_its_own() {
    let request = read(&mut host(5));
    let [resource] = request.resource_metrics.as_slice() else { panic!("one resource") };
    let attributes: Vec<_> =
        resource.resource.clone().unwrap().attributes.into_iter().map(|a| (a.key, text(a.value))).collect();
    let wanted = [("host.name", "box"), ("service.instance.id", "box"), ("os.type", "linux")];
    assert_eq!(attributes, wanted.map(|(key, value)| (key.to_owned(), value.to_owned())));
    for (metric, points) in points(request) {
        let keys: BTreeSet<_> = points.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), points.len(), "{metric}: two points have the same attributes");
        assert!(points.iter().all(|(_, point)| number(point) >= 0.0 && point.time_unix_nano > 0), "{metric}");
    }
}

#[test]
fn parts_make_the_whole() {
    let mut host = host(5);
    read(&mut host);
    let points = points(read(&mut host));
    let sum = |metric: &str| points[metric].iter().map(|(_, point)| number(point)).sum::<f64>();
    assert!((sum("system.memory.usage") / sum("system.memory.limit") - 1.0).abs() < 0.01, "memory");
    assert!((sum("system.memory.utilization") - 1.0).abs() < 0.01, "shares of the memory");
    // Nothing may have passed between two readings; then there is no share to tell.
    if points.contains_key("system.cpu.utilization") {
        assert!((sum("system.cpu.utilization") - 1.0).abs() < 1e-9, "shares of the processors");
    }
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap().matches("processor\t").count();
    assert_eq!(sum("system.cpu.logical.count"), processors as f64);
    assert_eq!(points["system.cpu.time"].len(), 7 * processors);
}

#[test]
fn this_process_is_found_with_what_it_uses() {
    let points = points(read(&mut host(usize::MAX)));
    let pid = format!("process.pid={}", std::process::id());
    let of = |metric: &str| -> Vec<&NumberDataPoint> {
        points[metric].iter().filter(|(key, _)| key.contains(&pid)).map(|(_, point)| point).collect()
    };
    let [memory] = of("process.memory.usage")[..] else { panic!("{:?}", of("process.memory.usage")) };
    assert!(number(memory) > 1e6, "{memory:?}");
    assert_eq!(of("process.cpu.time").len(), 2);
    assert_eq!(of("process.disk.io").len(), 2);
    assert!(number(of("process.unix.file_descriptor.count")[0]) >= 3.0);
    let age = number(of("process.uptime")[0]);
    let since = (memory.time_unix_nano - memory.start_time_unix_nano) as f64 / 1e9;
    assert!(age < 3600.0 && (age - since).abs() < 60.0, "{age} s, started {since} s ago");
}

#[test]
fn only_the_busiest_processes_are_measured() {
    let points = points(read(&mut host(1)));
    let measured: BTreeSet<_> = points["process.memory.usage"].iter().map(|(key, _)| key).collect();
    assert!((1..=2).contains(&measured.len()), "{measured:?}");
    let all: f64 = points["system.process.count"].iter().map(|(_, point)| number(point)).sum();
    assert!(all >= 2.0, "{all} processes");
}
