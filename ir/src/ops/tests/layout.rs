//! Concat, Reshape, Flatten, Unsqueeze, Squeeze, Transpose, Pad.

use super::{assert_is, evaluate, infer, ramp, tensor};
use crate::ops::{Concat, Flatten, Pad, Reshape, Slice, Squeeze, Transpose, Unsqueeze};
use crate::tensor::Tensor;

fn reshape(dims: &[i64]) -> Reshape {
    Reshape { dims: dims.to_vec(), allow_zero: false }
}

#[test]
fn concat_adds_up_one_axis() {
    let concat = |axis, inputs: &[&str]| infer(Concat { axis }, inputs);
    assert_eq!(concat(1, &["f32[N,64,28,28]", "f32[N,128,28,28]", "f32[N,32,28,28]"]), "f32[N,224,28,28]");
    assert_eq!(concat(0, &["f32[N,3]", "f32[2N,3]"]), "f32[3N,3]");
    assert_eq!(concat(0, &["i64[1]", "i64[2]"]), "i64[3]");
    assert_eq!(concat(0, &["f32[2,3]"]), "f32[2,3]");
    assert_eq!(
        concat(0, &["f32[N,3]", "f32[2,3]"]),
        "on axis 0, N and 2 do not add up to a multiple of the batch size"
    );
    assert_eq!(
        concat(1, &["f32[N,3,4]", "f32[N,3,5]"]),
        "f32[N,3,4] and f32[N,3,5] cannot be concatenated on axis 1: all else must be equal"
    );
    assert_eq!(
        concat(0, &["f32[1]", "i64[1]"]),
        "f32[1] and i64[1] cannot be concatenated on axis 0: all else must be equal"
    );
    assert_eq!(
        concat(1, &["f32[2,3]", "f32[2]"]),
        "f32[2,3] and f32[2] cannot be concatenated on axis 1: all else must be equal"
    );
    assert_eq!(concat(2, &["f32[2,3]"]), "axis 2 is out of range for 2 dimensions");
    assert_eq!(concat(0, &[]), "takes at least 1 inputs but has 0");
    let half = format!("f32[{},0]", usize::MAX / 2 + 1);
    assert!(concat(0, &[&half, &half]).starts_with("a size overflows: the sizes on axis 0"));
}

#[test]
fn concat_interleaves_blocks() {
    let a = tensor(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
    let b = tensor(&[2, 2, 2], &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0]);
    let expected = [1.0, 2.0, 10.0, 20.0, 30.0, 40.0, 3.0, 4.0, 50.0, 60.0, 70.0, 80.0];
    assert_is(&evaluate(Concat { axis: 1 }, &[a, b]), &[2, 3, 2], &expected);
    let integers = |values: &[i64]| Tensor::from_i64(&[values.len()], values.to_vec()).unwrap();
    let joined = evaluate(Concat { axis: 0 }, &[integers(&[1]), integers(&[]), integers(&[2, 3])]);
    assert_eq!(joined.to_i64().unwrap(), [1, 2, 3]);
}

#[test]
fn reshape_keeps_the_batch() {
    assert_eq!(infer(reshape(&[0, -1]), &["f32[N,1024,1,1]"]), "f32[N,1024]");
    assert_eq!(infer(reshape(&[-1, 1024]), &["f32[N,1024,1,1]"]), "f32[N,1024]");
    assert_eq!(infer(reshape(&[-1, 512]), &["f32[N,1024,1,1]"]), "f32[2N,512]");
    assert_eq!(infer(reshape(&[0, 4, 256]), &["f32[N,1024]"]), "f32[N,4,256]");
    assert_eq!(infer(reshape(&[-1]), &["f32[3N,2,2]"]), "f32[12N]");
    assert_eq!(infer(reshape(&[2, -1]), &["f32[N,4]"]), "f32[2,2N]");
    assert_eq!(infer(reshape(&[0, 0, -1]), &["f32[2,3,4,5]"]), "f32[2,3,20]");
    assert_eq!(infer(reshape(&[6]), &["i64[2,3]"]), "i64[6]");
    assert_eq!(infer(reshape(&[]), &["f32[1,1]"]), "f32[]");
    assert_eq!(infer(Reshape { dims: vec![0, 5], allow_zero: true }, &["f32[3,0]"]), "f32[0,5]");
}

#[test]
fn reshape_refuses() {
    assert_eq!(
        infer(reshape(&[1, 1024]), &["f32[N,1024]"]),
        "f32[N,1024] cannot take the sizes [1, 1024] for every batch size"
    );
    assert_eq!(
        infer(reshape(&[-1, 3]), &["f32[N,1024]"]),
        "f32[N,1024] cannot take the sizes [-1, 3] for every batch size"
    );
    assert_eq!(infer(reshape(&[-1, 5]), &["f32[2,3]"]), "f32[2,3] cannot take the sizes [-1, 5]");
    assert_eq!(infer(reshape(&[7]), &["f32[2,3]"]), "f32[2,3] cannot take the sizes [7]");
    assert_eq!(infer(reshape(&[-1, -1]), &["f32[2,3]"]), "dims [-1, -1] hold more than one -1");
    assert_eq!(infer(reshape(&[-2]), &["f32[2,3]"]), "dims [-2] hold the size -2");
    assert_eq!(
        infer(reshape(&[2, 3, 0]), &["f32[2,3]"]),
        "dims [2, 3, 0] copy axis 2, which the input f32[2,3] does not have"
    );
    assert_eq!(
        infer(Reshape { dims: vec![0, -1], allow_zero: true }, &["f32[0,3]"]),
        "dims [0, -1] hold both a size of 0 and -1"
    );
    assert_eq!(infer(reshape(&[0, -1]), &["f32[0,3]"]), "f32[0,3] cannot take the sizes [0, -1]");
    let long = infer(reshape(&[i64::MAX, i64::MAX]), &["f32[1]"]);
    assert!(long.starts_with("a size overflows: the product of"), "{long}");
    let deep = infer(reshape(&[1; 9]), &["f32[1]"]);
    assert_eq!(deep, "f32[1,1,1,1,1,1,1,1,1] has more than 8 dimensions");
}

#[test]
fn flatten_makes_a_matrix() {
    let flatten = |axis, input: &str| infer(Flatten { axis }, &[input]);
    assert_eq!(flatten(1, "f32[N,1024,7,7]"), "f32[N,50176]");
    assert_eq!(flatten(2, "f32[N,3,4,5]"), "f32[3N,20]");
    assert_eq!(flatten(0, "f32[N,3]"), "f32[1,3N]");
    assert_eq!(flatten(2, "f32[2,3]"), "f32[6,1]");
    assert_eq!(flatten(0, "f32[]"), "f32[1,1]");
    assert_eq!(flatten(1, "f32[N,0]"), "f32[N,0]");
    assert_eq!(flatten(0, "f32[N,0]"), "f32[1,0]");
    assert_eq!(flatten(3, "f32[2,3]"), "axis 3 is out of range for f32[2,3]");
}

#[test]
fn what_only_renames_axes_keeps_the_bytes() {
    let x = ramp(&[2, 1, 3]);
    let values = x.as_f32().unwrap();
    assert_is(&evaluate(reshape(&[3, -1]), std::slice::from_ref(&x)), &[3, 2], &values);
    assert_is(&evaluate(Flatten { axis: 2 }, std::slice::from_ref(&x)), &[2, 3], &values);
    assert_is(&evaluate(Squeeze { axes: vec![1] }, std::slice::from_ref(&x)), &[2, 3], &values);
    assert_is(&evaluate(Unsqueeze { axes: vec![0, 4] }, std::slice::from_ref(&x)), &[1, 2, 1, 3, 1], &values);
}

#[test]
fn unsqueeze_and_squeeze_place_axes() {
    let unsqueeze = |axes: &[usize], input: &str| infer(Unsqueeze { axes: axes.to_vec() }, &[input]);
    assert_eq!(unsqueeze(&[2, 3], "f32[N,64]"), "f32[N,64,1,1]");
    assert_eq!(unsqueeze(&[0, 2, 4], "i64[3,4]"), "i64[1,3,1,4,1]");
    assert_eq!(unsqueeze(&[0], "i64[]"), "i64[1]");
    assert_eq!(unsqueeze(&[3], "f32[3,4]"), "axis 3 is out of range for 3 dimensions");
    assert_eq!(unsqueeze(&[1, 1], "f32[3,4]"), "axes must ascend, but 1 is followed by 1");
    let squeeze = |axes: &[usize], input: &str| infer(Squeeze { axes: axes.to_vec() }, &[input]);
    assert_eq!(squeeze(&[2, 3], "f32[N,64,1,1]"), "f32[N,64]");
    assert_eq!(squeeze(&[], "f32[1,2]"), "f32[1,2]");
    assert_eq!(squeeze(&[0], "f32[N,64,1,1]"), "axis 0 of f32[N,64,1,1] is not 1 and cannot be dropped");
    assert_eq!(squeeze(&[1], "f32[1,2]"), "axis 1 of f32[1,2] is not 1 and cannot be dropped");
    assert_eq!(squeeze(&[2], "f32[1,2]"), "axis 2 is out of range for 2 dimensions");
    assert_eq!(squeeze(&[2, 0], "f32[1,2,1]"), "axes must ascend, but 2 is followed by 0");
}

#[test]
fn transpose_orders_axes() {
    let transpose = |perm: &[usize], input: &str| infer(Transpose { perm: perm.to_vec() }, &[input]);
    assert_eq!(transpose(&[0, 2, 3, 1], "f32[N,3,4,5]"), "f32[N,4,5,3]");
    assert_eq!(transpose(&[], "f32[]"), "f32[]");
    assert_eq!(transpose(&[0, 0], "f32[2,3]"), "perm [0, 0] does not order the axes of f32[2,3]");
    assert_eq!(transpose(&[0], "f32[2,3]"), "perm [0] does not order the axes of f32[2,3]");
    let x = tensor(&[1, 2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let found = evaluate(Transpose { perm: vec![2, 0, 1] }, &[x]);
    assert_is(&found, &[3, 1, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    let integers = Tensor::from_i64(&[2, 2], vec![1, 2, 3, 4]).unwrap();
    assert_eq!(evaluate(Transpose { perm: vec![1, 0] }, &[integers]).to_i64().unwrap(), [1, 3, 2, 4]);
}

#[test]
fn pad_makes_a_border() {
    let pad = |pads: &[[usize; 2]], input: &str| infer(Pad { pads: pads.to_vec(), value: 0.0 }, &[input]);
    assert_eq!(pad(&[[0, 0], [0, 0], [1, 2], [3, 4]], "f32[N,3,10,10]"), "f32[N,3,13,17]");
    assert_eq!(pad(&[[1, 0], [0, 0]], "f32[N,3]"), "cannot pad f32[N,3] where it depends on the batch size");
    assert_eq!(pad(&[[1, 0]], "f32[2,3]"), "has pads for 1 axes, but its input is f32[2,3]");
    assert_eq!(pad(&[[1, 0]], "i64[2]"), "computes on f32, but its input is i64[2]");
    assert!(pad(&[[usize::MAX, 1]], "f32[2]").starts_with("a size overflows: "));
    let x = tensor(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let found = evaluate(Pad { pads: vec![[1, 0], [0, 2]], value: -1.0 }, &[x]);
    assert_is(&found, &[3, 4], &[-1.0, -1.0, -1.0, -1.0, 1.0, 2.0, -1.0, -1.0, 3.0, 4.0, -1.0, -1.0]);
    assert_is(&evaluate(Pad { pads: vec![[1, 1]], value: 2.0 }, &[tensor(&[0], &[])]), &[2], &[2.0, 2.0]);
}

#[test]
fn slice_keeps_a_range_of_an_axis() {
    let slice = |axis, start, length| Slice { axis, start, length };
    assert_eq!(infer(slice(1, 1, 2), &["f32[N,3,4]"]), "f32[N,2,4]");
    assert_eq!(infer(slice(0, 2, 0), &["i64[2]"]), "i64[0]");
    assert_eq!(infer(slice(1, 2, 2), &["f32[N,3]"]), "2 elements from 2 on are not all within f32[N,3] on axis 1");
    assert_eq!(
        infer(slice(0, 0, 1), &["f32[N,3]"]),
        "dimension 0 of its input, f32[N,3], may not depend on the batch size"
    );
    assert_eq!(infer(slice(2, 0, 1), &["f32[N,3]"]), "axis 2 is out of range for 2 dimensions");
    let x = tensor(&[2, 3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
    let found = evaluate(slice(1, 1, 2), std::slice::from_ref(&x));
    assert_is(&found, &[2, 2, 2], &[2.0, 3.0, 4.0, 5.0, 8.0, 9.0, 10.0, 11.0]);
    assert_is(&evaluate(slice(2, 1, 1), &[x]), &[2, 3, 1], &[1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
}
