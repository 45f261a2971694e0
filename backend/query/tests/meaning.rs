//! `semantic('…')` and `log_embeddings` as tables of SQL, with the real weights (`tests/install.sh` brings them). How they join
//! with logs is in the golden queries.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::{path::Path, sync::Arc, time::Duration};

use common::{Place, TestStore, engine, meaning::Search, rows, small};
use devmesh_insight::meaning::Settings;
use devmesh_query::{Engine, Error};
use devmesh_store::{PatternText, Patterns, Store};

/// Patterns that stay as they are.
struct Fixed;

const PATTERNS: [&str; 5] = [
    "Connection refused by <*> while connecting to upstream",
    "Payment of <*> declined: insufficient funds",
    "No space left on device <*>",
    "Certificate of <*> expires in <*> days",
    "User <*> logged in from <*>",
];

impl Patterns for Fixed {
    fn version(&self) -> u64 {
        1
    }

    fn list(&self) -> Vec<PatternText> {
        let pattern = |(n, text): (usize, &&str)| PatternText {
            id: n as u64 + 1,
            text: (*text).into(),
            example: text.replace("<*>", "x7"),
        };
        PATTERNS.iter().enumerate().map(pattern).collect()
    }

    fn pattern_of(&self, id: u64) -> Option<u64> {
        Some(id).filter(|id| (1..=PATTERNS.len() as u64).contains(id))
    }
}

async fn searching(home: &Path) -> Engine {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools/models");
    assert!(models.is_dir(), "{} is missing: run tests/install.sh", models.display());
    let store = TestStore::of_requests(&small(), Place::Memory).await;
    let settings = Settings { models, vectors: home.join("vectors"), threads: 1 };
    let search = Search::start(Arc::new(Fixed), settings).unwrap();
    assert!(tokio::task::block_in_place(|| search.wait_settled(Duration::from_secs(120))), "{:?}", search.status());
    engine(store as Arc<dyn Store>).with_meaning(Arc::new(search))
}

async fn texts(engine: &Engine, sql: &str) -> Vec<String> {
    let rows = rows(engine, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows.into_iter().map(|row| row.join(" | ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_patterns_that_a_question_means_are_a_table_best_first() {
    let home = tempfile::tempdir().unwrap();
    let engine = searching(home.path()).await;
    let pay = "1 | 0000000000000002 | Payment of <*> declined: insufficient funds";
    for sql in [
        "SELECT rank, pattern_id, template FROM semantic('the customer had no money', 1)",
        "SELECT rank, pattern_id, template FROM SEMANTIC('the customer had no money') ORDER BY score DESC LIMIT 1",
        "WITH p AS (SELECT * FROM semantic('the customer had no money', 3)) \
         SELECT a.rank, a.pattern_id, b.template FROM p a JOIN p b USING (pattern_id) WHERE a.rank = 1",
        "SELECT p.rank, p.pattern_id, p.template FROM semantic('the customer had no ' || 'money', 2 - 1) p",
        "SELECT 1, pattern_id, template FROM semantic('x', 5) WHERE pattern_id IN \
         (SELECT pattern_id FROM semantic('the customer had no money', 1))",
    ] {
        assert_eq!(texts(&engine, sql).await, [pay], "{sql}");
    }
    let all = texts(&engine, "SELECT rank FROM semantic('anything', 1000) ORDER BY score DESC, rank").await;
    assert_eq!(all, ["1", "2", "3", "4", "5"]);
    let columns = texts(&engine, "DESCRIBE log_embeddings").await;
    assert_eq!(columns.len(), 2, "{columns:?}");
    let sql = "SELECT count(*), count(DISTINCT pattern_id), min(array_length(embedding)) FROM log_embeddings";
    assert_eq!(texts(&engine, sql).await, ["5 | 5 | 384"]);
    // A vector has length 1, and is nearest to itself.
    let sql = "SELECT count(*) FROM log_embeddings a JOIN log_embeddings b \
               ON array_distance(a.embedding, b.embedding) < 0.001 WHERE a.pattern_id = b.pattern_id";
    assert_eq!(texts(&engine, sql).await, ["5"]);
    assert_eq!(texts(&engine, "SELECT pattern_id FROM log_embeddings ORDER BY 1 LIMIT 1").await, ["0000000000000001"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_call_says_how_it_is_called() {
    let home = tempfile::tempdir().unwrap();
    let engine = searching(home.path()).await;
    let long = format!("SELECT * FROM semantic('{}')", "x".repeat(5000));
    for (sql, part) in [
        ("SELECT * FROM semantic()", "semantic('a question')"),
        ("SELECT * FROM semantic(7)", "semantic('a question')"),
        ("SELECT * FROM semantic(NULL)", "semantic('a question')"),
        ("SELECT * FROM semantic('x', 'y')", "semantic('a question')"),
        ("SELECT * FROM semantic('x', 1.5)", "semantic('a question')"),
        ("SELECT * FROM semantic('x', 1, 2)", "semantic('a question')"),
        ("SELECT * FROM semantic('')", "empty"),
        ("SELECT * FROM semantic('  ')", "empty"),
        ("SELECT * FROM semantic('x', 0)", "between 1 and 1000"),
        ("SELECT * FROM semantic('x', -3)", "between 1 and 1000"),
        ("SELECT * FROM semantic('x', 1001)", "between 1 and 1000"),
        (&long, "at most 4096"),
        ("SELECT semantic('x')", "semantic"),
        ("SELECT * FROM nosuch('x')", "nosuch"),
    ] {
        match rows(&engine, sql).await {
            Err(Error::BadQuery(text)) => assert!(text.contains(part), "{sql}: {text}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_patterns_search_says_why_and_there_are_no_embeddings() {
    let store = TestStore::of_requests(&small(), Place::Memory).await;
    let engine = engine(store as Arc<dyn Store>);
    match rows(&engine, "SELECT * FROM semantic('x')").await {
        Err(Error::Unavailable(text)) => assert!(text.contains("patterns"), "{text}"),
        other => panic!("{other:?}"),
    }
    let query = devmesh_query::rest::SearchQuery { query: "x".into(), top_k: 1, ..Default::default() };
    assert!(matches!(engine.search(&query).await, Err(Error::Unavailable(_))));
    assert_eq!(texts(&engine, "SELECT count(*) FROM log_embeddings").await, ["0"]);
}
