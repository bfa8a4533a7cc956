"""What a user may give, and the one line they read when it is something else.

Every check returns the value it was given, in its plain Python type, or raises InputError with
the thing, the value and what would do.
"""

import math
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

MOST = 10**9  # of what is counted: more of it would never end
LITTLE = 2**28  # bytes of memory that are there without asking


class InputError(ValueError):
    """A mistake in what the user gave; its message is one line and says what to do."""


def _number(name: str, value: Any, within: Callable[[float], bool], what: str) -> float:
    value = plain(value)
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if not (numeric and abs(value) <= sys.float_info.max and within(value)):
        raise InputError(f"{name} must be {what}, got {value!r}")
    return float(value)


def plain(value: Any) -> Any:
    """Return NumPy's numbers, texts and arrays as Python's own, anything else as it is."""
    if isinstance(value, np.floating):
        return float(value)
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def flag(name: str, value: bool) -> bool:
    """Return True or False; a text is neither, for "false" would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def finite(name: str, value: float) -> float:
    """Return a number that is neither infinite nor NaN."""
    return _number(name, value, lambda v: True, "a finite number")


def instance(name: str, value: Any, kind: Any) -> Any:
    """Return an object of the kind that is wanted."""
    if not isinstance(value, kind):
        shown = " ".join(repr(value).split())[:80]
        raise InputError(f"{name} must be of type {kind.__name__}, got {shown}")
    return value


def positive(name: str, value: float) -> float:
    """Return a finite number > 0."""
    return _number(name, value, lambda v: v > 0, "> 0")


def not_negative(name: str, value: float) -> float:
    """Return a finite number >= 0."""
    return _number(name, value, lambda v: v >= 0, ">= 0")


def fraction(name: str, value: float) -> float:
    """Return a number in [0, 1)."""
    return _number(name, value, lambda v: 0 <= v < 1, "at least 0 and below 1")


def whole(name: str, value: int, least: int = 0, most: int | None = None) -> int:
    """Return a whole number >= least, and <= most where there is one."""
    value = plain(value)
    integral = isinstance(value, int) and not isinstance(value, bool)
    if not integral or value < least or (most is not None and value > most):
        what = f">= {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{name} must be a whole number {what}, got {value!r}")
    return value


def count(name: str, value: Any, least: int = 0) -> int:
    """Return a whole number >= least that a run can reach."""
    return whole(name, whole(name, value, least), least, MOST)


def memory(name: str, need: int) -> None:
    """Raise InputError where so many bytes are more than what is free."""
    if need > LITTLE and need > (free := _free_memory()):
        sizes = f"{need / 2**30:,.1f} GiB of memory, of which {free / 2**30:,.1f} are free"
        raise InputError(f"{name} needs {sizes}: choose something smaller, or close programs")


def _free_memory() -> float:
    """Return the bytes that Linux calls available, to all and in this container; else infinity."""
    free = [math.inf]
    with suppress(OSError, TypeError):
        text = Path("/proc/meminfo").read_text()
        free.append(1024 * int(re.search(r"MemAvailable: +(\d+)", text)[1]))  # type: ignore[index]
    with suppress(OSError, ValueError):
        most, used = (Path(f"/sys/fs/cgroup/memory.{n}").read_text() for n in ("max", "current"))
        free.append(int(most) - int(used))
    return min(free)


def one_of(name: str, value: Any, known: Iterable[Any]) -> Any:
    """Return a value, a name mostly, that is among the known ones."""
    if value not in (known := list(known)):
        raise InputError(f"unknown {name} {value!r}: use {', '.join(map(str, known))}")
    return value
