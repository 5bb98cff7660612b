//! What a pass is, and the manager that runs passes.
//!
//! A pass is a rule that looks at one node and may propose a [`Patch`]. The manager visits every node in topological
//! order, and after each the nodes that its rewrite added; it applies what the rule proposes, and records each rewrite and
//! each refusal with its reason. Depends on `incept-ir` alone.
//!
//! Invariants:
//! 1. A pass ends: every node that existed when it began is visited once, in an order fixed then, and what one of them
//!    leads to is bounded by [`MAX_REWRITES_OF_A_NODE`].
//! 2. The graph changes only through patches, which are checked as a whole and applied as a whole.
//! 3. After the last pass the graph is verified; with [`PassOptions::verify_each`], after every pass.
//! 4. The same graph and options give the same result and the same report, times apart.

use std::time::{Duration, Instant};

use incept_ir::graph::{Graph, GraphError, Patch, Provenance, Stage};
use incept_ir::ids::NodeId;
use rustc_hash::FxHashSet;
use serde::Serialize;

/// A pass: its names, and its rule.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// The name on the command line, in dumps, reports and tests; also the name of its file.
    pub name: &'static str,
    /// What it does, in a line.
    pub description: &'static str,
    /// Looks at a node that still exists.
    pub rule: fn(&mut Rewriter<'_>, NodeId) -> Result<(), GraphError>,
}

/// Which passes run, and how.
#[derive(Debug, Clone, Default)]
pub struct PassOptions {
    /// Names of passes to leave out.
    pub disabled: Vec<String>,
    /// Verify the graph after each pass, not only after the last.
    pub verify_each: bool,
    /// Stop after this many rewrites in all, to find the one that breaks something.
    pub stop_after: Option<usize>,
}

/// One applied rewrite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rewrite {
    /// The pass.
    pub pass: &'static str,
    /// The source nodes concerned.
    pub nodes: Vec<String>,
    /// What came of it.
    pub result: String,
}

/// A rewrite that a pass looked at and left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The pass.
    pub pass: &'static str,
    /// The source nodes concerned.
    pub nodes: Vec<String>,
    /// Why not.
    pub reason: String,
}

/// What one pass did.
#[derive(Debug, Clone, Serialize)]
pub struct PassSummary {
    /// The pass.
    pub pass: &'static str,
    /// How many rewrites it made.
    pub rewrites: usize,
    /// Nodes before it.
    pub nodes_before: usize,
    /// Nodes after it.
    pub nodes_after: usize,
    /// How long it took.
    #[serde(serialize_with = "as_milliseconds", rename = "ms")]
    pub time: Duration,
}

fn as_milliseconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64() * 1e3)
}

/// Everything that the passes did and declined to do.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PassReport {
    /// A line a pass that ran.
    pub passes: Vec<PassSummary>,
    /// Every rewrite, in order.
    pub rewrites: Vec<Rewrite>,
    /// Every refusal, in order.
    pub refusals: Vec<Refusal>,
}

/// Why optimising failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PassError {
    /// No pass has this name.
    #[error("there is no pass `{name}`{}; the passes are {}", near.as_ref().map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default(), known.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The name most like it, if any is.
        near: Option<&'static str>,
        /// All names.
        known: Vec<&'static str>,
    },
    /// A pass failed, or broke an invariant: a defect of this program, not of the model.
    #[error("pass `{pass}`: {source}")]
    Failed {
        /// The pass.
        pass: &'static str,
        /// How.
        source: GraphError,
    },
    /// A pass rewrites its own results without end: a defect of this program, not of the model.
    #[error("pass `{pass}` does not settle: {limit} rewrites began with {node}")]
    Endless {
        /// The pass.
        pass: &'static str,
        /// The node it began with.
        node: String,
        /// [`MAX_REWRITES_OF_A_NODE`].
        limit: usize,
    },
}

/// How many rewrites may follow from the visit of one node.
pub const MAX_REWRITES_OF_A_NODE: usize = 1 << 16;

/// A graph and what was done to it.
#[derive(Debug, Clone)]
pub struct Optimized {
    /// The graph.
    pub graph: Graph,
    /// What was done.
    pub report: PassReport,
}

/// The graph in the hands of a pass.
#[derive(Debug)]
pub struct Rewriter<'g> {
    graph: &'g mut Graph,
    report: &'g mut PassReport,
    pass: &'static str,
    left: usize,
    /// The nodes that rewrites added and that were not visited yet.
    added: Vec<NodeId>,
}

impl Rewriter<'_> {
    /// Shows a node to the rule, and then what the rule made of it.
    fn visit(&mut self, pass: &Pass, start: NodeId) -> Result<(), PassError> {
        let before = self.report.rewrites.len();
        let mut next = Some(start);
        while let Some(node) = next {
            if self.left == 0 {
                break;
            }
            if self.graph.node(node).is_ok() {
                (pass.rule)(self, node).map_err(|source| PassError::Failed { pass: pass.name, source })?;
            }
            if self.report.rewrites.len() - before > MAX_REWRITES_OF_A_NODE {
                let node = self.graph.label(start);
                return Err(PassError::Endless { pass: pass.name, node, limit: MAX_REWRITES_OF_A_NODE });
            }
            next = self.added.pop();
        }
        Ok(())
    }

    /// The graph as it is now.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// An empty patch by this pass.
    #[must_use]
    pub fn patch(&self, result: impl Into<String>) -> Patch {
        Patch::new(self.pass, result)
    }

    /// Applies a patch that concerns these source nodes. Does nothing once the limit of rewrites is reached.
    ///
    /// # Errors
    /// Where the patch is not legal; the graph is then as it was.
    pub fn apply(&mut self, patch: Patch, nodes: &[NodeId]) -> Result<(), GraphError> {
        if self.left == 0 {
            return Ok(());
        }
        let nodes = self.names(nodes);
        let result = patch.reason().to_owned();
        let applied = self.graph.apply(patch)?;
        self.added.extend(applied.added);
        self.record(nodes, result);
        Ok(())
    }

    /// Removes a node that nothing reads, and what only it reads.
    pub fn remove_unread(&mut self, node: NodeId) {
        if self.left == 0 {
            return;
        }
        let removed = self.graph.remove_unread(vec![node]);
        if !removed.is_empty() {
            let names = removed.iter().map(|(_, name)| name.to_string()).collect();
            self.record(names, "removed: no graph output needs it".to_owned());
        }
    }

    /// Records why a rewrite of these nodes is not made.
    pub fn refuse(&mut self, nodes: &[NodeId], reason: impl Into<String>) {
        let nodes = self.names(nodes);
        self.report.refusals.push(Refusal { pass: self.pass, nodes, reason: reason.into() });
    }

    /// The source nodes of all of these, in order, each once.
    #[must_use]
    pub fn provenance(&self, nodes: &[NodeId]) -> Provenance {
        let nodes = nodes.iter().filter_map(|node| self.graph.node(*node).ok());
        let mut known = FxHashSet::default();
        nodes.flat_map(|node| node.provenance.iter()).filter(|name| known.insert(*name)).cloned().collect()
    }

    fn names(&self, nodes: &[NodeId]) -> Vec<String> {
        self.provenance(nodes).iter().map(|name| name.to_string()).collect()
    }

    fn record(&mut self, nodes: Vec<String>, result: String) {
        self.left -= 1;
        self.report.rewrites.push(Rewrite { pass: self.pass, nodes, result });
    }
}

/// Runs passes over a graph, in order. `observe` sees the graph after each pass that ran. The graph is then at the stage
/// that all of the passes together reach, unless some were left out or stopped: then it keeps the stage it had.
///
/// # Errors
/// Where a disabled pass does not exist, or a pass breaks the graph or does not settle.
pub fn run(
    mut graph: Graph,
    passes: &[Pass],
    reaches: Stage,
    options: &PassOptions,
    observe: &mut dyn FnMut(&Pass, &Graph),
) -> Result<Optimized, PassError> {
    check_names(passes, &options.disabled)?;
    let mut report = PassReport::default();
    let limit = options.stop_after.unwrap_or(usize::MAX);
    for pass in passes.iter().filter(|pass| !options.disabled.iter().any(|name| name == pass.name)) {
        let failed = |source| PassError::Failed { pass: pass.name, source };
        let start = Instant::now();
        let nodes_before = graph.len();
        let done = report.rewrites.len();
        let order = graph.order().map_err(failed)?;
        let left = limit.saturating_sub(done);
        let mut rewriter =
            Rewriter { graph: &mut graph, report: &mut report, pass: pass.name, left, added: Vec::new() };
        for start in order {
            if rewriter.left == 0 {
                break;
            }
            rewriter.visit(pass, start)?;
        }
        if options.verify_each {
            graph.verify().map_err(failed)?;
        }
        let rewrites = report.rewrites.len() - done;
        let time = start.elapsed();
        tracing::debug!(pass = pass.name, rewrites, nodes_before, nodes_after = graph.len(), ?time);
        report.passes.push(PassSummary { pass: pass.name, rewrites, nodes_before, nodes_after: graph.len(), time });
        observe(pass, &graph);
    }
    if options.disabled.is_empty() && options.stop_after.is_none() {
        graph.set_stage(reaches);
    }
    let last = passes.last().map_or("none", |pass| pass.name);
    graph.verify().map_err(|source| PassError::Failed { pass: last, source })?;
    Ok(Optimized { graph, report })
}

fn check_names(passes: &[Pass], names: &[String]) -> Result<(), PassError> {
    for name in names {
        if !passes.iter().any(|pass| pass.name == name) {
            let known: Vec<&'static str> = passes.iter().map(|pass| pass.name).collect();
            let near = known.iter().copied().min_by_key(|known| distance(known, name));
            let near = near.filter(|near| distance(near, name) <= name.len().max(3) / 2);
            return Err(PassError::Unknown { name: name.clone(), near, known });
        }
    }
    Ok(())
}

/// The edit distance between two names.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

    use incept_ir::ops::{Flatten, Op, Relu};

    use super::*;
    use crate::passes;

    fn graph() -> Graph {
        incept_ir::text::parse(
            r#"graph "g" {
                input %0 "x": f32[N,2]
                %1 "a" = identity(%0)
                %2 "b" = relu(%1)
                %3 "c" = dropout(%2)
                output "y" = %3
            }"#,
        )
        .unwrap()
    }

    fn optimize(options: &PassOptions) -> Result<Optimized, PassError> {
        crate::pipeline::optimize(graph(), options, &mut |_, _| {})
    }

    #[test]
    fn unknown_passes_are_errors_with_suggestions() {
        let disabled = |name: &str| PassOptions { disabled: vec![name.into()], ..PassOptions::default() };
        let all = "the passes are dead_code, fold_constants, canonicalize, common_subexpressions, \
                   fold_batch_norm, fold_input_normalisation, fuse_residual_add, fuse_activation, merge_sibling_convs";
        assert_eq!(
            optimize(&disabled("canonicalise")).unwrap_err().to_string(),
            format!("there is no pass `canonicalise` (did you mean `canonicalize`?); {all}")
        );
        assert_eq!(optimize(&disabled("zzz")).unwrap_err().to_string(), format!("there is no pass `zzz`; {all}"));
    }

    #[test]
    fn the_stage_is_reached_when_all_passes_ran_to_the_end() {
        let stage = |options: &PassOptions| optimize(options).unwrap().graph.stage();
        assert_eq!(stage(&PassOptions::default()), Stage::Optimized);
        let disabled = PassOptions { disabled: vec!["canonicalize".into()], ..PassOptions::default() };
        assert_eq!(stage(&disabled), Stage::Imported);
        assert_eq!(stage(&PassOptions { stop_after: Some(1), ..PassOptions::default() }), Stage::Imported);
    }

    #[test]
    fn stop_after_counts_rewrites_of_all_passes() {
        for (stop_after, nodes) in [(0, 4), (1, 3), (2, 2), (3, 2)] {
            let options = PassOptions { stop_after: Some(stop_after), ..PassOptions::default() };
            let optimized = optimize(&options).unwrap();
            assert_eq!((optimized.graph.len(), optimized.report.rewrites.len()), (nodes, stop_after.min(2)));
        }
    }

    #[test]
    fn the_observer_sees_the_graph_after_each_enabled_pass() {
        let mut seen = Vec::new();
        let options = PassOptions { disabled: vec!["fold_constants".into()], ..PassOptions::default() };
        let optimized =
            crate::pipeline::optimize(graph(), &options, &mut |pass, graph| seen.push((pass.name, graph.len())))
                .unwrap();
        let names: Vec<&str> =
            crate::pipeline::PASSES.iter().map(|pass| pass.name).filter(|name| *name != "fold_constants").collect();
        assert_eq!(seen.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
        assert!(seen.iter().all(|(name, nodes)| *nodes == if *name == "dead_code" { 4 } else { 2 }), "{seen:?}");
        let summaries: Vec<_> = optimized.report.passes.iter().map(|pass| (pass.pass, pass.nodes_after)).collect();
        assert_eq!(summaries, seen);
    }

    #[test]
    fn a_pass_that_does_not_settle_is_an_error() {
        fn again(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
            let graph = rewriter.graph();
            let Op::Relu(_) = graph.node(id)?.op else { return Ok(()) };
            let (old, input) = (graph.output(id, 0)?, graph.node_inputs(id)[0]);
            let mut patch = rewriter.patch("again");
            let new = patch.node(Relu, "r", vec![input.into()], rewriter.provenance(&[id]));
            patch.replace(old, new);
            rewriter.apply(patch, &[id])
        }
        let pass = Pass { name: "again", description: "never ends", rule: again };
        let error = run(graph(), &[pass], Stage::Imported, &PassOptions::default(), &mut |_, _| {}).unwrap_err();
        assert!(matches!(&error, PassError::Endless { pass: "again", .. }), "{error}");
    }

    #[test]
    fn a_pass_that_breaks_a_type_is_an_error() {
        fn flatten(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
            let graph = rewriter.graph();
            let Op::Relu(_) = graph.node(id)?.op else { return Ok(()) };
            let (old, input) = (graph.output(id, 0)?, graph.node_inputs(id)[0]);
            let mut patch = rewriter.patch("wrong");
            let new = patch.node(Flatten { axis: 2 }, "f", vec![input.into()], rewriter.provenance(&[id]));
            patch.replace(old, new);
            rewriter.apply(patch, &[id])
        }
        let pass = Pass { name: "wrong", description: "flattens too much", rule: flatten };
        let error = run(graph(), &[pass], Stage::Imported, &PassOptions::default(), &mut |_, _| {}).unwrap_err();
        let message = "pass `wrong`: patch by wrong: %2 of type f32[N,2] would become %4 of type f32[2N,1]";
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn reports_serialise_with_stable_keys() {
        let report = optimize(&PassOptions::default()).unwrap().report;
        assert_eq!((report.rewrites.len(), report.refusals.len()), (2, 1));
        assert_eq!(report.rewrites[0].nodes, ["a"]);
        assert_eq!(report.refusals[0].pass, passes::fuse_activation::PASS.name);
    }
}
