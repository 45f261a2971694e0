//! Single series: what is abnormal is found, what is usual is not, and the past alone decides.

use devmesh_demo::Rng;
use devmesh_insight::anomaly::{Detector, Point, Side, Stretch, judge};

const MINUTE: i64 = 60_000_000_000;

/// A normal variable, roughly.
fn normal(rng: &mut Rng) -> f64 {
    (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0
}

/// A series of so many points, five minutes apart, each the value of a function of its place and of chance.
fn series(count: i64, seed: u64, value: impl Fn(i64, f64) -> f64) -> Vec<Point> {
    let mut rng = Rng::new(seed);
    let point = |at| Point { time: at * 5 * MINUTE, value: value(at, normal(&mut rng)), noise: 0.0 };
    (0..count).map(point).collect()
}

fn opened(points: &[Point]) -> Vec<i64> {
    judge(points).stretches.iter().map(|stretch| stretch.opened / (5 * MINUTE)).collect()
}

/// A name, and a value of each place and chance.
type Case = (&'static str, fn(i64, f64) -> f64);

/// A day of 288 points.
fn daily(at: i64) -> f64 {
    (at as f64 / 288.0 * std::f64::consts::TAU).sin()
}

#[test]
fn what_stands_out_is_found_where_it_begins() {
    let cases: [Case; 5] = [
        ("a spike", |at, noise| 50.0 + noise + if at == 1500 { 40.0 } else { 0.0 }),
        ("a drop", |at, noise| 50.0 + noise - if (1500..1510).contains(&at) { 30.0 } else { 0.0 }),
        ("a new level", |at, noise| 50.0 + noise + if at >= 1500 { 15.0 } else { 0.0 }),
        ("a spike on a daily wave", |at, noise| 100.0 + 20.0 * daily(at) + noise + if at == 1500 { 90.0 } else { 0.0 }),
        ("a spike larger than the usual ones", |at, noise| {
            10.0 + noise.abs() + if at % 97 == 0 { 30.0 } else { 0.0 } + if at == 1500 { 400.0 } else { 0.0 }
        }),
    ];
    for (name, value) in cases {
        for seed in 1..=3 {
            let opened = opened(&series(2000, seed, value));
            assert!(opened.contains(&1500), "{name}, seed {seed}: {opened:?}");
            assert!(opened.len() <= 2, "{name}, seed {seed}: {opened:?}");
        }
    }
}

#[test]
fn what_is_usual_is_left_alone() {
    let cases: [Case; 6] = [
        ("noise", |_, noise| 50.0 + noise),
        ("a daily wave", |at, noise| 100.0 + 20.0 * daily(at) + noise),
        ("spikes that always come", |at, noise| 10.0 + noise.abs() + if at % 97 == 0 { 30.0 } else { 0.0 }),
        ("long tails", |_, noise| noise.exp()),
        ("a constant", |_, _| 7.0),
        ("counts that are mostly nothing", |_, noise| if noise > 2.0 { 1.0 } else { 0.0 }),
    ];
    for (name, value) in cases {
        let false_alarms: usize = (1..=4).map(|seed| opened(&series(4000, seed, value)).len()).sum();
        assert!(false_alarms <= 8, "{name}: {false_alarms} in two months");
    }
}

#[test]
fn a_series_that_stands_still_is_flat() {
    let points = series(2000, 1, |at, noise| 50.0 + if (1500..1600).contains(&at) { 0.0 } else { noise });
    let judged = judge(&points);
    let flat = judged.stretches.iter().find(|stretch| stretch.side == Side::Flat);
    let at = flat.map(|stretch| stretch.opened / (5 * MINUTE));
    assert!(at.is_some_and(|at| (1512..1600).contains(&at)), "{:?}", judged.stretches);
}

#[test]
fn a_score_reads_only_what_came_before() {
    let points = series(1200, 5, |at, noise| 50.0 + noise + if at == 700 { 30.0 } else { 0.0 });
    let whole = judge(&points).verdicts;
    assert_eq!(judge(&points[..701]).verdicts, whole[..701]);
    assert!(whole[700].score >= 0.5 && whole[699].score < 0.5);
}

#[test]
fn a_stretch_closes_after_its_end() {
    let points = series(1200, 2, |at, noise| 50.0 + noise + if (700..720).contains(&at) { 30.0 } else { 0.0 });
    let stretches = judge(&points).stretches;
    let of = |stretch: &Stretch| (stretch.opened / (5 * MINUTE), stretch.closed.map(|time| time / (5 * MINUTE)));
    let found = stretches.iter().map(of).find(|(opened, _)| *opened == 700);
    let closed = found.and_then(|(_, closed)| closed).expect("it closes");
    assert!((719..=760).contains(&closed), "closed at {closed}");
}

#[test]
fn a_new_level_is_accepted_in_time() {
    let points = series(2400, 3, |at, noise| if at < 1000 { 50.0 + noise } else { 80.0 + noise });
    let late = judge(&points).verdicts[1700..].iter().filter(|verdict| verdict.score >= 0.5).count();
    assert_eq!(late, 0);
}

#[test]
fn what_is_not_a_number_is_not_judged_and_extremes_do_no_harm() {
    let mut detector = Detector::default();
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 0.0, -0.0, f64::MIN_POSITIVE];
    for at in 0..2000 {
        let value = values[at as usize % values.len()];
        let verdict = detector.observe(Point { time: at * MINUTE, value, noise: 0.0 });
        assert!((0.0..=1.0).contains(&verdict.score), "{verdict:?}");
    }
}
