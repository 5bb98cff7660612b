//! Inputs for measuring and checking where nobody gives any: numbers that look like noise, the same on every machine.

use incept_ir::tensor::{Tensor, TensorError};

/// `count` numbers in −1..1, multiples of 2⁻¹⁵, from a seed.
#[must_use]
pub fn noise(count: usize, seed: u64) -> Vec<f32> {
    // SplitMix64.
    let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d);
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bytes = (mixed ^ (mixed >> 31)).to_le_bytes();
        f32::from(i16::from_le_bytes([bytes[6], bytes[7]])) / 32768.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// A tensor of [`noise`].
///
/// # Errors
/// Where the sizes are too large.
pub fn noise_tensor(sizes: &[usize], seed: u64) -> Result<Tensor, TensorError> {
    // Checked before anything is allocated.
    let bytes = incept_ir::tensor::byte_length(incept_ir::types::DType::F32, sizes)?;
    Tensor::from_f32(sizes, noise(bytes / size_of::<f32>(), seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_spread_and_the_same_everywhere() {
        let values = noise(10_000, 1);
        assert_eq!(values[..3], noise(3, 1));
        assert_ne!(values[..3], noise(3, 2));
        let mean = values.iter().sum::<f32>() / 10_000.0;
        let squares = values.iter().map(|value| value * value).sum::<f32>() / 10_000.0;
        assert!(mean.abs() < 0.02 && (squares - 1.0 / 3.0).abs() < 0.02, "{mean} {squares}");
        assert!(values.iter().all(|value| (-1.0..1.0).contains(value)));
        assert!(noise_tensor(&[1 << 40, 1 << 40], 0).is_err());
    }
}
