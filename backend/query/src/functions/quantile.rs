//! `quantile(x, q)`: the value below which the share `q` of all `x` lies, with a relative error below 1 %.
//!
//! Also under the names other systems use: `approx_percentile_cont(q) WITHIN GROUP (ORDER BY x)`, `approx_median(x)`.
//! One [`Sketch`] a group, and a vectorised path for groups. `percentile_cont` and `median` stay exact (and dear).

use std::{
    hash::{Hash, Hasher},
    mem,
    sync::Arc,
};

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, RecordBatch, RecordBatchOptions, builder::BinaryBuilder,
    cast::AsArray, types::Float64Type,
};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use datafusion::{
    common::{Result, ScalarValue, exec_err, plan_err},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, EmitTo, GroupsAccumulator, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::{AggregateOrderSensitivity, format_state_name},
    },
    physical_plan::PhysicalExpr,
};

use super::sketch::Sketch;

pub(super) fn functions() -> Vec<Arc<AggregateUDF>> {
    let function = |form| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Quantile { form, signature }))
    };
    vec![function(Form::Plain), function(Form::WithinGroup), function(Form::Median)]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    /// `quantile(x, q)`
    Plain,
    /// `approx_percentile_cont(q) WITHIN GROUP (ORDER BY x)`
    WithinGroup,
    /// `approx_median(x)`
    Median,
}

#[derive(Debug)]
struct Quantile {
    form: Form,
    signature: Signature,
}

impl PartialEq for Quantile {
    fn eq(&self, other: &Self) -> bool {
        self.form == other.form
    }
}

impl Eq for Quantile {}

impl Hash for Quantile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.form.hash(state);
    }
}

impl Quantile {
    fn share(&self, args: &AccumulatorArgs<'_>) -> Result<f64> {
        let Some(share) = args.exprs.get(1) else { return Ok(0.5) };
        let share = literal(share)?;
        match share {
            Some(q) if (0.0..=1.0).contains(&q) => Ok(if args.is_reversed { 1.0 - q } else { q }),
            _ => plan_err!("the second argument of {} is a constant between 0 and 1, as in 0.95", self.name()),
        }
    }
}

fn literal(expr: &Arc<dyn PhysicalExpr>) -> Result<Option<f64>> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let nothing = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
    match expr.evaluate(&nothing) {
        Ok(ColumnarValue::Scalar(value)) => match value.cast_to(&DataType::Float64)? {
            ScalarValue::Float64(value) => Ok(value),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

impl AggregateUDFImpl for Quantile {
    fn name(&self) -> &str {
        match self.form {
            Form::Plain => "quantile",
            Form::WithinGroup => "approx_percentile_cont",
            Form::Median => "approx_median",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let wanted = if self.form == Form::Median { 1 } else { 2 };
        let is_number = |t: &DataType| t.is_numeric() || t.is_null();
        if types.len() != wanted || !types.iter().all(is_number) {
            return plan_err!(
                "{} takes {}, not {types:?}",
                self.name(),
                match self.form {
                    Form::Plain => "a number and a share, as in quantile(duration_ns, 0.95)",
                    Form::WithinGroup =>
                        "a share, as in approx_percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ns)",
                    Form::Median => "a number",
                }
            );
        }
        Ok(vec![DataType::Float64; wanted])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One { sketch: Sketch::default(), share: self.share(&args)? }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sketch"), DataType::Binary, true))])
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups { sketches: Vec::new(), share: self.share(&args)?, bytes: 0, batches: 0 }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn supports_within_group_clause(&self) -> bool {
        self.form == Form::WithinGroup
    }
}

fn merge(sketch: &mut Sketch, state: &BinaryArray, row: usize) -> Result<()> {
    if state.is_valid(row) {
        match Sketch::read(state.value(row)) {
            Some(other) => sketch.merge(&other),
            None => return exec_err!("a state of quantile is damaged"),
        }
    }
    Ok(())
}

/// Without groups.
#[derive(Debug)]
struct One {
    sketch: Sketch,
    share: f64,
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<Float64Type>();
        values.iter().flatten().for_each(|value| self.sketch.add(value));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.sketch.quantile(self.share)))
    }

    fn size(&self) -> usize {
        self.sketch.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut bytes = Vec::new();
        self.sketch.write(&mut bytes);
        Ok(vec![ScalarValue::Binary(Some(bytes))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let states = states[0].as_binary::<i32>();
        (0..states.len()).try_for_each(|row| merge(&mut self.sketch, states, row))
    }
}

/// A sketch a group.
struct Groups {
    sketches: Vec<Sketch>,
    share: f64,
    /// Of all sketches, as of the last count.
    bytes: usize,
    /// Batches seen.
    batches: usize,
}

impl Groups {
    fn grow(&mut self, groups: usize) {
        if self.sketches.len() < groups {
            self.sketches.resize_with(groups, Sketch::default);
        }
    }

    /// Counts the bytes; of very many groups not after every batch, since counting costs more than the batch.
    fn weigh(&mut self) {
        self.batches += 1;
        if self.sketches.len() > 8192 && !self.batches.is_multiple_of(16) {
            return;
        }
        self.bytes = self.sketches.iter().map(Sketch::size).sum();
    }

    fn emit(&mut self, emit_to: EmitTo) -> Vec<Sketch> {
        let emitted = match emit_to {
            EmitTo::All => mem::take(&mut self.sketches),
            EmitTo::First(n) => {
                let rest = self.sketches.split_off(n);
                mem::replace(&mut self.sketches, rest)
            }
        };
        self.weigh();
        emitted
    }
}

fn states(sketches: impl Iterator<Item = Option<Sketch>>) -> ArrayRef {
    let mut states = BinaryBuilder::new();
    let mut bytes = Vec::new();
    for sketch in sketches {
        bytes.clear();
        match sketch {
            Some(sketch) => {
                sketch.write(&mut bytes);
                states.append_value(&bytes);
            }
            None => states.append_null(),
        }
    }
    Arc::new(states.finish())
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.grow(total);
        let values = values[0].as_primitive::<Float64Type>();
        if values.null_count() == 0 && filter.is_none() {
            for (&value, &group) in values.values().iter().zip(groups) {
                self.sketches[group].add(value);
            }
        } else {
            for (row, &group) in groups.iter().enumerate() {
                let counts = filter.is_none_or(|f| f.is_valid(row) && f.value(row));
                if counts && values.is_valid(row) {
                    self.sketches[group].add(values.value(row));
                }
            }
        }
        self.weigh();
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let share = self.share;
        let quantiles: Float64Array = self.emit(emit_to).iter().map(|sketch| sketch.quantile(share)).collect();
        Ok(Arc::new(quantiles))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![states(self.emit(emit_to).into_iter().map(Some))])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.grow(total);
        let values = values[0].as_binary::<i32>();
        for (row, &group) in groups.iter().enumerate() {
            merge(&mut self.sketches[group], values, row)?;
        }
        self.weigh();
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<Float64Type>();
        let sketch = |row: usize| {
            let counts = values.is_valid(row) && filter.is_none_or(|f| f.is_valid(row) && f.value(row));
            counts.then(|| {
                let mut sketch = Sketch::default();
                sketch.add(values.value(row));
                sketch
            })
        };
        Ok(vec![states((0..values.len()).map(sketch))])
    }

    fn size(&self) -> usize {
        self.bytes + (self.sketches.capacity() - self.sketches.len()) * size_of::<Sketch>()
    }
}
