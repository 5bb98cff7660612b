//! Conv, BatchNorm, Lrn.

use super::{assert_is, evaluate, infer, ramp, tensor};
use crate::ops::{Activation, BatchNorm, Conv, ConvRange, Lrn, Op};
use crate::tensor::Tensor;

#[test]
fn conv_infers_the_output_image() {
    let conv = Conv { strides: [2, 2], pads: [3; 4], ..Conv::default() };
    assert_eq!(infer(conv, &["f32[N,3,224,224]", "f32[64,3,7,7]"]), "f32[N,64,112,112]");
    let asymmetric = Conv { pads: [1, 0, 2, 1], strides: [2, 1], dilations: [1, 2], ..Conv::default() };
    assert_eq!(infer(asymmetric, &["f32[2,2,4,5]", "f32[4,2,3,2]", "f32[4]"]), "f32[2,4,3,4]");
    let depthwise = Conv { group: 8, pads: [1; 4], ..Conv::default() };
    assert_eq!(infer(depthwise, &["f32[3N,8,5,5]", "f32[16,1,3,3]"]), "f32[3N,16,5,5]");
}

#[test]
fn conv_refuses() {
    let plain = |inputs: &[&str]| infer(Conv::default(), inputs);
    assert_eq!(plain(&["f32[1,3,8,8]"]), "takes 2 to 3 inputs but has 1");
    assert_eq!(
        plain(&["f32[1,3,8,8]", "f32[4,2,3,3]"]),
        "the weights f32[4,2,3,3] read 2 channels, but x f32[1,3,8,8] has 3 in each of 1 group(s)"
    );
    assert_eq!(plain(&["f32[1,3,8]", "f32[4,3,3,3]"]), "takes an image [N,C,H,W], but its input is f32[1,3,8]");
    assert_eq!(plain(&["f64[1,3,8,8]", "f32[4,3,3,3]"]), "computes on f32, but its input is f64[1,3,8,8]");
    assert_eq!(plain(&["f32[1,3,8,8]", "f32[4,3,3]"]), "the weights must be [O,I,kh,kw] but are f32[4,3,3]");
    assert_eq!(plain(&["f32[1,3,8,8]", "f32[4,3,3,3]", "f32[3]"]), "the bias must be f32[4] but is f32[3]");
    assert_eq!(
        plain(&["f32[1,3,2,8]", "f32[4,3,3,3]"]),
        "a kernel that reaches over 3 is larger than the padded input of 2 (0 + 2 + 0)"
    );
    assert_eq!(
        plain(&["f32[1,3,N,8]", "f32[4,3,3,3]"]),
        "dimension 2 of its input, f32[1,3,N,8], may not depend on the batch size"
    );
    assert_eq!(plain(&["f32[1,3,8,8]", "f32[4,3,0,3]"]), "the kernel size must be at least 1");
    let with = |conv: Conv| infer(conv, &["f32[1,4,8,8]", "f32[6,2,3,3]"]);
    assert_eq!(with(Conv { group: 0, ..Conv::default() }), "attribute `group` must be at least 1");
    assert_eq!(
        with(Conv { group: 4, ..Conv::default() }),
        "4 groups do not divide 4 input channels and 6 output channels"
    );
    assert_eq!(with(Conv { group: 2, strides: [0, 1], ..Conv::default() }), "the stride must be at least 1");
    assert_eq!(with(Conv { group: 2, dilations: [1, 0], ..Conv::default() }), "the dilation must be at least 1");
    let huge = with(Conv { group: 2, pads: [usize::MAX, 0, 1, 0], ..Conv::default() });
    assert!(huge.starts_with("a size overflows: the padded input"), "{huge}");
    let clip = Activation::Clip { min: f32::NAN, max: 1.0 };
    let message = with(Conv { group: 2, activation: Some(clip), ..Conv::default() });
    assert_eq!(message, "the bounds of clip(NaN,1) must be numbers");
}

/// From onnxruntime.
#[test]
fn conv_computes_groups_dilations_and_uneven_pads() {
    let conv = Conv { strides: [2, 1], pads: [1, 0, 2, 1], dilations: [1, 2], group: 2, ..Conv::default() };
    #[rustfmt::skip]
    let expected = [
        -8.0, 32.0, -5.0, -19.0, 11.0, -36.0, 38.0, 19.0, -2.0, 10.0, -33.0, -5.0, 19.0, 25.0, -2.0, -14.0, -21.0, 35.0,
        25.0, -6.0, 6.0, -10.0, 18.0, 2.0, -19.0, 8.0, -20.0, -4.0, 3.0, -25.0, 2.0, -10.0, -8.0, 14.0, -8.0, -8.0, -12.0,
        3.0, 7.0, -9.0, 18.0, -28.0, 3.0, 5.0, 1.0, 17.0, -11.0, 5.0,
    ];
    let inputs = [ramp(&[1, 2, 4, 5]), ramp(&[4, 1, 3, 2]), ramp(&[4])];
    assert_is(&evaluate(conv.clone(), &inputs), &[1, 4, 3, 4], &expected);
    let activation = Some(Activation::Clip { min: 0.0, max: 6.0 });
    let clipped = expected.map(|value: f32| value.clamp(0.0, 6.0));
    assert_is(&evaluate(Conv { activation, ..conv }, &inputs), &[1, 4, 3, 4], &clipped);
}

/// From onnxruntime.
#[test]
fn conv_computes_a_strided_depthwise() {
    let conv = Conv { strides: [2, 2], pads: [1; 4], group: 2, ..Conv::default() };
    #[rustfmt::skip]
    let expected = [
        -27.0, 25.0, 10.0, 12.0, -41.0, 21.0, 14.0, 7.0, 0.0, 19.0, 14.0, -3.0, 2.0, 11.0, -17.0, 6.0, -19.0, 10.0,
    ];
    let found = evaluate(conv, &[ramp(&[1, 2, 5, 5]), ramp(&[2, 1, 3, 3])]);
    assert_is(&found, &[1, 2, 3, 3], &expected);
}

#[test]
fn conv_of_one_tap_is_a_matrix_product_of_each_pixel() {
    let x = tensor(&[2, 2, 1, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let weights = tensor(&[1, 2, 1, 1], &[10.0, 1.0]);
    let bias = tensor(&[1], &[0.5]);
    let found = evaluate(Conv::default(), &[x, weights, bias]);
    assert_is(&found, &[2, 1, 1, 2], &[13.5, 24.5, 57.5, 68.5]);
}

/// Each output of a convolution.
fn outputs(conv: Conv, inputs: &[Tensor]) -> Vec<Tensor> {
    Op::from(conv).evaluate(&inputs.iter().collect::<Vec<_>>()).unwrap().into_vec()
}

#[test]
fn conv_cuts_its_channels_into_ranges() {
    let range = |channels, activation| ConvRange { channels, activation };
    let ranges = vec![range(1, None), range(2, Some(Activation::Relu))];
    let conv = Conv { ranges, pads: [1, 0, 0, 0], ..Conv::default() };
    assert_eq!(infer(conv.clone(), &["f32[N,2,4,5]", "f32[3,2,2,1]", "f32[3]"]), "f32[N,1,4,5] f32[N,2,4,5]");
    let inputs = [ramp(&[2, 2, 2, 3]), ramp(&[3, 2, 2, 1]), ramp(&[3])];
    let whole = evaluate(Conv { ranges: Vec::new(), ..conv.clone() }, &inputs);
    let whole = whole.as_f32().unwrap();
    let parts = outputs(conv.clone(), &inputs);
    // Images of 3 channels of 2 × 3 pixels.
    let slice = |image: usize, channels: std::ops::Range<usize>| {
        whole[image * 18..][channels.start * 6..channels.end * 6].to_vec()
    };
    assert_is(&parts[0], &[2, 1, 2, 3], &[slice(0, 0..1), slice(1, 0..1)].concat());
    let positive = |values: Vec<f32>| values.into_iter().map(|value| value.max(0.0)).collect::<Vec<f32>>();
    assert_is(&parts[1], &[2, 2, 2, 3], &[positive(slice(0, 1..3)), positive(slice(1, 1..3))].concat());

    let with = |conv: Conv| infer(conv, &["f32[N,2,4,5]", "f32[4,2,2,1]"]);
    assert_eq!(with(conv.clone()), "the outputs' channels [1, 2] do not add up to 4");
    let activated = Conv { activation: Some(Activation::Relu), ..conv };
    assert_eq!(with(activated), "each range of outputs has an activation of its own");
}

#[test]
fn conv_adds_a_residual_before_the_activation() {
    let conv = Conv { residual: true, activation: Some(Activation::Relu), ..Conv::default() };
    let x = tensor(&[1, 1, 1, 3], &[1.0, 2.0, 3.0]);
    let (weights, bias) = (tensor(&[1, 1, 1, 1], &[2.0]), tensor(&[1], &[0.5]));
    let residual = tensor(&[1, 1, 1, 3], &[1.0, -9.0, 0.25]);
    let inputs = [x, weights, bias, residual];
    assert_is(&evaluate(conv.clone(), &inputs), &[1, 1, 1, 3], &[3.5, 0.0, 6.75]);
    let [x, weights, _, residual] = inputs;
    assert_is(&evaluate(conv.clone(), &[x, weights, residual]), &[1, 1, 1, 3], &[3.0, 0.0, 6.25]);

    let infer = |conv: Conv, residual: &str| infer(conv, &["f32[N,2,4,5]", "f32[4,2,2,1]", residual]);
    assert_eq!(infer(conv.clone(), "f32[N,4,3,5]"), "f32[N,4,3,5]");
    assert_eq!(infer(conv.clone(), "f32[4]"), "the residual must be f32[N,4,3,5] but is f32[4]");
    let ranges = vec![ConvRange { channels: 4, activation: None }];
    let refused = infer(Conv { ranges, activation: None, ..conv }, "f32[N,4,3,5]");
    assert_eq!(refused, "a residual is not added to several outputs");
}

#[test]
fn conv_rounds_once() {
    // In f32, 1 + 2⁻²⁵ would be 1 each time; the four of them add up to 2⁻²³.
    let x = tensor(&[1, 5, 1, 1], &[1.0, 1.0, 1.0, 1.0, 1.0]);
    let tiny = (-25.0f32).exp2();
    let weights = tensor(&[1, 5, 1, 1], &[1.0, tiny, tiny, tiny, tiny]);
    let found = evaluate(Conv::default(), &[x, weights]);
    assert_eq!(found.as_f32().unwrap()[0].to_bits(), (1.0f32 + f32::EPSILON).to_bits());
}

#[test]
fn conv_of_padding_alone_is_the_bias() {
    let conv = Conv { pads: [2; 4], ..Conv::default() };
    let found =
        evaluate(conv, &[tensor(&[1, 1, 1, 1], &[3.0]), tensor(&[1, 1, 2, 2], &[1.0; 4]), tensor(&[1], &[0.5])]);
    let mut expected = [0.5; 16];
    for inner in [5, 6, 9, 10] {
        expected[inner] = 3.5;
    }
    assert_is(&found, &[1, 1, 4, 4], &expected);
}

#[test]
fn batch_norm_checks_its_vectors() {
    let norm = || BatchNorm { epsilon: 1e-3 };
    let vectors = ["f32[8]"; 4];
    let with = |x| infer(norm(), &[&[x], &vectors[..]].concat());
    assert_eq!(with("f32[N,8,4,4]"), "f32[N,8,4,4]");
    assert_eq!(with("f32[N,8]"), "f32[N,8]");
    assert_eq!(with("f32[N,7,4,4]"), "scale must be f32[7] but is f32[8]");
    assert_eq!(with("f32[8]"), "its input is f32[8], which has no dimension 1");
    assert_eq!(
        infer(norm(), &["f32[1,2,3,4]", "f32[2]", "f32[2]", "f32[2]", "f32[1]"]),
        "var must be f32[2] but is f32[1]"
    );
    let infinite = infer(BatchNorm { epsilon: f32::INFINITY }, &[&["f32[1,8]"], &vectors[..]].concat());
    assert_eq!(infinite, "attribute `epsilon` must be a finite number, not inf");
}

/// From onnxruntime.
#[test]
fn batch_norm_normalises_each_channel() {
    let [scale, bias, mean, var] =
        [[1.5, -2.0], [0.5, 1.0], [1.0, -1.0], [4.0, 0.25]].map(|values| tensor(&[2], &values));
    let found = evaluate(BatchNorm { epsilon: 0.001 }, &[ramp(&[1, 2, 1, 3]), scale, bias, mean, var]);
    assert_is(&found, &[1, 2, 1, 3], &[-3.999_438, 1.249_906, -1.749_719, -22.952_14, -6.984_048, 8.984_048]);
}

#[test]
fn lrn_checks_its_attributes() {
    let lrn = |size, alpha| Lrn { size, alpha, beta: 0.75, bias: 1.0 };
    assert_eq!(infer(lrn(5, 1e-4), &["f32[N,64,56,56]"]), "f32[N,64,56,56]");
    assert_eq!(infer(lrn(0, 1e-4), &["f32[N,64,56,56]"]), "attribute `size` must be at least 1");
    assert_eq!(infer(lrn(5, f32::NAN), &["f32[N,4,5,6]"]), "attribute `alpha` must be a finite number, not NaN");
    assert_eq!(infer(lrn(5, 1.0), &["f32[N,64]"]), "takes an image [N,C,H,W], but its input is f32[N,64]");
}

/// From onnxruntime (the `onnx` package's reference evaluator scales otherwise).
#[test]
fn lrn_sums_the_channels_around() {
    let lrn = |size| Lrn { size, alpha: 0.5, beta: 0.75, bias: 2.0 };
    #[rustfmt::skip]
    let three = [
        -1.183_029, 0.473_211_7, -0.464_736_2, 1.019_426, 0.278_437_6, -0.651_127_8, 0.882_600_2, 0.0, -0.882_600_2,
        0.651_127_8, -0.306_771_4, -1.085_213,
    ];
    assert_is(&evaluate(lrn(3), &[ramp(&[1, 6, 1, 2])]), &[1, 6, 1, 2], &three);
    #[rustfmt::skip]
    let five = [
        -1.495_349, 0.535_129_6, -0.485_704_4, 1.337_824, 0.206_366_7, -0.720_385_8, 1.070_259, 0.0, -1.129_184,
        0.754_424_5, -0.286_281_4, -1.411_48,
    ];
    assert_is(&evaluate(lrn(5), &[ramp(&[1, 6, 1, 2])]), &[1, 6, 1, 2], &five);
}

#[test]
fn lrn_of_even_size_looks_further_ahead() {
    // By the definition: one channel before none, and ⌈1/2⌉ = 1 after. 1/(1 + 1 + 4), 2/(1 + 4 + 9), 3/(1 + 9).
    let found = evaluate(Lrn { size: 2, alpha: 2.0, beta: 1.0, bias: 1.0 }, &[tensor(&[1, 3, 1, 1], &[1.0, 2.0, 3.0])]);
    assert_is(&found, &[1, 3, 1, 1], &[1.0 / 6.0, 2.0 / 14.0, 0.3]);
}
