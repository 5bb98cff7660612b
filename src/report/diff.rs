//! What changed between two graphs, by provenance.
//!
//! Nodes of the two graphs belong together where they stand for a common source node; [`Change`]s are the classes of that
//! relation. So the convolution of an optimised graph belongs to the convolution, the BatchNorm and the Relu that it came
//! from, whatever its name. Constants are no nodes here: a node whose weights differ says so.

use std::fmt::Write as _;

use incept_ir::graph::{Graph, Node};
use incept_ir::ids::NodeId;
use incept_ir::ops::Op;
use incept_ir::tensor::Tensor;
use incept_ir::text::attribute_text;
use rustc_hash::FxHashMap;
use serde_json::{Value, json};

/// What happened to some nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Several became one.
    Merged,
    /// One became several.
    Split,
    /// Several became several others.
    Rewritten,
    /// One became another.
    Changed,
    /// There is nothing of it left.
    Removed,
    /// It was not there before.
    Added,
    /// It is the same.
    Unchanged,
}

impl Kind {
    /// All kinds, in the order in which they are told.
    pub const ALL: [Self; 7] =
        [Self::Merged, Self::Split, Self::Rewritten, Self::Changed, Self::Removed, Self::Added, Self::Unchanged];

    /// The kind's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Merged => "merged",
            Self::Split => "split",
            Self::Rewritten => "rewritten",
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Added => "added",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Nodes of both graphs that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: Kind,
    /// The nodes of the first graph, in the order in which they run.
    pub before: Vec<NodeId>,
    /// The nodes of the second graph, in the order in which they run.
    pub after: Vec<NodeId>,
    /// What differs, in words; for one node that became another.
    pub details: Vec<String>,
}

/// What changed, in the order of the graphs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// Every node is in exactly one.
    pub changes: Vec<Change>,
}

impl Diff {
    /// Whether nothing but names of values differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.iter().all(|change| change.kind == Kind::Unchanged)
    }

    /// How many changes there are of a kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.changes.iter().filter(|change| change.kind == kind).count()
    }
}

/// Compares two graphs: two models, or two stages of one.
#[must_use]
pub fn diff(before: &Graph, after: &Graph) -> Diff {
    let sides = [nodes(before), nodes(after)];
    let mut classes = Classes::new(sides[0].len() + sides[1].len());
    let mut owners: FxHashMap<&str, usize> = FxHashMap::default();
    for (index, (_, node)) in sides.iter().flatten().enumerate() {
        for name in sources(node) {
            let owner = *owners.entry(name).or_insert(index);
            classes.join(owner, index);
        }
    }
    let mut places: FxHashMap<usize, usize> = FxHashMap::default();
    let mut changes: Vec<Change> = Vec::new();
    for (index, (id, _)) in sides.iter().flatten().enumerate() {
        let place = *places.entry(classes.find(index)).or_insert_with(|| {
            changes.push(Change { kind: Kind::Added, before: Vec::new(), after: Vec::new(), details: Vec::new() });
            changes.len() - 1
        });
        let change = &mut changes[place];
        if index < sides[0].len() { change.before.push(*id) } else { change.after.push(*id) }
    }
    for change in &mut changes {
        (change.kind, change.details) = match (change.before.as_slice(), change.after.as_slice()) {
            ([], _) => (Kind::Added, Vec::new()),
            (_, []) => (Kind::Removed, Vec::new()),
            ([one], [other]) => match differences(before, *one, after, *other) {
                details if details.is_empty() => (Kind::Unchanged, details),
                details => (Kind::Changed, details),
            },
            (these, those)
                if these.len() == those.len()
                    && these.iter().zip(those).all(|(a, b)| differences(before, *a, after, *b).is_empty()) =>
            {
                (Kind::Unchanged, Vec::new())
            }
            ([_], _) => (Kind::Split, Vec::new()),
            (_, [_]) => (Kind::Merged, Vec::new()),
            _ => (Kind::Rewritten, Vec::new()),
        };
    }
    Diff { changes }
}

/// The nodes that compute, in the order in which they run.
fn nodes(graph: &Graph) -> Vec<(NodeId, &Node)> {
    let order = graph.order().unwrap_or_else(|_| graph.nodes().map(|(id, _)| id).collect());
    let nodes = order.into_iter().filter_map(|id| Some((id, graph.node(id).ok()?)));
    nodes.filter(|(_, node)| !matches!(node.op, Op::Constant(_))).collect()
}

/// The source nodes of a node: its provenance, or its own name where it has none.
pub(super) fn sources(node: &Node) -> impl Iterator<Item = &str> {
    let own = node.provenance.is_empty().then_some(&node.name);
    node.provenance.iter().chain(own).map(|name| &**name)
}

/// How one node differs from another, in words.
fn differences(before: &Graph, one: NodeId, after: &Graph, other: NodeId) -> Vec<String> {
    let (Ok(a), Ok(b)) = (before.node(one), after.node(other)) else { return Vec::new() };
    let mut found = Vec::new();
    if a.op.name() == b.op.name() {
        let (had, has) = (a.op.attributes(), b.op.attributes());
        for (name, old) in &had {
            match has.iter().find(|(found, _)| found == name) {
                Some((_, new)) if new == old => {}
                Some((_, new)) => found.push(format!("{name} {} became {}", attribute_text(old), attribute_text(new))),
                None => found.push(format!("{name} {} became the default", attribute_text(old))),
            }
        }
        let more = has.iter().filter(|(name, _)| !had.iter().any(|(found, _)| found == name));
        found.extend(more.map(|(name, new)| format!("{name} became {}", attribute_text(new))));
    } else {
        found.push(format!("{} became {}", a.op.name(), b.op.name()));
    }
    let types = |graph: &Graph, node: &Node| -> Vec<String> {
        node.outputs.iter().map(|value| graph.ty(*value).map_or_else(|_| "?".into(), ToString::to_string)).collect()
    };
    let (had, has) = (types(before, a), types(after, b));
    if had != has {
        found.push(format!("type {} became {}", had.join(", "), has.join(", ")));
    }
    let (had, has) = (constants(before, one), constants(after, other));
    if had.len() != has.len() {
        found.push(format!("{} constant inputs became {}", had.len(), has.len()));
    }
    for (slot, (old, new)) in had.iter().zip(&has).enumerate() {
        if old.ty() != new.ty() {
            found.push(format!("constant {slot} of type {} became {}", old.ty(), new.ty()));
        } else if old.bytes() != new.bytes() {
            found.push(format!("the values of constant {slot} ({}) differ", old.ty()));
        }
    }
    if a.name != b.name {
        found.push(format!("its name `{}` became `{}`", a.name, b.name));
    }
    found
}

fn constants(graph: &Graph, id: NodeId) -> Vec<&Tensor> {
    graph.node_inputs(id).into_iter().filter_map(|value| graph.constant(value)).collect()
}

/// Classes of indices that were joined; each is named by its smallest.
struct Classes(Vec<usize>);

impl Classes {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn find(&mut self, mut index: usize) -> usize {
        while self.0[index] != index {
            self.0[index] = self.0[self.0[index]];
            index = self.0[index];
        }
        index
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.find(one), self.find(other));
        self.0[one.max(other)] = one.min(other);
    }
}

/// The changes as JSON; unchanged nodes are only counted:
///
/// ```text
/// {"schema": 1, "counts": {"merged": 57, ...},
///  "changes": [{"kind", "before": [{"node", "op"}], "after": [{"node", "op"}], "details": [...]}]}
/// ```
#[must_use]
pub fn json(diff: &Diff, before: &Graph, after: &Graph) -> Value {
    let list = |graph: &Graph, ids: &[NodeId]| -> Vec<Value> {
        let nodes = ids.iter().filter_map(|id| graph.node(*id).ok());
        nodes.map(|node| json!({"node": &*node.name, "op": node.op.name()})).collect()
    };
    let changed = diff.changes.iter().filter(|change| change.kind != Kind::Unchanged);
    let changes: Vec<Value> = changed
        .map(|change| {
            json!({
                "kind": change.kind.name(),
                "before": list(before, &change.before),
                "after": list(after, &change.after),
                "details": change.details,
            })
        })
        .collect();
    let counts: serde_json::Map<String, Value> =
        Kind::ALL.into_iter().map(|kind| (kind.name().to_owned(), diff.count(kind).into())).collect();
    json!({"schema": incept_ir::plan::json::SCHEMA, "counts": counts, "changes": changes})
}

/// The changes as text, by kind, in the order of the graphs.
#[must_use]
pub fn text(diff: &Diff, before: &Graph, after: &Graph) -> String {
    let mut text = String::new();
    for kind in Kind::ALL {
        let count = diff.count(kind);
        if count == 0 {
            continue;
        }
        let _ = writeln!(text, "{} ({count})", kind.name());
        if kind == Kind::Unchanged {
            continue;
        }
        for change in diff.changes.iter().filter(|change| change.kind == kind) {
            let (old, new) = (list(before, &change.before), list(after, &change.after));
            let _ = match kind {
                Kind::Removed => writeln!(text, "  {old}"),
                Kind::Added => writeln!(text, "  {new}"),
                Kind::Changed => writeln!(text, "  {new}: {}", change.details.join("; ")),
                _ => writeln!(text, "  {new} <- {old}"),
            };
        }
    }
    text
}

/// Nodes for people: `conv "conv1", relu "relu1"`.
fn list(graph: &Graph, ids: &[NodeId]) -> String {
    let nodes = ids.iter().filter_map(|id| graph.node(*id).ok());
    nodes.map(|node| format!("{} \"{}\"", node.op.name(), node.name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use incept_ir::text::parse;

    use super::*;

    const BEFORE: &str = r#"graph "g" {
        input %0 "x": f32[N,1,4,4]
        constant %1 "w": f32[2,1,1,1] = [1.0, 2.0]
        %2 "conv" = conv(%0, %1)
        %3 "act" = relu(%2)
        %4 "drop" = dropout(%3)
        %5 "pool" = max_pool(%4) {kernel=[2,2]}
        output "y" = %5
    }"#;

    #[test]
    fn nodes_belong_together_by_the_sources_that_they_stand_for() {
        let before = parse(BEFORE).unwrap();
        let after = parse(
            r#"graph "g" stage optimized {
                input %0 "x": f32[N,1,4,4]
                constant %1 "w": f32[2,1,1,1] = [1.0, 3.0]
                %2 "conv" = conv(%0, %1) {activation=relu} from "conv", "act"
                %3 "other" = max_pool(%2) {kernel=[3,3], pads=[1,1,0,0]} from "pool"
                %4 "new" = relu(%3)
                output "y" = %4
            }"#,
        )
        .unwrap();
        let found = diff(&before, &after);
        insta::assert_snapshot!(text(&found, &before, &after), @r#"
        merged (1)
          conv "conv" <- conv "conv", relu "act"
        changed (1)
          max_pool "other": kernel [2,2] became [3,3]; pads became [1,1,0,0]; its name `pool` became `other`
        removed (1)
          dropout "drop"
        added (1)
          relu "new"
        unchanged (1)
        "#);
        assert!(!found.is_empty());
        let value = json(&found, &before, &after);
        assert_eq!(value["counts"]["merged"], 1);
        assert_eq!(value["changes"].as_array().unwrap().len(), 4);
    }

    #[test]
    fn a_graph_does_not_differ_from_itself_but_does_in_its_weights() {
        let (a, b) = (parse(BEFORE).unwrap(), parse(&BEFORE.replace("2.0", "2.5")).unwrap());
        assert!(diff(&a, &a).is_empty());
        let found = diff(&a, &b);
        assert_eq!(
            text(&found, &a, &b),
            "changed (1)\n  conv \"conv\": the values of constant 0 (f32[2,1,1,1]) differ\nunchanged (4)\n"
        );
    }

    #[test]
    fn splits_and_exchanges_are_told_apart() {
        let a = parse(r#"graph "g" { input %0 "x": f32[2] %1 "a" = relu(%0) %2 "b" = relu(%1) output "y" = %2 }"#);
        let split = r#"graph "g" { input %0 "x": f32[2] %1 "a" = relu(%0) %2 "c" = relu(%1) from "a"
            %3 "b" = relu(%2) output "y" = %3 }"#;
        let mixed = r#"graph "g" { input %0 "x": f32[2] %1 "d" = relu(%0) from "a", "b" %2 "e" = relu(%1) from "b"
            output "y" = %2 }"#;
        let a = a.unwrap();
        for (text, kind) in [(split, Kind::Split), (mixed, Kind::Rewritten)] {
            let b = parse(text).unwrap();
            assert_eq!(diff(&a, &b).count(kind), 1, "{kind:?}");
        }
    }
}
