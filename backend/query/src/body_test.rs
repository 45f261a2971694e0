//! Conditions on the body of a log record that its template and parameters answer: `LIKE`, `=`, `contains` and their like.
//!
//! What a condition needs is looked for in the constants of each template first, then in parameters. Bodies are put together only
//! where that leaves it open, and the condition itself decides on those: nothing here can come to another answer.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StringViewArray, cast::AsArray};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use datafusion::{
    common::Result,
    logical_expr::Operator,
    physical_expr::{
        PhysicalExpr, ScalarFunctionExpr,
        expressions::{BinaryExpr, Column, LikeExpr, Literal},
    },
};
use devmesh_schema::{
    body::Cut,
    stored,
    view::{self, Told},
};

/// A condition.
#[derive(Clone, Debug)]
pub struct BodyTest {
    /// Over rows whose only column is the body.
    condition: Arc<dyn PhysicalExpr>,
    /// What a body must do for the condition, or for its opposite.
    must: Must,
    is_opposite: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Must {
    /// Be the text.
    Be(String),
    /// Hold the text.
    Hold {
        text: String,
        /// Of the one case, or of any case of its ASCII letters.
        any_case: bool,
        /// Whether nothing else is asked.
        suffices: bool,
    },
}

impl PartialEq for BodyTest {
    fn eq(&self, other: &Self) -> bool {
        self.condition.as_ref() == other.condition.as_ref()
    }
}

impl Eq for BodyTest {}

impl Hash for BodyTest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.condition.hash(state);
    }
}

impl BodyTest {
    /// What `node` asks of the body; `None` where templates would say nothing of that.
    pub(crate) fn of(node: &Arc<dyn PhysicalExpr>) -> Result<Option<Self>> {
        let Some((must, is_opposite)) = must(node) else { return Ok(None) };
        let body: Arc<dyn PhysicalExpr> = Arc::new(Column::new(stored::BODY, 0));
        let child = |child: &Arc<dyn PhysicalExpr>| if is_body(child) { Arc::clone(&body) } else { Arc::clone(child) };
        let children = node.children().into_iter().map(child).collect();
        let condition = Arc::clone(node).with_new_children(children)?;
        Ok(Some(Self { condition, must, is_opposite }))
    }

    /// What it says of rows whose bodies were cut.
    ///
    /// # Errors
    /// The rows are not as a file has them.
    pub(crate) fn answer(&self, rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
        let sifted = view::sift_bodies(rows, |template| self.told_by(template))?;
        let found = sifted.known.into_iter().map(|known| known.map(|known| known != self.is_opposite));
        let mut found: Vec<Option<bool>> = found.collect();
        if !sifted.open.is_empty() {
            let answers = self.ask(StringViewArray::from(&sifted.bodies))?;
            for (row, answer) in sifted.open.into_iter().zip(&answers) {
                found[row] = answer;
            }
        }
        Ok(Arc::new(BooleanArray::from(found)))
    }

    /// What the condition says of bodies.
    fn ask(&self, bodies: StringViewArray) -> Result<BooleanArray, ArrowError> {
        let rows = bodies.len();
        let schema = Arc::new(Schema::new(vec![Field::new(stored::BODY, DataType::Utf8View, true)]));
        let batch = RecordBatch::try_new(schema, vec![Arc::new(bodies)])?;
        let answer = self.condition.evaluate(&batch).and_then(|answer| answer.into_array(rows));
        let answer = answer.map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
        let wrong = || ArrowError::SchemaError(format!("{} is no condition", self.condition));
        answer.as_boolean_opt().cloned().ok_or_else(wrong)
    }

    /// What the text of a template tells of [`Must`].
    fn told_by(&self, template: &str) -> Told {
        let cut = Cut::new(template);
        let open = || Told::Maybe { in_params: Vec::new() };
        if cut.params() == 0 {
            // The text is the body.
            let said = self.ask(StringViewArray::from(vec![template])).ok();
            return match said.filter(|said| said.null_count() == 0).map(|said| said.value(0) != self.is_opposite) {
                Some(true) => Told::All,
                Some(false) => Told::None,
                None => open(),
            };
        }
        match &self.must {
            Must::Be(text) if !cut.read(text, &mut Vec::new()) => Told::None,
            Must::Be(_) => open(),
            Must::Hold { text, any_case, suffices } => {
                let same = if *any_case { <[u8]>::eq_ignore_ascii_case } else { <[u8] as PartialEq>::eq };
                let holds = |constant: &&str| constant.as_bytes().windows(text.len()).any(|w| same(w, text.as_bytes()));
                match cut.constants().iter().any(holds) {
                    true if *suffices => Told::All,
                    true => open(),
                    false if touches(&cut, text.as_bytes()) => open(),
                    false => Told::Maybe { in_params: vec![text.as_bytes().to_vec()] },
                }
            }
        }
    }
}

/// Whether a text that stands in a body may be part of a constant and part of a parameter, or of two.
fn touches(cut: &Cut<'_>, text: &[u8]) -> bool {
    let (constants, last) = (cut.constants(), cut.params());
    constants.iter().enumerate().any(|(at, constant)| {
        let constant = constant.as_bytes();
        let longest = constant.len().min(text.len().saturating_sub(1));
        let ends_with = |length: usize| constant[constant.len() - length..].eq_ignore_ascii_case(&text[..length]);
        let begins_with = |length: usize| constant[..length].eq_ignore_ascii_case(&text[text.len() - length..]);
        let before = at < last && (1..=longest).any(ends_with);
        let behind = at > 0 && (1..=longest).any(begins_with);
        let within = at > 0
            && at < last
            && (constant.is_empty() || text.windows(constant.len()).any(|here| here.eq_ignore_ascii_case(constant)));
        before || behind || within
    })
}

fn is_body(node: &Arc<dyn PhysicalExpr>) -> bool {
    node.downcast_ref::<Column>().is_some_and(|column| column.name() == stored::BODY)
}

/// The text of a literal.
fn text(node: &Arc<dyn PhysicalExpr>) -> Option<&str> {
    node.downcast_ref::<Literal>()?.value().try_as_str()?
}

/// What a condition asks of the body, and whether it is the opposite of that.
fn must(node: &Arc<dyn PhysicalExpr>) -> Option<(Must, bool)> {
    if let Some(like) = node.downcast_ref::<LikeExpr>() {
        let pattern = text(like.pattern()).filter(|_| is_body(like.expr()))?;
        return Some((held(pattern, like.case_insensitive())?, like.negated()));
    }
    if let Some(comparison) = node.downcast_ref::<BinaryExpr>() {
        let (left, right) = (comparison.left(), comparison.right());
        let literal = if is_body(left) { right } else { left };
        let is_of_body = is_body(left) != is_body(right);
        let is_opposite = match comparison.op() {
            Operator::Eq => false,
            Operator::NotEq => true,
            _ => return None,
        };
        return Some((Must::Be(text(literal).filter(|_| is_of_body)?.to_owned()), is_opposite));
    }
    let call = node.downcast_ref::<ScalarFunctionExpr>()?;
    let [body, looked_for] = call.args() else { return None };
    let text = text(looked_for).filter(|text| is_body(body) && !text.is_empty())?.to_owned();
    match call.fun().name() {
        "contains" => Some((Must::Hold { text, any_case: false, suffices: true }, false)),
        "starts_with" | "ends_with" => Some((Must::Hold { text, any_case: false, suffices: false }, false)),
        _ => None,
    }
}

/// What a body must hold to be like the pattern: its longest text without a wildcard.
fn held(pattern: &str, any_case: bool) -> Option<Must> {
    // Letters of other scripts are cases of k and s: nothing could be ruled out.
    let is_of_cases = any_case && (!pattern.is_ascii() || pattern.contains(['k', 'K', 's', 'S']));
    if pattern.contains('\\') || is_of_cases {
        return None;
    }
    let text = pattern.split(['%', '_']).max_by_key(|text| text.len()).filter(|text| !text.is_empty())?;
    let suffices = pattern.strip_prefix('%').and_then(|rest| rest.strip_suffix('%')) == Some(text);
    Some(Must::Hold { text: text.to_owned(), any_case, suffices })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_may_be_part_of_constant_and_parameter_is_told_from_one_that_cannot() {
        for (template, text, expected) in [
            ("took <*> ms", "failed", false),
            ("took <*> ms", "k 7", true),
            ("took <*> ms", "7 m", true),
            ("took <*> ms", " ", false),
            ("took <*> ms", "ok", false),
            ("<*>of<*>", "a", false),
            ("<*>of<*>", "1of2", true),
            ("<*>of<*>", "fa", true),
            ("<*><*>", "ab", true),
            ("failed<*>", "ed", false),
            ("failed<*>", "ded", true),
        ] {
            assert_eq!(touches(&Cut::new(template), text.as_bytes()), expected, "{template} {text}");
        }
    }

    #[test]
    fn a_pattern_needs_its_longest_text() {
        let hold = |text: &str, any_case, suffices| Some(Must::Hold { text: text.into(), any_case, suffices });
        for (pattern, any_case, expected) in [
            ("%failed%", false, hold("failed", false, true)),
            ("%failed%", true, hold("failed", true, true)),
            ("failed%", false, hold("failed", false, false)),
            ("%a%failed_b", false, hold("failed", false, false)),
            ("failed", false, hold("failed", false, false)),
            ("%", false, None),
            ("", false, None),
            ("%a\\%%", false, None),
            ("%ä%", true, None),
            ("%password%", true, None),
        ] {
            assert_eq!(held(pattern, any_case), expected, "{pattern}");
        }
    }
}
