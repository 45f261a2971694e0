//! The last so many values, with their median and spread.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// A bounded window of values, kept in order of arrival and of size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub(super) struct Window {
    capacity: usize,
    arrived: VecDeque<f32>,
    sorted: Vec<f32>,
}

/// A window as it is kept on disk.
#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    capacity: usize,
    values: Vec<f32>,
}

impl From<Window> for Stored {
    fn from(window: Window) -> Self {
        Self { capacity: window.capacity, values: window.arrived.into() }
    }
}

impl From<Stored> for Window {
    fn from(stored: Stored) -> Self {
        let mut window = Window::new(stored.capacity.clamp(1, 4096));
        stored.values.into_iter().for_each(|value| window.push(f64::from(value)));
        window
    }
}

impl Window {
    /// A window of `capacity` values.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, arrived: VecDeque::new(), sorted: Vec::new() }
    }

    /// Adds a finite value; the oldest leaves.
    pub(super) fn push(&mut self, value: f64) {
        let value = value as f32;
        if !value.is_finite() {
            return;
        }
        if self.arrived.len() == self.capacity
            && let Some(oldest) = self.arrived.pop_front()
        {
            let at = self.sorted.partition_point(|v| *v < oldest);
            self.sorted.remove(at);
        }
        self.arrived.push_back(value);
        let at = self.sorted.partition_point(|v| *v < value);
        self.sorted.insert(at, value);
    }

    /// The middle value; 0 where there is none.
    pub(super) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The value below which a part `q` of the values lies.
    pub(super) fn quantile(&self, q: f64) -> f64 {
        let Some(last) = self.sorted.len().checked_sub(1) else { return 0.0 };
        let place = q * last as f64;
        let at = |place: f64| f64::from(self.sorted[place as usize]);
        let (low, high) = (at(place.floor()), at(place.ceil()));
        low + (high - low) * place.fract()
    }

    /// The middle distance from the median, as a standard deviation of a normal distribution would be.
    pub(super) fn deviation(&self) -> f64 {
        let median = self.median();
        // The distances grow to both sides of the median: two ordered runs, merged as far as the middle.
        let mid = self.sorted.partition_point(|v| f64::from(*v) < median);
        let (mut left, mut right) = (mid, mid);
        let mut distance = 0.0;
        for _ in 0..=self.sorted.len() / 2 {
            let below = left.checked_sub(1).map(|at| median - f64::from(self.sorted[at]));
            let above = self.sorted.get(right).map(|v| f64::from(*v) - median);
            distance = match (below, above) {
                (Some(below), Some(above)) if below < above => {
                    left -= 1;
                    below
                }
                (_, Some(above)) => {
                    right += 1;
                    above
                }
                (Some(below), None) => {
                    left -= 1;
                    below
                }
                (None, None) => break,
            };
        }
        1.4826 * distance
    }

    /// The mean distance from the median, as a standard deviation of a normal distribution would be.
    pub(super) fn mean_deviation(&self) -> f64 {
        let median = self.median();
        let sum: f64 = self.sorted.iter().map(|v| (f64::from(*v) - median).abs()).sum();
        1.2533 * sum / self.sorted.len().max(1) as f64
    }

    /// The newest values first.
    pub(super) fn newest(&self) -> impl Iterator<Item = f64> + '_ {
        self.arrived.iter().rev().map(|value| f64::from(*value))
    }
}
