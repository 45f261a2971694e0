//! `id_bytes(text)`: a trace's or span's id as the bytes that it is stored as; `id_text(bytes)`: back.
//!
//! No query can call them. [`crate::ids`] puts them in where ids are only compared with each other, and over a scan the first
//! never runs: [`crate::adapter`] replaces it by the stored column, so that the digits are never made. Two ids are equal as
//! text where they are equal as bytes: a stored id is bytes ([`devmesh_schema::stored`]), and is shown as their lower-case
//! digits. A column that cannot be NULL shows an id that is absent as the empty text; its bytes are zeros, which are no id.

use std::{
    hash::{Hash, Hasher},
    sync::{Arc, LazyLock},
};

use arrow_array::{Array, ArrayRef, FixedSizeBinaryArray, builder::StringViewBuilder, cast::AsArray};
use arrow_schema::{ArrowError, DataType};
use datafusion::{
    common::{Result, exec_datafusion_err, exec_err, plan_err},
    logical_expr::{
        ColumnarValue, ExpressionPlacement, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    },
};

/// Bytes of a trace's id.
pub(crate) const TRACE: i32 = 16;
/// Bytes of a span's id.
pub(crate) const SPAN: i32 = 8;

/// The function for ids of `size` bytes: [`TRACE`], else [`SPAN`].
pub(crate) fn function(size: i32) -> Arc<ScalarUDF> {
    static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 2]> = LazyLock::new(|| {
        [TRACE, SPAN].map(|size| {
            let signature = Signature::user_defined(Volatility::Immutable);
            Arc::new(ScalarUDF::new_from_impl(IdBytes { size, signature }))
        })
    });
    Arc::clone(&FUNCTIONS[usize::from(size != TRACE)])
}

/// The function.
#[derive(Debug)]
pub(crate) struct IdBytes {
    /// Bytes of an id.
    pub(crate) size: i32,
    signature: Signature,
}

impl PartialEq for IdBytes {
    fn eq(&self, other: &Self) -> bool {
        self.size == other.size
    }
}

impl Eq for IdBytes {}

impl Hash for IdBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.size.hash(state);
    }
}

impl ScalarUDFImpl for IdBytes {
    fn name(&self) -> &str {
        if self.size == TRACE { "trace_id_bytes" } else { "span_id_bytes" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [DataType::Utf8View] => Ok(types.to_vec()),
            _ => plan_err!("{} takes an id", self.name()),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::FixedSizeBinary(self.size))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [id] = args.args.as_slice() else { return exec_err!("{} takes one argument", self.name()) };
        let ids = id.to_array(args.number_rows)?;
        let Some(texts) = ids.as_string_view_opt() else { return exec_err!("{} takes a text", self.name()) };
        let mut bytes = Vec::with_capacity(texts.len());
        for text in texts {
            bytes.push(text.map(|text| self.bytes(text)).transpose()?);
        }
        let bytes = FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes.into_iter(), self.size)?;
        Ok(ColumnarValue::Array(Arc::new(bytes)))
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        match args {
            [id] if id.should_push_to_leaves() => ExpressionPlacement::MoveTowardsLeafNodes,
            _ => ExpressionPlacement::KeepInPlace,
        }
    }
}

impl IdBytes {
    fn bytes(&self, text: &str) -> Result<Vec<u8>> {
        if text.is_empty() {
            return Ok(vec![0; self.size as usize]);
        }
        match hex::decode(text) {
            Ok(bytes) if bytes.len() == self.size as usize => Ok(bytes),
            _ => exec_err!("{text} is no id of {} bytes", self.size),
        }
    }
}

/// The function that shows ids of `size` bytes: [`TRACE`], else [`SPAN`].
pub(crate) fn text_function(size: i32) -> Arc<ScalarUDF> {
    static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 2]> = LazyLock::new(|| {
        [TRACE, SPAN].map(|size| {
            let signature = Signature::exact(vec![DataType::FixedSizeBinary(size)], Volatility::Immutable);
            Arc::new(ScalarUDF::new_from_impl(IdText { size, signature }))
        })
    });
    Arc::clone(&FUNCTIONS[usize::from(size != TRACE)])
}

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct IdText {
    size: i32,
    signature: Signature,
}

impl ScalarUDFImpl for IdText {
    fn name(&self) -> &str {
        if self.size == TRACE { "trace_id_text" } else { "span_id_text" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [id] = args.args.as_slice() else { return exec_err!("{} takes one argument", self.name()) };
        let ids = id.to_array(args.number_rows)?;
        let Some(ids) = ids.as_fixed_size_binary_opt() else { return exec_err!("{} takes bytes", self.name()) };
        let mut digits = [0; 2 * TRACE as usize];
        let mut texts = StringViewBuilder::with_capacity(ids.len());
        for id in ids {
            match id {
                None => texts.append_null(),
                // Those of an id that is absent.
                Some(id) if id.iter().all(|byte| *byte == 0) => texts.append_value(""),
                Some(id) => {
                    let digits = &mut digits[..2 * id.len()];
                    hex::encode_to_slice(id, digits).map_err(|error| exec_datafusion_err!("{error}"))?;
                    texts.append_value(str::from_utf8(digits).unwrap_or_default());
                }
            }
        }
        Ok(ColumnarValue::Array(Arc::new(texts.finish())))
    }
}

/// Zeros where an id is absent.
pub(crate) fn without_nulls(ids: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let Some(fixed) = ids.as_fixed_size_binary_opt().filter(|ids| ids.null_count() > 0) else {
        return Ok(Arc::clone(ids));
    };
    let zeros = vec![0; fixed.value_length() as usize];
    let ids = fixed.iter().map(|id| id.unwrap_or(&zeros));
    Ok(Arc::new(FixedSizeBinaryArray::try_from_iter(ids)?))
}

/// Ids of `size` bytes that are all absent.
pub(crate) fn absent(rows: usize, size: i32) -> Result<ArrayRef, ArrowError> {
    let zeros = vec![0; rows * size as usize];
    Ok(Arc::new(FixedSizeBinaryArray::try_new(size, zeros.into(), None)?))
}

#[cfg(test)]
mod tests {
    use arrow_array::StringViewArray;
    use arrow_schema::Field;
    use datafusion::config::ConfigOptions;

    use super::*;

    fn bytes(size: i32, texts: Vec<Option<&str>>) -> Result<ArrayRef> {
        let number_rows = texts.len();
        let args = ScalarFunctionArgs {
            args: vec![ColumnarValue::Array(Arc::new(StringViewArray::from(texts)))],
            arg_fields: vec![Arc::new(Field::new("id", DataType::Utf8View, true))],
            number_rows,
            return_field: Arc::new(Field::new("bytes", DataType::FixedSizeBinary(size), true)),
            config_options: Arc::new(ConfigOptions::default()),
        };
        function(size).invoke_with_args(args)?.into_array(number_rows)
    }

    #[test]
    fn ids_become_the_bytes_that_their_digits_say_and_absent_ones_stay_apart() {
        let ids = bytes(SPAN, vec![Some("00f067aa0ba902b7"), None, Some("")]).unwrap();
        let ids = ids.as_fixed_size_binary();
        assert_eq!(ids.value(0), [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
        assert!(ids.is_null(1));
        assert_eq!(ids.value(2), [0; 8]);
        assert!(bytes(TRACE, vec![Some("00f067aa0ba902b7")]).is_err());
        assert!(bytes(SPAN, vec![Some("no id")]).is_err());
        let args = ScalarFunctionArgs {
            args: vec![ColumnarValue::Array(Arc::new(ids.clone()))],
            arg_fields: vec![Arc::new(Field::new("id", DataType::FixedSizeBinary(SPAN), true))],
            number_rows: 3,
            return_field: Arc::new(Field::new("text", DataType::Utf8View, true)),
            config_options: Arc::new(ConfigOptions::default()),
        };
        let texts = text_function(SPAN).invoke_with_args(args).unwrap().into_array(3).unwrap();
        let texts: Vec<Option<&str>> = texts.as_string_view().iter().collect();
        assert_eq!(texts, [Some("00f067aa0ba902b7"), None, Some("")]);
        let stored: ArrayRef = Arc::new(ids.clone());
        assert_eq!(without_nulls(&stored).unwrap().as_fixed_size_binary().value(1), [0; 8]);
    }
}
