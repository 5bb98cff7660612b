//! Exponential and logarithm on the vector assembler: polynomials after range reduction, the same on every level.

use crate::codegen::vector::{Asm, V, splat};

/// Below this the result of [`exp`] would be denormal; it is 0 instead.
const EXP_UNDERFLOW: f32 = -87.336_54;
/// Above this the result of [`exp`] would be infinite; it is the largest power instead.
const EXP_OVERFLOW: f32 = 88.0;
const EXP: [f32; 6] = [1.987_569_2e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
const LOG: [f32; 9] = [
    7.037_683_6e-2,
    -1.151_461e-1,
    1.167_699_9e-1,
    -1.242_014_1e-1,
    1.424_932_3e-1,
    -1.666_805_8e-1,
    2.000_071_5e-1,
    -2.499_999_4e-1,
    3.333_333e-1,
];
/// ln 2 in two parts, the first with few enough bits that its product with an exponent is exact.
const LN2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);

/// A polynomial by Horner's rule, highest coefficient first, into `acc`; `spare` is overwritten. Returns the register
/// that holds the value and the other one.
fn horner(a: &mut dyn Asm, coefficients: &[f32], x: V, acc: V, spare: V) -> (V, V) {
    let (mut value, mut next) = (acc, spare);
    for (index, &coefficient) in coefficients.iter().enumerate() {
        splat(a, next, coefficient);
        if index > 0 {
            a.fma(next, value, x);
        }
        (value, next) = (next, value);
    }
    (value, next)
}

/// `x = exp(x)` within 2 ulp on [-87.3, 88]; 0 below, `exp(88)` above, NaN for NaN. Takes four registers.
pub fn exp(a: &mut dyn Asm, x: V) {
    let (n, r, p, q) = (a.vec(), a.vec(), a.vec(), a.vec());
    // The constant is the first operand, so that a NaN of x passes.
    splat(a, p, EXP_OVERFLOW);
    a.min(x, p, x);
    splat(a, p, std::f32::consts::LOG2_E);
    a.mul(n, x, p);
    a.nearest(n, n);
    a.copy(r, x);
    splat(a, p, LN2.0);
    a.fnma(r, n, p);
    splat(a, p, LN2.1);
    a.fnma(r, n, p);
    let (value, other) = horner(a, &EXP, r, p, q);
    // value · r² + r + 1
    a.mul(value, value, r);
    splat(a, other, 1.0);
    a.add(other, other, r);
    a.fma(other, value, r);
    a.float_to_int(n, n);
    a.set_exponent(n, value);
    a.mul(other, other, n);
    splat(a, n, EXP_UNDERFLOW);
    a.zero(value);
    a.select_gt(r, n, x, value, other);
    a.copy(x, r);
    for register in [n, r, p, q] {
        a.free(register);
    }
}

/// `x = ln(x)` within 2 ulp of max(|ln x|, 1) for positive normal x; NaN for NaN and infinity. Takes five registers.
pub fn log(a: &mut dyn Asm, x: V) {
    let (e, m, p, q, bad) = (a.vec(), a.vec(), a.vec(), a.vec(), a.vec());
    a.sub(bad, x, x);
    a.shift_right(e, x, 23);
    a.splat_bits(p, 126);
    a.int_sub(e, e, p);
    a.int_to_float(e, e);
    a.splat_bits(p, 0x007f_ffff);
    a.and(m, x, p);
    a.splat_bits(p, 0x3f00_0000);
    a.or(m, m, p);
    // m in [½, 1): below √½ one exponent less and twice m, so that m - 1 is small.
    splat(a, p, std::f32::consts::FRAC_1_SQRT_2);
    splat(a, q, 1.0);
    a.sub(x, e, q);
    let kept = a.vec();
    a.select_gt(kept, p, m, x, e);
    a.add(x, m, m);
    a.select_gt(e, p, m, x, m);
    a.sub(m, e, q);
    a.copy(e, kept);
    a.free(kept);
    let (value, other) = horner(a, &LOG, m, p, q);
    a.mul(value, value, m);
    a.mul(x, m, m);
    a.mul(value, value, x);
    splat(a, other, LN2.1);
    a.fma(value, other, e);
    splat(a, other, 0.5);
    a.fnma(value, other, x);
    a.add(x, m, value);
    splat(a, other, LN2.0);
    a.fma(x, other, e);
    a.add(x, x, bad);
    for register in [e, m, p, q, bad] {
        a.free(register);
    }
}

/// The power of two of an integer exponent.
trait SetExponent {
    /// `n = 2ⁿ` for i32 lanes in -126..=127; `spare` is overwritten.
    fn set_exponent(&mut self, n: V, spare: V);
}

impl SetExponent for dyn Asm + '_ {
    fn set_exponent(&mut self, n: V, spare: V) {
        self.splat_bits(spare, 127);
        self.int_add(n, n, spare);
        self.shift_left(n, n, 23);
    }
}
