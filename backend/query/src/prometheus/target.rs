//! `target_info`: the resource attributes of OTLP metrics by `job` and `instance`, a series a resource, as Prometheus makes them of
//! what it takes by OTLP. They are read from the points' resources when they are asked for.

use std::collections::{BTreeMap, HashMap};

use devmesh_promql::{Labels, NAME, Select, Series};
use devmesh_schema::prometheus::{REMOTE_WRITE, SCRAPE};
use futures::StreamExt;

use super::{PromError, SAMPLES, between, common_job, points, quote, source::Source};

/// The name of the series.
pub(super) const TARGET_INFO: &str = "target_info";
/// Of the samples in a stretch of time the first and the last stay, ms: many more than a lookback needs.
const STRETCH: i64 = 60_000;

/// Whether a selection may want them.
pub(super) fn wanted(select: &Select) -> bool {
    select.any.iter().any(|all| all.iter().filter(|m| m.name == NAME).all(|m| m.matches(TARGET_INFO)))
}

/// The first and last millisecond of each stretch of time in which a resource was heard of.
type Stretches = BTreeMap<i64, (i64, i64)>;

/// The series that a selection wants.
pub(super) async fn series(source: &dyn Source, select: &Select, left: &mut usize) -> Result<Vec<Series>, PromError> {
    if !wanted(select) {
        return Ok(Vec::new());
    }
    let service = common_job(select).map(|job| format!(" AND service = {}", quote(job))).unwrap_or_default();
    let sql = format!(
        "SELECT time, resource_attributes FROM metrics WHERE {} AND source NOT IN ('{SCRAPE}', '{REMOTE_WRITE}'){service}",
        between(select.start, select.end)
    );
    // The labels of each resource; `None` where it is not wanted.
    let mut known: HashMap<u128, usize> = HashMap::new();
    let mut found: Vec<Option<(Labels, Stretches)>> = Vec::new();
    let mut rows = source.rows(&sql).await?;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let (times, resources) = points::resources(&batch)?;
        for row in 0..batch.num_rows() {
            let at = *known.entry(points::hash(&resources, row)).or_insert_with(|| {
                let labels = points::target(&resources, row).filter(|labels| select.matches(labels));
                found.push(labels.map(|labels| (labels, BTreeMap::new())));
                found.len() - 1
            });
            let Some((_, stretches)) = &mut found[at] else { continue };
            let time = times.value(row).div_euclid(1_000_000);
            let stretch = stretches.entry(time.div_euclid(STRETCH)).or_insert((time, time));
            *stretch = (stretch.0.min(time), stretch.1.max(time));
        }
        if known.len() > SAMPLES / 100 {
            return Err(devmesh_promql::Error::TooManySamples(SAMPLES).into());
        }
    }
    let mut all: BTreeMap<Labels, Vec<i64>> = BTreeMap::new();
    for (labels, stretches) in found.into_iter().flatten() {
        // Resources that differ in what is no label are one.
        let times = all.entry(labels).or_default();
        times.extend(stretches.into_values().flat_map(|(first, last)| [first, last]));
    }
    let series = |(labels, mut times): (Labels, Vec<i64>)| {
        times.sort_unstable();
        times.dedup();
        *left = left.checked_sub(times.len()).ok_or(devmesh_promql::Error::TooManySamples(SAMPLES))?;
        let values = vec![1.0; times.len()];
        Ok(Series { labels, times, values, histograms: Vec::new() })
    };
    all.into_iter().map(series).collect()
}
