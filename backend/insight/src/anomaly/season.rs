//! What a series is at this time of the day and of the week.
//!
//! A profile has a value for each half hour of the day, and for each hour of the week, and follows slowly. Which of the two is
//! worth asking is decided by the series itself: by how well each would have foretold the values that came, against the
//! plain level. Times are UTC; a local midnight is just another half hour.

use serde::{Deserialize, Serialize};

const MINUTE_NS: i64 = 60_000_000_000;
const DAY_MINUTES: i64 = 1440;
const WEEK_MINUTES: i64 = 7 * DAY_MINUTES;
/// Half hours of a day and hours of a week.
const SLOTS: [(i64, i64); 2] = [(DAY_MINUTES, 30), (WEEK_MINUTES, 60)];
/// Rounds that a slot must have seen before it foretells anything.
const ROUNDS: u16 = 2;
/// How much of the way to the newest round's value a slot goes.
const RATE: f32 = 0.35;
/// How fast the memory of how well something foretold fades, a point.
const ERROR_RATE: f64 = 1.0 / 256.0;
/// A season counts where it errs by less than this part of the level's error.
const WORTH: f64 = 0.6;

/// One slot of a profile: what it foretells, and the mean of the round under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Slot {
    value: f32,
    rounds: u16,
    round: i32,
    sum: f32,
    count: u32,
}

/// A profile over one period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Profile {
    slots: Vec<Slot>,
    error: f64,
    known: u32,
}

/// The profiles of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Season {
    profiles: Vec<Profile>,
    level_error: f64,
}

impl Default for Season {
    fn default() -> Self {
        let profile = |(period, slot): (i64, i64)| Profile {
            slots: vec![Slot::default(); (period / slot) as usize],
            error: 0.0,
            known: 0,
        };
        Self { profiles: SLOTS.map(profile).into(), level_error: 0.0 }
    }
}

/// The slot of a time and the number of its round.
fn place(time: i64, (period, slot): (i64, i64)) -> (usize, i32) {
    let minute = time.div_euclid(MINUTE_NS);
    ((minute.rem_euclid(period) / slot) as usize, minute.div_euclid(period) as i32)
}

impl Slot {
    fn add(&mut self, round: i32, value: f32) {
        if round != self.round && self.count > 0 {
            let mean = self.sum / self.count as f32;
            self.value = if self.rounds == 0 { mean } else { self.value + RATE * (mean - self.value) };
            self.rounds = self.rounds.saturating_add(1);
            (self.sum, self.count) = (0.0, 0);
        }
        self.round = round;
        self.sum += value;
        self.count = self.count.saturating_add(1);
    }
}

impl Season {
    /// What the best profile foretells, where one is worth asking.
    pub(super) fn foretell(&self, time: i64) -> Option<f64> {
        let of = |(profile, shape): (&Profile, &(i64, i64))| {
            let slot = profile.slots.get(place(time, *shape).0)?;
            let worth = profile.known as usize >= profile.slots.len() && profile.error < WORTH * self.level_error;
            (slot.rounds >= ROUNDS && worth).then_some((profile.error, f64::from(slot.value)))
        };
        let worthy = self.profiles.iter().zip(&SLOTS).filter_map(of);
        worthy.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, value)| value)
    }

    /// Adds a value, and what the plain level had foretold.
    pub(super) fn add(&mut self, time: i64, value: f64, level: f64) {
        let follow = |error: &mut f64, foretold: f64| *error += ERROR_RATE * ((value - foretold).abs() - *error);
        follow(&mut self.level_error, level);
        for (profile, shape) in self.profiles.iter_mut().zip(SLOTS) {
            let (at, round) = place(time, shape);
            let Some(slot) = profile.slots.get_mut(at) else { continue };
            if slot.rounds >= ROUNDS {
                profile.known = profile.known.saturating_add(1);
                follow(&mut profile.error, f64::from(slot.value));
            } else {
                follow(&mut profile.error, level);
            }
            slot.add(round, value as f32);
        }
    }
}
