"""Records the ONNX fixtures: for each operator of the subset small models of odd shapes, with an input and the output
that onnxruntime gives for it. usage: make.py FILE [CASE..]   (needs onnx, onnxruntime, numpy)"""
import json
import struct
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(7)
cases = {}


def floats(*shape, scale=1.0):
    return (random.standard_normal(shape) * scale).astype(np.float32)


def node(op, inputs, outputs=("y",), **attributes):
    return helper.make_node(op, list(inputs), list(outputs), **attributes)


def integers(*values):
    return np.array(values, dtype=np.int64)


def case(name, nodes, x, weights=None, opset=17, output="y", batch="N"):
    """A model of one input x, whose first axis is the batch. `weights` are initializers by name."""
    weights = weights or {}
    kind = TensorProto.INT64 if x.dtype == np.int64 else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", kind, [batch] + list(x.shape[1:]))],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    y = session.run(None, {"x": x})[0]
    shape = model.graph.output[0].type.tensor_type.shape
    for length in (batch,) + y.shape[1:]:
        dimension = shape.dim.add()
        if isinstance(length, str):
            dimension.dim_param = length
        else:
            dimension.dim_value = length
    onnx.checker.check_model(model)
    cases[name] = (model, x, y)


def unary(name, op, x=None, opset=17, extra=None, **attributes):
    """`op` after a product with a weight, so that there is something to train."""
    x = floats(3, 7) if x is None else x
    extra = extra or {}
    weights = {"w": floats(*x.shape[1:]), **extra}
    case(name, [node("Mul", ["x", "w"], ["h"]), node(op, ["h"] + list(extra), **attributes)], x, weights, opset)


def positive(op):
    """`op` of numbers above 0."""
    case(
        op.lower(),
        [node("Mul", ["x", "x"], ["s"]), node("Add", ["s", "w"], ["h"]), node(op, ["h"])],
        floats(3, 7),
        {"w": np.abs(floats(7)) + np.float32(0.1)},
    )


# Element by element.
for op in ["Relu", "Tanh", "Sigmoid", "Softplus", "Exp", "Neg", "Identity", "Abs", "Sin", "Cos", "Erf", "Softsign", "Sign"]:
    unary(op.lower(), op)
unary("hardswish", "HardSwish")
unary("gelu", "Gelu", opset=20)
unary("gelu_tanh", "Gelu", opset=20, approximate="tanh")
unary("leakyrelu", "LeakyRelu", alpha=0.2)
unary("leakyrelu_default", "LeakyRelu")
unary("elu", "Elu", alpha=0.7)
unary("selu", "Selu")
unary("hardsigmoid", "HardSigmoid")
unary("hardsigmoid_other", "HardSigmoid", alpha=0.3, beta=0.4)
unary("cast", "Cast", to=TensorProto.FLOAT)
unary("dropout", "Dropout", extra={"ratio": np.float32(0.3)})
unary("clip", "Clip", extra={"low": np.float32(-0.5), "high": np.float32(0.7)})
case(
    "clip_one_side",
    [node("Mul", ["x", "w"], ["h"]), node("Clip", ["h", "", "high"])],
    floats(3, 7),
    {"w": floats(7), "high": np.float32(0.3)},
)
for op in ["Log", "Sqrt", "Reciprocal"]:
    positive(op)
case(
    "pow",
    [node("Mul", ["x", "x"], ["s"]), node("Add", ["s", "w"], ["h"]), node("Pow", ["h", "e"])],
    floats(3, 5),
    {"w": np.abs(floats(5)) + np.float32(0.5), "e": np.float32(1.7)},
)
case(
    "pow_square", [node("Mul", ["x", "w"], ["h"]), node("Pow", ["h", "e"])], floats(3, 5),
    {"w": floats(5), "e": np.float32(2)},
)
for op in ["Add", "Sub", "Mul", "Div", "Max", "Min"]:
    case(op.lower(), [node(op, ["x", "w"])], floats(3, 5, 4), {"w": floats(4) + np.float32(3)})
    case(op.lower() + "_middle", [node(op, ["w", "x"])], floats(3, 5, 4), {"w": floats(1, 5, 1) + np.float32(3)})
case("add_scalar", [node("Add", ["x", "w"], ["h"]), node("Mul", ["h", "s"])], floats(2, 3), {"w": floats(3), "s": np.float32(3)})
case("max_three", [node("Max", ["x", "w", "v"])], floats(3, 4), {"w": floats(4), "v": floats(4)})
case("sum_three", [node("Sum", ["x", "w", "v"])], floats(3, 4), {"w": floats(4), "v": floats(1, 1)})

# Products.
case("gemm", [node("Gemm", ["x", "w", "b"])], floats(5, 7), {"w": floats(7, 3), "b": floats(3)})
case(
    "gemm_transposed", [node("Gemm", ["x", "w", "b"], transB=1, alpha=0.5, beta=2.0)], floats(5, 7),
    {"w": floats(3, 7), "b": floats(1, 3)},
)
case("gemm_bare", [node("Gemm", ["x", "w"])], floats(5, 7), {"w": floats(7, 3)})
case("matmul", [node("MatMul", ["x", "w"])], floats(2, 5, 7), {"w": floats(7, 3)})
case(
    "matmul_stacks",
    [
        node("MatMul", ["x", "w"], ["a"]),
        node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
        node("MatMul", ["a", "b"]),
    ],
    floats(2, 5, 7),
    {"w": floats(7, 3)},
)
case("matmul_shared_stack", [node("MatMul", ["x", "w"])], floats(2, 3, 5, 7), {"w": floats(3, 7, 2)})
case("matmul_left", [node("MatMul", ["w", "x"])], floats(2, 5, 7), {"w": floats(3, 5)})

# Shapes.
case("flatten", [node("Mul", ["x", "w"], ["h"]), node("Flatten", ["h"])], floats(3, 2, 5), {"w": floats(5)})
case(
    "reshape", [node("Mul", ["x", "w"], ["h"]), node("Reshape", ["h", "s"])], floats(3, 2, 6),
    {"w": floats(6), "s": integers(0, -1, 3)},
)
case(
    "reshape_by_shape",
    [
        node("Mul", ["x", "w"], ["h"]),
        node("Shape", ["h"], ["s"]),
        node("Constant", [], ["zero"], value_int=0),
        node("Gather", ["s", "zero"], ["n"]),
        node("Constant", [], ["axis"], value_ints=[0]),
        node("Unsqueeze", ["n", "axis"], ["n1"]),
        node("Constant", [], ["rest"], value_ints=[4, 3]),
        node("Concat", ["n1", "rest"], ["t"], axis=0),
        node("Reshape", ["h", "t"]),
    ],
    floats(3, 2, 6),
    {"w": floats(6)},
)
case(
    "reshape_fixed_batch", [node("Mul", ["x", "w"], ["h"]), node("Reshape", ["h", "s"])], floats(1, 2, 6),
    {"w": floats(6), "s": integers(1, 12)}, batch=1,
)
case(
    "squeeze_unsqueeze",
    [
        node("Mul", ["x", "w"], ["h"]),
        node("Unsqueeze", ["h", "u"], ["g"]),
        node("Squeeze", ["g", "s"]),
    ],
    floats(3, 1, 5),
    {"w": floats(5), "u": integers(1, -1), "s": integers(2, -1)},
)
case(
    "range_and_fill",
    [
        node("Constant", [], ["zero"], value_int=0),
        node("Constant", [], ["end"], value_int=5),
        node("Constant", [], ["one"], value_int=1),
        node("Range", ["zero", "end", "one"], ["r"]),
        node("Gather", ["w", "r"], ["p"]),
        node("Constant", [], ["s"], value_ints=[5, 4]),
        node("ConstantOfShape", ["s"], ["f"], value=numpy_helper.from_array(np.array([2.5], dtype=np.float32))),
        node("Mul", ["p", "f"], ["pf"]),
        node("Add", ["x", "pf"]),
    ],
    floats(3, 5, 4),
    {"w": floats(9, 4)},
)

# Arrangements.
case("transpose", [node("Mul", ["x", "w"], ["h"]), node("Transpose", ["h"], perm=[0, 3, 1, 2])], floats(2, 3, 4, 5), {"w": floats(5)})
case(
    "transpose_weight", [node("Transpose", ["w"], ["t"], perm=[1, 0]), node("MatMul", ["x", "t"])], floats(2, 5),
    {"w": floats(3, 5)},
)
case("concat", [node("Mul", ["x", "w"], ["h"]), node("Concat", ["x", "h", "x"], axis=-1)], floats(3, 2, 5), {"w": floats(5)})
case(
    "slice", [node("Mul", ["x", "w"], ["h"]), node("Slice", ["h", "from", "to", "axes", "steps"])], floats(3, 6, 5),
    {"w": floats(5), "from": integers(1, -3), "to": integers(1000, -1), "axes": integers(1, 2), "steps": integers(1, 1)},
)
case(
    "split",
    [
        node("Mul", ["x", "w"], ["h"]),
        node("Split", ["h", "parts"], ["a", "b"], axis=1),
        node("Concat", ["b", "a"], axis=1),
    ],
    floats(3, 7),
    {"w": floats(7), "parts": integers(2, 5)},
)
case(
    "split_equal",
    [
        node("Mul", ["x", "w"], ["h"]),
        node("Split", ["h"], ["a", "b", "c"], axis=-1, num_outputs=3),
        node("Add", ["a", "b"]),
    ],
    floats(3, 8),
    {"w": floats(8)},
    opset=18,
)
case(
    "pad", [node("Mul", ["x", "w"], ["h"]), node("Pad", ["h", "p", "v"])], floats(3, 4, 5),
    {"w": floats(5), "p": integers(0, 1, 2, 0, 0, 3), "v": np.float32(1.5)},
)
case(
    "pad_axes", [node("Mul", ["x", "w"], ["h"]), node("Pad", ["h", "p", "", "a"])], floats(3, 4, 5),
    {"w": floats(5), "p": integers(2, 1), "a": integers(-1)}, opset=18,
)
case(
    "expand", [node("Mul", ["x", "w"], ["h"]), node("Expand", ["h", "s"])], floats(3, 1, 5),
    {"w": floats(5), "s": integers(4, 1)},
)
case(
    "gather", [node("Mul", ["x", "w"], ["h"]), node("Gather", ["h", "i"], axis=1)], floats(3, 6, 5),
    {"w": floats(5), "i": integers(4, -1, 0, 4)},
)
case(
    "gather_one", [node("Mul", ["x", "w"], ["h"]), node("Gather", ["h", "i"], axis=1)], floats(3, 6, 5),
    {"w": floats(5), "i": np.array(-2, dtype=np.int64)},
)
case(
    "embedding", [node("Gather", ["w", "x"], ["e"]), node("MatMul", ["e", "u"])],
    random.integers(0, 11, (3, 6)).astype(np.int64), {"w": floats(11, 4), "u": floats(4, 5)},
)

# Reductions.
for op in ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"]:
    extra = {"a": integers(1)} if op == "ReduceSum" else {}
    attributes = {} if op == "ReduceSum" else {"axes": [1]}
    case(
        op.lower(), [node("Mul", ["x", "w"], ["h"]), node(op, ["h"] + list(extra), keepdims=0, **attributes)],
        floats(3, 5, 4), {"w": floats(4), **extra},
    )
case(
    "reducemean_18", [node("Mul", ["x", "w"], ["h"]), node("ReduceMean", ["h", "a"])], floats(3, 5, 4),
    {"w": floats(4), "a": integers(-1, 1)}, opset=18,
)
for op in ["Softmax", "LogSoftmax"]:
    unary(op.lower(), op)
    unary(op.lower() + "_middle", op, x=floats(2, 5, 3), axis=1)

# Windows.
case("conv", [node("Conv", ["x", "w", "b"])], floats(2, 3, 7, 9), {"w": floats(5, 3, 3, 2), "b": floats(5)})
case(
    "conv_strided", [node("Conv", ["x", "w"], strides=[2, 3], pads=[1, 0, 2, 1], dilations=[2, 1])],
    floats(2, 3, 11, 9), {"w": floats(4, 3, 3, 3)},
)
case("conv_same", [node("Conv", ["x", "w", "b"], auto_pad="SAME_UPPER", strides=[2, 2])], floats(2, 3, 7, 8), {"w": floats(4, 3, 3, 3), "b": floats(4)})
case("conv_same_lower", [node("Conv", ["x", "w"], auto_pad="SAME_LOWER", strides=[2, 2])], floats(2, 3, 7, 8), {"w": floats(4, 3, 3, 3)})
case("conv_valid", [node("Conv", ["x", "w"], auto_pad="VALID")], floats(2, 3, 7, 8), {"w": floats(4, 3, 3, 3)})
case("conv_groups", [node("Conv", ["x", "w", "b"], group=2, pads=[1, 1, 1, 1])], floats(2, 6, 5, 7), {"w": floats(8, 3, 3, 3), "b": floats(8)})
case("conv_depthwise", [node("Conv", ["x", "w"], group=5, pads=[1, 1, 1, 1])], floats(2, 5, 6, 7), {"w": floats(5, 1, 3, 3)})
case("conv_one", [node("Conv", ["x", "w"])], floats(2, 5, 4, 3), {"w": floats(7, 5, 1, 1)})
conv_then = lambda tail: [node("Conv", ["x", "w"], ["h"], pads=[1, 1, 1, 1])] + tail
conv_weights = {"w": floats(5, 3, 3, 3)}
case("maxpool", conv_then([node("MaxPool", ["h"], kernel_shape=[2, 2], strides=[2, 2])]), floats(2, 3, 7, 9), conv_weights)
case("maxpool_padded", conv_then([node("MaxPool", ["h"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])]), floats(2, 3, 7, 9), conv_weights)
case("maxpool_same", conv_then([node("MaxPool", ["h"], kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER")]), floats(2, 3, 7, 9), conv_weights)
case("averagepool", conv_then([node("AveragePool", ["h"], kernel_shape=[3, 2], strides=[2, 1])]), floats(2, 3, 7, 9), conv_weights)
case("averagepool_counted", conv_then([node("AveragePool", ["h"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)]), floats(2, 3, 7, 9), conv_weights)
case("averagepool_same", conv_then([node("AveragePool", ["h"], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")]), floats(2, 3, 7, 9), conv_weights)
case("globalaveragepool", conv_then([node("GlobalAveragePool", ["h"])]), floats(2, 3, 7, 9), conv_weights)
case("globalmaxpool", conv_then([node("GlobalMaxPool", ["h"])]), floats(2, 3, 7, 9), conv_weights)
case("conv_pad", [node("Pad", ["x", "p"], ["h"]), node("Conv", ["h", "w"])], floats(2, 3, 5, 6), {"w": floats(4, 3, 3, 3), "p": integers(0, 0, 1, 2, 0, 0, 2, 1)})
case("conv_reduce", conv_then([node("ReduceMean", ["h"], axes=[2, 3], keepdims=0)]), floats(2, 3, 5, 6), conv_weights)
case("conv_reduce_channels", conv_then([node("ReduceMax", ["h"], axes=[1], keepdims=1)]), floats(2, 3, 5, 6), conv_weights)
case("conv_softmax", conv_then([node("Softmax", ["h"], axis=1)]), floats(2, 3, 5, 6), conv_weights)
case("conv_slice", conv_then([node("Slice", ["h", "from", "to", "axes"])]), floats(2, 3, 5, 6), {**conv_weights, "from": integers(1), "to": integers(4), "axes": integers(1)})
case(
    "conv_classifier",
    [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "v", "a"], ["z"], transB=1),
        node("Softmax", ["z"]),
    ],
    floats(3, 1, 8, 6),
    {"w": floats(4, 1, 3, 3), "b": floats(4), "v": floats(5, 48), "a": floats(5)},
)
case(
    "residual",
    [
        node("Conv", ["x", "w0"], ["c0"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c0", "g", "o", "m", "v"], ["n0"], epsilon=1e-3),
        node("Relu", ["n0"], ["r0"]),
        node("Conv", ["r0", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        node("Mul", ["c1", "s"], ["k"]),
        node("Add", ["k", "x"], ["a"]),
        node("Concat", ["a", "r0"], ["j"], axis=1),
        node("GlobalAveragePool", ["j"], ["p"]),
        node("Flatten", ["p"]),
    ],
    floats(2, 3, 5, 7),
    {
        "w0": floats(4, 3, 3, 3), "w1": floats(3, 4, 3, 3), "g": floats(4), "o": floats(4), "m": floats(4),
        "v": np.abs(floats(4)) + np.float32(0.1), "s": floats(3, 1, 1),
    },
)

# Normalisations.
case(
    "batchnormalization", [node("BatchNormalization", ["x", "g", "o", "m", "v"])], floats(3, 5, 4, 2),
    {"g": floats(5), "o": floats(5), "m": floats(5), "v": np.abs(floats(5)) + np.float32(0.1)},
)
case(
    "batchnormalization_vector", [node("BatchNormalization", ["x", "g", "o", "m", "v"])], floats(3, 5),
    {"g": floats(5), "o": floats(5), "m": floats(5), "v": np.abs(floats(5)) + np.float32(0.1)},
)
case("layernormalization", [node("LayerNormalization", ["x", "g", "o"])], floats(3, 4, 7), {"g": floats(7), "o": floats(7)})
case("layernormalization_bare", [node("LayerNormalization", ["x", "g"], epsilon=0.01)], floats(3, 4, 7), {"g": floats(7)})
case("instancenormalization", [node("InstanceNormalization", ["x", "g", "o"])], floats(3, 4, 5, 6), {"g": floats(4), "o": floats(4)})
case(
    "groupnormalization", [node("GroupNormalization", ["x", "g", "o"], num_groups=2)], floats(3, 4, 5, 6),
    {"g": floats(4), "o": floats(4)}, opset=21,
)

# Recurrences: time first in the file.
T, N, I, H = 4, 3, 5, 6
swap = node("Transpose", ["x"], ["t"], perm=[1, 0, 2])
back = [node("Squeeze", ["s", "direction"], ["q"]), node("Transpose", ["q"], ["y"], perm=[1, 0, 2])]
direction = {"direction": integers(1)}
x = floats(N, T, I)
case(
    "lstm", [swap, node("LSTM", ["t", "W", "R", "B"], ["s"], hidden_size=H)] + back, x,
    {"W": floats(1, 4 * H, I, scale=0.5), "R": floats(1, 4 * H, H, scale=0.5), "B": floats(1, 8 * H), **direction},
)
case(
    "lstm_last",
    [swap, node("LSTM", ["t", "W", "R"], ["", "h"], hidden_size=H), node("Squeeze", ["h", "front"], ["y"])],
    x, {"W": floats(1, 4 * H, I, scale=0.5), "R": floats(1, 4 * H, H, scale=0.5), "front": integers(0)},
)
case(
    "gru", [swap, node("GRU", ["t", "W", "R", "B"], ["s"], hidden_size=H)] + back, x,
    {"W": floats(1, 3 * H, I, scale=0.5), "R": floats(1, 3 * H, H, scale=0.5),
     "B": np.concatenate([floats(1, 5 * H), np.zeros((1, H), np.float32)], 1), **direction},
)
case(
    "gru_linear", [swap, node("GRU", ["t", "W", "R", "B"], ["s"], hidden_size=H, linear_before_reset=1)] + back, x,
    {"W": floats(1, 3 * H, I, scale=0.5), "R": floats(1, 3 * H, H, scale=0.5), "B": floats(1, 6 * H), **direction},
)
for activation in ["Tanh", "Relu"]:
    case(
        "rnn_" + activation.lower(),
        [swap, node("RNN", ["t", "W", "R", "B"], ["s"], hidden_size=H, activations=[activation])] + back, x,
        {"W": floats(1, H, I, scale=0.5), "R": floats(1, H, H, scale=0.5), "B": floats(1, 2 * H), **direction},
    )

# An attention block as exporters write it, with a causal mask among the constants.
T, D, heads = 5, 8, 2
mask = np.triu(np.full((T, T), -np.inf, dtype=np.float32), 1)
case(
    "attention",
    [
        node("Gather", ["table", "x"], ["e"]),
        node("Add", ["e", "positions"], ["h"]),
        node("LayerNormalization", ["h", "g", "o"], ["n"]),
        node("MatMul", ["n", "qkv"], ["p"]),
        node("Split", ["p", "parts"], ["q", "k", "v"], axis=-1),
        node("Reshape", ["q", "split"], ["q4"]),
        node("Reshape", ["k", "split"], ["k4"]),
        node("Reshape", ["v", "split"], ["v4"]),
        node("Transpose", ["q4"], ["qh"], perm=[0, 2, 1, 3]),
        node("Transpose", ["k4"], ["kh"], perm=[0, 2, 3, 1]),
        node("Transpose", ["v4"], ["vh"], perm=[0, 2, 1, 3]),
        node("MatMul", ["qh", "kh"], ["s"]),
        node("Div", ["s", "root"], ["d"]),
        node("Add", ["d", "mask"], ["m"]),
        node("Softmax", ["m"], ["a"], axis=-1),
        node("MatMul", ["a", "vh"], ["c"]),
        node("Transpose", ["c"], ["ct"], perm=[0, 2, 1, 3]),
        node("Reshape", ["ct", "join"], ["j"]),
        node("MatMul", ["j", "out"], ["r"]),
        node("Add", ["r", "h"], ["f"]),
        node("MatMul", ["f", "head"], ["y"]),
    ],
    random.integers(0, 13, (3, T)).astype(np.int64),
    {
        "table": floats(13, D), "positions": floats(T, D), "g": floats(D), "o": floats(D), "qkv": floats(D, 3 * D),
        "parts": integers(D, D, D), "split": integers(0, 0, heads, D // heads), "root": np.float32(2.0), "mask": mask,
        "join": integers(0, 0, D), "out": floats(D, D), "head": floats(D, 13),
    },
)


def safetensors(tensors):
    header, data = {}, b""
    for name, array in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        kind = {"float32": "F32", "int64": "I64", "uint8": "U8"}[str(array.dtype)]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes]}
        data += np.ascontiguousarray(array).tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


only = sys.argv[2:]
recorded = {}
for name, (model, x, y) in cases.items():
    if only and name not in only:
        continue
    recorded[name + "/model"] = np.frombuffer(model.SerializeToString(), dtype=np.uint8)
    recorded[name + "/x"], recorded[name + "/y"] = x, y
with open(sys.argv[1], "wb") as file:
    file.write(safetensors(recorded))
print(len(recorded) // 3, "cases")
