//! Classic histograms as native ones with listed bounds, as `load_with_nhcb` makes them.

use std::{collections::BTreeMap, sync::Arc};

use devmesh_promql::{
    Labels, NAME, Sample, Series,
    histogram::{CUSTOM, Histogram},
};

/// The series of native histograms that the classic ones among `series` make.
pub(crate) fn histograms(series: &[Series]) -> Vec<Series> {
    let base = |labels: &Labels, suffix: &str| {
        let name = labels.name().strip_suffix(suffix)?;
        let others = labels.iter().filter(|(label, _)| *label != "le" && *label != NAME);
        Some(Labels::new(others.map(|(n, v)| (n.to_owned(), v.to_owned())).chain([(NAME.to_owned(), name.to_owned())])))
    };
    type Parts = BTreeMap<i64, (Vec<(f64, f64)>, Option<f64>, Option<f64>)>;
    let mut all: BTreeMap<Labels, Parts> = BTreeMap::new();
    for one in series {
        for (time, value) in one.times.iter().zip(&one.values) {
            if let (Some(labels), Ok(le)) =
                (base(&one.labels, "_bucket"), crate::notation::number(one.labels.get("le")))
            {
                all.entry(labels).or_default().entry(*time).or_default().0.push((le, *value));
            } else if let Some(labels) = base(&one.labels, "_sum") {
                all.entry(labels).or_default().entry(*time).or_default().1 = Some(*value);
            } else if let Some(labels) = base(&one.labels, "_count") {
                all.entry(labels).or_default().entry(*time).or_default().2 = Some(*value);
            }
        }
    }
    let mut made = Vec::new();
    for (labels, times) in all {
        let mut one = Series::new(labels);
        for (time, (mut buckets, sum, count)) in times {
            if buckets.is_empty() {
                continue;
            }
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            let bounds: Vec<f64> = buckets.iter().map(|(le, _)| *le).filter(|le| le.is_finite()).collect();
            let total = count.or(buckets.last().map(|(_, n)| *n)).unwrap_or_default();
            let (mut before, mut positive) = (0.0, Vec::new());
            for (n, (_, cumulative)) in buckets.iter().enumerate() {
                positive.push((n as i32, cumulative - before));
                before = *cumulative;
            }
            if buckets.last().is_some_and(|(le, _)| le.is_finite()) {
                positive.push((buckets.len() as i32, total - before));
            }
            positive.retain(|(_, count)| *count != 0.0);
            let histogram = Histogram {
                schema: CUSTOM,
                count: total,
                sum: sum.unwrap_or_default(),
                positive,
                bounds: bounds.into(),
                ..Histogram::default()
            };
            one.push(time, Sample::Histogram(Arc::new(histogram)));
        }
        made.push(one);
    }
    made
}
