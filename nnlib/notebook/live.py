"""What is shown again and again in a notebook: curves while a net learns, a search as it goes.

All of it is an ordinary output of its cell, shown again in its place: what it showed last is what
the saved notebook, the page and the PDF show. It needs no widget.
"""

import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, repeat
from typing import Any

import pandas as pd
from IPython import get_ipython

from nnlib.notebook import axes
from nnlib.notebook.output import show_drawing, table
from nnlib.notebook.trace import Trace
from nnlib.runs import Progress

FASTEST = 0.3  # seconds between two drawings, at least
SHARE = 0.008  # of its time that training gives to curves; their last drawing comes on top
PAUSE = 0.4  # seconds between two showings of a search, at least
CURVES = {"left": 0.07, "right": 0.98, "bottom": 0.16, "top": 0.96, "wspace": 0.22}
Drawn = tuple[Any, str, str]  # a figure, its caption, its description
Draw = Callable[[], Drawn]


def attended() -> bool:
    """Return whether somebody sits at the notebook: whoever runs it alone answers no questions."""
    kernel = getattr(get_ipython(), "kernel", None)
    return bool(kernel and kernel.get_parent().get("content", {}).get("allow_stdin"))


def places() -> Iterator[dict[str, Any]]:
    """Return, as `display` takes it, where an output is shown again: in the place of its first.

    It stays there, whichever cell runs by then.
    """
    name = uuid.uuid4().hex
    return ({"display_id": name, "update": again} for again in chain([False], repeat(True)))


# --- figures


class LiveFigure:
    """A figure that is drawn again in its place, as SVG; its last drawing stays.

    It looks as one of `show` does. `draw` returns it with caption and alt text, and is called when
    it is due: at most every `least` seconds, within `share` of time. The last drawing has what is
    `beside` it for exports.
    """

    def __init__(self, name: str, draw: Draw, share: float, least: float = FASTEST) -> None:
        self.name, self.draw, self.share, self.least = name, draw, share, least
        self.places, self.beside, self.due = places(), {}, 0.0

    def show(self, last: bool = False) -> None:
        """Draw now; only the `last` drawing is kept, and as PNG, too."""
        start = time.perf_counter()
        fig, caption, alt = self.draw()
        kinds, beside = (("svg", "png"), self.beside) if last else (("svg",), {})
        place = next(self.places)
        show_drawing(axes.plain(fig), kinds, self.name, caption, alt, beside, **place)
        now = time.perf_counter()
        self.due = now + max(self.least, (now - start) / self.share)

    def show_if_due(self) -> bool:
        """Draw if it is time to, and tell whether it was."""
        if due := time.perf_counter() >= self.due:
            self.show()
        return due


def side_by_side(height: float, box: Mapping[str, float]) -> tuple[Any, Any]:
    """Return a figure with two panels in fixed places, which saves arranging them every time."""
    return axes.figure(height, 1, 2, layout="none", gridspec_kw=dict(box))


class LiveCurves(LiveFigure):
    """Loss and accuracy of a run in one figure that grows while `fit` runs.

    `history = nnlib.fit(…, on_progress=LiveCurves("03-live"))` draws at most three times a second
    and so seldom that training loses less than 3 % of its time; the last drawing stays.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, self._draw, SHARE)
        self.trace = Trace()
        self.fig, self.axes = side_by_side(2.6, CURVES)
        self.show()  # what takes longest is done before training begins
        self.due = time.perf_counter() + FASTEST

    def __call__(self, progress: Progress) -> None:
        """Take in what the loop tells, and draw if it is time to."""
        self.trace(progress)
        self.show_if_due()

    def close(self) -> None:
        """Draw what there is in the end."""
        self.show(last=True)

    def _draw(self) -> Drawn:
        axes.running(self.axes, {"": self.trace})
        alt = "Loss and accuracy against the epoch, pale lines for training, marked for validation"
        if (now := self.trace.last) is None:
            return self.fig, "Training has not begun.", f"{alt}: still empty."
        best, first = self.trace.history.best, self.trace.loss[0]
        text = f"Epoch {now.epoch} of {now.epochs}: training loss {now.loss:.3f}"
        text += f", training accuracy {now.accuracy:.1%}"
        if best and not math.isnan(best["val_accuracy"]):
            found = f"{best['val_accuracy']:.1%} in epoch {best['epoch']}"
            text += f", best validation accuracy {found}"
        alt += f". The training loss goes from {first:.2f} to {now.loss:.2f}."
        return self.fig, f"{text}.", alt


# --- the table of a search


class SearchTable:
    """The best trials of a search as it goes, how many are done, and how long the rest may take.

    Give it to `run_search` as `on_trial`, and what that returns to `close`, whose showing stays.
    `names` are headings for settings; `top` is the number of rows.
    """

    def __init__(self, title: str, names: Mapping[str, str] | None = None, top: int = 5) -> None:
        self.title, self.top = title, top
        self.names = {"val_accuracy": "accuracy", **(names or {})}
        self.places, self.ended = places(), 0
        self.start = self.drawn = time.monotonic()
        table([], f"{title}: no trial has ended yet.", **next(self.places))

    def __call__(self, row: dict[str, Any], result: Any) -> None:
        """Take note of a trial that ended; draw a few times a second at most."""
        self.ended, now = self.ended + 1, time.monotonic()
        if now - self.drawn >= PAUSE:
            self.drawn = now
            best, left = result.best.get("val_accuracy"), result.planned - len(result.rows)
            so_far = f", best so far {best:.2%}" if best else ""
            wait = _duration((now - self.start) / self.ended * left)
            done = f"{len(result.rows)} of {result.planned} trials done"
            self._show(result, f"{self.title}: {done}{so_far}; about {wait} left.")

    def close(self, result: Any) -> None:
        """Show what the search has come to."""
        rows, planned = len(result.rows), result.planned
        all_of_them = f"{rows} trials" if rows == planned else f"{rows} trials; {planned} planned"
        best = f"the best {min(self.top, rows)} of {all_of_them}"
        self._show(result, f"{self.title}: {best}, in {_duration(result.seconds)}.")

    def _show(self, result: Any, caption: str) -> None:
        state = [] if result.plan.pruner == "none" else ["state"]
        columns = [*result.plan.space, "val_accuracy", "best_epoch", "seconds", *state]
        best = pd.DataFrame(result.rows[: self.top], columns=columns).map(_number_if_digits)
        table(best.rename(columns=self.names), caption, {"seconds": "{:.1f}"}, **next(self.places))


def _number_if_digits(value: Any) -> Any:
    """Return the width of a single layer, which searches write as text, as a number."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
