//! `replace` and `regexp_replace` of DataFusion, with a bound on what they may make, and a short cut.
//!
//! Replacing one letter by many, again and again, makes gigabytes of a few bytes: a batch may grow to
//! [`limits::REPLACED_BYTES`] at most. Folding digits, `regexp_replace(body, '[0-9]+', '#', 'g')`, is how people look
//! for patterns in logs: it needs no regular expression.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow_array::{Array, ArrayRef, StringViewArray, builder::StringViewBuilder, cast::AsArray};
use arrow_schema::{DataType, FieldRef};
use datafusion::{
    common::{Result, exec_err, resources_err},
    logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature},
};

use crate::limits;

/// The function with a bound; any other function as it is.
pub(super) fn bounded(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match function.name() {
        "replace" | "regexp_replace" => Arc::new(ScalarUDF::new_from_impl(Bounded { inner: function })),
        _ => function,
    }
}

#[derive(Debug)]
struct Bounded {
    inner: Arc<ScalarUDF>,
}

impl PartialEq for Bounded {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Bounded {}

impl Hash for Bounded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_pattern = self.name() == "regexp_replace";
        if is_pattern
            && let Some(by) = folds_digits(&args.args)
            && let ColumnarValue::Array(texts) = &args.args[0]
            && let Some(texts) = texts.as_string_view_opt()
            && *args.return_field.data_type() == DataType::Utf8View
        {
            return Ok(ColumnarValue::Array(fold_digits(texts, by)));
        }
        check(&args, is_pattern)?;
        self.inner.invoke_with_args(args)
    }
}

fn text(value: &ColumnarValue) -> Option<&str> {
    match value {
        ColumnarValue::Scalar(value) => value.try_as_str().flatten(),
        ColumnarValue::Array(_) => None,
    }
}

/// What digits are folded to, where that is what is asked.
fn folds_digits(args: &[ColumnarValue]) -> Option<&str> {
    let [_, pattern, by, flags] = args else { return None };
    let by = text(by)?;
    let is_plain = !by.contains(['\\', '$']);
    (matches!(text(pattern)?, "[0-9]+") && text(flags)? == "g" && is_plain).then_some(by)
}

fn fold_digits(texts: &StringViewArray, by: &str) -> ArrayRef {
    let mut folded = StringViewBuilder::with_capacity(texts.len());
    let mut line = String::new();
    for text in texts {
        let Some(text) = text else {
            folded.append_null();
            continue;
        };
        line.clear();
        let mut rest = text;
        while let Some(start) = rest.bytes().position(|b| b.is_ascii_digit()) {
            line.push_str(&rest[..start]);
            line.push_str(by);
            let digits = rest[start..].bytes().take_while(u8::is_ascii_digit).count();
            rest = &rest[start + digits..];
        }
        line.push_str(rest);
        folded.append_value(&line);
    }
    Arc::new(folded.finish())
}

/// Refuses what could make too much: every place of the text replaced.
fn check(args: &ScalarFunctionArgs, is_pattern: bool) -> Result<()> {
    let [texts, what, by, ..] = args.args.as_slice() else { return Ok(()) };
    if is_pattern && text(what).is_some_and(|pattern| pattern.len() > limits::PATTERN_BYTES) {
        return exec_err!("a regular expression is limited to {} bytes", limits::PATTERN_BYTES);
    }
    let (rows, bytes) = size(texts, args.number_rows);
    let (_, longest) = size(by, 1);
    let at_once = match text(what) {
        Some(what) if !is_pattern => what.len().max(1),
        _ => 1,
    };
    let most = (bytes / at_once + rows).saturating_mul(longest).saturating_add(bytes);
    if most > limits::REPLACED_BYTES && longest > at_once {
        return resources_err!("replacing could make {most} bytes");
    }
    Ok(())
}

/// Rows, and bytes of text in all.
fn size(value: &ColumnarValue, rows: usize) -> (usize, usize) {
    match value {
        ColumnarValue::Scalar(value) => (rows, value.try_as_str().flatten().map_or(0, str::len).saturating_mul(rows)),
        ColumnarValue::Array(array) => (array.len(), array.get_array_memory_size()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_fold_as_the_regular_expression_would() {
        let texts = [
            Some("order 1001 for 25.50"),
            Some(""),
            None,
            Some("7"),
            Some("a1b22c"),
            Some("日本 12 Büro"),
            Some("none"),
        ];
        let folded = fold_digits(&texts.into_iter().collect(), "#");
        let expected =
            [Some("order # for #.#"), Some(""), None, Some("#"), Some("a#b#c"), Some("日本 # Büro"), Some("none")];
        assert_eq!(folded.as_string_view().iter().collect::<Vec<_>>(), expected);
    }
}
