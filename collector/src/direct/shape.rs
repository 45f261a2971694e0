//! The shapes of a body on the direct path: an object with a list (`{"logs":[…]}`), a list, or one record a line (NDJSON).
//!
//! Told apart by the first byte that is no white space, and for an object by its keys. Records are found one after the
//! other, so that a body is in memory once.

use super::{
    fields::{Bad, DECODE},
    json::{Fault, Reader},
};

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Counted from 0; blank lines don't count.
    pub(super) index: u64,
    /// Counted from 1, in NDJSON.
    pub(super) line: Option<u64>,
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `{"logs":[…]}`.
    Envelope,
    /// `[…]`.
    List,
    /// A record a line; one record alone too.
    Lines,
    /// `{"resourceSpans":[…]}`.
    Otlp,
}

/// Why a body has none of the shapes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ShapeError {
    #[error("the body is no JSON: {0}")]
    Syntax(#[from] Fault),
    #[error("the body is no UTF-8 from byte {0} on")]
    NotUtf8(usize),
    #[error("the body is empty: send {{\"{0}\":[…]}}, a list of records, or one record a line")]
    Empty(&'static str),
    #[error("the body is no object with a list `{0}`: send {{\"{0}\":[…]}}, a list of records, or one record a line")]
    Other(&'static str),
    #[error("no line of the body is a record: send {{\"{0}\":[…]}}, a list of records, or one record a line")]
    NoRecord(&'static str),
    #[error("the body starts with a byte order mark: send it as UTF-8 without one")]
    ByteOrderMark,
}

/// Says what a body is. `list` is the envelope's key, `known` a key that every record has.
pub(super) fn shape(body: &[u8], list: &'static str, known: &str, lines: bool) -> Result<Shape, ShapeError> {
    if body.starts_with("\u{feff}".as_bytes()) {
        return Err(ShapeError::ByteOrderMark);
    }
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace()).ok_or(ShapeError::Empty(list))?;
    if lines {
        return Ok(Shape::Lines);
    }
    match first {
        b'[' => Ok(Shape::List),
        b'{' => object(body, list, known),
        _ => {
            text(body)?;
            Err(ShapeError::Other(list))
        }
    }
}

/// The body as text.
pub(super) fn text(body: &[u8]) -> Result<&str, ShapeError> {
    std::str::from_utf8(body).map_err(|error| ShapeError::NotUtf8(error.valid_up_to()))
}

fn object(body: &[u8], list: &'static str, known: &str) -> Result<Shape, ShapeError> {
    // A line may be no UTF-8 without breaking the others.
    let more_lines =
        body.trim_ascii().split(|byte| *byte == b'\n').skip(1).any(|line| line.trim_ascii().starts_with(b"{"));
    let whole = std::str::from_utf8(body);
    let valid = match &whole {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&body[..error.valid_up_to()]).unwrap_or_default(),
    };
    let mut reader = Reader::new(valid);
    let found = first_object(&mut reader, list, known);
    match found {
        Ok(Found::List) => text(body).map(|_| Shape::Envelope),
        Ok(Found::Otlp) => text(body).map(|_| Shape::Otlp),
        Ok(Found::NoList) => Err(ShapeError::Other(list)),
        Ok(Found::Record) => Ok(Shape::Lines),
        Ok(Found::Object) if more_lines && reader.peek().is_some() => Ok(Shape::Lines),
        Ok(Found::Object) => text(body).and(Err(ShapeError::Other(list))),
        Err(_) if more_lines => Ok(Shape::Lines),
        Err(fault) => text(body).and(Err(fault.into())),
    }
}

/// What an object is by its keys.
enum Found {
    List,
    /// The envelope's key, but no list under it.
    NoList,
    Otlp,
    Record,
    Object,
}

fn first_object(reader: &mut Reader<'_>, list: &str, known: &str) -> Result<Found, Fault> {
    reader.take(b'{');
    let (mut first, mut found) = (true, Found::Object);
    while reader.more(first, b'}')? {
        first = false;
        let key = reader.key()?;
        if key == list {
            return Ok(if reader.peek() == Some(b'[') { Found::List } else { Found::NoList });
        }
        if key == "resourceSpans" && list == "spans" {
            return Ok(Found::Otlp);
        }
        if key == known {
            found = Found::Record;
        }
        reader.skip()?;
    }
    Ok(found)
}

/// Calls `take` with each record's text, or with what is wrong with its line.
///
/// # Errors
/// The body as a whole is no JSON: nothing of it may be used.
pub(super) fn records<'a>(
    body: &'a [u8],
    shape: Shape,
    list: &'static str,
    mut take: impl FnMut(Place, Result<&'a str, Bad>),
) -> Result<(), ShapeError> {
    if shape == Shape::Lines {
        lines(body, take);
        return Ok(());
    }
    let mut reader = Reader::new(text(body)?);
    if shape == Shape::List {
        elements(&mut reader, &mut take)?;
    } else {
        reader.take(b'{');
        let (mut first, mut done) = (true, false);
        while reader.more(first, b'}')? {
            first = false;
            if reader.key()? != list {
                reader.skip()?;
            } else if std::mem::replace(&mut done, true) {
                return Err(reader.fault("the list a second time").into());
            } else {
                elements(&mut reader, &mut take)?;
            }
        }
    }
    match reader.peek() {
        None => Ok(()),
        Some(_) => Err(reader.fault("more after the end of the body").into()),
    }
}

fn elements<'a>(reader: &mut Reader<'a>, take: &mut impl FnMut(Place, Result<&'a str, Bad>)) -> Result<(), Fault> {
    if !reader.take(b'[') {
        return Err(reader.fault("expected a list"));
    }
    let mut index = 0;
    while reader.more(index == 0, b']')? {
        take(Place { index, line: None }, Ok(reader.skip()?));
        index += 1;
    }
    Ok(())
}

fn lines<'a>(body: &'a [u8], mut take: impl FnMut(Place, Result<&'a str, Bad>)) {
    let mut index = 0;
    for (number, line) in (1..).zip(body.split(|byte| *byte == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let place = Place { index, line: Some(number) };
        take(place, std::str::from_utf8(line).map_err(|_utf8| Bad::new(DECODE, "the line is no UTF-8")));
        index += 1;
    }
}
