//! The server's own log: structured, on stderr, text for people and JSON for machines.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan};

use crate::settings::{LogFormat, Settings};

/// What `log.level` lets through.
///
/// # Errors
/// It is neither a level nor a list of targets.
pub(crate) fn filter(level: &str) -> Result<EnvFilter, String> {
    let names = ["error", "warn", "info", "debug", "trace", "off"];
    let known = |part: &str| {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        names.iter().any(|name| name.eq_ignore_ascii_case(level.trim()))
    };
    if level.is_empty() || !level.split(',').all(known) {
        return Err("write error, warn, info, debug or trace, or targets such as info,devmesh_store=debug".to_owned());
    }
    EnvFilter::try_new(level).map_err(|error| error.to_string())
}

/// Starts the log. A second start changes nothing.
pub(crate) fn start(settings: &Settings) {
    let Ok(filter) = filter(&settings.log.level) else { return };
    let json = match settings.log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_span_events(FmtSpan::NONE);
    let started = if json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        builder.with_ansi(stderr().is_terminal()).try_init()
    };
    if started.is_err() {
        tracing::debug!("the log is running already");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_are_taken_and_typing_errors_are_not() {
        for good in ["info", "WARN", "info,devmesh_store=debug", "devmesh=trace"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["", "loud", "info,", "info,x=", "inof"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
