//! The protobuf wire format: a reader that borrows, and the few functions that write.
//!
//! [`Reader`] walks the fields of one message and knows where in the request it stands, so that every error names a
//! byte. It never allocates and never recurses: who reads a nested message makes a reader for it with
//! [`Reader::enter`]. Groups are refused, as proto3 has none; unknown fields are the caller's to pass over.

use super::DecodeError;

/// What stands behind a field's tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire<'a> {
    /// Wire type 0: `int32`, `int64`, `uint32`, `uint64`, `sint32`, `bool`, enums.
    Varint(u64),
    /// Wire type 1: `fixed64`, `sfixed64`, `double`.
    Fixed64(u64),
    /// Wire type 2: strings, bytes, messages, packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 5: `fixed32`.
    Fixed32(u32),
}

/// Reads the fields of one message, in the order of the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// The offset in the request of the message's end.
    end: usize,
}

impl<'a> Reader<'a> {
    /// A reader of a message that starts at byte 0.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message, end: message.len() }
    }

    /// A reader of a message that starts at byte `offset` of the request.
    pub fn at(message: &'a [u8], offset: usize) -> Self {
        Self { rest: message, end: offset.saturating_add(message.len()) }
    }

    /// A reader of the message that [`Reader::field`] has just returned.
    pub fn enter(&self, message: &'a [u8]) -> Self {
        Self { rest: message, end: self.offset() }
    }

    /// Where in the request the next field starts.
    pub fn offset(&self) -> usize {
        self.end.saturating_sub(self.rest.len())
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether the message is at its end.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// An error at the present place.
    #[cold]
    pub fn error(&self, reason: &str) -> DecodeError {
        DecodeError { offset: self.offset(), reason: reason.into() }
    }

    /// The next field's number and value; `None` at the end of the message.
    ///
    /// # Errors
    /// The bytes end within the field, a varint has more than 64 bits, the field number is 0 or the wire type is a
    /// group's or none.
    #[inline]
    pub fn field(&mut self) -> Result<Option<(u32, Wire<'a>)>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = match u32::try_from(key >> 3) {
            Ok(number) if number > 0 && key <= u64::from(u32::MAX) => number,
            _ => return Err(self.error("invalid field number")),
        };
        let value = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(self.fixed64()?),
            2 => Wire::Bytes(self.bytes()?),
            5 => Wire::Fixed32(self.fixed32()?),
            3 | 4 => return Err(self.error("groups are not supported")),
            _ => return Err(self.error("invalid wire type")),
        };
        Ok(Some((number, value)))
    }

    /// A varint.
    ///
    /// # Errors
    /// The bytes end within it, or it has more than 64 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        if let [byte, rest @ ..] = self.rest
            && *byte < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for (i, byte) in self.rest.iter().enumerate().take(10) {
            if i == 9 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7F) << (7 * i);
            if *byte < 0x80 {
                self.rest = self.rest.get(i + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(self.error(if self.rest.len() < 10 { "varint is cut off" } else { "varint has more than 64 bits" }))
    }

    /// Eight bytes, little endian.
    ///
    /// # Errors
    /// Fewer are left.
    #[inline]
    pub fn fixed64(&mut self) -> Result<u64, DecodeError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<8>() else {
            return Err(self.error("message is cut off"));
        };
        self.rest = rest;
        Ok(u64::from_le_bytes(*head))
    }

    /// Four bytes, little endian.
    ///
    /// # Errors
    /// Fewer are left.
    #[inline]
    pub fn fixed32(&mut self) -> Result<u32, DecodeError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<4>() else {
            return Err(self.error("message is cut off"));
        };
        self.rest = rest;
        Ok(u32::from_le_bytes(*head))
    }

    /// Bytes with their length before them.
    ///
    /// # Errors
    /// Fewer are left than the length says.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.varint()?;
        let Some((head, rest)) = usize::try_from(length).ok().and_then(|n| self.rest.split_at_checked(n)) else {
            return Err(self.error("length reaches beyond the message"));
        };
        self.rest = rest;
        Ok(head)
    }
}

impl<'a> Wire<'a> {
    /// The varint.
    ///
    /// # Errors
    /// Another wire type stands here.
    #[inline]
    pub fn varint(self, reader: &Reader<'_>) -> Result<u64, DecodeError> {
        match self {
            Wire::Varint(value) => Ok(value),
            _ => Err(reader.error("field has another wire type than varint")),
        }
    }

    /// The eight bytes.
    ///
    /// # Errors
    /// Another wire type stands here.
    #[inline]
    pub fn fixed64(self, reader: &Reader<'_>) -> Result<u64, DecodeError> {
        match self {
            Wire::Fixed64(value) => Ok(value),
            _ => Err(reader.error("field has another wire type than 64 bit")),
        }
    }

    /// The four bytes.
    ///
    /// # Errors
    /// Another wire type stands here.
    #[inline]
    pub fn fixed32(self, reader: &Reader<'_>) -> Result<u32, DecodeError> {
        match self {
            Wire::Fixed32(value) => Ok(value),
            _ => Err(reader.error("field has another wire type than 32 bit")),
        }
    }

    /// The bytes of a string, a message or a packed field.
    ///
    /// # Errors
    /// Another wire type stands here.
    #[inline]
    pub fn bytes(self, reader: &Reader<'_>) -> Result<&'a [u8], DecodeError> {
        match self {
            Wire::Bytes(value) => Ok(value),
            _ => Err(reader.error("field has another wire type than bytes")),
        }
    }

    /// The low 32 bits of the varint, as protobuf reads `uint32`.
    ///
    /// # Errors
    /// Another wire type stands here.
    #[inline]
    pub fn uint32(self, reader: &Reader<'_>) -> Result<u32, DecodeError> {
        Ok(self.varint(reader)? as u32)
    }

    /// The low 32 bits of the varint, as protobuf reads `int32` and enums.
    ///
    /// # Errors
    /// Another wire type stands here.
    #[inline]
    pub fn int32(self, reader: &Reader<'_>) -> Result<i32, DecodeError> {
        Ok(self.varint(reader)? as i32)
    }
}

/// Writes a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes [`put_varint`] writes.
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Writes field `number` as a varint, 0 too.
pub fn put_uint(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// Writes field `number` as eight bytes, 0 too.
pub fn put_fixed64(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes field `number` as four bytes, 0 too.
pub fn put_fixed32(out: &mut Vec<u8>, number: u32, value: u32) {
    put_varint(out, u64::from(number) << 3 | 5);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes the tag and the length of field `number`; `length` bytes have to follow.
pub fn put_head(out: &mut Vec<u8>, number: u32, length: usize) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, length as u64);
}

/// Writes field `number` as bytes, string or message, an empty one too.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    put_head(out, number, value.len());
    out.extend_from_slice(value);
}

/// Writes field `number` as the message that `write` writes.
pub fn put_message(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_varint(out, u64::from(number) << 3 | 2);
    let start = out.len();
    out.push(0);
    write(out);
    let length = (out.len() - start - 1) as u64;
    let extra = varint_len(length) - 1;
    if extra > 0 {
        out.resize(out.len() + extra, 0);
        out.copy_within(start + 1..start + 1 + length as usize, start + 1 + extra);
    }
    let mut rest = length;
    for i in 0..=extra {
        let more = if i < extra { 0x80 } else { 0 };
        if let Some(byte) = out.get_mut(start + i) {
            *byte = (rest & 0x7F) as u8 | more;
        }
        rest >>= 7;
    }
}

/// Appends a field as it was read.
pub fn put_field(out: &mut Vec<u8>, number: u32, value: Wire<'_>) {
    match value {
        Wire::Varint(value) => put_uint(out, number, value),
        Wire::Fixed64(value) => put_fixed64(out, number, value),
        Wire::Bytes(value) => put_bytes(out, number, value),
        Wire::Fixed32(value) => put_fixed32(out, number, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_read_as_they_are_written() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, u64::from(u32::MAX), u64::MAX >> 1, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value));
            assert_eq!(Reader::new(&out).varint().unwrap(), value);
            for cut in 0..out.len() {
                assert!(Reader::new(&out[..cut]).varint().is_err());
            }
        }
    }

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused() {
        let mut bytes = vec![0xFF; 9];
        bytes.push(2);
        assert_eq!(Reader::new(&bytes).varint().unwrap_err().reason, "varint has more than 64 bits");
        assert!(Reader::new(&[0x80; 20]).varint().is_err());
    }

    #[test]
    fn a_message_gets_the_length_that_was_written() {
        for length in [0usize, 1, 127, 128, 16_383, 16_384, 70_000] {
            let mut out = Vec::new();
            put_message(&mut out, 3, |out| out.resize(out.len() + length, 7));
            let mut expected = Vec::new();
            put_bytes(&mut expected, 3, &vec![7; length]);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn errors_name_the_byte() {
        let table: [(&[u8], usize, &str); 5] = [
            (&[0x08], 1, "varint is cut off"),
            (&[0x0A, 5, 1], 2, "length reaches beyond the message"),
            (&[0x0B], 1, "groups are not supported"),
            (&[0x0F], 1, "invalid wire type"),
            (&[0x00], 1, "invalid field number"),
        ];
        for (bytes, offset, reason) in table {
            let error = Reader::new(bytes).field().unwrap_err();
            assert_eq!((error.offset, error.reason.as_str()), (offset, reason), "{bytes:?}");
        }
    }
}
