"""What lives in an open notebook: curves that grow while `fit` runs, and the playground's panel.

Training and widgets share one thread. The panel steps a run in an asyncio task that gives the
kernel's event loop its turn every few hundredths of a second, so that clicks, slides and other
cells are served; between two steps nothing is half done, and no lock is needed. A thread would
fight the event loop for Python's interpreter lock, and draw with matplotlib from two sides.

All figures are ordinary outputs of their cell, drawn again in their place: what they showed last
is what the saved notebook, the page and the PDF show.
"""

import asyncio
import base64
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import ipywidgets as ipw
from IPython.display import display

from nnlib import layers, optim, plots
from nnlib.data import Dataset
from nnlib.notebook import LiveFigure
from nnlib.playground import AUGMENTATIONS, JUDGED, OPTIMISERS, Knobs, Playground, Run, parse_sizes
from nnlib.progress import Trace
from nnlib.trainer import Progress

FASTEST = 0.3  # seconds between two drawings, at least
SHARE = 0.015  # of its time that training gives to curves; their last drawing comes on top
WATCHED_SHARE = 0.4  # the same in the playground, where the reader came to watch
UNITS = 24  # whose weights are shown
BESIDE = {"left": 0.07, "right": 0.98, "bottom": 0.16, "top": 0.96, "wspace": 0.22}
INSIDE = {"left": 0.01, "right": 0.99, "bottom": 0.27, "top": 0.97, "wspace": 0.38}
Drawn = tuple[Any, str, str]  # a figure, its caption, its description


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


class Panel:
    """The playground: knobs, buttons and the list of runs, with two figures below.

    Making one shows it and trains a first run with `knobs`, which is over when the cell is: so a
    notebook that nobody attends has its figures as well, NAME-curves and NAME-inside. All later
    runs learn between the cells. `playground` holds the runs. Raises InputError for a knob out
    of range.
    """

    shown: "Panel | None" = None  # running its cell again makes another, and this one stops

    def __init__(self, data: Dataset, knobs: Knobs, name: str = "playground") -> None:
        self.playground = Playground(data)
        self.chosen: Run | None = self.playground.start(knobs)  # whose inside is shown
        self.task: asyncio.Task | None = None
        self.waiting: asyncio.TimerHandle | None = None
        self.knobs, self.rows = knob_widgets(knobs, len(data.train)), {}
        self._make_buttons()
        self._show_view()
        self.fig, self.axes = _side_by_side(2.6, BESIDE)
        self.curves = Drawing(f"{name}-curves", self._draw_curves, WATCHED_SHARE)
        self.inside = Drawing(f"{name}-inside", self._draw_inside, WATCHED_SHARE, least=1.0)
        if Panel.shown:
            Panel.shown.stop()
        Panel.shown = self
        self._train_first(self.chosen)

    def _train_first(self, run: Run) -> None:
        try:
            for _ in self._steps(run):
                pass
        except KeyboardInterrupt:
            self._ended(run)

    # --- what the reader does

    def start(self, *_: Any) -> None:
        """Train a new run with the knobs as they stand, in place of the one that learns."""
        try:
            self.chosen = self.playground.start(self.values())
        except (ValueError, MemoryError) as error:
            self._say(str(error) or "this net is too large for the memory", wrong=True)
            return
        self.rate.value = 1
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._work())

    def values(self) -> Knobs:
        """Return the knobs as they stand; raises InputError for a text that cannot be read."""
        values = {name: widget.value for name, widget in self.knobs.items()}
        return Knobs(**values | {"hidden": parse_sizes(values["hidden"])})

    def stop(self, *_: Any) -> None:
        """Stop the run that learns."""
        if self.playground.learning:
            self.playground.learning.stop()

    def choose(self, run: Run) -> None:
        """Show the inside of another run."""
        self.chosen = run
        self._redraw()

    def rename(self, run: Run, name: str) -> None:
        """Call a run something else."""
        self.playground.rename(run, name)
        self._redraw()

    def remove(self, run: Run) -> None:
        """Take a run out of list and curves."""
        self.playground.remove(run)
        if self.chosen is run:
            self.chosen = self.playground.runs[-1] if self.playground.runs else None
        self._redraw()

    def _knob_turned(self, _: Any) -> None:
        """Start a run, if that is wished, as soon as the reader's hand rests."""
        if self.waiting:
            self.waiting.cancel()
        if self.auto.value:
            self.waiting = asyncio.get_running_loop().call_later(0.2, self.start)

    def _rate_turned(self, change: dict) -> None:
        if self.playground.learning:
            self.playground.learning.turn_rate(change["new"])

    # --- what the machine does

    async def _work(self) -> None:
        """Train, a step at a time, until there is nothing left to train."""
        try:
            with _interrupts_call(self.stop):
                while run := self.playground.learning:
                    for _ in self._steps(run):
                        await asyncio.sleep(0)
        except Exception as error:  # there is no cell that could show it
            self._say(f"{type(error).__name__}: {error}", wrong=True)
        finally:
            self.task = None

    def _steps(self, run: Run) -> Iterator[None]:
        """Train a run; after each step draw what is due."""
        self.curves.due = self.inside.due = 0.0
        epochs = None
        for _ in self.playground.learn(run):
            if epochs != len(run.history.rows):
                epochs = len(run.history.rows)
                self._list_runs()
            if self.curves.show_if_due():
                self._say(standing(run))
            self.inside.show_if_due()
            yield
        self._ended(run)

    def _ended(self, run: Run) -> None:
        self._redraw()
        self._say(run.problem or standing(run), wrong=bool(run.problem))

    def _redraw(self) -> None:
        self._list_runs()
        for drawing in (self.curves, self.inside):
            drawing.show(last=True)

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

    # --- widgets

    def _make_buttons(self) -> None:
        self.train = _button("Train", "play", "Train a new run with these knobs", self.start)
        self.train.button_style = "primary"
        self.halt = _button("Stop", "stop", "Stop the run that learns", self.stop)
        self.auto = ipw.Checkbox(description="train on every change", indent=False)
        self.rate = ipw.FloatLogSlider(
            value=1, min=-2, max=1, step=0.1, description="rate now ×", readout_format=".2g"
        )
        self.status, self.link, self.list = ipw.HTML(), ipw.HTML(), ipw.VBox()
        self.rate.observe(self._rate_turned, "value")
        for widget in self.knobs.values():
            widget.observe(self._knob_turned, "value")

    def _show_view(self) -> None:
        """Arrange and show the widgets, each known to style sheets and tests by its class."""
        knobs = ipw.Box(list(self.knobs.values()))
        buttons = ipw.Box([self.train, self.halt, self.auto, self.rate])
        view = ipw.VBox([ipw.HTML(STYLE), knobs, buttons, self.status, self.list, self.link])
        parts = {
            "playground": view, "knobs": knobs, "buttons": buttons, "train": self.train,
            "stop": self.halt, "auto": self.auto, "rate": self.rate, "status": self.status,
            "runs": self.list, "link": self.link,
        }  # fmt: skip
        for name, widget in (parts | self.knobs).items():
            widget.add_class(f"nnlib-{name.replace('_', '-')}")
        show_widget(view, "The playground is alive where its notebook runs in JupyterLab.")

    def _list_runs(self) -> None:
        runs, learning = self.playground.runs, self.playground.learning
        self.rows = {run: self.rows.get(run) or Row(self, run) for run in runs}
        for row in self.rows.values():
            row.refresh()
        boxes = tuple(row.box for row in self.rows.values())
        if boxes != self.list.children:
            self.list.children = boxes
        self.halt.disabled = self.rate.disabled = learning is None
        self.link.value = download_link(self.playground.csv, "playground.csv")

    def _say(self, text: str, wrong: bool = False) -> None:
        role = ' role="alert"' if wrong else ""
        kind = "wrong" if wrong else "standing"
        self.status.value = f'<p class="nnlib-{kind}"{role}>{escape(text)}</p>'


class Row:
    """A run in the list: its number in its colour, its name to edit, how far it is, a way out."""

    def __init__(self, panel: Panel, run: Run) -> None:
        self.run = run
        about = f"Show the weights and mistakes of run {run.number}"
        show = _button(str(run.number), "", about, lambda _: panel.choose(run))
        show.style.button_color, show.style.text_color = (
            plots.look(run.number - 1)["color"],
            "white",
        )
        name = ipw.Text(run.name, continuous_update=False, tooltip=f"Name of run {run.number}")
        name.observe(lambda change: panel.rename(run, change["new"]), "value")
        gone = _button("", "times", f"Remove run {run.number}", lambda _: panel.remove(run))
        self.text = ipw.HTML()
        self.box = ipw.Box([show, name, self.text, gone])
        self.box.add_class("nnlib-run")

    def refresh(self) -> None:
        """Say how far the run is."""
        best = self.run.history.best
        text = f"{best['val_accuracy']:.2%} in epoch {best['epoch']}" if best else "–"
        done, epochs = len(self.run.history.rows), self.run.knobs.epochs
        self.text.value = f"best {text}; {self.run.state}, {done} of {epochs} epochs"


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


def knob_widgets(knobs: Knobs, images: int) -> dict[str, ipw.Widget]:
    """Return a widget for each field of `Knobs`, which shows the given value."""

    def text(name: str, value: str) -> ipw.Widget:
        return ipw.Text(value, description=name, continuous_update=False, placeholder="none")

    def pick(name: str, options: Any, value: Any) -> ipw.Widget:
        return ipw.Dropdown(options=list(options), value=value, description=name)

    def among(name: str, numbers: list[float], value: float) -> ipw.Widget:
        options = [(f"{number:g}", number) for number in sorted({*numbers, value})]
        if name == "images":
            options = [*options[1:], ("all", 0)]
        return ipw.SelectionSlider(
            options=options, value=value, description=name, continuous_update=False
        )

    def number(name: str, least: int, most: int, value: int) -> ipw.Widget:
        return ipw.BoundedIntText(value, min=least, max=max(most, value), description=name)

    return {
        "hidden": text("hidden sizes", " ".join(map(str, knobs.hidden))),
        "activation": pick("activation", layers.ACTIVATIONS, knobs.activation),
        "optimiser": pick("optimiser", OPTIMISERS, knobs.optimiser),
        "lr": _log_slider("learning rate", knobs.lr),
        "schedule": pick("schedule", optim.SCHEDULES, knobs.schedule),
        "batch_size": among("batch size", [2**k for k in range(11)], knobs.batch_size),
        "weight_decay": among("L2", [0, *(10.0**k for k in range(-6, 0))], knobs.weight_decay),
        "dropout": ipw.FloatSlider(knobs.dropout, min=0, max=0.9, step=0.05,
                                   description="dropout", continuous_update=False),
        "augmentation": pick("augmentation", AUGMENTATIONS, knobs.augmentation),
        "train_size": among("images", [n for n in (0, 100, 1000, 10_000) if n < images],
                            knobs.train_size),
        "epochs": number("epochs", 1, 200, knobs.epochs),
        "seed": number("seed", 0, 10**6, knobs.seed),
    }  # fmt: skip


def _log_slider(name: str, value: float) -> ipw.Widget:
    power = math.log10(value)
    return ipw.FloatLogSlider(
        value=value, min=min(-4, math.floor(power)), max=max(1, math.ceil(power)), step=0.1,
        description=name, readout_format=".3g", continuous_update=False,
    )  # fmt: skip


def _button(text: str, icon: str, about: str, action: Callable) -> ipw.Button:
    button = ipw.Button(description=text, icon=icon, tooltip=about)
    button.on_click(action)
    return button


def show_widget(widget: ipw.Widget, otherwise: str) -> None:
    """Show a widget, with a line for where no widget can be; the exports leave both out."""
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    display({"application/vnd.jupyter.widget-view+json": view, "text/plain": otherwise}, raw=True)


def download_link(text: str, file: str) -> str:
    """Return a link, in HTML, that saves a text as a file in the reader's browser."""
    data = base64.b64encode(text.encode()).decode()
    return f'<a download="{file}" href="data:text/csv;base64,{data}">Save all runs as CSV</a>'


@contextmanager
def _interrupts_call(action: Callable[[], None]) -> Iterator[None]:
    """Let an interrupt call `action`; a kernel that runs no cell ignores it otherwise."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def act(*_: Any) -> None:
        action()

    before = signal.signal(signal.SIGINT, act)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is act:  # and not that of a cell that runs meanwhile
            signal.signal(signal.SIGINT, before)


STYLE = """<style>
.nnlib-playground { max-width: 62rem; }
.nnlib-playground .widget-html-content { line-height: 1.5; }
.nnlib-knobs { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr));
  gap: 0.15rem 1.2rem; }
.nnlib-knobs > * { width: auto; margin: 0; }
.nnlib-knobs .widget-label { width: 6.5rem; }
.nnlib-buttons { display: flex; flex-wrap: wrap; align-items: center; gap: 0.2rem 0.8rem;
  margin-top: 0.4rem; }
.nnlib-run { display: flex; flex-wrap: wrap; align-items: center; }
.nnlib-playground p { margin: 0.2rem 0; font-variant-numeric: tabular-nums; }
.nnlib-wrong { color: #A11; font-weight: 600; }
</style>"""
