//! `devmesh copy`: records from one store to another, resumable and verified.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use clap::Args;
use devmesh_schema::{Signal, TimestampNs};
use devmesh_store::{
    Error, Store,
    copy::{Copied, Event, Options},
    migrate,
    settings::Retention,
};

use super::{Failure, print, settings_of, table};

/// Between two lines of progress where nobody watches.
const LINE: Duration = Duration::from_secs(5);
/// Between two on a terminal.
const TICK: Duration = Duration::from_millis(200);
/// Windows that differ and are named.
const NAMED: usize = 20;
/// Bytes of a window's rows in memory: with what they are read from, well below a gigabyte.
const WINDOW_BYTES: usize = 64 << 20;

#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// The store to read: file://DIR, s3://BUCKET/PREFIX, mariadb://… or clickhouse://…
    #[arg(long, value_name = "URL")]
    from: String,
    /// The store to write; made where it does not exist.
    #[arg(long, value_name = "URL")]
    to: String,
    /// Which signals, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "logs,traces,metrics")]
    signals: Vec<String>,
    /// Records from this time on: RFC 3339, Unix nanoseconds, or relative, as in now-7d.
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Records before this time.
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// Records that are held in memory at once, about.
    #[arg(long, value_name = "NUMBER", default_value_t = 32_768)]
    rows: usize,
    /// Where the progress is kept, and the log before a database.
    #[arg(long, value_name = "DIR", default_value = "./devmesh-copy")]
    work_dir: PathBuf,
    /// Data directory of the source, where that is s3:// or a database whose server left records in its log.
    #[arg(long, value_name = "DIR")]
    from_data_dir: Option<PathBuf>,
    /// Data directory of the target, where that is s3://.
    #[arg(long, value_name = "DIR")]
    to_data_dir: Option<PathBuf>,
    /// A TOML file with settings [env: DEVMESH_CONFIG].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any setting, as in --set s3.region=eu-west-1; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

/// Copies, verifies, and tells.
pub(super) async fn run(args: CopyArgs) -> Result<(), Failure> {
    if args.from == args.to {
        return Err(Failure::Usage("--from and --to are the same store".into()));
    }
    if args.rows == 0 {
        return Err(Failure::Usage("--rows 0: at least one record has to be held in memory".into()));
    }
    let options = options(&args)?;
    let directory = options.progress.parent().unwrap_or(Path::new(".")).to_owned();
    let (source, target) = (source(&args, &directory)?, target(&args, &directory)?);
    fs::create_dir_all(&directory).with_context(|| format!("failed to make {}", directory.display()))?;
    let from = devmesh_store::open(&source).await.map_err(|error| opening("--from", &args.from, error))?;
    let outcome = match open_target(&args, &target).await {
        Ok(to) => {
            let outcome = copy(from.as_ref(), to.as_ref(), &options).await;
            let closed = to.close().await.map_err(|error| opening("--to", &args.to, error));
            outcome.and_then(|copied| closed.map(|_| copied))
        }
        Err(error) => Err(error),
    };
    from.close().await.map_err(|error| opening("--from", &args.from, error))?;
    let (copied, again) = outcome?;
    told(&copied, again, &options)
}

/// Copies until it is done or somebody stops it.
async fn copy(from: &dyn Store, to: &dyn Store, options: &Options) -> Result<(Vec<Copied>, bool), Failure> {
    let meter = Meter::new();
    let tell = |event| meter.tell(event);
    let work = devmesh_store::copy::copy(from, to, options, &tell);
    let outcome = tokio::select! {
        outcome = work => outcome.map_err(|error| Failure::Failed(anyhow!("{error}"))),
        _ = tokio::signal::ctrl_c() => {
            Err(Failure::Failed(anyhow!("stopped; run the same command again to go on where it was")))
        }
    };
    meter.end();
    outcome
}

fn options(args: &CopyArgs) -> Result<Options, Failure> {
    let mut signals = Vec::new();
    for name in &args.signals {
        let signal = Signal::ALL.into_iter().find(|signal| signal.name() == name.trim());
        let unknown = || Failure::Usage(format!("--signals {name}: there are logs, traces and metrics"));
        signals.push(signal.ok_or_else(unknown)?);
    }
    signals.sort();
    signals.dedup();
    let title = title(args, &signals);
    let name = format!("{:016x}", fingerprint(&title));
    let (start, end) = (time("--start", args.start.as_deref())?, time("--end", args.end.as_deref())?);
    let (start, end) = (start.unwrap_or(TimestampNs::MIN), end.unwrap_or(TimestampNs::MAX));
    if start >= end {
        return Err(Failure::Usage("--start lies behind --end".into()));
    }
    let progress = args.work_dir.join(name).join("progress.json");
    Ok(Options { signals, start, end, rows: args.rows, bytes: WINDOW_BYTES, progress, title })
}

/// What was asked, by which a copy is known again. Without passwords.
fn title(args: &CopyArgs, signals: &[Signal]) -> String {
    let names: Vec<&str> = signals.iter().map(|signal| signal.name()).collect();
    let (from, to) = (devmesh_store::copy::redacted(&args.from), devmesh_store::copy::redacted(&args.to));
    let mut title = format!("{} from {from} to {to}", names.join(", "));
    for (word, time) in [("from time", &args.start), ("to time", &args.end)] {
        if let Some(time) = time {
            title.push_str(&format!(", {word} {time}"));
        }
    }
    title
}

/// FNV-1a: a name for a directory, no protection.
fn fingerprint(text: &str) -> u64 {
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

fn time(flag: &str, text: Option<&str>) -> Result<Option<TimestampNs>, Failure> {
    let now = crate::api::params::now();
    let parse =
        |text| devmesh_schema::time::parse(text, now).map_err(|error| Failure::Usage(format!("{flag}: {error}")));
    text.map(parse).transpose()
}

/// Settings of a store that is copied: nothing of it expires meanwhile.
fn settings(args: &CopyArgs, url: &str) -> Result<devmesh_store::Settings, Failure> {
    let set = [("store.url", &Some(url.to_owned()))];
    let settings = settings_of(&set, &args.set, args.config.as_deref(), false)?.for_store();
    let for_ever = Retention { logs: Duration::ZERO, traces: Duration::ZERO, metrics: Duration::ZERO };
    // The ids of what was written must be known whenever the copy goes on.
    let dedup_time = Duration::from_secs(10 * 365 * 86_400);
    Ok(devmesh_store::Settings { retention: for_ever, dedup_time, ..settings })
}

fn source(args: &CopyArgs, directory: &Path) -> Result<devmesh_store::Settings, Failure> {
    let mut settings = settings(args, &args.from)?;
    if let Some(path) = args.from.strip_prefix("file://")
        && !Path::new(path).is_dir()
    {
        return Err(Failure::Usage(format!("--from {}: there is no such data directory", args.from)));
    }
    if !args.from.starts_with("file://") && !args.from.starts_with("s3://") {
        settings.data_dir = directory.join("from");
    }
    if let Some(given) = &args.from_data_dir {
        settings.data_dir = given.clone();
    }
    // Files of the source are read, not tidied; its schema is what it is.
    settings.compact = false;
    settings.database.migrate = false;
    Ok(settings)
}

fn target(args: &CopyArgs, directory: &Path) -> Result<devmesh_store::Settings, Failure> {
    let mut settings = settings(args, &args.to)?;
    if !args.to.starts_with("file://") && !args.to.starts_with("s3://") {
        settings.data_dir = directory.join("to");
    }
    if let Some(given) = &args.to_data_dir {
        settings.data_dir = given.clone();
    }
    Ok(settings)
}

async fn open_target(args: &CopyArgs, settings: &devmesh_store::Settings) -> Result<Arc<dyn Store>, Failure> {
    let failed = |error| opening("--to", &args.to, error);
    if settings.database.migrate {
        let schema = migrate::of(settings).map_err(failed)?;
        schema.create().await.map_err(failed)?;
        schema.apply().await.map_err(failed)?;
    }
    devmesh_store::open(settings).await.map_err(failed)
}

/// A store that cannot be opened or closed, with the flag that named it.
fn opening(flag: &str, url: &str, error: Error) -> Failure {
    let url = devmesh_store::copy::redacted(url);
    match error {
        Error::Locked(directory) => Failure::Failed(anyhow!(
            "{flag} {url}: {} is in use by another devmesh. Stop it first: a copy needs the directory to itself",
            directory.display()
        )),
        error => Failure::Failed(anyhow!("{flag} {url}: {error}")),
    }
}

/// Says how it ended; fails where the target has something else.
fn told(copied: &[Copied], again: bool, options: &Options) -> Result<(), Failure> {
    let different: usize = copied.iter().map(|copied| copied.different.len()).sum();
    let mut text = String::new();
    for Copied { signal, rows, checksum, different } in copied {
        let verdict = if different.is_empty() { "verified" } else { "DIFFERENT" };
        text.push_str(&format!("{:<8} {rows:>12} records  checksum {checksum}  {verdict}\n", signal.name()));
        for window in different.iter().take(NAMED) {
            let (start, end) = (moment(window.time.0), moment(window.time.1));
            let what = match window.expected == window.found {
                true => format!("{} records, of other content", window.found),
                false => format!("{} records, expected {}", window.found, window.expected),
            };
            text.push_str(&format!("         {start} to {end}: the target has {what}\n"));
        }
        if different.len() > NAMED {
            text.push_str(&format!("         and {} further windows\n", different.len() - NAMED));
        }
    }
    if again {
        let directory = options.progress.parent().unwrap_or(Path::new("."));
        text.push_str(&format!(
            "was copied before, nothing was written; to copy again, remove {}\n",
            directory.display()
        ));
    }
    print(text.as_bytes())?;
    match different {
        0 => Ok(()),
        count => Err(Failure::Failed(anyhow!(
            "in {count} windows the target has something else than was copied, named above; does somebody else write to it?"
        ))),
    }
}

fn moment(time: TimestampNs) -> String {
    table::moment(&devmesh_schema::time::format(time))
}

/// Progress on stderr: one line that is written over on a terminal, else a line now and then.
struct Meter {
    state: Mutex<State>,
    terminal: bool,
}

struct State {
    began: Instant,
    shown: Option<Instant>,
    total: u64,
    /// Rows that had been copied before this run.
    before: u64,
}

impl Meter {
    fn new() -> Self {
        let state = State { began: Instant::now(), shown: None, total: 0, before: 0 };
        Self { state: Mutex::new(state), terminal: io::stderr().is_terminal() }
    }

    fn tell(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Signal(signal, total, done) => {
                *state = State { began: Instant::now(), shown: None, total, before: done };
                let going_on = if done > 0 { format!(", {done} of them copied already") } else { String::new() };
                self.line(&format!("{signal}: about {total} records{going_on}"), true);
            }
            Event::Rows(signal, rows, at) => {
                let pause = if self.terminal { TICK } else { LINE };
                if state.shown.is_some_and(|shown| shown.elapsed() < pause) {
                    return;
                }
                state.shown = Some(Instant::now());
                let rate = rows.saturating_sub(state.before) as f64 / state.began.elapsed().as_secs_f64().max(0.001);
                let share = rows as f64 * 100.0 / state.total.max(rows).max(1) as f64;
                let left = (state.total.saturating_sub(rows) as f64 / rate.max(0.001)) as u64;
                self.line(
                    &format!(
                        "{signal}: {rows} records, {share:.0} %, up to {}, {rate:.0}/s, {left} s left",
                        moment(at)
                    ),
                    false,
                );
            }
            Event::Waiting(signal) => {
                self.line(&format!("{signal}: the target takes nothing at present; waiting"), true)
            }
            Event::Verifying(signal) => self.line(&format!("{signal}: verifying"), true),
        }
    }

    fn line(&self, text: &str, stays: bool) {
        let mut stderr = io::stderr().lock();
        // Nobody has to watch.
        let _told = match (self.terminal, stays) {
            (true, false) => write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush()).is_ok(),
            (true, true) => writeln!(stderr, "\r\x1b[K{text}").is_ok(),
            (false, _) => writeln!(stderr, "{text}").is_ok(),
        };
    }

    fn end(&self) {
        if self.terminal {
            let _told = write!(io::stderr().lock(), "\r\x1b[K").is_ok();
        }
    }
}
