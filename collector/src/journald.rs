//! Follows the systemd journal with `journalctl`, and gives what it reads to a sink in batches.
//!
//! The position moves only when the sink has taken a batch ([`position`]). The child is watched: when it exits (rotation
//! makes some versions do that), or is silent while there are newer entries (a damaged journal makes it hang), another
//! one starts after the last entry, at once a second later and then ever less often.
//!
//! When the last entry is gone from the journal, journalctl would begin somewhere near without a word. So that is asked
//! first; then reading begins five seconds before the last entry, entries that were read are passed over, and a record
//! named `devmesh.journald.gap` says what is missing.

pub mod child;
pub mod entry;
pub mod position;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use devmesh_schema::{
    Batch, BatchId, IngestPath, Signal, Sink, WriteError,
    otlp::write::{Attribute, LogRecord, LogsRequest, Value},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_128;

use self::{
    child::{Follower, Line, Source, Start},
    entry::{Cursor, Entry, Redaction},
    position::{File, Gap, Pending, Position},
};
use crate::settings::Settings;

/// How long an entry waits for others to join its batch.
const BATCH_WAIT: Duration = Duration::from_millis(200);
/// How long the entries of a batch that is made again may take to come.
const REMAKE_WAIT: Duration = Duration::from_secs(10);
/// How often that is tried; then the batch is another one.
const REMAKES: u32 = 3;
/// Bytes of lines that make a batch, however few they are.
const BATCH_BYTES: usize = 1 << 20;
/// The pause before the first restart; each further one doubles it.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// After this silence the journal is asked whether there is something newer.
const SILENCE: Duration = Duration::from_secs(60);
/// How far before a lost position reading begins, in µs.
const OVERLAP: u64 = 5_000_000;

/// What came out of the journal since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries given to the sink.
    pub entries: u64,
    /// Batches given to the sink.
    pub batches: u64,
    /// Lines that were no entry, or too long.
    pub bad_lines: u64,
    /// Entries of excluded units, the agent's own among them.
    pub excluded: u64,
    /// Entries that were read before.
    pub repeated: u64,
    /// Times that a child had to be started again.
    pub restarts: u64,
    /// Places where the journal had lost entries.
    pub gaps: u64,
    /// Messages that journald says it dropped for their rate.
    pub suppressed: u64,
    /// Texts in which something was redacted.
    pub redacted: u64,
}

/// Reads the journal.
#[derive(Debug)]
pub struct Journal {
    source: Source,
    file: File,
    position: Position,
    batch_size: usize,
    exclude: Vec<String>,
    own: Own,
    unmade: u32,
    node: String,
    redaction: Redaction,
    silence: Duration,
    counts: Counts,
}

/// Which entries this process wrote itself, when it logs into the journal without a unit of its own.
#[derive(Debug)]
struct Own {
    boot: String,
    pid: i64,
    /// µs since the epoch.
    started: u64,
}

impl Own {
    fn read() -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            boot: boot.trim().replace('-', ""),
            pid: i64::from(std::process::id()),
            started: u64::try_from(crate::now() / 1000).unwrap_or(0),
        }
    }

    fn wrote(&self, entry: &Entry) -> bool {
        entry.pid == Some(self.pid) && entry.cursor.boot == self.boot && entry.cursor.time >= self.started
    }
}

/// Why following ended.
enum Ended {
    Stopped,
    /// Entries were read, or not, and then this happened.
    Broken {
        read: bool,
        reason: String,
    },
}

/// A batch in the making.
#[derive(Default)]
struct Gathered {
    entries: Vec<Entry>,
    /// The last entry read, also where it is not part of the batch.
    last: Option<Cursor>,
    gap: Option<Gap>,
    bytes: usize,
    since: Option<Instant>,
}

impl Journal {
    /// A journal as the settings name it, from where it was left.
    ///
    /// # Errors
    /// A redaction pattern is none.
    pub fn new(settings: &Settings) -> Result<Self, regex::Error> {
        let journald = &settings.journald;
        let mut arguments = Vec::new();
        if !journald.directory.is_empty() {
            arguments.push(format!("--directory={}", journald.directory));
        }
        arguments.extend(journald.files.iter().map(|file| format!("--file={file}")));
        arguments.extend(journald.units.iter().map(|unit| format!("--unit={unit}")));
        let file = match journald.cursor_file.as_str() {
            "" => settings.queue.dir.join("journald.cursor"),
            path => PathBuf::from(path),
        };
        let mut exclude = journald.exclude_units.clone();
        exclude.extend(own_unit(Path::new("/proc/self/cgroup")));
        let lookback = Duration::from_secs(journald.lookback_hours.saturating_mul(3600));
        Ok(Self::open(
            Source { program: journald.program.clone(), arguments },
            File::new(file),
            journald.batch_size,
            exclude,
            lookback,
            SILENCE,
        )
        .with_node(settings.node.name.clone())
        .with_redaction(Redaction::new(&journald.redact)?))
    }

    /// A journal read from `source`, with its position in `file`.
    pub fn open(
        source: Source,
        file: File,
        batch_size: usize,
        exclude: Vec<String>,
        lookback: Duration,
        silence: Duration,
    ) -> Self {
        let back = i64::try_from(lookback.as_nanos()).unwrap_or(i64::MAX);
        let since = u64::try_from(crate::now().saturating_sub(back).max(0) / 1000).unwrap_or(0);
        let position = file.load().unwrap_or(Position { since, ..Position::default() });
        Self {
            source,
            file,
            position,
            batch_size: batch_size.max(1),
            exclude,
            own: Own::read(),
            unmade: 0,
            node: String::new(),
            redaction: Redaction::default(),
            silence,
            counts: Counts::default(),
        }
    }

    fn with_node(mut self, node: String) -> Self {
        self.node = node;
        self
    }

    /// Hides what matches in all texts.
    pub fn with_redaction(mut self, redaction: Redaction) -> Self {
        self.redaction = redaction;
        self
    }

    /// Follows until `stop`.
    pub async fn run(mut self, sink: Arc<dyn Sink>, stop: CancellationToken) -> Counts {
        let mut pause = PAUSE_MIN;
        loop {
            match self.follow(sink.as_ref(), &stop).await {
                Ended::Stopped => return self.counts,
                Ended::Broken { read, reason } => {
                    pause = if read { PAUSE_MIN } else { pause };
                    self.counts.restarts += 1;
                    tracing::warn!(again_in = ?pause, "following the journal ended: {reason}");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return self.counts,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Where to begin; `true` where the last entry is gone.
    async fn start(&self) -> io::Result<(Start, bool)> {
        let Some(cursor) = self.position.cursor() else { return Ok((Start::Since(self.position.since), false)) };
        let answer = self.source.ask(Some(&cursor.text)).await?;
        let found = entry::parse(answer.trim_ascii(), &Redaction::default(), &mut 0);
        if found.is_ok_and(|entry| entry.cursor.text == cursor.text) {
            return Ok((Start::After(cursor.text), false));
        }
        tracing::warn!(cursor = cursor.text, "the last entry read is gone from the journal");
        Ok((Start::Since(cursor.time.saturating_sub(OVERLAP)), true))
    }

    async fn follow(&mut self, sink: &dyn Sink, stop: &CancellationToken) -> Ended {
        let broken = |reason: String| Ended::Broken { read: false, reason };
        let (start, vanished) = match self.start().await {
            Ok(start) => start,
            Err(error) => return broken(format!("run {}: {error}", self.source.program)),
        };
        let mut follower = match self.source.follow(&start) {
            Ok(follower) => follower,
            Err(error) => return broken(format!("run {}: {error}", self.source.program)),
        };
        let before = self.counts.entries;
        let reason = self.read(&mut follower, vanished, sink, stop).await;
        let status = follower.end().await;
        match reason {
            None => Ended::Stopped,
            Some(reason) => {
                Ended::Broken { read: self.counts.entries > before, reason: format!("{reason} ({status})") }
            }
        }
    }

    /// Reads until the child ends or is given up (then why), or until `stop` (then nothing).
    async fn read(
        &mut self,
        follower: &mut Follower,
        vanished: bool,
        sink: &dyn Sink,
        stop: &CancellationToken,
    ) -> Option<String> {
        let mut gathered = Gathered::default();
        // Until the first entry that was not read before.
        let mut lost = if vanished { self.position.cursor() } else { None };
        loop {
            let wait = if self.remaking(&gathered) { REMAKE_WAIT } else { BATCH_WAIT };
            let flush_at = gathered.since.map(|since| since + wait);
            let line = tokio::select! {
                () = stop.cancelled() => {
                    // What is gathered is not lost: it is read again after the next start.
                    return None;
                }
                line = follower.next() => line,
                () = at(flush_at), if flush_at.is_some() => {
                    if !self.give(&mut gathered, sink, stop).await {
                        return None;
                    }
                    continue;
                }
                () = tokio::time::sleep(self.silence) => {
                    match self.missed(&gathered).await {
                        None => continue,
                        Some(reason) => return Some(reason),
                    }
                }
            };
            match line {
                Ok(Line::Whole) => self.take(follower.line(), &mut gathered, &mut lost),
                Ok(Line::TooLong) => self.bad_line("longer than it may be"),
                Ok(Line::End) | Err(_) if self.remaking(&gathered) && self.unmade < REMAKES => {
                    self.unmade += 1;
                    return Some("it exited before a batch was whole again".into());
                }
                Ok(Line::End) | Err(_) => {
                    let given = self.give(&mut gathered, sink, stop).await;
                    return given.then(|| line.map_or_else(|error| error.to_string(), |_end| "it exited".into()));
                }
            }
            if self.full(&gathered) && !self.give(&mut gathered, sink, stop).await {
                return None;
            }
        }
    }

    fn bad_line(&mut self, reason: &str) {
        self.counts.bad_lines += 1;
        tracing::warn!(count = self.counts.bad_lines, "a line of journalctl is no entry: {reason}");
    }

    fn take(&mut self, line: &[u8], gathered: &mut Gathered, lost: &mut Option<Cursor>) {
        let entry = match entry::parse(line, &self.redaction, &mut self.counts.redacted) {
            Ok(entry) => entry,
            Err(reason) => return self.bad_line(&reason),
        };
        if let Some(last) = lost {
            if was_read(&entry.cursor, last) {
                self.counts.repeated += 1;
                return;
            }
            gathered.gap = gap(last, &entry.cursor);
            self.counts.gaps += u64::from(gathered.gap.is_some());
            *lost = None;
        }
        self.counts.suppressed += entry.suppressed;
        gathered.since.get_or_insert_with(Instant::now);
        gathered.last = Some(entry.cursor.clone());
        if self.own.wrote(&entry) || self.exclude.contains(&entry.unit) {
            self.counts.excluded += 1;
            return;
        }
        gathered.bytes += line.len();
        gathered.entries.push(entry);
    }

    /// Whether this is the beginning of a batch that an earlier start gave away, perhaps.
    fn remaking(&self, gathered: &Gathered) -> bool {
        let first = gathered.entries.first().map(|first| &first.cursor.text);
        let pending = self.position.pending.as_ref();
        pending.is_some_and(|pending| first == Some(&pending.first) && gathered.entries.len() < pending.count)
    }

    /// Whether the batch ends here: by size, or because a batch of an earlier start ended here.
    fn full(&self, gathered: &Gathered) -> bool {
        match &self.position.pending {
            Some(pending) if gathered.entries.first().is_some_and(|first| first.cursor.text == pending.first) => {
                gathered.entries.len() >= pending.count
            }
            _ => gathered.entries.len() >= self.batch_size || gathered.bytes >= BATCH_BYTES,
        }
    }

    /// Gives the batch to the sink and moves the position. `false` where `stop` came first.
    async fn give(&mut self, gathered: &mut Gathered, sink: &dyn Sink, stop: &CancellationToken) -> bool {
        let Gathered { entries, last: Some(last), gap, .. } = std::mem::take(gathered) else { return true };
        if let (Some(first), Some(end)) = (entries.first(), entries.last()) {
            let mut pending =
                Pending { first: first.cursor.text.clone(), last: end.cursor.text.clone(), count: entries.len(), gap };
            // Made again after a crash: under the same id, with the same record of a gap.
            match self.position.pending.take() {
                Some(earlier) if earlier.first == pending.first && earlier.last == pending.last => pending = earlier,
                _ => {}
            }
            self.position.pending = Some(pending.clone());
            if !self.save(stop).await {
                return false;
            }
            let batch = self.batch(&entries, &pending);
            if !self.write(batch, sink, stop).await {
                return false;
            }
            self.counts.entries += entries.len() as u64;
            self.counts.batches += 1;
        }
        self.unmade = 0;
        self.position.cursor = Some(last.text);
        self.position.pending = None;
        self.save(stop).await
    }

    /// Writes the position, again and again while the disk refuses. `false` where `stop` came first.
    async fn save(&self, stop: &CancellationToken) -> bool {
        let mut pause = PAUSE_MIN;
        loop {
            let (file, position) = (self.file.clone(), self.position.clone());
            let saved = tokio::task::spawn_blocking(move || file.save(&position)).await;
            match saved.map_err(io::Error::other).flatten() {
                Ok(()) => return true,
                Err(error) => tracing::error!(%error, "cannot keep the journal position; the journal waits"),
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Writes a batch, again and again while it may be: meanwhile nothing more is read. `false` where `stop` came first.
    async fn write(&self, batch: Batch, sink: &dyn Sink, stop: &CancellationToken) -> bool {
        loop {
            let error = match sink.write(batch.clone()).await {
                Ok(_) => return true,
                Err(error) => error,
            };
            let Some(pause) = error.retry_after() else {
                // Never for what is written here, but a batch must not stop all that follow.
                tracing::error!(%error, "entries of the journal were refused");
                return true;
            };
            tracing::warn!(%error, "the journal waits");
            if matches!(error, WriteError::Closed) {
                return false;
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn batch(&self, entries: &[Entry], pending: &Pending) -> Batch {
        let bounds = format!("{}\n{}\n{}", pending.first, pending.last, pending.count);
        let id: Option<BatchId> = format!("journald-{:032x}", xxh3_128(bounds.as_bytes())).parse().ok();
        let request = self.request(entries, pending.gap.as_ref());
        Batch { signal: Signal::Logs, id, path: IngestPath::Collector, received: crate::now(), request: request.into() }
    }

    /// One resource for each service of each host, in the order in which they come first.
    fn request(&self, entries: &[Entry], gap: Option<&Gap>) -> Vec<u8> {
        let mut groups: Vec<(&Entry, Vec<&Entry>)> = Vec::new();
        for entry in entries {
            let alike =
                |one: &Entry| (&one.service, &one.host, &one.machine) == (&entry.service, &entry.host, &entry.machine);
            match groups.iter_mut().rev().find(|(first, _)| alike(first)) {
                Some((_, group)) => group.push(entry),
                None => groups.push((entry, vec![entry])),
            }
        }
        let mut request = LogsRequest::new();
        let mut gap = gap;
        for (first, group) in groups {
            if let Some(gap) = gap.take() {
                request.resource(&self.resource("devmesh-collector", first), |scope| {
                    scope.record(&gap.record(&gap.attributes()));
                });
            }
            request.resource(&self.resource(&first.service, first), |scope| {
                group.iter().for_each(|entry| scope.record(&entry.record()));
            });
        }
        request.finish()
    }

    fn resource<'a>(&'a self, service: &'a str, entry: &'a Entry) -> Vec<Attribute<'a>> {
        let host = if self.node.is_empty() { &entry.host } else { &self.node };
        let mut attributes = vec![("service.name".into(), service.into())];
        for (key, value) in [("host.name", host), ("host.id", &entry.machine)] {
            if !value.is_empty() {
                attributes.push((key.into(), value.as_str().into()));
            }
        }
        attributes.push(("devmesh.source".into(), "journald".into()));
        attributes
    }

    /// After a silence: whether the journal has an entry that the child does not show.
    async fn missed(&self, gathered: &Gathered) -> Option<String> {
        let newest = match self.source.ask(None).await {
            Ok(answer) => entry::parse(answer.trim_ascii(), &Redaction::default(), &mut 0).ok()?,
            Err(error) => {
                tracing::warn!(%error, "the journal does not answer");
                return None;
            }
        };
        let read = gathered.last.as_ref().map(|last| &last.text).or(self.position.cursor.as_ref());
        let fresh = newest.cursor.time >= self.position.since;
        (fresh && read != Some(&newest.cursor.text)).then(|| "it was silent while there are newer entries".into())
    }
}

/// Whether an entry was read before the entry `last` or is it. Within one numbering the number says so; otherwise the
/// time does, as journalctl interleaves its files by time.
fn was_read(cursor: &Cursor, last: &Cursor) -> bool {
    if cursor.numbering == last.numbering { cursor.number <= last.number } else { cursor.time <= last.time }
}

/// What is missing between two entries; `None` where the numbering says that nothing is.
fn gap(last: &Cursor, next: &Cursor) -> Option<Gap> {
    let count = (last.numbering == next.numbering).then(|| next.number.saturating_sub(last.number + 1));
    (count != Some(0)).then_some(Gap { from: last.time, to: next.time, count })
}

impl Gap {
    fn attributes(&self) -> Vec<Attribute<'static>> {
        let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let mut attributes =
            vec![("devmesh.gap.from_us".into(), number(self.from)), ("devmesh.gap.to_us".into(), number(self.to))];
        attributes.extend(self.count.map(|count| ("devmesh.gap.entries".into(), number(count))));
        attributes
    }

    fn record<'a>(&self, attributes: &'a [Attribute<'a>]) -> LogRecord<'a> {
        let body = match self.count {
            Some(count) => format!("the journal lost about {count} entries before they were read"),
            None => "the journal lost entries before they were read".into(),
        };
        LogRecord {
            time: self.to.saturating_mul(1000),
            observed_time: self.to.saturating_mul(1000),
            severity_number: 13,
            severity_text: "WARN",
            body: Some(Value::from(body)),
            attributes,
            event_name: "devmesh.journald.gap",
            ..LogRecord::default()
        }
    }
}

/// The systemd service that this process runs in: what it logs must not come round again.
fn own_unit(cgroup: &Path) -> Option<String> {
    let text = std::fs::read_to_string(cgroup).ok()?;
    let unit = text.lines().filter_map(|line| line.rsplit('/').next()).find(|name| name.ends_with(".service"))?;
    Some(unit.to_owned())
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
