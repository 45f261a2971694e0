//! From findings to suspects: each kind of finding is evidence up to a limit, what a callee explains is taken off its callers, and
//! how sure the answer is follows from how much there is and how far the first is ahead.
//!
//! The figures are the same for all systems. They were chosen on a part of the cases of `docs/evaluation.md`.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Claim, Facts, Kind, Question, Verdict, collect::Findings, logs, metrics, traces};

/// Suspects that are named.
const SUSPECTS: usize = 5;
/// Claims of the first three, and of the others.
const CLAIMS: [usize; 2] = [5, 2];
/// Seconds of baseline from which on what is new in logs and calls is trusted fully.
const ORDINARY: f64 = 120.0;
/// Scores below are noise.
const NOISE: f64 = 0.02;
/// From these confidences on it is an incident, and inconclusive.
const SURE: f64 = 0.6;
const DOUBTFUL: f64 = 0.2;

/// What a kind of finding weighs, and at which strength it counts half.
fn weight(kind: Kind) -> (f64, f64) {
    match kind {
        Kind::CallLatency => (1.1, 2.1),
        Kind::SelfTime => (0.9, 2.1),
        Kind::MissingCalls => (0.25, 3.5),
        Kind::EarlyReturn => (0.8, 2.1),
        Kind::FailingRequests => (1.0, 2.8),
        Kind::ErrorLogs => (0.8, 2.1),
        Kind::NewLogs => (0.35, 2.8),
        Kind::MoreLogs => (0.15, 5.6),
        Kind::GoneLogs => (0.9, 2.8),
        Kind::FewerLogs => (0.3, 4.2),
        Kind::Cpu => (1.0, 2.1),
        Kind::Saturation => (0.3, 4.2),
    }
}

/// Whether a kind is about behaviour that a fault passes on to the callers.
fn passed_on(kind: Kind) -> bool {
    !matches!(kind, Kind::CallLatency | Kind::SelfTime | Kind::Cpu | Kind::Saturation)
}

/// Whether a kind needs a baseline that shows what is ordinary.
fn novel(kind: Kind) -> bool {
    passed_on(kind) && kind != Kind::FailingRequests
}

/// A suspect before its proofs.
#[derive(Clone, Debug)]
pub(crate) struct Accused {
    pub(crate) service: String,
    pub(crate) component: String,
    pub(crate) kind: Kind,
    pub(crate) confidence: f64,
    pub(crate) claims: Vec<Claim>,
}

/// What the facts say, before it is proven.
#[derive(Clone, Debug)]
pub struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) note: Option<&'static str>,
    pub(crate) suspects: Vec<Accused>,
}

impl Judgement {
    /// Everything that is to be shown, in order.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.suspects.iter().flat_map(|suspect| &suspect.claims)
    }
}

/// A service's share of evidence by kind.
struct Score {
    parts: BTreeMap<Kind, f64>,
    total: f64,
}

/// Judges both windows.
pub fn judge(question: &Question, facts: &Facts) -> Judgement {
    let nothing = |note| Judgement { verdict: Verdict::Inconclusive, note: Some(note), suspects: Vec::new() };
    let silent = |side| facts.seconds(side) == 0.0 && !facts.metrics.values().any(|both| !both[side].is_empty());
    if silent(1) {
        return nothing("There is no telemetry in the window.");
    }
    if silent(0) {
        return nothing("There is no telemetry in the baseline to compare the window with.");
    }
    let mut findings = Findings::default();
    traces::find(facts, &mut findings);
    logs::find(facts, &mut findings);
    metrics::find(facts, &mut findings);
    let ranked = rank(question, facts, &findings);
    let first = ranked.first().map_or(0.0, |(_, score)| score.total);
    let second = ranked.get(1).map_or(0.0, |(_, score)| score.total);
    let confidence = certainty(first, first - second);
    let verdict = match confidence {
        c if c >= SURE => Verdict::Incident,
        c if c >= DOUBTFUL => Verdict::Inconclusive,
        _ => return Judgement { verdict: Verdict::NoIncident, note: None, suspects: Vec::new() },
    };
    let suspects = ranked
        .iter()
        .take(SUSPECTS)
        .enumerate()
        .filter_map(|(at, (service, score))| {
            let confidence =
                if at == 0 { confidence } else { certainty(score.total, score.total - first).min(confidence) };
            accuse(question, &findings, service, score, at, confidence)
        })
        .collect();
    Judgement { verdict, note: None, suspects }
}

/// How likely a suspect with a score is why, and so far ahead of the next.
fn certainty(score: f64, ahead: f64) -> f64 {
    1.0 / (1.0 + (2.4 - 4.0 * score.min(1.2) - 2.0 * ahead.clamp(-0.8, 0.8)).exp())
}

fn rank(question: &Question, facts: &Facts, findings: &Findings) -> Vec<(String, Score)> {
    let known = (facts.seconds(0) / ORDINARY).min(1.0).powi(2);
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    for service in findings.services() {
        let parts: BTreeMap<Kind, f64> = Kind::ALL
            .into_iter()
            .map(|kind| {
                let (most, half) = weight(kind);
                let strength = (findings.strength(service, kind) / half).powi(3);
                let trust = if novel(kind) { known } else { 1.0 };
                (kind, most * trust * strength / (1.0 + strength))
            })
            .collect();
        let total = parts.values().sum();
        scores.insert(service, Score { parts, total });
    }
    let passed =
        |score: &Score| score.parts.iter().filter(|(kind, _)| passed_on(**kind)).map(|(_, part)| part).sum::<f64>();
    let passed: BTreeMap<&str, f64> = scores.iter().map(|(service, score)| (*service, passed(score))).collect();
    let mut callees: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for call in facts.calls.keys().filter(|call| call.caller.0 != call.callee.0) {
        callees.entry(&call.caller.0).or_default().insert(&call.callee.0);
    }
    for (service, score) in &mut scores {
        let own = passed.get(service).copied().unwrap_or(0.0);
        let below = callees.get(service).into_iter().flatten();
        let below = below.filter_map(|callee| passed.get(callee)).fold(0.0, |most: f64, part| most.max(*part));
        score.total -= (own / 2.0).min(below / 2.0);
        if question.words.as_deref().is_some_and(|words| names(words, service)) {
            score.total *= 1.1;
        }
    }
    let mut ranked: Vec<(String, Score)> =
        scores.into_iter().filter(|(_, score)| score.total > NOISE).map(|(s, score)| (s.to_owned(), score)).collect();
    ranked.sort_by(|a, b| b.1.total.total_cmp(&a.1.total).then_with(|| a.0.cmp(&b.0)));
    ranked
}

/// Whether words name a service.
fn names(words: &str, service: &str) -> bool {
    !service.is_empty() && words.to_lowercase().contains(&service.to_lowercase())
}

/// A suspect with its strongest claims. What is a processor's fault shows as time as well, and the other way round, so that a
/// metric of it is cited where it moved at all.
fn accuse(
    question: &Question,
    findings: &Findings,
    service: &str,
    score: &Score,
    at: usize,
    confidence: f64,
) -> Option<Accused> {
    let most = if at < 3 { CLAIMS[0] } else { CLAIMS[1] };
    let mut kinds: Vec<(Kind, f64)> =
        score.parts.iter().map(|(kind, part)| (*kind, *part)).filter(|(_, p)| *p > 0.0).collect();
    kinds.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let (leading, _) = *kinds.first()?;
    let mut chosen: Vec<(Kind, f64, &crate::claims::Subject)> = Vec::new();
    for (place, (kind, part)) in kinds.iter().enumerate() {
        let several =
            if matches!(kind, Kind::NewLogs | Kind::GoneLogs | Kind::ErrorLogs | Kind::FewerLogs) { 2 } else { 1 };
        for (number, found) in findings.of(service, *kind).iter().take(several).enumerate() {
            let supports = leading == Kind::SelfTime && matches!(kind, Kind::Cpu | Kind::Saturation);
            let worth = if supports { part.max(0.05) } else { part / (1.0 + number as f64) };
            if place > 0 && worth < 0.01 || chosen.iter().any(|(_, _, subject)| **subject == found.subject) {
                continue;
            }
            chosen.push((*kind, worth, &found.subject));
        }
    }
    chosen.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let component = chosen.first().map(|(_, _, subject)| subject.component()).unwrap_or_default();
    let claims = chosen.into_iter().take(most).map(|(kind, _, subject)| subject.claim(kind, question)).collect();
    Some(Accused { service: service.to_owned(), component, kind: leading, confidence, claims })
}
