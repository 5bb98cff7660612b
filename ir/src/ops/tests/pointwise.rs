//! Relu, Clip, Add, Mul, Softmax, Dropout, Identity, Cast, and the source ops.

use super::{assert_is, evaluate, infer, ramp, tensor, ty};
use crate::ops::{
    Activation, Add, Cast, Clip, Constant, Div, Dropout, HardSigmoid, HardSwish, Identity, Input, LeakyRelu, Mul, Op,
    Relu, Sigmoid, Softmax, Sub,
};
use crate::tensor::Tensor;
use crate::types::DType;

#[test]
fn relu_and_clip_keep_nans() {
    let x = tensor(&[5], &[-2.0, 0.5, 9.0, f32::NAN, f32::NEG_INFINITY]);
    let bits = |tensor: &Tensor| tensor.as_f32().unwrap().iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let expect = |values: [f32; 5]| values.map(f32::to_bits).to_vec();
    let relu = evaluate(Relu, std::slice::from_ref(&x));
    assert_eq!(bits(&relu), expect([0.0, 0.5, 9.0, f32::NAN, 0.0]));
    let clip = evaluate(Clip { min: -1.0, max: 6.0 }, std::slice::from_ref(&x));
    assert_eq!(bits(&clip), expect([-1.0, 0.5, 6.0, f32::NAN, -1.0]));
    let open = evaluate(Clip { min: f32::NEG_INFINITY, max: f32::INFINITY }, std::slice::from_ref(&x));
    assert_eq!(bits(&open), bits(&x));
}

/// Worked out by hand and with `math.exp`.
#[test]
fn other_activations() {
    let x = tensor(&[5], &[-4.0, -1.0, 0.0, 1.5, 7.0]);
    let one = std::slice::from_ref(&x);
    assert_is(&evaluate(LeakyRelu { alpha: 0.25 }, one), &[5], &[-1.0, -0.25, 0.0, 1.5, 7.0]);
    assert_is(&evaluate(HardSigmoid { alpha: 0.25, beta: 0.5 }, one), &[5], &[0.0, 0.25, 0.5, 0.875, 1.0]);
    assert_is(&evaluate(HardSwish, one), &[5], &[0.0, -1.0 / 3.0, 0.0, 1.125, 7.0]);
    let sigmoid = [0.017_986_21, 0.268_941_4, 0.5, 0.817_574_5, 0.999_088_95];
    assert_is(&evaluate(Sigmoid, one), &[5], &sigmoid);
    for (x, sigmoid) in [-4.0, -1.0, 0.0, 1.5, 7.0].into_iter().zip(sigmoid) {
        assert!((Activation::Silu.apply(x) - x * f64::from(sigmoid)).abs() < 1e-6);
    }
    let nan = tensor(&[1], &[f32::NAN]);
    for op in [
        Op::from(LeakyRelu { alpha: 0.1 }),
        HardSigmoid { alpha: 0.2, beta: 0.5 }.into(),
        HardSwish.into(),
        Sigmoid.into(),
    ] {
        assert!(evaluate(op, std::slice::from_ref(&nan)).as_f32().unwrap()[0].is_nan());
    }
    assert_eq!(
        infer(LeakyRelu { alpha: f32::INFINITY }, &["f32[2]"]),
        "attribute `alpha` must be a finite number, not inf"
    );
}

#[test]
fn differences_and_quotients() {
    let (a, b) = (tensor(&[2, 2], &[1.0, 2.0, 3.0, 4.0]), tensor(&[2], &[2.0, -4.0]));
    assert_is(&evaluate(Sub, &[a.clone(), b.clone()]), &[2, 2], &[-1.0, 6.0, 1.0, 8.0]);
    assert_is(&evaluate(Div, &[a, b]), &[2, 2], &[0.5, -0.5, 1.5, -1.0]);
    let integers = |values: &[i64]| Tensor::from_i64(&[values.len()], values.to_vec()).unwrap();
    let pair = [integers(&[7, -7, 5, i64::MIN]), integers(&[2, 2, 0, -1])];
    assert_eq!(evaluate(Div, &pair).to_i64().unwrap(), [3, -3, 0, i64::MIN]);
    assert_eq!(evaluate(Sub, &pair).to_i64().unwrap(), [5, -9, 5, i64::MIN + 1]);
}

#[test]
fn clip_with_bounds_in_disorder_gives_the_upper() {
    let found = evaluate(Clip { min: 1.0, max: -1.0 }, &[tensor(&[3], &[-3.0, 0.0, 3.0])]);
    assert_is(&found, &[3], &[-1.0; 3]);
}

#[test]
fn pointwise_types() {
    assert_eq!(infer(Relu, &["f32[N,3]"]), "f32[N,3]");
    assert_eq!(infer(Relu, &["i64[3]"]), "computes on f32, but its input is i64[3]");
    assert_eq!(infer(Relu, &[]), "takes 1 inputs but has 0");
    assert_eq!(infer(Clip { min: 0.0, max: 6.0 }, &["f32[]"]), "f32[]");
    assert_eq!(infer(Clip { min: 0.0, max: 6.0 }, &["u8[2]"]), "computes on f32, but its input is u8[2]");
    assert_eq!(infer(Clip { min: f32::NAN, max: 6.0 }, &["f32[]"]), "the bounds of clip(NaN,6) must be numbers");
    assert_eq!(infer(Identity, &["bool[N,3]"]), "bool[N,3]");
    assert_eq!(infer(Dropout { ratio: 0.4 }, &["f32[N,1024]"]), "f32[N,1024]");
    assert_eq!(
        infer(Dropout { ratio: f32::INFINITY }, &["f32[N]"]),
        "attribute `ratio` must be a finite number, not inf"
    );
    assert_eq!(infer(Cast { to: DType::F32 }, &["i64[N,3]"]), "f32[N,3]");
    assert_eq!(infer(Input { ty: ty("f32[N,3]") }, &[]), "f32[N,3]");
    assert_eq!(infer(Input { ty: ty("f32[N,2N]") }, &[]), "a size overflows: f32[N,2N]",);
    let long = infer(Input { ty: ty("f32[1,1,1,1,1,1,1,1,1]") }, &[]);
    assert_eq!(long, "f32[1,1,1,1,1,1,1,1,1] has more than 8 dimensions");
    assert_eq!(infer(Constant { tensor: ramp(&[2, 3]) }, &[]), "f32[2,3]");
}

#[test]
fn arithmetic_types_broadcast() {
    assert_eq!(infer(Add, &["f32[N,64,56,56]", "f32[64,1,1]"]), "f32[N,64,56,56]");
    assert_eq!(infer(Mul, &["f32[3,1]", "f32[1,4]"]), "f32[3,4]");
    assert_eq!(infer(Add, &["f32[1,4]", "f32[2N,1]"]), "f32[2N,4]");
    assert_eq!(infer(Add, &["i64[4]", "i64[]"]), "i64[4]");
    assert_eq!(infer(Add, &["f32[0,3]", "f32[1,3]"]), "f32[0,3]");
    assert_eq!(
        infer(Add, &["f32[2,3]", "f32[2,4]"]),
        "[2,3] and [2,4] do not broadcast: they differ on axis 1 of the result"
    );
    assert_eq!(
        infer(Mul, &["f32[N,3]", "f32[2,3]"]),
        "[N,3] and [2,3] do not broadcast: they differ on axis 0 of the result"
    );
    assert_eq!(infer(Mul, &["f32[3]", "i64[3]"]), "its inputs differ in element type: f32[3] and i64[3]");
    assert_eq!(infer(Mul, &["bool[3]", "bool[3]"]), "computes on f32 or i64, but its input is bool[3]");
    assert_eq!(infer(Add, &["f32[N,1]", "f32[1,N]"]), "f32[N,N] depends on the batch size in more than one dimension");
    let long = "f32[1048576,1,1048577]";
    assert_eq!(infer(Add, &[long, "f32[8,1]"]), "a size overflows: f32[1048576,8,1048577] has too many elements");
}

#[test]
fn arithmetic_broadcasts() {
    let column = tensor(&[2, 1], &[1.0, 2.0]);
    let row = tensor(&[3], &[10.0, 20.0, 30.0]);
    let sum = evaluate(Add, &[column.clone(), row.clone()]);
    assert_is(&sum, &[2, 3], &[11.0, 21.0, 31.0, 12.0, 22.0, 32.0]);
    let product = evaluate(Mul, &[row, column]);
    assert_is(&product, &[2, 3], &[10.0, 20.0, 30.0, 20.0, 40.0, 60.0]);
    let empty = evaluate(Add, &[tensor(&[0, 3], &[]), tensor(&[3], &[1.0; 3])]);
    assert_is(&empty, &[0, 3], &[]);
}

#[test]
fn arithmetic_on_integers_is_exact_and_wraps() {
    let integers = |values: &[i64]| Tensor::from_i64(&[values.len()], values.to_vec()).unwrap();
    // Not a double: 2⁵³ + 1.
    let large = (1 << 53) + 1;
    let sum = evaluate(Add, &[integers(&[large, i64::MAX]), integers(&[1])]);
    assert_eq!(sum.to_i64().unwrap(), [large + 1, i64::MIN]);
    let product = evaluate(Mul, &[integers(&[3, i64::MAX]), integers(&[-2])]);
    assert_eq!(product.to_i64().unwrap(), [-6, 2]);
}

#[test]
fn softmax_types() {
    let softmax = |axis| Softmax { axis, flatten: false };
    assert_eq!(infer(softmax(1), &["f32[N,1000]"]), "f32[N,1000]");
    assert_eq!(infer(softmax(2), &["f32[N,1000]"]), "axis 2 is out of range for 2 dimensions");
    assert_eq!(infer(softmax(0), &["f32[]"]), "axis 0 is out of range for 0 dimensions");
    assert_eq!(infer(softmax(0), &["f16[3]"]), "computes on f32, but its input is f16[3]");
}

/// From onnxruntime, as opset 13 and as opset 11.
#[test]
fn softmax_is_along_one_axis_or_over_the_rest() {
    let along = evaluate(Softmax { axis: 1, flatten: false }, &[ramp(&[2, 3, 2])]);
    #[rustfmt::skip]
    let expected = [
        0.002_355_633, 0.047_410_72, 0.047_314_16, 0.952_269_9, 0.950_330_3, 0.000_319_450_9, 0.992_976_3, 0.047_410_72,
        0.000_333_106_4, 0.952_269_9, 0.006_690_622, 0.000_319_450_9,
    ];
    assert_is(&along, &[2, 3, 2], &expected);
    let over = evaluate(Softmax { axis: 1, flatten: true }, &[ramp(&[2, 3, 2])]);
    #[rustfmt::skip]
    let expected = [
        4.245_383e-5, 0.046_556_28, 0.000_852_707_9, 0.935_107_8, 0.017_127_1, 0.000_313_693_7, 0.717_673_1, 0.013_144_64,
        0.000_240_752_5, 0.264_017_2, 0.004_835_643, 8.856_79e-5,
    ];
    assert_is(&over, &[2, 3, 2], &expected);
}

#[test]
fn softmax_of_large_numbers_does_not_overflow() {
    let found = evaluate(Softmax { axis: 0, flatten: false }, &[tensor(&[3], &[3e38, 3e38, -3e38])]);
    assert_is(&found, &[3], &[0.5, 0.5, 0.0]);
    let nan = evaluate(Softmax { axis: 0, flatten: false }, &[tensor(&[2], &[1.0, f32::NAN])]);
    assert!(nan.as_f32().unwrap().iter().all(|value| value.is_nan()));
}

#[test]
fn copies_give_their_input() {
    for op in [Op::from(Identity), Dropout { ratio: 0.5 }.into(), Cast { to: DType::F32 }.into()] {
        assert_eq!(evaluate(op, &[ramp(&[2, 3])]), ramp(&[2, 3]));
    }
    assert_eq!(evaluate(Constant { tensor: ramp(&[2]) }, &[]), ramp(&[2]));
    let error = Op::from(Input { ty: ty("f32[1]") }).evaluate(&[]).unwrap_err();
    assert_eq!(error.to_string(), "an input has no value of its own; the caller gives it");
}

#[test]
fn cast_truncates_and_saturates() {
    let found = evaluate(Cast { to: DType::I64 }, &[tensor(&[4], &[-1.9, 2.9, 1e30, f32::NAN])]);
    assert_eq!(found.to_i64().unwrap(), [-1, 2, i64::MAX, 0]);
    let back = evaluate(Cast { to: DType::F32 }, &[Tensor::from_i64(&[2], vec![-3, 1 << 24]).unwrap()]);
    assert_is(&back, &[2], &[-3.0, 16_777_216.0]);
}
