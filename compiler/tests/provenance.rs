//! Every node, after every pass, and every step of a plan leads back to nodes of the source.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::HashSet;

use incept_compiler::lower::{LowerOptions, lower_with_report};
use incept_compiler::pass::PassOptions;
use incept_compiler::pipeline;
use incept_ir::graph::Graph;
use incept_ir::models::{self, ModelOptions};
use incept_ir::testing::random_graph;

fn names(graph: &Graph) -> HashSet<String> {
    graph.nodes().map(|(_, node)| node.name.to_string()).collect()
}

/// Checks a graph after a pass; gives how many nodes stand for more than one.
fn check(after: &str, graph: &Graph, sources: &HashSet<String>) -> usize {
    for (id, node) in graph.nodes() {
        assert!(!node.provenance.is_empty(), "{after}: {} stands for nothing", graph.label(id));
        for name in node.provenance.iter() {
            assert!(sources.contains(&**name), "{after}: {} stands for `{name}`, which there is not", graph.label(id));
        }
        let once: HashSet<&str> = node.provenance.iter().map(|name| &**name).collect();
        assert_eq!(once.len(), node.provenance.len(), "{after}: {} names a source twice", graph.label(id));
    }
    graph.nodes().filter(|(_, node)| node.provenance.len() > 1).count()
}

/// Follows a graph through all passes and into a plan; gives how many optimised nodes stand for more than one.
fn follow(graph: &Graph) -> usize {
    let sources = names(graph);
    let observe = &mut |pass: &incept_compiler::pass::Pass, graph: &Graph| {
        check(pass.name, graph, &sources);
    };
    let optimized = pipeline::optimize(graph.clone(), &PassOptions::default(), observe).unwrap();
    let concrete = optimized.graph.with_batch(1).unwrap();
    // Not every random graph has a compiled form; those that have are enough, and are counted by the caller.
    if let Ok(lowered) = lower_with_report(&concrete, &LowerOptions::default()) {
        for step in &lowered.plan.steps {
            assert!(!step.nodes.is_empty(), "step `{}` stands for nothing", step.name);
            for name in &step.nodes {
                assert!(sources.contains(name), "step `{}` stands for `{name}`, which there is not", step.name);
            }
        }
    }
    check("the last pass", &optimized.graph, &sources)
}

#[test]
fn built_in_models_keep_their_provenance() {
    for name in models::names() {
        let graph = models::build(name, &ModelOptions { seed: 0, training_heads: false }).unwrap();
        assert!(follow(&graph) > 0, "{name}: nothing was fused");
    }
}

#[test]
fn random_graphs_keep_their_provenance() {
    let fused: usize = (0..200).map(|seed| follow(&random_graph(seed, 9).unwrap())).sum();
    assert!(fused > 100, "only {fused} nodes stand for more than one");
}
