//! The service: it follows a source, with the real weights (`tests/install.sh` brings them) and without.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use devmesh_insight::meaning::{Meaning, Pattern, Settings, Source, Weights};
use devmesh_insight::model::{self, MINILM, copy};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// Patterns that a test changes.
#[derive(Clone, Default)]
struct Patterns(Arc<Mutex<(u64, Vec<Pattern>)>>);

impl Patterns {
    fn of(templates: &[(u64, &str)]) -> Self {
        let patterns = Self::default();
        patterns.set(templates);
        patterns
    }

    fn set(&self, templates: &[(u64, &str)]) {
        let mut state = self.0.lock().unwrap();
        state.0 += 1;
        let pattern = |(id, text): &(u64, &str)| Pattern {
            id: *id,
            template: (*text).to_owned(),
            example: text.replace("<*>", "7f3a"),
        };
        state.1 = templates.iter().map(pattern).collect();
    }
}

impl Source for Patterns {
    fn version(&self) -> u64 {
        self.0.lock().unwrap().0
    }

    fn patterns(&self) -> Vec<Pattern> {
        self.0.lock().unwrap().1.clone()
    }
}

/// The directory of models that the tests have.
fn models() -> PathBuf {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools/models");
    assert!(models.is_dir(), "{} is missing: run tests/install.sh", models.display());
    models
}

fn start(patterns: &Patterns, home: &Path, models: &Path) -> Meaning {
    let settings = Settings { models: models.to_owned(), vectors: home.join("insight/vectors"), threads: 2 };
    let meaning = Meaning::start(patterns.clone(), settings).unwrap();
    assert!(meaning.wait_settled(PATIENCE), "{:?}", meaning.status());
    meaning
}

fn best(meaning: &Meaning, question: &str) -> Option<u64> {
    let question = meaning.question(question);
    meaning.search(&question, 1, |_| true).first().map(|hit| hit.pattern)
}

const LOGS: [(u64, &str); 4] = [
    (11, "Connection refused by <*> while connecting to upstream"),
    (12, "Payment of <*> declined: insufficient funds"),
    (13, "No space left on device <*>"),
    (14, "Certificate of <*> expires in <*> days"),
];

#[test]
fn patterns_are_followed_embedded_once_and_forgotten_when_they_are_gone() {
    let home = tempfile::tempdir().unwrap();
    let patterns = Patterns::of(&LOGS[..3]);
    let meaning = start(&patterns, home.path(), &models());
    let status = meaning.status();
    assert_eq!((status.patterns, status.waiting, status.embedded), (3, 0, 3), "{status:?}");
    assert_eq!(status.weights, Weights::Ready);
    assert_eq!(meaning.question("x").model, model::NAME);
    assert_eq!(best(&meaning, "the customer could not pay"), Some(12));
    // One comes, one goes, one is said otherwise.
    patterns.set(&[LOGS[0], (12, "Payment of <*> was <*>"), LOGS[3]]);
    assert!(meaning.wait_settled(PATIENCE));
    assert_eq!(best(&meaning, "TLS identity soon out of date"), Some(14));
    assert_ne!(best(&meaning, "the disk is full"), Some(13));
    let mut vectors: Vec<u64> = meaning.vectors().unwrap().map(|v| v.unwrap().0).collect();
    vectors.sort_unstable();
    assert_eq!(vectors, [11, 12, 14]);
    assert_eq!(meaning.status().embedded, 5);
    drop(meaning);
    // After a restart nothing is embedded anew.
    let meaning = start(&patterns, home.path(), &models());
    assert_eq!(meaning.status().embedded, 0);
    assert_eq!(best(&meaning, "TLS identity soon out of date"), Some(14));
    assert_eq!(meaning.vectors().unwrap().count(), 3);
}

#[test]
fn without_weights_words_answer_and_weights_that_come_later_take_part() {
    let (home, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let patterns = Patterns::of(&LOGS);
    let meaning = start(&patterns, home.path(), own.path());
    let question = meaning.question("disk without space");
    assert!(question.model.starts_with("none: words only") && question.model.contains("devmesh model pull"));
    assert_eq!(meaning.search(&question, 3, |_| true)[0].pattern, 13);
    assert_eq!(meaning.status().weights, Weights::Absent);
    assert_eq!(meaning.vectors().unwrap().count(), 0);
    copy(&MINILM, &models(), own.path(), &mut |_, _, _| {}).unwrap();
    let end = Instant::now() + PATIENCE;
    while meaning.status().weights != Weights::Ready || meaning.status().waiting > 0 {
        assert!(Instant::now() < end && meaning.wait_settled(PATIENCE), "{:?}", meaning.status());
    }
    assert_eq!(best(&meaning, "the customer could not pay"), Some(12));
    assert_eq!(meaning.vectors().unwrap().count(), 4);
}

#[test]
fn damaged_weights_are_not_used_and_the_answer_says_why() {
    let (home, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let directory = own.path().join(model::NAME);
    std::fs::create_dir(&directory).unwrap();
    for file in MINILM.files {
        std::fs::write(directory.join(file.name), vec![0; usize::try_from(file.bytes).unwrap()]).unwrap();
    }
    let meaning = start(&Patterns::of(&LOGS), home.path(), own.path());
    let question = meaning.question("disk without space");
    assert!(question.vector.is_none() && question.model.contains("SHA-256"), "{}", question.model);
    assert_eq!(meaning.search(&question, 3, |_| true)[0].pattern, 13);
}
