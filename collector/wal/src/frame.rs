//! The layout of a segment. All numbers are little-endian.
//!
//! A segment begins with a header of [`HEADER`] bytes:
//!
//! | bytes | content |
//! |---|---|
//! | 0–7 | `devmwal\n` |
//! | 8–11 | format version |
//! | 12–27 | identity of the log |
//! | 28–35 | generation: counts the segments ever begun |
//! | 36–43 | sequence number of the first record |
//! | 44–59 | zero |
//! | 60–63 | CRC-32 of bytes 0–59 |
//!
//! Frames follow, each at a multiple of [`ALIGN`]:
//!
//! | bytes | content |
//! |---|---|
//! | 0–3 | length of the payload |
//! | 4–7 | CRC-32 of the payload |
//! | 8–15 | sequence number |
//! | 16–19 | how many frames of the same commit stand before it |
//! | 20–23 | CRC-32 of bytes 0–19, seeded with the log's identity and the generation |
//! | 24– | payload, then zeros up to the next multiple |
//!
//! The header's own checksum makes it cheap to find the next frame after damage, and its seed makes sure that neither a
//! record that contains such a frame nor what a file held in an earlier life is taken for one. Zeros are the end.

use crate::Seq;

/// The version of the format that this crate writes.
pub(crate) const VERSION: u32 = 1;
/// Bytes of a segment's header.
pub(crate) const HEADER: u64 = 64;
/// Bytes of a frame's header.
pub(crate) const FRAME: u64 = 24;
/// Frames begin at multiples of this.
pub(crate) const ALIGN: u64 = 8;

const MAGIC: &[u8; 8] = b"devmwal\n";

/// The identity of a log: 16 random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogId(pub(crate) [u8; 16]);

impl std::fmt::Display for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for LogId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() != 32 || !text.is_ascii() {
            return Err(());
        }
        let mut id = [0; 16];
        for (at, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_not_hex| ())?;
        }
        Ok(Self(id))
    }
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) version: u32,
    pub(crate) log: LogId,
    pub(crate) generation: u64,
    pub(crate) first: Seq,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER as usize] {
        let mut out = [0; HEADER as usize];
        out[0..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&self.version.to_le_bytes());
        out[12..28].copy_from_slice(&self.log.0);
        out[28..36].copy_from_slice(&self.generation.to_le_bytes());
        out[36..44].copy_from_slice(&self.first.to_le_bytes());
        let crc = crc32fast::hash(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// `None` where the bytes are no whole header.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER as usize] = bytes.try_into().ok()?;
        if &bytes[0..8] != MAGIC || u32_at(bytes, 60) != crc32fast::hash(&bytes[..60]) {
            return None;
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[12..28]);
        Some(Self {
            version: u32_at(bytes, 8),
            log: LogId(id),
            generation: u64_at(bytes, 28),
            first: u64_at(bytes, 36),
        })
    }
}

/// The seed of the frame headers' checksum in one segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(log: LogId, generation: u64) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&log.0);
        hasher.update(&generation.to_le_bytes());
        Self(hasher.finalize())
    }

    fn hash(self, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// The header of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) length: u32,
    pub(crate) crc: u32,
    pub(crate) seq: Seq,
    /// How many frames of the same commit stand before it.
    pub(crate) member: u32,
}

impl FrameHeader {
    pub(crate) fn encode(&self, seed: Seed) -> [u8; FRAME as usize] {
        let mut out = [0; FRAME as usize];
        out[0..4].copy_from_slice(&self.length.to_le_bytes());
        out[4..8].copy_from_slice(&self.crc.to_le_bytes());
        out[8..16].copy_from_slice(&self.seq.to_le_bytes());
        out[16..20].copy_from_slice(&self.member.to_le_bytes());
        let crc = seed.hash(&out[..20]);
        out[20..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// `None` where the bytes are no header of this segment.
    pub(crate) fn decode(bytes: &[u8], seed: Seed) -> Option<Self> {
        let bytes: &[u8; FRAME as usize] = bytes.try_into().ok()?;
        let seq = u64_at(bytes, 8);
        if seq == 0 || u32_at(bytes, 20) != seed.hash(&bytes[..20]) {
            return None;
        }
        Some(Self { length: u32_at(bytes, 0), crc: u32_at(bytes, 4), seq, member: u32_at(bytes, 16) })
    }

    /// The first sequence number of the commit it belongs to.
    pub(crate) fn group(&self) -> Seq {
        self.seq.saturating_sub(u64::from(self.member))
    }

    /// Bytes of the whole frame with its padding.
    pub(crate) fn extent(&self) -> u64 {
        extent(u64::from(self.length))
    }
}

/// Bytes of a frame with a payload of `length` bytes, with its padding.
pub(crate) fn extent(length: u64) -> u64 {
    (FRAME + length).next_multiple_of(ALIGN)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}
