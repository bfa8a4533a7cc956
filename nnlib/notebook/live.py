"""What is drawn again and again in a notebook while a net learns.

All figures are ordinary outputs of their cell, drawn again in their place: what they showed last
is what the saved notebook, the page and the PDF show. They need no widget.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from IPython import get_ipython

from nnlib.notebook import plots
from nnlib.notebook.output import LiveFigure
from nnlib.notebook.trace import Trace
from nnlib.trainer import Progress
from nnlib.widgets.playground import JUDGED, Playground, Run

FASTEST = 0.3  # seconds between two drawings, at least
SHARE = 0.015  # of its time that training gives to curves; their last drawing comes on top
WATCHED_SHARE = 0.4  # the same in the playground, where the reader came to watch
UNITS = 24  # whose weights are shown
BESIDE = {"left": 0.07, "right": 0.98, "bottom": 0.16, "top": 0.96, "wspace": 0.22}
INSIDE = {"left": 0.01, "right": 0.99, "bottom": 0.27, "top": 0.97, "wspace": 0.38}
Drawn = tuple[Any, str, str]  # a figure, its caption, its description


def attended() -> bool:
    """Return whether somebody sits at the notebook: whoever runs it alone answers no questions."""
    kernel = getattr(get_ipython(), "kernel", None)
    return bool(kernel and kernel.get_parent().get("content", {}).get("allow_stdin"))


class Drawing:
    """A live figure drawn when it is due: at most every `least` seconds, within `share` of time."""

    def __init__(
        self, name: str, draw: Callable[[], Drawn], share: float, least: float = FASTEST
    ) -> None:
        self.figure, self.draw, self.share, self.least = LiveFigure(name), draw, share, least
        self.due = 0.0

    def show(self, last: bool = False) -> None:
        """Draw now."""
        start = time.perf_counter()
        fig, caption, alt = self.draw()
        self.figure.show(plots.svg(fig), caption, alt, last)
        now = time.perf_counter()
        self.due = now + max(self.least, (now - start) / self.share)

    def show_if_due(self) -> bool:
        """Draw if it is time to, and tell whether it was."""
        due = time.perf_counter() >= self.due
        if due:
            self.show()
        return due


class LiveCurves:
    """Loss and accuracy of a run in one figure that grows while `fit` runs.

    `history = nnlib.fit(…, on_progress=LiveCurves("03-live"))` draws at most three times a second
    and so seldom that training loses less than 3 % of its time; the last drawing stays.
    """

    def __init__(self, name: str) -> None:
        self.trace = Trace()
        self.fig, self.axes = _side_by_side(2.6, BESIDE)
        self.drawing = Drawing(name, self._draw, SHARE)
        self.drawing.show()  # what takes longest is done before training begins
        self.drawing.due = time.perf_counter() + FASTEST

    def __call__(self, progress: Progress) -> None:
        """Take in what the loop tells, and draw if it is time to."""
        self.trace(progress)
        self.drawing.show_if_due()

    def close(self) -> None:
        """Draw what there is in the end."""
        self.drawing.show(last=True)

    def _draw(self) -> Drawn:
        plots.running(self.axes, {"": self.trace})
        return self.fig, *_in_words(self.trace)


def _side_by_side(height: float, box: dict[str, float]) -> tuple[Any, Any]:
    """Return a figure with two panels in fixed places, which saves arranging them every time."""
    return plots.figure(height, 1, 2, layout="none", gridspec_kw=box)


def _in_words(trace: Trace) -> tuple[str, str]:
    """Return caption and description of a run's curves."""
    alt = "Loss and accuracy against the epoch, pale lines for training, marked for validation"
    if trace.last is None:
        return "Training has not begun.", f"{alt}: still empty."
    loss, accuracy, best = trace.last.loss, trace.last.accuracy, trace.best
    text = f"Epoch {trace.last.epoch} of {trace.last.epochs}: training loss {loss:.3f}"
    text += f", training accuracy {accuracy:.1%}"
    if best and not math.isnan(best["val_accuracy"]):
        text += f", best validation accuracy {best['val_accuracy']:.1%} in epoch {best['epoch']}"
    return f"{text}.", f"{alt}. The training loss goes from {trace.loss[0]:.2f} to {loss:.2f}."


class Board:
    """Two figures of a playground: NAME-curves of its runs, and NAME-inside of the one chosen."""

    def __init__(self, playground: Playground, name: str) -> None:
        self.playground = playground
        self.chosen: Run | None = None  # whose inside is shown
        self.fig, self.axes = _side_by_side(2.6, BESIDE)
        self.curves = Drawing(f"{name}-curves", self._draw_curves, WATCHED_SHARE)
        self.inside = Drawing(f"{name}-inside", self._draw_inside, WATCHED_SHARE, least=1.0)

    def watch(self, run: Run) -> None:
        """Train a run and wait for its end, or for an interrupt."""
        self.chosen = run
        try:
            for _ in self.steps(run):
                pass
        except KeyboardInterrupt:
            self.ended(run)

    def steps(self, run: Run) -> Iterator[None]:
        """Train a run; after each step draw what is due."""
        self.curves.due = self.inside.due = 0.0
        epochs = None
        for _ in self.playground.learn(run):
            if epochs != len(run.history.rows):
                epochs = len(run.history.rows)
                self.list_runs()
            if self.curves.show_if_due():
                self.say(standing(run))
            self.inside.show_if_due()
            yield
        self.ended(run)

    def ended(self, run: Run) -> None:
        """Show how a run ended."""
        self.redraw()
        self.say(run.problem or standing(run), wrong=bool(run.problem))

    def redraw(self) -> None:
        """Show everything as it stands, to stay."""
        self.list_runs()
        for drawing in (self.curves, self.inside):
            drawing.show(last=True)

    def list_runs(self) -> None:
        """List the runs, where there is a place for it."""

    def say(self, text: str, wrong: bool = False) -> None:
        """Say where training is, or what is wrong, where there is a place for it."""

    def _draw_curves(self) -> Drawn:
        runs, chance = self.playground.runs, math.log(len(self.playground.data.classes))
        traces = {f"{run.number} {run.name}": run.trace for run in runs}
        plots.running(self.axes, traces, [run.number - 1 for run in runs], 1.3 * chance)
        alt = f"Loss and accuracy against the epoch, a colour for each of {len(runs)} runs; pale"
        alt += " lines for training, marked ones for validation."
        return self.fig, f"{best_of(runs)} Pale lines: training; marked: validation.", alt

    def _draw_inside(self) -> Drawn:
        fig, (left, right) = _side_by_side(3.3, INSIDE)
        if self.chosen is None:
            plots.bare(left)
            plots.bare(right)
            return fig, "There is no run to look into.", "Two empty panels: there is no run."
        run, data = self.chosen, self.playground.data
        weights = run.first_weights(UNITS)  # (D, H)
        plots.weight_images(left, weights, data.image_shape, columns=6)
        plots.mistakes(right, run.confusion(), data.classes)
        units = run.trainer.model.sizes[1]
        text = f"Run {run.number} after {run.trace.done:.1f} epochs. Left, the incoming weights of"
        text += f" {weights.shape[1]} of {units} units of its first layer; right, its errors on"
        text += f" {min(len(data.val), JUDGED):,} validation images, in percent of the true class."
        alt = "Left, small pictures of weights, blue negative and red positive; right, a square of"
        alt += " true classes against answers whose coloured cells are mistakes."
        return fig, text, alt


def standing(run: Run) -> str:
    """Say in one line where a run is."""
    now = run.trace.last
    if now is None:
        return f"Run {run.number} {run.state}."
    return (
        f"Run {run.number} {run.state}: epoch {run.trace.done:.1f} of {now.epochs}, "
        f"learning rate {now.lr:.3g}, training loss {now.loss:.3f}, accuracy {now.accuracy:.1%}"
    )


def best_of(runs: list[Run]) -> str:
    """Say which run is best so far."""
    judged = [run for run in runs if run.history.best]
    if not judged:
        return "No epoch is finished yet."
    winner = max(judged, key=lambda run: run.history.best["val_accuracy"])
    best = winner.history.best
    among = f"Best of {len(runs)} runs is" if len(runs) > 1 else "Run"
    return (
        f"{among} {winner.number} ({winner.name}): {best['val_accuracy']:.1%} of the validation "
        f"images right in epoch {best['epoch']}."
    )
