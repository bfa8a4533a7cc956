"""The playground as it is shown: two figures, and where somebody sits at the notebook, a panel.

The panel has knobs, buttons and the list of runs, alive in an open notebook.

Training and widgets share one thread. The panel steps a run in an asyncio task that gives the
kernel's event loop its turn every few hundredths of a second, so that clicks, slides and other
cells are served; between two steps nothing is half done, and no lock is needed. A thread would
fight the event loop for Python's interpreter lock, and draw with matplotlib from two sides.
"""

import asyncio
import base64
import math
import signal
from collections.abc import Callable, Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as ipw
from IPython.display import display

from nnlib import layers, optim
from nnlib.data import Dataset
from nnlib.files import handling
from nnlib.language import gettext as _
from nnlib.notebook import axes
from nnlib.notebook.live import CURVES, Drawn, LiveFigure, attended, side_by_side
from nnlib.widgets.alive import LIVE, learning
from nnlib.widgets.playground import AUGMENTATIONS, OPTIMISERS, Knobs, Playground, Run, parse_sizes

CSS = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
LABELS = {"hidden": "hidden sizes", "lr": "learning rate", "batch_size": "batch size",
          "weight_decay": "L2", "train_size": "images"}  # fmt: skip

SHARE = 0.4  # of its time that training gives to figures: the reader came to watch
PICTURES = 24  # units whose weights are shown
INSIDE = {"left": 0.01, "right": 0.99, "bottom": 0.27, "top": 0.97, "wspace": 0.38}


def play(data: Dataset, knobs: Knobs, name: str = "playground") -> "Board":
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


class Board:
    """Two figures of a playground: NAME-curves of its runs, and NAME-inside of the one chosen."""

    def __init__(self, playground: Playground, name: str) -> None:
        self.playground = playground
        self.chosen: Run | None = None  # whose inside is shown
        self.fig, self.axes = side_by_side(2.6, CURVES)
        self.curves = LiveFigure(f"{name}-curves", self._draw_curves, SHARE)
        self.inside = LiveFigure(f"{name}-inside", self._draw_inside, SHARE, least=1.0)
        self.inside.beside = {LIVE: learning(playground.runs[0].knobs)}

    def watch(self, run: Run) -> None:
        """Train a run and wait for its end, or for an interrupt."""
        self.chosen = run
        try:
            for _step in self.steps(run):
                pass
        except KeyboardInterrupt:
            self.ended(run)

    def steps(self, run: Run) -> Iterator[None]:
        """Train a run; after each step draw what is due."""
        self.curves.due = self.inside.due = 0.0
        for _step in self.playground.learn(run):
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
        axes.running(self.axes, traces, [run.number - 1 for run in runs], 1.3 * chance)
        best = max(runs, key=lambda run: run.history.best.get("val_accuracy", 0.0), default=None)
        text = f"Best on validation: run {best.number} ({best.name}), {best.best}. " if best else ""
        alt = f"Loss and accuracy against the epoch, a colour for each of {len(runs)} runs."
        return self.fig, f"{text}Pale lines: training; marked: validation.", alt

    def _draw_inside(self) -> Drawn:
        fig, (left, right) = side_by_side(3.3, INSIDE)
        run, data = self.chosen, self.playground.data
        if run is None:
            axes.bare(left)
            axes.bare(right)
            return fig, "There is no run to look into.", "Two empty panels: there is no run."
        weights = run.first_weights(PICTURES)  # (D, H)
        axes.weight_images(left, weights, data.image_shape, columns=6)
        counts = run.confusion()
        axes.mistakes(right, counts, data.classes)
        text = (
            f"Run {run.number} after {run.trace.done:.1f} epochs. Left, the incoming weights of"
            f" {weights.shape[1]} of {run.trainer.model.sizes[1]} units of its first layer; right,"
            f" errors on {counts.sum():,} validation images, in percent of a class."
        )
        alt = "Left, weights, blue negative and red positive; right, true classes against answers."
        if len(data.image_shape) == 3:
            alt = "Left, weights in colour, grey zero; right, true classes against answers."
        return fig, text, alt


class Panel(Board):
    """Knobs, buttons and the list of runs, with the two figures of a board below."""

    shown: "Panel | None" = None  # running its cell again makes another, and this one stops

    def __init__(self, playground: Playground, knobs: Knobs, name: str) -> None:
        self.task: asyncio.Task | None = None
        self.waiting: asyncio.TimerHandle | None = None
        self.knobs, self.rows = knob_widgets(knobs, len(playground.data.train)), {}
        self._make_widgets()
        super().__init__(playground, name)
        if Panel.shown:
            Panel.shown.stop()
        Panel.shown = self

    # --- what the reader does

    def start(self, *_: Any) -> None:
        """Train a new run with the knobs as they stand, in place of the one that learns."""
        try:
            values = {name: widget.value for name, widget in self.knobs.items()}
            knobs = Knobs(**values | {"hidden": parse_sizes(values["hidden"])})
            self.chosen = self.playground.start(knobs)
        except (ValueError, MemoryError) as error:
            self.say(str(error) or "this net is too large for the memory", wrong=True)
            return
        self.rate.value = 1
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._work())

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
            # a kernel that runs no cell ignores an interrupt otherwise
            with handling(signal.getsignal(signal.SIGINT), self.stop, "SIGINT"):
                while run := self.playground.learning:
                    for _step in self.steps(run):
                        await asyncio.sleep(0)
        except Exception as error:  # there is no cell that could show it
            self.say(f"{type(error).__name__}: {error}", wrong=True)
        finally:
            self.task = None

    # --- widgets

    def _make_widgets(self) -> None:
        """Make, arrange and show them, each known to style sheets and tests by its class."""
        self.train = _button("Train", "play", "Train a new run with these knobs", self.start)
        self.train.button_style = "primary"
        self.halt = _button("Stop", "stop", "Stop the run that learns", self.stop)
        self.auto = ipw.Checkbox(True, description=_("train on every change"), indent=False)
        scale = {"value": 1, "min": -2, "max": 1, "step": 0.1, "readout_format": ".2g"}
        self.rate = ipw.FloatLogSlider(description=_("rate now ×"), **scale)
        self.rate.observe(self._rate_turned, "value")
        for widget in self.knobs.values():
            widget.observe(self._knob_turned, "value")
        self.status, self.link, self.list = ipw.HTML(), ipw.HTML(), ipw.VBox()
        knobs = ipw.Box(list(self.knobs.values()))
        buttons = ipw.Box([self.train, self.halt, self.auto, self.rate])
        style = ipw.HTML(f"<style>{CSS}</style>")
        view = ipw.VBox([style, knobs, buttons, self.status, self.list, self.link])
        named = {"playground": view, "knobs": knobs, "buttons": buttons, "train": self.train,
                 "stop": self.halt, "auto": self.auto, "rate": self.rate, "status": self.status,
                 "link": self.link}  # fmt: skip
        for name, widget in (named | self.knobs).items():
            widget.add_class(f"nnlib-{name.replace('_', '-')}")
        otherwise = _("The playground is alive where its notebook runs in JupyterLab.")
        display(view._repr_mimebundle_() | {"text/plain": otherwise}, raw=True)

    def list_runs(self) -> None:
        """Bring the list of runs, and what may be clicked, up to date."""
        self.rows = {run: self.rows.get(run) or self._row(run) for run in self.playground.runs}
        for run, row in self.rows.items():
            done = f"{len(run.history.rows)} of {run.knobs.epochs} epochs"
            told = f"best {run.best}; {run.state}, {done}"
            row.children[2].value = _(told)
        self.list.children = list(self.rows.values())
        self.halt.disabled = self.rate.disabled = self.playground.learning is None
        href = f"data:text/csv;base64,{base64.b64encode(self.playground.csv.encode()).decode()}"
        text = _("Save all runs as CSV")
        self.link.value = f'<a download="playground.csv" href="{href}">{text}</a>'

    def _row(self, run: Run) -> ipw.Box:
        """Make a run's place: number in its colour, name to edit, how far it is, a way out."""
        about = f"Show the weights and mistakes of run {run.number}"
        show = _button(str(run.number), "", about, lambda _: self.choose(run))
        show.style = {"button_color": axes.look(run.number - 1)["color"], "text_color": "white"}
        name = ipw.Text(run.name, continuous_update=False, tooltip=_(f"Name of run {run.number}"))
        name.observe(lambda change: self.rename(run, change["new"]), "value")
        gone = _button("", "times", f"Remove run {run.number}", lambda _: self.remove(run))
        return ipw.Box([show, name, ipw.HTML(), gone]).add_class("nnlib-run")

    def say(self, text: str, wrong: bool = False) -> None:
        """Show a line below the buttons; what is `wrong` is also read out."""
        look = 'class="nnlib-wrong" role="alert"' if wrong else 'class="nnlib-standing"'
        self.status.value = f"<p {look}>{escape(_(text))}</p>"


def knob_widgets(knobs: Knobs, images: int) -> dict[str, ipw.Widget]:
    """Return a widget for each field of `Knobs`, which shows the given value."""
    settled = {"continuous_update": False}  # a knob tells where the hand lets go of it

    def among(numbers: list[float], value: float, *last: tuple[str, float]) -> ipw.Widget:
        others = sorted({*numbers, value} - {number for _, number in last})
        options = [*((f"{number:g}", number) for number in others), *last]
        return ipw.SelectionSlider(options=options, value=value, **settled)

    def one_of(names: Iterable[str], value: str) -> ipw.Widget:
        return ipw.Dropdown(options=[(_(name), name) for name in names], value=value)

    power, sizes = math.log10(knobs.lr), [n for n in (100, 1000, 10_000) if n < images]
    widgets = {
        "hidden": ipw.Text(" ".join(map(str, knobs.hidden)), placeholder=_("none"), **settled),
        "activation": one_of(layers.ACTIVATIONS, knobs.activation),
        "optimiser": one_of(OPTIMISERS, knobs.optimiser),
        "lr": ipw.FloatLogSlider(value=knobs.lr, min=min(-4, math.floor(power)),
                                 max=max(1, math.ceil(power)), readout_format=".3g", **settled),
        "schedule": one_of(optim.SCHEDULES, knobs.schedule),
        "batch_size": among([2**k for k in range(11)], knobs.batch_size),
        "weight_decay": among([0, *(10.0**k for k in range(-6, 0))], knobs.weight_decay),
        "dropout": ipw.FloatSlider(knobs.dropout, min=0, max=0.9, step=0.05, **settled),
        "augmentation": one_of(AUGMENTATIONS, knobs.augmentation),
        "train_size": among(sizes, knobs.train_size, (_("all"), 0)),
        "epochs": ipw.BoundedIntText(knobs.epochs, min=1, max=max(200, knobs.epochs)),
        "seed": ipw.BoundedIntText(knobs.seed, min=0, max=max(10**6, knobs.seed)),
    }  # fmt: skip
    for name, widget in widgets.items():
        widget.description = _(LABELS.get(name, name))
    return widgets


def _button(text: str, icon: str, about: str, action: Callable) -> ipw.Button:
    button = ipw.Button(description=_(text), icon=icon, tooltip=_(about))
    button.on_click(action)
    return button
