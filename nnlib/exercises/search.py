"""Exercises of notebook 04: logarithmic or not, a range around the best, seeds against chance."""

import math

import numpy as np

from nnlib.exercises.verdicts import Hint, check, near, number, recognise
from nnlib.search.space import Range

DRAWS = 20  # trials that the check draws from a reader's range
EDGE = 0.02  # how much worse than the best both ends must be, in accuracy
GOOD = 0.05  # a trial within so much of the best counts as good
SHARE = 0.25  # of the trials that should be good


@check("Put a share, a number between 0 and 1, in place of each `None`.", answers=2)
def check_shares(
    uniform: float, log: float, bounds: tuple[float, float], sought: float, factor: float
) -> str:
    """Judge the shares of trials from sought / factor to sought · factor, drawn both ways."""
    given = {"uniform": number(uniform, "The first share"), "log": number(log, "The second share")}
    zone = sought / factor, sought * factor
    truth = _shares((max(zone[0], bounds[0]), min(zone[1], bounds[1])), bounds)
    uncut = _shares(zone, bounds)
    wrong = [kind for kind in truth if not near(given[kind], truth[kind])]
    if not wrong:
        return (
            f"{truth['uniform']:.1%} of the trials against {truth['log']:.1%}. Uniform draws spend "
            f"themselves on the largest rates: half of them lie above {sum(bounds) / 2:.2g}."
        )
    if near(given["uniform"], truth["log"]) and near(given["log"], truth["uniform"]):
        raise Hint("Both numbers are right, but they have changed places.")
    kind = wrong[0]
    where, how = f"For the {kind} range", "differences" if kind == "uniform" else "logarithms"
    other = truth["log" if kind == "uniform" else "uniform"]
    above = _shares((sought, min(zone[1], bounds[1])), bounds)
    mistakes = {
        f"{where}: those are percent; a share lies between 0 and 1.": 100 * truth[kind],
        f"{where}: a part of the zone lies outside, where no trial is ever drawn.": uncut[kind],
        f"{where}: that is measured along the other scale.": other,
        f"{where}: that is the part of the zone above the best alone.": above[kind],
    }
    recognise(given[kind], mistakes)
    raise Hint(
        f"{where} it is {'less' if given[kind] > truth[kind] else 'more'}: length of the zone over "
        f"length of the range, both as {how}."
    )


def _shares(zone: tuple[float, float], bounds: tuple[float, float]) -> dict[str, float]:
    return {
        "uniform": (zone[1] - zone[0]) / (bounds[1] - bounds[0]),
        "log": math.log(zone[1] / zone[0]) / math.log(bounds[1] / bounds[0]),
    }


# ---------------------------------------------------------------- a range around the best


@check("Put a `Range` in place of `None`.")
def check_range(space: Range, rates: np.ndarray, accuracies: np.ndarray) -> str:
    """Judge a range of learning rates by what trials drawn from it would reach.

    `accuracies` are those measured at `rates`, ascending; between them it is interpolated.
    """
    if not isinstance(space, Range):
        raise Hint(f"Give a `Range`, as in `Range(0.01, 0.1, log=True)`, not `{space!r}`.")
    if space.low < rates[0] or space.high > rates[-1]:
        raise Hint(f"Measured are rates from {rates[0]:.0e} to {rates[-1]:g}; stay within.")
    drawn = np.array([space.at((i + 0.5) / DRAWS) for i in range(DRAWS)])

    def reached(rate: np.ndarray) -> np.ndarray:
        return np.interp(np.log(rate), np.log(rates), accuracies)

    best = reached(drawn).max()
    at = drawn[reached(drawn).argmax()]
    told = f"The best of {DRAWS} trials, {best:.1%}, is at a rate of {at:.2g}."
    for end, way in ((space.low, "lower"), (space.high, "higher")):
        if reached(end) > best - EDGE:
            raise Hint(
                f"{told} But at the {way} end, {end:.2g}, it is {reached(end):.1%}, as good or "
                f"nearly so. Who says that it would not go on rising for {way} rates?"
            )
    good = int((reached(drawn) > best - GOOD).sum())
    if best < accuracies.max() - GOOD or good < SHARE * DRAWS:
        raise Hint(_sparse(told, good, drawn, space))
    return (
        f"{told} At both ends it is clearly worse ({reached(space.low):.1%} and "
        f"{reached(space.high):.1%}), so the best is inside, and {good} of {DRAWS} trials come "
        f"within {100 * GOOD:.0f} points of it: they are not wasted."
    )


def _sparse(told: str, good: int, drawn: np.ndarray, space: Range) -> str:
    return (
        f"{told} Both ends are worse, as they should be. But only {good} of {DRAWS} trials are "
        "good: "
        + (
            "the range is so wide that most of them are spent far away from the best."
            if space.log
            else f"half of them lie above {np.median(drawn):.2g}. On a uniform scale the large "
            "rates take all the room."
        )
    )


# ---------------------------------------------------------------- how many seeds


@check("Put a whole number of seeds in place of `None`.")
def check_seeds(seeds: int, sd: float, difference: float) -> str:
    """Judge the seeds each of two settings needs: difference ≥ 2 standard errors of it."""
    given = number(seeds, "The number of seeds")
    exact = 2 * (2 * sd / difference) ** 2
    truth = max(2, math.ceil(exact - 1e-9))
    if given != round(given):
        raise Hint(f"{given:g} is no number of runs. To which side must it be rounded?")
    if given < 2 <= exact or given < 2:
        raise Hint("A single run, or none, says nothing of how far runs differ: two at least.")
    if abs(given - truth) <= 0.05 * truth:
        return _sure(truth, sd, difference)
    recognise(
        given,
        {
            "Rounded down, the difference is a little less than two standard errors.": exact // 1,
            "That would do for one mean and a fixed number. Here two means are compared, and both "
            "are uncertain: their variances add up.": math.ceil(exact / 2),
            "A standard error falls with the square root of the number of runs: half of it takes "
            "four times as many.": math.ceil(math.sqrt(exact)),
            "That makes the difference as large as one standard error; two were asked for.":
                math.ceil(exact / 4),
        },
    )  # fmt: skip
    raise Hint(
        f"It takes {'fewer' if given > truth else 'more'}. With n seeds each, the standard error "
        "of the difference of the two means is sd · √(2/n); set twice that equal to the "
        "difference."
    )


def _sure(n: int, sd: float, difference: float) -> str:
    def ahead(runs: int) -> float:
        """Return how often the better setting has the higher mean."""
        error = sd * math.sqrt(2 / runs)
        return 0.5 * (1 + math.erf(difference / error / math.sqrt(2))) if error else 1.0

    return (
        f"{n} seeds each. The better setting then comes out ahead in {ahead(n):.0%} of such "
        f"comparisons; with a single run each, in {ahead(1):.0%}."
    )
