//! Secrets that stand in files of their own, as systemd's credentials and Kubernetes' secrets do.

use std::{io::Read, os::unix::fs::MetadataExt, path::Path};

/// Bytes of such a file: some thousand tokens.
const FILE_BYTES: u64 = 256 << 10;
/// Permissions of users who are neither the owner nor in his group.
const OTHERS: u32 = 0o007;

/// Reads the secret, without the end of its line.
///
/// # Errors
/// The file cannot be read, is empty, holds what is no text, or is open to every user of this machine.
pub fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let failed = |error: std::io::Error| format!("{shown}: {error}");
    let file = std::fs::File::open(path).map_err(failed)?;
    // Of the open file: nobody can put another one in its place in between.
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(format!("{shown}: is a directory"));
    }
    let mode = metadata.mode();
    if mode & OTHERS != 0 {
        return Err(format!(
            "{shown}: every user of this machine can get at it (mode {:04o}); chmod 600",
            mode & 0o7777
        ));
    }
    let mut text = String::new();
    file.take(FILE_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES {
        return Err(format!("{shown}: is larger than {FILE_BYTES} bytes, which no secret is"));
    }
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(format!("{shown}: is empty")),
        secret => Ok(secret.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn k8_a_secret_is_read_without_the_end_of_its_line_and_only_from_a_file_that_is_not_open_to_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (content, mode, expected) in [
            (&b"abc"[..], 0o600, Ok("abc")),
            (b"abc\n", 0o400, Ok("abc")),
            (b"abc\r\n", 0o640, Ok("abc")),
            (b" a b \nc\n\n", 0o600, Ok(" a b \nc")),
            (b"abc", 0o644, Err("every user")),
            (b"abc", 0o602, Err("every user")),
            (b"", 0o600, Err("is empty")),
            (b"\n", 0o600, Err("is empty")),
            (b"\xff\xfe", 0o600, Err("UTF-8")),
            (&[b'x'; 300 << 10], 0o600, Err("larger")),
        ] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match (read(&path), expected) {
                (Ok(found), Ok(secret)) => assert_eq!(found, secret),
                (Err(found), Err(part)) => assert!(found.contains(part) && !found.contains("abc"), "{found}"),
                (found, _) => panic!("{mode:o} {expected:?}: {found:?}"),
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        for path in [dir.path().join("nothing"), dir.path().to_owned()] {
            assert!(read(&path).unwrap_err().contains(path.to_str().unwrap()));
        }
    }
}
