//! Whole networks, compiled on each level that this CPU has, against the outputs of other engines.
//!
//! `tests/data/make_reference.py` made the small networks; the digits and their logits are those of
//! `assets/googlenet-mnist-digits.npz`. The bound is on the largest difference over the largest reference value: relative
//! errors of single values near zero say nothing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use incept::compiler::codegen::target::Target;
use incept::ir::interp;
use incept::ir::tensor::Tensor;
use incept::preprocess::Preprocess;
use incept::{CompileOptions, Model};
use npyz::NpyFile;
use zip::ZipArchive;

/// The most that an output may differ, as a fraction of the largest reference value.
const BOUND: f32 = 1e-4;

struct Array {
    sizes: Vec<usize>,
    values: Vec<f32>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn load(path: &Path) -> Array {
    let file = NpyFile::new(BufReader::new(File::open(path).unwrap())).unwrap();
    let sizes = file.shape().iter().map(|size| usize::try_from(*size).unwrap()).collect();
    Array { sizes, values: file.into_vec().unwrap() }
}

fn targets() -> Vec<String> {
    Target::all().unwrap().iter().map(|target| target.level().name().to_owned()).collect()
}

fn options(target: &str, batch: usize) -> CompileOptions {
    CompileOptions { target: target.into(), batch: Some(batch), ..CompileOptions::default() }
}

/// The largest difference over the largest reference value.
fn error(values: &[f32], reference: &[f32]) -> f32 {
    assert_eq!(values.len(), reference.len());
    assert!(values.iter().all(|value| value.is_finite()), "an output is not finite");
    let largest = reference.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let off = values.iter().zip(reference).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    off / largest.max(f32::MIN_POSITIVE)
}

/// Compiles a folder's model in several ways and compares its outputs.
fn check(name: &str, disabled: &[&[&str]]) {
    let folder = root().join("tests/data").join(name);
    let model = Model::load(folder.join("model.onnx").to_str().unwrap()).unwrap();
    let input = load(&folder.join("input_0.npy"));
    for target in targets() {
        for disabled in disabled {
            let options = CompileOptions {
                disabled: disabled.iter().map(ToString::to_string).collect(),
                ..options(&target, input.sizes[0])
            };
            let mut session = model.compile(&options).unwrap().session().unwrap();
            session.poison_arena();
            session.run(&[&input.values]).unwrap();
            assert!(folder.join(format!("output_{}.npy", session.outputs().len() - 1)).exists());
            for (index, port) in session.outputs().iter().enumerate() {
                let reference = load(&folder.join(format!("output_{index}.npy")));
                assert_eq!(port.sizes, reference.sizes, "{name} on {target}: sizes of output {index}");
                let error = error(session.output(index), &reference.values);
                assert!(error < BOUND, "{name} on {target} without {disabled:?}: output {index} is off by {error}");
            }
        }
    }
}

/// With all passes, and without those that the case is about.
const VARIANTS: &[&[&str]] =
    &[&[], &["fold_batch_norm"], &["fuse_activation"], &["fold_batch_norm", "fuse_activation", "alias_concat"]];

#[test]
fn batch_norm_whose_conv_has_a_second_reader() {
    check("batch_norm_second_reader", VARIANTS);
}

#[test]
fn conv_that_is_also_an_output() {
    check("conv_is_output", VARIANTS);
}

#[test]
fn relu_shared_by_two_readers() {
    check("relu_shared", VARIANTS);
}

#[test]
fn pads_on_a_1x1_conv() {
    check("pads_on_1x1", VARIANTS);
}

#[test]
fn inception_module() {
    check("inception", VARIANTS);
}

#[test]
fn local_response_normalisation() {
    check("local_response", &[&[]]);
}

#[test]
fn inverted_residual() {
    check("inverted_residual", VARIANTS);
}

#[test]
fn groups_and_dilations() {
    check("groups_and_dilations", VARIANTS);
}

#[test]
fn pools() {
    check("pools", &[&[]]);
}

/// A batch of another size gives for each item what it gives alone.
#[test]
fn a_batch_is_as_good_as_its_items() {
    let folder = root().join("tests/data/inception");
    let model = Model::load(folder.join("model.onnx").to_str().unwrap()).unwrap();
    let input = load(&folder.join("input_0.npy"));
    let reference = load(&folder.join("output_0.npy"));
    let items = input.sizes[0];
    let mut session = model.compile(&options("auto", 1)).unwrap().session().unwrap();
    for (item, reference) in
        input.values.chunks(input.values.len() / items).zip(reference.values.chunks(reference.values.len() / items))
    {
        session.run(&[item]).unwrap();
        assert!(error(session.output(0), reference) < BOUND);
    }
}

#[test]
fn built_in_models_agree_with_the_interpreter() {
    for name in ["tiny-inception", "tiny-residual"] {
        let model = Model::load(name).unwrap();
        for batch in [1, 3] {
            let graph = model.graph().unwrap().with_batch(batch).unwrap();
            let ty = graph.ty(graph.output(graph.inputs()[0], 0).unwrap()).unwrap();
            let sizes = ty.shape.sizes().unwrap();
            let count = sizes.iter().product();
            let input = noise(count);
            let reference = interp::run(&graph, &[Tensor::from_f32(&sizes, input.clone()).unwrap()]).unwrap();
            for target in targets() {
                let mut session = model.compile(&options(&target, batch)).unwrap().session().unwrap();
                session.poison_arena();
                session.run(&[&input]).unwrap();
                for (index, reference) in reference.iter().enumerate() {
                    let error = error(session.output(index), &reference.as_f32().unwrap());
                    assert!(error < BOUND, "{name} on {target} at batch {batch}: output {index} is off by {error}");
                }
            }
        }
    }
}

/// Values between -1 and 1 that look like noise.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(u16::try_from(state >> 16).unwrap()) / 32768.0 - 1.0
    })
    .take(count)
    .collect()
}

/// All 200 digits on the widest level, some on the others: the same prediction, and logits within the bound.
#[test]
fn trained_network_reads_digits() {
    let path = root().join("assets/googlenet-mnist-digits.npz");
    let mut archive = ZipArchive::new(File::open(path).unwrap()).unwrap();
    let mut bytes = |name: &str| {
        let mut bytes = Vec::new();
        archive.by_name(&format!("{name}.npy")).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    let (images, logits, labels) = (bytes("images"), bytes("logits"), bytes("labels"));
    let images = NpyFile::new(&images[..]).unwrap().into_vec::<u8>().unwrap();
    let logits = NpyFile::new(&logits[..]).unwrap().into_vec::<f32>().unwrap();
    let labels = NpyFile::new(&labels[..]).unwrap();
    let labels: Vec<i64> = match labels.dtype().descr().as_str() {
        "'|u1'" => labels.into_vec::<u8>().unwrap().into_iter().map(i64::from).collect(),
        _ => labels.into_vec::<i64>().unwrap(),
    };
    assert_eq!((images.len(), logits.len(), labels.len()), (200 * 28 * 28, 200 * 10, 200));

    let model = Model::load("googlenet-mnist").unwrap();
    let targets = targets();
    for target in &targets {
        let mut session = model.compile(&options(target, 1)).unwrap().session().unwrap();
        let count = if Some(target) == targets.last() { 200 } else { 20 };
        let mut right = 0;
        let mut worst = 0.0f32;
        for index in 0..count {
            let digit = &images[index * 784..][..784];
            let picture = RgbImage::from_fn(28, 28, |x, y| Rgb([digit[usize::try_from(y * 28 + x).unwrap()]; 3]));
            let input = Preprocess::Mnist.apply(&picture, &session.inputs()[0].sizes).unwrap();
            session.run(&[&input]).unwrap();
            let reference = &logits[index * 10..][..10];
            let best = |values: &[f32]| (0..10).max_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap();
            assert_eq!(best(session.output(0)), best(reference), "digit {index} on {target}");
            right += usize::from(best(reference) == usize::try_from(labels[index]).unwrap());
            worst = worst.max(error(session.output(0), reference));
        }
        println!("{target}: {count} digits, largest error {worst:e} of the largest logit");
        assert!(worst < BOUND, "{target}: off by {worst}");
        assert!(right * 100 >= count * 95, "{target}: {right} of {count} are right");
    }
}
