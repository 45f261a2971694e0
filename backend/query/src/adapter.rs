//! From the columns of the table to the columns that a file or a batch in memory has.
//!
//! DataFusion plans over the table as users see it ([`devmesh_schema::tables`]). Each file and each batch has stored
//! columns of its own ([`devmesh_schema::stored`]). Whenever one is opened, every expression over it comes through
//! here once:
//!
//! - a column that is stored as it is shown becomes that column, so that statistics, page indexes and bloom filters
//!   prune by it;
//! - `trace_id = '…'` compares bytes with bytes, for the same reason;
//! - `matches(body, …)`, `body LIKE …` and their like look at templates first, where the file has bodies as those;
//! - `body` is put together from its template and parameters, where the file has it as those, and `pattern_id` is the pattern
//!   that the template belongs to now;
//! - the bytes of an id, which joins compare ([`crate::ids`]), are the stored column;
//! - `attribute(attributes, 'k')` becomes the typed column of `k`, or NULL where the file has none;
//! - everything else becomes a [`StoredExpr`] over just the stored columns it is made from.
//!
//! What a file has no column for is NULL in all its rows.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};
use datafusion::{
    common::{
        Result, ScalarValue,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    logical_expr::Operator,
    physical_expr::{
        PhysicalExpr, ScalarFunctionExpr,
        expressions::{BinaryExpr, CastExpr, Column, InListExpr, Literal, in_list},
    },
};
use devmesh_schema::{
    Signal,
    stored::{self, Tag},
    view,
};
use devmesh_store::PatternMap;

use crate::{
    body_test::BodyTest,
    derive,
    functions::{
        attribute::{As, Attribute},
        id::IdBytes,
        matches,
    },
    stored_expr::{Patterns, StoredExpr, Wanted},
};

/// Makes adapters for the files and batches of a signal.
#[derive(Clone, Debug)]
pub(crate) struct AdapterFactory {
    /// Whose.
    pub(crate) signal: Signal,
    /// Which pattern each template belongs to.
    pub(crate) patterns: Arc<PatternMap>,
    /// Words on which the template of a row alone decides, where rows without them are left out in any case.
    pub(crate) by_template: Arc<[Vec<String>]>,
}

impl PhysicalExprAdapterFactory for AdapterFactory {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let (patterns, by_template) = (Patterns(Arc::clone(&self.patterns)), Arc::clone(&self.by_template));
        Ok(Arc::new(Adapter { signal: self.signal, patterns, by_template, table, file }))
    }
}

#[derive(Debug)]
struct Adapter {
    signal: Signal,
    patterns: Patterns,
    by_template: Arc<[Vec<String>]>,
    table: SchemaRef,
    file: SchemaRef,
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        expr.transform_down(|node| self.rewrite_node(node)).data()
    }
}

/// What a file has for an expression of the table.
enum Found {
    /// A stored column that holds the same values, perhaps in another type, and what shows it in the table's type.
    Column { column: Arc<dyn PhysicalExpr>, stored: DataType, shown: Arc<dyn PhysicalExpr> },
    /// Something to be made.
    Made(Arc<dyn PhysicalExpr>),
}

fn done(expr: Arc<dyn PhysicalExpr>) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    Ok(Transformed::new(expr, true, TreeNodeRecursion::Jump))
}

impl Adapter {
    fn rewrite_node(&self, node: Arc<dyn PhysicalExpr>) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
        if let Some(comparison) = node.downcast_ref::<BinaryExpr>()
            && let Some(rewritten) = self.comparison(comparison)?
        {
            return done(rewritten);
        }
        if let Some(list) = node.downcast_ref::<InListExpr>()
            && let Some(rewritten) = self.list(list)?
        {
            return done(rewritten);
        }
        if self.is_cut()
            && let Some(wanted) = self.of_body(&node)?
        {
            let sources = match &wanted {
                Wanted::Words { by_template: true, .. } => vec![stored::TEMPLATE.to_owned()],
                _ => derive::column_sources(self.signal, stored::BODY, &self.file),
            };
            let field = Field::new("of_body", DataType::Boolean, true);
            return done(self.made(wanted, field, sources));
        }
        match self.find(&node)? {
            None => Ok(Transformed::no(node)),
            Some(Found::Made(shown) | Found::Column { shown, .. }) => done(shown),
        }
    }

    /// What is asked of the body that templates answer.
    fn of_body(&self, node: &Arc<dyn PhysicalExpr>) -> Result<Option<Wanted>> {
        if let Some(text) = matches::asked(node, stored::BODY) {
            let by_template = self.by_template.contains(&matches::words(text));
            return Ok(Some(Wanted::Words { text: text.into(), by_template }));
        }
        Ok(BodyTest::of(node)?.map(|test| Wanted::Body { test }))
    }

    /// What the file has for a column or an attribute.
    fn find(&self, node: &Arc<dyn PhysicalExpr>) -> Result<Option<Found>> {
        if let Some(column) = node.downcast_ref::<Column>() {
            return Ok(Some(self.column(self.table.field_with_name(column.name())?)));
        }
        if let Some((column, size)) = id_of(node) {
            return Ok(Some(self.id(self.table.field_with_name(column)?, size)));
        }
        let Some((column, key, kind)) = attribute_of(node) else { return Ok(None) };
        Ok(Some(if column == "attributes" { self.attribute(key, kind) } else { self.shared(column, key, kind) }))
    }

    fn column(&self, field: &Field) -> Found {
        let name = field.name();
        let is_cut = self.is_cut() && name == stored::BODY;
        if let Some((index, stored)) = self.file.column_with_name(name)
            && is_same_kind(stored.data_type(), field.data_type())
            && !is_cut
        {
            return found_column(name, index, stored.data_type(), field.data_type());
        }
        let sources = derive::column_sources(self.signal, name, &self.file);
        if sources.is_empty() && field.is_nullable() {
            return Found::Made(null(field.data_type()));
        }
        let wanted = match (self.signal, name.as_str()) {
            (Signal::Logs, "pattern_id") => Wanted::Pattern { patterns: self.patterns.clone() },
            (signal, _) => Wanted::Column { signal, name: name.clone() },
        };
        Found::Made(self.made(wanted, field.clone(), sources))
    }

    /// Whether the file has bodies as templates and parameters.
    fn is_cut(&self) -> bool {
        self.signal == Signal::Logs && view::is_cut(&self.file)
    }

    /// The bytes of an id: the stored column, where an absent one is NULL on both sides.
    fn id(&self, field: &Field, size: i32) -> Found {
        let (name, bytes) = (field.name(), DataType::FixedSizeBinary(size));
        match self.file.column_with_name(name) {
            Some((index, stored)) if field.is_nullable() && *stored.data_type() == bytes => {
                found_column(name, index, &bytes, &bytes)
            }
            None if field.is_nullable() => Found::Made(null(&bytes)),
            _ => {
                let wanted = Wanted::Id { name: name.clone(), size };
                let sources = derive::column_sources(self.signal, name, &self.file);
                Found::Made(self.made(wanted, Field::new(name, bytes, true), sources))
            }
        }
    }

    fn made(&self, wanted: Wanted, field: Field, sources: Vec<String>) -> Arc<dyn PhysicalExpr> {
        let column = |name: String| {
            let index = self.file.index_of(&name).ok()?;
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(&name, index));
            Some((name, column))
        };
        Arc::new(StoredExpr::new(wanted, field, sources.into_iter().filter_map(column).collect()))
    }

    fn attribute(&self, key: &str, kind: As) -> Found {
        let typed: Vec<(Tag, usize)> = Tag::COLUMNS
            .into_iter()
            .filter_map(|tag| Some((tag, self.file.index_of(&stored::attribute_column(tag, key)).ok()?)))
            .collect();
        let rest = self.rest_may_hold(key);
        if !rest && typed.is_empty() {
            return Found::Made(null(&kind.data_type()));
        }
        if !rest
            && let [(tag, index)] = typed.as_slice()
            && matches!((tag, kind), (Tag::Text, As::Text) | (Tag::Int | Tag::Double, As::Double) | (Tag::Int, As::Int))
        {
            let field = self.file.field(*index);
            return found_column(field.name(), *index, field.data_type(), &kind.data_type());
        }
        let mut sources: Vec<String> = typed.iter().map(|(_, index)| self.file.field(*index).name().clone()).collect();
        if rest {
            sources.push(stored::REST.to_owned());
        }
        let field = Field::new(key, kind.data_type(), true);
        let shown = self.made(Wanted::Attribute { key: key.into(), kind }, field, sources);
        match typed.as_slice() {
            [(Tag::Uuid | Tag::Int | Tag::Bool, index)] if !rest && kind == As::Text => {
                let field = self.file.field(*index);
                let column = Arc::new(Column::new(field.name(), *index));
                Found::Column { column, stored: field.data_type().clone(), shown }
            }
            _ => Found::Made(shown),
        }
    }

    /// Whether a value of the key can stand outside its typed columns.
    fn rest_may_hold(&self, key: &str) -> bool {
        self.file.index_of(stored::REST).is_ok()
            && self.file.metadata().get(stored::REST_KEYS).is_none_or(|keys| {
                serde_json::from_str::<Vec<String>>(keys).map_or(true, |keys| keys.iter().any(|k| k == key))
            })
    }

    fn shared(&self, column: &str, key: &str, kind: As) -> Found {
        let sources = derive::column_sources(self.signal, column, &self.file);
        let field = Field::new(key, kind.data_type(), true);
        let wanted = Wanted::Shared { column: column.into(), key: key.into(), kind };
        Found::Made(self.made(wanted, field, sources))
    }

    /// A comparison with a literal, made in the stored column's own type.
    fn comparison(&self, expr: &BinaryExpr) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let (node, literal, op) = match (expr.left().downcast_ref::<Literal>(), expr.right().downcast_ref::<Literal>())
        {
            (None, Some(literal)) => (expr.left(), literal, *expr.op()),
            (Some(literal), None) => match expr.op().swap() {
                Some(op) => (expr.right(), literal, op),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        if !matches!(op, Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
        {
            return Ok(None);
        }
        let Some((column, stored)) = self.stored_column(node)? else { return Ok(None) };
        let value = stored_literal(literal.value(), &stored, matches!(op, Operator::Eq | Operator::NotEq));
        Ok(value.map(|value| Arc::new(BinaryExpr::new(column, op, Arc::new(Literal::new(value)))) as _))
    }

    fn list(&self, expr: &InListExpr) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let Some((column, stored)) = self.stored_column(expr.expr())? else { return Ok(None) };
        let value = |item: &Arc<dyn PhysicalExpr>| {
            let value = stored_literal(item.downcast_ref::<Literal>()?.value(), &stored, true)?;
            Some(Arc::new(Literal::new(value)) as Arc<dyn PhysicalExpr>)
        };
        let Some(values) = expr.list().iter().map(value).collect::<Option<Vec<_>>>() else { return Ok(None) };
        if matches!(stored, DataType::Dictionary(_, _)) {
            return Ok(None);
        }
        in_list(column, values, &expr.negated(), &self.file).map(Some)
    }

    /// The stored column that holds what `node` says, in whatever form.
    fn stored_column(&self, node: &Arc<dyn PhysicalExpr>) -> Result<Option<(Arc<dyn PhysicalExpr>, DataType)>> {
        if let Some(column) = node.downcast_ref::<Column>()
            && let Some((index, stored)) = self.file.column_with_name(column.name())
            && matches!(stored.data_type(), DataType::FixedSizeBinary(_))
        {
            return Ok(Some((Arc::new(Column::new(column.name(), index)), stored.data_type().clone())));
        }
        match self.find(node)? {
            Some(Found::Column { column, stored, .. }) => Ok(Some((column, stored))),
            _ => Ok(None),
        }
    }
}

fn found_column(name: &str, index: usize, stored: &DataType, shown: &DataType) -> Found {
    let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(name, index));
    let cast = || Arc::new(CastExpr::new(Arc::clone(&column), shown.clone(), None)) as _;
    let shown = if stored == shown { Arc::clone(&column) } else { cast() };
    Found::Column { stored: stored.clone(), shown, column }
}

/// The column, key and type of `attribute(column, 'key')`.
fn attribute_of(node: &Arc<dyn PhysicalExpr>) -> Option<(&str, &str, As)> {
    let call = node.downcast_ref::<ScalarFunctionExpr>()?;
    let function = call.fun().inner().downcast_ref::<Attribute>()?;
    let [map, key] = call.args() else { return None };
    let key = key.downcast_ref::<Literal>()?.value().try_as_str()??;
    Some((map.downcast_ref::<Column>()?.name(), key, function.kind))
}

/// The column and size of `id_bytes(column)`.
fn id_of(node: &Arc<dyn PhysicalExpr>) -> Option<(&str, i32)> {
    let call = node.downcast_ref::<ScalarFunctionExpr>()?;
    let function = call.fun().inner().downcast_ref::<IdBytes>()?;
    let [id] = call.args() else { return None };
    Some((id.downcast_ref::<Column>()?.name(), function.size))
}

fn null(data_type: &DataType) -> Arc<dyn PhysicalExpr> {
    Arc::new(Literal::new(ScalarValue::try_new_null(data_type).unwrap_or(ScalarValue::Null)))
}

/// Whether a cast makes the stored column what the table shows.
fn is_same_kind(stored: &DataType, shown: &DataType) -> bool {
    let is_text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    match stored {
        DataType::Dictionary(_, values) => is_same_kind(values, shown),
        _ if is_text(shown) => is_text(stored),
        _ => stored == shown,
    }
}

/// The literal as the stored column would hold it; `None` where it cannot be said in that type, or where the comparison
/// is by order and the order differs.
fn stored_literal(value: &ScalarValue, stored: &DataType, by_equality: bool) -> Option<ScalarValue> {
    let text = value.try_as_str();
    match stored {
        DataType::Dictionary(_, values) => stored_literal(value, values, by_equality),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            text.flatten()?;
            value.cast_to(stored).ok()
        }
        DataType::FixedSizeBinary(size) if by_equality => {
            let text = text.flatten()?;
            let digits = text.replace('-', "");
            let canonical = match size {
                16 if text.len() == 36 => [8, 13, 18, 23].iter().all(|&i| text.as_bytes()[i] == b'-'),
                _ => text.len() == *size as usize * 2,
            };
            let lower = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            let bytes =
                hex::decode(&digits).ok().filter(|bytes| bytes.len() == *size as usize && canonical && lower)?;
            Some(ScalarValue::FixedSizeBinary(*size, Some(bytes)))
        }
        DataType::Int64 if by_equality && text.is_some() => {
            let text = text.flatten()?;
            let number: i64 = text.parse().ok().filter(|number: &i64| number.to_string() == text)?;
            Some(ScalarValue::Int64(Some(number)))
        }
        DataType::Boolean if by_equality && text.is_some() => match text.flatten()? {
            "true" => Some(ScalarValue::Boolean(Some(true))),
            "false" => Some(ScalarValue::Boolean(Some(false))),
            _ => None,
        },
        DataType::Int64 => match value {
            ScalarValue::Float64(Some(number)) if number.fract() == 0.0 && number.abs() < 9e15 => {
                Some(ScalarValue::Int64(Some(*number as i64)))
            }
            ScalarValue::Int64(Some(_)) => Some(value.clone()),
            _ => None,
        },
        _ => (value.data_type() == *stored && !value.is_null()).then(|| value.clone()),
    }
}

/// The columns that a list-typed stored column stands behind: a filter on them stays above the scan, since a reader
/// of Parquet cannot filter by them.
pub(crate) fn is_list(schema: &Schema, column: &str) -> bool {
    schema.field_with_name(column).is_ok_and(|field| matches!(field.data_type(), DataType::List(_)))
}
