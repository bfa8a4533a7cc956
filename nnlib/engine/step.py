"""One training step into arrays that are kept: forward, backward, and the optimiser's part.

A layer's bias is the last row of its weights, beside an input that is always one. So every rule of
learning is one product, which SciPy's BLAS adds to what is there without forming it first:

    C ← α [x 1]ᵀ G + β C        with G = n ∂loss/∂y (n, H), and the optimiser names C, α and β:

    plain SGD    C = [W; b], α = -η/n, β = 1 - ηλ
    momentum     C = V, α = 1/n, β = μ; then V ← V + λ W and [W; b] ← [W; b] - η V
    any other    C = the gradient, α = 1/n, β = 0; then the optimiser's own step

Arrays of hidden units are (H, n) here, with a row of ones below. On several threads, for few rows
and where they are large, they lie so in memory too: two threads then multiply faster, and what is
between the products has whole rows. Otherwise they lie row by row, (n, H), where products are a
little faster.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.linalg import get_blas_funcs

from nnlib import layers, optim
from nnlib.engine.units import UNITS, Batch, Scratch
from nnlib.network import MLP

LARGE = 2**17  # numbers in a hidden array from which it lies unit by unit on one thread, too
SMALL, FEW_ROWS = 10**6, 32  # multiplications that OpenBLAS does without copying its operands first
Array = np.ndarray
Arrays = dict[str, Array]
Product = Callable[[float, float], Array]  # of α and β


def knows(model: MLP) -> bool:
    """Tell whether every layer is one of ours, and not a subclass that may compute otherwise."""
    return all(type(layer) in {layers.Linear, *UNITS} for layer in model.layers)


def _product(gemm: Callable, a: Array, b: Array, c: Array) -> Product:
    """Return the function of α and β that computes c ← α a b + β c, all of them contiguous."""
    if not c.flags.f_contiguous:  # BLAS counts columns first, and cᵀ = bᵀ aᵀ moves no data
        a, b, c = b.T, a.T, c.T
    turn_a, turn_b = not a.flags.f_contiguous, not b.flags.f_contiguous
    a, b = a.T if turn_a else a, b.T if turn_b else b
    return lambda alpha, beta: gemm(alpha, a, b, beta, c, turn_a, turn_b, 1)


def _joined(owner: Arrays, upper: str, lower: str) -> Array:
    """Return W and b of those names as one array (D + 1, H), of which they become views."""
    w, b = owner[upper], owner[lower]
    both = w.base
    if both is None or both is not b.base or both.shape != (len(w) + 1, len(b)):
        both = np.vstack([w, b])
        owner[upper], owner[lower] = both[:-1], both[-1]
    return both


def _cut(length: int, work: int, most: int) -> list[slice]:
    """Cut a range into slices of one size or nearly so, each with at most so much of its work."""
    edges = np.linspace(0, length, min(length, -(-work // most)) + 1).astype(int).tolist()
    return [slice(start, end) for start, end in pairwise(edges)]


class Weights:
    """The weights of a linear layer, and what becomes of their gradient.

    `rule` is SGD, or None where the gradient is kept for whoever wants all of them together;
    `gradients` are those that no product uses.
    """

    def __init__(
        self, model: MLP, layer: layers.Linear, number: int, rule: optim.SGD | None
    ) -> None:
        names, own = (f"W{number}", f"b{number}"), model.parameters
        self.rule, self.both = rule, _joined(own, *names)  # (D + 1, H)
        self.w, self.b = (own[name] for name in names)
        layer.parameters = {"W": self.w, "b": self.b}
        self.c = self.both if rule else np.zeros_like(self.both)
        self.vectors = {kind: np.zeros_like(self.b) for kind in ("gamma", "beta")}  # of BatchNorm
        kept = {f"{kind}{number}": gradient for kind, gradient in self.vectors.items()}
        if rule is None:
            kept |= {names[0]: self.c[:-1], names[1]: self.c[-1]}
        self.gradients = {name: kept[name] for name in kept if name in own}
        if rule and rule.momentum:
            for name in names:
                rule.memory("velocity", name, own[name])
            self.c = _joined(rule.state, *(f"velocity.{name}" for name in names))
        self.gemm, self.axpy = get_blas_funcs(("gemm", "axpy"), [self.both])

    def learn(self, product: Product, n: int, lr: float) -> None:
        """Use the gradient of a batch: `product` adds α [x 1]ᵀ G to β C."""
        if self.rule is None:
            product(1 / n, 0.0)
        elif self.rule.momentum:
            product(1 / n, self.rule.momentum)
            if self.rule.weight_decay:
                velocity = self.c[:-1].reshape(-1)
                self.axpy(self.w.reshape(-1), velocity, None, self.rule.weight_decay)
            self.axpy(self.c.reshape(-1), self.both.reshape(-1), None, -lr)
        else:
            shrink = lr * self.rule.weight_decay
            pull = self.b * self.b.dtype.type(shrink) if shrink else 0.0
            product(-lr / n, 1 - shrink)
            if shrink:  # it is for W alone
                self.b += pull


class Pass:
    """The way forward and back through a net for batches of n: calls, in order, on arrays kept."""

    def __init__(self, model: MLP, weights: list[Weights], n: int, threads: int) -> None:
        self.n, self.threads, self.scratch = n, threads, Scratch()
        large = n * max(model.sizes[1:]) >= LARGE
        self.by_unit = threads > 1 or n <= FEW_ROWS or large
        self.forwards: list[Callable[[], Any]] = []
        self.backwards: list[Callable[[], Any]] = []  # in the order of the forwards
        linear = [k for k, each in enumerate(model.layers) if isinstance(each, layers.Linear)]
        ends = pairwise([-1, *linear, len(model.layers)])
        before, *groups = [model.layers[start + 1 : end] for start, end in ends]
        x = np.ones((n, model.sizes[0] + 1), model.dtype).T
        self.inputs, self.lr = x[:-1].T, 0.0
        below: Any = None  # the place of n ∂loss/∂x, which the first layer does not need
        self._add_units(before, Batch(x[:-1], x[:-1], x[:-1], {}, self.scratch))
        self.backwards.clear()  # nothing below learns
        for w, group in zip(weights, groups, strict=True):
            x, below = self._add(w, group, x, below)
        self.logits, self.error = x[:-1], below  # (K, n)

    def _add(
        self, w: Weights, group: list[layers.Layer], x: Array, below: Array | None
    ) -> tuple[Array, Array]:
        """Add a product, and all that follows it up to the next.

        `x` (D + 1, n) is its input and `below` (D, n) the place of n ∂loss/∂x, None where nothing
        needs it. Returns its output (H + 1, n), and the place of n ∂loss/∂output (H, n).
        """
        y = np.ones((len(w.b) + 1, self.n), w.b.dtype, order="C" if self.by_unit else "F")
        dropped = any(isinstance(layer, layers.Dropout) for layer in group)
        z, g = (np.empty_like(y) if dropped else y)[:-1], np.empty_like(y[:-1])
        product = _product(w.gemm, x, g.T, w.c)
        self.forwards.append(self._multiply(w, x, z))
        self.backwards.append(lambda: w.learn(product, self.n, self.lr))
        if below is not None:
            self.backwards.append(partial(_product(w.gemm, w.w, g, below), 1.0, 0.0))
        self._add_units(group, Batch(z, y[:-1], g, w.vectors, self.scratch))
        return y, g

    def _add_units(self, group: list[layers.Layer], batch: Batch) -> None:
        for layer in group:
            forward, backward = UNITS[type(layer)](layer, batch)
            self.forwards.append(forward)
            self.backwards.append(backward)

    def _multiply(self, w: Weights, x: Array, z: Array) -> Callable[[], Any]:
        """Return the call that computes z ← [W; b]ᵀ x, (H, D + 1) (D + 1, n)."""
        if self.threads > 1:
            return partial(_product(w.gemm, w.both.T, x, z), 1.0, 0.0)
        work = x.size * len(z) if self.n <= FEW_ROWS else 1
        first, *others = [(w.both.T[:, piece], x[piece]) for piece in _cut(len(x), work, SMALL)]
        part = self.scratch("part", z)

        def multiply() -> None:
            np.matmul(*first, out=z)
            for piece in others:
                np.add(z, np.matmul(*piece, out=part), out=z)

        return multiply

    def __call__(self, x: Array, targets: Array, lr: float, weights: Array | None) -> Array:
        """Go forward and back with x (n, D), targets (n, K) and weights (n,), whose mean is 1.

        Returns the logits (n, K).
        """
        np.copyto(self.inputs, x)
        self.lr = lr
        for forward in self.forwards:
            forward()
        self._compare(targets.T)
        if weights is not None:
            np.multiply(self.error, weights, out=self.error)
        for backward in reversed(self.backwards):
            backward()
        return self.logits.T

    def _compare(self, targets: Array) -> None:
        """Compute softmax(logits) - targets, n times the gradient of the loss: (K, n)."""
        p = self.scratch("p", np.empty(self.error.shape, self.error.dtype))  # fast along its rows
        row = self.scratch("row", p[0])
        np.copyto(p, self.logits)
        np.subtract(p, np.maximum.reduce(p, axis=0, out=row), out=p)
        np.exp(p, out=p)
        np.divide(p, np.add.reduce(p, axis=0, out=row), out=p)
        np.subtract(p, targets, out=self.error)


class Step:
    """One training step of a model and its optimiser, on batches of any size.

    Equal to forward, backward and `Optimizer.step` of the plain path, but for the order of
    rounding; in the steady state it allocates no array of a batch's size. `gradients` are those
    that no product has used: with `whole`, all of them, to be looked at between the two halves of
    a step, `propagate` and `finish`.
    """

    def __init__(
        self, model: MLP, optimizer: optim.Optimizer, threads: int = 1, whole: bool = False
    ) -> None:
        self.model, self.optimizer, self.threads = model, optimizer, threads
        rule: optim.SGD | None = None  # which has its part in the products themselves
        if type(optimizer) is optim.SGD and not (optimizer.nesterov or whole):
            rule = optimizer
        linear = [layer for layer in model.layers if isinstance(layer, layers.Linear)]
        self.weights = [
            Weights(model, layer, number, rule) for number, layer in enumerate(linear, start=1)
        ]
        self.gradients = {name: g for w in self.weights for name, g in w.gradients.items()}
        self.parameters = {name: model.parameters[name] for name in self.gradients}
        self.passes: dict[int, Pass] = {}  # by batch size: the last of an epoch may be smaller

    def propagate(self, x: Array, targets: Array, lr: float, weights: Array | None = None) -> Array:
        """Go forward and back with x (n, D), targets (n, K) and weights (n,), whose mean is 1.

        Returns the logits (n, K), in an array that the next call overwrites.
        """
        if (n := len(x)) not in self.passes:
            self.passes[n] = Pass(self.model, self.weights, n, self.threads)
        return self.passes[n](x, targets, lr, weights)

    def finish(self, lr: float, clip_norm: float = 0.0) -> None:
        """Let the optimiser use the gradients that were kept; to clip takes `whole`."""
        self.optimizer.step(self.parameters, self.gradients, lr, clip_norm)
