//! What is decoded and encoded again is what came.

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use devmesh_schema::{
    Signal,
    otlp::{decode, encode},
};
use proptest::prelude::*;
use prost::Message;
use std::sync::Arc;

use crate::{
    context,
    flatten::{Flat, flatten},
    generate::Source,
    scramble::scramble,
};

/// A random request.
pub(crate) fn request(signal: Signal, entropy: &[u8]) -> Vec<u8> {
    let mut source = Source(entropy);
    match signal {
        Signal::Logs => source.logs().encode_to_vec(),
        Signal::Traces => source.traces().encode_to_vec(),
        Signal::Metrics => source.metrics().encode_to_vec(),
    }
}

pub(crate) fn assert_same(expected: &[Flat], actual: &[Flat]) {
    assert_eq!(expected.len(), actual.len(), "number of items");
    for (expected, actual) in expected.iter().zip(actual) {
        assert!(expected == actual, "sent\n  {expected:?}\nkept\n  {actual:?}");
    }
}

fn round_trip(signal: Signal, request: &[u8]) {
    let decoded = decode(signal, request, context()).unwrap();
    assert_eq!(decoded.rejected, 0, "{:?}", decoded.rejections);
    let written = encode(signal, &decoded.rows).unwrap();
    assert_same(&flatten(signal, request).unwrap(), &flatten(signal, &written).unwrap());
}

/// The batch as a Parquet reader gives it: no dictionaries, text and bytes as views.
pub(crate) fn as_read_from_a_file(rows: &RecordBatch) -> RecordBatch {
    let target = |data_type: &DataType| match data_type {
        DataType::Dictionary(_, value) if **value == DataType::Utf8 => DataType::Utf8View,
        DataType::Dictionary(_, _) | DataType::Binary => DataType::BinaryView,
        DataType::Utf8 => DataType::Utf8View,
        other => other.clone(),
    };
    let (fields, arrays): (Vec<Field>, Vec<_>) = rows
        .schema()
        .fields()
        .iter()
        .zip(rows.columns())
        .map(|(field, array)| {
            let data_type = target(field.data_type());
            let array = arrow_cast::cast(array, &data_type).unwrap();
            (field.as_ref().clone().with_data_type(data_type), array)
        })
        .unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

fn entropy() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..6000)
}

#[test]
fn the_random_requests_have_something_in_them() {
    let entropy: Vec<u8> =
        (0..60_000u32).map(|i| (i.wrapping_mul(2_654_435_761).rotate_left(9) >> 24) as u8 ^ (i >> 3) as u8).collect();
    for signal in Signal::ALL {
        let requests = entropy.chunks(6000).map(|entropy| request(signal, entropy));
        let items: Vec<usize> = requests.map(|request| flatten(signal, &request).unwrap().len()).collect();
        println!("{signal} {items:?}");
        assert!(items.iter().sum::<usize>() > 60, "{signal} {items:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn logs_come_back_as_they_were_sent(entropy in entropy()) {
        round_trip(Signal::Logs, &request(Signal::Logs, &entropy));
    }

    #[test]
    fn spans_come_back_as_they_were_sent(entropy in entropy()) {
        round_trip(Signal::Traces, &request(Signal::Traces, &entropy));
    }

    #[test]
    fn metrics_come_back_as_they_were_sent(entropy in entropy()) {
        round_trip(Signal::Metrics, &request(Signal::Metrics, &entropy));
    }

    #[test]
    fn it_does_not_matter_how_a_request_is_written(entropy in entropy(), other in entropy()) {
        for signal in Signal::ALL {
            let plain = request(signal, &entropy);
            let scrambled = scramble(signal, &plain, &mut Source(&other));
            assert_same(&flatten(signal, &plain).unwrap(), &flatten(signal, &scrambled).unwrap());
            round_trip(signal, &scrambled);
        }
    }

    #[test]
    fn rows_from_a_file_are_written_out_like_rows_from_memory(entropy in entropy()) {
        for signal in Signal::ALL {
            let decoded = decode(signal, &request(signal, &entropy), context()).unwrap();
            let expected = encode(signal, &decoded.rows).unwrap();
            prop_assert_eq!(expected, encode(signal, &as_read_from_a_file(&decoded.rows)).unwrap());
        }
    }
}
