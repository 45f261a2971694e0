//! A sketch of a distribution: quantiles of a stream with a relative error below 1 %, mergeable, in bounded memory.
//!
//! Values are counted in buckets of equal relative width. The bucket is the top of the number's own bits, its exponent
//! and the first six bits of its mantissa, so that finding it costs a shift: a bucket is at most 1/64 of its lower bound
//! wide, its middle at most 1/128 from every value in it. Least and greatest are kept exactly.
//!
//! Memory: one counter a bucket between the least and the greatest seen, at most [`BUCKETS`]; where a distribution is
//! wider than that (64 octaves), its lowest values share the lowest bucket, as in DDSketch. Negative numbers have
//! buckets of their own. NaN is not counted.

/// Counters on one side of zero. 64 octaves: from a nanosecond to 500 years.
const BUCKETS: usize = 4096;
/// Bits of the mantissa that the bucket drops.
const SHIFT: u32 = 52 - 6;

#[derive(Clone, Debug, Default, PartialEq)]
struct Side {
    /// Bucket of `counts[0]`.
    first: i32,
    counts: Vec<u64>,
}

impl Side {
    fn add(&mut self, bucket: i32, count: u64) {
        let offset = bucket.wrapping_sub(self.first) as usize;
        if let Some(counter) = self.counts.get_mut(offset) {
            *counter += count;
        } else {
            self.add_outside(bucket, count);
        }
    }

    #[cold]
    fn add_outside(&mut self, bucket: i32, count: u64) {
        if self.counts.is_empty() {
            self.first = bucket;
            self.counts.push(count);
            return;
        }
        let last = self.first + self.counts.len() as i32 - 1;
        let (new_first, new_last) = (self.first.min(bucket), last.max(bucket));
        let new_first = new_first.max(new_last - (BUCKETS as i32 - 1));
        if new_first > self.first {
            let sunk = ((new_first - self.first) as usize).min(self.counts.len());
            let below: u64 = self.counts.drain(..sunk).sum();
            self.first = new_first;
            self.counts.resize((new_last - new_first + 1) as usize, 0);
            self.counts[0] += below;
        } else if new_first < self.first {
            let gap = (self.first - new_first) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, gap));
            self.first = new_first;
        }
        self.counts.resize((new_last - self.first + 1) as usize, 0);
        let offset = (bucket.max(self.first) - self.first) as usize;
        self.counts[offset] += count;
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// The sketch.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    positive: Side,
    negative: Side,
    zeros: u64,
    least: f64,
    greatest: f64,
}

impl Default for Sketch {
    fn default() -> Self {
        let side = Side::default;
        Self { positive: side(), negative: side(), zeros: 0, least: f64::INFINITY, greatest: f64::NEG_INFINITY }
    }
}

fn bucket(magnitude: f64) -> i32 {
    (magnitude.to_bits() >> SHIFT) as i32
}

/// The middle of a bucket.
fn middle(bucket: i32) -> f64 {
    let bits = (bucket as u64) << SHIFT;
    let (low, high) = (f64::from_bits(bits), f64::from_bits(bits + (1 << SHIFT)));
    if high.is_finite() { low + (high - low) / 2.0 } else { low }
}

impl Sketch {
    /// Counts a value.
    pub fn add(&mut self, value: f64) {
        if value > 0.0 {
            self.positive.add(bucket(value), 1);
        } else if value < 0.0 {
            self.negative.add(bucket(-value), 1);
        } else if value == 0.0 {
            self.zeros += 1;
        } else {
            return;
        }
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
    }

    /// Counts all that `other` counted.
    pub fn merge(&mut self, other: &Sketch) {
        for (mine, theirs) in [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)] {
            for (i, &count) in theirs.counts.iter().enumerate().rev().filter(|(_, count)| **count > 0) {
                mine.add(theirs.first + i as i32, count);
            }
        }
        self.zeros += other.zeros;
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
    }

    /// The value at rank `q` (0 to 1) of those counted; `None` where nothing was.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let (negative, positive) = (self.negative.total(), self.positive.total());
        let total = negative + self.zeros + positive;
        if total == 0 {
            return None;
        }
        // Nearest rank.
        let rank = ((q * total as f64).ceil() as u64).clamp(1, total);
        let value = if rank == 1 {
            self.least
        } else if rank == total {
            self.greatest
        } else if rank <= negative {
            // The most negative stand in the highest buckets.
            -at(self.negative.counts.iter().enumerate().rev(), rank, self.negative.first)
        } else if rank <= negative + self.zeros {
            0.0
        } else {
            at(self.positive.counts.iter().enumerate(), rank - negative - self.zeros, self.positive.first)
        };
        Some(value.clamp(self.least, self.greatest))
    }

    /// Bytes it holds.
    pub fn size(&self) -> usize {
        size_of::<Self>() + (self.positive.counts.capacity() + self.negative.counts.capacity()) * 8
    }

    /// As bytes, to travel between the parts of a plan: little-endian least, greatest, zeros, then a side each as
    /// first bucket (4 bytes), number of counters (4 bytes) and the counters as varints.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.least.to_le_bytes());
        out.extend(self.greatest.to_le_bytes());
        out.extend(self.zeros.to_le_bytes());
        for side in [&self.positive, &self.negative] {
            out.extend(side.first.to_le_bytes());
            out.extend((side.counts.len() as u32).to_le_bytes());
            for &count in &side.counts {
                let mut rest = count;
                while rest >= 0x80 {
                    out.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                out.push(rest as u8);
            }
        }
    }

    /// The inverse of [`Sketch::write`]; `None` for other bytes.
    pub fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut sketch = Sketch {
            least: f64::from_le_bytes(take(&mut bytes)?),
            greatest: f64::from_le_bytes(take(&mut bytes)?),
            zeros: u64::from_le_bytes(take(&mut bytes)?),
            ..Sketch::default()
        };
        for side in [&mut sketch.positive, &mut sketch.negative] {
            side.first = i32::from_le_bytes(take(&mut bytes)?);
            let counters = u32::from_le_bytes(take(&mut bytes)?) as usize;
            if counters > BUCKETS.min(bytes.len()) {
                return None;
            }
            for _ in 0..counters {
                side.counts.push(varint(&mut bytes)?);
            }
        }
        bytes.is_empty().then_some(sketch)
    }
}

fn at<'a>(counts: impl Iterator<Item = (usize, &'a u64)>, rank: u64, first: i32) -> f64 {
    let mut seen = 0;
    for (i, count) in counts {
        seen += count;
        if seen >= rank {
            return middle(first + i as i32);
        }
    }
    0.0
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take(bytes)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch(values: impl IntoIterator<Item = f64>) -> Sketch {
        let mut sketch = Sketch::default();
        values.into_iter().for_each(|v| sketch.add(v));
        sketch
    }

    #[test]
    fn quantiles_are_within_one_percent_of_the_exact_ones() {
        let mut state = 7u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        for scale in [1e-6, 1.0, 1e9] {
            let mut values: Vec<f64> = (0..20_000).map(|_| (random() * 12.0 - 2.0).exp() * scale - scale).collect();
            let sketch = sketch(values.iter().copied());
            values.sort_by(f64::total_cmp);
            for q in [0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0] {
                let exact = values[((q * values.len() as f64).ceil() as usize).clamp(1, values.len()) - 1];
                let estimate = sketch.quantile(q).unwrap();
                assert!(
                    (estimate - exact).abs() <= exact.abs() * 0.01,
                    "q{q} scale {scale}: {estimate} is not {exact}"
                );
            }
        }
    }

    #[test]
    fn the_parts_merged_say_what_the_whole_says_also_through_bytes() {
        let values: Vec<f64> = (0..5000).map(|i| (i as f64 - 1000.0) * 3.7).collect();
        let whole = sketch(values.iter().copied());
        let mut merged = Sketch::default();
        for part in values.chunks(700) {
            let mut bytes = Vec::new();
            sketch(part.iter().copied()).write(&mut bytes);
            merged.merge(&Sketch::read(&bytes).unwrap());
        }
        assert_eq!(merged, whole);
        assert_eq!(Sketch::read(&[1, 2, 3]), None);
    }

    #[test]
    fn extreme_values_cost_bounded_memory() {
        let sketch = sketch([f64::MIN_POSITIVE, 1.0, f64::MAX, f64::INFINITY, -f64::MAX, 0.0, f64::NAN, -0.0]);
        assert!(sketch.size() < 2 * 8 * BUCKETS * 2 + 200);
        assert_eq!(sketch.quantile(1.0), Some(f64::INFINITY));
        assert_eq!(sketch.quantile(0.0), Some(-f64::MAX));
        assert_eq!(Sketch::default().quantile(0.5), None);
    }
}
