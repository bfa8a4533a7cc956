"""The training step without waste: what `network` and `optim` say, into arrays made once.

The plain layers are written to be read, and make a new array for every result. A small net spends
more time on that than on arithmetic. Here the same numbers are computed into arrays that are used
again, a twin (see `twins`) in place of each layer. Four things make it fast:

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

from nnlib import layers, optim
from nnlib.engine.blas import Products
from nnlib.engine.twins import TWINS, BatchNormTwin, BiasTwin, DropoutTwin, Space, Twin
from nnlib.losses import softmax
from nnlib.network import MLP

# OpenBLAS multiplies up to a million pairs of numbers without first copying its operands, which
# for few rows takes a third less time; where it has no such way, pieces cost a twentieth more.
SMALL, FEW_ROWS = 10**6, 32
WIDE = 2**17  # numbers in a hidden layer's array from which one thread, too, wants it unit by unit
Array = np.ndarray


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


# ---------------------------------------------------------------- the way through the net


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
