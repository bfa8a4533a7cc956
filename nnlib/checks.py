"""What a user may give, and the one line they read when it is something else.

Every check returns the value it was given, in its plain Python type, or raises InputError with
the thing, the value and what would do.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np


class InputError(ValueError):
    """A mistake in what the user gave; its message is one line and says what to do."""


def _is_number(value: Any) -> bool:
    numeric = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return numeric and math.isfinite(value)


def positive(name: str, value: float) -> float:
    """Return a finite number > 0."""
    if not _is_number(value) or value <= 0:
        raise InputError(f"{name} must be > 0, got {value!r}")
    return float(value)


def not_negative(name: str, value: float) -> float:
    """Return a finite number >= 0."""
    if not _is_number(value) or value < 0:
        raise InputError(f"{name} must be >= 0, got {value!r}")
    return float(value)


def fraction(name: str, value: float) -> float:
    """Return a number in [0, 1)."""
    if not _is_number(value) or not 0 <= value < 1:
        raise InputError(f"{name} must be at least 0 and below 1, got {value!r}")
    return float(value)


def whole(name: str, value: int, least: int = 0) -> int:
    """Return a whole number >= least."""
    integral = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not integral or value < least:
        raise InputError(f"{name} must be a whole number >= {least}, got {value!r}")
    return int(value)


def one_of(name: str, value: Any, known: Iterable[Any]) -> Any:
    """Return a value, a name mostly, that is among the known ones."""
    if value not in (known := list(known)):
        raise InputError(f"unknown {name} {value!r}: use {', '.join(map(str, known))}")
    return value
