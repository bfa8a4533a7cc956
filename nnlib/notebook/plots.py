"""Whole figures in one call: each takes what is to be seen, draws, and returns the figure.

Nothing here trains, loads or decides; `show` puts a figure under a cell. Where a function says
"a panel each", what it takes may also be a mapping from titles to such things, side by side.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nnlib.notebook import axes
from nnlib.notebook.axes import COLOURS, PANELS, WIDTH, plain
from nnlib.notebook.axes import figure as figure
from nnlib.notebook.axes import label as label

Values = Sequence[float]
Draw = Callable[[Axes, Any], Any]  # what fills a panel


def _panels(given: Any, height: float, draw: Draw, inner: type, **more: Any) -> Figure:
    """Draw what is given, or each of a mapping whose values are `inner`, in a panel each."""
    titled = isinstance(given, Mapping) and all(isinstance(what, inner) for what in given.values())
    named = given if titled and given else {"": given}
    fig, row = figure(height, 1, len(named), squeeze=False, **more)
    for ax, (title, what) in zip(row[0], named.items(), strict=True):
        draw(ax, what)
        ax.set_title(title)
    return plain(_with_legend(fig))


def _with_legend(fig: Figure, scale: float = 1) -> Figure:
    """Name what has a name: in a panel that is alone, else once for all of them, below."""
    found = [zip(*reversed(ax.get_legend_handles_labels()), strict=True) for ax in fig.axes]
    named = {name: handle for each in found for name, handle in each}
    place = {"loc": "outside lower center", "ncols": min(len(named), 5), "markerscale": scale}
    if named and len(fig.axes) > 1:
        fig.legend(named.values(), named, **place)
    elif len(named) > 1:
        fig.axes[0].legend()
    return fig


# --- runs


def run(history: Any, extra: Mapping[str, Values] = {}, extra_label: str = "") -> Figure:
    """Draw a run by epoch: loss and accuracy of training and validation, the best epoch marked.

    `extra` fills a third panel with series of one value an epoch.
    """
    fig, row = figure(2.6, 1, 3 if extra else 2)
    for ax, (what, _, unit) in zip(row, PANELS, strict=False):
        _by_epoch(ax, "training", history, f"train_{what}")
        _by_epoch(ax, "validation", history, f"val_{what}")
        ax.axvline(history.best["epoch"], color="#999999", lw=0.8, ls=":")
        label(ax, "epoch", f"{what} ({unit})").legend()
    for name, values in extra.items():
        row[2].plot(history.column("epoch"), values, label=name)
        label(row[2], "epoch", extra_label).legend()
    return plain(fig)


def runs(histories: Mapping[str, Any], chance: float) -> Figure:
    """Compare runs by epoch: training loss, and validation accuracy.

    `chance` is the loss of a net that knows nothing; of what lies far above it nothing is seen.
    """
    fig, row = figure(2.8, 1, 2)
    for name, history in histories.items():
        _by_epoch(row[0], name, history, "train_loss")
        _by_epoch(row[1], name, history, "val_accuracy")
    label(row[0], "epoch", "training loss (nats)")
    label(row[1], "epoch", "validation accuracy (%)").legend()
    row[0].axhline(chance, color="#666666", ls=":", lw=1)
    top = row[0].get_ylim()[1]
    row[0].set_ylim(0, min(top, 2 * chance) or top)  # of one class, chance is 0
    return plain(fig)


def _by_epoch(ax: Axes, name: str, history: Any, column: str) -> None:
    """Draw a column of a history, accuracies in percent; one epoch alone is a point."""
    values = np.array(history.column(column)) * (100 if "accuracy" in column else 1)
    ax.plot(history.column("epoch"), values, label=name, marker="." * (len(values) == 1))
    ax.xaxis.get_major_locator().set_params(integer=True)


def steps(losses: Values, chance: float) -> Figure:
    """Draw the loss of each batch, step by step, and its running mean."""
    window = max(1, len(losses) // 10)
    each = pd.Series(losses)
    series = {"each batch": each, f"mean of the last {window}": each.rolling(window).mean()}
    fig = lines(each.index, series, "step", "loss (nats)", level=chance)
    fig.axes[0].lines[0].set(color="#9EC9E2", linewidth=0.9)
    fig.axes[0].set_ylim(bottom=0)
    fig.axes[0].legend()  # in these colours
    return fig


def lines(
    x: Values, series: Mapping[str, Any], x_label: str, y_label: str, log: str = "",
    spread: Mapping[str, Values] = {}, level: float | None = None,
) -> Figure:  # fmt: skip
    """Draw series of values over a common x, a panel each.

    `log` names the logarithmic axes, "x", "y" or "xy"; `spread` shades so much on either side of
    the series that it names; `level` is a dotted line.
    """

    def draw(ax: Axes, named: Mapping[str, Values]) -> None:
        for name, values in named.items():
            (line,) = ax.plot(x, values, label=name)
            if name in spread and np.isfinite(values).any():
                middle, half = np.asarray(values), np.asarray(spread[name])
                ax.fill_between(x, middle - half, middle + half, color=line.get_color(), alpha=0.15)
        if level is not None:
            ax.axhline(level, color="#666666", ls=":", lw=1)
        for axis in log:
            if getattr(ax.dataLim, f"{axis}max") > 0:  # else nothing could be seen
                ax.set(**{f"{axis}scale": "log"})
        if "x" not in log and np.issubdtype(np.asarray(x).dtype, np.integer):
            ax.xaxis.get_major_locator().set_params(integer=True)
        label(ax, x_label, y_label)

    return _panels(series, 2.7, draw, Mapping)


# --- pictures


def images(stack: np.ndarray, columns: int = 10, labels: Sequence[str] = ()) -> Figure:
    """Draw images of bytes as a sheet; `labels` name its rows.

    Grey ones (N, h, w) are ink on white, those in colour (N, h, w, 3) as they are.
    """
    # a name takes 0.05 inches a letter, or more; a sheet lower than its width allows would cut it
    cell = min(0.8, (WIDTH - 0.05 * max(map(len, labels), default=0)) / columns)
    row = max(cell * stack.shape[1] / stack.shape[2], 0.13 if len(labels) else 0.02)
    fig, ax = figure(0.1 + math.ceil(len(stack) / columns) * row)
    axes.images(ax, stack, columns, labels)
    return plain(fig)


def gallery(pictures: Sequence[np.ndarray], titles: Sequence[str], columns: int = 8) -> Figure:
    """Draw pictures (h, w) or (h, w, 3), each under its own words: bytes, or signed floats.

    Signed ones share one scale: blue negative, white zero, red positive; in colour, grey is zero.
    """
    columns = max(1, min(columns, len(pictures)))
    rows, lines = math.ceil(len(pictures) / columns), max(text.count("\n") for text in titles) + 1
    height = WIDTH / max(columns, 4) + 0.17 * lines
    fig, grid = figure(rows * height, rows, columns, squeeze=False)
    limit = max((float(np.abs(p).max()) for p in pictures if p.dtype != np.uint8), default=0.0)
    for ax in grid.flat:
        axes.bare(ax)
    for ax, picture, text in zip(grid.flat, pictures, titles, strict=False):
        if picture.dtype == np.uint8:
            axes.images(ax, picture[None], 1)
        else:
            axes.signed_image(ax, picture, limit)
        ax.set_title(text, fontsize=8, fontweight="normal", loc="center")
    if limit and any(picture.ndim == 3 for picture in pictures):
        fig.supxlabel(axes.GREY, fontsize=8)
    return plain(fig)


def weights(matrices: Any, shape: Sequence[int], columns: int = 8, limit: float = 0.0) -> Figure:
    """Draw the incoming weights (D, H) of H units as pictures of a shape, a panel each.

    All share one scale: blue negative, white zero, red positive, full colour at `limit`, by
    default the 99.5th percentile of |w|. Of a `shape` (h, w, 3) they are in colour, and zero grey.
    """
    sheets = list(matrices.values()) if isinstance(matrices, Mapping) else [matrices]
    limit = limit or float(np.percentile(np.abs(np.concatenate(sheets, axis=1)), 99.5)) or 1.0
    rows = max(math.ceil(sheet.shape[1] / columns) for sheet in sheets)
    cell = min(0.8, (WIDTH - 0.8) / len(sheets) / columns)
    draw = partial(axes.weight_images, shape=shape, columns=columns, limit=limit)
    return _panels(matrices, 0.35 + rows * cell * shape[0] / shape[1], draw, np.ndarray)


def framed(stack: np.ndarray, columns: int, labels: Sequence[str], frames: np.ndarray) -> Figure:
    """Draw images as `images` does, with a frame around those that `frames` (N,) says."""
    fig = images(stack, columns, list(labels))
    (ax,), (height, width) = fig.axes, np.array(stack.shape[1:3]) + 1
    room = WIDTH - 0.25 - 0.07 * max(map(len, labels))  # inches beside the names
    fig.set_figheight(min(0.1 + room * len(stack) / columns**2 * height / width, 9))
    for number in np.flatnonzero(frames):
        corner = width * (number % columns) - 1, height * (number // columns) - 1
        ax.add_patch(Rectangle(corner, width, height, fill=False, color=COLOURS[1], lw=1.8,
                               clip_on=False))  # fmt: skip
    return fig


def layers(nets: Mapping[str, Any]) -> Figure:
    """Draw every weight matrix of some nets of one shape: a row a net, a scale a layer."""
    names = list(next(iter(nets.values())).weight_matrices)
    fig, grid = figure(3.6, len(nets), len(names), squeeze=False)
    for column, name in zip(grid.T, names, strict=True):
        matrices = [net.parameters[name] for net in nets.values()]
        limit = float(np.percentile(np.abs(np.concatenate(matrices)), 99))
        for ax, matrix, when in zip(column, matrices, nets, strict=True):
            axes.signed_image(ax, matrix, limit, aspect="auto")
            ax.set_title(f"{name} {when}, {matrix.shape[0]} × {matrix.shape[1]}")
    return plain(fig)


# --- charts


def heatmaps(
    matrix: np.ndarray, rows: Sequence[Any] = (), columns: Sequence[Any] = (), numbers: str = ""
) -> Figure:
    """Draw a matrix (R, C) as colours: a signed one in two colours around zero.

    `rows` and `columns` name them, as far as there is room; `numbers` is a format such as ".0f" to
    print in the cells.
    """
    import seaborn  # takes a second: only where it draws

    fig, ax = figure(3.2)
    top = float(np.nanmax(np.abs(matrix))) or 1.0
    signed = {"cmap": "RdBu_r", "vmin": -top, "vmax": top}
    scale = signed if np.nanmin(matrix) < 0 else {"cmap": "Blues"}
    named = pd.DataFrame(matrix, list(rows) or None, list(columns) or None)
    with mpl.rc_context({"text.parse_math": False}):  # it draws the names, to see which have room
        ax.clear()  # ticks, too, are made anew
        seaborn.heatmap(
            named, ax=ax, annot=bool(numbers), fmt=numbers, annot_kws={"size": 8}, **scale
        )
    ax.grid(False)
    ax.tick_params("y", rotation=0)
    return fig


def confusion(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw a confusion matrix (K, K): which share of a true class (row) gets which answer."""
    return _panels(counts, 4.4, partial(axes.mistakes, classes=classes), np.ndarray)


def dots(
    rows: Mapping[str, tuple[float, float]], unit: str, marks: Mapping[str, float], mark_label: str
) -> Figure:
    """Draw (mean, standard deviation) of each name as a dot on a line, first on top.

    `marks` adds a hollow diamond to the names it has, which the legend calls `mark_label`.
    """
    fig, ax = figure(0.8 + 0.24 * len(rows))
    names, (means, deviations) = list(rows), np.transpose(list(rows.values()))
    ax.errorbar(means, range(len(rows)), xerr=deviations, fmt="o", color=COLOURS[0], capsize=3,
                label="mean ± standard deviation")  # fmt: skip
    ax.plot(list(marks.values()), list(map(names.index, marks)), "D", color=COLOURS[1],
            mfc="none", label=mark_label)  # fmt: skip
    fig.legend(loc="outside upper left", ncols=2)
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    label(ax, unit)
    return plain(fig)


def histograms(groups: Any, unit: str, bins: Any = 50) -> Figure:
    """Draw how often values occur, a panel each."""

    def draw(ax: Axes, values: np.ndarray) -> None:
        ax.hist(np.ravel(values), bins=bins, color=COLOURS[0])
        label(ax, unit, "how many")

    return _panels(groups, 2.4, draw, np.ndarray)


def violins(groups: Mapping[str, Any], unit: str) -> Figure:
    """Draw the distribution of each named group of values beside the others, a panel each."""

    import seaborn

    def draw(ax: Axes, named: Mapping[str, np.ndarray]) -> None:
        values = [np.ravel(group).astype(float) for group in named.values()]
        seaborn.violinplot(values, ax=ax, inner="quartile", cut=0, color="#9EC9E2", linewidth=0.8)
        ax.set_xticks(range(len(named)), list(named))
        label(ax, "", unit)

    return _panels(groups, 2.7, draw, Mapping)


def scatters(panels: Mapping[str, Any], x_label: str, y_label: str, log: str = "") -> Figure:
    """Draw points (x, y) of named groups, a panel each beside one another, with the same axes.

    Every panel has the same groups. `log` names the logarithmic axes, "x", "y" or "xy".
    """

    def draw(ax: Axes, groups: Mapping[str, Any]) -> None:
        for number, (name, (x, y)) in enumerate(groups.items()):
            ax.scatter(x, y, s=16, marker="os^D"[number], color=COLOURS[number], label=name)
        ax.set(**{f"{axis}scale": "log" for axis in log})
        label(ax, x_label, y_label).label_outer()

    return _panels(panels, 2.6, draw, Mapping, sharex=True, sharey=True)


def maps(spaces: Mapping[str, np.ndarray], groups: Sequence[Any], seed: int = 0) -> Figure:
    """Draw points (N, H) of some spaces on flat maps, by PCA and by t-SNE, a row a space.

    `groups` (N,) have a colour and a marker each; of more than 20 the names are left out.
    """
    fig, grid = figure(0.6 + 2.3 * len(spaces), len(spaces), 2, squeeze=False)
    order = np.argsort(groups, kind="stable")
    for row, (name, space) in zip(grid, spaces.items(), strict=True):
        for ax, (way, places) in zip(row, _flat(space, seed).items(), strict=True):
            axes.points(ax, *places[order].T, np.asarray(groups)[order], size=8)
            axes.bare(ax).set_title(f"{way}, {name}")
    return plain(_with_legend(fig, 2) if len(np.unique(groups)) <= 20 else fig)


def _flat(space: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Return the places (N, 2) of points (N, H) on two flat maps; what is all in one place stays.

    PCA would divide by the spread of such points, and scikit-learn's t-SNE end the process.
    """
    from sklearn.decomposition import PCA  # takes a second, as scikit-learn's t-SNE does
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if not np.ptp(space, axis=0).any():
        return dict.fromkeys(("PCA", "t-SNE"), np.zeros((len(space), 2)))
    wide = np.pad(space, ((0, 0), (0, max(0, 2 - space.shape[1]))))  # a single unit is a line
    with threadpool_limits(1):  # a second thread would only be waited for
        near = TSNE(perplexity=min(30, len(space) / 4), random_state=seed).fit_transform(wide)
    return {"PCA": PCA(2).fit_transform(wide), "t-SNE": near}


# --- drawings


def boundary(predictors: Mapping[str, Any], x: np.ndarray, y: np.ndarray) -> Figure:
    """Shade the plane by the class that a `predict` (M, 2) -> (M,) gives, the data over it.

    A panel each.
    """
    order = np.argsort(y, kind="stable")  # the first colour is the first class's in both
    sides = np.linspace(x.min(axis=0) - 0.3, x.max(axis=0) + 0.3, 200).T
    grid = np.stack(np.meshgrid(*sides))

    def draw(ax: Axes, predict: Any) -> None:
        answer = predict(grid.reshape(2, -1).T).reshape(200, 200)
        levels = np.arange(answer.max() + 2) - 0.5
        ax.contourf(*grid, answer, levels=levels, colors=COLOURS, alpha=0.25)
        axes.points(ax, *x[order].T, y[order])
        ax.grid(False)

    return _panels(predictors, 2.8, draw, Callable)


def network(sizes: Sequence[int], names: Sequence[str]) -> Figure:
    """Draw a net's units as circles, a column a layer, and its weights as lines between them.

    `names` stands over the columns. Arrows say which way numbers and derivatives go.
    """
    fig, ax = figure(2.8)
    columns = [np.arange(n) - (n - 1) / 2 for n in sizes]  # heights of the units
    for x, (here, there) in enumerate(pairwise(columns)):
        ends = np.array([[(x, one), (x + 1, other)] for one in here for other in there])
        ax.plot(*ends.T, color="#AAAAAA", ls="-", lw=0.9, zorder=1)
    reach, last = max(sizes) / 2, len(sizes) - 1
    for x, (heights, name) in enumerate(zip(columns, names, strict=True)):
        ax.scatter(np.full(len(heights), x), heights, s=260, zorder=2,
                   facecolor="white", edgecolor=COLOURS[0], linewidth=1.5)  # fmt: skip
        ax.annotate(name, (x, reach + 0.1), ha="center", fontsize=9)
    for start, height, text, colour in (
        (0, -reach - 0.1, "forward: numbers", COLOURS[0]),
        (last, -reach - 0.7, "backward: derivatives", COLOURS[1]),
    ):
        way = {"arrowstyle": "->", "color": colour, "lw": 1.3}
        ax.annotate("", (last - start, height), (start, height), arrowprops=way)
        ax.annotate(text, (last + 0.08, height), va="center", fontsize=8, color=colour)
    ax.set(xlim=(-0.5, last + 1), ylim=(-reach - 1, reach + 0.5))
    axes.bare(ax)
    return fig


def bowl(paths: Mapping[str, np.ndarray], steepness: np.ndarray) -> Figure:
    """Draw ways (T, 2) down the bowl ½ Σ a w², a = `steepness` (2,), from above, a panel each."""
    reach = np.abs([path[0] for path in paths.values()]).max(axis=0) * (1.35, 2)  # (2,)
    grid = np.meshgrid(*(np.linspace(-r, r, 101) for r in reach))
    loss = sum(a * w**2 for a, w in zip(steepness, grid, strict=True)) / 2
    levels = np.linspace(0, 1, 8)[1:] ** 2 * loss.max()

    def draw(ax: Axes, path: np.ndarray) -> None:
        ax.contour(*grid, loss, levels=levels, colors="#BBBBBB", linewidths=0.8)
        way = np.clip(path, -2 * reach, 2 * reach).T
        ax.plot(*way, ls="-", lw=1, marker="o", ms=3, label="the way")
        ax.plot(0, 0, "+", color="black", ms=9, ls="None", label="lowest place")
        ax.set(xlim=(-reach[0], reach[0]), ylim=(-reach[1], reach[1]))
        label(ax, "weight 1", "weight 2").label_outer()

    return _panels(paths, 2.2, draw, np.ndarray, sharex=True, sharey=True)
