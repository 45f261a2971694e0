//! `matches(text, words)`: true where every word of the second argument stands in the first, whatever the case.
//!
//! A word is a maximal run of letters and digits; everything else only separates words, in the text as in the question.
//! No words at all match everything. `NULL` matches nothing: the answer is NULL.

use std::{
    hash::{Hash, Hasher},
    sync::{Arc, LazyLock},
};

use arrow_array::{Array, ArrayRef, BooleanArray, StringViewArray, cast::AsArray};
use arrow_schema::DataType;
use datafusion::{
    common::{Result, ScalarValue, exec_err, plan_err},
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
    physical_expr::{
        PhysicalExpr, ScalarFunctionExpr,
        expressions::{Column, Literal},
    },
};
use devmesh_schema::{body::Cut, view::Told};

/// The function.
pub(crate) fn function() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::new_from_impl(Matches { signature: Signature::user_defined(Volatility::Immutable) }))
    });
    Arc::clone(&FUNCTION)
}

/// The words of a text, in lower case, as the store's index has them.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    devmesh_store::words(text, |word| words.push(word.to_owned()));
    words
}

/// Words to look for, prepared once a query.
#[derive(Debug)]
pub struct Words(Vec<Word>);

#[derive(Debug)]
struct Word {
    text: String,
    /// Where in an ASCII word its rarest letter stands; `None` for a word with other letters.
    rare: Option<usize>,
}

impl Words {
    /// The words of `text`.
    pub fn new(text: &str) -> Self {
        let mut words = words(text);
        words.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
        words.dedup();
        let word = |text: String| {
            let rare = text.is_ascii().then(|| rarest(text.as_bytes()));
            Word { text, rare }
        };
        Self(words.into_iter().map(word).collect())
    }

    /// Whether every word stands in `text`.
    pub fn stand_in(&self, text: &str) -> bool {
        self.0.iter().all(|word| match word.rare {
            Some(rare) => ascii_word_stands_in(word.text.as_bytes(), rare, text),
            None => {
                let mut found = false;
                devmesh_store::words(text, |other| found |= other == word.text);
                found
            }
        })
    }
}

/// What a template tells of the bodies that have it: a word that stands within its constants is in all of them, and one
/// that does not can only be in the parameters.
pub(crate) fn told_by(template: &str, wanted: &[String]) -> Told {
    let cut = Cut::new(template);
    let around = cut.surroundings();
    match devmesh_store::missing(template, wanted).as_slice() {
        [] => Told::All,
        _ if cut.params() == 0 => Told::None,
        missing => {
            let ascii = missing.iter().filter(|word| word.is_ascii() && around.is_loose);
            Told::Maybe { in_params: ascii.map(|word| word.as_bytes().to_vec()).collect() }
        }
    }
}

/// The words of `matches(column, words)` where the column is named `column` and the words are a constant.
pub(crate) fn asked<'e>(node: &'e Arc<dyn PhysicalExpr>, column: &str) -> Option<&'e str> {
    let call = node.downcast_ref::<ScalarFunctionExpr>()?;
    call.fun().inner().downcast_ref::<Matches>()?;
    let [text, words] = call.args() else { return None };
    text.downcast_ref::<Column>().filter(|text| text.name() == column)?;
    words.downcast_ref::<Literal>()?.value().try_as_str()?
}

/// How often bytes come in logs, roughly: the higher, the commoner.
fn frequency(byte: u8) -> u8 {
    const COMMON_FIRST: &[u8] = b"etaoinsr0l1dcu2mh34f5g6p78b9wyvkxjqz";
    COMMON_FIRST.iter().position(|&b| b == byte).map_or(0, |place| 255 - place as u8)
}

fn rarest(word: &[u8]) -> usize {
    (0..word.len()).min_by_key(|&place| frequency(word[place])).unwrap_or(0)
}

fn ascii_word_stands_in(word: &[u8], rare: usize, text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_here = |found: usize| {
        let Some(start) = found.checked_sub(rare) else { return false };
        let end = start + word.len();
        end <= bytes.len() && bytes[start..end].eq_ignore_ascii_case(word) && is_whole(text, start, end)
    };
    let (low, high) = (word[rare], word[rare].to_ascii_uppercase());
    if low == high {
        memchr::memchr_iter(low, bytes).any(is_here)
    } else {
        memchr::memchr2_iter(low, high, bytes).any(is_here)
    }
}

/// Whether no letter or digit touches `text[start..end]`.
fn is_whole(text: &str, start: usize, end: usize) -> bool {
    let bytes = text.as_bytes();
    let free_before = match start.checked_sub(1).map(|i| bytes[i]) {
        None => true,
        Some(b) if b.is_ascii() => !b.is_ascii_alphanumeric(),
        Some(_) => text[..start].chars().next_back().is_none_or(|c| !c.is_alphanumeric()),
    };
    let free_after = || match bytes.get(end) {
        None => true,
        Some(b) if b.is_ascii() => !b.is_ascii_alphanumeric(),
        Some(_) => text[end..].chars().next().is_none_or(|c| !c.is_alphanumeric()),
    };
    free_before && free_after()
}

#[derive(Debug)]
struct Matches {
    signature: Signature,
}

impl PartialEq for Matches {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Matches {}

impl Hash for Matches {
    fn hash<H: Hasher>(&self, state: &mut H) {
        "matches".hash(state);
    }
}

impl ScalarUDFImpl for Matches {
    fn name(&self) -> &str {
        "matches"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let is_text = |t: &DataType| match t {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
            DataType::Dictionary(_, values) => matches!(**values, DataType::Utf8 | DataType::Utf8View),
            _ => false,
        };
        match types {
            [text, words] if is_text(text) && is_text(words) => Ok(vec![DataType::Utf8View, DataType::Utf8View]),
            _ => plan_err!("matches(text, words) takes two texts, as in matches(body, 'connection refused')"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [text, words] = args.args.as_slice() else { return exec_err!("matches takes two arguments") };
        let text = text.to_array(args.number_rows)?;
        let Some(text) = text.as_string_view_opt() else { return exec_err!("matches takes texts") };
        match words {
            ColumnarValue::Scalar(words) => match words.try_as_str().flatten() {
                Some(words) => Ok(ColumnarValue::Array(search(text, &Words::new(words)))),
                None => Ok(ColumnarValue::Scalar(ScalarValue::Boolean(None))),
            },
            ColumnarValue::Array(words) => {
                let words = words.as_string_view();
                let answer = |(text, words): (Option<&str>, Option<&str>)| Some(Words::new(words?).stand_in(text?));
                let found: BooleanArray = text.iter().zip(words.iter()).map(answer).collect();
                Ok(ColumnarValue::Array(Arc::new(found)))
            }
        }
    }
}

fn search(texts: &StringViewArray, words: &Words) -> ArrayRef {
    let values = arrow_buffer::BooleanBuffer::collect_bool(texts.len(), |row| words.stand_in(texts.value(row)));
    Arc::new(BooleanArray::new(values, texts.nulls().cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_tells_what_its_constants_hold() {
        let maybe =
            |words: &[&str]| Told::Maybe { in_params: words.iter().map(|word| word.as_bytes().to_vec()).collect() };
        for (template, wanted, told) in [
            ("Connection refused by <*>", "refused CONNECTION", Told::All),
            ("Connection refused by <*>", "refused peer", maybe(&["peer"])),
            ("Connection refused", "peer", Told::None),
            ("took <*>ms", "took", Told::All),
            // A parameter is part of the word.
            ("took <*>ms", "ms", maybe(&[])),
            ("took <*> ms", "ms", Told::All),
            ("took <*> ms", "büro", maybe(&[])),
            ("<*>", "x", maybe(&["x"])),
        ] {
            assert_eq!(told_by(template, &words(wanted)), told, "{template} {wanted}");
        }
    }

    #[test]
    fn words_match_whole_and_whatever_the_case() {
        for (text, words, expected) in [
            ("Connection refused by peer", "connection REFUSED", true),
            ("Connection refused by peer", "refused connection", true),
            ("connections refused", "connection", false),
            ("reconnection", "connection", false),
            ("connection", "connection", true),
            ("x-connection.", "connection", true),
            ("", "connection", false),
            ("anything", "", true),
            ("anything", " -- ", true),
            ("id=7f3e-11aa", "7F3E 11aa", true),
            ("Ärger im Büro", "büro", true),
            ("Ärger im BÜRO", "büro", true),
            ("Bürokratie", "büro", false),
            ("éclair", "clair", false),
            ("clairé", "clair", false),
            ("日本 error", "error", true),
            ("日本error", "error", false),
            ("errorerror error", "error", true),
        ] {
            assert_eq!(Words::new(words).stand_in(text), expected, "matches({text:?}, {words:?})");
        }
    }
}
