//! Deadlocks and locks that are not to be had, provoked on the server.

use devmesh_schema::Signal;
use sqlx::{Connection, Executor, MySqlConnection};

use super::{World, block, records, server::Server, shop, store, world_on};
use crate::{Error, Scan};

/// A transaction of somebody else that has just what an insert of the block `("w", 1)` needs last.
async fn rival(world: &World) -> MySqlConnection {
    let url = world.server.url(&world.name).replace("mariadb://", "mysql://");
    let mut rival = MySqlConnection::connect(&url).await.unwrap();
    rival.execute("CREATE TABLE weight (n INT)").await.unwrap();
    rival.execute("BEGIN").await.unwrap();
    // A transaction that has changed more is not the one that a deadlock ends.
    rival.execute("INSERT INTO weight SELECT seq FROM seq_1_to_20000").await.unwrap();
    rival
        .execute(
            "INSERT INTO devmesh_chunks (table_name, writer, last, first_row, row_count, first_id, last_id, min_time, max_time, \
             cut, pieces, data) VALUES ('logs', 'w', 1, 0, 1, 1, 1, 1, 1, 0, 0, '')",
        )
        .await
        .unwrap();
    rival
}

/// The number of the statement that waits for the rival: it would take no time otherwise.
fn waiting(server: &Server) -> String {
    let select = "SELECT query_id FROM information_schema.PROCESSLIST WHERE command = 'Execute' AND time_ms > 200 AND info \
                  LIKE 'INSERT INTO devmesh_chunks%'";
    server.execute(select).trim().to_owned()
}

async fn world() -> World {
    world_on(Box::leak(Box::new(Server::new(&[])))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_a_deadlock_ended_is_stored_by_another_attempt() {
    let world = world().await;
    let batches = shop(Signal::Logs, 1, 50);
    let mut rival = rival(&world).await;
    let (store, ours) = (world.store.clone(), block("w", Signal::Logs, 1, &batches));
    let insert = tokio::spawn(async move { store.insert(&ours).await });
    world.server.until("the insert waits", || !waiting(world.server).is_empty());
    let line = "INSERT INTO devmesh_blocks (table_name, writer, last, done) VALUES ('logs', 'w', 1, TRUE)";
    rival.execute(line).await.unwrap();
    let deadlocks = world.execute("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'");
    assert_eq!(deadlocks, "Innodb_deadlocks\t1");
    rival.execute("ROLLBACK").await.unwrap();
    insert.await.unwrap().unwrap();
    let back = world.scan(&Scan::all(Signal::Logs)).await;
    assert_eq!(records(Signal::Logs, &back), records(Signal::Logs, &batches));
    assert_eq!(world.count("log_events"), records(Signal::Logs, &batches).len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_waited_for_a_lock_in_vain_leaves_nothing_and_is_stored_by_another_attempt() {
    let world = world().await;
    let batches = shop(Signal::Logs, 1, 50);
    let mut rival = rival(&world).await;
    let (store, ours) = (world.store.clone(), block("w", Signal::Logs, 1, &batches));
    let insert = tokio::spawn(async move { store.insert(&ours).await });
    world.server.until("the insert waits", || !waiting(world.server).is_empty());
    let first = waiting(world.server);
    world.server.until("another attempt waits", || {
        let now = waiting(world.server);
        !now.is_empty() && now != first
    });
    rival.execute("ROLLBACK").await.unwrap();
    insert.await.unwrap().unwrap();
    let back = world.scan(&Scan::all(Signal::Logs)).await;
    assert_eq!(records(Signal::Logs, &back), records(Signal::Logs, &batches));
    assert_eq!(world.count("log_events"), records(Signal::Logs, &batches).len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_says_which_database_and_what_to_do_and_never_the_password() {
    let world = world().await;
    let url = world.server.url(&world.name);
    let rows = shop(Signal::Logs, 1, 5);
    for (url, expected) in [
        (url.replace("p%40ss", "wr%40ng"), "check user and password"),
        (url.replace(&world.name, "devmesh_none"), "devmesh migrate apply"),
        (url.replace("devmesh:", "nobody:"), "check user and password"),
    ] {
        let store = store(&url).await;
        let error = store.insert(&block("w", Signal::Logs, 1, &rows)).await.unwrap_err();
        assert!(matches!(error, Error::Database(_)), "{error:?}");
        let text = format!("{error} {error:?} {store}");
        assert!(text.contains(expected) && text.contains("127.0.0.1"), "{text}");
        assert!(!text.contains("@ss") && !text.contains("%40") && !text.contains("@ng"), "{text}");
    }
    let wrong = "mariadb://h/d?sslmode=REQUIRED".parse().unwrap();
    let error = crate::mariadb::connect(&wrong, &crate::Settings::default()).await.err().unwrap();
    assert!(matches!(&error, Error::Url(why) if why.contains("ssl-mode")), "{error}");
}
