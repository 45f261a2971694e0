//! Search by meaning, wired: the store's patterns become the source of [`devmesh_insight`], which becomes what the query
//! engine asks. Neither knows the other.

use std::{fmt, io, sync::Arc};

use devmesh_insight::{
    Meaning,
    meaning::{Pattern, Settings, Source, Status},
    search,
};
use devmesh_query::{
    Error,
    meaning::{Hit, HitWithLines, PatternId, Question, SemanticSearch, Vectors, Wanted},
};
use devmesh_store::Patterns;

/// The patterns of a store, for whoever follows them.
struct Mined(Arc<dyn Patterns>);

impl Source for Mined {
    fn version(&self) -> u64 {
        self.0.version()
    }

    fn patterns(&self) -> Vec<Pattern> {
        let pattern = |p: devmesh_store::PatternText| Pattern { id: p.id, template: p.text, example: p.example };
        self.0.list().into_iter().map(pattern).collect()
    }
}

/// A running search. Dropping the last of it stops the threads.
#[derive(Clone)]
pub(crate) struct Search(Arc<Meaning>);

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Search")
    }
}

impl Search {
    /// Follows the patterns of a store.
    ///
    /// # Errors
    /// No thread could be started.
    pub(crate) fn start(patterns: Arc<dyn Patterns>, settings: Settings) -> io::Result<Self> {
        Ok(Self(Arc::new(Meaning::start(Mined(patterns), settings)?)))
    }

    /// What has been done.
    pub(crate) fn status(&self) -> Status {
        self.0.status()
    }

    /// Stops the threads. What is asked afterwards is answered from what was known.
    pub(crate) fn stop(&self) {
        self.0.stop();
    }

    /// Waits until all patterns that there are can be found.
    pub(crate) fn wait_settled(&self, limit: std::time::Duration) -> bool {
        self.0.wait_settled(limit)
    }

    fn hits(&self, hits: Vec<search::Hit>) -> Vec<Hit> {
        let templates = self.0.templates(hits.iter().map(|hit| hit.pattern));
        hits.into_iter().zip(templates).map(|(hit, template)| named(hit, template)).collect()
    }
}

fn named(hit: search::Hit, template: Option<String>) -> Hit {
    let search::Hit { pattern, score, similarity, words } = hit;
    Hit { pattern, template: template.unwrap_or_default(), score, similarity, words }
}

fn asked(question: &Question) -> devmesh_insight::meaning::Question {
    let Question { text, vector, model } = question.clone();
    devmesh_insight::meaning::Question { text, vector, model }
}

impl SemanticSearch for Search {
    fn question(&self, text: &str) -> Question {
        let devmesh_insight::meaning::Question { text, vector, model } = self.0.question(text);
        Question { text, vector, model }
    }

    fn rank(&self, question: &Question, k: usize, wanted: Wanted<'_>) -> Vec<Hit> {
        self.hits(self.0.search(&asked(question), k, wanted))
    }

    fn rank_with_lines(
        &self,
        question: &Question,
        k: usize,
        lines: &[(PatternId, &str)],
        wanted: Wanted<'_>,
    ) -> Vec<HitWithLines> {
        let found = self.0.search_with_lines(&asked(question), k, lines, wanted);
        let (hits, lines): (Vec<_>, Vec<_>) = found.into_iter().map(|found| (found.hit, found.lines)).unzip();
        self.hits(hits).into_iter().zip(lines).map(|(hit, lines)| HitWithLines { hit, lines }).collect()
    }

    fn lookups(&self, question: &Question, limit: usize) -> Vec<String> {
        self.0.lookups(&asked(question), limit)
    }

    fn vectors(&self) -> Result<Vectors, Error> {
        let broken = |error: devmesh_insight::Error| Error::Store(error.to_string());
        let vectors = self.0.vectors().map_err(broken)?;
        Ok(Box::new(vectors.map(move |vector| vector.map_err(broken))))
    }
}
