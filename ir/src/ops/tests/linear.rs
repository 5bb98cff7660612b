//! Gemm and MatMul.

use super::{assert_is, evaluate, infer, ramp, tensor};
use crate::ops::{Activation, Gemm, MatMul};

fn gemm(trans_a: bool, trans_b: bool) -> Gemm {
    Gemm { trans_a, trans_b, ..Gemm::default() }
}

#[test]
fn gemm_infers_with_every_transposition() {
    assert_eq!(infer(gemm(false, false), &["f32[N,3]", "f32[3,4]"]), "f32[N,4]");
    assert_eq!(infer(gemm(false, true), &["f32[N,3]", "f32[4,3]", "f32[4]"]), "f32[N,4]");
    assert_eq!(infer(gemm(true, false), &["f32[3,2N]", "f32[3,4]", "f32[2N,1]"]), "f32[2N,4]");
    assert_eq!(infer(gemm(true, true), &["f32[3,2]", "f32[4,3]", "f32[]"]), "f32[2,4]");
}

#[test]
fn gemm_refuses() {
    assert_eq!(
        infer(gemm(false, true), &["f32[N,3]", "f32[3,4]"]),
        "a f32[N,3] and b f32[3,4] transposed do not multiply: 3 columns meet 4 rows"
    );
    assert_eq!(infer(gemm(false, false), &["f32[N,3,1,1]", "f32[3,4]"]), "a must be a matrix but is f32[N,3,1,1]");
    assert_eq!(infer(gemm(false, false), &["f32[N,3]", "i64[3,4]"]), "computes on f32, but b is i64[3,4]");
    for c in ["f32[3]", "f32[2,4]", "f32[1,N,4]", "f32[5,N,4]"] {
        let message = infer(gemm(false, false), &["f32[N,3]", "f32[3,4]", c]);
        assert_eq!(message, format!("c {c} does not broadcast to the product's [N,4]"));
    }
    let infinite = Gemm { alpha: f32::INFINITY, ..Gemm::default() };
    assert_eq!(infer(infinite, &["f32[1,1]", "f32[1,1]"]), "attribute `alpha` must be a finite number, not inf");
    assert_eq!(
        infer(gemm(false, false), &["f32[2097152,1]", "f32[1,2097152]"]),
        "a size overflows: f32[2097152,2097152] has too many elements"
    );
}

/// From onnxruntime.
#[test]
fn gemm_scales_and_transposes() {
    let op = Gemm { alpha: 0.5, beta: 2.0, trans_a: true, trans_b: true, activation: None };
    let inputs = [ramp(&[3, 2]), ramp(&[4, 3]), tensor(&[2, 1], &[1.0, -2.0])];
    let expected = [11.5, -13.0, -10.0, -7.0, -1.0, 8.0, 6.0, 4.0];
    assert_is(&evaluate(op.clone(), &inputs), &[2, 4], &expected);
    let op = Gemm { activation: Some(Activation::Relu), ..op };
    assert_is(&evaluate(op, &inputs), &[2, 4], &[11.5, 0.0, 0.0, 0.0, 0.0, 8.0, 6.0, 4.0]);
}

#[test]
fn gemm_is_the_same_however_its_operands_are_stored() {
    // [[1,2,3],[4,5,6]] · [[1,0],[0,1],[1,1]]
    let a = [tensor(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), tensor(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0])];
    let b = [tensor(&[3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]), tensor(&[2, 3], &[1.0, 0.0, 1.0, 0.0, 1.0, 1.0])];
    for (trans_a, a) in [false, true].into_iter().zip(&a) {
        for (trans_b, b) in [false, true].into_iter().zip(&b) {
            let found = evaluate(gemm(trans_a, trans_b), &[a.clone(), b.clone(), tensor(&[2], &[0.5, -0.5])]);
            assert_is(&found, &[2, 2], &[4.5, 4.5, 10.5, 10.5]);
        }
    }
}

#[test]
fn matmul_infers_as_numpy() {
    assert_eq!(infer(MatMul, &["f32[N,3]", "f32[3,4]"]), "f32[N,4]");
    assert_eq!(infer(MatMul, &["f32[N,1,2,3]", "f32[5,3,4]"]), "f32[N,5,2,4]");
    assert_eq!(infer(MatMul, &["f32[3]", "f32[3]"]), "f32[]");
    assert_eq!(infer(MatMul, &["f32[3]", "f32[7,3,4]"]), "f32[7,4]");
    assert_eq!(infer(MatMul, &["f32[7,2,3]", "f32[3]"]), "f32[7,2]");
    assert_eq!(
        infer(MatMul, &["f32[2,3]", "f32[4,3]"]),
        "f32[2,3] and f32[4,3] do not multiply: 3 columns meet 4 rows"
    );
    assert_eq!(infer(MatMul, &["f32[]", "f32[3]"]), "a scalar is no matrix: its inputs are f32[] and f32[3]");
    assert_eq!(infer(MatMul, &["f32[2,3]", "i64[3]"]), "computes on f32, but b is i64[3]");
    assert_eq!(
        infer(MatMul, &["f32[2,1,3]", "f32[4,3,1]"]),
        "[2] and [4] do not broadcast: they differ on axis 0 of the result"
    );
    assert_eq!(
        infer(MatMul, &["f32[N,3]", "f32[3,N]"]),
        "f32[N,N] depends on the batch size in more than one dimension"
    );
}

/// From onnxruntime.
#[test]
fn matmul_broadcasts_matrices_and_takes_vectors() {
    #[rustfmt::skip]
    let expected = [
        19.0, 6.0, -30.0, 24.0, -26.0, 16.0, 19.0, 18.0, 6.0, 4.0, 24.0, -21.0, -24.0, 20.0, -18.0, 16.0, 20.0, 20.0,
        21.0, 22.0, 20.0, -24.0, 16.0, -27.0,
    ];
    let found = evaluate(MatMul, &[ramp(&[2, 1, 2, 3]), ramp(&[3, 3, 2])]);
    assert_is(&found, &[2, 3, 2, 2], &expected);
    let vector = evaluate(MatMul, &[ramp(&[3]), ramp(&[2, 3, 2])]);
    assert_is(&vector, &[2, 2], &[19.0, 6.0, -26.0, 16.0]);
    let dot = evaluate(MatMul, &[tensor(&[2], &[2.0, 3.0]), tensor(&[2], &[5.0, 7.0])]);
    assert_is(&dot, &[], &[31.0]);
    let nothing = evaluate(MatMul, &[tensor(&[2, 0], &[]), tensor(&[0, 1], &[])]);
    assert_is(&nothing, &[2, 1], &[0.0, 0.0]);
}
