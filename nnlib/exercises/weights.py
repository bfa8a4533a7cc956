"""Exercises of notebook 05: a net in another order, who decided."""

import copy
import math
from collections.abc import Callable

import numpy as np

from nnlib.exercises.verdicts import check, compare, expect, near
from nnlib.network import MLP

# ---------------------------------------------------------------- the same net in another order


@check("Give the function that returns the reordered arrays.")
def check_permutation(reorder: Callable, model: MLP, x: np.ndarray) -> str:
    """Judge (arrays, order) -> arrays of the same function, first hidden units in that order."""
    own, width = model.state(), model.sizes[1]
    order = np.roll(np.random.default_rng(5).permutation(width), 1)
    given = reorder({name: array.copy() for name, array in own.items()}, order.copy())
    whole = isinstance(given, dict) and set(given) == set(own)
    expect(whole, f"Return a dictionary with all of {', '.join(own)}.")
    _in_order(given, own, order)
    other = copy.deepcopy(model)
    other.load_state(given)
    same = near(other.forward(x), model.forward(x), 1e-3)
    expect(same, "W1, b1 and W2 are in order, but the net computes something else.")
    ways = math.lgamma(width + 1) / math.log(10)
    return (
        f"Other weights, the same answers. {width} units can be put in {width}! ≈ "
        f"$10^{{{ways:.0f}}}$ orders, and all of these nets are one. So “unit 7” means nothing "
        "across two nets: compare what units do, not their numbers."
    )


def _in_order(given: dict, own: dict, order: np.ndarray) -> None:
    """Raise the hint to the first array that does not follow the order, read either way."""
    if np.array_equal(given["W1"], own["W1"][:, np.argsort(order)]):
        order = np.argsort(order)
    unmoved = {"W1 is as it was: its columns should stand in the new order.": own["W1"]}
    otherwise = "The columns of W1 do not stand in the given order: unit `order[0]` comes first."
    compare(given["W1"], own["W1"][:, order], unmoved, otherwise, 0)
    alone = "W1 is in order. But a unit also adds a number of its own, which it left behind."
    compare(given["b1"], own["b1"][order], {}, alone, 0)
    w2, square = own["W2"], own["W2"].shape[0] == own["W2"].shape[1]
    mistakes = {
        "W1 and b1 are in order. But what in W2 belongs to a unit?": w2,
        "The rows of W2 took the inverse order.": w2[np.argsort(order)],
        "Those are the columns of W2, but a unit *speaks* to a row.": w2[:, order] if square else 0,
    }
    otherwise = "W1 and b1 are in order, W2 is not: each unit needs its outgoing weights beside it."
    compare(given["W2"], w2[order], mistakes, otherwise, 0)


# ---------------------------------------------------------------- who decided


@check("Give the function that returns what each unit adds.")
def check_contributions(
    contributions: Callable, model: MLP, x: np.ndarray, answer: np.ndarray, rival: np.ndarray
) -> str:
    """Judge row -> (H,): what each unit of the last hidden layer adds to answer minus rival."""
    weights = model.parameters[f"W{len(model.sizes) - 1}"]  # (H, K)
    for row, h in enumerate(model.hidden(x[:5])[-1]):  # (H,)
        given = np.asarray(contributions(row), dtype=float).squeeze()
        count = f"The last hidden layer has {len(h)} units, so there should be {len(h)} numbers"
        expect(given.shape == h.shape, f"{count}; yours have shape {given.shape}.")
        win, lose = weights[:, answer[row]], weights[:, rival[row]]  # (H,) each
        votes = h * (win - lose)
        mistakes = {
            "That is what each unit says, but not whether anybody listens.": h,
            "That is how each unit is listened to, not what it says.": win - lose,
            "That is the case for the answer alone; it may lift the rival as much.": h * win,
            "The sign is the other way round: positive should speak for the answer.": -votes,
            "The signs are gone: a unit that speaks against the answer is negative.": abs(votes),
        }
        sums = f"They add up to {given.sum():.3f}, and should to {votes.sum():.3f}"
        otherwise = f"{sums}. Is it the last hidden layer, and the weights of answer and rival?"
        compare(given, votes, mistakes, otherwise, 1e-3)
    share = np.sort(given)[::-1]
    return (
        "They add up to the lead, but for what the biases give. For the last image that was "
        f"tried they sum to {share.sum():.1f}: the three units most in favour add "
        f"{share[:3].sum():.1f}, and {(share < 0).sum()} of {len(share)} spoke against the answer."
    )
