"""The playground's panel: knobs, buttons and the list of runs, alive in an open notebook.

Training and widgets share one thread. The panel steps a run in an asyncio task that gives the
kernel's event loop its turn every few hundredths of a second, so that clicks, slides and other
cells are served; between two steps nothing is half done, and no lock is needed. A thread would
fight the event loop for Python's interpreter lock, and draw with matplotlib from two sides.
"""

import asyncio
import base64
import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import ipywidgets as ipw
from IPython.display import display

from nnlib import layers, optim
from nnlib.data import Dataset
from nnlib.notebook import plots
from nnlib.notebook.live import Board, attended
from nnlib.notebook.live import LiveCurves as LiveCurves
from nnlib.notebook.live import best_of as best_of
from nnlib.widgets.playground import AUGMENTATIONS, OPTIMISERS, Knobs, Playground, Run, parse_sizes


def play(data: Dataset, knobs: Knobs, name: str = "playground") -> Board:
    """Show the playground, and train a first run with `knobs`, which is over when the cell is.

    All later runs learn between the cells; `.playground` holds them. Where nobody sits at the
    notebook there are no widgets, but the same figures: NAME-curves and NAME-inside. Raises
    InputError for a knob out of range.
    """
    playground = Playground(data)
    run = playground.start(knobs)
    board = Panel(playground, knobs, name) if attended() else Board(playground, name)
    board.watch(run)
    return board


class Panel(Board):
    """Knobs, buttons and the list of runs, with the two figures of a board below."""

    shown: "Panel | None" = None  # running its cell again makes another, and this one stops

    def __init__(self, playground: Playground, knobs: Knobs, name: str) -> None:
        self.task: asyncio.Task | None = None
        self.waiting: asyncio.TimerHandle | None = None
        self.knobs, self.rows = knob_widgets(knobs, len(playground.data.train)), {}
        self._make_buttons()
        self._show_view()
        super().__init__(playground, name)
        if Panel.shown:
            Panel.shown.stop()
        Panel.shown = self

    # --- what the reader does

    def start(self, *_: Any) -> None:
        """Train a new run with the knobs as they stand, in place of the one that learns."""
        try:
            self.chosen = self.playground.start(self.values())
        except (ValueError, MemoryError) as error:
            self.say(str(error) or "this net is too large for the memory", wrong=True)
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
        self.redraw()

    def rename(self, run: Run, name: str) -> None:
        """Call a run something else."""
        self.playground.rename(run, name)
        self.redraw()

    def remove(self, run: Run) -> None:
        """Take a run out of list and curves."""
        self.playground.remove(run)
        if self.chosen is run:
            self.chosen = self.playground.runs[-1] if self.playground.runs else None
        self.redraw()

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
                    for _ in self.steps(run):
                        await asyncio.sleep(0)
        except Exception as error:  # there is no cell that could show it
            self.say(f"{type(error).__name__}: {error}", wrong=True)
        finally:
            self.task = None

    # --- widgets

    def _make_buttons(self) -> None:
        self.train = _button("Train", "play", "Train a new run with these knobs", self.start)
        self.train.button_style = "primary"
        self.halt = _button("Stop", "stop", "Stop the run that learns", self.stop)
        self.auto = ipw.Checkbox(True, description="train on every change", indent=False)
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

    def list_runs(self) -> None:
        """Bring the list of runs, and what may be clicked, up to date."""
        runs, learning = self.playground.runs, self.playground.learning
        self.rows = {run: self.rows.get(run) or Row(self, run) for run in runs}
        for row in self.rows.values():
            row.refresh()
        boxes = tuple(row.box for row in self.rows.values())
        if boxes != self.list.children:
            self.list.children = boxes
        self.halt.disabled = self.rate.disabled = learning is None
        self.link.value = download_link(self.playground.csv, "playground.csv")

    def say(self, text: str, wrong: bool = False) -> None:
        """Show a line below the buttons; what is `wrong` is also read out."""
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
.nnlib-run .jupyter-button { width: 2.6rem; padding: 0; }
.nnlib-link a { color: var(--jp-content-link-color, #0060A0); text-decoration: underline; }
.nnlib-playground p { margin: 0.2rem 0; font-variant-numeric: tabular-nums; }
.nnlib-wrong { color: #A11; font-weight: 600; }
</style>"""
