//! Answers questions over events and lines, for a scorer of rankings: `search_eval DIRECTORY MODEL_DIRECTORY|words OUT_DIRECTORY`.
//!
//! `DIRECTORY` holds `queries.json` (`[{id, system, query}]`), `docs/SYSTEM.jsonl` (`{event_id, template, example}`) and,
//! where there is one, `logqa/questions.json` (`[{system, question}]`) with `logqa/SYSTEM.txt` (lines). Written are
//! `search.json` (a system an index), `pooled.json` with `pooled_queries.json` (all systems in one) and `logqa.json`. Everything
//! is ranked by one configuration, the product's.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use devmesh_insight::PatternId;
use devmesh_insight::embedding::Embedder;
use devmesh_insight::search::{Index, text_hash};
use devmesh_templates::{Config, Miner};
use serde_json::{Map, Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Ranks that are written down.
const DEPTH: usize = 100;

#[allow(clippy::print_stdout, reason = "a program for the command line")]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, model, out] = arguments.as_slice() else {
        return Err("usage: search_eval DIRECTORY MODEL_DIRECTORY|words OUT_DIRECTORY".into());
    };
    let (directory, out) = (Path::new(directory), Path::new(out));
    let model = if model == "words" { None } else { Some(Embedder::load(Path::new(model))?) };
    fs::create_dir_all(out)?;
    let start = Instant::now();
    events(directory, model.as_ref(), out)?;
    println!("events: {:.1} s", start.elapsed().as_secs_f64());
    if directory.join("logqa/questions.json").exists() {
        lines(&directory.join("logqa"), model.as_ref(), out)?;
        println!("all: {:.1} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// An index whose patterns have names.
struct Named {
    index: Index,
    names: Vec<String>,
}

impl Named {
    fn new(events: &[(String, Value)], model: Option<&Embedder>) -> Result<Self> {
        let mut index = Index::default();
        let mut wanted = Vec::new();
        for (i, (_, event)) in events.iter().enumerate() {
            wanted.extend(
                index
                    .upsert(i as PatternId, text(event, "template")?, text(event, "example")?)
                    .map(|t| (i as PatternId, t)),
            );
        }
        embed(&mut index, &wanted, model)?;
        Ok(Self { index, names: events.iter().map(|e| e.0.clone()).collect() })
    }

    fn ranking(&self, question: &str, model: Option<&Embedder>) -> Result<Value> {
        let vector = model.map(|m| m.embed(question)).transpose()?;
        let hits = self.index.search(question, vector.as_deref(), DEPTH, |_| true);
        Ok(hits.iter().map(|h| self.names[h.pattern as usize].as_str()).collect())
    }
}

fn embed(index: &mut Index, wanted: &[(PatternId, String)], model: Option<&Embedder>) -> Result<()> {
    let Some(model) = model else { return Ok(()) };
    let texts: Vec<&str> = wanted.iter().map(|w| w.1.as_str()).collect();
    for ((pattern, text), vector) in wanted.iter().zip(model.embed_batch(&texts, 2)?) {
        index.set_vector(*pattern, text_hash(text), &vector);
    }
    Ok(())
}

fn events(directory: &Path, model: Option<&Embedder>, out: &Path) -> Result<()> {
    let queries = read(&directory.join("queries.json"))?;
    let queries = queries.as_array().ok_or("queries.json is no list")?;
    let mut systems: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
    for query in queries {
        let system = text(query, "system")?;
        if !systems.contains_key(system) {
            systems.insert(system.to_owned(), read_events(&directory.join(format!("docs/{system}.jsonl")))?);
        }
    }
    let indexes: BTreeMap<&String, Named> =
        systems.iter().map(|(s, events)| Ok((s, Named::new(events, model)?))).collect::<Result<_>>()?;
    let all: Vec<(String, Value)> =
        systems.iter().flat_map(|(s, e)| e.iter().map(move |(n, e)| (format!("{s}/{n}"), e.clone()))).collect();
    let all = Named::new(&all, model)?;
    let (mut apart, mut pooled, mut pooled_queries) = (Map::new(), Map::new(), Vec::new());
    for query in queries {
        let (id, system, question) = (text(query, "id")?, text(query, "system")?, text(query, "query")?);
        let index = indexes.get(&system.to_owned()).ok_or("no such system")?;
        apart.insert(id.to_owned(), index.ranking(question, model)?);
        pooled.insert(id.to_owned(), all.ranking(question, model)?);
        let relevant = query["relevant"].as_array().ok_or("no relevant events")?.iter().filter_map(Value::as_str);
        let relevant: Vec<String> = relevant.map(|r| format!("{system}/{r}")).collect();
        pooled_queries.push(json!({"id": id, "system": system, "query": question, "relevant": relevant}));
    }
    fs::write(out.join("search.json"), Value::Object(apart).to_string())?;
    fs::write(out.join("pooled.json"), Value::Object(pooled).to_string())?;
    Ok(fs::write(out.join("pooled_queries.json"), Value::Array(pooled_queries).to_string())?)
}

fn read_events(file: &Path) -> Result<Vec<(String, Value)>> {
    let lines = fs::read_to_string(file)?;
    lines
        .lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line)?;
            Ok((text(&event, "event_id")?.to_owned(), event))
        })
        .collect()
}

/// Lines: each has the vector of its pattern, as mined from all lines of its system.
fn lines(directory: &Path, model: Option<&Embedder>, out: &Path) -> Result<()> {
    let questions = read(&directory.join("questions.json"))?;
    let questions = questions.as_array().ok_or("questions.json is no list")?;
    let mut systems: BTreeMap<String, (Index, Vec<(PatternId, String)>)> = BTreeMap::new();
    let mut rankings = Map::new();
    for (i, question) in questions.iter().enumerate() {
        let (system, question) = (text(question, "system")?, text(question, "question")?);
        if !systems.contains_key(system) {
            let contents = fs::read_to_string(directory.join(format!("{system}.txt")))?;
            systems.insert(system.to_owned(), read_lines(&contents, model)?);
        }
        let (index, lines) = &systems[system];
        let lines: Vec<(PatternId, &str)> = lines.iter().map(|(p, l)| (*p, l.as_str())).collect();
        let vector = model.map(|m| m.embed(question)).transpose()?;
        let ranked = index.rank_lines(question, vector.as_deref(), &lines, DEPTH);
        rankings.insert(i.to_string(), ranked.iter().map(|(line, _)| json!(line + 1)).collect());
    }
    Ok(fs::write(out.join("logqa.json"), Value::Object(rankings).to_string())?)
}

fn read_lines(contents: &str, model: Option<&Embedder>) -> Result<(Index, Vec<(PatternId, String)>)> {
    let mut miner = Miner::new(Config::default());
    let templates: Vec<u64> = contents.lines().map(|line| miner.observe(line).template_id).collect();
    miner.merge();
    let texts: HashMap<PatternId, String> = miner.patterns().into_iter().map(|p| (p.id, p.text)).collect();
    let (mut index, mut lines, mut wanted) = (Index::default(), Vec::new(), BTreeMap::new());
    for (line, template) in contents.lines().zip(templates) {
        let pattern = miner.pattern_id(template).ok_or("a line without a pattern")?;
        let text = texts.get(&pattern).ok_or("a pattern without a text")?;
        wanted.entry(pattern).or_insert_with(|| index.upsert(pattern, text, line).unwrap_or_default());
        lines.push((pattern, line.to_owned()));
    }
    embed(&mut index, &wanted.into_iter().collect::<Vec<_>>(), model)?;
    Ok((index, lines))
}

fn read(file: &Path) -> Result<Value> {
    Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().ok_or_else(|| format!("no {key} in {value}").into())
}
