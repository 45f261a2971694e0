//! Walks JSON with the messages' descriptions and writes protobuf.

use std::{borrow::Cow, ops::RangeInclusive};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    JsonError, Transcoded,
    cursor::{Cursor, Fault, Next, Step},
    messages::{Field, Kind, Message, Presence, Role},
    tally::Tally,
};
use crate::{limits, otlp::write::Writer};

/// Levels of objects and lists that an item can have at most: four for each level of values, and a few around them.
const ITEM_DEPTH: usize = 5 * limits::DEPTH;
/// The most fields of a message (a span's), and one slot that the members of a `oneof` share.
const SLOTS: usize = 17;
/// Whole numbers up to here are exact in a double, so that a number with an exponent can stand for one.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Writes the request `text`, a `message`.
pub(super) fn request(message: &'static Message, text: &str) -> Result<Transcoded, JsonError> {
    let mut transcoder = Transcoder {
        cursor: Cursor::new(text),
        out: Writer::with_capacity(text.len() / 2),
        tally: Tally::default(),
        prefix: Vec::new(),
        numbers: Vec::new(),
    };
    transcoder.message(message, 0)?;
    transcoder.cursor.finish()?;
    let Transcoder { out, tally, .. } = transcoder;
    let rejected = tally.rejected();
    let items = tally.next() - rejected;
    let warnings = tally.warnings();
    let (gaps, rejections) = tally.into_rejections();
    Ok(Transcoded { request: out.into_vec(), items, rejected, rejections, warnings, gaps })
}

struct Transcoder<'a> {
    cursor: Cursor<'a>,
    out: Writer,
    tally: Tally,
    /// The path down to the innermost group or item, for what is said of items.
    prefix: Vec<Step>,
    /// Numbers of a packed field, kept for its memory.
    numbers: Vec<u64>,
}

/// What a field that was read already has written: it is taken back when its key comes again.
#[derive(Clone, Copy, Default)]
struct Written {
    start: usize,
    end: usize,
    first_item: u64,
    end_item: u64,
    /// One more than the field's place in the message; 0 where nothing is written.
    field: usize,
}

impl Transcoder<'_> {
    /// Writes the fields of one object. A group gives back what was wrong beside its items.
    fn message(&mut self, message: &'static Message, depth: usize) -> Result<Option<Fault>, Fault> {
        self.cursor.expect(Next::Object)?;
        let depth = depth + usize::from(message.role == Role::Value);
        if depth > limits::DEPTH {
            let reason = format!("values nest deeper than {} levels", limits::DEPTH);
            return Err(Fault::fatal(self.cursor.offset(), reason));
        }
        self.cursor.open();
        let mut written = [Written::default(); SLOTS];
        let begin = self.out.len();
        let mut highest = 0;
        let mut in_order = true;
        let mut wrong = None;
        let mut first = true;
        while self.cursor.more(first, b'}')? {
            first = false;
            let key = self.cursor.key()?;
            let Some(at) = message.fields.iter().position(|field| field.key == key) else {
                self.unknown(message, &key)?;
                continue;
            };
            let field = &message.fields[at];
            let slot = if field.presence == Presence::Oneof { 0 } else { at + 1 };
            if self.cursor.null()? {
                if written[slot].field == at + 1 {
                    self.take_back(&mut written, slot);
                }
                continue;
            }
            self.take_back(&mut written, slot);
            let (start, first_item) = (self.out.len(), self.tally.next());
            wrong = self.field(message, field, depth)?.or(wrong);
            let (end, end_item) = (self.out.len(), self.tally.next());
            written[slot] = Written { start, end, first_item, end_item, field: at + 1 };
            in_order &= field.number >= highest || start == end;
            highest = highest.max(field.number);
        }
        if !in_order {
            self.sort(message, &mut written, begin);
        }
        Ok(wrong)
    }

    /// Puts the fields of a message, written since `begin`, in the order of their numbers: equal requests get equal
    /// bytes, whatever the order of the keys (OTLP O60).
    fn sort(&mut self, message: &Message, written: &mut [Written; SLOTS], begin: usize) {
        let number = |written: &Written| written.field.checked_sub(1).map_or(0, |at| message.fields[at].number);
        written.sort_unstable_by_key(number);
        let mut sorted = Vec::with_capacity(self.out.len() - begin);
        for Written { start, end, .. } in written.iter() {
            sorted.extend_from_slice(&self.out.as_slice()[*start..*end]);
        }
        self.out.truncate(begin);
        self.out.append(&sorted);
    }

    /// Takes back what stands in a slot.
    fn take_back(&mut self, written: &mut [Written; SLOTS], slot: usize) {
        let Written { start, end, first_item, end_item, field } = std::mem::take(&mut written[slot]);
        if field == 0 {
            return;
        }
        self.out.remove(start..end);
        for other in written.iter_mut().filter(|other| other.start >= end) {
            other.start -= end - start;
            other.end -= end - start;
        }
        // Only one field of a message leads to items, so that none were counted since.
        if first_item < end_item {
            self.tally.rewind(first_item);
        }
    }

    /// Passes over a key that the message does not have.
    fn unknown(&mut self, message: &Message, key: &str) -> Result<(), Fault> {
        if key.contains('_') && message.fields.iter().any(|field| is_snake_case(key, field.key)) {
            self.tally.snake_case(key);
        }
        self.cursor.skip(limits::DEPTH)
    }

    /// Writes a field. In a group, what is wrong with one that leads to no items is given back, and the field left out.
    fn field(&mut self, message: &Message, field: &'static Field, depth: usize) -> Result<Option<Fault>, Fault> {
        if message.role != Role::Group {
            self.value(field, depth).map_err(|fault| fault.under(Step::Key(field.key)))?;
            return Ok(None);
        }
        let (start, value) = (self.out.len(), self.cursor.offset());
        self.prefix.push(Step::Key(field.key));
        let outcome = self.value(field, depth);
        self.prefix.pop();
        match outcome.map_err(|fault| fault.under(Step::Key(field.key))) {
            Ok(()) => Ok(None),
            Err(fault) if fault.word().is_some() => {
                self.give_up(start, value)?;
                Ok(Some(fault))
            }
            Err(fault) => Err(fault),
        }
    }

    /// Takes back what was written since `start` and passes over the value at `value`.
    fn give_up(&mut self, start: usize, value: usize) -> Result<(), Fault> {
        self.out.truncate(start);
        self.cursor.rewind(value);
        self.cursor.skip(ITEM_DEPTH)
    }

    fn value(&mut self, field: &'static Field, depth: usize) -> Result<(), Fault> {
        match field.kind {
            Kind::One(message) => self.nested(field.number, message, depth),
            Kind::Many(message) => self.list(|this, index| {
                let marks_path = matches!(message.role, Role::Group | Role::Item);
                if marks_path {
                    this.prefix.push(Step::Index(index));
                }
                this.nested(field.number, message, depth)?;
                if marks_path {
                    this.prefix.pop();
                }
                Ok(())
            }),
            Kind::Texts => self.list(|this, _| {
                let text = this.cursor.string()?;
                this.out.put_text(field.number, &text);
                Ok(())
            }),
            Kind::Fixed64s | Kind::Uint64s | Kind::Doubles => self.numbers(field),
            _ => self.scalar(field),
        }
    }

    /// Writes one message: a field of that type, or an element of a list.
    fn nested(&mut self, number: u32, message: &'static Message, depth: usize) -> Result<(), Fault> {
        let (start, first) = (self.out.len(), self.tally.next());
        if message.role == Role::Item {
            self.tally.item();
        }
        let mark = self.out.begin(number);
        // An element that is null is an empty message: it has its place in the list.
        if self.cursor.null()? {
            self.out.end(mark);
            return Ok(());
        }
        let value = self.cursor.offset();
        let fault = match self.message(message, depth) {
            Ok(None) => {
                self.out.end(mark);
                return Ok(());
            }
            Ok(Some(fault)) | Err(fault) => fault,
        };
        let Some(word) = fault.word() else { return Err(fault) };
        match message.role {
            Role::Group => self.out.truncate(start),
            Role::Item => self.give_up(start, value)?,
            Role::Droppable if word == BAD_ID => {
                self.give_up(start, value)?;
                self.tally.lost_part(|| fault.message(&self.prefix));
                return Ok(());
            }
            Role::Droppable | Role::Part | Role::Value => return Err(fault),
        }
        self.tally.reject_from(first, word, &fault.message(&self.prefix));
        Ok(())
    }

    fn list(&mut self, mut element: impl FnMut(&mut Self, usize) -> Result<(), Fault>) -> Result<(), Fault> {
        self.cursor.expect(Next::Array)?;
        self.cursor.open();
        let mut index = 0;
        while self.cursor.more(index == 0, b']')? {
            element(self, index).map_err(|fault| fault.under(Step::Index(index)))?;
            index += 1;
        }
        Ok(())
    }

    fn numbers(&mut self, field: &Field) -> Result<(), Fault> {
        self.numbers.clear();
        self.list(|this, _| {
            let bits = match field.kind {
                Kind::Doubles => this.double()?.to_bits(),
                _ => this.unsigned(0..=u64::MAX.into())?,
            };
            this.numbers.push(bits);
            Ok(())
        })?;
        let numbers = self.numbers.iter().copied();
        match field.kind {
            Kind::Uint64s => self.out.packed_uint(field.number, numbers),
            _ => self.out.packed_fixed64(field.number, numbers),
        }
        Ok(())
    }

    fn scalar(&mut self, field: &Field) -> Result<(), Fault> {
        let Field { number, .. } = *field;
        let always = field.presence != Presence::Implicit;
        match field.kind {
            Kind::Text => {
                let text = self.cursor.string()?;
                if always { self.out.put_text(number, &text) } else { self.out.text(number, &text) }
            }
            Kind::Base64 => {
                let bytes = self.base64()?;
                self.out.put_bytes(number, &bytes);
            }
            Kind::Id(length) => {
                let id = self.id(length)?;
                self.out.bytes(number, &id);
            }
            Kind::LenientId(length) => match self.id(length) {
                Ok(id) => self.out.bytes(number, &id),
                Err(fault) if fault.word().is_none() => return Err(fault),
                Err(fault) => {
                    let fault = fault.under(Step::Key(field.key));
                    self.tally.lost_id(|| fault.message(&self.prefix));
                }
            },
            Kind::Bool => {
                let value = self.cursor.boolean()?;
                if always { self.out.put_boolean(number, value) } else { self.out.boolean(number, value) }
            }
            Kind::Double => {
                let value = self.double()?;
                if always { self.out.put_double(number, value) } else { self.out.double(number, value) }
            }
            Kind::Enum => {
                let value = self.enumeration()?;
                self.out.int(number, value);
            }
            _ => self.integer(field, always)?,
        }
        Ok(())
    }

    fn integer(&mut self, field: &Field, always: bool) -> Result<(), Fault> {
        let number = field.number;
        match field.kind {
            Kind::Uint32 => {
                let value = self.unsigned(0..=u32::MAX.into())?;
                self.out.uint(number, value);
            }
            Kind::Fixed32 => {
                let value = self.unsigned(0..=u32::MAX.into())?;
                self.out.fixed32(number, value as u32);
            }
            Kind::Fixed64 => {
                let value = self.unsigned(0..=u64::MAX.into())?;
                self.out.fixed64(number, value);
            }
            Kind::Sint32 => {
                let value = self.signed(i32::MIN.into()..=i32::MAX.into())?;
                self.out.sint32(number, value as i32);
            }
            Kind::Sfixed64 => {
                let value = self.signed(i64::MIN.into()..=i64::MAX.into())?;
                self.out.put_sfixed64(number, value);
            }
            Kind::Int32 => {
                let value = self.signed(i32::MIN.into()..=i32::MAX.into())?;
                if always { self.out.put_int(number, value) } else { self.out.int(number, value) }
            }
            _ => {
                let value = self.signed(i64::MIN.into()..=i64::MAX.into())?;
                if always { self.out.put_int(number, value) } else { self.out.int(number, value) }
            }
        }
        Ok(())
    }

    /// An enum's value. Its name is the item's fault (reliability B8).
    fn enumeration(&mut self) -> Result<i64, Fault> {
        if self.cursor.next()? != Next::Text {
            return self.signed(i32::MIN.into()..=i32::MAX.into());
        }
        let offset = self.cursor.offset();
        let name = self.cursor.string()?;
        Err(Fault::item(offset, "enum_name", format!("{} is a name: OTLP/JSON writes enums as integers", quote(&name))))
    }

    fn unsigned(&mut self, range: RangeInclusive<i128>) -> Result<u64, Fault> {
        // The range keeps it within 64 bits.
        self.whole(range).map(|value| value as u64)
    }

    fn signed(&mut self, range: RangeInclusive<i128>) -> Result<i64, Fault> {
        self.whole(range).map(|value| value as i64)
    }

    /// A whole number in `range`, as a number or in a string.
    fn whole(&mut self, range: RangeInclusive<i128>) -> Result<i128, Fault> {
        self.cursor.next()?;
        let offset = self.cursor.offset();
        let text = self.numeric("a whole number")?;
        let wrong = |reason: &str| Fault::fatal(offset, format!("{} {reason}", quote(&text)));
        let value = whole_number(&text).ok_or_else(|| wrong("is no whole number"))?;
        if !range.contains(&value) {
            return Err(wrong(&format!("is not within {} to {}", range.start(), range.end())));
        }
        Ok(value)
    }

    /// A double, as a number or in a string; in a string also `NaN`, `Infinity` and `-Infinity`.
    fn double(&mut self) -> Result<f64, Fault> {
        let is_text = self.cursor.next()? == Next::Text;
        let offset = self.cursor.offset();
        let text = self.numeric("a number")?;
        match &*text {
            "NaN" if is_text => return Ok(f64::NAN),
            "Infinity" if is_text => return Ok(f64::INFINITY),
            "-Infinity" if is_text => return Ok(f64::NEG_INFINITY),
            _ => {}
        }
        let value = if is_numeric(&text) { text.parse::<f64>().ok() } else { None };
        match value {
            Some(value) if value.is_finite() => Ok(value),
            Some(_) => Err(Fault::fatal(offset, format!("{} is too large for a double", quote(&text)))),
            None => Err(Fault::fatal(offset, format!("{} is no number", quote(&text)))),
        }
    }

    /// The text of a number or a string.
    fn numeric(&mut self, wanted: &str) -> Result<Cow<'_, str>, Fault> {
        match self.cursor.next()? {
            Next::Number => self.cursor.number().map(Cow::Borrowed),
            Next::Text => self.cursor.string(),
            found => Err(Fault::fatal(self.cursor.offset(), format!("expected {wanted}, found {}", found.name()))),
        }
    }

    /// `length` bytes in hex, or none. Anything else is the item's fault (reliability B7).
    fn id(&mut self, length: usize) -> Result<Vec<u8>, Fault> {
        self.cursor.next()?;
        let offset = self.cursor.offset();
        let text = self.cursor.string()?;
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let id = hex::decode(text.as_bytes()).ok().filter(|id| id.len() == length);
        id.ok_or_else(|| {
            let reason = format!("{} is no id of {} hexadecimal digits", quote(&text), 2 * length);
            Fault::item(offset, BAD_ID, reason)
        })
    }

    /// Bytes in either alphabet of base64, padded or not. Anything else is the item's fault (reliability B14).
    fn base64(&mut self) -> Result<Vec<u8>, Fault> {
        const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent);
        const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
        const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);
        self.cursor.next()?;
        let offset = self.cursor.offset();
        let text = self.cursor.string()?;
        let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
        engine
            .decode(text.as_bytes())
            .map_err(|error| Fault::item(offset, "decode", format!("{} is no base64: {error}", quote(&text))))
    }
}

const BAD_ID: &str = "bad_id";

/// The text as it is named in a message: in backticks, cut to 64 characters.
fn quote(text: &str) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(64).collect();
    let rest = if chars.next().is_some() { "…" } else { "" };
    format!("`{head}{rest}`")
}

/// Whether a text consists of what numbers consist of.
fn is_numeric(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E'))
}

/// The whole number that `text` is: all its digits, or a decimal number or exponent that a double has exactly.
fn whole_number(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.len() <= 32 && digits.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok();
    }
    if !is_numeric(text) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i128)
}

/// Whether `key` is `camel` in snake_case.
fn is_snake_case(key: &str, camel: &str) -> bool {
    let mut rest = key.bytes();
    camel.bytes().all(|byte| {
        let is_upper = byte.is_ascii_uppercase();
        (!is_upper || rest.next() == Some(b'_')) && rest.next() == Some(byte.to_ascii_lowercase())
    }) && rest.next().is_none()
}
