//! The journal, read from real journal files by the real journalctl.

use std::{path::Path, sync::Arc, time::Duration};

use devmesh_collector::journald::{
    Counts, Journal,
    child::Source,
    position::{File, Pending, Position},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{JournalEntry, Recorder, attribute, eventually, now, write_journal};

/// A journal being followed into a recorder.
pub(crate) struct Following {
    pub(crate) recorder: Arc<Recorder>,
    stop: CancellationToken,
    task: JoinHandle<Counts>,
}

pub(crate) fn open(dir: &Path, program: &str, batch: usize, silence: Duration) -> Journal {
    let source =
        Source { program: program.into(), arguments: vec![format!("--directory={}", dir.join("journal").display())] };
    let exclude = vec!["own.service".to_owned()];
    Journal::open(source, File::new(dir.join("cursor")), batch, exclude, Duration::from_secs(86_400), silence)
}

pub(crate) fn follow(journal: Journal, recorder: Arc<Recorder>) -> Following {
    let stop = CancellationToken::new();
    let task = tokio::spawn(journal.run(Arc::<Recorder>::clone(&recorder), stop.clone()));
    Following { recorder, stop, task }
}

impl Following {
    pub(crate) fn start(dir: &Path, recorder: &Arc<Recorder>) -> Self {
        follow(open(dir, "journalctl", 10, Duration::from_secs(60)), Arc::clone(recorder))
    }

    pub(crate) async fn has(&self, count: usize) {
        eventually(&format!("{count} records"), || self.recorder.records().len() >= count).await;
    }

    pub(crate) async fn end(self) -> Counts {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

/// A directory with a journal in it.
pub(crate) fn journal(entries: &[JournalEntry]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("journal")).unwrap();
    if !entries.is_empty() {
        write_journal(&dir.path().join("journal/app.journal"), entries);
    }
    dir
}

pub(crate) fn numbered(range: std::ops::Range<u64>, begin: u64) -> Vec<JournalEntry> {
    range.map(|number| JournalEntry::new(begin + number, format!("message {number}").as_bytes())).collect()
}

pub(crate) fn messages(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| format!("message {number}")).collect()
}

fn position(dir: &Path) -> Position {
    File::new(dir.join("cursor")).load().unwrap()
}

#[tokio::test]
async fn entries_are_read_once_in_order_through_restarts_and_new_files() {
    let begin = now() - 3_600_000_000;
    let dir = journal(&numbered(0..25, begin));
    let recorder = Arc::new(Recorder::default());
    let following = Following::start(dir.path(), &recorder);
    following.has(25).await;
    let counts = following.end().await;
    // Three full ones, or more where entries came slowly.
    assert!(counts.entries == 25 && counts.batches >= 3, "{counts:?}");
    assert!(position(dir.path()).pending.is_none());
    // The agent is away; the journal grows and is rotated.
    write_journal(&dir.path().join("journal/app2.journal"), &numbered(25..40, begin));
    let following = Following::start(dir.path(), &recorder);
    following.has(40).await;
    // A file that comes while it follows.
    write_journal(&dir.path().join("journal/app3.journal"), &numbered(40..50, begin));
    following.has(50).await;
    following.end().await;
    assert_eq!(recorder.bodies(), messages(0..50));
    assert!(recorder.repeats.lock().unwrap().is_empty());
    let (resource, _) = &recorder.records()[0];
    assert_eq!(attribute(resource, "service.name").unwrap(), "app");
    assert_eq!(attribute(resource, "host.name").unwrap(), "h1");
    assert_eq!(attribute(resource, "devmesh.source").unwrap(), "journald");
}

#[tokio::test]
async fn a_batch_given_away_before_a_crash_is_made_again_with_the_same_bounds() {
    let begin = now() - 3_600_000_000;
    let dir = journal(&numbered(0..7, begin));
    let recorder = Arc::new(Recorder::default());
    let following = Following::start(dir.path(), &recorder);
    following.has(7).await;
    following.end().await;
    let after = position(dir.path());
    // As if the agent had died between the sink's answer and the position: and the journal has grown since.
    let cursors = cursors(dir.path());
    // All seven, unless they came slowly: then those of the last batch.
    let count = String::from_utf8_lossy(recorder.requests().last().unwrap()).matches("message ").count();
    let before = 7 - count;
    let pending = Pending { first: cursors[before].clone(), last: cursors[6].clone(), count, gap: None };
    let cursor = before.checked_sub(1).map(|last| cursors[last].clone());
    let crashed = Position { cursor, since: begin - 1_000_000, pending: Some(pending) };
    File::new(dir.path().join("cursor")).save(&crashed).unwrap();
    write_journal(&dir.path().join("journal/more.journal"), &numbered(7..12, begin));
    let following = Following::start(dir.path(), &recorder);
    following.has(12).await;
    following.end().await;
    assert_eq!(recorder.bodies(), messages(0..12), "nothing twice, nothing lost");
    assert_eq!(recorder.repeats.lock().unwrap().len(), 1, "the same id, which the server knows");
    assert_ne!(position(dir.path()).cursor, after.cursor);
}

fn cursors(dir: &Path) -> Vec<String> {
    let output = std::process::Command::new("journalctl")
        .arg(format!("--directory={}", dir.join("journal").display()))
        .args(["-o", "json", "--output-fields=MESSAGE"])
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let cursor =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["__CURSOR"].as_str().unwrap().to_owned();
    lines.lines().map(cursor).collect()
}

#[tokio::test]
async fn a_sink_that_refuses_stops_the_reading_and_loses_nothing() {
    let dir = journal(&numbered(0..30, now() - 3_600_000_000));
    let recorder = Arc::new(Recorder::default());
    recorder.refusals.lock().unwrap().push(devmesh_schema::WriteError::Full);
    let following = Following::start(dir.path(), &recorder);
    following.has(30).await;
    following.end().await;
    assert_eq!(recorder.bodies(), messages(0..30));
}

#[tokio::test]
async fn entries_that_the_journal_deleted_leave_a_gap_record_and_nothing_comes_twice() {
    let begin = now() - 3_600_000_000;
    let dir = journal(&numbered(0..5, begin));
    let recorder = Arc::new(Recorder::default());
    let following = Following::start(dir.path(), &recorder);
    following.has(5).await;
    following.end().await;
    // Vacuumed: the file with the position is gone, and so are entries that nobody read.
    std::fs::remove_file(dir.path().join("journal/app.journal")).unwrap();
    write_journal(&dir.path().join("journal/new.journal"), &numbered(100..103, begin + 60_000_000));
    let following = Following::start(dir.path(), &recorder);
    following.has(9).await;
    let counts = following.end().await;
    assert_eq!(counts.gaps, 1);
    let records = recorder.records();
    let (resource, gap) = &records[5];
    assert_eq!(gap.event_name, "devmesh.journald.gap");
    assert_eq!(gap.severity_number, 13);
    assert_eq!(attribute(&gap.attributes, "devmesh.gap.from_us").unwrap(), (begin + 4).to_string());
    assert_eq!(attribute(&gap.attributes, "devmesh.gap.to_us").unwrap(), (begin + 60_000_100).to_string());
    assert_eq!(attribute(resource, "service.name").unwrap(), "devmesh-collector");
    assert_eq!(&recorder.bodies()[6..], messages(100..103));
}

#[tokio::test]
async fn entries_around_a_vanished_position_are_told_apart() {
    let begin = now() - 3_600_000_000;
    let dir = journal(&numbered(0..5, begin));
    let recorder = Arc::new(Recorder::default());
    let following = Following::start(dir.path(), &recorder);
    following.has(5).await;
    following.end().await;
    // The same numbering and times, but the entry of the position itself cannot be found.
    let mut left = position(dir.path());
    let cursor = left.cursor.clone().unwrap();
    left.cursor = Some(format!("{}0", cursor));
    File::new(dir.path().join("cursor")).save(&left).unwrap();
    write_journal(&dir.path().join("journal/more.journal"), &numbered(5..8, begin));
    let following = Following::start(dir.path(), &recorder);
    eventually("message 7", || recorder.bodies().contains(&"message 7".to_owned())).await;
    let counts = following.end().await;
    assert_eq!(counts.repeated, 5);
    let bodies: Vec<_> = recorder.bodies().into_iter().filter(|body| body.starts_with("message")).collect();
    assert_eq!(bodies, messages(0..8));
}

#[tokio::test]
async fn without_a_position_reading_begins_at_the_lookback() {
    let mut entries = numbered(0..3, now() - 3 * 86_400_000_000);
    entries.extend(numbered(3..6, now() - 3_600_000_000));
    let dir = journal(&entries);
    for content in [None, Some(&b""[..]), Some(b"\xff garbage"), Some(b"{}")] {
        let recorder = Arc::new(Recorder::default());
        if let Some(content) = content {
            std::fs::write(dir.path().join("cursor"), content).unwrap();
            std::fs::remove_file(dir.path().join("cursor.bak")).unwrap();
        }
        let following = Following::start(dir.path(), &recorder);
        following.has(3).await;
        following.end().await;
        assert_eq!(recorder.bodies(), messages(3..6), "{content:?}");
    }
}
