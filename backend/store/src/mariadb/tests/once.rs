//! A block is stored wholly or not at all, and once, whatever happens meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use devmesh_schema::Signal;

use super::{World, block, records, server::Server, shop, world, world_on};
use crate::{Error, Scan};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_is_sent_again_is_stored_once() {
    let world = world().await;
    for signal in Signal::ALL {
        for (last, count) in [(1, 10), (2, 20_000)] {
            let batches = shop(signal, last, count);
            for _ in 0..3 {
                world.insert(signal, last, &batches).await;
            }
        }
        let expected = records(signal, shop(signal, 1, 10).iter().chain(&shop(signal, 2, 20_000)));
        let back = world.scan(&Scan::all(signal)).await;
        assert!(records(signal, &back) == expected, "{signal}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_block_that_is_not_whole_nothing_is_seen_and_what_is_missing_is_added() {
    let world = world().await;
    let batches = shop(Signal::Logs, 1, 20_000);
    world.insert(Signal::Logs, 5, &batches).await;
    let parts = world.count("devmesh_chunks");
    assert!(parts > 10, "{parts}");
    // As if a server had died between two parts.
    world.execute(
        "DELETE l FROM log_events l JOIN devmesh_chunks c ON l.id BETWEEN c.first_id AND c.last_id WHERE c.first_row BETWEEN \
         3000 AND 9000; DELETE FROM devmesh_chunks WHERE first_row BETWEEN 3000 AND 9000; UPDATE devmesh_blocks SET done = FALSE",
    );
    assert!(world.scan(&Scan::all(Signal::Logs)).await.is_empty());
    world.insert(Signal::Logs, 5, &batches).await;
    let back = world.scan(&Scan::all(Signal::Logs)).await;
    assert!(records(Signal::Logs, &back) == records(Signal::Logs, &batches));
    let rows = records(Signal::Logs, &batches).len();
    assert_eq!(world.count("log_events"), rows as u64);
}

/// Kills every connection to a database, 60 times or until it is done; how many.
fn kill_connections(world: &World, done: &AtomicBool) -> usize {
    let mut killed = 0;
    for _ in 0..60 {
        if done.load(Relaxed) {
            break;
        }
        let select = "SELECT id FROM information_schema.PROCESSLIST WHERE user = 'devmesh' AND db = ";
        for id in world.execute(&format!("{select}'{}'", world.name)).lines() {
            // It may be gone already.
            drop(world.server.client(&format!("KILL {id}")));
            killed += 1;
        }
    }
    killed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_killed_all_the_time_lose_nothing_and_double_nothing() {
    let world = Arc::new(world().await);
    let blocks: Vec<_> =
        (1..=12).map(|last| shop(Signal::Logs, last, if last % 3 == 0 { 9000 } else { 300 })).collect();
    let (mut killed, mut failures, mut last) = (0, 0, 0);
    let limit = Instant::now() + Duration::from_secs(120);
    // Again where the killer came too late.
    while killed <= 5 || failures == 0 {
        assert!(Instant::now() < limit, "{killed} connections were killed, {failures} inserts failed");
        let done = Arc::new(AtomicBool::new(false));
        let killer = tokio::task::spawn_blocking({
            let (world, done) = (Arc::clone(&world), Arc::clone(&done));
            move || kill_connections(&world, &done)
        });
        for batches in &blocks {
            last += 1;
            let block = block("w", Signal::Logs, last, batches);
            while let Err(error) = world.store.insert(&block).await {
                assert!(matches!(error, Error::Away(_)), "{error}");
                failures += 1;
                assert!(failures < 5000);
            }
        }
        done.store(true, Relaxed);
        killed += killer.await.unwrap();
    }
    let back = world.scan(&Scan::all(Signal::Logs)).await;
    let rounds = last as usize / blocks.len();
    let expected = records(Signal::Logs, std::iter::repeat_n(&blocks, rounds).flatten().flatten());
    assert!(records(Signal::Logs, &back) == expected);
    assert_eq!(world.count("log_events"), expected.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insert_that_is_dropped_midway_leaves_nothing_that_is_seen_and_can_be_done_again() {
    let world = world().await;
    let batches = shop(Signal::Traces, 1, 12_000);
    let whole = block("w", Signal::Traces, 3, &batches);
    for wait in [1, 5, 20, 60, 150] {
        let dropped = tokio::time::timeout(Duration::from_millis(wait), world.store.insert(&whole)).await;
        let seen = world.scan(&Scan::all(Signal::Traces)).await;
        assert!(
            seen.is_empty() || dropped.is_ok() || records(Signal::Traces, &seen) == records(Signal::Traces, &batches)
        );
    }
    world.insert(Signal::Traces, 3, &batches).await;
    let back = world.scan(&Scan::all(Signal::Traces)).await;
    assert!(records(Signal::Traces, &back) == records(Signal::Traces, &batches));
    assert_eq!(world.count("spans"), records(Signal::Traces, &batches).len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_longer_than_a_packet_come_back() {
    let server = Box::leak(Box::new(Server::new(&["--max-allowed-packet=64K", "--net-buffer-length=16K"])));
    let world = world_on(server).await;
    // Text that cannot be compressed to a tenth, in bodies of up to 200 KiB.
    let mut random = devmesh_demo::Rng::new(1);
    let mut text = |length: usize| -> String { (0..length).map(|_| format!("{:x}", random.below(16))).collect() };
    let records_json: Vec<String> = [10, 70_000, 200_000, 5, 30_000, 30_000]
        .into_iter()
        .map(|length| format!(r#"{{"timeUnixNano":"5","body":{{"stringValue":"{}"}}}}"#, text(length)))
        .collect();
    let json = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{}]}}]}}]}}"#, records_json.join(","));
    let rows = super::from_json(Signal::Logs, &json);
    world.insert(Signal::Logs, 1, std::slice::from_ref(&rows)).await;
    assert!(world.count("devmesh_pieces") > 0);
    let many = shop(Signal::Logs, 1, 3000);
    world.insert(Signal::Logs, 2, &many).await;
    let back = world.scan(&Scan::all(Signal::Logs)).await;
    assert!(records(Signal::Logs, &back) == records(Signal::Logs, many.iter().chain([&rows])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_survives_the_death_of_the_server() {
    let server: &Server = Box::leak(Box::new(Server::new(&[])));
    let world = world_on(server).await;
    let batches = shop(Signal::Metrics, 1, 2000);
    world.insert(Signal::Metrics, 1, &batches).await;
    server.kill();
    let refused = world.store.insert(&block("w", Signal::Metrics, 2, &batches)).await.unwrap_err();
    assert!(matches!(refused, Error::Away(_)), "{refused}");
    assert!(!refused.to_string().contains("p@ss") && refused.to_string().contains("127.0.0.1"), "{refused}");
    server.start();
    // A connection that was used just before is not asked whether it lives: who feeds the database tries again.
    let limit = Instant::now() + Duration::from_secs(120);
    while let Err(error) = world.store.insert(&block("w", Signal::Metrics, 1, &batches)).await {
        assert!(matches!(error, Error::Away(_)) && Instant::now() < limit, "{error}");
    }
    let back = world.scan(&Scan::all(Signal::Metrics)).await;
    assert!(records(Signal::Metrics, &back) == records(Signal::Metrics, &batches));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_block_of_a_writer_is_known() {
    let world = world().await;
    assert_eq!(world.store.newest("nobody").await.unwrap(), None);
    world.insert(Signal::Logs, 7, &shop(Signal::Logs, 1, 10)).await;
    world.insert(Signal::Traces, 9, &shop(Signal::Traces, 2, 10)).await;
    let writer = world.execute("SELECT DISTINCT writer FROM devmesh_blocks");
    assert_eq!(world.store.newest(&writer).await.unwrap(), Some(9));
    assert_eq!(world.store.newest("nobody").await.unwrap(), None);
}
