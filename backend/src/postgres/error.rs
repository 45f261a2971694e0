//! What went wrong, with Postgres' codes (SQLSTATE).

use devmesh_query::Error;
use pgwire::error::{ErrorInfo, PgWireError};

/// An error with a code.
pub(super) fn wrong(code: &str, message: impl Into<String>) -> PgWireError {
    PgWireError::UserError(Box::new(info(code, message)))
}

fn info(code: &str, message: impl Into<String>) -> ErrorInfo {
    ErrorInfo::new("ERROR".to_owned(), code.to_owned(), message.into())
}

/// A query's error; `sql` gives the position of what the message names.
pub(super) fn query(error: &Error, sql: &str) -> PgWireError {
    let message = error.to_string();
    let code = match error {
        Error::BadQuery(text) if text.starts_with("no table") => "42P01",
        Error::BadQuery(text) if text.starts_with("no column") => "42703",
        Error::BadQuery(text) if text.contains("read-only") || text.contains("only queries") => "25006",
        Error::BadQuery(_) => "42601",
        Error::Limit { .. } => "54000",
        Error::Timeout(_) => "57014",
        Error::Busy { .. } => "53300",
        Error::Store(_) => "58000",
        Error::NotFound(_) => "02000",
        Error::Unavailable(_) => "0A000",
        _ => "XX000",
    };
    let mut info = info(code, message);
    info.position = position(&info.message, sql).map(|position| position.to_string());
    PgWireError::UserError(Box::new(info))
}

/// Where in the query the error lies, in characters from 1: the line and column that the parser names, or the place of
/// the name that is unknown.
fn position(message: &str, sql: &str) -> Option<usize> {
    if let Some((_, rest)) = message.split_once("Line: ") {
        let number =
            |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<usize>().ok();
        let (line, column) = (number(rest)?, number(rest.split_once("Column: ")?.1)?);
        let before: usize = sql.split_inclusive('\n').take(line.checked_sub(1)?).map(|line| line.chars().count()).sum();
        return Some(before + column);
    }
    let name = message.strip_prefix("no table ").or_else(|| message.strip_prefix("no column "))?;
    let name = name.split([';', ',', ' ']).next()?.rsplit('.').next()?.trim_matches('"');
    let byte = sql.to_lowercase().find(&name.to_lowercase())?;
    Some(sql.get(..byte)?.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_is_that_of_the_fault() {
        assert_eq!(position("Expected: x, found: FORM at Line: 2, Column: 3", "SELECT 1\nx FORM"), Some(12));
        assert_eq!(position("no table lgs; did you mean logs?", "SELECT * FROM lgs"), Some(15));
        assert_eq!(position("no column logs.bdy; did you mean body?", "SELECT é, bdy FROM logs"), Some(11));
        assert_eq!(position("something else", "SELECT 1"), None);
    }
}
