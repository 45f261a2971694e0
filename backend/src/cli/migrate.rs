//! `devmesh migrate`: the schema of the store, for people and for init containers.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    time::{Duration, Instant},
};

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use devmesh_store::{
    Error,
    migrate::{self, Schema, Status, Step},
};

use super::{Failure, StoreArgs, print, table};

/// Between two looks at a store that is awaited.
const LOOK: Duration = Duration::from_millis(500);

/// What to do to the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Bring the schema up to date. A server does so itself when it starts, unless store.migrate is false.
    Apply,
    /// Wait until the store answers, make the database or directory where it is missing, and apply: for init containers.
    Init,
    /// Compare the live schema with the one this version expects; exit code 1 where they differ. For a data directory:
    /// read every file and compare its checksum.
    Validate,
    /// Wait until the schema is up to date.
    Wait,
    /// Show which migrations were applied, when and by whom, and which are to come.
    Status,
    /// Delete all tables and what is in them.
    Reset,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// What to do.
    #[arg(value_enum, default_value = "apply", hide_default_value = false)]
    action: Action,
    #[command(flatten)]
    store: StoreArgs,
    /// With init and wait: how long to wait for the store, as in 90s or 5m [default: 60s].
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// With reset: do not ask.
    #[arg(long)]
    yes: bool,
}

/// Does it.
pub(super) async fn run(args: MigrateArgs) -> Result<(), Failure> {
    if args.yes && args.action != Action::Reset {
        return Err(Failure::Usage("--yes goes with `devmesh migrate reset`".into()));
    }
    if args.timeout.is_some() && !matches!(args.action, Action::Init | Action::Wait) {
        return Err(Failure::Usage("--timeout goes with `devmesh migrate init` and `devmesh migrate wait`".into()));
    }
    let timeout = timeout(args.timeout.as_deref().unwrap_or("60s"))?;
    let settings = args.store.read()?.for_store();
    let schema = migrate::of(&settings).map_err(|error| Failure::Usage(error.to_string()))?;
    let schema = schema.as_ref();
    match args.action {
        Action::Apply => apply(schema).await,
        Action::Init => init(schema, timeout).await,
        Action::Validate => validate(schema).await,
        Action::Wait => wait(schema, timeout).await,
        Action::Status => status(schema).await,
        Action::Reset => reset(schema, args.yes).await,
    }
}

fn timeout(text: &str) -> Result<Duration, Failure> {
    let nanos =
        devmesh_schema::time::parse_duration(text).map_err(|error| Failure::Usage(format!("--timeout: {error}")))?;
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_negative| Failure::Usage("--timeout: it is negative".into()))
}

fn failed(error: Error) -> Failure {
    Failure::Failed(anyhow!("{error}"))
}

async fn apply(schema: &dyn Schema) -> Result<(), Failure> {
    let steps = schema.apply().await.map_err(failed)?;
    let mut text: String =
        steps.iter().map(|step| format!("applied   {:>4}  {}{}\n", step.version, step.name, counted(step))).collect();
    text.push_str(&format!("{schema}: the schema is up to date\n"));
    print(text.as_bytes())
}

fn counted(step: &Step) -> String {
    match step.statements {
        (_, 0) => String::new(),
        (done, all) => format!(" ({done} of {all} statements)"),
    }
}

async fn init(schema: &dyn Schema, timeout: Duration) -> Result<(), Failure> {
    let began = Instant::now();
    let made = loop {
        match schema.create().await {
            Ok(made) => break made,
            Err(error @ Error::Away(_)) if began.elapsed() >= timeout => {
                return Err(Failure::Failed(anyhow!("{error}; waited {} s for it", timeout.as_secs())));
            }
            Err(Error::Away(_)) => tokio::time::sleep(LOOK).await,
            Err(error) => return Err(failed(error)),
        }
    };
    if made {
        print(format!("{schema}: made\n").as_bytes())?;
    }
    apply(schema).await
}

async fn validate(schema: &dyn Schema) -> Result<(), Failure> {
    let drifts = schema.validate().await.map_err(failed)?;
    if drifts.is_empty() {
        return print(format!("{schema}: the schema is as this version expects\n").as_bytes());
    }
    let lines: String = drifts.iter().map(|drift| format!("{}\n", table::inert(&drift.to_string()))).collect();
    print(lines.as_bytes())?;
    let count = drifts.len();
    let differences = if count == 1 { "difference".to_owned() } else { format!("{count} differences") };
    Err(Failure::Failed(anyhow!("{schema}: {differences} from the schema that this version expects, named above")))
}

async fn wait(schema: &dyn Schema, timeout: Duration) -> Result<(), Failure> {
    let began = Instant::now();
    let mut told = String::new();
    loop {
        let reason = match schema.status().await {
            Ok(status) if status.is_current() => {
                return print(format!("{schema}: the schema is up to date\n").as_bytes());
            }
            Ok(status) => lacking(&status),
            Err(Error::Away(reason)) => reason,
            Err(error) => return Err(failed(error)),
        };
        if began.elapsed() >= timeout {
            let seconds = timeout.as_secs();
            return Err(Failure::Failed(anyhow!("{schema}: not up to date after {seconds} s: {reason}")));
        }
        if reason != told {
            writeln!(io::stderr(), "waiting: {}", table::inert(&reason))?;
            told = reason;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Why a schema is not up to date.
fn lacking(status: &Status) -> String {
    if !status.exists {
        return "it does not exist yet".to_owned();
    }
    let open = status.steps.iter().find(|step| step.state != migrate::State::Applied || step.note.is_some());
    open.map_or_else(String::new, |step| {
        let note = step.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
        format!("migration {} {} is {}{}{note}", step.version, step.name, step.state, counted(step))
    })
}

async fn status(schema: &dyn Schema) -> Result<(), Failure> {
    let status = schema.status().await.map_err(failed)?;
    let mut text = format!("{schema}\n");
    if !status.exists {
        text.push_str("does not exist; `devmesh migrate init` makes it\n");
    }
    let width = status.steps.iter().map(|step| step.name.chars().count()).max().unwrap_or(0).max(4);
    text.push_str(&format!(
        "{:>7}  {:<width$}  {:<8}  {:>10}  {:<24}  by\n",
        "version", "name", "state", "statements", "at"
    ));
    for step in &status.steps {
        let statements = match step.statements {
            (_, 0) => String::new(),
            (done, all) => format!("{done}/{all}"),
        };
        let at = step.at.map_or_else(String::new, |at| table::moment(&devmesh_schema::time::format(at)));
        let (version, name, state) = (step.version, table::inert(&step.name), step.state.name());
        let line =
            format!("{version:>7}  {name:<width$}  {state:<8}  {statements:>10}  {at:<24}  {}", table::inert(&step.by));
        text.push_str(&format!("{}\n", line.trim_end()));
        if let Some(note) = &step.note {
            text.push_str(&format!("         {}\n", table::inert(note)));
        }
    }
    print(text.as_bytes())
}

async fn reset(schema: &dyn Schema, yes: bool) -> Result<(), Failure> {
    let inventory = schema.inventory().await.map_err(failed)?;
    if inventory.items.is_empty() {
        schema.reset().await.map_err(failed)?;
        return print(format!("{schema}: there is nothing to delete\n").as_bytes());
    }
    let mut text = format!("{schema}: this deletes, for good:\n");
    for item in &inventory.items {
        text.push_str(&format!("  {}\n", table::inert(item)));
    }
    if let Some(foreign) = &inventory.foreign {
        text.push_str(&format!("WARNING: {}\n", table::inert(foreign)));
    }
    io::stderr().write_all(text.as_bytes())?;
    if !yes {
        if !io::stdin().is_terminal() {
            return Err(Failure::Usage("nobody can be asked here; say --yes to delete all this".into()));
        }
        write!(io::stderr(), "Type `delete` to go on: ")?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if answer.trim() != "delete" {
            return Err(Failure::Failed(anyhow!("nothing was deleted")));
        }
    }
    schema.reset().await.map_err(failed)?;
    print(format!("{schema}: deleted\n").as_bytes())
}
