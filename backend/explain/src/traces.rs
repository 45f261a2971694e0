//! What traces say: time lost between services, own time, calls that are not made any more, failures.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Kind,
    claims::Subject,
    collect::Findings,
    facts::{Call, Calls, Facts},
    robust::{deviation, growth, median},
};

/// Weight of the slowest tenth beside the middle: it also grows by chance.
const TAIL: f64 = 0.25;
const OWN_TAIL: f64 = 0.35;
/// How uneven calls come: variance beyond that of chance, per event.
const UNEVEN: f64 = 0.05;
/// Deviations that the largest of many operations has by chance.
const CHANCE: f64 = 2.0;

/// Adds all of it.
pub(crate) fn find(facts: &Facts, findings: &mut Findings) {
    latency(facts, findings);
    own_time(facts, findings);
    fewer_calls(facts, findings);
    for ((service, name), [before, after]) in &facts.operations {
        early(service, name, *before, *after, findings);
        if after.n >= 3.0 {
            let strength = deviation(before.failed, after.failed, (after.n + 0.5) / (before.n + 0.5));
            let subject = Subject::Failing { service: service.clone(), name: name.clone() };
            findings.add(service, Kind::FailingRequests, strength, subject);
        }
    }
}

/// The strongest growth between two services.
struct Pair<'a> {
    strength: f64,
    call: &'a Call,
    both: &'a [Calls; 2],
}

impl Pair<'_> {
    fn subject(&self) -> Subject {
        let [before, after] = self.both;
        Subject::Latency { call: self.call.clone(), level: (before.gap50.max(1.0) * after.gap50.max(1.0)).sqrt() }
    }
}

/// Time between a caller and its callee. It is the callee's (its network, its queue) unless the caller loses as much towards
/// everybody else: then the caller itself is slow.
fn latency(facts: &Facts, findings: &mut Findings) {
    let mut pairs: BTreeMap<(&str, &str), Pair<'_>> = BTreeMap::new();
    for (call, both) in &facts.calls {
        let [before, after] = both;
        let (caller, callee) = (call.caller.0.as_str(), call.callee.0.as_str());
        if caller == callee || before.n < 1.0 || after.n < 1.0 {
            continue;
        }
        // A delay moves all quantiles. Where earlier faults lie in the baseline the lower ones show it.
        let middle = growth(before.gap50, after.gap50, before.n, after.n);
        let low = growth(before.gap25, after.gap25, before.n, after.n);
        let strength = middle.max(low) + TAIL * growth(before.gap90, after.gap90, before.n, after.n);
        let pair = pairs.entry((caller, callee)).or_insert(Pair { strength, call, both });
        if strength > pair.strength {
            *pair = Pair { strength, call, both };
        }
    }
    for (&(caller, callee), pair) in &pairs {
        let others: Vec<f64> =
            pairs.iter().filter(|(of, _)| of.0 == caller && of.1 != callee).map(|(_, other)| other.strength).collect();
        let towards_others = median(&others);
        let callers: Vec<bool> = pairs
            .iter()
            .filter(|(of, _)| of.1 == callee)
            .map(|(_, other)| other.strength > pair.strength / 2.0)
            .collect();
        let agreeing = callers.iter().filter(|agrees| **agrees).count() as f64 / callers.len().max(1) as f64;
        let strength = (pair.strength - towards_others).max(0.0) * (0.5 + 0.5 * agreeing);
        findings.add(callee, Kind::CallLatency, strength, pair.subject());
        if towards_others > 0.3 {
            findings.add(caller, Kind::SelfTime, pair.strength.min(towards_others), pair.subject());
        }
    }
}

/// The time of operations without that of their children. Of an operation that calls another service it is the network's as well.
fn own_time(facts: &Facts, findings: &mut Findings) {
    let calling: BTreeSet<&(String, String)> =
        facts.calls.keys().filter(|call| call.caller.0 != call.callee.0).map(|call| &call.caller).collect();
    for (operation, [before, after]) in &facts.operations {
        if calling.contains(operation) {
            continue;
        }
        let (middle, tail) = (
            growth(before.own50, after.own50, before.n, after.n),
            growth(before.own90, after.own90, before.n, after.n),
        );
        let slowest = tail > middle;
        let (old, new) = if slowest { (before.own90, after.own90) } else { (before.own50, after.own50) };
        let (service, name) = operation.clone();
        let level = (old.max(1.0) * new.max(1.0)).sqrt();
        let subject = Subject::Own { service, name, slowest, level };
        findings.add(&operation.0, Kind::SelfTime, middle + OWN_TAIL * tail, subject);
    }
}

/// Calls of one kind that an operation makes less often than it did.
fn fewer_calls(facts: &Facts, findings: &mut Findings) {
    for (call, [before, after]) in &facts.calls {
        let Some([parents_before, parents_after]) = facts.operations.get(&call.caller) else { continue };
        let (was, is) = (parents_before.n, parents_after.n);
        if was < 10.0 || is < 5.0 || before.n < 1.0 {
            continue;
        }
        let ratio = is / was;
        let uneven = (1.0 + UNEVEN * (before.n + after.n) * ratio / (1.0 + ratio)).sqrt();
        let strength = -deviation(before.n, after.n, ratio) / uneven;
        let lost = 1.0 - (after.n / is) / (before.n / was);
        findings.add(
            &call.caller.0,
            Kind::MissingCalls,
            strength * (1.5 * lost).clamp(0.0, 1.0),
            Subject::Missing { call: call.clone() },
        );
    }
}

/// Requests that end without any of the calls that they made.
fn early(
    service: &str,
    name: &str,
    before: crate::facts::Operation,
    after: crate::facts::Operation,
    findings: &mut Findings,
) {
    if before.n < 8.0 || after.n < 4.0 || before.leaves / before.n >= 0.5 {
        return;
    }
    let ratio = after.n / before.n;
    let leaves = before.leaves + after.leaves;
    let uneven = (1.0 + 0.02 * leaves * ratio / (1.0 + ratio)).sqrt();
    let strength = deviation(before.leaves, after.leaves, ratio) / uneven - CHANCE;
    let more = after.leaves / after.n - before.leaves / before.n;
    let subject = Subject::Early { service: service.to_owned(), name: name.to_owned() };
    findings.add(service, Kind::EarlyReturn, strength * (2.0 * more).clamp(0.0, 1.0), subject);
}
