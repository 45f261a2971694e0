//! Why a query was not answered, said to the person who asked.

use std::time::Duration;

use datafusion::{common::SchemaError, error::DataFusionError};

/// Why not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The query itself is wrong; says where, and what was meant perhaps. HTTP 400.
    #[error("{0}")]
    BadQuery(String),
    /// The query asks for more than a query may. HTTP 400.
    #[error("{what} is limited to {limit}: {advice}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be, with its unit.
        limit: String,
        /// What to do.
        advice: &'static str,
    },
    /// It took longer than a query may. HTTP 408.
    #[error("the query took longer than {0:?} and was stopped; narrow its time range, or ask for less")]
    Timeout(Duration),
    /// Too many queries run already. HTTP 429.
    #[error("{running} queries run already, and none ended within {waited:?}; ask again later")]
    Busy {
        /// How many run.
        running: usize,
        /// How long this one waited.
        waited: Duration,
    },
    /// The store could not be read. HTTP 503.
    #[error("failed to read the store: {0}")]
    Store(String),
    /// What was asked for does not exist. HTTP 404.
    #[error("{0}")]
    NotFound(String),
    /// What was asked for is not to be had from this server, and what would have to be done. HTTP 501.
    #[error("{0}")]
    Unavailable(String),
    /// A fault of ours. HTTP 500.
    #[error("failed to run the query: {0}")]
    Internal(String),
}

impl Error {
    /// After what time the same query may succeed; `None` where it never will.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Busy { .. } => Some(Duration::from_secs(1)),
            Error::Store(_) => Some(Duration::from_secs(5)),
            _ => None,
        }
    }

    /// Whether the one who asked can mend it.
    pub fn is_bad_query(&self) -> bool {
        matches!(self, Error::BadQuery(_) | Error::Limit { .. })
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        from_datafusion(&error, &[])
    }
}

/// Says what DataFusion says, in our words. `tables` are the names a table could have been meant by.
pub(crate) fn from_datafusion(error: &DataFusionError, tables: &[String]) -> Error {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => from_datafusion(inner, tables),
        DataFusionError::Shared(inner) => from_datafusion(inner, tables),
        DataFusionError::Collection(all) if !all.is_empty() => from_datafusion(&all[0], tables),
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            arrow_schema::ArrowError::ExternalError(inner) => from_source(inner.as_ref(), tables),
            arrow_schema::ArrowError::ParquetError(text) => internal(text),
            arrow_schema::ArrowError::IoError(text, _) => Error::Store(sentence(text)),
            other => Error::BadQuery(sentence(&other.to_string())),
        },
        DataFusionError::External(inner) => from_source(inner.as_ref(), tables),
        DataFusionError::ResourcesExhausted(_) => Error::Limit {
            what: "the memory of a query",
            limit: "what is configured".into(),
            advice: "narrow its time range, group by less, or add a LIMIT",
        },
        DataFusionError::SchemaError(schema, _) => Error::BadQuery(unknown_column(schema)),
        DataFusionError::SQL(parser, _) => Error::BadQuery(sentence(
            &parser.to_string().replace("sql parser error: ", "").replace("ParserError: ", ""),
        )),
        DataFusionError::Plan(text) => Error::BadQuery(plan(text, tables)),
        DataFusionError::NotImplemented(text) => Error::BadQuery(format!("not supported: {}", sentence(text))),
        DataFusionError::Execution(text) => Error::BadQuery(sentence(text)),
        DataFusionError::ParquetError(inner) => match inner.as_ref() {
            parquet::errors::ParquetError::External(source) => from_source(source.as_ref(), tables),
            other => internal(&other.to_string()),
        },
        DataFusionError::ObjectStore(inner) => Error::Store(sentence(&inner.to_string())),
        DataFusionError::IoError(inner) => Error::Store(sentence(&inner.to_string())),
        other => internal(&other.strip_backtrace()),
    }
}

/// A fault of ours, but for a pattern that arrow's kernels refuse: wherever it was evaluated, it arrives as a text.
fn internal(text: &str) -> Error {
    if let Some((_, reason)) = text.split_once("Regular expression did not compile: ") {
        return Error::BadQuery(format!("regular expression: {}", sentence(reason.trim_end_matches("\")"))));
    }
    // What the crate regex says of a pattern that is valid and too large.
    if text.contains("Compiled regex exceeds size limit") {
        return Error::BadQuery("regular expression: it is too large; its repetitions multiply".into());
    }
    Error::Internal(sentence(text))
}

fn from_source(source: &(dyn std::error::Error + Send + Sync + 'static), tables: &[String]) -> Error {
    if let Some(error) = source.downcast_ref::<DataFusionError>() {
        return from_datafusion(error, tables);
    }
    if let Some(Error::BadQuery(text)) = source.downcast_ref::<Error>() {
        return Error::BadQuery(text.clone());
    }
    if let Some(Error::Unavailable(text)) = source.downcast_ref::<Error>() {
        return Error::Unavailable(text.clone());
    }
    if let Some(Error::Store(text)) = source.downcast_ref::<Error>() {
        return Error::Store(text.clone());
    }
    if let Some(error) = source.downcast_ref::<devmesh_store::Error>() {
        return match error {
            // Asking again won't help: somebody has to change the database.
            devmesh_store::Error::Database(text) => Error::Internal(text.clone()),
            error => Error::Store(error.to_string()),
        };
    }
    if let Some(error) = source.downcast_ref::<object_store::Error>() {
        return Error::Store(sentence(&error.to_string()));
    }
    let text = source.to_string();
    match text.strip_prefix("regex parse error:") {
        Some(text) => {
            Error::BadQuery(format!("regular expression: {}", text.trim_end().lines().last().unwrap_or(text)))
        }
        None => internal(&text),
    }
}

/// The first line, without what DataFusion puts before it.
fn sentence(text: &str) -> String {
    let text = text.split("\n\nbacktrace").next().unwrap_or_default().trim();
    let mut rest = text;
    for prefix in ["Error during planning: ", "Execution error: ", "Arrow error: ", "This feature is not implemented: "]
    {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    let mut message: String = rest.lines().next().unwrap_or_default().into();
    let mut end = devmesh_schema::limits::MESSAGE_BYTES.min(message.len());
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    message
}

fn plan(text: &str, tables: &[String]) -> String {
    if let Some(name) = text.strip_prefix("table '").and_then(|t| t.strip_suffix("' not found")) {
        let name = name.rsplit('.').next().unwrap_or(name);
        return match nearest(name, tables.iter().map(String::as_str)) {
            Some(near) => format!("no table {name}; did you mean {near}?"),
            None => format!("no table {name}; the tables are {}", tables.join(", ")),
        };
    }
    sentence(text)
}

fn unknown_column(error: &SchemaError) -> String {
    let SchemaError::FieldNotFound { field, valid_fields } = error else { return sentence(&error.to_string()) };
    let near = nearest(&field.name, valid_fields.iter().map(|column| column.name.as_str()));
    match near {
        Some(near) if near.eq_ignore_ascii_case(&field.name) => {
            format!("no column {}; did you mean \"{near}\" (in double quotes)?", field.flat_name())
        }
        Some(near) => format!("no column {}; did you mean {near}?", field.flat_name()),
        None => {
            let mut names: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
            names.truncate(40);
            format!("no column {}; there are {}", field.flat_name(), names.join(", "))
        }
    }
}

/// The candidate that differs least, if by two letters, or a third of them, at most.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name: String = name.chars().take(64).collect::<String>().to_lowercase();
    let distance = |candidate: &str| edits(&name, &candidate.to_lowercase());
    let (edits, best) = candidates.map(|c| (distance(c), c)).min_by_key(|(edits, _)| *edits)?;
    let letters = name.chars().count().max(best.chars().count());
    (edits * 3 <= letters.max(6) && edits < letters).then_some(best)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
