"""Makes the models in cases/: small graphs, each holding its own input and the output another engine gives for it.

    pip install onnx onnxruntime numpy && python compiler/tests/onnx/cases.py

A case is an ONNX model whose metadata holds `input.N` and `output.N`, each as `DIMS|VALUES` (comma-separated). Outputs are
onnxruntime's, without its graph optimisations; where it does not know an operator's version, those of ONNX's own reference
evaluator, or numpy's (the metadata's `by` says which). Values are made from a fixed seed, so running this again changes nothing but what
the engines changed. Made with onnx 1.23.2 and onnxruntime 1.32.0.
"""

import pathlib
import zlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

CASES = pathlib.Path(__file__).parent / "cases"
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def seeded(name):
    return np.random.default_rng(zlib.crc32(name.encode()))


def noise(rng, *shape):
    """Multiples of 1/8: exact in f32, short in text."""
    return (rng.integers(-24, 25, shape) / 8).astype(np.float32)


def text(array):
    dims = "x".join(str(size) for size in array.shape)
    return dims + "|" + ",".join(repr(float(value)) for value in np.asarray(array).ravel())


def engines(name, model, outputs, values):
    try:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        return onnxruntime.InferenceSession(model.SerializeToString(), options).run(list(outputs), values), "onnxruntime"
    except Exception as error:  # noqa: BLE001 the engine has no narrower type
        print(f"{name}: by reference: {str(error)[:120]}")
        return ReferenceEvaluator(model).run(list(outputs), values), "onnx"


def case(name, opset, nodes, inputs, constants=(), batch=None, outputs=("y",), expected=None):
    """`inputs`: name to shape; `constants`: name to array; with `batch` the first dimension is declared open.

    `expected` computes the output with numpy, for versions that no engine knows any more.
    """
    rng = seeded(name)
    values = {key: noise(rng, *shape) for key, shape in inputs.items()}
    declared = {key: [batch, *shape[1:]] if batch else list(shape) for key, shape in inputs.items()}
    ranks = dict.fromkeys(outputs)
    ir = 8 if opset <= 18 else 10

    def model():
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info(key, FLOAT, shape) for key, shape in declared.items()],
            [helper.make_tensor_value_info(key, FLOAT, rank and [None] * rank) for key, rank in ranks.items()],
            [numpy_helper.from_array(np.asarray(array), key) for key, array in dict(constants).items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir, producer_name="")

    if expected:
        results, by = [np.asarray(expected(**values), np.float32)], "numpy"
    else:
        results, by = engines(name, model(), outputs, values)
    ranks = {key: result.ndim for key, result in zip(outputs, results)}
    model = model()
    onnx.checker.check_model(model)
    facts = {"by": by}
    facts |= {f"input.{index}": text(value) for index, value in enumerate(values.values())}
    facts |= {f"output.{index}": text(value) for index, value in enumerate(results)}
    helper.set_model_props(model, facts)
    (CASES / f"{name}.onnx").write_bytes(model.SerializeToString())


def one(name, opset, op, inputs, constants=(), batch=None, order=None, expected=None, **attributes):
    """A model of one node; `order` names its inputs, "" where one is left out."""
    names = order if order is not None else [*inputs, *dict(constants)]
    case(name, opset, [helper.make_node(op, names, ["y"], "node", **attributes)], inputs, constants, batch, expected=expected)


def ints(*values):
    return np.array(values, np.int64)


def scalar(value):
    return np.float32(value)


def weights(name, *shape):
    return noise(seeded(name + ".w"), *shape)


def convolutions():
    w = lambda *shape: {"w": weights("conv", *shape)}
    for opset in (7, 11, 22):
        one(f"conv_{opset}", opset, "Conv", {"x": (2, 3, 6, 5)}, w(4, 3, 3, 2))
    one("conv_bias_strides_pads", 11, "Conv", {"x": (1, 2, 7, 8)}, {**w(3, 2, 3, 3), "b": weights("bias", 3)},
        strides=[2, 3], pads=[1, 0, 2, 1], kernel_shape=[3, 3])
    one("conv_dilations_group", 11, "Conv", {"x": (1, 4, 8, 9)}, w(6, 2, 3, 3), dilations=[2, 3], group=2)
    one("conv_depthwise_batch", 17, "Conv", {"x": (3, 3, 5, 5)}, w(3, 1, 3, 3), batch="N", group=3, pads=[1, 1, 1, 1])
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        for stride in (1, 2, 3):
            one(f"conv_{mode.lower()}_{stride}", 11, "Conv", {"x": (1, 1, 7, 8)}, w(1, 1, 4, 3), auto_pad=mode,
                strides=[stride, stride])
    one("conv_same_upper_dilated", 11, "Conv", {"x": (1, 1, 9, 9)}, w(1, 1, 2, 3), auto_pad="SAME_UPPER", strides=[2, 1],
        dilations=[2, 3])


def pools():
    for opset in (7, 8, 10, 11, 12, 22):
        one(f"max_pool_{opset}", opset, "MaxPool", {"x": (1, 2, 6, 7)}, kernel_shape=[3, 2], strides=[2, 2],
            pads=[1, 0, 1, 1])
    for opset in (7, 10, 11, 19, 22):
        one(f"average_pool_{opset}", opset, "AveragePool", {"x": (1, 2, 6, 7)}, kernel_shape=[3, 2], strides=[2, 2],
            pads=[1, 0, 1, 1])
    for size in (6, 7, 8):
        common = dict(kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
        one(f"max_pool_ceil_{size}", 12, "MaxPool", {"x": (1, 1, size, size)}, **common)
        one(f"max_pool_ceil_pads_{size}", 12, "MaxPool", {"x": (1, 1, size, size)}, pads=[1, 1, 1, 1], **common)
        for count in (0, 1):
            one(f"average_pool_ceil_{size}_{count}", 19, "AveragePool", {"x": (1, 1, size, size)}, pads=[1, 1, 1, 1],
                count_include_pad=count, **common)
    # Two inputs' worth of stride: the last window would start in the padding, and is dropped.
    one("max_pool_ceil_dropped", 12, "MaxPool", {"x": (1, 1, 4, 4)}, kernel_shape=[1, 1], strides=[3, 3], pads=[0, 0, 0, 0],
        ceil_mode=1)
    one("max_pool_dilations", 12, "MaxPool", {"x": (1, 1, 8, 8)}, kernel_shape=[3, 2], dilations=[2, 3], storage_order=1)
    one("average_pool_dilations", 19, "AveragePool", {"x": (1, 1, 8, 8)}, kernel_shape=[3, 2], dilations=[2, 3])
    one("average_pool_include_pad", 11, "AveragePool", {"x": (1, 1, 5, 5)}, kernel_shape=[3, 3], pads=[1, 1, 1, 1],
        count_include_pad=1)
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        for ceil in (0, 1):
            one(f"max_pool_{mode.lower()}_ceil{ceil}", 12, "MaxPool", {"x": (1, 1, 6, 7)}, kernel_shape=[3, 2],
                strides=[2, 2], auto_pad=mode, ceil_mode=ceil)
        one(f"average_pool_{mode.lower()}", 11, "AveragePool", {"x": (1, 1, 6, 7)}, kernel_shape=[3, 2], strides=[2, 3],
            auto_pad=mode)
    for opset in (7, 22):
        one(f"global_average_pool_{opset}", opset, "GlobalAveragePool", {"x": (2, 3, 4, 5)})


def normalizations():
    rng = seeded("batch_norm")
    statistics = {"scale": noise(rng, 3), "bias": noise(rng, 3), "mean": noise(rng, 3), "var": np.abs(noise(rng, 3)) + 1}
    for opset in (7, 9, 14, 15):
        one(f"batch_norm_{opset}", opset, "BatchNormalization", {"x": (2, 3, 2, 2)}, statistics, epsilon=0.125)
    one("batch_norm_6", 6, "BatchNormalization", {"x": (2, 3, 2, 2)}, statistics, is_test=1, epsilon=0.125)
    one("batch_norm_default_epsilon", 15, "BatchNormalization", {"x": (2, 3, 2, 2)}, statistics, momentum=0.5)
    for opset in (7, 11, 13):
        one(f"softmax_{opset}", opset, "Softmax", {"x": (2, 3, 4)})
    one("softmax_12_axis2", 12, "Softmax", {"x": (2, 3, 4)}, axis=2)
    one("softmax_11_negative", 11, "Softmax", {"x": (2, 3, 4)}, axis=-2)
    one("softmax_13_axis0", 13, "Softmax", {"x": (2, 3, 4)}, axis=0)
    one("softmax_13_batch", 13, "Softmax", {"x": (2, 3)}, batch="N", axis=1)
    one("lrn_7", 7, "LRN", {"x": (1, 7, 2, 2)}, size=5)
    # onnxruntime knows odd sizes only, and the reference evaluator normalises as many channels as the batch has images.
    one("lrn_13_even", 13, "LRN", {"x": (7, 7, 1, 1)}, size=4, alpha=0.5, beta=0.5, bias=2.0)
    one("dropout_6", 6, "Dropout", {"x": (2, 3)}, is_test=1, expected=lambda x: x)
    one("dropout_7", 7, "Dropout", {"x": (2, 3)}, ratio=0.25)
    one("dropout_12", 12, "Dropout", {"x": (2, 3)})
    one("dropout_13", 13, "Dropout", {"x": (2, 3)}, {"r": scalar(0.7), "t": np.bool_(False)})


def elementwise():
    # Broadcasting along an axis, as opset 6 had it.
    b = weights("add", 3)
    one("add_6", 6, "Add", {"a": (2, 3, 4), "b": (2, 3, 4)}, expected=lambda a, b: a + b)
    one("add_6_axis", 6, "Add", {"a": (2, 3, 4)}, {"b": b}, broadcast=1, axis=1, expected=lambda a: a + b[:, None])
    m = weights("mul", 3, 4)
    one("mul_6_last", 6, "Mul", {"a": (2, 3, 4)}, {"b": m}, broadcast=1, expected=lambda a: a * m)
    for opset in (7, 13, 14):
        one(f"add_{opset}", opset, "Add", {"a": (2, 3, 4), "b": (3, 1)})
        one(f"mul_{opset}", opset, "Mul", {"a": (2, 1, 4), "b": (3, 1)})
        one(f"relu_{opset}", opset, "Relu", {"x": (2, 3)})
    one("mul_batch", 14, "Mul", {"a": (2, 3, 2, 2)}, {"b": weights("mul", 3, 1, 1)}, batch="N")
    for opset in (7, 8, 13):
        one(f"sum_{opset}", opset, "Sum", {"a": (2, 3), "b": (2, 3), "c": (2, 3)})
    one("sum_one", 13, "Sum", {"a": (2, 3)})
    one("sum_broadcast", 13, "Sum", {"a": (2, 3), "b": (1, 3), "c": (2, 1)})
    one("clip_7", 7, "Clip", {"x": (3, 4)}, min=-1.0, max=1.5)
    one("clip_7_open", 7, "Clip", {"x": (3, 4)}, max=1.5)
    one("clip_11", 11, "Clip", {"x": (3, 4)}, {"lo": scalar(0), "hi": scalar(6)})
    one("clip_12_upper", 12, "Clip", {"x": (3, 4)}, {"hi": scalar(1)}, order=["x", "", "hi"])
    one("clip_13_open", 13, "Clip", {"x": (3, 4)})
    one("clip_13_crossed", 13, "Clip", {"x": (3, 4)}, {"lo": scalar(2), "hi": scalar(-1)})
    case("clip_13_computed", 13, [
        helper.make_node("Constant", [], ["six"], value_float=6.0),
        helper.make_node("Constant", [], ["half"], value=numpy_helper.from_array(np.array(0.5, np.float16))),
        helper.make_node("Cast", ["half"], ["wide"], to=FLOAT),
        helper.make_node("Mul", ["six", "wide"], ["three"]),
        helper.make_node("Clip", ["x", "wide", "three"], ["y"]),
    ], {"x": (3, 4)})
    one("identity_13", 13, "Identity", {"x": (2, 3)})


def linear():
    b, c = weights("gemm", 3, 4), weights("c", 4)
    one("gemm_6", 6, "Gemm", {"a": (2, 3)}, {"b": b, "c": c}, broadcast=1, expected=lambda a: a @ b + c)
    for opset in (7, 9, 11, 13):
        one(f"gemm_{opset}", opset, "Gemm", {"a": (2, 3)}, {"b": weights("gemm", 3, 4), "c": weights("c", 4)})
    one("gemm_transposed", 13, "Gemm", {"a": (3, 2)}, {"b": weights("gemm", 4, 3), "c": weights("c", 2, 1)}, alpha=0.5,
        beta=2.0, transA=1, transB=1)
    one("gemm_no_c", 11, "Gemm", {"a": (2, 3)}, {"b": weights("gemm", 4, 3)}, batch="N", transB=1)
    for opset in (7, 9, 13):
        one(f"matmul_{opset}", opset, "MatMul", {"a": (2, 3)}, {"b": weights("matmul", 3, 4)})
    one("matmul_batched", 13, "MatMul", {"a": (2, 1, 2, 3), "b": (3, 3, 2)})


def shapes():
    for opset in (7, 13, 14, 21, 25):
        one(f"reshape_{opset}", opset, "Reshape", {"x": (2, 3, 4)}, {"s": ints(0, -1, 2)})
    one("reshape_batch", 13, "Reshape", {"x": (2, 3, 4)}, {"s": ints(-1, 12)}, batch="N")
    for opset in (7, 9, 11, 13, 21, 25):
        one(f"flatten_{opset}", opset, "Flatten", {"x": (2, 3, 4)})
    for axis in (0, 2, 3):
        one(f"flatten_axis{axis}", 13, "Flatten", {"x": (2, 3, 4)}, axis=axis)
    one("flatten_negative", 13, "Flatten", {"x": (2, 3, 4)}, axis=-1)
    for opset in (7, 11):
        one(f"squeeze_{opset}", opset, "Squeeze", {"x": (2, 1, 3, 1)}, axes=[1, 3])
        one(f"unsqueeze_{opset}", opset, "Unsqueeze", {"x": (2, 3)}, axes=[3, 0])
    for opset in (13, 21, 25):
        one(f"squeeze_{opset}", opset, "Squeeze", {"x": (2, 1, 3, 1)}, {"axes": ints(-1, 1)})
        one(f"unsqueeze_{opset}", opset, "Unsqueeze", {"x": (2, 3)}, {"axes": ints(-1, 0)})
    one("squeeze_all", 13, "Squeeze", {"x": (2, 1, 3, 1)})
    for opset in (7, 13, 21, 25):
        one(f"transpose_{opset}", opset, "Transpose", {"x": (2, 3, 4)}, perm=[1, 2, 0])
    one("transpose_default", 13, "Transpose", {"x": (2, 3, 4)})
    for opset in (7, 11, 13):
        one(f"concat_{opset}", opset, "Concat", {"a": (2, 1, 3), "b": (2, 2, 3)}, axis=1)
    one("concat_negative", 13, "Concat", {"a": (2, 1, 3), "b": (2, 1, 1)}, axis=-1)
    one("pad_7", 7, "Pad", {"x": (1, 2, 3)}, pads=[0, 1, 2, 0, 0, 1], value=0.5)
    one("pad_11", 11, "Pad", {"x": (1, 2, 3)}, {"p": ints(0, 1, 2, 0, 0, 1), "v": scalar(0.5)})
    one("pad_13", 13, "Pad", {"x": (1, 2, 3)}, {"p": ints(0, 1, 2, 0, 0, 1)}, mode="constant")
    for opset in (18, 21, 25):
        one(f"pad_{opset}", opset, "Pad", {"x": (1, 2, 3)}, {"p": ints(1, 0, 2, 1), "axes": ints(-1, 1)},
            order=["x", "p", "", "axes"])
    for opset in (9, 13, 21):
        case(f"cast_{opset}", opset, [
            helper.make_node("Cast", ["x"], ["whole"], to=TensorProto.INT32),
            helper.make_node("Cast", ["whole"], ["y"], to=FLOAT),
        ], {"x": (3, 4)})


def constants():
    case("constant_forms", 13, [
        helper.make_node("Constant", [], ["a"], value_float=0.5),
        helper.make_node("Constant", [], ["b"], value_floats=[1.0, 2.0, 3.0]),
        helper.make_node("Constant", [], ["i"], value_int=3),
        helper.make_node("Constant", [], ["is"], value_ints=[1, 3]),
        helper.make_node("Constant", [], ["t"], value=helper.make_tensor("t", FLOAT, [2, 1], [4.0, 5.0])),
        helper.make_node("Cast", ["i"], ["f"], to=FLOAT),
        helper.make_node("Reshape", ["b", "is"], ["row"]),
        helper.make_node("Sum", ["x", "a", "row", "f", "t"], ["y"]),
    ], {"x": (2, 3)})
    for opset in (9, 20, 25):
        case(f"constant_of_shape_{opset}", opset, [
            helper.make_node("ConstantOfShape", ["s"], ["w"], value=helper.make_tensor("v", FLOAT, [1], [0.5])),
            helper.make_node("ConstantOfShape", ["s"], ["zero"]),
            helper.make_node("Mul", ["x", "w"], ["z"]),
            helper.make_node("Add", ["z", "zero"], ["y"]),
        ], {"x": (2, 3)}, {"s": ints(2, 3)})


def shape_arithmetic():
    # x.view(x.size(0), -1) as exporters write it, with an open and with a fixed batch.
    for batch in (None, "N"):
        for opset in (11, 17):
            unsqueeze = (helper.make_node("Unsqueeze", ["n"], ["n1"], axes=[0]) if opset < 13
                         else helper.make_node("Unsqueeze", ["n", "zero1"], ["n1"]))
            case(f"view_{opset}_{batch or 'fixed'}", opset, [
                helper.make_node("Shape", ["x"], ["s"]),
                helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.array(0, np.int64))),
                helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
                unsqueeze,
                helper.make_node("Concat", ["n1", "minus1"], ["shape"], axis=0),
                helper.make_node("Reshape", ["x", "shape"], ["y"]),
            ], {"x": (2, 3, 2, 2)}, {"minus1": ints(-1)} | ({"zero1": ints(0)} if opset >= 13 else {}), batch)
    # Channel shuffle: 5-D reshapes whose shapes come from Shape and Slice.
    case("shuffle_N", 13, [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s", "zero", "one"], ["n"]),
        helper.make_node("Slice", ["s", "two", "huge", "zero"], ["hw"]),
        helper.make_node("Concat", ["n", "groups", "hw"], ["wide"], axis=0),
        helper.make_node("Reshape", ["x", "wide"], ["grouped"]),
        helper.make_node("Transpose", ["grouped"], ["swapped"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Identity", ["s"], ["again"]),
        helper.make_node("Cast", ["again"], ["long"], to=INT64),
        helper.make_node("Reshape", ["swapped", "long"], ["y"]),
    ], {"x": (2, 4, 2, 3)}, {"zero": ints(0), "one": ints(1), "two": ints(2), "huge": ints(2**62), "groups": ints(2, 2)}, "N")
    case("shape_range_15", 15, [
        helper.make_node("Shape", ["x"], ["s"], start=-2, end=4),
        helper.make_node("Concat", ["flat", "s"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ], {"x": (2, 3, 2, 2)}, {"flat": ints(-1)}, "N")
    case("slice_7", 7, [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s"], ["tail"], starts=[-2], ends=[1000], axes=[0]),
        helper.make_node("Concat", ["flat", "tail"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ], {"x": (2, 3, 2, 2)}, {"flat": ints(-1)})
    # The batch as a number of its own: squeezed, and put back by Reshape.
    case("batch_number", 13, [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "first"], ["list"], axis=0),
        helper.make_node("Squeeze", ["list", "zero"], ["n"]),
        helper.make_node("Reshape", ["n", "one"], ["back"]),
        helper.make_node("Concat", ["six", "back"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ], {"x": (2, 3, 2)}, {"first": ints(-3), "zero": ints(0), "one": ints(1), "six": ints(6)}, "N")


CASES.mkdir(exist_ok=True)
for old in CASES.glob("*.onnx"):
    old.unlink()
for make in (convolutions, pools, normalizations, elementwise, linear, shapes, constants, shape_arithmetic):
    make()
