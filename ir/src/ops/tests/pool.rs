//! MaxPool, AvgPool, GlobalAvgPool and the windows they share with Conv.

use super::{assert_is, evaluate, infer, ramp, tensor};
use crate::ops::window::Window;
use crate::ops::{AvgPool, GlobalAvgPool, MaxPool, Pool};

fn ceil(kernel: usize, stride: usize, pad: usize) -> Pool {
    Pool { strides: [stride; 2], pads: [pad; 4], ceil_mode: true, ..Pool::new([kernel; 2]) }
}

fn floor(kernel: usize, stride: usize, pad: usize) -> Pool {
    Pool { ceil_mode: false, ..ceil(kernel, stride, pad) }
}

#[test]
fn pools_infer_the_output_image() {
    let max = |pool: Pool, input: &str| infer(MaxPool { pool }, &[input]);
    assert_eq!(max(ceil(3, 2, 0), "f32[N,64,112,112]"), "f32[N,64,56,56]");
    assert_eq!(max(floor(3, 2, 0), "f32[N,64,112,112]"), "f32[N,64,55,55]");
    assert_eq!(max(ceil(3, 1, 1), "f32[N,192,28,28]"), "f32[N,192,28,28]");
    assert_eq!(max(ceil(2, 2, 0), "f32[2N,832,14,14]"), "f32[2N,832,7,7]");
    // The third window would start at 6 − 1 = 5, beyond the four elements.
    assert_eq!(max(ceil(2, 3, 1), "f32[1,1,4,4]"), "f32[1,1,2,2]");
    // Rounding up makes one window of an image that is smaller than the kernel by less than a stride.
    assert_eq!(max(ceil(3, 2, 0), "f32[1,1,2,2]"), "f32[1,1,1,1]");
    let average = AvgPool { pool: floor(5, 3, 0), count_include_pad: true };
    assert_eq!(infer(average, &["f32[N,512,14,14]"]), "f32[N,512,4,4]");
    assert_eq!(infer(GlobalAvgPool, &["f32[N,1024,7,7]"]), "f32[N,1024,1,1]");
}

#[test]
fn pools_refuse() {
    let max = |pool: Pool, input: &str| infer(MaxPool { pool }, &[input]);
    assert_eq!(
        max(floor(3, 2, 0), "f32[1,1,2,2]"),
        "a kernel that reaches over 3 is larger than the padded input of 2 (0 + 2 + 0)"
    );
    assert_eq!(
        max(ceil(5, 2, 0), "f32[1,1,3,3]"),
        "a kernel that reaches over 5 is larger than the padded input of 3 (0 + 3 + 0)"
    );
    assert_eq!(max(floor(2, 0, 0), "f32[1,1,4,4]"), "the stride must be at least 1");
    assert_eq!(max(floor(0, 1, 0), "f32[1,1,4,4]"), "the kernel size must be at least 1");
    assert_eq!(max(floor(2, 1, 2), "f32[1,1,4,4]"), "vertical pads 2 and 2 must be smaller than the kernel of 2");
    assert_eq!(max(floor(2, 1, 1), "f32[1,1,4,0]"), "the image is empty on the horizontal axis");
    let wide = Pool { dilations: [2, 2], ..floor(2, 1, 1) };
    assert_eq!(max(wide, "f32[1,1,1,4]"), "a vertical dilation of 2 steps over the whole image of 1");
    assert_eq!(max(floor(2, 1, 0), "i64[1,1,4,4]"), "computes on f32, but its input is i64[1,1,4,4]");
    assert_eq!(max(floor(2, 1, 0), "f32[1,4,4]"), "takes an image [N,C,H,W], but its input is f32[1,4,4]");
    assert_eq!(
        infer(GlobalAvgPool, &["f32[1,4,0,3]"]),
        "there is no average over no pixels: its input is f32[1,4,0,3]"
    );
}

/// From onnxruntime.
#[test]
fn max_pool_ignores_padding() {
    assert_is(
        &evaluate(MaxPool { pool: ceil(2, 3, 1) }, &[ramp(&[1, 1, 4, 4])]),
        &[1, 1, 2, 2],
        &[-5.0, 5.0, 2.0, 5.0],
    );
    assert_is(&evaluate(MaxPool { pool: ceil(3, 2, 0) }, &[ramp(&[1, 1, 2, 2])]), &[1, 1, 1, 1], &[5.0]);
    let dilated = Pool { kernel: [2, 3], strides: [2, 1], pads: [0, 1, 1, 1], dilations: [2, 2], ceil_mode: true };
    #[rustfmt::skip]
    let expected = [5.0, 5.0, 5.0, 2.0, 5.0, 2.0, 2.0, 3.0, 2.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 1.0, 5.0, 1.0];
    assert_is(&evaluate(MaxPool { pool: dilated }, &[ramp(&[1, 2, 5, 5])]), &[1, 2, 3, 3], &expected);
}

#[test]
fn max_pool_of_negative_numbers_is_negative() {
    let found = evaluate(MaxPool { pool: ceil(3, 2, 1) }, &[tensor(&[1, 1, 2, 1], &[-7.0, -9.0])]);
    assert_is(&found, &[1, 1, 2, 1], &[-7.0, -9.0]);
}

#[test]
fn max_pool_keeps_a_nan_wherever_it_stands() {
    for at in 0..4 {
        let mut values = [1.0, 2.0, 3.0, 4.0];
        values[at] = f32::NAN;
        let found = evaluate(MaxPool { pool: floor(2, 1, 0) }, &[tensor(&[1, 1, 2, 2], &values)]);
        assert!(found.as_f32().unwrap()[0].is_nan(), "{at}");
    }
}

/// From onnxruntime: the last windows overhang the padding by one, which the divisor does not count.
#[test]
fn avg_pool_counts_padding_but_not_beyond() {
    let found =
        |count_include_pad| evaluate(AvgPool { pool: ceil(3, 2, 1), count_include_pad }, &[ramp(&[1, 1, 6, 6])]);
    #[rustfmt::skip]
    let without = [
        0.25, 0.666_666_7, 0.0, -4.0, 0.0, 0.111_111_1, -0.555_555_6, 0.333_333_3, -0.333_333_3, -0.222_222_2,
        -0.888_888_9, 0.0, -0.5, -1.0, -1.666_667, -2.0,
    ];
    assert_is(&found(false), &[1, 1, 4, 4], &without);
    #[rustfmt::skip]
    let with = [
        0.111_111_1, 0.444_444_4, 0.0, -1.333_333, 0.0, 0.111_111_1, -0.555_555_6, 0.166_666_7, -0.222_222_2,
        -0.222_222_2, -0.888_888_9, 0.0, -0.166_666_7, -0.5, -0.833_333_3, -0.5,
    ];
    assert_is(&found(true), &[1, 1, 4, 4], &with);
}

/// From onnxruntime.
#[test]
fn avg_pool_takes_uneven_pads_and_dilations() {
    let uneven = Pool { kernel: [3, 2], strides: [2, 2], pads: [0, 1, 1, 0], ceil_mode: true, ..Pool::new([1, 1]) };
    let found =
        |pool, count_include_pad, input: &[usize]| evaluate(AvgPool { pool, count_include_pad }, &[ramp(input)]);
    assert_is(&found(uneven, false, &[1, 1, 3, 4]), &[1, 1, 2, 3], &[-2.666_667, 0.5, 0.0, -4.0, 1.0, -5.0]);
    assert_is(&found(uneven, true, &[1, 1, 3, 4]), &[1, 1, 2, 3], &[-1.333_333, 0.5, 0.0, -1.0, 0.5, -2.5]);
    let dilated = Pool { strides: [1, 2], pads: [1; 4], dilations: [2, 2], ceil_mode: true, ..Pool::new([2, 2]) };
    let without = [-3.0, -1.5, 0.0, 2.5, 1.25, 0.0, -2.5, -1.0, 0.5, 3.0, -1.0, -5.0];
    assert_is(&found(dilated, false, &[1, 1, 4, 4]), &[1, 1, 4, 3], &without);
    let with = [-0.75, -0.75, 0.0, 1.25, 1.25, 0.0, -1.25, -1.0, 0.5, 0.75, -0.5, -2.5];
    assert_is(&found(dilated, true, &[1, 1, 4, 4]), &[1, 1, 4, 3], &with);
}

#[test]
fn global_avg_pool_averages_each_plane() {
    let found = evaluate(GlobalAvgPool, &[tensor(&[1, 2, 1, 3], &[1.0, 2.0, 6.0, -1.0, 0.0, 1.0])]);
    assert_is(&found, &[1, 2, 1, 1], &[3.0, 0.0]);
}

/// Each window's taps, found again by trying every position.
#[test]
fn windows_agree_with_their_definition() {
    for input in 1..6 {
        for kernel in 1..4 {
            for (stride, dilation) in [(1, 1), (2, 1), (3, 2), (1, 3)] {
                for (begin, end) in [(0, 0), (1, 0), (2, 1), (3, 3)] {
                    let window = Window { input, kernel, stride, dilation, begin, end };
                    for ceil_mode in [false, true] {
                        let Ok(outputs) = window.outputs(ceil_mode) else { continue };
                        check_window(&window, outputs);
                    }
                }
            }
        }
    }
}

fn check_window(window: &Window, outputs: usize) {
    let Window { input, kernel, stride, dilation, begin, end } = *window;
    let inside = |output: usize, tap: usize| {
        let padded = output * stride + tap * dilation;
        (begin..begin + input).contains(&padded)
    };
    for output in 0..outputs {
        let taps: Vec<usize> = (0..kernel).filter(|tap| inside(output, *tap)).collect();
        assert_eq!(window.taps(output).collect::<Vec<_>>(), taps, "{window:?} output {output}");
        let counted = (0..kernel).filter(|tap| output * stride + tap * dilation < begin + input + end).count();
        assert_eq!(window.counted(output), counted, "{window:?} output {output}");
        for tap in taps {
            assert_eq!(window.position(output, tap) + begin, output * stride + tap * dilation);
        }
    }
    for tap in 0..kernel {
        let readers: Vec<usize> = (0..outputs).filter(|output| inside(*output, tap)).collect();
        assert_eq!(window.outputs_of(tap, outputs).collect::<Vec<_>>(), readers, "{window:?} tap {tap}");
    }
}
