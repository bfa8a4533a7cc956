"""How gradients become better weights: SGD and AdamW, and the learning rate over time.

An optimiser changes parameters in place and keeps its memory in `state`, plain arrays by name,
so that a checkpoint can hold it. A schedule is a pure function from the step (0, 1, …) to the
learning rate: nothing to advance, nothing to restore. λ, the weight decay, acts on the weight
matrices W1, W2, … alone, and only here.
"""

import math
from collections.abc import Callable

import numpy as np

from nnlib import checks

PIECE = 2**15  # numbers averaged at a time
Arrays = dict[str, np.ndarray]
Schedule = Callable[[int], float]


class Optimizer:
    """What SGD and AdamW share: a checked learning rate, weight decay, and a memory of arrays.

    `kinds` names what is remembered for each parameter, as `memory` is asked for it.
    """

    kinds: tuple[str, ...] = ()

    def __init__(self, lr: float, weight_decay: float) -> None:
        self.lr = checks.positive("learning rate", lr)
        self.weight_decay = checks.not_negative("weight decay", weight_decay)
        self.state: Arrays = {}
        self.steps = 0

    def step(
        self, parameters: Arrays, gradients: Arrays, lr: float | None = None, clip_norm: float = 0.0
    ) -> None:
        """Change every parameter in place by one step against its gradient, at rate `lr`.

        With `clip_norm`, the gradients are first scaled so that their norm is at most that.
        """
        self.steps += 1
        if clip_norm:
            clip_by_norm(gradients, clip_norm)
        for name, weights in parameters.items():
            decay = self.weight_decay if name[0] == "W" else 0.0
            self._update(name, weights, gradients[name], self.lr if lr is None else lr, decay)

    def _update(self, name: str, w: np.ndarray, g: np.ndarray, lr: float, decay: float) -> None:
        raise NotImplementedError

    def memory(self, kind: str, name: str, like: np.ndarray) -> np.ndarray:
        """Return the array that remembers `kind` for a parameter, zeros the first time."""
        key = f"{kind}.{name}"
        if key not in self.state:
            self.state[key] = np.zeros_like(like)
        return self.state[key]

    def remember(self, parameters: Arrays) -> None:
        """Have the whole memory at once, which else begins with the first step."""
        for kind in self.kinds:
            for name, weights in parameters.items():
                self.memory(kind, name, weights)


class SGD(Optimizer):
    """Stochastic gradient descent with momentum μ, Nesterov's look-ahead and L2.

    g ← g + λ w;  v ← μ v + g;  w ← w - η v, or with Nesterov w ← w - η (g + μ v)
    (Sutskever et al. 2013, in the form where η multiplies last). λ is that of ½ λ ‖W‖².
    Raises InputError for lr <= 0, λ < 0, μ outside [0, 1), or Nesterov without momentum.
    """

    def __init__(
        self,
        lr: float = 0.1,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(lr, weight_decay)
        self.momentum = checks.fraction("momentum", momentum)
        self.kinds = ("velocity",) if self.momentum else ()
        self.nesterov = checks.flag("nesterov", nesterov)
        if self.nesterov and not self.momentum:
            raise checks.InputError("nesterov needs momentum > 0, got 0; set momentum, 0.9 say")

    def _update(self, name: str, w: np.ndarray, g: np.ndarray, lr: float, decay: float) -> None:
        if decay:
            g = g + w.dtype.type(decay) * w
        if self.momentum:
            v = self.memory("velocity", name, w)
            v *= v.dtype.type(self.momentum)
            v += g
            g = g + v.dtype.type(self.momentum) * v if self.nesterov else v
        w -= w.dtype.type(lr) * g


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Kingma and Ba 2015; Loshchilov and Hutter 2019, alg. 2).

    m ← β₁ m + (1-β₁) g;  v ← β₂ v + (1-β₂) g²;  w ← w - η (m̂ / (√v̂ + ε) + λ w), with
    m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ). Raises InputError for lr <= 0 or λ < 0.
    """

    EPSILON = 1e-8
    kinds = ("mean", "square")

    def __init__(
        self,
        lr: float = 0.001,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        super().__init__(lr, weight_decay)
        self.betas = tuple(checks.fraction("beta", beta) for beta in betas)

    def _update(self, name: str, w: np.ndarray, g: np.ndarray, lr: float, decay: float) -> None:
        m, v = self.memory("mean", name, w), self.memory("square", name, w)
        beta1, beta2 = self.betas
        m += w.dtype.type(1 - beta1) * (g - m)
        v += w.dtype.type(1 - beta2) * (g * g - v)
        root = np.sqrt(v / w.dtype.type(1 - beta2**self.steps)) + w.dtype.type(self.EPSILON)
        if decay:
            w *= w.dtype.type(1 - lr * decay)
        w -= w.dtype.type(lr / (1 - beta1**self.steps)) * (m / root)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "adamw": AdamW}


class Average:
    """Exponential moving average of the weights: a ← d a + (1 - d) w after every step.

    d grows from 0 as min(decay, (1 + t) / (10 + t)), so that the start is soon forgotten
    (Polyak and Juditsky 1992; the ramp as in TensorFlow's documentation).
    """

    def __init__(self, decay: float, state: Arrays) -> None:
        self.decay = checks.fraction("weight averaging", decay)
        self.state = state  # the averages, changed in place
        self.steps = 0

    def update(self, weights: Arrays) -> None:
        """Move the average towards `weights`, the net's arrays by name."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, array in weights.items():
            flat, mean = array.reshape(-1), self.state[name].reshape(-1)
            for start in range(0, flat.size, PIECE):  # a piece stays in cache
                piece = slice(start, start + PIECE)
                change = np.subtract(flat[piece], mean[piece])
                change *= mean.dtype.type(1 - decay)
                mean[piece] += change


def gradient_norm(gradients: Arrays) -> float:
    """Return √(Σ g²) over all parameters together."""
    return math.sqrt(sum(float(np.vdot(g, g)) for g in gradients.values()))


def clip_by_norm(gradients: Arrays, largest: float) -> None:
    """Scale all gradients in place so that their common norm is at most `largest`.

    g ← g · min(1, largest / ‖g‖) (Pascanu, Mikolov, Bengio 2013, algorithm 1).
    """
    norm = gradient_norm(gradients)
    if norm > largest:
        for g in gradients.values():
            g *= g.dtype.type(largest / norm)


def constant(lr: float) -> Schedule:
    """Return η(t) = lr."""
    return lambda step: lr


def staircase(lr: float, decay: float, every: int) -> Schedule:
    """Return η(t) = lr · decay^⌊t / every⌋: constant for `every` steps, then a step down."""
    return lambda step: lr * decay ** (step // every)


def cosine(lr: float, steps: int) -> Schedule:
    """Return η(t) = ½ lr (1 + cos(π t / (steps - 1))): lr at first, 0 at the last step.

    Loshchilov and Hutter 2017, equation 5 with one period.
    """
    last = max(steps - 1, 1)
    return lambda step: 0.5 * lr * (1 + math.cos(math.pi * min(step / last, 1)))


def one_cycle(lr: float, steps: int, rise: float = 0.3, start: float = 0.04) -> Schedule:
    """Return one cycle: from start · lr up to lr in the first `rise` of the steps, then to 0.

    Both ways along half a cosine (Smith and Topin 2018, with the annealing of fastai).
    """
    top = max(1, round(rise * (steps - 1)))
    down = cosine(lr, max(steps - top, 2))

    def up(step: int) -> float:
        return lr * (start + (1 - start) * 0.5 * (1 - math.cos(math.pi * step / top)))

    return lambda step: up(step) if step < top else down(step - top)


def warm_up(schedule: Schedule, steps: int) -> Schedule:
    """Return η(t) · min(1, t / steps): the rate grows linearly from 0 in the first `steps`."""
    return lambda step: schedule(step) * min(1.0, step / steps) if steps else schedule(step)


WHOLE_RUN = ("cosine", "one-cycle")  # schedules that span the run, however long it is
SCHEDULES = ("constant", "step", "exponential", *WHOLE_RUN)


def make_schedule(
    name: str,
    lr: float,
    *,
    epochs: int,
    steps_per_epoch: int,
    decay: float = 0.95,
    decay_every: int = 10,
    warmup: int = 0,
) -> Schedule:
    """Return the schedule of that name for a run of epochs · steps_per_epoch steps.

    exponential: lr · decay^epoch; step: lr · decay^⌊epoch / decay_every⌋; cosine and one-cycle
    span the run. `warmup` counts steps. InputError lists the names there are.
    """
    steps = epochs * steps_per_epoch
    makers = {
        "constant": lambda: constant(lr),
        "step": lambda: staircase(lr, decay, decay_every * steps_per_epoch),
        "exponential": lambda: staircase(lr, decay, steps_per_epoch),
        "cosine": lambda: cosine(lr, steps),
        "one-cycle": lambda: one_cycle(lr, steps),
    }
    return warm_up(makers[checks.one_of("schedule", name, makers)](), warmup)
