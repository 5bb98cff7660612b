//! Whole networks, fused and unfused: one run at batch 1 on noise.
//!
//! These are run one after the other; `incept bench` runs them in turns, and is what differences are to be taken from.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot run should stop")]

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use incept::measure::Contender;
use incept::measure::variants::Variant;
use incept::{CompileOptions, Model};

fn networks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("network");
    group.sample_size(20).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(1));
    for name in ["googlenet", "googlenet-lrn", "tiny-inception"] {
        let model = Model::load(name).unwrap();
        let options = CompileOptions::default();
        let variants = [Variant::unfused(&model, &options).unwrap(), Variant::of("fused", &model, &options).unwrap()];
        for variant in variants {
            let mut runs = variant.contender().unwrap();
            group.bench_function(format!("{name}/{}", variant.name), |bencher| {
                bencher.iter(|| runs.run().unwrap());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, networks);
criterion_main!(benches);
