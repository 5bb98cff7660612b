//! Damaged files: whatever the bytes are, the importer gives a graph that verifies or an error, the passes and lowering a
//! plan that verifies or an error, and code generation code or an error; nothing panics.
//!
//! `INCEPT_DAMAGED_MODELS` sets how many models are damaged at random places, `INCEPT_DAMAGED_SEED` the first seed.

use std::sync::Arc;

use bytes::Bytes;
use incept_compiler::codegen::link;
use incept_compiler::codegen::target::Target;
use incept_compiler::frontend::onnx;
use incept_compiler::frontend::onnx::proto::{ModelProto, TensorProto};
use incept_compiler::lower::{LowerOptions, lower};
use incept_compiler::pass::PassOptions;
use incept_compiler::pipeline;
use incept_ir::plan::file;
use incept_ir::testing::Random;
use proptest::prelude::*;
use prost::Message;

use crate::builder::{Builder, float, int, ints, model, string, tensor};
use crate::builder::{f32s, i64s};
use crate::cases;

/// A model with most kinds of things in it.
fn rich() -> Builder {
    model(13)
        .input("x", "N,2,5,5")
        .ones("w", &[2, 1, 3, 3])
        .ones("scale", &[2])
        .initializer(i64s("zero", &[], &[0]))
        .ints("open", &[-1])
        .node_with("Conv", "x w scale", "c", vec![int("group", 2), string("auto_pad", "SAME_UPPER")])
        .node_with("BatchNormalization", "c scale scale scale scale", "b", vec![float("epsilon", 0.5)])
        .node_with("Constant", "", "six", vec![tensor("value", f32s("", &[], &[6.0]))])
        .node("Clip", "b _ six", "k")
        .node_with("MaxPool", "k", "p", vec![ints("kernel_shape", &[2, 2]), int("ceil_mode", 1)])
        .node("Shape", "p", "s")
        .node("Gather", "s zero", "n")
        .node("Unsqueeze", "n open", "n1")
        .node_with("Concat", "n1 open", "d", vec![int("axis", 0)])
        .node("Reshape", "p d", "f")
        .node_with("ConstantOfShape", "hw", "big", vec![])
        .ints("hw", &[4, 32])
        .node_with("Gemm", "f big", "g", vec![int("transB", 1)])
        .node("Softmax", "g", "y")
        .output("y")
}

/// How far a file came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Bytes,
    Graph,
    Plan,
    Code,
}

/// No code is emitted for plans of more than this, for packing their weights takes time and memory.
const SMALL: usize = 4 << 20;

fn survives(bytes: Bytes) -> Reached {
    goes(bytes, false)
}

/// Takes a file as far as it goes. Without `emit`, no further than to a plan.
fn goes(bytes: Bytes, emit: bool) -> Reached {
    let Ok(graph) = onnx::import(bytes, "damaged") else { return Reached::Bytes };
    graph.verify().unwrap();
    let Ok(optimized) = pipeline::optimize(graph, &PassOptions::default(), &mut |_, _| {}) else {
        panic!("a pass failed on a graph that verifies");
    };
    let Ok(graph) = optimized.graph.with_batch(2) else { return Reached::Graph };
    let Ok(plan) = lower(&graph, &LowerOptions { batch: 2, ..LowerOptions::default() }) else { return Reached::Graph };
    let mut saved = Vec::new();
    if plan.memory.arena_bytes > SMALL || plan.weight_bytes() > SMALL {
        return Reached::Plan;
    }
    file::encode(&plan, 0, &mut saved).unwrap();
    assert_eq!(file::decode(&saved.into()).unwrap(), plan);
    if emit && link(Arc::new(plan), &Target::host().unwrap()).is_ok() { Reached::Code } else { Reached::Plan }
}

#[test]
fn the_whole_file_is_fine() {
    rich().import().unwrap().verify().unwrap();
}

#[test]
fn every_truncation_is_survived() {
    let bytes = rich().bytes();
    for length in 0..bytes.len() {
        survives(bytes.slice(..length));
    }
}

#[test]
fn every_flipped_bit_and_some_values_of_every_byte_are_survived() {
    let bytes = rich().bytes();
    for at in 0..bytes.len() {
        let flips = (0..8).map(|bit| bytes[at] ^ (1 << bit));
        for value in flips.chain([0x00, 0x7f, 0x80, 0xff]) {
            let mut damaged = bytes.to_vec();
            damaged[at] = value;
            survives(damaged.into());
        }
    }
}

#[test]
fn every_case_survives_every_truncation() {
    for entry in std::fs::read_dir(cases::directory()).unwrap() {
        let bytes = Bytes::from(std::fs::read(entry.unwrap().path()).unwrap());
        // Metadata comes last, and is nothing that the importer reads.
        for length in 0..bytes.len().min(600) {
            survives(bytes.slice(..length));
        }
    }
}

/// Numbers that sizes, axes and strides should not be.
const EXTREMES: [i64; 16] = [
    0,
    -1,
    1,
    2,
    3,
    7,
    -2,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    -(1 << 31),
    1 << 40,
    1 << 62,
    i64::MAX,
    i64::MIN,
    i64::MAX / 4 + 1,
];

fn set(random: &mut Random, list: &mut [i64]) {
    if let Some(value) = list.len().checked_sub(1).and_then(|last| list.get_mut(random.below(last + 1))) {
        *value = random.pick(EXTREMES);
    }
}

fn spoil(random: &mut Random, tensor: &mut TensorProto) {
    match random.below(6) {
        0 => set(random, &mut tensor.dims),
        1 => tensor.dims.push(random.pick(EXTREMES)),
        2 => tensor.data_type = Some(i32::try_from(random.below(24)).unwrap()),
        3 => tensor.raw_data = None,
        4 => set(random, &mut tensor.int64_data),
        _ => {
            // Another value of the same length, so that it gets past the length's check.
            let Some(raw) = tensor.raw_data.as_ref().filter(|raw| raw.len() >= 8) else { return };
            let mut raw = raw.to_vec();
            raw[..8].copy_from_slice(&random.pick(EXTREMES).to_le_bytes());
            tensor.raw_data = Some(raw.into());
        }
    }
}

/// Changes one thing that a model says, so that it parses still.
fn change(random: &mut Random, model: &mut ModelProto) {
    if random.chance(5) {
        let version = i64::try_from(random.below(28)).unwrap();
        model.opset_import.iter_mut().for_each(|opset| opset.version = Some(version));
    }
    let Some(graph) = model.graph.as_mut() else { return };
    let names: Vec<String> =
        graph.node.iter().flat_map(|node| node.input.iter().chain(&node.output)).cloned().collect();
    let (nodes, name) = (graph.node.len(), names.get(random.below(names.len())).cloned().unwrap_or_default());
    match random.below(10) {
        0 => {
            let count = graph.initializer.len();
            if let Some(tensor) = graph.initializer.get_mut(random.below(count)) {
                spoil(random, tensor);
            }
        }
        1 => {
            let input = graph.input.first_mut().and_then(|input| input.r#type.as_mut()?.value.as_mut());
            if let Some(onnx::proto::type_proto::Value::TensorType(ty)) = input {
                let dims = ty.shape.get_or_insert_default();
                let (count, value) = (dims.dim.len(), random.pick(EXTREMES));
                if let Some(dim) = dims.dim.get_mut(random.below(count)) {
                    dim.value = Some(onnx::proto::tensor_shape_proto::dimension::Value::DimValue(value));
                }
            }
        }
        2 if nodes > 0 => {
            graph.node.remove(random.below(nodes));
        }
        3 if nodes > 0 => {
            let node = graph.node[random.below(nodes)].clone();
            graph.node.push(node);
        }
        4 if nodes > 0 => {
            let node = &mut graph.node[random.below(nodes)];
            let slot = random.below(node.input.len() + 1);
            if slot < node.input.len() { node.input[slot] = name } else { node.input.push(name) }
        }
        5 if nodes > 0 => {
            let node = &mut graph.node[random.below(nodes)];
            let slot = random.below(node.output.len());
            if let Some(output) = node.output.get_mut(slot) {
                *output = name;
            }
        }
        6 if nodes > 0 => {
            let names: Vec<&str> = onnx::operators().map(|(name, _)| name).collect();
            let op = names[random.below(names.len())].to_owned();
            graph.node[random.below(nodes)].op_type = Some(op);
        }
        _ if nodes > 0 => {
            let attributes = &mut graph.node[random.below(nodes)].attribute;
            let count = attributes.len();
            let Some(attribute) = attributes.get_mut(random.below(count)) else { return };
            set(random, &mut attribute.ints);
            if random.chance(20) {
                attribute.ints.push(random.pick(EXTREMES));
            }
            if attribute.i.is_some() {
                attribute.i = Some(random.pick(EXTREMES));
            }
            if attribute.f.is_some() {
                attribute.f = Some(random.pick([f32::NAN, f32::INFINITY, -1.0, 0.0, 1e38]));
            }
            if let Some(tensor) = attribute.t.as_mut() {
                spoil(random, tensor);
            }
        }
        _ => {}
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Flipped bytes, cuts and changed numbers, names and operators in all models of the cases, through the whole compiler.
#[test]
fn models_that_say_something_else_are_survived() {
    let files = std::fs::read_dir(cases::directory()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "onnx")).collect();
    files.sort();
    let mut models: Vec<Bytes> = files.iter().map(|path| std::fs::read(path).unwrap().into()).collect();
    // The test data in the models are nothing that the importer reads.
    for bytes in &mut models {
        let mut model = ModelProto::decode(bytes.clone()).unwrap();
        model.metadata_props.clear();
        *bytes = model.encode_to_vec().into();
    }
    models.extend(std::iter::repeat_n(rich().bytes(), models.len() / 4));
    let first = number("INCEPT_DAMAGED_SEED", 0);
    let count = number("INCEPT_DAMAGED_MODELS", 6000);
    let mut reached = std::collections::BTreeMap::<Reached, u64>::new();
    for seed in first..first + count {
        let mut random = Random::new(seed);
        let bytes = &models[random.below(models.len())];
        let damaged: Bytes = if random.chance(75) {
            let mut model = ModelProto::decode(bytes.clone()).unwrap();
            for _ in 0..1 + random.below(3) {
                change(&mut random, &mut model);
            }
            model.encode_to_vec().into()
        } else {
            let mut bytes = bytes.to_vec();
            for _ in 0..1 + random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = random.bits().to_le_bytes()[0];
            }
            if random.chance(20) {
                bytes.truncate(random.below(bytes.len()));
            }
            bytes.into()
        };
        // The seed is named where a panic would hide it.
        let result = std::panic::catch_unwind(|| goes(damaged, seed % 4 == 0));
        match result {
            Ok(far) => *reached.entry(far).or_default() += 1,
            Err(_) => panic!("INCEPT_DAMAGED_SEED={seed} panicked"),
        }
    }
    println!("{count} damaged models came as far as {reached:?}");
    // A mutator that breaks everything, or nothing, tests little.
    for far in [Reached::Bytes, Reached::Plan, Reached::Code] {
        assert!(reached.get(&far).is_some_and(|seen| seen * 50 > count), "{reached:?}");
    }
}

/// Each case cut at every twentieth of its length.
#[test]
fn every_twentieth_is_survived() {
    for entry in std::fs::read_dir(cases::directory()).unwrap() {
        let bytes = Bytes::from(std::fs::read(entry.unwrap().path()).unwrap());
        for part in 0..20 {
            survives(bytes.slice(..bytes.len() * part / 20));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn several_damaged_bytes_are_survived(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = rich().bytes().to_vec();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        survives(bytes.into());
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(bytes.into());
    }
}
