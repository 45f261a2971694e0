//! The batch ids that are known, on disk: blocks of ids, each with its checksum, appended at every flush before the
//! log is trimmed. What is damaged is skipped, and said: its batches could then be stored a second time.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64;

use super::disk::replace;
use crate::{
    Error,
    dedup::{Dedup, KNOWN_BYTES, Known},
};

const MAGIC: [u8; 4] = *b"dmid";
const HEADER: usize = 16;
/// Ids of one block at most.
const BLOCK_IDS: usize = 4096;

/// The file.
#[derive(Debug)]
pub(crate) struct DedupLog {
    path: PathBuf,
    /// `None` after a failed write: the next one writes the file anew.
    file: Option<File>,
    /// Ids in it, forgotten ones included.
    ids: usize,
}

impl DedupLog {
    /// Opens the file and tells `dedup` what is in it; answers the bytes that were damaged.
    pub(crate) fn open(directory: &Path, dedup: &Dedup) -> Result<(Self, u64), Error> {
        let path = directory.join("BATCHES");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::file("read", &path)(error)),
        };
        let (mut at, mut damaged, mut ids) = (0, 0, 0);
        while at < bytes.len() {
            match block(&bytes[at..]) {
                Some(known) => {
                    known.chunks_exact(KNOWN_BYTES).filter_map(|id| id.first_chunk()).for_each(|id| {
                        dedup.remember(Known::from_bytes(id), false);
                        ids += 1;
                    });
                    at += HEADER + known.len();
                }
                None => {
                    let next = bytes[at + 1..].windows(4).position(|window| window == MAGIC);
                    let end = next.map_or(bytes.len(), |next| at + 1 + next);
                    damaged += (end - at) as u64;
                    at = end;
                }
            }
        }
        // A damaged file is written anew with the next ids.
        let file = match damaged {
            0 => Some(OpenOptions::new().create(true).append(true).open(&path).map_err(Error::file("open", &path))?),
            _ => None,
        };
        Ok((Self { path, file, ids }, damaged))
    }

    /// Makes the ids that were committed since the last call durable.
    pub(crate) fn write(&mut self, dedup: &Dedup) -> Result<(), Error> {
        let new = dedup.take_new();
        if new.is_empty() && self.file.is_some() {
            return Ok(());
        }
        let written = self.write_ids(&new, dedup);
        if written.is_err() {
            self.file = None;
            dedup.give_back(new);
        }
        written
    }

    fn write_ids(&mut self, new: &[Known], dedup: &Dedup) -> Result<(), Error> {
        let many = self.ids + new.len() > 3 * dedup.len() + BLOCK_IDS;
        if let Some(file) = self.file.as_mut().filter(|_| !many) {
            file.write_all(&blocks(new)).and_then(|()| file.sync_data()).map_err(Error::file("write", &self.path))?;
            self.ids += new.len();
            return Ok(());
        }
        let all = dedup.all();
        replace(&self.path, &blocks(&all))?;
        let file = OpenOptions::new().append(true).open(&self.path).map_err(Error::file("open", &self.path))?;
        self.file = Some(file);
        self.ids = all.len();
        Ok(())
    }
}

fn blocks(ids: &[Known]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ids.len() * KNOWN_BYTES + HEADER);
    for ids in ids.chunks(BLOCK_IDS) {
        let content: Vec<u8> = ids.iter().flat_map(|id| id.to_bytes()).collect();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&u32::try_from(ids.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&xxh3_64(&content).to_le_bytes());
        bytes.extend_from_slice(&content);
    }
    bytes
}

/// The ids of the block that begins here.
fn block(bytes: &[u8]) -> Option<&[u8]> {
    let header = bytes.first_chunk::<HEADER>()?;
    let [m0, m1, m2, m3, c0, c1, c2, c3, sum @ ..] = *header;
    let count = u32::from_le_bytes([c0, c1, c2, c3]) as usize;
    if [m0, m1, m2, m3] != MAGIC || count > BLOCK_IDS {
        return None;
    }
    let content = bytes.get(HEADER..HEADER + count * KNOWN_BYTES)?;
    (xxh3_64(content) == u64::from_le_bytes(sum)).then_some(content)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::dedup::{Answer, Window};

    fn dedup() -> std::sync::Arc<Dedup> {
        Dedup::new(Window { batches: 1_000_000, time: Duration::from_secs(1) })
    }

    fn id(n: u32) -> devmesh_schema::BatchId {
        format!("b{n}").parse().unwrap()
    }

    #[test]
    fn ids_are_known_after_a_restart_and_a_damaged_block_costs_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let before = dedup();
        let (mut log, _) = DedupLog::open(directory.path(), &before).unwrap();
        for n in 0..3 {
            let Answer::New(reservation) = before.reserve(&id(n), &Bytes::new()) else { panic!("new") };
            reservation.commit(n, 1, 0);
            log.write(&before).unwrap();
        }
        let after = dedup();
        assert_eq!(DedupLog::open(directory.path(), &after).unwrap().1, 0);
        assert_eq!(after.all(), before.all());
        let path = directory.path().join("BATCHES");
        let mut bytes = fs::read(&path).unwrap();
        bytes[HEADER + KNOWN_BYTES + HEADER + 5] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let after = dedup();
        let (mut log, damaged) = DedupLog::open(directory.path(), &after).unwrap();
        assert_eq!(damaged, (HEADER + KNOWN_BYTES) as u64);
        assert!(matches!(after.reserve(&id(0), &Bytes::new()), Answer::Stored(_)));
        assert!(matches!(after.reserve(&id(1), &Bytes::new()), Answer::New(_)));
        assert!(matches!(after.reserve(&id(2), &Bytes::new()), Answer::Stored(_)));
        log.write(&after).unwrap();
        assert_eq!(DedupLog::open(directory.path(), &dedup()).unwrap().1, 0, "written anew");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("BATCHES"), &bytes).unwrap();
            DedupLog::open(directory.path(), &dedup()).unwrap();
        }
    }
}
