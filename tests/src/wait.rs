//! Waiting for a thing itself, with a limit.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `condition` gives a value; fails with what was waited for and the last thing seen.
///
/// # Errors
/// The limit has passed.
pub fn until<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    let mut last = String::from("nothing yet");
    loop {
        match condition() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => {}
            Err(error) => last = format!("{error:#}"),
        }
        if start.elapsed() > limit {
            bail!("waited {limit:?} for {what}; last seen: {last}");
        }
        std::thread::park_timeout(PAUSE);
    }
}
