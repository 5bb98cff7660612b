//! Properties of all ops: inference never panics, evaluation gives the inferred types, attributes round-trip.

use proptest::prelude::*;

use super::ty;
use crate::ops::{
    Activation, Add, AvgPool, BatchNorm, Cast, Clip, Concat, Conv, ConvRange, Div, Dropout, Flatten, Gemm,
    GlobalAvgPool, HardSigmoid, HardSwish, Identity, Input, LeakyRelu, Lrn, MatMul, MaxPool, Mul, Op, Pad, Pool, Relu,
    Reshape, Sigmoid, Slice, Softmax, Squeeze, Sub, Transpose, Unsqueeze,
};
use crate::tensor::{Tensor, byte_length};
use crate::types::{DType, Dim, Shape, TensorType};

/// Sizes that are mostly small, sometimes absurd.
fn size() -> impl Strategy<Value = usize> + Clone {
    prop_oneof![8 => 0..5usize, 1 => Just(1 << 39), 1 => Just(1 << 62), 1 => Just(usize::MAX)]
}

fn float() -> impl Strategy<Value = f32> {
    prop_oneof![4 => -2.0f32..2.0, 1 => any::<f32>()]
}

fn pool(size: impl Strategy<Value = usize> + Clone) -> impl Strategy<Value = Pool> {
    let pair = || [size.clone(), size.clone()];
    let pad = || prop_oneof![4 => Just(0), 1 => size.clone()];
    let kernel = || prop_oneof![1 => size.clone(), 1 => 1..4usize];
    ([kernel(), kernel()], pair(), [pad(), pad(), pad(), pad()], pair(), any::<bool>())
        .prop_map(|(kernel, strides, pads, dilations, ceil_mode)| Pool { kernel, strides, pads, dilations, ceil_mode })
}

fn activation() -> impl Strategy<Value = Option<Activation>> {
    prop_oneof![
        Just(None),
        Just(Some(Activation::Relu)),
        (float(), float()).prop_map(|(min, max)| Some(Activation::Clip { min, max })),
        float().prop_map(|alpha| Some(Activation::LeakyRelu { alpha })),
        Just(Some(Activation::Sigmoid)),
        (float(), float()).prop_map(|(alpha, beta)| Some(Activation::HardSigmoid { alpha, beta })),
        Just(Some(Activation::HardSwish)),
        Just(Some(Activation::Silu)),
    ]
}

fn spatial(size: impl Strategy<Value = usize> + Clone + 'static) -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (pool(size.clone()), size.clone(), activation(), any::<bool>()).prop_map(|(pool, group, activation, residual)| {
            let Pool { strides, pads, dilations, .. } = pool;
            Conv { strides, pads, dilations, group, activation, residual, ranges: Vec::new() }.into()
        }),
        2 => (pool(size.clone()), prop::collection::vec((size.clone(), activation()), 1..4)).prop_map(|(pool, ranges)| {
            let Pool { strides, pads, dilations, .. } = pool;
            let range = |(channels, activation)| ConvRange { channels, activation };
            let ranges = ranges.into_iter().map(range).collect();
            Conv { strides, pads, dilations, ranges, ..Conv::default() }.into()
        }),
        2 => pool(size.clone()).prop_map(|pool| MaxPool { pool }.into()),
        2 => (pool(size.clone()), any::<bool>())
            .prop_map(|(pool, count_include_pad)| AvgPool { pool, count_include_pad }.into()),
        1 => Just(Op::from(GlobalAvgPool)),
        1 => float().prop_map(|epsilon| BatchNorm { epsilon }.into()),
        1 => (size, float(), float(), float())
            .prop_map(|(size, alpha, beta, bias)| Lrn { size, alpha, beta, bias }.into()),
    ]
}

fn other_op(size: impl Strategy<Value = usize> + Clone + 'static) -> impl Strategy<Value = Op> {
    let list = || prop::collection::vec(size.clone(), 0..5);
    let dims = prop::collection::vec(prop_oneof![4 => -2..5i64, 1 => any::<i64>()], 0..5);
    let pads = prop::collection::vec([size.clone(), size.clone()], 0..5);
    prop_oneof![
        Just(Op::from(Relu)),
        Just(Op::from(Add)),
        Just(Op::from(Mul)),
        Just(Op::from(Sub)),
        Just(Op::from(Div)),
        Just(Op::from(Sigmoid)),
        Just(Op::from(HardSwish)),
        float().prop_map(|alpha| LeakyRelu { alpha }.into()),
        (float(), float()).prop_map(|(alpha, beta)| HardSigmoid { alpha, beta }.into()),
        [size.clone(), size.clone(), size.clone()]
            .prop_map(|[axis, start, length]| Slice { axis, start, length }.into()),
        Just(Op::from(MatMul)),
        Just(Op::from(Identity)),
        (float(), float()).prop_map(|(min, max)| Clip { min, max }.into()),
        size.clone().prop_map(|axis| Concat { axis }.into()),
        size.clone().prop_map(|axis| Flatten { axis }.into()),
        (size.clone(), any::<bool>()).prop_map(|(axis, flatten)| Softmax { axis, flatten }.into()),
        (float(), float(), any::<[bool; 2]>(), activation()).prop_map(
            |(alpha, beta, [trans_a, trans_b], activation)| {
                Gemm { alpha, beta, trans_a, trans_b, activation }.into()
            }
        ),
        (dims, any::<bool>()).prop_map(|(dims, allow_zero)| Reshape { dims, allow_zero }.into()),
        float().prop_map(|ratio| Dropout { ratio }.into()),
        list().prop_map(|axes| Unsqueeze { axes }.into()),
        list().prop_map(|axes| Squeeze { axes }.into()),
        list().prop_map(|perm| Transpose { perm }.into()),
        (pads, float()).prop_map(|(pads, value)| Pad { pads, value }.into()),
        prop::sample::select(DType::ALL.to_vec()).prop_map(|to| Cast { to }.into()),
    ]
}

fn op(size: impl Strategy<Value = usize> + Clone + 'static) -> impl Strategy<Value = Op> {
    prop_oneof![spatial(size.clone()), other_op(size)]
}

fn any_type() -> impl Strategy<Value = TensorType> {
    let dtype = prop_oneof![6 => Just(DType::F32), 1 => prop::sample::select(DType::ALL.to_vec())];
    let dim = prop_oneof![
        6 => size().prop_map(Dim::Fixed),
        1 => size().prop_map(|factor| Dim::Batch(factor.max(1))),
    ];
    let shape = prop_oneof![1 => prop::collection::vec(dim.clone(), 0..7), 2 => prop::collection::vec(dim, 4)];
    (dtype, shape).prop_map(|(dtype, dims)| TensorType::new(dtype, Shape::new(&dims)))
}

/// An op of small attributes, and small inputs that mostly fit it.
fn fitting() -> impl Strategy<Value = (Op, Vec<TensorType>)> {
    let dtype = prop_oneof![12 => Just(DType::F32), 1 => Just(DType::I64)];
    let image = || [1..3usize, 1..5usize, 2..6usize, 2..6usize].prop_map(|dims| dims.to_vec());
    let any_rank = || prop::collection::vec(0..4usize, 0..5);
    let other = [1..5usize, 1..4usize, 1..4usize];
    let spatial = (spatial(small()), image(), any::<bool>());
    let other_op = (other_op(small()), any_rank(), any::<bool>());
    (prop_oneof![spatial, other_op], dtype, other).prop_map(|((op, first, long), dtype, other)| {
        let (op, inputs) = fit(op, first, long, other);
        (op, inputs.iter().map(|sizes| TensorType::new(dtype, Shape::fixed(sizes))).collect())
    })
}

/// The op with lists as long as the rank, and the sizes of its inputs: of all that it takes where `long`.
fn fit(mut op: Op, first: Vec<usize>, long: bool, [a, b, c]: [usize; 3]) -> (Op, Vec<Vec<usize>>) {
    let rank = first.len();
    let inputs = match &mut op {
        Op::Conv(conv) => {
            let outputs = match conv.ranges.as_slice() {
                [] => a * conv.group,
                ranges => ranges.iter().map(|range| range.channels).sum(),
            };
            let weights = vec![outputs, first[1] / conv.group.max(1), b, c];
            let all = [first.clone(), weights, vec![outputs]];
            let mut inputs = all[..if long { 3 } else { 2 }].to_vec();
            if conv.residual {
                let image = conv.windows([first[2], first[3]], [b, c]).map(|window| window.outputs(false).unwrap_or(1));
                inputs.push(vec![first[0], outputs, image[0], image[1]]);
            }
            inputs
        }
        Op::BatchNorm(_) => {
            let vector = vec![first[1]];
            vec![first, vector.clone(), vector.clone(), vector.clone(), vector]
        }
        Op::Gemm(gemm) => {
            let product = [if gemm.trans_a { [b, a] } else { [a, b] }, if gemm.trans_b { [c, b] } else { [b, c] }];
            let all = [product[0].to_vec(), product[1].to_vec(), if a == 2 { vec![c] } else { vec![a, 1] }];
            all[..if long { 3 } else { 2 }].to_vec()
        }
        Op::MatMul(_) => {
            let second = if long { vec![a, first.last().copied().unwrap_or(1), c] } else { first.clone() };
            vec![first, second]
        }
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) => {
            let broadcast: Vec<usize> = first.iter().map(|size| if size % 2 == a % 2 { 1 } else { *size }).collect();
            let shorter = broadcast[usize::from(long).min(rank)..].to_vec();
            if b == 1 { vec![shorter, first] } else { vec![first, shorter] }
        }
        Op::Concat(concat) => {
            let mut second = first.clone();
            if let Some(size) = second.get_mut(concat.axis) {
                *size = a;
            }
            vec![first.clone(), second, first]
        }
        Op::Transpose(transpose) => {
            transpose.perm = (0..rank).map(|axis| (axis + a) % rank).collect();
            vec![first]
        }
        Op::Pad(pad) => {
            pad.pads.resize(rank, [a, b]);
            vec![first]
        }
        Op::Reshape(reshape) => {
            reshape.dims = match a {
                1 => vec![-1],
                2 => vec![0, -1],
                3 => first.iter().rev().map(|size| i64::try_from(*size).unwrap()).collect(),
                _ => vec![i64::try_from(b).unwrap(), -1],
            };
            vec![first]
        }
        Op::Squeeze(squeeze) => {
            squeeze.axes.sort_unstable();
            squeeze.axes.dedup();
            squeeze.axes.retain(|axis| first.get(*axis) == Some(&1));
            vec![first]
        }
        Op::Unsqueeze(unsqueeze) => {
            unsqueeze.axes.sort_unstable();
            unsqueeze.axes.dedup();
            vec![first]
        }
        _ => vec![first],
    };
    (op, inputs)
}

/// Attributes of legal size, often the defaults.
fn small() -> impl Strategy<Value = usize> + Clone {
    prop_oneof![4 => Just(1usize), 1 => 0..4usize]
}

fn filled(ty: &TensorType) -> Tensor {
    let sizes = ty.shape.sizes().unwrap();
    let count = byte_length(ty.dtype, &sizes).unwrap() / ty.dtype.bytes();
    let values: Vec<i64> = (0..count).map(|index| i64::try_from(index * 7 % 11).unwrap() - 5).collect();
    Tensor::from_i64(&sizes, values).unwrap().cast(ty.dtype).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn inference_never_panics(op in op(size()), types in prop::collection::vec(any_type(), 0..6)) {
        if let Ok(outputs) = op.infer(&types.iter().collect::<Vec<_>>()) {
            for ty in outputs {
                prop_assert!(ty.shape.elements().is_some(), "{op:?} of {types:?} gives {ty}");
            }
        }
    }

    #[test]
    fn evaluation_gives_what_inference_says((op, types) in fitting()) {
        let Ok(inferred) = op.infer(&types.iter().collect::<Vec<_>>()) else { return Ok(()) };
        let tensors: Vec<Tensor> = types.iter().map(filled).collect();
        let outputs = op.evaluate(&tensors.iter().collect::<Vec<_>>());
        let outputs = outputs.map_err(|error| TestCaseError::fail(format!("{op:?} of {types:?}: {error}")))?;
        let found: Vec<TensorType> = outputs.iter().map(Tensor::ty).collect();
        prop_assert_eq!(&found[..], &inferred[..], "{:?} of {:?}", op, types);
    }

    #[test]
    fn a_symbolic_batch_infers_what_each_batch_does((op, types) in fitting(), batch in 1..4usize) {
        let symbolic = |ty: &TensorType| {
            let dims = ty.shape.dims().iter().enumerate();
            let dims = dims.map(|(axis, dim)| match dim {
                Dim::Fixed(size) if axis == 0 && *size > 0 => Dim::Batch(*size),
                dim => *dim,
            });
            TensorType::new(ty.dtype, dims.collect())
        };
        // The first input depends on the batch; the others are weights.
        let mut types = types;
        if let Some(first) = types.first_mut() {
            *first = symbolic(first);
        }
        let Ok(inferred) = op.infer(&types.iter().collect::<Vec<_>>()) else { return Ok(()) };
        let at_batch = |ty: &TensorType| TensorType::new(ty.dtype, ty.shape.with_batch(batch).unwrap());
        let concrete: Vec<TensorType> = types.iter().map(at_batch).collect();
        let found = op.infer(&concrete.iter().collect::<Vec<_>>());
        prop_assert_eq!(found.map_err(|error| TestCaseError::fail(format!("{op:?} of {types:?}: {error}")))?,
            inferred.iter().map(at_batch).collect::<crate::ops::OutputTypes>());
    }

    #[test]
    fn attributes_round_trip(op in op(0..1000usize)) {
        let parsed = Op::parse(op.name(), op.attributes()).unwrap().unwrap();
        // By text where a NaN makes an op differ from itself.
        prop_assert_eq!(format!("{parsed:?}"), format!("{op:?}"));
    }
}

#[test]
fn every_op_is_in_the_list_once() {
    let mut names = Op::NAMES.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Op::NAMES.len());
    assert_eq!(Op::NAMES.len(), 32);
    assert!(Op::parse("convolution", Vec::new()).is_none());
}

#[test]
fn parsing_names_the_attribute_that_is_wrong() {
    use crate::ops::Attribute;
    let parse = |name: &str, attributes: &[(&str, Attribute)]| {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Op::parse(name, attributes).unwrap().unwrap_err().to_string()
    };
    assert_eq!(parse("concat", &[]), "attribute `axis` must be an integer");
    assert_eq!(parse("relu", &[("axis", Attribute::Int(1))]), "has no attribute `axis`");
    assert_eq!(parse("max_pool", &[]), "attribute `kernel` must be 2 integers");
    assert_eq!(parse("conv", &[("pads", Attribute::Ints(vec![1, 1]))]), "attribute `pads` must be 4 integers");
    assert_eq!(
        parse("conv", &[("strides", Attribute::Ints(vec![-1, 1]))]),
        "attribute `strides` must be a list of integers ≥ 0"
    );
    assert_eq!(
        parse("conv", &[("activation", Attribute::Word("gelu".into()))]),
        "`gelu` is no activation: relu, clip(MIN,MAX), leaky_relu(ALPHA), sigmoid, hard_sigmoid(ALPHA,BETA), hard_swish, \
         silu"
    );
    assert_eq!(
        parse("pad", &[("pads", Attribute::Ints(vec![1]))]),
        "attribute `pads` must hold a begin and an end for each axis"
    );
    assert_eq!(
        parse("cast", &[("to", Attribute::Word("f8".into()))]),
        "attribute `to` must be an element type, not `f8`"
    );
    assert_eq!(parse("reshape", &[]), "attribute `dims` must be a list of integers");
    assert_eq!(parse("transpose", &[]), "attribute `perm` must be a list of integers");
    assert_eq!(parse("dropout", &[("ratio", Attribute::Ints(vec![]))]), "attribute `ratio` must be a number");
    assert_eq!(parse("gemm", &[("trans_a", Attribute::Int(1))]), "attribute `trans_a` must be true or false");
    assert_eq!(parse("input", &[]), "an input is written as `input %0 \"name\": type`");
    assert_eq!(Op::from(Input { ty: ty("f32[N,3]") }).attributes().len(), 1);
}
