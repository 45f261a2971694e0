//! `POST /search/semantic`: the patterns of logs that a question means, with counts and live examples.
//!
//! 1. The patterns that fit best are ranked, whatever the filter, and logs that have what the question names (ids, names of
//!    users) are looked up by their words.
//! 2. One query counts the logs of those patterns within the filter. Where a filter leaves too few of them, it is asked for
//!    all patterns, and they are ranked again among those.
//! 3. One query fetches the latest logs of the best, and all patterns are ranked with the lines at hand: a line that has
//!    what the question names lifts its pattern, and is its first example.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Write as _,
    sync::Arc,
};

use devmesh_schema::{TimestampNs, time};
use serde::Serialize;

use super::{Condition, LogEvent, TimeRange, cells, logs, quote};
use crate::{
    Engine, Error, SqlOptions,
    meaning::{self, HitWithLines, PatternId, Question, SemanticSearch},
};

/// Patterns that an answer has at most.
pub const TOP_K_MAX: usize = 100;
/// Patterns that are ranked for each that is wanted, before any filter.
const SPARE: usize = 10;
/// Patterns that are ranked at least; IN takes so many without a thought.
const RANKED: usize = 200;
/// Words of a question that logs are looked up by.
const LOOKUPS: usize = 4;
/// The latest logs of each such word.
const LOOKED_UP: usize = 100;
/// The latest logs of a pattern that are looked at, where few patterns are wanted; for many, [`EXAMPLES`].
const LATEST: usize = 20;
/// Logs of all patterns together that are looked at, about.
const LINES: usize = 400;
/// Examples of a pattern in an answer.
const EXAMPLES: usize = 5;
/// Parts of one statement: an engine takes 32, and a union of more than two counts each twice.
const PARTS: usize = 16;
/// Groups of pattern, service and level that are read; what lies beyond is not counted.
const GROUPS: usize = 200_000;
/// Services that an answer names of a pattern.
const SERVICES: usize = 100;

/// What is searched for.
#[derive(Clone, Debug, Default)]
pub struct SearchQuery {
    /// The question, in plain words.
    pub query: String,
    /// Patterns at most, 1 to [`TOP_K_MAX`].
    pub top_k: usize,
    /// Only logs of this service.
    pub service: Option<String>,
    /// Only logs of this level, whatever the case. WARN and WARNING are one.
    pub level: Option<String>,
    /// Only logs of this time.
    pub range: TimeRange,
}

/// A pattern that was found. Counts, services, levels and times are those of the logs that were asked for.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct SearchResult {
    /// The pattern, as in `logs.pattern_id`.
    pub pattern_id: String,
    /// Its text, with `<*>` for what varies.
    pub template: String,
    /// What results are ordered by. It compares results of one answer only.
    pub score: f64,
    /// Its logs.
    pub count: u64,
    /// Who wrote them.
    pub services: Vec<String>,
    /// How bad they are.
    pub levels: Vec<String>,
    /// The time of the first, RFC 3339.
    pub first_seen: String,
    /// The time of the last.
    pub last_seen: String,
    /// Logs of the pattern, what fits the question best first, then the latest.
    pub examples: Vec<Example>,
}

/// A log of a pattern, in the columns of `log_events`.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Example {
    /// The log.
    #[serde(flatten)]
    pub log: LogEvent,
    /// How well it fits; it compares with all scores of one answer.
    pub score: f64,
}

/// The answer to a search.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct SearchAnswer {
    /// The patterns, best first.
    pub results: Vec<SearchResult>,
    /// The model that took part; where none did, why, and what to do.
    pub model: String,
}

/// What is known of a pattern within the filter.
#[derive(Debug, Default)]
struct Figures {
    count: u64,
    services: BTreeSet<String>,
    levels: BTreeSet<String>,
    first: TimestampNs,
    last: TimestampNs,
}

/// A log that may be an example.
struct Line {
    pattern: PatternId,
    log: LogEvent,
}

impl Engine {
    /// The patterns that a question means.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the engine has no search by meaning; [`Error::BadQuery`] where the question is empty or
    /// too long, or `top_k` too great; else as [`Engine::sql`].
    pub async fn search(&self, query: &SearchQuery) -> Result<SearchAnswer, Error> {
        meaning::check_question("query", &query.query)?;
        if !(1..=TOP_K_MAX).contains(&query.top_k) {
            return Err(Error::BadQuery(format!("top_k: it lies between 1 and {TOP_K_MAX}")));
        }
        let meaning = Arc::clone(self.meaning()?);
        Search { engine: self, meaning, query, filter: filter(query) }.run().await
    }
}

/// The condition of a filter.
fn filter(query: &SearchQuery) -> String {
    let mut condition = Condition::new();
    condition.time(query.range).equals("service", query.service.as_deref()).level(query.level.as_deref());
    condition.0
}

/// A search on its way.
struct Search<'a> {
    engine: &'a Engine,
    meaning: Arc<dyn SemanticSearch>,
    query: &'a SearchQuery,
    filter: String,
}

impl Search<'_> {
    async fn run(&self) -> Result<SearchAnswer, Error> {
        let top_k = self.query.top_k;
        let most = RANKED.max(top_k * SPARE);
        let text = self.query.query.clone();
        let (question, mut ranked, words) = self
            .compute(move |meaning| {
                let question = meaning.question(&text);
                let ranked = patterns(meaning, &question, most, &|_| true);
                let words = meaning.lookups(&question, LOOKUPS);
                (question, ranked, words)
            })
            .await?;
        let mut lines = self.looked_up(&words).await?;
        let named = lines.iter().map(|line| line.pattern);
        let asked: BTreeSet<PatternId> = ranked.iter().copied().chain(named).collect();
        let mut figures = self.figures(Some(&asked)).await?;
        if figures.len() < top_k && ranked.len() == most {
            figures = self.figures(None).await?;
            let wanted: HashSet<PatternId> = figures.keys().copied().collect();
            let asked = question.clone();
            ranked = self.compute(move |meaning| patterns(meaning, &asked, most, &|p| wanted.contains(&p))).await?;
        }
        ranked.retain(|pattern| figures.contains_key(pattern));
        lines.extend(self.latest(&ranked, &figures).await?);
        let model = question.model.clone();
        let (hits, lines) = self.with_lines(question, lines, &figures).await?;
        Ok(SearchAnswer { results: results(hits, &lines, &mut figures), model })
    }

    /// Computes on a thread that may wait.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn SemanticSearch) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let meaning = Arc::clone(&self.meaning);
        let done = tokio::task::spawn_blocking(move || work(&*meaning)).await;
        done.map_err(|error| Error::Internal(format!("a search failed: {error}")))
    }

    async fn with_lines(
        &self,
        question: Question,
        mut lines: Vec<Line>,
        figures: &HashMap<PatternId, Figures>,
    ) -> Result<(Vec<HitWithLines>, Vec<Line>), Error> {
        // A line may have been found by several words, and as one of the latest.
        let mut seen = HashSet::new();
        lines.retain(|line| seen.insert(line.log.id.clone()));
        let wanted: HashSet<PatternId> = figures.keys().copied().collect();
        let top_k = self.query.top_k;
        self.compute(move |meaning| {
            let texts: Vec<(PatternId, &str)> =
                lines.iter().map(|line| (line.pattern, line.log.message.as_deref().unwrap_or_default())).collect();
            let hits = meaning.rank_with_lines(&question, top_k, &texts, &|pattern| wanted.contains(&pattern));
            (hits, lines)
        })
        .await
    }

    /// The latest logs with the words that a question names: with all of them, and with each.
    async fn looked_up(&self, words: &[String]) -> Result<Vec<Line>, Error> {
        let all = (words.len() > 1).then(|| words.join(" "));
        let texts = all.iter().chain(words);
        self.lines(texts.map(|text| (format!("matches(body, {})", quote(text)), LOOKED_UP)).collect()).await
    }

    /// The latest logs of the first patterns.
    async fn latest(&self, ranked: &[PatternId], figures: &HashMap<PatternId, Figures>) -> Result<Vec<Line>, Error> {
        let each = (LINES / self.query.top_k).clamp(EXAMPLES, LATEST);
        let part = |pattern: &PatternId| {
            let Figures { first, last, .. } = figures.get(pattern)?;
            let id = meaning::format_id(*pattern);
            let (first, last) = (time::format(*first), time::format(*last));
            Some((format!("pattern_id = '{id}' AND time >= '{first}' AND time <= '{last}'"), each))
        };
        self.lines(ranked.iter().take(self.query.top_k).filter_map(part).collect()).await
    }

    /// The latest logs of each condition, as many as it says.
    async fn lines(&self, parts: Vec<(String, usize)>) -> Result<Vec<Line>, Error> {
        let mut lines = Vec::new();
        for parts in parts.chunks(PARTS) {
            let mut union = String::new();
            for (condition, limit) in parts {
                let or = if union.is_empty() { "" } else { " UNION ALL " };
                let filter = &self.filter;
                write!(
                    union,
                    "{or}(SELECT * FROM logs WHERE {condition} AND {filter} ORDER BY time DESC LIMIT {limit})"
                )
                .map_err(|error| Error::Internal(error.to_string()))?;
            }
            let rows = parts.iter().map(|(_, limit)| limit).sum();
            let sql = format!("SELECT pattern_id, {} FROM ({union}) ORDER BY timestamp DESC", logs::COLUMNS);
            let batches =
                self.engine.sql(&sql, SqlOptions { limit: Some(rows), timeout: None }).await?.collect().await?;
            lines.extend(cells::rows(&batches).filter_map(|row| {
                let pattern = meaning::parse_id(&row.text("pattern_id")?)?;
                Some(Line { pattern, log: logs::event(&row) })
            }));
        }
        Ok(lines)
    }

    /// What the logs of patterns, or of all, come to within the filter.
    async fn figures(&self, patterns: Option<&BTreeSet<PatternId>>) -> Result<HashMap<PatternId, Figures>, Error> {
        let mut figures = HashMap::new();
        let all: Vec<PatternId> = patterns.into_iter().flatten().copied().collect();
        let chunks: Vec<String> = match patterns {
            Some(_) => all.chunks(crate::limits::IN_LIST).map(among).collect(),
            None => vec!["pattern_id IS NOT NULL".to_owned()],
        };
        for chunk in chunks {
            let sql = format!(
                "SELECT pattern_id, service, level, count(*) AS count, min(time) AS first, max(time) AS last FROM logs \
                 WHERE {chunk} AND {} GROUP BY pattern_id, service, level",
                self.filter
            );
            let options = SqlOptions { limit: Some(GROUPS), timeout: None };
            let batches = self.engine.sql(&sql, options).await?.collect().await?;
            cells::rows(&batches).for_each(|row| add(&mut figures, &row));
        }
        Ok(figures)
    }
}

fn among(patterns: &[PatternId]) -> String {
    let ids: Vec<String> = patterns.iter().map(|pattern| format!("'{}'", meaning::format_id(*pattern))).collect();
    format!("pattern_id IN ({})", ids.join(", "))
}

/// Adds a group to its pattern.
fn add(figures: &mut HashMap<PatternId, Figures>, row: &cells::Row<'_>) {
    let Some(pattern) = row.text("pattern_id").as_deref().and_then(meaning::parse_id) else { return };
    let (first, last) = (row.ns("first").unwrap_or_default(), row.ns("last").unwrap_or_default());
    let figures = figures.entry(pattern).or_insert(Figures { first, last, ..Figures::default() });
    figures.count += row.count("count");
    figures.services.extend(row.text("service").filter(|name| !name.is_empty()));
    figures.levels.extend(row.text("level").filter(|name| !name.is_empty()));
    (figures.first, figures.last) = (figures.first.min(first), figures.last.max(last));
}

fn patterns(
    meaning: &dyn SemanticSearch,
    question: &Question,
    most: usize,
    wanted: meaning::Wanted<'_>,
) -> Vec<PatternId> {
    meaning.rank(question, most, wanted).into_iter().map(|hit| hit.pattern).collect()
}

/// A score without the digits that a float has not.
fn rounded(score: f32) -> f64 {
    (f64::from(score) * 1e6).round() / 1e6
}

fn results(hits: Vec<HitWithLines>, lines: &[Line], figures: &mut HashMap<PatternId, Figures>) -> Vec<SearchResult> {
    let result = |HitWithLines { hit, lines: fitting }| {
        let figures = figures.remove(&hit.pattern)?;
        let examples: Vec<Example> = fitting
            .into_iter()
            .take(EXAMPLES)
            .filter_map(|(place, score)| Some(Example { log: lines.get(place)?.log.clone(), score: rounded(score) }))
            .collect();
        let known = Some(hit.template).filter(|template| !template.is_empty());
        let template = known.or_else(|| examples.first()?.log.message.clone()).unwrap_or_default();
        Some(SearchResult {
            pattern_id: meaning::format_id(hit.pattern),
            template,
            score: rounded(hit.score),
            count: figures.count,
            services: figures.services.into_iter().take(SERVICES).collect(),
            levels: figures.levels.into_iter().collect(),
            first_seen: time::format(figures.first),
            last_seen: time::format(figures.last),
            examples,
        })
    };
    hits.into_iter().filter_map(result).collect()
}
