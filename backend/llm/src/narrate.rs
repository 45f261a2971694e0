//! An explanation in words. The model may order and word what is proven; it can add nothing.
//!
//! It sees the statements of the evidence with placeholders for every name and text that a stranger chose. Of what it says, a sentence
//! stays only if it cites evidence that exists, and each of its words, figures and names is either one that says nothing by itself
//! ([`words`]) or stands in what it cites. Who caused something is said of the first suspect alone, by its own evidence. A denial, a figure from
//! elsewhere, a link, an instruction from a log: none of them survives. What is left may be clumsy; it is never more than the evidence.

mod words;

use serde_json::Value;

use crate::{
    endpoint::{Message, Role},
    veil::{Veil, What},
};

/// Evidence that is worded at most; the first suspects' comes first.
const FACTS: usize = 40;
/// Sentences that are kept.
const SENTENCES: usize = 10;
/// Bytes of a sentence.
const SENTENCE_BYTES: usize = 600;
/// Characters of a text as explanations quote it.
const QUOTE: usize = 200;

const RULES: &str = "You word the findings of an analysis of telemetry for the engineer on call. Write 2 to 6 sentences of plain English, one \
    a line, the most likely cause first.\n\
    - End each sentence with the ids of the evidence that it rests on, in brackets: [e1] or [e1][e3].\n\
    - Say only what the evidence says that you cite. Use its words and its figures exactly as they stand there.\n\
    - <service#1>, <name#2>, <text#3> are placeholders for names and recorded texts. Keep them as they are.\n\
    - Name a cause only for the first suspect. Give no advice, add no knowledge of your own, no headings, no links.";

/// A statement that was proven.
#[derive(Clone, Debug)]
struct Fact {
    id: String,
    kind: String,
    /// With placeholders.
    text: String,
}

/// What is to be worded.
#[derive(Clone, Debug)]
pub struct Narration {
    veil: Veil,
    facts: Vec<Fact>,
    /// The evidence of the first suspect.
    first: Vec<String>,
    /// Whether there is a culprit at all.
    incident: bool,
    order: String,
}

/// A sentence that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// What it says, with its citations.
    pub text: String,
    /// The evidence that it cites.
    pub evidence: Vec<String>,
}

/// What is left of a model's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The sentences that hold.
    pub sentences: Vec<Sentence>,
    /// How many did not.
    pub dropped: usize,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// As explanations quote a text.
fn quote(body: &str) -> String {
    body.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTE).collect()
}

impl Narration {
    /// Of an explanation as `POST /explain/incident` gives it; `None` where there is nothing to word. `most` bounds the bytes of the
    /// question.
    pub fn of(explanation: &Value, most: usize) -> Option<Self> {
        let (suspects, evidence) = (list(explanation, "suspects"), list(explanation, "evidence"));
        let ids = |suspect: &Value| -> Vec<String> {
            list(suspect, "evidence").iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let first = ids(suspects.first()?);
        let mut veil = Veil::default();
        for proof in suspects.iter().chain(evidence) {
            veil_of(&mut veil, proof);
        }
        let mut order = String::new();
        for (rank, suspect) in suspects.iter().enumerate() {
            let service = veil.hide(text(suspect, "service"));
            order.push_str(&format!("{}. {service} ({}): {}\n", rank + 1, kind(suspect), ids(suspect).join(", ")));
        }
        let mut facts = Vec::new();
        let mut room = most.saturating_sub(RULES.len() + order.len() + 200);
        for proof in evidence.iter().take(FACTS) {
            let hidden = veil.hide(text(proof, "statement"));
            let fact =
                Fact { id: text(proof, "id").to_owned(), kind: kind(proof), text: words::fold(&hidden, &mut veil) };
            let bytes = fact.id.len() + fact.kind.len() + fact.text.len() + 5;
            if bytes > room {
                break;
            }
            room -= bytes;
            facts.push(fact);
        }
        let incident = text(explanation, "verdict") == "incident";
        (!facts.is_empty()).then_some(Self { veil, facts, first, incident, order })
    }

    /// The question to the model.
    pub fn messages(&self) -> Vec<Message> {
        let verdict = if self.incident { "incident" } else { "inconclusive: there are signs, but no clear culprit" };
        let mut question = format!("Verdict: {verdict}\n\nSuspects in order:\n{}\nEvidence:\n", self.order);
        for fact in &self.facts {
            question.push_str(&format!("{} ({}) {}\n", fact.id, fact.kind, fact.text));
        }
        vec![Message::new(Role::System, RULES), Message::new(Role::User, question)]
    }

    /// What holds of the model's words. Nothing where none of it is about the first suspect: then it is beside the point.
    pub fn check(&self, said: &str) -> Told {
        let mut told = Told::default();
        for sentence in sentences(said) {
            match self.holds(&sentence) {
                Some(sentence) if told.sentences.len() < SENTENCES => told.sentences.push(sentence),
                _ => told.dropped += 1,
            }
        }
        let about = told.sentences.iter().any(|sentence| sentence.evidence.iter().any(|id| self.first.contains(id)));
        if !about {
            told.dropped += told.sentences.len();
            told.sentences.clear();
        }
        told
    }

    fn holds(&self, sentence: &str) -> Option<Sentence> {
        if sentence.len() > SENTENCE_BYTES {
            return None;
        }
        let (claim, ids) = cited(sentence)?;
        let cited: Vec<&Fact> = ids.iter().filter_map(|id| self.facts.iter().find(|fact| fact.id == *id)).collect();
        if ids.is_empty() || cited.len() != ids.len() {
            return None;
        }
        let claim = self.veil.hide(claim.trim());
        let of_first = self.incident && ids.iter().all(|id| self.first.contains(id));
        let allowed = words::Allowed::by(cited.iter().map(|fact| (fact.kind.as_str(), fact.text.as_str())), of_first);
        if !allowed.all(&claim) {
            return None;
        }
        let claim = self.veil.show(claim.trim_end_matches(['.', '!', ' ', ':', ';', ',']));
        let citations: String = ids.iter().map(|id| format!("[{id}]")).collect();
        Some(Sentence { text: format!("{claim} {citations}."), evidence: ids })
    }
}

/// The kind of a finding: a word of ours.
fn kind(value: &Value) -> String {
    text(value, "kind").chars().filter(|c| c.is_ascii_lowercase() || *c == '_').take(40).collect()
}

/// Hides what a stranger chose.
fn veil_of(veil: &mut Veil, of: &Value) {
    let service = text(of, "service");
    if !service.is_empty() {
        veil.add(What::Service, service);
    }
    for name in ["component", "metric"] {
        let name = text(of, name);
        if !name.is_empty() {
            veil.add(What::Name, name);
        }
    }
    let body = text(of, "body");
    if !body.is_empty() {
        veil.add(What::Text, body);
        veil.add(What::Text, &quote(body));
    }
    // Operations stand between backticks.
    for name in text(of, "statement").split('`').skip(1).step_by(2).filter(|name| !name.is_empty()) {
        veil.add(What::Name, name);
    }
}

/// The sentences of a text; citations behind the end of one, on its line, belong to it.
fn sentences(said: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in said.lines() {
        let plain: String = line.chars().filter(|c| !matches!(c, '*' | '`')).collect();
        let line = unlisted(plain.trim());
        let (mut begin, before) = (0, found.len());
        for (at, c) in line.char_indices() {
            let ends = matches!(c, '.' | '!' | '?');
            if ends && line.get(at + 1..).is_none_or(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
                push(&mut found, before, line.get(begin..=at).unwrap_or_default());
                begin = at + 1;
            }
        }
        push(&mut found, before, line.get(begin..).unwrap_or_default());
    }
    found
}

/// Without the mark of a list's item.
fn unlisted(line: &str) -> &str {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let rest = line.get(digits..).unwrap_or_default();
    let numbered = if digits > 0 { rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") ")) } else { None };
    let marked = ["- ", "• ", "– "].iter().find_map(|mark| line.strip_prefix(mark));
    numbered.or(marked).unwrap_or(line).trim_start()
}

/// Adds a sentence of a line, before which there were so many.
fn push(found: &mut Vec<String>, before: usize, part: &str) {
    let mut part = part.trim();
    // "… is slow. [e1] And …": the citation is the first sentence's.
    while part.starts_with("[e") {
        let Some(end) = part.find(']') else { break };
        let (citation, rest) = part.split_at(end + 1);
        let Some(last) = found.get_mut(before..).and_then(<[String]>::last_mut) else { break };
        last.push_str(citation);
        part = rest.trim_start();
    }
    if part.chars().any(char::is_alphanumeric) {
        found.push(part.to_owned());
    }
}

/// The sentence without its citations, and the ids that they name, each once. `None` where a bracket holds anything else.
fn cited(sentence: &str) -> Option<(String, Vec<String>)> {
    let (mut claim, mut ids) = (String::new(), Vec::new());
    let mut rest = sentence;
    while let Some((before, inside)) = rest.split_once('[') {
        let (inside, after) = inside.split_once(']')?;
        claim.push_str(before.trim_end());
        for id in inside.split(',').map(str::trim) {
            let number = id.strip_prefix('e')?;
            if number.is_empty() || number.len() > 4 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            if !ids.iter().any(|known| known == id) {
                ids.push(id.to_owned());
            }
        }
        rest = after;
    }
    claim.push_str(rest);
    Some((claim, ids))
}

/// Characters of Markdown and HTML in a text, made harmless.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\n' | '\r' => out.push(' '),
            '[' | ']' | '(' | ')' | '*' | '_' | '#' | '!' | '|' | '\\' | '`' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// Puts what a model told into an explanation: its summary, a section of its Markdown, and who worded it. Verdict, suspects, timeline and
/// evidence stay as they are.
pub fn put(explanation: &mut Value, told: &Told, model: &str) {
    let Some(fields) = explanation.as_object_mut() else { return };
    if told.sentences.is_empty() {
        return;
    }
    let texts: Vec<&str> = told.sentences.iter().map(|sentence| sentence.text.as_str()).collect();
    let words: Vec<String> = texts.iter().map(|text| format!("- {}\n", plain(text))).collect();
    let section = format!(
        "# What happened\n\nIn the words of {} (generated, from the evidence below):\n\n{}\n",
        plain(model),
        words.concat()
    );
    let markdown = fields.get("markdown").and_then(Value::as_str).unwrap_or_default();
    let rest = markdown.strip_prefix("# What happened\n\n").unwrap_or(markdown).to_owned();
    fields.insert("markdown".to_owned(), Value::from(format!("{section}{rest}")));
    fields.insert("summary".to_owned(), Value::from(texts.join(" ")));
    fields.insert("narrator".to_owned(), Value::from(model));
}

#[cfg(test)]
mod tests;
