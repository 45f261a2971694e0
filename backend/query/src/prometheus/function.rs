//! `promql('rate(x[5m])', start, end, step)`: a query in PromQL as a table of SQL, and `promql('x', time)` for one time.
//!
//! A row is a sample: `time`, `name` of the metric (empty where the query dropped it), `labels`, and `value`; a native histogram has
//! `count` and `sum` instead. Times are written as for `log_pattern_counts`; a step is a duration (`'15s'`), an interval, or a number of
//! seconds. What the query reads belongs to the statement: its snapshot, its time, its memory.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arrow_array::{
    ArrayRef, RecordBatch, StringViewArray, TimestampNanosecondArray,
    builder::{Float64Builder, MapBuilder, MapFieldNames, StringBuilder},
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableFunctionArgs, TableFunctionImpl, streaming::StreamingTable},
    common::{Result, ScalarValue},
    datasource::{TableProvider, TableType},
    error::DataFusionError,
    execution::{SendableRecordBatchStream, SessionState, TaskContext},
    logical_expr::Expr,
    physical_plan::{ExecutionPlan, stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use devmesh_promql::{Answer, Labels, NAME, Query, Row, Sample, Series, Times};
use devmesh_schema::{TimestampNs, tables, time};
use futures::{StreamExt, TryStreamExt, stream};

use super::{LOOKBACK, PromError, run, source::Inside};
use crate::{error::Error, patterns::functions::moment};

/// Its name in SQL.
pub(crate) const FUNCTION: &str = "promql";
/// Times of a query at most, as in Prometheus' API.
pub const POINTS: usize = 11_000;
/// Rows of a batch.
const BATCH: usize = 8192;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("time", tables::timestamp(), false),
        Field::new("name", DataType::Utf8View, false),
        Field::new("labels", tables::attributes(), false),
        Field::new("value", DataType::Float64, true),
        Field::new("count", DataType::Float64, true),
        Field::new("sum", DataType::Float64, true),
    ]))
});

/// The function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PromqlFunction;

impl TableFunctionImpl for PromqlFunction {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let now = TimestampNs::try_from(now).unwrap_or(TimestampNs::MAX);
        Ok(Arc::new(Found(asked(args.exprs(), now)?)))
    }
}

/// What a call asks.
fn asked(args: &[Expr], now: TimestampNs) -> Result<Query> {
    let usage = || {
        plan_error(format!(
            "{FUNCTION} is called as {FUNCTION}('rate(x[5m])', start, end, step), such as {FUNCTION}('up', 'now-1h', 'now', \
             '15s'), or {FUNCTION}('x', time)"
        ))
    };
    let (query, times) = args.split_first().ok_or_else(usage)?;
    let Expr::Literal(query, _) = query else { return Err(usage()) };
    let query = query.try_as_str().flatten().ok_or_else(usage)?;
    let ms = |at: &Expr| moment(at, now).map(|ns| ns.div_euclid(1_000_000));
    let asked = match times {
        [] => Query::instant(query, now.div_euclid(1_000_000), LOOKBACK),
        [at] => Query::instant(query, ms(at)?, LOOKBACK),
        [start, end, by] => {
            let times = Times { start: ms(start)?, end: ms(end)?, step: step(by)? };
            if times.end < times.start {
                return Err(plan_error(format!("the end of {FUNCTION} lies before its start")));
            }
            if times.count() > POINTS {
                let text =
                    format!("{FUNCTION} answers for {POINTS} times at most; take a longer step or a shorter range");
                return Err(plan_error(text));
            }
            Query::range(query, times, LOOKBACK)
        }
        _ => return Err(usage()),
    };
    asked.map_err(|error| plan_error(format!("the query of {FUNCTION}: {error}")))
}

/// A step, ms.
fn step(argument: &Expr) -> Result<i64> {
    let wrong = || plan_error(format!("`{argument}` is no step of {FUNCTION}: write '15s', or seconds greater than 0"));
    let Expr::Literal(value, _) = argument else { return Err(wrong()) };
    let ns = match value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            i64::from(interval.days).checked_mul(86_400_000_000_000).and_then(|ns| ns.checked_add(interval.nanoseconds))
        }
        value if value.data_type().is_numeric() => match value.cast_to(&DataType::Float64)? {
            ScalarValue::Float64(Some(seconds)) => {
                Duration::try_from_secs_f64(seconds).ok().and_then(|step| i64::try_from(step.as_nanos()).ok())
            }
            _ => None,
        },
        value => match value.try_as_str().flatten() {
            Some(text) => time::parse_duration(text).ok(),
            None => None,
        },
    };
    ns.map(|ns| ns / 1_000_000).filter(|ms| *ms > 0).ok_or_else(wrong)
}

fn plan_error(text: String) -> DataFusionError {
    DataFusionError::Plan(text)
}

/// The table of one call.
struct Found(Query);

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Promql")
    }
}

#[async_trait]
impl TableProvider for Found {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let state: &SessionState = session
            .as_any()
            .downcast_ref()
            .ok_or_else(|| DataFusionError::Internal(format!("{FUNCTION} is called outside of a query")))?;
        let stream = Arc::new(Running { query: self.0.clone(), state: state.clone() });
        StreamingTable::try_new(self.schema(), vec![stream])?.scan(session, projection, filters, limit).await
    }
}

/// A call whose rows are asked for.
struct Running {
    query: Query,
    state: SessionState,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Promql")
    }
}

impl PartitionStream for Running {
    fn schema(&self) -> &SchemaRef {
        &SCHEMA
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (query, source) = (self.query.clone(), Inside(self.state.clone()));
        let rows = async move {
            let times = query.times();
            let (answer, _) =
                run(&source, query).await.map_err(|error| DataFusionError::External(Box::new(said(error))))?;
            Ok::<_, DataFusionError>(stream::iter(batches(samples(answer, times))))
        };
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&SCHEMA), stream::once(rows).try_flatten().boxed()))
    }
}

fn said(error: PromError) -> Error {
    match error {
        PromError::Promql(error) => Error::BadQuery(format!("the query of {FUNCTION}: {error}")),
        PromError::Read(error) => error,
    }
}

type Samples = Box<dyn Iterator<Item = (Labels, i64, Sample)> + Send>;

/// The samples of an answer, series by series. A text has none.
fn samples(answer: Answer, times: Times) -> Samples {
    match answer {
        Answer::Scalar(values) => {
            Box::new(times.iter().zip(values).map(|(at, value)| (Labels::default(), at, Sample::Float(value))))
        }
        Answer::Text(_) => Box::new(std::iter::empty()),
        Answer::Vector(rows) => Box::new(rows.into_iter().flat_map(move |Row { labels, points, .. }| {
            times.iter().zip(points).filter_map(move |(at, sample)| Some((labels.clone(), at, sample?)))
        })),
        Answer::Matrix(all) => Box::new(all.into_iter().flat_map(|series| {
            let Series { labels, times, values, histograms } = series;
            let others = labels.clone();
            let numbers =
                times.into_iter().zip(values).map(move |(at, value)| (labels.clone(), at, Sample::Float(value)));
            numbers.chain(histograms.into_iter().map(move |(at, h)| (others.clone(), at, Sample::Histogram(h))))
        })),
    }
}

fn batches(mut samples: Samples) -> impl Iterator<Item = Result<RecordBatch>> + Send {
    std::iter::from_fn(move || {
        let some: Vec<_> = samples.by_ref().take(BATCH).collect();
        (!some.is_empty()).then(|| batch(&some))
    })
}

fn batch(samples: &[(Labels, i64, Sample)]) -> Result<RecordBatch> {
    let fields = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut labels = MapBuilder::new(Some(fields), StringBuilder::new(), StringBuilder::new());
    let mut numbers = [Float64Builder::new(), Float64Builder::new(), Float64Builder::new()];
    for (all, _, sample) in samples {
        for (name, value) in all.iter().filter(|(name, _)| *name != NAME) {
            labels.keys().append_value(name);
            labels.values().append_value(value);
        }
        labels.append(true)?;
        let [value, count, sum] = &mut numbers;
        match sample {
            Sample::Float(number) => (value.append_value(*number), count.append_null(), sum.append_null()),
            Sample::Histogram(h) => (value.append_null(), count.append_value(h.count), sum.append_value(h.sum)),
        };
    }
    let times = samples.iter().map(|(_, at, _)| at.saturating_mul(1_000_000));
    let names = samples.iter().map(|(labels, ..)| labels.name());
    let [value, count, sum] = numbers.map(|mut builder| Arc::new(builder.finish()) as ArrayRef);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC")),
        Arc::new(StringViewArray::from_iter_values(names)),
        Arc::new(labels.finish()),
        value,
        count,
        sum,
    ];
    Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::lit;

    use super::*;

    const NOW: TimestampNs = 1_700_000_000_000_000_000;

    #[test]
    fn arguments_are_a_query_times_and_a_step() {
        let range = asked(&[lit("rate(x[5m])"), lit("now-1h"), lit("now"), lit("15s")], NOW).unwrap();
        assert_eq!(range.times(), Times { start: NOW / 1_000_000 - 3_600_000, end: NOW / 1_000_000, step: 15_000 });
        for by in [lit(15), lit(15.0), lit("15s"), lit(ScalarValue::new_interval_mdn(0, 0, 15_000_000_000))] {
            assert_eq!(step(&by).unwrap(), 15_000, "{by}");
        }
        assert_eq!(asked(&[lit("x"), lit("now-1m")], NOW).unwrap().times(), Times::at(NOW / 1_000_000 - 60_000));
        assert_eq!(asked(&[lit("x")], NOW).unwrap().times(), Times::at(NOW / 1_000_000));
        let at = || lit("now");
        for wrong in [
            vec![],
            vec![lit(1)],
            vec![lit("rate(x)"), at()],
            vec![lit("x["), at()],
            vec![lit("x"), lit("yesterday")],
            vec![lit("x"), at(), at()],
            vec![lit("x"), at(), lit("now-1m"), lit("15s")],
            vec![lit("x"), at(), at(), lit("0s")],
            vec![lit("x"), at(), at(), lit(-1)],
            vec![lit("x"), at(), at(), lit("often")],
            vec![lit("x"), lit("now-30d"), at(), lit("1s")],
            vec![lit("x[5m]"), at(), at(), lit("1s")],
            vec![lit("x"), at(), at(), lit("1s"), lit("1s")],
        ] {
            assert!(asked(&wrong, NOW).is_err(), "{wrong:?}");
        }
    }
}
