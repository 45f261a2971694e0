//! A body as the text of its template and its parameters: the form in which files hold it.
//!
//! The text of a template is what is constant of a body, with [`MARK`] where a parameter stands. Any cut of the body at
//! the constants gives it back, byte for byte; the one that is stored takes each constant at its first place. Nothing
//! here knows how a template was found: a body that is not of its template stays whole.
//!
//! # The columns
//! [`stored::PARAMS`] has the parameters of a row one after the other, each but the last with its length + 1 before it
//! (a varint); the last takes what is left. A parameter that is a UUID in its canonical form stands in [`stored::UUIDS`],
//! the first one of a row only: its length is 0, and nothing is left where it is the last.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, StringArray,
    builder::{BinaryBuilder, FixedSizeBinaryBuilder, StringBuilder},
};
use arrow_schema::{ArrowError, DataType, Field};

use crate::{otlp::wire::put_varint, stored};

/// What stands for a parameter in the text of a template.
pub const MARK: &str = "<*>";
/// Bytes within which a constant is looked for byte by byte: parameters are short.
const NEAR: usize = 64;

/// The text of a template, cut at its marks.
#[derive(Clone, Debug)]
pub struct Cut<'t> {
    constants: Vec<&'t str>,
}

impl<'t> Cut<'t> {
    /// Cuts a text.
    pub fn new(text: &'t str) -> Self {
        Self { constants: text.split(MARK).collect() }
    }

    /// What stands before, between and after the parameters: one more than there are of those.
    pub fn constants(&self) -> &[&'t str] {
        &self.constants
    }

    /// How many parameters there are.
    pub fn params(&self) -> usize {
        self.constants.len() - 1
    }

    /// What of the constants stands apart from the parameters, and what touches them.
    pub fn surroundings(&self) -> Surroundings<'t> {
        let constants = &self.constants;
        let last = constants.len() - 1;
        let mut all = Surroundings { inner: Vec::new(), edges: vec![("", ""); last], is_loose: true };
        for (at, constant) in constants.iter().enumerate() {
            let head = if at == 0 { "" } else { head(constant) };
            let tail = if at == last { "" } else { tail(constant) };
            if head.len() == constant.len() && at > 0 && at < last {
                // It joins two parameters into one word, or leaves them side by side.
                (all.edges[at - 1].1, all.edges[at].0) = (constant, constant);
                all.is_loose = false;
                continue;
            }
            if at > 0 {
                all.edges[at - 1].1 = head;
            }
            if at < last {
                all.edges[at].0 = tail;
            }
            all.is_loose &= head.is_empty() && tail.is_empty();
            all.inner.extend(constant.get(head.len()..constant.len() - tail.len()));
        }
        all
    }

    /// Reads the parameters of a body; `false` where it is not of this template.
    pub fn read<'b>(&self, body: &'b str, params: &mut Vec<&'b str>) -> bool {
        params.clear();
        let [first, between @ .., last] = self.constants.as_slice() else {
            return self.constants.first().is_some_and(|only| *only == body);
        };
        let Some(mut rest) = body.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else { return false };
        for constant in between {
            let Some(at) = find(rest, constant) else { return false };
            params.push(&rest[..at]);
            rest = &rest[at + constant.len()..];
        }
        params.push(rest);
        true
    }
}

/// Words are runs of letters and digits. Those of a body stand within its constants, or parameters are part of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings<'t> {
    /// Stretches of the constants whose words no parameter is part of.
    pub inner: Vec<&'t str>,
    /// Of each parameter, the letters and digits of the constants that touch it: before and behind it.
    pub edges: Vec<(&'t str, &'t str)>,
    /// Whether nothing touches any parameter.
    pub is_loose: bool,
}

/// The letters and digits that a text begins with.
fn head(text: &str) -> &str {
    &text[..text.len() - text.trim_start_matches(char::is_alphanumeric).len()]
}

/// Those that it ends with.
fn tail(text: &str) -> &str {
    &text[text.trim_end_matches(char::is_alphanumeric).len()..]
}

/// Where `constant` first stands in `text`.
fn find(text: &str, constant: &str) -> Option<usize> {
    let (text_bytes, wanted) = (text.as_bytes(), constant.as_bytes());
    let Some(first) = wanted.first() else { return Some(0) };
    let near = text_bytes.len().min(NEAR);
    for at in 0..near {
        if text_bytes[at] == *first && text_bytes[at..].starts_with(wanted) {
            return Some(at);
        }
    }
    let mut from = near;
    while !text.is_char_boundary(from) {
        from -= 1;
    }
    text[from..].find(constant).map(|at| at + from)
}

/// The bytes of a UUID in its canonical form.
pub(crate) fn uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 || [8, 13, 18, 23].iter().any(|at| bytes[*at] != b'-') {
        return None;
    }
    let mut id = [0; 16];
    let mut digits = bytes.iter().filter(|byte| **byte != b'-');
    for byte in &mut id {
        *byte = digit(*digits.next()?)? << 4 | digit(*digits.next()?)?;
    }
    digits.next().is_none().then_some(id)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// The columns of bodies that were cut.
#[derive(Debug)]
pub struct Split {
    params: BinaryBuilder,
    uuids: FixedSizeBinaryBuilder,
    whole: StringBuilder,
    has_uuids: bool,
    has_whole: bool,
    scratch: Vec<u8>,
}

impl Split {
    /// For so many rows.
    pub fn with_capacity(rows: usize) -> Self {
        Self {
            params: BinaryBuilder::with_capacity(rows, rows * 16),
            uuids: FixedSizeBinaryBuilder::with_capacity(rows, 16),
            whole: StringBuilder::new(),
            has_uuids: false,
            has_whole: false,
            scratch: Vec::new(),
        }
    }

    /// Adds a row with the parameters of its body.
    pub fn push_params(&mut self, params: &[&str]) {
        let mut id = None;
        self.scratch.clear();
        if let Some((last, others)) = params.split_last() {
            for param in others {
                match uuid(param).filter(|_| id.is_none()) {
                    Some(bytes) => {
                        id = Some(bytes);
                        put_varint(&mut self.scratch, 0);
                    }
                    None => {
                        put_varint(&mut self.scratch, param.len() as u64 + 1);
                        self.scratch.extend_from_slice(param.as_bytes());
                    }
                }
            }
            match uuid(last).filter(|_| id.is_none()) {
                Some(bytes) => id = Some(bytes),
                None => self.scratch.extend_from_slice(last.as_bytes()),
            }
        }
        if self.scratch.is_empty() {
            self.params.append_null();
        } else {
            self.params.append_value(&self.scratch);
        }
        match id {
            // Of the builder's own width.
            Some(bytes) if self.uuids.append_value(bytes).is_ok() => self.has_uuids = true,
            _ => self.uuids.append_null(),
        }
        self.whole.append_null();
    }

    /// Adds a row whose body stays whole, or has none.
    pub fn push_whole(&mut self, body: Option<&str>) {
        self.params.append_null();
        self.uuids.append_null();
        self.whole.append_option(body);
        self.has_whole |= body.is_some();
    }

    /// The columns, those that are needed. [`stored::PARAMS`] is always among them: it says that bodies were cut.
    pub fn finish(mut self) -> Vec<(Field, ArrayRef)> {
        let mut columns: Vec<(Field, ArrayRef)> =
            vec![(Field::new(stored::PARAMS, DataType::Binary, true), Arc::new(self.params.finish()))];
        if self.has_uuids {
            let field = Field::new(stored::UUIDS, DataType::FixedSizeBinary(16), true);
            columns.push((field, Arc::new(self.uuids.finish())));
        }
        if self.has_whole {
            columns.push((Field::new(stored::BODY, DataType::Utf8, true), Arc::new(self.whole.finish())));
        }
        columns
    }
}

/// Cuts bodies: `template` says the text of each row's template, `None` for a body that stays whole.
pub fn split<'t>(bodies: &StringArray, template: impl Fn(usize) -> Option<&'t Cut<'t>>) -> Vec<(Field, ArrayRef)> {
    let mut split = Split::with_capacity(bodies.len());
    let mut params = Vec::new();
    for row in 0..bodies.len() {
        let body = bodies.is_valid(row).then(|| bodies.value(row));
        match body.zip(template(row)) {
            Some((body, cut)) if cut.read(body, &mut params) => split.push_params(&params),
            _ => split.push_whole(body),
        }
    }
    split.finish()
}

/// Writes the body of a row to `out`.
///
/// # Errors
/// The parameters are not those of the template: no writer has written them.
pub(crate) fn fill(
    out: &mut Vec<u8>,
    constants: &[&[u8]],
    mut params: &[u8],
    mut id: Option<&[u8]>,
) -> Result<(), ArrowError> {
    let wrong = || ArrowError::ParseError("the parameters of a body are not those of its template".into());
    let Some((last, before)) = constants.split_last() else { return Err(wrong()) };
    for (at, constant) in before.iter().enumerate() {
        out.extend_from_slice(constant);
        let is_last = at + 1 == before.len();
        if is_last {
            match id.take() {
                Some(id) => put_uuid(out, id),
                None => out.extend_from_slice(std::mem::take(&mut params)),
            }
            continue;
        }
        match varint(&mut params).ok_or_else(wrong)? {
            0 => put_uuid(out, id.take().ok_or_else(wrong)?),
            length => {
                let length = usize::try_from(length - 1).map_err(|_large| wrong())?;
                let (param, rest) = params.split_at_checked(length).ok_or_else(wrong)?;
                out.extend_from_slice(param);
                params = rest;
            }
        }
    }
    out.extend_from_slice(last);
    if params.is_empty() && id.is_none() { Ok(()) } else { Err(wrong()) }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_uuid(out: &mut Vec<u8>, id: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (at, byte) in id.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{RecordBatch, cast::AsArray};
    use proptest::prelude::*;

    use super::*;
    use crate::{Signal, view};

    /// Rows as a file has them.
    fn rows(bodies: &[Option<&str>], templates: &[Option<&str>]) -> RecordBatch {
        let cuts: Vec<Option<Cut<'_>>> = templates.iter().map(|text| text.map(Cut::new)).collect();
        let mut columns = split(&StringArray::from(bodies.to_vec()), |row| cuts[row].as_ref());
        let templates: ArrayRef = Arc::new(StringArray::from(templates.to_vec()));
        columns.push((Field::new(stored::TEMPLATE, DataType::Utf8, true), templates));
        RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(f, array)| (f.name(), Arc::clone(array), true)))
            .unwrap()
    }

    fn joined(rows: &RecordBatch) -> Vec<Option<String>> {
        let bodies = view::derive(Signal::Logs, "body", rows).unwrap();
        bodies.as_string_view().iter().map(|body| body.map(str::to_owned)).collect()
    }

    const ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
    const OTHER: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

    #[test]
    fn a_body_that_was_cut_comes_back_byte_for_byte() {
        let (one, two) = (format!("order {ID} placed"), format!("{OTHER} follows {ID}, then {OTHER}"));
        let (upper, last) = (format!("order {} placed", ID.to_uppercase()), format!("mail {OTHER}"));
        let long = "x".repeat(300);
        let far = format!("{long}äöü took 7");
        let table: Vec<(Option<&str>, Option<&str>)> = vec![
            (Some("plain"), Some("plain")),
            (Some(""), Some("")),
            (Some("anything"), Some("<*>")),
            (Some("a<*>b"), Some("<*>")),
            (Some("took 12 ms"), Some("took <*> ms")),
            (Some("took  ms"), Some("took <*> ms")),
            (Some("took 12 s"), Some("took <*> ms")),
            (Some("1 2 3"), Some("<*> <*> <*>")),
            (Some("12"), Some("<*><*>")),
            (Some(&one), Some("order <*> placed")),
            (Some(&upper), Some("order <*> placed")),
            (Some(&two), Some("<*> follows <*>, then <*>")),
            (Some(&last), Some("mail <*>")),
            (Some(&far), Some("<*> took <*>")),
            (Some(&long), Some("<*>")),
            (Some("no template"), None),
            (None, None),
            (Some("ab"), Some("abc<*>b")),
        ];
        let (bodies, templates): (Vec<_>, Vec<_>) = table.into_iter().unzip();
        let rows = rows(&bodies, &templates);
        let expected: Vec<Option<String>> = bodies.iter().map(|body| body.map(str::to_owned)).collect();
        assert_eq!(joined(&rows), expected);
        let whole = rows.column_by_name(stored::BODY).unwrap();
        let whole: Vec<&str> = whole.as_string::<i32>().iter().flatten().collect();
        assert_eq!(whole, ["took 12 s", "no template", "ab"], "of these the template is not");
        assert_eq!(rows.column_by_name(stored::UUIDS).unwrap().null_count(), bodies.len() - 3);
    }

    #[test]
    fn parameters_that_are_not_of_the_template_are_an_error() {
        let mut out = Vec::new();
        let constants: [&[u8]; 3] = [b"a", b"b", b"c"];
        for params in [&b""[..], &[9, b'x'], &[0x80], &[0]] {
            assert!(fill(&mut out, &constants, params, None).is_err(), "{params:?}");
        }
        assert!(fill(&mut out, &[b"only"], b"x", None).is_err());
        assert!(fill(&mut out, &[], b"", None).is_err());
    }

    proptest! {
        #[test]
        fn whatever_the_constants_and_parameters_are_the_body_comes_back(
            parts in prop::collection::vec(("[a-b <*>äß-]{0,6}", "[a-c0 <*>ä]{0,8}"), 0..6),
            end in "[a-b <*>]{0,4}",
            other in "[a-c <*>]{0,20}",
        ) {
            let mut body = String::new();
            let mut text = String::new();
            for (constant, param) in &parts {
                body += constant;
                body += param;
                text += constant;
                text += MARK;
            }
            body += &end;
            text += &end;
            let rows = rows(&[Some(&body), Some(&other), None], &[Some(&text), Some(&text), None]);
            prop_assert_eq!(joined(&rows), vec![Some(body), Some(other), None]);
        }
    }
}
