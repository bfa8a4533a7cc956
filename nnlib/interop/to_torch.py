"""A net for PyTorch: a `state_dict` as safetensors, and the lines that build its `Sequential`.

PyTorch's linear layer is x Wᵀ + b, so that each W is stored transposed; its batch normalisation
and dropout mean what ours do, and training may go on there.
"""

import textwrap
from pathlib import Path

from nnlib import layers
from nnlib.files import save_tensors
from nnlib.interop.parts import Arrays, parts
from nnlib.network import MLP

MODULES = {
    "linear": "nn.Linear({0}, {1})",
    "batch_norm": f"nn.BatchNorm1d({{0}}, eps={layers.BatchNorm.EPSILON}, "
    f"momentum={layers.BatchNorm.MOMENTUM})",
    "dropout": "nn.Dropout({p})",
    "relu": "nn.ReLU()",
    "leaky_relu": f"nn.LeakyReLU({layers.LEAKY_SLOPE})",
    "tanh": "nn.Tanh()",
    "sigmoid": "nn.Sigmoid()",
    "gelu": 'nn.GELU(approximate="tanh")',
}
NAMES = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias",
         "mean": "running_mean", "variance": "running_var"}  # fmt: skip
PROGRAM = """\
from safetensors.torch import load_file
from torch import nn, tensor

class Scale(nn.Module):
    def forward(self, x):  # x float32 (N, {inputs})
        return {scaled}

net = nn.Sequential(
    {modules},
)
net.load_state_dict(load_file({file!r}))
net.eval()  # net(x): probabilities (N, {classes})"""


def write(model: MLP, path: Path) -> str:
    """Write the `state_dict`, the program in its metadata; return the program."""
    state: Arrays = {}
    modules = ["Scale()"]
    for place, (kind, arrays, layer) in enumerate(parts(model, MODULES), start=1):  # 0: Scale
        sizes = next(iter(arrays.values())).shape if arrays else ()
        modules.append(MODULES[kind].format(*sizes, **vars(layer)))
        state |= {f"{place}.{NAMES[name]}": array.T for name, array in arrays.items()}
    program = PROGRAM.format(
        inputs=model.sizes[0],
        classes=model.sizes[-1],
        scaled=_scaled(model),
        modules=textwrap.fill(
            ", ".join([*modules, "nn.Softmax(dim=1)"]), 96, subsequent_indent=" " * 4
        ),
        file=path.name,
    )
    save_tensors(path, state, {"program": program})
    return program


def _scaled(model: MLP) -> str:
    """Return the expression for scaled inputs; colours lie side by side, each scaled by itself."""
    offset, factor = model.scaling.offset, model.scaling.factor
    if not isinstance(offset, tuple):
        return f"(x - {offset!r}) * {factor!r}"
    return f"((x.unflatten(1, (-1, 3)) - tensor({offset!r})) * tensor({factor!r})).flatten(1)"
