//! Measuring, in one room: who is timed when, what a difference must show before it is called one, and what this machine
//! could do at best.
//!
//! | file | what lives there |
//! |---|---|
//! | [`sample`] | contenders timed in turns, in blocks that take their memory anew |
//! | [`stats`] | quantiles, and intervals that assume no distribution |
//! | [`machine`] | what the machine is, and its measured peaks |
//! | [`profile`] | the time of each step of a plan, beside what it must compute and move |
//! | [`variants`] | the same model compiled in several ways, as contenders |
//!
//! Depends on [`crate::compile`] and on the crates below it. Prints nothing.
//!
//! Invariants:
//! 1. What is compared was measured in the same process, in turns; nothing measured alone is ever compared.
//! 2. A difference is claimed only where the interval of the ratio excludes 1. Intervals hold for any distribution of the
//!    times, and for drifts that are slower than a block.
//! 3. Every contender starts each turn with a run that is not timed, so that none pays for the caches that another left.

pub mod machine;
pub mod profile;
pub mod sample;
pub mod stats;
pub mod variants;

pub use machine::{Machine, Peaks};
pub use sample::{Budget, Contender, Samples, interleave};
pub use stats::{Interval, Ratio, Summary, ratio, summarize};
