"""Exercises of notebook 05: a net in another order, dead units, who decided."""

import copy
import math
from collections.abc import Callable

import numpy as np

from nnlib.data import Split
from nnlib.exercises.verdicts import Hint, check, rows
from nnlib.gradcheck import relative_error
from nnlib.network import MLP

PIECE = 5000  # images whose hidden outputs are held at once

# ---------------------------------------------------------------- the same net in another order


@check("Give the function that returns the reordered arrays.")
def check_permutation(reorder: Callable, model: MLP, x: np.ndarray) -> str:
    """Judge (arrays, order) -> arrays of the same function, first hidden units in that order."""
    own, width = model.state(), model.sizes[1]
    order = np.roll(np.random.default_rng(5).permutation(width), 1)
    given = reorder({name: array.copy() for name, array in own.items()}, order.copy())
    if not isinstance(given, dict) or set(given) != set(own):
        raise Hint(f"Return a dictionary with all of {', '.join(own)}.")
    if width > 1 and np.array_equal(given["W1"], own["W1"]):
        raise Hint("W1 is as it was: its columns, one a unit, should stand in the new order.")
    other = copy.deepcopy(model)
    other.load_state(given)
    error = relative_error(other.forward(x), model.forward(x))
    if error > 1e-3:
        raise Hint(_out_of_order(given, own, order))
    ways = math.lgamma(width + 1) / math.log(10)
    return (
        f"Other weights, the same answers (logits differ by {error:.0e} of the largest, by "
        f"rounding). {width} units can be put in {width}! ≈ $10^{{{ways:.0f}}}$ orders, and all of "
        "these nets are one. So “unit 7” means nothing across two nets: compare what units do, "
        "not their numbers."
    )


def _out_of_order(given: dict, own: dict, order: np.ndarray) -> str:
    """Say which array does not follow the first one's order."""
    back = np.argsort(order)
    used = back if np.array_equal(given["W1"], own["W1"][:, back]) else order
    if not np.array_equal(given["W1"], own["W1"][:, used]):
        return "The columns of W1 do not stand in the given order: unit `order[0]` comes first."
    if not np.array_equal(given["b1"], own["b1"][used]):
        return "W1 is in order. But a unit also adds a number of its own, which it left behind."
    if np.array_equal(given["W2"], own["W2"]):
        return (
            "W1 and b1 are in order. But the next layer still listens to place 0 as if the old "
            "unit stood there: what in W2 belongs to a unit?"
        )
    if np.array_equal(given["W2"], own["W2"][np.argsort(used)]):
        return "The rows of W2 went the opposite way: they took the inverse of the order of W1."
    if len(set(own["W2"].shape)) == 1 and np.array_equal(given["W2"], own["W2"][:, used]):
        return (
            "Those are the columns of W2, the units of the layer after. A unit *speaks* to a row."
        )
    return "W1 and b1 are in order, W2 is not: each unit needs its outgoing weights beside it."


# ---------------------------------------------------------------- dead units


def with_odd_units(model: MLP, train: Split, seed: int) -> MLP:
    """Return a copy in whose first hidden layer some units are dead, some quiet, one unheard."""
    odd, width = copy.deepcopy(model), model.sizes[1]
    few = max(1, width // 20)
    dead, quiet, unheard = np.split(
        np.random.default_rng([seed, 51]).permutation(width)[: 2 * few + 1], [few, 2 * few]
    )
    bias, weights = odd.parameters["b1"], odd.parameters["W1"]
    sums = train.x @ weights[:, quiet] + bias[quiet]  # (N, units)
    once = max(2, len(train) // 2000)  # images that a quiet unit still answers to
    highest = np.sort(sums, axis=0)[::-1]
    bias[quiet] -= (highest[once - 1] + highest[once]) / 2
    bias[dead] = -1000
    odd.parameters["W2"][unheard] = 0
    return odd


def _first_hidden(model: MLP, split: Split) -> np.ndarray:
    starts = range(0, len(split), PIECE)
    return np.concatenate([model.hidden(split.take(slice(s, s + PIECE)).x)[0] for s in starts])


@check("Put a list of unit numbers in place of `None`; an empty list means none.")
def check_dead_units(units: list[int], model: MLP, train: Split) -> str:
    """Judge which units of the first hidden layer say the same to every training image."""
    acts = _first_hidden(model, train)  # (N, H)
    dead = np.flatnonzero(np.ptp(acts, axis=0) == 0)
    if np.size(units) and np.array_equal(np.unique(units) - 1, dead):
        raise Hint("Each of these is one too high: units count from 0.")
    given = rows(units, "The units", acts.shape[1])
    extra, missing = np.setdiff1d(given, dead), np.setdiff1d(dead, given)
    if len(extra):
        raise Hint(_alive(int(extra[0]), acts[:, extra[0]], model))
    if len(missing):
        raise Hint(f"{len(given)} of {len(dead)} found. These are dead, and there are more.")
    if not len(dead):
        return "None: with this activation every unit still says something to somebody."
    return (
        f"{', '.join(map(str, dead))}: the same output for all {len(acts):,} training images, so "
        "no gradient, so no way back. They could be cut out without changing a single answer."
    )


def _alive(unit: int, acts: np.ndarray, model: MLP) -> str:
    if not model.parameters["W2"][unit].any():
        return (
            f"Unit {unit} does speak, but all its outgoing weights are 0: nobody listens. That is "
            "another illness, and a curable one, for its weights still get a gradient."
        )
    _, counts = np.unique(acts, return_counts=True)
    return (
        f"Unit {unit} is alive: for {len(acts) - counts.max():,} of {len(acts):,} training images "
        "it says something else than usual. Quiet is not dead, and a small sample cannot tell "
        "them apart."
    )


# ---------------------------------------------------------------- who decided


@check("Give the function that returns what each unit adds.")
def check_contributions(
    contributions: Callable, model: MLP, x: np.ndarray, answer: np.ndarray, rival: np.ndarray
) -> str:
    """Judge row -> (H,): what each unit of the last hidden layer adds to answer minus rival."""
    hidden = model.hidden(x[:5])[-1]  # (5, H)
    weights = model.parameters[f"W{len(model.sizes) - 1}"]  # (H, K)
    for row, h in enumerate(hidden):
        given = np.asarray(contributions(row), dtype=float).squeeze()
        if given.shape != h.shape:
            raise Hint(
                f"The last hidden layer has {len(h)} units, so there should be {len(h)} numbers; "
                f"yours have shape {given.shape}."
            )
        win, lose = weights[:, answer[row]], weights[:, rival[row]]  # (H,) each
        if relative_error(given, h * (win - lose)) > 1e-3:
            raise Hint(_miscounted(given, h, win, lose))
    share = np.sort(given)[::-1]
    return (
        "They add up to the lead, but for what the biases give. For the last image that was "
        f"tried they sum to {share.sum():.1f}: the three units most in favour add "
        f"{share[:3].sum():.1f}, and {(share < 0).sum()} of {len(share)} spoke against the answer."
    )


def _miscounted(given: np.ndarray, h: np.ndarray, win: np.ndarray, lose: np.ndarray) -> str:
    known = {
        "That is what each unit says, not what it weighs. A loud unit that nobody listens to "
        "decides nothing.": h,
        "That is how each unit is listened to, not what it says: for another image it would be the "
        "same.": win - lose,
        "That is the case for the answer alone. A unit that lifts the rival as much decides "
        "nothing.": h * win,
        "The sign is the other way round: positive should speak for the answer.": h * (lose - win),
        "The signs are gone: a unit that speaks against the answer should be negative.": np.abs(
            h * (win - lose)
        ),
    }
    for hint, wrong in known.items():
        if relative_error(given, wrong) < 1e-3:
            return hint
    return (
        f"They add up to {given.sum():.3f}, and should to {(h * (win - lose)).sum():.3f}. Does a "
        "unit come from the last hidden layer, and are its two outgoing weights those of answer "
        "and rival?"
    )
