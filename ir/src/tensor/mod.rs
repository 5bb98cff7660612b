//! Constant tensors: a type, a shape and bytes.
//!
//! The bytes are shared and may lie in a mapped file, so cloning a tensor or taking a weight out of a model copies
//! nothing; those that are made of other tensors' may not have been computed yet ([`Values`]). Little-endian, row-major, not
//! necessarily aligned to the element size.
//!
//! Invariant: `values.len() == product(sizes) * dtype.bytes()`, checked by every constructor.

mod values;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::types::{DType, MAX_ELEMENTS, MAX_RANK, Shape, TensorType};
pub use values::{Recipe, Values};

/// Why a tensor could not be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The data's length is not what the shape needs.
    #[error("a {ty} tensor needs {needed} bytes but {given} are given")]
    Length {
        /// The type.
        ty: TensorType,
        /// What it needs.
        needed: usize,
        /// What there is.
        given: usize,
    },
    /// The shape is too large.
    #[error("a tensor of sizes {sizes:?} is larger than this program can address")]
    TooLarge {
        /// The sizes.
        sizes: Vec<usize>,
    },
    /// Two tensors do not fit together.
    #[error("tensors of sizes {first:?} and {other:?} do not fit together along their first axis")]
    Parts {
        /// The sizes of the one.
        first: Vec<usize>,
        /// Those of the other.
        other: Vec<usize>,
    },
    /// The element type is not the one asked for.
    #[error("the tensor holds {found} but {wanted} is needed")]
    DType {
        /// What it holds.
        found: DType,
        /// What is needed.
        wanted: &'static str,
    },
}

/// A constant tensor. See the module's documentation.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    dtype: DType,
    sizes: Vec<usize>,
    values: Values,
}

impl Tensor {
    /// A tensor over bytes that are already there.
    ///
    /// # Errors
    /// Where the length is not what the shape needs, or the shape is too large.
    pub fn from_bytes(dtype: DType, sizes: &[usize], bytes: Bytes) -> Result<Self, TensorError> {
        Self::from_values(dtype, sizes, bytes.into())
    }

    /// A tensor of these values.
    ///
    /// # Errors
    /// Where the length is not what the shape needs, or the shape is too large.
    pub fn from_values(dtype: DType, sizes: &[usize], values: Values) -> Result<Self, TensorError> {
        let (needed, given) = (byte_length(dtype, sizes)?, values.len());
        if needed != given {
            let ty = TensorType::new(dtype, Shape::fixed(sizes));
            return Err(TensorError::Length { ty, needed, given });
        }
        Ok(Self { dtype, sizes: sizes.to_vec(), values })
    }

    /// A tensor of `f32`.
    ///
    /// # Errors
    /// Where the number of values is not what the shape needs.
    pub fn from_f32(sizes: &[usize], values: Vec<f32>) -> Result<Self, TensorError> {
        Self::from_bytes(DType::F32, sizes, owned_bytes(values))
    }

    /// A tensor of `i64`.
    ///
    /// # Errors
    /// Where the number of values is not what the shape needs.
    pub fn from_i64(sizes: &[usize], values: Vec<i64>) -> Result<Self, TensorError> {
        Self::from_bytes(DType::I64, sizes, owned_bytes(values))
    }

    /// A scalar (rank 0) `f32`.
    #[must_use]
    pub fn scalar(value: f32) -> Self {
        let values = Bytes::copy_from_slice(&value.to_le_bytes()).into();
        Self { dtype: DType::F32, sizes: Vec::new(), values }
    }

    /// The element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The sizes, outermost first.
    #[must_use]
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// The elements, which may not have been computed yet.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The raw bytes; computed where they are not there yet.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        self.values.bytes()
    }

    /// How many elements there are.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.values.len() / self.dtype.bytes()
    }

    /// The tensor's type.
    #[must_use]
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, Shape::fixed(&self.sizes))
    }

    /// The same bytes under other sizes.
    ///
    /// # Errors
    /// Where the number of elements differs.
    pub fn reshaped(&self, sizes: &[usize]) -> Result<Self, TensorError> {
        Self::from_values(self.dtype, sizes, self.values.clone())
    }

    /// Tensors of one element type one after the other along their first axis; all else is as in the first.
    ///
    /// # Errors
    /// Where there is none, one is a scalar or of another type, or they do not fit together.
    pub fn concatenated(parts: &[Self]) -> Result<Self, TensorError> {
        let mut sizes = parts.first().map(|part| part.sizes.clone()).unwrap_or_default();
        let dtype = parts.first().map_or(DType::F32, |part| part.dtype);
        let mut length = 0usize;
        let mut count = 0usize;
        for part in parts {
            if part.dtype != dtype {
                return Err(TensorError::DType { found: part.dtype, wanted: dtype.name() });
            }
            if part.sizes.is_empty() || part.sizes.get(1..) != sizes.get(1..) {
                return Err(TensorError::Parts { first: sizes, other: part.sizes.clone() });
            }
            length = length.saturating_add(part.values.len());
            count = count.saturating_add(part.sizes.first().copied().unwrap_or(0));
        }
        if let Some(first) = sizes.first_mut() {
            *first = count;
        }
        if dtype == DType::F32
            && let Some(values) = Values::recipe(Recipe::Joined(parts.to_vec()))
        {
            return Self::from_values(dtype, &sizes, values);
        }
        let mut bytes: Vec<u8> = Vec::with_capacity(length);
        parts.iter().for_each(|part| bytes.extend_from_slice(part.bytes()));
        Self::from_bytes(dtype, &sizes, bytes.into())
    }

    /// The tensor's `f32` elements, each times a factor in `f64` and rounded once: neighbours in runs of `run` have the same
    /// one. Computed when they are read.
    ///
    /// # Errors
    /// Where the tensor does not hold `f32`, or there is not one factor for each run.
    pub fn scaled(&self, factors: Vec<f64>, run: usize) -> Result<Self, TensorError> {
        if self.dtype != DType::F32 {
            return Err(TensorError::DType { found: self.dtype, wanted: "f32" });
        }
        let given = factors.len().saturating_mul(run).saturating_mul(DType::F32.bytes());
        let values = Values::recipe(Recipe::Scaled { of: self.clone(), factors: Arc::from(factors), run });
        let values = values.ok_or_else(|| TensorError::Length { ty: self.ty(), needed: self.values.len(), given })?;
        Self::from_values(self.dtype, &self.sizes, values)
    }

    /// The values as `f32`: borrowed where the bytes are aligned, copied elsewhere.
    ///
    /// # Errors
    /// Where the tensor does not hold `f32`.
    pub fn as_f32(&self) -> Result<Cow<'_, [f32]>, TensorError> {
        if self.dtype != DType::F32 {
            return Err(TensorError::DType { found: self.dtype, wanted: "f32" });
        }
        Ok(match bytemuck::try_cast_slice(self.bytes()) {
            Ok(values) => Cow::Borrowed(values),
            Err(_) => Cow::Owned(chunks(self.bytes(), f32::from_le_bytes).collect()),
        })
    }

    /// The values of any integer tensor (i64, i32, u8, bool) as `i64`.
    ///
    /// # Errors
    /// Where the tensor holds floats.
    pub fn to_i64(&self) -> Result<Vec<i64>, TensorError> {
        Ok(match self.dtype {
            DType::I64 => chunks(self.bytes(), i64::from_le_bytes).collect(),
            DType::I32 => chunks(self.bytes(), i32::from_le_bytes).map(i64::from).collect(),
            DType::U8 | DType::Bool => self.bytes().iter().map(|byte| i64::from(*byte)).collect(),
            found => return Err(TensorError::DType { found, wanted: "an integer type" }),
        })
    }

    /// The values of any tensor as `f64`; integers above 2⁵³ are rounded.
    #[must_use]
    pub fn to_f64(&self) -> Vec<f64> {
        match self.dtype {
            DType::F32 => chunks(self.bytes(), f32::from_le_bytes).map(f64::from).collect(),
            DType::F64 => chunks(self.bytes(), f64::from_le_bytes).collect(),
            DType::F16 => chunks(self.bytes(), half::f16::from_le_bytes).map(f64::from).collect(),
            #[allow(clippy::cast_precision_loss, reason = "documented: rounded above 2^53")]
            DType::I64 => chunks(self.bytes(), i64::from_le_bytes).map(|value| value as f64).collect(),
            DType::I32 => chunks(self.bytes(), i32::from_le_bytes).map(f64::from).collect(),
            DType::U8 | DType::Bool => self.bytes().iter().map(|byte| f64::from(*byte)).collect(),
        }
    }

    /// The tensor with its elements converted, as the ONNX operator Cast does (float to integer truncates towards zero,
    /// saturating).
    ///
    /// # Errors
    /// None today; the result is an error type because a later element type may refuse.
    pub fn cast(&self, to: DType) -> Result<Self, TensorError> {
        if to == self.dtype {
            return Ok(self.clone());
        }
        if (self.dtype, to) == (DType::F16, DType::F32)
            && let Some(values) = Values::recipe(Recipe::Widened(self.clone()))
        {
            return Self::from_values(to, &self.sizes, values);
        }
        let bytes = match (self.to_i64(), to) {
            (Ok(values), DType::I64) => owned_bytes(values),
            #[allow(clippy::cast_possible_truncation, reason = "Cast wraps integers, as ONNX runtimes do")]
            (Ok(values), DType::I32) => owned_bytes(values.into_iter().map(|value| value as i32).collect()),
            _ => cast_f64(self.to_f64(), to),
        };
        Self::from_bytes(to, &self.sizes, bytes)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Cast rounds to the narrower float and truncates to integers"
)]
fn cast_f64(values: Vec<f64>, to: DType) -> Bytes {
    match to {
        DType::F32 => owned_bytes(values.into_iter().map(|value| value as f32).collect()),
        DType::F64 => owned_bytes(values),
        DType::F16 => owned_bytes(values.into_iter().map(half::f16::from_f64).collect()),
        DType::I64 => owned_bytes(values.into_iter().map(|value| value as i64).collect()),
        DType::I32 => owned_bytes(values.into_iter().map(|value| value as i32).collect()),
        DType::U8 => owned_bytes(values.into_iter().map(|value| value as u8).collect()),
        DType::Bool => owned_bytes(values.into_iter().map(|value| u8::from(value != 0.0)).collect()),
    }
}

/// The one rounding of a value that was computed in `f64`.
#[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is the purpose")]
#[must_use]
#[inline]
pub fn narrow(value: f64) -> f32 {
    value as f32
}

/// The bytes that `dtype` values of these sizes take.
///
/// # Errors
/// Where the rank or the size exceeds the limits of [`crate::types`].
pub fn byte_length(dtype: DType, sizes: &[usize]) -> Result<usize, TensorError> {
    let too_large = || TensorError::TooLarge { sizes: sizes.to_vec() };
    if sizes.len() > MAX_RANK {
        return Err(too_large());
    }
    let elements = sizes.iter().try_fold(1usize, |count, size| count.checked_mul(*size)).ok_or_else(too_large)?;
    if elements > MAX_ELEMENTS {
        return Err(too_large());
    }
    elements.checked_mul(dtype.bytes()).ok_or_else(too_large)
}

fn chunks<const SIZE: usize, T>(bytes: &[u8], read: impl Fn([u8; SIZE]) -> T) -> impl Iterator<Item = T> {
    bytes.as_chunks::<SIZE>().0.iter().map(move |chunk| read(*chunk))
}

/// Hands a vector's memory over without copying (on a big-endian machine the values would have to be swapped; the crate
/// refuses to build there).
fn owned_bytes<T: bytemuck::NoUninit + Send + Sync + 'static>(values: Vec<T>) -> Bytes {
    struct Owner<T>(Vec<T>);
    impl<T: bytemuck::NoUninit> AsRef<[u8]> for Owner<T> {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    Bytes::from_owner(Owner(values))
}

#[cfg(target_endian = "big")]
compile_error!("tensors are little-endian in memory and in files; big-endian machines are not supported");

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({}", self.ty())?;
        if self.elements() <= 8 {
            write!(f, " {:?}", self.to_f64())?;
        }
        f.write_str(")")
    }
}
