//! How far values are from a reference, and how far they may be.
//!
//! The bound is on the largest difference, as a share of the largest reference value: every output of a layer is a sum of
//! products of about that size, and rounding leaves an error in proportion to it, also where the products cancel and the
//! value is near zero. A bound on each value's own relative error would refuse any other order of summation there.

/// How far values may be from the reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// As a share of the largest reference value.
    pub relative: f64,
    /// Added to that, for references that are all about zero.
    pub absolute: f64,
}

impl Default for Tolerance {
    /// 10⁻⁴ of the largest reference value, and 10⁻⁷.
    fn default() -> Self {
        Self { relative: 1e-4, absolute: 1e-7 }
    }
}

/// How far values are from a reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// The largest difference; infinite where one is finite and the other is not, or where the lengths differ.
    pub max: f64,
    /// Where that is.
    pub at: usize,
    /// The largest finite reference value, without its sign.
    pub scale: f64,
    /// The length of the difference over that of the reference, both as vectors.
    pub l2: f64,
}

impl Difference {
    /// The difference of values from a reference. Infinities are equal to themselves, and so is NaN.
    #[must_use]
    pub fn of(values: &[f32], reference: &[f64]) -> Self {
        let mut found = Self { max: 0.0, at: 0, scale: 0.0, l2: 0.0 };
        if values.len() != reference.len() {
            return Self { max: f64::INFINITY, l2: f64::INFINITY, ..found };
        }
        let (mut error, mut length) = (0.0, 0.0);
        for (at, (value, reference)) in values.iter().zip(reference).enumerate() {
            let value = f64::from(*value);
            let same = value == *reference || (value.is_nan() && reference.is_nan());
            let off = match (same, (value - reference).abs()) {
                (true, _) => 0.0,
                (false, off) if off.is_finite() => off,
                (false, _) => f64::INFINITY,
            };
            if off > found.max {
                (found.max, found.at) = (off, at);
            }
            error += off * off;
            if reference.is_finite() {
                found.scale = found.scale.max(reference.abs());
                length += reference * reference;
            }
        }
        found.l2 = if error == 0.0 { 0.0 } else { (error / length.max(f64::MIN_POSITIVE)).sqrt() };
        found
    }

    /// The largest difference as a share of the largest reference value.
    #[must_use]
    pub fn relative(&self) -> f64 {
        if self.max == 0.0 { 0.0 } else { self.max / self.scale.max(f64::MIN_POSITIVE) }
    }

    /// Whether the values are near enough.
    #[must_use]
    pub fn within(&self, tolerance: &Tolerance) -> bool {
        self.max <= tolerance.relative * self.scale + tolerance.absolute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_difference_counts() {
        let difference = Difference::of(&[1.0, -2.0, 3.5], &[1.0, -2.25, 4.0]);
        assert_eq!((difference.max, difference.at, difference.scale), (0.5, 2, 4.0));
        assert_eq!(difference.relative(), 0.125);
        assert!(!difference.within(&Tolerance::default()));
        assert!(difference.within(&Tolerance { relative: 0.125, absolute: 0.0 }));
        assert!((difference.l2 - (0.3125f64 / (1.0 + 2.25 * 2.25 + 16.0)).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_finite_must_be_the_same() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        let near = |values: &[f32], reference: &[f64]| Difference::of(values, reference).within(&Tolerance::default());
        assert!(near(&[f32::INFINITY, f32::NAN, 1.0], &[inf, nan, 1.0]));
        assert!(!near(&[f32::NEG_INFINITY], &[inf]));
        assert!(!near(&[f32::MAX], &[inf]));
        assert!(!near(&[f32::NAN], &[0.0]));
        assert!(!near(&[0.0], &[nan]));
        assert!(!near(&[1.0], &[1.0, 1.0]));
    }

    #[test]
    fn references_of_zeros_have_an_absolute_bound() {
        assert!(Difference::of(&[5e-8], &[0.0]).within(&Tolerance::default()));
        assert!(!Difference::of(&[5e-7], &[0.0]).within(&Tolerance::default()));
        assert_eq!(Difference::of(&[], &[]).relative(), 0.0);
    }
}
