//! A state on disk: replaced as a whole, checked when it is read.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};

/// Bytes of a state that is read back: several times what the largest is.
const BYTES: u64 = 256 << 20;

/// Writes a state beside the old one, then puts it in its place.
///
/// # Errors
/// It could not be written; the old one stays.
pub fn save<T: Serialize>(path: &Path, state: &T) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let beside = path.with_extension("new");
    let mut encoder = zstd::Encoder::new(File::create(&beside)?, 1)?;
    encoder.include_checksum(true)?;
    let mut buffered = io::BufWriter::new(encoder);
    serde_json::to_writer(&mut buffered, state)?;
    let file = buffered.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads a state; `None` where there is none.
///
/// # Errors
/// It cannot be read, or is damaged, or is of another version.
pub fn load<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    zstd::Decoder::new(file)?.take(BYTES).read_to_end(&mut bytes)?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}

/// Writes bytes as they are, for tests of damage.
#[cfg(test)]
pub(crate) fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(path, bytes).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_and_a_damaged_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("insight").join("state");
        assert_eq!(load::<Vec<u64>>(&path).unwrap(), None);
        let state: Vec<u64> = (0..1000).collect();
        save(&path, &state).unwrap();
        save(&path, &state).unwrap();
        assert_eq!(load(&path).unwrap(), Some(state));
        damage(&path);
        assert!(load::<Vec<u64>>(&path).is_err());
    }
}
