//! `devmesh model`: the weights of the embedding model, fetched or copied, and what there is of them.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use clap::{Args, Subcommand, ValueEnum};
use devmesh_insight::model::{self, HUB, Installed, MINILM};

use super::{Failure, StoreArgs, print};

#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch the model from the hub, or copy it from a directory. A running server takes it by itself.
    Pull(PullArgs),
    /// Show which models there are and whether they are whole.
    List(ListArgs),
}

#[derive(Debug, Args)]
struct PullArgs {
    #[command(flatten)]
    settings: StoreArgs,
    /// Copy it from this directory, which holds the files or a directory of the model's name, instead of fetching it.
    #[arg(long, value_name = "DIR", conflicts_with = "hub")]
    from: Option<PathBuf>,
    /// Fetch it from a mirror that keeps the hub's paths.
    #[arg(long, value_name = "URL", default_value = HUB)]
    hub: String,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    settings: StoreArgs,
    /// How the models are written.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One array.
    Json,
}

/// Does it.
pub(super) fn run(args: &ModelArgs) -> Result<(), Failure> {
    match &args.command {
        Command::Pull(args) => pull(args),
        Command::List(args) => list(args),
    }
}

fn pull(args: &PullArgs) -> Result<(), Failure> {
    let models = args.settings.read()?.models();
    let mut bar = Bar { shown: io::stderr().is_terminal(), last: None };
    let mut progress = |file: &str, done: u64, of: u64| bar.show(file, done, of);
    let pulled = match &args.from {
        Some(from) if !from.is_dir() => {
            return Err(Failure::Usage(format!("--from: there is no directory {}", from.display())));
        }
        Some(from) => model::copy(&MINILM, from, &models, &mut progress),
        None => model::pull(&MINILM, &args.hub, &models, &mut progress),
    };
    let directory = pulled.map_err(anyhow::Error::from)?;
    print(format!("{} is in {}\n", MINILM.name, directory.display()).as_bytes())
}

/// How far it is, on a terminal.
struct Bar {
    shown: bool,
    last: Option<(String, u64)>,
}

impl Bar {
    fn show(&mut self, file: &str, done: u64, of: u64) {
        let percent = (100 * done).checked_div(of).unwrap_or(100);
        let now = (file.to_owned(), percent);
        if !self.shown || self.last.as_ref() == Some(&now) {
            return;
        }
        self.last = Some(now);
        let end = if done == of { "\n" } else { "" };
        // Where nobody can see it, nobody misses it.
        let _shown = write!(io::stderr(), "\r{file}: {percent} % of {:.1} MB{end}", of as f64 / 1e6).is_ok();
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let models = model::list(&args.settings.read()?.models());
    if args.format == Format::Json {
        let text = serde_json::to_string_pretty(&models).map_err(anyhow::Error::from)?;
        return print(format!("{text}\n").as_bytes());
    }
    print(models.iter().map(line).collect::<String>().as_bytes())
}

fn line(installed: &Installed) -> String {
    let Installed { name, revision, licence, directory, bytes, missing } = installed;
    let state = match missing.as_slice() {
        [] => "installed".to_owned(),
        missing => format!("not installed ({} missing); `devmesh model pull` fetches it", missing.join(", ")),
    };
    let (revision, megabytes) = (revision.get(..12).unwrap_or(revision), *bytes as f64 / 1e6);
    format!("{name}  {revision}  {megabytes:.1} MB  {licence}  {}  {state}\n", directory.display())
}
