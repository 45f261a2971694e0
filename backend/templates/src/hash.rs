//! The one hash of this crate. It is written down in stores (a template's id is the hash of its text), so it never changes:
//! not with the platform, the version of a dependency or the process. It is fast on short words and not keyed: whoever
//! forges a collision gets another template's slot checked against the body and refused, never a wrong reconstruction.

const K0: u64 = 0x9E37_79B9_7F4A_7C15;
const K1: u64 = 0xE703_7ED1_A0B4_28DB;

/// One step: mixes `v` into `h` (a folded 64 x 64 multiplication).
#[inline]
pub(crate) fn fold(h: u64, v: u64) -> u64 {
    let m = u128::from(h ^ v ^ K0).wrapping_mul(u128::from(K1 ^ v.rotate_left(32)));
    (m as u64) ^ ((m >> 64) as u64)
}

/// Hash of a byte string.
#[inline]
pub(crate) fn bytes(b: &[u8]) -> u64 {
    let mut h = K1 ^ (b.len() as u64);
    let mut chunks = b.chunks_exact(8);
    for c in &mut chunks {
        h = fold(h, u64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]));
    }
    fold(h, tail(chunks.remainder()))
}

/// At most seven bytes as a number.
#[inline]
pub(crate) fn tail(b: &[u8]) -> u64 {
    match b.len() {
        0 => 0,
        1 => u64::from(b[0]),
        n if n < 4 => u64::from(b[0]) | u64::from(b[n / 2]) << 8 | u64::from(b[n - 1]) << 16,
        n => {
            let lo = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            let hi = u32::from_le_bytes([b[n - 4], b[n - 3], b[n - 2], b[n - 1]]);
            u64::from(lo) | u64::from(hi) << 32
        }
    }
}

/// Hash of a gap: what stands between two tokens, mostly one byte.
#[inline]
pub(crate) fn gap(b: &[u8]) -> u64 {
    match b {
        [] => 0,
        [c] => u64::from(*c) << 32,
        _ if b.len() < 8 => (tail(b) ^ (b.len() as u64) << 56).rotate_left(29),
        _ => bytes(b),
    }
}

/// For maps whose keys are hashes already.
pub(crate) type Identity = std::hash::BuildHasherDefault<Pass>;

/// A hasher that passes a 64-bit key through.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Pass(u64);

impl std::hash::Hasher for Pass {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, b: &[u8]) {
        self.0 = bytes(b);
    }
    fn write_u64(&mut self, v: u64) {
        self.0 = v;
    }
}
