"""What a playground shows: two figures, drawn again while a run learns."""

import math
from collections.abc import Iterator

from nnlib.notebook import plots
from nnlib.notebook.live import CURVES, Drawing, Drawn, side_by_side
from nnlib.widgets.playground import JUDGED, Playground, Run

SHARE = 0.4  # of its time that training gives to figures: the reader came to watch
PICTURES = 24  # units whose weights are shown
INSIDE = {"left": 0.01, "right": 0.99, "bottom": 0.27, "top": 0.97, "wspace": 0.38}


class Board:
    """Two figures of a playground: NAME-curves of its runs, and NAME-inside of the one chosen."""

    def __init__(self, playground: Playground, name: str) -> None:
        self.playground = playground
        self.chosen: Run | None = None  # whose inside is shown
        self.fig, self.axes = side_by_side(2.6, CURVES)
        self.curves = Drawing(f"{name}-curves", self._draw_curves, SHARE)
        self.inside = Drawing(f"{name}-inside", self._draw_inside, SHARE, least=1.0)

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
        for _ in self.playground.learn(run):
            if self.curves.show_if_due():
                self.list_runs()
                self.say(run.standing)
            self.inside.show_if_due()
            yield
        self.ended(run)

    def ended(self, run: Run) -> None:
        """Show how a run ended."""
        self.redraw()
        self.say(run.problem or run.standing, wrong=bool(run.problem))

    def redraw(self) -> None:
        """Show everything as it stands, to stay."""
        self.list_runs()
        self.curves.show(last=True)
        self.inside.show(last=True)

    def list_runs(self) -> None:
        """List the runs, where there is a place for it."""

    def say(self, text: str, wrong: bool = False) -> None:
        """Say where training is, or what is wrong, where there is a place for it."""

    def _draw_curves(self) -> Drawn:
        runs, chance = self.playground.runs, math.log(len(self.playground.data.classes))
        traces = {f"{run.number} {run.name}": run.trace for run in runs}
        plots.running(self.axes, traces, [run.number - 1 for run in runs], 1.3 * chance)
        best = max(runs, key=lambda run: run.history.best.get("val_accuracy", 0.0), default=None)
        text = f"Best on validation: run {best.number} ({best.name}), {best.best}. " if best else ""
        alt = f"Loss and accuracy against the epoch, a colour for each of {len(runs)} runs."
        return self.fig, f"{text}Pale lines: training; marked: validation.", alt

    def _draw_inside(self) -> Drawn:
        fig, (left, right) = side_by_side(3.3, INSIDE)
        run, data = self.chosen, self.playground.data
        if run is None:
            plots.bare(left)
            plots.bare(right)
            return fig, "There is no run to look into.", "Two empty panels: there is no run."
        weights = run.first_weights(PICTURES)  # (D, H)
        plots.weight_images(left, weights, data.image_shape, columns=6)
        plots.mistakes(right, run.confusion(), data.classes)
        text = (
            f"Run {run.number} after {run.trace.done:.1f} epochs. Left, the incoming weights of"
            f" {weights.shape[1]} of {run.trainer.model.sizes[1]} units of its first layer; right,"
            f" errors on {min(len(data.val), JUDGED):,} validation images, in percent of a class."
        )
        alt = "Left, weights, blue negative and red positive; right, true classes against answers."
        return fig, text, alt
