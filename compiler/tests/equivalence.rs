//! Random legal graphs mean the same after each pass and after all of them, as the reference interpreter sees it.
//!
//! `INCEPT_EQUIVALENCE_GRAPHS` sets how many graphs are tried, `INCEPT_EQUIVALENCE_SEED` the first seed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use incept_compiler::pass::{Optimized, PassOptions};
use incept_compiler::pipeline::{self, PASSES};
use incept_ir::graph::{Graph, Stage};
use incept_ir::interp;
use incept_ir::tensor::Tensor;
use incept_ir::testing::{random_graph, random_inputs};
use incept_ir::text::{Constants, PrintOptions, print};

/// Passes that keep every bit (the sign of a zero aside); the others round weights anew.
const EXACT: [&str; 5] =
    ["dead_code", "fold_constants", "canonicalize", "common_subexpressions", "merge_sibling_convs"];

/// What rounding weights anew may change, as a part of the largest value of an output.
const TOLERANCE: f32 = 1e-5;

/// Where the largest value of an output is less than this, a part of this instead: inputs and weights are of order 1, so
/// what cancels to less keeps their rounding.
const LEAST_MAGNITUDE: f32 = 0.05;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn seeds() -> std::ops::Range<u64> {
    let first = number("INCEPT_EQUIVALENCE_SEED", 0);
    first..first + number("INCEPT_EQUIVALENCE_GRAPHS", 400)
}

fn only(names: &[&str]) -> PassOptions {
    let left_out = PASSES.iter().filter(|pass| !names.contains(&pass.name)).map(|pass| pass.name.to_owned());
    PassOptions { disabled: left_out.collect(), verify_each: true, stop_after: None }
}

fn optimize(graph: &Graph, options: &PassOptions) -> Optimized {
    pipeline::optimize(graph.clone(), options, &mut |_, _| {}).unwrap()
}

fn text(graph: &Graph) -> String {
    print(graph, &PrintOptions { constants: Constants::Full })
}

/// The largest difference as a part of the largest magnitude; infinite where one is a NaN and the other is not.
fn difference(expected: &[Tensor], found: &[Tensor]) -> f32 {
    assert_eq!(expected.len(), found.len());
    let mut largest = 0.0f32;
    for (expected, found) in expected.iter().zip(found) {
        assert_eq!(expected.ty(), found.ty());
        let (expected, found) = (expected.as_f32().unwrap(), found.as_f32().unwrap());
        let magnitude = expected.iter().filter(|x| x.is_finite()).fold(0.0f32, |most, x| most.max(x.abs()));
        for (a, b) in expected.iter().zip(found.iter()) {
            if a != b && !(a.is_nan() && b.is_nan()) {
                let part = (a - b).abs() / magnitude.max(LEAST_MAGNITUDE);
                largest = largest.max(if part.is_finite() { part } else { f32::INFINITY });
            }
        }
    }
    largest
}

#[test]
fn each_pass_alone_and_all_together_keep_the_meaning() {
    let mut worst = 0.0f32;
    let mut rewrites = std::collections::BTreeMap::<&str, usize>::new();
    for seed in seeds() {
        let graph = random_graph(seed, 9).unwrap();
        let inputs = random_inputs(&graph, seed, 2).unwrap();
        let expected =
            interp::run(&graph, &inputs).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", text(&graph)));
        let all: Vec<&str> = PASSES.iter().map(|pass| pass.name).collect();
        for names in all.iter().map(std::slice::from_ref).chain([all.as_slice()]) {
            let optimized = optimize(&graph, &only(names));
            let found = interp::run(&optimized.graph, &inputs).unwrap();
            let difference = difference(&expected, &found);
            let exact = names.iter().all(|name| EXACT.contains(name));
            assert!(
                difference <= if exact { 0.0 } else { TOLERANCE },
                "seed {seed}, {names:?}: {difference}\n{}\n{}\n{:#?}",
                text(&graph),
                text(&optimized.graph),
                optimized.report.rewrites
            );
            worst = worst.max(difference);
            for rewrite in &optimized.report.rewrites {
                *rewrites.entry(rewrite.pass).or_default() += 1;
            }
        }
    }
    println!("largest difference {worst:e} of the largest value; rewrites {rewrites:?}");
    // The generator must reach every pass, or the test asserts nothing.
    for pass in PASSES {
        assert!(rewrites.get(pass.name).is_some_and(|count| *count > 50), "{} is hardly ever used", pass.name);
    }
}

#[test]
fn nothing_is_left_to_do_after_the_pipeline() {
    for seed in seeds().take(150) {
        let graph = random_graph(seed, 9).unwrap();
        let once = optimize(&graph, &PassOptions::default());
        assert_eq!(once.graph.stage(), Stage::Optimized);
        let twice = optimize(&once.graph, &PassOptions::default());
        assert_eq!(twice.report.rewrites, [], "seed {seed}\n{}", text(&once.graph));
        assert_eq!(text(&once.graph), text(&twice.graph));
    }
}

#[test]
fn stopping_after_any_number_of_rewrites_keeps_the_meaning() {
    for seed in seeds().take(40) {
        let graph = random_graph(seed, 7).unwrap();
        let inputs = random_inputs(&graph, seed, 1).unwrap();
        let expected = interp::run(&graph, &inputs).unwrap();
        let all = optimize(&graph, &PassOptions::default()).report.rewrites;
        for count in 0..=all.len() {
            let options = PassOptions { stop_after: Some(count), verify_each: true, ..PassOptions::default() };
            let stopped = optimize(&graph, &options);
            assert_eq!(stopped.report.rewrites, all[..count]);
            let found = interp::run(&stopped.graph, &inputs).unwrap();
            assert!(difference(&expected, &found) <= TOLERANCE, "seed {seed} after {count}");
        }
    }
}

#[test]
fn the_same_graph_gives_the_same_result_and_report() {
    for seed in seeds().take(40) {
        let graph = random_graph(seed, 9).unwrap();
        let (a, b) = (optimize(&graph, &PassOptions::default()), optimize(&graph, &PassOptions::default()));
        assert_eq!(text(&a.graph), text(&b.graph));
        assert_eq!((a.report.rewrites, a.report.refusals), (b.report.rewrites, b.report.refusals));
    }
}
