//! `pattern_id = …` as a question about templates, which is what rows have.

use devmesh_schema::stored;

use super::{PatternMap, parse_pattern_id};
use crate::{Filter, Op, Value};

/// The name of the column in filters and groups.
pub(crate) const COLUMN: &str = "pattern_id";

/// The patterns that a filter names; `None` for a filter of something else.
pub(crate) fn patterns(filter: &Filter) -> Option<Vec<u64>> {
    let id = |value: &Value| match value {
        Value::Text(text) => Some(parse_pattern_id(text)),
        Value::Int(_) | Value::Double(_) => None,
    };
    match filter {
        Filter::Compare { column, op: Op::Eq, value } if column == COLUMN => Some(id(value)?.into_iter().collect()),
        // What no pattern is shown as is no row's.
        Filter::OneOf { column, values } if column == COLUMN => {
            Some(values.iter().map(id).collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
        }
        _ => None,
    }
}

/// The filter by the ids of templates, for an index.
pub(crate) fn by_ids(filter: &Filter, map: &PatternMap) -> Option<Filter> {
    let ids = patterns(filter)?.into_iter().flat_map(|pattern| map.templates_of(pattern));
    // The bits of the id.
    let values = ids.map(|id| Value::Int(id as i64)).collect();
    Some(Filter::OneOf { column: stored::TEMPLATE.into(), values })
}

/// The filter by the texts of templates, for a database; `None` also where not all are known.
pub(crate) fn by_texts(filter: &Filter, map: &PatternMap) -> Option<Filter> {
    let mut values = Vec::new();
    for pattern in patterns(filter)? {
        values.extend(map.texts_of(pattern)?.into_iter().map(|text| Value::Text(text.to_owned())));
    }
    Some(Filter::OneOf { column: stored::TEMPLATE.into(), values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_pattern_is_shown_as_names_one() {
        let text = |text: &str| Value::Text(text.into());
        let compare = |op, value| Filter::Compare { column: COLUMN.into(), op, value };
        let one_of = |values| Filter::OneOf { column: COLUMN.into(), values };
        for (filter, expected) in [
            (compare(Op::Eq, text("00000000000000ff")), Some(vec![255])),
            (compare(Op::Eq, text("00000000000000FF")), Some(vec![])),
            (compare(Op::Eq, text("ff")), Some(vec![])),
            (compare(Op::Gt, text("00000000000000ff")), None),
            (compare(Op::Eq, Value::Int(1)), None),
            (one_of(vec![text("0000000000000001"), text("x"), text("0000000000000002")]), Some(vec![1, 2])),
            (Filter::Attribute { key: COLUMN.into(), value: "0000000000000001".into() }, None),
        ] {
            assert_eq!(patterns(&filter), expected, "{filter:?}");
        }
        let map = PatternMap::default();
        let filter = compare(Op::Eq, text("ffffffffffffffff"));
        let values = vec![Value::Int(-1)];
        assert_eq!(by_ids(&filter, &map), Some(Filter::OneOf { column: stored::TEMPLATE.into(), values }));
        assert_eq!(by_texts(&filter, &map), None, "only rows know of it");
    }
}
