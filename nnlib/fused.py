"""The training step without waste: what `network` and `optim` say, into arrays made once.

The plain layers are written to be read, and make a new array for every result. A small net spends
more time on that than on arithmetic. Here each layer has a twin that computes the same numbers
into arrays which are used again, in place where it can. Four things make it fast:

- SciPy's BLAS adds a product to what is there, so the gradient of a weight matrix is never formed:
  it goes straight into the weights (SGD) or the velocity (momentum). With G = ∂loss/∂y of a
  linear layer and n rows, one product does it all:
      plain SGD   W ← (1 - ηλ) W - η/n Xᵀ G
      momentum    V ← μ V + 1/n Xᵀ G, then V ← V + λ W and W ← W - η V
- What stands between two products, from bias to dropout, looks at each unit by itself. It is
  computed block by block of units, so that a block passes all of it in a core's own cache.
- Where the net is wide, or two threads share a product, arrays of shape (n, H) lie in memory unit
  by unit, (H, n): two threads then multiply up to a third faster, and a block is contiguous.
- NumPy's own quirks are humoured; comments say where.

Tests hold both paths equal.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.linalg import get_blas_funcs

from nnlib import layers, optim
from nnlib.losses import softmax
from nnlib.network import MLP

Array = np.ndarray


# OpenBLAS multiplies up to a million pairs of numbers without first copying its operands, which
# for few rows takes a third less time; where it has no such way, pieces cost a twentieth more.
SMALL, FEW_ROWS = 10**6, 32
LARGE = 3 * 10**6  # multiplications from which a product is worth a second thread
WIDE = 2**17  # numbers in a hidden layer's array from which one thread, too, wants it unit by unit
BLOCK = 2**15  # numbers in a block: with what is computed from it, it fits a core's own cache


class Products:
    """Matrix products of one float type that write, or add, into an existing array."""

    def __init__(self, dtype: np.dtype, threads: int, rows: int) -> None:
        self.gemm, self.gemv, self.axpy = get_blas_funcs(("gemm", "gemv", "axpy"), dtype=dtype)
        self.threads, self.ones = threads, np.ones(rows, dtype)

    def multiply(self, a: Array, b: Array, out: Array) -> Array:
        """Compute out ← a b."""
        if self.threads > 1 and a.size * b.shape[1] > LARGE:
            return self.add_product(a, b, out)
        return np.matmul(a, b, out=out)  # quicker to call, on one thread

    def add_product(
        self, a: Array, b: Array, out: Array, alpha: float = 1.0, beta: float = 0.0
    ) -> Array:
        """Compute out ← alpha a b + beta out for arrays that are contiguous or transposed.

        BLAS counts columns first: else it is given outᵀ = bᵀ aᵀ, which moves no data.
        """
        c = out
        if not c.flags.f_contiguous:
            a, b, c = b.T, a.T, out.T
        (first, turn_first), (second, turn_second) = _columns_first(a), _columns_first(b)
        self.gemm(alpha, first, second, beta, c, turn_first, turn_second, 1)
        return out

    def add_sums(self, g: Array, out: Array, alpha: float = 1.0, beta: float = 0.0) -> None:
        """Compute out ← alpha Σₙ gₙ + beta out, the sum over the rows of g (n, H), out (H,)."""
        columns, turn = _columns_first(g)
        self.gemv(alpha, columns, self.ones[: len(g)], beta, out, 0, 1, 0, 1, 1 - turn, 1)

    def add_scaled(self, x: Array, out: Array, factor: float) -> None:
        """Compute out ← out + factor x in one pass; both contiguous, of any shape."""
        self.axpy(x.reshape(-1), out.reshape(-1), None, factor)


def _columns_first(matrix: Array) -> tuple[Array, int]:
    """Return the matrix, or its transpose and 1, whichever has its columns contiguous."""
    return (matrix, 0) if matrix.flags.f_contiguous else (matrix.T, 1)


# ---------------------------------------------------------------- what becomes of gradients


class Rule:
    """What becomes of gradients: kept here, for the optimiser to use when all are there."""

    def __init__(self, optimizer: optim.Optimizer, products: Products) -> None:
        self.optimizer, self.products, self.lr = optimizer, products, optimizer.lr
        self.gradients: dict[str, Array] = {}

    def matrix(self, name: str, w: Array, x: Array, g: Array) -> None:
        """Keep ∂W = 1/n xᵀ g."""
        if name not in self.gradients:
            self.gradients[name] = np.empty_like(w)
        self.products.add_product(x.T, g, self.gradients[name], 1 / len(g))

    def bias(self, name: str, b: Array, g: Array) -> None:
        """Keep ∂b = 1/n Σ g."""
        if name not in self.gradients:
            self.gradients[name] = np.zeros_like(b)
        self.products.add_sums(g, self.gradients[name], 1 / len(g))

    def vector(self, name: str, w: Array, g: Array) -> None:
        """Keep the gradient g of γ or β."""
        self.gradients[name] = g


class SGDRule(Rule):
    """Plain SGD, the gradient added to the weights as it is computed."""

    def matrix(self, name: str, w: Array, x: Array, g: Array) -> None:
        """Compute W ← (1 - ηλ) W - η/n xᵀ g."""
        shrink = 1 - self.lr * self.optimizer.weight_decay
        self.products.add_product(x.T, g, w, -self.lr / len(g), shrink)

    def bias(self, name: str, b: Array, g: Array) -> None:
        """Compute b ← b - η/n Σ g."""
        self.products.add_sums(g, b, -self.lr / len(g), 1.0)

    def vector(self, name: str, w: Array, g: Array) -> None:
        """Compute w ← w - η g."""
        self.products.add_scaled(g, w, -self.lr)


class MomentumRule(Rule):
    """SGD with momentum, the gradient added to the velocity as it is computed."""

    def matrix(self, name: str, w: Array, x: Array, g: Array) -> None:
        """Compute V ← μ V + 1/n xᵀ g, V ← V + λ W, W ← W - η V."""
        v = self.optimizer.memory("velocity", name, w)
        self.products.add_product(x.T, g, v, 1 / len(g), self.optimizer.momentum)
        if self.optimizer.weight_decay:
            self.products.add_scaled(w, v, self.optimizer.weight_decay)
        self.products.add_scaled(v, w, -self.lr)

    def bias(self, name: str, b: Array, g: Array) -> None:
        """Compute v ← μ v + 1/n Σ g, b ← b - η v."""
        v = self.optimizer.memory("velocity", name, b)
        self.products.add_sums(g, v, 1 / len(g), self.optimizer.momentum)
        self.products.add_scaled(v, b, -self.lr)

    def vector(self, name: str, w: Array, g: Array) -> None:
        """Compute v ← μ v + g, w ← w - η v."""
        v = self.optimizer.memory("velocity", name, w)
        v *= self.optimizer.momentum
        v += g
        self.products.add_scaled(v, w, -self.lr)


def rule_for(optimizer: optim.Optimizer, products: Products, whole: bool) -> Rule:
    """Return the rule for an optimiser; `whole` where the gradients are wanted all together."""
    if type(optimizer) is not optim.SGD or optimizer.nesterov or whole:
        return Rule(optimizer, products)
    return (MomentumRule if optimizer.momentum else SGDRule)(optimizer, products)


# ---------------------------------------------------------------- between two products


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


def knows(model: MLP) -> bool:
    """Tell whether every layer is one of ours, and not a subclass that may compute otherwise."""
    return all(type(layer) in {layers.Linear, layers.BatchNorm, *TWINS} for layer in model.layers)


class Stage:
    """A matrix product, and all that follows it up to the next one, for batches of n.

    Without a linear layer it is what the inputs go through before the first.
    """

    def __init__(
        self, linear: layers.Linear | None, others: Sequence[layers.Layer], number: int,
        space: Space, rule: Rule,
    ) -> None:  # fmt: skip
        self.space, self.rule, self.number = space, rule, number
        twins = [self._twin(layer) for layer in others]
        self.norms = [twin for twin in twins if isinstance(twin, BatchNormTwin)]
        self.product = Product(linear, number, space, rule) if linear else None
        bias = [BiasTwin(linear, space)] if linear else []
        self.forwards = [twin.forward for twin in bias + twins]
        self.backwards = [twin.backward for twin in reversed(twins)]
        dropped = [twin.whole for twin in twins if isinstance(twin, DropoutTwin)]
        self.out = dropped[-1] if dropped else self.product.y

    def _twin(self, layer: layers.Layer) -> Twin:
        if isinstance(layer, layers.BatchNorm):
            return BatchNormTwin(layer, self.space, self.rule.products)
        return TWINS[type(layer)](layer, self.space)

    def forward(self, x: Array) -> Array:
        """Return the stage's output for x (n, D)."""
        if self.product:
            x = self.product.forward(x)
        for at, part in enumerate(self.space.parts(x)):
            for forward in self.forwards:
                part = forward(part, at)
        return self.out

    def backward(self, g: Array) -> Array | None:
        """Learn from ∂loss/∂output; return ∂loss/∂x, or None where nothing below learns."""
        for at, part in enumerate(self.space.parts(g)):
            for backward in self.backwards:
                part = backward(part, at)
        for norm in self.norms:
            for name, gradient in norm.gradients.items():
                self.rule.vector(f"{name}{self.number}", norm.layer.parameters[name], gradient)
        return self.product.backward(g)


class Product:
    """y = x W; the rule learns from G as it passes."""

    def __init__(self, layer: layers.Linear, number: int, space: Space, rule: Rule) -> None:
        self.w, self.b = layer.parameters["W"], layer.parameters["b"]
        n, inputs = space.n, self.w.shape[0]
        self.y, self.part = space.array(), space.array()
        self.gx = space.array(width=inputs) if number > 1 else None
        count = math.ceil(n * self.w.size / SMALL) if n <= FEW_ROWS else 1
        edges = np.linspace(0, inputs, count + 1).astype(int)
        pieces = [slice(a, b) for a, b in itertools.pairwise(edges.tolist())]
        self.pieces = [(piece, self.w[piece]) for piece in pieces]
        self.number, self.rule = number, rule

    def forward(self, x: Array) -> Array:
        """Return x W, (n, H), in an array of its own: Σ over the pieces of D."""
        self.x = x  # (n, D)
        y, multiply = self.y, self.rule.products.multiply
        (piece, w), *others = self.pieces
        multiply(x[:, piece], w, y)
        for piece, w in others:
            y += multiply(x[:, piece], w, self.part)
        return y

    def backward(self, g: Array) -> Array | None:
        """Learn from g (n, H); return g Wᵀ (n, D), W as it was, or None for the first layer."""
        if self.gx is not None:
            self.rule.products.add_product(g, self.w.T, self.gx)
        self.rule.matrix(f"W{self.number}", self.w, self.x, g)
        self.rule.bias(f"b{self.number}", self.b, g)
        return self.gx


class Pass:
    """The way forward and back through a net, with arrays for batches of n alone."""

    def __init__(self, model: MLP, rule: Rule, n: int, by_unit: bool) -> None:
        self.stages = list(self._stages(model, rule, n, by_unit))
        self.trained = [stage for stage in self.stages if stage.product][::-1]
        self.error = np.empty((model.sizes[-1], n), model.dtype)
        self.row = np.empty(n, model.dtype)

    @staticmethod
    def _stages(model: MLP, rule: Rule, n: int, by_unit: bool) -> Iterator[Stage]:
        linear, others, number = None, [], 0
        for layer in [*model.layers, None]:
            if layer is not None and not isinstance(layer, layers.Linear):
                others.append(layer)
                continue
            if linear or others:
                by_unit_here = by_unit and number > 0  # the inputs come row by row
                space = Space(n, model.sizes[number], model.dtype, by_unit_here)
                yield Stage(linear, others, number, space, rule)
            linear, others, number = layer, [], number + 1

    def forward(self, x: Array) -> Array:
        """Return the logits (n, K) for x (n, D)."""
        for stage in self.stages:
            x = stage.forward(x)
        return x

    def backward(self, g: Array) -> None:
        """Learn from n ∂loss/∂logits (n, K)."""
        for stage in self.trained:
            g = stage.backward(g)

    def error_of(self, logits: Array, targets: Array) -> Array:
        """Return softmax(logits) - targets, n times the gradient of the loss: (n, K).

        Computed as (K, n), along whose rows NumPy is several times as fast as along a few columns.
        """
        p, row = self.error, self.row
        np.copyto(p, logits.T)
        np.maximum.reduce(p, axis=0, out=row)
        np.subtract(p, row, out=p)
        np.exp(p, out=p)
        np.add.reduce(p, axis=0, out=row)
        np.divide(p, row, out=p)
        np.subtract(p, targets.T, out=p)
        return p.T


# ---------------------------------------------------------------- the step


class Step:
    """One training step of a model and its optimiser on up to `rows` examples.

    Equal to forward, backward and `Optimizer.step` of the plain path, but for the order of
    rounding. In the steady state it allocates no array. With `whole` the gradients are formed, and
    may be looked at between `propagate` and `finish`, the two halves of a step.
    """

    def __init__(
        self,
        model: MLP,
        optimizer: optim.Optimizer,
        rows: int,
        threads: int = 1,
        clip_norm: float = 0.0,
        whole: bool = False,
    ) -> None:
        self.model, self.optimizer, self.clip_norm = model, optimizer, clip_norm
        products = Products(model.dtype, threads, rows)
        self.rule = rule_for(optimizer, products, bool(clip_norm) or whole)
        self.by_unit = threads > 1 or rows * max(model.sizes[1:]) >= WIDE
        self.passes: dict[int, Pass] = {}  # by batch size: the last of an epoch may be smaller

    def __call__(self, x: Array, targets: Array, lr: float) -> Array:
        """Learn from x (n, D) and targets (n, K) at rate lr; return the logits (n, K).

        The logits stand in an array that the next call overwrites.
        """
        logits = self.propagate(x, targets, lr)
        self.finish(lr)
        return logits

    @property
    def gradients(self) -> dict[str, Array]:
        """Every parameter's gradient in the last step, if `whole`; overwritten by the next."""
        return self.rule.gradients

    def propagate(self, x: Array, targets: Array, lr: float) -> Array:
        """Go forward and back, the first half of a step; return the logits."""
        self.rule.lr, n = lr, len(x)
        if n not in self.passes:
            self.passes[n] = Pass(self.model, self.rule, n, self.by_unit)
        way = self.passes[n]
        logits = way.forward(x)
        way.backward(way.error_of(logits, targets))
        return logits

    def finish(self, lr: float) -> None:
        """Let the optimiser use the gradients that were kept, if the rule has not done so."""
        if type(self.rule) is not Rule:
            self.optimizer.steps += 1
            return
        _take(self.model, self.optimizer, self.gradients, self.clip_norm, lr)


class PlainStep:
    """The same with the plain layers, for a net with a layer of the reader's own."""

    def __init__(self, model: MLP, optimizer: optim.Optimizer, clip_norm: float = 0.0) -> None:
        self.model, self.optimizer, self.clip_norm = model, optimizer, clip_norm
        self.gradients: dict[str, Array] = {}

    __call__ = Step.__call__

    def propagate(self, x: Array, targets: Array, lr: float) -> Array:
        """Go forward and back, the first half of a step; return the logits."""
        logits = self.model.forward(x, training=True)  # (n, K)
        self.gradients = self.model.backward((softmax(logits) - targets) / x.dtype.type(len(x)))
        return logits

    def finish(self, lr: float) -> None:
        """Let the optimiser use the gradients."""
        _take(self.model, self.optimizer, self.gradients, self.clip_norm, lr)


def _take(
    model: MLP,
    optimizer: optim.Optimizer,
    gradients: dict[str, Array],
    clip_norm: float,
    lr: float,
) -> None:
    if clip_norm:
        optim.clip_by_norm(gradients, clip_norm)
    optimizer.step(model.parameters, gradients, lr)
