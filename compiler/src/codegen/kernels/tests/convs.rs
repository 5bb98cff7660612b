//! Convolutions of all sorts of shapes: windows, strides, dilations, pads on each side, groups, batches, and sizes around
//! the tiles. The families' own tests have several outputs, residual sums and large shapes.

use super::super::Spec;
use super::super::conv_direct::tests::simple;
use super::super::conv_direct::{self, PixelStrides};
use super::arrays::{COUNTS, Layout, Random, Tensor, each};
use super::{Case, Input};
use crate::codegen::epilogue::PostOp;

/// What a convolution's size is made of.
struct Shape {
    batch: usize,
    channels: usize,
    outputs: usize,
    groups: usize,
    image: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    /// Top and left.
    pads: [usize; 2],
    /// Bottom and right.
    ends: [usize; 2],
}

impl Shape {
    fn out(&self, axis: usize) -> Option<usize> {
        let reach = self.dilations[axis] * (self.kernel[axis] - 1) + 1;
        let padded = self.image[axis] + self.pads[axis] + self.ends[axis];
        padded.checked_sub(reach).map(|rest| rest / self.strides[axis] + 1)
    }
}

/// A case, or nothing where the window is larger than the image.
fn case(random: &mut Random, shape: &Shape) -> Option<Case> {
    let out = [shape.batch, shape.outputs, shape.out(0)?, shape.out(1)?];
    let sizes = [shape.batch, shape.channels, shape.image[0], shape.image[1]];
    let inputs_in = if shape.groups == shape.channels { &Layout::CHANNELS[..] } else { &Layout::ALL[..] };
    let x = Tensor::small(&sizes, random.pick(inputs_in).strides(&sizes), random);
    let depth = shape.channels / shape.groups;
    let weight_sizes = [shape.outputs, depth, shape.kernel[0], shape.kernel[1]];
    let w = Tensor::small(&weight_sizes, Layout::RowMajor.strides(&weight_sizes), random);
    let bias: Option<Vec<f32>> = random.chance(60).then(|| (0..shape.outputs).map(|_| random.small()).collect());
    let clip = random.chance(30);
    let y = Tensor::output(&out, random.pick(&Layout::CHANNELS).strides(&out), |index| {
        let group = index[1] / (shape.outputs / shape.groups);
        let mut sum = bias.as_ref().map_or(0.0, |bias| bias[index[1]]);
        each(&weight_sizes[1..], |tap| {
            let place = |axis: usize| {
                let at = index[2 + axis] * shape.strides[axis] + tap[1 + axis] * shape.dilations[axis];
                at.checked_sub(shape.pads[axis]).filter(|at| *at < shape.image[axis])
            };
            if let (Some(row), Some(column)) = (place(0), place(1)) {
                let x = x.at(&[index[0], group * depth + tap[0], row, column]);
                sum += x * w.at(&[index[1], tap[0], tap[1], tap[2]]);
            }
        });
        if clip { sum.clamp(-5.0, 7.0) } else { sum }
    });
    let mut spec = simple(shape.batch, [shape.channels, shape.image[0], shape.image[1]], shape.outputs, 1, 1, 0);
    let pixel = |strides: &[usize]| PixelStrides { n: strides[0], h: strides[2], w: strides[3] };
    spec.input.strides = pixel(&x.strides);
    spec.input.channel_stride = x.strides[1];
    (spec.out_height, spec.out_width) = (out[2], out[3]);
    spec.outputs[0].strides = pixel(&y.strides);
    (spec.kernel, spec.strides, spec.dilations) = (shape.kernel, shape.strides, shape.dilations);
    (spec.pads, spec.groups) = (shape.pads, shape.groups);
    if clip {
        spec.outputs[0].post = vec![PostOp::Clip { min: -5.0, max: 7.0 }];
    }
    let mut weights = Vec::new();
    each(&weight_sizes, |index| weights.push(w.at(index)));
    let packing = spec.clone();
    let pack = move |target: &_| {
        let mut packed = vec![f32::NAN; conv_direct::packed_len(&packing, target).unwrap()];
        conv_direct::pack(&packing, target, &weights, bias.as_deref(), &mut packed).unwrap();
        packed
    };
    let inputs = vec![Input::Tensor(x), Input::Packed(Box::new(pack))];
    Some(Case { order: vec![Err(0), Err(1), Ok(0)], ..Case::new(Spec::Conv(spec), y, inputs) })
}

pub fn conv() -> Vec<Case> {
    let mut random = Random::new(31);
    let mut cases = Vec::new();
    let kernels = [[1, 1], [3, 3], [1, 7], [7, 1], [1, 3], [3, 1], [5, 5], [2, 2], [4, 3]];
    // Every width around a tile, with every count of channels now and then.
    for width in (1..=17).chain([28, 29]) {
        for kernel in kernels {
            let same = [kernel[0] / 2, kernel[1] / 2];
            let shape = Shape {
                batch: 1 + random.below(2),
                channels: 1 + random.below(6),
                outputs: random.pick(&COUNTS),
                groups: 1,
                image: [1 + random.below(4), width],
                kernel,
                strides: [1, random.pick(&[1, 1, 2])],
                dilations: [1; 2],
                pads: same,
                ends: same,
            };
            cases.extend(case(&mut random, &shape));
        }
    }
    while cases.len() < 640 {
        let depth = 1 + random.below(4);
        let groups = random.pick(&[1, 1, 2, 3, 5, 8, 16, 17]);
        let depthwise = random.chance(30);
        let channels = if depthwise { groups.max(2) } else { groups * depth };
        let groups = if depthwise { channels } else { groups };
        let shape = Shape {
            batch: 1 + random.below(3),
            channels,
            outputs: if depthwise { channels } else { groups * (1 + random.below(9)) },
            groups,
            image: [1 + random.below(8), 1 + random.below(12)],
            kernel: [1 + random.below(5), 1 + random.below(5)],
            strides: [1 + random.below(3), 1 + random.below(3)],
            dilations: [1 + random.below(3), 1 + random.below(2)],
            pads: [random.below(5), random.below(5)],
            ends: [random.below(5), random.below(5)],
        };
        cases.extend(case(&mut random, &shape));
    }
    cases
}
