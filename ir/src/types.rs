//! Element types, dimensions and shapes.
//!
//! A shape may have a *symbolic batch*: a dimension that is a whole multiple of an unknown `N`. That is all the symbolism
//! there is: [`Shape::with_batch`] makes it concrete before lowering.
//!
//! Invariant: every size computation is checked; an overflow is an error, not a wrap.

use std::fmt;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DType {
    /// IEEE 754 binary32; the only type that compiled steps compute in.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary16.
    F16,
    /// Signed 64-bit integer; shapes and axes.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned byte.
    U8,
    /// A byte that is 0 or 1.
    Bool,
}

impl DType {
    /// All element types.
    pub const ALL: [Self; 7] = [Self::F32, Self::F64, Self::F16, Self::I64, Self::I32, Self::U8, Self::Bool];

    /// Bytes of one element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 => 2,
            Self::U8 | Self::Bool => 1,
        }
    }

    /// The name in dumps.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::F16 => "f16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::U8 => "u8",
            Self::Bool => "bool",
        }
    }

    /// The type with this name in dumps.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One dimension of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dim {
    /// A known size.
    Fixed(usize),
    /// This many times the batch size `N`; the factor is at least 1.
    Batch(usize),
}

impl Dim {
    /// The size for a batch of `batch`; `None` where it overflows.
    #[must_use]
    pub const fn with_batch(self, batch: usize) -> Option<usize> {
        match self {
            Self::Fixed(size) => Some(size),
            Self::Batch(factor) => factor.checked_mul(batch),
        }
    }

    /// The known size.
    #[must_use]
    pub const fn fixed(self) -> Option<usize> {
        match self {
            Self::Fixed(size) => Some(size),
            Self::Batch(_) => None,
        }
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Self::Fixed(size)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Batch(1) => f.write_str("N"),
            Self::Batch(factor) => write!(f, "{factor}N"),
        }
    }
}

/// The most dimensions a tensor may have.
pub const MAX_RANK: usize = 8;

/// The most elements a tensor may have (2⁴⁰, 4 TiB of `f32`): far above what runs, far below what overflows.
pub const MAX_ELEMENTS: usize = 1 << 40;

/// The dimensions of a tensor, outermost first. Rank-4 activations are in the order N, C, H, W, whatever their layout.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub struct Shape(SmallVec<[Dim; 4]>);

impl Shape {
    /// The shape with these dimensions.
    #[must_use]
    pub fn new(dims: &[Dim]) -> Self {
        Self(SmallVec::from_slice(dims))
    }

    /// The shape with these known sizes.
    #[must_use]
    pub fn fixed(sizes: &[usize]) -> Self {
        sizes.iter().copied().map(Dim::Fixed).collect()
    }

    /// The dimensions.
    #[must_use]
    pub fn dims(&self) -> &[Dim] {
        &self.0
    }

    /// How many dimensions there are.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Whether any dimension depends on the batch size.
    #[must_use]
    pub fn is_symbolic(&self) -> bool {
        self.0.iter().any(|dim| matches!(dim, Dim::Batch(_)))
    }

    /// The known sizes; `None` where a dimension is symbolic.
    #[must_use]
    pub fn sizes(&self) -> Option<Vec<usize>> {
        self.0.iter().map(|dim| dim.fixed()).collect()
    }

    /// The number of elements as a multiple of `N`: `Fixed(count)` or `Batch(factor)`.
    ///
    /// `None` where it overflows [`MAX_ELEMENTS`] or holds the batch twice.
    #[must_use]
    pub fn elements(&self) -> Option<Dim> {
        let mut count = 1usize;
        let mut symbolic = false;
        for dim in &self.0 {
            match *dim {
                Dim::Fixed(size) => count = count.checked_mul(size)?,
                Dim::Batch(_) if symbolic => return None,
                Dim::Batch(factor) => {
                    symbolic = true;
                    count = count.checked_mul(factor)?;
                }
            }
        }
        if count > MAX_ELEMENTS {
            return None;
        }
        Some(if symbolic { Dim::Batch(count) } else { Dim::Fixed(count) })
    }

    /// The shape for a batch of `batch`; `None` where a size overflows.
    #[must_use]
    pub fn with_batch(&self, batch: usize) -> Option<Self> {
        self.0.iter().map(|dim| dim.with_batch(batch).map(Dim::Fixed)).collect()
    }
}

impl FromIterator<Dim> for Shape {
    fn from_iter<I: IntoIterator<Item = Dim>>(dims: I) -> Self {
        Self(dims.into_iter().collect())
    }
}

impl std::ops::Index<usize> for Shape {
    type Output = Dim;

    fn index(&self, axis: usize) -> &Dim {
        &self.0[axis]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (axis, dim) in self.0.iter().enumerate() {
            if axis > 0 {
                f.write_str(",")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a value is: element type and shape. Printed as `f32[N,3,224,224]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TensorType {
    /// The element type.
    pub dtype: DType,
    /// The shape.
    pub shape: Shape,
}

impl TensorType {
    /// The type with these parts.
    #[must_use]
    pub const fn new(dtype: DType, shape: Shape) -> Self {
        Self { dtype, shape }
    }

    /// An `f32` tensor of known sizes.
    #[must_use]
    pub fn f32(sizes: &[usize]) -> Self {
        Self::new(DType::F32, Shape::fixed(sizes))
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}
