use std::{convert::Infallible, sync::Arc};

use arrow_array::{BinaryArray, FixedSizeBinaryArray, StringArray};
use proptest::prelude::*;

use super::*;

fn selected(index: &[u8], filter: Filter) -> Option<Vec<Range<usize>>> {
    let (header, start) = Header::parse(index).unwrap();
    let Question::Clauses(clauses) = header.question(&[filter]) else { return None };
    let block = |at: u64| Ok::<_, Infallible>(*index[start + at as usize..].first_chunk().unwrap());
    Some(header.select(&clauses, block).unwrap())
}

fn words_filter(text: &str) -> Filter {
    let mut found = Vec::new();
    words(text, |word| found.push(word.to_owned()));
    Filter::Words { column: "body".into(), words: found }
}

proptest! {
    #[test]
    fn no_row_is_lost(
        bodies in prop::collection::vec(prop::option::of("[a-cA-C€é ]{0,12}"), 1..200),
        ids in prop::collection::vec(0_u8..255, 200),
        pick in any::<prop::sample::Index>(),
    ) {
        // Spread over several ranges.
        let copies = PAGE_ROWS * 2 / bodies.len() + 1;
        let rows = bodies.len() * copies;
        let texts: StringArray = bodies.iter().cycle().take(rows).cloned().collect();
        let trace = |row: usize| [ids[row % bodies.len()]; 16];
        let traces = FixedSizeBinaryArray::try_from_iter((0..rows).map(trace)).unwrap();
        let users: StringArray = (0..rows).map(|row| Some(format!("u{row}"))).collect();
        let mut builder = Builder::new(rows);
        builder.add("body", &(Arc::new(texts) as ArrayRef));
        builder.add("trace_id", &(Arc::new(traces) as ArrayRef));
        builder.add("attributes.s:user", &(Arc::new(users) as ArrayRef));
        let index = builder.finish(&[]);
        let row = pick.index(rows);
        let mut filters = vec![
            Filter::Attribute { key: "user".into(), value: format!("u{row}") },
            Filter::Compare {
                column: "trace_id".into(),
                op: Op::Eq,
                value: Value::Text(hex::encode(trace(row))),
            },
        ];
        filters.extend(bodies[row % bodies.len()].as_deref().map(words_filter));
        for filter in filters {
            let found = selected(&index, filter.clone());
            prop_assert!(found.is_some_and(|found| found.iter().any(|r| r.contains(&row))), "{filter:?}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        prop_assert!(Header::parse(&bytes).is_none());
        let mut builder = Builder::new(10);
        let texts: StringArray = (0..10).map(|n| Some(format!("word{n}"))).collect();
        builder.add("body", &(Arc::new(texts) as ArrayRef));
        let mut index = builder.finish(&[]);
        let at = at.index(index.len());
        index[at] ^= 1 << bit;
        // Damage of the header is noticed; that of the filters is for the file's checksum to find.
        if let Some((header, start)) = Header::parse(&index) {
            prop_assert!(at >= start);
            prop_assert_eq!(header.rows, 10);
        }
    }
}

#[test]
fn keys_in_the_rest_are_never_ruled_out_and_others_are() {
    // A length, then field 1 (the key `k`) and field 2 (an empty value).
    let rest = BinaryArray::from_iter([Some(&[5_u8, 0x0a, 1, b'k', 0x12, 0][..]), None]);
    let mut builder = Builder::new(2);
    builder.add("attributes.rest", &(Arc::new(rest) as ArrayRef));
    let index = builder.finish(&[]);
    let filter = |key: &str| Filter::Attribute { key: key.into(), value: "v".into() };
    assert_eq!(selected(&index, filter("k")), Some(std::iter::once(0..2).collect()));
    assert_eq!(selected(&index, filter("other")), None);
    let mut builder = Builder::new(1);
    builder.add("attributes.rest", &(Arc::new(BinaryArray::from_iter([Some(&[9_u8, 1][..])])) as ArrayRef));
    assert_eq!(
        selected(&builder.finish(&[]), filter("other")),
        Some(std::iter::once(0..1).collect()),
        "what is not understood"
    );
}

#[test]
fn a_log_row_costs_at_most_eight_bytes() {
    let rows = 100_000;
    let body: StringArray = (0..rows)
        .map(|n| Some(format!("GET /api/v1/orders/{n} answered 200 in {} ms for user {}", n % 977, n % 5000)))
        .collect();
    let ids = FixedSizeBinaryArray::try_from_iter((0..rows as u128).map(|n| (n * n).to_be_bytes())).unwrap();
    let ids = Arc::new(ids) as ArrayRef;
    let mut builder = Builder::new(rows);
    builder.add("body", &(Arc::new(body) as ArrayRef));
    builder.add("trace_id", &ids);
    builder.add("attributes.u:request.id", &ids);
    let bytes = builder.finish(&[]).len();
    assert!(bytes <= rows * 8, "{bytes} bytes");
}
