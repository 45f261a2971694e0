//! A small generator of random numbers whose sequence never changes.

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator for `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..n`; 0 where `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        u64::try_from((u128::from(self.bits()) * u128::from(n)) >> 64).unwrap_or(0)
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// An index in `0..n`, small ones more often: the larger `skew`, the more so.
    pub fn skewed(&mut self, n: usize, skew: f64) -> usize {
        let index = (self.unit().powf(skew) * n as f64) as usize;
        index.min(n.saturating_sub(1))
    }

    /// A duration-like number around `median` with a long tail.
    pub fn long_tail(&mut self, median: f64) -> f64 {
        let normal: f64 = (0..6).map(|_| self.unit()).sum::<f64>() - 3.0;
        median * (normal * 1.4).exp()
    }

    /// One of `items`, all alike.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        let index = self.below(items.len() as u64) as usize;
        items[index.min(items.len() - 1)]
    }

    /// A random UUID (version 4) as text.
    pub fn uuid(&mut self) -> String {
        let (a, b) = (self.bits(), self.bits());
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }

    /// Random bytes.
    pub fn bytes<const N: usize>(&mut self) -> Vec<u8> {
        (0..N).map(|_| (self.bits() >> 56) as u8).collect()
    }
}
