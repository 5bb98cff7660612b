//! Contenders timed in turns.
//!
//! A *turn* is one run that is not timed (it brings back the contender's own caches) and then a few that are. A *round*
//! gives every contender one turn, in an order that changes from round to round. A *block* is some rounds; before it, every
//! contender takes its memory anew, so that where buffers happen to lie is part of what varies, not a constant advantage.

use std::time::{Duration, Instant};

/// Timed runs of a turn.
pub const RUNS_OF_A_TURN: usize = 3;

/// The most blocks: more would narrow the intervals little and cost memory and time for new sessions.
const MAX_BLOCKS: usize = 32;

/// Something to be timed.
pub trait Contender {
    /// Why it cannot run.
    type Error;

    /// Takes its memory anew.
    ///
    /// # Errors
    /// Where there is not enough.
    fn renew(&mut self) -> Result<(), Self::Error>;

    /// Runs once.
    ///
    /// # Errors
    /// Where it cannot.
    fn run(&mut self) -> Result<(), Self::Error>;
}

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// How long all of it should take. More where the fewest blocks need more.
    pub duration: Duration,
    /// The fewest blocks ([`super::stats::blocks_needed`]).
    pub min_blocks: usize,
}

/// The times of one contender, in seconds: by block, by round, by run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    /// Blocks of turns of runs.
    pub blocks: Vec<Vec<Vec<f64>>>,
}

impl Samples {
    /// Every run.
    pub fn runs(&self) -> impl Iterator<Item = f64> + '_ {
        self.blocks.iter().flatten().flatten().copied()
    }
}

/// Times contenders in turns. `progress` is told which share of the work is done, from 0 to 1.
///
/// # Errors
/// The first error of a contender.
pub fn interleave<C: Contender>(
    contenders: &mut [C],
    budget: &Budget,
    progress: &mut dyn FnMut(f64),
) -> Result<Vec<Samples>, C::Error> {
    let mut samples = vec![Samples::default(); contenders.len()];
    if contenders.is_empty() {
        return Ok(samples);
    }
    let (blocks, rounds) = plan(contenders, budget)?;
    for block in 0..blocks {
        for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
            contender.renew()?;
            samples.blocks.push(Vec::with_capacity(rounds));
        }
        for round in 0..rounds {
            progress(share(block * rounds + round, blocks * rounds));
            for index in order(contenders.len(), block + round) {
                let times = turn(&mut contenders[index])?;
                if let Some(last) = samples[index].blocks.last_mut() {
                    last.push(times);
                }
            }
        }
    }
    progress(1.0);
    Ok(samples)
}

/// How many blocks of how many rounds, from one round that is thrown away; it also warms everything up.
fn plan<C: Contender>(contenders: &mut [C], budget: &Budget) -> Result<(usize, usize), C::Error> {
    let start = Instant::now();
    for contender in contenders.iter_mut() {
        contender.renew()?;
        contender.run()?;
    }
    let renewal = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for contender in contenders.iter_mut() {
        turn(contender)?;
    }
    let round = start.elapsed().as_secs_f64().max(1e-6);
    let left = (budget.duration.as_secs_f64() - renewal - round).max(0.0);
    Ok(divide(left, renewal, round, budget.min_blocks))
}

/// Blocks and rounds of a block for so many seconds: blocks first, for they narrow the interval.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "counts")]
fn divide(seconds: f64, renewal: f64, round: f64, min_blocks: usize) -> (usize, usize) {
    let blocks = (seconds / (renewal + round)) as usize;
    let blocks = blocks.clamp(min_blocks.max(1), MAX_BLOCKS.max(min_blocks));
    let rounds = ((seconds / blocks as f64 - renewal) / round) as usize;
    (blocks, rounds.clamp(1, 1 << 16))
}

/// One turn: a run that is not timed, then some that are.
fn turn<C: Contender>(contender: &mut C) -> Result<Vec<f64>, C::Error> {
    contender.run()?;
    (0..RUNS_OF_A_TURN)
        .map(|_| {
            let start = Instant::now();
            contender.run()?;
            Ok(start.elapsed().as_secs_f64())
        })
        .collect()
}

/// Who follows whom in a round: everybody starts as often as anybody, and the direction alternates.
fn order(count: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).map(|index| (index + round / 2) % count).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[allow(clippy::cast_precision_loss, reason = "a share for a progress bar")]
fn share(done: usize, all: usize) -> f64 {
    done as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter {
        renewals: usize,
        runs: usize,
    }

    impl Contender for Counter {
        type Error = ();

        fn renew(&mut self) -> Result<(), ()> {
            self.renewals += 1;
            Ok(())
        }

        fn run(&mut self) -> Result<(), ()> {
            self.runs += 1;
            if self.runs > 1_000_000 { Err(()) } else { Ok(()) }
        }
    }

    #[test]
    fn every_contender_gets_the_same_turns() {
        let mut counters = [Counter { renewals: 0, runs: 0 }, Counter { renewals: 0, runs: 0 }];
        let budget = Budget { duration: Duration::from_millis(1), min_blocks: 8 };
        let mut last = 0.0;
        let samples = interleave(&mut counters, &budget, &mut |share| {
            assert!(share >= last);
            last = share;
        });
        assert_eq!(last, 1.0);
        let samples = samples.expect("no contender fails");
        let shape = |samples: &Samples| samples.blocks.iter().map(Vec::len).collect::<Vec<_>>();
        assert!(samples[0].blocks.len() >= 8);
        assert_eq!(shape(&samples[0]), shape(&samples[1]));
        let timed = samples[0].runs().count();
        // One renewal and one round besides: those that the plan was made from.
        assert_eq!(counters[0].renewals, samples[0].blocks.len() + 1);
        assert_eq!(counters[0].runs, 1 + (timed / RUNS_OF_A_TURN + 1) * (RUNS_OF_A_TURN + 1));
        assert_eq!(counters[0].runs, counters[1].runs);
    }

    #[test]
    fn blocks_come_before_rounds_and_the_fewest_are_kept() {
        assert_eq!(divide(5.0, 0.05, 0.25, 8), (16, 1));
        assert_eq!(divide(5.0, 0.0, 0.001, 8), (32, 156));
        assert_eq!(divide(0.0, 1.0, 1.0, 8), (8, 1));
        assert_eq!(divide(1e9, 0.0, 1e-6, 40), (40, 1 << 16));
    }

    #[test]
    fn orders_are_permutations_in_which_everybody_starts() {
        for count in 1..5 {
            let orders: Vec<Vec<usize>> = (0..2 * count).map(|round| order(count, round)).collect();
            for order in &orders {
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..count).collect::<Vec<_>>());
            }
            for contender in 0..count {
                assert_eq!(orders.iter().filter(|order| order[0] == contender).count(), 2);
            }
        }
    }
}
