//! The few functions that calibration needs, from additions, multiplications, divisions and square roots alone.
//!
//! Those are exactly rounded everywhere; a platform's own `exp`, `ln` and `powf` are not the same everywhere.

use std::f64::consts::PI;

/// `e^x` to about 1e-13, for `x` from -700 to 700 (clamped).
pub fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0) / 1024.0;
    // |x| < 0.7: fourteen terms leave less than 1e-14 of 1.
    let series = (1..=14).rev().fold(1.0, |sum, n| 1.0 + sum * x / f64::from(n));
    (0..10).fold(series, |power, _| power * power)
}

/// The natural logarithm to about 1e-13, for `x` above 0 and finite.
pub fn ln(x: f64) -> f64 {
    // Ten square roots bring x near 1, where ln x = 2 artanh((x - 1) / (x + 1)) converges fast.
    let root = (0..10).fold(x, |value, _| value.sqrt());
    let t = (root - 1.0) / (root + 1.0);
    let series = (0..12).rev().fold(0.0, |sum, n| 1.0 / f64::from(2 * n + 1) + sum * t * t);
    2048.0 * t * series
}

/// `base` to `exponent`, for a base above 0.
pub fn pow(base: f64, exponent: f64) -> f64 {
    exp(exponent * ln(base))
}

/// Density and distribution of the normal distribution at `x`.
pub fn normal(x: f64) -> (f64, f64) {
    let density = exp(-0.5 * x * x) / (2.0 * PI).sqrt();
    if x.abs() > 7.0 {
        return (density, if x > 0.0 { 1.0 } else { 0.0 });
    }
    // Φ(x) = 1/2 + φ(x) (x + x³/3 + x⁵/15 + ...), whose terms have one sign.
    let mut term = x;
    let mut sum = x;
    for n in 1..120 {
        term = term * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    (density, 0.5 + density * sum)
}

#[cfg(test)]
mod tests {
    use super::{exp, ln, normal, pow};

    #[test]
    fn functions_agree_with_the_platform() {
        for step in -40..40 {
            let x = f64::from(step) * 0.37;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-12, "exp {x}");
            let y = x.exp();
            assert!((ln(y) - x).abs() < 1e-11, "ln {y}");
            assert!((pow(y, 0.75) / y.powf(0.75) - 1.0).abs() < 1e-10, "pow {y}");
        }
    }

    #[test]
    fn the_normal_distribution_has_its_known_values() {
        for (x, distribution) in [(0.0, 0.5), (1.0, 0.841_344_746_068_542_9), (-2.0, 0.022_750_131_948_179_2)] {
            assert!((normal(x).1 - distribution).abs() < 1e-12, "{x}");
        }
        assert!((normal(0.0).0 - 0.398_942_280_401_432_7).abs() < 1e-13);
        assert!((normal(6.9).1 - 1.0).abs() < 1e-11);
        assert!(normal(-6.9).1.abs() < 1e-11);
    }
}
