//! How rare a deviation is, judged by those seen before.
//!
//! A histogram of magnitudes with logarithmic bins holds the history, older ones fading. Beyond its 95 % quantile the
//! tail is taken to be a power law whose exponent is estimated from what lies there (Hill, *A simple general approach to
//! inference about the tail of a distribution*, 1975), so that a series that always had spikes is not alarmed by the next.
//! It fails towards silence: with little history, every tail is taken to be heavy.

use serde::{Deserialize, Serialize};

/// Bins an octave.
const PER_OCTAVE: f64 = 3.0;
/// The magnitude at which the first bin ends.
const LEAST: f64 = 1.0 / 32.0;
/// Bins: magnitudes up to 2^15 spreads.
const BINS: usize = 60;
/// The part of the history that counts as its tail.
const TAIL: f64 = 0.05;
/// The exponent's inverse where nothing is known: a tail somewhat heavier than an exponential one.
const PRIOR: f64 = 0.30;
/// The observations that this assumption is worth.
const PRIOR_WEIGHT: f64 = 4.0;

/// Bins below its own from which a magnitude is called alike.
const ALIKE: usize = 1;
/// What one of its like that was seen before counts for: deviations come in runs, and the same again is no news.
const KNOWN: f64 = 2.0;

/// How far what is foretold counts beyond what so many observations can tell, as a power.
const BEYOND: f64 = 0.1;

/// The chance of a deviation, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Chance {
    /// As the tail foretells it.
    pub(super) told: f64,
    /// As far as observations bear it out: what never happened in so many may happen in the next as many.
    pub(super) sure: f64,
}

impl Chance {
    pub(super) const CERTAIN: Self = Self { told: 1.0, sure: 1.0 };

    /// The same to a power.
    pub(super) fn power(self, power: f64) -> Self {
        Self { told: self.told.powf(power), sure: self.sure.powf(power) }
    }

    /// The rarer of two sides counts most, by a part `rarer` of the weight.
    pub(super) fn with(self, other: Self, rarer: f64) -> Self {
        let mix = |a: f64, b: f64| a.min(b).powf(rarer) * a.max(b).powf(1.0 - rarer);
        Self { told: mix(self.told, other.told), sure: mix(self.sure, other.sure) }
    }
}

/// Magnitudes of deviations seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tail {
    bins: Vec<f32>,
    total: f64,
}

fn bin(magnitude: f64) -> usize {
    if magnitude <= LEAST {
        return 0;
    }
    let octaves = (magnitude / LEAST).log2();
    1 + ((octaves * PER_OCTAVE) as usize).min(BINS - 2)
}

/// The magnitude in the middle of a bin.
fn middle(bin: usize) -> f64 {
    LEAST * ((bin as f64 - 0.5) / PER_OCTAVE).exp2()
}

/// The least magnitude of a bin.
fn lower(bin: usize) -> f64 {
    if bin == 0 { 0.0 } else { LEAST * ((bin as f64 - 1.0) / PER_OCTAVE).exp2() }
}

impl Tail {
    /// The chance of a magnitude of at least `magnitude`.
    pub(super) fn chance(&self, magnitude: f64) -> Chance {
        if self.total < 1.0 {
            return Chance::CERTAIN;
        }
        let (mut above, mut first) = (0.0, self.bins.len());
        while first > 1 && above < TAIL * self.total {
            first -= 1;
            above += f64::from(self.bins[first]);
        }
        let threshold = lower(first).max(LEAST);
        if magnitude <= threshold {
            return Chance::CERTAIN;
        }
        let logs = |(at, weight): (usize, &f32)| f64::from(*weight) * (middle(at) / threshold).max(1.0).ln();
        let excess: f64 = self.bins.iter().enumerate().skip(first).map(logs).sum();
        let exponent = (excess + PRIOR * PRIOR_WEIGHT) / (above + PRIOR_WEIGHT);
        let share = (above / self.total).clamp(1.0 / (self.total + 1.0), 1.0);
        let foretold = share * (magnitude / threshold).powf(-1.0 / exponent);
        let alike = bin(magnitude).saturating_sub(ALIKE);
        let known: f64 = self.bins.iter().skip(alike).map(|weight| f64::from(*weight)).sum();
        let told = foretold.max(KNOWN * known / self.total).min(1.0);
        let counted = (KNOWN * (known + 1.0) / self.total).min(1.0);
        let sure = if told < counted { counted.powf(1.0 - BEYOND) * told.powf(BEYOND) } else { told };
        Chance { told, sure }
    }

    /// Adds a magnitude; those before it weigh `keep` of what they weighed.
    pub(super) fn add(&mut self, magnitude: f64, keep: f64) {
        if self.bins.is_empty() {
            self.bins = vec![0.0; BINS];
        }
        for weight in &mut self.bins {
            *weight *= keep as f32;
        }
        self.bins[bin(magnitude)] += 1.0;
        self.total = self.total * keep + 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::{Chance, Tail};

    fn of(magnitudes: impl IntoIterator<Item = f64>) -> Tail {
        let mut tail = Tail::default();
        magnitudes.into_iter().for_each(|magnitude| tail.add(magnitude, 1.0));
        tail
    }

    #[test]
    fn the_further_out_the_rarer() {
        let tail = of((0..1000).map(|n| f64::from(n % 100) / 50.0));
        let chances: Vec<f64> = [1.0, 2.0, 4.0, 8.0, 100.0].iter().map(|m| tail.chance(*m).told).collect();
        assert!(chances.is_sorted_by(|a, b| a >= b), "{chances:?}");
        assert!(chances[0] == 1.0 && chances[3] < 1e-3 && chances[4] > 0.0, "{chances:?}");
    }

    #[test]
    fn what_came_before_is_less_rare_than_what_never_did() {
        let calm = of((0..1000).map(|n| f64::from(n % 100) / 50.0));
        let spiky = of((0..1000).map(|n| if n % 100 == 0 { 50.0 } else { f64::from(n % 100) / 50.0 }));
        assert!(spiky.chance(50.0).told > 10.0 * calm.chance(50.0).told);
        assert!(spiky.chance(50.0).told > 0.01, "{:?}", spiky.chance(50.0));
    }

    #[test]
    fn few_observations_bear_out_little() {
        let few = of((0..100).map(|n| f64::from(n % 100) / 50.0)).chance(100.0);
        let many = of((0..10_000).map(|n| f64::from(n % 100) / 50.0)).chance(100.0);
        assert!(few.told < few.sure / 10.0 && many.sure < few.sure / 10.0, "{few:?} {many:?}");
    }

    #[test]
    fn without_history_nothing_is_rare() {
        assert_eq!(Tail::default().chance(1e9), Chance::CERTAIN);
    }
}
