//! Judgements of rows as the statements would give them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use devmesh_explain::{Explanation, Facts, Judgement, Question, Range, Source, Verdict, answer::Shown, judge};
use serde_json::{Value, json};

const MS: f64 = 1e6;
const MINUTE: i64 = 60_000_000_000;

fn question(words: Option<&str>) -> Question {
    let window = Range { start: 60 * MINUTE, end: 64 * MINUTE };
    Question::new(window, None, words.map(str::to_owned)).unwrap()
}

fn take(facts: &mut Facts, source: Source, rows: Value) {
    facts.take(source, &serde_json::from_value::<Vec<Vec<Value>>>(rows).unwrap());
}

/// `web` calls `cart` and `stock`, 200 times before and 100 times in the window; telemetry covers 10 and 4 minutes.
fn facts() -> Facts {
    let mut facts = Facts::default();
    take(&mut facts, Source::Coverage, json!([["spans", false, 60], ["spans", true, 24]]));
    for (inside, n) in [(false, 200), (true, 100)] {
        for service in ["web", "cart", "stock"] {
            let row = json!([[service, "do", inside, n, 0, 3.0 * MS, 5.0 * MS, if service == "web" { 0 } else { n }]]);
            take(&mut facts, Source::Operations, row);
        }
        for callee in ["cart", "stock"] {
            take(&mut facts, Source::Calls, json!([["web", "do", callee, "do", inside, n, MS, 2.0 * MS, 4.0 * MS]]));
        }
    }
    facts
}

/// As if each claim's SQL showed rows in both windows.
fn proven(judgement: Judgement) -> Explanation {
    let columns = ["in_window", "in_baseline", "window_ns", "baseline_ns", "trace_id", "span_id", "body", "since"];
    let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
    let row = json!([100, 200, 4e8, 2e6, "00ff", "0f", "broken", "2026-01-01T00:00:00Z"]);
    let row: Vec<Value> = serde_json::from_value(row).unwrap();
    let shown: Vec<Option<Shown>> = judgement.claims().map(|_| Some((columns.clone(), vec![row.clone()]))).collect();
    judgement.proven(&shown)
}

#[test]
fn nothing_changed_is_no_incident() {
    let explanation = proven(judge(&question(None), &facts()));
    assert_eq!((explanation.verdict, explanation.suspects.len()), (Verdict::NoIncident, 0));
}

#[test]
fn without_telemetry_nothing_is_judged() {
    let mut facts = Facts::default();
    assert_eq!(proven(judge(&question(None), &facts)).verdict, Verdict::Inconclusive);
    take(&mut facts, Source::Coverage, json!([["spans", true, 24]]));
    let explanation = proven(judge(&question(None), &facts));
    assert!(explanation.summary.contains("baseline"), "{}", explanation.summary);
}

#[test]
fn time_lost_on_the_way_to_one_callee_is_the_callees() {
    let mut facts = facts();
    take(
        &mut facts,
        Source::Calls,
        json!([["web", "do", "cart", "do", true, 100, 300.0 * MS, 400.0 * MS, 500.0 * MS]]),
    );
    let explanation = proven(judge(&question(None), &facts));
    let first = &explanation.suspects[0];
    assert_eq!((first.service.as_str(), first.kind, explanation.verdict), ("cart", "call_latency", Verdict::Incident));
    assert!(explanation.evidence[0].statement.starts_with("latency between web and cart"), "{explanation:?}");
    assert!(explanation.evidence[0].sql.contains("p.service = 'web'"), "{explanation:?}");
}

#[test]
fn time_lost_on_the_way_to_all_callees_is_the_callers() {
    let mut facts = facts();
    for callee in ["cart", "stock"] {
        let row = json!([["web", "do", callee, "do", true, 100, 300.0 * MS, 400.0 * MS, 500.0 * MS]]);
        take(&mut facts, Source::Calls, row);
    }
    let explanation = proven(judge(&question(None), &facts));
    assert_eq!(explanation.suspects[0].service, "web", "{explanation:?}");
}

#[test]
fn what_a_callee_explains_is_not_its_callers_fault() {
    let mut facts = facts();
    for (service, id) in [("web", "0a"), ("cart", "0b")] {
        take(&mut facts, Source::Patterns, json!([[service, id, "ERROR", true, 60, "failed"]]));
    }
    let explanation = proven(judge(&question(None), &facts));
    assert_eq!(explanation.suspects[0].service, "cart", "{explanation:?}");
    assert_eq!(explanation.evidence[0].body.as_deref(), Some("broken"));
}

#[test]
fn an_error_that_ends_is_no_fault() {
    let mut facts = facts();
    take(&mut facts, Source::Patterns, json!([["cart", "0b", "ERROR", false, 90, "failed"]]));
    assert_eq!(proven(judge(&question(None), &facts)).verdict, Verdict::NoIncident);
    let mut facts = self::facts();
    take(&mut facts, Source::Patterns, json!([["cart", "0b", "INFO", false, 90, "loaded"]]));
    assert_eq!(proven(judge(&question(None), &facts)).suspects[0].kind, "gone_logs");
}

#[test]
fn a_short_baseline_makes_new_logs_count_less() {
    let confidence = |buckets: u64| {
        let mut facts = facts();
        take(&mut facts, Source::Coverage, json!([["spans", false, buckets]]));
        take(&mut facts, Source::Patterns, json!([["cart", "0b", "ERROR", true, 40, "failed"]]));
        proven(judge(&question(None), &facts)).suspects.first().map_or(0.0, |first| first.confidence)
    };
    assert!(confidence(6) < confidence(9) && confidence(9) < confidence(12), "{} {}", confidence(6), confidence(12));
    assert_eq!(confidence(12), confidence(60));
}

#[test]
fn an_earlier_fault_in_the_baseline_hides_no_full_processor() {
    let mut facts = facts();
    for minute in 0..30 {
        let value = if minute < 8 { 95.0 } else { 10.0 + f64::from(minute % 3) };
        let time = format!("2026-01-01T00:{minute:02}:00Z");
        take(&mut facts, Source::Metrics, json!([["cart", "cart-1", "pod_cpu_percent", time, false, value]]));
    }
    take(
        &mut facts,
        Source::Metrics,
        json!([["cart", "cart-1", "pod_cpu_percent", "2026-01-01T00:31:00Z", true, 96.0]]),
    );
    let explanation = proven(judge(&question(None), &facts));
    assert_eq!((explanation.suspects[0].service.as_str(), explanation.suspects[0].kind), ("cart", "cpu"));
    assert_eq!(explanation.evidence[0].metric.as_deref(), Some("pod_cpu_percent"));
}

#[test]
fn words_decide_among_equals() {
    let mut facts = facts();
    for service in ["cart", "stock"] {
        take(&mut facts, Source::Patterns, json!([[service, "0b", "ERROR", true, 60, "failed"]]));
    }
    let first = |words| proven(judge(&question(words), &facts)).suspects[0].service.clone();
    assert_eq!((first(None), first(Some("why is Stock failing"))), ("cart".to_owned(), "stock".to_owned()));
}

#[test]
fn a_claim_that_shows_nothing_is_dropped_and_its_suspect_with_it() {
    let mut facts = facts();
    take(&mut facts, Source::Patterns, json!([["cart", "0b", "ERROR", true, 60, "failed"]]));
    let judgement = judge(&question(None), &facts);
    assert!(judgement.claims().count() > 0);
    let none: Vec<Option<Shown>> = judgement.claims().map(|_| None).collect();
    let explanation = judgement.proven(&none);
    assert_eq!((explanation.suspects.len(), explanation.evidence.len()), (0, 0));
    assert_eq!(explanation.verdict, Verdict::Inconclusive);
}

#[test]
fn markdown_has_no_markup_of_strangers() {
    let mut facts = facts();
    take(&mut facts, Source::Patterns, json!([["<script>x", "0b", "ERROR", true, 60, "failed"]]));
    let explanation = proven(judge(&question(None), &facts));
    assert!(!explanation.markdown.contains("**<script>") && explanation.markdown.contains("&lt;script&gt;x"));
}
