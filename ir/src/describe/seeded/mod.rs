//! Seeded weights: He-initialised, with batch normalisations that fit the activations; the same on every machine.
//!
//! Each weight tensor has its own random stream, named after it. As in He's rule, its variance is
//! `1 / (inputs of an output × energy of an input)`, with the energy that is expected instead of one half, so that what it
//! makes has a variance of 1. Where inputs have a mean (after a ReLU), the weights of each output are centred: they sum to
//! 0, so that an error in the expected means, alike in all features, cancels instead of growing from layer to layer.
//!
//! The means and variances of every value are followed analytically (see [`moments`]) from inputs of mean 0 and variance
//! 1, and become the statistics of the batch normalisations. Their scales and offsets vary a little, so that nothing that
//! folds them can forget one unnoticed.
//!
//! All arithmetic is additions, multiplications, divisions and square roots in a fixed order.

mod math;
mod moments;
mod random;

use moments::{Moments, averaged, clipped, largest, normalised, rectified};
use random::Random;
use rustc_hash::FxHashMap;

use crate::graph::{Graph, GraphError};
use crate::ids::{NodeId, ValueId};
use crate::ops::Op;
use crate::tensor::{Tensor, TensorError};
use crate::types::{Dim, Shape};

/// The most weights that one model may be seeded with: 2³⁰, 4 GiB.
pub const MAX_SEEDED: usize = 1 << 30;

/// Makes weights, and follows moments through the graph that they are for.
pub struct Seeder {
    seed: u64,
    made: usize,
    moments: FxHashMap<ValueId, Moments>,
}

/// Why a weight could not be made.
pub enum SeedError {
    /// The model exceeds [`MAX_SEEDED`].
    TooMany,
    /// The tensor could not be made.
    Tensor(TensorError),
}

impl From<TensorError> for SeedError {
    fn from(error: TensorError) -> Self {
        Self::Tensor(error)
    }
}

/// Spread of the scales and offsets of batch normalisations, and of biases.
const SPREAD: f64 = 0.1;

/// Weights are centred where the square of an input's mean is more than this much of its variance.
const CENTRED_ABOVE: f64 = 0.1;

/// Below this a variance is taken for a feature that never changes.
const LEAST_VARIANCE: f64 = 1e-4;

impl Seeder {
    pub fn new(seed: u64) -> Self {
        Self { seed, made: 0, moments: FxHashMap::default() }
    }

    /// A convolution's or a linear layer's weights, for the input `x`.
    ///
    /// `sizes[0]` counts the outputs; an output sees the product of the other sizes.
    pub fn weight(&mut self, name: &str, sizes: &[usize], x: ValueId) -> Result<Tensor, SeedError> {
        let count = self.count(sizes)?;
        let row = (count / sizes.first().copied().unwrap_or(1).max(1)).max(1);
        let (mean, variance) = self.moments.get(&x).map_or((0.0, 1.0), Moments::pooled);
        let centred = mean * mean > CENTRED_ABOVE * variance && sizes.get(1).is_some_and(|features| *features > 1);
        let energy = if centred { variance } else { variance + mean * mean };
        let deviation = (1.0 / (row as f64 * energy.max(LEAST_VARIANCE))).sqrt();
        let mut values = Random::new(self.seed, name).normals(count, deviation);
        if centred {
            values.chunks_exact_mut(row).for_each(centre);
        }
        Ok(Tensor::from_f32(sizes, values)?)
    }

    /// A bias.
    pub fn bias(&mut self, name: &str, size: usize) -> Result<Tensor, SeedError> {
        self.spread(name, size, 0.0)
    }

    /// The scales of a batch normalisation.
    pub fn scale(&mut self, name: &str, size: usize) -> Result<Tensor, SeedError> {
        self.spread(name, size, 1.0)
    }

    fn spread(&mut self, name: &str, size: usize, centre: f32) -> Result<Tensor, SeedError> {
        let count = self.count(&[size])?;
        let values = Random::new(self.seed, name).normals(count, SPREAD);
        Ok(Tensor::from_f32(&[size], values.into_iter().map(|value| centre + value).collect())?)
    }

    /// Mean and variance of each of the `size` features of `x`.
    #[allow(clippy::cast_possible_truncation, reason = "statistics are stored as f32")]
    pub fn statistics(&mut self, x: ValueId, size: usize) -> Result<[Tensor; 2], SeedError> {
        let count = self.count(&[size, 2])? / 2;
        let found = self.moments.get(&x).and_then(Moments::expand).filter(|found| found.mean.len() == count);
        let (mean, variance) = match found {
            Some(found) => (found.mean, found.variance),
            None => {
                let (mean, variance) = self.moments.get(&x).map_or((0.0, 1.0), Moments::pooled);
                (vec![mean; count], vec![variance; count])
            }
        };
        let mean = mean.into_iter().map(|value| value as f32).collect();
        let variance = variance.into_iter().map(|value| value.max(LEAST_VARIANCE) as f32).collect();
        Ok([Tensor::from_f32(&[size], mean)?, Tensor::from_f32(&[size], variance)?])
    }

    fn count(&mut self, sizes: &[usize]) -> Result<usize, SeedError> {
        let count = sizes.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        let count = count.filter(|count| *count <= MAX_SEEDED - self.made).ok_or(SeedError::TooMany)?;
        self.made += count;
        Ok(count)
    }

    /// Follows the moments through a node that was just added. The graph is a description's: no op has a fused
    /// activation.
    pub fn observe(&mut self, graph: &Graph, node: NodeId) -> Result<(), GraphError> {
        let made = graph.output(node, 0)?;
        let moments = self.through(graph, node, made)?;
        self.moments.insert(made, moments);
        Ok(())
    }

    fn through(&self, graph: &Graph, node: NodeId, made: ValueId) -> Result<Moments, GraphError> {
        let inputs = graph.node_inputs(node);
        let shape = &graph.ty(made)?.shape;
        let features = fixed(shape, 1);
        let of = |slot: usize| inputs.get(slot).and_then(|value| self.moments.get(value)).cloned();
        let constant = |slot: usize| -> Option<Vec<f64>> { Some(graph.constant(*inputs.get(slot)?)?.to_f64()) };
        let x = of(0).unwrap_or_else(|| Moments::uniform(0.0, 1.0, features));
        Ok(match &graph.node(node)?.op {
            Op::Conv(conv) => {
                let weight = inputs.get(1).and_then(|value| graph.constant(*value));
                weight.map_or_else(
                    || Moments::uniform(0.0, 1.0, features),
                    |weight| weighted(&x, weight, conv.group, constant(2)),
                )
            }
            Op::Gemm(_) => {
                let weight = inputs.get(1).and_then(|value| graph.constant(*value));
                weight
                    .map_or_else(|| Moments::uniform(0.0, 1.0, features), |weight| weighted(&x, weight, 1, constant(2)))
            }
            Op::BatchNorm(norm) => match (constant(1), constant(2), constant(3), constant(4)) {
                (Some(scale), Some(bias), Some(mean), Some(variance)) => {
                    let gain = scale
                        .iter()
                        .zip(&variance)
                        .map(|(scale, variance)| scale / (variance + f64::from(norm.epsilon)).sqrt());
                    let all: Vec<(f64, f64)> = gain
                        .zip(bias.iter().zip(&mean))
                        .map(|(gain, (bias, mean))| (gain, bias - gain * mean))
                        .collect();
                    let line = Moments {
                        mean: all.iter().map(|(gain, _)| *gain).collect(),
                        variance: all.iter().map(|(_, offset)| *offset).collect(),
                        repeat: 1,
                    };
                    Moments::zip(&x, &line, |(mean, variance), (gain, offset)| {
                        (mean * gain + offset, variance * gain * gain)
                    })
                }
                _ => x,
            },
            Op::Relu(_) => x.map(rectified),
            Op::Clip(clip) => x.map(|mean, variance| clipped(mean, variance, f64::from(clip.min), f64::from(clip.max))),
            Op::MaxPool(max) => {
                let count = max.pool.kernel[0].saturating_mul(max.pool.kernel[1]);
                x.map(|mean, variance| largest(mean, variance, count))
            }
            Op::AvgPool(avg) => {
                let count = avg.pool.kernel[0].saturating_mul(avg.pool.kernel[1]);
                x.map(|mean, variance| averaged(mean, variance, count))
            }
            Op::GlobalAvgPool(_) => {
                let from = inputs.first().map(|value| graph.ty(*value)).transpose()?.map(|ty| &ty.shape);
                let count = from.map_or(1, |shape| fixed(shape, 2).saturating_mul(fixed(shape, 3)));
                x.map(|mean, variance| averaged(mean, variance, count))
            }
            Op::Concat(concat) if concat.axis == 1 => {
                let parts: Vec<Moments> = (0..inputs.len()).filter_map(of).collect();
                Moments::concat(&parts)
            }
            Op::Add(_) => {
                let y = of(1).unwrap_or_else(|| x.clone());
                Moments::zip(&x, &y, |a, b| (a.0 + b.0, a.1 + b.1))
            }
            Op::Mul(_) => {
                let y = of(1).unwrap_or_else(|| x.clone());
                Moments::zip(&x, &y, |a, b| (a.0 * b.0, a.1 * b.1 + a.1 * b.0 * b.0 + b.1 * a.0 * a.0))
            }
            Op::Lrn(lrn) => {
                let sum = x.mean_square() * lrn.size as f64;
                let scale = f64::from(lrn.alpha) / lrn.size.max(1) as f64;
                let (beta, bias) = (f64::from(lrn.beta), f64::from(lrn.bias));
                x.map(|mean, variance| normalised(mean, variance, sum, scale, beta, bias))
            }
            Op::Flatten(flatten) if flatten.axis == 1 => {
                let repeat = features / x.features().max(1);
                let repeat = x.repeat.saturating_mul(repeat.max(1));
                Moments { repeat, ..x }
            }
            Op::Softmax(_) => {
                let mean = 1.0 / features as f64;
                Moments::uniform(mean, mean * mean, features)
            }
            Op::Identity(_) | Op::Dropout(_) => x,
            _ if x.features() == features => x,
            _ => {
                let (mean, variance) = x.pooled();
                Moments::uniform(mean, variance, features)
            }
        })
    }
}

/// Takes the mean off each weight, so that they sum to 0.
#[allow(clippy::cast_possible_truncation, reason = "the mean of f32 values is stored as one")]
fn centre(row: &mut [f32]) {
    let mut sums = [0.0f64; 8];
    for chunk in row.chunks(8) {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(*value);
        }
    }
    let mean = (sums.iter().sum::<f64>() / row.len().max(1) as f64) as f32;
    for value in row {
        *value -= mean;
    }
}

/// A known size of a shape; 1 where there is none.
fn fixed(shape: &Shape, axis: usize) -> usize {
    shape.dims().get(axis).copied().and_then(Dim::fixed).unwrap_or(1).max(1)
}

/// Of weighted sums of features: a convolution's (weights `[O, I / groups, kh, kw]`) or a linear layer's (`[O, I]`).
fn weighted(x: &Moments, weight: &Tensor, groups: usize, bias: Option<Vec<f64>>) -> Moments {
    let outputs = weight.sizes().first().copied().unwrap_or(0);
    let uniform = || {
        let variance = x.mean_square();
        Moments::uniform(0.0, variance, outputs)
    };
    let (Ok(values), Some(x)) = (weight.as_f32(), x.expand()) else { return uniform() };
    let seen = weight.sizes().get(1).copied().unwrap_or(0);
    let row = values.len() / outputs.max(1);
    if row == 0 || seen == 0 || groups == 0 || seen.checked_mul(groups) != Some(x.mean.len()) || outputs % groups != 0 {
        return uniform();
    }
    // A feature's moments beside each of its taps, so that a row of weights meets a row of moments.
    let taps = row / seen;
    let beside =
        |values: &[f64]| -> Vec<f64> { values.iter().flat_map(|value| std::iter::repeat_n(*value, taps)).collect() };
    let (means, variances) = (beside(&x.mean), beside(&x.variance));
    let each = outputs / groups;
    let rows = values.chunks_exact(row).enumerate().map(|(output, weights)| {
        let from = output / each * row;
        let (means, variances) = (means.get(from..from + row), variances.get(from..from + row));
        dot(weights, means.unwrap_or(&[]), variances.unwrap_or(&[]))
    });
    let (mut mean, variance): (Vec<f64>, Vec<f64>) = rows.unzip();
    for (mean, bias) in mean.iter_mut().zip(bias.unwrap_or_default()) {
        *mean += bias;
    }
    Moments { mean, variance, repeat: 1 }
}

/// `Σ w·mean` and `Σ w²·variance`, in eight partial sums each so that a machine's vectors can be used; the order is part
/// of the result, and fixed.
fn dot(weights: &[f32], means: &[f64], variances: &[f64]) -> (f64, f64) {
    let (mut first, mut second) = ([0.0f64; 8], [0.0f64; 8]);
    let whole = weights.len() / 8 * 8;
    let chunks = weights.chunks_exact(8).zip(means.chunks_exact(8)).zip(variances.chunks_exact(8));
    for ((weights, means), variances) in chunks {
        for lane in 0..8 {
            let weight = f64::from(weights[lane]);
            first[lane] += weight * means[lane];
            second[lane] += weight * weight * variances[lane];
        }
    }
    let rest = weights.iter().zip(means).zip(variances).skip(whole);
    for (lane, ((weight, mean), variance)) in rest.enumerate() {
        let weight = f64::from(*weight);
        first[lane] += weight * mean;
        second[lane] += weight * weight * variance;
    }
    (first.iter().sum(), second.iter().sum())
}
