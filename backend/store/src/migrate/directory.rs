//! The embedded store's schema: the format of its data directory. There is one so far.
//!
//! `apply` opens the store once and closes it: an older format is brought forward, what a crash left is tidied, and the
//! log goes to files. `validate` reads every file that the manifest names.

use std::{fmt, fs, path::PathBuf};

use async_trait::async_trait;
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, path::Path};

use super::{Difference, Drift, Inventory, Schema, State, Status, Step};
use crate::{
    Error, Settings,
    embedded::{Remote, format},
};

/// The data directory of a store.
#[derive(Debug)]
pub(crate) struct Directory {
    settings: Settings,
    root: PathBuf,
    remote: Option<Remote>,
}

impl Directory {
    pub(crate) fn new(settings: &Settings) -> Result<Self, Error> {
        let url = settings.url.as_str();
        let (root, remote) = match url.split_once("://").unwrap_or(("file", url)) {
            ("file", "") => return Err(Error::Url(format!("{url}: name a directory, as in file://./data"))),
            ("file", rest) => (PathBuf::from(rest), None),
            ("s3", rest) => (settings.data_dir.clone(), Some(crate::open::s3(rest, &settings.s3)?)),
            (other, _) => {
                return Err(Error::Url(format!(
                    "unsupported scheme {other}:// in a store's URL; known: file, s3, mariadb, clickhouse"
                )));
            }
        };
        Ok(Self { settings: settings.clone(), root, remote })
    }

    /// The objects of the store's bucket below its prefix that are ours, with their bytes.
    async fn objects(&self) -> Result<Vec<(Path, u64)>, Error> {
        let Some(remote) = &self.remote else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for directory in ["tables", "MANIFEST"] {
            let prefix = remote.path(directory);
            let mut list = remote.store.list(Some(&prefix));
            while let Some(object) = list.try_next().await? {
                found.push((object.location, object.size));
            }
            // A listing is of what lies below a prefix, not of the object of that name.
            if let Ok(object) = remote.store.head(&prefix).await {
                found.push((object.location, object.size));
            }
        }
        Ok(found)
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.settings.url)
    }
}

#[async_trait]
impl Schema for Directory {
    async fn create(&self) -> Result<bool, Error> {
        let missing = !self.root.exists();
        fs::create_dir_all(&self.root).map_err(Error::file("create", &self.root))?;
        Ok(missing)
    }

    async fn apply(&self) -> Result<Vec<Step>, Error> {
        let before = self.status().await?;
        check(&self.to_string(), &before)?;
        if before.is_current() {
            return Ok(Vec::new());
        }
        let store = crate::open(&self.settings).await?;
        store.close().await?;
        let made = |step: &Step| before.steps.iter().any(|old| old.version == step.version && old.state != step.state);
        Ok(self.status().await?.steps.into_iter().filter(made).collect())
    }

    async fn status(&self) -> Result<Status, Error> {
        let found = format::version(&self.root)?;
        let step = |version, name: &str| Step {
            version,
            name: name.to_owned(),
            state: if found.is_some_and(|found| found >= version) { State::Applied } else { State::Pending },
            statements: (0, 0),
            at: None,
            by: String::new(),
            checksum: String::new(),
            note: None,
        };
        let mut steps: Vec<Step> = format::FORMATS.iter().map(|format| step(format.version, format.name)).collect();
        let latest = steps.last().map_or(0, |step| step.version);
        if let Some(later) = found.filter(|found| *found > latest) {
            let note = Some("unknown to this version: a later devmesh made it".to_owned());
            steps.push(Step { note, ..step(later, "?") });
        }
        Ok(Status { exists: self.root.is_dir(), steps })
    }

    async fn validate(&self) -> Result<Vec<Drift>, Error> {
        let status = self.status().await?;
        check(&self.to_string(), &status)?;
        super::history::current(&self.to_string(), &status)?;
        let _lock = format::lock(&self.root)?;
        let damage = format::damage(&self.root, self.remote.clone()).await?;
        let drift = |(file, expected, found): (String, String, Option<String>)| Drift {
            what: format!("file {file}"),
            difference: match found {
                Some(found) => Difference::Changed { expected, found },
                None => Difference::Missing { expected },
            },
        };
        Ok(damage.into_iter().map(drift).collect())
    }

    async fn inventory(&self) -> Result<Inventory, Error> {
        let mut items: Vec<String> = format::ours(&self.root)?
            .into_iter()
            .map(|(name, bytes)| format!("{}: {bytes} bytes", self.root.join(name).display()))
            .collect();
        let objects = self.objects().await?;
        if !objects.is_empty() {
            let bytes: u64 = objects.iter().map(|(_, bytes)| bytes).sum();
            items.push(format!("{}: {} objects, {bytes} bytes", self.settings.url, objects.len()));
        }
        Ok(Inventory { items, foreign: None })
    }

    async fn reset(&self) -> Result<(), Error> {
        if !self.root.is_dir() {
            return Ok(());
        }
        let lock = format::lock(&self.root)?;
        for (name, _) in format::ours(&self.root)? {
            let path = self.root.join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(Error::file("remove", path))?;
        }
        if let Some(remote) = &self.remote {
            for (object, _) in self.objects().await? {
                remote.store.delete(&object).await?;
            }
        }
        drop(lock);
        Ok(())
    }
}

/// Refuses a later format.
fn check(store: &str, status: &Status) -> Result<(), Error> {
    match status.steps.iter().find(|step| step.note.is_some()) {
        Some(step) => Err(Error::Database(format!(
            "{store} has format version {}, made by a later devmesh; this devmesh {} knows versions up to {}. Use that \
             version or a later one",
            step.version,
            env!("CARGO_PKG_VERSION"),
            format::FORMATS.last().map_or(0, |format| format.version),
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
