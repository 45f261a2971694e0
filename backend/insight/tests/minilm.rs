//! The real weights (`tests/install.sh` brings them): vectors equal to the reference's, and searches with them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use devmesh_insight::embedding::{DIMENSIONS, Embedder, Queue, VectorFile};
use devmesh_insight::model::{self, MINILM};
use devmesh_insight::search::{Searcher, WORDS_ONLY, text_hash};
use serde_json::Value;

/// The directory of models.
fn models() -> PathBuf {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools/models");
    assert!(models.is_dir(), "{} is missing: run tests/install.sh", models.display());
    models
}

fn embedder() -> Arc<Embedder> {
    Arc::new(Embedder::load(&MINILM.directory(&models())).unwrap())
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Vectors that a BERT written in 64-bit floats computed from the same weights (sentence-transformers' pooling, 256 tokens).
#[test]
fn vectors_are_the_references_alone_and_in_a_batch() {
    let reference: Value = serde_json::from_str(include_str!("fixtures/minilm.json")).unwrap();
    let reference: Vec<(String, Vec<f32>)> = reference
        .as_array()
        .unwrap()
        .iter()
        .map(|r| {
            let vector = r["vector"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
            (r["text"].as_str().unwrap().to_owned(), vector)
        })
        .collect();
    let embedder = embedder();
    let texts: Vec<&str> = reference.iter().map(|r| r.0.as_str()).collect();
    for threads in [1, 3] {
        let batch = embedder.embed_batch(&texts, threads).unwrap();
        assert_eq!(batch.len(), texts.len());
        for ((text, want), got) in reference.iter().zip(&batch) {
            assert!(1.0 - cosine(want, got) < 1e-5, "{text}: {}", cosine(want, got));
            let furthest = want.iter().zip(got).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(furthest < 1e-5, "{text}: a float is off by {furthest}");
            let alone = embedder.embed(text).unwrap();
            assert!(1.0 - cosine(&alone, got) < 1e-6, "{text} alone");
        }
    }
}

/// The similarities that the model's own page names for its example.
#[test]
fn the_published_example_has_its_published_similarities() {
    let embedder = embedder();
    let vector = |text| embedder.embed(text).unwrap();
    let [happy, very, sunny] =
        ["That is a happy person", "That is a very happy person", "Today is a sunny day"].map(vector);
    let dog = vector("That is a happy dog");
    for (got, want) in [(cosine(&happy, &dog), 0.695), (cosine(&happy, &very), 0.943), (cosine(&happy, &sunny), 0.257)]
    {
        assert!((got - want).abs() < 1e-3, "{got} instead of {want}");
    }
}

#[test]
fn the_weights_are_the_pinned_ones() {
    MINILM.verify(&models()).unwrap();
    let list = model::list(&models());
    assert!(list[0].is_complete(), "{list:?}");
}

#[test]
fn a_directory_without_a_model_says_which_file_is_missing_and_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    let message = Embedder::load(empty.path()).unwrap_err().to_string();
    assert!(message.contains("tokenizer.json") && message.contains("devmesh model pull"), "{message}");
    assert_eq!(MINILM.installed(empty.path()).missing.len(), MINILM.files.len());
}

const LOGS: [&str; 6] = [
    "Connection refused by <*> while connecting to upstream",
    "Payment of <*> declined: insufficient funds",
    "Compaction of segment <*> finished in <*> ms",
    "User <*> logged in from <*>",
    "No space left on device <*>",
    "Certificate of <*> expires in <*> days",
];

/// New patterns are embedded in the background, kept in the file, and found by what they mean.
#[test]
fn new_patterns_become_searchable_by_meaning_and_stay_so_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vectors");
    let embedder = embedder();
    let searcher = Arc::new(Searcher::new(Some(embedder.clone())));
    let (file, stored) = VectorFile::open(&path, embedder.name()).unwrap();
    assert!(stored.is_empty());
    let index = searcher.clone();
    let receive = move |vectors: &[(u64, u64, Vec<f32>)]| {
        let mut index = index.index_mut();
        for (pattern, text, vector) in vectors {
            assert!(index.set_vector(*pattern, *text, vector));
        }
    };
    let queue = Queue::start(embedder.clone(), file, 100, 2, receive).unwrap();
    for (pattern, template) in LOGS.iter().enumerate() {
        let text = searcher.index_mut().upsert(pattern as u64, template, template).unwrap();
        assert!(queue.offer(pattern as u64, text));
    }
    assert!(queue.wait_idle(Duration::from_secs(60)));
    assert_eq!(queue.status().embedded, LOGS.len() as u64);
    let check = |searcher: &Searcher| {
        for (question, want) in [
            ("the customer could not pay", 1),
            ("backend is not reachable", 0),
            ("storage is full", 4),
            ("TLS identity soon out of date", 5),
        ] {
            let found = searcher.search(question, 3, |_| true);
            assert_eq!(found.hits[0].pattern, want, "{question}: {found:?}");
            assert_eq!(found.model, "all-MiniLM-L6-v2");
        }
    };
    check(&searcher);
    drop(queue);
    let again = Searcher::new(Some(embedder.clone()));
    let (_, stored) = VectorFile::open(&path, embedder.name()).unwrap();
    assert_eq!(stored.len(), LOGS.len());
    for (pattern, text, vector) in stored {
        assert_eq!(vector.len(), DIMENSIONS);
        let mut index = again.index_mut();
        index.upsert(pattern, LOGS[pattern as usize], LOGS[pattern as usize]);
        assert!(index.set_vector(pattern, text, &vector));
    }
    check(&again);
}

#[test]
fn without_weights_words_answer_and_the_answer_says_so() {
    let searcher = Searcher::new(None);
    for (pattern, template) in LOGS.iter().enumerate() {
        searcher.index_mut().upsert(pattern as u64, template, template);
    }
    let found = searcher.search("disk is full", 3, |_| true);
    assert_eq!((found.hits[0].pattern, found.model.as_str()), (4, WORDS_ONLY));
    assert!(found.vector.is_none());
}

#[test]
fn a_full_queue_refuses_and_counts_and_a_newer_text_takes_the_place_of_the_waiting_one() {
    let dir = tempfile::tempdir().unwrap();
    let embedder = embedder();
    let (file, _) = VectorFile::open(&dir.path().join("vectors"), embedder.name()).unwrap();
    // The receiver holds the thread until the queue has been filled.
    let gate = Arc::new(Mutex::new(()));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (closed, got) = (gate.clone(), seen.clone());
    let held = gate.lock().unwrap();
    let receive = move |vectors: &[(u64, u64, Vec<f32>)]| {
        drop(closed.lock().unwrap());
        got.lock().unwrap().extend(vectors.iter().map(|v| (v.0, v.1)));
    };
    let queue = Queue::start(embedder, file, 2, 1, receive).unwrap();
    assert!(queue.offer(0, "the first".into()));
    while queue.status().waiting > 0 {
        std::thread::yield_now();
    }
    assert!(queue.offer(1, "one".into()) && queue.offer(2, "two".into()));
    assert!(!queue.offer(3, "three".into()), "there is room for two");
    assert!(queue.offer(2, "two, newer".into()));
    drop(held);
    assert!(queue.wait_idle(Duration::from_secs(60)));
    assert_eq!(queue.status().refused, 1);
    let texts = [(0, "the first"), (1, "one"), (2, "two, newer")];
    assert_eq!(*seen.lock().unwrap(), texts.map(|(p, t)| (p, text_hash(t))));
}
