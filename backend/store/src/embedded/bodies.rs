//! The bodies of a file's rows: cut into template and parameters, and the words of both for the index.
//!
//! A word that stands within the constants of a template is the same in all of its rows and is looked at once; what
//! touches a parameter is looked at row by row. Together they are the words of the whole bodies.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, StringArray, cast::AsArray, types::Int32Type};
use arrow_schema::{ArrowError, DataType, Field};
use devmesh_schema::{
    body::{Cut, Split, Surroundings},
    stored,
};
use devmesh_templates::template_id;

use super::beside::{Beside, Gathered};
use crate::{
    Error,
    columns::{Piece, Place, gather},
    words::words,
};

/// What [`Bodies::cut`] tells of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// A word of a body.
    Word(&'a str),
    /// The id of a template.
    Template(u64),
}

/// What a file has of bodies that were cut.
#[derive(Debug)]
pub(crate) struct CutBodies {
    pub(crate) columns: Vec<(Field, ArrayRef)>,
    /// Of the rows without a template, then of each template: the words that stand in bodies beside those of constants.
    pub(crate) beside: Vec<Beside>,
}

/// The bodies of a file's rows, in its order.
#[derive(Debug)]
pub(crate) struct Bodies {
    whole: StringArray,
    templates: Keyed,
}

/// Texts, each once, and which of them each row has.
#[derive(Debug)]
pub(crate) struct Keyed {
    pub(crate) texts: Vec<String>,
    pub(crate) keys: Vec<Option<u32>>,
}

impl Keyed {
    /// # Errors
    /// The column has no texts.
    pub(crate) fn of(array: &ArrayRef) -> Result<Self, Error> {
        let wrong = || ArrowError::SchemaError(format!("a column of texts is {}", array.data_type()));
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut texts: Vec<String> = Vec::new();
        let mut number = |text: &str| match numbers.get(text) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(texts.len()).unwrap_or(u32::MAX);
                numbers.insert(text.to_owned(), number);
                texts.push(text.to_owned());
                number
            }
        };
        let keys = if let Some(dictionary) = array.as_dictionary_opt::<Int32Type>() {
            let values = dictionary.values().as_string_opt::<i32>().ok_or_else(wrong)?;
            let values: Vec<Option<u32>> = values.iter().map(|text| text.map(&mut number)).collect();
            let key = |key: Option<i32>| key.and_then(|key| values.get(usize::try_from(key).ok()?).copied().flatten());
            dictionary.keys().iter().map(key).collect()
        } else {
            let values = array.as_string_opt::<i32>().ok_or_else(wrong)?;
            let mut last: Option<(&str, u32)> = None;
            let mut key = |text: &'_ str| number(text);
            let mut keys = Vec::with_capacity(values.len());
            for text in values {
                keys.push(match (text, last) {
                    (None, _) => None,
                    (Some(text), Some((before, number))) if before == text => Some(number),
                    (Some(text), _) => {
                        let number = key(text);
                        last = Some((text, number));
                        Some(number)
                    }
                });
            }
            keys
        };
        Ok(Self { texts, keys })
    }
}

/// A template as the rows of a file are cut by it.
struct Frame<'t> {
    id: u64,
    cut: Cut<'t>,
    /// The words within its constants.
    inner: Vec<String>,
    /// What of the constants touches each parameter: before and behind it.
    edges: Vec<(&'t str, &'t str)>,
    /// Whether nothing touches any parameter.
    is_loose: bool,
    /// The last range of which the words within its constants were told.
    told: Option<usize>,
    /// The words that its parameters are part of.
    beside: Gathered,
}

impl<'t> Frame<'t> {
    fn new(text: &'t str) -> Self {
        let cut = Cut::new(text);
        let Surroundings { inner: texts, edges, is_loose } = cut.surroundings();
        let mut inner = Vec::new();
        texts.into_iter().for_each(|text| words(text, |word| inner.push(word.to_owned())));
        Self { id: template_id(text), cut, inner, edges, is_loose, told: None, beside: Gathered::default() }
    }

    /// The words of a body that its parameters are part of.
    fn outer(&self, params: &[&str], scratch: &mut String, mut each: impl FnMut(&str)) {
        if self.is_loose {
            params.iter().for_each(|param| words(param, &mut each));
            return;
        }
        scratch.clear();
        for (at, (param, (before, behind))) in params.iter().zip(&self.edges).enumerate() {
            let joined = at > 0 && self.joins(at);
            if !joined {
                scratch.push(' ');
                scratch.push_str(before);
            }
            scratch.push_str(param);
            scratch.push_str(behind);
        }
        words(scratch, each);
    }

    /// Whether the constant before parameter `at` has no end of a word.
    fn joins(&self, at: usize) -> bool {
        self.cut.constants().get(at).is_some_and(|constant| constant.chars().all(char::is_alphanumeric))
    }
}

impl Bodies {
    /// The bodies of rows in `order`; `None` where no row has a template.
    pub(crate) fn of(pieces: &[&dyn Piece], fields: &[Field], order: &[Place]) -> Result<Option<Self>, Error> {
        let field = |name| fields.iter().find(|field| field.name() == name);
        let (Some(body), Some(template)) = (field(stored::BODY), field(stored::TEMPLATE)) else { return Ok(None) };
        let whole = gather(pieces, body, order)?;
        let wrong = || ArrowError::SchemaError("the bodies are no texts".into());
        let whole = whole.as_string_opt::<i32>().ok_or_else(wrong)?.clone();
        Ok(Some(Self { whole, templates: Keyed::of(&gather(pieces, template, order)?)? }))
    }

    pub(crate) fn len(&self) -> usize {
        self.whole.len()
    }

    /// The templates of the rows.
    pub(crate) fn templates(&self) -> &Keyed {
        &self.templates
    }

    /// A body of each template.
    pub(crate) fn examples(&self) -> Vec<&str> {
        let mut examples = vec![""; self.templates.texts.len()];
        let mut missing = examples.len();
        for (row, key) in self.templates.keys.iter().enumerate() {
            let Some(example) = key.and_then(|key| examples.get_mut(key as usize)) else { continue };
            if example.is_empty() && self.whole.is_valid(row) && !self.whole.value(row).is_empty() {
                *example = self.whole.value(row);
                missing -= 1;
            }
            if missing == 0 {
                break;
            }
        }
        examples
    }

    /// What a file has of them. `part` is told of all words and templates of each range of so many rows, of some
    /// more than once.
    ///
    /// # Errors
    /// There are more templates than numbers for them.
    pub(crate) fn cut(&self, range: usize, mut part: impl FnMut(usize, Part<'_>)) -> Result<CutBodies, Error> {
        let mut frames: Vec<Option<Frame<'_>>> = Vec::new();
        frames.resize_with(self.templates.texts.len(), || None);
        let mut split = Split::with_capacity(self.len());
        let (mut params, mut scratch, mut without) = (Vec::new(), String::new(), Gathered::default());
        for (row, key) in self.templates.keys.iter().enumerate() {
            let at = row / range;
            let body = self.whole.is_valid(row).then(|| self.whole.value(row));
            let of = key.map(|key| key as usize);
            let frame = of.and_then(|key| Some((frames.get_mut(key)?, self.templates.texts.get(key)?)));
            let frame = frame.map(|(frame, text)| frame.get_or_insert_with(|| Frame::new(text)));
            match body.zip(frame) {
                Some((body, frame)) if frame.cut.read(body, &mut params) => {
                    split.push_params(&params);
                    if frame.told.replace(at) != Some(at) {
                        part(at, Part::Template(frame.id));
                        frame.inner.iter().for_each(|word| part(at, Part::Word(word)));
                    }
                    let mut beside = std::mem::take(&mut frame.beside);
                    frame.outer(&params, &mut scratch, |word| {
                        beside.word(word);
                        part(at, Part::Word(word));
                    });
                    frame.beside = beside;
                }
                Some((body, frame)) => {
                    split.push_whole(Some(body));
                    part(at, Part::Template(frame.id));
                    frame.beside.another();
                    words(body, |word| {
                        frame.beside.word(word);
                        part(at, Part::Word(word));
                    });
                }
                None => {
                    split.push_whole(body);
                    words(body.unwrap_or_default(), |word| {
                        without.word(word);
                        part(at, Part::Word(word));
                    });
                }
            }
        }
        let keys = self.templates.keys.iter().map(|key| key.and_then(|key| i32::try_from(key).ok()));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(&self.templates.texts));
        let templates = DictionaryArray::try_new(keys.collect::<Int32Array>(), texts)?;
        let mut columns = split.finish();
        columns.push((stored::dictionary(stored::TEMPLATE, DataType::Utf8, true), Arc::new(templates)));
        columns.sort_by(|(a, _), (b, _)| a.name().cmp(b.name()));
        let beside = frames.into_iter().map(|frame| frame.map(|frame| frame.beside).unwrap_or_default());
        Ok(CutBodies { columns, beside: Gathered::finish(std::iter::once(without).chain(beside)) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn bodies(rows: &[(&str, Option<&str>)]) -> Bodies {
        let texts: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|(_, template)| *template)));
        let whole = StringArray::from_iter_values(rows.iter().map(|(body, _)| *body));
        Bodies { whole, templates: Keyed::of(&texts).unwrap() }
    }

    fn found(bodies: &Bodies) -> (BTreeSet<(usize, String)>, BTreeSet<u64>) {
        let (mut all, mut templates) = (BTreeSet::new(), BTreeSet::new());
        let cut = bodies.cut(3, |range, part| match part {
            Part::Word(word) => drop(all.insert((range, word.to_owned()))),
            Part::Template(id) => drop(templates.insert(id)),
        });
        assert_eq!(cut.unwrap().columns[0].1.len(), bodies.len());
        (all, templates)
    }

    fn expected(rows: &[(&str, Option<&str>)]) -> BTreeSet<(usize, String)> {
        let mut all = BTreeSet::new();
        for (row, (body, _)) in rows.iter().enumerate() {
            words(body, |word| {
                all.insert((row / 3, word.to_owned()));
            });
        }
        all
    }

    #[test]
    fn the_words_of_cut_bodies_are_those_of_whole_ones() {
        let table = [
            ("took 12ms at 7", Some("took <*>ms at <*>")),
            ("took 13ms at 8", Some("took <*>ms at <*>")),
            ("user42 in", Some("user<*> in")),
            ("a1b2c", Some("a<*>b<*>c")),
            ("1b2", Some("<*>b<*>")),
            ("12", Some("<*><*>")),
            ("x-1.y", Some("x-<*>.y")),
            ("ärger7ö groß", Some("ärger<*>ö groß")),
            ("is of no template", Some("other <*>")),
            ("has none", None),
            ("", Some("")),
        ];
        let bodies = bodies(&table);
        let (words, templates) = found(&bodies);
        assert_eq!(words, expected(&table));
        let ids: BTreeSet<u64> = table.iter().filter_map(|(_, text)| Some(template_id((*text)?))).collect();
        assert_eq!(templates, ids);
        assert_eq!(bodies.examples()[0], "took 12ms at 7");
    }

    proptest! {
        #[test]
        fn whatever_is_constant_no_word_is_missed_or_made_up(
            parts in prop::collection::vec(("[ab .ä]{0,4}", "[a0 .ä]{0,4}"), 0..5),
            end in "[ab .]{0,3}",
        ) {
            let (mut body, mut text) = (String::new(), String::new());
            for (constant, param) in &parts {
                body += constant;
                body += param;
                text += constant;
                text += "<*>";
            }
            body += &end;
            text += &end;
            let rows = [(body.as_str(), Some(text.as_str()))];
            prop_assert_eq!(found(&bodies(&rows)).0, expected(&rows));
        }
    }
}
