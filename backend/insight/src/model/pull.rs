//! Fetching a model from the hub, or from a mirror that keeps its paths.
//!
//! A file is written beside its place as `NAME.part`. A pull that was broken off goes on where it stopped (HTTP ranges); one
//! whose server can't do that begins anew. Only what has the pinned size and checksum takes the file's name.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;
use ureq::http::{Response, StatusCode};

use super::{Manifest, ModelFile, has_size, sha256};
use crate::Error;

/// Where models come from.
pub const HUB: &str = "https://huggingface.co";

/// How long the hub may take to connect and to answer; the transfer itself may take as long as bytes come.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Broken transfers of one file that are taken up again before the pull fails.
const ATTEMPTS: u32 = 5;

/// How far a pull is, for a progress bar: file, bytes there, bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// Fetches what is missing of a model to its directory below `models`; returns that directory. `source` is [`HUB`] or a
/// mirror's address. Proxies are taken from `HTTPS_PROXY` and its like.
///
/// # Errors
/// [`Error::Fetch`] where the source can't be reached or answers with an error, [`Error::Checksum`] where it sends something
/// else, [`Error::Model`] where a file can't be written.
pub fn pull(manifest: &Manifest, source: &str, models: &Path, progress: Progress<'_>) -> Result<PathBuf, Error> {
    let directory = manifest.directory(models);
    std::fs::create_dir_all(&directory).map_err(|e| Error::model("create the directory", &directory, e))?;
    let config = Agent::config_builder().timeout_connect(Some(ANSWER_TIME)).timeout_recv_response(Some(ANSWER_TIME));
    let agent = Agent::new_with_config(config.http_status_as_error(false).build());
    for file in manifest.files {
        let path = directory.join(file.name);
        if has_size(&directory, file) && is_right(&path, file)? {
            continue;
        }
        let source = source.trim_end_matches('/');
        let url = format!("{source}/{}/resolve/{}/{}", manifest.repository, manifest.revision, file.name);
        Download { agent: &agent, url, file, part: directory.join(format!("{}.part", file.name)) }.run(progress)?;
        let part = directory.join(format!("{}.part", file.name));
        std::fs::rename(&part, &path).map_err(|e| Error::model("put in place a file", &path, e))?;
    }
    Ok(directory)
}

/// Copies what is missing of a model from another directory, as [`pull`] fetches it: `from` holds the files, or a directory of
/// the model's name that does.
///
/// # Errors
/// [`Error::Model`] where a file can't be read or written, [`Error::Checksum`] where it is another.
pub fn copy(manifest: &Manifest, from: &Path, models: &Path, progress: Progress<'_>) -> Result<PathBuf, Error> {
    let (directory, from) = (manifest.directory(models), manifest.directory(from));
    std::fs::create_dir_all(&directory).map_err(|e| Error::model("create the directory", &directory, e))?;
    for file in manifest.files {
        let (path, origin) = (directory.join(file.name), from.join(file.name));
        if has_size(&directory, file) && is_right(&path, file)? {
            continue;
        }
        let part = directory.join(format!("{}.part", file.name));
        progress(file.name, 0, file.bytes);
        std::fs::copy(&origin, &part).map_err(|e| Error::model("copy a file", &origin, e))?;
        let found = sha256(&part).map_err(|e| Error::model("read a file", &part, e))?;
        if found != file.sha256 {
            std::fs::remove_file(&part).map_err(|e| Error::model("remove a file", &part, e))?;
            return Err(Error::Checksum { file: origin, found, expected: file.sha256 });
        }
        progress(file.name, file.bytes, file.bytes);
        std::fs::rename(&part, &path).map_err(|e| Error::model("put in place a file", &path, e))?;
    }
    Ok(directory)
}

fn is_right(path: &Path, file: &ModelFile) -> Result<bool, Error> {
    Ok(sha256(path).map_err(|e| Error::model("read a file", path, e))? == file.sha256)
}

struct Download<'a> {
    agent: &'a Agent,
    url: String,
    file: &'a ModelFile,
    part: PathBuf,
}

impl Download<'_> {
    /// Leaves the whole, right file at `part`.
    fn run(&self, progress: Progress<'_>) -> Result<(), Error> {
        let mut attempt = 1;
        loop {
            match self.transfer(progress) {
                Ok(()) => break,
                Err(e) if attempt >= ATTEMPTS || !matches!(e, Error::Fetch { .. }) => return Err(e),
                Err(e) => tracing::warn!(error = %e, attempt, "the transfer broke; it is taken up again"),
            }
            attempt += 1;
        }
        let found = sha256(&self.part).map_err(|e| self.disk(e))?;
        if found == self.file.sha256 {
            return Ok(());
        }
        std::fs::remove_file(&self.part).map_err(|e| self.disk(e))?;
        Err(Error::Checksum { file: self.part.clone(), found, expected: self.file.sha256 })
    }

    /// One request for what `part` lacks.
    fn transfer(&self, progress: Progress<'_>) -> Result<(), Error> {
        let have = std::fs::metadata(&self.part).map_or(0, |m| m.len());
        if have == self.file.bytes {
            return Ok(());
        }
        let have = if have > self.file.bytes { 0 } else { have };
        let request = self.agent.get(&self.url).header("range", format!("bytes={have}-"));
        let answer = request.call().map_err(|e| self.fetch(e))?;
        let (mut part, have) = self.open(&answer, have)?;
        let mut body = answer.into_body().into_reader();
        let mut buffer = vec![0u8; 1 << 18];
        let mut done = have;
        while done < self.file.bytes {
            progress(self.file.name, done, self.file.bytes);
            match body.read(&mut buffer).map_err(|e| self.fetch(e))? {
                0 => return Err(self.fetch(format!("the transfer ended after {done} of {} bytes", self.file.bytes))),
                n => {
                    // A source that sends more than it should is cut here; the checksum tells.
                    let n = n.min((self.file.bytes - done) as usize);
                    part.write_all(&buffer[..n]).map_err(|e| self.disk(e))?;
                    done += n as u64;
                }
            }
        }
        progress(self.file.name, done, self.file.bytes);
        part.sync_all().map_err(|e| self.disk(e))
    }

    /// The file to write to and where the answer begins.
    fn open<B>(&self, answer: &Response<B>, have: u64) -> Result<(File, u64), Error> {
        let mut options = OpenOptions::new();
        let (options, from) = match answer.status() {
            StatusCode::PARTIAL_CONTENT => (options.append(true).create(true), have),
            StatusCode::OK => (options.write(true).create(true).truncate(true), 0),
            status => return Err(self.refused(status)),
        };
        Ok((options.open(&self.part).map_err(|e| self.disk(e))?, from))
    }

    fn refused(&self, status: StatusCode) -> Error {
        Error::model("fetch", Path::new(&self.url), format!("the source answers {status}"))
    }

    fn fetch(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::fetch(&self.url, cause)
    }

    fn disk(&self, cause: std::io::Error) -> Error {
        Error::model("write", &self.part, cause)
    }
}
