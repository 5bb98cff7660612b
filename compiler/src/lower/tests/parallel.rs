//! Parallel regions: which steps share one, and what that costs.

use incept_ir::models;

use super::networks::{build, lowered, optimized};
use super::*;

/// The names of the steps of each region.
fn regions(plan: &Plan) -> Vec<Vec<&str>> {
    plan.regions.iter().map(|region| region.steps().map(|step| plan.steps[step].name.as_str()).collect()).collect()
}

#[test]
fn a_module_takes_two_regions() {
    let mut net = Net::new();
    let x = net.input(&[2, 3, 6, 6]);
    // The peak is here, so the modules need not save memory.
    let stem = net.conv(x, 60, 3);
    let x = net.conv(stem, 4, 1);
    let joined = inception(&mut net, x);
    let joined = inception(&mut net, joined);
    let mean = net.add(GlobalAvgPool, &[joined]);
    net.output(mean);
    let plan = check(&net.graph).plan;
    // First the pool and the convolutions on the module's input, then those on their results.
    assert_eq!(plan.regions.iter().map(|region| region.steps().len()).collect::<Vec<_>>(), [1, 1, 3, 2, 3, 2, 1]);
    let apart = lower(&net.graph, &options(&["parallel_regions"])).unwrap();
    assert_eq!(apart.regions.len(), apart.steps.len());
    assert_eq!(apart.memory.arena_bytes, plan.memory.arena_bytes);
}

#[test]
fn what_runs_in_place_waits_for_the_other_readers() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 4, 4]);
    let a = net.conv(x, 4, 3);
    let relu = net.add(Relu, &[a]);
    let pooled = net.add(GlobalAvgPool, &[a]);
    let b = net.add(Mul, &[relu, pooled]);
    let last = net.add(GlobalAvgPool, &[b]);
    net.output(last);
    let plan = check(&net.graph).plan;
    let (relu, pool) = ("relu5", "global_avg_pool6");
    for region in regions(&plan) {
        assert!(!(region.contains(&relu) && region.contains(&pool)), "{}", text::print(&plan));
    }
    // Where it has a buffer of its own, they run at once.
    let plan = lower(&net.graph, &options(&["in_place"])).unwrap();
    assert!(regions(&plan).contains(&vec![relu, pool]), "{}", text::print(&plan));
}

#[test]
fn regions_do_not_raise_the_peak() {
    // Chains that begin wide and end narrow: all at once would hold all of the wide values.
    let mut net = Net::new();
    let x = net.input(&[1, 2, 8, 8]);
    let mut sum = None;
    for _ in 0..4 {
        let wide = net.conv(x, 64, 1);
        let narrow = net.conv(wide, 1, 1);
        sum = Some(match sum {
            Some(sum) => net.add(Add, &[sum, narrow]),
            None => narrow,
        });
    }
    net.output(sum.unwrap());
    let plan = check(&net.graph).plan;
    let apart = lower(&net.graph, &options(&["parallel_regions"])).unwrap();
    assert_eq!(plan.memory.arena_bytes, apart.memory.arena_bytes);
    assert!(plan.memory.proven_optimal);
}

#[test]
fn networks_run_their_branches_at_once_in_the_same_arena() {
    for name in models::names() {
        for (form, graph) in [("raw", build(name)), ("optimized", optimized(name))] {
            let wide = lowered(&graph, 1, &[]).plan;
            let apart = lowered(&graph, 1, &["parallel_regions"]).plan;
            assert!(wide.memory.arena_bytes <= apart.memory.arena_bytes, "{form} {name}");
            assert_eq!(wide.steps.len(), apart.steps.len());
            if name.contains("inception") || name.starts_with("googlenet") {
                assert!(wide.regions.len() < apart.regions.len(), "{form} {name}");
            }
        }
    }
    // Stem 5, two pools between modules, two regions each of nine modules, the pool and the classifier.
    let plan = lowered(&optimized("googlenet"), 1, &[]).plan;
    assert_eq!(plan.regions.len(), 5 + 2 + 2 * 9 + 2, "{}", text::print(&plan));
}
