//! Reading a log while it is written.

use devmesh_wal::open;

use crate::support::{content, record, segments, small};

#[test]
fn a_reader_follows_the_log_through_its_segments_and_never_reads_ahead_of_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), small()).unwrap();
    let mut reader = log.reader(1);
    assert_eq!(reader.read(0).unwrap(), None);
    let mut read = 0;
    for number in 1..=500 {
        log.append(&[record(number)]).unwrap();
        if let Some((seq, bytes)) = reader.read(number - 1).unwrap() {
            read += 1;
            assert!(seq < number, "not before it is committed");
            assert_eq!((seq, bytes), (read, content(read)));
        }
        if number % 3 == 0 {
            while let Some((seq, bytes)) = reader.read(number).unwrap() {
                read += 1;
                assert_eq!((seq, bytes), (read, content(read)));
            }
            assert_eq!(read, number);
            log.trim(number - 2).unwrap();
        }
    }
    assert!(segments(dir.path()).len() < 4);
    let mut late = log.reader(1);
    let (first, bytes) = late.read(500).unwrap().unwrap();
    assert_eq!(bytes, content(first), "what was trimmed is passed over");
    drop(log);
    let (mut log, recovery) = open(dir.path(), small()).unwrap();
    drop(recovery);
    let mut reader = log.reader(log.trimmed() + 1);
    assert_eq!(reader.read(500).unwrap().unwrap().0, 497);
    log.append(&[record(501)]).unwrap();
    let rest: Vec<u64> = std::iter::from_fn(|| reader.read(501).unwrap()).map(|(seq, _)| seq).collect();
    assert_eq!(rest, [498, 499, 500, 501]);
}

#[test]
fn a_forked_reader_begins_where_it_is_told_and_leaves_the_other_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), small()).unwrap();
    let mut reader = log.reader(1);
    for number in 1..=50 {
        log.append(&[record(number)]).unwrap();
    }
    assert_eq!(reader.read(50).unwrap(), Some((1, content(1))));
    let mut fork = reader.fork(40);
    let rest: Vec<u64> = std::iter::from_fn(|| fork.read(45).unwrap()).map(|(seq, _)| seq).collect();
    assert_eq!(rest, [40, 41, 42, 43, 44, 45]);
    log.append(&[record(51)]).unwrap();
    assert_eq!(fork.read(51).unwrap(), Some((46, content(46))), "it follows the log as well");
    assert_eq!(reader.read(51).unwrap(), Some((2, content(2))));
}
