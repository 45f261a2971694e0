//! Groups out of the summaries of files: counts of log records by pattern, service, level and time, without reading a row.
//!
//! A file's summary answers where the file lies within the time that is asked for, or where that is cut at the borders of its
//! stretches. The other files, and the rows in memory, are left to the engine.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringViewArray, TimestampNanosecondArray};
use arrow_schema::{DataType, Field, Schema};
use devmesh_schema::{Signal, TimestampNs, stored, tables};

use super::{
    beside::may_decide,
    files::StoredFile,
    summary::{Group, Summary},
};
use crate::{
    Error, Filter, GroupBy, Key, Measure, Op, PatternMap, Scan, Value, pattern_id_text,
    patterns::filter::{COLUMN as PATTERN, patterns},
};

/// What a group has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Service,
    Level,
    Pattern,
    Time { width: i64, origin: TimestampNs },
}

/// What is computed of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Rows,
    /// Rows with a pattern.
    Patterns,
    First,
    Last,
}

/// What rows must have.
#[derive(Clone, Debug)]
enum Only {
    Service(Vec<String>),
    Level(Vec<String>),
    Patterns(Vec<u64>),
    /// All of them in the body.
    Words(Vec<String>),
}

/// Groups, and the files whose rows are not in them.
type Answered = (RecordBatch, Vec<Arc<StoredFile>>);

/// A question that summaries can answer.
#[derive(Clone, Debug)]
pub(super) struct Question {
    time: std::ops::Range<TimestampNs>,
    keys: Vec<By>,
    measures: Vec<Of>,
    filters: Vec<Only>,
    /// Those on words, as an index is asked.
    words: Vec<Filter>,
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Cell {
    Text(Arc<str>),
    Pattern(Option<u64>),
    Time(TimestampNs),
}

/// What was counted of a group.
#[derive(Clone, Copy, Debug)]
struct Counted {
    rows: u64,
    patterns: u64,
    first: TimestampNs,
    last: TimestampNs,
}

type Counts = HashMap<Vec<Cell>, Counted>;

impl Question {
    /// `None` for what no summary says.
    pub(super) fn new(scan: &Scan, group: &GroupBy, map: &PatternMap) -> Option<Self> {
        if scan.signal != Signal::Logs || (group.keys.is_empty() && scan.filters.is_empty()) {
            return None;
        }
        let key = |key: &Key| match key {
            Key::Column(name) => match name.as_str() {
                stored::SERVICE => Some(By::Service),
                stored::LEVEL => Some(By::Level),
                PATTERN => Some(By::Pattern),
                _ => None,
            },
            Key::Time { width, origin } => Some(By::Time { width: *width, origin: *origin }),
            Key::Attribute(_) => None,
        };
        let measure = |measure: &Measure| match measure {
            Measure::CountAll => Some(Of::Rows),
            Measure::Count(name) if name == PATTERN => Some(Of::Patterns),
            Measure::Count(name) if [stored::TIME, stored::SERVICE, stored::LEVEL].contains(&name.as_str()) => {
                Some(Of::Rows)
            }
            Measure::Min(name) if name == stored::TIME => Some(Of::First),
            Measure::Max(name) if name == stored::TIME => Some(Of::Last),
            _ => None,
        };
        let is_words = |filter: &&Filter| matches!(filter, Filter::Words { .. });
        Some(Self {
            time: scan.time.clone(),
            keys: group.keys.iter().map(key).collect::<Option<_>>()?,
            measures: group.measures.iter().map(measure).collect::<Option<_>>()?,
            filters: scan.filters.iter().map(|filter| only(filter, map)).collect::<Option<_>>()?,
            words: scan.filters.iter().filter(is_words).cloned().collect(),
        })
    }

    /// The groups, and the files whose rows are not in them; `None` where no summary answers.
    pub(super) fn answer(&self, files: Vec<Arc<StoredFile>>, map: &PatternMap) -> Result<Option<Answered>, Error> {
        let mut counts = Counts::new();
        let (all, mut rest) = (files.len(), Vec::new());
        for file in files {
            if !self.words.is_empty() && file.select(&self.words).is_none() {
                // The words are nowhere in it.
                continue;
            }
            let summary = file.summary().filter(|summary| self.fits(summary, file.entry.time));
            let is_counted = summary.is_some_and(|summary| match self.wanted(&summary, map) {
                Some(groups) => {
                    self.add(&summary, &groups, file.entry.time, map, &mut counts);
                    true
                }
                None => false,
            });
            if !is_counted {
                rest.push(file);
            }
        }
        if rest.len() == all {
            return Ok(None);
        }
        Ok(Some((self.batch(counts)?, rest)))
    }

    /// Whether all rows of a file are wanted.
    fn has_all(&self, time: (TimestampNs, TimestampNs)) -> bool {
        self.time.start <= time.0 && time.1 < self.time.end
    }

    fn fits(&self, summary: &Summary, time: (TimestampNs, TimestampNs)) -> bool {
        let width = summary.width;
        let whole = |at: TimestampNs| at.rem_euclid(width) == 0;
        let cut =
            (self.time.start <= time.0 || whole(self.time.start)) && (time.1 < self.time.end || whole(self.time.end));
        let keys = self.keys.iter().all(|key| match key {
            By::Time { width: by, origin } => whole(*by) && whole(*origin),
            By::Service | By::Level | By::Pattern => true,
        });
        let by_stretch = !self.has_all(time) || self.keys.iter().any(|key| matches!(key, By::Time { .. }));
        let extremes = self.measures.iter().any(|measure| matches!(measure, Of::First | Of::Last));
        cut && keys && !(by_stretch && extremes)
    }

    /// The groups whose rows are wanted; `None` where that takes reading bodies.
    fn wanted<'s>(&self, summary: &'s Summary, map: &PatternMap) -> Option<Vec<&'s Group>> {
        let texts: Vec<&str> = summary.templates.iter().map(|(text, _)| text.as_str()).collect();
        let patterns: Vec<u64> = texts.iter().map(|text| map.pattern_of_text(text)).collect();
        let mut by_words: HashMap<(usize, Option<u32>), Option<bool>> = HashMap::new();
        let mut wanted = Vec::new();
        for group in &summary.groups {
            let (mut is_wanted, mut is_decided) = (true, true);
            for (at, only) in self.filters.iter().enumerate() {
                let passes = match only {
                    Only::Service(names) => Some(names.contains(&summary.services[group.service as usize])),
                    Only::Level(names) => Some(names.contains(&summary.levels[group.level as usize])),
                    Only::Patterns(ids) => Some(group.template.is_some_and(|t| ids.contains(&patterns[t as usize]))),
                    Only::Words(words) => *by_words.entry((at, group.template)).or_insert_with(|| {
                        let template = group.template.map(|template| template as usize);
                        let beside = summary.beside.get(template.map_or(0, |template| template + 1))?;
                        beside.decide(template.map(|template| texts[template]), words)
                    }),
                };
                is_wanted &= passes != Some(false);
                is_decided &= passes.is_some();
            }
            if is_wanted && !is_decided {
                return None;
            }
            if is_wanted {
                wanted.push(group);
            }
        }
        Some(wanted)
    }

    fn add(
        &self,
        summary: &Summary,
        groups: &[&Group],
        time: (TimestampNs, TimestampNs),
        map: &PatternMap,
        counts: &mut Counts,
    ) {
        let texts = |texts: &[String]| texts.iter().map(|text| Arc::from(text.as_str())).collect::<Vec<Arc<str>>>();
        let (services, levels) = (texts(&summary.services), texts(&summary.levels));
        let patterns: Vec<u64> = summary.templates.iter().map(|(text, _)| map.pattern_of_text(text)).collect();
        let by_stretch = !self.has_all(time) || self.keys.iter().any(|key| matches!(key, By::Time { .. }));
        for group in groups {
            let (service, level) = (&services[group.service as usize], &levels[group.level as usize]);
            let pattern = group.template.map(|template| patterns[template as usize]);
            let cells = |at: TimestampNs| -> Vec<Cell> {
                let cell = |key: &By| match key {
                    By::Service => Cell::Text(Arc::clone(service)),
                    By::Level => Cell::Text(Arc::clone(level)),
                    By::Pattern => Cell::Pattern(pattern),
                    By::Time { width, origin } => Cell::Time((at - origin).div_euclid(*width) * width + origin),
                };
                self.keys.iter().map(cell).collect()
            };
            if !by_stretch {
                count(counts, cells(0), group, pattern, group.rows);
                continue;
            }
            for (stretch, rows) in &group.stretches {
                let at = stretch.saturating_mul(summary.width);
                let inside = at.saturating_add(summary.width) > self.time.start && at < self.time.end;
                if inside {
                    count(counts, cells(at), group, pattern, *rows);
                }
            }
        }
    }

    fn batch(&self, counts: Counts) -> Result<RecordBatch, Error> {
        let rows: Vec<(Vec<Cell>, Counted)> = counts.into_iter().collect();
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        for (at, key) in self.keys.iter().enumerate() {
            let array: ArrayRef = match key {
                By::Time { .. } => {
                    let time = |(cells, _): &(Vec<Cell>, Counted)| match cells.get(at) {
                        Some(Cell::Time(time)) => Some(*time),
                        _ => None,
                    };
                    Arc::new(rows.iter().map(time).collect::<TimestampNanosecondArray>().with_timezone("UTC"))
                }
                By::Service | By::Level | By::Pattern => {
                    let text = |(cells, _): &(Vec<Cell>, Counted)| match cells.get(at) {
                        Some(Cell::Text(text)) => Some(text.to_string()),
                        Some(Cell::Pattern(pattern)) => pattern.map(pattern_id_text),
                        _ => None,
                    };
                    Arc::new(rows.iter().map(text).collect::<StringViewArray>())
                }
            };
            columns.push((format!("k{at}"), array));
        }
        for (at, measure) in self.measures.iter().enumerate() {
            let count = |of: fn(&Counted) -> u64| -> ArrayRef {
                let counts = rows.iter().map(|(_, counted)| i64::try_from(of(counted)).unwrap_or(i64::MAX));
                Arc::new(counts.collect::<Int64Array>())
            };
            let times = |of: fn(&Counted) -> TimestampNs| -> ArrayRef {
                let times = rows.iter().map(|(_, counted)| of(counted));
                Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"))
            };
            let array = match measure {
                Of::Rows => count(|counted| counted.rows),
                Of::Patterns => count(|counted| counted.patterns),
                Of::First => times(|counted| counted.first),
                Of::Last => times(|counted| counted.last),
            };
            columns.push((format!("m{at}"), array));
        }
        let is_time = |array: &ArrayRef| matches!(array.data_type(), DataType::Timestamp(..));
        debug_assert!(columns.iter().all(|(_, array)| !is_time(array) || *array.data_type() == tables::timestamp()));
        let fields = columns.iter().map(|(name, array)| Field::new(name, array.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
    }
}

fn count(counts: &mut Counts, cells: Vec<Cell>, group: &Group, pattern: Option<u64>, rows: u64) {
    let none = Counted { rows: 0, patterns: 0, first: TimestampNs::MAX, last: TimestampNs::MIN };
    let counted = counts.entry(cells).or_insert(none);
    counted.rows += rows;
    counted.patterns += if pattern.is_some() { rows } else { 0 };
    counted.first = counted.first.min(group.time.0);
    counted.last = counted.last.max(group.time.1);
}

/// A filter on what summaries know.
fn only(filter: &Filter, map: &PatternMap) -> Option<Only> {
    if let Some(asked) = patterns(filter) {
        // A pattern that has become part of another has no rows.
        return Some(Only::Patterns(
            asked.into_iter().filter(|id| map.pattern_of(*id).is_none_or(|now| now == *id)).collect(),
        ));
    }
    let (column, values) = match filter {
        // Without a word that can be ruled out, bodies have to be read in any case.
        Filter::Words { column, words } if column == stored::BODY && may_decide(words) => {
            return Some(Only::Words(words.clone()));
        }
        Filter::Compare { column, op: Op::Eq, value } => (column, std::slice::from_ref(value)),
        Filter::OneOf { column, values } => (column, values.as_slice()),
        _ => return None,
    };
    let text = |value: &Value| match value {
        Value::Text(text) => Some(text.clone()),
        Value::Int(_) | Value::Double(_) => None,
    };
    let texts = values.iter().map(text).collect::<Option<Vec<String>>>()?;
    match column.as_str() {
        stored::SERVICE => Some(Only::Service(texts)),
        stored::LEVEL => Some(Only::Level(texts)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::beside::Beside;

    const MINUTE: i64 = 60_000_000_000;

    fn summary() -> Summary {
        let group =
            |template, service, level, rows, time, stretches| Group { template, service, level, rows, time, stretches };
        Summary {
            width: MINUTE,
            services: vec!["cart".into(), "shop".into()],
            levels: vec!["INFO".into(), "ERROR".into()],
            templates: vec![("took <*> ms".into(), "took 7 ms".into())],
            groups: vec![
                group(None, 0, 0, 3, (MINUTE, 3 * MINUTE), vec![(1, 2), (3, 1)]),
                group(Some(0), 0, 1, 4, (2 * MINUTE + 5, 3 * MINUTE + 9), vec![(2, 1), (3, 3)]),
                group(Some(0), 1, 1, 5, (MINUTE + 1, MINUTE + 2), vec![(1, 5)]),
            ],
            beside: vec![
                Beside { words: None, is_exact: true },
                Beside { words: Some(vec![xxhash_rust::xxh3::xxh3_64(b"long")]), is_exact: true },
            ],
        }
    }

    const TIME: (i64, i64) = (MINUTE, 3 * MINUTE + 9);

    fn asked(
        time: std::ops::Range<i64>,
        keys: Vec<Key>,
        measures: Vec<Measure>,
        filters: Vec<Filter>,
    ) -> Option<Question> {
        let scan = Scan { time, filters, ..Scan::all(Signal::Logs) };
        Question::new(&scan, &GroupBy { keys, measures }, &PatternMap::default())
    }

    fn counted(question: &Question) -> Vec<(Vec<Cell>, u64, u64)> {
        let mut counts = Counts::new();
        let (summary, map) = (summary(), PatternMap::default());
        let groups = question.wanted(&summary, &map).unwrap();
        question.add(&summary, &groups, TIME, &map, &mut counts);
        let mut rows: Vec<_> =
            counts.into_iter().map(|(cells, counted)| (cells, counted.rows, counted.patterns)).collect();
        rows.sort_by_key(|row| format!("{row:?}"));
        rows
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.into())
    }

    fn column(name: &str) -> Key {
        Key::Column(name.into())
    }

    #[test]
    fn counts_are_those_of_the_rows_that_are_asked_for() {
        let count = || vec![Measure::CountAll, Measure::Count(PATTERN.into())];
        let all = asked(0..i64::MAX, vec![column("service")], count(), vec![]).unwrap();
        assert!(all.fits(&summary(), TIME));
        assert_eq!(counted(&all), [(vec![text("cart")], 7, 4), (vec![text("shop")], 5, 5)]);
        let part = asked(2 * MINUTE..3 * MINUTE, vec![column("level")], count(), vec![]).unwrap();
        assert!(part.fits(&summary(), TIME));
        assert_eq!(counted(&part), [(vec![text("ERROR")], 1, 1)]);
        let width = 2 * MINUTE;
        let time = asked(0..i64::MAX, vec![Key::Time { width, origin: MINUTE }], count(), vec![]).unwrap();
        assert!(time.fits(&summary(), TIME));
        assert_eq!(counted(&time), [(vec![Cell::Time(3 * MINUTE)], 4, 3), (vec![Cell::Time(MINUTE)], 8, 6)]);
        let errors = Filter::Compare { column: "level".into(), op: Op::Eq, value: Value::Text("ERROR".into()) };
        let id = devmesh_templates::template_id("took <*> ms");
        let pattern = Filter::Compare { column: PATTERN.into(), op: Op::Eq, value: Value::Text(pattern_id_text(id)) };
        let narrow = asked(0..i64::MAX, vec![column(PATTERN)], count(), vec![errors, pattern]).unwrap();
        assert_eq!(counted(&narrow), [(vec![Cell::Pattern(Some(id))], 9, 9)]);
    }

    #[test]
    fn words_are_counted_where_templates_decide() {
        let level =
            |name: &str| Filter::Compare { column: "level".into(), op: Op::Eq, value: Value::Text(name.into()) };
        let words = |words: &[&str]| Filter::Words {
            column: "body".into(),
            words: words.iter().map(|word| (*word).to_owned()).collect(),
        };
        let all = |filters| asked(0..i64::MAX, vec![column("service")], vec![Measure::CountAll], filters).unwrap();
        let map = PatternMap::default();
        // Rows without a template may hold any word.
        assert!(all(vec![words(&["took"])]).wanted(&summary(), &map).is_none());
        let errors = counted(&all(vec![words(&["took"]), level("ERROR")]));
        assert_eq!(errors, [(vec![text("cart")], 4, 4), (vec![text("shop")], 5, 5)]);
        assert!(counted(&all(vec![words(&["took", "short"]), level("ERROR")])).is_empty());
        assert!(all(vec![words(&["took", "long"]), level("ERROR")]).wanted(&summary(), &map).is_none());
        let earlier = Summary { beside: Vec::new(), ..summary() };
        assert!(all(vec![words(&["took"]), level("ERROR")]).wanted(&earlier, &map).is_none());
    }

    #[test]
    fn what_a_summary_does_not_say_is_left_to_the_engine() {
        let count = || vec![Measure::CountAll];
        let extremes = || vec![Measure::Min("time".into()), Measure::Max("time".into())];
        let minute = || Key::Time { width: MINUTE, origin: 0 };
        for (time, keys, measures, fits) in [
            (0..i64::MAX, vec![column("level")], extremes(), true),
            (0..i64::MAX, vec![minute()], extremes(), false),
            (0..i64::MAX, vec![Key::Time { width: MINUTE / 2, origin: 0 }], count(), false),
            (0..i64::MAX, vec![Key::Time { width: MINUTE, origin: 7 }], count(), false),
            (2 * MINUTE..i64::MAX, vec![minute()], count(), true),
            (2 * MINUTE..i64::MAX, vec![column("level")], extremes(), false),
            (2 * MINUTE + 1..i64::MAX, vec![minute()], count(), false),
            (0..3 * MINUTE + 9, vec![minute()], count(), false),
            (0..3 * MINUTE + 10, vec![minute()], count(), true),
        ] {
            let question = asked(time.clone(), keys.clone(), measures, vec![]).unwrap();
            assert_eq!(question.fits(&summary(), TIME), fits, "{time:?} {keys:?}");
        }
        let words = |word: &str| Filter::Words { column: "body".into(), words: vec![word.into()] };
        assert!(asked(0..1, vec![column("level")], count(), vec![words("7")]).is_none(), "numbers are not gathered");
        assert!(asked(0..1, vec![column("body")], count(), vec![]).is_none());
        assert!(asked(0..1, vec![], count(), vec![]).is_none(), "the files say how many rows they have");
        assert!(asked(0..1, vec![column("level")], vec![Measure::Max("body".into())], vec![]).is_none());
    }
}
