#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
//! Against a naive convolution, on small integers (so that any order of addition gives the same sum), on every level.

use incept_ir::abi::{AlignedBytes, KernelArgs};

use super::*;
use crate::codegen::link::Linker;

/// A small generator of reproducible numbers.
pub(in crate::codegen::kernels) struct Numbers(pub u64);

impl Numbers {
    pub(in crate::codegen::kernels) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(in crate::codegen::kernels) fn upto(&mut self, most: usize) -> usize {
        (self.next() % (most as u64 + 1)) as usize
    }

    pub(in crate::codegen::kernels) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.upto(from.len() - 1)]
    }

    pub(in crate::codegen::kernels) fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.upto(8) as f32 - 4.0).collect()
    }
}

const UNTOUCHED: f32 = -12345.0;

fn extent(batch: usize, s: &PixelStrides, height: usize, width: usize, channels: usize, step: usize) -> usize {
    (batch - 1) * s.n + (height - 1) * s.h + (width - 1) * s.w + (channels - 1) * step + 1
}

/// Emits the kernel under test and packs its weights.
pub(in crate::codegen::kernels) type Make<'a> = &'a dyn Fn(&mut Linker, &[f32], Option<&[f32]>) -> (Emitted, Vec<f32>);

/// Runs a spec on random data and compares every byte of the outputs with the reference.
fn check(spec: &ConvSpec, target: &Target, bias: bool, seed: u64) {
    let make = |linker: &mut Linker, weights: &[f32], bias: Option<&[f32]>| {
        let mut packed = vec![f32::NAN; packed_len(spec, target).unwrap()];
        pack(spec, target, weights, bias, &mut packed).unwrap();
        let emitted = emit(linker, spec).unwrap_or_else(|error| panic!("{spec:?} on {target:?}: {error}"));
        (emitted, packed)
    };
    check_with(spec, target, bias, seed, &make, 0.0);
}

/// As [`check`], for any kernel with the operands of this one; `tolerance` is of the largest sum.
pub(in crate::codegen::kernels) fn check_with(
    spec: &ConvSpec,
    target: &Target,
    bias: bool,
    seed: u64,
    make: Make<'_>,
    tolerance: f32,
) {
    let mut numbers = Numbers(seed | 1);
    let i = &spec.input;
    // What the spec does not describe is NaN: reading it would show.
    let mut input = vec![f32::NAN; extent(spec.batch, &i.strides, i.height, i.width, i.channels, i.channel_stride)];
    let at = |n: usize, c: usize, y: usize, x: usize| {
        n * i.strides.n + c * i.channel_stride + y * i.strides.h + x * i.strides.w
    };
    for n in 0..spec.batch {
        for c in 0..i.channels {
            for y in 0..i.height {
                for x in 0..i.width {
                    input[at(n, c, y, x)] = numbers.upto(8) as f32 - 4.0;
                }
            }
        }
    }
    let [rows, taps] = spec.kernel;
    let (channels, depth) = (spec.out_channels(), spec.group_channels());
    let weights = numbers.values(channels * depth * rows * taps);
    let bias = bias.then(|| numbers.values(channels));

    let dense = |strides: &PixelStrides, channels: usize| {
        extent(spec.batch, strides, spec.out_height, spec.out_width, channels, 1)
    };
    let mut outs: Vec<Vec<f32>> = spec.outputs.iter().map(|o| vec![UNTOUCHED; dense(&o.strides, o.channels)]).collect();
    let residuals: Vec<Option<Vec<f32>>> =
        spec.outputs.iter().map(|o| o.residual.map(|strides| numbers.values(dense(&strides, o.channels)))).collect();
    let mut want = outs.clone();
    let (mut first, mut largest) = (0, 1.0f32);
    for (index, output) in spec.outputs.iter().enumerate() {
        for n in 0..spec.batch {
            for y in 0..spec.out_height {
                for x in 0..spec.out_width {
                    for o in 0..output.channels {
                        let channel = first + o;
                        let group = channel / (channels / spec.groups);
                        let mut sum = bias.as_ref().map_or(0.0, |bias| bias[channel]);
                        for ky in 0..rows {
                            for kx in 0..taps {
                                let iy = (y * spec.strides[0] + ky * spec.dilations[0]).wrapping_sub(spec.pads[0]);
                                let ix = (x * spec.strides[1] + kx * spec.dilations[1]).wrapping_sub(spec.pads[1]);
                                if iy >= i.height || ix >= i.width {
                                    continue;
                                }
                                for c in 0..depth {
                                    let weight = weights[((channel * depth + c) * rows + ky) * taps + kx];
                                    sum += input[at(n, group * depth + c, iy, ix)] * weight;
                                }
                            }
                        }
                        largest = largest.max(sum.abs());
                        for op in &output.post {
                            let addend = match (output.residual, &residuals[index]) {
                                (Some(s), Some(data)) => data[n * s.n + y * s.h + x * s.w + o],
                                _ => f32::NAN,
                            };
                            sum = op.reference(sum, addend);
                        }
                        let s = &output.strides;
                        want[index][n * s.n + y * s.h + x * s.w + o] = sum;
                    }
                }
            }
        }
        first += output.channels;
    }

    let mut linker = Linker::new(target);
    let (emitted, mut packed) = make(&mut linker, &weights, bias.as_deref());
    let linked = linker.finish().unwrap();
    let mut scratch = AlignedBytes::zeroed(emitted.scratch_bytes).unwrap();
    // What is left in scratch memory must not matter.
    scratch.floats_mut().fill(f32::NAN);
    let kernel = linked.kernel(emitted.kernel).unwrap();
    let mut operands = vec![input.as_mut_ptr().cast::<u8>(), packed.as_mut_ptr().cast()];
    operands.extend(outs.iter_mut().map(|out| out.as_mut_ptr().cast::<u8>()));
    operands.extend(residuals.iter().flatten().map(|data| data.as_ptr().cast_mut().cast::<u8>()));
    // Tasks in an uneven partition, last part first.
    let cut = emitted.tasks / 3;
    for (task_begin, task_end) in [(cut, emitted.tasks), (0, cut)] {
        let scratch = scratch.bytes_mut().as_mut_ptr();
        let args = KernelArgs { operands: operands.as_ptr(), scratch, task_begin, task_end };
        // SAFETY: the operands are as long as the spec says; the module outlives the call.
        unsafe { kernel(&args) };
    }
    let tolerance = tolerance * largest;
    for (index, (out, want)) in outs.iter().zip(&want).enumerate() {
        let close = |got: f32, want: f32| if want == UNTOUCHED { got == want } else { (got - want).abs() <= tolerance };
        let wrong = out.iter().zip(want).position(|(got, want)| !close(*got, *want));
        if let Some(at) = wrong {
            let name = &emitted.name;
            panic!("{spec:?}\non {target:?} ({name}): output {index} at {at}: {} not {}", out[at], want[at]);
        }
    }
}

pub(in crate::codegen::kernels) fn nhwc(height: usize, width: usize, pixel: usize) -> PixelStrides {
    PixelStrides { n: height * width * pixel, h: width * pixel, w: pixel }
}

/// A convolution with dense NHWC operands.
pub(in crate::codegen::kernels) fn simple(
    batch: usize,
    [c, h, w]: [usize; 3],
    o: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
) -> ConvSpec {
    let out = |size: usize| (size + 2 * pad - kernel) / stride + 1;
    ConvSpec {
        batch,
        input: ConvInput { channels: c, height: h, width: w, strides: nhwc(h, w, c), channel_stride: 1 },
        out_height: out(h),
        out_width: out(w),
        outputs: vec![ConvOutput { channels: o, strides: nhwc(out(h), out(w), o), residual: None, post: vec![] }],
        kernel: [kernel; 2],
        strides: [stride; 2],
        dilations: [1; 2],
        pads: [pad; 2],
        groups: 1,
    }
}

#[test]
fn widths_and_channels_around_the_tile() {
    for target in Target::all().unwrap() {
        for width in (1..=18).chain([27, 28, 29, 57]) {
            for channels in [1, target.lanes() - 1, target.lanes(), target.lanes() + 1, 5 * target.lanes() + 2] {
                check(&simple(1, [3, 4, width], channels, 3, 1, 1), &target, true, 7);
                check(&simple(1, [5, 3, width], channels, 1, 1, 0), &target, true, 9);
            }
        }
    }
}

#[test]
fn deep_and_wide() {
    for target in Target::all().unwrap() {
        for depth in [15, 16, 17, 33, 130] {
            check(&simple(1, [depth, 5, 14], 48, 3, 1, 1), &target, true, 3);
            check(&simple(2, [depth, 4, 7], 40, 1, 1, 0), &target, false, 5);
            check(&simple(1, [depth, 12, 12], 20, 7, 2, 3), &target, true, 4);
        }
        // A task boundary inside a row of tiles.
        check(&simple(1, [64, 40, 40], 96, 1, 1, 0), &target, true, 6);
        check(&simple(2, [32, 30, 30], 64, 3, 1, 1), &target, true, 6);
    }
}

/// The first layer reads NCHW.
#[test]
fn the_input_may_have_channels_outermost() {
    for target in Target::all().unwrap() {
        for channels in [1, 3, 40] {
            let mut spec = simple(2, [channels, 19, 17], 24, 7, 2, 3);
            spec.input.strides = PixelStrides { n: channels * 19 * 17, h: 17, w: 1 };
            spec.input.channel_stride = 19 * 17;
            check(&spec, &target, true, 11);
        }
    }
}

#[test]
fn several_outputs_are_slices_of_larger_pixels() {
    for target in Target::all().unwrap() {
        for size in [1, 3, 7, 9] {
            let mut spec = simple(1, [20, size, size], 1, 1, 1, 0);
            spec.outputs = [64, 96, 16, 5]
                .into_iter()
                .map(|channels| ConvOutput {
                    channels,
                    strides: nhwc(size, size, 200),
                    residual: None,
                    post: Vec::new(),
                })
                .collect();
            spec.outputs[0].post = vec![PostOp::Relu];
            spec.outputs[2].post = vec![PostOp::Clip { min: -3.0, max: 6.0 }];
            check(&spec, &target, true, 13);
        }
    }
}

#[test]
fn post_operations_in_order() {
    for target in Target::all().unwrap() {
        for (index, post) in [
            vec![PostOp::Relu],
            vec![PostOp::Clip { min: -3.0, max: 6.0 }],
            vec![PostOp::LeakyRelu { alpha: 0.5 }],
            vec![PostOp::Add, PostOp::Relu],
            vec![PostOp::Relu, PostOp::Add, PostOp::Clip { min: 0.0, max: 9.0 }],
        ]
        .into_iter()
        .enumerate()
        {
            for channels in [1, 13, 32] {
                let mut spec = simple(2, [6, 5, 9], channels, 3, 1, 1);
                spec.outputs[0].residual = Some(nhwc(5, 9, channels + 3));
                spec.outputs[0].post = post.clone();
                check(&spec, &target, true, 17 + index as u64);
            }
        }
    }
}

#[test]
fn post_operations_that_are_not_exact() {
    for target in Target::all().unwrap() {
        for (post, tolerance) in [
            (vec![PostOp::HardSigmoid { alpha: 0.25, beta: 0.5 }], 0.0),
            (vec![PostOp::HardSwish], 1e-7),
            (vec![PostOp::Sigmoid], 2e-8),
            (vec![PostOp::Add, PostOp::Sigmoid, PostOp::Clip { min: 0.25, max: 0.5 }], 2e-8),
            (vec![PostOp::Silu, PostOp::Add], 2e-7),
        ] {
            for (channels, size) in [(1, 3), (13, 8), (40, 9), (96, 5)] {
                let mut spec = simple(2, [5, size, size + 1], channels, 3, 1, 1);
                spec.outputs[0].residual = Some(nhwc(size, size + 1, channels + 3));
                spec.outputs[0].post = post.clone();
                let make = |linker: &mut Linker, weights: &[f32], bias: Option<&[f32]>| {
                    let mut packed = vec![f32::NAN; packed_len(&spec, &target).unwrap()];
                    pack(&spec, &target, weights, bias, &mut packed).unwrap();
                    (emit(linker, &spec).unwrap(), packed)
                };
                check_with(&spec, &target, true, 41, &make, tolerance);
            }
        }
    }
}

#[test]
fn generated_shapes() {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for round in 0..700u64 {
        let groups = numbers.pick(&[1, 1, 1, 2, 3]);
        let channels = groups * (1 + numbers.upto(9));
        let (h, w) = (1 + numbers.upto(10), 1 + numbers.upto(20));
        let kernel = [1 + numbers.upto(4), 1 + numbers.upto(4)];
        let strides = [1 + numbers.upto(2), 1 + numbers.upto(2)];
        let dilations = [1 + numbers.upto(2), 1 + numbers.upto(2)];
        // More than the kernel's reach: outputs that lie entirely in padding.
        let pads = [numbers.upto(5), numbers.upto(5)];
        let ends = [numbers.upto(5), numbers.upto(5)];
        let out = |index: usize, size: usize| {
            let reach = dilations[index] * (kernel[index] - 1) + 1;
            (size + pads[index] + ends[index]).checked_sub(reach).map(|rest| rest / strides[index] + 1)
        };
        let (Some(out_height), Some(out_width)) = (out(0, h), out(1, w)) else { continue };
        let batch = 1 + numbers.upto(2);
        let counts = if groups == 1 { 1 + numbers.upto(2) } else { 1 };
        let strided = |numbers: &mut Numbers, h: usize, w: usize, c: usize| {
            let pixel = c + numbers.pick(&[0, 0, 5]);
            let row = w * pixel + numbers.pick(&[0, 0, 7]);
            PixelStrides { n: h * row + numbers.pick(&[0, 0, 9]), h: row, w: pixel }
        };
        let post = numbers.pick(&[0, 1, 2]);
        let outputs = (0..counts)
            .map(|_| {
                let channels = groups * (1 + numbers.upto(40));
                let strides = strided(&mut numbers, out_height, out_width, channels);
                let residual = (post == 2).then(|| strided(&mut numbers, out_height, out_width, channels));
                let post = [vec![], vec![PostOp::Relu], vec![PostOp::Add, PostOp::Relu]][post].clone();
                ConvOutput { channels, strides, residual, post }
            })
            .collect();
        let mut input = ConvInput {
            channels,
            height: h,
            width: w,
            strides: strided(&mut numbers, h, w, channels),
            channel_stride: 1,
        };
        if numbers.upto(3) == 0 {
            input.strides = PixelStrides { n: channels * h * w, h: w, w: 1 };
            input.channel_stride = h * w;
        }
        let spec = ConvSpec { batch, input, out_height, out_width, outputs, kernel, strides, dilations, pads, groups };
        for target in Target::all().unwrap() {
            check(&spec, &target, round % 2 == 0, round);
        }
    }
}

/// One filter a channel; a stride between channels, or two filters a channel, take the general path.
#[test]
fn depthwise_shapes() {
    let mut numbers = Numbers(0xD1B5_4A32_D192_ED03);
    for round in 0..300u64 {
        let channels = 2 + numbers.upto(70);
        let (kernel, stride) = (1 + numbers.upto(4), 1 + numbers.upto(1));
        let (h, w) = (kernel + numbers.upto(9), kernel + numbers.upto(17));
        let mut spec = simple(1 + numbers.upto(1), [channels, h, w], channels, kernel, stride, numbers.upto(kernel));
        spec.groups = channels;
        let pixel = channels + numbers.pick(&[0, 3]);
        spec.input.strides = nhwc(h, w, pixel);
        let direct = "conv_direct";
        let family = match numbers.upto(5) {
            0 => {
                spec.input.strides = PixelStrides { n: channels * h * w, h: w, w: 1 };
                spec.input.channel_stride = h * w;
                direct
            }
            1 => {
                spec.outputs[0].channels = 2 * channels;
                spec.outputs[0].strides = nhwc(spec.out_height, spec.out_width, 2 * channels);
                direct
            }
            _ => "depthwise",
        };
        spec.outputs[0].post =
            numbers.pick(&[&[][..], &[PostOp::Relu], &[PostOp::Clip { min: 0.0, max: 6.0 }]]).to_vec();
        for target in Target::all().unwrap() {
            assert!(describe(&spec, &target).unwrap().starts_with(family));
            check(&spec, &target, round % 2 == 0, round);
        }
    }
}

#[test]
fn equal_specs_share_a_kernel() {
    let mut linker = Linker::new(&Target::host().unwrap());
    let mut spec = simple(1, [4, 8, 8], 8, 3, 1, 1);
    let first = emit(&mut linker, &spec).unwrap().kernel;
    assert_eq!(emit(&mut linker, &spec).unwrap().kernel, first);
    spec.outputs[0].post.push(PostOp::Relu);
    assert_ne!(emit(&mut linker, &spec).unwrap().kernel, first);
}

#[test]
fn broken_specs_are_refused() {
    let target = Target::host().unwrap();
    let refused = |change: &dyn Fn(&mut ConvSpec), reason: &str| {
        let mut spec = simple(1, [4, 8, 8], 8, 3, 1, 1);
        change(&mut spec);
        let error = emit(&mut Linker::new(&target), &spec).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    refused(&|spec| spec.kernel[0] = 0, "zero");
    refused(&|spec| spec.outputs.clear(), "one output");
    refused(&|spec| spec.groups = 3, "multiple of the groups");
    refused(&|spec| spec.input.strides.n = usize::MAX / 3, "too large");
    refused(&|spec| spec.pads[0] = usize::MAX, "too far");
    refused(&|spec| spec.outputs[0].post = vec![PostOp::Add], "residual");
    let spec = simple(1, [4, 8, 8], 8, 3, 1, 1);
    let error = pack(&spec, &target, &[0.0; 5], None, &mut []).unwrap_err().to_string();
    assert!(error.contains("lengths"), "{error}");
}
