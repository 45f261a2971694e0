//! Joins that can be stopped (S13): a query that was cancelled, or whose time is over, ends within a second.
//!
//! A task is stopped only where it pauses. Every reader of files and memory pauses now and then, but a join may compare
//! one batch of its right side with all of its left for minutes before it asks for the next one. So the right side comes in
//! slices, as large as the join manages in [`SLICE_TIME`], with a pause after each; and what a join gives out pauses too
//! where nothing else did.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::{
    common::{
        Result, Statistics,
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext},
    physical_expr::PhysicalExpr,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        statistics::{ChildStats, StatisticsArgs},
    },
};
use futures::{Stream, StreamExt};

/// How long a join may work on one slice. A tenth of the time that a cancelled query has.
const SLICE_TIME: Duration = Duration::from_millis(100);
/// Below this time the next slice is larger.
const SHORT_TIME: Duration = Duration::from_millis(20);
/// Rows of the first slice.
const FIRST_ROWS: usize = 64;
/// Rows of a slice at least: a join that waits for somebody else than itself is not to crawl afterwards.
const LEAST_ROWS: usize = 16;
/// Rows beyond which slices do not grow: batches are smaller.
const MOST_ROWS: usize = 1 << 20;

/// Lets joins pause. The last rule: nothing may come between a join and its slices.
#[derive(Debug)]
pub(crate) struct JoinsPause;

impl PhysicalOptimizerRule for JoinsPause {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let sliced = matches!(node.name(), "NestedLoopJoinExec" | "HashJoinExec");
            if !sliced && node.name() != "CrossJoinExec" {
                return Ok(Transformed::no(node));
            }
            let node = match node.children().as_slice() {
                [left, right] if sliced => {
                    let right = Pauses::over(right, true);
                    let children = vec![Arc::clone(left), right];
                    datafusion::physical_plan::replace_children_if_necessary(node, children)?
                }
                _ => node,
            };
            Ok(Transformed::yes(Pauses::over(&node, false)))
        })
        .data()
    }

    fn name(&self) -> &str {
        "joins_pause"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Hands on what its input gives, with pauses.
#[derive(Clone, Debug)]
struct Pauses {
    input: Arc<dyn ExecutionPlan>,
    sliced: bool,
}

impl Pauses {
    fn over(input: &Arc<dyn ExecutionPlan>, sliced: bool) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { input: Arc::clone(input), sliced })
    }
}

impl DisplayAs for Pauses {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.sliced { "PausesExec: in slices" } else { "PausesExec" })
    }
}

impl ExecutionPlan for Pauses {
    fn name(&self) -> &str {
        "PausesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self { input, sliced: self.sliced }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let slices = self.sliced.then(|| Slices { rows: FIRST_ROWS, given: None, rest: None });
        Ok(Box::pin(Pausing { input, slices, paused: Instant::now() }))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&inputs[0]))
    }
}

/// What is left of a batch, and how much of it to give next.
struct Slices {
    rows: usize,
    /// When the last slice was given, and whether it was as large as it might be.
    given: Option<(Instant, bool)>,
    rest: Option<RecordBatch>,
}

impl Slices {
    /// Learns from how long the last slice took.
    fn measure(&mut self) {
        let Some((given, full)) = self.given.take() else { return };
        let took = given.elapsed();
        if took > SLICE_TIME {
            let fits = self.rows as f64 * SLICE_TIME.as_secs_f64() / took.as_secs_f64() / 2.0;
            self.rows = (fits as usize).max(LEAST_ROWS);
        } else if took < SHORT_TIME && full {
            self.rows = (self.rows * 2).min(MOST_ROWS);
        }
    }

    fn next(&mut self) -> Option<RecordBatch> {
        let batch = self.rest.take()?;
        let full = batch.num_rows() > self.rows;
        self.given = Some((Instant::now(), full));
        if !full {
            return Some(batch);
        }
        self.rest = Some(batch.slice(self.rows, batch.num_rows() - self.rows));
        Some(batch.slice(0, self.rows))
    }
}

struct Pausing {
    input: SendableRecordBatchStream,
    slices: Option<Slices>,
    paused: Instant,
}

impl Stream for Pausing {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(slices) = &mut this.slices {
            slices.measure();
        }
        if this.paused.elapsed() > SHORT_TIME {
            this.paused = Instant::now();
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(slices) = &mut this.slices else { return this.input.poll_next_unpin(context) };
        if slices.rest.is_none() {
            let next = match ready!(this.input.poll_next_unpin(context)) {
                Some(Ok(batch)) => batch,
                end => return Poll::Ready(end),
            };
            slices.rest = Some(next);
        }
        Poll::Ready(slices.next().map(Ok))
    }
}

impl RecordBatchStream for Pausing {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
