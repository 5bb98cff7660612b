//! What runs for each op: one arm an op, so that the compiler names what a new op lacks.

use incept_ir::graph::Node;
use incept_ir::ids::{NodeId, ValueId};
use incept_ir::ops::{Activation, Conv, Op, Pad, Softmax};
use incept_ir::plan::{Binary, CopyKind, PoolKind, StepKind, View};

use super::draft::{Draft, Home, Step, Stop, Stored, refuse};
use super::layout;

impl Draft<'_> {
    /// Adds the steps of one node, or stores its output as a view.
    pub fn select(&mut self, id: NodeId, node: &Node) -> Step<()> {
        let Some(output) = node.outputs.first().copied() else { return refuse("internal: a node without outputs") };
        if self.sources.of(output) != output || self.sources.constant(output).is_some() {
            // Another name of its input, or a constant: read where it is used.
            return Ok(());
        }
        if let Op::Input(_) = node.op {
            // Stored before any node.
            return Ok(());
        }
        let inputs = self.inputs(id);
        for input in &inputs {
            if !self.is_known(*input) {
                return Err(Stop::Poisoned);
            }
        }
        for value in &node.outputs {
            self.sizes(*value)?;
        }
        match &node.op {
            Op::Input(_) | Op::Constant(_) | Op::Identity(_) | Op::Dropout(_) => refuse("internal: not looked through"),
            Op::Cast(cast) => refuse(format!("a cast to {} at run time is not supported", cast.to)),
            Op::Conv(conv) => self.conv(node, conv, &inputs),
            Op::MaxPool(op) => {
                let kind = StepKind::Pool { kind: PoolKind::Max, window: op.pool };
                self.per_channel(node, kind, &inputs)
            }
            Op::AvgPool(op) => {
                let kind = PoolKind::Average { count_include_pad: op.count_include_pad };
                self.per_channel(node, StepKind::Pool { kind, window: op.pool }, &inputs)
            }
            Op::GlobalAvgPool(_) => self.per_channel(node, StepKind::GlobalAvgPool, &inputs),
            Op::Lrn(op) => {
                let kind = StepKind::Lrn { size: op.size, alpha: op.alpha, beta: op.beta, bias: op.bias };
                self.per_channel(node, kind, &inputs)
            }
            Op::BatchNorm(op) => self.batch_norm(node, StepKind::BatchNorm { epsilon: op.epsilon }, &inputs),
            Op::Relu(_) => self.elementwise(node, StepKind::Activate(Activation::Relu), &inputs),
            Op::Clip(op) => {
                let activation = Activation::Clip { min: op.min, max: op.max };
                self.elementwise(node, StepKind::Activate(activation), &inputs)
            }
            Op::LeakyRelu(op) => self.elementwise(node, StepKind::Activate(op.activation()), &inputs),
            Op::Sigmoid(op) => self.elementwise(node, StepKind::Activate(op.activation()), &inputs),
            Op::HardSigmoid(op) => self.elementwise(node, StepKind::Activate(op.activation()), &inputs),
            Op::HardSwish(op) => self.elementwise(node, StepKind::Activate(op.activation()), &inputs),
            Op::Add(_) => self.elementwise(node, plain(Binary::Add), &inputs),
            Op::Sub(_) => self.elementwise(node, plain(Binary::Sub), &inputs),
            Op::Mul(_) => self.elementwise(node, plain(Binary::Mul), &inputs),
            Op::Div(_) => self.elementwise(node, plain(Binary::Div), &inputs),
            Op::Softmax(op) => self.softmax(node, op, &inputs),
            Op::Pad(op) => self.pad(node, op, &inputs),
            Op::Gemm(op) => self.gemm(node, op, &inputs),
            Op::MatMul(_) => self.matmul(node, &inputs),
            Op::Concat(op) => self.concat(node, op.axis, &inputs),
            Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => {
                let stored = self.input(&inputs, 0)?;
                let sizes = self.sizes(output)?;
                let stored = self.reshaped(node, &stored, &sizes)?;
                self.store(output, stored);
                Ok(())
            }
            Op::Slice(op) => {
                let mut stored = self.input(&inputs, 0)?;
                let (Some(size), Some(stride)) = (stored.view.sizes.get_mut(op.axis), stored.view.strides.get(op.axis))
                else {
                    return refuse(format!("internal: no axis {}", op.axis));
                };
                *size = op.length;
                stored.view.offset += op.start * stride;
                self.store(output, stored);
                Ok(())
            }
            Op::Transpose(op) => {
                let stored = self.input(&inputs, 0)?;
                let view = layout::permute(&stored.view, &op.perm);
                self.store(output, Stored { view, ..stored });
                Ok(())
            }
        }
    }

    /// What an input of a node holds.
    pub(super) fn input(&mut self, inputs: &[ValueId], slot: usize) -> Step<Stored> {
        match inputs.get(slot) {
            Some(value) => self.read(*value),
            None => refuse(format!("internal: no input {slot}")),
        }
    }

    /// Adds a step that writes a node's outputs at these views, and stores them.
    pub(super) fn finish(
        &mut self,
        node: &Node,
        kind: StepKind,
        inputs: &[&Stored],
        outputs: &[View],
        constants: Vec<incept_ir::ids::ConstId>,
    ) {
        let writer = self.step(node, kind, inputs, outputs.to_vec(), constants);
        for (value, view) in node.outputs.iter().zip(outputs) {
            self.store(*value, Stored { view: view.clone(), writers: vec![writer] });
        }
    }

    fn first_output(&mut self, node: &Node, order: &[usize]) -> Step<View> {
        match node.outputs.first() {
            Some(value) => self.destination(*value, order),
            None => refuse("internal: a node without outputs"),
        }
    }

    fn conv(&mut self, node: &Node, conv: &Conv, inputs: &[ValueId]) -> Step<()> {
        let x = self.input(inputs, 0)?;
        let count = 2 + usize::from(conv.has_bias(inputs.len()));
        let mut constants = Vec::with_capacity(2);
        for (what, value) in ["the weights tensor", "the bias"].into_iter().zip(inputs.iter().take(count).skip(1)) {
            constants.push(self.weights(what, *value)?);
        }
        let addend = if conv.residual {
            let addend = self.input(inputs, count)?;
            Some(self.innermost(node, &addend, 1)?)
        } else {
            None
        };
        let mut outputs = Vec::with_capacity(node.outputs.len());
        for value in &node.outputs {
            outputs.push(self.destination(*value, &layout::default_order(4))?);
        }
        let Conv { strides, pads, dilations, group, residual, .. } = *conv;
        let kind = StepKind::Conv { strides, pads, dilations, group, residual, activations: conv.activations() };
        let operands: Vec<&Stored> = std::iter::once(&x).chain(&addend).collect();
        self.finish(node, kind, &operands, &outputs, constants);
        Ok(())
    }

    /// A step on images that wants channels innermost on both sides.
    fn per_channel(&mut self, node: &Node, kind: StepKind, inputs: &[ValueId]) -> Step<()> {
        let x = self.input(inputs, 0)?;
        let x = self.innermost(node, &x, 1)?;
        let output = self.first_output(node, &layout::default_order(4))?;
        self.finish(node, kind, &[&x], &[output], Vec::new());
        Ok(())
    }

    /// Batch normalisation of any rank from 2, seen as an image.
    fn batch_norm(&mut self, node: &Node, kind: StepKind, inputs: &[ValueId]) -> Step<()> {
        let Some((_, parameters)) = inputs.split_first() else { return refuse("internal: no input") };
        let mut constants = Vec::with_capacity(4);
        for (what, value) in ["scale", "bias", "mean", "variance"].into_iter().zip(parameters) {
            constants.push(self.weights(what, *value)?);
        }
        let x = self.input(inputs, 0)?;
        let sizes = x.view.sizes.clone();
        let image = match sizes.as_slice() {
            [n, c, h, w] => vec![*n, *c, *h, *w],
            [n, c, rest @ ..] => vec![*n, *c, rest.iter().product(), 1],
            _ => return refuse("internal: a rank below 2"),
        };
        let x = self.reshaped(node, &x, &image)?;
        let x = self.innermost(node, &x, 1)?;
        // Channels innermost whatever the rank.
        let mut order: Vec<usize> = (0..sizes.len()).filter(|axis| *axis != 1).collect();
        order.push(1);
        let output = self.first_output(node, &order)?;
        let Some(view) = layout::reshape(&output, &image) else {
            return refuse(format!("internal: {:?} is no image", output.sizes));
        };
        let writer = self.step(node, kind, &[&x], vec![view], constants);
        if let Some(value) = node.outputs.first() {
            self.store(*value, Stored { view: output, writers: vec![writer] });
        }
        Ok(())
    }

    /// A step whose operands broadcast to the output's sizes and share a unit axis.
    fn elementwise(&mut self, node: &Node, kind: StepKind, inputs: &[ValueId]) -> Step<()> {
        let mut operands = Vec::with_capacity(inputs.len());
        for slot in 0..inputs.len() {
            operands.push(self.input(inputs, slot)?);
        }
        let Some(value) = node.outputs.first().copied() else { return refuse("internal: a node without outputs") };
        let output = self.like(value, &operands)?;
        let output = self.combine(node, kind, &operands, output)?;
        self.store(value, output);
        Ok(())
    }

    /// Where to write a value that is computed element by element: in the order in which its operands of full size lie.
    fn like(&mut self, value: ValueId, operands: &[Stored]) -> Step<View> {
        let sizes = self.sizes(value)?;
        let rank = sizes.len();
        let full = |stored: &&Stored| stored.view.sizes == sizes;
        let is_constant = |stored: &&Stored| matches!(self.roots[stored.view.buffer.index()].home, Home::Constant(_));
        let variable: Vec<&Stored> = operands.iter().filter(full).filter(|stored| !is_constant(stored)).collect();
        let inner = |order: &[usize], stored: &Stored| match order.iter().rev().find(|axis| sizes[**axis] != 1) {
            Some(axis) => layout::is_innermost(&stored.view, *axis),
            None => true,
        };
        let (usual, rows) = (layout::default_order(rank), layout::row_order(rank));
        let order = match variable.first() {
            None => usual,
            Some(_) if variable.iter().any(|stored| inner(&usual, stored)) => usual,
            Some(first) if inner(&rows, first) => rows,
            Some(first) => layout::order_of(&first.view),
        };
        self.destination(value, &order)
    }

    /// Adds an elementwise step that writes `output`, with its operands broadcast, and copied where they do not share the
    /// output's unit axis.
    pub(super) fn combine(&mut self, node: &Node, kind: StepKind, operands: &[Stored], output: View) -> Step<Stored> {
        let unit = layout::unit_axis(&output);
        let mut ready = Vec::with_capacity(operands.len());
        for operand in operands {
            let mut operand =
                Stored { view: layout::with_rank(&operand.view, output.sizes.len()), writers: operand.writers.clone() };
            let fits = |view: &View| unit.is_none_or(|axis| view.sizes[axis] == 1 || view.strides[axis] == 1);
            if !fits(&operand.view) {
                operand = self.relaid(node, &operand, &layout::order_of(&output))?;
            }
            let Some(view) = layout::broadcast(&operand.view, &output.sizes) else {
                return refuse(format!("internal: {:?} does not broadcast to {:?}", operand.view.sizes, output.sizes));
            };
            ready.push(Stored { view, ..operand });
        }
        let writer = self.step(node, kind, &ready.iter().collect::<Vec<_>>(), vec![output.clone()], Vec::new());
        Ok(Stored { view: output, writers: vec![writer] })
    }

    fn softmax(&mut self, node: &Node, op: &Softmax, inputs: &[ValueId]) -> Step<()> {
        let x = self.input(inputs, 0)?;
        let sizes = x.view.sizes.clone();
        let Some(value) = node.outputs.first().copied() else { return refuse("internal: a node without outputs") };
        let last_alone = sizes.get(op.axis..).is_some_and(|rest| rest.iter().skip(1).all(|size| *size == 1));
        if !op.flatten || last_alone {
            let output = self.like(value, std::slice::from_ref(&x))?;
            let stored = self.combine(node, StepKind::Softmax { axis: op.axis }, &[x], output)?;
            self.store(value, stored);
            return Ok(());
        }
        let (outer, inner) = sizes.split_at(op.axis);
        let matrix = [outer.iter().product(), inner.iter().product()];
        let x = self.reshaped(node, &x, &matrix)?;
        let output = self.destination(value, &layout::row_order(sizes.len()))?;
        let Some(rows) = layout::reshape(&output, &matrix) else {
            return refuse(format!("internal: {:?} is no matrix", output.sizes));
        };
        let stored = self.combine(node, StepKind::Softmax { axis: 1 }, &[x], rows)?;
        self.store(value, Stored { view: output, ..stored });
        Ok(())
    }

    fn pad(&mut self, node: &Node, op: &Pad, inputs: &[ValueId]) -> Step<()> {
        let x = self.input(inputs, 0)?;
        let Some(value) = node.outputs.first().copied() else { return refuse("internal: a node without outputs") };
        let rank = x.view.sizes.len();
        let rows = layout::row_order(rank);
        let in_rows = x.view.is_row_major() && !layout::is_innermost(&x.view, 1);
        let order = if rank == 4 && in_rows { rows } else { layout::default_order(rank) };
        let output = self.destination(value, &order)?;
        let mut inner = View { sizes: x.view.sizes.clone(), ..output.clone() };
        for ([begin, _], stride) in op.pads.iter().zip(&output.strides) {
            inner.offset += begin * stride;
        }
        let fits = layout::unit_axis(&output).is_none_or(|axis| layout::is_innermost(&x.view, axis));
        let x = if fits { x } else { self.relaid(node, &x, &layout::order_of(&output))? };
        let writer = self.step(node, StepKind::Pad { value: op.value }, &[&x], vec![output.clone(), inner], Vec::new());
        self.store(value, Stored { view: output, writers: vec![writer] });
        Ok(())
    }

    /// Parts that were not written in place are copied.
    fn concat(&mut self, node: &Node, axis: usize, inputs: &[ValueId]) -> Step<()> {
        let Some(value) = node.outputs.first().copied() else { return refuse("internal: a node without outputs") };
        let whole = self.destination(value, &layout::default_order(self.sizes(value)?.len()))?;
        let (mut writers, mut copied, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for slot in 0..inputs.len() {
            let part = self.input(inputs, slot)?;
            let (Some(length), Some(stride)) = (part.view.sizes.get(axis), whole.strides.get(axis)) else {
                return refuse(format!("internal: a part without axis {axis}"));
            };
            let target = View {
                buffer: whole.buffer,
                offset: whole.offset + start * stride,
                sizes: part.view.sizes.clone(),
                strides: whole.strides.clone(),
            };
            start += length;
            if layout::same(&target, &part.view) {
                writers.extend(&part.writers);
            } else {
                copied.push(part);
                targets.push(target);
            }
        }
        if !copied.is_empty() {
            let kind = StepKind::Copy(CopyKind::Concat);
            writers.push(self.step(node, kind, &copied.iter().collect::<Vec<_>>(), targets, Vec::new()));
        }
        writers.sort_unstable();
        writers.dedup();
        self.store(value, Stored { view: whole, writers });
        Ok(())
    }

    /// Writes the graph outputs: in place where a value lies whole and in rows in an arena buffer that no other output
    /// took, else by a copy.
    pub fn outputs(&mut self) -> Vec<(String, Stop)> {
        let mut stops = Vec::new();
        for (position, output) in self.graph.outputs().iter().enumerate() {
            if let Err(stop) = self.output(position, output.value, &output.name) {
                stops.push((output.name.to_string(), stop));
            }
        }
        stops
    }

    fn output(&mut self, position: usize, value: ValueId, name: &str) -> Step<()> {
        let stored = self.read(value)?;
        let view = &stored.view;
        let root = &mut self.roots[view.buffer.index()];
        let whole = view.offset == 0 && view.is_row_major() && view.elements() == Some(root.elements);
        if whole && root.home == Home::Arena {
            root.home = Home::Output(position);
            return Ok(());
        }
        let kind = if view.is_row_major() { CopyKind::Plain } else { CopyKind::Layout };
        let sizes = view.sizes.clone();
        let to = self.fresh(name, &sizes, &layout::row_order(sizes.len()), Home::Output(position));
        let Ok((_, node)) = self.graph.producer(value) else { return refuse("internal: an output without producer") };
        self.step(node, StepKind::Copy(kind), &[&stored], vec![to], Vec::new());
        Ok(())
    }
}

fn plain(function: Binary) -> StepKind {
    StepKind::Binary { function, activation: None }
}
