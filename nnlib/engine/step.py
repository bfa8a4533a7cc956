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

import copy
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from nnlib import layers, optim
from nnlib.engine import blas
from nnlib.engine.threads import Crew, crew
from nnlib.engine.units import UNITS, Batch, Scratch
from nnlib.network import MLP

LARGE = 2**17  # numbers in a hidden array from which it lies unit by unit on one thread, too
SMALL, FEW_ROWS = 10**6, 32  # multiplications that OpenBLAS does without copying its operands first
BLOCK = 2**12  # numbers in a hidden array that are worth a thread's while
Array = np.ndarray
Arrays = dict[str, Array]
Calls = list[Callable[[], Any]]


def knows(model: MLP) -> bool:
    """Tell whether every layer is one of ours, and not a subclass that may compute otherwise."""
    return all(type(layer) in {layers.Linear, *UNITS} for layer in model.layers)


def _joined(owner: Arrays, upper: str, lower: str) -> Array:
    """Return W and b of those names as one array (D + 1, H), of which they become views."""
    w, b = owner[upper], owner[lower]
    both = w.base
    if both is None or both is not b.base or both.shape != (len(w) + 1, len(b)):
        both = np.vstack([w, b])
        owner[upper], owner[lower] = both[:-1], both[-1]
    return both


def _cut(length: int, pieces: int) -> list[slice]:
    """Cut a range into so many slices of one size or nearly so."""
    edges = np.linspace(0, length, min(length, pieces) + 1).astype(int).tolist()
    return [slice(start, end) for start, end in pairwise(edges)]


def _part(layer: layers.Layer, rows: slice) -> Any:
    """Return the layer for some of its units: what it keeps for each unit is a view."""
    part = copy.copy(layer)
    for name in ("parameters", "statistics"):
        whole = getattr(layer, name, {})
        setattr(part, name, {key: array[rows] for key, array in whole.items()})
    return part


def _in_turn(calls: Calls) -> Callable[[], Any]:
    """Return one call that makes all of these, one after the other."""

    def run() -> None:
        for call in calls:
            call()

    return calls[0] if len(calls) == 1 else run


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

    def learner(self, x: Array, g: Array, units: slice) -> Callable[[float], None]:
        """Return the function of the learning rate that uses a batch's gradient, for some inputs.

        x (D + 1, n) is what the layer saw, g (H, n) n times the gradient of the loss. The last of
        the inputs takes the bias with it.
        """
        with_bias = units.stop == len(self.w)
        rows = slice(units.start, units.stop + with_bias)
        rule, n, c, both = self.rule, x.shape[1], self.c[rows], self.both[rows]
        product = blas.product(x[rows], g.T, c)
        if rule is None:
            return lambda lr: product(1 / n, 0.0)
        if rule.momentum:
            decay, move = blas.sum_of(self.w[units], self.c[units]), blas.sum_of(c, both)

            def learn(lr: float) -> None:
                product(1 / n, rule.momentum)
                if rule.weight_decay:
                    decay(rule.weight_decay)
                move(-lr)

            return learn
        bias = self.b if with_bias else self.b[:0]

        def learn_plainly(lr: float) -> None:
            shrink = lr * rule.weight_decay
            pull = bias * bias.dtype.type(shrink) if shrink else 0.0
            product(-lr / n, 1 - shrink)
            if shrink:  # it is for W alone
                np.add(bias, pull, out=bias)

        return learn_plainly


@dataclass
class Level:
    """Arrays between two products: `y` (D + 1, n) with a row of ones, and n ∂loss/∂y (D, n).

    `blocks` are slices of its units, each with the calls that lead back through them; the inputs
    of the net need no gradient.
    """

    y: Array
    g: Array | None
    blocks: list[tuple[slice, Calls]]


class Pass:
    """The way forward and back through a net for batches of n: calls, in stages, on arrays kept.

    The calls of a stage need nothing of each other, and the crew shares them out.
    """

    def __init__(self, model: MLP, weights: list[Weights], n: int, crew: Crew) -> None:
        self.n, self.crew, self.lr = n, crew, 0.0
        self.scratch = defaultdict(Scratch)  # by the number of the block
        large = n * max(model.sizes[1:]) >= LARGE
        self.by_unit = crew.threads > 1 or n <= FEW_ROWS or large
        self.forwards: Calls = []
        self.backwards: Calls = []  # in the order of the forwards
        self.drawn: dict[layers.Dropout, Array] = {}  # what each layer draws for a batch
        linear = [k for k, each in enumerate(model.layers) if isinstance(each, layers.Linear)]
        ends = pairwise([-1, *linear, len(model.layers)])
        before, *groups = [model.layers[start + 1 : end] for start, end in ends]
        x = np.ones((n, model.sizes[0] + 1), model.dtype).T
        self.inputs = x[:-1].T
        there, _ = self._units(before, x[:-1], x[:-1], x[:-1], {}, slice(None))
        self.forwards += there
        level = Level(x, None, [(rows, []) for rows in self._blocks(x[:-1])])
        for w, group in zip(weights, groups, strict=True):
            level = self._add(w, group, level)
        self.logits, self.error = level.y[:-1], level.g  # (K, n)

    def _blocks(self, units: Array) -> list[slice]:
        """Cut units (H, n) into one block a thread, if each is worth it."""
        blocks = max(1, min(self.crew.threads, units.size // BLOCK))
        return _cut(len(units), blocks)

    def _add(self, w: Weights, group: list[layers.Layer], below: Level) -> Level:
        """Add a product, and all that follows it up to the next; return what that leads to."""
        y = np.ones((len(w.b) + 1, self.n), w.b.dtype, order="C" if self.by_unit else "F")
        dropped = any(isinstance(layer, layers.Dropout) for layer in group)
        z, g = (np.empty_like(y) if dropped else y)[:-1], np.empty_like(y[:-1])
        forward, blocks = [], []
        for rows in self._blocks(g):
            there, back = self._units(group, z, y[:-1], g, w.vectors, rows)
            forward.append(_in_turn([self._multiply(w, below.y, z, rows), *there]))
            blocks.append((rows, back))
        self.forwards.append(self._stage(forward))
        backward = [self._back(w, g, below, *block) for block in below.blocks]
        self.backwards.append(self._stage(backward))
        return Level(y, g, blocks)

    def _stage(self, calls: Calls) -> Callable[[], Any]:
        return calls[0] if len(calls) == 1 else partial(self.crew, calls)

    def _back(self, w: Weights, g: Array, below: Level, units: slice, rest: Calls) -> Callable:
        """Return the call that leads back to some units below a product, through them, and learns.

        The gradient of the units is taken before their weights learn.
        """
        learn = w.learner(below.y, g, units)
        calls: Calls = [lambda: learn(self.lr), *rest]
        if below.g is not None:
            calls = [partial(blas.product(w.w[units], g, below.g[units]), 1.0, 0.0), *calls]
        return _in_turn(calls)

    def _units(
        self, group: list[layers.Layer], x: Array, y: Array, g: Array, vectors: Arrays, rows: slice
    ) -> tuple[Calls, Calls]:
        """Return the calls forward and back through a block of units, in the order they are made.

        What a layer draws, it draws for all units, before the step: the order of blocks is open.
        """
        there, back = [], []
        for layer in group:
            if isinstance(layer, layers.Dropout) and layer not in self.drawn:
                self.drawn[layer] = np.empty(x.shape, np.float32)
            at = Batch(
                x[rows], y[rows], g[rows], {kind: v[rows] for kind, v in vectors.items()},
                self.drawn[layer][rows] if layer in self.drawn else None,
                self.scratch[rows.start],
            )  # fmt: skip
            forward, backward = UNITS[type(layer)](_part(layer, rows), at)
            there.append(forward)
            back.insert(0, backward)
        return there, back

    def _multiply(self, w: Weights, x: Array, z: Array, rows: slice) -> Callable[[], Any]:
        """Return the call that computes z ← [W; b]ᵀ x, (H, D + 1) (D + 1, n), for some rows."""
        if self.crew.threads > 1:
            return partial(blas.product(w.both.T[rows], x, z[rows]), 1.0, 0.0)
        work = x.size * len(z) if self.n <= FEW_ROWS else 1
        pieces = _cut(len(x), -(-work // SMALL))
        first, *others = [(w.both.T[:, piece], x[piece]) for piece in pieces]
        part = self.scratch[0]("part", z)

        def multiply() -> None:
            np.matmul(*first, out=z)
            for piece in others:
                np.add(z, np.matmul(*piece, out=part), out=z)

        return multiply

    def _begin(self, x: Array) -> None:
        """Take a batch in, and draw all that its layers draw, each of them unit by unit."""
        np.copyto(self.inputs, x)
        for layer, drawn in self.drawn.items():
            layer.rng.random(dtype=np.float32, out=drawn)  # in the order of the plain layers

    def __call__(self, x: Array, targets: Array, lr: float) -> Array:
        """Go forward and back with x (n, D) and targets (n, K); return the logits (n, K)."""
        self.lr = lr
        self._begin(x)
        for forward in self.forwards:
            forward()
        self._compare(targets.T)
        for backward in reversed(self.backwards):
            backward()
        return self.logits.T

    def _compare(self, targets: Array) -> None:
        """Compute softmax(logits) - targets, n times the gradient of the loss: (K, n)."""
        p = self.scratch[0](
            "p", np.empty(self.error.shape, self.error.dtype)
        )  # fast along its rows
        row = self.scratch[0]("row", p[0])
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
        self.model, self.optimizer, self.crew = model, optimizer, crew(threads)
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

    def propagate(self, x: Array, targets: Array, lr: float) -> Array:
        """Go forward and back with x (n, D) and targets (n, K).

        Returns the logits (n, K), in an array that the next call overwrites.
        """
        if (n := len(x)) not in self.passes:
            self.passes[n] = Pass(self.model, self.weights, n, self.crew)
        return self.passes[n](x, targets, lr)

    def finish(self, lr: float, clip_norm: float = 0.0) -> None:
        """Let the optimiser use the gradients that were kept; to clip takes `whole`."""
        self.optimizer.step(self.parameters, self.gradients, lr, clip_norm)
