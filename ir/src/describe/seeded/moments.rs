//! The mean and the variance of each feature of a value, followed through the ops analytically.
//!
//! The model of a value: its features (indices of axis 1) are independent and roughly normal until a ReLU rectifies
//! them. What that leaves out (neighbouring pixels are alike, padding is zero) is small beside the factor of two that
//! calibration is there to prevent; the tests measure it.

use super::math::{normal, pow};

/// Means and variances along axis 1. Each stands for `repeat` features in a row.
#[derive(Debug, Clone)]
pub struct Moments {
    pub mean: Vec<f64>,
    pub variance: Vec<f64>,
    pub repeat: usize,
}

/// More features than this are not told apart.
const MAX_FEATURES: usize = 1 << 20;

impl Moments {
    /// The same for all features.
    pub fn uniform(mean: f64, variance: f64, features: usize) -> Self {
        Self { mean: vec![mean], variance: vec![variance], repeat: features.max(1) }
    }

    /// How many features there are.
    pub fn features(&self) -> usize {
        self.mean.len().saturating_mul(self.repeat)
    }

    /// One entry a feature, or `None` where that would be too many.
    pub fn expand(&self) -> Option<Self> {
        if self.features() > MAX_FEATURES {
            return None;
        }
        let wide = |values: &[f64]| {
            values.iter().flat_map(|value| std::iter::repeat_n(*value, self.repeat)).collect::<Vec<f64>>()
        };
        Some(Self { mean: wide(&self.mean), variance: wide(&self.variance), repeat: 1 })
    }

    /// The moments over all features together.
    pub fn pooled(&self) -> (f64, f64) {
        let count = self.mean.len().max(1) as f64;
        let mean = self.mean.iter().sum::<f64>() / count;
        let square = self.mean_square();
        (mean, (square - mean * mean).max(0.0))
    }

    /// The mean of the squares over all features.
    pub fn mean_square(&self) -> f64 {
        let squares = self.mean.iter().zip(&self.variance).map(|(mean, variance)| mean * mean + variance);
        squares.sum::<f64>() / self.mean.len().max(1) as f64
    }

    /// The moments with each feature's own changed.
    pub fn map(mut self, change: impl Fn(f64, f64) -> (f64, f64)) -> Self {
        for (mean, variance) in self.mean.iter_mut().zip(&mut self.variance) {
            (*mean, *variance) = change(*mean, *variance);
        }
        self
    }

    /// Of a value with the features of all of these.
    pub fn concat(parts: &[Self]) -> Self {
        let features = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.features()));
        let wide: Option<Vec<Self>> =
            if features > MAX_FEATURES { None } else { parts.iter().map(Self::expand).collect() };
        match wide {
            Some(wide) => Self {
                mean: wide.iter().flat_map(|part| part.mean.iter().copied()).collect(),
                variance: wide.iter().flat_map(|part| part.variance.iter().copied()).collect(),
                repeat: 1,
            },
            None => {
                let first = parts.first().map_or((0.0, 1.0), Self::pooled);
                Self::uniform(first.0, first.1, features)
            }
        }
    }

    /// Of two values combined feature by feature; where their features do not match, of all features together.
    pub fn zip(a: &Self, b: &Self, combine: impl Fn((f64, f64), (f64, f64)) -> (f64, f64)) -> Self {
        if let (Some(a), Some(b)) = (a.expand(), b.expand())
            && a.mean.len() == b.mean.len()
        {
            let all = a.mean.iter().zip(&a.variance).zip(b.mean.iter().zip(&b.variance));
            let (mean, variance) = all.map(|((am, av), (bm, bv))| combine((*am, *av), (*bm, *bv))).unzip();
            return Self { mean, variance, repeat: 1 };
        }
        let (mean, variance) = combine(a.pooled(), b.pooled());
        Self::uniform(mean, variance, a.features().max(b.features()))
    }
}

/// Of `max(x, 0)` for a normal `x`.
pub fn rectified(mean: f64, variance: f64) -> (f64, f64) {
    let (first, second) = excess(mean, variance);
    (first, (second - first * first).max(0.0))
}

/// Of `x` limited to `[low, high]` for a normal `x`; the ends may be infinite.
pub fn clipped(mean: f64, variance: f64, low: f64, high: f64) -> (f64, f64) {
    if low == f64::NEG_INFINITY {
        // Turned around: -clip(x, -∞, high) = clip(-x, -high, ∞).
        if high == f64::INFINITY {
            return (mean, variance);
        }
        let (mean, variance) = clipped(-mean, variance, -high, f64::INFINITY);
        return (-mean, variance);
    }
    // clip(x) - low = r(x - low) - r(x - high) =: R, and R² = r(x-low)² - r(x-high)² - 2 (high - low) r(x-high).
    let (mut first, mut second) = excess(mean - low, variance);
    if high < f64::INFINITY {
        let above = excess(mean - high, variance);
        first -= above.0;
        second -= above.1 + 2.0 * (high - low) * above.0;
    }
    (low + first, (second - first * first).max(0.0))
}

/// The mean of `max(x, 0)` and of its square, for a normal `x`.
fn excess(mean: f64, variance: f64) -> (f64, f64) {
    let deviation = variance.max(1e-30).sqrt();
    let (density, distribution) = normal(mean / deviation);
    let first = mean * distribution + deviation * density;
    let second = (mean * mean + variance) * distribution + mean * deviation * density;
    (first.max(0.0), second.max(0.0))
}

/// Of the largest of `count` values that are neither independent nor equal.
///
/// Of independent rectified normal values, the largest of nine lies 1.9 deviations above the mean of each; of equal ones,
/// at it. The features of images lie between.
pub fn largest(mean: f64, variance: f64, count: usize) -> (f64, f64) {
    let count = count.max(1) as f64;
    (mean + LIFT * (1.0 - 1.0 / count.sqrt()) * variance.sqrt(), variance)
}

const LIFT: f64 = 1.8;

/// Of the mean of `count` values. It would divide the variance of independent ones by `count` and leave that of equal
/// ones; those of images lie between.
pub fn averaged(mean: f64, variance: f64, count: usize) -> (f64, f64) {
    (mean, variance / (count.max(1) as f64).sqrt())
}

/// Of a channel of local response normalisation: `sum` is the expected sum of squares in the window.
pub fn normalised(mean: f64, variance: f64, sum: f64, scale: f64, beta: f64, bias: f64) -> (f64, f64) {
    let factor = pow((bias + scale * sum).max(1e-30), -beta);
    (mean * factor, variance * factor * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectifying_and_clipping_have_their_known_moments() {
        let near = |found: (f64, f64), wanted: (f64, f64)| {
            assert!((found.0 - wanted.0).abs() < 1e-9 && (found.1 - wanted.1).abs() < 1e-9, "{found:?} {wanted:?}");
        };
        // 1/√(2π), 1/2 - 1/(2π).
        near(rectified(0.0, 1.0), (0.398_942_280_401, 0.340_845_056_908));
        near(clipped(0.3, 2.0, f64::NEG_INFINITY, f64::INFINITY), (0.3, 2.0));
        near(clipped(0.0, 1.0, 0.0, f64::INFINITY), rectified(0.0, 1.0));
        let below = clipped(0.0, 1.0, f64::NEG_INFINITY, 0.0);
        near((-below.0, below.1), rectified(0.0, 1.0));
        // Symmetric limits leave the mean; the square's mean is ∫ from -1 to 1 of x²φ + 2(1 - Φ(1)).
        near(clipped(0.0, 1.0, -1.0, 1.0), (0.0, 0.198_748_043_099 + 0.317_310_507_863));
    }

    #[test]
    fn joining_keeps_features_apart_where_they_are_few() {
        let joined = Moments::concat(&[Moments::uniform(1.0, 2.0, 2), Moments::uniform(3.0, 4.0, 1)]);
        assert_eq!(joined.mean, [1.0, 1.0, 3.0]);
        assert_eq!(joined.variance, [2.0, 2.0, 4.0]);
        assert_eq!(joined.features(), 3);
        let huge = Moments::concat(&[Moments::uniform(1.0, 2.0, usize::MAX), Moments::uniform(3.0, 4.0, 1)]);
        assert_eq!(huge.features(), usize::MAX);
    }
}
