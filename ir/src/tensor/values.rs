//! What a tensor holds: bytes that are there, or the recipe of values that other tensors' bytes make.
//!
//! A pass that rescales the weights of a network, or joins those of several layers, would write all of them anew, only for
//! the kernels' packing to read them once. A [`Recipe`] says instead what the new values are. They are computed where they
//! are read: for good by [`Values::bytes`], or for the moment by [`Values::compute`], so that a network's weights are never
//! in memory twice.
//!
//! Invariants:
//! 1. A recipe makes f32 values, as many as its length says, and always the same.
//! 2. Recipes are nested at most [`MOST_NESTED`] deep: what would be deeper is computed.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{Tensor, chunks, narrow, owned_bytes};
use crate::types::DType;

/// How deep recipes may be nested.
const MOST_NESTED: usize = 8;
/// Values that are computed at once where they are only looked at.
const BLOCK: usize = 4096;
/// Values that are compared side by side.
const LANES: usize = 16;

/// The elements of a tensor, little-endian and row-major. Clones share them.
#[derive(Clone, Default)]
pub struct Values(Inner);

#[derive(Clone)]
enum Inner {
    There(Bytes),
    Recipe(Arc<Made>),
}

impl Default for Inner {
    fn default() -> Self {
        Self::There(Bytes::new())
    }
}

struct Made {
    recipe: Recipe,
    /// In bytes.
    len: usize,
    /// How deep recipes are nested in this one.
    nested: usize,
    bytes: OnceLock<Bytes>,
}

/// How f32 values are made of other tensors'.
#[derive(Debug, Clone, PartialEq)]
pub enum Recipe {
    /// The elements of an f32 tensor, each times a factor and rounded once: the factor of element `i` is `factors[i / run]`.
    Scaled {
        /// The tensor.
        of: Tensor,
        /// One for each run.
        factors: Arc<[f64]>,
        /// How many neighbouring elements have one factor.
        run: usize,
    },
    /// The elements of f32 tensors, one after the other.
    Joined(Vec<Tensor>),
    /// The elements of an f16 tensor.
    Widened(Tensor),
}

impl From<Bytes> for Values {
    fn from(bytes: Bytes) -> Self {
        Self(Inner::There(bytes))
    }
}

impl Recipe {
    /// How many elements it makes; `None` where its parts do not fit together.
    fn elements(&self) -> Option<usize> {
        let of_type = |tensor: &Tensor, dtype: DType| (tensor.dtype() == dtype).then(|| tensor.elements());
        match self {
            Self::Scaled { of, factors, run } => {
                of_type(of, DType::F32).filter(|elements| factors.len().checked_mul(*run) == Some(*elements))
            }
            Self::Joined(parts) => {
                parts.iter().try_fold(0usize, |sum, part| sum.checked_add(of_type(part, DType::F32)?))
            }
            Self::Widened(of) => of_type(of, DType::F16),
        }
    }

    fn parts(&self) -> &[Tensor] {
        match self {
            Self::Scaled { of, .. } | Self::Widened(of) => std::slice::from_ref(of),
            Self::Joined(parts) => parts,
        }
    }

    /// Computes the elements from `start` on, as many as `out` has.
    fn read(&self, start: usize, out: &mut [f32]) {
        match self {
            Self::Scaled { of, factors, run } => {
                // Without elements there may be runs of none.
                let run = (*run).max(1);
                let there = of.values().words();
                if there.is_none() {
                    of.values().read_f32(start, out);
                }
                let (mut at, mut rest) = (start, out);
                while let (Some(factor), false) = (factors.get(at / run), rest.is_empty()) {
                    let (these, after) = rest.split_at_mut(rest.len().min(run - at % run));
                    let scaled = |value: f32| narrow(f64::from(value) * factor);
                    match there {
                        Some(there) => {
                            let from = there.get(at..).unwrap_or_default();
                            these.iter_mut().zip(from).for_each(|(to, from)| *to = scaled(f32::from_le_bytes(*from)));
                        }
                        None => these.iter_mut().for_each(|value| *value = scaled(*value)),
                    }
                    at += these.len();
                    rest = after;
                }
            }
            Self::Joined(parts) => {
                let (mut first, mut rest) = (0, out);
                for part in parts {
                    let (end, from) = (first + part.elements(), start.max(first));
                    if from < end && !rest.is_empty() {
                        let (these, after) = rest.split_at_mut(rest.len().min(end - from));
                        part.values().read_f32(from - first, these);
                        rest = after;
                    }
                    first = end;
                }
            }
            Self::Widened(of) => {
                let bytes = of.bytes().get(2 * start..).unwrap_or_default();
                for (value, half) in out.iter_mut().zip(chunks(bytes, half::f16::from_le_bytes)) {
                    *value = half.to_f32();
                }
            }
        }
    }
}

impl Values {
    /// Values made by a recipe when they are asked for; `None` where its parts do not fit together.
    #[must_use]
    pub fn recipe(recipe: Recipe) -> Option<Self> {
        let len = recipe.elements()?.checked_mul(size_of::<f32>())?;
        let nested = 1 + recipe.parts().iter().map(|part| part.values().nested()).max().unwrap_or(0);
        let made = Self(Inner::Recipe(Arc::new(Made { recipe, len, nested, bytes: OnceLock::new() })));
        Some(if nested > MOST_NESTED { Self::from(made.compute()) } else { made })
    }

    fn nested(&self) -> usize {
        match &self.0 {
            Inner::There(_) => 0,
            Inner::Recipe(made) => made.nested,
        }
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Inner::There(bytes) => bytes.len(),
            Inner::Recipe(made) => made.len,
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes. Those of a recipe are computed once, and kept.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match &self.0 {
            Inner::There(bytes) => bytes,
            Inner::Recipe(made) => made.bytes.get_or_init(|| made.compute()),
        }
    }

    /// The bytes. Those of a recipe are computed anew, and not kept.
    #[must_use]
    pub fn compute(&self) -> Bytes {
        match &self.0 {
            Inner::There(bytes) => bytes.clone(),
            Inner::Recipe(made) => made.bytes.get().cloned().unwrap_or_else(|| made.compute()),
        }
    }

    /// The bytes, where they need not be computed.
    #[must_use]
    pub fn there(&self) -> Option<&Bytes> {
        match &self.0 {
            Inner::There(bytes) => Some(bytes),
            Inner::Recipe(made) => made.bytes.get(),
        }
    }

    /// The bytes of f32 elements, where they need not be computed.
    fn words(&self) -> Option<&[[u8; 4]]> {
        self.there().map(|bytes| bytes.as_chunks().0)
    }

    /// The f32 elements from `start` on, as many as `out` has, computed if need be, and not kept. Elements beyond the last
    /// leave `out` as it is.
    pub fn read_f32(&self, start: usize, out: &mut [f32]) {
        let bytes = match &self.0 {
            Inner::Recipe(made) if made.bytes.get().is_none() => return made.recipe.read(start, out),
            _ => self.there().map(Bytes::as_ref).unwrap_or_default(),
        };
        let bytes = bytes.get(size_of::<f32>() * start..).unwrap_or_default();
        let out: &mut [u8] = bytemuck::cast_slice_mut(out);
        let there = out.len().min(bytes.len() / size_of::<f32>() * size_of::<f32>());
        out[..there].copy_from_slice(&bytes[..there]);
    }

    /// The largest magnitude of each run of `run` f32 values. Infinities count, NaNs do not.
    pub fn largest(&self, run: usize) -> Vec<f32> {
        let elements = self.len() / size_of::<f32>();
        let there = self.words();
        let mut block = vec![0.0f32; if there.is_some() { 0 } else { BLOCK.min(run) }];
        let of_run = |start: usize| {
            let end = elements.min(start.saturating_add(run));
            let mut largest = [0.0; LANES];
            match there {
                Some(there) => raise(&mut largest, &there[start..end]),
                None => {
                    for start in (start..end).step_by(BLOCK) {
                        let block = &mut block[..BLOCK.min(end - start)];
                        self.read_f32(start, block);
                        raise(&mut largest, bytemuck::cast_slice(block));
                    }
                }
            }
            largest.into_iter().fold(0.0, f32::max)
        };
        (0..elements).step_by(run.max(1)).map(of_run).collect()
    }

    /// Some bytes that tell most values apart, without computing all: the first ones, and a recipe's own.
    pub fn tell(&self, hasher: &mut impl std::hash::Hasher) {
        const TELLING: usize = 256;
        hasher.write_usize(self.len());
        match &self.0 {
            Inner::There(bytes) => hasher.write(&bytes[..bytes.len().min(TELLING)]),
            Inner::Recipe(made) => {
                let mut first = [0.0f32; TELLING / size_of::<f32>()];
                made.recipe.read(0, &mut first);
                hasher.write(bytemuck::cast_slice(&first[..first.len().min(made.len / size_of::<f32>())]));
            }
        }
    }
}

/// Raises the largest magnitudes that are known, those of every [`LANES`]th value, to those of more values.
fn raise(largest: &mut [f32; LANES], values: &[[u8; 4]]) {
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut raise = |values: &[[u8; 4]]| {
        for (largest, value) in largest.iter_mut().zip(values) {
            let value = f32::from_le_bytes(*value).abs();
            *largest = if value > *largest { value } else { *largest };
        }
    };
    whole.iter().for_each(|values| raise(values));
    raise(rest);
}

impl Made {
    fn compute(&self) -> Bytes {
        let mut values = vec![0.0f32; self.len / size_of::<f32>()];
        self.recipe.read(0, &mut values);
        owned_bytes(values)
    }
}

/// Equal bytes.
impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Inner::Recipe(a), Inner::Recipe(b)) if Arc::ptr_eq(a, b) || a.recipe == b.recipe => true,
            _ => self.len() == other.len() && self.compute() == other.compute(),
        }
    }
}

impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Values({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use super::*;

    fn ramp(count: usize) -> Tensor {
        Tensor::from_f32(&[count], (0..count).map(|value| value as f32).collect()).unwrap()
    }

    fn floats(tensor: &Tensor) -> Vec<f32> {
        tensor.as_f32().unwrap().into_owned()
    }

    #[test]
    fn recipes_make_what_they_say() {
        let scaled = ramp(6).scaled(vec![2.0, 0.5, -1.0], 2).unwrap();
        let joined = Tensor::concatenated(&[ramp(2), scaled.clone(), ramp(1)]).unwrap();
        let halves = ramp(5).cast(DType::F16).unwrap();
        assert!(matches!(scaled.values().0, Inner::Recipe(_)) && matches!(joined.values().0, Inner::Recipe(_)));
        assert_eq!(joined.values().compute(), joined.values().compute());
        assert_eq!(floats(&scaled), [0.0, 2.0, 1.0, 1.5, -4.0, -5.0]);
        assert_eq!(floats(&joined), [0.0, 1.0, 0.0, 2.0, 1.0, 1.5, -4.0, -5.0, 0.0]);
        assert_eq!(floats(&halves.cast(DType::F32).unwrap()), [0.0, 1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn any_part_can_be_read_alone() {
        let long = Tensor::concatenated(&[ramp(7).scaled(vec![3.0], 7).unwrap(), ramp(9), ramp(4)]).unwrap();
        let all: Vec<f32> = (0..7).map(|x| x as f32 * 3.0).chain((0..9).chain(0..4).map(|x| x as f32)).collect();
        for start in 0..20 {
            for len in 0..=20 - start {
                let mut part = vec![f32::NAN; len];
                long.values().read_f32(start, &mut part);
                assert_eq!(part, all[start..start + len], "{len} from {start}");
            }
        }
    }

    #[test]
    fn the_largest_of_each_run() {
        let mut values: Vec<f32> = (0..2 * BLOCK + 3).map(|x| (x % 7) as f32).collect();
        values[BLOCK + 1] = -9.0;
        values[2 * BLOCK..].copy_from_slice(&[1.0, f32::NAN, -2.0]);
        let tensor = Tensor::from_f32(&[values.len()], values.clone()).unwrap();
        assert_eq!(tensor.values().largest(2 * BLOCK), [9.0, 2.0]);
        let doubled = tensor.scaled(vec![2.0], values.len()).unwrap();
        assert_eq!(doubled.values().largest(2 * BLOCK), [18.0, 4.0]);
        values[3] = f32::NEG_INFINITY;
        assert_eq!(
            Tensor::from_f32(&[values.len()], values).unwrap().values().largest(2 * BLOCK),
            [f32::INFINITY, 2.0]
        );
        let small = ramp(5).scaled(vec![-1.0], 5).unwrap().values().largest(2);
        assert_eq!(small, [1.0, 3.0, 4.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(ramp(6).scaled(vec![1.0; 3], 3).is_err());
        assert!(Tensor::from_i64(&[1], vec![1]).unwrap().scaled(vec![1.0], 1).is_err());
        assert_eq!(Values::recipe(Recipe::Widened(ramp(1))), None);
        assert_eq!(floats(&ramp(0).scaled(vec![1.0; 3], 0).unwrap()), [0.0; 0]);
    }

    #[test]
    fn deep_nesting_is_computed() {
        let mut tensor = ramp(3);
        for depth in 1..1000 {
            tensor = tensor.scaled(vec![1.0, -1.0, 0.5], 1).unwrap();
            assert!(tensor.values().nested() <= MOST_NESTED, "{depth}");
        }
        assert_eq!(floats(&tensor)[..2], [0.0, -1.0]);
    }

    #[test]
    fn equality_is_that_of_the_bytes() {
        let tell = |tensor: &Tensor| {
            let mut hasher = rustc_hash::FxHasher::default();
            tensor.values().tell(&mut hasher);
            std::hash::Hasher::finish(&hasher)
        };
        let (a, b) = (ramp(100).scaled(vec![1.0; 100], 1).unwrap(), ramp(100));
        assert!(a == b && tell(&a) == tell(&b));
        let c = ramp(100).scaled(vec![2.0; 100], 1).unwrap();
        assert!(a != c && tell(&a) != tell(&c));
    }
}
