"""The parts of a figure, in one style: a panel each, drawn on an `ax` that is given.

Each function takes arrays and an `ax`, draws, and returns the `ax`; nothing here trains, loads or
decides. `plots` puts them together to whole figures, and the widgets draw into their own. Colours
are those of Okabe and Ito, which the colour-blind tell apart, and lines differ in dash as well, so
that a grey print still reads.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nnlib.language import gettext as _
from nnlib.notebook.fonts import FAMILY

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00", "#3F8FC5", "#000000"]
DASHES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))]
PANELS = (("loss", 1, "nats"), ("accuracy", 100, "%"))  # what a run's curves show, factor, unit
WIDTH = 7.0  # inches: the text width of a printed page, so that 9 pt here is 9 pt there

STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "savefig.dpi": 240,
    "font.family": ["sans-serif", FAMILY],  # the second for Chinese
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "axes.prop_cycle": mpl.cycler(color=COLOURS, linestyle=DASHES),
    "axes.formatter.min_exponent": 5,  # a logarithmic axis says 100, not 10²
    "image.cmap": "gray",
    "image.interpolation": "nearest",  # pixels stay pixels, and files small
    "svg.fonttype": "none",  # text stays text: small files, and readable by machines
    "svg.hashsalt": "nnlib",  # the same figure gives the same bytes
}


def figure(
    height: float = 2.8, rows: int = 1, columns: int = 1, **subplots: Any
) -> tuple[Figure, Any]:
    """Return a figure of text width and `height` inches, and its axes as plt.subplots does."""
    mpl.rcParams.update(STYLE)
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), **subplots)
    plt.close(fig)  # it is shown when a notebook asks for it, not by the inline backend as well
    return fig, axes


def label(ax: Axes, x: str = "", y: str = "", title: str = "") -> Axes:
    """Name the axes, units included, and the panel."""
    ax.set(xlabel=x, ylabel=y, title=title)
    return ax


def tile(images: np.ndarray, columns: int, gap: int = 1, fill: float = np.nan) -> np.ndarray:
    """Lay images (N, h, w) out in rows of `columns`, `gap` pixels of `fill` between them."""
    n, height, width = images.shape
    rows = math.ceil(n / columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), fill)
    for number, image in enumerate(images):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = image
    return canvas


def _sheet(images: np.ndarray, columns: int, rows: Sequence[str] = ()) -> str:
    """Say what a sheet of images (N, h, w) holds, for those who cannot see it."""
    names = f": {', '.join(map(_, rows))}" if rows else ""
    return _("{} pictures of {} by {}, {} a row".format(*images.shape, columns)) + names


def bare(ax: Axes) -> Axes:
    """Take ticks, grid and frame away: for pictures."""
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return ax


def images(ax: Axes, stack: np.ndarray, columns: int, row_labels: Sequence[str] = ()) -> Axes:
    """Draw images (N, h, w) of bytes as one sheet, dark ink on white as on paper.

    `row_labels` names the rows at their left.
    """
    drawn = ax.imshow(tile(stack, columns, fill=0.0), cmap="gray_r", vmin=0, vmax=255)
    drawn.set_label(_sheet(stack, columns, row_labels))
    bare(ax)
    if row_labels:
        pitch = stack.shape[1] + 1
        places = [pitch * (row + 0.5) - 1 for row in range(len(row_labels))]
        ax.set_yticks(places, row_labels, parse_math=False)
        ax.tick_params(length=0)
    return ax


def weight_images(
    ax: Axes, weights: np.ndarray, shape: tuple[int, int], columns: int,
    limit: float | None = None, unit: str = "weight",
) -> Axes:  # fmt: skip
    """Draw the incoming weights (D, H) of each unit as an image on one symmetric scale.

    Blue is negative, white zero, red positive; `limit` is the value of full colour, by default
    the 99.5th percentile of |w|. A colour bar says so, in `unit`.
    """
    limit = limit or float(np.percentile(np.abs(weights), 99.5)) or 1.0
    stack = weights.T.reshape(-1, *shape)
    drawn = ax.imshow(tile(stack, columns), cmap="RdBu_r", vmin=-limit, vmax=limit)
    drawn.set_label(_sheet(stack, columns))
    ax.figure.colorbar(drawn, ax=ax, shrink=0.8, label=unit)
    return bare(ax)


def signed_image(
    ax: Axes, image: np.ndarray, limit: float | None = None, aspect: str = "equal"
) -> Axes:
    """Draw signed values (h, w) as pixels: blue negative, white 0, red positive.

    `limit` is the value of full colour, by default the largest; `aspect` "auto" fills the ax.
    """
    limit = limit or float(np.abs(image).max()) or 1.0
    ax.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect=aspect)
    return bare(ax)


def bars(
    ax: Axes,
    names: Sequence[str],
    values: Sequence[float],
    errors: Sequence[float] | None = None,
    numbers: str = "",
) -> Axes:
    """Draw horizontal bars, first on top; `errors` are ±, `numbers` a format such as "{:.1f}"."""
    places = np.arange(len(names))
    drawn = ax.barh(places, values, xerr=errors, color=COLOURS[0], height=0.7)
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    if numbers:
        ax.bar_label(drawn, fmt=numbers, padding=3, fontsize=8)
    return ax


def points(
    ax: Axes, x: np.ndarray, y: np.ndarray, groups: Sequence[Any] | None = None, size: float = 14
) -> Axes:
    """Draw points, one colour and marker a group; many points become pixels, not shapes."""
    import seaborn  # takes a second: only where it draws

    markers, groups = "osD^vPX<>*", np.zeros(len(x)) if groups is None else np.asarray(groups)
    colours = seaborn.color_palette("husl", 10) if len(set(groups)) > len(COLOURS) else COLOURS
    for number, group in enumerate(dict.fromkeys(groups)):
        chosen = groups == group
        ax.scatter(
            x[chosen], y[chosen], s=size, marker=markers[number % 10], alpha=0.8, linewidths=0,
            color=colours[number % len(colours)], label=str(group), rasterized=len(x) > 500,
        )  # fmt: skip
    if len(set(groups)) > 1:
        ax.legend(markerscale=1.5)
    return ax


def boundary(
    ax: Axes, predict: Any, x: np.ndarray, y: np.ndarray, margin: float = 0.3, steps: int = 200
) -> Axes:
    """Shade the plane by the class that `predict` (M, 2) -> (M,) gives, with the data over it."""
    low, high = x.min(axis=0) - margin, x.max(axis=0) + margin
    grid = np.meshgrid(*(np.linspace(a, b, steps) for a, b in zip(low, high, strict=True)))
    answer = predict(np.stack([g.ravel() for g in grid], axis=1)).reshape(steps, steps)
    ax.contourf(*grid, answer, levels=np.arange(answer.max() + 2) - 0.5,
                colors=COLOURS, alpha=0.25)  # fmt: skip
    order = np.argsort(y, kind="stable")  # the first colour is the first class's in both
    points(ax, *x[order].T, y[order])
    ax.grid(False)
    return ax


def network(ax: Axes, sizes: Sequence[int], names: Sequence[str]) -> Axes:
    """Draw a net's units as circles, a column a layer, and its weights as lines between them.

    `names` stands over the columns. Arrows say which way numbers and derivatives go.
    """
    columns = [np.arange(n) - (n - 1) / 2 for n in sizes]  # heights of the units
    for x, (here, there) in enumerate(pairwise(columns)):
        ends = np.array([[(x, one), (x + 1, other)] for one in here for other in there])
        ax.plot(*ends.T, color="#AAAAAA", ls="-", lw=0.9, zorder=1)
    reach = max(sizes) / 2
    for x, (heights, name) in enumerate(zip(columns, names, strict=True)):
        ax.scatter(np.full(len(heights), x), heights, s=260, zorder=2,
                   facecolor="white", edgecolor=COLOURS[0], linewidth=1.5)  # fmt: skip
        ax.annotate(name, (x, reach + 0.1), ha="center", fontsize=9)
    last = len(sizes) - 1
    for (start, end), height, text, colour in (
        ((0, last), -reach - 0.1, "forward: numbers", COLOURS[0]),
        ((last, 0), -reach - 0.7, "backward: derivatives", COLOURS[1]),
    ):
        way = {"arrowstyle": "->", "color": colour, "lw": 1.3}
        ax.annotate("", (end, height), (start, height), arrowprops=way)
        ax.annotate(text, (last + 0.08, height), va="center", fontsize=8, color=colour)
    ax.set(xlim=(-0.5, last + 1), ylim=(-reach - 1, reach + 0.5))
    return bare(ax)


def look(number: int) -> dict[str, Any]:
    """Return colour and dash of the line with that number, which no other of the first 49 has."""
    turn = number // len(COLOURS)
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[(number + turn) % len(DASHES)],
    }


def running(
    axes: Sequence[Axes],
    traces: Mapping[str, Any],
    numbers: Sequence[int] = (),
    ceiling: float = math.inf,
) -> Sequence[Axes]:
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
    _course_limits(*axes, list(traces.values()), ceiling)
    if legend := axes[1].get_legend():
        legend.remove()
    if any(trace.last for trace in traces.values()):
        axes[1].legend(loc="lower right", frameon=True, framealpha=0.8, edgecolor="none")
    return axes


def _course(ax: Axes, trace: Any, what: str, factor: float, how: dict, name: str) -> None:
    """Draw what is known of one run; a run without a name calls its lines by what they are."""
    epochs = [row["epoch"] for row in trace.judged]
    running, judged = np.array(getattr(trace, what)), [row[f"val_{what}"] for row in trace.judged]
    ax.plot(trace.epoch, running * factor, color=how["color"], ls="-", lw=1, alpha=0.45,
            label="" if name else "training")  # fmt: skip
    ax.plot(epochs, np.array(judged) * factor, **how, marker="o", ms=3,
            label=name or "validation")  # fmt: skip
    for epoch in trace.turns:
        ax.axvline(epoch, color=how["color"], lw=0.8, ls=":")


def _course_limits(loss: Axes, accuracy: Axes, traces: Sequence[Any], ceiling: float) -> None:
    """Show all of the loss below the ceiling, and of the accuracy what comes after one epoch."""
    highest = [max(trace.loss) for trace in traces if trace.loss]
    loss.set_ylim(0, min(1.05 * max(highest, default=0) or 1.0, ceiling or 1.0))
    rows = [row for trace in traces for row in trace.judged]
    known = [row[f"{split}_accuracy"] for row in rows for split in ("train", "val")]
    low = 100 * np.nanmin(known) if known else 0.0
    high = 100 * np.nanmax(known + [max(t.accuracy) for t in traces if t.accuracy]) if known else 99
    accuracy.set_ylim(max(0.0, low - 3), min(high + 2, 100.5))


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
    for row, column in np.argwhere(errors >= 2.5):
        ink = "white" if errors[row, column] > 0.6 * top else "black"
        ax.text(column, row, f"{errors[row, column]:.0f}", ha="center", va="center", fontsize=8,
                color=ink)  # fmt: skip
    names, places = [name[:11] for name in classes], range(len(classes))
    turned = 90 if max(map(len, names)) > 2 else 0
    ax.set_xticks(places, names, rotation=turned, parse_math=False)
    ax.set_yticks(places, names, parse_math=False)
    ax.tick_params(length=0)
    return label(ax, "answer of the net", "true class")
