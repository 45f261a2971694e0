//! How abnormal each point of one series is, told as it comes.
//!
//! A point is compared with what came before it, from several sides at once:
//! - the point itself and the medians of the last few points (spikes; shifts of the level; slow drifts),
//! - against the recent level and against the long run (news to both counts most), and against the season
//!   where the series has one,
//! - how long it has stood still.
//!
//! Each side has its own [`Tail`]: a deviation counts by how rare it is among the deviations that this series has shown, not by a
//! number of standard deviations, so that one tuning fits smooth, spiky and skewed series. What was abnormal becomes history as
//! well, some time later: the same again is less abnormal, and a new level is accepted in time. A series that is often abnormal has to
//! be more so.
//!
//! What it does not see: a change of variance alone, and what is neither sudden nor far outside what was seen before.
//!
//! Time and memory are bounded: some 12 KiB a series, and a few microseconds a point.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{
    season::Season,
    tail::{Chance, Tail},
    window::Window,
};

/// The least spread, in whatever unit.
const LEAST: f64 = 1e-9;
/// Quiet points after which an abnormal stretch has ended.
const QUIET: u32 = 36;
/// How much of the weight the rarer of two sides has.
const RARER: f64 = 0.7;
/// How far the season's word goes alone: the chance to this power.
const SEASONAL: f64 = 0.5;
/// Equal points in a row before a series may be called flat: fewer are chance where values are coarse.
const STILL: u32 = 12;

/// What can be turned. One for all series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// Points that make up the recent past.
    pub recent: usize,
    /// Samples that make up the long run.
    pub long: usize,
    /// Points between the samples of the long run, in the beginning.
    pub stride: usize,
    /// Points between them at most; as the long run fills up, they double.
    pub stride_max: usize,
    /// Lengths of the windows whose medians are judged, in points.
    pub spans: [usize; 3],
    /// Points before deviations are remembered.
    pub settled: u64,
    /// Points before anything is judged.
    pub warm_up: u64,
    /// Points after which a deviation becomes history: an event is not yet its own past.
    pub delay: usize,
    /// The points after which a deviation seen weighs a third.
    pub memory: f64,
    /// The negative power of ten of a chance that is abnormal.
    pub rare: f64,
    /// How much more that becomes with each abnormal stretch that is not long ago.
    pub fatigue: f64,
    /// The points after which such a stretch counts a third.
    pub fatigue_memory: f64,
    /// The least deviation that may be abnormal, in spreads.
    pub effect: f64,
    /// The least spread, as a part of the level.
    pub floor: f64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            recent: 288,
            long: 256,
            stride: 4,
            stride_max: 128,
            spans: [1, 6, 36],
            settled: 36,
            warm_up: 60,
            delay: 72,
            memory: 8000.0,
            rare: 2.2,
            fatigue: 0.2,
            fatigue_memory: 4000.0,
            effect: 1.5,
            floor: 0.01,
        }
    }
}

/// One point of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Its time, ns since the epoch; not before the point before it.
    pub time: i64,
    /// Its value, in the series' own unit.
    pub value: f64,
    /// The standard error that a value has by its making, such as that of a count; 0 where it is unknown.
    pub noise: f64,
}

/// From which side a point is abnormal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// It is not.
    #[default]
    None,
    /// The point alone is high or low.
    Spike,
    /// The level has moved.
    Shift,
    /// It is not what it is at this time of the day or week.
    Season,
    /// It stands still.
    Flat,
}

/// What is said of a point.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Verdict {
    /// 0 to 1; from 0.5 on it is abnormal.
    pub score: f64,
    /// The negative power of ten of the chance of such a point as its tail foretells it, however short the history.
    pub rare: f64,
    /// What was expected, in the series' unit.
    pub expected: f64,
    /// The usual distance from it.
    pub spread: f64,
    /// From which side.
    pub side: Side,
    /// Whether it is above what was expected.
    pub above: bool,
}

/// Deviations upwards and downwards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Both {
    up: Tail,
    down: Tail,
    /// Deviations that are not history yet.
    pending: VecDeque<f32>,
}

impl Both {
    fn chance(&self, z: f64) -> Chance {
        if z >= 0.0 { self.up.chance(z) } else { self.down.chance(-z) }
    }

    fn add(&mut self, z: f64, Pace { keep, delay }: Pace) {
        self.pending.push_back(z as f32);
        if self.pending.len() > delay
            && let Some(z) = self.pending.pop_front()
        {
            self.up.add(f64::from(z).max(0.0), keep);
            self.down.add(f64::from(-z).max(0.0), keep);
        }
    }
}

/// How deviations become history.
#[derive(Clone, Copy)]
struct Pace {
    keep: f64,
    delay: usize,
}

/// The tails of one length of window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct View {
    recent: Both,
    long: Both,
    season: Both,
}

/// The state of one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    tuning: Tuning,
    recent: Window,
    long: Window,
    stride: usize,
    off_season: Window,
    season: Season,
    views: [View; 3],
    stills: Tail,
    still: u32,
    last: Option<f64>,
    seen: u64,
    /// Whether an abnormal stretch goes on, and how long it has been quiet.
    stretch: bool,
    quiet: u32,
    /// Abnormal stretches, fading.
    stretches: f64,
}

impl Default for Detector {
    fn default() -> Self {
        Self::new(Tuning::default())
    }
}

/// The rarest side so far.
struct Rarest {
    chance: f64,
    told: f64,
    side: Side,
    above: bool,
}

impl Rarest {
    fn consider(&mut self, chance: Chance, side: Side, above: bool) {
        self.told = self.told.min(chance.told);
        if chance.sure < self.chance {
            (self.chance, self.side, self.above) = (chance.sure, side, above);
        }
    }
}

/// The negative power of ten of a chance.
fn power_of_ten(chance: f64) -> f64 {
    -chance.max(1e-30).log10()
}

impl Detector {
    /// Of a series of which nothing is known.
    pub fn new(tuning: Tuning) -> Self {
        let longest = tuning.spans.into_iter().max().unwrap_or(1);
        Self {
            recent: Window::new(tuning.recent.max(longest)),
            long: Window::new(tuning.long),
            stride: tuning.stride,
            off_season: Window::new(longest),
            season: Season::default(),
            views: Default::default(),
            stills: Tail::default(),
            still: 0,
            last: None,
            seen: 0,
            stretch: false,
            quiet: 0,
            stretches: 0.0,
            tuning,
        }
    }

    /// Points seen.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Judges a point by what came before, then makes it history. What is not finite is not judged.
    pub fn observe(&mut self, point: Point) -> Verdict {
        if !point.value.is_finite() {
            return Verdict::default();
        }
        let pace = Pace { keep: 1.0 - 1.0 / self.tuning.memory, delay: self.tuning.delay };
        let mut rarest = Rarest { chance: 1.0, told: 1.0, side: Side::None, above: false };
        self.judge_standing(point.value, pace, &mut rarest);
        let (level, spread) = self.scale(&self.recent, point.noise);
        let foretold = self.season.foretell(point.time);
        self.judge_level(point, foretold, pace, &mut rarest);
        self.learn(point, level);
        if self.seen <= self.tuning.warm_up {
            return Verdict { expected: foretold.unwrap_or(level), spread, ..Verdict::default() };
        }
        let rare = power_of_ten(rarest.told);
        let score = self.score(power_of_ten(rarest.chance));
        let side = if score >= 0.5 { rarest.side } else { Side::None };
        Verdict { score, rare, expected: foretold.unwrap_or(level), spread, side, above: rarest.above }
    }

    /// From the chance to a score: 0.5 is what a series with its past of abnormal stretches has to reach.
    fn score(&mut self, rare: f64) -> f64 {
        // The stretch that goes on does not count against itself.
        let others = if self.stretch { (self.stretches - 1.0).max(0.0) } else { self.stretches };
        let needed = self.tuning.rare * (1.0 + self.tuning.fatigue * others);
        let score = (rare / (2.0 * needed)).clamp(0.0, 1.0);
        self.stretches *= 1.0 - 1.0 / self.tuning.fatigue_memory;
        if score >= 0.5 {
            self.stretches += if self.stretch { 0.0 } else { 1.0 };
            (self.stretch, self.quiet) = (true, 0);
        } else {
            self.quiet = self.quiet.saturating_add(1);
            self.stretch &= self.quiet <= QUIET;
        }
        score
    }

    /// The level of a window, and its spread, which is never nothing.
    fn scale(&self, window: &Window, noise: f64) -> (f64, f64) {
        let level = window.median();
        let spread = 0.5 * (window.deviation() + window.mean_deviation());
        (level, spread.max(noise).max(self.tuning.floor * level.abs()).max(LEAST))
    }

    fn judge_standing(&mut self, value: f64, pace: Pace, rarest: &mut Rarest) {
        if self.last == Some(value) {
            self.still = self.still.saturating_add(1);
            if self.still >= STILL {
                rarest.consider(self.stills.chance(f64::from(self.still)), Side::Flat, false);
            }
        } else {
            self.stills.add(f64::from(self.still), pace.keep);
            self.still = 0;
        }
    }

    fn judge_level(&mut self, point: Point, foretold: Option<f64>, pace: Pace, rarest: &mut Rarest) {
        let (level, spread) = self.scale(&self.recent, point.noise);
        let (base, wide) = self.scale(&self.long, point.noise);
        let season_off = foretold.map(|foretold| point.value - foretold);
        let usual_off =
            self.off_season.mean_deviation().max(point.noise).max(self.tuning.floor * level.abs()).max(LEAST);
        let Tuning { spans, effect, .. } = self.tuning;
        // Deviations from a level of a few points are no history.
        let learns = self.seen >= self.tuning.settled;
        for (view, span) in self.views.iter_mut().zip(spans) {
            let side = if span == 1 { Side::Spike } else { Side::Shift };
            let now = median_with(point.value, self.recent.newest(), span);
            let (near, far) = ((now - level) / spread, (now - base) / wide);
            let (recent, long) = (view.recent.chance(near), view.long.chance(far));
            if near.abs().min(far.abs()) >= effect {
                rarest.consider(recent.with(long, RARER), side, near >= 0.0);
            }
            if learns {
                view.recent.add(near, pace);
                view.long.add(far, pace);
            }
            if let Some(off) = season_off {
                let off = median_with(off, self.off_season.newest(), span) / usual_off;
                if off.abs() >= effect {
                    rarest.consider(view.season.chance(off).power(SEASONAL), Side::Season, off >= 0.0);
                }
                view.season.add(off, pace);
            }
        }
        if let Some(off) = season_off {
            self.off_season.push(off);
        }
    }

    fn learn(&mut self, point: Point, level: f64) {
        self.season.add(point.time, point.value, level);
        self.recent.push(point.value);
        if self.seen.is_multiple_of(self.stride as u64) {
            self.long.push(point.value);
            let full = self.seen / self.stride as u64 >= 2 * self.tuning.long as u64;
            if full && self.stride < self.tuning.stride_max {
                self.stride *= 2;
            }
        }
        self.last = Some(point.value);
        self.seen += 1;
    }
}

/// The median of a value and the newest others, `span` of them in all.
fn median_with(value: f64, newest: impl Iterator<Item = f64>, span: usize) -> f64 {
    if span <= 1 {
        return value;
    }
    let mut values: Vec<f64> = std::iter::once(value).chain(newest.take(span - 1)).collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
