//! Which leaf items were counted, which were refused, and what else the sender should hear.

use std::ops::Range;

use super::Gap;
use crate::{Rejection, limits};

/// Counts items in the order of the request.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The index of the next item.
    next: u64,
    /// Rejected items, ascending, neighbours joined.
    removed: Vec<Range<u64>>,
    named: Vec<Rejection>,
    snake_case: Option<(String, u64)>,
    ids: Option<(String, u64)>,
    dropped: Option<(String, u64)>,
}

impl Tally {
    /// Counts an item and gives its index.
    pub(super) fn item(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// The index of the next item.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Rejects all items from `first` on for one reason.
    pub(super) fn reject_from(&mut self, first: u64, reason: &'static str, message: &str) {
        let end = self.next;
        self.rewind(first);
        self.next = end;
        if first == end {
            return;
        }
        match self.removed.last_mut() {
            Some(last) if last.end == first => last.end = end,
            _ => self.removed.push(first..end),
        }
        let room = limits::REJECTIONS_NAMED.saturating_sub(self.named.len());
        let named = (first..end).take(room);
        self.named.extend(named.map(|index| Rejection { index, reason, message: message.to_owned() }));
    }

    /// Forgets the items from `first` on: they stood under a key that came again.
    pub(super) fn rewind(&mut self, first: u64) {
        self.next = first;
        self.named.retain(|rejection| rejection.index < first);
        while let Some(last) = self.removed.last_mut() {
            last.end = last.end.min(first);
            if last.start < last.end {
                break;
            }
            self.removed.pop();
        }
    }

    /// Notes a key that is known in lowerCamelCase.
    pub(super) fn snake_case(&mut self, key: &str) {
        note(&mut self.snake_case, || key.to_owned());
    }

    /// Notes a log record's id that is none.
    pub(super) fn lost_id(&mut self, message: impl FnOnce() -> String) {
        note(&mut self.ids, message);
    }

    /// Notes a link or an exemplar without a usable id.
    pub(super) fn lost_part(&mut self, message: impl FnOnce() -> String) {
        note(&mut self.dropped, message);
    }

    /// Items rejected.
    pub(super) fn rejected(&self) -> u64 {
        self.removed.iter().map(|range| range.end - range.start).sum()
    }

    /// What else the sender should hear.
    pub(super) fn warnings(&self) -> Vec<String> {
        let say = |noted: &Option<(String, u64)>, text: &str| {
            noted.as_ref().map(|(first, count)| format!("{count} {text}, the first of them {first}"))
        };
        [
            say(&self.snake_case, "unknown keys ignored: OTLP/JSON writes keys in lowerCamelCase"),
            say(&self.ids, "ids of log records ignored"),
            say(&self.dropped, "links or exemplars dropped"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Where items are missing, and the first rejections.
    pub(super) fn into_rejections(self) -> (Vec<Gap>, Vec<Rejection>) {
        let gaps = self.removed.iter().scan(0, |missing, range| {
            let next = range.start - *missing;
            *missing += range.end - range.start;
            Some(Gap { next, missing: *missing })
        });
        (gaps.collect(), self.named)
    }
}

/// Counts one more; keeps the text of the first.
fn note(noted: &mut Option<(String, u64)>, first: impl FnOnce() -> String) {
    match noted {
        Some((_, count)) => *count += 1,
        None => {
            let mut text = first();
            text.truncate(text.floor_char_boundary(256));
            *noted = Some((text, 1));
        }
    }
}
