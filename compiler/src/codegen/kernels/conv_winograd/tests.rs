#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
//! Against a naive convolution on small integers, on every level: `F(2, 3)` is then exact in f32 (its factors are powers
//! of two), larger transforms are held to the error that their size explains.

use super::super::conv_direct::tests::{Numbers, check_with, nhwc, simple};
use super::super::conv_direct::{ConvOutput, PixelStrides};
use super::*;
use crate::codegen::epilogue::PostOp;
use incept_ir::abi::{AlignedBytes, KernelArgs};

/// The error that is allowed, of the largest result.
fn tolerance(spec: &WinogradSpec) -> f32 {
    let error = |taps: usize| match if taps == 1 { 1 } else { spec.m + taps - 1 } {
        0..=4 => 0.0,
        5 | 6 => 2e-5f32,
        7 | 8 => 1e-4,
        _ => 2e-3,
    };
    let taps = |axis: usize| spec.conv.kernel[axis].div_ceil(spec.conv.strides[axis]);
    error(taps(0)).max(error(taps(1)))
}

fn check(conv: &ConvSpec, m: usize, target: &Target, bias: bool, seed: u64) {
    let spec = WinogradSpec { conv: conv.clone(), m };
    let make = |linker: &mut Linker, weights: &[f32], bias: Option<&[f32]>| {
        let mut packed = vec![f32::NAN; packed_len(&spec, target).unwrap()];
        pack(&spec, target, weights, bias, &mut packed).unwrap();
        let emitted = emit(linker, &spec).unwrap_or_else(|error| panic!("{spec:?} on {target:?}: {error}"));
        (emitted, packed)
    };
    check_with(conv, target, bias, seed, &make, tolerance(&spec));
}

#[test]
fn sizes_around_the_tile() {
    for target in Target::all().unwrap() {
        for m in [2, 4] {
            for size in [1, m - 1, m, m + 1, 2 * m - 1, 2 * m + 1, 3 * m + 2] {
                let mut spec = simple(1, [3, size + 1, size], 5, 3, 1, 1);
                check(&spec, m, &target, true, 7);
                spec.kernel = [3, 3];
                let wide = simple(2, [5, size + 2, size + 3], 20, 3, 1, 0);
                check(&wide, m, &target, false, 9);
            }
        }
    }
}

#[test]
fn channels_around_the_lanes() {
    for target in Target::all().unwrap() {
        let lanes = target.lanes();
        for channels in [1, 3, lanes - 1, lanes, lanes + 1, 24, 2 * lanes] {
            for outputs in [1, 3, lanes - 1, lanes, lanes + 1, 24, 5 * lanes + 2, 7 * lanes] {
                check(&simple(1, [channels, 7, 6], outputs, 3, 1, 1), 2, &target, true, 5);
            }
            check(&simple(2, [channels, 9, 9], 2 * lanes + 1, 3, 1, 1), 4, &target, true, 6);
        }
    }
}

#[test]
fn transforms_of_all_sizes() {
    for target in Target::all().unwrap() {
        for (m, taps) in [(2, 2), (3, 2), (3, 3), (6, 3), (2, 4), (2, 5), (4, 5), (2, 7), (4, 7), (5, 4)] {
            check(&simple(1, [19, 13, 11], 21, taps, 1, taps / 2), m, &target, true, 3);
        }
        // Along one axis only.
        for (kernel, m) in [([1, 7], 4), ([7, 1], 4), ([3, 1], 2), ([1, 3], 4), ([1, 5], 2), ([2, 5], 3)] {
            let mut spec = simple(1, [20, 9, 10], 18, 1, 1, 0);
            spec.kernel = kernel;
            spec.pads = kernel.map(|taps| taps / 2);
            check(&spec, m, &target, true, 4);
        }
    }
}

/// Stride 2 by parts: all parities of windows, pads and sizes, both layouts, several images and blocks.
#[test]
fn strides_of_two_by_parts() {
    for target in Target::all().unwrap() {
        let mut seed = 0;
        for kernel in [[3, 3], [4, 3], [5, 6], [7, 7]] {
            for (batch, channels, [height, width]) in
                [(1, 3, [20, 23]), (2, 1, [9, 8]), (3, 4, [7, 30]), (1, 8, [1, 5]), (2, 3, [33, 31])]
            {
                for pads in [[0, 0], [1, 3], [3, 2]] {
                    let out = |axis: usize, size: usize| (size + 2 * pads[axis]).checked_sub(kernel[axis]);
                    let (Some(rows), Some(columns)) = (out(0, height), out(1, width)) else { continue };
                    let mut spec = simple(batch, [channels, height, width], 21, 1, 1, 0);
                    (spec.kernel, spec.pads, spec.strides) = (kernel, pads, [2, 2]);
                    (spec.out_height, spec.out_width) = (rows / 2 + 1, columns / 2 + 1);
                    spec.outputs[0].strides = nhwc(spec.out_height, spec.out_width, 25);
                    if seed % 2 == 0 {
                        spec.input.strides = PixelStrides { n: channels * height * width + 5, h: width, w: 1 };
                        spec.input.channel_stride = height * width;
                    }
                    seed += 1;
                    check(&spec, 2, &target, true, seed);
                    check(&spec, 4, &target, false, seed);
                }
            }
        }
        // The first layer of many networks.
        let mut spec = simple(1, [3, 96, 96], 64, 7, 2, 3);
        spec.input.strides = PixelStrides { n: 3 * 96 * 96, h: 96, w: 1 };
        spec.input.channel_stride = 96 * 96;
        spec.outputs[0].post = vec![PostOp::Relu];
        check(&spec, 4, &target, true, 1);
        assert!(describe(&WinogradSpec { conv: spec, m: 4 }, &target).unwrap().contains("F(4x4,4x4) by parts"));
    }
}

/// Several blocks of tiles, several tasks, larger and smaller register tiles.
#[test]
fn blocks_and_tasks() {
    for target in Target::all().unwrap() {
        for (batch, channels, size, outputs) in
            [(1, 64, 40, 48), (3, 40, 14, 96), (1, 200, 13, 130), (2, 16, 28, 32), (1, 130, 7, 70)]
        {
            for m in [2, 4] {
                let spec = simple(batch, [channels, size, size], outputs, 3, 1, 1);
                check(&spec, m, &target, true, 8);
            }
        }
        let plan = |size: usize, channels: usize, outputs: usize| {
            let conv = simple(1, [channels, size, size], outputs, 3, 1, 1);
            plan::Plan::new(&WinogradSpec { conv, m: 4 }, &target).unwrap()
        };
        assert!(plan(112, 64, 64).blocks > 1);
        assert!(plan(14, 200, 512).chunks > 1);
    }
}

#[test]
fn several_outputs_are_slices_of_larger_pixels() {
    for target in Target::all().unwrap() {
        for size in [3, 8, 9] {
            let mut spec = simple(1, [20, size, size], 1, 3, 1, 1);
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
            check(&spec, 2, &target, true, 13);
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
            for (m, channels) in [(2, 1), (2, 13), (4, 32), (6, 40)] {
                let mut spec = simple(2, [6, 9, 13], channels, 3, 1, 1);
                spec.outputs[0].residual = Some(nhwc(9, 13, channels + 3));
                spec.outputs[0].post = post.clone();
                check(&spec, m, &target, true, 17 + index as u64);
            }
        }
    }
}

#[test]
fn post_operations_that_take_many_registers() {
    for target in Target::all().unwrap() {
        for post in [vec![PostOp::HardSwish], vec![PostOp::Add, PostOp::Sigmoid], vec![PostOp::Silu, PostOp::Add]] {
            for (m, channels) in [(2, 1), (2, 13), (4, 32), (6, 40)] {
                let mut spec = simple(1, [6, 9, 13], channels, 3, 1, 1);
                spec.outputs[0].residual = Some(nhwc(9, 13, channels + 3));
                spec.outputs[0].post = post.clone();
                let spec = WinogradSpec { conv: spec, m };
                let make = |linker: &mut Linker, weights: &[f32], bias: Option<&[f32]>| {
                    let mut packed = vec![f32::NAN; packed_len(&spec, &target).unwrap()];
                    pack(&spec, &target, weights, bias, &mut packed).unwrap();
                    (emit(linker, &spec).unwrap(), packed)
                };
                check_with(&spec.conv, &target, true, 43, &make, tolerance(&spec).max(2e-7));
            }
        }
    }
}

#[test]
fn generated_shapes() {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let mut done = 0;
    for round in 0..250u64 {
        let channels = 1 + numbers.upto(40);
        let (h, w) = (1 + numbers.upto(16), 1 + numbers.upto(16));
        let kernel = [1 + numbers.upto(2), 2 + numbers.upto(1)];
        // More than the window's reach: outputs that lie entirely in padding.
        let pads = [numbers.upto(4), numbers.upto(4)];
        let ends = [numbers.upto(4), numbers.upto(4)];
        let out = |index: usize, size: usize| (size + pads[index] + ends[index] + 1).checked_sub(kernel[index]);
        let (Some(out_height @ 1..), Some(out_width @ 1..)) = (out(0, h), out(1, w)) else { continue };
        let strided = |numbers: &mut Numbers, h: usize, w: usize, c: usize| {
            let pixel = c + numbers.pick(&[0, 0, 5]);
            let row = w * pixel + numbers.pick(&[0, 0, 7]);
            PixelStrides { n: h * row + numbers.pick(&[0, 0, 9]), h: row, w: pixel }
        };
        let post = numbers.pick(&[0, 1, 2]);
        let mut spec = simple(1 + numbers.upto(2), [channels, h, w], 1, 1, 1, 0);
        spec.input.strides = strided(&mut numbers, h, w, channels);
        (spec.kernel, spec.pads, spec.out_height, spec.out_width) = (kernel, pads, out_height, out_width);
        spec.outputs = (0..1 + numbers.upto(2))
            .map(|_| {
                let channels = 1 + numbers.upto(50);
                let strides = strided(&mut numbers, out_height, out_width, channels);
                let residual = (post == 2).then(|| strided(&mut numbers, out_height, out_width, channels));
                let post = [vec![], vec![PostOp::Relu], vec![PostOp::Add, PostOp::Relu]][post].clone();
                ConvOutput { channels, strides, residual, post }
            })
            .collect();
        let m = numbers.pick(&[2, 2, 4]);
        for target in Target::all().unwrap() {
            check(&spec, m, &target, round % 2 == 0, round);
        }
        done += 1;
    }
    assert!(done > 200);
}

/// Normal numbers by the sum of uniform ones.
fn normal(numbers: &mut Numbers) -> f64 {
    (0..12).map(|_| (numbers.next() >> 11) as f64 / (1u64 << 53) as f64).sum::<f64>() - 6.0
}

/// The largest error of `F(m, taps)` on He weights, of the largest result, against sums in f64.
fn error(target: &Target, m: usize, taps: usize, channels: usize, outputs: usize, size: usize) -> f64 {
    let conv = simple(1, [channels, size, size], outputs, taps, 1, taps / 2);
    let mut numbers = Numbers(channels as u64 + 1);
    let deviation = (2.0 / (channels * taps * taps) as f64).sqrt();
    let mut input: Vec<f32> = (0..channels * size * size).map(|_| normal(&mut numbers).max(0.0) as f32).collect();
    let weights: Vec<f32> =
        (0..outputs * channels * taps * taps).map(|_| (normal(&mut numbers) * deviation) as f32).collect();
    let spec = WinogradSpec { conv, m };
    let mut packed = AlignedBytes::zeroed(4 * packed_len(&spec, target).unwrap()).unwrap();
    let len = packed.len() / 4;
    pack(&spec, target, &weights, None, &mut packed.floats_mut()[..len]).unwrap();
    let mut linker = Linker::new(target);
    let emitted = emit(&mut linker, &spec).unwrap();
    let linked = linker.finish().unwrap();
    let mut scratch = AlignedBytes::zeroed(emitted.scratch_bytes).unwrap();
    let mut out = vec![0.0f32; outputs * size * size];
    let operands = [input.as_mut_ptr().cast(), packed.bytes_mut().as_mut_ptr(), out.as_mut_ptr().cast::<u8>()];
    let scratch = scratch.bytes_mut().as_mut_ptr();
    let args = KernelArgs { operands: operands.as_ptr(), scratch, task_begin: 0, task_end: emitted.tasks };
    let kernel = linked.kernel(emitted.kernel).unwrap();
    // SAFETY: the operands and the scratch memory are as long as the spec says; the module outlives the call.
    unsafe { kernel(&args) };
    let (mut worst, mut largest) = (0.0f64, 0.0f64);
    for y in 0..size {
        for x in 0..size {
            for o in 0..outputs {
                let mut sum = 0.0f64;
                for ky in 0..taps {
                    for kx in 0..taps {
                        let (iy, ix) = ((y + ky).wrapping_sub(taps / 2), (x + kx).wrapping_sub(taps / 2));
                        if iy < size && ix < size {
                            for c in 0..channels {
                                let weight = weights[((o * channels + c) * taps + ky) * taps + kx];
                                sum += f64::from(input[(iy * size + ix) * channels + c]) * f64::from(weight);
                            }
                        }
                    }
                }
                worst = worst.max((f64::from(out[(y * size + x) * outputs + o]) - sum).abs());
                largest = largest.max(sum.abs());
            }
        }
    }
    worst / largest
}

#[test]
fn accuracy_on_he_weights() {
    for target in Target::all().unwrap() {
        for channels in [64, 160, 320] {
            for (m, taps, bound) in [(2, 3, 3e-6), (4, 3, 2e-5), (6, 3, 4e-5), (2, 5, 2e-5), (4, 5, 6e-5)] {
                let error = error(&target, m, taps, channels, 24, 14);
                println!("{target:?} F({m},{taps}) {channels}: {error:.1e}");
                assert!(error <= bound, "{target:?} F({m},{taps}) of {channels} channels: {error:e}");
            }
        }
    }
}

#[test]
fn equal_specs_share_a_kernel_and_names_say_what_it_is() {
    let target = Target::host().unwrap();
    let mut linker = Linker::new(&target);
    let mut spec = WinogradSpec { conv: simple(1, [4, 8, 8], 8, 3, 1, 1), m: 4 };
    let first = emit(&mut linker, &spec).unwrap();
    assert_eq!(emit(&mut linker, &spec).unwrap().kernel, first.kernel);
    assert!(first.name.starts_with("conv_winograd[F(4x4,3x3) "), "{}", first.name);
    assert_eq!(describe(&spec, &target).unwrap(), first.name);
    spec.m = 2;
    assert_ne!(emit(&mut linker, &spec).unwrap().kernel, first.kernel);
    // 4 x 4 tiles of 16 products for each pair of channels.
    assert_eq!(cost(&spec, &target).unwrap().product_flops, 2 * 16 * 16 * 4 * 8);
}

#[test]
fn what_it_cannot_do_is_refused() {
    let target = Target::host().unwrap();
    let refused = |m: usize, change: &dyn Fn(&mut ConvSpec), reason: &str| {
        let mut conv = simple(1, [4, 8, 8], 8, 3, 1, 1);
        change(&mut conv);
        let spec = WinogradSpec { conv, m };
        let error = emit(&mut Linker::new(&target), &spec).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert_eq!(packed_len(&spec, &target).unwrap_err().to_string(), error);
    };
    refused(4, &|conv| conv.strides = [2, 1], "strides");
    refused(4, &|conv| (conv.strides, conv.input.channels, conv.kernel) = ([2, 2], 64, [3, 3]), "few input channels");
    refused(4, &|conv| conv.dilations = [1, 2], "dilations");
    refused(4, &|conv| conv.groups = 2, "groups");
    refused(4, &|conv| conv.kernel = [1, 1], "window");
    refused(4, &|conv| conv.kernel = [8, 1], "window");
    refused(4, &|conv| conv.input.channel_stride = 64, "neighbours");
    refused(4, &|conv| conv.pads[0] = usize::MAX, "too far");
    for m in [0, 1, 11, usize::MAX] {
        refused(m, &|_| (), "no transform");
    }
    let spec = WinogradSpec { conv: simple(1, [4, 8, 8], 8, 3, 1, 1), m: 4 };
    let error = pack(&spec, &target, &[0.0; 5], None, &mut []).unwrap_err().to_string();
    assert!(error.contains("lengths"), "{error}");
}
