//! Damaged files: whatever the bytes are, the importer gives a graph that verifies or an error, and never panics.

use bytes::Bytes;
use incept_compiler::frontend::onnx;
use proptest::prelude::*;

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

fn survives(bytes: Bytes) {
    if let Ok(graph) = onnx::import(bytes, "damaged") {
        graph.verify().unwrap();
    }
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
