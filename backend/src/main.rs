//! The program devmesh: settings, command line, API, Postgres wire, console. It wires the other crates together and
//! holds no logic of its own.

mod access;
mod anomalies;
mod answer;
mod api;
mod cli;
mod console;
mod filesystem;
mod graph;
mod mcp;
mod meaning;
mod models;
mod postgres;
mod reload;
mod rules;
mod scrape;
mod serve;
mod settings;
mod telemetry;

/// Arrow's buffers are aligned, and the C library of Debian 12 (glibc before 2.38) leaves holes between aligned pieces that
/// it never fills again: memory grew with every batch of many columns. This allocator has bounds, and is quicker. Its version 2
/// gives pages back after 10 ms, version 3 after 1 s; with huge pages the peak is a quarter higher, for no speed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
