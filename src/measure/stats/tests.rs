use super::*;

/// Uniform numbers in 0..1 (SplitMix64).
struct Random(u64);

impl Random {
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normal, of standard deviation 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// Two contenders on a machine as they are: a clock that drifts, neighbours that come and go, runs that are interrupted,
/// and buffers that lie well or badly for a whole block. The first is slower by `factor`.
fn two_contenders(random: &mut Random, factor: f64, blocks: usize, rounds: usize) -> [Samples; 2] {
    let mut samples = [Samples::default(), Samples::default()];
    let mut drift = 0.0;
    for _ in 0..blocks {
        let placement = [0.004 * random.normal(), 0.004 * random.normal()];
        let mut block = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for position in 0..2 {
                let which = (position + round) % 2;
                let mut runs = Vec::new();
                for _ in 0..3 {
                    drift = 0.95 * drift + 0.01 * random.normal();
                    let floor = if which == 0 { factor } else { 1.0 };
                    let tail = if random.uniform() < 0.1 { random.uniform() } else { 0.0 };
                    let noise = 0.01 * random.normal().abs();
                    runs.push(0.025 * floor * (1.0 + placement[which] + drift + noise + tail));
                }
                block[which].push(runs);
            }
        }
        for (samples, block) in samples.iter_mut().zip(block) {
            samples.blocks.push(block);
        }
    }
    samples
}

#[test]
fn equal_contenders_are_not_told_apart() {
    for (blocks, rounds) in [(8, 1), (16, 1), (32, 20)] {
        let mut random = Random(1);
        let claims: Vec<bool> = (0..400)
            .map(|_| {
                let [a, b] = two_contenders(&mut random, 1.0, blocks, rounds);
                ratio(&a, &b, MISSES).significant()
            })
            .collect();
        let total = claims.iter().filter(|claim| **claim).count();
        assert!(total <= 10, "{total} of 400 pairs of equals, {blocks} blocks of {rounds} rounds");
    }
}

#[test]
fn a_tenth_more_is_found() {
    let mut random = Random(2);
    let (mut slower, mut faster, mut medians) = (0, 0, 0.0);
    for _ in 0..200 {
        let [slow, fast] = two_contenders(&mut random, 1.1, 16, 2);
        let there = ratio(&slow, &fast, MISSES);
        let back = ratio(&fast, &slow, MISSES);
        slower += u32::from(there.interval.low > 1.0);
        faster += u32::from(back.interval.high < 1.0);
        assert!(there.interval.high > 1.0 && back.interval.low < 1.0, "claims the opposite: {there:?} {back:?}");
        medians += there.median / 200.0;
    }
    assert!(slower >= 198 && faster >= 198, "{slower} and {faster} of 200");
    assert!((medians - 1.1).abs() < 0.01, "{medians}");
}

#[test]
fn intervals_hold_what_they_promise() {
    // Exponential times, of median ln 2: nothing like a normal distribution.
    let mut random = Random(3);
    for (count, misses) in [(8, 0.01), (20, 0.05), (100, 0.01)] {
        let missed = (0..4000)
            .filter(|_| {
                let values: Vec<f64> = (0..count).map(|_| -random.uniform().max(1e-300).ln()).collect();
                let interval = interval(&values, misses);
                interval.low > std::f64::consts::LN_2 || interval.high < std::f64::consts::LN_2
            })
            .count();
        #[allow(clippy::cast_precision_loss, reason = "a small count")]
        let share = missed as f64 / 4000.0;
        assert!(share < 1.5 * misses, "{count} values: {share} instead of {misses}");
    }
}

#[test]
fn too_few_blocks_claim_nothing() {
    assert_eq!(blocks_needed(0.01), 8);
    assert_eq!(blocks_needed(0.001), 11);
    let seven: Vec<f64> = vec![2.0; 7];
    assert_eq!(interval(&seven, 0.01), Interval::UNKNOWN);
    assert!(!Ratio { median: 2.0, interval: interval(&seven, 0.01) }.significant());
    assert_eq!(interval(&[2.0; 8], 0.01), Interval { low: 2.0, high: 2.0 });
}

#[test]
fn ranks_are_those_of_the_binomial_distribution() {
    // P(Bin(10, 1/2) <= 0) = 1/1024, <= 1: 11/1024, <= 2: 56/1024.
    assert_eq!(rank(10, 2.0 * 1.0 / 1024.0 + 1e-9), Some(0));
    assert_eq!(rank(10, 2.0 * 11.0 / 1024.0 + 1e-9), Some(1));
    assert_eq!(rank(10, 2.0 * 11.0 / 1024.0 - 1e-9), Some(0));
    assert_eq!(rank(10, 2.0 * 56.0 / 1024.0 + 1e-9), Some(2));
    assert_eq!(rank(10, 2.0 / 1024.0 - 1e-9), None);
    assert_eq!(rank(0, 1.0), None);
}

#[test]
fn quantiles_lie_between_neighbours() {
    let values = [4.0, 1.0, 3.0, 2.0];
    assert_eq!(quantile(&values, 0.0), 1.0);
    assert_eq!(quantile(&values, 1.0), 4.0);
    assert_eq!(median(&values), 2.5);
    assert!((quantile(&values, 0.9) - 3.7).abs() < 1e-12);
    assert!(quantile(&[], 0.5).is_nan());
}
