//! Joined batches hold the rows of their parts.

use arrow_array::{Array, RecordBatch, cast::AsArray, types::Int32Type};
use devmesh_schema::{
    Signal,
    concat::concat,
    limits,
    otlp::{decode, encode},
    stored,
};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
};
use proptest::prelude::*;
use prost::Message;

use crate::{
    context,
    flatten::flatten,
    lossless::{as_read_from_a_file, assert_same, request},
};

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    KeyValue { key: key.into(), value, ..Default::default() }
}

fn records(records: Vec<Vec<KeyValue>>) -> Vec<u8> {
    let log_records = records
        .into_iter()
        .map(|attributes| LogRecord { time_unix_nano: 1, attributes, ..Default::default() })
        .collect();
    let scope_logs = vec![ScopeLogs { log_records, ..Default::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..Default::default() }] }.encode_to_vec()
}

fn rows(request: &[u8]) -> RecordBatch {
    decode(Signal::Logs, request, context()).unwrap().rows
}

fn attribute_columns(rows: &RecordBatch) -> usize {
    rows.schema().fields().iter().filter(|field| stored::parse_attribute_column(field.name()).is_some()).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_joined_batch_holds_the_rows_of_its_parts(
        parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..2000), any::<bool>()), 2..6),
    ) {
        for signal in Signal::ALL {
            let mut expected = Vec::new();
            let mut batches = Vec::new();
            for (entropy, from_file) in &parts {
                let request = request(signal, entropy);
                expected.extend(flatten(signal, &request).unwrap());
                let rows = decode(signal, &request, context()).unwrap().rows;
                batches.push(if *from_file { as_read_from_a_file(&rows) } else { rows });
            }
            let joined = concat(signal, &batches.iter().collect::<Vec<_>>()).unwrap();
            assert_same(&expected, &flatten(signal, &encode(signal, &joined).unwrap()).unwrap());
        }
    }
}

#[test]
fn equal_values_of_dictionaries_are_joined() {
    let request = records(vec![vec![text("a", "x")], vec![text("a", "y"), text("b", "z")]]);
    let part = rows(&request);
    let joined = concat(Signal::Logs, &[&part, &part, &part.slice(0, 1)]).unwrap();
    assert_eq!(joined.num_rows(), 5);
    for (name, distinct) in [(stored::SHAPE, 2), (stored::RESOURCE, 1), (stored::SCOPE, 1), (stored::LEVEL, 1)] {
        let column = joined.column_by_name(name).unwrap().as_dictionary::<Int32Type>();
        assert_eq!(column.values().len(), distinct, "{name}");
    }
    let of_first_row = concat(Signal::Logs, &[&part.slice(0, 1), &part.slice(0, 1)]).unwrap();
    let shapes = of_first_row.column_by_name(stored::SHAPE).unwrap().as_dictionary::<Int32Type>();
    assert_eq!(shapes.values().len(), 1, "a value that no row has is left out");
}

#[test]
fn with_too_many_attribute_columns_the_rarest_move_into_the_rest() {
    let frequent: Vec<KeyValue> = (0..200).map(|i| text(&format!("f{i}"), "x")).collect();
    let mixed = |j: usize| {
        let mut list = frequent.clone();
        list.insert(j % 200, text(&format!("rare{j}"), &format!("value {j}")));
        list
    };
    let requests: Vec<Vec<u8>> = (0..4).map(|p| records((0..50).map(|i| mixed(p * 50 + i)).collect())).collect();
    let parts: Vec<RecordBatch> = requests.iter().map(|request| rows(request)).collect();
    let joined = concat(Signal::Logs, &parts.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(attribute_columns(&joined), limits::ATTRIBUTE_COLUMNS);
    for i in 0..200 {
        assert!(joined.column_by_name(&format!("attributes.s:f{i}")).is_some(), "f{i}");
    }
    let expected: Vec<_> = requests.iter().flat_map(|r| flatten(Signal::Logs, r).unwrap()).collect();
    assert_same(&expected, &flatten(Signal::Logs, &encode(Signal::Logs, &joined).unwrap()).unwrap());
}

#[test]
fn one_batch_is_joined_to_itself() {
    let part = rows(&records(vec![vec![text("a", "x")]]));
    assert_eq!(concat(Signal::Logs, &[&part]).unwrap(), part);
    assert_eq!(concat(Signal::Logs, &[]).unwrap().num_rows(), 0);
}

#[test]
fn keys_beyond_the_limit_of_columns_share_one_column() {
    let request = records((0..400).map(|i| vec![text(&format!("k{i}"), "x"), text("same", "y")]).collect());
    let rows = rows(&request);
    assert_eq!(attribute_columns(&rows), limits::ATTRIBUTE_COLUMNS);
    let written = encode(Signal::Logs, &rows).unwrap();
    assert_same(&flatten(Signal::Logs, &request).unwrap(), &flatten(Signal::Logs, &written).unwrap());
}

#[test]
fn records_with_too_many_shapes_are_kept_whole_in_the_rest() {
    // Each record has another subset of 13 keys: 8191 shapes.
    let subset = |i: usize| (0..13).filter(|bit| i >> bit & 1 == 1).map(|bit| text(&format!("k{bit}"), "v")).collect();
    let request = records((1..8192).map(subset).collect());
    let rows = rows(&request);
    let shapes = rows.column_by_name(stored::SHAPE).unwrap().as_dictionary::<Int32Type>();
    assert!(shapes.values().len() <= stored::SHAPES + limits::ATTRIBUTES, "{}", shapes.values().len());
    let written = encode(Signal::Logs, &rows).unwrap();
    assert_same(&flatten(Signal::Logs, &request).unwrap(), &flatten(Signal::Logs, &written).unwrap());
}
