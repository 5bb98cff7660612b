//! The first rewrite after which results depart.
//!
//! The passes are run again and again, stopped after fewer and fewer rewrites. Departing is taken to last once it began, so
//! halving finds the rewrite: the graph before it is right, the graph after it is not.

use incept_compiler::pass::{self, Pass, PassOptions, Rewrite};
use incept_ir::graph::{Graph, Stage};

use crate::error::Error;

/// What made the results depart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Culprit {
    /// Nothing: they do not.
    Nobody,
    /// They depart although no pass ran: what is wrong is in lowering or in a kernel, or the reference is another model's.
    NoPass,
    /// This rewrite.
    Rewrite {
        /// Its position among all rewrites, from 1: the value of `--stop-after` with which results depart.
        number: usize,
        /// How many rewrites there are.
        of: usize,
        /// The pass, the source nodes, and what it made of them.
        rewrite: Rewrite,
    },
}

/// Finds what makes `departs` true of a graph that was optimised by these passes.
///
/// # Errors
/// Where a pass fails, or `departs` does.
pub fn bisect(
    graph: &Graph,
    passes: &[Pass],
    disabled: &[String],
    departs: &mut dyn FnMut(&Graph) -> Result<bool, Error>,
) -> Result<Culprit, Error> {
    let mut stopped = |stop_after: Option<usize>| -> Result<(bool, Vec<Rewrite>), Error> {
        let options = PassOptions { disabled: disabled.to_vec(), stop_after, ..PassOptions::default() };
        let optimized = pass::run(graph.clone(), passes, Stage::Optimized, &options, &mut |_, _| {})
            .map_err(|source| Error::Pass { model: graph.name().to_string(), source: Box::new(source) })?;
        Ok((departs(&optimized.graph)?, optimized.report.rewrites))
    };
    let (wrong, rewrites) = stopped(None)?;
    if !wrong {
        return Ok(Culprit::Nobody);
    }
    if stopped(Some(0))?.0 {
        return Ok(Culprit::NoPass);
    }
    // Right after `right` rewrites, wrong after `wrong`.
    let (mut right, mut wrong) = (0, rewrites.len());
    while wrong - right > 1 {
        let middle = right + (wrong - right) / 2;
        if stopped(Some(middle))?.0 { wrong = middle } else { right = middle }
    }
    match rewrites.get(right) {
        Some(rewrite) => Ok(Culprit::Rewrite { number: wrong, of: rewrites.len(), rewrite: rewrite.clone() }),
        // The whole pipeline departs and yet made no rewrite: it can only be outside the passes.
        None => Ok(Culprit::NoPass),
    }
}
