//! A small autoencoder over each service's vector of signals.
//!
//! Signals move together: more requests, more logs; a point may be unusual in none of them and still be one that never was. The
//! network has one hidden layer that is narrower than the vector, and is trained on the vectors of this installation; what it cannot
//! rebuild is unusual. Whether it is listened to is measured, not believed: on vectors kept out of the training, half of them with
//! signals exchanged between vectors or moved, it has to tell these from the others better than the largest deviation alone does.
//! When the newest vectors are rebuilt clearly worse than those of the training were, the data has drifted, and it is trained anew.

use std::collections::VecDeque;

use candle_core::{DType, Device, Result, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::tail::Tail;

/// Signals of a vector.
pub const SIGNALS: usize = 6;
/// Width of the hidden layer.
const HIDDEN: usize = 3;
/// Vectors kept, of all services together: 96 KiB.
const KEPT: usize = 4096;
/// Vectors before it is trained at all.
const ENOUGH: usize = 512;
/// Vectors between two looks at drift.
const EVERY: u32 = 512;
/// Rounds of the training: 0.2 s on one core.
const ROUNDS: usize = 300;
/// Of the vectors, the newest one in so many is kept out.
const HELD_OUT: usize = 4;
/// By how much of the area under the curve it must be better to be listened to.
const BETTER: f64 = 0.02;
/// The error of new vectors against that of the training from which the data has drifted.
const DRIFT: f32 = 1.5;
const STEP: f64 = 0.01;

/// The signals of a service in one bucket, each as a deviation in spreads, squeezed into -1 to 1.
pub type Vector = [f32; SIGNALS];

/// Squeezes a deviation.
pub fn squeeze(deviation: f64) -> f32 {
    (deviation / 4.0).tanh() as f32
}

/// What a training gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Vectors it was trained on.
    pub trained_on: usize,
    /// How often it was trained.
    pub trainings: u64,
    /// The area under the ROC curve on vectors kept out, 0.5 to 1.
    pub area: f64,
    /// The same of the largest deviation alone.
    pub baseline_area: f64,
    /// Whether it adds to scores.
    pub adds: bool,
    /// The error of the newest vectors against that of the training.
    pub drift: f32,
}

/// The network and what it learns from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Autoencoder {
    vectors: VecDeque<Vector>,
    since: u32,
    network: Option<Network>,
    errors: Tail,
    report: Report,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Network {
    /// Into the hidden layer, its biases, out of it, its biases; rows by input.
    weights: [Vec<f32>; 4],
    /// The mean error of the training.
    error: f32,
}

impl Network {
    /// The mean square of what is not rebuilt of a vector.
    fn error_of(&self, vector: &Vector) -> f32 {
        let [inward, inner, outward, outer] = &self.weights;
        let mut hidden = [0.0_f32; HIDDEN];
        for (h, hidden) in hidden.iter_mut().enumerate() {
            let sum: f32 = vector.iter().enumerate().map(|(i, v)| v * inward[i * HIDDEN + h]).sum();
            *hidden = (sum + inner[h]).tanh();
        }
        let rebuilt =
            |o: usize| hidden.iter().enumerate().map(|(h, v)| v * outward[h * SIGNALS + o]).sum::<f32>() + outer[o];
        vector.iter().enumerate().map(|(o, v)| (v - rebuilt(o)).powi(2)).sum::<f32>() / SIGNALS as f32
    }
}

impl Autoencoder {
    /// What the last training gave.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The negative power of ten of the chance of a vector; 0 where the network is not listened to.
    pub fn rare(&self, vector: &Vector) -> f64 {
        match &self.network {
            Some(network) if self.report.adds => {
                -self.errors.chance(f64::from(network.error_of(vector)) * 100.0).told.max(1e-12).log10()
            }
            _ => 0.0,
        }
    }

    /// Takes a vector in. Answers whether a training is due.
    pub fn add(&mut self, vector: Vector) -> bool {
        if self.vectors.len() == KEPT {
            self.vectors.pop_front();
        }
        self.vectors.push_back(vector);
        self.since += 1;
        if let Some(network) = &self.network {
            self.errors.add(f64::from(network.error_of(&vector)) * 100.0, 1.0 - 1.0 / KEPT as f64);
        }
        if self.vectors.len() < ENOUGH || self.since < EVERY {
            return false;
        }
        self.since = 0;
        let Some(network) = &self.network else { return true };
        let newest = self.vectors.iter().rev().take(EVERY as usize);
        let error = newest.map(|vector| network.error_of(vector)).sum::<f32>() / EVERY as f32;
        self.report.drift = error / network.error.max(1e-6);
        self.report.drift > DRIFT
    }

    /// Trains on what is kept: half a second of one core.
    ///
    /// # Errors
    /// candle could not compute; the network stays as it was.
    pub fn train(&mut self) -> std::result::Result<(), crate::Error> {
        let all: Vec<Vector> = self.vectors.iter().copied().collect();
        let (training, held_out) = all.split_at(all.len() - all.len() / HELD_OUT);
        let network = fit(training).map_err(|error| crate::Error::Train(error.to_string()))?;
        let (area, baseline_area) = compare(&network, held_out);
        self.errors = Tail::default();
        training.iter().for_each(|vector| self.errors.add(f64::from(network.error_of(vector)) * 100.0, 1.0));
        self.report = Report {
            trained_on: training.len(),
            trainings: self.report.trainings + 1,
            area,
            baseline_area,
            adds: area > baseline_area + BETTER,
            drift: 1.0,
        };
        self.network = Some(network);
        Ok(())
    }
}

/// Numbers that look random and are the same on every machine.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// -1 to 1.
    fn signed(&mut self) -> f32 {
        self.next() as f32 / (1_u64 << 30) as f32 - 1.0
    }
}

/// Trains a network by Adam (Kingma and Ba, 2015) on all vectors at once.
fn fit(vectors: &[Vector]) -> Result<Network> {
    let device = Device::Cpu;
    let flat: Vec<f32> = vectors.iter().flatten().copied().collect();
    let x = Tensor::from_vec(flat, (vectors.len(), SIGNALS), &device)?;
    let mut numbers = Numbers(7);
    let mut matrix = |rows: usize, columns: usize| {
        let values: Vec<f32> = (0..rows * columns).map(|_| numbers.signed() * 0.5).collect();
        Var::from_tensor(&Tensor::from_vec(values, (rows, columns), &device)?)
    };
    let vars = [matrix(SIGNALS, HIDDEN)?, matrix(1, HIDDEN)?, matrix(HIDDEN, SIGNALS)?, matrix(1, SIGNALS)?];
    let zeros = || vars.iter().map(|var| Tensor::zeros(var.shape(), DType::F32, &device)).collect::<Result<Vec<_>>>();
    let (mut means, mut squares) = (zeros()?, zeros()?);
    let mut error = 0.0;
    for round in 1..=ROUNDS {
        let hidden = x.matmul(&vars[0])?.broadcast_add(&vars[1])?.tanh()?;
        let rebuilt = hidden.matmul(&vars[2])?.broadcast_add(&vars[3])?;
        let loss = (rebuilt - &x)?.sqr()?.mean_all()?;
        error = loss.to_scalar::<f32>()?;
        let gradients = loss.backward()?;
        let (first, second) = (1.0 - 0.9_f64.powi(round as i32), 1.0 - 0.999_f64.powi(round as i32));
        for (at, var) in vars.iter().enumerate() {
            let Some(gradient) = gradients.get(var) else { continue };
            means[at] = ((&means[at] * 0.9)? + (gradient * 0.1)?)?.detach();
            squares[at] = ((&squares[at] * 0.999)? + (gradient.sqr()? * 0.001)?)?.detach();
            let step = ((&means[at] * (STEP / first))? / ((&squares[at] / second)?.sqrt()? + 1e-8)?)?;
            var.set(&(var.as_tensor() - step)?.detach())?;
        }
    }
    let values = |var: &Var| var.as_tensor().flatten_all()?.to_vec1::<f32>();
    let weights = [values(&vars[0])?, values(&vars[1])?, values(&vars[2])?, values(&vars[3])?];
    Ok(Network { weights, error })
}

/// The areas under the ROC curves of the network and of the largest deviation, on vectors and their altered copies.
fn compare(network: &Network, vectors: &[Vector]) -> (f64, f64) {
    let mut numbers = Numbers(11);
    let mut altered = Vec::with_capacity(vectors.len());
    for vector in vectors {
        let mut copy = *vector;
        let other = vectors[numbers.below(vectors.len())];
        for _ in 0..SIGNALS / 2 {
            let at = numbers.below(SIGNALS);
            copy[at] = other[at];
        }
        let at = numbers.below(SIGNALS);
        copy[at] = (copy[at] + 0.3 * numbers.signed()).clamp(-1.0, 1.0);
        altered.push(copy);
    }
    let largest = |vector: &Vector| vector.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    let area =
        |score: &dyn Fn(&Vector) -> f32| area(vectors.iter().map(score).collect(), altered.iter().map(score).collect());
    (area(&|vector| network.error_of(vector)), area(&largest))
}

/// The chance that a score of the second kind is above one of the first.
fn area(usual: Vec<f32>, unusual: Vec<f32>) -> f64 {
    let pairs = (usual.len() * unusual.len()).max(1) as f64;
    let mut all: Vec<(f32, bool)> =
        usual.into_iter().map(|v| (v, false)).chain(unusual.into_iter().map(|v| (v, true))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut won) = (0.0, 0.0);
    for run in all.chunk_by(|a, b| a.0 == b.0) {
        let unusual = run.iter().filter(|(_, unusual)| *unusual).count() as f64;
        let usual = run.len() as f64 - unusual;
        won += unusual * (below + usual / 2.0);
        below += usual;
    }
    won / pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors whose signals move together, or each for itself.
    fn vectors(count: usize, together: bool) -> Vec<Vector> {
        let mut numbers = Numbers(3);
        let one = |_| {
            let (a, b) = (numbers.signed(), numbers.signed());
            let mut signal = |of: f32| if together { of * 0.8 + numbers.signed() * 0.03 } else { numbers.signed() };
            [signal(a), signal(a), signal(-a), signal(b), signal(b), signal(-b)]
        };
        (0..count).map(one).collect()
    }

    fn trained(vectors: &[Vector]) -> Autoencoder {
        let mut autoencoder = Autoencoder::default();
        vectors.iter().for_each(|vector| {
            autoencoder.add(*vector);
        });
        autoencoder.train().unwrap();
        autoencoder
    }

    #[test]
    fn it_is_listened_to_where_signals_move_together_and_sees_one_that_does_not() {
        let usual = vectors(2000, true);
        let autoencoder = trained(&usual);
        let report = autoencoder.report();
        assert!(report.adds && report.area > 0.8, "{report:?}");
        let mut odd = usual[77];
        odd[0] = -odd[0].signum() * 0.7;
        assert!(autoencoder.rare(&odd) > autoencoder.rare(&usual[77]) + 1.0, "{}", autoencoder.rare(&odd));
    }

    #[test]
    fn it_adds_nothing_where_signals_tell_nothing_of_each_other() {
        let autoencoder = trained(&vectors(2000, false));
        assert!(!autoencoder.report().adds, "{:?}", autoencoder.report());
        assert_eq!(autoencoder.rare(&[1.0; SIGNALS]), 0.0);
    }

    #[test]
    fn drift_asks_for_a_new_training() {
        let mut autoencoder = trained(&vectors(1024, true));
        let settled = vectors(EVERY as usize, true).iter().filter(|vector| autoencoder.add(**vector)).count();
        assert_eq!(settled, 0, "{:?}", autoencoder.report());
        let drifted = vectors(EVERY as usize, false).iter().filter(|vector| autoencoder.add(**vector)).count();
        assert_eq!(drifted, 1, "{:?}", autoencoder.report());
    }

    #[test]
    fn the_same_vectors_give_the_same_network() {
        assert_eq!(trained(&vectors(600, true)), trained(&vectors(600, true)));
    }
}
