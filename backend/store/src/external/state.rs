//! What has to be known after a crash: who this log is to the database, up to where the database has its records, and
//! which block is on its way there.
//!
//! One line of JSON behind its checksum, replaced as a whole. Where it is damaged the log's own mark says up to where
//! records were handed over, and the log goes on under a new name: a block that was on its way may then be there twice.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use devmesh_schema::TimestampNs;
use devmesh_wal::Seq;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Error, front::disk::replace};

/// Version of the line. A later one is refused.
const VERSION: u32 = 1;

/// What is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    version: u32,
    /// The id of this log.
    pub(super) writer: String,
    /// The record up to which the database has all.
    pub(super) stored: Seq,
    /// The block behind it that was begun.
    pub(super) begun: Option<Begun>,
    /// Times before which records are forgotten, in the order of [`devmesh_schema::Signal::ALL`].
    pub(super) horizon: [TimestampNs; 3],
}

/// A block that the database may have or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// Its last record.
    pub(super) last: Seq,
    /// Times before which records were left out of it.
    pub(super) horizon: [TimestampNs; 3],
}

/// The file.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    pub(super) state: State,
}

impl StateFile {
    /// Reads the file in `directory`, or makes it; `trimmed` is up to where the log says that it is done. Answers whether
    /// it was damaged.
    pub(super) fn open(directory: &Path, trimmed: Seq) -> Result<(Self, bool), Error> {
        let path = directory.join("STATE");
        let found = match fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::file("read", &path)(error)),
        };
        if let Some(state) = found.as_deref().and_then(parse) {
            if state.version > VERSION {
                let reason =
                    format!("version {} is later than {VERSION}; use the devmesh that wrote it", state.version);
                return Err(Error::Format { path, reason });
            }
            return Ok((Self { path, state }, false));
        }
        if found.is_some() {
            let copies = directory.join("quarantine");
            fs::create_dir_all(&copies).map_err(Error::file("create", &copies))?;
            let copy = copies.join(format!("STATE-{}", uuid::Uuid::new_v4().simple()));
            fs::copy(&path, &copy).map_err(Error::file("copy", &path))?;
            tracing::error!(copy = %copy.display(), "the file STATE is damaged: begun anew behind what the log says");
        }
        let writer = uuid::Uuid::new_v4().simple().to_string();
        let state = State { version: VERSION, writer, stored: trimmed, begun: None, horizon: [TimestampNs::MIN; 3] };
        let mut file = Self { path, state: state.clone() };
        file.write(state)?;
        Ok((file, found.is_some()))
    }

    /// Makes a change durable, then known.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut State)) -> Result<(), Error> {
        let mut state = self.state.clone();
        change(&mut state);
        self.write(state)
    }

    fn write(&mut self, state: State) -> Result<(), Error> {
        // Numbers and texts can always be written.
        let json = serde_json::to_string(&state).unwrap_or_default();
        replace(&self.path, format!("{:016x} {json}\n", xxh3_64(json.as_bytes())).as_bytes())?;
        self.state = state;
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> Option<State> {
    let (sum, json) = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.split_once(' ')?;
    let right = u64::from_str_radix(sum, 16).ok()? == xxh3_64(json.as_bytes());
    right.then(|| serde_json::from_str(json).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_known_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let (mut file, damaged) = StateFile::open(directory.path(), 7).unwrap();
        assert_eq!((file.state.stored, damaged, file.state.writer.len()), (7, false, 32));
        let begun = Begun { last: 12, horizon: [1, 2, i64::MIN] };
        file.change(|state| (state.stored, state.begun) = (9, Some(begun))).unwrap();
        let (again, damaged) = StateFile::open(directory.path(), 0).unwrap();
        assert_eq!((again.state, damaged), (file.state, false));
    }

    #[test]
    fn a_damaged_file_is_kept_and_the_log_gets_a_new_name() {
        let directory = tempfile::tempdir().unwrap();
        let (file, _) = StateFile::open(directory.path(), 7).unwrap();
        let mut bytes = fs::read(&file.path).unwrap();
        bytes[30] ^= 1;
        fs::write(&file.path, &bytes).unwrap();
        let (again, damaged) = StateFile::open(directory.path(), 5).unwrap();
        assert!(damaged && again.state.writer != file.state.writer);
        assert_eq!(again.state.stored, 5);
        assert_eq!(fs::read_dir(directory.path().join("quarantine")).unwrap().count(), 1);
    }

    #[test]
    fn a_later_version_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (mut file, _) = StateFile::open(directory.path(), 0).unwrap();
        file.change(|state| state.version = VERSION + 1).unwrap();
        assert!(StateFile::open(directory.path(), 0).unwrap_err().to_string().contains("later than"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            drop(parse(&bytes));
        }
    }
}
