//! Group commit: what is acknowledged is on disk, in order, and applied once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use crate::support::{SmallDisk, reopen, small};
use bytes::Bytes;
use devmesh_wal::{CommitError, GroupCommit, Options, Record, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_64_writers_were_told_is_stored_is_there_in_the_order_it_was_applied() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 32 << 10, max_bytes: 64 << 20, ..Options::default() };
    let (log, _) = open(dir.path(), options).unwrap();
    let applied = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&applied);
    let commit = Arc::new(GroupCommit::start(log, move |group| seen.lock().unwrap().extend(group)).unwrap());
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..64u32 {
        let commit = Arc::clone(&commit);
        writers.spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0..20u32 {
                let content = format!("writer {writer} record {number}");
                let pieces = [Bytes::from(content.clone()), Bytes::from(vec![b' '; number as usize])];
                acknowledged.push((commit.commit(pieces.into(), content.clone()).await.unwrap(), content));
            }
            acknowledged
        });
    }
    let acknowledged: BTreeMap<u64, String> = writers.join_all().await.into_iter().flatten().collect();
    assert_eq!(acknowledged.len(), 64 * 20);
    let stats = commit.stats();
    assert!(stats.commits < stats.records, "{stats:?}: what waits is joined");
    // As a crash would leave it: the files are read while the log is still open elsewhere.
    let copy = tempfile::tempdir().unwrap();
    crate::support::copy(dir.path(), copy.path());
    let (_log, records, report) = reopen(copy.path(), options).unwrap();
    assert_eq!(report.lost_records, 0);
    let recovered: BTreeMap<u64, String> = records
        .into_iter()
        .map(|(seq, bytes)| (seq, String::from_utf8(bytes.to_vec()).unwrap().trim_end().into()))
        .collect();
    assert_eq!(recovered, acknowledged);
    let applied = applied.lock().unwrap().clone();
    assert!(applied.is_sorted_by_key(|(seq, _)| *seq));
    assert_eq!(applied.into_iter().collect::<BTreeMap<_, _>>(), acknowledged);
    commit.close().await;
    reopen(dir.path(), options).unwrap();
}

#[tokio::test]
async fn a_record_whose_sender_went_away_is_applied_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), small()).unwrap();
    let (hold, held) = mpsc::channel::<()>();
    let (apply, mut applied) = tokio::sync::mpsc::channel(16);
    let commit = GroupCommit::start(log, move |group: Vec<(u64, &'static str)>| {
        held.recv_timeout(Duration::from_secs(60)).unwrap();
        group.into_iter().for_each(|one| apply.blocking_send(one).unwrap());
    })
    .unwrap();
    // A future that is dropped while its record is being committed.
    let first = commit.commit(Bytes::from_static(b"one").into(), "one");
    assert!(tokio::time::timeout(Duration::from_millis(50), first).await.is_err());
    hold.send(()).unwrap();
    assert_eq!(applied.recv().await.unwrap(), (1, "one"));
    hold.send(()).unwrap();
    assert_eq!(commit.commit(Bytes::from_static(b"two").into(), "two").await.unwrap(), 2);
    assert_eq!(applied.recv().await.unwrap(), (2, "two"), "applied before it was answered");
    commit.close().await;
    assert_eq!(commit.commit(Bytes::new().into(), "late").await, Err(CommitError::Closed));
    let (_log, records, _) = reopen(dir.path(), small()).unwrap();
    assert_eq!(records.len(), 2);
}

#[tokio::test]
async fn a_full_queue_waits_and_then_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { queue_bytes: 1000, wait: Duration::from_millis(50), ..small() };
    let (log, _) = open(dir.path(), options).unwrap();
    let (hold, held) = mpsc::channel::<()>();
    let commit = Arc::new(
        GroupCommit::start(log, move |_group: Vec<(u64, ())>| held.recv_timeout(Duration::from_secs(60)).unwrap())
            .unwrap(),
    );
    let blocked = tokio::spawn({
        let commit = Arc::clone(&commit);
        async move { commit.commit(Bytes::from(vec![0; 5000]).into(), ()).await }
    });
    while commit.stats().waiting_bytes < 1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(commit.commit(Bytes::from_static(b"more").into(), ()).await, Err(CommitError::Full));
    hold.send(()).unwrap();
    assert_eq!(blocked.await.unwrap(), Ok(1));
    let too_large = commit.commit(Bytes::from(vec![0; 2 << 20]).into(), ()).await;
    assert!(matches!(too_large, Err(CommitError::TooLarge { .. })), "{too_large:?}");
    assert_eq!(commit.stats().waiting_bytes, 0);
}

#[tokio::test]
async fn senders_are_refused_on_a_full_disk_and_served_again_after_a_trim() {
    let disk = SmallDisk::new("2m");
    let dir = disk.path().join("log");
    let options = Options { segment_bytes: 256 << 10, max_bytes: 1 << 30, ..Options::default() };
    let (log, _) = open(&dir, options).unwrap();
    let commit = GroupCommit::start(log, |_group: Vec<(u64, ())>| {}).unwrap();
    let big = || Record::from(Bytes::from(vec![1; 100_000]));
    let mut last = 0;
    let refused = loop {
        match commit.commit(big(), ()).await {
            Ok(seq) => last = seq,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, CommitError::Unavailable(_)), "{refused}");
    assert!(commit.stats().unavailable.is_some());
    commit.trim(last);
    assert_eq!(commit.commit(big(), ()).await.or(commit.commit(big(), ()).await), Ok(last + 1));
    assert_eq!(commit.stats().unavailable, None);
    commit.close().await;
    let (_log, records, _) = reopen(&dir, options).unwrap();
    assert!(records.iter().all(|(seq, _)| *seq > last));
}
