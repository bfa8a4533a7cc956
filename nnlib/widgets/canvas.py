"""Draw your own: a net answers while one draws, and shows which hidden units decided.

The canvas is a small program in the page (canvas.js): it follows mouse, finger or pen without
asking the kernel, and sends what was drawn a few times a second. Here the picture is fitted as
the set was made, the net reads it, and its answer goes back. Exports show a figure of the last
drawing; where nobody sits at the notebook, of an image of the set, as if it had been drawn.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import numpy as np
from IPython.display import display
from traitlets import Dict

from nnlib.checks import InputError
from nnlib.data import DownloadError, Split, load_dataset
from nnlib.network import MLP
from nnlib.notebook import output as notebook
from nnlib.notebook import plots
from nnlib.notebook.live import attended
from nnlib.pictures import fit_picture

UNITS = 6  # hidden units that are shown
BARS = 12  # probabilities that are shown; of more classes, the likeliest
HERE = Path(__file__).parent
ALT = (
    "An image as the net sees it, bars of the probability of each class, and the incoming weights"
    " of the hidden units that contribute most to the answer"
)


def set_to_draw(dataset: str) -> str:
    """Return the set whose images one draws: MNIST for Fashion-MNIST, any other is itself.

    Nobody draws a coat as a shop photographs it. Where MNIST is neither at hand nor reachable,
    it is digits.
    """
    if dataset != "fashion-mnist":
        return dataset
    try:
        return load_dataset("mnist").name
    except DownloadError:
        return "digits"


@dataclass(frozen=True)
class Decision:
    """How a net with one hidden layer decided about one image.

    The answer k is the class of largest logit z_k = b_k + Σ_j h_j W2_jk. Unit j contributes
    h_j W2_jk: `units` (M,) are those whose contribution is largest in absolute value, first the
    largest, with their `contributions` (M,) and incoming weights as images `weights` (M, h, w).
    `seen` is the image uint8 (h, w), `probabilities` (K,) are those of the `names`.
    """

    seen: np.ndarray
    names: tuple[str, ...]
    probabilities: np.ndarray
    logit: float
    units: np.ndarray
    contributions: np.ndarray
    weights: np.ndarray

    @property
    def answer(self) -> str:
        """The name of the most likely class."""
        return self.names[int(self.probabilities.argmax())]

    @property
    def sentence(self) -> str:
        """The answer in words."""
        return f"This looks like {self.answer}: {self.probabilities.max():.1%}"

    @property
    def reason(self) -> str:
        """The largest contribution in words, a caption."""
        k, unit, share = self.answer, self.units[0], self.contributions[0]
        return (
            f"The net says {k} with {self.probabilities.max():.1%}: of its logit of "
            f"{_signed(self.logit)}, hidden unit {unit} alone gives {_signed(share)}."
        )

    @property
    def bars(self) -> dict[str, float]:
        """The probabilities to show, in the order of the classes."""
        shown = np.sort(np.argsort(-self.probabilities, kind="stable")[:BARS])
        return {self.names[k]: float(self.probabilities[k]) for k in shown}


def decide(model: MLP, seen: np.ndarray, units: int = UNITS) -> Decision:
    """Return what a net makes of one image uint8 (h, w), and the hidden units that decided.

    Raises InputError for a net that has not one hidden layer or takes images of another size.
    """
    if len(model.sizes) != 3:
        raise InputError(f"the net must have one hidden layer, got layers {model.sizes}")
    x = model.scaling(seen[None])  # (1, D)
    probabilities = model.predict_proba(x)[0]  # (K,)
    k = int(probabilities.argmax())
    contributions = model.hidden(x)[0][0] * model.parameters["W2"][:, k]  # (H,)
    top = np.argsort(-np.abs(contributions), kind="stable")[:units]  # (M,)
    names = model.info.get("classes") or range(len(probabilities))
    return Decision(
        seen=seen,
        names=tuple(map(str, names)),
        probabilities=probabilities,
        logit=float(model.forward(x)[0, k]),
        units=top,
        contributions=contributions[top],
        weights=model.parameters["W1"].T[top].reshape(len(top), *seen.shape),
    )


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def draw_decision(decision: Decision) -> Any:
    """Return a figure of a decision: what the net saw, its probabilities, the units behind it.

    Weights are blue where negative and red where positive, all on one scale; below each unit
    stands its contribution to the logit of the answer.
    """
    fig, _ = plots.figure(height=4.3)
    fig.clear()
    above, below = fig.subfigures(2, 1, height_ratios=[1.6, 1])
    seen, bars = above.subplots(1, 2, width_ratios=[1, 2])
    plots.label(plots.images(seen, decision.seen[None], 1), title="what the net sees")
    seen.spines[:].set_visible(True)
    shown = decision.bars
    plots.bars(bars, list(shown), [100 * p for p in shown.values()])
    plots.label(bars, "probability (%)").set_xlim(0, 100)
    limit = float(np.abs(decision.weights).max())
    axes = below.subplots(1, UNITS, squeeze=False)[0]
    for number, (ax, unit) in enumerate(zip(axes, decision.units, strict=False)):
        plots.signed_image(ax, decision.weights[number], limit)
        plots.label(ax, _signed(decision.contributions[number]), title=f"unit {unit}")
    for ax in axes[len(decision.units) :]:  # a narrow net has fewer
        ax.remove()
    return fig


def draw_your_own(model: MLP, examples: Split, name: str, seed: int = 0) -> None:
    """Show a canvas, and beside it what the net makes of the drawing while it grows.

    A button shows the `examples` one after another, shuffled by `seed`. Exports show the figure
    NAME of the last drawing, at first of the first example; where nobody can draw there is that
    figure alone. Raises InputError for a net that has not one hidden layer or takes images of
    another size.
    """
    examples = examples.take(np.random.default_rng(seed).permutation(len(examples)))
    decision = decide(model, examples.images[0])
    if not attended():
        notebook.show(draw_decision(decision), name, decision.reason, ALT)
        return
    pad, figure = DrawingPad(model, examples), _ExportedFigure(name)
    display(pad)
    figure.show(decision)
    pad.on_rest = figure.show


class DrawingPad(anywidget.AnyWidget):
    """The canvas and its answers; `on_rest` is called with a decision once the hand rests."""

    _esm = (HERE / "canvas.js").read_text(encoding="utf-8")
    _css = (HERE / "canvas.css").read_text(encoding="utf-8")
    picture = Dict().tag(sync=True)  # from the page: width, height, grey (bytes)
    answer = Dict().tag(sync=True)  # to the page: message, bars, seen, units

    def __init__(self, model: MLP, examples: Split) -> None:
        super().__init__()
        self.model, self.examples = model, examples
        self.rows = itertools.cycle(range(len(examples)))
        self.decision: Decision | None = None
        self.on_rest: Callable[[Decision], None] = lambda decision: None
        self.observe(lambda change: self._read(change["new"]), "picture")
        self.on_msg(lambda _, content, buffers: self._do(content["kind"]))
        self._read({})

    def _read(self, picture: Mapping[str, Any]) -> None:
        """Answer a picture from the page, or say what to do where there is none."""
        self.decision = None
        if not picture:
            self.answer = {"message": "Draw here, or choose a picture"}
            return
        try:
            self.decision = decide(self.model, self._fitted(picture))
            self.answer = _answer(self.decision)
        except InputError as error:
            self.answer = {"message": str(error)}

    def _fitted(self, picture: Mapping[str, Any]) -> np.ndarray:
        """Return the picture as an image of the set, uint8 (h, w)."""
        grey = np.frombuffer(picture["grey"], np.uint8)
        grey = grey.reshape(picture["height"], picture["width"])
        dataset = self.model.info.get("dataset", "")
        return fit_picture(grey, self.examples.images.shape[1:], dataset)

    def _do(self, kind: str) -> None:
        """Do what the page asks for: show the next example, or note that the hand rests."""
        if kind == "example":
            self._show_example()
        elif kind == "rest" and self.decision:
            self.on_rest(self.decision)

    def _show_example(self) -> None:
        row = next(self.rows)
        self.decision = decide(self.model, self.examples.images[row])
        truth = self.decision.names[self.examples.y[row]]
        said = f"{self.decision.sentence} (it is {truth})"
        self.answer = _answer(self.decision) | {"message": said, "example": True}


def _answer(decision: Decision) -> dict[str, Any]:
    """Return a decision as the page reads it: weights as signed bytes on one scale."""
    limit = float(np.abs(decision.weights).max()) or 1.0
    weights = np.rint(decision.weights * (127 / limit)).astype(np.int8)  # (M, h, w)
    height, width = decision.seen.shape
    return {
        "message": decision.sentence,
        "bars": [{"name": name, "probability": p} for name, p in decision.bars.items()],
        "seen": {"height": height, "width": width, "values": decision.seen.tobytes()},
        "units": [
            {"number": int(unit), "contribution": float(share), "weights": image.tobytes()}
            for unit, share, image in zip(
                decision.units, decision.contributions, weights, strict=True
            )
        ],
    }


class _ExportedFigure:
    """A figure that only exports show: in the open notebook an empty widget has its place."""

    def __init__(self, name: str) -> None:
        self.name, self.place = name, None
        self.blank = ipywidgets.HTML(layout={"display": "none"})

    def show(self, decision: Decision) -> None:
        """Draw a decision in place of the one before."""
        about = {"alt": ALT, "caption": decision.reason, "name": self.name}
        svg = plots.svg(draw_decision(decision)).decode()
        data = self.blank._repr_mimebundle_() | {"image/svg+xml": svg, "text/plain": ALT}
        metadata = {"image/svg+xml": about}
        if self.place is None:
            self.place = display(data, raw=True, metadata=metadata, display_id=True)
        else:
            self.place.update(data, raw=True, metadata=metadata)
