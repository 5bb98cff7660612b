//! Tests of the ops: inference as text, evaluation against values worked out by hand or by other engines.
//!
//! Values "from onnxruntime" are what version 1.32.0 computes on the CPU for the same inputs, made with [`ramp`]; where the
//! `onnx` package's reference evaluator (1.23.2) defines the op, it agrees.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod layout;
mod linear;
mod pointwise;
mod pool;
mod properties;
mod spatial;

use super::Op;
use crate::tensor::Tensor;
use crate::types::{DType, Dim, Shape, TensorType};

/// A type as it is printed: `f32[N,3,2N]`.
fn ty(text: &str) -> TensorType {
    let (dtype, dims) = text.trim_end_matches(']').split_once('[').unwrap();
    let dim = |text: &str| match text.strip_suffix('N') {
        Some("") => Dim::Batch(1),
        Some(factor) => Dim::Batch(factor.parse().unwrap()),
        None => Dim::Fixed(text.parse().unwrap()),
    };
    let shape: Shape = dims.split(',').filter(|text| !text.is_empty()).map(dim).collect();
    TensorType::new(DType::parse(dtype).unwrap(), shape)
}

/// The type that an op infers, or why it refuses: both as text.
fn infer(op: impl Into<Op>, inputs: &[&str]) -> String {
    let types: Vec<TensorType> = inputs.iter().map(|text| ty(text)).collect();
    match op.into().infer(&types.iter().collect::<Vec<_>>()) {
        Ok(outputs) => outputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    }
}

fn evaluate(op: impl Into<Op>, inputs: &[Tensor]) -> Tensor {
    let mut outputs = op.into().evaluate(&inputs.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(outputs.len(), 1);
    outputs.remove(0)
}

fn tensor(sizes: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_f32(sizes, values.to_vec()).unwrap()
}

/// Integers from −5 to 5 in a fixed disorder: `(7 i mod 11) − 5`.
fn ramp(sizes: &[usize]) -> Tensor {
    let count: u16 = sizes.iter().product::<usize>().try_into().unwrap();
    tensor(sizes, &(0..count).map(|index| f32::from(index * 7 % 11) - 5.0).collect::<Vec<_>>())
}

/// Checks sizes and values, these to one part in a million of the largest.
#[track_caller]
fn assert_is(found: &Tensor, sizes: &[usize], values: &[f32]) {
    assert_eq!(found.sizes(), sizes);
    let found = found.as_f32().unwrap();
    assert_eq!(found.len(), values.len());
    let scale = values.iter().fold(1.0f32, |scale, value| scale.max(value.abs()));
    for (index, (found, value)) in found.iter().zip(values).enumerate() {
        assert!((found - value).abs() <= 1e-6 * scale, "element {index} is {found}, not {value}");
    }
}
