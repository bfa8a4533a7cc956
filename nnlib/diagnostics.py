"""What is wrong with a net that does not learn: where the first bad number stands, and why."""

import numpy as np

from nnlib.network import MLP


def first_not_finite(model: MLP, x: np.ndarray) -> str:
    """Say in which input, weight or layer the first value that is not finite stands, and why."""
    if not np.isfinite(x).all():
        return "the inputs hold values that are not finite; check the data"
    for name, array in model.parameters.items():
        if not np.isfinite(array).all():
            return f"{name} is not finite after an update; lower the learning rate"
    for number, layer in enumerate(model.layers, start=1):
        x = layer.forward(x)
        if not np.isfinite(x).all():
            kind = type(layer).__name__
            return f"layer {number} ({kind}) overflows; lower the learning rate or input scale"
    return "the logits are too far apart; lower the learning rate"
