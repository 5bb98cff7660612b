//! Random numbers that are the same on every machine.
//!
//! The generator is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). A normal
//! deviate is the sum of eight uniform 16-bit integers (the Irwin–Hall distribution; its tails end at 4.9 standard
//! deviations), so all but one multiplication is integer arithmetic, and no function of a platform's library is called.

use xxhash_rust::xxh3::xxh3_64;

/// A stream of random numbers.
pub struct Random(u64);

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    /// The stream of one named tensor: it does not depend on what else a model has.
    pub fn new(seed: u64, name: &str) -> Self {
        Self(mix(seed.wrapping_add(GAMMA)) ^ xxh3_64(name.as_bytes()))
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// The next normal deviate of variance [`VARIANCE`], an integer of at most 20 bits.
    fn next_integer(&mut self) -> i32 {
        const LANES: u64 = 0x0000_FFFF_0000_FFFF;
        let (a, b) = (self.next(), self.next());
        // Two lanes of 32 bits, each the sum of four 16-bit numbers.
        let lanes = (a & LANES) + (a >> 16 & LANES) + (b & LANES) + (b >> 16 & LANES);
        #[allow(clippy::cast_possible_truncation, reason = "the sum of eight 16-bit numbers has 19 bits")]
        let sum = ((lanes >> 32) + (lanes & 0xFFFF_FFFF)) as i32;
        2 * sum - 8 * 0xFFFF
    }

    /// `count` normal deviates of mean 0.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "20-bit integers are exact in f32; the scale is rounded once"
    )]
    pub fn normals(&mut self, count: usize, deviation: f64) -> Vec<f32> {
        let scale = (deviation / VARIANCE.sqrt()) as f32;
        (0..count).map(|_| self.next_integer() as f32 * scale).collect()
    }
}

/// Of twice the sum of eight uniform numbers in `0..65536`.
const VARIANCE: f64 = 4.0 * 8.0 * (65536.0 * 65536.0 - 1.0) / 12.0;

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_that_of_the_paper() {
        // The first numbers of SplitMix64 from the state 1234567, as its authors' program prints them.
        let mut random = Random(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn deviates_are_normal_and_repeatable() {
        let values = Random::new(7, "fc.weight").normals(1_000_000, 0.5);
        assert_eq!(values, Random::new(7, "fc.weight").normals(1_000_000, 0.5));
        assert_ne!(values, Random::new(8, "fc.weight").normals(1_000_000, 0.5));
        assert_ne!(values, Random::new(7, "fc.bias").normals(1_000_000, 0.5));
        let count = values.len() as f64;
        let moment = |power: i32| values.iter().map(|value| (f64::from(*value) / 0.5).powi(power)).sum::<f64>() / count;
        assert!(moment(1).abs() < 0.005, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.008, "variance {}", moment(2));
        assert!(moment(3).abs() < 0.02, "skewness {}", moment(3));
        assert!((moment(4) - 2.85).abs() < 0.05, "kurtosis {}, 3 - 6/(5*8) expected", moment(4));
    }
}
