//! Runs a plan slowly and obviously: each step gathers its views, evaluates the op of the same meaning and scatters the
//! result. Whatever was not written is NaN.

use incept_ir::ops::{
    Activation, Add, AvgPool, BatchNorm, Conv, Div, Gemm, GlobalAvgPool, Lrn, MatMul, MaxPool, Mul, Op, Softmax, Sub,
};
use incept_ir::plan::{Binary, Place, Plan, PoolKind, Step, StepKind, View, ViewId};
use incept_ir::tensor::Tensor;
use incept_ir::types::DType;

struct Machine<'plan> {
    plan: &'plan Plan,
    arena: Vec<f32>,
    inputs: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
    constants: Vec<Tensor>,
}

/// The outputs for these inputs.
pub(super) fn run(plan: &Plan, inputs: &[Tensor]) -> Vec<Tensor> {
    run_in_order(plan, inputs, 0..plan.steps.len())
}

/// The same with the steps of each region in the opposite order.
pub(super) fn run_backwards(plan: &Plan, inputs: &[Tensor]) -> Vec<Tensor> {
    run_in_order(plan, inputs, plan.regions.iter().flat_map(|region| region.steps().rev()))
}

fn run_in_order(plan: &Plan, inputs: &[Tensor], order: impl Iterator<Item = usize>) -> Vec<Tensor> {
    let constants = plan.constants.iter().map(|constant| {
        let tensor = Tensor::from_bytes(constant.dtype, &constant.sizes, constant.values.compute()).unwrap();
        tensor.cast(DType::F32).unwrap()
    });
    let length = |id: ViewId| plan.views[id.index()].elements().unwrap();
    let mut machine = Machine {
        plan,
        arena: vec![f32::NAN; plan.memory.arena_bytes / 4],
        inputs: inputs.iter().map(|tensor| tensor.as_f32().unwrap().to_vec()).collect(),
        outputs: plan.outputs.iter().map(|port| vec![f32::NAN; length(port.view)]).collect(),
        constants: constants.collect(),
    };
    for step in order {
        machine.step(&plan.steps[step]);
    }
    plan.outputs.iter().map(|port| machine.gather(port.view)).collect()
}

fn places(view: &View) -> Vec<usize> {
    let mut places = vec![view.offset];
    for (size, stride) in view.sizes.iter().zip(&view.strides) {
        places = places.iter().flat_map(|place| (0..*size).map(move |i| place + i * stride)).collect();
    }
    places
}

fn apply(activation: Option<Activation>, tensor: &Tensor) -> Tensor {
    #[allow(clippy::cast_possible_truncation, reason = "the one rounding of the reference")]
    let one = |x: &f32| activation.map_or(*x, |activation| activation.apply(f64::from(*x)) as f32);
    Tensor::from_f32(tensor.sizes(), tensor.as_f32().unwrap().iter().map(one).collect()).unwrap()
}

impl Machine<'_> {
    fn view(&self, id: ViewId) -> (&View, Place) {
        let view = &self.plan.views[id.index()];
        (view, self.plan.buffers[view.buffer.index()].place)
    }

    fn gather(&self, id: ViewId) -> Tensor {
        let (view, place) = self.view(id);
        let constant;
        let (memory, base) = match place {
            Place::Arena(offset) => (&self.arena, offset / 4),
            Place::Input(position) => (&self.inputs[position], 0),
            Place::Output(position) => (&self.outputs[position], 0),
            Place::Constant(id) => {
                constant = self.constants[id.index()].as_f32().unwrap().to_vec();
                (&constant, 0)
            }
        };
        Tensor::from_f32(&view.sizes, places(view).into_iter().map(|at| memory[base + at]).collect()).unwrap()
    }

    fn scatter(&mut self, id: ViewId, tensor: &Tensor) {
        let (view, place) = self.view(id);
        let places = places(view);
        let (memory, base) = match place {
            Place::Arena(offset) => (&mut self.arena, offset / 4),
            Place::Output(position) => (&mut self.outputs[position], 0),
            Place::Input(_) | Place::Constant(_) => panic!("{id} is not writable"),
        };
        for (at, value) in places.into_iter().zip(tensor.as_f32().unwrap().iter()) {
            memory[base + at] = *value;
        }
    }

    fn step(&mut self, step: &Step) {
        let inputs: Vec<Tensor> = step.inputs.iter().map(|id| self.gather(*id)).collect();
        let constants: Vec<&Tensor> = step.constants.iter().map(|id| &self.constants[id.index()]).collect();
        let evaluate = |op: Op, tensors: &[&Tensor]| op.evaluate(tensors).unwrap().remove(0);
        let all: Vec<&Tensor> = inputs.iter().take(1).chain(constants.iter().copied()).collect();
        let x = &inputs[0];
        let result = match step.kind.clone() {
            StepKind::Conv { strides, pads, dilations, group, residual, activations } => {
                let op = Conv { strides, pads, dilations, group, ..Conv::default() };
                let mut sum = evaluate(op.into(), &all);
                if residual {
                    sum = evaluate(Add.into(), &[&sum, &inputs[1]]);
                }
                return self.scatter_channels(step, &sum, &activations);
            }
            StepKind::Pool { kind: PoolKind::Max, window } => evaluate(MaxPool { pool: window }.into(), &[x]),
            StepKind::Pool { kind: PoolKind::Average { count_include_pad }, window } => {
                evaluate(AvgPool { pool: window, count_include_pad }.into(), &[x])
            }
            StepKind::GlobalAvgPool => evaluate(GlobalAvgPool.into(), &[x]),
            StepKind::Gemm { alpha, beta, trans_b, activation } => {
                evaluate(Gemm { alpha, beta, trans_a: false, trans_b, activation }.into(), &all)
            }
            StepKind::MatMul => evaluate(MatMul.into(), &[x, &inputs[1]]),
            StepKind::BatchNorm { epsilon } => evaluate(BatchNorm { epsilon }.into(), &all),
            StepKind::Activate(activation) => apply(Some(activation), x),
            StepKind::Binary { function, activation } => {
                let op: Op = match function {
                    Binary::Add => Add.into(),
                    Binary::Sub => Sub.into(),
                    Binary::Mul => Mul.into(),
                    Binary::Div => Div.into(),
                };
                apply(activation, &evaluate(op, &[x, &inputs[1]]))
            }
            StepKind::Lrn { size, alpha, beta, bias } => evaluate(Lrn { size, alpha, beta, bias }.into(), &[x]),
            StepKind::Softmax { axis } => evaluate(Softmax { axis, flatten: false }.into(), &[x]),
            StepKind::Copy(_) => {
                for (tensor, output) in inputs.iter().zip(&step.outputs) {
                    self.scatter(*output, tensor);
                }
                return;
            }
            StepKind::Pad { value } => {
                let border = self.view(step.outputs[0]).0.sizes.clone();
                let count = border.iter().product();
                self.scatter(step.outputs[0], &Tensor::from_f32(&border, vec![value; count]).unwrap());
                self.scatter(step.outputs[1], x);
                return;
            }
        };
        self.scatter(step.outputs[0], &result);
    }

    /// Successive ranges of channels to successive outputs.
    fn scatter_channels(&mut self, step: &Step, sum: &Tensor, activations: &[Option<Activation>]) {
        let [n, channels, h, w] = *sum.sizes() else { panic!("rank 4") };
        let values = sum.as_f32().unwrap().to_vec();
        let mut first = 0;
        for (output, activation) in step.outputs.iter().zip(activations) {
            let count = self.view(*output).0.sizes[1];
            let mut part = Vec::new();
            for image in 0..n {
                part.extend_from_slice(&values[(image * channels + first) * h * w..][..count * h * w]);
            }
            self.scatter(*output, &apply(*activation, &Tensor::from_f32(&[n, count, h, w], part).unwrap()));
            first += count;
        }
    }
}
