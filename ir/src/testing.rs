//! Random legal graphs and inputs, for property tests of every stage. Behind the feature `testing`.
//!
//! A graph is a chain of motifs that networks are made of, with the traps that passes must see: shared weights, results
//! with a second reader or that are outputs as well, padding on 1×1 kernels, Relu with many readers, concatenations that
//! nest or repeat a part, siblings, sums, scales as exporters write them, dead nodes. Depends on `graph` and `ops`.
//!
//! Half of the graphs are *whole*: their constants are small integers or powers of two, and they have no softmax and no
//! local response normalisation. Their results are exact in `f32`, whatever the order of sums, as long as they stay small.
//!
//! Invariants: the same seed gives the same graph, on every machine; of two graphs of one seed, the one of fewer motifs is
//! the beginning of the other, its outputs aside.

mod motifs;

use crate::graph::{Graph, GraphError};
use crate::ids::ValueId;
use crate::ops::{
    Add, AvgPool, BatchNorm, Cast, Clip, Concat, Conv, Dropout, Flatten, Gemm, GlobalAvgPool, HardSigmoid, HardSwish,
    Identity, LeakyRelu, Lrn, MatMul, MaxPool, Mul, Op, Pad, Pool, Relu, Reshape, Sigmoid, Slice, Softmax, Squeeze,
    Transpose, Unsqueeze,
};
use crate::tensor::Tensor;
use crate::types::{DType, Dim, Shape, TensorType};

/// A small generator of random numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x1234_5678_9abc_def1)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..limit`; 0 where the limit is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.bits() >> 33).unwrap_or(0).checked_rem(limit).unwrap_or(0)
    }

    /// True in `percent` of the cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn pick<T: Copy, const COUNT: usize>(&mut self, from: [T; COUNT]) -> T {
        from[self.below(COUNT)]
    }

    /// A number in −1..1, a multiple of 2⁻¹⁵.
    pub fn float(&mut self) -> f32 {
        f32::from(i16::from_le_bytes([self.bits().to_le_bytes()[6], self.bits().to_le_bytes()[5]])) / 32768.0
    }

    /// A tensor of numbers in −`scale`..`scale`, around `offset`.
    ///
    /// # Errors
    /// Where the sizes are too large.
    pub fn tensor(&mut self, sizes: &[usize], scale: f32, offset: f32) -> Result<Tensor, GraphError> {
        tensor(sizes, (0..sizes.iter().product()).map(|_| self.float() * scale + offset).collect())
    }
}

fn tensor(sizes: &[usize], values: Vec<f32>) -> Result<Tensor, GraphError> {
    Tensor::from_f32(sizes, values).map_err(|error| GraphError::Op {
        node: "random".into(),
        op: "constant",
        source: Box::new(error.into()),
    })
}

fn eighths(random: &mut Random) -> f32 {
    random.pick([-8.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]) / 8.0
}

/// A random legal graph of about `steps` motifs, small enough to interpret in a millisecond. Its inputs are `f32`; half of
/// the graphs have a symbolic batch.
///
/// # Errors
/// None that a test expects: a defect of the generator.
pub fn random_graph(seed: u64, steps: usize) -> Result<Graph, GraphError> {
    let mut random = Random::new(seed);
    let graph = Graph::new(&format!("random{seed}"));
    let batch = if random.chance(50) { Dim::Batch(1) } else { Dim::Fixed(1 + random.below(2)) };
    let whole = random.chance(50);
    let mut builder =
        Builder { random, graph, images: Vec::new(), rows: Vec::new(), weights: Vec::new(), names: 0, whole };
    for index in 0..1 + usize::from(builder.random.chance(25)) {
        let (channels, size) = (builder.random.pick([1, 2, 3, 4, 6]), builder.random.pick([1, 4, 5, 6, 7, 8]));
        let shape = Shape::new(&[batch, channels.into(), size.into(), (size + index).into()]);
        let input = builder.graph.add_input(&format!("x{index}"), TensorType::new(DType::F32, shape))?;
        builder.images.push(input);
    }
    if builder.random.chance(15) {
        tolerate(builder.normalised_input(builder.images[0]))?;
    }
    for _ in 0..steps {
        tolerate(builder.step())?;
    }
    builder.outputs()?;
    builder.graph.verify()?;
    Ok(builder.graph)
}

/// Not every draw is legal; what was made before the refusal is dead code, which passes remove.
fn tolerate(made: Result<(), GraphError>) -> Result<(), GraphError> {
    match made {
        Err(GraphError::Op { .. }) => Ok(()),
        other => other,
    }
}

/// Random inputs for a graph, multiples of 1/8 in −1..1; a symbolic batch becomes `batch`.
///
/// # Errors
/// Where an input is not `f32` or becomes too large.
pub fn random_inputs(graph: &Graph, seed: u64, batch: usize) -> Result<Vec<Tensor>, GraphError> {
    let mut random = Random::new(seed);
    let mut inputs = Vec::new();
    for id in graph.inputs() {
        let ty = graph.ty(graph.output(*id, 0)?)?;
        let sizes = ty.shape.with_batch(batch).and_then(|shape| shape.sizes());
        let sizes = sizes.ok_or_else(|| GraphError::Batch { batch, reason: format!("{ty} becomes too large") })?;
        let values = (0..sizes.iter().product()).map(|_| eighths(&mut random)).collect();
        inputs.push(tensor(&sizes, values)?);
    }
    Ok(inputs)
}

struct Builder {
    random: Random,
    graph: Graph,
    /// Values of the form [N, C, H, W].
    images: Vec<ValueId>,
    /// Values of the form [N, C].
    rows: Vec<ValueId>,
    /// Weights of convolutions made so far, to share.
    weights: Vec<(ValueId, [usize; 4])>,
    names: usize,
    /// Whether constants are small integers or powers of two.
    whole: bool,
}

type Built = Result<ValueId, GraphError>;

impl Builder {
    fn step(&mut self) -> Result<(), GraphError> {
        // Mostly the newest value, so that chains arise; sometimes an old one, so that values get more readers.
        let back = if self.random.chance(70) { 0 } else { self.random.below(self.images.len()) };
        let x = self.images[self.images.len() - 1 - back];
        let made = match self.random.below(42) {
            0..=5 => self.conv_block(x)?,
            6 => self.branches(x)?,
            7 => self.residual(x)?,
            8..=9 => self.pool(x)?,
            10 => self.padded(x)?,
            11 => self.batch_norm(x)?,
            12 => self.node(Relu, &[x])?,
            13 => self.clip(x)?,
            14 => self.idle(x)?,
            15 if !self.whole => {
                let size = 1 + self.random.below(5);
                self.node(Lrn { size, alpha: 0.5, beta: 0.75, bias: 1.0 }, &[x])?
            }
            16 => {
                let perm = self.random.pick([[0, 1, 3, 2], [0, 2, 1, 3], [0, 3, 1, 2]]).to_vec();
                self.node(Transpose { perm }, &[x])?
            }
            17 => {
                let [channels, ..] = self.sizes(x);
                let factor = self.folded_constant(&[1, channels, 1, 1])?;
                if self.random.chance(50) { self.node(Mul, &[x, factor])? } else { self.node(Add, &[factor, x])? }
            }
            18 if !self.whole => {
                let flatten = self.random.chance(50);
                self.node(Softmax { axis: 1, flatten }, &[x])?
            }
            19 => {
                let gate = self.node(GlobalAvgPool, &[x])?;
                self.node(Mul, &[x, gate])?
            }
            20 => {
                let other = self.images[self.random.below(self.images.len())];
                let axis = self.random.pick([1, 1, 2, 3]);
                self.node(Concat { axis }, &[x, other, x])?
            }
            15 | 18 | 21 | 22 => self.siblings(x)?,
            23 | 24 => self.joins(x)?,
            25 | 26 => self.sums(x)?,
            27 | 28 => self.scaled(x)?,
            29 => self.shared_relu(x)?,
            30..=31 => return self.head(x),
            32..=33 => self.exported_norm(x)?,
            34 => {
                let norm = self.exported_norm(x)?;
                self.watch(norm)?;
                self.conv(norm, 3)?
            }
            35..=36 => self.activation(x)?,
            37 => self.twins(x)?,
            38..=39 => self.normalised_graph_input()?,
            40 => self.residual_of_two(x)?,
            _ => {
                let channels = self.sizes(x)[0];
                let start = self.random.below(channels);
                let length = 1 + self.random.below(channels - start);
                self.node(Slice { axis: 1, start, length }, &[x])?
            }
        };
        // Small images only: the interpreter is slow.
        if self.sizes(made).iter().product::<usize>() <= 2048 {
            self.images.push(made);
        }
        Ok(())
    }

    fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Built {
        let op = op.into();
        self.names += 1;
        let name = format!("block{}.{}{}", self.names / 4, op.name(), self.names);
        self.graph.add(op, &name, inputs)
    }

    fn constant(&mut self, sizes: &[usize], scale: f32, offset: f32) -> Built {
        if self.whole {
            return self.chosen(sizes, [-2.0, -1.0, 1.0, 2.0, 0.0, 1.0]);
        }
        let tensor = self.random.tensor(sizes, scale, offset)?;
        self.names += 1;
        self.graph.add_constant(&format!("c{}", self.names), tensor)
    }

    /// A constant of values from a list.
    fn chosen<const COUNT: usize>(&mut self, sizes: &[usize], from: [f32; COUNT]) -> Built {
        let values = (0..sizes.iter().product()).map(|_| self.random.pick(from)).collect();
        self.names += 1;
        self.graph.add_constant(&format!("c{}", self.names), tensor(sizes, values)?)
    }

    /// Weights of a convolution or a product: as large as keeps its results of order 1, or of 1, 0 and −1.
    fn weight(&mut self, sizes: &[usize]) -> Built {
        if self.whole {
            return self.chosen(sizes, [-1.0, 0.0, 1.0]);
        }
        let inner: usize = sizes[1..].iter().product();
        #[allow(clippy::cast_precision_loss, reason = "any factor of about this size will do")]
        self.constant(sizes, 1.5 / (inner as f32).sqrt(), 0.0)
    }

    /// A constant, at times one that a node computes from constants.
    fn folded_constant(&mut self, sizes: &[usize]) -> Built {
        let value = self.constant(sizes, 1.0, 0.0)?;
        match self.random.below(4) {
            0 => self.node(Add, &[value, value]),
            1 => self.node(Identity, &[value]),
            _ => Ok(value),
        }
    }

    /// Channels, height and width; 1 for what the value lacks.
    fn sizes(&self, value: ValueId) -> [usize; 3] {
        let dims = self.graph.ty(value).map(|ty| ty.shape.dims().to_vec()).unwrap_or_default();
        [1, 2, 3].map(|axis| dims.get(axis).and_then(|dim| dim.fixed()).unwrap_or(1))
    }

    fn conv(&mut self, x: ValueId, outputs: usize) -> Built {
        let [channels, height, width] = self.sizes(x);
        let kernel = self.random.pick([[1, 1], [1, 1], [3, 3], [3, 3], [1, 3], [3, 1], [2, 2], [5, 5]]);
        let group = match self.random.below(6) {
            0 if outputs.is_multiple_of(channels) => channels,
            1 if channels.is_multiple_of(2) && outputs.is_multiple_of(2) => 2,
            _ => 1,
        };
        let mut op = Conv { group, ..Conv::default() };
        if self.random.chance(60) {
            op.pads = [kernel[0] / 2, kernel[1] / 2, kernel[0] / 2, kernel[1] / 2];
        } else if self.random.chance(40) {
            op.pads = [0; 4].map(|_: usize| self.random.below(3));
        }
        if self.random.chance(30) {
            op.strides = [1 + self.random.below(2), 1 + self.random.below(3)];
        }
        if height.min(width) > 4 && self.random.chance(10) {
            op.dilations = [2, 1 + self.random.below(2)];
        }
        let sizes = [outputs, channels / group, kernel[0], kernel[1]];
        let shared = self.weights.iter().rev().find(|(_, found)| *found == sizes).map(|(value, _)| *value);
        let weights = match shared {
            Some(value) if self.random.chance(50) => value,
            _ => {
                let value = self.weight(&sizes)?;
                self.weights.push((value, sizes));
                value
            }
        };
        if self.random.chance(40) {
            let bias = self.constant(&[outputs], 0.5, 0.0)?;
            return self.node(op, &[x, weights, bias]);
        }
        self.node(op, &[x, weights])
    }

    /// A convolution, often with BatchNorm, Relu or Clip after it, some of them with a second reader.
    fn conv_block(&mut self, x: ValueId) -> Built {
        let outputs = self.random.pick([1, 2, 3, 4, 6, 8]);
        let conv = self.conv(x, outputs)?;
        self.watch(conv)?;
        let norm = if self.random.chance(60) { self.batch_norm(conv)? } else { conv };
        if norm != conv {
            self.watch(norm)?;
        }
        match self.random.below(6) {
            0 => Ok(norm),
            1 => self.clip(norm),
            2..=3 => self.activation(norm),
            _ => self.node(Relu, &[norm]),
        }
    }

    /// An activation other than Relu and Clip, also as a product with a gate.
    fn activation(&mut self, x: ValueId) -> Built {
        // Only the first keeps whole numbers exact.
        match if self.whole { 0 } else { self.random.below(6) } {
            0 => self.node(LeakyRelu { alpha: 0.25 }, &[x]),
            1 => self.node(Sigmoid, &[x]),
            2 => self.node(HardSwish, &[x]),
            3 => self.node(HardSigmoid { alpha: 0.2, beta: 0.5 }, &[x]),
            kind => {
                let gate = if kind == 4 {
                    self.node(Sigmoid, &[x])?
                } else {
                    self.node(HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, &[x])?
                };
                self.watch(gate)?;
                if self.random.chance(50) { self.node(Mul, &[x, gate]) } else { self.node(Mul, &[gate, x]) }
            }
        }
    }

    /// A constant for each of `channels` in one of the forms that broadcast over an image, at times unsqueezed from a list;
    /// or one for all.
    fn broadcast_constant(&mut self, channels: usize, scale: f32, offset: f32) -> Built {
        match self.random.below(6) {
            0 => self.constant(&[1, channels, 1, 1], scale, offset),
            1 => self.constant(&[channels, 1, 1], scale, offset),
            2 => self.constant(&[1], scale, offset),
            3 => self.constant(&[], scale, offset),
            form => {
                let list = self.constant(&[channels], scale, offset)?;
                let axes = if form == 4 { vec![1, 2] } else { vec![0, 2, 3] };
                self.node(Unsqueeze { axes }, &[list])
            }
        }
    }

    /// Now and then gives a value a second reader: a graph output, or a later node.
    fn watch(&mut self, value: ValueId) -> Result<(), GraphError> {
        match self.random.below(16) {
            0 => self.graph.add_output(&format!("watched{}", self.graph.outputs().len()), value),
            1 => {
                self.images.insert(0, value);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn batch_norm(&mut self, x: ValueId) -> Built {
        let [channels, ..] = self.sizes(x);
        if self.whole {
            // √(variance + epsilon) is a power of two.
            let epsilon = 1.0 / 1024.0;
            let (scale, bias) =
                (self.chosen(&[channels], [-1.0, 0.5, 1.0, 2.0])?, self.constant(&[channels], 1.0, 0.0)?);
            let mean = self.constant(&[channels], 1.0, 0.0)?;
            let variance = self.chosen(&[channels], [0.25 - epsilon, 1.0 - epsilon, 4.0 - epsilon])?;
            return self.node(BatchNorm { epsilon }, &[x, scale, bias, mean, variance]);
        }
        let (scale, bias) = (self.constant(&[channels], 1.0, 0.2)?, self.constant(&[channels], 0.5, 0.0)?);
        let mean = self.constant(&[channels], 0.5, 0.0)?;
        let variance = self.constant(&[channels], 0.5, 0.75)?;
        self.node(BatchNorm { epsilon: 1e-3 }, &[x, scale, bias, mean, variance])
    }

    fn clip(&mut self, x: ValueId) -> Built {
        let (min, max) =
            self.random.pick([(0.0, 6.0), (0.0, 0.5), (-0.5, 0.25), (f32::NEG_INFINITY, 0.5), (0.125, f32::INFINITY)]);
        self.node(Clip { min, max }, &[x])
    }

    /// The head of an Inception module: sibling 1×1 convolutions and a concatenation.
    fn branches(&mut self, x: ValueId) -> Built {
        let mut parts = Vec::new();
        for _ in 0..2 + self.random.below(3) {
            let outputs = 1 + self.random.below(4);
            let mut inputs = vec![x, self.weight(&[outputs, self.sizes(x)[0], 1, 1])?];
            if self.random.chance(30) {
                inputs.push(self.constant(&[outputs], 0.5, 0.0)?);
            }
            let conv = self.node(Conv::default(), &inputs)?;
            let part = if self.random.chance(70) { self.batch_norm(conv)? } else { conv };
            let part = match self.random.below(10) {
                0..=5 => self.node(Relu, &[part])?,
                6 => self.clip(part)?,
                _ => part,
            };
            self.watch(part)?;
            parts.push(part);
        }
        self.node(Concat { axis: 1 }, &parts)
    }

    fn residual(&mut self, x: ValueId) -> Built {
        let channels = self.sizes(x)[0];
        let weights = self.weight(&[channels, channels, 3, 3])?;
        let conv = self.node(Conv { pads: [1; 4], ..Conv::default() }, &[x, weights])?;
        let inner = if self.random.chance(60) { self.batch_norm(conv)? } else { conv };
        let sum = if self.random.chance(50) { self.node(Add, &[inner, x])? } else { self.node(Add, &[x, inner])? };
        self.node(Relu, &[sum])
    }

    fn windows(&mut self) -> Pool {
        let kernel = [1 + self.random.below(3), 1 + self.random.below(3)];
        let pads = [0, 1, 2, 3].map(|side| self.random.below(2).min(kernel[side % 2] - 1));
        let strides = [1 + self.random.below(2), 1 + self.random.below(2)];
        Pool { kernel, strides, pads, dilations: [1, 1], ceil_mode: self.random.chance(30) }
    }

    fn pool(&mut self, x: ValueId) -> Built {
        let pool = self.windows();
        if self.random.chance(50) {
            return self.node(MaxPool { pool }, &[x]);
        }
        let count_include_pad = self.random.chance(50);
        self.node(AvgPool { pool, count_include_pad }, &[x])
    }

    /// A Pad, and what may or may not take it over.
    fn padded(&mut self, x: ValueId) -> Built {
        let [top, left, bottom, right] = [0; 4].map(|_: usize| self.random.below(3));
        let mut pads = vec![[0, 0], [0, 0], [top, bottom], [left, right]];
        if self.random.chance(15) {
            pads[1] = [1, 0];
        }
        let value = self.random.pick([0.0, 0.0, 0.0, f32::NEG_INFINITY, 0.5]);
        let inner = if self.random.chance(40) { self.node(Relu, &[x])? } else { x };
        let padded = self.node(Pad { pads, value }, &[inner])?;
        if value == f32::NEG_INFINITY {
            let pool = self.windows();
            let pooled = self.node(MaxPool { pool }, &[padded])?;
            // A window of padding alone is −∞: no number to compute with.
            return self.node(Clip { min: -4.0, max: 4.0 }, &[pooled]);
        }
        if self.random.chance(50) { self.conv(padded, 2) } else { self.pool(padded) }
    }

    /// Something that does nothing, or nothing to one of its readers.
    fn idle(&mut self, x: ValueId) -> Built {
        match self.random.below(7) {
            0 => self.node(Dropout { ratio: 0.4 }, &[x]),
            1 => self.node(Identity, &[x]),
            2 => self.node(Reshape { dims: vec![0, 0, 0, 0], allow_zero: false }, &[x]),
            3 => self.node(Cast { to: DType::F32 }, &[x]),
            4 => self.node(Pad { pads: vec![[0, 0]; 4], value: 1.0 }, &[x]),
            5 => {
                let wide = self.node(Unsqueeze { axes: vec![1] }, &[x])?;
                self.node(Squeeze { axes: vec![1] }, &[wide])
            }
            _ => self.node(Transpose { perm: vec![0, 1, 2, 3] }, &[x]),
        }
    }

    /// A classifier on an image, or one more layer on a row.
    fn head(&mut self, x: ValueId) -> Result<(), GraphError> {
        let row = match self.rows.last() {
            Some(row) if self.random.chance(60) => *row,
            _ if self.random.chance(50) => {
                let pooled = self.node(GlobalAvgPool, &[x])?;
                self.node(Flatten { axis: 1 }, &[pooled])?
            }
            _ => self.node(Flatten { axis: 1 }, &[x])?,
        };
        let (inner, outputs) = (self.sizes(row)[0], 1 + self.random.below(8));
        let made = match self.random.below(5) {
            0 => {
                let weights = self.constant(&[inner, outputs], 0.4, 0.0)?;
                self.node(MatMul, &[row, weights])?
            }
            1 if !self.whole => self.node(Softmax { axis: 1, flatten: false }, &[row])?,
            kind => {
                let trans_b = kind == 2;
                let sizes = if trans_b { [outputs, inner] } else { [inner, outputs] };
                let weights = self.constant(&sizes, 0.4, 0.0)?;
                let mut inputs = vec![row, weights];
                if self.random.chance(60) {
                    inputs.push(self.constant(&[outputs], 0.5, 0.0)?);
                }
                let alpha = self.random.pick([1.0, 1.0, 0.5]);
                let gemm = self.node(Gemm { alpha, trans_b, ..Gemm::default() }, &inputs)?;
                if self.random.chance(50) { self.node(Relu, &[gemm])? } else { gemm }
            }
        };
        self.rows.push(made);
        Ok(())
    }

    /// The newest values, and now and then an older one.
    fn outputs(&mut self) -> Result<(), GraphError> {
        let ends: Vec<ValueId> = self.images.last().into_iter().chain(self.rows.last()).copied().collect();
        for (index, value) in ends.into_iter().enumerate() {
            self.graph.add_output(&format!("y{index}"), value)?;
        }
        if self.random.chance(15) {
            let value = self.images[self.random.below(self.images.len())];
            self.graph.add_output("old", value)?;
        }
        Ok(())
    }
}
