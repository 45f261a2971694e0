//! `attribute(map, key)`: what `attributes['http.route']` means.
//!
//! Over a scan this never runs: [`crate::adapter`] replaces it by the typed column that a file has for the key. It runs
//! where the map is a value, as in the attributes of an event or a view's output.
//!
//! `attribute_double` and `attribute_int` are what `CAST(attributes['k'] AS DOUBLE)` and `AS BIGINT` become, so that
//! numbers don't go through text. They are NULL where the value is no number: one record that says `"n/a"` must not
//! fail a query over a million others.

use std::{
    hash::{Hash, Hasher},
    sync::{Arc, LazyLock},
};

use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, MapArray, StringViewArray, builder::StringViewBuilder, cast::AsArray,
};
use arrow_schema::DataType;
use datafusion::{
    common::{Result, exec_err, plan_err},
    logical_expr::{
        ColumnarValue, Expr, ExpressionPlacement, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    },
};

/// As what an attribute is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum As {
    /// As text, whatever its type.
    Text,
    /// As a number; NULL where it is none.
    Double,
    /// As a whole number, cut towards zero; NULL where it is no number.
    Int,
}

impl As {
    /// The Arrow type.
    pub fn data_type(self) -> DataType {
        match self {
            As::Text => DataType::Utf8View,
            As::Double => DataType::Float64,
            As::Int => DataType::Int64,
        }
    }

    fn function_name(self) -> &'static str {
        match self {
            As::Text => "attribute",
            As::Double => "attribute_double",
            As::Int => "attribute_int",
        }
    }

    /// The function that reads an attribute so.
    pub fn function(self) -> Arc<ScalarUDF> {
        static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 3]> = LazyLock::new(|| {
            [As::Text, As::Double, As::Int].map(|kind| Arc::new(ScalarUDF::new_from_impl(Attribute::new(kind))))
        });
        Arc::clone(&FUNCTIONS[self as usize])
    }
}

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![As::Text.function(), As::Double.function(), As::Int.function()]
}

/// The function.
#[derive(Debug)]
pub struct Attribute {
    /// What it returns.
    pub kind: As,
    signature: Signature,
}

impl PartialEq for Attribute {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for Attribute {}

impl Hash for Attribute {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.hash(state);
    }
}

impl Attribute {
    fn new(kind: As) -> Self {
        Self { kind, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Attribute {
    fn name(&self) -> &str {
        self.kind.function_name()
    }

    /// The column is named as it was asked for.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match (self.kind, args) {
            (As::Text, [map, Expr::Literal(key, _)]) if key.try_as_str().is_some() => {
                Ok(format!("{}['{}']", map.schema_name(), key.try_as_str().flatten().unwrap_or_default()))
            }
            _ => {
                let args: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
                Ok(format!("{}({})", self.name(), args.join(", ")))
            }
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [map @ DataType::Map(_, _), key] = types else {
            return plan_err!("{}(map, key) takes a map and a text, as in attributes['http.route']", self.name());
        };
        match key {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
                Ok(vec![map.clone(), DataType::Utf8])
            }
            other => plan_err!("the key of an attribute is a text, not {other}"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.kind.data_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [map, key] = args.args.as_slice() else { return exec_err!("{} takes two arguments", self.name()) };
        let map = map.to_array(args.number_rows)?;
        let Some(map) = map.as_map_opt() else { return exec_err!("{} takes a map", self.name()) };
        let texts = match key {
            ColumnarValue::Scalar(key) => {
                let key = key.try_as_str().flatten();
                look_up(map, |_| key)
            }
            ColumnarValue::Array(keys) => {
                let keys = keys.as_string::<i32>();
                look_up(map, |row| keys.is_valid(row).then(|| keys.value(row)))
            }
        };
        Ok(ColumnarValue::Array(convert(texts, self.kind)))
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        match args {
            [map, ExpressionPlacement::Literal] if map.should_push_to_leaves() => {
                ExpressionPlacement::MoveTowardsLeafNodes
            }
            _ => ExpressionPlacement::KeepInPlace,
        }
    }
}

fn look_up<'a>(map: &MapArray, key: impl Fn(usize) -> Option<&'a str>) -> StringViewArray {
    let (keys, values) = (map.keys().as_string::<i32>(), map.values().as_string::<i32>());
    let mut found = StringViewBuilder::with_capacity(map.len());
    for (row, bounds) in map.value_offsets().windows(2).enumerate() {
        let entry = key(row)
            .filter(|_| map.is_valid(row))
            .and_then(|key| (bounds[0] as usize..bounds[1] as usize).find(|&entry| keys.value(entry) == key));
        found.append_option(entry.filter(|&entry| values.is_valid(entry)).map(|entry| values.value(entry)));
    }
    found.finish()
}

/// Texts as what was asked.
pub fn convert(texts: StringViewArray, kind: As) -> ArrayRef {
    match kind {
        As::Text => Arc::new(texts),
        As::Double => Arc::new(texts.iter().map(|t| t.and_then(number)).collect::<Float64Array>()),
        As::Int => Arc::new(texts.iter().map(|t| t.and_then(whole_number)).collect::<Int64Array>()),
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

fn whole_number(text: &str) -> Option<i64> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let value: f64 = text.parse().ok()?;
        (value.abs() < i64::MAX as f64).then_some(value as i64)
    })
}
