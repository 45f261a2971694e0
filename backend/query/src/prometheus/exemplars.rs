//! Exemplars: single observations with the trace that made them. Those of stored points are read from them; those of what is counted
//! from spans are spans, the slowest of each stretch of time.

use std::collections::BTreeMap;

use arrow_array::{
    Array, RecordBatch,
    cast::AsArray,
    types::{Float64Type, TimestampNanosecondType},
};
use devmesh_promql::{Labels, Query, Select};
use futures::StreamExt;

use super::{
    LOOKBACK, PromError,
    points::{self, Collector},
    red,
    source::{Asking, Source},
};
use crate::{Engine, Error};

/// Exemplars of one answer: more are no dots on a chart any more.
pub(super) const EXEMPLARS: usize = 10_000;

/// An observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// When, ms since the epoch.
    pub at: i64,
    /// What was observed.
    pub value: f64,
    /// `trace_id`, `span_id`, and what else the sender said of it.
    pub labels: Labels,
}

/// Exemplars by their series.
pub type Exemplars = BTreeMap<Labels, Vec<Exemplar>>;

impl Engine {
    /// The exemplars of the series that a query reads, in a range of times, ms, both inclusive; in the order of time.
    ///
    /// # Errors
    /// It is no query, or the store cannot be read.
    pub async fn prom_exemplars(&self, query: &str, start: i64, end: i64) -> Result<Exemplars, PromError> {
        let source = Asking { engine: self, timeout: None };
        let query = Query::instant(query, end, LOOKBACK)?;
        let mut all = Exemplars::new();
        for select in query.selects() {
            let select = Select { start, end, ..select.clone() };
            stored(&source, &select, &mut all).await?;
            red::exemplars(&source, &select, &mut all).await?;
        }
        for exemplars in all.values_mut() {
            exemplars.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.labels.cmp(&b.labels)));
            exemplars.dedup();
        }
        Ok(all)
    }
}

async fn stored(source: &dyn Source, select: &Select, all: &mut Exemplars) -> Result<(), PromError> {
    let Some(sql) = super::points_sql(source, select, ", exemplars").await? else { return Ok(()) };
    let sql = format!("SELECT * FROM ({sql}) WHERE array_length(exemplars) > 0");
    let mut collector = Collector::new(select);
    let mut rows = source.rows(&sql).await?;
    let mut count = 0;
    while let Some(batch) = rows.next().await {
        for (series, exemplar) in of_points(&mut collector, &batch?)? {
            if count < EXEMPLARS {
                all.entry(series).or_default().push(exemplar);
                count += 1;
            }
        }
    }
    Ok(())
}

/// The exemplars of points, each with its series.
fn of_points(collector: &mut Collector<'_>, batch: &RecordBatch) -> Result<Vec<(Labels, Exemplar)>, Error> {
    let lacks = || Error::Internal("metrics lacks its exemplars".into());
    let lists = batch.column_by_name("exemplars").and_then(|column| column.as_list_opt::<i32>()).ok_or_else(lacks)?;
    let mut of_series = collector.rows(batch)?;
    let mut found = Vec::new();
    for row in (0..batch.num_rows()).filter(|row| lists.is_valid(*row) && lists.value_length(*row) > 0) {
        let items = lists.value(row);
        let items = items.as_struct_opt().ok_or_else(lacks)?;
        let column = |name: &str| items.column_by_name(name).ok_or_else(lacks);
        let times = column("time")?.as_primitive_opt::<TimestampNanosecondType>().ok_or_else(lacks)?;
        let values = column("value")?.as_primitive_opt::<Float64Type>().ok_or_else(lacks)?;
        let ids = ["trace_id", "span_id"].map(|name| items.column_by_name(name).and_then(|c| c.as_string_view_opt()));
        let attributes = column("attributes")?.as_map_opt().ok_or_else(lacks)?;
        for n in (0..items.len()).filter(|n| values.is_valid(*n)) {
            let value = values.value(n);
            let Some(series) = of_series.of(row, value) else { continue };
            let mut pairs = points::labels(attributes, n);
            for (name, ids) in ["trace_id", "span_id"].iter().zip(ids) {
                let id = ids.filter(|ids| ids.is_valid(n)).map_or("", |ids| ids.value(n));
                if !id.is_empty() {
                    pairs.push(((*name).to_owned(), id.to_owned()));
                }
            }
            let at = times.value(n).div_euclid(1_000_000);
            found.push((series, Exemplar { at, value, labels: Labels::new(pairs) }));
        }
    }
    Ok(found)
}
