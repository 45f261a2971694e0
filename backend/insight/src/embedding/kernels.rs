//! The arithmetic of a BERT layer on the CPU: matrix times weights, GELU, softmax, layer norm.
//!
//! Why not a general matrix library: a query is a dozen tokens, and such a library repacks the 42 MB of weights for each
//! of them. Here the weights are packed once at load, in panels that one pass streams through. Every loop is plain Rust
//! that the compiler vectorises for the widest instructions of the machine it runs on ([`pulp::Arch`] chooses at run time).
//!
//! Nothing here fails; shapes are the caller's business and are asserted in debug builds.

use pulp::{Arch, Simd, WithSimd};

/// Registers of a panel's row.
const REGISTERS: usize = 2;
/// Rows that are multiplied with a panel at a time: 6 x 2 accumulators fit into the 16 registers of AVX2.
const ROWS: usize = 6;
/// Rows that pass through all panels before the next ones do, so that they stay in the second-level cache.
const BLOCK: usize = 96;

/// A fully connected layer, `y = x · W + b`, packed for [`Dense::forward`].
#[derive(Debug)]
pub(super) struct Dense {
    inputs: usize,
    outputs: usize,
    /// Columns of a panel: [`REGISTERS`] of the machine's.
    width: usize,
    /// `outputs / width` panels; a panel is `inputs` rows of `width` weights.
    panels: Vec<f32>,
    bias: Vec<f32>,
}

impl Dense {
    /// Packs weights as they lie in a checkpoint: `outputs` rows of `inputs`, times `scale`. `outputs` is a multiple of 32.
    pub(super) fn new(arch: Arch, weights: &[f32], bias: &[f32], inputs: usize, scale: f32) -> Self {
        let (outputs, width) = (bias.len(), arch.dispatch(Lanes) * REGISTERS);
        debug_assert_eq!(weights.len(), inputs * outputs);
        debug_assert_eq!(outputs % width, 0);
        let mut panels = Vec::with_capacity(inputs * outputs);
        for first in (0..outputs).step_by(width) {
            for i in 0..inputs {
                panels.extend((first..first + width).map(|o| weights[o * inputs + i] * scale));
            }
        }
        Self { inputs, outputs, width, panels, bias: bias.iter().map(|b| b * scale).collect() }
    }

    /// Puts the columns of `others` behind this layer's, so that one pass over the input serves all of them.
    pub(super) fn join(mut self, others: impl IntoIterator<Item = Self>) -> Self {
        for other in others {
            debug_assert_eq!(self.inputs, other.inputs);
            self.outputs += other.outputs;
            self.panels.extend(other.panels);
            self.bias.extend(other.bias);
        }
        self
    }

    /// `rows` rows of `inputs` in, `rows` rows of `outputs` out.
    pub(super) fn forward(&self, arch: Arch, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len() / self.inputs * self.outputs];
        arch.dispatch(Forward { layer: self, x, y: &mut y });
        y
    }
}

/// The floats of a register.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

struct Forward<'a> {
    layer: &'a Dense,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Dense { inputs, outputs, width, .. } = *self.layer;
        for (x, y) in self.x.chunks(BLOCK * inputs).zip(self.y.chunks_mut(BLOCK * outputs)) {
            for (p, panel) in self.layer.panels.chunks_exact(inputs * width).enumerate() {
                let column = p * width;
                let (weights, _) = S::as_simd_f32s(panel);
                let (bias, _) = S::as_simd_f32s(&self.layer.bias[column..column + width]);
                let mut panel = Panel { simd, inputs, outputs, column, weights, bias };
                for (x, y) in x.chunks(ROWS * inputs).zip(y.chunks_mut(ROWS * outputs)) {
                    panel.rows(x, y);
                }
            }
        }
    }
}

/// A panel of weights, multiplied with up to [`ROWS`] rows at a time.
struct Panel<'a, S: Simd> {
    simd: S,
    inputs: usize,
    outputs: usize,
    column: usize,
    weights: &'a [S::f32s],
    bias: &'a [S::f32s],
}

impl<S: Simd> Panel<'_, S> {
    #[inline(always)]
    fn rows(&mut self, x: &[f32], y: &mut [f32]) {
        match x.len() / self.inputs {
            1 => self.tile::<1>(x, y),
            2 => self.tile::<2>(x, y),
            3 => self.tile::<3>(x, y),
            4 => self.tile::<4>(x, y),
            5 => self.tile::<5>(x, y),
            _ => self.tile::<ROWS>(x, y),
        }
    }

    #[inline(always)]
    fn tile<const M: usize>(&mut self, x: &[f32], y: &mut [f32]) {
        let simd = self.simd;
        let (weights, _) = self.weights.as_chunks::<REGISTERS>();
        let mut x_rows = [&x[..0]; M];
        for (m, row) in x_rows.iter_mut().enumerate() {
            *row = &x[m * self.inputs..][..weights.len()];
        }
        let mut sums = [[self.bias[0], self.bias[1]]; M];
        for (i, [left, right]) in weights.iter().enumerate() {
            for m in 0..M {
                let v = simd.splat_f32s(x_rows[m][i]);
                sums[m][0] = simd.mul_add_f32s(v, *left, sums[m][0]);
                sums[m][1] = simd.mul_add_f32s(v, *right, sums[m][1]);
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            let y = &mut y[m * self.outputs + self.column..][..REGISTERS * S::F32_LANES];
            let (y, _) = S::as_mut_simd_f32s(y);
            y.copy_from_slice(sums);
        }
    }
}

/// Layer norm of `x + residual` over rows of `gain.len()`, in place in `x`.
pub(super) fn add_norm(arch: Arch, x: &mut [f32], residual: &[f32], gain: &[f32], bias: &[f32]) {
    arch.dispatch(AddNorm { x, residual, gain, bias });
}

struct AddNorm<'a> {
    x: &'a mut [f32],
    residual: &'a [f32],
    gain: &'a [f32],
    bias: &'a [f32],
}

impl WithSimd for AddNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        const EPSILON: f32 = 1e-12;
        let width = self.gain.len();
        for (x, residual) in self.x.chunks_exact_mut(width).zip(self.residual.chunks_exact(width)) {
            for (x, r) in x.iter_mut().zip(residual) {
                *x += r;
            }
            let mean = sum(x) / width as f32;
            for x in x.iter_mut() {
                *x -= mean;
            }
            let scale = 1.0 / (dot(x, x) / width as f32 + EPSILON).sqrt();
            for ((x, g), b) in x.iter_mut().zip(self.gain).zip(self.bias) {
                *x = *x * scale * *g + *b;
            }
        }
    }
}

/// GELU with the error function, in place, as BERT was trained with it.
pub(super) fn gelu(arch: Arch, x: &mut [f32]) {
    arch.dispatch(Gelu(x));
}

struct Gelu<'a>(&'a mut [f32]);

impl WithSimd for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for x in self.0.iter_mut() {
            *x *= 0.5 * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2));
        }
    }
}

/// Self-attention of each text in `texts` (first row, rows). `qkv` has rows of 3 x `heads` x [`WIDTH`]: queries (already
/// scaled), keys, values. Returns rows of `heads` x [`WIDTH`].
pub(super) fn attention(arch: Arch, qkv: &[f32], texts: &[(usize, usize)], heads: usize) -> Vec<f32> {
    let mut out = vec![0.0; qkv.len() / 3];
    let mut weights = vec![0.0; texts.iter().map(|t| t.1).max().unwrap_or(0)];
    arch.dispatch(Attention { qkv, texts, hidden: heads * WIDTH, out: &mut out, weights: &mut weights });
    out
}

/// Floats of one attention head.
pub(super) const WIDTH: usize = 32;

struct Attention<'a> {
    qkv: &'a [f32],
    texts: &'a [(usize, usize)],
    hidden: usize,
    out: &'a mut [f32],
    /// Room for one row's weights.
    weights: &'a mut [f32],
}

impl WithSimd for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let hidden = self.hidden;
        for &(first, rows) in self.texts {
            let text = &self.qkv[first * hidden * 3..][..rows * hidden * 3];
            let out = &mut self.out[first * hidden..][..rows * hidden];
            for head in (0..hidden).step_by(WIDTH) {
                attend(text, out, head, hidden, &mut self.weights[..rows]);
            }
        }
    }
}

/// One head of one text; `head` is its first column.
#[inline(always)]
fn attend(text: &[f32], out: &mut [f32], head: usize, hidden: usize, weights: &mut [f32]) {
    for row in 0..weights.len() {
        let query = &text[row * hidden * 3 + head..][..WIDTH];
        let mut largest = f32::NEG_INFINITY;
        for (key, w) in weights.iter_mut().enumerate() {
            *w = dot(query, &text[key * hidden * 3 + hidden + head..][..WIDTH]);
            largest = largest.max(*w);
        }
        for w in weights.iter_mut() {
            *w = exp(*w - largest);
        }
        let scale = 1.0 / sum(weights);
        let mut mixed = [0.0f32; WIDTH];
        for (value, w) in weights.iter().enumerate() {
            let value = &text[value * hidden * 3 + 2 * hidden + head..][..WIDTH];
            for l in 0..WIDTH {
                mixed[l] += w * value[l];
            }
        }
        let out = &mut out[row * hidden + head..][..WIDTH];
        for l in 0..WIDTH {
            out[l] = mixed[l] * scale;
        }
    }
}

/// Partial sums of a reduction, so that it vectorises.
const LANES: usize = 16;

#[inline(always)]
fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().sum();
    for c in chunks {
        for l in 0..LANES {
            lanes[l] += c[l];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// The inner product of two slices of the same length.
#[inline(always)]
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (cx, cy) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest: f32 = cx.remainder().iter().zip(cy.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in cx.zip(cy) {
        for l in 0..LANES {
            lanes[l] += a[l] * b[l];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// e^x for x <= 88, relative error below 3e-7: 2^n by the exponent's bits, the rest by a polynomial (Cephes expf).
#[inline(always)]
fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // Rounding by adding and taking away 1.5 * 2^23: a vector instruction everywhere, unlike `round`.
    const ROUND: f32 = 12_582_912.0;
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = ((((1.987_569_1e-4 * r + 1.398_199_9e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r + 1.666_666_5e-1)
        * r
        + 0.5;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits((((n as i32) + 127) << 23) as u32)
}

/// The error function, absolute error below 2e-7 (Abramowitz and Stegun 7.1.26).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (0.327_591_1 * a + 1.0);
    let p = (((1.061_405_4 * t - 1.453_152) * t + 1.421_413_7) * t - 0.284_496_74) * t + 0.254_829_6;
    (1.0 - p * t * exp(-a * a)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut s = seed;
        (0..n)
            .map(|_| {
                s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (s >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    #[test]
    fn exp_and_erf_agree_with_known_values() {
        for (x, e) in [(0.0f32, 1.0f64), (1.0, 1f64.exp()), (-20.0, (-20f64).exp()), (10.5, 10.5f64.exp())] {
            assert!((f64::from(exp(x)) / e - 1.0).abs() < 5e-7, "exp({x})");
        }
        for (x, e) in [(0.0, 0.0), (0.5, 0.520_499_9), (-1.0, -0.842_700_8), (3.0, 0.999_977_9)] {
            assert!((erf(x) - e).abs() < 5e-7, "erf({x})");
        }
    }

    #[test]
    fn a_dense_layer_is_the_product_for_any_number_of_rows() {
        let (inputs, outputs) = (40, 96);
        let (w, b) = (numbers(inputs * outputs, 1), numbers(outputs, 2));
        let layer = Dense::new(Arch::new(), &w[..inputs * 32], &b[..32], inputs, 1.0).join([Dense::new(
            Arch::new(),
            &w[inputs * 32..],
            &b[32..],
            inputs,
            1.0,
        )]);
        for rows in [1, 2, 5, 6, 7, 13, 96, 101] {
            let x = numbers(rows * inputs, 3);
            let y = layer.forward(Arch::new(), &x);
            assert_eq!(y.len(), rows * outputs);
            for r in 0..rows {
                for o in 0..outputs {
                    let want: f32 = (0..inputs).map(|i| x[r * inputs + i] * w[o * inputs + i]).sum::<f32>() + b[o];
                    assert!((y[r * outputs + o] - want).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn norm_makes_rows_of_mean_bias_and_deviation_gain() {
        let mut x = numbers(96, 5);
        add_norm(Arch::new(), &mut x, &numbers(96, 6), &[2.0; 48], &[1.0; 48]);
        for row in x.chunks(48) {
            let mean = row.iter().sum::<f32>() / 48.0;
            let deviation = (row.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 48.0).sqrt();
            assert!((mean - 1.0).abs() < 1e-5 && (deviation - 2.0).abs() < 1e-4);
        }
    }

    #[test]
    fn texts_of_one_batch_do_not_see_each_other() {
        let qkv = numbers(7 * 3 * 2 * WIDTH, 9);
        let together = attention(Arch::new(), &qkv, &[(0, 3), (3, 4)], 2);
        let first = attention(Arch::new(), &qkv[..3 * 3 * 2 * WIDTH], &[(0, 3)], 2);
        let second = attention(Arch::new(), &qkv[3 * 3 * 2 * WIDTH..], &[(0, 4)], 2);
        assert_eq!(together, [first, second].concat());
    }
}
