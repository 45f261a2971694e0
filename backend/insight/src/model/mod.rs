//! The model's files on this machine: which ones there must be, where they come from, whether they are whole.
//!
//! The weights are pinned: a revision of the hub's repository and the SHA-256 of each file. What has another checksum is not
//! used, wherever it came from, so that vectors of two installations are the same.

mod pull;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

pub use pull::{HUB, Progress, copy, pull};

use crate::Error;

/// The only model there is, as answers and the file of vectors name it.
pub const NAME: &str = "all-MiniLM-L6-v2";

/// A file of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelFile {
    /// Its name in the repository and in the directory.
    pub name: &'static str,
    /// Its size in bytes.
    pub bytes: u64,
    /// The SHA-256 of its content in lower-case hex.
    pub sha256: &'static str,
}

/// A model that can be pulled: a revision of a repository of the hub.
#[derive(Debug, Clone, Copy)]
pub struct Manifest {
    /// Its name, which is also its directory's.
    pub name: &'static str,
    /// `owner/name` on the hub.
    pub repository: &'static str,
    /// The commit that is fetched.
    pub revision: &'static str,
    /// Its licence (SPDX).
    pub licence: &'static str,
    /// Its files.
    pub files: &'static [ModelFile],
}

/// all-MiniLM-L6-v2 of sentence-transformers.
pub const MINILM: Manifest = Manifest {
    name: NAME,
    repository: "sentence-transformers/all-MiniLM-L6-v2",
    revision: "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    licence: "Apache-2.0",
    files: &[
        ModelFile {
            name: "config.json",
            bytes: 612,
            sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        },
        ModelFile {
            name: "tokenizer.json",
            bytes: 466_247,
            sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
        ModelFile {
            name: "model.safetensors",
            bytes: 90_868_376,
            sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        },
    ],
};

impl Manifest {
    /// Where the model lies below a directory of models: in a directory of its name, or in `models` itself where that holds
    /// the files (a directory that a person or an image brought along).
    pub fn directory(&self, models: &Path) -> PathBuf {
        let own = models.join(self.name);
        let is_here = |dir: &Path| self.files.iter().all(|f| dir.join(f.name).is_file());
        if !is_here(&own) && is_here(models) { models.to_owned() } else { own }
    }

    /// What is there of the model below a directory of models, by presence and size; the content is not read.
    pub fn installed(&self, models: &Path) -> Installed {
        let directory = self.directory(models);
        let missing: Vec<&'static str> =
            self.files.iter().filter(|f| !has_size(&directory, f)).map(|f| f.name).collect();
        let bytes = self.files.iter().map(|f| f.bytes).sum();
        Installed { name: self.name, revision: self.revision, licence: self.licence, directory, bytes, missing }
    }

    /// Reads every file of the model and compares its checksum.
    ///
    /// # Errors
    /// [`Error::Model`] where a file can't be read, [`Error::Checksum`] where it is another (the file stays).
    pub fn verify(&self, models: &Path) -> Result<(), Error> {
        let directory = self.directory(models);
        for file in self.files {
            let path = directory.join(file.name);
            let found = sha256(&path).map_err(|e| Error::model("read a file", &path, e))?;
            if found != file.sha256 {
                return Err(Error::Checksum { file: path, found, expected: file.sha256 });
            }
        }
        Ok(())
    }
}

/// A model of a directory, as `devmesh model list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// Its name.
    pub name: &'static str,
    /// The pinned revision.
    pub revision: &'static str,
    /// Its licence (SPDX).
    pub licence: &'static str,
    /// Where it lies or would lie.
    pub directory: PathBuf,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Files that are not there, or not whole; empty where it can be used.
    pub missing: Vec<&'static str>,
}

impl Installed {
    /// Whether all files are there in their size.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}

/// The models there are, below a directory of models.
pub fn list(models: &Path) -> Vec<Installed> {
    vec![MINILM.installed(models)]
}

fn has_size(directory: &Path, file: &ModelFile) -> bool {
    std::fs::metadata(directory.join(file.name)).is_ok_and(|m| m.is_file() && m.len() == file.bytes)
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hex::encode(digest.finalize()));
        }
        digest.update(&buffer[..n]);
    }
}
