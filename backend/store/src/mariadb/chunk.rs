//! The records of one INSERT, whole: a format byte and an Arrow IPC stream of the stored rows, compressed by zstd.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::{reader::StreamDecoder, writer::StreamWriter};
use arrow_schema::ArrowError;
use devmesh_schema::{Signal, concat::concat};

/// The byte that the data begins with.
const FORMAT: u8 = 1;
/// How hard zstd tries: level 1 takes a microsecond a record.
const LEVEL: i32 = 1;
/// Bytes of a chunk's stream before compression, at most: what a request can become with all its columns, many times over.
const BYTES: usize = 1 << 30;
/// Rows of a chunk: one that is looked up costs the reading of its chunk, some 100 KiB and less than a millisecond.
pub(super) const ROWS: usize = 1024;
/// Bytes of rows in memory that make a chunk, if there are not enough rows: it has to fit into a packet.
const MEMORY: usize = 4 << 20;

/// Where in a block a chunk lies, and what of the block's batches it is.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    /// Counted over the block.
    pub(super) first_row: u32,
    /// Rows of the block's batches, in order.
    pub(super) parts: Vec<RecordBatch>,
}

impl Slice {
    pub(super) fn rows(&self) -> usize {
        self.parts.iter().map(RecordBatch::num_rows).sum()
    }

    /// The rows as one batch, whose dictionaries have what these rows use and no more.
    pub(super) fn joined(&self, signal: Signal) -> Result<RecordBatch, ArrowError> {
        match self.parts.as_slice() {
            // Joining two leaves behind what neither uses.
            [single] if single.num_rows() > 1 => {
                let half = single.num_rows() / 2;
                concat(signal, &[&single.slice(0, half), &single.slice(half, single.num_rows() - half)])
            }
            parts => concat(signal, &parts.iter().collect::<Vec<_>>()),
        }
    }

    /// The slice in two; `None` where it has but one row.
    pub(super) fn halves(&self) -> Option<[Slice; 2]> {
        let half = self.rows() / 2;
        if half == 0 {
            return None;
        }
        let mut first = Slice { first_row: self.first_row, parts: Vec::new() };
        let mut second = Slice { first_row: self.first_row + half as u32, parts: Vec::new() };
        let mut left = half;
        for part in &self.parts {
            let here = part.num_rows().min(left);
            left -= here;
            if here > 0 {
                first.parts.push(part.slice(0, here));
            }
            if here < part.num_rows() {
                second.parts.push(part.slice(here, part.num_rows() - here));
            }
        }
        Some([first, second])
    }
}

/// Cuts the rows of a block that are not in the database yet into chunks. `have`: first row and rows of what is there.
pub(super) fn slices(batches: &[Arc<RecordBatch>], have: &[(u32, u32)]) -> Vec<Slice> {
    let mut slices: Vec<Slice> = Vec::new();
    let mut open: Option<(Slice, usize)> = None;
    let mut at = 0u32;
    for batch in batches {
        let bytes = batch.get_array_memory_size() / batch.num_rows().max(1);
        let mut row = 0;
        while row < batch.num_rows() {
            let here = at + row as u32;
            let there = have.iter().find(|(first, rows)| (*first..first.saturating_add(*rows)).contains(&here));
            if let Some((first, rows)) = there {
                slices.extend(open.take().map(|(slice, _)| slice));
                row += (first + rows - here) as usize;
                continue;
            }
            let until = have.iter().map(|(first, _)| *first).filter(|first| *first > here).min();
            let (slice, room) = open.get_or_insert((Slice { first_row: here, parts: Vec::new() }, MEMORY));
            let fit = (*room / bytes.max(1)).max(1).min(ROWS.saturating_sub(slice.rows()).max(1));
            let take = fit.min(batch.num_rows() - row).min(until.map_or(usize::MAX, |until| (until - here) as usize));
            slice.parts.push(batch.slice(row, take));
            *room = room.saturating_sub(take * bytes);
            row += take;
            if *room < bytes || slice.rows() >= ROWS {
                slices.extend(open.take().map(|(slice, _)| slice));
            }
        }
        at = at.saturating_add(batch.num_rows() as u32);
    }
    slices.extend(open.map(|(slice, _)| slice));
    slices
}

/// Writes rows as a chunk's data.
///
/// # Errors
/// A column has a type that Arrow IPC lacks.
pub(super) fn encode(rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut stream = Vec::with_capacity(rows.get_array_memory_size());
    let mut writer = StreamWriter::try_new(&mut stream, rows.schema_ref())?;
    writer.write(rows)?;
    writer.finish()?;
    drop(writer);
    let mut data = vec![FORMAT];
    data.extend_from_slice(&(stream.len() as u64).to_le_bytes());
    let packed = zstd::bulk::compress(&stream, LEVEL).map_err(|e| ArrowError::IoError(e.to_string(), e))?;
    data.extend_from_slice(&packed);
    Ok(data)
}

/// Bytes of a chunk's rows in memory; 0 of data that is none.
pub(super) fn bytes(data: &[u8]) -> usize {
    let length = data.get(1..).and_then(|rest| rest.first_chunk::<8>()).map(|length| u64::from_le_bytes(*length));
    length.and_then(|length| usize::try_from(length).ok()).unwrap_or_default()
}

/// Reads a chunk's data.
///
/// # Errors
/// It is damaged, or of a later version.
pub(super) fn decode(data: &[u8]) -> Result<RecordBatch, ArrowError> {
    let wrong = |what: &str| ArrowError::ParseError(format!("data of devmesh_chunks: {what}"));
    let Some((&format, rest)) = data.split_first() else { return Err(wrong("it is empty")) };
    if format != FORMAT {
        return Err(wrong(&format!("format {format} is of a later version of devmesh")));
    }
    let (length, packed) = rest.split_first_chunk::<8>().ok_or_else(|| wrong("it is cut off"))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > BYTES {
        return Err(wrong("it is too long"));
    }
    let stream = zstd::bulk::decompress(packed, length).map_err(|e| ArrowError::IoError(e.to_string(), e))?;
    let mut buffer = Buffer::from_vec(stream);
    let mut decoder = StreamDecoder::new();
    let mut rows = None;
    while !buffer.is_empty() {
        if let Some(batch) = decoder.decode(&mut buffer)? {
            rows = Some(batch);
        }
    }
    rows.ok_or_else(|| wrong("it has no rows"))
}
