//! Records of the log that cannot be decoded: set aside, counted, passed over.

use std::{
    fs::{self, File},
    io::Write,
};

use super::{Back, Shared};
use crate::Error;

/// Keeps a copy of a record in a file of its own.
pub(crate) fn keep_record<B: Back>(shared: &Shared<B>, seq: u64, bytes: &[u8], reason: &str) -> Result<(), Error> {
    tracing::error!(seq, reason, "a record of the log cannot be decoded: set aside");
    let directory = shared.quarantine_dir();
    fs::create_dir_all(&directory).map_err(Error::file("create", &directory))?;
    let path = directory.join(format!("record-{seq}.bin"));
    let mut file = File::create(&path).map_err(Error::file("create", &path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::file("write", &path))?;
    shared.count_quarantined(1, bytes.len() as u64);
    Ok(())
}
