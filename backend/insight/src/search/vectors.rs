//! Vectors in memory, a byte a float, and their similarity to a question's vector.
//!
//! All of them are looked at: 100,000 are 38 MB and take a few milliseconds, and nothing is missed. A byte moves a cosine by
//! less than 0.002, below what tells two templates apart; the exact floats stay in the file.

use pulp::{Arch, Simd, WithSimd};

use super::words::Slot;
use crate::embedding::DIMENSIONS;

/// Vectors by slot.
#[derive(Debug, Default)]
pub(super) struct Vectors {
    codes: Vec<i8>,
    /// What a code is multiplied with; 0 where a slot has no vector.
    scales: Vec<f32>,
}

impl Vectors {
    /// Puts a vector of length 1 in a slot.
    pub(super) fn set(&mut self, slot: Slot, vector: &[f32]) {
        let slot = slot as usize;
        if self.scales.len() <= slot {
            self.scales.resize(slot + 1, 0.0);
            self.codes.resize((slot + 1) * DIMENSIONS, 0);
        }
        self.scales[slot] = quantise(vector, &mut self.codes[slot * DIMENSIONS..][..DIMENSIONS]);
    }

    /// Empties a slot.
    pub(super) fn clear(&mut self, slot: Slot) {
        if let Some(scale) = self.scales.get_mut(slot as usize) {
            *scale = 0.0;
        }
    }

    /// The cosines of the first `slots` slots with a vector of length 1; 0 where there is no vector.
    pub(super) fn cosines(&self, vector: &[f32], slots: usize) -> Vec<f32> {
        let mut query = [0i8; DIMENSIONS];
        let scale = quantise(vector, &mut query);
        let mut cosines = vec![0.0; slots];
        Arch::new().dispatch(Scan { codes: &self.codes, query: &query, cosines: &mut cosines });
        for (cosine, s) in cosines.iter_mut().zip(&self.scales) {
            *cosine *= scale * s;
        }
        cosines
    }
}

/// Writes a vector as codes and returns their scale.
fn quantise(vector: &[f32], codes: &mut [i8]) -> f32 {
    let largest = vector.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    if largest <= 0.0 || !largest.is_finite() {
        codes.fill(0);
        return 0.0;
    }
    let scale = largest / 127.0;
    for (code, x) in codes.iter_mut().zip(vector) {
        *code = (x / scale).round() as i8;
    }
    scale
}

struct Scan<'a> {
    codes: &'a [i8],
    query: &'a [i8; DIMENSIONS],
    cosines: &'a mut [f32],
}

impl WithSimd for Scan<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let mut query = [0i16; DIMENSIONS];
        for (q, code) in query.iter_mut().zip(self.query) {
            *q = i16::from(*code);
        }
        let (vectors, _) = self.codes.as_chunks::<DIMENSIONS>();
        for (cosine, vector) in self.cosines.iter_mut().zip(vectors) {
            let mut sum = 0i32;
            for i in 0..DIMENSIONS {
                sum += i32::from(i16::from(vector[i])) * i32::from(query[i]);
            }
            *cosine = sum as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(seed: u32) -> Vec<f32> {
        let mut s = seed;
        let mut v: Vec<f32> = (0..DIMENSIONS)
            .map(|_| {
                s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (s >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect();
        crate::embedding::normalise(&mut v);
        v
    }

    #[test]
    fn cosines_are_those_of_the_floats_to_two_thousandths() {
        let mut vectors = Vectors::default();
        for slot in 0..100 {
            vectors.set(slot, &vector(slot));
        }
        vectors.clear(7);
        let query = vector(3);
        let cosines = vectors.cosines(&query, 101);
        for slot in 0..100 {
            let exact: f32 = vector(slot).iter().zip(&query).map(|(a, b)| a * b).sum();
            let want = if slot == 7 { 0.0 } else { exact };
            assert!((cosines[slot as usize] - want).abs() < 2e-3, "{slot}");
        }
        assert_eq!(cosines[100], 0.0);
    }
}
