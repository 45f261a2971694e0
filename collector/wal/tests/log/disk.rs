//! A log on a disk that fills up, turns read-only, or loses its files: refused, never half there, and on again by itself.

use std::fs;

use crate::support::{ReadOnly, SmallDisk, content, record, reopen, segments, small};
use devmesh_wal::{CommitError, Options, Record, open};

fn large(number: u64) -> Record {
    Record::new([content(number), vec![number as u8; 100_000].into()])
}

#[test]
fn a_full_disk_refuses_whole_groups_and_takes_more_when_space_returns() {
    let disk = SmallDisk::new("3m");
    let dir = disk.path().join("log");
    let options = Options { segment_bytes: 256 << 10, max_bytes: 1 << 30, ..Options::default() };
    let (mut log, _) = open(&dir, options).unwrap();
    let mut committed = Vec::new();
    let refused = loop {
        let next = log.next();
        match log.append(&[large(next), large(next + 1)]) {
            Ok(numbers) => committed.extend(numbers),
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, CommitError::Unavailable(why) if why.contains("No space left")), "{refused}");
    assert!(committed.len() >= 10);
    // Again and again, and nothing of it stays.
    for _try in 0..3 {
        log.append(&[large(0)]).unwrap_err();
    }
    let half = committed[committed.len() / 2];
    log.trim(half).unwrap();
    committed.retain(|seq| *seq > half);
    let after = log.append(&[record(77)]).unwrap();
    drop(log);
    let (_log, records, report) = reopen(&dir, options).unwrap();
    let numbers: Vec<u64> = records.iter().map(|(seq, _)| *seq).collect();
    committed.extend(after.clone());
    assert_eq!(numbers, committed);
    assert_eq!(records.last().unwrap().1, content(77));
    assert_eq!(report.lost_records, 0);
}

#[test]
fn a_commit_that_fails_half_way_leaves_nothing_behind() {
    // A sparse file: the file system has no fallocate worth the name once it is full, so the write itself fails.
    let disk = SmallDisk::new("1m");
    let dir = disk.path().join("log");
    let options = Options { segment_bytes: 300 << 10, max_bytes: 1 << 30, ..Options::default() };
    let (mut log, _) = open(&dir, options).unwrap();
    log.append(&[record(1)]).unwrap();
    // Punch the reserved space away, as a file system with copy on write may, and fill the disk.
    let file = segments(&dir).remove(0);
    let handle = fs::OpenOptions::new().write(true).open(&file).unwrap();
    handle.set_len(8 << 10).unwrap();
    handle.set_len(300 << 10).unwrap();
    let free = disk.path().join("ballast");
    let mut ballast = fs::File::create(&free).unwrap();
    let filled = std::io::copy(&mut std::io::repeat(1), &mut ballast);
    assert!(filled.is_err(), "the disk is full");
    let error = log.append(&[large(2), large(3)]).unwrap_err();
    assert!(matches!(error, CommitError::Unavailable(_)), "{error}");
    drop(ballast);
    fs::remove_file(&free).unwrap();
    assert_eq!(log.append(&[large(2)]).unwrap(), 2..3);
    drop(log);
    let (_log, records, report) = reopen(&dir, options).unwrap();
    assert_eq!(records.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((report.lost_records, report.lost_bytes), (0, 0));
}

#[test]
fn what_a_failed_commit_wrote_is_void_once_a_later_segment_takes_its_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 64 << 10, ..small() };
    let (mut log, _) = open(dir.path(), options).unwrap();
    log.append(&[record(1), record(2)]).unwrap();
    log.append(&[record(3)]).unwrap();
    drop(log);
    // As if 3 had been refused and its bytes could not be cut off: the next segment begins with number 3.
    let keep = fs::read(&segments(dir.path())[0]).unwrap();
    let cut = keep.windows(8).position(|window| window == b"record 3").unwrap() - 24;
    fs::OpenOptions::new().write(true).open(&segments(dir.path())[0]).unwrap().set_len(cut as u64).unwrap();
    let (mut log, _) = open(dir.path(), options).unwrap();
    log.append(&[record(33)]).unwrap();
    drop(log);
    fs::write(&segments(dir.path())[0], &keep).unwrap();
    let (_log, records, report) = reopen(dir.path(), options).unwrap();
    assert_eq!(records, [(1, content(1)), (2, content(2)), (3, content(33))]);
    assert_eq!(report.lost_records, 0);
}

#[test]
fn a_read_only_disk_is_refused_and_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), small()).unwrap();
    let read_only = ReadOnly::new(dir.path());
    for _again in 0..2 {
        let refused = log.append(&[record(1)]).unwrap_err();
        assert!(matches!(&refused, CommitError::Unavailable(why) if why.contains("Read-only")), "{refused}");
    }
    drop(read_only);
    assert_eq!(log.append(&[record(1)]).unwrap(), 1..2);
    drop(log);
    let (_log, records, _) = reopen(dir.path(), small()).unwrap();
    assert_eq!(records, [(1, content(1))]);
}

#[test]
fn a_directory_deleted_under_the_log_is_not_written_into_the_void() {
    let dir = tempfile::tempdir().unwrap();
    let log_dir = dir.path().join("log");
    let (mut log, _) = open(&log_dir, small()).unwrap();
    log.append(&[record(1)]).unwrap();
    fs::remove_dir_all(&log_dir).unwrap();
    let error = log.append(&[record(2)]).unwrap_err();
    assert!(matches!(error, CommitError::Unavailable(_)), "{error}");
    assert!(!log_dir.exists(), "an empty log is not put in its place");
}

#[test]
fn a_full_log_refuses_until_it_is_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 4 << 10, max_bytes: 16 << 10, ..Options::default() };
    let (mut log, _) = open(dir.path(), options).unwrap();
    let refused = loop {
        let next = log.next();
        if let Err(error) = log.append(&[record(next)]) {
            break error;
        }
    };
    assert!(matches!(&refused, CommitError::Unavailable(why) if why.contains("full")), "{refused}");
    assert!(log.bytes() <= 16 << 10);
    let last = log.next() - 1;
    log.trim(last).unwrap();
    assert_eq!(log.append(&[record(last + 1)]).unwrap(), last + 1..last + 2);
}

#[test]
fn trimmed_records_do_not_come_again_and_their_numbers_are_not_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), small()).unwrap();
    for number in 1..=200 {
        log.append(&[record(number)]).unwrap();
    }
    log.trim(150).unwrap();
    let left = log.segments();
    drop(log);
    let (mut log, records, report) = reopen(dir.path(), small()).unwrap();
    assert!(left < 4, "{left} segments");
    assert_eq!(records.first().unwrap().0, 151);
    assert_eq!(records.len(), 50);
    assert_eq!(report.lost_records, 0);
    log.trim(200).unwrap();
    drop(log);
    let (log, records, _) = reopen(dir.path(), small()).unwrap();
    assert!(records.is_empty());
    assert_eq!(log.next(), 201);
    assert_eq!(segments(dir.path()).len(), 0, "nothing is kept of what is done with");
    drop(log);
    let (mut log, _, _) = reopen(dir.path(), small()).unwrap();
    log.advance_past(1000).unwrap();
    log.advance_past(5).unwrap();
    assert_eq!(log.append(&[record(1)]).unwrap(), 1001..1002);
    drop(log);
    let (_log, records, report) = reopen(dir.path(), small()).unwrap();
    assert_eq!(records, [(1001, content(1))]);
    assert_eq!(report.lost_records, 0, "numbers passed over on purpose are not lost");
}

#[test]
fn a_record_larger_than_a_segment_gets_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), small()).unwrap();
    log.append(&[record(1)]).unwrap();
    log.append(&[Record::new([content(2), vec![7; 300_000].into()])]).unwrap();
    log.append(&[Record::default(), record(4)]).unwrap();
    drop(log);
    let (_log, records, _) = reopen(dir.path(), small()).unwrap();
    assert_eq!(records.iter().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>()[1..3], [300_000 + content(2).len(), 0]);
}
