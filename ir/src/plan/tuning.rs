//! What measuring on one CPU found: the algorithm of each convolution.
//!
//! A plan stays portable: a tuning is a note for the CPU that it names, and any other ignores it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::StepId;

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// Sums of products.
    Direct,
    /// Winograd's, with output tiles of `m` pixels along each axis that has more than one tap.
    Winograd {
        /// Output pixels of a tile along an axis.
        m: usize,
    },
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Winograd { m } => write!(f, "winograd-{m}"),
        }
    }
}

/// The algorithms that were measured for one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuned {
    /// The step.
    pub step: StepId,
    /// Each algorithm with its least time in nanoseconds, summed over threads, the fastest first.
    pub measured: Vec<(Algorithm, u64)>,
}

/// A plan's measurements on one CPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuning {
    /// The CPU and the vector level that they hold for.
    pub cpu: String,
    /// How many threads ran.
    pub threads: usize,
    /// The steps that had a choice.
    pub steps: Vec<Tuned>,
}

impl Tuning {
    /// The algorithm that was fastest for a step, on the CPU that the tuning is for.
    #[must_use]
    pub fn choice(&self, step: StepId, cpu: &str) -> Option<Algorithm> {
        let tuned = self.steps.iter().find(|tuned| tuned.step == step).filter(|_| self.cpu == cpu)?;
        tuned.measured.first().map(|(algorithm, _)| *algorithm)
    }
}
