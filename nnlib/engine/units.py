"""What stands between two matrix products, in place: each unit by itself, for a whole batch.

Each function here makes the two calls of a layer, forward and backward, for a block of its units. A
block passes all layers in turn, so that it stays in a core's own cache.
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
class Block:
    """A block of units: `x` (h, n) becomes `y`, and `g` turns from ∂loss/∂y into ∂loss/∂x.

    `y` is `x`, overwritten, but behind dropout. `gradients` of gamma and beta are those of the
    whole layer, (H,), in which the block has the places `units`.
    """

    x: Array
    y: Array
    g: Array
    units: slice
    gradients: dict[str, Array]
    scratch: Scratch


def relu(layer: layers.ReLU, at: Block) -> Calls:
    """max(0, x)."""
    y, g, on = at.x, at.g, at.scratch("on", at.x, bool)
    zeros = at.scratch("zeros", y)  # NumPy compares two arrays faster than an array and a number
    return (
        lambda: np.maximum(y, zeros, out=y),
        lambda: np.multiply(g, np.greater(y, zeros, out=on), out=g),
    )


def leaky_relu(layer: layers.LeakyReLU, at: Block) -> Calls:
    """max(x, a x), which has the sign of x."""
    y, g, below, off = at.x, at.g, at.scratch("slope", at.x), at.scratch("on", at.x, bool)
    a = layers.LEAKY_SLOPE
    return (
        lambda: np.maximum(y, np.multiply(y, a, out=below), out=y),
        lambda: np.multiply(g, a, out=g, where=np.less_equal(y, 0, out=off)),
    )


def tanh(layer: layers.Tanh, at: Block) -> Calls:
    """tanh x, of slope 1 - y²."""
    y, g, slope = at.x, at.g, at.scratch("slope", at.x)

    def backward() -> None:
        np.subtract(1, np.multiply(y, y, out=slope), out=slope)
        np.multiply(g, slope, out=g)

    return lambda: np.tanh(y, out=y), backward


def sigmoid(layer: layers.Sigmoid, at: Block) -> Calls:
    """½ + ½ tanh(x/2), of slope y (1 - y)."""
    y, g, slope = at.x, at.g, at.scratch("slope", at.x)

    def forward() -> None:
        np.tanh(np.multiply(y, 0.5, out=y), out=y)
        np.add(np.multiply(y, 0.5, out=y), 0.5, out=y)

    def backward() -> None:
        np.multiply(np.subtract(1, y, out=slope), y, out=slope)
        np.multiply(g, slope, out=g)

    return forward, backward


def gelu(layer: layers.GELU, at: Block) -> Calls:
    """½ x (1 + t), t = tanh(c (x + a x³)); the slope is computed on the way forward."""
    c, a, x, g, slope = layer.C, layer.A, at.x, at.g, np.empty_like(at.x)
    t, rest = at.scratch("t", x), at.scratch("slope", x)

    def forward() -> None:
        np.multiply(x, x, out=slope)
        np.add(np.multiply(slope, c * a, out=t), c, out=t)
        np.tanh(np.multiply(t, x, out=t), out=t)
        np.add(np.multiply(slope, 3 * c * a, out=slope), c, out=slope)
        np.multiply(slope, x, out=slope)  # x c (1 + 3 a x²)
        np.subtract(1, np.multiply(t, t, out=rest), out=rest)
        np.multiply(slope, rest, out=slope)
        np.add(t, 1, out=t)
        np.multiply(np.add(slope, t, out=slope), 0.5, out=slope)
        np.multiply(np.multiply(t, 0.5, out=t), x, out=x)

    return forward, lambda: np.multiply(g, slope, out=g)


def dropout(layer: layers.Dropout, at: Block) -> Calls:
    """x times a fresh mask of 0 and 1 / (1 - p), from the layer's own generator."""
    x, y, g, mask = at.x, at.y, at.g, np.empty_like(at.x)
    keep, drawn = at.scratch("on", x, bool), at.scratch("drawn", np.empty(x.shape), np.float32)
    p, scale = np.float32(layer.p), x.dtype.type(1) / x.dtype.type(1 - layer.p)

    def forward() -> None:
        layer.rng.random(dtype=np.float32, out=drawn)  # unit by unit, as the plain layer draws
        np.multiply(np.greater_equal(drawn, p, out=keep), scale, out=mask)
        np.multiply(x, mask, out=y)  # x is still needed on the way back

    return forward, lambda: np.multiply(g, mask, out=g)


def batch_norm(layer: layers.BatchNorm, at: Block) -> Calls:
    """γ x̂ + β from the batch's own statistics, with x̂ = (x - μ) s and s = 1 / √(σ² + ε)."""
    x, g, centred, product = at.x, at.g, np.empty_like(at.x), at.scratch("slope", at.x)
    gamma, beta = (layer.parameters[name][at.units] for name in ("gamma", "beta"))
    along, down = (at.gradients[name][at.units] for name in ("gamma", "beta"))
    running = layers.BatchNorm(gamma, beta)
    running.statistics = {name: array[at.units] for name, array in layer.statistics.items()}
    each = np.full(x.shape[1], 1 / x.shape[1], x.dtype)
    mean, variance, s, slope = np.empty((4, len(x)), x.dtype)

    def forward() -> None:
        np.matmul(x, each, out=mean)
        np.subtract(x, mean[:, None], out=centred)
        np.matmul(np.multiply(centred, centred, out=x), each, out=variance)
        running.remember(len(each), mean, variance)
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


UNITS: dict[type, Callable[[Any, Block], Calls]] = {
    layers.ReLU: relu,
    layers.LeakyReLU: leaky_relu,
    layers.Tanh: tanh,
    layers.Sigmoid: sigmoid,
    layers.GELU: gelu,
    layers.Dropout: dropout,
    layers.BatchNorm: batch_norm,
}
