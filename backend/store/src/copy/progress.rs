//! How far a copy is, in a file of JSON lines. A line that was cut short by a crash is as if it had not been written: its
//! window is begun or done once more, which changes nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use devmesh_schema::{Signal, TimestampNs};
use serde::{Deserialize, Serialize};

use super::rows::Sum;
use crate::Error;

/// Version of the lines.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Copy { version: u32, id: String, title: String },
    Signal(Header),
    Begin(Begun),
    Done(Window),
    Verified,
}

/// What there is of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    #[serde(with = "signal_name")]
    pub(crate) signal: Signal,
    /// The first row's time.
    pub(crate) start: TimestampNs,
    /// Exclusive.
    pub(crate) end: TimestampNs,
    /// About.
    pub(crate) rows: u64,
    /// Whether the target had no rows in this range before.
    pub(crate) fresh: bool,
}

/// A window that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begun {
    #[serde(with = "signal_name")]
    pub(crate) signal: Signal,
    pub(crate) start: TimestampNs,
    pub(crate) end: TimestampNs,
    pub(crate) parts: u32,
    /// What the target had in it before.
    pub(crate) before: Sum,
}

/// A window that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    #[serde(with = "signal_name")]
    pub(crate) signal: Signal,
    pub(crate) start: TimestampNs,
    pub(crate) end: TimestampNs,
    pub(crate) before: Sum,
    pub(crate) copied: Sum,
}

/// The open file, and what it says.
#[derive(Debug)]
pub(crate) struct Progress {
    path: PathBuf,
    file: File,
    id: String,
    headers: Vec<Header>,
    begun: Vec<Begun>,
    windows: Vec<Window>,
    verified: bool,
}

impl Progress {
    /// Opens the file of the copy called `title`, or begins it.
    ///
    /// # Errors
    /// It cannot be read or written, or belongs to another copy.
    pub(crate) fn open(path: &Path, title: &str) -> Result<Self, Error> {
        let text = match fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::file("read", path)(error)),
        };
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(Error::file("open", path))?;
        let mut progress = Self {
            path: path.to_owned(),
            file,
            id: String::new(),
            headers: Vec::new(),
            begun: Vec::new(),
            windows: Vec::new(),
            verified: false,
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        progress.file.set_len(whole as u64).map_err(Error::file("truncate", path))?;
        for (number, line) in text[..whole].lines().enumerate() {
            let line = serde_json::from_str(line).map_err(|error| Error::Format {
                path: path.to_owned(),
                reason: format!("line {}: {error}; remove the file to begin the copy anew", number + 1),
            })?;
            progress.take(line, title)?;
        }
        if progress.id.is_empty() {
            progress.id = uuid::Uuid::new_v4().simple().to_string();
            let (id, title) = (progress.id.clone(), title.to_owned());
            progress.put(&Line::Copy { version: VERSION, id, title })?;
            crate::front::disk::sync_directory_of(path)?;
        }
        Ok(progress)
    }

    fn take(&mut self, line: Line, title: &str) -> Result<(), Error> {
        match line {
            Line::Copy { version, .. } if version > VERSION => {
                let reason = "a later devmesh wrote it; use that one".to_owned();
                return Err(Error::Format { path: self.path.clone(), reason });
            }
            Line::Copy { title: other, .. } if other != title => {
                let reason = format!("this is the progress of another copy: {other}");
                return Err(Error::Format { path: self.path.clone(), reason });
            }
            Line::Copy { id, .. } => self.id = id,
            Line::Signal(header) => self.headers.push(header),
            Line::Begin(begun) => self.begun.push(begun),
            Line::Done(window) => self.windows.push(window),
            Line::Verified => self.verified = true,
        }
        Ok(())
    }

    /// Adds a line that a crash does not take away.
    fn put(&mut self, line: &Line) -> Result<(), Error> {
        let text = serde_json::to_string(line).map_err(|error| Error::Database(error.to_string()))?;
        let written = self.file.write_all(format!("{text}\n").as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(Error::file("write", &self.path))
    }

    /// What the ids of the copy's batches begin with.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn header(&self, signal: Signal) -> Option<Header> {
        self.headers.iter().find(|header| header.signal == signal).copied()
    }

    pub(crate) fn set_header(&mut self, header: &Header) -> Result<(), Error> {
        self.put(&Line::Signal(*header))?;
        self.headers.push(*header);
        Ok(())
    }

    /// The window that was begun last, where it is not done.
    pub(crate) fn begun(&self, signal: Signal) -> Option<Begun> {
        let last = self.begun.iter().rfind(|begun| begun.signal == signal)?;
        let done = self.windows.iter().rfind(|window| window.signal == signal);
        done.is_none_or(|done| done.start < last.start).then_some(*last)
    }

    pub(crate) fn begin(&mut self, begun: &Begun) -> Result<(), Error> {
        self.put(&Line::Begin(*begun))?;
        self.begun.push(*begun);
        Ok(())
    }

    pub(crate) fn done(&mut self, begun: &Begun, copied: Sum) -> Result<(), Error> {
        let Begun { signal, start, end, before, .. } = *begun;
        let window = Window { signal, start, end, before, copied };
        self.put(&Line::Done(window))?;
        self.windows.push(window);
        Ok(())
    }

    /// The windows that are written, oldest first.
    pub(crate) fn windows(&self, signal: Signal) -> impl Iterator<Item = Window> {
        self.windows.iter().filter(move |window| window.signal == signal).copied()
    }

    /// Whether the whole copy was done and verified.
    pub(crate) fn verified(&self) -> bool {
        self.verified
    }

    pub(crate) fn set_verified(&mut self) -> Result<(), Error> {
        if self.verified {
            return Ok(());
        }
        self.put(&Line::Verified)?;
        self.verified = true;
        Ok(())
    }
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
