//! Measuring honestly: what the variants do, and that differences are found where there are some and nowhere else.
//!
//! Tests that time are ignored by default, for they need a machine that does nothing else:
//! `cargo test --release --test measure -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use incept::measure::profile::{flops, profile};
use incept::measure::stats::{MISSES, blocks_needed};
use incept::measure::variants::{Runs, Variant};
use incept::measure::{Budget, Contender, Ratio, interleave, ratio};
use incept::{CompileOptions, Error, Model};

fn variants(model: &str) -> (Variant, Variant) {
    let model = Model::load(model).unwrap();
    let options = CompileOptions::default();
    (Variant::unfused(&model, &options).unwrap(), Variant::of("fused", &model, &options).unwrap())
}

#[test]
fn the_unfused_variant_does_the_work() {
    let (unfused, fused) = variants("googlenet");
    assert!(unfused.passes_that_ran().is_empty(), "{:?}", unfused.passes_that_ran());
    let kinds = |variant: &Variant| variant.compiled.plan().steps_by_kind();
    let (plain, few) = (kinds(&unfused), kinds(&fused));
    for kind in ["batch_norm", "relu", "concat"] {
        assert!(plain.get(kind).is_some_and(|count| *count >= 9), "{kind}: {plain:?}");
        assert_eq!(few.get(kind), None, "{few:?}");
    }
    assert_eq!((plain["batch_norm"], plain["relu"], plain["concat"], plain["conv"]), (57, 57, 9, 57));
    let arena = |variant: &Variant| variant.compiled.plan().memory.arena_bytes;
    assert!(arena(&unfused) > arena(&fused), "{} {}", arena(&unfused), arena(&fused));
    assert!(unfused.compiled.plan().copied_bytes() > 0);
    assert_eq!(fused.compiled.plan().copied_bytes(), 0);
    // Every step is emitted code, and they all appear in a profile.
    let profile = profile(&unfused.compiled, NonZeroUsize::MIN, Duration::ZERO, &mut |_| {}).unwrap();
    assert_eq!(profile.steps.len(), unfused.compiled.plan().steps.len());
    for kind in ["batch_norm", "relu", "concat"] {
        let steps: Vec<_> = profile.steps.iter().filter(|step| step.kind == kind).collect();
        assert!(!steps.is_empty() && steps.iter().all(|step| step.seconds > 0.0 && step.work.activations > 0.0));
    }
}

#[test]
fn variants_of_one_model_agree() {
    let (unfused, fused) = variants("tiny-inception");
    let outputs: Vec<Vec<f32>> = [&unfused, &fused]
        .map(|variant| {
            let mut session = variant.compiled.session().unwrap();
            let input = incept::inputs::noise(session.inputs()[0].elements, 0);
            session.run(&[&input]).unwrap();
            session.output(0).to_vec()
        })
        .into();
    let worst = outputs[0].iter().zip(&outputs[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "{worst}");
}

#[test]
fn the_work_of_googlenet_is_counted_as_its_literature_counts_it() {
    let (unfused, fused) = variants("googlenet");
    let products = |variant: &Variant, kind: &str| -> f64 {
        let plan = variant.compiled.plan();
        let steps = plan.steps.iter().filter(|step| plan.kind_name(step) == kind);
        steps.map(|step| flops(plan, step)).sum::<f64>() / 2e6
    };
    // 1,498 million multiply-adds with the padding's, of which the kernels leave out the products with zeros.
    let fused_products = products(&fused, "conv");
    assert!((1400.0..1498.0).contains(&fused_products), "{fused_products}");
    // Merging siblings changes no product.
    assert!((products(&unfused, "conv") - fused_products).abs() < 1e-6);
    assert!((products(&fused, "gemm") - 1.024).abs() < 1e-9);
    // A multiplication and an addition for each element.
    assert!(products(&unfused, "batch_norm") > 3.0);
}

#[test]
fn a_profile_adds_up() {
    let (_, fused) = variants("tiny-inception");
    let profile = profile(&fused.compiled, NonZeroUsize::MIN, Duration::from_millis(20), &mut |_| {}).unwrap();
    let sum: f64 = profile.steps.iter().map(|step| step.seconds).sum();
    assert!((sum - profile.sum).abs() < 1e-12 && profile.sum > 0.0 && profile.total > 0.0);
    assert!(profile.runs >= 3);
    assert_eq!(profile.one_run.len(), profile.steps.len());
    assert!(profile.steps.iter().all(|step| step.of_peak.is_finite() && !step.module.is_empty()));
    assert!(profile.steps.iter().any(|step| step.module == "inception1"));
}

#[test]
fn two_threads_have_lanes_of_their_own() {
    let (_, fused) = variants("googlenet");
    let two = NonZeroUsize::new(2).unwrap();
    let profile = profile(&fused.compiled, two, Duration::ZERO, &mut |_| {}).unwrap();
    assert_eq!(profile.threads, 2);
    let threads: std::collections::BTreeSet<usize> = profile.one_run.iter().map(|record| record.thread).collect();
    assert!(threads.iter().all(|thread| *thread < 2), "{threads:?}");
    assert!(profile.one_run.len() >= profile.steps.len());
    assert!(profile.sum > 0.0 && profile.steps.iter().all(|step| step.seconds > 0.0));
}

/// Runs that take longer by a share: they wait after each run, as long as it took times the share.
struct Delayed {
    runs: Runs,
    share: f64,
}

impl Contender for Delayed {
    type Error = Error;

    fn renew(&mut self) -> Result<(), Error> {
        self.runs.renew()
    }

    fn run(&mut self) -> Result<(), Error> {
        let start = Instant::now();
        self.runs.run()?;
        let until = start.elapsed().mul_f64(1.0 + self.share);
        while start.elapsed() < until {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

/// The time of a delayed variant over the time of an equal one that is compiled anew.
fn against_itself(model: &str, share: f64, duration: Duration) -> Ratio {
    let model = Model::load(model).unwrap();
    let runs = || Runs::new(Arc::new(model.compile(&CompileOptions::default()).unwrap()), NonZeroUsize::MIN).unwrap();
    let mut contenders = [Delayed { runs: runs(), share }, Delayed { runs: runs(), share: 0.0 }];
    let budget = Budget { duration, min_blocks: blocks_needed(MISSES) };
    let samples = interleave(&mut contenders, &budget, &mut |_| {}).unwrap();
    ratio(&samples[0], &samples[1], MISSES)
}

#[test]
#[ignore = "times for a minute or two"]
fn equal_variants_are_not_told_apart() {
    let claims = (0..20).filter(|round| {
        let ratio = against_itself("googlenet", 0.0, Duration::from_secs(3));
        println!("{round}: {ratio:?} {}", ratio.significant());
        ratio.significant()
    });
    let claims = claims.count();
    assert!(claims <= 1, "{claims} of 20");
}

#[test]
#[ignore = "times for some seconds"]
fn a_delay_of_a_tenth_is_found() {
    for _ in 0..3 {
        let ratio = against_itself("googlenet", 0.1, Duration::from_secs(3));
        println!("{ratio:?}");
        assert!(ratio.interval.low > 1.0, "{ratio:?}");
        assert!((1.05..1.16).contains(&ratio.median), "{ratio:?}");
    }
}
