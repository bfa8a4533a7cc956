"""Draw your own: a net answers while one draws, and shows which hidden units decided.

The canvas is a small program in the page (canvas.js, and notebook.js to speak with the kernel): it
follows mouse, finger or pen by itself, and sends what was drawn a few times a second. Here the
picture is fitted as the set was made, the net reads it, and its answer goes back. Exports show a
figure of the last drawing; where nobody sits at the notebook, of an image of the set, as if it
had been drawn.
"""

import itertools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import numpy as np
from IPython.display import display
from traitlets import Dict, Int, Unicode

from nnlib.checks import InputError
from nnlib.data import DownloadError, load_dataset
from nnlib.images import Split
from nnlib.language import gettext as _
from nnlib.language import language
from nnlib.network import MLP
from nnlib.notebook import axes
from nnlib.notebook.live import attended, places
from nnlib.notebook.output import show_drawing
from nnlib.pictures import fit_picture
from nnlib.widgets.alive import LIVE, drawing

UNITS = 6  # hidden units that are shown
BARS = 12  # probabilities that are shown; of more classes, the likeliest
PART = re.compile(r'\{\{ (?:"(.+?)" \| said|choices) \}\}')  # of a template that is filled in
ALT = "The image that the net sees, a bar for each class, and the weights of units that decided"


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
    `seen` is the image uint8 (h, w), `probabilities` (K,) are those of the `names`. Images in
    colour have a last axis of three.
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
    def reason(self) -> str:
        """The largest contribution in words, a caption."""
        says = f"The net says {self.answer} with {self.probabilities.max():.1%}"
        share = f"hidden unit {self.units[0]} alone gives {self.contributions[0]:+.1f}"
        return f"{says}: of its logit of {self.logit:+.1f}, {share}."

    @property
    def bars(self) -> dict[str, float]:
        """The probabilities to show, in the order of the classes."""
        shown = np.sort(np.argsort(-self.probabilities, kind="stable")[:BARS])
        return {self.names[k]: float(self.probabilities[k]) for k in shown}


def decide(model: MLP, seen: np.ndarray, units: int = UNITS) -> Decision:
    """Return what a net makes of one image uint8 (h, w) or (h, w, 3), and its units that decided.

    Raises InputError for a net that has not one hidden layer or takes images of another size.
    """
    if len(model.sizes) != 3:
        raise InputError(f"the net must have one hidden layer, got layers {model.sizes}")
    x = model.scaling(seen[None])  # (1, D)
    probabilities = model.predict_proba(x)[0]  # (K,)
    k = int(probabilities.argmax())
    contributions = model.hidden(x)[0][0] * model.parameters["W2"][:, k]  # (H,)
    top = np.argsort(-np.abs(contributions), kind="stable")[:units]  # (M,)
    names = tuple(map(str, model.info.get("classes") or range(len(probabilities))))
    weights = model.parameters["W1"].T[top].reshape(len(top), *seen.shape)
    logit = float(model.forward(x)[0, k])
    return Decision(seen, names, probabilities, logit, top, contributions[top], weights)


def draw_decision(decision: Decision) -> Any:
    """Return a figure of a decision: what the net saw, its probabilities, the units behind it.

    Weights are blue where negative and red where positive, or in colour about grey, all on one
    scale; below each unit stands its contribution to the logit of the answer.
    """
    fig, _ = axes.figure(height=4.3)
    fig.clear()
    above, below = fig.subfigures(2, 1, height_ratios=[1.6, 1])
    seen, bars = above.subplots(1, 2, width_ratios=[1, 2])
    axes.label(axes.images(seen, decision.seen[None], 1), title="what the net sees")
    seen.spines[:].set_visible(True)
    axes.bars(bars, list(decision.bars), [100 * p for p in decision.bars.values()])
    axes.label(bars, "probability (%)").set_xlim(0, 100)
    limit = float(np.abs(decision.weights).max())
    row = below.subplots(1, len(decision.units), squeeze=False)[0]
    shares = zip(decision.units, decision.contributions, decision.weights, strict=True)
    for ax, (unit, share, weights) in zip(row, shares, strict=True):
        axes.signed_image(ax, weights, limit)
        axes.label(ax, f"{share:+.1f}".replace("-", "−"), title=f"unit {unit}")
    if decision.seen.ndim == 3:
        below.supxlabel(axes.GREY, fontsize=8)
    return fig


def draw_your_own(model: MLP, examples: Split, name: str, seed: int = 0) -> None:
    """Show a canvas, and beside it what the net makes of the drawing while it grows.

    A button shows the `examples`, validation images, one after another, shuffled by `seed`. On an
    exported page one draws on, with the net in the page; on paper, and in a notebook where nobody
    can draw, there is the figure NAME of the last drawing, at first of the first example. Raises
    InputError for a net that has not one hidden layer or takes images of another size.
    """
    examples = examples.sample(len(examples), seed)
    first, place, watched = decide(model, examples.images[0]), places(), attended()
    beside = {LIVE: drawing(model, examples)}

    def show(decision: Decision) -> None:
        fig, kinds = axes.plain(draw_decision(decision)), ("svg",) if watched else ("svg", "png")
        show_drawing(fig, kinds, name, decision.reason, ALT, beside, **next(place))

    if watched:
        beside |= ipywidgets.HTML(layout={"display": "none"})._repr_mimebundle_()
        pad = DrawingPad(model, examples)
        pad.on_rest = show
        display(pad)
    show(first)


def _content(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


class DrawingPad(anywidget.AnyWidget):
    """The canvas and its answers; `on_rest` is called with a decision once the hand rests."""

    _esm = re.sub(r"^import .*\n", "", _content("canvas.js") + _content("notebook.js"), flags=re.M)
    _css = _content("canvas.css")
    picture = Dict().tag(sync=True)  # from the page: at, and if there is one, width, height, grey
    answer = Dict().tag(sync=True)  # to the page: message, bars, seen, units
    words = Dict().tag(sync=True)  # to the page: what it says, in the language spoken
    html = Unicode().tag(sync=True)  # its parts
    channels = Int(1).tag(sync=True)  # 3 where pictures are to have colours

    def __init__(self, model: MLP, examples: Split) -> None:
        said = re.findall(r'\b_\("(.+?)"', str(self._esm))
        super().__init__(
            words={text: _(text) for text in said if language() != "en"},
            html=PART.sub(lambda part: _(part[1] or ""), _content("canvas.html")),
            channels=math.prod(examples.images.shape[3:]),
        )
        self.model, self.examples = model, examples
        self.rows = itertools.cycle(range(len(examples)))
        self.on_rest: Callable[[Decision], None] = lambda decision: None
        self.observe(lambda change: self._read(change["new"]), "picture")
        self.on_msg(lambda _, content, buffers: self._do(content["kind"]))
        self._read({})

    def _read(self, picture: Mapping[str, Any]) -> None:
        """Answer a picture from the page, or say what to do where there is none."""
        self.decision = None
        if "grey" not in picture:
            self.answer = {"message": _("Draw here, or choose a picture")}
            return
        shape, dataset = self.examples.images.shape[1:], self.model.info.get("dataset", "")
        size = picture["height"], picture["width"], *shape[2:]
        pixels = np.frombuffer(picture["grey"], np.uint8).reshape(size)
        try:
            self.decision = decide(self.model, fit_picture(pixels, shape, dataset))
            self.answer = _answer(self.decision)
        except InputError as error:
            self.answer = {"message": _(str(error))}

    def _do(self, kind: str) -> None:
        """Do what the page asks for: show the next example, or note that the hand rests."""
        if kind == "example":
            row = next(self.rows)
            self.decision = decide(self.model, self.examples.images[row])
            answer, truth = _answer(self.decision), self.decision.names[self.examples.y[row]]
            said = answer["message"] + _(f" (it is {truth})")
            self.answer = answer | {"message": said, "example": True}
        elif kind == "rest" and self.decision:
            self.on_rest(self.decision)


def _answer(decision: Decision) -> dict[str, Any]:
    """Return a decision as the page reads it: weights as signed bytes on one scale."""
    limit, (height, width) = float(np.abs(decision.weights).max()) or 1.0, decision.seen.shape[:2]
    weights = np.rint(decision.weights * (127 / limit)).astype(np.int8)  # (M, h, w)
    units = zip(decision.units.tolist(), decision.contributions.tolist(), weights, strict=True)
    return {
        "message": _(f"This looks like {decision.answer}: {decision.probabilities.max():.1%}"),
        "bars": [{"name": _(name), "probability": p} for name, p in decision.bars.items()],
        "seen": {"height": height, "width": width, "values": decision.seen.tobytes()},
        "units": [
            {"number": unit, "contribution": share, "weights": image.tobytes()}
            for unit, share, image in units
        ],
    }
