//! The graph: what keeping it up costs, and how soon a neighbourhood is there.

use std::process::Command;

use anyhow::Result;

use crate::program;

/// Runs the benchmark of the crate that keeps the graph.
///
/// # Errors
/// It cannot be built.
#[allow(clippy::print_stdout, reason = "a benchmark's figures")]
pub fn run() -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--release", "--locked", "--quiet", "-p", "devmesh-graph", "--example", "graph_bench"]);
    let output = program::run(cargo.current_dir(program::root()))?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}
