//! Exact fractions, so that transforms are right by construction and rounded once.

#![allow(clippy::should_implement_trait, reason = "checked: the result is optional")]

/// A fraction in lowest terms with a positive denominator. Arithmetic is checked: `None` on overflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rational {
    num: i128,
    den: i128,
}

fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl Rational {
    /// 0.
    pub const ZERO: Self = Self { num: 0, den: 1 };
    /// 1.
    pub const ONE: Self = Self { num: 1, den: 1 };

    /// `num / den`; `None` if `den` is zero or a sign cannot be changed.
    #[must_use]
    pub fn new(num: i128, den: i128) -> Option<Self> {
        if den == 0 {
            return None;
        }
        let common = gcd(num.checked_abs()?, den.checked_abs()?).max(1);
        let sign = if den < 0 { -1 } else { 1 };
        Some(Self { num: (num / common).checked_mul(sign)?, den: (den / common).checked_mul(sign)? })
    }

    /// An integer.
    #[must_use]
    pub fn int(value: i128) -> Self {
        Self { num: value, den: 1 }
    }

    /// `self + other`.
    #[must_use]
    pub fn add(self, other: Self) -> Option<Self> {
        let (a, b) = (self.num.checked_mul(other.den)?, other.num.checked_mul(self.den)?);
        Self::new(a.checked_add(b)?, self.den.checked_mul(other.den)?)
    }

    /// `self - other`.
    #[must_use]
    pub fn sub(self, other: Self) -> Option<Self> {
        self.add(other.neg())
    }

    /// `self * other`.
    #[must_use]
    pub fn mul(self, other: Self) -> Option<Self> {
        Self::new(self.num.checked_mul(other.num)?, self.den.checked_mul(other.den)?)
    }

    /// `self / other`; `None` also for a division by zero.
    #[must_use]
    pub fn div(self, other: Self) -> Option<Self> {
        Self::new(self.num.checked_mul(other.den)?, self.den.checked_mul(other.num)?)
    }

    /// `-self`. The numerator is never the least integer: [`Self::new`] refuses it.
    #[must_use]
    pub fn neg(self) -> Self {
        Self { num: self.num.saturating_neg(), den: self.den }
    }

    /// `|self|`.
    #[must_use]
    pub fn abs(self) -> Self {
        if self.num < 0 { self.neg() } else { self }
    }

    /// Whether this is 0.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.num == 0
    }

    /// Whether this is below 0.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.num < 0
    }

    /// The nearest f64, if numerator and denominator are below 2^53 (as those of all transforms here are).
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.num as f64 / self.den as f64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn arithmetic_is_exact_and_in_lowest_terms() {
        let half = Rational::new(-2, -4).unwrap();
        let third = Rational::new(1, 3).unwrap();
        assert_eq!(half.add(third), Rational::new(5, 6));
        assert_eq!(half.sub(third), Rational::new(1, 6));
        assert_eq!(half.mul(third), Rational::new(1, 6));
        assert_eq!(half.div(third), Rational::new(3, 2));
        assert_eq!(half.sub(half), Some(Rational::ZERO));
        assert!(half.neg().is_negative() && half.neg().abs() == half);
        assert_eq!(Rational::new(-3, 4).unwrap().to_f64(), -0.75);
    }

    #[test]
    fn overflow_and_division_by_zero_are_none() {
        assert_eq!(Rational::ONE.div(Rational::ZERO), None);
        assert_eq!(Rational::new(1, 0), None);
        assert_eq!(Rational::new(i128::MIN, 1), None);
        assert_eq!(Rational::int(i128::MAX).mul(Rational::int(2)), None);
        assert_eq!(Rational::int(i128::MAX).add(Rational::ONE), None);
    }
}
