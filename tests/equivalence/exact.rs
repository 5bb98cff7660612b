//! Whether nothing in a graph can be rounded, whatever the order of its sums.
//!
//! Every value has a *grain*: a power of two of which all its elements are multiples. Sums of products have the product
//! of the grains, and no partial sum exceeds the sum of magnitudes. Where that is less than 2²⁴ grains, `f32` holds every
//! partial sum exactly.

use std::collections::HashMap;

use incept::ir::graph::{Graph, Node};
use incept::ir::ids::ValueId;
use incept::ir::ops::{Op, Pool};
use incept::ir::tensor::Tensor;

/// How many grains `f32` tells apart.
const MOST: f64 = 16_777_216.0;

/// The elements' common power of two, and the largest magnitude. Infinities and zeros have any grain.
#[derive(Clone, Copy)]
struct Measure {
    grain: f64,
    most: f64,
}

fn grain(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return f64::INFINITY;
    }
    // The weight of the lowest bit that is set.
    let bits = value.to_bits();
    let exponent = i32::try_from((bits >> 52) & 0x7ff).unwrap_or(0) - 1075;
    let mantissa = bits & ((1 << 52) - 1) | (1 << 52);
    2.0f64.powi(exponent + i32::try_from(mantissa.trailing_zeros()).unwrap_or(0))
}

fn measure(values: impl IntoIterator<Item = f64>) -> Measure {
    values.into_iter().fold(Measure { grain: f64::INFINITY, most: 0.0 }, |all, value| Measure {
        grain: all.grain.min(grain(value)),
        most: if value.is_finite() { all.most.max(value.abs()) } else { all.most },
    })
}

fn fits(most: f64, grain: f64) -> bool {
    most / grain <= MOST
}

/// Whether sums of products of `x` with rows of weights, each with its bias, are exact.
fn sums(x: &Tensor, weights: &[f64], rows: usize, by_column: bool, bias: &[f64], factor: f64) -> bool {
    let (x, w, b) = (measure(x.to_f64()), measure(weights.iter().copied()), measure(bias.iter().copied()));
    let rows = rows.max(1);
    let each = weights.len() / rows;
    let total = (0..rows).map(|row| {
        let at = |index: usize| if by_column { index * rows + row } else { row * each + index };
        (0..each).map(|index| weights[at(index)].abs()).sum::<f64>()
    });
    let most = total.fold(0.0, f64::max) * x.most * factor.abs().max(1.0) + b.most;
    fits(most, (x.grain * w.grain * factor.abs().min(1.0)).min(b.grain))
}

/// Whether the means of windows are exact: windows of a power of two, all as large.
fn means(x: &Tensor, pool: &Pool, count_include_pad: bool) -> bool {
    let area = pool.kernel[0] * pool.kernel[1];
    let x = measure(x.to_f64());
    let alike = !pool.ceil_mode && (count_include_pad || pool.pads == [0; 4]);
    area.is_power_of_two() && alike && fits(x.most * area as f64, x.grain / area as f64)
}

fn node_is_exact(node: &Node, inputs: &[&Tensor]) -> bool {
    let both = || (measure(inputs[0].to_f64()), measure(inputs[1].to_f64()));
    let bias = |slot: usize| inputs.get(slot).map_or_else(Vec::new, |tensor| tensor.to_f64());
    match &node.op {
        Op::Input(_)
        | Op::Constant(_)
        | Op::Relu(_)
        | Op::Clip(_)
        | Op::MaxPool(_)
        | Op::Concat(_)
        | Op::Reshape(_)
        | Op::Flatten(_)
        | Op::Dropout(_)
        | Op::Identity(_)
        | Op::Unsqueeze(_)
        | Op::Squeeze(_)
        | Op::Transpose(_)
        | Op::Slice(_)
        | Op::Pad(_)
        | Op::Cast(_) => true,
        // A slope that is a power of two rounds nothing.
        Op::LeakyRelu(leaky) => leaky.alpha.abs().log2().fract() == 0.0,
        Op::Conv(_) => sums(inputs[0], &inputs[1].to_f64(), inputs[1].sizes()[0], false, &bias(2), 1.0),
        Op::Gemm(gemm) => {
            let sizes = inputs[1].sizes();
            let rows = if gemm.trans_b { sizes[0] } else { sizes[1] };
            let scaled = gemm.alpha.abs().log2().fract() == 0.0 && gemm.beta == 1.0 && !gemm.trans_a;
            let alpha = f64::from(gemm.alpha);
            scaled && sums(inputs[0], &inputs[1].to_f64(), rows, !gemm.trans_b, &bias(2), alpha)
        }
        Op::MatMul(_) => {
            let rows = inputs[1].sizes().last().copied().unwrap_or(1);
            inputs[1].sizes().len() == 2 && sums(inputs[0], &inputs[1].to_f64(), rows, true, &[], 1.0)
        }
        Op::Add(_) | Op::Sub(_) => {
            let (a, b) = both();
            fits(a.most + b.most, a.grain.min(b.grain))
        }
        Op::Mul(_) => {
            let (a, b) = both();
            fits(a.most * b.most, a.grain * b.grain)
        }
        Op::BatchNorm(norm) => {
            let x = measure(inputs[0].to_f64());
            let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|slot| inputs[slot].to_f64());
            (0..scale.len()).all(|channel| {
                let gain = scale[channel] / (variance[channel] + f64::from(norm.epsilon)).sqrt();
                let shift = bias[channel] - mean[channel] * gain;
                let most = (x.most + mean[channel].abs()) * gain.abs() + bias[channel].abs();
                let grain = [x.grain, grain(mean[channel])].map(|grain| grain * self::grain(gain));
                grain[0] > 0.0
                    && fits(most, grain[0].min(grain[1]).min(self::grain(bias[channel])).min(self::grain(shift)))
            })
        }
        Op::AvgPool(avg) => means(inputs[0], &avg.pool, avg.count_include_pad),
        Op::GlobalAvgPool(_) => {
            let kernel = [inputs[0].sizes()[2], inputs[0].sizes()[3]];
            means(inputs[0], &Pool::new(kernel), true)
        }
        // What else there may be takes roots, exponentials and divisions.
        _ => false,
    }
}

/// Whether no node of the graph rounds, given the tensors of all its values.
pub fn is_exact(graph: &Graph, values: &HashMap<ValueId, Tensor>) -> bool {
    graph.nodes().all(|(id, node)| {
        let inputs: Option<Vec<&Tensor>> = graph.node_inputs(id).iter().map(|value| values.get(value)).collect();
        inputs.is_some_and(|inputs| inputs.iter().all(|tensor| tensor.as_f32().is_ok()) && node_is_exact(node, &inputs))
    })
}
