//! Convolutions (whose own tests have many more shapes) and matrix products.

use super::super::Spec;
use super::super::conv_direct::{self, ConvInput, ConvOutput, ConvSpec, PixelStrides};
use super::super::conv_winograd::{self, WinogradSpec};
use super::super::gemm::{self, Factors, GemmSpec};
use super::super::matmul::MatMulSpec;
use super::arrays::{COUNTS, Layout, Random, Tensor, each};
use super::{Case, Input};
use crate::codegen::epilogue::PostOp;

pub fn conv() -> Vec<Case> {
    convolutions(&[1, 3], &Layout::ALL, &Spec::Conv)
}

/// `F(2, 3)`, whose factors are powers of two: exact on small integers.
pub fn winograd() -> Vec<Case> {
    convolutions(&[3], &Layout::CHANNELS, &|conv| Spec::Winograd(WinogradSpec { conv, m: 2 }))
}

fn convolutions(kernels: &[usize], layouts: &[Layout], make: &dyn Fn(ConvSpec) -> Spec) -> Vec<Case> {
    let mut random = Random::new(21);
    let mut cases = Vec::new();
    for channels in COUNTS {
        for &kernel in kernels {
            let sizes = [1 + random.below(2), 1 + random.below(5), 3 + random.below(5), 3 + random.below(5)];
            let x = Tensor::small(&sizes, random.pick(layouts).strides(&sizes), &mut random);
            let weight_sizes = [channels, sizes[1], kernel, kernel];
            let w = Tensor::small(&weight_sizes, Layout::RowMajor.strides(&weight_sizes), &mut random);
            let out = [sizes[0], channels, sizes[2], sizes[3]];
            let pad = kernel / 2;
            let y = Tensor::output(&out, Layout::Slice.strides(&out), |index| {
                let mut sum = 0.0;
                each(&weight_sizes[1..], |tap| {
                    let (row, column) = (index[2] + tap[1], index[3] + tap[2]);
                    if (pad..pad + sizes[2]).contains(&row) && (pad..pad + sizes[3]).contains(&column) {
                        let x = x.at(&[index[0], tap[0], row - pad, column - pad]);
                        sum += x * w.at(&[index[1], tap[0], tap[1], tap[2]]);
                    }
                });
                sum.max(0.0)
            });
            let pixel = |strides: &[usize]| PixelStrides { n: strides[0], h: strides[2], w: strides[3] };
            let spec = ConvSpec {
                batch: sizes[0],
                input: ConvInput {
                    channels: sizes[1],
                    height: sizes[2],
                    width: sizes[3],
                    strides: pixel(&x.strides),
                    channel_stride: x.strides[1],
                },
                out_height: sizes[2],
                out_width: sizes[3],
                outputs: vec![ConvOutput {
                    channels,
                    strides: pixel(&y.strides),
                    residual: None,
                    post: vec![PostOp::Relu],
                }],
                kernel: [kernel; 2],
                strides: [1; 2],
                dilations: [1; 2],
                pads: [pad; 2],
                groups: 1,
            };
            let mut weights = Vec::new();
            each(&weight_sizes, |index| weights.push(w.at(index)));
            let spec = make(spec);
            let packing = spec.clone();
            let pack = move |target: &_| match &packing {
                Spec::Winograd(spec) => {
                    let mut packed = vec![f32::NAN; conv_winograd::packed_len(spec, target).unwrap()];
                    conv_winograd::pack(spec, target, &weights, None, &mut packed).unwrap();
                    packed
                }
                Spec::Conv(spec) => {
                    let mut packed = vec![f32::NAN; conv_direct::packed_len(spec, target).unwrap()];
                    conv_direct::pack(spec, target, &weights, None, &mut packed).unwrap();
                    packed
                }
                other => panic!("{other:?} is no convolution"),
            };
            let inputs = vec![Input::Tensor(x), Input::Packed(Box::new(pack))];
            let case = Case::new(spec, y, inputs);
            cases.push(Case { order: vec![Err(0), Err(1), Ok(0)], ..case });
        }
    }
    cases
}

pub fn gemm() -> Vec<Case> {
    let mut random = Random::new(22);
    let mut cases = Vec::new();
    let mut shapes: Vec<[usize; 3]> = Vec::new();
    for n in COUNTS.into_iter().chain([63, 64, 65, 128, 129, 200]) {
        for m in [1, 2, 5, 6, 7, 13] {
            shapes.push([m, 1 + random.below(40), n]);
        }
    }
    shapes.extend([[1, 1024, 1000], [130, 9, 70], [64, 5, 16], [67, 3, 17], [1, 1, 1], [3, 0, 5]]);
    for [m, k, n] in shapes {
        let layout = random.pick(&[Layout::RowMajor, Layout::ChannelsLast, Layout::Slice, Layout::Spread]);
        let a = Tensor::small(&[m, k], layout.strides(&[m, k]), &mut random);
        let trans_b = random.chance(50);
        let factors = Factors { alpha: random.pick(&[1.0, 0.5]), beta: random.pick(&[1.0, 2.0]) };
        let b: Vec<f32> = (0..k * n).map(|_| random.small()).collect();
        let c: Option<Vec<f32>> = random.chance(70).then(|| (0..n).map(|_| random.small()).collect());
        let post = if random.chance(30) { vec![PostOp::Relu] } else { Vec::new() };
        let out_layout = random.pick(&[Layout::RowMajor, Layout::RowMajor, Layout::Slice, Layout::Spread]);
        let y = Tensor::output(&[m, n], out_layout.strides(&[m, n]), |index| {
            let at = |step: usize| if trans_b { b[index[1] * k + step] } else { b[step * n + index[1]] };
            let sum: f32 = (0..k).map(|step| a.at(&[index[0], step]) * at(step)).sum();
            let sum = factors.alpha * sum + factors.beta * c.as_ref().map_or(0.0, |c| c[index[1]]);
            if post.is_empty() { sum } else { sum.max(0.0) }
        });
        let pair = |strides: &[usize]| [strides[0], strides[1]];
        let spec = GemmSpec { sizes: [m, k, n], a: pair(&a.strides), out: pair(&y.strides), trans_b, post };
        let packing = spec.clone();
        let pack = move |target: &_| {
            let mut packed = vec![f32::NAN; gemm::packed_len(&packing, target).unwrap()];
            gemm::pack(&packing, target, factors, &b, c.as_deref(), &mut packed).unwrap();
            packed
        };
        cases.push(Case::new(Spec::Gemm(spec), y, vec![Input::Tensor(a), Input::Packed(Box::new(pack))]));
    }
    cases
}

pub fn matmul() -> Vec<Case> {
    let mut random = Random::new(23);
    let mut cases = Vec::new();
    for n in COUNTS.into_iter().chain([64, 65, 130]) {
        for m in [1, 4, 6, 7, 70] {
            let k = random.below(30);
            let batch: Vec<usize> = (0..random.below(3)).map(|_| 1 + random.below(3)).collect();
            let with = |tail: [usize; 2]| batch.iter().copied().chain(tail).collect::<Vec<usize>>();
            let layouts = [Layout::RowMajor, Layout::RowMajor, Layout::Spread, Layout::Loose];
            let mut operand = |sizes: &[usize]| {
                let mut strides = random.pick(&layouts).strides(sizes);
                if random.chance(30) {
                    // A broadcast operand repeats along its batch.
                    strides[..batch.len()].fill(0);
                }
                Tensor::small(sizes, strides, &mut random)
            };
            let (a, b) = (operand(&with([m, k])), operand(&with([k, n])));
            let out = with([m, n]);
            let y = Tensor::output(&out, random.pick(&layouts).strides(&out), |index| {
                let (place, matrix) = index.split_at(batch.len());
                let at = |row: usize, column: usize| [place, &[row, column]].concat();
                (0..k).map(|step| a.at(&at(matrix[0], step)) * b.at(&at(step, matrix[1]))).sum()
            });
            let spec = MatMulSpec {
                batch: batch.clone(),
                sizes: [m, k, n],
                a: a.strides.clone(),
                b: b.strides.clone(),
                out: y.strides.clone(),
            };
            cases.push(Case::new(Spec::MatMul(spec), y, vec![Input::Tensor(a), Input::Tensor(b)]));
        }
    }
    cases
}
