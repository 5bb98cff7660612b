//! The pipeline: which passes run, in which order. One line a pass.
//!
//! The order matters: what nobody needs goes first, constants are folded before the passes that want constant weights,
//! and BatchNorm is folded before activations fuse, because it stands between them and the convolution. Siblings merge last,
//! when each has the bias and the activation that it will have.

use incept_ir::graph::{Graph, Stage};

use crate::pass::{self, Optimized, Pass, PassError, PassOptions};
use crate::passes;

/// The passes, in the order in which they run.
pub const PASSES: &[Pass] = &[
    passes::dead_code::PASS,
    passes::fold_constants::PASS,
    passes::canonicalize::PASS,
    passes::common_subexpressions::PASS,
    passes::fold_batch_norm::PASS,
    passes::fold_input_normalisation::PASS,
    passes::fuse_residual_add::PASS,
    passes::fuse_activation::PASS,
    passes::merge_sibling_convs::PASS,
];

/// Runs the pipeline. `observe` sees the graph after each pass.
///
/// The result is at stage `optimized` where every pass ran to its end. With disabled passes, or stopped early, it keeps
/// its stage, for it may hold what those would have removed (a Dropout, an Identity); it can be lowered all the same.
///
/// # Errors
/// Where a disabled pass does not exist, or a pass breaks the graph.
pub fn optimize(
    graph: Graph,
    options: &PassOptions,
    observe: &mut dyn FnMut(&Pass, &Graph),
) -> Result<Optimized, PassError> {
    pass::run(graph, PASSES, Stage::Optimized, options, observe)
}
