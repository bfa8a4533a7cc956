"""The parts of a figure, in one style: a panel each, drawn on an `ax` that is given.

Each function takes arrays and an `ax`, draws, and returns the `ax`; nothing here trains, loads or
decides. `plots` puts them together to whole figures, and the widgets draw into their own. Colours
are those of Okabe and Ito, which the colour-blind tell apart, and lines differ in dash as well, so
that a grey print still reads.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from nnlib.language import gettext as _
from nnlib.notebook.trace import Trace

PANELS = (("loss", 1, "nats"), ("accuracy", 100, "%"))  # what a run's curves show, factor, unit
WIDTH = 7.0  # inches: the text width of a printed page, so that 9 pt here is 9 pt there
GREY = "grey is 0, lighter more, darker less"  # of signed pictures in colour

SHEET = Path(__file__).with_name("nnlib.mplstyle")
STYLE = mpl.rc_params_from_file(SHEET, use_default_template=False)
COLOURS, DASHES = map(STYLE["axes.prop_cycle"].by_key().get, ("color", "linestyle"))


def figure(height: float = 2.8, rows: int = 1, columns: int = 1, **more: Any) -> tuple[Figure, Any]:
    """Return a figure of text width and `height` inches, and its axes as plt.subplots does."""
    mpl.rcParams.update(STYLE)
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), **more)
    plt.close(fig)  # it is shown when a notebook asks for it, not by the inline backend as well
    return fig, axes


def label(ax: Axes, x: str = "", y: str = "", title: str = "") -> Axes:
    """Name the axes, units included, and the panel."""
    ax.set(xlabel=x, ylabel=y, title=title)
    return ax


def plain(fig: Figure) -> Figure:
    """Let no words that a figure has be mathematics, as the name of a class may have a $.

    What a logarithmic axis writes beside its ticks comes later, and is.
    """
    for text in fig.findobj(Text):
        text.set_parse_math("$" not in text.get_text())
    return fig


def tile(images: np.ndarray, columns: int, fill: float = np.nan) -> np.ndarray:
    """Lay images (N, h, w) or (N, h, w, 3) in rows of `columns`, one pixel of `fill` between."""
    n, height, width, *channels = images.shape
    rows = math.ceil(n / columns)
    places = np.full((rows * columns, height + 1, width + 1, *channels), fill)
    places[:n, :height, :width] = images
    grid = places.reshape(rows, columns, *places.shape[1:]).swapaxes(1, 2)
    return grid.reshape(rows * (height + 1), columns * (width + 1), *channels)[:-1, :-1]


def _sheet(images: np.ndarray, columns: int, rows: Sequence[str] = ()) -> str:
    """Say what a sheet of images (N, h, w) or (N, h, w, 3) holds, for those who cannot see it."""
    names = f": {', '.join(map(_, rows))}" if rows else ""
    return _("{} pictures of {} by {}, {} a row".format(*images.shape[:3], columns)) + names


def bare(ax: Axes) -> Axes:
    """Take ticks, grid and frame away: for pictures."""
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return ax


def images(ax: Axes, stack: np.ndarray, columns: int, row_labels: Sequence[str] = ()) -> Axes:
    """Draw images of bytes as one sheet: (N, h, w) as ink on paper, (N, h, w, 3) as they are.

    `row_labels` names the rows at their left.
    """
    sheet = tile(stack, columns, fill=255 if stack.ndim == 4 else 0).astype(np.uint8)  # white, both
    said = _sheet(stack, columns, row_labels)
    bare(ax).imshow(sheet, cmap="gray_r", vmin=0, vmax=255, label=said)
    pitch, rows = stack.shape[1] + 1, np.arange(len(row_labels))
    ax.set_yticks(pitch * (rows + 0.5) - 1, row_labels)
    ax.tick_params(length=0)
    return ax


def weight_images(
    ax: Axes, weights: np.ndarray, shape: Sequence[int], columns: int, limit: float = 0.0
) -> Axes:
    """Draw the incoming weights (D, H) of each unit as an image on one symmetric scale.

    `shape` is (h, w) or (h, w, 3), `limit` the value of full colour, by default the 99.5th
    percentile of |w|. A colour bar says what colours mean; where they are the picture's own, words.
    """
    limit = limit or float(np.percentile(np.abs(weights), 99.5)) or 1.0
    stack = weights.T.reshape(-1, *shape)
    (sheet,) = signed_image(ax, tile(stack, columns), limit).images
    sheet.set_label(_sheet(stack, columns))
    if len(shape) == 3:
        return label(ax, f"grey is 0, full colour ±{limit:.2g}")
    ax.figure.colorbar(sheet, ax=ax, shrink=0.8, label="weight")
    return ax


def signed_image(ax: Axes, image: np.ndarray, limit: float = 0.0, aspect: str = "equal") -> Axes:
    """Draw signed values as pixels: (h, w) blue negative, white 0, red positive, or in colour.

    In (h, w, 3), 0 is mid-grey. `limit` is the value of full colour, by default the largest;
    `aspect` "auto" fills the ax, and what is no number is white.
    """
    limit = limit or float(np.abs(image).max()) or 1.0
    if image.ndim == 3:
        image = np.nan_to_num(np.clip(0.5 + image / (2 * limit), 0, 1), nan=1.0)
    ax.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect=aspect)
    return bare(ax)


def bars(ax: Axes, names: Sequence[str], values: Sequence[float]) -> Axes:
    """Draw horizontal bars, first on top."""
    ax.barh(range(len(names)), values, tick_label=names, color=COLOURS[0], height=0.7)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return ax


def points(ax: Axes, x: np.ndarray, y: np.ndarray, groups: np.ndarray, size: float = 14) -> Axes:
    """Draw points, one colour and marker a group; many points become pixels, not shapes."""
    import seaborn  # takes a second: only where it draws

    names = list(dict.fromkeys(groups))
    colours = seaborn.color_palette("husl", 10) if len(names) > len(COLOURS) else COLOURS
    how = {"s": size, "alpha": 0.8, "linewidths": 0, "rasterized": len(x) > 500}
    for number, name in enumerate(names):
        own, marker = groups == name, "osD^vPX<>*"[number % 10]
        colour = colours[number % len(colours)]
        ax.scatter(x[own], y[own], marker=marker, color=colour, label=str(name), **how)
    return ax


def look(number: int) -> dict[str, Any]:
    """Return colour and dash of the line with that number, which no other of the first 49 has."""
    turn, place = divmod(number, len(COLOURS))
    return {"color": COLOURS[place], "linestyle": DASHES[(number + turn) % len(DASHES)]}


def running(
    axes: Sequence[Axes], traces: Mapping[str, Trace], numbers: Sequence[int] = (),
    ceiling: float = math.inf,
) -> None:  # fmt: skip
    """Draw runs while they learn: loss on the first ax, accuracy on the second; call to redraw.

    Pale lines are training, marked ones validation, a dotted upright where the learning rate was
    changed by hand. `traces` are those of `on_progress` by name, `numbers` choose their looks. What
    is above the loss `ceiling` leaves the panel.
    """
    numbers = numbers or range(len(traces))
    for ax, (what, factor, unit) in zip(axes, PANELS, strict=True):
        for line in list(ax.lines):
            line.remove()
        for (name, trace), number in zip(traces.items(), numbers, strict=True):
            _course(ax, trace, what, factor, look(number), name)
        ax.locator_params(nbins=5)
        ax.set_xlim(0, max((trace.span for trace in traces.values()), default=0) or 1)
        label(ax, "epoch", f"{what} ({unit})")
    _course_limits(*axes, traces.values(), ceiling)
    if legend := axes[1].get_legend():
        legend.remove()
    if any(trace.last for trace in traces.values()):
        axes[1].legend(loc="lower right", frameon=True, framealpha=0.8, edgecolor="none")


def _course(ax: Axes, trace: Trace, what: str, factor: float, how: dict, name: str) -> None:
    """Draw what is known of one run; a run without a name calls its lines by what they are."""
    trained, judged = getattr(trace, what), [row[f"val_{what}"] for row in trace.judged]
    pale = how | {"linestyle": "-", "lw": 1, "alpha": 0.45}
    ax.plot(trace.epoch, factor * np.array(trained), **pale, label="" if name else "training")
    epochs, marks = [row["epoch"] for row in trace.judged], {"marker": "o", "ms": 3}
    ax.plot(epochs, factor * np.array(judged), **how, **marks, label=name or "validation")
    for epoch in trace.turns:
        ax.axvline(epoch, color=how["color"], lw=0.8, ls=":")


def _course_limits(loss: Axes, accuracy: Axes, traces: Iterable[Trace], ceiling: float) -> None:
    """Show all of the loss below the ceiling, and of the accuracy what comes after one epoch."""
    highest = max((each for trace in traces for each in trace.loss), default=0)
    loss.set_ylim(0, min(1.05 * highest or 1.0, ceiling or 1.0))
    rows = [row for trace in traces for row in trace.judged]
    known = [row[f"{split}_accuracy"] for row in rows for split in ("train", "val")]
    seen = [*known, *(each for trace in traces for each in trace.accuracy)]
    low, high = (np.nanmin(known), np.nanmax(seen)) if known else (0.0, 0.99)
    accuracy.set_ylim(max(0.0, 100 * low - 3), min(100 * high + 2, 100.5))


def mistakes(ax: Axes, counts: np.ndarray, classes: Sequence[str]) -> Axes:
    """Draw a confusion matrix (K, K) of counts in little room: what share of a class goes where.

    Rows are the truth, columns the net's answer, right answers left grey; errors are in percent of
    their row, and those of 3 % or more have their number. The largest is darkest, if it is 5 % or
    more. Beyond 20 classes names are left out.
    """
    errors = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(errors, 0)
    top = max(errors.max(), 5)
    ax.imshow(errors, cmap="Oranges", vmin=0, vmax=top)
    for k in range(len(counts)):
        ax.add_patch(Rectangle((k - 0.5, k - 0.5), 1, 1, color="#DDDDDD", lw=0))
    ax.grid(False)
    if len(classes) > 20:
        return label(bare(ax), "answer of the net", "true class")
    for y, x in np.argwhere(np.rint(errors) >= 3):
        ink = "white" if errors[y, x] > 0.6 * top else "black"
        ax.text(x, y, f"{errors[y, x]:.0f}", ha="center", va="center", fontsize=8, color=ink)
    names, places = [name[:11] for name in classes], range(len(classes))
    ax.set_xticks(places, names, rotation=90 if max(map(len, names)) > 2 else 0)
    ax.set_yticks(places, names)
    ax.tick_params(length=0)
    return label(ax, "answer of the net", "true class")
