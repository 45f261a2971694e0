//! The small agent for a node: takes telemetry in, keeps it on disk, and forwards it to a server.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use devmesh_collector::{
    agent,
    settings::{self, Problems, Settings},
};

/// Exit code of wrong usage or settings.
const USAGE: u8 = 2;

#[derive(Parser)]
#[command(
    name = "devmesh-collector",
    version,
    about = "Takes telemetry in on a node, keeps it on disk, and forwards it"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Collect and forward until SIGTERM
    Run(Run),
}

#[derive(Args)]
struct Run {
    /// Where to send: http://HOST:4318, or https://
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Certificates that vouch for a server of https://, instead of those that this machine trusts
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// The certificate that is shown to a server which asks for one
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<String>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<String>,
    /// Take in OTLP, gRPC and HTTP on one port [default: 127.0.0.1:4318; a server on this machine listens there itself]
    #[arg(long, value_name = "ADDR:PORT", num_args = 0..=1, default_missing_value = "127.0.0.1:4318")]
    otlp: Option<String>,
    /// Follow the systemd journal of this machine
    #[arg(long)]
    journald: bool,
    /// Follow the journal files in this directory instead
    #[arg(long, value_name = "DIR")]
    journal_directory: Option<String>,
    /// Follow this journal file instead; may be repeated
    #[arg(long, value_name = "FILE")]
    journal_file: Vec<String>,
    /// Scrape this URL every 15 s, http://HOST:PORT/metrics; may be repeated
    #[arg(long, value_name = "URL")]
    scrape: Vec<String>,
    /// Measure this machine and its busiest processes
    #[arg(long)]
    host_metrics: bool,
    /// Where to keep what is not forwarded yet
    #[arg(long, value_name = "DIR")]
    queue_dir: Option<String>,
    /// Settings in TOML
    #[arg(long, value_name = "FILE", env = "DEVMESH_CONFIG")]
    config: Option<PathBuf>,
    /// Allow to listen beyond this machine, where anybody may then send
    #[arg(long)]
    insecure: bool,
}

impl Run {
    fn flags(&self) -> Vec<(&'static str, String)> {
        let journal = self.journald || self.journal_directory.is_some() || !self.journal_file.is_empty();
        let files = (!self.journal_file.is_empty()).then(|| self.journal_file.join(","));
        let given = [
            ("forward.to", self.to.clone()),
            ("forward.ca", self.ca.clone()),
            ("forward.cert", self.cert.clone()),
            ("forward.key", self.key.clone()),
            ("otlp.listen", self.otlp.clone()),
            ("otlp.insecure", self.insecure.then(|| "true".to_owned())),
            ("journald.enabled", journal.then(|| "true".to_owned())),
            ("journald.directory", self.journal_directory.clone()),
            ("journald.files", files),
            ("scrape.urls", (!self.scrape.is_empty()).then(|| self.scrape.join(","))),
            ("host.metrics", self.host_metrics.then(|| "true".to_owned())),
            ("queue.dir", self.queue_dir.clone()),
        ];
        given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }

    fn settings(&self) -> Result<Settings, Problems> {
        let env: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let Some(path) = &self.config else { return settings::load(&self.flags(), &env, None) };
        let text = read_file(path).map_err(|reason| Problems(vec![format!("{}: {reason}", path.display())]))?;
        settings::load(&self.flags(), &env, Some((&path.display().to_string(), &text)))
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let mut text = Vec::new();
    // Read, not asked for: a device has no size and no end.
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(settings::FILE_BYTES + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > settings::FILE_BYTES {
        return Err(format!("it has more than {} bytes, which are too many for settings", settings::FILE_BYTES));
    }
    String::from_utf8(text).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let Command::Run(run) = Cli::parse().command;
    let settings = match run.settings() {
        Ok(settings) => settings,
        Err(problems) => {
            say(format_args!("{problems}"));
            return USAGE.into();
        }
    };
    if let Err(reason) = start_log(&settings.log.level) {
        say(format_args!("log.level: {reason}"));
        return USAGE.into();
    }
    match work(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A line to stderr; where that is closed there is nobody left to tell.
fn say(line: std::fmt::Arguments<'_>) {
    writeln!(std::io::stderr(), "devmesh-collector: {line}").unwrap_or_default();
}

fn start_log(level: &str) -> Result<(), String> {
    let filter = tracing_subscriber::EnvFilter::try_new(level).map_err(|error| error.to_string())?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    Ok(())
}

fn work(settings: Settings) -> anyhow::Result<()> {
    // Two threads beside the one that commits: an agent is small. Blocking work is file reads and dead letters.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .thread_stack_size(1 << 20)
        .enable_all()
        .build()?;
    runtime.block_on(agent::run(settings))
}
