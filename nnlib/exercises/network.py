"""Exercises of notebook 02: a net of zeros, backward passes to repair, a layer of one's own.

The numerical gradient is the judge, and where it says no, the difference is taken apart: an error
that is a multiple of the right thing, or of the weights, tells which mistake was made.
"""

from collections.abc import Callable, Iterable

import numpy as np

from nnlib.exercises.verdicts import Hint, check
from nnlib.gradcheck import numerical_gradient, relative_error
from nnlib.layers import Layer
from nnlib.losses import softmax_cross_entropy
from nnlib.network import MLP

LIMIT = 1e-6  # relative error up to which a gradient counts as right
DECAY = 0.1  # λ in the checks
N, D, H = 6, 5, 4  # examples, inputs, hidden units; as many classes as hidden units


@check("Put a list of names, such as `['W1', 'b1']`, in place of `None`.")
def check_zero_start(learns: Iterable[str], sizes: list[int], x: np.ndarray, y: np.ndarray) -> str:
    """Judge which parameters of a net of zeros have a gradient on one image."""
    model = MLP(list(sizes), "relu", dtype="float64")
    for array in model.parameters.values():
        array[...] = 0
    _, gradients = model.loss_and_gradients(x[:1].astype(np.float64), y[:1])
    truth = {name for name, g in gradients.items() if g.any()}
    given = {learns} if isinstance(learns, str) else set(map(str, learns))
    if unknown := given - set(gradients):
        raise Hint(f"`{min(unknown)}` is no parameter; they are {', '.join(gradients)}.")
    if missing := truth - given:
        raise Hint(
            f"One that learns is missing. With equal logits every class gets p = 1/{sizes[-1]}, "
            "but the target is 1 for one class. So P − T is not zero: whom does it reach first?"
            if max(missing)[0] == "b"
            else "One that learns is missing: without a hidden layer, ∂W is xᵀ (P − T)."
        )
    if extra := given - truth:
        raise Hint(_silent(max(extra, key=lambda name: name[1:]), len(sizes) - 1))
    return (
        f"Only {' and '.join(sorted(truth))} can move. It learns how frequent each class is, and "
        "nothing else ever happens: all hidden units stay alike, and off. That is why weights are "
        "drawn at random."
    )


def _silent(name: str, last: int) -> str:
    if name == f"W{last}":
        return f"For {name}, ∂W = Aᵀ G. G is not zero, but what are the activations A of this net?"
    return (
        f"For {name}, the gradient first has to come back through W{last}: G W{last}ᵀ. With W = 0?"
    )


# ---------------------------------------------------------------- a backward pass to repair

CROSSED = (
    "the gradient takes the wrong way through W2. Going forward, A (N, H) meets the rows of W2 "
    "(H, K); coming back, G (N, K) has to meet its other side. That the shapes fit all the same is "
    "bad luck: the net of this check has as many classes as hidden units."
)
UNMASKED = (
    "units that are off pass gradient back. A is `max(0, …)`, so it is never negative: for which "
    "of its entries is your condition false?"
)


@check("Give the function that returns the gradients.")
def check_backward(backward: Callable) -> str:
    """Judge (x, y, W1, b1, W2, b2, decay) -> gradients of a ReLU net by finite differences."""
    problem = _Problem()
    got = backward(*problem.arguments())
    errors = {name: _error(got, name, right) for name, right in problem.truth.items()}
    told = ", ".join(f"{name} {error:.0e}" for name, error in errors.items())
    for name in ("W2", "b2", "W1", "b1"):  # as the gradient travels: a fault spoils what follows
        if errors[name] > LIMIT:
            why = problem.diagnosis(name, np.asarray(got[name], dtype=float))
            raise Hint(f"Relative errors: {told}.\n\n**{name}**: {why}")
    return f"All four agree with central differences; relative errors: {told}."


class _Problem:
    """A batch and a small net; its W2 is square, which hides a missing transposition."""

    def __init__(self) -> None:
        rng = np.random.default_rng(8)
        self.model = MLP([D, H, H], "relu", dtype="float64")
        for array in self.model.parameters.values():
            array[...] = rng.normal(0, 0.7, array.shape)
        self.x, self.y = rng.normal(size=(N, D)), rng.integers(H, size=N)
        self.truth = {
            name: numerical_gradient(self.loss, array)
            for name, array in self.model.parameters.items()
        }

    def loss(self) -> float:
        return self.model.loss_and_gradients(self.x, self.y, DECAY)[0]

    def arguments(self) -> list:
        """Copies, so that a function which changes what it is given spoils nothing."""
        arrays = [self.x, self.y, *self.model.parameters.values()]
        return [*(array.copy() for array in arrays), DECAY]

    def diagnosis(self, name: str, got: np.ndarray) -> str:
        """Say what the wrong gradient of a parameter is made of."""
        weights = self.model.parameters[name]
        penalty = DECAY * weights if name[0] == "W" else np.zeros_like(weights)
        for hint, data in self.ways(name, self.truth[name] - penalty):
            factor, share, rest = _made_of(got, data, penalty)
            if rest < LIMIT:
                return hint or _of_factors(name, factor, share)
        return (
            "it is no multiple of what it should be, nor of the weights. Go through the derivation "
            "line by line: the loss, the linear layer, the activation, the linear layer."
        )

    def ways(self, name: str, data: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """Return (hint, the data's part of the gradient) for the right way and for wrong ones."""
        if name in ("W2", "b2"):
            return [("", data)]
        hidden, w2 = self.model.hidden(self.x)[0], self.model.parameters["W2"]  # (N, H), (H, K)
        _, output = softmax_cross_entropy(self.model.forward(self.x), self.y)  # (N, K)
        wrong = [
            (CROSSED, (output @ w2) * (hidden > 0)),
            (CROSSED, output @ w2),
            (UNMASKED, output @ w2.T),
        ]
        sums = name == "b1"
        return [("", data)] + [(hint, g.sum(axis=0) if sums else self.x.T @ g) for hint, g in wrong]


def _error(got: dict, name: str, truth: np.ndarray) -> float:
    if not isinstance(got, dict) or name not in got:
        raise Hint("Return a dictionary with the gradients of W1, b1, W2 and b2.")
    given = np.asarray(got[name], dtype=float)
    if given.shape != truth.shape:
        raise Hint(f"The gradient of {name} has shape {given.shape}; {name} has {truth.shape}.")
    if not np.isfinite(given).all():
        raise Hint(f"The gradient of {name} holds values that are not finite.")
    return relative_error(given, truth)


def _made_of(got: np.ndarray, data: np.ndarray, penalty: np.ndarray) -> tuple[float, float, float]:
    """Return a and c of got ≈ a · data + c · penalty by least squares, and the relative error."""
    parts = np.stack([data.ravel(), penalty.ravel()], axis=1)
    (factor, share), *_ = np.linalg.lstsq(parts, got.ravel(), rcond=None)
    return factor, share, relative_error(factor * data + share * penalty, got)


def _of_factors(name: str, factor: float, share: float) -> str:
    """Say what a gradient of `factor` times the data's part and `share` times λ W has missed."""
    if np.isclose(factor, N):
        return (
            f"its data part is {N} times too large, and the batch has {N} examples. The loss is a "
            "*mean*: what does that make of its derivative?"
        )
    if np.isclose(factor, 1 / N):
        return (
            f"it is {N} times too small, and the batch has {N} examples. The mean is in G already; "
            f"from there, every example that uses {name} adds its part."
        )
    if np.isclose(factor, -1):
        return "its data part has the wrong sign. The derivative of the loss is P − T."
    if not np.isclose(factor, 1):
        return f"its data part is {factor:.3g} times what it should be."
    if np.isclose(share, 2):
        return "the penalty counts twice. The loss has ½ λ ‖W‖²: what is the ½ there for?"
    if np.isclose(share, 0, atol=1e-9):
        return "the penalty is missing. The loss has ½ λ ‖W‖²."
    return f"the penalty adds {share:.3g} λ W. Take the derivative of ½ λ ‖W‖² once more."


# ---------------------------------------------------------------- batch normalisation


@check("Give the class of the layer.")
def check_batch_norm(layer_class: type[Layer]) -> str:
    """Judge the backward pass of a batch normalisation, in training mode."""
    rng = np.random.default_rng(9)
    x, upstream = rng.normal(2, 3, (N, D)), rng.normal(size=(N, D))
    layer = layer_class(rng.normal(1, 0.2, D), rng.normal(0, 0.2, D))

    def loss() -> float:
        return float((layer.forward(x, training=True) * upstream).sum())

    truth = {name: numerical_gradient(loss, array) for name, array in layer.parameters.items()}
    truth["x"] = numerical_gradient(loss, x)
    loss()
    got = np.asarray(layer.backward(upstream.copy()), dtype=float)
    for name in layer.parameters:
        error = _error(layer.gradients, name, truth[name])
        if error > LIMIT:
            raise Hint(f"The gradient of {name} is off by {error:.0e} of its size; it was right.")
    error = _error({"x": got}, "x", truth["x"])
    if error > LIMIT:
        raise Hint(_broken_symmetry(got, truth["x"], layer.normalised))
    return (
        f"∂x agrees with central differences (relative error {error:.0e}). Adding a number to a "
        "column, or stretching it, changes nothing in the output, and your gradient knows."
    )


def _broken_symmetry(got: np.ndarray, truth: np.ndarray, normalised: np.ndarray) -> str:
    """Say which of the two things that batch normalisation takes away still has a gradient."""
    size = np.abs(got).sum(axis=0).max()
    shift, stretch = got.sum(axis=0), (got * normalised).sum(axis=0)
    if np.abs(shift).max() > LIMIT * size:
        return (
            "Add the same number to every row of a column: the mean moves along and the output "
            "stays as it is. So over the batch a column of ∂x must add up to 0, and yours add up "
            f"to {_numbers(shift)}. Through μ, each row has moved all the others."
        )
    if np.abs(stretch).max() > 1e-3 * size:  # not quite 0 in truth, because of ε
        return (
            "The columns add up to 0 now: μ is taken care of. But stretch a column away from its "
            "mean: σ grows along and x̂ stays as it is. So Σ ∂x · x̂ must be (all but) 0, and "
            f"yours is {_numbers(stretch)}. Through σ, too, each row has moved the others."
        )
    factor = float((got * truth).sum() / (truth * truth).sum())
    return (
        "Shifting and stretching are taken care of, but the size is wrong: on average it is "
        f"{factor:.3g} times what it should be. What stands before the bracket?"
    )


def _numbers(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2f}".replace("-", "−") for value in values[:3]) + " and so on"


# ---------------------------------------------------------------- a layer of one's own


@check("Give the class of the layer.")
def check_swish(layer_class: type[Layer]) -> str:
    """Judge a layer that computes x σ(x) and its derivative."""
    x, layer = np.linspace(-4, 4, 9)[:, None], layer_class()  # (9, 1)
    sigmoid = 0.5 + 0.5 * np.tanh(0.5 * x)
    _swish_forward(layer, x, x * sigmoid)
    slope = sigmoid * (1 + x * (1 - sigmoid))
    layer.forward(x)
    got = np.asarray(layer.backward(np.full_like(x, 3.0)), dtype=float)
    if got.shape != x.shape:
        raise Hint(f"`backward` returns shape {got.shape} for an input of shape {x.shape}.")
    known = {
        "It passes the gradient on as it came. At x = 0 the curve has a slope of ½.": 3 + 0 * x,
        "That is the slope alone. The chain rule multiplies it by the gradient that "
        "arrives.": slope,
        "That is σ(x) times the gradient: x counts as if it were constant. There are two factors "
        "that depend on x, so the product rule gives two terms.": 3 * sigmoid,
        "That is the other half of the product rule, x σ′(x); σ(x) itself is missing.": 3
        * (slope - sigmoid),
    }
    for hint, wrong in known.items():
        if relative_error(got, wrong) < LIMIT:
            raise Hint(hint)
    if (error := relative_error(got, 3 * slope)) > LIMIT:
        worst = int(np.abs(got - 3 * slope).argmax())
        raise Hint(
            f"At x = {x[worst, 0]:g} the slope is {slope[worst, 0]:.4f}, and yours "
            f"{got[worst, 0] / 3:.4f}."
        )
    return (
        f"Forward and backward agree (relative error {error:.0e}). Put into `model.layers`, it "
        "trains: the loop asks of a layer nothing but these two functions."
    )


def _swish_forward(layer: Layer, x: np.ndarray, truth: np.ndarray) -> None:
    if relative_error(np.asarray(layer.forward(x), dtype=float), truth) > LIMIT:
        raise Hint("`forward` no longer gives x σ(x).")
    try:
        with np.errstate(over="raise", invalid="raise"):
            layer.forward(np.array([[-1000.0, 1000.0]]))
    except FloatingPointError:
        raise Hint(
            "At x = −1000, `forward` overflows: e¹⁰⁰⁰ is more than a number can hold. σ(x) is also "
            "½ + ½ tanh(x/2), and tanh never exceeds 1."
        ) from None
