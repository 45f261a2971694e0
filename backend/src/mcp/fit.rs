//! Makes an answer fit the context of a language model (reliability.md S30: at most 256 KiB, text and structured form together).
//!
//! Texts are cut, then lists: a list keeps its beginning, which is what its call puts first. What was cut is said, so that nobody takes
//! a part for the whole.

use serde_json::Value;

/// Bytes of an answer's JSON. It goes out twice, as text and structured; a client that shows its model 25,000 tokens at most
/// can take it.
pub(super) const ANSWER_BYTES: usize = 64 << 10;
/// Bytes of one text in it.
const TEXT_BYTES: usize = 2 << 10;
/// Entries of a list inside an entry of a list: rows of evidence, events of a span.
const INNER_ENTRIES: usize = 50;
/// Bytes left for names and for what is said about the cuts.
const RESERVE: usize = 2 << 10;

/// Cuts what is too long and says what was cut.
pub(super) fn fit(answer: &mut Value) -> Vec<String> {
    let mut cut = Vec::new();
    let (mut texts, mut inner) = (0usize, 0usize);
    shorten(answer, 0, &mut texts, &mut inner);
    if texts > 0 {
        cut.push(format!("{texts} texts, after {TEXT_BYTES} bytes each"));
    }
    if inner > 0 {
        cut.push(format!("{inner} lists inside of entries, after {INNER_ENTRIES} entries each"));
    }
    cut.extend(lists(answer));
    if !cut.is_empty() {
        cut.push("to see more, ask for less at a time: a shorter time, fewer columns, a narrower filter".to_owned());
    }
    cut
}

fn shorten(value: &mut Value, depth: usize, texts: &mut usize, inner: &mut usize) {
    match value {
        Value::String(text) if text.len() > TEXT_BYTES => {
            text.truncate(text.floor_char_boundary(TEXT_BYTES));
            text.push('…');
            *texts += 1;
        }
        Value::Array(entries) => {
            // 0 is the answer, 1 its lists, 2 their entries (of SQL: rows), 3 what is in those.
            if depth >= 3 && entries.len() > INNER_ENTRIES {
                entries.truncate(INNER_ENTRIES);
                *inner += 1;
            }
            entries.iter_mut().for_each(|entry| shorten(entry, depth + 1, texts, inner));
        }
        Value::Object(fields) => fields.values_mut().for_each(|field| shorten(field, depth + 1, texts, inner)),
        _ => {}
    }
}

/// Shares the bytes among the answer's own lists: what a short one leaves over is the longer ones'.
fn lists(answer: &mut Value) -> Vec<String> {
    let Some(fields) = answer.as_object_mut() else { return Vec::new() };
    let sizes = |entries: &[Value]| entries.iter().map(|entry| entry.to_string().len() + 1).collect::<Vec<usize>>();
    let mut others = 0;
    let mut found: Vec<(&str, usize, Vec<usize>, &mut Vec<Value>)> = Vec::new();
    for (name, field) in fields.iter_mut() {
        others += name.len() + 4;
        match field {
            Value::Array(entries) => {
                let sizes = sizes(entries);
                found.push((name, sizes.iter().sum(), sizes, entries));
            }
            other => others += other.to_string().len(),
        }
    }
    found.sort_by_key(|(_, total, _, _)| *total);
    let mut room = ANSWER_BYTES.saturating_sub(RESERVE + others);
    let mut cut = Vec::new();
    let count = found.len();
    for (index, (name, total, sizes, entries)) in found.into_iter().enumerate() {
        let share = room / (count - index);
        let mut used = 0;
        let kept = sizes.iter().take_while(|size| {
            used += **size;
            used <= share
        });
        let kept = kept.count();
        if kept < entries.len() {
            cut.push(format!("{name}: the first {kept} of {}", entries.len()));
            entries.truncate(kept);
        }
        room = room.saturating_sub(total.min(share));
    }
    cut
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_fits_is_left_alone() {
        let answer = json!({"rows": [[1, "a"], [2, "b"]], "truncated": false});
        let mut fitted = answer.clone();
        assert_eq!(fit(&mut fitted), Vec::<String>::new());
        assert_eq!(fitted, answer);
    }

    #[test]
    fn long_lists_keep_their_beginning_and_short_ones_stay_whole() {
        let rows: Vec<Value> = (0..50_000).map(|n| json!([n, "some text in a row"])).collect();
        let mut answer = json!({"columns": [{"name": "n"}, {"name": "text"}], "rows": rows, "elapsed_ms": 1.5});
        let cut = fit(&mut answer);
        let kept = answer["rows"].as_array().unwrap();
        assert!(kept.len() > 1000 && kept[kept.len() - 1][0] == kept.len() - 1, "{}", kept.len());
        assert_eq!(answer["columns"].as_array().unwrap().len(), 2);
        assert!(cut[0] == format!("rows: the first {} of 50000", kept.len()), "{cut:?}");
        assert!(answer.to_string().len() <= ANSWER_BYTES && answer.to_string().len() > ANSWER_BYTES / 2);
    }

    #[test]
    fn nothing_is_too_long_wherever_it_stands() {
        let text = "ä".repeat(1 << 20);
        let wide: Vec<Value> = (0..2_000).map(|_| json!("x".repeat(100))).collect();
        for mut answer in [
            json!({"spans": [{"events": vec![json!({"name": text}); 300]}], "logs": [{"message": text}]}),
            json!({"rows": [wide], "columns": []}),
            json!({"rows": vec![json!([text]); 100]}),
            json!({"summary": text, "evidence": vec![json!({"rows": vec![json!([text]); 100]}); 40]}),
        ] {
            assert!(!fit(&mut answer).is_empty());
            assert!(answer.to_string().len() <= ANSWER_BYTES, "{}", answer.to_string().len());
        }
    }
}
