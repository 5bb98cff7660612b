//! A scale and a shift of each channel, `x · factor + shift`: which nodes are one, what several in a row make together,
//! and how a convolution takes one over, from behind and from before.
//!
//! All of it is computed in `f64`; each new weight and bias is rounded once. Depends on the graph alone.

use incept_ir::graph::{Graph, GraphError, NewValue, Patch, Provenance};
use incept_ir::ids::{NodeId, ValueId};
use incept_ir::ops::{BatchNorm, Conv, Op};
use incept_ir::tensor::{Tensor, TensorError, narrow};
use incept_ir::types::{DType, Dim};
use smallvec::SmallVec;

/// A scale and a shift of each channel (axis 1).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Affine {
    pub factors: Vec<f64>,
    pub shifts: Vec<f64>,
}

impl Affine {
    /// What a node does to its one input that is no constant, and that input, where it scales and shifts channels.
    pub fn of(graph: &Graph, id: NodeId) -> Result<Option<(ValueId, Self)>, GraphError> {
        let node = graph.node(id)?;
        let inputs = graph.node_inputs(id);
        let (Some(first), Some(output)) = (inputs.first().copied(), node.outputs.first()) else { return Ok(None) };
        let found = match &node.op {
            Op::BatchNorm(norm) => Self::of_norm(graph, norm, &inputs[1..]).map(|affine| (first, affine)),
            op @ (Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_)) => {
                let [a, b] = inputs.as_slice() else { return Ok(None) };
                let (x, constant, constant_first) = match (graph.constant(*a), graph.constant(*b)) {
                    (None, Some(constant)) => (*a, constant, false),
                    (Some(constant), None) => (*b, constant, true),
                    _ => return Ok(None),
                };
                let Some(values) = per_channel(graph, x, constant)? else { return Ok(None) };
                let (ones, zeros) = (vec![1.0; values.len()], vec![0.0; values.len()]);
                let affine = match op {
                    Op::Add(_) => Self { factors: ones, shifts: values },
                    Op::Sub(_) if constant_first => Self { factors: vec![-1.0; values.len()], shifts: values },
                    Op::Sub(_) => Self { factors: ones, shifts: values.iter().map(|value| -value).collect() },
                    Op::Mul(_) => Self { factors: values, shifts: zeros },
                    _ if constant_first => return Ok(None),
                    _ => Self { factors: values.iter().map(|value| 1.0 / value).collect(), shifts: zeros },
                };
                Some((x, affine))
            }
            _ => None,
        };
        // Where the constant broadcasts the input, the channels of the result are others.
        Ok(match found {
            Some((x, affine)) if graph.ty(x)? == graph.ty(*output)? => Some((x, affine)),
            _ => None,
        })
    }

    fn of_norm(graph: &Graph, norm: &BatchNorm, parameters: &[ValueId]) -> Option<Self> {
        let tensors: Option<SmallVec<[Vec<f64>; 4]>> =
            parameters.iter().map(|value| graph.constant(*value).map(Tensor::to_f64)).collect();
        let tensors = tensors?;
        let [scale, bias, mean, variance] = tensors.as_slice() else { return None };
        let epsilon = f64::from(norm.epsilon);
        let factors: Vec<f64> =
            scale.iter().zip(variance).map(|(scale, variance)| scale / (variance + epsilon).sqrt()).collect();
        let shifts = bias.iter().zip(mean).zip(&factors).map(|((bias, mean), factor)| bias - mean * factor).collect();
        Some(Self { factors, shifts })
    }

    /// The scale and shift that does what this one and then another one do.
    pub fn then(&self, next: &Self) -> Self {
        let pairs = |factors: &[f64], shifts: &[f64], next: &Self| -> (Vec<f64>, Vec<f64>) {
            let each = factors.iter().zip(shifts).zip(next.factors.iter().zip(&next.shifts));
            each.map(|((factor, shift), (by, plus))| (factor * by, shift * by + plus)).unzip()
        };
        let (factors, shifts) = pairs(&self.factors, &self.shifts, next);
        Self { factors, shifts }
    }

    /// The one that changes nothing.
    pub fn identity(channels: usize) -> Self {
        Self { factors: vec![1.0; channels], shifts: vec![0.0; channels] }
    }

    /// The scale alone.
    pub fn without_shifts(&self) -> Self {
        Self { factors: self.factors.clone(), shifts: vec![0.0; self.shifts.len()] }
    }

    /// What is to be added before the scale, in the place of the shift after it; `None` where a factor is zero or the sum
    /// would not be finite.
    pub fn offsets(&self) -> Option<Vec<f64>> {
        let offsets: Vec<f64> = self.shifts.iter().zip(&self.factors).map(|(shift, factor)| shift / factor).collect();
        all_finite(&narrowed(&offsets)).then_some(offsets)
    }

    /// Whether nothing is shifted.
    pub fn only_scales(&self) -> bool {
        self.shifts.iter().all(|shift| *shift == 0.0)
    }

    /// Whether nothing is scaled.
    pub fn only_shifts(&self) -> bool {
        self.factors.iter().all(|factor| *factor == 1.0)
    }
}

/// The values of a constant for each channel of `x`, where it is the same along all other axes.
fn per_channel(graph: &Graph, x: ValueId, constant: &Tensor) -> Result<Option<Vec<f64>>, GraphError> {
    let ty = graph.ty(x)?;
    let (Some(Dim::Fixed(channels)), DType::F32) = (ty.shape.dims().get(1).copied(), constant.dtype()) else {
        return Ok(None);
    };
    let (rank, own) = (ty.shape.rank(), constant.sizes().len());
    let varies = |(axis, size): (usize, &usize)| *size != 1 && axis + rank != own + 1;
    if own > rank || constant.sizes().iter().enumerate().any(varies) {
        return Ok(None);
    }
    let values = constant.to_f64();
    Ok(match values.as_slice() {
        [one] => Some(vec![*one; channels]),
        _ if values.len() == channels => Some(values),
        _ => None,
    })
}

/// Nodes in a row, each the only reader of the one before, that scale and shift channels.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub nodes: Vec<NodeId>,
    /// What the first of them reads.
    pub input: ValueId,
    /// What the last of them makes.
    pub output: ValueId,
    pub affine: Affine,
}

impl Chain {
    /// The longest chain that begins with a node; `None` where that scales and shifts nothing, or belongs to the chain of
    /// a node before it.
    pub fn from(graph: &Graph, id: NodeId) -> Result<Option<Self>, GraphError> {
        let Some((input, affine)) = Affine::of(graph, id)? else { return Ok(None) };
        let before = graph.producer(input)?.0;
        if graph.only_use(input).is_some() && Affine::of(graph, before)?.is_some() {
            return Ok(None);
        }
        let mut chain = Self { nodes: vec![id], input, output: graph.output(id, 0)?, affine };
        while let Some(next) = graph.only_use(chain.output) {
            let Some((read, affine)) = Affine::of(graph, next.node)? else { break };
            if read != chain.output {
                break;
            }
            chain.affine = chain.affine.then(&affine);
            chain.nodes.push(next.node);
            chain.output = graph.output(next.node, 0)?;
        }
        Ok(Some(chain))
    }
}

/// The parts of a convolution that may take over a scale and shift.
pub(super) struct Target<'graph> {
    pub conv: &'graph Conv,
    name: &'graph str,
    inputs: SmallVec<[ValueId; 4]>,
    weights: &'graph Tensor,
    bias: Option<&'graph Tensor>,
    weight_name: &'graph str,
    bias_name: Option<&'graph str>,
    channels: usize,
}

impl<'graph> Target<'graph> {
    /// A convolution whose weights and bias are constants; `None` for any other node.
    pub fn new(graph: &'graph Graph, id: NodeId) -> Result<Option<Self>, GraphError> {
        let node = graph.node(id)?;
        let Op::Conv(conv) = &node.op else { return Ok(None) };
        let inputs = graph.node_inputs(id);
        let constant = |slot: usize| -> Option<(&'graph str, &'graph Tensor)> {
            let value = *inputs.get(slot)?;
            Some((&*graph.producer(value).ok()?.1.name, graph.constant(value)?))
        };
        let Some((weight_name, weights)) = constant(1) else { return Ok(None) };
        let bias = if conv.has_bias(inputs.len()) { constant(2) } else { None };
        if bias.is_none() && conv.has_bias(inputs.len()) {
            return Ok(None);
        }
        let channels = weights.sizes().first().copied().unwrap_or(0);
        let (bias_name, bias) = bias.unzip();
        Ok(Some(Self { conv, name: &node.name, inputs, weights, bias, weight_name, bias_name, channels }))
    }

    /// Adds the convolution that also scales and shifts what it made, in the place of a single output. `fallback` names a
    /// bias where there was none. `None` where a weight or bias would not be finite.
    pub fn followed_by(
        &self,
        patch: &mut Patch,
        affine: &Affine,
        fallback: &str,
        provenance: Provenance,
    ) -> Result<Option<NewValue>, GraphError> {
        let mut bias = Vec::with_capacity(self.channels);
        let old = self.bias.map(Tensor::to_f64);
        for (channel, (factor, shift)) in affine.factors.iter().zip(&affine.shifts).enumerate() {
            let old = old.as_ref().map_or(0.0, |bias| bias[channel]);
            bias.push(narrow(old * factor + shift));
        }
        // A run of one factor is all that makes an output channel.
        let run = self.weights.elements().checked_div(self.channels).unwrap_or(0);
        let weights = match affine.only_shifts() {
            true => None,
            false => match self.scaled(affine.factors.clone(), run)? {
                None => return Ok(None),
                weights => weights,
            },
        };
        self.rebuilt(patch, self.inputs[0].into(), weights, bias, fallback, provenance)
    }

    /// Adds the convolution that reads `x` in the place of its input, which is `x` scaled and shifted. Exact only where
    /// nothing is padded or nothing is shifted. `None` where a weight or bias would not be finite.
    pub fn preceded_by(
        &self,
        patch: &mut Patch,
        x: NewValue,
        affine: &Affine,
        fallback: &str,
        provenance: Provenance,
    ) -> Result<Option<NewValue>, GraphError> {
        let depth = self.weights.sizes().get(1).copied().unwrap_or(0);
        let taps = self.weights.sizes().iter().skip(2).product::<usize>();
        let per_group = self.channels.checked_div(self.conv.group).unwrap_or(0).max(1);
        let first = |channel: usize| channel / per_group * depth;
        let old = self.bias.map(Tensor::to_f64);
        let mut bias = Vec::with_capacity(self.channels);
        let bytes = self.weights.values().compute();
        let (all, _) = bytes.as_chunks::<4>();
        for channel in 0..self.channels {
            let row = &all[channel * depth * taps..][..depth * taps];
            let start = old.as_ref().map_or(0.0, |bias| bias[channel]);
            let shifts = &affine.shifts[first(channel)..][..depth];
            let sum = row.chunks(taps.max(1)).zip(shifts).fold(start, |sum, (taps, shift)| {
                taps.iter().fold(sum, |sum, weight| sum + f64::from(f32::from_le_bytes(*weight)) * shift)
            });
            bias.push(narrow(sum));
        }
        let weights = match affine.only_shifts() {
            true => None,
            false => {
                let of_channel = |channel: usize| &affine.factors[first(channel)..][..depth];
                match self.scaled((0..self.channels).flat_map(of_channel).copied().collect(), taps)? {
                    None => return Ok(None),
                    weights => weights,
                }
            }
        };
        self.rebuilt(patch, x, weights, bias, fallback, provenance)
    }

    /// The weights, each run of them times its factor; `None` where one would be infinite: that makes a NaN of a zero.
    fn scaled(&self, factors: Vec<f64>, run: usize) -> Result<Option<Tensor>, GraphError> {
        let largest = self.weights.values().largest(run);
        if !largest.iter().zip(&factors).all(|(weight, factor)| narrow(f64::from(*weight) * factor).is_finite()) {
            return Ok(None);
        }
        self.weights.scaled(factors, run).map(Some).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: TensorError) -> GraphError {
        GraphError::Op { node: self.name.to_owned(), op: "conv", source: Box::new(error.into()) }
    }

    fn rebuilt(
        &self,
        patch: &mut Patch,
        x: NewValue,
        weights: Option<Tensor>,
        bias: Vec<f32>,
        fallback: &str,
        provenance: Provenance,
    ) -> Result<Option<NewValue>, GraphError> {
        if !all_finite(&bias) {
            return Ok(None);
        }
        let weights = match weights {
            None => NewValue::Old(self.inputs[1]),
            Some(weights) => patch.constant(self.weight_name, weights, provenance.clone()),
        };
        let mut inputs = vec![x, weights];
        if self.bias.is_some() || bias.iter().any(|value| *value != 0.0) {
            let tensor = Tensor::from_f32(&[bias.len()], bias).map_err(|error| self.failed(error))?;
            inputs.push(patch.constant(self.bias_name.unwrap_or(fallback), tensor, provenance.clone()));
        }
        let residual = self.inputs.last().filter(|_| self.conv.residual);
        inputs.extend(residual.copied().map(NewValue::Old));
        Ok(Some(patch.node(self.conv.clone(), self.name, inputs, provenance)))
    }
}

/// Values rounded to the nearest f32.
pub(super) fn narrowed(values: &[f64]) -> Vec<f32> {
    values.iter().copied().map(narrow).collect()
}

fn all_finite(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite())
}
