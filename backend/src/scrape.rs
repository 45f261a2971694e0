//! What the server scrapes itself: the file that `scrape.config_file` names.

use std::{path::Path, sync::Arc};

use devmesh_collector::{
    Intake,
    scrape::{self, Config},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{cli::Failure, settings::Settings};

/// Reads the file, and begins to scrape. Without one there are no tasks.
///
/// # Errors
/// It cannot be read, or has a key that is wrong or not supported: the key is named.
pub(crate) fn start(
    settings: &Settings,
    intake: &Arc<Intake>,
    stop: &CancellationToken,
) -> Result<JoinSet<()>, Failure> {
    let path = &settings.scrape.config_file;
    if path.as_os_str().is_empty() {
        return Ok(JoinSet::new());
    }
    let wrong =
        |error: &dyn std::fmt::Display| Failure::Usage(format!("scrape.config_file: {}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let base = path.parent().unwrap_or(Path::new(""));
    let config = Config::read(&text, base).map_err(|error| wrong(&error))?;
    scrape::spawn(config, intake, stop).map_err(|error| wrong(&error))
}
