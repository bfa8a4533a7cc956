"""Exercises of notebook 02: a net of zeros, a backward pass to repair.

The numerical gradient is the judge, and where it says no, the difference is taken apart: an error
that is a multiple of the right thing, or of the weights, tells which mistake was made.
"""

from collections.abc import Callable, Iterable

import numpy as np

from nnlib.exercises.verdicts import Hint, check, compare, expect
from nnlib.gradcheck import numerical_gradient, relative_error
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
    last, unknown = len(sizes) - 1, ", ".join(sorted(given - set(gradients)))
    expect(not unknown, f"`{unknown}` is no parameter; they are {', '.join(gradients)}.")
    reach = f"with p = 1/{sizes[-1]}, P − T is not zero: whom does it reach first?"
    expect(f"b{last}" not in truth - given, f"One that learns is missing: {reach}")
    expect(truth <= given, "One is missing: without a hidden layer, ∂W is xᵀ (P − T).")
    feeds = f"For W{last}, ∂W = Aᵀ G. G is not zero, but what are the activations A of this net?"
    expect(f"W{last}" not in given - truth, feeds)
    extra = ", ".join(sorted(given - truth))
    expect(not extra, f"To {extra}, the gradient must come back through W{last}, G Wᵀ. With W = 0?")
    alike = "All hidden units stay alike, and off: that is why weights are drawn at random."
    return f"Only {' and '.join(sorted(truth))} can move. {alike}"


# ---------------------------------------------------------------- a backward pass to repair

CROSSED = (
    "the gradient takes the wrong way through W2. Going forward, A (N, H) meets the rows of W2 "
    "(H, K); coming back, G (N, K) has to meet its other side. As H = K here, the shapes fit."
)
UNMASKED = "units that are off pass gradient. A is never negative: is your condition ever false?"
DATA = {  # the data's part of a gradient, as a multiple of what it should be
    f"its data part is {N} times too large: the loss is a *mean* over {N} examples.": N,
    f"it is {N} times too small. The mean is in G already; every example adds its part.": 1 / N,
    "its data part has the wrong sign. The derivative of the loss is P − T.": -1,
}
PENALTY = {
    "the penalty counts twice. The loss has ½ λ ‖W‖²: what is the ½ there for?": 2,
    "the penalty is missing. The loss has ½ λ ‖W‖².": 0,
}


@check("Give the function that returns the gradients.")
def check_backward(backward: Callable) -> str:
    """Judge (x, y, W1, b1, W2, b2, decay) -> gradients of a ReLU net by finite differences."""
    problem = _Problem()
    got = backward(*problem.arguments())
    errors = {name: _error(got, name, right) for name, right in problem.truth.items()}
    told = ", ".join(f"{name} {error:.0e}" for name, error in errors.items())
    for name in ("W2", "b2", "W1", "b1"):  # as the gradient travels: a fault spoils what follows
        if errors[name] > LIMIT:
            try:
                problem.diagnose(name, np.asarray(got[name], dtype=float))
            except Hint as why:
                raise Hint(f"Relative errors: {told}.\n\n**{name}**: {why}") from None
    return f"All four agree with central differences; relative errors: {told}."


def _error(got: dict, name: str, truth: np.ndarray) -> float:
    whole = isinstance(got, dict) and name in got
    expect(whole, "Return a dictionary with the gradients of W1, b1, W2 and b2.")
    given, what = np.asarray(got[name], dtype=float), f"The gradient of {name}"
    expect(given.shape == truth.shape, f"{what} has shape {given.shape}; {name} has {truth.shape}.")
    expect(np.isfinite(given).all(), f"{what} holds values that are not finite.")
    return relative_error(given, truth)


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

    def diagnose(self, name: str, got: np.ndarray) -> None:
        """Raise the hint that says what the wrong gradient of a parameter is made of."""
        weights = self.model.parameters[name]
        penalty = DECAY * weights if name[0] == "W" else 0 * weights
        data = self.truth[name] - penalty
        for hint, part in (("", data), *self.detours(name)):
            factor, share, rest = _made_of(got, part, penalty)
            if rest < LIMIT:
                expect(not hint, hint)
                times = f"its data part is {factor:.3g} times what it should be."
                compare(factor, 1, DATA, times, LIMIT)
                more = f"the penalty adds {share:.3g} λ W. Take the derivative of ½ λ ‖W‖² again."
                compare(share, 1, PENALTY, more, LIMIT)
        raise Hint(
            "it is no multiple of what it should be, nor of the weights. Go through the derivation "
            "line by line: the loss, the linear layer, the activation, the linear layer."
        )

    def detours(self, name: str) -> list[tuple[str, np.ndarray]]:
        """Return (hint, the data's part of the gradient) for wrong ways back to W1 and b1."""
        if name in ("W2", "b2"):
            return []
        hidden, w2 = self.model.hidden(self.x)[0], self.model.parameters["W2"]  # (N, H), (H, K)
        _, output = softmax_cross_entropy(self.model.forward(self.x), self.y)  # (N, K)
        crossed, unmasked = output @ w2, output @ w2.T
        wrong = [(CROSSED, crossed * (hidden > 0)), (CROSSED, crossed), (UNMASKED, unmasked)]
        return [(hint, g.sum(axis=0) if name == "b1" else self.x.T @ g) for hint, g in wrong]


def _made_of(got: np.ndarray, data: np.ndarray, penalty: np.ndarray) -> tuple[float, float, float]:
    """Return a and c of got ≈ a · data + c · penalty by least squares, and the relative error."""
    parts = np.stack([data.ravel(), penalty.ravel()], axis=1)
    (factor, share), *_ = np.linalg.lstsq(parts, got.ravel(), rcond=None)
    return factor, share, relative_error(factor * data + share * penalty, got)
