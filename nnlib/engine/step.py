"""One training step into arrays that are kept: forward, backward, and the optimiser's part.

A layer's bias is the last row of its weights, beside an input that is always one. So every rule of
learning is one product, which BLAS adds to what is there without forming it first:

    C ← α [x 1]ᵀ G + β C        with G = n ∂loss/∂y (n, H), and the optimiser names C, α and β:

    plain SGD    C = [W; b], α = -η/n, β = 1 - ηλ
    momentum     C = V, α = 1/n, β = μ; then V ← V + λ W and [W; b] ← [W; b] - η V
    any other    C = the gradient, α = 1/n, β = 0; then the optimiser's own step

Arrays of hidden units are (H, n) here, with a row of ones below. On several threads the layers of a
large net are cut into blocks of units, and what follows a product up to the next is computed block
by block; those of a smaller net share products alone.
"""

import copy
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from nnlib import layers, optim
from nnlib.engine import blas
from nnlib.engine.threads import Crew, Pace, crew, is_large, paced
from nnlib.engine.units import UNITS, Batch, Scratch
from nnlib.network import MLP

SMALL, FEW_ROWS = 10**6, 32  # multiplications that OpenBLAS does without copying its operands first
BLOCK = 2**12  # numbers in a hidden array that are worth a thread's while
Array = np.ndarray
Arrays = dict[str, Array]
Call = Callable[[], Any]
Calls = list[Call]


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


def _part(layer: layers.Layer, rows: slice) -> Any:
    """Return the layer for some of its units: what it keeps for each unit is a view."""
    part = copy.copy(layer)
    for name in ("parameters", "statistics"):
        whole = getattr(layer, name, {})
        setattr(part, name, {key: array[rows] for key, array in whole.items()})
    return part


def _in_turn(calls: Calls) -> None:
    for call in calls:
        call()


class Weights:
    """The weights of a linear layer, and what becomes of their gradient.

    `rule` is SGD, or None where the gradient is kept for whoever wants all of them together;
    `gradients` are those that no product uses.
    """

    def __init__(
        self, model: MLP, layer: layers.Linear, number: int, rule: optim.SGD | None
    ) -> None:
        names, own = (f"W{number}", f"b{number}"), model.parameters
        self.rule, self.lr, self.both = rule, 0.0, _joined(own, *names)  # (D + 1, H)
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

    def learner(self, x: Array, g: Array, rows: slice, columns: slice, pace: Any) -> Call:
        """Return the call that uses a batch's gradient for a block of the weights.

        x (D + 1, n) is what the layer saw, g (H, n) n times the gradient of the loss.
        """
        rule, n, c = self.rule, x.shape[1], self.c[rows, columns]
        product = blas.product(x[rows], g[columns].T, c, pace)
        if rule is None or rule.momentum:  # which is used later
            return partial(product, 1 / n, rule.momentum if rule else 0.0)
        bias = self.both[len(self.w) : rows.stop, columns]  # (1, H), if it is among the rows

        def learn() -> None:
            shrink = self.lr * rule.weight_decay
            pull = bias * bias.dtype.type(shrink) if shrink else 0.0
            product(-self.lr / n, 1 - shrink)
            if shrink:  # it is for W alone
                np.add(bias, pull, out=bias)

        return learn

    def mover(self, rule: optim.SGD, rows: slice, scratch: Scratch) -> Call:
        """Return the call that lets momentum move some rows."""
        decay, both, c, w = rule.weight_decay, self.both[rows], self.c[rows], self.w[rows]
        change = scratch("change", both)

        def move() -> None:
            if decay:  # of W alone
                c[: len(w)] += np.multiply(w, decay, out=change[: len(w)])
            np.subtract(both, np.multiply(c, self.lr, out=change), out=both)

        return move


@dataclass
class Level:
    """Arrays between two products: `y` (D + 1, n) with a row of ones, and n ∂loss/∂y (D, n).

    `blocks` are slices of its units, each with the calls that lead back through them; the inputs
    of the net need no gradient.
    """

    y: Array
    g: Any
    blocks: list[tuple[slice, Calls]]


class Pass:
    """The way forward and back through a net for batches of n: calls, in order, on arrays kept."""

    def __init__(self, model: MLP, weights: list[Weights], n: int, crew: Crew) -> None:
        self.n, self.crew = n, crew
        self.small = crew.threads == 1 and not is_large(model.sizes, n)
        self.pace = Pace(crew.threads) if paced(model.sizes, n, crew.threads) else None
        self.by_unit = n <= FEW_ROWS or not self.small
        self.scratch: dict[Any, Scratch] = defaultdict(Scratch)  # by the first unit of a block
        self.forwards: Calls = []
        self.backwards: Calls = []
        self.moves: list[Calls] = []
        self.drawn: dict[layers.Dropout, Array] = {}  # what each layer draws for a batch
        linear = [k for k, each in enumerate(model.layers) if isinstance(each, layers.Linear)]
        ends = pairwise([-1, *linear, len(model.layers)])
        before, *groups = [model.layers[start + 1 : end] for start, end in ends]
        x = np.ones((n, model.sizes[0] + 1), model.dtype).T
        self.inputs = x[:-1].T
        self.forwards += self._units(before, x[:-1], x[:-1], x[:-1], {}, slice(None))[0]
        level = Level(x, None, [])
        for w, group in zip(weights, groups, strict=True):
            level = self._add(w, group, level)
        if len(weights) == 1:  # else its way back is part of the next layer's
            self.backwards = self._stage([back for _, back in level.blocks])
        self.backwards += self._stage(self.moves) if self.moves else []
        self.logits, self.error = level.y[:-1], level.g  # (K, n)

    def _blocks(self, units: Array) -> list[slice]:
        """Cut units (H, n) into one block a thread of the crew, if that is worth it."""
        threads = 1 if self.pace else self.crew.threads
        return blas.slices(len(units), max(1, min(threads, units.size // BLOCK)))

    def _stage(self, blocks: list[Calls]) -> Calls:
        """Return what makes the calls of all blocks, which need nothing of each other."""
        if len(blocks) == 1:
            return blocks[0]
        return [partial(self.crew, [partial(_in_turn, calls) for calls in blocks])]

    def _add(self, w: Weights, group: list[layers.Layer], below: Level) -> Level:
        """Add a product, and all that follows it up to the next; return what that leads to."""
        y = np.ones((len(w.b) + 1, self.n), w.b.dtype, order="C" if self.by_unit else "F")
        dropped = any(isinstance(layer, layers.Dropout) for layer in group)
        z, g = (np.empty_like(y) if dropped else y)[:-1], np.empty_like(y[:-1])
        forward, blocks, everything = [], [], slice(0, len(below.y))
        for units in self._blocks(g):
            there, back = self._units(group, z, y[:-1], g, w.vectors, units)
            if below.g is None:  # nothing else needs these weights any more
                back.append(w.learner(below.y, g, everything, units, self.pace))
            forward.append([self._multiply(w, below.y, z, units), *there])
            blocks.append((units, back))
        self.forwards += self._stage(forward)
        if below.g is not None:
            backward = [self._back(w, g, below, *block) for block in below.blocks]
            self.backwards = self._stage(backward) + self.backwards
        if w.rule and w.rule.momentum:
            self.moves += [
                [w.mover(w.rule, rows, self.scratch[rows.start])] for rows in self._blocks(w.c)
            ]
        return Level(y, g, blocks)

    def _back(self, w: Weights, g: Array, below: Level, units: slice, rest: Calls) -> Calls:
        """Return the calls that lead back to some units below a product, learn, and go on.

        The gradient of the units is taken before their weights learn; the last of them take the
        bias with them.
        """
        rows = slice(units.start, units.stop + (units.stop == len(w.w)))
        product = blas.product(w.w[units], g, below.g[units], self.pace)
        learn = w.learner(below.y, g, rows, slice(0, len(g)), self.pace)
        return [partial(product, 1.0, 0.0), learn, *rest]

    def _units(
        self, group: list[layers.Layer], x: Array, y: Array, g: Array, vectors: Arrays, rows: slice
    ) -> tuple[Calls, Calls]:
        """Return the calls forward and back through a block of units, in the order they are made.

        What a layer draws, it draws for all units, before the step: the order of blocks is open.
        """
        there: Calls = []
        back: Calls = []
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

    def _multiply(self, w: Weights, x: Array, z: Array, units: slice) -> Call:
        """Return the call that computes z ← [W; b]ᵀ x, (H, D + 1) (D + 1, n), for some units."""
        if not self.small:
            return partial(blas.product(w.both.T[units], x, z[units], self.pace), 1.0, 0.0)
        work = x.size * len(z) if self.n <= FEW_ROWS else 1
        pieces = np.array_split(np.arange(len(x)), -(-work // SMALL))
        slices = [slice(piece[0], piece[-1] + 1) for piece in pieces]
        first, *others = [(w.both.T[:, piece], x[piece]) for piece in slices]
        part = self.scratch[0]("part", z)

        def multiply() -> None:
            np.matmul(*first, out=z)
            for piece in others:
                np.add(z, np.matmul(*piece, out=part), out=z)

        return multiply

    def __call__(self, x: Array, targets: Array, weights: Array | None) -> Array:
        """Go forward and back with x (n, D), targets (n, K) and weights (n,), whose mean is 1.

        Returns the logits (n, K).
        """
        np.copyto(self.inputs, x)
        for layer, drawn in self.drawn.items():  # in the order of the plain layers
            layer.rng.random(dtype=np.float32, out=drawn)
        with self.pace or nullcontext():
            _in_turn(self.forwards)
            self._compare(targets.T)
            if weights is not None:
                np.multiply(self.error, weights, out=self.error)
            _in_turn(self.backwards)
        return self.logits.T

    def _compare(self, targets: Array) -> None:
        """Compute softmax(logits) - targets, n times the gradient of the loss: (K, n)."""
        p = self.scratch[0]("p", np.empty(self.error.shape, self.error.dtype))
        row = self.scratch[0]("row", p[0])
        np.subtract(self.logits, np.maximum.reduce(self.logits, axis=0, out=row), out=p)
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

    def propagate(self, x: Array, targets: Array, lr: float, weights: Array | None = None) -> Array:
        """Go forward and back with x (n, D), targets (n, K) and weights (n,), whose mean is 1.

        Returns the logits (n, K), in an array that the next call overwrites.
        """
        if (n := len(x)) not in self.passes:
            self.passes[n] = Pass(self.model, self.weights, n, self.crew)
        for w in self.weights:
            w.lr = lr
        return self.passes[n](x, targets, weights)

    def finish(self, lr: float, clip_norm: float = 0.0) -> None:
        """Let the optimiser use the gradients that were kept; to clip takes `whole`."""
        self.optimizer.step(self.parameters, self.gradients, lr, clip_norm)
