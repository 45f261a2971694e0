//! The same cases on both databases, real ones, which the tests start themselves (`tests/install.sh` brings them).

// Each database's own tests have them as well.
#[path = "../clickhouse/tests/server.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "these tests use a part of it")]
mod click;
#[path = "../../tests/mariadb/server.rs"]
#[allow(clippy::duplicate_mod, reason = "these tests use a part of it")]
mod maria;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use url::Url;

use super::{Drift, Migration, Schema, State, clickhouse::ClickHouse, files, mariadb::MariaDb, runner::Runner};
use crate::{Error, Settings};

/// The URL of a database on the server that tests share.
pub(crate) fn url_on(engine: &str, database: &str) -> String {
    match engine {
        "mariadb" => maria::shared().url(database),
        _ => click::Server::shared().url(database),
    }
}

/// A database of its own on a server that is shared.
#[derive(Clone)]
enum World {
    Maria(String),
    Click(Arc<click::Server>, String),
}

impl World {
    /// One that does not exist yet.
    fn missing(engine: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("devmesh_m{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        match engine {
            "mariadb" => World::Maria(name),
            _ => World::Click(click::Server::shared(), name),
        }
    }

    /// One that is empty.
    async fn empty(engine: &str) -> Self {
        let world = World::missing(engine);
        assert!(world.schema(world.files()).create().await.unwrap());
        world
    }

    fn files(&self) -> &'static [Migration] {
        match self {
            World::Maria(_) => files::MARIADB,
            World::Click(..) => files::CLICKHOUSE,
        }
    }

    fn settings(&self) -> Settings {
        let url = match self {
            World::Maria(name) => maria::shared().url(name),
            World::Click(server, name) => server.url(name),
        };
        Settings { url, ..Settings::default() }
    }

    fn schema(&self, migrations: &'static [Migration]) -> Box<dyn Schema> {
        let settings = self.settings();
        let url = Url::parse(&settings.url).unwrap();
        match self {
            World::Maria(_) => Box::new(Runner::new(MariaDb::new(&url, &settings).unwrap().with(migrations))),
            World::Click(..) => Box::new(Runner::new(ClickHouse::new(&url, &settings).unwrap().with(migrations))),
        }
    }

    /// Runs a statement past all of ours; answers what it prints, one row a line.
    fn sql(&self, sql: &str) -> String {
        match self {
            World::Maria(name) => maria::shared().execute(&format!("USE {name}; {sql}")),
            World::Click(server, name) => server.ask(name, sql),
        }
    }

    fn count(&self, table: &str) -> u32 {
        self.sql(&format!("SELECT COUNT(*) FROM {table}")).trim().parse().unwrap()
    }
}

/// Each case on each database.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod on_mariadb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $case() { super::$case("mariadb").await; })*
        }
        mod on_clickhouse {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $case() { super::$case("clickhouse").await; })*
        }
    };
}

on_both!(
    a_missing_database_is_made_and_has_the_expected_schema,
    what_somebody_changed_is_named,
    many_at_once_apply_each_statement_once,
    a_failed_statement_is_told_and_the_next_run_goes_on_there,
    who_dies_in_the_middle_leaves_neither_lock_nor_repetition,
    a_later_schema_is_refused,
    another_content_under_a_known_number_is_refused,
    a_reset_leaves_nothing,
    what_is_done_needs_no_lock,
);

async fn a_missing_database_is_made_and_has_the_expected_schema(engine: &str) {
    let world = World::missing(engine);
    let schema = super::of(&world.settings()).unwrap();
    assert!(!schema.status().await.unwrap().exists);
    let error = schema.apply().await.unwrap_err().to_string();
    assert!(error.contains("devmesh migrate init"), "{error}");
    assert!(schema.create().await.unwrap() && !schema.create().await.unwrap());
    assert!(schema.validate().await.unwrap_err().to_string().contains("devmesh migrate apply"));
    let steps = schema.apply().await.unwrap();
    assert_eq!(steps.len(), world.files().len());
    assert!(steps.iter().all(|step| step.state == State::Applied && step.statements.0 == step.statements.1));
    assert_eq!(schema.apply().await.unwrap(), []);
    let status = schema.status().await.unwrap();
    assert!(status.is_current() && status.steps.iter().all(|step| step.by.contains("devmesh") && step.at.is_some()));
    super::prepare(&world.settings()).await.unwrap();
    let drifts = schema.validate().await.unwrap();
    assert_expected(&world, &drifts).await;
}

/// The live schema is the one of `expected.txt`; where it is not, what was found is written beside.
async fn assert_expected(world: &World, drifts: &[Drift]) {
    let settings = world.settings();
    let url = Url::parse(&settings.url).unwrap();
    let (directory, expected, mut session) = match world {
        World::Maria(_) => {
            ("mariadb", files::MARIADB_EXPECTED, super::Dialect::connect(&MariaDb::new(&url, &settings).unwrap()).await)
        }
        World::Click(..) => {
            let database = ClickHouse::new(&url, &settings).unwrap();
            ("clickhouse", files::CLICKHOUSE_EXPECTED, super::Dialect::connect(&database).await)
        }
    };
    let session = session.as_mut().unwrap();
    session.exists().await.unwrap();
    let names = world.sql(match world {
        World::Maria(_) => "SHOW TABLES",
        World::Click(..) => "SELECT name FROM system.tables WHERE database = currentDatabase()",
    });
    let tables: Vec<&str> = names.lines().filter(|name| !name.starts_with("devmesh_migrations")).collect();
    let found = session.live(&tables).await.unwrap();
    if found != super::Shape::parse(expected) || !drifts.is_empty() {
        let path = std::env::temp_dir().join(format!("devmesh-{directory}-expected.txt"));
        let head: String =
            expected.lines().take_while(|line| line.starts_with('#')).map(|l| format!("{l}\n")).collect();
        std::fs::write(&path, format!("{head}{found}")).unwrap();
        panic!("schema/sql/{directory}/expected.txt is not what the files make; that is now in {}", path.display());
    }
}

async fn what_somebody_changed_is_named(engine: &str) {
    let world = World::empty(engine).await;
    let schema = world.schema(world.files());
    schema.apply().await.unwrap();
    let (changes, expected): (&[&str], &[&str]) = match world {
        World::Maria(_) => (
            &[
                "ALTER TABLE log_events DROP INDEX idx_host, ADD COLUMN tenant INT",
                "ALTER TABLE log_events MODIFY error_code VARCHAR(10)",
                "ALTER TABLE metric_events ADD INDEX mine (unit)",
                "DROP TABLE spans",
            ],
            &[
                "changed  column log_events.error_code: expected varchar(50) null utf8mb4; found varchar(10) null utf8mb4",
                "extra    column log_events.tenant: int(11) null",
                "missing  index log_events.idx_host: (host)",
                "extra    index metric_events.mine: (unit)",
                "missing  table spans: InnoDB utf8mb4_nopad_bin",
            ],
        ),
        World::Click(..) => (
            &[
                "ALTER TABLE otel_logs DROP INDEX idx_lower_body",
                "ALTER TABLE otel_logs ADD COLUMN tenant UInt8",
                "ALTER TABLE otel_logs MODIFY COLUMN DevmeshSeverity Int64",
                "DROP TABLE otel_metrics_summary",
            ],
            &[
                "changed  column otel_logs.DevmeshSeverity: expected Int32 default; found Int64 default",
                "extra    column otel_logs.tenant: UInt8",
                "missing  index otel_logs.idx_lower_body: ",
                "missing  table otel_metrics_summary: MergeTree",
            ],
        ),
    };
    changes.iter().for_each(|sql| drop(world.sql(sql)));
    let found: Vec<String> = schema.validate().await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for expected in expected {
        assert!(found.iter().any(|found| found.starts_with(expected)), "{expected} is not in {found:#?}");
    }
}

/// A table that counts: each run of the second statement adds a row.
const COUNTING: &[Migration] = &[
    Migration {
        file: "V0001__count.sql",
        sql: "CREATE TABLE IF NOT EXISTS runs (n INT) ENGINE = ${engine};\nINSERT INTO runs VALUES (1);",
    },
    Migration { file: "V0002__again.sql", sql: "INSERT INTO runs VALUES (2);" },
];

/// The engine of a table differs.
fn written_for(world: &World, migrations: &[Migration]) -> &'static [Migration] {
    let engine = match world {
        World::Maria(_) => "InnoDB",
        World::Click(..) => "MergeTree ORDER BY n",
    };
    let write = |migration: &Migration| Migration {
        file: migration.file,
        sql: String::leak(migration.sql.replace("${engine}", engine)),
    };
    Vec::leak(migrations.iter().map(write).collect())
}

async fn many_at_once_apply_each_statement_once(engine: &str) {
    let world = World::empty(engine).await;
    let migrations = written_for(&world, COUNTING);
    let mut servers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let schema = world.schema(migrations);
        servers.spawn(async move { schema.apply().await.unwrap().len() });
    }
    let applied: usize = servers.join_all().await.into_iter().sum();
    assert_eq!((applied, world.count("runs")), (2, 2));
    assert!(world.schema(migrations).status().await.unwrap().is_current());
}

async fn a_failed_statement_is_told_and_the_next_run_goes_on_there(engine: &str) {
    let world = World::empty(engine).await;
    let failing = [
        COUNTING[0],
        Migration {
            file: "V0002__half.sql",
            sql: "INSERT INTO runs VALUES (2);\n-- a comment\nINSERT INTO absent VALUES (3);\nINSERT INTO runs VALUES (4);",
        },
    ];
    let schema = world.schema(written_for(&world, &failing));
    let error = schema.apply().await.unwrap_err();
    let text = error.to_string();
    for part in
        ["V0002__half.sql", "statement 2 of 3", "line 3", "absent", "INSERT INTO absent", "devmesh migrate apply"]
    {
        assert!(text.contains(part), "{text} lacks {part}");
    }
    assert!(matches!(error, Error::Database(_)));
    let status = schema.status().await.unwrap();
    let half = &status.steps[1];
    assert_eq!((half.state, half.statements), (State::Failed, (1, 3)));
    assert!(half.note.as_ref().is_some_and(|note| note.contains("absent")));
    assert!(!status.is_current() && world.count("runs") == 2);
    assert!(schema.apply().await.is_err());
    let engine = if matches!(world, World::Maria(_)) { "InnoDB" } else { "MergeTree ORDER BY n" };
    world.sql(&format!("CREATE TABLE absent (n INT) ENGINE = {engine}"));
    assert_eq!(schema.apply().await.unwrap().len(), 1);
    assert_eq!((world.count("runs"), world.count("absent")), (3, 1));
    assert!(schema.status().await.unwrap().is_current());
}

async fn who_dies_in_the_middle_leaves_neither_lock_nor_repetition(engine: &str) {
    let world = World::empty(engine).await;
    let sleep = match world {
        World::Maria(_) => {
            "INSERT INTO runs VALUES (2);\nINSERT INTO runs SELECT 3 + SLEEP(2);\nINSERT INTO runs VALUES (4);"
        }
        World::Click(..) => {
            "INSERT INTO runs VALUES (2);\nINSERT INTO runs SELECT 3 + sleep(2);\nINSERT INTO runs VALUES (4);"
        }
    };
    let migrations = written_for(&world, &[COUNTING[0], Migration { file: "V0002__slow.sql", sql: sleep }]);
    let schema = world.schema(migrations);
    let dies = {
        let schema = world.schema(migrations);
        tokio::spawn(async move { schema.apply().await })
    };
    let begun = async || {
        let status = schema.status().await.unwrap();
        status.steps[1].statements.0 == 1
    };
    while !begun().await {
        assert!(!dies.is_finished());
    }
    dies.abort();
    assert!(dies.await.unwrap_err().is_cancelled());
    let status = schema.status().await.unwrap();
    assert_eq!((status.steps[1].state, status.steps[1].statements), (State::Applying, (1, 3)));
    schema.apply().await.unwrap();
    assert!(schema.status().await.unwrap().is_current());
    assert_eq!(world.sql("SELECT COUNT(*) FROM runs WHERE n IN (1, 2, 4)").trim(), "3");
    // The statement in whose middle it died was repeated; the server may have finished it all the same.
    let third: u32 = world.sql("SELECT COUNT(*) FROM runs WHERE n = 3").trim().parse().unwrap();
    assert!((1..=2).contains(&third), "{third}");
}

async fn a_later_schema_is_refused(engine: &str) {
    let world = World::empty(engine).await;
    let later = written_for(&world, COUNTING);
    world.schema(later).apply().await.unwrap();
    let older = world.schema(&later[..1]);
    for refused in [older.apply().await.map(drop), older.validate().await.map(drop)] {
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("version 2 (again)") && text.contains("up to 1") && text.contains("later"), "{text}");
    }
    let status = older.status().await.unwrap();
    assert!(!status.is_current() && status.steps[1].note.as_ref().is_some_and(|note| note.contains("later devmesh")));
    assert!(super::history::current("db", &status).unwrap_err().to_string().contains("later devmesh"));
}

async fn another_content_under_a_known_number_is_refused(engine: &str) {
    let world = World::empty(engine).await;
    let migrations = written_for(&world, COUNTING);
    world.schema(migrations).apply().await.unwrap();
    let edited = Migration { file: "V0002__again.sql", sql: "INSERT INTO runs VALUES (99);" };
    let other = world.schema(Vec::leak(vec![migrations[0], edited]));
    let error = other.apply().await.unwrap_err().to_string();
    assert!(error.contains("V0002__again.sql") && error.contains("another content"), "{error}");
    // Line endings are no content.
    let same = Migration { file: "V0002__again.sql", sql: "INSERT INTO runs VALUES (2);\r\n" };
    assert_eq!(world.schema(Vec::leak(vec![migrations[0], same])).apply().await.unwrap(), []);
    assert_eq!(world.count("runs"), 2);
}

async fn a_reset_leaves_nothing(engine: &str) {
    let world = World::empty(engine).await;
    let schema = world.schema(world.files());
    assert_eq!(schema.inventory().await.unwrap(), super::Inventory::default());
    schema.apply().await.unwrap();
    world.sql(if engine == "mariadb" {
        "CREATE TABLE foreign_to_us (a INT);
         INSERT INTO log_events (timestamp, source, service, host, level, message) VALUES (NOW(), 'x', 'y', 'z', 'INFO', 'm')"
    } else {
        "CREATE TABLE foreign_to_us (a Int8) ENGINE = MergeTree ORDER BY a"
    });
    let inventory = schema.inventory().await.unwrap();
    assert!(inventory.items.len() > 3, "{inventory:?}");
    let foreign = inventory.foreign.unwrap_or_default();
    assert_eq!(foreign.contains("1 in log_events"), engine == "mariadb", "{foreign}");
    schema.reset().await.unwrap();
    let left = world.sql(match world {
        World::Maria(_) => "SHOW TABLES",
        World::Click(..) => "SELECT name FROM system.tables WHERE database = currentDatabase()",
    });
    assert_eq!(left.trim(), "foreign_to_us");
    // And it can be made anew.
    assert_eq!(schema.apply().await.unwrap().len(), world.files().len());
}

async fn what_is_done_needs_no_lock(engine: &str) {
    let world = World::empty(engine).await;
    let settings = world.settings();
    let url = Url::parse(&settings.url).unwrap();
    let schema = world.schema(written_for(&world, COUNTING));
    schema.apply().await.unwrap();
    let mut holder = match world {
        World::Maria(_) => super::Dialect::connect(&MariaDb::new(&url, &settings).unwrap()).await.unwrap(),
        World::Click(..) => super::Dialect::connect(&ClickHouse::new(&url, &settings).unwrap()).await.unwrap(),
    };
    holder.lock(std::time::Duration::from_secs(1)).await.unwrap();
    assert_eq!(schema.apply().await.unwrap(), []);
    let mut second = match world {
        World::Maria(_) => super::Dialect::connect(&MariaDb::new(&url, &settings).unwrap()).await.unwrap(),
        World::Click(..) => super::Dialect::connect(&ClickHouse::new(&url, &settings).unwrap()).await.unwrap(),
    };
    let refused = second.lock(std::time::Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(&refused, Error::Away(text) if text.contains("devmesh migrate wait")), "{refused}");
    holder.unlock().await.unwrap();
    second.lock(std::time::Duration::from_secs(5)).await.unwrap();
    second.unlock().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_away_or_refuses_is_told_apart() {
    for url in ["mariadb://u:hunter2@127.0.0.1:1/d", "clickhouse://u:hunter2@127.0.0.1:1/d"] {
        let schema = super::of(&Settings { url: url.to_owned(), ..Settings::default() }).unwrap();
        let error = schema.status().await.unwrap_err();
        assert!(matches!(error, Error::Away(_)), "{error:?}");
        assert!(error.to_string().contains("127.0.0.1:1") && !error.to_string().contains("hunter2"), "{error}");
    }
    let url = maria::shared().url("devmesh_x").replace("p%40ss", "wrong");
    let schema = super::of(&Settings { url, ..Settings::default() }).unwrap();
    let error = schema.status().await.unwrap_err();
    assert!(matches!(&error, Error::Database(text) if text.contains("user and password")), "{error:?}");
}
