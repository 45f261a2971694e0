//! How good the ranking is, with the real weights: questions in plain words over events of PostgreSQL, Kafka, Kubernetes and nginx
//! (`fixtures/questions.json`, written for this project). Hardly a question shares a word with what answers it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::path::PathBuf;

use devmesh_insight::PatternId;
use devmesh_insight::embedding::Embedder;
use devmesh_insight::model::MINILM;
use devmesh_insight::search::{Index, text_hash};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    /// System, id, template, example.
    events: Vec<(String, String, String, String)>,
    /// System, question, ids of the events that answer it.
    questions: Vec<(String, String, Vec<String>)>,
}

/// Means over questions.
#[derive(Debug)]
struct Quality {
    recall_at_5: f64,
    mrr: f64,
}

fn embedder() -> Embedder {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools/models");
    assert!(models.is_dir(), "{} is missing: run tests/install.sh", models.display());
    Embedder::load(&MINILM.directory(&models)).unwrap()
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/questions.json")).unwrap()
}

/// The vectors of texts, each made once.
#[derive(Default)]
struct Vectors(HashMap<String, Vec<f32>>);

impl Vectors {
    fn of(&mut self, model: &Embedder, text: &str) -> Vec<f32> {
        self.0.entry(text.to_owned()).or_insert_with(|| model.embed(text).unwrap()).clone()
    }
}

/// What a measurement ranks.
struct Case<'a> {
    fixture: &'a Fixture,
    model: Option<&'a Embedder>,
    /// Whether all systems share an index.
    together: bool,
}

impl Case<'_> {
    /// An index for questions about a system; a pattern's number is its place in the fixture.
    fn index(&self, of: &str, vectors: &mut Vectors) -> Index {
        let mut index = Index::default();
        for (pattern, (system, _, template, example)) in self.fixture.events.iter().enumerate() {
            if system != of && !self.together {
                continue;
            }
            let text = index.upsert(pattern as PatternId, template, example).unwrap();
            if let Some(model) = self.model {
                index.set_vector(pattern as PatternId, text_hash(&text), &vectors.of(model, &text));
            }
        }
        index
    }

    fn measure(&self, vectors: &mut Vectors) -> Quality {
        let mut indexes: HashMap<&str, Index> = HashMap::new();
        let (mut recall, mut reciprocal) = (0.0, 0.0);
        for (system, question, relevant) in &self.fixture.questions {
            let key = if self.together { "" } else { system.as_str() };
            let index = indexes.entry(key).or_insert_with(|| self.index(system, vectors));
            let vector = self.model.map(|m| vectors.of(m, question));
            let hits = index.search(question, vector.as_deref(), 100, |_| true);
            let is_right = |pattern: PatternId| {
                let (of, id, ..) = &self.fixture.events[pattern as usize];
                of == system && relevant.contains(id)
            };
            let right = hits.iter().take(5).filter(|h| is_right(h.pattern)).count();
            recall += right as f64 / relevant.len().min(5) as f64;
            reciprocal += hits.iter().position(|h| is_right(h.pattern)).map_or(0.0, |at| 1.0 / (at + 1) as f64);
        }
        let questions = self.fixture.questions.len() as f64;
        Quality { recall_at_5: recall / questions, mrr: reciprocal / questions }
    }
}

#[test]
fn questions_without_a_shared_word_find_their_events() {
    let (fixture, model, mut vectors) = (fixture(), embedder(), Vectors::default());
    let apart = Case { fixture: &fixture, model: Some(&model), together: false }.measure(&mut vectors);
    assert!(apart.recall_at_5 > 0.80 && apart.mrr > 0.70, "each system apart: {apart:?}");
    let together = Case { fixture: &fixture, model: Some(&model), together: true }.measure(&mut vectors);
    assert!(together.recall_at_5 > 0.65 && together.mrr > 0.55, "all systems together: {together:?}");
    let words = Case { fixture: &fixture, model: None, together: false }.measure(&mut vectors);
    assert!(words.recall_at_5 > 0.70, "without a model: {words:?}");
    assert!(words.recall_at_5 < apart.recall_at_5, "the model adds nothing");
}
