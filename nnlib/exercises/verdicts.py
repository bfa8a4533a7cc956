"""What a check answers: right, not yet and why, or that there is no answer to judge.

A check is a function that raises `Hint` at the first thing that is wrong and returns what is worth
knowing once all is right. `check` makes of it what a cell calls. Whatever a reader's answer or
code does, the cell shows a verdict and never a traceback.
"""

import functools
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from IPython.display import Markdown, display

PACKAGE = str(Path(__file__).parents[1])
LOOKS = {  # the colours are those of JupyterLab's and the report's alerts
    "right": ("success", "✓ Right."),
    "wrong": ("warning", "✗ Not yet."),
    "open": ("info", "○ No answer yet."),
}


class Hint(Exception):  # noqa: N818  an answer that is not right is no error
    """What is wrong with an answer and where to look; never the answer itself."""


@dataclass(frozen=True)
class Verdict:
    """A judgement, `kind` right, wrong or open, and the text that explains it (Markdown)."""

    kind: str
    text: str

    def show(self) -> None:
        """Display it below the cell, in a box whose colour says the kind."""
        colour, words = LOOKS[self.kind]
        box = f'<div class="alert alert-{colour}">\n\n**{words}** {self.text}\n\n</div>'
        display(Markdown(box))


class Check:
    """A check that is called in a cell: shows the verdict on an answer; `judge` returns it."""

    def __init__(self, body: Callable[..., str], ask: str, answers: int) -> None:
        functools.update_wrapper(self, body)
        self.body, self.ask, self.answers = body, ask, answers

    def __call__(self, *args: Any, **more: Any) -> None:
        """Show the verdict."""
        self.judge(*args, **more).show()

    def judge(self, *args: Any, **more: Any) -> Verdict:
        """Return the verdict."""
        if any(answer is None for answer in args[: self.answers]):
            return Verdict("open", self.ask)
        try:
            return Verdict("right", self.body(*args, **more))
        except Hint as hint:
            return Verdict("wrong", str(hint))
        except Exception as error:  # the reader's code may raise anything
            return Verdict("wrong", _told(error) or f"{self.ask} This one raises {_name(error)}.")


def check(ask: str, answers: int = 1) -> Callable[[Callable[..., str]], Check]:
    """Make a `Check` of a function whose first `answers` arguments are the reader's.

    `ask` says what to give; it is shown as long as one of them is None.
    """
    return lambda body: Check(body, ask, answers)


def _told(error: Exception) -> str:
    """Say where the reader's own code stopped, and why; nothing if it was not their code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        f for f in frames if not f.filename.startswith(PACKAGE) and "-packages" not in f.filename
    ]
    if not own:
        return ""
    line = f", `{own[-1].line}`," if own[-1].line else ""
    return f"Your code stopped in line {own[-1].lineno}{line} with {_name(error)}."


def _name(error: Exception) -> str:
    return f"`{type(error).__name__}: {' '.join(str(error).split())}`"


# ---------------------------------------------------------------- what many checks need


def number(answer: Any, what: str) -> float:
    """Return an answer as a finite number, or hint that it is none."""
    value = np.asarray(answer)
    if value.dtype.kind not in "iuf" or value.size != 1 or not math.isfinite(value.item()):
        raise Hint(f"{what} should be a single number, got `{answer!r}`.")
    return float(value.item())


def rows(answer: Any, what: str, below: int) -> np.ndarray:
    """Return an answer as distinct whole numbers from 0 to below - 1, ascending; masks too."""
    given = np.asarray(answer)
    if given.dtype == bool and given.shape == (below,):
        return np.flatnonzero(given)
    if given.size and (given.dtype.kind not in "iu" or given.ndim != 1):
        raise Hint(f"{what} should be a list of whole numbers, got `{answer!r}`.")
    given = np.unique(given).astype(int)
    if given.size and (given[0] < 0 or given[-1] >= below):
        odd = given[0] if given[0] < 0 else given[-1]
        raise Hint(f"{what} should lie between 0 and {below - 1}, and yours hold {odd}.")
    return given


def near(answer: float, truth: float, tolerance: float = 0.03) -> bool:
    """Return whether an answer is right to within a share of the truth."""
    return abs(answer - truth) <= tolerance * abs(truth)


def recognise(answer: float, mistakes: Mapping[str, float], tolerance: float = 0.03) -> None:
    """Raise the hint of the first mistake, {hint: value}, whose value the answer is."""
    for hint, value in mistakes.items():
        if near(answer, value, tolerance):
            raise Hint(hint)
