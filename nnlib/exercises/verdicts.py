"""What a check answers: right, not yet and why, or that there is no answer to judge.

A check is a function that works out the truth, raises `Hint` at the first thing that is wrong and
returns what is worth knowing once all is right. It is made of two steps: `expect`, a condition and
the hint where it does not hold, and `compare`, a truth and a table of the mistakes that one makes,
each with its hint. `check` makes of it what a cell calls. Whatever a reader's answer or code does,
the cell shows a verdict and never a traceback.
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

from nnlib.language import gettext as _

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
        text = "\n\n".join(map(_, self.text.split("\n\n")))
        box = f'<div class="alert alert-{colour}">\n\n**{_(words)}** {text}\n\n</div>'
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


# ---------------------------------------------------------------- what the checks are made of


def expect(good: bool, hint: str) -> None:
    """Raise the hint unless all is good."""
    if not good:
        raise Hint(hint)


def near(answer: Any, truth: Any, tolerance: float = 0.03) -> bool:
    """Return whether a number, or an array as a whole, is right to within a share of the truth."""
    if np.shape(answer) != np.shape(truth):
        return False
    off = np.linalg.norm(np.subtract(answer, truth))
    return bool(off <= tolerance * np.linalg.norm(truth) + 1e-8)


def compare(
    answer: Any, truth: Any, mistakes: Mapping[str, Any], otherwise: str, tolerance: float = 0.03
) -> None:
    """Accept the truth; else raise the hint whose value, in {hint: value}, the answer is.

    `otherwise` is the hint for an answer that is none of these. Numbers or arrays.
    """
    known = (hint for hint, value in mistakes.items() if near(answer, value, tolerance))
    expect(near(answer, truth, tolerance), next(known, otherwise))


def number(answer: Any, what: str) -> float:
    """Return an answer as a finite number, or hint that it is none."""
    value = np.asarray(answer)
    if value.dtype.kind not in "iuf" or value.size != 1 or not math.isfinite(value.item()):
        raise Hint(f"{what} should be a single number, got `{answer!r}`.")
    return float(value.item())
