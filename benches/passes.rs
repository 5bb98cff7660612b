//! All passes against the size of the graph, and the planner against the length of the schedule: both should grow about as
//! the graph does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot run should stop")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use incept::compiler::lower::{LowerOptions, lower};
use incept::compiler::pass::PassOptions;
use incept::compiler::pipeline::optimize;
use incept::ir::graph::Graph;
use incept::ir::ids::ValueId;
use incept::ir::ops::{BatchNorm, Concat, Conv, Relu};
use incept::ir::tensor::Tensor;
use incept::ir::types::{DType, Shape, TensorType};

/// Few channels: what is timed is the work on the graph, not on weights.
const CHANNELS: usize = 4;

/// At least this many nodes, constants among them: blocks of a convolution, then two siblings and their concatenation, each
/// convolution with a BatchNorm and a ReLU.
fn network(nodes: usize) -> Graph {
    let mut graph = Graph::new("blocks");
    let ty = TensorType::new(DType::F32, Shape::fixed(&[1, CHANNELS, 8, 8]));
    let mut x = graph.add_input("x", ty).unwrap();
    let mut block = 0;
    while graph.len() < nodes {
        x = layer(&mut graph, &format!("block{block}/reduce"), x, CHANNELS);
        let branches =
            ["left", "right"].map(|side| layer(&mut graph, &format!("block{block}/{side}"), x, CHANNELS / 2));
        x = graph.add(Concat { axis: 1 }, &format!("block{block}/concat"), &branches).unwrap();
        block += 1;
    }
    graph.add_output("y", x).unwrap();
    graph
}

fn layer(graph: &mut Graph, name: &str, x: ValueId, outputs: usize) -> ValueId {
    let mut constant = |what: &str, sizes: &[usize]| {
        let values = (0..sizes.iter().product()).map(|value: usize| 0.5 + value as f32 / 64.0).collect();
        graph.add_constant(&format!("{name}/{what}"), Tensor::from_f32(sizes, values).unwrap()).unwrap()
    };
    let weights = constant("weights", &[outputs, CHANNELS, 1, 1]);
    let statistics = ["scale", "bias", "mean", "variance"].map(|what| constant(what, &[outputs]));
    let y = graph.add(Conv::default(), &format!("{name}/conv"), &[x, weights]).unwrap();
    let [scale, bias, mean, variance] = statistics;
    let norm = BatchNorm { epsilon: 1e-5 };
    let y = graph.add(norm, &format!("{name}/norm"), &[y, scale, bias, mean, variance]).unwrap();
    graph.add(Relu {}, &format!("{name}/relu"), &[y]).unwrap()
}

fn passes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("passes");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for nodes in [1_000, 10_000, 20_000, 100_000] {
        let graph = network(nodes);
        group.throughput(Throughput::Elements(graph.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("optimise {nodes} nodes")), |bencher| {
            let options = PassOptions::default();
            let run = |graph| optimize(black_box(graph), &options, &mut |_, _| {}).unwrap();
            bencher.iter_batched(|| graph.clone(), run, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn planner(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("planner");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for nodes in [1_000, 10_000, 100_000] {
        let graph = optimize(network(nodes), &PassOptions::default(), &mut |_, _| {}).unwrap().graph;
        let options = LowerOptions::default();
        let steps = lower(&graph, &options).unwrap().steps.len();
        group.throughput(Throughput::Elements(steps as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("lower and place {steps} steps")), |bencher| {
            bencher.iter(|| lower(black_box(&graph), &options).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, passes, planner);
criterion_main!(benches);
