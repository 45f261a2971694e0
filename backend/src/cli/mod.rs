//! The command line: what can be asked of the program, and how it ends.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. A reader that goes away (`devmesh sql … | head`) is no
//! error.

mod client;
mod copy;
mod doctor;
mod explain;
mod mcp;
mod migrate;
mod model;
mod rules;
mod search;
mod sql;
mod table;
mod tail;
mod trace;
mod verify;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::{serve, settings, telemetry};

/// Takes telemetry in, keeps it, and answers in SQL.
#[derive(Debug, Parser)]
#[command(name = "devmesh", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: OTLP, plain JSON, API, console and Postgres wire. Needs no configuration.
    Serve(ServeArgs),
    /// Make the schema of the store, bring it up to date, compare it with what this version expects, or delete it.
    Migrate(migrate::MigrateArgs),
    /// Copy records from one store to another: resumable, verified.
    Copy(copy::CopyArgs),
    /// Ask in SQL: a running server, or a data directory without one.
    Sql(sql::SqlArgs),
    /// Search logs by meaning: a question in plain words, the patterns that answer it.
    Search(search::SearchArgs),
    /// Explain a window: what changed, who is why, and the evidence for it.
    Explain(explain::ExplainArgs),
    /// Ask the evidence of an explanation again; fails where it gives something else.
    Verify(verify::VerifyArgs),
    /// Follow the log records of a running server as they arrive.
    Tail(tail::TailArgs),
    /// Show a trace: its spans as a tree, its critical path, its logs.
    Trace(trace::TraceArgs),
    /// Answer a program with a language model in it: the Model Context Protocol over standard input and output.
    Mcp(mcp::McpArgs),
    /// Fetch the embedding model, or show what there is of it.
    Model(model::ModelArgs),
    /// Check files of recording and alerting rules, and of receivers.
    Rules(rules::RulesArgs),
    /// Check ports, disk, data directory, clock and store, and say what to do about each finding.
    Doctor(SettingsArgs),
    /// Print the settings in force, or the reference of all settings.
    Config(ConfigArgs),
    /// Print the completions for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Print the version.
    Version,
}

/// Where the settings come from.
#[derive(Debug, Args)]
pub(crate) struct SettingsArgs {
    /// A TOML file with settings [env: DEVMESH_CONFIG].
    #[arg(long, value_name = "FILE", overrides_with = "config")]
    config: Option<PathBuf>,
    /// The store: file://DIR or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Where the data is kept [default: ./devmesh-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where the API and the console listen [default: 127.0.0.1:8000].
    #[arg(long, value_name = "ADDR:PORT|off")]
    http: Option<String>,
    /// Where OTLP/gRPC listens [default: 127.0.0.1:4317].
    #[arg(long, value_name = "ADDR:PORT|off")]
    otlp_grpc: Option<String>,
    /// Where OTLP/HTTP listens [default: 127.0.0.1:4318].
    #[arg(long, value_name = "ADDR:PORT|off")]
    otlp_http: Option<String>,
    /// Where the Postgres wire protocol listens [default: 127.0.0.1:5433].
    #[arg(long, value_name = "ADDR:PORT|off")]
    postgres: Option<String>,
    /// Listen beyond loopback although no tokens are set.
    #[arg(long)]
    insecure: bool,
    /// Any other setting, as in --set retention.logs=30d; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

/// Where the settings of commands come from that deal with a store alone.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// A TOML file with settings [env: DEVMESH_CONFIG].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The store: file://DIR, s3://BUCKET/PREFIX, mariadb://USER:PASSWORD@HOST:PORT/DATABASE or clickhouse://… likewise.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Where the data is kept, or, before another store, its log [default: ./devmesh-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Any other setting, as in --set s3.region=eu-west-1; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl StoreArgs {
    /// Reads the settings.
    pub(crate) fn read(&self) -> Result<settings::Settings, Failure> {
        let named = [("store.url", &self.store), ("store.data_dir", &self.data_dir)];
        settings_of(&named, &self.set, self.config.as_deref(), false)
    }
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Print the reference of all settings, as Markdown.
    #[arg(long)]
    reference: bool,
}

impl SettingsArgs {
    /// Reads the settings.
    pub(crate) fn read(&self) -> Result<settings::Settings, Failure> {
        let named = [
            ("store.url", &self.store),
            ("store.data_dir", &self.data_dir),
            ("http.listen", &self.http),
            ("otlp.grpc", &self.otlp_grpc),
            ("otlp.http", &self.otlp_http),
            ("postgres.listen", &self.postgres),
        ];
        settings_of(&named, &self.set, self.config.as_deref(), self.insecure)
    }
}

/// Reads the settings of flags that have names of their own, of `--set`, of the environment and of the file.
fn settings_of(
    named: &[(&str, &Option<String>)],
    set: &[String],
    config: Option<&Path>,
    insecure: bool,
) -> Result<settings::Settings, Failure> {
    let given = named.iter().filter_map(|(key, value)| Some(((*key).to_owned(), (*value).clone()?)));
    let mut flags: Vec<(String, String)> = Vec::new();
    for pair in set {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--set {pair}: write it as --set SECTION.KEY=VALUE")))?;
        flags.push((key.to_owned(), value.to_owned()));
    }
    flags.extend(given);
    if insecure {
        flags.push(("auth.insecure".to_owned(), "true".to_owned()));
    }
    settings::read(&flags, config).map_err(|problems| Failure::Usage(problems.to_string()))
}

/// Why the program ends without having done what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Wrong usage or configuration: exit code 2.
    Usage(String),
    /// It was right and did not work: exit code 1.
    Failed(anyhow::Error),
    /// Whoever read our output went away: exit code 0, in silence.
    Unread,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let unread = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        if error.downcast_ref::<io::Error>().is_some_and(unread) { Failure::Unread } else { Failure::Failed(error) }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}

/// Runs the command of this process's arguments to its end.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            // The reader may have gone away; there is nothing left to say it to.
            return if error.print().is_ok() { ExitCode::from(code) } else { ExitCode::SUCCESS };
        }
    };
    let (code, message) = match cli.command.run() {
        Ok(()) | Err(Failure::Unread) => return ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => (2, message),
        Err(Failure::Failed(error)) => (1, format!("{error:#}")),
    };
    let lines: String = message.lines().map(|line| format!("error: {line}\n")).collect();
    // Where stderr is closed, the exit code says it.
    let _told = io::stderr().write_all(lines.as_bytes()).is_ok();
    ExitCode::from(code)
}

impl Command {
    fn run(self) -> Result<(), Failure> {
        match self {
            Command::Serve(args) => {
                let settings = args.settings.read()?;
                telemetry::start(&settings);
                wait_for(serve::serve(settings, move || args.settings.read()))
            }
            Command::Migrate(args) => wait_for(migrate::run(args)),
            Command::Copy(args) => wait_for(copy::run(args)),
            Command::Sql(args) => wait_for(sql::run(args)),
            Command::Search(args) => wait_for(search::run(args)),
            Command::Explain(args) => wait_for(explain::run(args)),
            Command::Verify(args) => wait_for(verify::run(args)),
            Command::Tail(args) => wait_for(tail::run(args)),
            Command::Trace(args) => wait_for(trace::run(args)),
            Command::Mcp(args) => wait_for(mcp::run(args)),
            Command::Model(args) => model::run(&args),
            Command::Rules(args) => rules::run(&args),
            Command::Doctor(args) => {
                let settings = args.read()?;
                wait_for(doctor::run(settings))
            }
            Command::Config(args) => config(&args),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "devmesh", &mut script);
                print(&script)
            }
            Command::Version => print(concat!("devmesh ", env!("CARGO_PKG_VERSION"), "\n").as_bytes()),
        }
    }
}

fn config(args: &ConfigArgs) -> Result<(), Failure> {
    if args.reference {
        return print(settings::markdown().as_bytes());
    }
    let settings = args.settings.read()?;
    let text = toml::to_string(&settings).map_err(anyhow::Error::from)?;
    print(text.as_bytes())
}

/// Writes to stdout at once.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(())
}

/// Runs to the end, and then waits for nothing that still runs in the background.
fn wait_for(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("devmesh").build()?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}
