//! Where the programs under test are, and what other programs the tests call.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// A program built by this workspace: `TEST_PROGRAMS`, else the directory the running test was built into.
///
/// # Errors
/// It is not there: the message says how to build it.
pub fn built(name: &str) -> Result<PathBuf> {
    let dir = match std::env::var_os("TEST_PROGRAMS") {
        Some(dir) => PathBuf::from(dir),
        None => {
            let test = std::env::current_exe().context("failed to find the running test's path")?;
            let up = if test.parent().is_some_and(|p| p.ends_with("deps")) { 2 } else { 1 };
            test.ancestors().nth(up).map(Path::to_path_buf).unwrap_or_default()
        }
    };
    let program = dir.join(name);
    if !program.exists() {
        bail!("{} is not built: run `cargo build` first (`make test` does)", program.display());
    }
    Ok(program)
}

/// Something `tests/install.sh` puts under `target/test-tools`.
///
/// # Errors
/// It is not there: the message names the script.
pub fn installed(path: &str) -> Result<PathBuf> {
    let found = root().join("target/test-tools").join(path);
    if !found.exists() {
        bail!("{} is missing: run `tests/install.sh`", found.display());
    }
    Ok(found)
}

/// A free port of loopback, below those that the system gives away: nobody takes it before it is used.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id() % 10_000 + TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (number % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started or does not exit with 0: the message holds its output.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("failed to start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}\n--- stdout\n{}\n--- stderr\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output)
}
