//! Which files are the table: the one record that decides.
//!
//! The manifest is a text file, one line an [`Edit`]: a checksum and JSON. A line is appended and synced once the files
//! it names are; only then is the log trimmed. A file that no line names is garbage, a file that is named is whole. With
//! too many lines the file is written anew beside and renamed.
//!
//! If its last line is torn, or it is damaged elsewhere, or gone, it is built again from the files, each of which says what it is ([`Meta`]).

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use devmesh_schema::{Signal, TimestampNs};
use devmesh_wal::Seq;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::index::IndexPlace;
use crate::{Error, front::disk::replace};

/// Version of the lines. A later one is refused.
pub(crate) const VERSION: u32 = 2;
/// Lines beyond which the manifest is written anew, if they are also many more than there are files.
const LINES: usize = 512;

/// Where a file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    /// In the data directory.
    Local,
    /// In the object store.
    Remote,
}

/// What a Parquet file says of itself, in its key-value metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Version of this text.
    pub(crate) version: u32,
    #[serde(with = "signal_name")]
    pub(crate) signal: Signal,
    /// The record of the log before the first one whose rows it has.
    pub(crate) after: Seq,
    /// The last record of the log whose rows it has.
    pub(crate) last: Seq,
    /// How many files hold the rows of these records; 0 for a file made of other files.
    pub(crate) of: u32,
    /// When the youngest of its rows was written to a file: retention counts from here for records that were old when
    /// they came.
    #[serde(default)]
    pub(crate) written: TimestampNs,
}

#[derive(Serialize, Deserialize)]
struct MetaText {
    #[serde(flatten)]
    meta: Meta,
    index: IndexPlace,
    time: (TimestampNs, TimestampNs),
}

impl Meta {
    /// The key of the metadata.
    pub(crate) const KEY: &'static str = "devmesh";

    pub(crate) fn to_text(&self, index: IndexPlace, time: (TimestampNs, TimestampNs)) -> String {
        // A struct of numbers and names can always be written.
        serde_json::to_string(&MetaText { meta: self.clone(), index, time }).unwrap_or_default()
    }

    pub(crate) fn from_text(text: &str) -> Option<(Meta, IndexPlace, (TimestampNs, TimestampNs))> {
        let text: MetaText = serde_json::from_str(text).ok()?;
        (text.meta.version <= VERSION).then_some((text.meta, text.index, text.time))
    }
}

/// A live file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its path below the data directory, and below the prefix in the object store: `tables/logs/2026-11-21/ID.parquet`.
    pub(crate) path: String,
    pub(crate) place: Place,
    pub(crate) size: u64,
    pub(crate) rows: u64,
    /// Least and greatest time, both inclusive.
    pub(crate) time: (TimestampNs, TimestampNs),
    /// xxh3 of all its bytes.
    pub(crate) checksum: u64,
    pub(crate) index: Option<IndexPlace>,
    #[serde(flatten)]
    pub(crate) meta: Meta,
}

impl Entry {
    /// The directory of its day.
    pub(crate) fn partition(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(directory, _)| directory)
    }
}

/// One line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Edit {
    pub(crate) version: u32,
    /// The record up to which the log is done with, where that changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wal: Option<Seq>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) add: Vec<Entry>,
    /// Paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) remove: Vec<String>,
    /// Times before which records are forgotten, where they change; in the order of [`Signal::ALL`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) horizon: Option<[TimestampNs; 3]>,
}

/// The sum of all lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) wal: Seq,
    pub(crate) files: BTreeMap<String, Entry>,
    pub(crate) horizon: [TimestampNs; 3],
}

impl Default for State {
    fn default() -> Self {
        Self { wal: 0, files: BTreeMap::new(), horizon: [TimestampNs::MIN; 3] }
    }
}

impl State {
    pub(crate) fn apply(&mut self, edit: &Edit) {
        if let Some(wal) = edit.wal {
            self.wal = wal;
        }
        for path in &edit.remove {
            self.files.remove(path);
        }
        for entry in &edit.add {
            self.files.insert(entry.path.clone(), entry.clone());
        }
        if let Some(horizon) = edit.horizon {
            self.horizon = horizon;
        }
    }

    fn as_edit(&self) -> Edit {
        Edit {
            version: VERSION,
            wal: Some(self.wal),
            add: self.files.values().cloned().collect(),
            remove: Vec::new(),
            horizon: Some(self.horizon),
        }
    }

    /// The whole state as one line, as it is kept in the object store.
    pub(crate) fn to_line(&self) -> Vec<u8> {
        line(&self.as_edit())
    }
}

/// What was found at the start.
#[derive(Debug)]
pub(crate) enum Found {
    /// No manifest.
    Missing,
    /// One whose lines are whole, but perhaps for the last.
    Whole {
        /// Bytes of a last line that is torn.
        torn: u64,
    },
    /// A line before the last is not as it was written; what the lines before it say.
    Damaged {
        /// The line, from 1.
        line: usize,
    },
}

/// The open manifest.
#[derive(Debug)]
pub(crate) struct Manifest {
    path: PathBuf,
    /// `None` after a failed write: the next commit writes the file anew.
    file: Option<File>,
    lines: usize,
    pub(crate) state: State,
}

impl Manifest {
    /// Reads the manifest in `directory`. One that is missing or damaged is made with [`Manifest::rewrite`].
    ///
    /// # Errors
    /// It cannot be read, or a later version wrote it.
    pub(crate) fn open(directory: &Path) -> Result<(Self, Found), Error> {
        let path = directory.join("MANIFEST");
        let mut manifest = Self { path: path.clone(), file: None, lines: 0, state: State::default() };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((manifest, Found::Missing)),
            Err(error) => return Err(Error::file("read", &path)(error)),
        };
        let mut at = 0;
        while let Some(end) = bytes[at..].iter().position(|byte| *byte == b'\n') {
            let Some(edit) = parse_line(&bytes[at..at + end]) else { break };
            if edit.version > VERSION {
                let reason = format!("version {} is later than {VERSION}; use the devmesh that wrote it", edit.version);
                return Err(Error::Format { path, reason });
            }
            manifest.state.apply(&edit);
            manifest.lines += 1;
            at += end + 1;
        }
        let rest = &bytes[at..];
        // What a crash tears is the end of the last line. Whole lines after it, or no line at all, are damage.
        let more = rest.iter().position(|byte| *byte == b'\n').is_some_and(|end| end + 1 < rest.len());
        if more || manifest.lines == 0 {
            let line = manifest.lines + 1;
            return Ok((manifest, Found::Damaged { line }));
        }
        let torn = rest.len() as u64;
        if torn == 0 {
            let file = OpenOptions::new().append(true).open(&path).map_err(Error::file("open", &path))?;
            manifest.file = Some(file);
        }
        Ok((manifest, Found::Whole { torn }))
    }

    /// Makes an edit durable, then part of the state.
    ///
    /// # Errors
    /// It could not be written: the state is as before, and stays so after a crash as soon as a later edit succeeds. The
    /// caller keeps the files of the edit and tries again.
    pub(crate) fn commit(&mut self, edit: Edit) -> Result<(), Error> {
        let edit = Edit { version: VERSION, ..edit };
        let many = self.lines > LINES && self.lines > 4 * self.state.files.len();
        let Some(file) = self.file.as_mut().filter(|_| !many) else {
            let before = self.state.clone();
            self.state.apply(&edit);
            return self.rewrite().inspect_err(|_| self.state = before);
        };
        let written = file.write_all(&line(&edit)).and_then(|()| file.sync_data());
        if let Err(error) = written {
            self.file = None;
            return Err(Error::file("write", &self.path)(error));
        }
        self.lines += 1;
        self.state.apply(&edit);
        Ok(())
    }

    /// Writes the whole state beside and puts it in the manifest's place.
    pub(crate) fn rewrite(&mut self) -> Result<(), Error> {
        self.file = None;
        replace(&self.path, &self.state.to_line())?;
        let file = OpenOptions::new().append(true).open(&self.path).map_err(Error::file("open", &self.path))?;
        self.file = Some(file);
        self.lines = 1;
        Ok(())
    }
}

fn line(edit: &Edit) -> Vec<u8> {
    // Numbers, texts and lists of them can always be written.
    let json = serde_json::to_vec(edit).unwrap_or_default();
    let mut line = format!("{:016x} ", xxh3_64(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    line
}

/// One line without its end; `None` where it is not as it was written.
pub(crate) fn parse_line(line: &[u8]) -> Option<Edit> {
    let (sum, json) = (line.get(..16)?, line.get(17..)?);
    let sum = u64::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    if line[16] != b' ' || sum != xxh3_64(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// A signal by its name.
mod signal_name {
    use devmesh_schema::Signal;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(signal: &Signal, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(signal.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Signal, D::Error> {
        let name = String::deserialize(deserializer)?;
        Signal::ALL.into_iter().find(|s| s.name() == name).ok_or_else(|| D::Error::custom("unknown signal"))
    }
}
