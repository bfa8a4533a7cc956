"""What stands between two matrix products, in place: each unit by itself, for a whole batch.

Each function here makes the two calls of a layer, forward and backward, on arrays that are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnlib import layers

Array = np.ndarray
Calls = tuple[Callable[[], Any], Callable[[], Any]]  # forward and backward


class Scratch:
    """Memory to compute in: one array for all who ask by the same name, shape and type."""

    def __init__(self) -> None:
        self.kept: dict[tuple, Array] = {}

    def __call__(self, name: str, like: Array, dtype: type | None = None) -> Array:
        """Return an array shaped like another: zeros at first, then what was left in it."""
        key = name, like.shape, np.dtype(dtype or like.dtype)
        if key not in self.kept:
            self.kept[key] = np.zeros_like(like, key[2])
        return self.kept[key]


@dataclass(frozen=True)
class Batch:
    """A layer's arrays: `x` (H, n) becomes `y`, and `g` turns from ∂loss/∂y into ∂loss/∂x.

    `y` is `x`, overwritten, but behind dropout. `gradients` are those of gamma and beta, (H,).
    `drawn` (H, n) is what the layer has drawn for this batch, if it draws.
    """

    x: Array
    y: Array
    g: Array
    gradients: dict[str, Array]
    drawn: Any
    scratch: Scratch


def relu(layer: layers.ReLU, at: Batch) -> Calls:
    """max(0, x)."""
    y, g, on = at.x, at.g, at.scratch("on", at.x, bool)
    zeros = at.scratch("zeros", y)  # NumPy compares two arrays faster than an array and a number
    return (
        lambda: np.maximum(y, zeros, out=y),
        lambda: np.multiply(g, np.greater(y, zeros, out=on), out=g),
    )


def by_the_layer(layer: layers.Layer, at: Batch) -> Calls:
    """Any other activation, by its own plain code."""
    x = np.empty_like(at.x)  # which the layer may remember

    def forward() -> None:
        np.copyto(x, at.x)
        np.copyto(at.x, layer.forward(x))

    return forward, lambda: np.copyto(at.g, layer.backward(at.g))


def dropout(layer: layers.Dropout, at: Batch) -> Calls:
    """x times a fresh mask of 0 and 1 / (1 - p), from what the layer's generator has drawn."""
    x, y, g, mask = at.x, at.y, at.g, np.empty_like(at.x)
    keep, drawn = at.scratch("on", x, bool), at.drawn
    p, scale = np.float32(layer.p), x.dtype.type(1) / x.dtype.type(1 - layer.p)

    def forward() -> None:
        np.multiply(np.greater_equal(drawn, p, out=keep), scale, out=mask)
        np.multiply(x, mask, out=y)  # x is still needed on the way back

    return forward, lambda: np.multiply(g, mask, out=g)


def batch_norm(layer: layers.BatchNorm, at: Batch) -> Calls:
    """γ x̂ + β from the batch's own statistics, with x̂ = (x - μ) s and s = 1 / √(σ² + ε)."""
    x, g, centred, product = at.x, at.g, np.empty_like(at.x), at.scratch("slope", at.x)
    (gamma, beta), (along, down) = layer.parameters.values(), at.gradients.values()
    each = np.full(x.shape[1], 1 / x.shape[1], x.dtype)
    mean, variance, s, slope = np.empty((4, len(x)), x.dtype)

    def forward() -> None:
        np.matmul(x, each, out=mean)
        np.subtract(x, mean[:, None], out=centred)
        np.matmul(np.multiply(centred, centred, out=x), each, out=variance)
        layer.remember(len(each), mean, variance)
        np.divide(1, np.sqrt(np.add(variance, layer.EPSILON, out=s), out=s), out=s)
        np.multiply(centred, np.multiply(gamma, s, out=slope)[:, None], out=x)
        np.add(x, beta[:, None], out=x)

    def backward() -> None:  # γ s (g - mean(g) - x̂ mean(g x̂)), from x - μ in place of x̂
        np.matmul(np.multiply(g, centred, out=product), each, out=along)
        np.matmul(g, each, out=down)  # mean(g), the gradient of β
        np.multiply(along, s, out=along)  # mean(g x̂), the gradient of γ
        np.multiply(np.multiply(along, s, out=s), slope, out=s)
        np.multiply(centred, s[:, None], out=product)  # γ s x̂ mean(g x̂)
        np.multiply(np.subtract(g, down[:, None], out=g), slope[:, None], out=g)
        np.subtract(g, product, out=g)

    return forward, backward


UNITS: dict[type, Callable[[Any, Batch], Calls]] = {
    **dict.fromkeys(layers.ACTIVATIONS.values(), by_the_layer),
    layers.ReLU: relu,
    layers.Dropout: dropout,
    layers.BatchNorm: batch_norm,
}
