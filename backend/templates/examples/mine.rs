//! Mines a file of bodies, one a line: `mine FILE [OUT.csv]`.
//!
//! Writes what a scorer of log parsing reads (`LineId,EventTemplate`: the pattern that each line's template belongs to at the
//! end) to OUT.csv or the standard output, and the speed on one core to the standard error: cold (an empty miner, with the
//! comparison of all templates) and warm (the best of several passes with all templates known), by the miner and by the
//! read-only matcher.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::HashMap;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

use devmesh_templates::{Config, Miner, Scratch};

/// Bodies that a warm measurement passes at least.
const WARM_BODIES: usize = 500_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let text = std::fs::read_to_string(args.get(1).ok_or("usage: mine FILE [OUT.csv]")?)?;
    let lines: Vec<&str> = text.split_terminator('\n').collect();

    let mut miner = Miner::new(Config::default());
    let start = Instant::now();
    let ids: Vec<u64> = lines.iter().map(|l| miner.observe(l).template_id).collect();
    miner.merge();
    let cold = start.elapsed();
    let patterns = miner.patterns();

    let warm = best(&lines, |l| black_box(miner.observe(l).template_id));
    let (matcher, mut scratch) = (miner.matcher(), Scratch::default());
    let shared = best(&lines, |l| black_box(matcher.find(l, &mut scratch).map_or(0, |m| m.template_id)));

    let rate = |d: Duration| lines.len() as f64 / d.as_secs_f64();
    eprintln!(
        "{} lines, {} templates, {} patterns; cold {:.0} lines/s, warm {:.0} lines/s, matcher {:.0} lines/s",
        lines.len(),
        miner.templates().len(),
        patterns.len(),
        rate(cold),
        rate(warm),
        rate(shared)
    );
    let of: HashMap<u64, &str> =
        patterns.iter().flat_map(|p| p.templates.iter().map(|t| (*t, p.text.as_str()))).collect();
    let out: Box<dyn Write> = match args.get(2) {
        Some(path) => Box::new(std::fs::File::create(path)?),
        None => Box::new(std::io::stdout().lock()),
    };
    let mut out = BufWriter::new(out);
    writeln!(out, "LineId,EventTemplate")?;
    for (n, id) in ids.iter().enumerate() {
        writeln!(out, "{},\"{}\"", n + 1, of[id].replace('"', "\"\""))?;
    }
    out.flush()?;
    Ok(())
}

/// The best time of several passes.
fn best(lines: &[&str], mut f: impl FnMut(&str) -> u64) -> Duration {
    let passes = WARM_BODIES / lines.len().max(1) + 1;
    let one = |_| {
        let start = Instant::now();
        for l in lines {
            f(l);
        }
        start.elapsed()
    };
    (0..passes).map(one).min().unwrap_or_default()
}
