//! `||`, `concat` and their like, with a bound on what they may make.
//!
//! A text joined with itself, again and again in nested sub-queries, doubles each time: thirty lines make gigabytes of a
//! few bytes. A text may grow to [`limits::TEXT_VALUE_BYTES`], those of one batch of rows together to
//! [`limits::JOINED_BYTES`].

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow_array::{Array, RecordBatch, cast::AsArray};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use datafusion::{
    common::{Result, resources_err, tree_node::Transformed},
    logical_expr::{
        BinaryExpr, ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
        Signature, Volatility, expr::ScalarFunction,
    },
    physical_expr::{
        PhysicalExpr,
        expressions::{BinaryExpr as PhysicalBinary, Column},
    },
};

use crate::limits;

/// Functions whose answer is as large as all their arguments together.
const JOINING: [&str; 6] = ["array_append", "array_concat", "array_prepend", "concat", "concat_ws", "make_array"];

/// The expression with a bound, where it joins. To be asked once the types of its parts are settled.
pub(crate) fn bounded(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right }) => {
            let function = Arc::new(ScalarUDF::new_from_impl(Joining {
                what: What::Operator(Signature::any(2, Volatility::Immutable)),
            }));
            Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![*left, *right])))
        }
        Expr::ScalarFunction(ScalarFunction { func, args })
            if JOINING.contains(&func.name()) && func.inner().downcast_ref::<Joining>().is_none() =>
        {
            let function = Arc::new(ScalarUDF::new_from_impl(Joining { what: What::Function(func) }));
            Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, args)))
        }
        expr => Transformed::no(expr),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Joining {
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    /// `||` of two texts of one type.
    Operator(Signature),
    /// A function of DataFusion.
    Function(Arc<ScalarUDF>),
}

impl Hash for Joining {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl ScalarUDFImpl for Joining {
    fn name(&self) -> &str {
        match &self.what {
            What::Operator(_) => "||",
            What::Function(function) => function.name(),
        }
    }

    fn signature(&self) -> &Signature {
        match &self.what {
            What::Operator(signature) => signature,
            What::Function(function) => function.signature(),
        }
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match &self.what {
            What::Operator(_) => Ok(types.to_vec()),
            What::Function(function) => function.coerce_types(types),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match &self.what {
            What::Operator(_) => {
                operator(types).data_type(&Schema::new(fields(types.iter().cloned()).collect::<Vec<_>>()))
            }
            What::Function(function) => function.return_type(types),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match &self.what {
            What::Operator(_) => {
                let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
                let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
                Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
            }
            What::Function(function) => function.return_field_from_args(args),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        check(self.name(), &args)?;
        match &self.what {
            What::Operator(_) => join(&args),
            What::Function(function) => function.invoke_with_args(args),
        }
    }
}

fn fields(types: impl Iterator<Item = DataType>) -> impl Iterator<Item = Field> {
    types.zip(["left", "right"]).map(|(data_type, name)| Field::new(name, data_type, true))
}

/// `left || right` as DataFusion has it.
fn operator(types: &[DataType]) -> PhysicalBinary {
    debug_assert_eq!(types.len(), 2, "an operator has two sides");
    let side = |name, index| Arc::new(Column::new(name, index)) as Arc<dyn PhysicalExpr>;
    PhysicalBinary::new(side("left", 0), Operator::StringConcat, side("right", 1))
}

fn join(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let rows = if constant { 1 } else { args.number_rows };
    let sides = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
    let types: Vec<DataType> = sides.iter().map(|side| side.data_type().clone()).collect();
    let schema = Arc::new(Schema::new(fields(types.iter().cloned()).collect::<Vec<_>>()));
    let joined = operator(&types).evaluate(&RecordBatch::try_new(schema, sides)?)?;
    match joined {
        ColumnarValue::Array(array) if constant => {
            datafusion::common::ScalarValue::try_from_array(&array, 0).map(ColumnarValue::Scalar)
        }
        joined => Ok(joined),
    }
}

/// Refuses what would make too much.
fn check(name: &str, args: &ScalarFunctionArgs) -> Result<()> {
    let (mut total, mut longest) = (0_usize, 0_usize);
    for arg in &args.args {
        let (bytes, most) = match arg {
            ColumnarValue::Array(array) => size(array.as_ref()),
            ColumnarValue::Scalar(value) => {
                let (bytes, most) = size(value.to_array()?.as_ref());
                (bytes.saturating_mul(args.number_rows), most)
            }
        };
        total = total.saturating_add(bytes);
        longest = longest.saturating_add(most);
    }
    if longest > limits::TEXT_VALUE_BYTES || total > limits::JOINED_BYTES {
        return resources_err!("{name} could make a text of {longest} bytes, and {total} bytes in all");
    }
    Ok(())
}

/// Bytes of all values, and of the longest text.
fn size(array: &dyn Array) -> (usize, usize) {
    if let Some(texts) = array.as_string_view_opt() {
        // The length is the lower half of a view.
        let lengths = texts.views().iter().map(|view| (view & u128::from(u32::MAX)) as usize);
        return lengths.fold((0, 0), |(total, longest), length| (total + length, longest.max(length)));
    }
    if let Some(texts) = array.as_string_opt::<i32>() {
        let lengths = texts.offsets().windows(2).map(|pair| (pair[1] - pair[0]) as usize);
        return lengths.fold((0, 0), |(total, longest), length| (total + length, longest.max(length)));
    }
    (array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()), 0)
}
