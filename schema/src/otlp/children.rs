//! Messages of which a record has several: events, links, exemplars. They are stored as they came, in one column.

use std::borrow::Cow;

use super::{
    DecodeError,
    check::Message,
    columns::Bytes,
    wire::{Reader, put_varint},
};
use crate::limits;

/// The column of one kind of them, and those of the item that is being read.
#[derive(Debug)]
pub(super) struct Children<'a> {
    message: &'static Message,
    list: Vec<Reader<'a>>,
    beyond: u32,
    pub(super) column: Bytes,
}

impl<'a> Children<'a> {
    pub(super) fn new(message: &'static Message) -> Self {
        Self { message, list: Vec::new(), beyond: 0, column: Bytes::new() }
    }

    /// Begins an item.
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.beyond = 0;
    }

    /// Adds a message to the item; those beyond [`limits::SPAN_CHILDREN`] are counted alone.
    pub(super) fn add(&mut self, message: Reader<'a>) {
        if self.list.len() < limits::SPAN_CHILDREN {
            self.list.push(message);
        } else {
            self.beyond = self.beyond.saturating_add(1);
        }
    }

    /// Writes the messages of the item with their lengths. Returns how many there were beyond the limit.
    pub(super) fn push(&mut self, row: usize, repaired: &mut u64) -> Result<u32, DecodeError> {
        self.push_with(row, repaired, as_it_is)
    }

    /// The same, with each message changed before.
    pub(super) fn push_with(
        &mut self,
        row: usize,
        repaired: &mut u64,
        change: impl Fn(Cow<'_, [u8]>) -> Result<Cow<'_, [u8]>, DecodeError>,
    ) -> Result<u32, DecodeError> {
        if self.list.is_empty() {
            return Ok(0);
        }
        for child in &self.list {
            let bytes = change(self.message.checked(*child, repaired)?)?;
            let out = self.column.writer(row);
            put_varint(out, bytes.len() as u64);
            out.extend_from_slice(&bytes);
        }
        self.column.close();
        Ok(self.beyond)
    }
}

fn as_it_is(message: Cow<'_, [u8]>) -> Result<Cow<'_, [u8]>, DecodeError> {
    Ok(message)
}
