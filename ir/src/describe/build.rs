//! From a description to a graph: layers in order, parameters by name. `blocks` expands modules.

use rustc_hash::FxHashSet;

use super::Weights;
use super::error::{DescribeError, Line, Place};
use super::schema::{ConvWindow, Description, InputDescription, Layer, LayerOp, PoolLayer, Size};
use super::seeded::{MAX_SEEDED, SeedError, Seeder};
use super::weights::File;
use super::wiring::{Wiring, layer_place};
use crate::graph::{Graph, GraphError};
use crate::ids::ValueId;
use crate::ops::{
    Add, AvgPool, BatchNorm, Clip, Concat, Conv, Dropout, Flatten, Gemm, GlobalAvgPool, Identity, Lrn, MaxPool, Mul,
    Op, Pool, Relu, Reshape, Softmax, Transpose,
};
use crate::tensor::{Tensor, TensorError};
use crate::types::{DType, Dim, Shape, TensorType};

/// Which form of a model is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BuildOptions {
    /// Whether the training form's outputs follow the others. Without them, the layers that only they need are left out.
    pub training: bool,
}

/// The graph of a description.
pub fn build(description: &Description, weights: Weights, options: &BuildOptions) -> Result<Graph, DescribeError> {
    let plan = Wiring::new(description, options)?;
    let source = match weights {
        Weights::Seeded(seed) => Source::Seeded(Box::new(Seeder::new(seed))),
        Weights::Safetensors(bytes) => Source::File(Box::new(File::parse(&bytes)?)),
    };
    let mut builder = Builder {
        graph: Graph::new(&description.name),
        source,
        names: FxHashSet::default(),
        epsilon: description.epsilon,
        place: Place::Model,
        line: Line::default(),
    };
    let mut values: Vec<Option<ValueId>> = Vec::with_capacity(plan.sources.len());
    for (index, input) in description.inputs.iter().enumerate() {
        builder.place = Place::Input { index, name: Some(input.name.clone()) };
        values.push(Some(builder.input(input)?));
    }
    for (index, layer) in description.layers.iter().enumerate() {
        (builder.place, builder.line) = (layer_place(index, layer), layer.line);
        let at = description.inputs.len() + index;
        if !plan.needed[at] {
            values.push(None);
            continue;
        }
        // What is needed needs its sources, so each is there.
        let from: Vec<ValueId> = plan.sources[at].iter().filter_map(|source| values[*source]).collect();
        values.push(Some(builder.layer(layer, &from)?));
    }
    (builder.place, builder.line) = (Place::Model, Line::default());
    for (name, at) in &plan.outputs {
        if let Some(value) = values[*at] {
            builder.graph.add_output(name, value).map_err(|source| builder.refused(source))?;
        }
    }
    if let Source::File(file) = builder.source {
        let skipped: FxHashSet<&str> = description
            .layers
            .iter()
            .enumerate()
            .filter(|(index, _)| !plan.needed[description.inputs.len() + index])
            .map(|(_, layer)| layer.name.as_str())
            .collect();
        // A parameter of `aux1.conv` is called `aux1.conv.weight`: some prefix that ends before a dot is its layer.
        file.finish(|name| name.match_indices('.').any(|(dot, _)| skipped.contains(&name[..dot])))?;
    }
    Ok(builder.graph)
}

enum Source {
    Seeded(Box<Seeder>),
    File(Box<File>),
}

/// What a parameter is for; decides how it is seeded.
enum Role {
    Weight(ValueId),
    Bias,
    Scale,
}

/// What is built so far; `blocks` expands modules with it.
pub(super) struct Builder {
    graph: Graph,
    source: Source,
    names: FxHashSet<String>,
    epsilon: f32,
    place: Place,
    line: Line,
}

impl Builder {
    fn refused(&self, source: GraphError) -> DescribeError {
        DescribeError::Graph { place: self.place.clone(), line: self.line, source: Box::new(source) }
    }

    fn tensor_error(&self, source: TensorError) -> DescribeError {
        DescribeError::Tensor { place: self.place.clone(), line: self.line, source: Box::new(source) }
    }

    fn seed_error(&self, error: SeedError) -> DescribeError {
        match error {
            SeedError::Tensor(source) => self.tensor_error(source),
            SeedError::TooMany => {
                DescribeError::TooManyWeights { place: self.place.clone(), line: self.line, limit: MAX_SEEDED }
            }
        }
    }

    fn misfit(&self, reason: impl Into<String>) -> DescribeError {
        DescribeError::Layer { place: self.place.clone(), line: self.line, reason: reason.into() }
    }

    fn claim(&mut self, name: &str) -> Result<(), DescribeError> {
        if self.names.insert(name.to_owned()) {
            return Ok(());
        }
        Err(DescribeError::DuplicateName { place: self.place.clone(), line: self.line, name: name.to_owned() })
    }

    fn input(&mut self, input: &InputDescription) -> Result<ValueId, DescribeError> {
        self.claim(&input.name)?;
        let dim = |size: &Size| match size {
            Size::Fixed(size) => Dim::Fixed(*size),
            Size::Batch => Dim::Batch(1),
        };
        let ty = TensorType::new(DType::F32, input.shape.iter().map(dim).collect::<Shape>());
        if ty.shape.rank() > crate::types::MAX_RANK || ty.shape.elements().is_none() {
            return Err(self.misfit(format!("the shape {} is too large or holds N twice", ty.shape)));
        }
        self.graph.add_input(&input.name, ty).map_err(|source| self.refused(source))
    }

    fn layer(&mut self, layer: &Layer, from: &[ValueId]) -> Result<ValueId, DescribeError> {
        let name = layer.name.as_str();
        let x = match (from, &layer.op) {
            (_, LayerOp::Concat { .. }) => from.first().copied(),
            ([a, _], LayerOp::Add | LayerOp::Mul) => Some(*a),
            (_, LayerOp::Add | LayerOp::Mul) => {
                return Err(self.misfit(format!("it takes two values but reads {}", from.len())));
            }
            ([x], _) => Some(*x),
            _ => return Err(self.misfit(format!("it takes one value but reads {}", from.len()))),
        };
        let x = x.ok_or_else(|| self.misfit("it reads nothing"))?;
        match &layer.op {
            LayerOp::Conv(conv) => self.conv(name, &conv.window, conv.bias, x),
            LayerOp::ConvRelu(conv) => self.conv_relu(name, &conv.window, conv.bias, x),
            LayerOp::ConvBnRelu(conv) => self.conv_bn_relu(name, &conv.window, conv.epsilon, x),
            LayerOp::BatchNorm { epsilon } => self.batch_norm(name, *epsilon, x),
            LayerOp::Relu => self.add(Relu {}, name, &[x]),
            LayerOp::Clip { min, max } => {
                let (min, max) = (min.unwrap_or(f32::NEG_INFINITY), max.unwrap_or(f32::INFINITY));
                self.add(Clip { min, max }, name, &[x])
            }
            LayerOp::MaxPool(pool) => self.add(MaxPool { pool: windows(pool) }, name, &[x]),
            LayerOp::AvgPool { pool, count_include_pad } => {
                let op = AvgPool { pool: windows(pool), count_include_pad: *count_include_pad };
                self.add(op, name, &[x])
            }
            LayerOp::GlobalAvgPool => self.add(GlobalAvgPool {}, name, &[x]),
            LayerOp::Concat { axis } => self.add(Concat { axis: *axis }, name, from),
            LayerOp::Add => self.add(Add {}, name, from),
            LayerOp::Mul => self.add(Mul {}, name, from),
            LayerOp::Lrn { size, alpha, beta, bias } => {
                self.add(Lrn { size: *size, alpha: *alpha, beta: *beta, bias: *bias }, name, &[x])
            }
            LayerOp::Linear { features, bias } => self.linear(name, *features, *bias, x),
            LayerOp::Flatten { axis } => self.add(Flatten { axis: *axis }, name, &[x]),
            LayerOp::Softmax { axis } => {
                let last = self.shape(x)?.rank().saturating_sub(1);
                self.add(Softmax { axis: axis.unwrap_or(last), flatten: false }, name, &[x])
            }
            LayerOp::Dropout { ratio } => self.add(Dropout { ratio: *ratio }, name, &[x]),
            LayerOp::Reshape { dims } => self.add(Reshape { dims: dims.clone(), allow_zero: false }, name, &[x]),
            LayerOp::Transpose { perm } => self.add(Transpose { perm: perm.clone() }, name, &[x]),
            LayerOp::Identity => self.add(Identity {}, name, &[x]),
            LayerOp::Inception(module) => self.inception(name, module, x),
            LayerOp::InceptionV3(module) => self.inception_v3(name, module, x),
        }
    }

    fn shape(&self, value: ValueId) -> Result<Shape, DescribeError> {
        Ok(self.graph.ty(value).map_err(|source| self.refused(source))?.shape.clone())
    }

    pub(super) fn add(&mut self, op: impl Into<Op>, name: &str, inputs: &[ValueId]) -> Result<ValueId, DescribeError> {
        self.claim(name)?;
        let value = self.graph.add(op, name, inputs).map_err(|source| self.refused(source))?;
        if let Source::Seeded(seeder) = &mut self.source {
            let (node, _) = self.graph.producer(value).map_err(|source| DescribeError::Graph {
                place: self.place.clone(),
                line: self.line,
                source: Box::new(source),
            })?;
            let observed = seeder.observe(&self.graph, node);
            observed.map_err(|source| self.refused(source))?;
        }
        Ok(value)
    }

    /// A parameter's value. Where the file's tensor does not fit, a graph input of the right type stands in, so that the
    /// rest of the file is checked as well; that graph is never handed out.
    fn parameter(&mut self, name: &str, sizes: &[usize], role: Role) -> Result<ValueId, DescribeError> {
        let tensor = match &mut self.source {
            Source::Seeded(seeder) => match role {
                Role::Weight(x) => seeder.weight(name, sizes, x),
                Role::Bias => seeder.bias(name, sizes.first().copied().unwrap_or(1)),
                Role::Scale => seeder.scale(name, sizes.first().copied().unwrap_or(1)),
            }
            .map(Some)
            .map_err(|error| self.seed_error(error))?,
            Source::File(file) => file.take(name, sizes).map_err(|error| self.tensor_error(error))?,
        };
        self.constant(name, sizes, tensor)
    }

    fn constant(&mut self, name: &str, sizes: &[usize], tensor: Option<Tensor>) -> Result<ValueId, DescribeError> {
        self.claim(name)?;
        let value = match tensor {
            Some(tensor) => self.graph.add_constant(name, tensor),
            None => self.graph.add_input(name, TensorType::f32(sizes)),
        };
        value.map_err(|source| self.refused(source))
    }

    /// The known size of an axis of a value.
    fn known(&self, value: ValueId, rank: usize, axis: usize, needs: &str) -> Result<usize, DescribeError> {
        let shape = self.shape(value)?;
        if shape.rank() != rank {
            return Err(self.misfit(format!("it needs {needs} but reads {shape}")));
        }
        let size = shape.dims().get(axis).and_then(|dim| dim.fixed());
        size.ok_or_else(|| self.misfit(format!("axis {axis} of {shape} must be known")))
    }

    fn conv(&mut self, name: &str, window: &ConvWindow, bias: bool, x: ValueId) -> Result<ValueId, DescribeError> {
        let channels = self.known(x, 4, 1, "an image [N, channels, height, width]")?;
        if window.groups == 0 || ![channels, window.channels].iter().all(|count| count.is_multiple_of(window.groups)) {
            let (groups, made) = (window.groups, window.channels);
            return Err(self.misfit(format!("{groups} groups do not divide {channels} channels into {made}")));
        }
        let [height, width] = window.kernel;
        let sizes = [window.channels, channels / window.groups, height, width];
        let mut inputs = vec![x, self.parameter(&format!("{name}.weight"), &sizes, Role::Weight(x))?];
        if bias {
            inputs.push(self.parameter(&format!("{name}.bias"), &[window.channels], Role::Bias)?);
        }
        let op = Conv {
            strides: window.stride,
            pads: window.pad,
            dilations: window.dilation,
            group: window.groups,
            ..Conv::default()
        };
        self.add(op, name, &inputs)
    }

    pub(super) fn conv_relu(
        &mut self,
        name: &str,
        window: &ConvWindow,
        bias: bool,
        x: ValueId,
    ) -> Result<ValueId, DescribeError> {
        let conv = self.conv(&format!("{name}.conv"), window, bias, x)?;
        self.add(Relu {}, &format!("{name}.relu"), &[conv])
    }

    pub(super) fn conv_bn_relu(
        &mut self,
        name: &str,
        window: &ConvWindow,
        epsilon: Option<f32>,
        x: ValueId,
    ) -> Result<ValueId, DescribeError> {
        let conv = self.conv(&format!("{name}.conv"), window, false, x)?;
        let norm = self.batch_norm(&format!("{name}.bn"), epsilon, conv)?;
        self.add(Relu {}, &format!("{name}.relu"), &[norm])
    }

    fn batch_norm(&mut self, name: &str, epsilon: Option<f32>, x: ValueId) -> Result<ValueId, DescribeError> {
        let shape = self.shape(x)?;
        let size = shape.dims().get(1).and_then(|dim| dim.fixed());
        let size = size.ok_or_else(|| self.misfit(format!("axis 1 of {shape} must be there and known")))?;
        let scale = self.parameter(&format!("{name}.weight"), &[size], Role::Scale)?;
        let bias = self.parameter(&format!("{name}.bias"), &[size], Role::Bias)?;
        let (mean_name, variance_name) = (format!("{name}.running_mean"), format!("{name}.running_var"));
        let [mean, variance] = match &mut self.source {
            Source::Seeded(seeder) => seeder.statistics(x, size).map_err(|error| self.seed_error(error))?.map(Some),
            Source::File(file) => {
                let both =
                    file.take(&mean_name, &[size]).and_then(|mean| Ok([mean, file.take(&variance_name, &[size])?]));
                both.map_err(|error| self.tensor_error(error))?
            }
        };
        let mean = self.constant(&mean_name, &[size], mean)?;
        let variance = self.constant(&variance_name, &[size], variance)?;
        let epsilon = epsilon.unwrap_or(self.epsilon);
        self.add(BatchNorm { epsilon }, name, &[x, scale, bias, mean, variance])
    }

    fn linear(&mut self, name: &str, features: usize, bias: bool, x: ValueId) -> Result<ValueId, DescribeError> {
        let seen = self.known(x, 2, 1, "a matrix [N, features] (put a `flatten` before it)")?;
        let mut inputs = vec![x, self.parameter(&format!("{name}.weight"), &[features, seen], Role::Weight(x))?];
        if bias {
            inputs.push(self.parameter(&format!("{name}.bias"), &[features], Role::Bias)?);
        }
        self.add(Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true, activation: None }, name, &inputs)
    }
}

fn windows(pool: &PoolLayer) -> Pool {
    Pool { kernel: pool.kernel, strides: pool.stride, pads: pool.pad, dilations: [1; 2], ceil_mode: pool.ceil }
}
