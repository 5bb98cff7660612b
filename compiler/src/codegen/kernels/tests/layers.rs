//! Pools, elementwise kernels, copies and padding.

use incept_ir::ops::Pool;

use super::super::Spec;
use super::super::copy::{CopySpec, Pair};
use super::super::elementwise::{ElementwiseSpec, Function};
use super::super::global_pool::GlobalPoolSpec;
use super::super::pad::{PadSpec, begin_of};
use super::super::pool::{self, PoolSpec, Reduction};
use super::arrays::{COUNTS, Layout, Random, Tensor, each, four};
use super::{Case, Input};
use crate::codegen::epilogue::PostOp;

/// The taps inside, by the definition.
fn inside(window: &Pool, axis: usize, input: usize, output: usize) -> Vec<usize> {
    (0..window.kernel[axis])
        .map(|tap| output * window.strides[axis] + tap * window.dilations[axis])
        .filter(|place| *place >= window.pads[axis] && *place < window.pads[axis] + input)
        .map(|place| place - window.pads[axis])
        .collect()
}

fn pool_case(random: &mut Random, reduction: Reduction, window: Pool, sizes: [usize; 4], layouts: [Layout; 2]) -> Case {
    let span = |axis: usize| {
        let reach = (window.kernel[axis] - 1) * window.dilations[axis] + 1;
        let padded = sizes[2 + axis] + window.pads[axis] + window.pads[2 + axis];
        let left = padded.saturating_sub(reach);
        let round = if window.ceil_mode { window.strides[axis] - 1 } else { 0 };
        (left + round) / window.strides[axis] + 1
    };
    let out_sizes = [span(0), span(1)];
    let mut x = Tensor::small(&sizes, layouts[0].strides(&sizes), random);
    if reduction == Reduction::Max && random.chance(20) {
        *x.at_mut(&[0, sizes[1] - 1, sizes[2] / 2, sizes[3] / 2]) = f32::NAN;
    }
    let out = [sizes[0], sizes[1], out_sizes[0], out_sizes[1]];
    let y = Tensor::output(&out, layouts[1].strides(&out), |index| {
        let (rows, columns) = (inside(&window, 0, sizes[2], index[2]), inside(&window, 1, sizes[3], index[3]));
        let taps: Vec<f32> = rows
            .iter()
            .flat_map(|row| columns.iter().map(|column| x.at(&[index[0], index[1], *row, *column])))
            .collect();
        match reduction {
            Reduction::Max if taps.iter().any(|tap| tap.is_nan()) => f32::NAN,
            Reduction::Max => taps.into_iter().fold(f32::NEG_INFINITY, f32::max),
            Reduction::Average { count_include_pad } => {
                let counted = |axis: usize| {
                    let end = sizes[2 + axis] + window.pads[axis] + window.pads[2 + axis];
                    let start = index[2 + axis] * window.strides[axis];
                    (0..window.kernel[axis]).filter(|tap| start + tap * window.dilations[axis] < end).count()
                };
                let count = if count_include_pad { counted(0) * counted(1) } else { taps.len() };
                taps.iter().sum::<f32>() / count as f32
            }
        }
    });
    let spec =
        PoolSpec { reduction, window, in_sizes: sizes, input: four(&x.strides), out_sizes, out: four(&y.strides) };
    let mut inputs = vec![Input::Tensor(x)];
    if reduction != Reduction::Max {
        let spec = spec.clone();
        inputs.push(Input::Packed(Box::new(move |_| {
            let mut divisors = vec![f32::NAN; pool::packed_len(&spec).unwrap()];
            pool::pack(&spec, &mut divisors).unwrap();
            divisors
        })));
    }
    Case::new(Spec::Pool(spec), y, inputs)
}

const REDUCTIONS: [Reduction; 3] =
    [Reduction::Max, Reduction::Average { count_include_pad: false }, Reduction::Average { count_include_pad: true }];

pub fn pool() -> Vec<Case> {
    let mut random = Random::new(1);
    let window = |kernel: usize, stride: usize, pad: usize, ceil_mode: bool| Pool {
        kernel: [kernel; 2],
        strides: [stride; 2],
        pads: [pad; 4],
        dilations: [1; 2],
        ceil_mode,
    };
    let mut cases = Vec::new();
    for channels in COUNTS {
        for window in [window(3, 2, 0, true), window(3, 1, 1, true), window(2, 2, 0, true), window(5, 3, 0, false)] {
            for reduction in REDUCTIONS {
                let layouts = [random.pick(&Layout::CHANNELS), random.pick(&Layout::CHANNELS)];
                let (height, width) = (5 + random.below(6), 5 + random.below(6));
                let sizes = [1 + random.below(2), channels, height, width];
                cases.push(pool_case(&mut random, reduction, window, sizes, layouts));
            }
        }
    }
    for _ in 0..150 {
        let kernel = [1 + random.below(6), 1 + random.below(6)];
        let mut pads = [0; 4];
        for (index, pad) in pads.iter_mut().enumerate() {
            *pad = random.below(kernel[index % 2] + 2);
        }
        let window = Pool {
            kernel,
            strides: [1 + random.below(3), 1 + random.below(3)],
            pads,
            dilations: [1 + random.below(2), 1 + random.below(3)],
            ceil_mode: random.chance(50),
        };
        let sizes = [1 + random.below(3), random.pick(&COUNTS), 1 + random.below(9), 1 + random.below(9)];
        let layouts = [random.pick(&Layout::ALL), random.pick(&Layout::ALL)];
        let reduction = random.pick(&REDUCTIONS);
        cases.push(pool_case(&mut random, reduction, window, sizes, layouts));
    }
    cases
}

pub fn global_pool() -> Vec<Case> {
    let mut random = Random::new(2);
    let mut cases = Vec::new();
    for channels in COUNTS.into_iter().chain([128, 129, 300]) {
        for layout in Layout::ALL {
            let sizes = [1 + random.below(3), channels, 1 + random.below(7), 1 + random.below(7)];
            let x = Tensor::small(&sizes, layout.strides(&sizes), &mut random);
            let out = [sizes[0], channels];
            let out_layout = random.pick(&[Layout::RowMajor, Layout::Slice, Layout::Spread]);
            let y = Tensor::output(&out, out_layout.strides(&out), |index| {
                let mut sum = 0.0;
                each(&sizes[2..], |pixel| sum += x.at(&[index[0], index[1], pixel[0], pixel[1]]));
                sum / (sizes[2] * sizes[3]) as f32
            });
            let spec = GlobalPoolSpec { sizes, input: four(&x.strides), out: [y.strides[0], y.strides[1]] };
            cases.push(Case::new(Spec::GlobalPool(spec), y, vec![Input::Tensor(x)]));
        }
    }
    cases
}

fn post(ops: &[PostOp], x: f32) -> f32 {
    ops.iter().fold(x, |x, op| op.reference(x, f32::NAN))
}

/// Strides of an operand that repeats along some axes.
fn broadcast(random: &mut Random, sizes: &[usize], layout: Layout, percent: usize) -> Vec<usize> {
    let repeats: Vec<bool> = sizes.iter().map(|_| random.chance(percent)).collect();
    let own: Vec<usize> = sizes.iter().zip(&repeats).map(|(size, repeats)| if *repeats { 1 } else { *size }).collect();
    let mut strides = layout.strides(&own);
    for (stride, repeats) in strides.iter_mut().zip(repeats) {
        if repeats {
            *stride = 0;
        }
    }
    strides
}

fn elementwise_case(
    random: &mut Random,
    function: Function,
    sizes: &[usize],
    layouts: [Layout; 2],
    percent: usize,
) -> Case {
    let inputs = match function {
        Function::Fill(_) => 0,
        Function::Copy => 1,
        Function::Add | Function::Sub | Function::Mul | Function::Div => 2,
        Function::ScaleShift => 3,
    };
    let ops = match random.below(6) {
        0 => vec![PostOp::Relu],
        1 => vec![PostOp::Clip { min: -2.0, max: 5.0 }],
        2 => vec![PostOp::LeakyRelu { alpha: 0.5 }, PostOp::Clip { min: f32::NEG_INFINITY, max: 3.0 }],
        3 => vec![PostOp::HardSigmoid { alpha: 0.5, beta: 0.25 }],
        _ => Vec::new(),
    };
    let mut x = Vec::new();
    for _ in 0..inputs {
        let strides = broadcast(random, sizes, layouts[0], percent);
        x.push(Tensor::small(sizes, strides, random));
    }
    if inputs > 0 && random.chance(20) && sizes.iter().all(|size| *size > 0) {
        *x[0].at_mut(&vec![0; sizes.len()]) = f32::NAN;
    }
    let y = Tensor::output(sizes, layouts[1].strides(sizes), |index| {
        let x: Vec<f32> = x.iter().map(|x| x.at(index)).collect();
        post(
            &ops,
            match function {
                Function::Fill(value) => value,
                Function::Copy => x[0],
                Function::Add => x[0] + x[1],
                Function::Sub => x[0] - x[1],
                Function::Mul => x[0] * x[1],
                // What is divided by zero is tried as well.
                Function::Div => x[0] / x[1],
                Function::ScaleShift => x[0] * x[1] + x[2],
            },
        )
    });
    let spec = ElementwiseSpec {
        function,
        // A fill has no post-ops to speak of.
        post: if inputs == 0 { Vec::new() } else { ops.clone() },
        sizes: sizes.to_vec(),
        out: y.strides.clone(),
        inputs: x.iter().map(|x| x.strides.clone()).collect(),
    };
    let y = if inputs == 0 {
        let Function::Fill(value) = function else { unreachable!("only fills have no inputs") };
        Tensor::output(sizes, y.strides.clone(), |_| value)
    } else {
        y
    };
    Case::new(Spec::Elementwise(spec), y, x.into_iter().map(Input::Tensor).collect())
}

pub fn elementwise() -> Vec<Case> {
    let mut random = Random::new(3);
    let functions = [
        Function::Fill(2.5),
        Function::Fill(0.0),
        Function::Copy,
        Function::Add,
        Function::Sub,
        Function::Mul,
        Function::Div,
        Function::ScaleShift,
    ];
    let mut cases = Vec::new();
    for channels in COUNTS {
        for function in functions {
            let sizes = [1 + random.below(2), channels, 1 + random.below(5), 1 + random.below(6)];
            let layout = random.pick(&Layout::CHANNELS);
            cases.push(elementwise_case(&mut random, function, &sizes, [layout, layout], 0));
            let layouts = [random.pick(&Layout::ALL), random.pick(&Layout::ALL)];
            cases.push(elementwise_case(&mut random, function, &sizes, layouts, 40));
        }
    }
    // Long rows are cut; any rank.
    for sizes in
        [vec![40_000], vec![16_384 * 2], vec![3, 20_001], vec![], vec![1, 1], vec![0, 4], vec![2, 3, 2, 3, 2, 3, 2, 2]]
    {
        for function in [Function::Copy, Function::Add] {
            cases.push(elementwise_case(&mut random, function, &sizes, [Layout::RowMajor; 2], 0));
            cases.push(elementwise_case(&mut random, function, &sizes, [Layout::RowMajor, Layout::Spread], 30));
        }
    }
    for _ in 0..60 {
        let rank = 1 + random.below(6);
        let sizes: Vec<usize> = (0..rank).map(|_| 1 + random.below(6)).collect();
        let function = random.pick(&functions);
        let layouts = [random.pick(&Layout::ALL), random.pick(&Layout::ALL)];
        cases.push(elementwise_case(&mut random, function, &sizes, layouts, 30));
    }
    cases
}

pub fn copy() -> Vec<Case> {
    let mut random = Random::new(4);
    let mut cases = Vec::new();
    for count in 0..100 {
        let (mut pairs, mut inputs, mut outputs, mut order) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..1 + count % 3 {
            let rank = if count % 2 == 0 { 4 } else { 1 + random.below(8) };
            let sizes: Vec<usize> =
                (0..rank).map(|_| if rank == 4 { random.pick(&COUNTS).min(17) } else { 1 + random.below(4) }).collect();
            let x = Tensor::small(&sizes, random.pick(&Layout::ALL).strides(&sizes), &mut random);
            let y = Tensor::output(&sizes, random.pick(&Layout::ALL).strides(&sizes), |index| x.at(index));
            pairs.push(Pair { sizes, out: y.strides.clone(), input: x.strides.clone() });
            order.extend([Ok(outputs.len()), Err(inputs.len())]);
            outputs.push(y);
            inputs.push(Input::Tensor(x));
        }
        let spec = Spec::Copy(CopySpec { pairs });
        cases.push(Case { outputs, order, ..Case::new(spec, Tensor::output(&[], Vec::new(), |_| 0.0), inputs) });
    }
    cases
}

pub fn pad() -> Vec<Case> {
    let mut random = Random::new(5);
    let mut cases = Vec::new();
    for count in 0..80 {
        let rank = if count % 2 == 0 { 4 } else { 1 + random.below(5) };
        let in_sizes: Vec<usize> = (0..rank).map(|_| 1 + random.below(if rank == 4 { 9 } else { 5 })).collect();
        let most = if count % 5 == 0 { 1 } else { 4 };
        let begin: Vec<usize> = (0..rank).map(|_| random.below(most)).collect();
        let out_sizes: Vec<usize> =
            in_sizes.iter().zip(&begin).map(|(size, begin)| size + begin + random.below(most)).collect();
        let x = Tensor::small(&in_sizes, random.pick(&Layout::ALL).strides(&in_sizes), &mut random);
        let y = Tensor::output(&out_sizes, random.pick(&Layout::ALL).strides(&out_sizes), |index| {
            let place: Option<Vec<usize>> =
                index.iter().zip(&begin).map(|(index, begin)| index.checked_sub(*begin)).collect();
            match place.filter(|place| place.iter().zip(&in_sizes).all(|(index, size)| index < size)) {
                Some(place) => x.at(&place),
                None => 0.25,
            }
        });
        let distance = begin.iter().zip(&y.strides).map(|(begin, stride)| begin * stride).sum();
        assert_eq!(begin_of(distance, &out_sizes, &y.strides, &in_sizes).unwrap(), begin);
        let spec = PadSpec {
            value: 0.25,
            out_sizes: out_sizes.clone(),
            out: y.strides.clone(),
            in_sizes: in_sizes.clone(),
            input: x.strides.clone(),
            begin,
        };
        cases.push(Case::new(Spec::Pad(spec), y, vec![Input::Tensor(x)]));
    }
    cases
}
