//! Bytes that are no request are refused, and never stop the program.

use devmesh_schema::{
    Signal,
    otlp::{decode, encode, wire::Reader},
};
use proptest::prelude::*;

use crate::{context, flatten::flatten, lossless::request};

/// Whether the bytes have something that we refuse and prost does not.
fn within_limits(reason: &str) -> bool {
    !(reason.contains("groups") || reason.contains("nest"))
}

fn compare(signal: Signal, bytes: &[u8]) {
    match decode(signal, bytes, context()) {
        Err(error) => {
            assert!(error.offset <= bytes.len(), "{error}");
            if flatten(signal, bytes).is_ok() {
                assert!(!within_limits(&error.reason), "prost takes it, we say: {error}");
            }
        }
        Ok(decoded) => {
            let written = encode(signal, &decoded.rows).unwrap();
            let items = flatten(signal, &written).unwrap();
            assert_eq!(items.len(), decoded.rows.num_rows(), "what is stored can be written for others to read");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for signal in Signal::ALL {
            compare(signal, &bytes);
        }
    }

    #[test]
    fn changed_requests_do_no_harm(
        entropy in prop::collection::vec(any::<u8>(), 0..2000),
        changes in prop::collection::vec((any::<u16>(), any::<u8>()), 1..8),
    ) {
        for signal in Signal::ALL {
            let mut bytes = request(signal, &entropy);
            for (at, byte) in &changes {
                let length = bytes.len().max(1);
                if let Some(slot) = bytes.get_mut(usize::from(*at) % length) {
                    *slot = *byte;
                }
            }
            compare(signal, &bytes);
        }
    }

    #[test]
    fn cut_requests_do_no_harm(entropy in prop::collection::vec(any::<u8>(), 0..600)) {
        for signal in Signal::ALL {
            let bytes = request(signal, &entropy);
            for end in 0..bytes.len() {
                compare(signal, &bytes[..end]);
            }
        }
    }
}

#[test]
fn a_request_cut_within_its_group_is_refused_at_every_byte() {
    let entropy: Vec<u8> = (0..4000u32).map(|i| 0xFF - (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for signal in Signal::ALL {
        let bytes = request(signal, &entropy);
        let group = Reader::new(&bytes[1..]).bytes().unwrap().len();
        assert!(group > 100, "{signal} {group}");
        for end in 1..=group {
            assert!(decode(signal, &bytes[..end], context()).is_err(), "{signal} {end}");
        }
    }
}
