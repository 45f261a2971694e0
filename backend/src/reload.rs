//! What SIGHUP does: certificates and rules are read again, and settings are looked at.
//!
//! Certificates are renewed every few weeks, and nobody wants to restart for it. Settings count from the start on; what has
//! changed in them is said, so that nobody believes that it is in force. Whatever is wrong leaves everything as it was.
//! Signals that come while one is handled are one.

use std::sync::Arc;

use devmesh_collector::tls::Tls;
use tokio::signal::unix::Signal;

use crate::{cli::Failure, rules::Rules, settings::Settings};

/// Handles hang-ups for as long as the server runs.
pub(crate) async fn run(
    mut hangup: Signal,
    started_with: Settings,
    read: impl Fn() -> Result<Settings, Failure> + Send,
    tls: Option<Tls>,
    rules: Arc<Rules>,
) {
    while hangup.recv().await.is_some() {
        settings(&started_with, read());
        if let Some(tls) = &tls {
            certificates(tls);
        }
        match rules.reload() {
            Ok(()) => tracing::info!(groups = rules.groups().len(), "SIGHUP: rules and receivers are read again"),
            Err(problems) => {
                problems.iter().for_each(|problem| tracing::error!("SIGHUP: {problem}"));
                tracing::error!("SIGHUP: the rules and receivers in force stay");
            }
        }
    }
}

fn settings(started_with: &Settings, now: Result<Settings, Failure>) {
    match now {
        Ok(now) => match started_with.changed(&now).join(", ") {
            keys if keys.is_empty() => tracing::info!("SIGHUP: the settings are as they were at the start"),
            keys => tracing::warn!(keys, "SIGHUP: settings have changed, and count after a restart"),
        },
        Err(Failure::Usage(problems)) => {
            tracing::error!("SIGHUP: the settings are wrong, and those of the start stay in force: {problems}");
        }
        Err(failure) => tracing::error!(?failure, "SIGHUP: the settings cannot be read, and those of the start stay"),
    }
}

fn certificates(tls: &Tls) {
    match tls.reload() {
        Ok(()) => {
            tls.concerns().iter().for_each(|concern| tracing::warn!("tls: {concern}"));
            tracing::info!("SIGHUP: certificates are read again, for connections from now on");
        }
        Err(error) => tracing::error!("SIGHUP: tls: {error}; the certificates in use stay"),
    }
}
