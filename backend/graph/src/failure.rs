//! Exceptions: of which sort they are. Two are one where type and the top frames of their stacks agree, numbers apart.

use arrow_array::{Array, ListArray, StringArray, StructArray, cast::AsArray};

use crate::model::fnv;

/// Frames that count.
const FRAMES: usize = 5;
/// Bytes of a stack that are looked at.
const STACK_BYTES: usize = 8 << 10;

/// An exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) kind: String,
    pub(crate) message: Option<String>,
    /// Of the top frames; `None` without a stack.
    pub(crate) stack: Option<u64>,
}

/// A hash of the top frames: lines that name a place, without numbers and addresses.
pub(crate) fn frames(stack: &str) -> Option<u64> {
    let stack = &stack[..stack.floor_char_boundary(STACK_BYTES)];
    let is_frame = |line: &&str| {
        line.starts_with("at ") || line.starts_with("File ") || line.starts_with("from ") || line.contains(".go:")
    };
    let mut text = String::new();
    for frame in stack.lines().map(str::trim).filter(is_frame).take(FRAMES) {
        text.extend(frame.chars().filter(|letter| !letter.is_ascii_digit()));
        text.push('\n');
    }
    (!text.is_empty()).then(|| fnv(text.as_bytes()))
}

/// The exception among a span's events, if there is one. `events`: as the table `spans` has them.
pub(crate) fn of_events(events: &ListArray, row: usize) -> Option<Exception> {
    if events.is_null(row) {
        return None;
    }
    let list = events.value(row);
    let list: &StructArray = list.as_struct_opt()?;
    let names = list.column_by_name("name")?.as_string_view_opt()?.clone();
    let maps = list.column_by_name("attributes")?.as_map_opt()?.clone();
    // The last one is the one that ended the span.
    let at = (0..list.len()).rev().find(|at| names.is_valid(*at) && names.value(*at) == "exception")?;
    let entries = maps.value(at);
    let keys: &StringArray = entries.column(0).as_string_opt()?;
    let values: &StringArray = entries.column(1).as_string_opt()?;
    let get = |name: &str| {
        let at = (0..keys.len()).find(|at| keys.value(*at) == name)?;
        values.is_valid(at).then(|| values.value(at))
    };
    Some(Exception {
        kind: get("exception.type").unwrap_or("exception").to_owned(),
        message: get("exception.message").map(str::to_owned),
        stack: get("exception.stacktrace").and_then(frames),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_that_differ_in_numbers_alone_are_one() {
        let java = |line: u32| format!("x.Y: no {line}\n\tat a.B.c(B.java:{line})\n\tat a.D.e(D.java:7)\n");
        assert_eq!(frames(&java(1)), frames(&java(2)));
        assert_ne!(frames(&java(1)), frames("x.Y: no 1\n\tat a.Other.c(B.java:1)\n"));
        let python = "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n    g()\nValueError: 1";
        assert!(frames(python).is_some());
        assert_eq!(frames("no stack at all"), None);
    }
}
