//! What a log gives back from damaged files: reliability of recovery, byte by byte.

use std::fs;

use crate::support::{content, copy, record, reopen, segments, small};
use devmesh_wal::{Error, Options, Replay, open};

/// A log of `count` records, each a commit of its own.
fn write(dir: &std::path::Path, options: Options, count: u64) {
    let (mut log, recovery) = open(dir, options).unwrap();
    drop(recovery);
    for number in log.next()..log.next() + count {
        log.append(&[record(number)]).unwrap();
    }
}

fn one_segment() -> Options {
    Options { segment_bytes: 64 << 10, ..small() }
}

#[test]
fn a_segment_cut_anywhere_in_its_last_records_loses_only_what_is_not_whole() {
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("original");
    write(&original, one_segment(), 6);
    // Opening seals: the file ends with the last record.
    drop(reopen(&original, one_segment()).unwrap());
    let file = segments(&original).remove(0);
    let bytes = fs::read(&file).unwrap();
    let ends: Vec<usize> = (1..=6)
        .map(|number| {
            bytes.windows(content(number).len()).position(|window| window == content(number)).unwrap()
                + content(number).len()
        })
        .collect();
    for length in 0..=bytes.len() {
        let cut = dir.path().join("cut");
        copy(&original, &cut);
        let path = cut.join(file.file_name().unwrap());
        fs::write(&path, &bytes[..length]).unwrap();
        let (mut log, records, report) = reopen(&cut, one_segment()).unwrap();
        let whole = ends.iter().filter(|end| **end <= length).count() as u64;
        let expected: Vec<_> = (1..=whole).map(|number| (number, content(number))).collect();
        assert_eq!(records, expected, "cut at {length}");
        assert_eq!(report.lost_records, 0, "cut at {length}: nobody can know of what was cut off");
        assert_eq!(log.next(), whole + 1, "cut at {length}");
        // And what is written afterwards is there.
        log.append(&[record(100)]).unwrap();
        drop(log);
        let (_log, records, report) = reopen(&cut, one_segment()).unwrap();
        assert_eq!(records.len() as u64, whole + 1, "cut at {length}");
        assert_eq!(records.last().unwrap(), &(whole + 1, content(100)), "cut at {length}");
        assert_eq!(report.lost_records, 0, "cut at {length}");
        fs::remove_dir_all(&cut).unwrap();
    }
}

#[test]
fn a_flipped_bit_costs_the_record_it_is_in_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("original");
    write(&original, one_segment(), 12);
    drop(reopen(&original, one_segment()).unwrap());
    // A second segment, so that the first one's end is not the end of the log.
    write(&original, one_segment(), 1);
    let file = segments(&original).remove(0);
    let bytes = fs::read(&file).unwrap();
    let damaged = dir.path().join("damaged");
    for at in 0..bytes.len() {
        copy(&original, &damaged);
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(damaged.join(file.file_name().unwrap()), &flipped).unwrap();
        let (log, records, report) = reopen(&damaged, one_segment()).unwrap();
        drop(log);
        let missing: Vec<u64> = (1..=13).filter(|number| !records.contains(&(*number, content(*number)))).collect();
        assert!(missing.len() <= 1, "bit in byte {at}: lost {missing:?}");
        assert_eq!(records.len() + missing.len(), 13, "bit in byte {at}: nothing else comes back");
        assert_eq!(report.lost_records, missing.len() as u64, "bit in byte {at}");
        if !missing.is_empty() || at < 64 {
            assert_eq!(report.quarantined.len(), 1, "bit in byte {at}");
            assert_eq!(fs::read(&report.quarantined[0]).unwrap(), flipped, "bit in byte {at}: the copy");
            let refused = open(&damaged, Options { replay: Replay::Strict, ..one_segment() }).unwrap_err();
            assert!(matches!(refused, Error::Damaged { .. }), "bit in byte {at}: {refused}");
        }
        fs::remove_dir_all(&damaged).unwrap();
    }
}

#[test]
fn damage_in_the_last_segment_does_not_cost_the_records_after_it() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), one_segment(), 10);
    let file = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(8).position(|window| window == b"record 4").unwrap();
    bytes[at] = b'R';
    fs::write(&file, &bytes).unwrap();
    let (log, records, report) = reopen(dir.path(), one_segment()).unwrap();
    assert_eq!(records.len(), 9);
    assert!(!records.iter().any(|(seq, _)| *seq == 4));
    assert_eq!(report.lost_records, 1);
    assert_eq!(log.next(), 11);
}

#[test]
fn a_commit_whose_pages_reached_the_disk_out_of_order_is_no_reason_for_strict_to_refuse() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), one_segment()).unwrap();
    log.append(&[record(1)]).unwrap();
    log.append(&[record(2), record(3), record(4)]).unwrap();
    drop(log);
    let file = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(8).position(|window| window == b"record 2").unwrap() - 24;
    bytes[at..at + 24].fill(0);
    fs::write(&file, &bytes).unwrap();
    let strict = Options { replay: Replay::Strict, ..one_segment() };
    let (_log, records, report) = reopen(dir.path(), strict).unwrap();
    assert_eq!(records.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!(report.lost_records, 1);
}

#[test]
fn zeros_after_the_last_record_are_its_end_and_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), one_segment(), 3);
    assert_eq!(fs::metadata(&segments(dir.path())[0]).unwrap().len(), 64 << 10, "space is reserved");
    let strict = Options { replay: Replay::Strict, ..one_segment() };
    let (_log, records, report) = reopen(dir.path(), strict).unwrap();
    assert_eq!(records.len(), 3);
    assert_eq!((report.torn_bytes, report.lost_bytes), (0, 0));
}

#[test]
fn a_length_of_four_gigabytes_is_damage_and_not_an_allocation() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), one_segment(), 3);
    let file = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[64..68].fill(0xff);
    fs::write(&file, &bytes).unwrap();
    let (_log, records, report) = reopen(dir.path(), one_segment()).unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(report.lost_records, 1);
}

/// What a test does to the three segments of a log of 12 records (1–4, 5–8, 9–12).
struct Case {
    name: &'static str,
    harm: fn(&std::path::Path, &[std::path::PathBuf]),
    left: &'static [u64],
    lost: u64,
    strict_refuses: bool,
}

const CASES: &[Case] = &[
    Case {
        name: "nothing",
        harm: |_, _| {},
        left: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        lost: 0,
        strict_refuses: false,
    },
    Case {
        name: "the first segment is gone",
        harm: |_, files| fs::remove_file(&files[0]).unwrap(),
        left: &[5, 6, 7, 8, 9, 10, 11, 12],
        lost: 4,
        strict_refuses: true,
    },
    Case {
        name: "the middle segment is gone",
        harm: |_, files| fs::remove_file(&files[1]).unwrap(),
        left: &[1, 2, 3, 4, 9, 10, 11, 12],
        lost: 4,
        strict_refuses: true,
    },
    Case {
        name: "the middle segment has no bytes",
        harm: |_, files| fs::write(&files[1], b"").unwrap(),
        left: &[1, 2, 3, 4, 9, 10, 11, 12],
        lost: 4,
        strict_refuses: true,
    },
    Case {
        name: "the last segment has no bytes",
        harm: |_, files| fs::write(&files[2], b"").unwrap(),
        left: &[1, 2, 3, 4, 5, 6, 7, 8],
        lost: 0,
        strict_refuses: false,
    },
    Case {
        name: "the last segment is noise",
        harm: |_, files| fs::write(&files[2], [0x5a; 3000]).unwrap(),
        left: &[1, 2, 3, 4, 5, 6, 7, 8],
        lost: 0,
        strict_refuses: true,
    },
    Case {
        name: "the last but one is damaged at its end and the last has no bytes",
        harm: |_, files| {
            let mut bytes = fs::read(&files[1]).unwrap();
            *bytes.iter_mut().rfind(|byte| **byte != 0).unwrap() ^= 1;
            fs::write(&files[1], bytes).unwrap();
            fs::write(&files[2], b"").unwrap();
        },
        left: &[1, 2, 3, 4, 5, 6, 7],
        lost: 1,
        strict_refuses: true,
    },
    Case {
        name: "the middle segment is noise",
        harm: |_, files| fs::write(&files[1], [0x5a; 3000]).unwrap(),
        left: &[1, 2, 3, 4, 9, 10, 11, 12],
        lost: 4,
        strict_refuses: true,
    },
    Case {
        name: "the middle segment is there twice",
        harm: |dir, files| {
            fs::copy(&files[1], dir.join("0000000099-00000000000000000099.wal")).unwrap();
        },
        left: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        lost: 0,
        strict_refuses: false,
    },
    Case {
        name: "a segment was renamed",
        harm: |dir, files| fs::rename(&files[0], dir.join("copy of a file.wal")).unwrap(),
        left: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        lost: 0,
        strict_refuses: false,
    },
    Case {
        name: "other files lie about",
        harm: |dir, _| {
            fs::write(dir.join("0000000001-00000000000000000001.tmp"), b"unfinished").unwrap();
            fs::write(dir.join("notes.wal"), b"not a segment").unwrap();
            fs::create_dir(dir.join("lost+found")).unwrap();
        },
        left: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        lost: 0,
        strict_refuses: false,
    },
    Case {
        name: "the identity is gone",
        harm: |dir, _| fs::remove_file(dir.join("ID")).unwrap(),
        left: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        lost: 0,
        strict_refuses: false,
    },
    Case {
        name: "the identity and the mark are noise",
        harm: |dir, _| {
            fs::write(dir.join("ID"), [0xff; 7]).unwrap();
            fs::write(dir.join("TRIM"), [0xff; 7]).unwrap();
        },
        left: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        lost: 0,
        strict_refuses: false,
    },
];

#[test]
fn missing_empty_foreign_and_second_files_cost_what_they_held() {
    for case in CASES {
        let dir = tempfile::tempdir().unwrap();
        for _segment in 0..3 {
            // Each opening begins a segment.
            write(dir.path(), one_segment(), 4);
        }
        let files = segments(dir.path());
        assert_eq!(files.len(), 3);
        (case.harm)(dir.path(), &files);
        let strict = tempfile::tempdir().unwrap();
        copy(dir.path(), strict.path());
        let opened = open(strict.path(), Options { replay: Replay::Strict, ..one_segment() });
        assert_eq!(opened.is_err(), case.strict_refuses, "{}: strict", case.name);
        let (log, records, report) = reopen(dir.path(), one_segment()).unwrap();
        let left: Vec<_> = case.left.iter().map(|number| (*number, content(*number))).collect();
        assert_eq!(records, left, "{}", case.name);
        assert_eq!(report.lost_records, case.lost, "{}", case.name);
        assert!(log.next() > *case.left.last().unwrap(), "{}: numbers are not given twice", case.name);
        assert!(!dir.path().join("0000000001-00000000000000000001.tmp").exists(), "{}", case.name);
    }
}

#[test]
fn a_segment_of_another_log_is_refused_by_name() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(one.path(), one_segment(), 1);
    write(other.path(), one_segment(), 1);
    write(other.path(), one_segment(), 1);
    let stray = segments(other.path()).remove(1);
    fs::copy(&stray, one.path().join(stray.file_name().unwrap())).unwrap();
    let error = open(one.path(), one_segment()).unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
    assert!(error.to_string().contains(&*stray.file_name().unwrap().to_string_lossy()), "{error}");
}

#[test]
fn a_segment_of_a_later_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), one_segment(), 1);
    let file = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&file, &bytes).unwrap();
    let error = open(dir.path(), one_segment()).unwrap_err();
    assert!(matches!(error, Error::Version { found: 2, .. }), "{error}");
}

#[test]
fn a_second_process_is_told_that_the_directory_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), small()).unwrap();
    let error = open(dir.path(), small()).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    drop(first);
    open(dir.path(), small()).unwrap();
}

#[test]
fn a_record_that_holds_a_whole_segment_is_not_taken_for_records_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), one_segment(), 5);
    drop(reopen(dir.path(), one_segment()).unwrap());
    let file = segments(dir.path()).remove(0);
    let forged = bytes::Bytes::from(fs::read(&file).unwrap());
    let (mut log, _) = open(dir.path(), one_segment()).unwrap();
    log.append(&[forged.into()]).unwrap();
    log.append(&[record(7)]).unwrap();
    drop(log);
    // Damage the header of the record around it: the search for the next frame goes through its content.
    let file = segments(dir.path()).remove(1);
    let mut bytes = fs::read(&file).unwrap();
    bytes[64] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let (_log, records, report) = reopen(dir.path(), one_segment()).unwrap();
    assert_eq!(records.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 7]);
    assert_eq!(report.lost_records, 1);
}
