"""What goes on inside a net as it learns, and what is wrong with one that does not.

Three numbers tell most of it: how large the gradients are, by how much a step changes the weights
(about a thousandth is healthy), and how many units have fallen silent. They are taken a few times
an epoch, so that they cost next to nothing.
"""

import math

import numpy as np

from nnlib.layers import ReLU
from nnlib.network import MLP

Arrays = dict[str, np.ndarray]


def gradient_norms(gradients: Arrays) -> dict[str, float]:
    """Return ‖g‖ of each parameter, and of all together: {"gradient": …, "gradient W1": …}."""
    norms = {f"gradient {n}": float(np.linalg.norm(g)) for n, g in gradients.items()}
    return {"gradient": math.hypot(*norms.values())} | norms


def relative_changes(before: Arrays, after: Arrays) -> dict[str, float]:
    """Return ‖w' - w‖ / ‖w‖ of each weight matrix, the size of a step: {"change W1": …}."""
    sizes = {name: max(float(np.linalg.norm(w)), 1e-30) for name, w in before.items()}
    return {
        f"change {name}": float(np.linalg.norm(after[name] - w)) / sizes[name]
        for name, w in before.items()
    }


def dead_units(model: MLP, x: np.ndarray) -> dict[str, float]:
    """Return the fraction of each ReLU layer's units that no row of x (N, D) turns on.

    {"dead 1": …} counts from the input; other activations have no dead units and no entry.
    """
    relus = [isinstance(layer, ReLU) for layer in model.activations]
    if not any(relus):
        return {}
    return {
        f"dead {number}": float((h <= 0).all(axis=0).mean())
        for number, (h, relu) in enumerate(zip(model.hidden(x), relus, strict=True), start=1)
        if relu
    }


def first_not_finite(model: MLP, x: np.ndarray) -> str:
    """Say in which input, weight or layer the first value that is not finite stands, and why."""
    if not np.isfinite(x).all():
        return "the inputs hold values that are not finite; check the data"
    for name, array in model.state().items():
        if not np.isfinite(array).all():
            return f"{name} is not finite after an update; lower the learning rate"
    for number, layer in enumerate(model.layers, start=1):
        x = layer.forward(x)
        if not np.isfinite(x).all():
            kind = type(layer).__name__
            return f"layer {number} ({kind}) overflows; lower the learning rate or input scale"
    return "the logits are too far apart; lower the learning rate"
