"""Exercises of notebook 04: logarithmic or not, seeds against chance."""

import math
from statistics import NormalDist

import numpy as np

from nnlib.exercises.verdicts import check, compare, expect, near, number

SCALES = {"uniform": np.asarray, "log": np.log}


@check("Put a share, a number between 0 and 1, in place of each `None`.", answers=2)
def check_shares(
    uniform: float, log: float, bounds: tuple[float, float], sought: float, factor: float
) -> str:
    """Judge the shares of trials from sought / factor to sought · factor, drawn both ways."""
    given = {"uniform": number(uniform, "The first share"), "log": number(log, "The second share")}
    zone = [sought / factor, sought * factor]
    truth = _shares(np.clip(zone, *bounds), bounds)
    uncut, above = _shares(zone, bounds), _shares(np.clip([sought, zone[1]], *bounds), bounds)
    other = {"uniform": truth["log"], "log": truth["uniform"]}
    swapped = all(near(given[k], other[k]) and not near(given[k], truth[k]) for k in SCALES)
    expect(not swapped, "Both numbers are right, but they have changed places.")
    for kind, lengths in (("uniform", "differences"), ("log", "logarithms")):
        where = f"For the {kind} range"
        mistakes = {
            f"{where}: those are percent; a share lies between 0 and 1.": 100 * truth[kind],
            f"{where}: a part of the zone lies outside, where nothing is drawn.": uncut[kind],
            f"{where}: that is measured along the other scale.": other[kind],
            f"{where}: that is the part of the zone above the best alone.": above[kind],
        }
        way = "less" if given[kind] > truth[kind] else "more"
        ratio = f"length of the zone over length of the range, both as {lengths}"
        otherwise = f"{where} it is {way}: {ratio}."
        compare(given[kind], truth[kind], mistakes, otherwise)
    return (
        f"{truth['uniform']:.1%} of the trials against {truth['log']:.1%}. Uniform draws spend "
        f"themselves on the largest rates: half of them lie above {sum(bounds) / 2:.2g}."
    )


def _shares(zone: np.ndarray, bounds: tuple[float, float]) -> dict[str, float]:
    return {kind: np.ptp(scale(zone)) / np.ptp(scale(bounds)) for kind, scale in SCALES.items()}


# ---------------------------------------------------------------- how many seeds


@check("Put a whole number of seeds in place of `None`.")
def check_seeds(seeds: int, sd: float, difference: float) -> str:
    """Judge the seeds each of two settings needs: difference ≥ 2 standard errors of it."""
    given = number(seeds, "The number of seeds")
    exact = 2 * (2 * sd / difference) ** 2
    truth = max(2, math.ceil(exact - 1e-9))
    whole = given == round(given)
    expect(whole, f"{given:g} is no number of runs. To which side must it be rounded?")
    expect(given >= 2, "A single run, or none, does not tell how far runs differ: two at least.")
    mistakes = {
        "Rounded down, the difference is a little less than two standard errors.": exact // 1,
        "That would do for one mean; of two means, the variances add up.": math.ceil(exact / 2),
        "A standard error falls with the square root of the runs.": math.ceil(math.sqrt(exact)),
        "That makes it one standard error; two were asked for.": math.ceil(exact / 4),
    }
    way = "fewer" if given > truth else "more"
    otherwise = f"It takes {way}. A difference of means has the standard error sd · √(2/n)."
    compare(given, truth, mistakes, otherwise, 0.05)
    often, once = (_ahead(runs, sd, difference) for runs in (truth, 1))
    better = f"The better setting then comes out ahead in {often:.0%} of such comparisons"
    return f"{truth} seeds each. {better}; with a single run each, in {once:.0%}."


def _ahead(runs: int, sd: float, difference: float) -> float:
    """Return how often the better of two settings has the higher mean."""
    error = sd * math.sqrt(2 / runs)
    return NormalDist().cdf(difference / error) if error else 1.0
