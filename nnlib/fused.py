"""The training step without waste: what `network` and `optim` say, into arrays made once.

The plain layers are written to be read, and make a new array for every result. A small net spends
more time on that than on arithmetic. Here each layer has a twin that computes the same numbers
into buffers which are reused, in place where it can, and with the matrix products of SciPy's BLAS,
which can add their result to what is there: the gradient of a weight matrix is then never formed,
but goes straight into the weights (SGD) or the velocity (momentum). Tests hold both paths equal.

With the gradient G = ∂loss/∂y of a linear layer and n rows, one product does it all:
    plain SGD   W ← (1 - ηλ) W - η/n Xᵀ G
    momentum    V ← μ V + 1/n Xᵀ G, then V ← V + λ W and W ← W - η V
"""

import itertools
import math

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
        """Compute out ← alpha a b + beta out for arrays that are C-contiguous or transposed.

        BLAS counts columns first: it is given outᵀ = bᵀ aᵀ, which moves no data.
        """
        (first, turn_first), (second, turn_second) = _columns_first(b), _columns_first(a)
        self.gemm(alpha, first, second, beta, out.T, turn_first, turn_second, 1)
        return out

    def add_sums(self, g: Array, out: Array, alpha: float = 1.0, beta: float = 0.0) -> None:
        """Compute out ← alpha Σₙ gₙ + beta out, the sum over the rows of g (n, H), out (H,)."""
        columns, turn = _columns_first(g)
        self.gemv(alpha, columns, self.ones[: len(g)], beta, out, 0, 1, 0, 1, turn, 1)

    def add_scaled(self, x: Array, out: Array, factor: float) -> None:
        """Compute out ← out + factor x in one pass; both contiguous, of any shape."""
        self.axpy(x.reshape(-1), out.reshape(-1), None, factor)


def _columns_first(matrix: Array) -> tuple[Array, int]:
    """Return a view of matrixᵀ with columns contiguous, and 1 if BLAS must transpose it."""
    return (matrix.T, 0) if matrix.flags.c_contiguous else (matrix, 1)


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


class Twin:
    """A layer that computes in place: `forward` and `backward` overwrite what they are given."""

    def __init__(self, layer: layers.Layer, shape: tuple[int, int], dtype: np.dtype) -> None:
        self.layer, self.flags = layer, np.empty(shape, bool)
        self.first, self.second, self.third = (np.empty(shape, dtype) for _ in range(3))

    def forward(self, x: Array) -> Array:
        """Return the layer's output for x (n, D), overwriting x."""
        raise NotImplementedError

    def backward(self, g: Array) -> Array:
        """Return ∂loss/∂x from ∂loss/∂y, overwriting it."""
        raise NotImplementedError


class LinearTwin(Twin):
    """y = x W + b; the rule learns from G as it passes."""

    def __init__(self, layer: layers.Linear, rows: int, number: int, rule: "Rule") -> None:
        self.w, self.b = layer.parameters["W"], layer.parameters["b"]
        inputs, outputs = self.w.shape
        self.y, self.part = np.empty((2, rows, outputs), self.w.dtype)
        self.gx = np.empty((rows, inputs), self.w.dtype) if number > 1 else None
        count = math.ceil(rows * self.w.size / SMALL) if rows <= FEW_ROWS else 1
        edges = np.linspace(0, inputs, count + 1).astype(int)
        pieces = [slice(a, b) for a, b in itertools.pairwise(edges.tolist())]
        self.pieces = [(piece, self.w[piece]) for piece in pieces]
        self.number, self.rule = number, rule

    def forward(self, x: Array) -> Array:
        """Return x W + b in a buffer of its own: Σ over the pieces of D, then the bias."""
        self.x, n = x, len(x)  # (n, D)
        y, multiply = self.y[:n], self.rule.products.multiply  # (n, H)
        (piece, w), *others = self.pieces
        multiply(x[:, piece], w, y)
        for piece, w in others:
            y += multiply(x[:, piece], w, self.part[:n])
        y += self.b
        return y

    def backward(self, g: Array) -> Array | None:
        """Learn from g (n, H); return g Wᵀ (n, D), W as it was, or None for the first layer."""
        gx = None
        if self.gx is not None:
            gx = self.rule.products.add_product(g, self.w.T, self.gx[: len(g)])
        self.rule.matrix(f"W{self.number}", self.w, self.x, g)
        self.rule.bias(f"b{self.number}", self.b, g)
        return gx


class ReLUTwin(Twin):
    """max(0, x)."""

    def __init__(self, layer: layers.Layer, shape: tuple[int, int], dtype: np.dtype) -> None:
        super().__init__(layer, shape, dtype)
        self.first[:] = 0  # NumPy compares two arrays four times as fast as array and number

    def forward(self, x: Array) -> Array:
        """Return max(0, x)."""
        self.y = np.maximum(x, self.first[: len(x)], out=x)
        return x

    def backward(self, g: Array) -> Array:
        """Pass the gradient where the unit was on."""
        on = np.greater(self.y, self.first[: len(g)], out=self.flags[: len(g)])
        return np.multiply(g, on, out=g)


class LeakyReLUTwin(Twin):
    """x where x > 0, else a x."""

    def forward(self, x: Array) -> Array:
        """Return max(x, a x), which has the sign of x."""
        below = np.multiply(x, layers.LEAKY_SLOPE, out=self.first[: len(x)])
        self.y = np.maximum(x, below, out=x)
        return x

    def backward(self, g: Array) -> Array:
        """Scale by a where the output is not above 0."""
        off = np.less_equal(self.y, 0, out=self.flags[: len(g)])
        return np.multiply(g, layers.LEAKY_SLOPE, out=g, where=off)


class TanhTwin(Twin):
    """tanh x."""

    def forward(self, x: Array) -> Array:
        """Return tanh x."""
        self.y = np.tanh(x, out=x)
        return x

    def backward(self, g: Array) -> Array:
        """Multiply by 1 - y²."""
        slope = np.multiply(self.y, self.y, out=self.first[: len(g)])
        np.subtract(1, slope, out=slope)
        return np.multiply(g, slope, out=g)


class SigmoidTwin(Twin):
    """½ + ½ tanh(x/2)."""

    def forward(self, x: Array) -> Array:
        """Return the sigmoid of x."""
        x *= 0.5
        np.tanh(x, out=x)
        x *= 0.5
        x += 0.5
        self.y = x
        return x

    def backward(self, g: Array) -> Array:
        """Multiply by y (1 - y)."""
        slope = np.subtract(1, self.y, out=self.first[: len(g)])
        slope *= self.y
        return np.multiply(g, slope, out=g)


class GELUTwin(Twin):
    """½ x (1 + t), t = tanh(c (x + a x³)); the slope is computed on the way forward."""

    def forward(self, x: Array) -> Array:
        """Return GELU(x), keeping ½ (1 + t + x (1 - t²) c (1 + 3 a x²))."""
        c, a, n = layers.GELU.C, layers.GELU.A, len(x)
        t, slope, rest = self.first[:n], self.second[:n], self.third[:n]
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
        self.slope = slope
        t *= 0.5
        return np.multiply(x, t, out=x)

    def backward(self, g: Array) -> Array:
        """Multiply by the slope."""
        return np.multiply(g, self.slope, out=g)


class DropoutTwin(Twin):
    """A fresh mask of 0 and 1 / (1 - p), from the layer's own generator."""

    def __init__(self, layer: layers.Dropout, shape: tuple[int, int], dtype: np.dtype) -> None:
        super().__init__(layer, shape, dtype)
        self.drawn = np.empty(shape, np.float32)

    def forward(self, x: Array) -> Array:
        """Return x times a mask, the same one that the plain layer would draw."""
        p, n = self.layer.p, len(x)
        drawn = self.layer.rng.random(dtype=np.float32, out=self.drawn[:n])
        keep = np.greater_equal(drawn, np.float32(p), out=self.flags[:n])
        self.mask = np.multiply(keep, x.dtype.type(1) / x.dtype.type(1 - p), out=self.first[:n])
        return np.multiply(x, self.mask, out=self.second[:n])  # x itself is still needed

    def backward(self, g: Array) -> Array:
        """Multiply by the mask of the forward pass."""
        return np.multiply(g, self.mask, out=g)


class BatchNormTwin(Twin):
    """γ x̂ + β from the batch's own statistics, which the layer remembers."""

    def __init__(self, layer: layers.BatchNorm, rows: int, number: int, rule: "Rule") -> None:
        shape, dtype = (rows, len(layer.parameters["beta"])), layer.parameters["beta"].dtype
        super().__init__(layer, shape, dtype)
        self.number, self.rule = number, rule
        self.gamma, self.beta = layer.parameters["gamma"], layer.parameters["beta"]
        self.mean, self.scale, self.slope, self.along, self.down = (
            np.zeros(shape[1], dtype) for _ in range(5)
        )

    def forward(self, x: Array) -> Array:
        """Return γ x̂ + β, with x̂ = (x - μ) s and s = 1 / √(σ² + ε)."""
        self._mean(x, self.mean)
        self.centred = np.subtract(x, self.mean, out=self.first[: len(x)])
        self._mean(np.multiply(self.centred, self.centred, out=x), self.scale)
        self.layer.remember(len(x), self.mean, self.scale)
        self.scale += self.layer.EPSILON
        np.sqrt(self.scale, out=self.scale)
        np.divide(1, self.scale, out=self.scale)  # s
        np.multiply(self.gamma, self.scale, out=self.slope)
        np.multiply(self.centred, self.slope, out=x)
        x += self.beta
        return x

    def _mean(self, x: Array, out: Array) -> None:
        self.rule.products.add_sums(x, out, 1 / len(x))

    def backward(self, g: Array) -> Array:
        """Learn γ and β; return γ s (g - mean(g) - x̂ mean(g x̂)), from (x - μ) in place of x̂."""
        product = self.second[: len(g)]
        self._mean(np.multiply(g, self.centred, out=product), self.along)
        self._mean(g, self.down)
        self.along *= self.scale  # mean(g x̂), the gradient of γ
        self.scale *= self.along
        self.scale *= self.slope
        np.multiply(self.centred, self.scale, out=product)  # γ s x̂ mean(g x̂)
        g -= self.down
        g *= self.slope
        g -= product
        self.rule.vector(f"gamma{self.number}", self.gamma, self.along)
        self.rule.vector(f"beta{self.number}", self.beta, self.down)
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
        self.twins = list(self._twins(rows))
        self.error = np.empty(rows * model.sizes[-1], model.dtype)
        self.row = np.empty(rows, model.dtype)

    def _twins(self, rows: int):
        number, width = 0, self.model.sizes[0]
        for layer in self.model.layers:
            if isinstance(layer, layers.Linear):
                number, width = number + 1, layer.parameters["W"].shape[1]
                yield LinearTwin(layer, rows, number, self.rule)
            elif isinstance(layer, layers.BatchNorm):
                yield BatchNormTwin(layer, rows, number, self.rule)
            else:
                yield TWINS[type(layer)](layer, (rows, width), self.model.dtype)

    def __call__(self, x: Array, targets: Array, lr: float) -> Array:
        """Learn from x (n, D) and targets (n, K) at rate lr; return the logits (n, K).

        The logits stand in a buffer that the next call overwrites.
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
        self.rule.lr = lr
        for twin in self.twins:
            x = twin.forward(x)
        g = self._error(x, targets)
        for twin in reversed(self.twins):
            if (g := twin.backward(g)) is None:
                break  # below the first linear layer there is nothing to learn
        return x

    def finish(self, lr: float) -> None:
        """Let the optimiser use the gradients that were kept, if the rule has not done so."""
        if type(self.rule) is not Rule:
            self.optimizer.steps += 1
            return
        _take(self.model, self.optimizer, self.gradients, self.clip_norm, lr)

    def _error(self, logits: Array, targets: Array) -> Array:
        """Return softmax(logits) - targets, n times the gradient of the loss: (n, K).

        Computed as (K, n), along whose rows NumPy is several times as fast as along a few columns.
        """
        n, k = logits.shape
        p, row = self.error[: k * n].reshape(k, n), self.row[:n]
        np.copyto(p, logits.T)
        np.maximum.reduce(p, axis=0, out=row)
        np.subtract(p, row, out=p)
        np.exp(p, out=p)
        np.add.reduce(p, axis=0, out=row)
        np.divide(p, row, out=p)
        np.subtract(p, targets.T, out=p)
        return p.T


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
