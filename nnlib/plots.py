"""Every figure of the report, in one style.

Each function takes arrays and an `ax`, draws, and returns the `ax`; nothing here trains, loads or
decides. Colours are those of Okabe and Ito, which the colour-blind tell apart, and lines differ in
dash as well, so that a grey print still reads. This is the only module that imports matplotlib and
seaborn.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00", "#3F8FC5", "#000000"]
DASHES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))]
WIDTH = 7.0  # inches: the text width of a printed page, so that 9 pt here is 9 pt there

STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "font.family": "sans-serif",
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
    ax.imshow(tile(stack, columns, fill=0.0), cmap="gray_r", vmin=0, vmax=255)
    bare(ax)
    if row_labels:
        pitch = stack.shape[1] + 1
        ax.set_yticks([pitch * (row + 0.5) - 1 for row in range(len(row_labels))], row_labels)
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
    sheet = tile(weights.T.reshape(-1, *shape), columns)
    drawn = ax.imshow(sheet, cmap="RdBu_r", vmin=-limit, vmax=limit)
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


def heatmap(
    ax: Axes,
    matrix: np.ndarray,
    rows: Sequence[Any] = (),
    columns: Sequence[Any] = (),
    numbers: str = "",
    signed: bool = False,
    unit: str = "",
) -> Axes:
    """Draw a matrix (R, C); `numbers` is a format such as ".0f" to print in the cells."""
    limit = float(np.nanmax(np.abs(matrix))) if signed else None
    sns.heatmap(
        np.asarray(matrix), ax=ax, annot=bool(numbers), fmt=numbers or ".2g",
        cmap="RdBu_r" if signed else "Blues", vmin=-limit if signed else None, vmax=limit,
        xticklabels=list(columns) or "auto", yticklabels=list(rows) or "auto",
        annot_kws={"size": 8}, cbar_kws={"label": unit},
    )  # fmt: skip
    ax.grid(False)
    return ax


def confusion(ax: Axes, counts: np.ndarray, classes: Sequence[str]) -> Axes:
    """Draw a confusion matrix (K, K) of counts: rows are the truth, columns the net's answer.

    Colour shows the share of the row among the errors, so that the diagonal does not drown them.
    """
    errors = counts * (1.0 - np.eye(len(counts)))
    share = errors / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    sns.heatmap(
        share, ax=ax, annot=counts, fmt="d", cmap="Oranges", annot_kws={"size": 8},
        xticklabels=classes, yticklabels=classes, cbar_kws={"label": "share of the row"},
    )  # fmt: skip
    ax.grid(False)
    return label(ax, "answer of the net", "true class")


def lines(
    ax: Axes,
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    spread: Mapping[str, Sequence[float]] | None = None,
) -> Axes:
    """Draw several series over a common x; `spread` shades ± so much around those it names."""
    for name, values in series.items():
        (line,) = ax.plot(x, values, label=name)
        if spread and name in spread:
            middle, half = np.asarray(values), np.asarray(spread[name])
            ax.fill_between(x, middle - half, middle + half, color=line.get_color(), alpha=0.15)
    ax.legend()
    return ax


def curves(ax: Axes, histories: Mapping[str, Any], column: str = "val_accuracy") -> Axes:
    """Draw one column of several histories over the epochs, accuracies in percent."""
    factor = 100 if "accuracy" in column else 1
    for name, history in histories.items():
        ax.plot(history.column("epoch"), np.array(history.column(column)) * factor, label=name)
    ax.legend()
    ax.xaxis.get_major_locator().set_params(integer=True)
    return label(ax, "epoch", column.replace("_", " ") + (" (%)" if factor == 100 else ""))


def learning(axes: Sequence[Axes], history: Any) -> Sequence[Axes]:
    """Draw a run: loss on the first ax, accuracy on the second, training and validation."""
    epochs = history.column("epoch")
    for ax, what, factor, unit in zip(
        axes, ("loss", "accuracy"), (1, 100), ("nats", "%"), strict=False
    ):
        for split, name in (("train", "training"), ("val", "validation")):
            ax.plot(epochs, np.array(history.column(f"{split}_{what}")) * factor, label=name)
        ax.axvline(history.best["epoch"], color="#999999", lw=0.8, ls=":")
        ax.xaxis.get_major_locator().set_params(integer=True)
        label(ax, "epoch", f"{what} ({unit})").legend()
    return axes


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


def histogram(ax: Axes, values: np.ndarray, bins: int | Sequence[float] = 50) -> Axes:
    """Draw how often values occur."""
    ax.hist(np.ravel(values), bins=bins, color=COLOURS[0])
    return ax


def violins(ax: Axes, groups: Mapping[str, np.ndarray]) -> Axes:
    """Draw the distribution of each group of values beside the others."""
    values = [np.ravel(group).astype(float) for group in groups.values()]
    sns.violinplot(values, ax=ax, inner="quartile", cut=0, color="#9EC9E2", linewidth=0.8)
    ax.set_xticks(range(len(groups)), list(groups))
    return ax


def points(
    ax: Axes, x: np.ndarray, y: np.ndarray, groups: Sequence[Any] | None = None, size: float = 14
) -> Axes:
    """Draw points, one colour and marker a group; many points become pixels, not shapes."""
    markers, groups = "osD^vPX<>*", np.zeros(len(x)) if groups is None else np.asarray(groups)
    colours = sns.color_palette("husl", 10) if len(set(groups)) > len(COLOURS) else COLOURS
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
    points(ax, x[:, 0], x[:, 1], y)
    ax.grid(False)
    return ax


def surface(ax: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray) -> Axes:
    """Shade the plane by a function's values (len(y), len(x)) on a grid: darker is larger."""
    ax.contourf(x, y, values, levels=12, cmap="Blues")
    ax.set_aspect("equal")
    ax.grid(False)
    return ax


def landscape(
    ax: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, unit: str = "", levels: int = 10
) -> Axes:
    """Shade the plane between scattered points (N,) on log axes by their values, darker larger.

    Interpolated over triangles in the logarithms; the points themselves are drawn, too, and the
    highest is marked by a cross. `unit` names the colour bar.
    """
    triangles = mpl.tri.Triangulation(np.log(x), np.log(y)).triangles
    mesh = mpl.tri.Triangulation(x, y, triangles)
    drawn = ax.tricontourf(mesh, values, levels=levels, cmap="Blues")
    ax.figure.colorbar(drawn, ax=ax, label=unit)
    ax.scatter(x, y, s=14, color="white", edgecolors="black", linewidths=0.7, zorder=2)
    best = int(np.argmax(values))
    ax.plot(x[best], y[best], "X", color=COLOURS[1], markersize=10, markeredgecolor="white")
    ax.use_sticky_edges = False  # keep markers at the rim whole
    ax.set(xscale="log", yscale="log")
    return ax


def parallel(
    ax: Axes, columns: Mapping[str, np.ndarray], values: np.ndarray, unit: str = "",
    log: Sequence[str] = (), numbers: str = "{:.3g}",
) -> Axes:  # fmt: skip
    """Draw each row of the columns (N,) as a line across one upright axis a column.

    Each axis runs from its column's smallest to its largest, which stand at its ends, on a
    logarithmic scale for the names in `log`. Lines are darker, and on top, where `values` (N,)
    are larger; `unit` names the colour bar.
    """
    heights = np.stack([
        _unit_range(np.log(column) if name in log else np.asarray(column))
        for name, column in columns.items()
    ])  # fmt: skip
    norm, colours = mpl.colors.Normalize(values.min(), values.max()), mpl.colormaps["Blues"]
    for row in np.argsort(values):
        share = norm(values[row])
        ax.plot(heights[:, row], color=colours(0.2 + 0.8 * share), lw=0.8 + share, ls="-")
    for place, column in enumerate(columns.values()):
        ax.plot([place, place], [0, 1], color="#444444", lw=0.8, ls="-", zorder=0)
        for height, value in ((-0.05, min(column)), (1.05, max(column))):
            ax.text(place, height, numbers.format(value), ha="center", va="center", fontsize=8)
    bare(ax).set(ylim=(-0.12, 1.12), xticks=range(len(columns)), xticklabels=list(columns))
    ax.figure.colorbar(mpl.cm.ScalarMappable(norm, colours), ax=ax, label=unit)
    return ax


def _unit_range(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (np.ptp(values) or 1.0)
