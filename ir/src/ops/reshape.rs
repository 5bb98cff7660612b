//! The same elements under other sizes. ONNX Reshape-14 with a constant shape. Any element type.
//!
//! Of an input with a symbolic batch, either a `0` copies the symbolic dimension, or the `-1` becomes a multiple of the
//! batch; a target that would hold for one batch size alone is refused.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, check};
use crate::tensor::Tensor;
use crate::types::{Dim, Shape, TensorType};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Reshape {
    /// The new sizes. At most one −1 is inferred from the others; 0 copies the input's size of the same axis, unless
    /// `allow_zero`.
    pub dims: Vec<i64>,
    /// Whether 0 is a size of 0.
    pub allow_zero: bool,
}

impl Reshape {
    /// The new dimensions, `None` in place of −1.
    fn targets(&self, input: &TensorType) -> Result<Vec<Option<Dim>>, OpError> {
        let target = |(axis, dim): (usize, &i64)| match *dim {
            -1 => Ok(None),
            0 if !self.allow_zero => match input.shape.dims().get(axis) {
                Some(dim) => Ok(Some(*dim)),
                None => Err(OpError::Attribute(format!(
                    "dims {:?} copy axis {axis}, which the input {input} does not have",
                    self.dims
                ))),
            },
            dim => match usize::try_from(dim) {
                Ok(size) => Ok(Some(Dim::Fixed(size))),
                Err(_) => Err(OpError::Attribute(format!("dims {:?} hold the size {dim}", self.dims))),
            },
        };
        self.dims.iter().enumerate().map(target).collect()
    }
}

/// `total / part`, where it is a whole number for every batch size.
fn quotient(total: Dim, part: Dim) -> Option<Dim> {
    let exact = |a: usize, b: usize| (b != 0 && a.is_multiple_of(b)).then(|| a / b);
    match (total, part) {
        (Dim::Fixed(total), Dim::Fixed(part)) | (Dim::Batch(total), Dim::Batch(part)) => {
            exact(total, part).map(Dim::Fixed)
        }
        (Dim::Batch(total), Dim::Fixed(part)) => exact(total, part).map(Dim::Batch),
        (Dim::Fixed(_), Dim::Batch(_)) => None,
    }
}

impl Operator for Reshape {
    const NAME: &'static str = "reshape";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        let input = inputs[0];
        let inferred = self.dims.iter().filter(|dim| **dim == -1).count();
        if inferred > 1 {
            return Err(OpError::Attribute(format!("dims {:?} hold more than one -1", self.dims)));
        }
        if self.allow_zero && inferred == 1 && self.dims.contains(&0) {
            return Err(OpError::Attribute(format!("dims {:?} hold both a size of 0 and -1", self.dims)));
        }
        let targets = self.targets(input)?;
        let total = check::product(input.shape.dims())?;
        let known = check::product(&targets.iter().copied().flatten().collect::<Vec<_>>())?;
        let refused = || {
            let hint = if input.shape.is_symbolic() { " for every batch size" } else { "" };
            OpError::Type(format!("{input} cannot take the sizes {:?}{hint}", self.dims))
        };
        let missing = if inferred == 1 {
            quotient(total, known).ok_or_else(refused)?
        } else if total == known {
            Dim::Fixed(1)
        } else {
            return Err(refused());
        };
        let shape: Shape = targets.into_iter().map(|target| target.unwrap_or(missing)).collect();
        Ok(smallvec![TensorType::new(input.dtype, shape)])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        Ok(smallvec![inputs[0].reshaped(&check::output_sizes(self, inputs)?)?])
    }

    fn attributes(&self) -> Attributes {
        let mut list = vec![("dims".to_owned(), Attribute::Ints(self.dims.clone()))];
        if self.allow_zero {
            list.push(("allow_zero".to_owned(), Attribute::flag(true)));
        }
        list
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        let Some(dims) = attributes.ints("dims")? else {
            return Err(OpError::Attribute("attribute `dims` must be a list of integers".to_owned()));
        };
        Ok(Self { dims, allow_zero: attributes.flag("allow_zero")? })
    }
}
