//! Quantiles, and intervals that assume no distribution.
//!
//! Times of a program are not normal: they have a floor, a long tail and drifts. What is compared here is therefore the
//! median, and its interval is made of order statistics: of n independent values, the k-th smallest and the k-th largest
//! enclose the median of whatever they were drawn from with a probability that the binomial distribution gives. Values are
//! those of *blocks* ([`super::sample`]), for runs that follow one another are not independent and blocks nearly are.

use super::sample::Samples;

/// How often an interval may miss, all comparisons of one measurement taken together.
pub const MISSES: f64 = 0.01;

/// The least and the most that something may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Everything: what is known where too little was measured.
    pub const UNKNOWN: Self = Self { low: 0.0, high: f64::INFINITY };
}

/// The times of one contender, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The shortest run.
    pub min: f64,
    /// Half of the runs are shorter.
    pub median: f64,
    /// Nine of ten runs are shorter.
    pub p90: f64,
    /// Ninety-nine of a hundred runs are shorter; the longest run where there are fewer.
    pub p99: f64,
    /// Where the median lies, in all likelihood.
    pub interval: Interval,
    /// How many runs were timed.
    pub runs: usize,
}

/// The time of one contender over that of another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The median of the blocks' ratios.
    pub median: f64,
    /// Where it lies, in all likelihood.
    pub interval: Interval,
}

impl Ratio {
    /// Whether the times differ at all: the interval excludes 1.
    #[must_use]
    pub fn significant(&self) -> bool {
        self.interval.low > 1.0 || self.interval.high < 1.0
    }
}

/// The value below which a share of the values lies, between neighbours by proportion; NaN where there are none.
#[must_use]
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positions")]
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let position = share.clamp(0.0, 1.0) * last as f64;
    let below = position as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

/// The median; NaN where there are no values.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The interval of the median of what these independent values were drawn from, missed at most this often.
/// [`Interval::UNKNOWN`] where there are fewer than [`blocks_needed`].
#[must_use]
pub fn interval(values: &[f64], misses: f64) -> Interval {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match rank(sorted.len(), misses) {
        Some(rank) => Interval { low: sorted[rank], high: sorted[sorted.len() - 1 - rank] },
        None => Interval::UNKNOWN,
    }
}

/// How far from each end the bounds may lie: the largest rank for which all of fewer than `rank + 1` values lie on one side
/// of the median so seldom.
#[allow(clippy::cast_precision_loss, reason = "counts of blocks are small")]
fn rank(count: usize, misses: f64) -> Option<usize> {
    let half_to_the = |n: usize| (-(n as f64) * std::f64::consts::LN_2).exp();
    // Twice the chance that no more than `rank` of `count` fair coins show heads.
    let mut term = half_to_the(count);
    let mut tail = 2.0 * term;
    if count == 0 || tail > misses {
        return None;
    }
    let mut rank = 0;
    while rank + 1 < count / 2 {
        term *= (count - rank) as f64 / (rank + 1) as f64;
        tail += 2.0 * term;
        if tail > misses {
            break;
        }
        rank += 1;
    }
    Some(rank)
}

/// How many blocks an interval needs that misses at most this often.
#[must_use]
pub fn blocks_needed(misses: f64) -> usize {
    (1..64).find(|count| rank(*count, misses).is_some()).unwrap_or(64)
}

/// How often each of several comparisons may miss, so that all together miss at most [`MISSES`].
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts of comparisons are small")]
pub fn misses_of_each(comparisons: usize) -> f64 {
    MISSES / comparisons.max(1) as f64
}

/// The times of a contender.
#[must_use]
pub fn summarize(samples: &Samples) -> Summary {
    let runs: Vec<f64> = samples.runs().collect();
    let blocks: Vec<f64> = samples.blocks.iter().map(|block| median(&block.concat())).collect();
    Summary {
        min: quantile(&runs, 0.0),
        median: median(&runs),
        p90: quantile(&runs, 0.9),
        p99: quantile(&runs, 0.99),
        interval: interval(&blocks, MISSES),
        runs: runs.len(),
    }
}

/// The time of `a` over that of `b`, measured in turns; missed at most this often.
#[must_use]
pub fn ratio(a: &Samples, b: &Samples, misses: f64) -> Ratio {
    let blocks = a.blocks.iter().zip(&b.blocks);
    let ratios: Vec<f64> = blocks
        .map(|(a, b)| {
            // The turns of one round share whatever disturbed the machine then.
            let turns: Vec<f64> = a.iter().zip(b).map(|(a, b)| median(a) / median(b)).collect();
            median(&turns)
        })
        .collect();
    Ratio { median: median(&ratios), interval: interval(&ratios, misses) }
}

#[cfg(test)]
mod tests;
