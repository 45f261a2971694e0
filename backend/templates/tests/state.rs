//! Restarts, threads and bounds.

use std::sync::Arc;

use devmesh_templates::{Config, LoadError, Miner, Scratch};
use proptest::prelude::*;

fn lines(n: usize) -> Vec<String> {
    (0..n)
        .map(|i| match i % 5 {
            0 => format!("session opened for user u{} by door", ["ann", "bob", "eve", "zoe"][i / 5 % 4]),
            1 => format!("sent {} bytes to 10.0.0.{}", i, i % 250),
            2 => format!("worker w{} is {}", i % 7, ["up", "down", "gone"][i / 5 % 3]),
            3 => format!("cache {} hit ratio {}.{}", ["l1", "l2"][i / 5 % 2], i % 3, i),
            _ => "nothing to do here".to_owned(),
        })
        .collect()
}

fn config() -> Config {
    Config { merge_every: 4, ..Config::default() }
}

#[test]
fn a_restart_in_the_middle_changes_nothing() {
    let lines = lines(400);
    let mut through = Miner::new(config());
    let mut stopped = Miner::new(config());
    for (i, l) in lines.iter().enumerate() {
        if i % 37 == 0 {
            stopped = Miner::load(config(), &stopped.save()).expect("what was saved loads");
        }
        assert_eq!(through.observe(l).template_id, stopped.observe(l).template_id, "{l}");
    }
    assert_eq!(through.patterns(), stopped.patterns());
    assert_eq!(through.save(), stopped.save());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_state_comes_back(bodies in prop::collection::vec(any::<String>(), 0..30)) {
        let mut m = Miner::new(config());
        for b in &bodies {
            m.observe(b);
        }
        let again = Miner::load(config(), &m.save()).expect("what was saved loads");
        prop_assert_eq!(again.save(), m.save());
        prop_assert_eq!(again.patterns(), m.patterns());
    }

    #[test]
    fn damaged_state_is_refused(at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<prop::sample::Index>()) {
        let mut m = Miner::new(config());
        for l in lines(60) {
            m.observe(&l);
        }
        let good = m.save();
        let mut flipped = good.clone();
        flipped[at.index(good.len())] ^= 1 << bit;
        prop_assert!(Miner::load(config(), &flipped).is_err());
        prop_assert!(Miner::load(config(), &good[..cut.index(good.len())]).is_err());
    }
}

#[test]
fn other_bytes_are_not_a_state() {
    assert_eq!(Miner::load(config(), b"").err(), Some(LoadError::Format));
    assert_eq!(Miner::load(config(), b"PAR1 and more bytes").err(), Some(LoadError::Format));
}

#[test]
fn a_matcher_finds_what_the_miner_finds_or_nothing() {
    let lines = lines(2_000);
    let mut m = Miner::new(config());
    for l in &lines {
        m.observe(l);
    }
    let matcher = Arc::new(m.matcher());
    let expected: Vec<(u64, Vec<(u32, u32)>)> = lines
        .iter()
        .map(|l| {
            let f = m.observe(l);
            (f.template_id, f.params.to_vec())
        })
        .collect();
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                let mut scratch = Scratch::default();
                for (l, e) in lines.iter().zip(&expected) {
                    let f = matcher.find(l, &mut scratch).expect("a template seen often is known");
                    assert_eq!((f.template_id, f.params), (e.0, e.1.as_slice()), "{l}");
                }
            });
        }
    });
    assert!(matcher.find("never seen before", &mut Scratch::default()).is_none());
}

#[test]
fn a_matcher_leaves_what_would_teach_something_to_the_miner() {
    let mut m = Miner::new(config());
    for i in 0..100 {
        m.observe(&format!("accepted by ssh2 port {i}"));
    }
    let matcher = m.matcher();
    let mut scratch = Scratch::default();
    assert!(matcher.find("accepted by ssh2 port 7", &mut scratch).is_some());
    assert!(matcher.find("accepted by tls13 port 7", &mut scratch).is_none());
    m.observe("accepted by tls13 port 7");
    assert!(m.matcher().find("accepted by tls14 port 7", &mut scratch).is_some());
}

#[test]
fn the_number_of_templates_is_bounded_and_what_is_beyond_is_kept_whole() {
    let mut m = Miner::new(Config { max_templates: 100, ..Config::default() });
    let mut whole = 0;
    for i in 0..5_000u32 {
        // words without any structure: letters of a number
        let body: String =
            i.wrapping_mul(2_654_435_761).to_string().bytes().map(|c| format!("{} ", (c + 50) as char)).collect();
        let found = m.observe(&body);
        whole += usize::from(found.params == [(0, body.len() as u32)]);
    }
    assert!(m.templates().len() <= 100);
    assert!(whole > 0);
}

#[test]
fn names_without_end_need_two_templates() {
    let mut m = Miner::new(Config::default());
    for i in 0..20_000u32 {
        let name: String = i.to_string().bytes().map(|c| (c + 50) as char).collect();
        m.observe(&format!("session opened for user {name} by door"));
    }
    assert!(m.templates().len() < 300, "{}", m.templates().len());
    assert_eq!(m.patterns().len(), 1);
}

#[test]
fn the_bytes_of_templates_are_bounded() {
    let mut m = Miner::new(Config { max_bytes: 100_000, ..Config::default() });
    for i in 0..2_000u32 {
        let word: String = i.to_string().bytes().map(|c| (c + 50) as char).collect();
        m.observe(&format!("{word} ").repeat(80));
    }
    let text: usize = m.templates().map(|t| t.text().len()).sum();
    assert!(text < 110_000, "{text}");
}

#[test]
fn a_split_finds_what_was_observed_and_learns_nothing() {
    let mut m = Miner::new(config());
    let id = m.observe("sent 5 bytes to peer").template_id;
    let mut scratch = Scratch::default();
    let before = m.save();
    let found = m.split("sent 9 bytes to peer", &mut scratch).expect("the same words");
    assert_eq!((found.template_id, found.params), (id, [(5, 12)].as_slice()));
    assert!(m.split("never observed", &mut scratch).is_none());
    assert_eq!(m.save(), before);
}

#[test]
fn a_comparison_beside_the_ingestion_finds_the_same() {
    let lines = lines(400);
    let manual = Config { merge_every: usize::MAX, ..Config::default() };
    let (mut here, mut beside) = (Miner::new(manual), Miner::new(manual));
    for (i, l) in lines.iter().enumerate() {
        here.observe(l);
        beside.observe(l);
        if i == 200 {
            here.merge();
            let snapshot = beside.snapshot();
            let found = std::thread::spawn(move || snapshot.compare()).join().expect("a comparison ends");
            beside.adopt(found);
            assert_eq!(beside.unmerged(), 0);
        }
    }
    assert_eq!(here.patterns(), beside.patterns());
    assert_eq!(here.save(), beside.save());
}
