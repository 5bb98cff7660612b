#!/usr/bin/env python3
"""Makes the small networks of this folder, and their outputs by another engine.

    python3 -m venv venv && venv/bin/pip install numpy onnx onnxruntime
    venv/bin/python tests/data/make_reference.py

Each folder NAME holds model.onnx, input_0.npy and output_0.npy, output_1.npy...: what ONNX Runtime gives without any
optimisation. `bad/` holds models that must be refused. Weights and inputs are seeded: the same on every run.
"""

import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent


class Network:
    """Collects nodes and weights; every method returns the name of what it made."""

    def __init__(self, name, sizes, opset=17):
        self.name, self.sizes, self.opset = name, sizes, opset
        self.random = np.random.RandomState(sum(map(ord, name)))
        self.nodes, self.weights, self.outputs, self.count = [], [], [], 0

    def weight(self, label, array):
        self.weights.append(numpy_helper.from_array(np.asarray(array, dtype=np.float32), label))
        return label

    def op(self, kind, *inputs, **attributes):
        self.count += 1
        name = f"{kind.lower()}_{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, x, into, out, kernel, bias=False, group=1, **attributes):
        tall, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        label = f"w_{self.count + 1}"
        scale = np.sqrt(2.0 / (into // group * tall * wide))
        inputs = [x, self.weight(label, self.random.randn(out, into // group, tall, wide) * scale)]
        if bias:
            inputs.append(self.weight(f"b_{self.count + 1}", self.random.randn(out) * 0.1))
        return self.op("Conv", *inputs, kernel_shape=[tall, wide], group=group, **attributes)

    def batch_norm(self, x, channels):
        at = self.count + 1
        return self.op(
            "BatchNormalization", x,
            self.weight(f"scale_{at}", self.random.uniform(0.5, 1.5, channels)),
            self.weight(f"shift_{at}", self.random.randn(channels) * 0.2),
            self.weight(f"mean_{at}", self.random.randn(channels) * 0.2),
            self.weight(f"var_{at}", self.random.uniform(0.5, 1.5, channels)),
            epsilon=1e-3,
        )

    def conv_bn_relu(self, x, into, out, kernel, **attributes):
        return self.op("Relu", self.batch_norm(self.conv(x, into, out, kernel, **attributes), out))

    def gemm(self, x, into, out):
        at = self.count + 1
        return self.op(
            "Gemm", x,
            self.weight(f"w_{at}", self.random.randn(out, into) / np.sqrt(into)),
            self.weight(f"b_{at}", self.random.randn(out) * 0.1),
            transB=1,
        )

    def output(self, *names):
        self.outputs.extend(names)

    def model(self, symbolic=False, shapes={}):
        first = "N" if symbolic else self.sizes[0]
        graph = helper.make_graph(
            self.nodes, self.name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [first, *self.sizes[1:]])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes.get(name)) for name in self.outputs],
            self.weights,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8, producer_name="make_reference",
        )

    def save(self, symbolic=False):
        folder = HERE / self.name
        folder.mkdir(exist_ok=True)
        x = self.random.randn(*self.sizes).astype(np.float32)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            self.model(symbolic).SerializeToString(), options, providers=["CPUExecutionProvider"])
        results = session.run(self.outputs, {"x": x})
        shapes = {name: (["N", *y.shape[1:]] if symbolic else y.shape) for name, y in zip(self.outputs, results)}
        model = self.model(symbolic, shapes)
        onnx.checker.check_model(model)
        onnx.save(model, folder / "model.onnx")
        np.save(folder / "input_0.npy", x)
        for index, array in enumerate(results):
            np.save(folder / f"output_{index}.npy", array)


def hard_cases():
    """What fusing compilers get wrong: values that someone else reads, and padding that a kernel might skip."""
    n = Network("batch_norm_second_reader", [1, 8, 9, 9])
    conv = n.conv("x", 8, 12, 3, pads=[1, 1, 1, 1])
    n.output(n.op("Add", n.op("Relu", n.batch_norm(conv, 12)), conv))
    n.save()

    n = Network("conv_is_output", [1, 6, 7, 7])
    conv = n.conv("x", 6, 20, 3, pads=[1, 1, 1, 1])
    n.output(conv, n.op("Relu", n.batch_norm(conv, 20)))
    n.save()

    n = Network("relu_shared", [1, 5, 8, 8])
    shared = n.conv_bn_relu("x", 5, 18, 3, pads=[1, 1, 1, 1])
    n.output(n.op("Concat", n.conv(shared, 18, 7, 1), n.conv(shared, 18, 9, 3, pads=[1, 1, 1, 1]), shared, axis=1))
    n.save()

    n = Network("pads_on_1x1", [1, 4, 6, 6])
    n.output(n.conv_bn_relu(n.conv("x", 4, 10, 1, bias=True, pads=[1, 2, 0, 1]), 10, 17, 1, strides=[2, 2], pads=[1, 1, 1, 1]))
    n.save()


def blocks():
    n = Network("inception", [2, 3, 32, 32])
    x = n.conv_bn_relu("x", 3, 16, 7, strides=[2, 2], pads=[3, 3, 3, 3])
    x = n.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    branches = [
        n.conv_bn_relu(x, 16, 12, 1),
        n.conv_bn_relu(n.conv_bn_relu(x, 16, 9, 1), 9, 20, 3, pads=[1, 1, 1, 1]),
        n.conv_bn_relu(n.conv_bn_relu(x, 16, 4, 1), 4, 8, 5, pads=[2, 2, 2, 2]),
        n.conv_bn_relu(n.op("MaxPool", x, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], ceil_mode=1), 16, 7, 1),
    ]
    x = n.op("Concat", *branches, axis=1)
    x = n.op("Flatten", n.op("GlobalAveragePool", x), axis=1)
    n.output(n.op("Softmax", n.gemm(x, 47, 10), axis=1))
    n.save(symbolic=True)

    n = Network("local_response", [1, 3, 23, 23])
    x = n.op("Relu", n.conv("x", 3, 16, 5, bias=True, strides=[2, 2], pads=[2, 2, 2, 2]))
    x = n.op("LRN", x, size=5, alpha=1e-2, beta=0.75, bias=1.0)
    x = n.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
    n.output(n.op("LRN", n.conv(x, 16, 10, 1, bias=True), size=3, alpha=0.5, beta=0.6, bias=2.0))
    n.save()

    n = Network("inverted_residual", [1, 8, 14, 14])
    x = n.conv("x", 8, 24, 1, bias=True)
    low, high = n.weight("low", 0.0), n.weight("high", 6.0)
    x = n.op("Clip", x, low, high)
    x = n.op("Clip", n.conv(x, 24, 24, 3, bias=True, group=24, auto_pad="SAME_UPPER"), low, high)
    x = n.op("Add", n.conv(x, 24, 8, 1, bias=True), "x")
    x = n.op("Clip", n.conv(x, 8, 8, 3, bias=True, group=8, auto_pad="SAME_UPPER", strides=[2, 2]), low, high)
    n.output(n.gemm(n.op("Flatten", n.op("GlobalAveragePool", x), axis=1), 8, 5))
    n.save()

    n = Network("groups_and_dilations", [1, 12, 13, 11])
    x = n.op("Relu", n.conv("x", 12, 18, 3, bias=True, group=3, pads=[1, 1, 1, 1]))
    x = n.conv(x, 18, 16, (1, 7), pads=[0, 3, 0, 3])
    x = n.conv(x, 16, 6, (7, 1), pads=[3, 0, 3, 0])
    n.output(n.conv(x, 6, 9, 3, pads=[2, 2, 2, 2], dilations=[2, 2]))
    n.save()

    n = Network("pools", [1, 5, 10, 11])
    x = n.op("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0], ceil_mode=1)
    n.output(
        n.op("AveragePool", x, kernel_shape=[2, 3], strides=[1, 2], pads=[0, 1, 1, 1]),
        n.op("AveragePool", x, kernel_shape=[3, 3], strides=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
        n.op("GlobalAveragePool", x),
    )
    n.save()


def bad():
    folder = HERE / "bad"
    folder.mkdir(exist_ok=True)

    n = Network("unknown_ops", [1, 3, 8, 8])
    x = n.op("Erf", n.conv("x", 3, 4, 1))
    n.output(n.op("Det", n.op("Erf", x)))
    onnx.save(n.model(), folder / "unknown_ops.onnx")

    n = Network("wrong_initializer", [1, 3, 8, 8])
    n.output(n.conv("x", 3, 4, 3))
    n.weights[0].raw_data = n.weights[0].raw_data[:-8]
    onnx.save(n.model(), folder / "wrong_initializer.onnx")

    n = Network("wrong_channels", [1, 3, 8, 8])
    n.output(n.conv("x", 5, 4, 3))
    onnx.save(n.model(), folder / "wrong_channels.onnx")

    n = Network("cycle", [1, 3, 8, 8])
    n.nodes = [
        helper.make_node("Add", ["x", "c"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
        helper.make_node("Relu", ["b"], ["c"], name="third"),
    ]
    n.output("c")
    onnx.save(n.model(), folder / "cycle.onnx")

    n = Network("missing_input", [1, 3, 8, 8])
    n.nodes = [helper.make_node("Add", ["x", "nowhere"], ["y"], name="adds")]
    n.output("y")
    onnx.save(n.model(), folder / "missing_input.onnx")

    n = Network("dynamic_weights", [1, 3, 8, 8])
    n.nodes = [helper.make_node("Conv", ["x", "x"], ["y"], name="both", kernel_shape=[8, 8])]
    n.output("y")
    onnx.save(n.model(), folder / "dynamic_weights.onnx")


if __name__ == "__main__":
    hard_cases()
    blocks()
    bad()
