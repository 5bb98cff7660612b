//! The product of two matrices plus a third: `activation(alpha · A · B + beta · C)`. ONNX Gemm-13.
//!
//! Inputs: a [M, K] ([K, M] where `trans_a`), b [K, N] ([N, K] where `trans_b`), and optionally c, which broadcasts to
//! [M, N]. Output: [M, N].

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{
    Activation, Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, check, elementwise, product, walk,
};
use crate::tensor::Tensor;
use crate::types::{DType, Dim, Shape, TensorType};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Gemm {
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of the addend.
    pub beta: f32,
    /// Whether a is stored [K, M].
    pub trans_a: bool,
    /// Whether b is stored [N, K].
    pub trans_b: bool,
    /// Applied last.
    pub activation: Option<Activation>,
}

impl Default for Gemm {
    /// Factors 1, nothing transposed, no activation.
    fn default() -> Self {
        Self { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false, activation: None }
    }
}

/// The rows and columns of a matrix, after transposition where `transposed`.
fn matrix(what: &str, ty: &TensorType, transposed: bool) -> Result<[Dim; 2], OpError> {
    check::float(what, ty)?;
    match *ty.shape.dims() {
        [rows, columns] if transposed => Ok([columns, rows]),
        [rows, columns] => Ok([rows, columns]),
        _ => Err(OpError::Type(format!("{what} must be a matrix but is {ty}"))),
    }
}

impl Operator for Gemm {
    const NAME: &'static str = "gemm";

    fn arity(&self) -> RangeInclusive<usize> {
        2..=3
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        check::finite("alpha", self.alpha)?;
        check::finite("beta", self.beta)?;
        let [rows, inner] = matrix("a", inputs[0], self.trans_a)?;
        let [b_inner, columns] = matrix("b", inputs[1], self.trans_b)?;
        if inner != b_inner {
            return Err(OpError::Type(format!(
                "a {}{} and b {}{} do not multiply: {inner} columns meet {b_inner} rows",
                inputs[0],
                if self.trans_a { " transposed" } else { "" },
                inputs[1],
                if self.trans_b { " transposed" } else { "" },
            )));
        }
        let shape = Shape::new(&[rows, columns]);
        if let Some(c) = inputs.get(2) {
            check::float("c", c)?;
            let fits = elementwise::broadcast(c.shape.dims(), shape.dims()).is_ok_and(|result| result == shape);
            if !fits {
                return Err(OpError::Type(format!("c {c} does not broadcast to the product's {shape}")));
            }
        }
        if let Some(activation) = self.activation {
            activation.check()?;
        }
        Ok(smallvec![TensorType::new(DType::F32, shape)])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        let sizes = check::output_sizes(self, inputs)?;
        let (rows, columns, inner) = (sizes[0], sizes[1], inputs[0].sizes()[usize::from(!self.trans_a)]);
        let (a, b) = (inputs[0].as_f32()?, inputs[1].as_f32()?);
        let a = product::oriented(&a, rows, inner, self.trans_a)?;
        let b = product::oriented(&b, columns, inner, !self.trans_b)?;
        let c = match inputs.get(2) {
            Some(c) => Some((c.as_f32()?, walk::broadcast_strides(c.sizes(), &sizes))),
            None => None,
        };
        let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
        let mut result = check::room(check::count(&sizes)?)?;
        product::each_dot(&a, &b, [rows, columns, inner], |row, column, dot| {
            let addend = match &c {
                Some((c, strides)) => beta * f64::from(c[row * strides[0] + column * strides[1]]),
                None => 0.0,
            };
            let value = alpha * dot + addend;
            result.push(check::round(self.activation.map_or(value, |activation| activation.apply(value))));
        });
        Ok(smallvec![Tensor::from_f32(&sizes, result)?])
    }

    fn attributes(&self) -> Attributes {
        let mut list = Attributes::new();
        for (name, value) in [("alpha", self.alpha), ("beta", self.beta)] {
            if value != 1.0 {
                list.push((name.to_owned(), Attribute::Float(value)));
            }
        }
        for (name, value) in [("trans_a", self.trans_a), ("trans_b", self.trans_b)] {
            if value {
                list.push((name.to_owned(), Attribute::flag(true)));
            }
        }
        if let Some(activation) = self.activation {
            list.push(("activation".to_owned(), Attribute::Word(activation.to_string())));
        }
        list
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self {
            alpha: attributes.float("alpha", Some(1.0))?,
            beta: attributes.float("beta", Some(1.0))?,
            trans_a: attributes.flag("trans_a")?,
            trans_b: attributes.flag("trans_b")?,
            activation: attributes.activation("activation")?,
        })
    }
}
