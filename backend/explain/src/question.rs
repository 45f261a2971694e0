//! What is asked: a window, what it is compared with, and perhaps words. Checked once, here.

use devmesh_schema::{TimestampNs, time};

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;
/// The longest window: a day. Longer ones have no one cause.
const WINDOW_MAX: i64 = 24 * 3600 * SECOND;
/// The longest baseline: a week.
const BASELINE_MAX: i64 = 7 * WINDOW_MAX;
/// The shortest baseline that is chosen.
const BASELINE_MIN: i64 = 30 * 60 * SECOND;
/// A baseline that is chosen is so many times as long as the window: what is rare then shows at least once.
const BASELINE_TIMES: i64 = 4;
/// Bytes of the words.
pub(crate) const QUERY_BYTES: usize = 4 << 10;

/// A stretch of time: from `start`, until `end` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// From, ns.
    pub start: TimestampNs,
    /// Until, ns, exclusive.
    pub end: TimestampNs,
}

impl Range {
    fn length(self) -> i64 {
        self.end.saturating_sub(self.start)
    }
}

/// What is wrong with a question; the message names the field.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Wrong {
    /// A range ends before it starts.
    #[error("{0}: start_time {1} does not lie before end_time {2}")]
    Empty(&'static str, String, String),
    /// A range is too long.
    #[error("{0}: it is longer than {1}; ask for a shorter one")]
    Long(&'static str, &'static str),
    /// The baseline reaches into the window.
    #[error("baseline: it ends at {0}, after the window begins at {1}; it has to lie before")]
    Overlap(String, String),
    /// The words are too long.
    #[error("query: it has {0} bytes; it has at most {QUERY_BYTES}")]
    Words(usize),
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is to be explained.
    pub window: Range,
    /// What it is compared with; before the window.
    pub baseline: Range,
    /// Words of whoever asks: suspects that they name come first among equals.
    pub words: Option<String>,
}

impl Question {
    /// Checks a question. Without a baseline it is the time before the window: four times as long, half an hour at least.
    ///
    /// # Errors
    /// See [`Wrong`].
    pub fn new(window: Range, baseline: Option<Range>, words: Option<String>) -> Result<Self, Wrong> {
        check("the window", window, WINDOW_MAX, "24 hours")?;
        let length = window.length().saturating_mul(BASELINE_TIMES).max(BASELINE_MIN);
        let baseline = baseline.unwrap_or(Range { start: window.start.saturating_sub(length), end: window.start });
        check("baseline", baseline, BASELINE_MAX, "7 days")?;
        if baseline.end > window.start {
            return Err(Wrong::Overlap(time::format(baseline.end), time::format(window.start)));
        }
        match words {
            Some(words) if words.len() > QUERY_BYTES => Err(Wrong::Words(words.len())),
            words => Ok(Self { window, baseline, words: words.filter(|words| !words.trim().is_empty()) }),
        }
    }
}

fn check(name: &'static str, range: Range, most: i64, said: &'static str) -> Result<(), Wrong> {
    if range.start >= range.end {
        return Err(Wrong::Empty(name, time::format(range.start), time::format(range.end)));
    }
    if range.length() > most { Err(Wrong::Long(name, said)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600 * SECOND;

    #[test]
    fn a_baseline_is_chosen_before_the_window() {
        let window = Range { start: 100 * HOUR, end: 101 * HOUR };
        let question = Question::new(window, None, Some("  ".to_owned())).unwrap();
        assert_eq!(question.baseline, Range { start: 96 * HOUR, end: 100 * HOUR });
        assert_eq!(question.words, None);
        let short = Range { start: 100 * HOUR, end: 100 * HOUR + SECOND };
        assert_eq!(Question::new(short, None, None).unwrap().baseline.length(), BASELINE_MIN);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let window = Range { start: 100 * HOUR, end: 101 * HOUR };
        let at = |start, end| Range { start: start * HOUR, end: end * HOUR };
        for (window, baseline, words, part) in [
            (at(5, 5), None, None, "the window"),
            (at(100, 125), None, None, "24 hours"),
            (window, Some(at(99, 98)), None, "baseline"),
            (window, Some(at(99, 102)), None, "baseline"),
            (at(1000, 1001), Some(at(1, 999)), None, "7 days"),
            (window, None, Some("x".repeat(QUERY_BYTES + 1)), "query"),
        ] {
            let wrong = Question::new(window, baseline, words).unwrap_err();
            assert!(wrong.to_string().contains(part), "{wrong}");
        }
    }
}
