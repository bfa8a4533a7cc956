"""Exercises of notebook 06: how many test images, and which lead is real."""

import numpy as np

from nnlib.exercises.verdicts import check, compare, expect, number

Z = 1.96  # standard deviations: 95 % of a normal distribution
LEVEL = 0.05  # p below which a lead counts as real

# ---------------------------------------------------------------- how many test images


@check("Put a number of test images in place of `None`.")
def check_test_size(images: float, accuracy: float, margin: float) -> str:
    """Judge the test images that bring the 95 % interval of an accuracy to ± margin."""
    given = number(images, "The number of images")
    variance = accuracy * (1 - accuracy)
    truth = Z**2 * variance / margin**2
    mistakes = {
        f"The interval should reach {100 * margin:g} points to either side.": 4 * truth,
        f"That is one standard deviation; an interval of 95% takes {Z} of them.": truth / Z**2,
        f"{Z} stands outside the square root, so it counts squared as well.": truth / Z,
        "The interval shrinks with the root of the number: solve for n, and square.": truth**0.5,
        "That takes the margin in points. As a share it is a hundredth of that.": truth / 1e4,
        "That leaves out how sure one is: p (1 − p) is largest at ½.": Z**2 / 4 / margin**2,
    }
    way = "fewer" if given > truth else "more"
    otherwise = f"It takes {way}. A share p of n images has the deviation √(p (1 − p) / n)."
    compare(given, truth, mistakes, otherwise, 0.05)
    return (
        f"About {truth:,.0f}. For ± {50 * margin:.2g} points, half of that, it would be four "
        "times as many: small gains take very large test sets."
    )


# ---------------------------------------------------------------- which lead is real

LEADS = {  # images that only the rival names right, that only our net does, nets tried
    "small but steady": (11, 1, 1),
    "large but restless": (33, 20, 1),
    "best of many": (20, 8, 100),
}


def rivals(answer: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, dict, dict]:
    """Return our answers (N,), those of rivals {"A": (N,), …}, and of how many each is the best.

    Where our net makes too few mistakes for rivals to be ahead, some are added.
    """
    rng, classes = np.random.default_rng([seed, 61]), max(2, int(y.max()) + 1)
    ours, needed = answer.copy(), max(only for only, _, _ in LEADS.values())
    spare = rng.permutation(np.flatnonzero(ours == y))[: max(0, needed - int((ours != y).sum()))]
    ours[spare] = (y[spare] + 1) % classes
    made, tries = {}, {}
    for letter, kind in zip("ABC", rng.permutation(list(LEADS)), strict=True):
        better, worse, tries[letter] = LEADS[str(kind)]
        won = rng.permutation(np.flatnonzero(ours != y))[:better]
        lost = rng.permutation(np.flatnonzero(ours == y))[:worse]
        made[letter] = ours.copy()
        made[letter][won], made[letter][lost] = y[won], (y[lost] + 1) % classes
    return ours, made, tries


@check("Put True or False behind each letter, as in `{'A': True, …}`, in place of `None`.")
def check_rivals(
    better: dict[str, bool], ours: np.ndarray, others: dict, tries: dict, y: np.ndarray
) -> str:
    """Judge which rivals are shown to be better than ours, at 5 %, all tries counted."""
    whole = isinstance(better, dict) and set(better) == set(others)
    expect(whole, f"Give True or False for each of {', '.join(others)}.")
    told = []
    for letter, answers in others.items():
        only, lost, p = _mcnemar(answers, ours, y)
        real = p * tries[letter] < LEVEL
        hint = _about_rival(only - lost, p, tries[letter])
        expect(bool(better[letter]) == real, f"Rival {letter}: {hint}")
        told.append(f"{letter} {only} : {lost}, p = {p:.2g} × {tries[letter]}")
    return (
        f"{'; '.join(told)}. It is not the lead that counts but how one-sided it is, and out of "
        "how many it was picked."
    )


def _mcnemar(one: np.ndarray, other: np.ndarray, y: np.ndarray) -> tuple[int, int, float]:
    """Return how many only the one and only the other names right, and the exact p-value."""
    from scipy.stats import binomtest

    only = int(((one == y) & (other != y)).sum())
    lost = int(((one != y) & (other == y)).sum())
    return only, lost, float(binomtest(only, max(only + lost, 1)).pvalue)


def _about_rival(lead: int, p: float, tries: int) -> str:
    if p * tries < LEVEL:
        return (
            f"a lead of {lead} is small beside the interval of either accuracy. But both nets saw "
            "the same images: how do those divide on which the two disagree?"
        )
    if p < LEVEL:
        often = f"a fair coin does that once in {1 / p:.0f} throws of all these images"
        return f"{often}. But {tries} coins were thrown, and the best was picked."
    disagree = f"a lead of {lead} images, but on how many do the two disagree?"
    return f"{disagree} Would you call a coin unfair for that?"
