//! A query on one line, as Prometheus' API shows the queries of rules.

use promql_parser::parser;

use crate::Error;

/// A query written on one line: names, spaces and the places of modifiers are those that Prometheus gives them.
///
/// # Errors
/// [`Error::Parse`]: it is no query.
pub fn written(text: &str) -> Result<String, Error> {
    parser::parse(text).map(|expr| expr.to_string()).map_err(Error::Parse)
}
