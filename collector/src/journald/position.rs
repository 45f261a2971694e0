//! How far the journal was read: a small file, replaced atomically, with its last version beside it.
//!
//! Before a batch is given away its bounds are written here, and after it was taken, the position itself. So after a
//! crash in between the same batch is made again, of the same entries and under the same id, and stored once.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::entry::Cursor;
use crate::queue::write_atomically;

/// Bytes of a position file that are read.
const FILE_BYTES: u64 = 64 << 10;

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The last entry that was taken over.
    pub cursor: Option<String>,
    /// Where there is none: from when on, µs since the epoch.
    pub since: u64,
    /// The batch that is being given away.
    pub pending: Option<Pending>,
}

/// The bounds of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The cursor of its first entry.
    pub first: String,
    /// The cursor of its last entry.
    pub last: String,
    /// How many entries.
    pub count: usize,
    /// The record of lost entries that it begins with.
    pub gap: Option<Gap>,
}

/// Entries that the journal deleted before they were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// µs since the epoch of the last entry before.
    pub from: u64,
    /// And of the first one after.
    pub to: u64,
    /// How many, where the journal's numbering says so.
    pub count: Option<u64>,
}

impl Position {
    /// The cursor, where it is one.
    pub fn cursor(&self) -> Option<Cursor> {
        Cursor::parse(self.cursor.as_deref()?)
    }
}

/// The file.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
}

impl File {
    /// The file at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn backup(&self) -> PathBuf {
        let mut path = self.path.as_os_str().to_owned();
        path.push(".bak");
        path.into()
    }

    /// Reads it, or the version before where it is damaged or missing. `None`: begin anew.
    pub fn load(&self) -> Option<Position> {
        let (file, backup) = (self.path.clone(), self.backup());
        match read(&file) {
            Ok(Some(position)) => return Some(position),
            Ok(None) => tracing::warn!(file = %file.display(), "the journal position is damaged: using the one before"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(file = %file.display(), %error, "cannot read the journal position"),
        }
        read(&backup).ok().flatten()
    }

    /// Writes it durably.
    ///
    /// # Errors
    /// The disk's answer; the file is as it was.
    pub fn save(&self, position: &Position) -> io::Result<()> {
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent)?;
        }
        let text = serde_json::to_string(position).map_err(io::Error::other)?;
        match fs::rename(&self.path, self.backup()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        write_atomically(&self.path, text.as_bytes())
    }
}

/// `None` where the content is no position. A cursor alone, as other shippers keep it, is one.
fn read(path: &Path) -> io::Result<Option<Position>> {
    if fs::metadata(path)?.len() > FILE_BYTES {
        return Ok(None);
    }
    let bytes = fs::read(path)?;
    let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(None) };
    if let Some(cursor) = Cursor::parse(text.trim()) {
        return Ok(Some(Position { cursor: Some(cursor.text), ..Position::default() }));
    }
    let position: Option<Position> = serde_json::from_str(text).ok();
    Ok(position.filter(|position| position.cursor.is_none() || position.cursor().is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSOR: &str = "s=7fb0;i=4;b=bbbb;m=3eb;t=660c9275dd209;x=af02";

    #[test]
    fn a_damaged_file_gives_way_to_the_version_before() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::new(dir.path().join("deep/journald.cursor"));
        assert_eq!(file.load(), None);
        let first = Position { since: 5, ..Position::default() };
        let pending = Pending { first: CURSOR.into(), last: CURSOR.into(), count: 1, gap: None };
        let second = Position { cursor: Some(CURSOR.into()), since: 5, pending: Some(pending) };
        file.save(&first).unwrap();
        assert_eq!(file.load(), Some(first.clone()));
        file.save(&second).unwrap();
        assert_eq!(file.load(), Some(second));
        for damage in [&b""[..], b"{\"cursor\":\"s=7f", b"\xff\xfe", b"{\"cursor\":\"rubbish\",\"since\":1}"] {
            fs::write(&file.path, damage).unwrap();
            assert_eq!(file.load(), Some(first.clone()), "{damage:?}");
        }
        fs::remove_file(&file.path).unwrap();
        assert_eq!(file.load(), Some(first));
        fs::write(file.backup(), b"x").unwrap();
        assert_eq!(file.load(), None);
    }

    #[test]
    fn the_plain_cursor_of_another_shipper_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::new(dir.path().join("cursor"));
        fs::write(&file.path, format!("{CURSOR}\n")).unwrap();
        assert_eq!(file.load().unwrap().cursor().unwrap().number, 4);
    }
}
