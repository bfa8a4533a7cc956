"""Exercises of notebook 03: the largest stable rate, six patients, a schedule to repair."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nnlib.evaluation import evaluate
from nnlib.exercises.verdicts import check, compare, expect, near, number
from nnlib.images import Scaling, Split
from nnlib.network import MLP
from nnlib.optim import SGD, cosine
from nnlib.trainer import DivergedError, Trainer
from nnlib.training import steps

# ---------------------------------------------------------------- how large is too large


@check("Put a learning rate in place of `None`.")
def check_stable_rate(rate: float, descent: Callable[[float], list[float]]) -> str:
    """Judge the largest rate at which the losses of `descent(rate)` never rise, to within 15 %."""
    largest = number(rate, "The rate")
    expect(largest > 0, f"A learning rate is more than 0, got {largest:g}.")
    less, more = 0.85 * largest, 1.15 * largest
    early, late = _first_rise(descent, less), _first_rise(descent, more)
    rises = f"at {less:.3g}, which is 15% less, the loss rises for the first time in step {early}"
    expect(early is None, f"Too large: {rises}.")
    expect(late is not None, f"It may be larger: at {more:.3g}, too, the loss never rises.")
    return (
        f"At {less:.3g} the loss falls at every step, at {more:.3g} it does not: below the edge "
        "each step lands lower than it began, above it higher."
    )


def _first_rise(descent: Callable[[float], list[float]], rate: float) -> int | None:
    """Return the first step whose loss is not below the last, or None."""
    with np.errstate(all="ignore"):
        falls = np.diff(np.asarray(descent(rate), dtype=float)) < 0  # False for NaN as well
    return None if falls.all() else int(np.argmin(falls)) + 1


# ---------------------------------------------------------------- six patients

CAUSES = {  # each with where to look when it is missed
    "healthy": "Is anything wrong with it at all? Go along its row.",
    "rate too large": "Read its doctor's line: what happened, and in which step?",
    "rate too small": "By how much does a step change its weights? About a thousandth is usual.",
    "pixels not scaled": "Look at its loss before the first step. A net that knows nothing, and "
    "says so, has the logarithm of the number of classes, whatever the rate.",
    "labels shuffled": "Its weights move as they should, no unit is dead, and the loss comes down "
    "a little. What does it know of the validation images?",
    "units dead from the start": "Its loss before the first step is as it should be. How many of "
    "its units ever speak, and what gradient can pass through the others?",
}
RATES = {"rate too large": 1e3, "rate too small": 1e-6}


def patients(train: Split, val: Split, seed: int) -> list[dict[str, Any]]:
    """Train six small nets, five of them ill, for 4 epochs; return a row of symptoms for each."""
    few = train.take(np.random.default_rng([seed, 31]).permutation(len(train))[:1000])
    judge, ward = val.take(slice(0, 500)), _ward(seed)
    return [{"patient": who} | _symptoms(ward[who], few, judge, seed) for who in ward]


def _ward(seed: int) -> dict[str, str]:
    """Return which patient has what."""
    order = np.random.default_rng([seed, 32]).permutation(list(CAUSES))
    return dict(zip("ABCDEF", map(str, order), strict=True))


def _symptoms(cause: str, part: Split, judge: Split, seed: int) -> dict[str, Any]:
    """Return what the records say of a net's training; NaN where it broke off."""
    if cause == "labels shuffled":
        part = Split(part.images, np.random.default_rng([seed, 33]).permutation(part.y))
    trainer = Trainer(
        _patient(cause, part, judge, seed), part, judge, epochs=4, batch_size=32, seed=seed,
        optimizer=SGD(RATES.get(cause, 0.05)),
    )  # fmt: skip
    before, doctor = evaluate(trainer.model, part).loss, "–"
    try:
        for _ in steps(trainer):
            pass
    except DivergedError as error:
        doctor = str(error)
    rows, samples = trainer.history.rows or [{}], trainer.history.samples
    return {
        "loss before": before,
        "loss after": rows[-1].get("train_loss", math.nan),
        "validation accuracy": rows[-1].get("val_accuracy", math.nan),
        "change of W1": float(np.median([sample["change W1"] for sample in samples])),
        "dead units": samples[-1].get("dead 1", math.nan),
        "doctor": doctor,
    }


def _patient(cause: str, part: Split, judge: Split, seed: int) -> MLP:
    inputs, classes = part.images[0].size, int(max(part.y.max(), judge.y.max())) + 1
    # a leaky unit cannot die, so that nothing keeps too large a rate from the overflow
    activation = "leaky_relu" if cause == "rate too large" else "relu"
    scaling = Scaling(0.0, 1.0 if cause == "pixels not scaled" else 1 / 255)
    model = MLP([inputs, 64, classes], activation, seed=seed, scaling=scaling)
    if cause == "units dead from the start":
        model.parameters["b1"][...] = -100
    return model


@check('Put a cause behind each letter, as in `{"A": "healthy", …}`, in place of `None`.')
def check_patients(causes: dict[str, str], seed: int) -> str:
    """Judge which of the `patients` has what."""
    ward = _ward(seed)
    whole = isinstance(causes, dict) and set(causes) == set(ward)
    expect(whole, f"Give one cause for each of {', '.join(ward)}.")
    unknown = [cause for cause in causes.values() if cause not in CAUSES]
    expect(not unknown, f"`{unknown}` is not on the list: {'; '.join(CAUSES)}.")
    right = sum(causes[who] == cause for who, cause in ward.items())
    for who, cause in ward.items():
        hint = f"{right} of {len(ward)} are right. Patient {who}: {CAUSES[cause]}"
        expect(causes[who] == cause, hint)
    return (
        "All six. Loss before the first step, change per step, dead units, validation accuracy: "
        "four numbers, and most illnesses have a name before the first epoch is over."
    )


# ---------------------------------------------------------------- a schedule to repair


@check("Give the function that returns the rate at a step.")
def check_schedule(schedule: Callable, steps: int, warmup: int, peak: float) -> str:
    """Judge (step, steps, warmup, peak) -> rate: a line up to the peak, half a cosine down to 0."""
    rate = [number(schedule(s, steps, warmup, peak), f"The rate at step {s}") for s in range(steps)]
    last, top, end = steps - 1, rate[warmup], rate[-1]
    expect(near(rate[0], 0), f"At step 0 the rate is {rate[0]:.4g}; the line begins at 0.")
    swing = "Between which two values does 1 + cos swing?"
    times = f"At step {warmup}, the end of the warm-up, it is {top / peak:.3g} times the peak."
    expect(near(top, peak, 1e-6), f"{times} {swing}")
    otherwise = f"At the last step, number {last}, the rate is {end:.2g}, not 0."
    between = f"{otherwise} Of steps, how many lie between number {warmup} and that one?"
    late = cosine(peak, steps - warmup + 1)(last - warmup)
    compare(end, 0, {between: late}, otherwise, 1e-6)
    fall = cosine(peak, steps - warmup)
    truth = [peak * s / warmup if s < warmup else fall(s - warmup) for s in range(steps)]
    at = int(np.abs(np.subtract(rate, truth)).argmax())
    due = f"Both ends are right, but at step {at} the rate is {rate[at]:.4g}, not {truth[at]:.4g}."
    what = f"{due} Is the way up a straight line, and the way down half a cosine?"
    expect(near(rate[at], truth[at], 1e-6), what)
    return f"0 at step 0, {peak:g} at step {warmup}, 0 at step {last}, the last, without a jump."
