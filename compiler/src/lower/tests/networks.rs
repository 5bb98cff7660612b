//! The built-in networks: what their plans look like in sum, raw and optimised.

use std::fmt::Write as _;

use incept_ir::graph::Graph;
use incept_ir::models::{self, ModelOptions};
use incept_ir::plan::text;

use super::{check_plan, options};
use crate::lower::{LowerOptions, Lowered, lower_with_report};
use crate::pass::PassOptions;
use crate::pipeline;

pub(super) fn build(name: &str) -> Graph {
    models::build(name, &ModelOptions::default()).unwrap()
}

pub(super) fn optimized(name: &str) -> Graph {
    pipeline::optimize(build(name), &PassOptions::default(), &mut |_, _| {}).unwrap().graph
}

pub(super) fn lowered(graph: &Graph, batch: usize, disabled: &[&str]) -> Lowered {
    let graph = graph.with_batch(batch).unwrap();
    lower_with_report(&graph, &LowerOptions { batch, symbolic_batch: true, ..options(disabled) }).unwrap()
}

#[test]
fn googlenet_copies_nothing_and_its_arena_is_optimal() {
    let graph = optimized("googlenet");
    let Lowered { plan, report } = lowered(&graph, 1, &[]);
    assert_eq!(plan.copied_bytes(), 0);
    assert!(report.refusals.is_empty(), "{:#?}", report.refusals);
    assert!(plan.memory.proven_optimal);
    // The first pool: 64 × 112 × 112 in, 64 × 56 × 56 out.
    assert_eq!(plan.memory.arena_bytes, 4_014_080);
    let kinds = plan.steps_by_kind();
    for gone in ["concat", "copy", "layout", "pad", "relu", "batch_norm"] {
        assert_eq!(kinds.get(gone), None);
    }
    // Four times two images, whose activations stay in the caches.
    let plan = lowered(&graph, 8, &[]).plan;
    assert_eq!((plan.parts.get(), plan.memory.arena_bytes), (4, 2 * 4_014_080));
    let plan = lowered(&graph, 8, &["split_batch"]).plan;
    assert_eq!((plan.parts.get(), plan.memory.arena_bytes), (1, 8 * 4_014_080));
    // Without aliasing each module is copied.
    let plan = lowered(&graph, 1, &["alias_concat"]).plan;
    assert_eq!(plan.steps_by_kind().get("concat"), Some(&9));
}

#[test]
fn inception_v3_and_the_papers_form_copy_nothing() {
    // Convolutions: 94 less two in each of nine modules and one in Mixed_7a; 57 less two in each of nine.
    for (name, convs, concats) in [("inception-v3", 75, 15), ("googlenet-lrn", 39, 9)] {
        let graph = optimized(name);
        let Lowered { plan, report } = lowered(&graph, 1, &[]);
        assert_eq!(plan.copied_bytes(), 0, "{name}");
        assert!(report.refusals.is_empty(), "{name}: {:#?}", report.refusals);
        let kinds = plan.steps_by_kind();
        assert_eq!(kinds.get("conv"), Some(&convs), "{name}");
        for gone in ["concat", "copy", "layout", "pad", "relu", "batch_norm"] {
            assert_eq!(kinds.get(gone), None, "{name}");
        }
        let plan = lowered(&graph, 1, &["alias_concat"]).plan;
        assert_eq!(plan.steps_by_kind().get("concat"), Some(&concats), "{name}");
    }
}

#[test]
fn summaries_of_the_networks() {
    let mut all = String::new();
    for name in models::names() {
        for (form, graph) in [("raw", build(name)), ("optimized", optimized(name))] {
            let _ = writeln!(all, "{form} {}", text::summary(&lowered(&graph, 1, &[]).plan));
        }
    }
    insta::assert_snapshot!(all);
}

#[test]
fn small_networks_compute_what_the_interpreter_does() {
    let small: Vec<&str> = models::names().filter(|name| name.starts_with("tiny")).collect();
    assert!(!small.is_empty());
    for name in small {
        for graph in [build(name), optimized(name)] {
            for disabled in [&[][..], &["alias_concat", "in_place"]] {
                check_plan(&graph.with_batch(2).unwrap(), &lowered(&graph, 2, disabled).plan);
            }
        }
    }
}
