//! OTLP O60: a request in JSON is the same request as in protobuf, whatever it holds and however a sender writes it.

mod messages;
mod writer;

use devmesh_schema::{
    IngestPath, Signal,
    otlp::{Context, decode, json::to_protobuf},
    view::to_table,
};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use proptest::prelude::*;
use prost::Message;

use writer::{Style, ToJson};

/// What JSON says is what prost reads, and the decoder makes the same rows of both.
fn check<M: Message + Default + ToJson>(signal: Signal, message: &M, style: Style) -> Result<(), TestCaseError> {
    let json = message.to_json(style).to_string();
    let done = to_protobuf(signal, json.as_bytes());
    let done = done.map_err(|error| TestCaseError::fail(format!("{error}: {json}")))?;
    prop_assert_eq!((done.rejected, &done.warnings), (0, &Vec::new()), "{}", json);
    let read = M::decode(&*done.request).map_err(|error| TestCaseError::fail(format!("{error}: {json}")))?;
    let direct = message.encode_to_vec();
    // As bytes: NaN is not equal to itself.
    prop_assert_eq!(read.encode_to_vec(), &*direct, "{}", json);
    let rows = |bytes: &[u8]| {
        let context = Context { path: IngestPath::Collector, received: 1_800_000_000_000_000_000 };
        let decoded = decode(signal, bytes, context).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let table = to_table(signal, &decoded.rows).map_err(|e| TestCaseError::fail(e.to_string()))?;
        Ok::<_, TestCaseError>((decoded, table))
    };
    let (from_json, from_protobuf) = (rows(&done.request)?, rows(&direct)?);
    prop_assert_eq!(&from_json.0.rejections, &from_protobuf.0.rejections);
    prop_assert_eq!(format!("{:?}", from_json.1), format!("{:?}", from_protobuf.1));
    // prost does not keep to the order of the fields in exemplars, which are stored as they came.
    if signal != Signal::Metrics {
        prop_assert_eq!(format!("{:?}", from_json.0.rows), format!("{:?}", from_protobuf.0.rows));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn logs_in_json_are_equal(logs in messages::logs(), style in messages::style()) {
        check::<ExportLogsServiceRequest>(Signal::Logs, &logs, style)?;
    }

    #[test]
    fn traces_in_json_are_equal(traces in messages::traces(), style in messages::style()) {
        check::<ExportTraceServiceRequest>(Signal::Traces, &traces, style)?;
    }

    #[test]
    fn metrics_in_json_are_equal(metrics in messages::metrics(), style in messages::style()) {
        check::<ExportMetricsServiceRequest>(Signal::Metrics, &metrics, style)?;
    }

    #[test]
    fn a_request_with_damage_never_panics(
        logs in messages::logs(), style in messages::style(), at: prop::sample::Index, with in ".{0,3}", cut in 0usize..4,
    ) {
        let mut json = logs.to_json(style).to_string();
        let start = json.floor_char_boundary(at.index(json.len() + 1));
        let end = json.floor_char_boundary((start + cut).min(json.len()));
        json.replace_range(start..end.max(start), &with);
        drop(to_protobuf(Signal::Logs, json.as_bytes()));
    }

    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for signal in Signal::ALL {
            drop(to_protobuf(signal, &bytes));
        }
    }

    #[test]
    fn almost_json_never_panics(text in r#"[{}\[\]":,0-9a-z\\u \-+.eE]{0,120}"#) {
        for signal in Signal::ALL {
            drop(to_protobuf(signal, text.as_bytes()));
        }
    }
}
