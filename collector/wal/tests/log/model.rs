//! The log against a model of it: a list of records, of which a crash may cost only what nobody was told of.

use std::fs;

use crate::support::segments;
use bytes::Bytes;
use devmesh_wal::{Options, Record, Seq, open};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Vec<u8>>),
    Trim(u64),
    Reopen,
    /// Power is lost during a commit: some sectors of it are on the disk.
    Crash {
        group: Vec<Vec<u8>>,
        sectors: u64,
    },
}

fn group() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..700), 1..5)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => group().prop_map(Step::Append),
        1 => (0u64..60).prop_map(Step::Trim),
        1 => Just(Step::Reopen),
        2 => (group(), any::<u64>()).prop_map(|(group, sectors)| Step::Crash { group, sectors }),
    ]
}

fn records(group: &[Vec<u8>]) -> Vec<Record> {
    group.iter().map(|bytes| Bytes::copy_from_slice(bytes).into()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn acknowledged_records_survive_and_nothing_else_appears(steps in proptest::collection::vec(step(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 2 << 10, max_bytes: 8 << 20, ..Options::default() };
        let mut model: Vec<(Seq, Vec<u8>)> = Vec::new();
        let (mut log, _) = open(dir.path(), options).unwrap();
        for step in steps {
            match step {
                Step::Append(group) => {
                    let numbers = log.append(&records(&group)).unwrap();
                    model.extend(numbers.zip(group));
                }
                Step::Trim(seq) => {
                    log.trim(seq).unwrap();
                    let trimmed = log.trimmed();
                    model.retain(|(seq, _)| *seq > trimmed);
                }
                Step::Reopen => {
                    drop(log);
                    let (again, recovery) = open(dir.path(), options).unwrap();
                    log = again;
                    let found: Vec<_> = recovery.map(|one| one.map(|(seq, bytes)| (seq, bytes.to_vec())).unwrap()).collect();
                    prop_assert_eq!(&found, &model);
                }
                Step::Crash { group, sectors } => {
                    let before: Vec<_> = segments(dir.path()).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
                    let first = log.next();
                    log.append(&records(&group)).unwrap();
                    drop(log);
                    // Of each sector of 512 bytes that the commit changed, either all or nothing is there. A segment
                    // that the commit began was synced whole but for the commit itself.
                    for path in segments(dir.path()) {
                        let after = fs::read(&path).unwrap();
                        let old = before.iter().find(|(_, old)| *old == path).map(|(bytes, _)| bytes.clone());
                        let mut old = old.unwrap_or_else(|| after[..64].to_vec());
                        old.resize(after.len().max(old.len()), 0);
                        let mut torn = old.clone();
                        for (number, sector) in after.chunks(512).enumerate() {
                            if sectors >> (number % 64) & 1 == 1 {
                                torn[number * 512..number * 512 + sector.len()].copy_from_slice(sector);
                            }
                        }
                        fs::write(&path, torn).unwrap();
                    }
                    let (again, mut recovery) = open(dir.path(), options).unwrap();
                    log = again;
                    let found: Vec<_> = recovery.by_ref().map(|one| one.map(|(seq, bytes)| (seq, bytes.to_vec())).unwrap()).collect();
                    prop_assert!(found.len() >= model.len());
                    prop_assert_eq!(&found[..model.len()], &model[..], "what was acknowledged");
                    for (seq, bytes) in &found[model.len()..] {
                        prop_assert_eq!(bytes, &group[(seq - first) as usize], "what was written but not acknowledged");
                    }
                    model = found;
                    let next = model.last().map_or(first, |(seq, _)| seq + 1).max(first);
                    prop_assert_eq!(log.next(), next);
                }
            }
        }
    }

    #[test]
    fn opening_never_panics_whatever_the_files_hold(
        noise in proptest::collection::vec(any::<u8>(), 0..5000),
        name in "[0-9]{1,20}-[0-9]{1,20}",
        trim in proptest::collection::vec(any::<u8>(), 0..40),
        valid in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 2 << 10, max_bytes: 8 << 20, ..Options::default() };
        if valid {
            let (mut log, _) = open(dir.path(), options).unwrap();
            log.append(&records(&[vec![1; 100], vec![2; 50]])).unwrap();
        }
        fs::write(dir.path().join(format!("{name}.wal")), noise).unwrap();
        fs::write(dir.path().join("TRIM"), trim).unwrap();
        let (mut log, recovery) = open(dir.path(), options).unwrap();
        for one in recovery {
            one.unwrap();
        }
        match log.append(&records(&[vec![3; 10]])) {
            Ok(_) | Err(devmesh_wal::CommitError::Unavailable(_)) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
