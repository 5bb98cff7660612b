//! Random legal graphs, lowered in all ways and run against the interpreter.

use incept_ir::ids::ValueId;
use incept_ir::ops::{
    Activation, Add, AvgPool, BatchNorm, Concat, Conv, Flatten, Gemm, GlobalAvgPool, Identity, Lrn, MaxPool, Mul, Op,
    Pad, Pool, Relu, Reshape, Softmax, Transpose,
};
use proptest::prelude::*;

use super::{Net, check};

/// One choice: an op, which values it reads, and two free numbers.
type Choice = (usize, usize, usize, usize, usize);

/// Adds the chosen op where it fits the chosen values.
fn grow(net: &mut Net, values: &mut Vec<ValueId>, choice: Choice) {
    let (op, first, second, a, b) = choice;
    let x = values[first % values.len()];
    let y = values[second % values.len()];
    let (sizes, other) = (net.sizes(x), net.sizes(y));
    let rank = sizes.len();
    let image = rank == 4;
    let kernel = 1 + a % 3;
    let try_add = |net: &mut Net, op: Op, inputs: &[ValueId]| {
        let types: Vec<_> = inputs.iter().map(|value| net.graph.ty(*value).unwrap().clone()).collect();
        let small = |net: &Net, value: ValueId| net.sizes(value).iter().product::<usize>() <= 4096;
        op.infer(&types.iter().collect::<Vec<_>>()).ok()?;
        let value = net.add(op, inputs);
        small(net, value).then_some(value)
    };
    let made = match op {
        0 | 1 if image => {
            let group = if b % 4 == 0 { sizes[1] } else { 1 };
            let outputs = if group == 1 { 1 + b % 5 } else { group };
            let w = net.constant(&[outputs, sizes[1] / group, kernel, kernel]);
            let activation = (b % 2 == 0).then_some(Activation::Clip { min: -1.0, max: 4.0 });
            let (strides, pads) = ([1 + a % 2, 1], [kernel / 2; 4]);
            let conv = Conv { strides, pads, group, activation, ..Conv::default() };
            try_add(net, conv.into(), &[x, w])
        }
        2 if image => {
            let pool = Pool {
                strides: [1 + b % 2; 2],
                pads: [kernel / 2; 4],
                ceil_mode: b % 3 == 0,
                ..Pool::new([kernel; 2])
            };
            let op: Op = if b % 4 < 2 {
                MaxPool { pool }.into()
            } else {
                AvgPool { pool, count_include_pad: b % 4 == 2 }.into()
            };
            try_add(net, op, &[x])
        }
        3 => try_add(net, Relu.into(), &[x]),
        4..=6 => {
            let axis = if a % 3 == 0 { b % rank.max(1) } else { 1 };
            let mut parts = vec![x];
            let fits = |value: &ValueId| {
                let part = net.sizes(*value);
                part.len() == rank && (0..rank).all(|other| other == axis || part[other] == sizes[other])
            };
            parts.extend(values.iter().copied().filter(fits).skip(second % 3).take(1 + b % 3));
            try_add(net, Concat { axis }.into(), &parts)
        }
        7 | 8 => {
            let broadcast = if a % 2 == 0 && rank > 1 { net.constant(&sizes[1..]) } else { y };
            let op: Op = if b % 2 == 0 { Add.into() } else { Mul.into() };
            try_add(net, op, &[x, broadcast])
        }
        9 if image => try_add(net, GlobalAvgPool.into(), &[x]),
        10 if image => try_add(net, Lrn { size: kernel, alpha: 0.5, beta: 0.75, bias: 1.0 }.into(), &[x]),
        11 if rank >= 2 => {
            let scale: Vec<ValueId> = (0..3).map(|_| net.constant(&[sizes[1]])).collect();
            let var = net.add(Mul, &[scale[0], scale[0]]);
            try_add(net, BatchNorm { epsilon: 0.5 }.into(), &[x, scale[0], scale[1], scale[2], var])
        }
        12 => try_add(net, Flatten { axis: a % (rank + 1) }.into(), &[x]),
        13 => {
            let mut perm: Vec<usize> = (0..rank).collect();
            if rank > 1 {
                perm.swap(a % rank, b % rank);
            }
            try_add(net, Transpose { perm }.into(), &[x])
        }
        14 if rank == 2 => {
            let w = if a % 2 == 0 { net.constant(&[sizes[1], 3]) } else { y };
            let trans_b = a % 2 == 1 && other.len() == 2 && other[1] == sizes[1];
            try_add(net, Gemm { trans_b, ..Gemm::default() }.into(), &[x, w])
        }
        15 if rank > 0 => try_add(net, Softmax { axis: a % rank, flatten: b % 2 == 0 }.into(), &[x]),
        16 => {
            let pads =
                (0..rank).map(|axis| if axis == 0 { [0, 0] } else { [(a + axis) % 2, (b + axis) % 3 % 2] }).collect();
            try_add(net, Pad { pads, value: 0.25 }.into(), &[x])
        }
        17 => try_add(net, Identity.into(), &[x]),
        18 => {
            let split = sizes.iter().copied().find(|size| size % 2 == 0 && *size > 0);
            let count: usize = sizes.iter().product();
            let dims = match split {
                Some(_) if count.is_multiple_of(2) => vec![1, 2, (count / 2) as i64, 1],
                _ => vec![1, -1, 1, 1],
            };
            try_add(net, Reshape { dims, allow_zero: false }.into(), &[x])
        }
        _ => None,
    };
    values.extend(made);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 4000, ..ProptestConfig::default() })]
    #[test]
    fn random_graphs_compute_what_the_interpreter_does(
        batch in 1usize..3,
        channels in 1usize..4,
        side in 1usize..6,
        choices in prop::collection::vec((0usize..19, 0usize..64, 0usize..64, 0usize..12, 0usize..12), 1..16),
        outputs in prop::collection::vec(0usize..64, 1..4),
    ) {
        let mut net = Net::new();
        let x = net.input(&[batch, channels, side, side + 1]);
        let mut values = vec![x];
        for choice in choices {
            grow(&mut net, &mut values, choice);
        }
        let last = values.len() - 1;
        net.output(values[last]);
        for output in outputs {
            net.output(values[output % values.len()]);
        }
        check(&net.graph);
    }
}
