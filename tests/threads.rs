//! Whole networks on several threads: bit for bit what one thread gives, on each level that this CPU has.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::num::NonZeroUsize;

use incept::compiler::codegen::target::Target;
use incept::{CompileOptions, Model, SessionOptions};

/// Values without a pattern that a kernel could share by accident; integers where `whole`.
fn values(count: usize, whole: bool) -> Vec<f32> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    #[allow(clippy::cast_precision_loss, reason = "test data")]
    (0..count)
        .map(|_| if whole { (next() % 9) as f32 - 4.0 } else { (next() >> 8) as f32 / (1 << 23) as f32 - 1.0 })
        .collect()
}

fn check(name: &str, batch: usize, disabled: &[&str], runs: usize) {
    let model = Model::load(name).unwrap();
    for target in Target::all().unwrap() {
        let options = CompileOptions {
            batch: Some(batch),
            target: target.level().name().into(),
            disabled: disabled.iter().map(ToString::to_string).collect(),
            ..CompileOptions::default()
        };
        let compiled = model.compile(&options).unwrap();
        let session =
            |threads: usize| compiled.session_with(&SessionOptions { threads: NonZeroUsize::new(threads) }).unwrap();
        for whole in [true, false] {
            let mut one = session(1);
            let inputs: Vec<Vec<f32>> = one.inputs().iter().map(|port| values(port.elements, whole)).collect();
            let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            one.run(&inputs).unwrap();
            assert_eq!(one.threads(), 1);
            for threads in [2, 3, 4, 8] {
                let mut many = session(threads);
                assert!((2..=threads).contains(&many.threads()), "{name} runs on {} threads", many.threads());
                for _ in 0..runs {
                    many.poison_arena();
                    many.run(&inputs).unwrap();
                    for index in 0..one.outputs().len() {
                        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                        assert_eq!(
                            bits(many.output(index)),
                            bits(one.output(index)),
                            "{name} on {threads} threads and {}: output {index}",
                            target.level().name()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn small_inception() {
    check("tiny-inception", 1, &[], 100);
    check("tiny-inception", 5, &[], 20);
}

#[test]
fn digits() {
    check("googlenet-mnist", 2, &[], 20);
}

#[test]
fn googlenet() {
    check("googlenet", 1, &[], 2);
}

#[test]
fn the_paper_s_googlenet() {
    check("googlenet-lrn", 1, &[], 2);
}

#[test]
fn without_passes() {
    let disabled: Vec<&str> = incept::compile::pass_names().collect();
    check("tiny-inception", 3, &disabled, 20);
}
