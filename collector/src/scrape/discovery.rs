//! Where targets come from: the configuration itself, files, and HTTP.
//!
//! A source that cannot be read keeps what it said last, so that a torn file or a server that restarts ends no series.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use devmesh_schema::limits;
use http::Uri;
use tokio::time::Instant;

use super::{
    client::{self, Client, Within},
    config::{Group, HttpDiscovery, Job},
};
use crate::intake::Budget;

/// How often files are looked at: what Prometheus is told by the kernel is found out within this time.
const LOOK: Duration = Duration::from_secs(2);
/// How long an answer of discovery may take.
const ANSWER: Duration = Duration::from_secs(30);

/// Groups of one source, with what discovery says of them.
pub(super) type Found = (Vec<Group>, Vec<(&'static str, String)>);

/// The sources of one job.
#[derive(Debug)]
pub(super) struct Discovery {
    job: Arc<Job>,
    budget: Budget,
    files: HashMap<PathBuf, Vec<Group>>,
    urls: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    from: HttpDiscovery,
    client: Client,
    groups: Vec<Group>,
    next: Instant,
}

impl Discovery {
    /// # Errors
    /// What is needed to talk to a source cannot be read.
    pub(super) fn new(job: Arc<Job>, budget: Budget) -> Result<Self, String> {
        let source = |from: &HttpDiscovery| {
            let client = Client::new(&from.http, from.url.starts_with("https:"))?;
            Ok(Source { from: from.clone(), client, groups: Vec::new(), next: Instant::now() })
        };
        let urls = job.urls.iter().map(source).collect::<Result<_, String>>()?;
        Ok(Self { job, budget, files: HashMap::new(), urls })
    }

    /// When to look again; `None`: nothing changes.
    pub(super) fn next(&self) -> Option<Instant> {
        let files = (!self.job.files.is_empty()).then(|| {
            let refresh = self.job.files.iter().map(|files| files.refresh).min().unwrap_or(LOOK);
            Instant::now() + refresh.min(LOOK)
        });
        self.urls.iter().map(|source| source.next).chain(files).min()
    }

    /// Looks at every source whose time has come.
    pub(super) async fn look(&mut self) -> Vec<Found> {
        let mut all: Vec<Found> = vec![(self.job.groups.clone(), Vec::new())];
        self.look_at_files().await;
        let mut files: Vec<_> = self.files.iter().collect();
        files.sort_by_key(|(path, _)| *path);
        for (path, groups) in files {
            all.push((groups.clone(), vec![("__meta_filepath", path.display().to_string())]));
        }
        for source in &mut self.urls {
            if source.next <= Instant::now() {
                source.next = Instant::now() + source.from.refresh;
                match source.ask(&self.budget).await {
                    Ok(groups) => source.groups = groups,
                    Err(error) => {
                        tracing::warn!(job = self.job.name, "discovery {}: {error}", source.from.url);
                    }
                }
            }
            all.push((source.groups.clone(), vec![("__meta_url", source.from.url.clone())]));
        }
        all
    }

    async fn look_at_files(&mut self) {
        let mut paths = Vec::new();
        for pattern in self.job.files.iter().flat_map(|files| &files.patterns) {
            paths.extend(matching(pattern).await);
        }
        self.files.retain(|path, _| paths.contains(path));
        for path in paths {
            let read = client::file(&path, limits::DISCOVERY_BYTES).await.and_then(|text| Group::list(&text));
            match read {
                Ok(groups) => drop(self.files.insert(path, groups)),
                Err(error) => tracing::warn!(job = self.job.name, "discovery {}: {error}", path.display()),
            }
        }
    }
}

impl Source {
    async fn ask(&self, budget: &Budget) -> Result<Vec<Group>, String> {
        let url: Uri = self.from.url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        let within = Within { bytes: limits::DISCOVERY_BYTES, time: ANSWER };
        let fetched = self.client.get(&url, &[], within, budget).await?;
        let json = fetched.content_type.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/json"));
        if !json {
            return Err("the answer is no application/json".to_owned());
        }
        let text = std::str::from_utf8(&fetched.body.bytes).map_err(|error| error.to_string())?;
        Group::list(text)
    }
}

/// The files that a path with at most one `*` in its last part means.
async fn matching(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((before, after)) = name.split_once('*') else { return vec![pattern.to_path_buf()] };
    let mut found = Vec::new();
    let Some(dir) = pattern.parent() else { return found };
    let Ok(mut entries) = tokio::fs::read_dir(dir).await else { return found };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let file = entry.file_name();
        let fits = file.to_str().is_some_and(|name| {
            name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
        });
        if fits {
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    found
}
