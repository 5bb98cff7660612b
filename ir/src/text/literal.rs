//! The values of constants in the text form: numbers that keep their bits, and seeded ones.

use std::fmt::Write;

use half::f16;

use crate::tensor::{Tensor, TensorError};
use crate::types::DType;

/// Writes all values of a tensor as `[0.5, -1.0]`.
pub fn write_values(out: &mut String, tensor: &Tensor) {
    out.push('[');
    let bytes = tensor.bytes();
    for (index, chunk) in bytes.chunks_exact(tensor.dtype().bytes()).enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write_value(out, tensor.dtype(), chunk);
    }
    out.push(']');
}

fn write_value(out: &mut String, dtype: DType, bytes: &[u8]) {
    // The length of `bytes` is that of the type, so no value is ever skipped.
    let written = match (dtype, bytes) {
        (DType::F32, &[a, b, c, d]) => write_f32(out, f32::from_le_bytes([a, b, c, d])),
        (DType::F16, &[a, b]) => {
            let value = f16::from_le_bytes([a, b]);
            if value.is_nan() {
                write!(out, "nan({:#x})", value.to_bits())
            } else {
                write!(out, "{:?}", value.to_f32())
            }
        }
        (DType::F64, &[a, b, c, d, e, f, g, h]) => {
            let value = f64::from_le_bytes([a, b, c, d, e, f, g, h]);
            if value.is_nan() { write!(out, "nan({:#x})", value.to_bits()) } else { write!(out, "{value:?}") }
        }
        (DType::I64, &[a, b, c, d, e, f, g, h]) => write!(out, "{}", i64::from_le_bytes([a, b, c, d, e, f, g, h])),
        (DType::I32, &[a, b, c, d]) => write!(out, "{}", i32::from_le_bytes([a, b, c, d])),
        (_, bytes) => bytes.iter().try_for_each(|byte| write!(out, "{byte}")),
    };
    debug_assert!(written.is_ok(), "writing to a string never fails");
}

/// Writes an `f32` so that it parses back to the same bits.
pub fn write_f32(out: &mut String, value: f32) -> std::fmt::Result {
    if value.is_nan() { write!(out, "nan({:#x})", value.to_bits()) } else { write!(out, "{value:?}") }
}

/// Appends the little-endian bytes of a number (`1`, `-0.5`, `1e-3`, `inf`, `-inf`); `None` where it is not one of the
/// type.
pub fn push_number(out: &mut Vec<u8>, dtype: DType, text: &str) -> Option<()> {
    match dtype {
        DType::F32 => out.extend(text.parse::<f32>().ok()?.to_le_bytes()),
        DType::F64 => out.extend(text.parse::<f64>().ok()?.to_le_bytes()),
        DType::F16 => out.extend(f16::from_f32(text.parse::<f32>().ok()?).to_le_bytes()),
        DType::I64 => out.extend(text.parse::<i64>().ok()?.to_le_bytes()),
        DType::I32 => out.extend(text.parse::<i32>().ok()?.to_le_bytes()),
        DType::U8 => out.push(text.parse::<u8>().ok()?),
        DType::Bool => out.push(text.parse::<u8>().ok()?),
    }
    Some(())
}

/// Appends the little-endian bytes of `nan` or of `nan(0x7fc00001)`; `None` where the type has no such NaN.
pub fn push_nan(out: &mut Vec<u8>, dtype: DType, bits: Option<&str>) -> Option<()> {
    let bits = match bits {
        None => None,
        Some(bits) => Some(u64::from_str_radix(bits.strip_prefix("0x")?, 16).ok()?),
    };
    match (dtype, bits) {
        (DType::F32, None) => out.extend(f32::NAN.to_le_bytes()),
        (DType::F64, None) => out.extend(f64::NAN.to_le_bytes()),
        (DType::F16, None) => out.extend(f16::NAN.to_le_bytes()),
        (DType::F32, Some(bits)) => {
            let bits = u32::try_from(bits).ok().filter(|bits| f32::from_bits(*bits).is_nan())?;
            out.extend(bits.to_le_bytes());
        }
        (DType::F64, Some(bits)) if f64::from_bits(bits).is_nan() => out.extend(bits.to_le_bytes()),
        (DType::F16, Some(bits)) => {
            let bits = u16::try_from(bits).ok().filter(|bits| f16::from_bits(*bits).is_nan())?;
            out.extend(bits.to_le_bytes());
        }
        _ => return None,
    }
    Some(())
}

/// Seeded values: multiples of 1/64, so that they print short and sum exactly in small tests. Of either sign and below ½
/// in magnitude, or between ½ and 1½ where they must be `positive` (variances); integers below 4 in magnitude.
///
/// # Errors
/// Where the shape is too large.
pub fn seeded(dtype: DType, sizes: &[usize], seed: u64, positive: bool) -> Result<Tensor, TensorError> {
    let elements = sizes.iter().product();
    let mut state = seed;
    let mut values = Vec::with_capacity(elements);
    for _ in 0..elements {
        let draw = i16::from(splitmix(&mut state).to_le_bytes()[7] & 63);
        let value = f32::from(if positive { 32 + draw } else { draw - 32 });
        values.push(match dtype {
            DType::F32 | DType::F64 | DType::F16 => value / 64.0,
            DType::I64 | DType::I32 => (value / 8.0).trunc(),
            DType::U8 => f32::from(draw),
            DType::Bool => f32::from(draw & 1),
        });
    }
    Tensor::from_f32(sizes, values)?.cast(dtype)
}

/// One step of the SplitMix64 generator.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
