//! No acknowledged record is lost or doubled by kill -9, whenever it comes: while writing, while flushing, while the
//! server recovers from the kill before.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use devmesh_demo::Rng;
use devmesh_tests::{Server, client, program, server::Start};
use serde_json::{Value, json};

/// Kills a run: enough for a submission. `TEST_KILLS` sets another number (the soak command uses thousands).
const KILLS: u64 = 50;
const WRITERS: u64 = 4;

/// What the writers know: records that were acknowledged, and those whose answer never came.
#[derive(Default)]
struct Ledger {
    acknowledged: Mutex<Vec<u64>>,
    undecided: Mutex<Vec<u64>>,
    next: AtomicU64,
}

/// One request of `n` records, each with a number of its own.
fn request(numbers: &[u64]) -> Vec<u8> {
    let record = |n: &u64| {
        json!({"timeUnixNano": (1_800_000_000_000_000_000 - n).to_string(), "body": {"stringValue": format!("record {n}")},
        "attributes": [{"key": "n", "value": {"intValue": n.to_string()}}]})
    };
    let records: Vec<Value> = numbers.iter().map(record).collect();
    json!({"resourceLogs": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "torture"}}]},
        "scopeLogs": [{"logRecords": records}]}]})
    .to_string()
    .into_bytes()
}

/// Writes until told to stop; a broken connection ends it too.
fn write(url: &str, ledger: &Ledger, stop: &AtomicBool, seed: u64) {
    let agent = client::agent();
    let mut rng = Rng::new(seed);
    while !stop.load(Ordering::Relaxed) {
        let count = 1 + rng.below(40);
        let first = ledger.next.fetch_add(count, Ordering::Relaxed);
        let numbers: Vec<u64> = (first..first + count).collect();
        let known = match client::post(&agent, url, "application/json", &request(&numbers)) {
            Ok(answer) if answer.status == 200 => &ledger.acknowledged,
            _ => &ledger.undecided,
        };
        if let Ok(mut known) = known.lock() {
            known.extend(numbers);
        }
    }
}

/// How often each number stands in the store.
fn stored(server: &Server) -> Result<BTreeMap<u64, u64>> {
    let mut counts = BTreeMap::new();
    let last = server.number("SELECT coalesce(max(CAST(attributes['n'] AS BIGINT)), 0) FROM logs")?;
    // In pieces, since an answer holds a bounded number of rows.
    for from in (0..=last).step_by(5000) {
        let sql = format!(
            "SELECT CAST(attributes['n'] AS BIGINT) AS n, count(*) FROM logs \
             WHERE CAST(attributes['n'] AS BIGINT) >= {from} AND CAST(attributes['n'] AS BIGINT) < {} GROUP BY 1",
            from + 5000
        );
        for row in server.sql(&sql)? {
            let number = |at: usize| row.get(at).and_then(Value::as_u64).context("no number");
            counts.insert(number(0)?, number(1)?);
        }
    }
    Ok(counts)
}

fn check(server: &Server, ledger: &Ledger, run: u64) -> Result<()> {
    let counts = stored(server)?;
    let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    ensure!(doubled.is_empty(), "after kill {run} records stand twice: {doubled:?}\n{}", server.log());
    let acknowledged = ledger.acknowledged.lock().unwrap();
    let lost: Vec<_> = acknowledged.iter().filter(|n| !counts.contains_key(n)).take(20).collect();
    ensure!(lost.is_empty(), "after kill {run} acknowledged records are lost: {lost:?} …\n{}", server.log());
    let undecided = ledger.undecided.lock().unwrap();
    let invented = counts.len() - acknowledged.len();
    ensure!(invented <= undecided.len(), "after kill {run} {invented} records stand there that nobody acknowledged");
    Ok(())
}

/// Lets a recovering server live for a moment, then kills it.
fn kill_during_recovery(start: Start, rng: &mut Rng) -> Result<()> {
    let mut child = start.spawn()?;
    let deadline = Instant::now() + Duration::from_millis(rng.below(400));
    devmesh_tests::until(Duration::from_secs(60), "the moment of the kill", || {
        Ok((Instant::now() > deadline).then_some(()))
    })?;
    child.kill()?;
    child.wait()?;
    Ok(())
}

#[test]
fn no_acknowledged_record_is_lost_or_doubled_by_kill_9() {
    let kills = std::env::var("TEST_KILLS").ok().and_then(|k| k.parse().ok()).unwrap_or(KILLS);
    let seed = std::env::var("TEST_SEED").ok().and_then(|k| k.parse().ok()).unwrap_or(1);
    println!("{kills} kills of {:?}, TEST_SEED={seed}", program::built("devmesh").unwrap());
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::default();
    let mut rng = Rng::new(seed);
    // A small log and a short stay in memory, so that rotation, flush and trimming happen within a run.
    let start =
        || Start::new(dir.path()).unwrap().env("DEVMESH_STORE_FLUSH", "150ms").env("DEVMESH_WAL_SEGMENT", "1MiB");
    for run in 1..=kills {
        let server = start().ready().unwrap();
        if run % 10 == 1 {
            check(&server, &ledger, run - 1).unwrap();
        }
        let url = server.url("otlp-http", "/v1/logs");
        let stop = AtomicBool::new(false);
        let life = Duration::from_millis(5 + rng.below(600));
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (url, ledger, stop) = (&url, &ledger, &stop);
                scope.spawn(move || write(url, ledger, stop, run * WRITERS + writer));
            }
            let deadline = Instant::now() + life;
            devmesh_tests::until(Duration::from_secs(60), "the moment of the kill", || {
                Ok((Instant::now() > deadline).then_some(()))
            })
            .unwrap();
            server.kill().unwrap();
            stop.store(true, Ordering::Relaxed);
        });
        if run % 5 == 0 {
            kill_during_recovery(start(), &mut rng).unwrap();
        }
    }
    let server = start().ready().unwrap();
    check(&server, &ledger, kills).unwrap();
    let acknowledged = ledger.acknowledged.lock().unwrap().len();
    assert!(acknowledged as u64 > kills * 10, "only {acknowledged} records were acknowledged in {kills} runs");
    println!("{acknowledged} acknowledged records, each stored once");
}
