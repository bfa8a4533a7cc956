"""What stands between two matrix products, from dropout to normalisation, without waste.

Each layer of `layers` has a twin here that computes the same numbers into arrays which are used
again, in place where it can. All of them look at each unit by itself, so they work on a block of
units at a time, which passes all of them in a core's own cache. Arrays (n, H) lie in memory row
by row or unit by unit, (H, n); then a block is contiguous.
"""

import itertools

import numpy as np

from nnlib import layers
from nnlib.engine.blas import Products

BLOCK = 2**15  # numbers in a block: with what is computed from it, it fits a core's own cache
Array = np.ndarray


class Space:
    """Room for arrays (n, H) of one layer, and the blocks of units that they are cut into."""

    def __init__(self, n: int, width: int, dtype: np.dtype, by_unit: bool) -> None:
        self.n, self.width, self.dtype, self.by_unit = n, width, dtype, by_unit
        count = -(-n * width // BLOCK) if by_unit else 1
        edges = np.linspace(0, width, min(count, width) + 1).astype(int).tolist()
        self.blocks = [slice(a, b) for a, b in itertools.pairwise(edges)]
        self.widest = max(block.stop - block.start for block in self.blocks)

    def array(self, dtype: np.dtype | None = None, width: int | None = None) -> Array:
        """Return a new array (n, width), unit by unit in memory or row by row."""
        shape, dtype = (self.n, width or self.width), dtype or self.dtype
        return np.zeros(shape[::-1], dtype).T if self.by_unit else np.zeros(shape, dtype)

    def kept(self, dtype: np.dtype | None = None) -> list[Array]:
        """Return the parts of a new array."""
        return self.parts(self.array(dtype))

    def passing(self, dtype: np.dtype | None = None) -> list[Array]:
        """Return as many parts that share their memory: what one holds goes with the next."""
        room = self.array(dtype, self.widest)
        return [room[:, : block.stop - block.start] for block in self.blocks]

    def parts(self, array: Array) -> list[Array]:
        """Return the blocks of an array (n, H) or (H,), as views."""
        if len(self.blocks) == 1:
            return [array]
        return [array[..., block] for block in self.blocks]


class Twin:
    """A layer that computes block by block, in place: it overwrites what it is given.

    `at` is the number of the block. `first` and `second` are there to compute in.
    """

    def __init__(self, layer: layers.Layer, space: Space) -> None:
        self.layer, self.space = layer, space
        self.y: list[Array] = [None] * len(space.blocks)

    def forward(self, x: Array, at: int) -> Array:
        """Return the layer's output for the block x (n, h) of its input, overwriting x."""
        raise NotImplementedError

    def backward(self, g: Array, at: int) -> Array:
        """Return ∂loss/∂x of the block from ∂loss/∂y, overwriting it."""
        raise NotImplementedError


class BiasTwin(Twin):
    """y = x + b, of a linear layer; the gradient passes as it is."""

    def __init__(self, layer: layers.Linear, space: Space) -> None:
        super().__init__(layer, space)
        self.b = space.parts(layer.parameters["b"])

    def forward(self, x: Array, at: int) -> Array:
        """Return x + b."""
        x += self.b[at]
        return x


class ReLUTwin(Twin):
    """max(0, x)."""

    def __init__(self, layer: layers.Layer, space: Space) -> None:
        super().__init__(layer, space)
        self.zeros = space.passing()  # NumPy compares two arrays faster than array and number
        self.on = space.passing(bool)

    def forward(self, x: Array, at: int) -> Array:
        """Return max(0, x)."""
        self.y[at] = np.maximum(x, self.zeros[at], out=x)
        return x

    def backward(self, g: Array, at: int) -> Array:
        """Pass the gradient where the unit was on."""
        on = np.greater(self.y[at], self.zeros[at], out=self.on[at])
        return np.multiply(g, on, out=g)


class LeakyReLUTwin(Twin):
    """x where x > 0, else a x."""

    def __init__(self, layer: layers.Layer, space: Space) -> None:
        super().__init__(layer, space)
        self.below, self.off = space.passing(), space.passing(bool)

    def forward(self, x: Array, at: int) -> Array:
        """Return max(x, a x), which has the sign of x."""
        below = np.multiply(x, layers.LEAKY_SLOPE, out=self.below[at])
        self.y[at] = np.maximum(x, below, out=x)
        return x

    def backward(self, g: Array, at: int) -> Array:
        """Scale by a where the output is not above 0."""
        off = np.less_equal(self.y[at], 0, out=self.off[at])
        return np.multiply(g, layers.LEAKY_SLOPE, out=g, where=off)


class TanhTwin(Twin):
    """tanh x."""

    def __init__(self, layer: layers.Layer, space: Space) -> None:
        super().__init__(layer, space)
        self.slope = space.passing()

    def forward(self, x: Array, at: int) -> Array:
        """Return tanh x."""
        self.y[at] = np.tanh(x, out=x)
        return x

    def backward(self, g: Array, at: int) -> Array:
        """Multiply by 1 - y²."""
        slope = np.multiply(self.y[at], self.y[at], out=self.slope[at])
        np.subtract(1, slope, out=slope)
        return np.multiply(g, slope, out=g)


class SigmoidTwin(TanhTwin):
    """½ + ½ tanh(x/2)."""

    def forward(self, x: Array, at: int) -> Array:
        """Return the sigmoid of x."""
        x *= 0.5
        np.tanh(x, out=x)
        x *= 0.5
        x += 0.5
        self.y[at] = x
        return x

    def backward(self, g: Array, at: int) -> Array:
        """Multiply by y (1 - y)."""
        slope = np.subtract(1, self.y[at], out=self.slope[at])
        slope *= self.y[at]
        return np.multiply(g, slope, out=g)


class GELUTwin(Twin):
    """½ x (1 + t), t = tanh(c (x + a x³)); the slope is computed on the way forward."""

    def __init__(self, layer: layers.Layer, space: Space) -> None:
        super().__init__(layer, space)
        self.slope, self.t, self.rest = space.kept(), space.passing(), space.passing()

    def forward(self, x: Array, at: int) -> Array:
        """Return GELU(x), keeping ½ (1 + t + x (1 - t²) c (1 + 3 a x²))."""
        c, a = layers.GELU.C, layers.GELU.A
        slope, t, rest = self.slope[at], self.t[at], self.rest[at]
        np.multiply(x, x, out=slope)
        np.multiply(slope, c * a, out=t)
        t += c
        t *= x
        np.tanh(t, out=t)
        slope *= 3 * c * a
        slope += c
        slope *= x
        np.multiply(t, t, out=rest)
        np.subtract(1, rest, out=rest)
        slope *= rest
        t += 1
        slope += t
        slope *= 0.5
        t *= 0.5
        return np.multiply(x, t, out=x)

    def backward(self, g: Array, at: int) -> Array:
        """Multiply by the slope."""
        return np.multiply(g, self.slope[at], out=g)


class DropoutTwin(Twin):
    """A fresh mask of 0 and 1 / (1 - p), from the layer's own generator."""

    def __init__(self, layer: layers.Dropout, space: Space) -> None:
        super().__init__(layer, space)
        self.whole = space.array()
        self.y, self.mask, self.keep = space.parts(self.whole), space.kept(), space.passing(bool)
        self.drawn = np.empty(space.widest * space.n, np.float32)

    def forward(self, x: Array, at: int) -> Array:
        """Return x times a mask, the same one that the plain layer would draw, unit by unit."""
        p, one = self.layer.p, x.dtype.type(1)
        drawn = self.drawn[: x.size].reshape(x.shape[::-1])  # (h, n)
        self.layer.rng.random(dtype=np.float32, out=drawn)
        keep = np.greater_equal(drawn.T, np.float32(p), out=self.keep[at])
        mask = np.multiply(keep, one / x.dtype.type(1 - p), out=self.mask[at])
        return np.multiply(x, mask, out=self.y[at])  # x itself is still needed

    def backward(self, g: Array, at: int) -> Array:
        """Multiply by the mask of the forward pass."""
        return np.multiply(g, self.mask[at], out=g)


class BatchNormTwin(Twin):
    """γ x̂ + β from the batch's own statistics, which the layer remembers."""

    def __init__(self, layer: layers.BatchNorm, space: Space, products: Products) -> None:
        super().__init__(layer, space)
        self.products = products
        self.gamma, self.beta = (space.parts(layer.parameters[name]) for name in ("gamma", "beta"))
        self.centred, self.product = space.kept(), space.passing()
        self.gradients = {name: np.zeros(space.width, space.dtype) for name in ("gamma", "beta")}
        self.along, self.down = (space.parts(array) for array in self.gradients.values())
        self.mean, self.scale, self.slope = (
            space.parts(np.zeros(space.width, space.dtype)) for _ in range(3)
        )

    def forward(self, x: Array, at: int) -> Array:
        """Return γ x̂ + β, with x̂ = (x - μ) s and s = 1 / √(σ² + ε)."""
        mean, scale, slope = self.mean[at], self.scale[at], self.slope[at]
        self._mean(x, mean)
        centred = np.subtract(x, mean, out=self.centred[at])
        self._mean(np.multiply(centred, centred, out=x), scale)
        self.layer.remember(len(x), mean, scale, self.space.blocks[at])
        scale += self.layer.EPSILON
        np.sqrt(scale, out=scale)
        np.divide(1, scale, out=scale)  # s
        np.multiply(self.gamma[at], scale, out=slope)
        np.multiply(centred, slope, out=x)
        x += self.beta[at]
        return x

    def _mean(self, x: Array, out: Array) -> None:
        self.products.add_sums(x, out, 1 / len(x))

    def backward(self, g: Array, at: int) -> Array:
        """Return γ s (g - mean(g) - x̂ mean(g x̂)), from (x - μ) in place of x̂."""
        along, down, scale = self.along[at], self.down[at], self.scale[at]
        centred, product = self.centred[at], self.product[at]
        self._mean(np.multiply(g, centred, out=product), along)
        self._mean(g, down)
        along *= scale  # mean(g x̂), the gradient of γ; that of β is mean(g)
        scale *= along
        scale *= self.slope[at]
        np.multiply(centred, scale, out=product)  # γ s x̂ mean(g x̂)
        g -= down
        g *= self.slope[at]
        g -= product
        return g


TWINS: dict[type, type[Twin]] = {
    layers.ReLU: ReLUTwin,
    layers.LeakyReLU: LeakyReLUTwin,
    layers.Tanh: TanhTwin,
    layers.Sigmoid: SigmoidTwin,
    layers.GELU: GELUTwin,
    layers.Dropout: DropoutTwin,
}
