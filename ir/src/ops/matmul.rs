//! The product of matrices as numpy's `matmul`: over the last two axes, the axes before them broadcast. ONNX MatMul-13.
//!
//! Inputs: a [.., M, K], b [.., K, N]. Output: [.., M, N]. A vector a is a row [1, K] and a vector b a column [K, 1], and
//! the axis so added is dropped from the output.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{AttributeReader, Attributes, OpError, Operator, OutputTypes, check, elementwise, product, walk};
use crate::tensor::Tensor;
use crate::types::{DType, Dim, TensorType};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct MatMul;

/// The axes before the last two, then the last two, of an operand that may be a vector.
fn split<T: Copy + From<usize>>(dims: &[T], vector_is_row: bool) -> Option<(&[T], [T; 2])> {
    match *dims {
        [] => None,
        [length] if vector_is_row => Some((&[], [1.into(), length])),
        [length] => Some((&[], [length, 1.into()])),
        [ref outer @ .., rows, columns] => Some((outer, [rows, columns])),
    }
}

impl Operator for MatMul {
    const NAME: &'static str = "matmul";

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        let [a, b] = [inputs[0], inputs[1]];
        check::float("a", a)?;
        check::float("b", b)?;
        let scalar = || OpError::Type(format!("a scalar is no matrix: its inputs are {a} and {b}"));
        let (a_outer, [rows, inner]) = split::<Dim>(a.shape.dims(), true).ok_or_else(scalar)?;
        let (b_outer, [b_inner, columns]) = split::<Dim>(b.shape.dims(), false).ok_or_else(scalar)?;
        if inner != b_inner {
            return Err(OpError::Type(format!("{a} and {b} do not multiply: {inner} columns meet {b_inner} rows")));
        }
        let outer = elementwise::broadcast(a_outer, b_outer)?;
        let rows = (a.shape.rank() > 1).then_some(rows);
        let columns = (b.shape.rank() > 1).then_some(columns);
        let shape = outer.dims().iter().copied().chain(rows).chain(columns).collect();
        Ok(smallvec![TensorType::new(DType::F32, shape)])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        let sizes = check::output_sizes(self, inputs)?;
        let [a, b] = [inputs[0], inputs[1]];
        let scalar = || OpError::Type("a scalar is no matrix".to_owned());
        let (a_outer, [rows, inner]) = split::<usize>(a.sizes(), true).ok_or_else(scalar)?;
        let (b_outer, [_, columns]) = split::<usize>(b.sizes(), false).ok_or_else(scalar)?;
        let outer_rank = a_outer.len().max(b_outer.len());
        let outer = &sizes[..outer_rank];
        let a_places = walk::offsets(outer, &walk::broadcast_strides(a_outer, outer))?;
        let b_places = walk::offsets(outer, &walk::broadcast_strides(b_outer, outer))?;
        let (a, b) = (a.as_f32()?, b.as_f32()?);
        let mut result = check::room(check::count(&sizes)?)?;
        for (a_place, b_place) in a_places.into_iter().zip(b_places) {
            let a = &a[a_place * rows * inner..][..rows * inner];
            let b = product::transposed(&b[b_place * inner * columns..][..inner * columns], inner, columns)?;
            product::each_dot(a, &b, [rows, columns, inner], |_, _, dot| result.push(check::round(dot)));
        }
        Ok(smallvec![Tensor::from_f32(&sizes, result)?])
    }

    fn attributes(&self) -> Attributes {
        Vec::new()
    }

    fn parse(_attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self)
    }
}
