//! What a pass is, and the manager that runs passes.
//!
//! A pass is a rule that looks at one node and may propose a [`Patch`]. The manager visits every node in topological
//! order, applies what the rule proposes, and records each rewrite and each refusal with its reason. Depends on
//! `incept-ir` alone.
//!
//! Invariants:
//! 1. A pass ends: every node that existed when it began is visited once, in an order fixed then.
//! 2. The graph changes only through patches, which are checked as a whole and applied as a whole.
//! 3. After the last pass the graph is verified; with [`PassOptions::verify_each`], after every pass.
//! 4. The same graph and options give the same result and the same report, times apart.

use std::time::{Duration, Instant};

use incept_ir::graph::{Graph, GraphError, Patch, Provenance, Stage};
use incept_ir::ids::NodeId;
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
}

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
}

impl Rewriter<'_> {
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
        self.graph.apply(patch)?;
        self.record(nodes, result);
        Ok(())
    }

    /// Removes a node that nothing reads, and what only it reads.
    pub fn remove_unread(&mut self, node: NodeId) {
        let read = |value: &_| self.graph.is_output(*value) || !self.graph.uses(*value).is_empty();
        if self.left == 0 || self.graph.node(node).is_ok_and(|node| node.outputs.iter().any(read)) {
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
        let mut all: Vec<std::sync::Arc<str>> = Vec::new();
        for node in nodes.iter().filter_map(|node| self.graph.node(*node).ok()) {
            for name in node.provenance.iter() {
                if !all.contains(name) {
                    all.push(name.clone());
                }
            }
        }
        all.into()
    }

    fn names(&self, nodes: &[NodeId]) -> Vec<String> {
        self.provenance(nodes).iter().map(|name| name.to_string()).collect()
    }

    fn record(&mut self, nodes: Vec<String>, result: String) {
        self.left -= 1;
        self.report.rewrites.push(Rewrite { pass: self.pass, nodes, result });
    }
}

/// Runs passes over a graph, in order. `observe` sees the graph after each pass that ran.
///
/// # Errors
/// Where a disabled pass does not exist, or a pass breaks the graph.
pub fn run(
    mut graph: Graph,
    passes: &[Pass],
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
        let mut rewriter =
            Rewriter { graph: &mut graph, report: &mut report, pass: pass.name, left: limit.saturating_sub(done) };
        for node in order {
            if rewriter.left == 0 {
                break;
            }
            if rewriter.graph.node(node).is_ok() {
                (pass.rule)(&mut rewriter, node).map_err(failed)?;
            }
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
        graph.set_stage(Stage::Optimized);
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
