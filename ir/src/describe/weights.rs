//! Weights from a safetensors file, tensors by name.
//!
//! `F32` tensors stay where they lie in the file's bytes; narrower and wider floats are converted to `f32`.
//! Invariant: no allocation is larger than what the file's own length accounts for.

use bytes::Bytes;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rustc_hash::{FxHashMap, FxHashSet};
use safetensors::{Dtype, SafeTensors};

use super::error::{Suggestion, WeightProblem, WeightsError};
use crate::tensor::{Tensor, TensorError};
use crate::types::{DType, TensorType};

/// A parsed file, what was taken from it, and what was wrong so far.
pub struct File {
    tensors: FxHashMap<String, Stored>,
    taken: FxHashSet<String>,
    problems: Vec<WeightProblem>,
}

struct Stored {
    dtype: Dtype,
    sizes: Vec<usize>,
    bytes: Bytes,
}

impl File {
    /// Reads the file's table of tensors; no tensor's data is touched.
    pub fn parse(bytes: &Bytes) -> Result<Self, WeightsError> {
        let malformed = |error: safetensors::SafeTensorError| WeightsError::Malformed(error.to_string());
        let file = SafeTensors::deserialize(bytes).map_err(malformed)?;
        let stored = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
            let stored =
                Stored { dtype: view.dtype(), sizes: view.shape().to_vec(), bytes: bytes.slice_ref(view.data()) };
            (name.to_owned(), stored)
        };
        let tensors = file.iter().map(stored).collect();
        Ok(Self { tensors, taken: FxHashSet::default(), problems: Vec::new() })
    }

    /// The tensor of this name as `f32`. `None` where it does not fit; [`File::finish`] then says why.
    pub fn take(&mut self, name: &str, sizes: &[usize]) -> Result<Option<Tensor>, TensorError> {
        self.taken.insert(name.to_owned());
        let Some(stored) = self.tensors.get(name) else {
            let (name, wanted) = (name.to_owned(), TensorType::f32(sizes));
            self.problems.push(WeightProblem::Missing { name, wanted, suggestion: Suggestion::default() });
            return Ok(None);
        };
        if stored.sizes != sizes {
            let (name, wanted, found) = (name.to_owned(), sizes.to_vec(), stored.sizes.clone());
            self.problems.push(WeightProblem::Shape { name, wanted, found });
            return Ok(None);
        }
        let bytes = &stored.bytes;
        match stored.dtype {
            Dtype::F32 => Tensor::from_bytes(DType::F32, sizes, bytes.clone()),
            Dtype::F16 => Tensor::from_f32(sizes, widen_f16(bytes)),
            Dtype::BF16 => {
                let pairs = bytes.as_chunks::<2>().0;
                Tensor::from_f32(sizes, pairs.iter().map(|pair| bf16::from_le_bytes(*pair).to_f32()).collect())
            }
            Dtype::F64 => Tensor::from_bytes(DType::F64, sizes, bytes.clone())?.cast(DType::F32),
            other => {
                self.problems.push(WeightProblem::DType { name: name.to_owned(), found: format!("{other:?}") });
                return Ok(None);
            }
        }
        .map(Some)
    }

    /// All that is wrong. Tensors that were not taken are wrong too, except those for which `expected` holds and the
    /// counters of training steps (`num_batches_tracked`) that state dicts hold beside the statistics.
    pub fn finish(mut self, expected: impl Fn(&str) -> bool) -> Result<(), WeightsError> {
        let mut extra: Vec<(&String, &Stored)> = self
            .tensors
            .iter()
            .filter(|(name, _)| !self.taken.contains(*name) && !is_counter(name) && !expected(name))
            .collect();
        extra.sort_unstable_by_key(|(name, _)| *name);
        let compared = &extra[..extra.len().min(MAX_COMPARED)];
        for problem in self.problems.iter_mut().take(MAX_COMPARED) {
            if let WeightProblem::Missing { name, suggestion, .. } = problem {
                *suggestion = Suggestion::nearest(name, compared.iter().map(|(name, _)| name.as_str()));
            }
        }
        let extra = extra.into_iter().map(|(name, stored)| WeightProblem::Extra {
            name: name.clone(),
            found: format!("{:?} {:?}", stored.dtype, stored.sizes),
        });
        self.problems.extend(extra);
        if self.problems.is_empty() { Ok(()) } else { Err(WeightsError::Mismatch(self.problems)) }
    }
}

/// How many missing and how many left-over names are compared for suggestions.
const MAX_COMPARED: usize = 256;

fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}

/// Widens in bulk, which uses the processor's own conversion; one by one where the bytes are not aligned.
fn widen_f16(bytes: &Bytes) -> Vec<f32> {
    match bytemuck::try_cast_slice::<u8, f16>(bytes) {
        Ok(values) => {
            let mut wide = vec![0.0; values.len()];
            values.convert_to_f32_slice(&mut wide);
            wide
        }
        Err(_) => bytes.as_chunks::<2>().0.iter().map(|pair| f16::from_le_bytes(*pair).to_f32()).collect(),
    }
}
