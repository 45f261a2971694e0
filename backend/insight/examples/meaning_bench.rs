//! Times the two parts of a search by meaning, on one core: `meaning_bench MODEL_DIRECTORY [PATTERNS]`.
//!
//! First the embedding of a question, then the search over many patterns (100,000) for its vector and its words. The patterns are
//! made up of words that logs have in common, which is the worst case: long lists for every word and meaning.

use std::{error::Error, hint::black_box, path::Path, time::Instant};

use devmesh_demo::{QUESTIONS, Rng, sentences};
use devmesh_insight::{
    embedding::{DIMENSIONS, Embedder},
    search::{Index, text_hash},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How often each is timed.
const RUNS: usize = 100;

#[allow(clippy::print_stdout, reason = "a program for the command line")]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, patterns @ ..] = arguments.as_slice() else {
        return Err("usage: meaning_bench MODEL_DIRECTORY [PATTERNS]".into());
    };
    let patterns: u64 = patterns.first().map_or(Ok(100_000), |count| count.parse())?;
    let begun = Instant::now();
    let embedder = Embedder::load(Path::new(directory))?;
    println!("the model loaded in {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    let vectors =
        QUESTIONS.iter().map(|question| embedder.embed(question)).collect::<std::result::Result<Vec<_>, _>>()?;
    let embedded = timed(|run| embedder.embed(QUESTIONS[run % QUESTIONS.len()]).map(drop).map_err(Into::into))?;
    println!("a question embedded on one core: {embedded}");

    let begun = Instant::now();
    let index = index(patterns);
    println!("{patterns} patterns taken in within {:.2} s", begun.elapsed().as_secs_f64());
    for (what, with_vector) in [("vectors and words", true), ("words alone", false)] {
        let searched = timed(|run| {
            let at = run % QUESTIONS.len();
            let vector = with_vector.then(|| vectors[at].as_slice());
            // A filter by time, service and level leaves two of three.
            black_box(index.search(QUESTIONS[at], vector, 10, |pattern| pattern % 3 > 0));
            Ok(())
        })?;
        println!("{patterns} patterns searched by {what}: {searched}");
    }
    Ok(())
}

fn timed(mut run: impl FnMut(usize) -> Result<()>) -> Result<String> {
    let mut times = Vec::with_capacity(RUNS);
    for number in 0..RUNS {
        let begun = Instant::now();
        run(number)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_unstable_by(f64::total_cmp);
    Ok(format!("least {:.1} ms, median {:.1} ms, p95 {:.1} ms", times[0], times[RUNS / 2], times[RUNS * 95 / 100]))
}

/// So many patterns with random vectors: what the model would say of them costs a search nothing.
fn index(patterns: u64) -> Index {
    let mut rng = Rng::new(1);
    let mut index = Index::default();
    for (pattern, sentence) in (0..).zip(sentences(patterns)) {
        let template = format!("component{} {sentence} <*>", rng.below(5000));
        let example = template.replace("<*>", &format!("order_{}", rng.below(1_000_000)));
        if let Some(text) = index.upsert(pattern, &template, &example) {
            index.set_vector(pattern, text_hash(&text), &vector(&mut rng));
        }
    }
    index
}

fn vector(rng: &mut Rng) -> Vec<f32> {
    let mut vector: Vec<f32> = (0..DIMENSIONS).map(|_| rng.unit() as f32 * 2.0 - 1.0).collect();
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}
