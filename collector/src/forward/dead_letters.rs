//! Batches that no server takes: kept as files, for a person to look at and to send again.
//!
//! `{number}-{signal}.otlp` is the export request, `{number}-{signal}.json` says when and why it was given up. The
//! directory is bounded: when it is full a further batch is only counted and named in the log.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use crate::queue::write_atomically;

/// A directory of dead letters.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    directory: Arc<Path>,
    max_bytes: u64,
}

impl DeadLetters {
    /// Dead letters in `directory`, which is made when the first one comes, of at most `max_bytes`.
    pub fn new(directory: PathBuf, max_bytes: u64) -> Self {
        Self { directory: directory.into(), max_bytes }
    }

    /// Keeps a batch. What cannot be kept is named in the log.
    pub(crate) async fn keep(&self, number: u64, signal: &'static str, id: String, request: Bytes, reason: &str) {
        let (letters, why) = (self.clone(), reason.to_owned());
        let kept = tokio::task::spawn_blocking(move || letters.write(number, signal, &id, &request, &why)).await;
        match kept.map_err(io::Error::other).flatten() {
            Ok(()) => {}
            Err(error) => tracing::error!(directory = %self.directory.display(), %error, "a dead letter is lost"),
        }
    }

    fn write(&self, number: u64, signal: &str, id: &str, request: &[u8], reason: &str) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let mut held = 0;
        for entry in fs::read_dir(&self.directory)? {
            held += entry?.metadata()?.len();
        }
        if held + request.len() as u64 > self.max_bytes {
            return Err(io::Error::other(format!("the directory holds {held} of {} bytes", self.max_bytes)));
        }
        let file = self.directory.join(format!("{number:020}-{signal}"));
        let note = serde_json::json!({
            "batch_id": id,
            "signal": signal,
            "bytes": request.len(),
            "reason": reason,
            "time": jiff::Timestamp::now().to_string(),
        });
        write_atomically(&file.with_extension("otlp"), request)?;
        write_atomically(&file.with_extension("json"), format!("{note:#}\n").as_bytes())
    }
}
