//! The answer, as `POST /explain/incident` gives it: words made of the evidence alone.

use serde::Serialize;
use serde_json::Value;

use crate::{Judgement, claims::cut};

/// Entries of the timeline.
const TIMELINE: usize = 50;

/// What the window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Something went wrong, and the first suspect is likely why.
    Incident,
    /// Nothing is out of the ordinary.
    NoIncident,
    /// There are signs, but too weak or too few to name a culprit.
    Inconclusive,
}

/// Evidence: what the SQL gave, and what that says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proof {
    /// `e1`, `e2`, …
    pub id: String,
    /// log, trace or metric.
    pub signal: &'static str,
    /// Whose it is.
    pub service: String,
    /// What it says.
    pub statement: String,
    /// The SQL that shows it.
    pub sql: String,
    /// A log that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// A trace that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The span in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// The metric that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// The columns that the SQL gave.
    pub columns: Vec<String>,
    /// The rows that it gave; asked again it gives the same.
    pub rows: Vec<Vec<Value>>,
    /// Since when.
    #[serde(skip)]
    pub(crate) since: Option<String>,
    /// What kind of thing it is.
    pub kind: &'static str,
}

/// Who may be why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suspect {
    /// From 1.
    pub rank: usize,
    /// The service.
    pub service: String,
    /// The operation, pattern or metric that shows it most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// What is wrong with it; see [`crate::Kind`].
    pub kind: &'static str,
    /// How likely it is that this is why, 0 to 1.
    pub confidence: f64,
    /// In words.
    pub why: String,
    /// Ids of the evidence.
    pub evidence: Vec<String>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moment {
    /// When, RFC 3339.
    pub time: String,
    /// Where.
    pub service: String,
    /// What.
    pub what: String,
    /// The id of the evidence.
    pub evidence: String,
}

/// The explanation of a window.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// What the window is.
    pub verdict: Verdict,
    /// One or two sentences.
    pub summary: String,
    /// The whole of it, as Markdown.
    pub markdown: String,
    /// The most likely first.
    pub suspects: Vec<Suspect>,
    /// The oldest first.
    pub timeline: Vec<Moment>,
    /// What everything rests on.
    pub evidence: Vec<Proof>,
    /// Who worded it: `none`, it is made of the evidence.
    pub narrator: &'static str,
}

/// The rows that a claim's SQL gave: names of the columns, and the values.
pub type Shown = (Vec<String>, Vec<Vec<Value>>);

impl Judgement {
    /// The answer, of what the SQL of the claims gave, in the order of [`Judgement::claims`]. `None`: it could not be asked. A claim
    /// that shows nothing is dropped, and a suspect with none left as well.
    pub fn proven(self, shown: &[Option<Shown>]) -> Explanation {
        let mut shown = shown.iter();
        let mut evidence: Vec<Proof> = Vec::new();
        let mut suspects = Vec::new();
        for accused in self.suspects {
            let mut ids = Vec::new();
            let mut words = Vec::new();
            for claim in &accused.claims {
                let Some((columns, rows)) = shown.next().and_then(Option::as_ref) else { continue };
                let Some(mut proof) = claim.proof(columns, rows) else { continue };
                proof.id = format!("e{}", evidence.len() + 1);
                ids.push(proof.id.clone());
                words.push(format!("{} [{}]", proof.statement, proof.id));
                evidence.push(proof);
            }
            if !ids.is_empty() {
                suspects.push(Suspect {
                    rank: suspects.len() + 1,
                    service: accused.service,
                    component: Some(accused.component).filter(|component| !component.is_empty()),
                    kind: accused.kind.name(),
                    confidence: (accused.confidence * 1000.0).round() / 1000.0,
                    why: words.join("; "),
                    evidence: ids,
                });
            }
        }
        let verdict =
            if suspects.is_empty() && self.verdict == Verdict::Incident { Verdict::Inconclusive } else { self.verdict };
        let timeline = timeline(&evidence);
        let summary = summary(verdict, self.note, &suspects);
        let markdown = markdown(&summary, &suspects, &timeline, &evidence);
        Explanation { verdict, summary, markdown, suspects, timeline, evidence, narrator: "none" }
    }
}

fn timeline(evidence: &[Proof]) -> Vec<Moment> {
    let mut moments: Vec<Moment> = evidence
        .iter()
        .filter_map(|proof| {
            Some(Moment {
                time: proof.since.clone()?,
                service: proof.service.clone(),
                what: format!("{}: {}", proof.kind, cut(&proof.statement)),
                evidence: proof.id.clone(),
            })
        })
        .collect();
    moments.sort_by(|a, b| (&a.time, &a.evidence).cmp(&(&b.time, &b.evidence)));
    moments.truncate(TIMELINE);
    moments
}

fn summary(verdict: Verdict, note: Option<&'static str>, suspects: &[Suspect]) -> String {
    let percent = |confidence: f64| (confidence * 100.0).round();
    match (verdict, suspects.first()) {
        (Verdict::NoIncident, _) => "Nothing in the window is out of the ordinary against the baseline.".to_owned(),
        (_, None) => note.unwrap_or("There is too little telemetry to tell.").to_owned(),
        (Verdict::Incident, Some(first)) => format!(
            "{} is the most likely cause ({}, confidence {} %): {}.",
            first.service,
            first.kind,
            percent(first.confidence),
            first.why
        ),
        (Verdict::Inconclusive, Some(first)) => format!(
            "There are signs of trouble, but no clear culprit. First to look at: {} ({}, confidence {} %).",
            first.service,
            first.kind,
            percent(first.confidence)
        ),
    }
}

/// Text that nothing in it makes markup of.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\n' | '\r' => out.push(' '),
            '[' | ']' | '*' | '_' | '#' | '!' | '|' | '\\' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

fn markdown(summary: &str, suspects: &[Suspect], timeline: &[Moment], evidence: &[Proof]) -> String {
    let mut out = format!("# What happened\n\n{}\n", plain(summary));
    if !suspects.is_empty() {
        out.push_str("\n## Suspects\n\n");
    }
    for suspect in suspects {
        out.push_str(&format!(
            "{}. **{}** ({}, {:.0} %): {}\n",
            suspect.rank,
            plain(&suspect.service),
            plain(suspect.kind),
            suspect.confidence * 100.0,
            plain(&suspect.why)
        ));
    }
    if !timeline.is_empty() {
        out.push_str("\n## Timeline\n\n");
    }
    for moment in timeline {
        out.push_str(&format!(
            "- {} {}: {} ({})\n",
            moment.time,
            plain(&moment.service),
            plain(&moment.what),
            moment.evidence
        ));
    }
    if !evidence.is_empty() {
        out.push_str("\n## Evidence\n");
    }
    for proof in evidence {
        // A fence longer than any in the SQL, so that a service's name cannot end it.
        out.push_str(&format!(
            "\n**{}** {}\n\n````sql\n{}\n````\n",
            proof.id,
            plain(&proof.statement),
            proof.sql.replace("````", "'''' ")
        ));
    }
    out
}
