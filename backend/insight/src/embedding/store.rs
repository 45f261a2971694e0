//! The vectors on disk: one file, appended to, checksummed, rewritten when much of it is out of date.
//!
//! A header (magic, version, dimensions, name of the model), then records of one size: pattern, hash of the text that was
//! embedded, the floats, CRC-32 over all of it. The last record of a pattern counts. A vector can be computed again, so an
//! append isn't fsynced: after a power cut the torn end is cut off, a damaged record in the middle is left out and counted,
//! and the queue embeds those patterns again. A file of another model, version or size of vector is put aside and begun anew.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::DIMENSIONS;
use crate::{Error, PatternId};

const MAGIC: [u8; 8] = *b"DMVECTOR";
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 4 + 4;
/// Bytes of a record: pattern, text, floats, checksum.
const RECORD: usize = 8 + 8 + DIMENSIONS * 4 + 4;
/// Records that are out of date before the file is rewritten, where they are also more than half of it.
const COMPACT_AFTER: u64 = 1024;

/// An open file of vectors; the owner is its only writer.
#[derive(Debug)]
pub struct VectorFile {
    path: PathBuf,
    file: BufWriter<File>,
    /// The model's name, which is in the header.
    model: String,
    /// Pattern to the hash of its text, for what is in the file.
    texts: HashMap<PatternId, u64>,
    records: u64,
    damaged: u64,
}

/// What stands in a [`VectorFile`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorFileStatus {
    /// Patterns that have a vector.
    pub patterns: u64,
    /// Records, those out of date included.
    pub records: u64,
    /// Records that were left out at the opening because their checksum was wrong.
    pub damaged: u64,
}

/// A vector as it was read: pattern, hash of its text, floats.
pub type StoredVector = (PatternId, u64, Vec<f32>);

impl VectorFile {
    /// Opens or creates the file and reads what is in it, the newest vector of each pattern, in the order of their patterns.
    ///
    /// # Errors
    /// [`Error::Vectors`] where the file can't be read, created or put aside.
    pub fn open(path: &Path, model: &str) -> Result<(Self, Vec<StoredVector>), Error> {
        let io = |what| move |e: std::io::Error| Error::vectors(what, path, e);
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => create(path, model).map_err(io("create"))?,
            Err(e) => return Err(Error::vectors("open", path, e)),
        };
        let mut reader = BufReader::with_capacity(1 << 20, &mut file);
        let known = read_header(&mut reader, model).map_err(io("read"))?;
        if !known {
            let aside = path.with_extension("old");
            std::fs::rename(path, &aside).map_err(io("put aside"))?;
            tracing::warn!(file = %path.display(), aside = %aside.display(), "vectors of another model or version were put aside");
            file = create(path, model).map_err(io("create"))?;
        }
        let (contents, end) = if known {
            read_records(&mut file, model).map_err(io("read"))?
        } else {
            (Contents::default(), header_bytes(model))
        };
        file.set_len(end).map_err(io("cut"))?;
        file.seek(SeekFrom::End(0)).map_err(io("seek in"))?;
        let mut vectors: Vec<StoredVector> = contents.newest.into_iter().map(|(p, (t, v))| (p, t, v)).collect();
        vectors.sort_unstable_by_key(|v| v.0);
        let texts = vectors.iter().map(|v| (v.0, v.1)).collect();
        let (records, damaged) = (contents.records, contents.damaged);
        let opened = Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            model: model.to_owned(),
            texts,
            records,
            damaged,
        };
        Ok((opened, vectors))
    }

    /// The hash of the text whose vector a pattern has.
    pub fn text_of(&self, pattern: PatternId) -> Option<u64> {
        self.texts.get(&pattern).copied()
    }

    /// What stands in the file.
    pub fn status(&self) -> VectorFileStatus {
        VectorFileStatus { patterns: self.texts.len() as u64, records: self.records, damaged: self.damaged }
    }

    /// Appends vectors and hands them to the operating system.
    ///
    /// # Errors
    /// [`Error::Vectors`] where the write fails or a vector hasn't [`DIMENSIONS`] floats.
    pub fn append<'a>(&mut self, vectors: impl IntoIterator<Item = (PatternId, u64, &'a [f32])>) -> Result<(), Error> {
        for (pattern, text, vector) in vectors {
            let record = encode(pattern, text, vector).map_err(|e| Error::vectors("append to", &self.path, e))?;
            self.file.write_all(&record).map_err(|e| Error::vectors("append to", &self.path, e))?;
            self.texts.insert(pattern, text);
            self.records += 1;
        }
        self.file.flush().map_err(|e| Error::vectors("append to", &self.path, e))
    }

    /// Forgets a pattern: its vector goes with the next [`compact`](Self::compact).
    pub fn forget(&mut self, pattern: PatternId) {
        self.texts.remove(&pattern);
    }

    /// Whether [`compact`](Self::compact) would save more than half of the file.
    pub fn wants_compaction(&self) -> bool {
        let old = self.records - self.texts.len() as u64;
        old > COMPACT_AFTER && old * 2 > self.records
    }

    /// Writes the file anew with the newest vector of each pattern that is not forgotten, and puts it in the old one's place
    /// (fsynced before the rename: a power cut leaves one of the two).
    ///
    /// # Errors
    /// [`Error::Vectors`]; the old file then stays.
    pub fn compact(&mut self) -> Result<(), Error> {
        let (path, model) = (self.path.clone(), self.model.clone());
        let io = |e: std::io::Error| Error::vectors("rewrite", &path, e);
        self.file.flush().map_err(io)?;
        let (contents, _) =
            read_records(&mut OpenOptions::new().read(true).open(&path).map_err(io)?, &model).map_err(io)?;
        let next = path.with_extension("new");
        let mut file = BufWriter::new(create(&next, &model).map_err(io)?);
        let mut texts = HashMap::new();
        for (pattern, (text, vector)) in contents.newest.into_iter().filter(|(p, _)| self.texts.contains_key(p)) {
            file.write_all(&encode(pattern, text, &vector).map_err(io)?).map_err(io)?;
            texts.insert(pattern, text);
        }
        file.flush().map_err(io)?;
        file.get_ref().sync_all().map_err(io)?;
        std::fs::rename(&next, &path).map_err(io)?;
        self.records = texts.len() as u64;
        (self.texts, self.file, self.damaged) = (texts, file, 0);
        Ok(())
    }
}

/// The vectors of a file from its beginning to where it ended when it was opened, as they were appended: those out of date
/// and those of forgotten patterns among them. The file may be appended to and rewritten meanwhile.
#[derive(Debug)]
pub struct VectorReader {
    path: PathBuf,
    file: Option<BufReader<File>>,
}

impl VectorReader {
    /// Opens the file; one that isn't there, or is of another model, has no vectors.
    ///
    /// # Errors
    /// [`Error::Vectors`] where it can't be read.
    pub fn open(path: &Path, model: &str) -> Result<Self, Error> {
        let io = |e: std::io::Error| Error::vectors("read", path, e);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { path: path.to_owned(), file: None });
            }
            Err(e) => return Err(io(e)),
        };
        let mut reader = BufReader::with_capacity(1 << 18, file);
        let known = read_header(&mut reader, model).map_err(io)?;
        Ok(Self { path: path.to_owned(), file: Some(reader).filter(|_| known) })
    }
}

impl Iterator for VectorReader {
    type Item = Result<StoredVector, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut record = [0u8; RECORD];
        loop {
            match self.file.as_mut()?.read_exact(&mut record) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => self.file = None,
                Err(e) => {
                    self.file = None;
                    return Some(Err(Error::vectors("read", &self.path, e)));
                }
            }
            // A damaged record was counted when the file was opened to be written.
            if self.file.is_some()
                && let Some(vector) = decode(&record)
            {
                return Some(Ok(vector));
            }
        }
    }
}

fn header_bytes(model: &str) -> u64 {
    (HEADER + model.len()) as u64
}

fn create(path: &Path, model: &str) -> std::io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    let mut header = Vec::with_capacity(HEADER + model.len());
    header.extend_from_slice(&MAGIC);
    for number in [VERSION, DIMENSIONS as u32, model.len() as u32] {
        header.extend_from_slice(&number.to_le_bytes());
    }
    header.extend_from_slice(model.as_bytes());
    file.write_all(&header)?;
    Ok(file)
}

/// Whether the file begins with the header that [`create`] writes for `model`.
fn read_header(file: &mut impl Read, model: &str) -> std::io::Result<bool> {
    let mut header = Vec::new();
    file.take(header_bytes(model)).read_to_end(&mut header)?;
    let number = |at: usize| header.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    Ok(header.starts_with(&MAGIC)
        && number(8) == Some(VERSION)
        && number(12) == Some(DIMENSIONS as u32)
        && number(16) == Some(model.len() as u32)
        && &header[HEADER..] == model.as_bytes())
}

/// What the records of a file come to.
#[derive(Default)]
struct Contents {
    newest: HashMap<PatternId, (u64, Vec<f32>)>,
    records: u64,
    damaged: u64,
}

/// Reads all whole records; returns them and where they end.
fn read_records(file: &mut File, model: &str) -> std::io::Result<(Contents, u64)> {
    let mut end = header_bytes(model);
    file.seek(SeekFrom::Start(end))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut contents = Contents::default();
    let mut record = vec![0u8; RECORD];
    loop {
        match reader.read_exact(&mut record) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok((contents, end)),
            Err(e) => return Err(e),
        }
        end += RECORD as u64;
        contents.records += 1;
        match decode(&record) {
            Some((pattern, text, vector)) => {
                contents.newest.insert(pattern, (text, vector));
            }
            None => contents.damaged += 1,
        }
    }
}

fn encode(pattern: PatternId, text: u64, vector: &[f32]) -> std::io::Result<Vec<u8>> {
    if vector.len() != DIMENSIONS {
        return Err(std::io::Error::other(format!("a vector has {} floats instead of {DIMENSIONS}", vector.len())));
    }
    let mut record = Vec::with_capacity(RECORD);
    record.extend_from_slice(&pattern.to_le_bytes());
    record.extend_from_slice(&text.to_le_bytes());
    for x in vector {
        record.extend_from_slice(&x.to_le_bytes());
    }
    record.extend_from_slice(&crc32fast::hash(&record).to_le_bytes());
    Ok(record)
}

fn decode(record: &[u8]) -> Option<StoredVector> {
    let (body, checksum) = record.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (pattern, body) = body.split_first_chunk::<8>()?;
    let (text, floats) = body.split_first_chunk::<8>()?;
    let (floats, _) = floats.as_chunks::<4>();
    let vector = floats.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Some((u64::from_le_bytes(*pattern), u64::from_le_bytes(*text), vector))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(seed: u32) -> Vec<f32> {
        (0..DIMENSIONS as u32).map(|i| (i * seed) as f32).collect()
    }

    #[test]
    fn vectors_come_back_after_a_restart_and_the_newest_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vectors");
        let (mut file, none) = VectorFile::open(&path, "m").unwrap();
        assert!(none.is_empty());
        file.append([(7, 1, &vector(1)[..]), (3, 1, &vector(2)[..])]).unwrap();
        file.append([(7, 2, &vector(3)[..])]).unwrap();
        assert_eq!(file.text_of(7), Some(2));
        drop(file);
        let all: Vec<_> = VectorReader::open(&path, "m").unwrap().map(Result::unwrap).collect();
        assert_eq!(all, [(7, 1, vector(1)), (3, 1, vector(2)), (7, 2, vector(3))]);
        assert_eq!(VectorReader::open(&path, "another").unwrap().count(), 0);
        assert_eq!(VectorReader::open(&dir.path().join("none"), "m").unwrap().count(), 0);
        let (file, read) = VectorFile::open(&path, "m").unwrap();
        assert_eq!(read, [(3, 1, vector(2)), (7, 2, vector(3))]);
        assert_eq!(file.status(), VectorFileStatus { patterns: 2, records: 3, damaged: 0 });
    }

    #[test]
    fn a_torn_end_is_cut_and_a_damaged_record_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vectors");
        let (mut file, _) = VectorFile::open(&path, "m").unwrap();
        file.append([(1, 1, &vector(1)[..]), (2, 1, &vector(2)[..]), (3, 1, &vector(3)[..])]).unwrap();
        drop(file);
        let mut bytes = std::fs::read(&path).unwrap();
        let second = header_bytes("m") as usize + RECORD;
        bytes[second + 100] ^= 1;
        bytes.extend_from_slice(&[0; RECORD - 1]);
        std::fs::write(&path, &bytes).unwrap();
        let (mut file, read) = VectorFile::open(&path, "m").unwrap();
        assert_eq!(read.iter().map(|v| v.0).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(file.status().damaged, 1);
        file.append([(2, 1, &vector(2)[..])]).unwrap();
        drop(file);
        assert_eq!(VectorFile::open(&path, "m").unwrap().1.len(), 3);
    }

    #[test]
    fn a_file_of_another_model_is_put_aside_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vectors");
        let (mut file, _) = VectorFile::open(&path, "one").unwrap();
        file.append([(1, 1, &vector(1)[..])]).unwrap();
        drop(file);
        assert!(VectorFile::open(&path, "two").unwrap().1.is_empty());
        assert_eq!(VectorFile::open(&path.with_extension("old"), "one").unwrap().1.len(), 1);
    }

    #[test]
    fn compaction_keeps_the_newest_of_the_patterns_that_are_not_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vectors");
        let (mut file, _) = VectorFile::open(&path, "m").unwrap();
        for round in 0..3 * COMPACT_AFTER {
            file.append([(round % 3, round, &vector(round as u32)[..])]).unwrap();
        }
        assert!(file.wants_compaction());
        file.forget(1);
        file.compact().unwrap();
        assert!(!file.wants_compaction());
        file.append([(9, 9, &vector(9)[..])]).unwrap();
        drop(file);
        let (file, read) = VectorFile::open(&path, "m").unwrap();
        assert_eq!(read.iter().map(|v| v.0).collect::<Vec<_>>(), [0, 2, 9]);
        assert_eq!(read[0].2, vector(3 * COMPACT_AFTER as u32 - 3));
        assert_eq!(file.status().records, 3);
    }
}
