//! Small files that a crash leaves whole, and how much room the disk has.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
};

use super::{Back, Shared};
use crate::Error;

/// One writer for a directory.
pub(crate) fn lock(root: &Path) -> Result<File, Error> {
    fs::create_dir_all(root).map_err(Error::file("create", root))?;
    let path = root.join("LOCK");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(Error::file("open", &path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked(root.into())),
        Err(errno) => Err(Error::file("lock", &path)(errno.into())),
    }
}

/// Puts `bytes` in the place of the file, so that a crash leaves the old or the new.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary).map_err(Error::file("create", &temporary))?;
    file.write_all(bytes).map_err(Error::file("write", &temporary))?;
    file.sync_all().map_err(Error::file("sync", &temporary))?;
    fs::rename(&temporary, path).map_err(Error::file("rename", &temporary))?;
    sync_directory_of(path)
}

/// Makes the entry of `path` in its directory durable.
pub(crate) fn sync_directory_of(path: &Path) -> Result<(), Error> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let handle = File::open(directory).map_err(Error::file("open", directory))?;
    handle.sync_all().map_err(Error::file("sync", directory))
}

/// Looks whether the disk has room for writes.
pub(crate) fn watch<B: Back>(shared: &Shared<B>) {
    let full = match rustix::fs::statvfs(&shared.root) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let all = disk.f_blocks.saturating_mul(disk.f_frsize);
            let needed = shared.settings.min_free_disk.min(all / 20);
            (free < needed).then(|| format!("the disk is nearly full: {free} bytes are free, {needed} must stay free"))
        }
        Err(errno) => Some(format!("cannot look at the disk of {}: {errno}", shared.root.display())),
    };
    let mut condition = shared.condition();
    match (&condition.disk, &full) {
        (None, Some(reason)) => tracing::error!(reason, "writes are refused"),
        (Some(_), None) => tracing::info!("the disk has room again: writes are taken"),
        _ => {}
    }
    condition.disk = full;
}
