//! Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): random numbers that are a
//! function of a counter and a key, so that they depend on what they are for (seed, step, layer, image, element) and never
//! on the order of calls, the number of threads or the device. `kernels/philox.cuh` is the same function.

use rand_core::{Infallible, TryRng, utils};

/// Philox4x32-10 of a counter and a key.
pub fn philox([mut c0, mut c1, mut c2, mut c3]: [u32; 4], [mut k0, mut k1]: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let (p0, p1) = (u64::from(c0) * 0xD251_1F53, u64::from(c2) * 0xCD9E_8D57);
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
        (k0, k1) = (k0.wrapping_add(0x9E37_79B9), k1.wrapping_add(0xBB67_AE85));
    }
    [c0, c1, c2, c3]
}

/// What a stream of random numbers is for: keeps the streams of one seed apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Dropout masks.
    Dropout = 0,
    /// Initial parameters.
    Init = 1,
    /// The order of an epoch.
    Shuffle = 2,
    /// Augmentations.
    Augment = 3,
    /// Synthetic data, and the inputs of gradient checks.
    Data = 4,
    /// Noise and scales that layers draw.
    Noise = 5,
    /// Which images make a pair.
    Pairs = 6,
}

/// Four numbers of the stream (seed, purpose, a, b) at position `block`. `a` is, by purpose, the layer, the parameter or
/// 0; `b` is a step or an epoch (its lower 28 bits are mixed with the purpose, the rest is kept whole).
pub fn block(seed: u64, purpose: Purpose, a: u32, b: u64, block: u64) -> [u32; 4] {
    let key = [seed as u32, (seed >> 32) as u32 ^ ((purpose as u32) << 28)];
    philox([block as u32, (block >> 32) as u32 ^ (((b >> 32) as u32) << 8), a, b as u32], key)
}

/// A 32-bit number as a uniform real in [0, 1): its upper 24 bits, exact in f32.
pub fn uniform(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Four standard normal numbers of a block (Box and Muller 1958): a pair of each two of its numbers.
pub fn gaussians(block: [u32; 4]) -> [f64; 4] {
    let pair = |a: u32, b: u32| {
        // From 2⁻²⁴ to 1, so that the logarithm is finite.
        let radius = (-2.0 * (f64::from((a >> 8) + 1) / 16_777_216.0).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * f64::from(uniform(b))).sin_cos();
        [radius * cos, radius * sin]
    };
    let ([a, b], [c, d]) = (pair(block[0], block[1]), pair(block[2], block[3]));
    [a, b, c, d]
}

/// A sequential reader of one stream, for work on the host. It is a generator of rand's as well, whose distributions and shuffles may
/// draw other numbers from one version to the next: what a run is made of (order, augmentation, initial parameters) comes from the
/// methods here, which do not.
#[derive(Clone, Debug)]
pub struct Stream {
    seed: u64,
    purpose: Purpose,
    a: u32,
    b: u64,
    next: u64,
    left: [u32; 4],
    used: usize,
}

impl Stream {
    /// The stream (seed, purpose, a, b) from its start.
    pub fn new(seed: u64, purpose: Purpose, a: u32, b: u64) -> Self {
        Self { seed, purpose, a, b, next: 0, left: [0; 4], used: 4 }
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.left = block(self.seed, self.purpose, self.a, self.b, self.next);
            self.next += 1;
            self.used = 0;
        }
        self.used += 1;
        self.left[self.used - 1]
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        f64::from(self.next_u32()) * (1.0 / 4_294_967_296.0)
    }

    /// Uniform among 0 … bound − 1, without bias (Lemire, "Fast random integer generation in an interval", 2019).
    pub fn below(&mut self, bound: u32) -> u32 {
        let mut m = u64::from(self.next_u32()) * u64::from(bound);
        if (m as u32) < bound {
            let least = bound.wrapping_neg() % bound;
            while (m as u32) < least {
                m = u64::from(self.next_u32()) * u64::from(bound);
            }
        }
        (m >> 32) as u32
    }

    /// Standard normal (Box and Muller 1958).
    pub fn gaussian(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        utils::next_u64_via_u32(self)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        utils::fill_bytes_via_next_word(bytes, || self.try_next_u32())
    }
}

#[cfg(test)]
mod tests {
    use super::{Purpose, Stream, block, philox};
    use rand_core::Rng;

    /// Bytes and 64-bit numbers are the stream's 32-bit numbers in turn, lowest byte first; so are those of its blocks.
    #[test]
    fn a_generator_of_bytes_has_the_bits_of_the_blocks() {
        let stream = || Stream::new(5, Purpose::Data, 1, 9);
        let mut bytes = [0; 32];
        stream().fill_bytes(&mut bytes);
        let blocks = [0, 1].map(|at| block(5, Purpose::Data, 1, 9, at)).concat();
        assert_eq!(bytes.to_vec(), blocks.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
        assert_eq!(Rng::next_u64(&mut stream()), u64::from(blocks[1]) << 32 | u64::from(blocks[0]));
    }

    /// The known answers of the authors' Random123 library (kat_vectors, philox4x32 10).
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }
}
