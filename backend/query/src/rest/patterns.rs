//! `GET /query/patterns`.

use serde::Serialize;

use super::{Condition, TimeRange, cells, quote};
use crate::{Engine, Error, SqlOptions};

/// Patterns of which a comparison tells at most.
const AT_MOST: usize = 50_000;

/// Which patterns.
#[derive(Clone, Debug, Default)]
pub struct PatternQuery {
    /// Of this service.
    pub service: Option<String>,
    /// From when to when.
    pub range: TimeRange,
    /// How many, the most frequent first.
    pub limit: usize,
}

/// A pattern, in the columns of `log_patterns`.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[allow(missing_docs, reason = "the columns of log_patterns, CONTRACT §4")]
pub struct PatternFigures {
    pub pattern_id: String,
    pub template: String,
    pub services: Vec<String>,
    pub level: String,
    pub levels: Vec<String>,
    pub count: u64,
    pub first_seen: Option<String>,
    pub last_seen: Option<String>,
}

/// A pattern in two windows, in the columns of `patterns_compare`.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct ComparedPattern {
    /// Its id.
    pub pattern_id: String,
    /// Its text.
    pub template: String,
    /// new, gone, more, fewer or same.
    pub status: String,
    /// Services that say it: in the window, else in the one that it is compared with.
    pub services: Vec<String>,
    /// The level that says it most.
    pub level: String,
    /// Records in the window.
    pub count: u64,
    /// Records in the one that it is compared with.
    pub compare_count: u64,
    /// Records a second.
    pub rate: Option<f64>,
    /// Likewise.
    pub compare_rate: Option<f64>,
    /// Standard deviations from no change.
    pub score: Option<f64>,
}

/// What is different between two windows.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
pub struct Comparison {
    /// Not there before; the most frequent first.
    pub new: Vec<ComparedPattern>,
    /// Not there any more.
    pub gone: Vec<ComparedPattern>,
    /// More frequent; the surest first.
    pub more: Vec<ComparedPattern>,
    /// Less frequent.
    pub fewer: Vec<ComparedPattern>,
    /// Patterns of which no difference can be told.
    pub same: u64,
}

impl Engine {
    /// Patterns of the logs in the range, the most frequent first.
    ///
    /// # Errors
    /// As [`Engine::sql`].
    pub async fn patterns(&self, query: &PatternQuery) -> Result<Vec<PatternFigures>, Error> {
        let view = devmesh_schema::views::VIEWS.iter().find(|(name, _)| *name == "log_patterns").map(|(_, sql)| *sql);
        let view = view.ok_or_else(|| Error::Internal("there is no view log_patterns".into()))?;
        let mut condition = Condition::new();
        condition.time(query.range).equals("service", query.service.as_deref());
        let wanted = format!("FROM logs WHERE {}", condition.0);
        let view = view.replace("FROM logs\n", &format!("{wanted}\n"));
        let sql = format!("SELECT * FROM ({view}) ORDER BY count DESC, pattern_id LIMIT {}", query.limit);
        let options = SqlOptions { limit: Some(query.limit), timeout: None };
        let batches = self.sql(&sql, options).await?.collect().await?;
        Ok(cells::rows(&batches).map(|row| figures(&row)).collect())
    }

    /// What is different in a window from another one.
    ///
    /// # Errors
    /// As [`Engine::sql`]; a window has an open end.
    pub async fn compare_patterns(
        &self,
        window: TimeRange,
        compared: TimeRange,
        service: Option<&str>,
        limit: usize,
    ) -> Result<Comparison, Error> {
        let open = || Error::BadQuery("both windows need a start and an end".into());
        let mut times = Vec::with_capacity(4);
        for range in [window, compared] {
            for end in [range.start, range.end] {
                times.push(quote(&devmesh_schema::time::format(end.ok_or_else(open)?)));
            }
        }
        let service = service.map(|service| format!(", {}", quote(service))).unwrap_or_default();
        let sql = format!("SELECT * FROM patterns_compare({}{service})", times.join(", "));
        let options = SqlOptions { limit: Some(AT_MOST), timeout: None };
        let batches = self.sql(&sql, options).await?.collect().await?;
        Ok(comparison(cells::rows(&batches).map(|row| compared_pattern(&row)), limit))
    }
}

fn comparison(patterns: impl Iterator<Item = ComparedPattern>, limit: usize) -> Comparison {
    let mut all = Comparison::default();
    for pattern in patterns {
        match pattern.status.as_str() {
            "new" => all.new.push(pattern),
            "gone" => all.gone.push(pattern),
            "more" => all.more.push(pattern),
            "fewer" => all.fewer.push(pattern),
            _ => all.same += 1,
        }
    }
    all.new.sort_by(|a, b| (b.count, &a.pattern_id).cmp(&(a.count, &b.pattern_id)));
    let surest = |a: &ComparedPattern, b: &ComparedPattern| {
        let score = |pattern: &ComparedPattern| pattern.score.unwrap_or_default().abs();
        score(b).total_cmp(&score(a)).then_with(|| a.pattern_id.cmp(&b.pattern_id))
    };
    for list in [&mut all.gone, &mut all.more, &mut all.fewer] {
        list.sort_by(surest);
    }
    for list in [&mut all.new, &mut all.gone, &mut all.more, &mut all.fewer] {
        list.truncate(limit);
    }
    all
}

fn figures(row: &cells::Row<'_>) -> PatternFigures {
    PatternFigures {
        pattern_id: row.text_or_empty("pattern_id"),
        template: row.text_or_empty("template"),
        services: row.texts("services"),
        level: row.text_or_empty("level"),
        levels: row.texts("levels"),
        count: row.count("count"),
        first_seen: row.time("first_seen"),
        last_seen: row.time("last_seen"),
    }
}

fn compared_pattern(row: &cells::Row<'_>) -> ComparedPattern {
    ComparedPattern {
        pattern_id: row.text_or_empty("pattern_id"),
        template: row.text_or_empty("template"),
        status: row.text_or_empty("status"),
        services: row.texts("services"),
        level: row.text_or_empty("level"),
        count: row.count("count"),
        compare_count: row.count("compare_count"),
        rate: row.double("rate"),
        compare_rate: row.double("compare_rate"),
        score: row.double("score"),
    }
}
