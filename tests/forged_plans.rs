//! Plan files that were changed by someone who mended the checksum: loading refuses them or gives a plan that the
//! verifier proves, and what is emitted for such a plan can be run. Nothing panics, reads or writes outside.
//!
//! `INCEPT_FORGED_PLANS` sets how many are tried, `INCEPT_FORGED_SEED` the first seed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use incept::compiler::codegen;
use incept::compiler::codegen::target::Target;
use incept::ir::plan::file;
use incept::ir::testing::Random;
use incept::{CompileOptions, Model, Session};
use xxhash_rust::xxh3::Xxh3;

/// What is larger than this is not run.
const SMALL: usize = 1 << 22;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// A saved plan of a small model.
fn saved(model: &str, disabled: &[&str]) -> Vec<u8> {
    let disabled = disabled.iter().map(ToString::to_string).collect();
    let options = CompileOptions { disabled, ..CompileOptions::default() };
    let plan = Model::load(model).unwrap().plan(&options).unwrap().plan;
    let mut bytes = Vec::new();
    file::encode(&plan, 0, &mut bytes).unwrap();
    bytes
}

/// Writes the checksum that the bytes have.
fn mend(bytes: &mut [u8]) {
    let mut hash = Xxh3::new();
    hash.update(&bytes[..24]);
    hash.update(&bytes[32..]);
    let digest = hash.digest();
    bytes[24..32].copy_from_slice(&digest.to_le_bytes());
}

/// How far a file came: not loaded, loaded, emitted, run.
fn goes(bytes: Vec<u8>) -> usize {
    let Ok(plan) = file::decode(&Bytes::from(bytes)) else { return 0 };
    let small =
        plan.memory.arena_bytes < SMALL && plan.views.iter().all(|view| view.elements().is_some_and(|n| n < SMALL));
    let Ok(linked) = codegen::link(Arc::new(plan), &Target::host().unwrap()) else { return 1 };
    let Ok(mut session) = Session::new(linked.module.clone()) else { return 2 };
    let inputs: Vec<Vec<f32>> = session.inputs().iter().map(|port| vec![0.5; port.elements]).collect();
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    if small && session.run(&inputs).is_ok() { 3 } else { 2 }
}

#[test]
fn forged_plans_are_refused_or_sound() {
    let data = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name).join("model.onnx");
        path.to_str().unwrap().to_owned()
    };
    let plans = [
        saved(&data("pools"), &[]),
        saved(&data("relu_shared"), &["fuse_activation", "alias_concat"]),
        saved(&data("batch_norm_second_reader"), &["fold_batch_norm", "in_place"]),
        saved(&data("groups_and_dilations"), &[]),
        saved("tiny-inception", &[]),
        saved("tiny-residual", &["fuse_activation"]),
    ];
    let (first, count) = (number("INCEPT_FORGED_SEED", 0), number("INCEPT_FORGED_PLANS", 4000));
    let mut reached = [0u64; 4];
    for seed in first..first + count {
        let mut random = Random::new(seed);
        let mut bytes = plans[random.below(plans.len())].clone();
        let metadata = usize::try_from(file::Header::read(&bytes).unwrap().metadata).unwrap();
        for _ in 0..1 + random.below(2) {
            let at = file::HEADER_BYTES + random.below(metadata);
            bytes[at] = match random.below(3) {
                0 => bytes[at] ^ (1 << random.below(8)),
                1 => bytes[at].wrapping_add(random.pick([1, 255, 4, 16])),
                _ => random.bits().to_le_bytes()[0],
            };
        }
        mend(&mut bytes);
        match catch_unwind(|| goes(bytes)) {
            Ok(far) => reached[far] += 1,
            Err(_) => panic!("INCEPT_FORGED_SEED={seed} panicked"),
        }
    }
    println!("{count} forged plans: {reached:?} were not loaded, loaded, emitted, run");
    // Names and provenance may say anything; a mutator that only hits those, or only breaks, tests little.
    assert!(reached[0] * 4 > count && reached[3] * 50 > count, "{reached:?}");
}
