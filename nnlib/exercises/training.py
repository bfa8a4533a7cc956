"""Exercises of notebook 03: the largest stable rate, six patients, a schedule to repair."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nnlib.data import Scaling, Split
from nnlib.evaluation import evaluate
from nnlib.exercises.verdicts import Hint, check, near, number
from nnlib.network import MLP
from nnlib.optim import SGD
from nnlib.runs import History
from nnlib.trainer import DivergedError, Trainer

# ---------------------------------------------------------------- how large is too large


@check("Put a learning rate in place of `None`.")
def check_stable_rate(rate: float, descent: Callable[[float], list[float]]) -> str:
    """Judge the largest rate at which the losses of `descent(rate)` never rise, to within 15 %."""
    largest = number(rate, "The rate")
    if largest <= 0:
        raise Hint(f"A learning rate is more than 0, got {largest:g}.")
    if (step := _first_rise(descent, 0.85 * largest)) is not None:
        raise Hint(
            f"Too large: at {0.85 * largest:.3g}, which is 15% less, the loss rises already, for "
            f"the first time in step {step}."
        )
    if _first_rise(descent, 1.15 * largest) is None:
        raise Hint(f"It may be larger: at {1.15 * largest:.3g}, too, the loss falls at every step.")
    return (
        f"At {0.85 * largest:.3g} the loss falls at every step, at {1.15 * largest:.3g} it does "
        "not. So sharp an edge is no accident: below it each step overshoots the valley by less "
        "than it came, above it by more."
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
    "units dead from the start": "Its loss before the first step is what it should be. How many of "
    "its units ever speak, and what gradient can pass through the others?",
}


def patients(train: Split, val: Split, seed: int) -> list[dict[str, Any]]:
    """Train six small nets, five of them ill, for 4 epochs; return a row of symptoms for each."""
    few = train.take(np.random.default_rng([seed, 31]).permutation(len(train))[:1000])
    judge = val.take(slice(0, 500))
    return [
        {"patient": letter} | _symptoms(cause, few, judge, seed)
        for letter, cause in _ward(seed).items()
    ]


def _ward(seed: int) -> dict[str, str]:
    """Return which patient has what."""
    order = np.random.default_rng([seed, 32]).permutation(list(CAUSES))
    return dict(zip("ABCDEF", map(str, order), strict=True))


def _symptoms(cause: str, part: Split, judge: Split, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, 33])
    if cause == "labels shuffled":
        part = Split(part.images, rng.permutation(part.y))
    trainer = Trainer(
        _patient(cause, part, judge, seed), part, judge, epochs=4, batch_size=32, seed=seed,
        optimizer=SGD({"rate too large": 1e3, "rate too small": 1e-6}.get(cause, 0.05)),
    )  # fmt: skip
    before, doctor = evaluate(trainer.model, part).loss, "–"
    try:
        for _ in trainer.run():
            pass
    except DivergedError as error:
        doctor = str(error)
    return {"loss before": before} | _course(trainer.history) | {"doctor": doctor}


def _patient(cause: str, part: Split, judge: Split, seed: int) -> MLP:
    inputs, classes = part.images[0].size, int(max(part.y.max(), judge.y.max())) + 1
    # a leaky unit cannot die, so that nothing keeps too large a rate from the overflow
    activation = "leaky_relu" if cause == "rate too large" else "relu"
    scaling = Scaling(0.0, 1.0 if cause == "pixels not scaled" else 1 / 255)
    model = MLP([inputs, 64, classes], activation, seed=seed, scaling=scaling)
    if cause == "units dead from the start":
        model.parameters["b1"][...] = -100
    return model


def _course(history: History) -> dict[str, float]:
    """Return what the records of a run say of its course; NaN where it broke off."""
    last = history.rows[-1] if history.rows else {}
    change = float(np.median([sample["change W1"] for sample in history.samples]))
    return {
        "loss after": last.get("train_loss", math.nan),
        "validation accuracy": last.get("val_accuracy", math.nan),
        "change of W1": change,
        "dead units": history.samples[-1].get("dead 1", math.nan),
    }


@check('Put a cause behind each letter, as in `{"A": "healthy", …}`, in place of `None`.')
def check_patients(causes: dict[str, str], seed: int) -> str:
    """Judge which of the `patients` has what."""
    ward = _ward(seed)
    if not isinstance(causes, dict) or set(causes) != set(ward):
        raise Hint(f"Give one cause for each of {', '.join(ward)}.")
    if unknown := [cause for cause in causes.values() if cause not in CAUSES]:
        raise Hint(f"`{unknown[0]!r}` is not on the list: {'; '.join(CAUSES)}.")
    wrong = [letter for letter, cause in ward.items() if causes[letter] != cause]
    if wrong:
        right = len(ward) - len(wrong)
        raise Hint(
            f"{right} of {len(ward)} are right. Patient {wrong[0]}: {CAUSES[ward[wrong[0]]]}"
        )
    return (
        "All six. Loss before the first step, change per step, dead units, validation accuracy: "
        "four numbers, and most illnesses have a name before the first epoch is over."
    )


# ---------------------------------------------------------------- a schedule to repair


@check("Give the function that returns the rate at a step.")
def check_schedule(schedule: Callable, steps: int, warmup: int, peak: float) -> str:
    """Judge (step, steps, warmup, peak) -> rate: a line up to the peak, half a cosine down to 0."""
    rate = [number(schedule(s, steps, warmup, peak), f"The rate at step {s}") for s in range(steps)]
    if not near(rate[0], 0) and abs(rate[0]) > 1e-9:
        raise Hint(f"At step 0 the rate is {rate[0]:.4g}; the line begins at 0.")
    if not near(rate[warmup], peak, 1e-6):
        raise Hint(
            f"At step {warmup}, where the warm-up ends, the rate is {rate[warmup]:.4g}, which is "
            f"{rate[warmup] / peak:.3g} times the peak. Between which two values does "
            "1 + cos swing?"
        )
    if abs(rate[-1]) > 1e-9 * peak:
        raise Hint(_late(rate[-1], steps, warmup, peak))
    truth = [_rate(s, steps, warmup, peak) for s in range(steps)]
    off = np.abs(np.subtract(rate, truth))
    if off.max() > 1e-9 * peak:
        at = int(off.argmax())
        raise Hint(
            f"Both ends are right, but at step {at} the rate is {rate[at]:.4g} where "
            f"{truth[at]:.4g} is due. Is the way up a straight line, and the way down half a "
            "cosine?"
        )
    return (
        f"0 at step 0, {peak:g} at step {warmup}, 0 at step {steps - 1}, the last one, and no jump "
        "between."
    )


def _rate(step: int, steps: int, warmup: int, peak: float, last: int = 1) -> float:
    if step < warmup:
        return peak * step / warmup
    return 0.5 * peak * (1 + math.cos(math.pi * (step - warmup) / (steps - last - warmup)))


def _late(end: float, steps: int, warmup: int, peak: float) -> str:
    """Say why a schedule does not end at 0."""
    if near(end, _rate(steps - 1, steps, warmup, peak, last=0), 1e-6):
        return (
            f"At the last step the rate is {end:.2g}, not 0. The steps are numbered from 0 to "
            f"{steps - 1}: how many lie between step {warmup} and the last?"
        )
    return (
        f"At the last step, number {steps - 1}, the rate is {end:.2g}, not 0. The fraction of the "
        f"way down must be 0 at step {warmup} and 1 at step {steps - 1}."
    )
