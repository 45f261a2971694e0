//! A rule's query, answered: PromQL's series, or the rows of SQL.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arrow_array::{Array, RecordBatch, cast::AsArray, types::Float64Type};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;
use devmesh_collector::recorded::{Native, Value};
use devmesh_query::{
    Engine, SqlOptions,
    prometheus::{
        LOOKBACK,
        promql::{Answer, Sample, histogram::Histogram},
    },
};
use devmesh_rules::{LabelSet, alert::Found, file::Query, template};
use devmesh_schema::limits;

/// The column of SQL that holds the value.
const VALUE: &str = "value";

/// A series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) labels: LabelSet,
    pub(super) value: Value,
}

impl Series {
    /// As an alert sees it: a histogram's value is its number of observations.
    pub(super) fn found(self) -> Found {
        let value = match self.value {
            Value::Number(value) => value,
            Value::Histogram(native) => native.count,
            Value::End => f64::NAN,
        };
        Found { labels: self.labels, value }
    }
}

/// Asks a rule's query.
pub(super) async fn ask(engine: &Engine, query: &Query, at: i64, time: Duration) -> Result<Vec<Series>, String> {
    let all = match query {
        Query::Promql(text) => promql(engine, text, at, time).await?,
        Query::Sql(text) => sql(engine, text, time).await?,
    };
    if all.len() > limits::RULE_SERIES {
        return Err(format!("the answer has {} series, more than {}", all.len(), limits::RULE_SERIES));
    }
    Ok(all)
}

async fn promql(engine: &Engine, text: &str, at: i64, time: Duration) -> Result<Vec<Series>, String> {
    let (answer, _) = engine.promql_instant(text, at, LOOKBACK, Some(time)).await.map_err(|error| error.to_string())?;
    match answer {
        Answer::Vector(rows) => Ok(rows
            .into_iter()
            .filter_map(|row| {
                let sample = row.points.into_iter().next().flatten()?;
                let labels = row.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                Some(Series { labels, value: value(sample) })
            })
            .collect()),
        Answer::Scalar(values) => {
            let value = Value::Number(values.first().copied().unwrap_or(f64::NAN));
            Ok(vec![Series { labels: LabelSet::new(), value }])
        }
        Answer::Text(_) | Answer::Matrix(_) => Err("rule result is not a vector or scalar".to_owned()),
    }
}

fn value(sample: Sample) -> Value {
    match sample {
        Sample::Float(value) => Value::Number(value),
        Sample::Histogram(histogram) => Value::Histogram(Box::new(native(&histogram))),
    }
}

fn native(histogram: &Arc<Histogram>) -> Native {
    Native {
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count: histogram.zero_count,
        count: histogram.count,
        sum: histogram.sum,
        positive: histogram.positive.clone(),
        negative: histogram.negative.clone(),
        bounds: histogram.bounds.to_vec(),
    }
}

/// Each row is a result: its column `value` the value, which is 1 where there is none, the others the labels.
async fn sql(engine: &Engine, text: &str, time: Duration) -> Result<Vec<Series>, String> {
    let options = SqlOptions { limit: Some(limits::RULE_SERIES + 1), timeout: Some(time) };
    let answer = engine.sql(text, options).await.map_err(|error| error.to_string())?;
    let batches = answer.collect().await.map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    for batch in &batches {
        rows(batch, &mut all)?;
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = all.iter().find(|one: &&Series| !seen.insert(&one.labels)) {
        return Err(format!("two rows have the labels {:?}; group by them", twice.labels));
    }
    Ok(all)
}

fn rows(batch: &RecordBatch, out: &mut Vec<Series>) -> Result<(), String> {
    let wrong = |error: arrow_schema::ArrowError| error.to_string();
    let schema = batch.schema();
    let options = FormatOptions::default();
    let mut labels = Vec::new();
    let mut values = None;
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if field.name() == VALUE {
            let numbers = arrow_cast::cast(column, &DataType::Float64);
            values = Some(numbers.map_err(|_no_number| "the column `value` has to be a number".to_owned())?);
            continue;
        }
        if field.data_type().is_nested() {
            return Err(format!("the column {} is a {}, which is no label", field.name(), field.data_type()));
        }
        labels.push((field.name(), column, ArrayFormatter::try_new(column, &options).map_err(wrong)?));
    }
    for row in 0..batch.num_rows() {
        let value = match &values {
            None => 1.0,
            // No value is no result: a sum over nothing, say.
            Some(values) if values.is_null(row) => continue,
            Some(values) => values.as_primitive::<Float64Type>().value(row),
        };
        let label = |(name, column, format): &(&String, &Arc<dyn Array>, ArrayFormatter<'_>)| {
            let text = if column.is_null(row) { String::new() } else { format.value(row).to_string() };
            (!text.is_empty()).then(|| ((*name).clone(), text))
        };
        out.push(Series { labels: labels.iter().filter_map(label).collect(), value: Value::Number(value) });
    }
    Ok(())
}

/// What a template's `query` asks. It waits: only for threads that may.
pub(super) fn for_template(
    engine: &Engine,
    text: &str,
    at: i64,
    time: Duration,
) -> Result<Vec<template::Sample>, String> {
    let asked = promql(engine, text, at, time);
    let found = tokio::runtime::Handle::current().block_on(asked)?;
    let sample = |one: Series| {
        let Found { labels, value } = one.found();
        template::Sample { labels, value }
    };
    Ok(found.into_iter().map(sample).collect())
}
