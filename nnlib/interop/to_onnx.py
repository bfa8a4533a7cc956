"""A net as an ONNX file, with names for the input, the output and all weights.

Source: the operators of ONNX's standard set, version 20, the first that has a GELU.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nnlib import layers
from nnlib.checks import InputError
from nnlib.files import write_atomic
from nnlib.interop.parts import Arrays, described, parts
from nnlib.network import MLP

VERSIONS = {"opset_imports": [helper.make_opsetid("", 20)], "ir_version": 9}  # of ONNX 1.15
MOST = 2**31 - 2**20  # bytes of a file: protobuf's limit, less what is no weight
OPERATORS = {
    "linear": ("Gemm", {}),
    "batch_norm": ("BatchNormalization", {"epsilon": layers.BatchNorm.EPSILON}),
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": layers.LEAKY_SLOPE}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "gelu": ("Gelu", {"approximate": "tanh"}),
}


def write(model: MLP, path: Path) -> str:
    """Write the net as `x` float32 (N, D) -> `probabilities` float32 (N, K); return a use of it.

    Raises InputError where it is larger than such a file may be.
    """
    if 4 * sum(array.size for array in model.state().values()) > MOST:
        raise InputError("an ONNX file holds 2 GiB, and this net has more: export it to torch")
    made = helper.make_model(_graph(model), producer_name="nnlib", **VERSIONS)
    helper.set_model_props(made, described(model))
    onnx.checker.check_model(made)
    write_atomic(path, made.SerializeToString(deterministic=True))
    return (
        "import onnxruntime\n"
        f"net = onnxruntime.InferenceSession({path.name!r})\n"
        f"(probabilities,) = net.run(None, {{'x': x}})  # x float32 (N, {model.sizes[0]})"
    )


def _graph(model: MLP) -> onnx.GraphProto:
    """Return the operators in a row, each with its constants; what one gives, the next takes."""
    steps = list(_operators(model))
    flow = ["x", *(f"{name.lower()}{i}" for i, (name, *_) in enumerate(steps[1:])), "probabilities"]
    nodes, constants = [], []
    for (name, arrays, attributes), before, after in zip(steps, flow, flow[1:], strict=False):
        nodes.append(helper.make_node(name, [before, *arrays], [after], **attributes))
        constants += [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    x, probabilities = (
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", size])]
        for name, size in ((flow[0], model.sizes[0]), (flow[-1], model.sizes[-1]))
    )
    return helper.make_graph(nodes, "nnlib", x, probabilities, constants)


def _operators(model: MLP) -> Iterator[tuple[str, Arrays, dict[str, Any]]]:
    """Yield an operator, the constants that it takes, by name, and its attributes."""
    offset, factor = map(np.asarray, model.scaling.terms(model.sizes[0]))
    yield "Sub", {"offset": offset}, {}
    yield "Mul", {"factor": factor}, {}
    number = 0
    for kind, arrays, _ in parts(model, OPERATORS | {"dropout": ""}):
        number += kind == "linear"
        if kind != "dropout":
            name, attributes = OPERATORS[kind]
            yield name, {f"{n}{number}": array for n, array in arrays.items()}, attributes
    yield "Softmax", {}, {"axis": 1}
