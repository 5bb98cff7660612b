//! From a plan's steps to kernel specs: one exhaustive match, and what each kernel's operands and packed weights are.
//!
//! Depends on [`incept_ir::plan`] and on the specs of [`super::kernels`]. The plan should be verified; what this code
//! relies on (ids, ranks, matching sizes) it checks itself and refuses with [`CodegenError::Step`].

use incept_ir::ids::{ConstId, ViewId};
use incept_ir::ops::Activation;
use incept_ir::plan::{Binary, Place, Plan, PoolKind, Step, StepKind, View};

use super::CodegenError;
use super::epilogue::PostOp;
use super::kernels::Spec;
use super::kernels::batch_norm::BatchNormSpec;
use super::kernels::conv_direct::{ConvInput, ConvOutput, ConvSpec, PixelStrides};
use super::kernels::copy::{CopySpec, Pair};
use super::kernels::elementwise::{ElementwiseSpec, Function};
use super::kernels::gemm::{Factors, GemmSpec};
use super::kernels::global_pool::GlobalPoolSpec;
use super::kernels::lrn::LrnSpec;
use super::kernels::matmul::MatMulSpec;
use super::kernels::pad::{PadSpec, begin_of};
use super::kernels::pool::{PoolSpec, Reduction};
use super::kernels::softmax::SoftmaxSpec;

/// One operand of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Argument {
    /// A view of the plan.
    View(ViewId),
    /// The step's packed weights, from this float on.
    Packed(usize),
}

/// What a step's packed weights are made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Packing {
    /// There are none.
    None,
    /// Weights and bias of a convolution.
    Conv(ConstId, Option<ConstId>),
    /// The divisors of an average.
    Divisors,
    /// The matrix and the addend of a product, and their factors.
    Gemm(ConstId, Option<ConstId>, Factors),
    /// Scale, bias, mean and variance of this many channels.
    BatchNorm([ConstId; 4], usize, f32),
}

impl Packing {
    /// The constants among them.
    pub fn constants(&self) -> Vec<ConstId> {
        match self {
            Self::None | Self::Divisors => Vec::new(),
            Self::Conv(weights, more) | Self::Gemm(weights, more, _) => {
                std::iter::once(*weights).chain(*more).collect()
            }
            Self::BatchNorm(ids, ..) => ids.to_vec(),
        }
    }
}

/// A step as a kernel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lowered {
    pub spec: Spec,
    pub arguments: Vec<Argument>,
    pub packing: Packing,
}

/// The kernel of a step.
///
/// # Errors
/// [`CodegenError::BadSpec`] with the reason, to be wrapped with the step's name.
pub(super) fn lower(plan: &Plan, step: &Step) -> Result<Lowered, CodegenError> {
    let s = Operands { plan, step, kernel: step.kind.name() };
    match &step.kind {
        StepKind::Conv { strides, pads, dilations, group, residual, activations } => {
            s.conv(*strides, *pads, *dilations, *group, *residual, activations)
        }
        StepKind::Pool { kind, window } => {
            let (x, y) = (s.input(0)?, s.output(0)?);
            let (in_sizes, out_sizes) = (s.four(&x.sizes)?, s.four(&y.sizes)?);
            s.check(in_sizes[..2] == out_sizes[..2], "images or channels differ")?;
            let reduction = match *kind {
                PoolKind::Max => Reduction::Max,
                PoolKind::Average { count_include_pad } => Reduction::Average { count_include_pad },
            };
            let spec = PoolSpec {
                reduction,
                window: *window,
                in_sizes,
                input: s.four(&x.strides)?,
                out_sizes: [out_sizes[2], out_sizes[3]],
                out: s.four(&y.strides)?,
            };
            let mut lowered = s.plain(Spec::Pool(spec))?;
            if let PoolKind::Average { .. } = kind {
                lowered.arguments.push(Argument::Packed(0));
                lowered.packing = Packing::Divisors;
            }
            Ok(lowered)
        }
        StepKind::GlobalAvgPool => {
            let (x, y) = (s.input(0)?, s.output(0)?);
            let (sizes, out) = (s.four(&x.sizes)?, s.four(&y.strides)?);
            s.check(y.sizes == [sizes[0], sizes[1], 1, 1], "the output is not one pixel for each channel")?;
            s.plain(Spec::GlobalPool(GlobalPoolSpec { sizes, input: s.four(&x.strides)?, out: [out[0], out[1]] }))
        }
        StepKind::Gemm { alpha, beta, trans_b, activation } => {
            let (x, y) = (s.input(0)?, s.output(0)?);
            let (&[m, k], &[rows, n]) = (x.sizes.as_slice(), y.sizes.as_slice()) else {
                return Err(s.bad("the operands are not matrices"));
            };
            s.check(m == rows, "rows differ")?;
            let pair = |list: &[usize]| <[usize; 2]>::try_from(list).map_err(|_| s.bad("an operand's rank is not 2"));
            let spec = GemmSpec {
                sizes: [m, k, n],
                a: pair(&x.strides)?,
                out: pair(&y.strides)?,
                trans_b: *trans_b,
                post: post(*activation),
            };
            let factors = Factors { alpha: *alpha, beta: *beta };
            let mut lowered = s.plain(Spec::Gemm(spec))?;
            lowered.arguments.push(Argument::Packed(0));
            lowered.packing = Packing::Gemm(s.constant(0)?, step.constants.get(1).copied(), factors);
            Ok(lowered)
        }
        StepKind::MatMul => s.matmul(),
        StepKind::BatchNorm { epsilon } => {
            let (x, y) = (s.input(0)?, s.output(0)?);
            s.check(x.sizes == y.sizes, "sizes differ")?;
            let channels = *x.sizes.get(1).ok_or_else(|| s.bad("there is no channel axis"))?;
            let spec = BatchNormSpec { sizes: y.sizes.clone(), out: y.strides.clone(), input: x.strides.clone() };
            let mut lowered = s.plain(Spec::BatchNorm(spec))?;
            lowered.arguments.extend([Argument::Packed(0), Argument::Packed(channels)]);
            let constants = [s.constant(0)?, s.constant(1)?, s.constant(2)?, s.constant(3)?];
            lowered.packing = Packing::BatchNorm(constants, channels, *epsilon);
            Ok(lowered)
        }
        StepKind::Activate(activation) => s.elementwise(Function::Copy, 1, Some(*activation)),
        StepKind::Binary { function, activation } => {
            let function = match function {
                Binary::Add => Function::Add,
                Binary::Sub => Function::Sub,
                Binary::Mul => Function::Mul,
                Binary::Div => Function::Div,
            };
            s.elementwise(function, 2, *activation)
        }
        StepKind::Lrn { size, alpha, beta, bias } => {
            let (x, y) = (s.input(0)?, s.output(0)?);
            s.check(x.sizes == y.sizes, "sizes differ")?;
            s.plain(Spec::Lrn(LrnSpec {
                size: *size,
                alpha: *alpha,
                beta: *beta,
                bias: *bias,
                sizes: s.four(&y.sizes)?,
                out: s.four(&y.strides)?,
                input: s.four(&x.strides)?,
            }))
        }
        StepKind::Softmax { axis } => {
            let (x, y) = (s.input(0)?, s.output(0)?);
            s.check(x.sizes == y.sizes, "sizes differ")?;
            s.plain(Spec::Softmax(SoftmaxSpec {
                axis: *axis,
                sizes: y.sizes.clone(),
                out: y.strides.clone(),
                input: x.strides.clone(),
            }))
        }
        StepKind::Copy(_) => s.copy(),
        StepKind::Pad { value } => {
            let (x, whole, inner) = (s.input(0)?, s.output(0)?, s.output(1)?);
            s.check(inner.buffer == whole.buffer && inner.sizes == x.sizes, "the interior is not the input's")?;
            let distance =
                inner.offset.checked_sub(whole.offset).ok_or_else(|| s.bad("the interior is not within the output"))?;
            let same = inner.strides.len() == whole.strides.len()
                && inner
                    .sizes
                    .iter()
                    .zip(inner.strides.iter().zip(&whole.strides))
                    .all(|(n, (a, b))| *n <= 1 || a == b);
            s.check(same, "the interior has other strides than the output")?;
            let begin = begin_of(distance, &whole.sizes, &whole.strides, &x.sizes)?;
            let spec = PadSpec {
                value: *value,
                out_sizes: whole.sizes.clone(),
                out: whole.strides.clone(),
                in_sizes: x.sizes.clone(),
                input: x.strides.clone(),
                begin,
            };
            s.plain(Spec::Pad(spec))
        }
    }
}

/// The post-ops of an activation.
fn post(activation: Option<Activation>) -> Vec<PostOp> {
    match activation {
        None => Vec::new(),
        Some(Activation::Relu) => vec![PostOp::Relu],
        Some(Activation::Clip { min, max }) => vec![PostOp::Clip { min, max }],
        Some(Activation::LeakyRelu { alpha }) => vec![PostOp::LeakyRelu { alpha }],
        Some(Activation::Sigmoid) => vec![PostOp::Sigmoid],
        Some(Activation::HardSigmoid { alpha, beta }) => vec![PostOp::HardSigmoid { alpha, beta }],
        Some(Activation::HardSwish) => vec![PostOp::HardSwish],
        Some(Activation::Silu) => vec![PostOp::Silu],
    }
}

/// A step's operands, looked up.
struct Operands<'a> {
    plan: &'a Plan,
    step: &'a Step,
    kernel: &'static str,
}

impl<'a> Operands<'a> {
    fn bad(&self, reason: &str) -> CodegenError {
        CodegenError::BadSpec { kernel: self.kernel, reason: reason.to_owned() }
    }

    fn check(&self, holds: bool, reason: &str) -> Result<(), CodegenError> {
        if holds { Ok(()) } else { Err(self.bad(reason)) }
    }

    fn view(&self, list: &[ViewId], index: usize) -> Result<&'a View, CodegenError> {
        let id = list.get(index).ok_or_else(|| self.bad("an operand is missing"))?;
        let view = self.plan.view(*id).ok_or_else(|| self.bad("an operand is no view of the plan"))?;
        self.check(view.sizes.len() == view.strides.len(), "a view has another rank than its strides")?;
        Ok(view)
    }

    fn input(&self, index: usize) -> Result<&'a View, CodegenError> {
        self.view(&self.step.inputs, index)
    }

    fn output(&self, index: usize) -> Result<&'a View, CodegenError> {
        self.view(&self.step.outputs, index)
    }

    fn constant(&self, index: usize) -> Result<ConstId, CodegenError> {
        self.step.constants.get(index).copied().ok_or_else(|| self.bad("a constant is missing"))
    }

    fn four(&self, list: &[usize]) -> Result<[usize; 4], CodegenError> {
        list.try_into().map_err(|_| self.bad("an operand's rank is not 4"))
    }

    /// A kernel whose operands are the first output, then the inputs.
    fn plain(&self, spec: Spec) -> Result<Lowered, CodegenError> {
        let out = *self.step.outputs.first().ok_or_else(|| self.bad("there is no output"))?;
        let arguments = std::iter::once(out).chain(self.step.inputs.iter().copied()).map(Argument::View).collect();
        Ok(Lowered { spec, arguments, packing: Packing::None })
    }

    fn conv(
        &self,
        strides: [usize; 2],
        pads: [usize; 4],
        dilations: [usize; 2],
        groups: usize,
        residual: bool,
        activations: &[Option<Activation>],
    ) -> Result<Lowered, CodegenError> {
        let x = self.input(0)?;
        self.check(activations.len() == self.step.outputs.len(), "not one activation for each output")?;
        let [batch, channels, height, width] = self.four(&x.sizes)?;
        let pixel = |view: &View| {
            let [n, _, h, w] = self.four(&view.strides)?;
            Ok::<_, CodegenError>(PixelStrides { n, h, w })
        };
        let contiguous = |view: &View| view.sizes.get(1) == Some(&1) || view.strides.get(1) == Some(&1);
        let first = self.four(&self.output(0)?.sizes)?;
        let mut outputs = Vec::with_capacity(self.step.outputs.len());
        for (index, activation) in activations.iter().enumerate() {
            let output = self.output(index)?;
            let [n, channels, h, w] = self.four(&output.sizes)?;
            self.check(n == batch && [h, w] == first[2..], "the outputs have other sizes than each other")?;
            self.check(contiguous(output), "the output's channels are not neighbours")?;
            let strides = if residual {
                let addend = self.input(1)?;
                self.check(addend.sizes == output.sizes, "the residual has other sizes than the output")?;
                self.check(contiguous(addend), "the residual's channels are not neighbours")?;
                Some(pixel(addend)?)
            } else {
                None
            };
            let post = residual.then_some(PostOp::Add).into_iter().chain(post(*activation)).collect();
            outputs.push(ConvOutput { channels, strides: pixel(output)?, residual: strides, post });
        }
        self.check(!residual || outputs.len() == 1, "a residual needs a single output")?;
        let weights = self.constant(0)?;
        let sizes = self.plan.constant(weights).map(|constant| constant.sizes.as_slice());
        let Some(&[o, depth, kernel_height, kernel_width]) = sizes else {
            return Err(self.bad("the weights' rank is not 4"));
        };
        let spec = ConvSpec {
            batch,
            input: ConvInput { channels, height, width, strides: pixel(x)?, channel_stride: self.four(&x.strides)?[1] },
            out_height: first[2],
            out_width: first[3],
            outputs,
            kernel: [kernel_height, kernel_width],
            strides,
            dilations,
            pads: [pads[0], pads[1]],
            groups,
        };
        let fits = o == spec.out_channels() && depth.checked_mul(groups) == Some(channels);
        self.check(fits, "the weights are for other channels")?;
        let view = |id: &ViewId| Argument::View(*id);
        let mut arguments = vec![Argument::View(self.step.inputs[0]), Argument::Packed(0)];
        arguments.extend(self.step.outputs.iter().map(view));
        arguments.extend(self.step.inputs.iter().skip(1).take(usize::from(residual)).map(view));
        let packing = Packing::Conv(weights, self.step.constants.get(1).copied());
        Ok(Lowered { spec: Spec::Conv(spec), arguments, packing })
    }

    fn elementwise(
        &self,
        function: Function,
        inputs: usize,
        activation: Option<Activation>,
    ) -> Result<Lowered, CodegenError> {
        let out = self.output(0)?;
        let mut strides = Vec::with_capacity(inputs);
        for index in 0..inputs {
            let input = self.input(index)?;
            self.check(input.sizes == out.sizes, "sizes differ")?;
            strides.push(input.strides.clone());
        }
        self.plain(Spec::Elementwise(ElementwiseSpec {
            function,
            post: post(activation),
            sizes: out.sizes.clone(),
            out: out.strides.clone(),
            inputs: strides,
        }))
    }

    fn matmul(&self) -> Result<Lowered, CodegenError> {
        let (a, b, out) = (self.input(0)?, self.input(1)?, self.output(0)?);
        let split = out.sizes.len().checked_sub(2).ok_or_else(|| self.bad("an operand's rank is below 2"))?;
        self.check(a.sizes.len() == out.sizes.len() && b.sizes.len() == out.sizes.len(), "ranks differ")?;
        let [m, n, k] = [out.sizes[split], out.sizes[split + 1], a.sizes[split + 1]];
        let batch = &out.sizes[..split];
        let fits = a.sizes[..split] == *batch && b.sizes[..split] == *batch && a.sizes[split] == m;
        self.check(fits && b.sizes[split..] == [k, n], "sizes differ")?;
        self.plain(Spec::MatMul(MatMulSpec {
            batch: batch.to_vec(),
            sizes: [m, k, n],
            a: a.strides.clone(),
            b: b.strides.clone(),
            out: out.strides.clone(),
        }))
    }

    fn copy(&self) -> Result<Lowered, CodegenError> {
        self.check(self.step.inputs.len() == self.step.outputs.len(), "inputs and outputs do not pair up")?;
        let (mut pairs, mut arguments) = (Vec::new(), Vec::new());
        for (index, (input_id, output_id)) in self.step.inputs.iter().zip(&self.step.outputs).enumerate() {
            let (input, output) = (self.input(index)?, self.output(index)?);
            self.check(input.sizes == output.sizes, "sizes differ")?;
            let (sizes, out, input) = (output.sizes.clone(), output.strides.clone(), input.strides.clone());
            pairs.push(Pair { sizes, out, input });
            arguments.extend([Argument::View(*output_id), Argument::View(*input_id)]);
        }
        Ok(Lowered { spec: Spec::Copy(CopySpec { pairs }), arguments, packing: Packing::None })
    }
}

/// The constant whose bytes a view reads, if it reads a constant.
pub(super) fn constant_of(plan: &Plan, id: ViewId) -> Option<(ConstId, usize)> {
    let view = plan.view(id)?;
    match plan.buffer(view.buffer)?.place {
        Place::Constant(constant) => Some((constant, view.offset)),
        Place::Arena(_) | Place::Input(_) | Place::Output(_) => None,
    }
}
