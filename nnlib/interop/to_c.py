"""A net as one file of C99 that needs nothing but the standard library, for a small device.

Batch normalisation is folded into the weights before it, γ (x W + b - μ) / √(σ² + ε) + β being
one affine map. Numbers have as many digits as it takes to read the same float32 again. What is
the same in every file stands in net.c.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnlib import checks, layers
from nnlib.checks import InputError
from nnlib.files import write_atomic
from nnlib.images import Scaling
from nnlib.interop.parts import Arrays, described, in_float32, parts
from nnlib.network import MLP

FORMULAS = {
    "relu": "x > 0.0f ? x : 0.0f",
    "leaky_relu": f"x > 0.0f ? x : {layers.LEAKY_SLOPE}f * x",
    "tanh": "tanhf(x)",
    "sigmoid": "0.5f + 0.5f * tanhf(0.5f * x)",
    "gelu": f"0.5f * x * (1.0f + tanhf({layers.GELU.C}f * (x + {layers.GELU.A}f * x * x * x)))",
}
HEAD = """\
/* {about}
 *
 * `probabilities` is room for {classes} floats; {stack} bytes of stack are used.
 *
 *     cc -std=c99 -O2 {file} your_program.c -lm
 */
#include <math.h>

void nnlib_predict(const float *x, float *probabilities);
"""
COMMON = Path(__file__).with_name("net.c")


@dataclass
class Step:
    """A linear layer, W (D, H) and b (H,), and the activation after it."""

    W: np.ndarray
    b: np.ndarray
    activation: str = ""

    def take(self, kind: str, arrays: Arrays) -> None:
        """Take the activation, or the batch normalisation before it, in; computed in float64."""
        if kind != "batch_norm":
            self.activation = kind
            return
        gamma, beta, mean, variance = (array.astype(np.float64) for array in arrays.values())
        scale = gamma / np.sqrt(variance + layers.BatchNorm.EPSILON)  # (H,)
        self.W, self.b = self.W * scale, (self.b - mean) * scale + beta


def write(model: MLP, path: Path) -> str:
    """Write the file, whose one function is `nnlib_predict`; return how to compile it."""
    checks.memory("a net as text", 80 * sum(array.size for array in model.parameters.values()))
    steps, (*hidden, classes) = _steps(model), model.sizes[1:]
    about = "\n * ".join(f"{name}: {text}" for name, text in described(model).items())
    named = {"about": _inert(about), "file": _inert(path.name), "stack": 4 * sum(hidden)}
    text = [HEAD.format(classes=classes, **named)]
    scales = vars(model.scaling) | ({"zero": 0, "one": 1} if hidden else {})
    text += [_array(name, np.float32(value)) for name, value in scales.items()]
    for number, step in enumerate(steps, start=1):
        weights = in_float32({f"W{number}": step.W, f"b{number}": step.b})
        text += [_array(name, array) for name, array in weights.items()]
    text.append(COMMON.read_text("utf-8"))
    for name in sorted({step.activation for step in steps} - {""}):
        text.append(f"\nstatic float nnlib_{name}(float x)\n{{\n    return {FORMULAS[name]};\n}}\n")
    lines = "".join(f"    {line}\n" for line in _calls(steps, model.scaling))
    text.append(f"\nvoid nnlib_predict(const float *x, float *probabilities)\n{{\n{lines}}}\n")
    write_atomic(path, "".join(text))
    return f"cc -std=c99 -O2 -c {path.name}  # void nnlib_predict(const float *x, float *p); -lm"


def _steps(model: MLP) -> list[Step]:
    steps: list[Step] = []
    for kind, arrays, _ in parts(model, ["linear", "batch_norm", "dropout", *FORMULAS]):
        if kind == "linear":
            steps.append(Step(**arrays))
        elif kind != "dropout":
            if not steps or steps[-1].activation:
                raise InputError(f"C has {kind} after a linear layer alone: export to onnx")
            steps[-1].take(kind, arrays)
    return steps


def _array(name: str, array: np.ndarray) -> str:
    """Return an array as C, eight numbers a line."""
    numbers = [f"{number!s}f" for number in np.ravel(array)]
    lines = [", ".join(numbers[i : i + 8]) for i in range(0, len(numbers), 8)]
    inside = ",\n    ".join(lines)
    return f"\nstatic const float {name}[{array.size}] = {{\n    {inside}\n}};\n"


def _calls(steps: list[Step], scaling: Scaling) -> Iterator[str]:
    """Yield the lines of `nnlib_predict`."""
    source, scale = "x", f"offset, factor, {np.size(scaling.offset)}"
    for number, step in enumerate(steps, start=1):
        inputs, outputs = step.W.shape
        to = f"h{number}" if number < len(steps) else "probabilities"
        if number < len(steps):
            yield f"float {to}[{outputs}];"
        yield f"linear({source}, {scale}, {inputs}, W{number}, b{number}, {outputs}, {to});"
        if step.activation:
            yield f"for (int j = 0; j < {outputs}; j++)"
            yield f"    {to}[j] = nnlib_{step.activation}({to}[j]);"
        source, scale = to, "zero, one, 1"
    yield f"softmax(probabilities, {steps[-1].W.shape[1]});"


def _inert(text: str) -> str:
    """Return a text that neither ends a comment nor begins one; of names, it is JSON."""
    plain = text.encode("ascii", "backslashreplace").decode()
    return plain.replace("*/", "*\\/").replace("/*", "/\\u002a").replace("??", "?\\u003f")
