//! Functions that the views need: `record_id(…)`, `map_json(map)`, `list_field(list, 'field')`.
//!
//! - `record_id` names a record by what it says: the [`RecordId`] of its arguments.
//! - `map_json` writes a map as a JSON object of texts, in the order of its entries; NULL values as `null`.
//! - `list_field` takes one field of every element of a list of structs.

use std::{
    hash::{Hash, Hasher},
    sync::{Arc, LazyLock},
};

use arrow_array::{Array, ArrayRef, ListArray, builder::StringViewBuilder, cast::AsArray};
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::{
    common::{Result, ScalarValue, exec_err, plan_err},
    logical_expr::{
        ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    },
};
use devmesh_schema::record_id::RecordId;

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    static FUNCTIONS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
        let function = |kind| {
            let signature = Signature::user_defined(Volatility::Immutable);
            Arc::new(ScalarUDF::new_from_impl(Record { kind, signature }))
        };
        [Kind::Id, Kind::Json, Kind::Field].map(function).to_vec()
    });
    FUNCTIONS.clone()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Id,
    Json,
    Field,
}

#[derive(Debug)]
struct Record {
    kind: Kind,
    signature: Signature,
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for Record {}

impl Hash for Record {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.hash(state);
    }
}

impl ScalarUDFImpl for Record {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Id => "record_id",
            Kind::Json => "map_json",
            Kind::Field => "list_field",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.kind, types) {
            (Kind::Id, [_, ..]) => Ok(types
                .iter()
                .map(|t| if matches!(t, DataType::Timestamp(_, _)) { DataType::Int64 } else { DataType::Utf8View })
                .collect()),
            (Kind::Json, [DataType::Map(_, _)]) => Ok(types.to_vec()),
            (Kind::Field, [list @ DataType::List(_), _]) => Ok(vec![list.clone(), DataType::Utf8]),
            (Kind::Id, _) => plan_err!("record_id takes at least one value"),
            (Kind::Json, _) => plan_err!("map_json takes a map"),
            (Kind::Field, _) => plan_err!("list_field takes a list of structs and the name of a field"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let data_type = match self.kind {
            Kind::Id | Kind::Json => DataType::Utf8View,
            Kind::Field => {
                let name = args.scalar_arguments.get(1).copied().flatten().and_then(ScalarValue::try_as_str).flatten();
                match (args.arg_fields.first().map(|f| f.data_type()), name) {
                    (Some(DataType::List(item)), Some(name)) => list_of_field(item, name)?,
                    _ => return plan_err!("list_field takes a list of structs and the name of a field"),
                }
            }
        };
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        match (self.kind, args.args.as_slice()) {
            (Kind::Id, values) => {
                let values = values.iter().map(|v| v.to_array(rows)).collect::<Result<Vec<_>>>()?;
                Ok(ColumnarValue::Array(ids(&values, rows)))
            }
            (Kind::Json, [map]) => Ok(ColumnarValue::Array(json(&map.to_array(rows)?)?)),
            (Kind::Field, [list, ColumnarValue::Scalar(name)]) => {
                let name = name.try_as_str().flatten().unwrap_or_default();
                Ok(ColumnarValue::Array(field(list.to_array(rows)?.as_list::<i32>(), name)?))
            }
            _ => exec_err!("{} was called with other arguments than planned", self.name()),
        }
    }
}

fn ids(values: &[ArrayRef], rows: usize) -> ArrayRef {
    let mut ids = StringViewBuilder::with_capacity(rows);
    for row in 0..rows {
        let mut id = RecordId::default();
        for value in values {
            let present = value.is_valid(row);
            if let Some(numbers) = value.as_primitive_opt::<arrow_array::types::Int64Type>() {
                id.int(present.then(|| numbers.value(row)));
            } else {
                id.text(value.as_string_view_opt().filter(|_| present).map(|texts| texts.value(row)));
            }
        }
        ids.append_value(id.finish());
    }
    Arc::new(ids.finish())
}

fn json(map: &ArrayRef) -> Result<ArrayRef> {
    let Some(map) = map.as_map_opt() else { return exec_err!("map_json takes a map") };
    let (keys, values) = (map.keys().as_string::<i32>(), map.values().as_string::<i32>());
    let mut texts = StringViewBuilder::with_capacity(map.len());
    for (row, bounds) in map.value_offsets().windows(2).enumerate() {
        if map.is_null(row) {
            texts.append_null();
            continue;
        }
        let mut text = String::from("{");
        for entry in bounds[0] as usize..bounds[1] as usize {
            if text.len() > 1 {
                text.push(',');
            }
            push_json(&mut text, keys.value(entry));
            text.push(':');
            match values.is_valid(entry) {
                true => push_json(&mut text, values.value(entry)),
                false => text.push_str("null"),
            }
        }
        text.push('}');
        texts.append_value(text);
    }
    Ok(Arc::new(texts.finish()))
}

fn push_json(out: &mut String, text: &str) {
    // Writing a text as JSON cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

fn list_of_field(item: &Field, name: &str) -> Result<DataType> {
    match item.data_type() {
        DataType::Struct(fields) => match fields.find(name) {
            Some((_, field)) => Ok(DataType::List(Arc::new(Field::new("item", field.data_type().clone(), true)))),
            None => plan_err!("the elements of the list have no field {name}"),
        },
        other => plan_err!("list_field takes a list of structs, not of {other}"),
    }
}

fn field(list: &ListArray, name: &str) -> Result<ArrayRef> {
    let Some(column) = list.values().as_struct_opt().and_then(|s| s.column_by_name(name)) else {
        return exec_err!("the elements of the list have no field {name}");
    };
    let item = Arc::new(Field::new("item", column.data_type().clone(), true));
    Ok(Arc::new(ListArray::try_new(item, list.offsets().clone(), Arc::clone(column), list.nulls().cloned())?))
}
