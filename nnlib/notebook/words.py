"""A figure in words, for those who cannot see it: what its panels hold, read off what is drawn."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection, PathCollection, QuadMesh
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure

from nnlib.language import gettext as _

MOST = 8  # things of a kind that are told one by one


def describe(fig: Figure) -> str:
    """Return a figure in words: axes, legend, the course of each line, bars, maps and pictures."""
    panels = [ax for ax in fig.axes if ax.get_label() != "<colorbar>" and ax.has_data()]
    if len(panels) > 4 and all(ax.images for ax in panels):
        titles = [ax.get_title(loc=side) for ax in panels for side in ("left", "center")]
        names = "; ".join(text.replace("\n", ", ") for text in titles if text)
        return _(f"{len(panels)} pictures") + f"{names and ': '}{names}."
    told = [_panel(ax) for ax in panels]
    if len(told) > 1:
        told = [_(f"Panel {number}: {text}") for number, text in enumerate(told, 1)]
    return " ".join(told) or _("A figure without data.")


def _panel(ax: Axes) -> str:
    title = ax.get_title(loc="left") or ax.get_title()
    against = _(" against ").join(filter(None, (ax.get_ylabel(), ax.get_xlabel())))
    parts = [*_lines(ax), *_bars(ax), *_groups(ax), *_maps(ax)]
    if len(parts) > MOST:
        parts[MOST:] = [_(f"and {len(parts) - MOST} more")]
    return ": ".join(filter(None, (title, against, "; ".join(parts)))).replace("\n", " ") + "."


def _lines(ax: Axes) -> Iterator[str]:
    """Tell each line's course, from where over which extreme to where."""
    errors = [box for box in ax.containers if isinstance(box, ErrorbarContainer)]
    bars = {line for box in errors for line in (box[0], *box[1])}
    for line in ax.lines:
        x, y = (np.ma.filled(np.ma.asarray(v, float), np.nan) for v in line.get_data(orig=True))
        guide, known = len(x) == 2 and _nameless(line), np.isfinite(y)  # the best epoch, a level
        if known.any() and not guide and line not in bars:
            places = ", ".join(f"{value:.3g}" for value in x[:MOST])
            marks = line.get_linestyle() == "None"
            course = _(f"at {places}") if marks else _course(x[known], y[known])
            yield f"{_('line') if _nameless(line) else line.get_label()} {course}"


def _nameless(artist: Any) -> bool:
    return not artist.get_label() or str(artist.get_label()).startswith("_")


def _course(x: np.ndarray, y: np.ndarray) -> str:
    if np.ptp(y) == 0:
        return _(f"at {y[0]:.3g}")
    text = _(f"goes from {y[0]:.3g} to {y[-1]:.3g}")
    for kind, place in ((_("lowest"), int(y.argmin())), (_("highest"), int(y.argmax()))):
        if 0 < place < len(y) - 1:
            text += _(f", {kind} {y[place]:.3g} at {x[place]:.3g}")
    return text


def _bars(ax: Axes) -> Iterator[str]:
    """Tell bars by name where they have names, else where the most of them lie."""
    for box in ax.containers:
        if isinstance(box, BarContainer):
            sizes = box.datavalues
            names = _ticks(ax.yaxis if box.orientation == "horizontal" else ax.xaxis)
            if len(names) == len(sizes):
                yield from _named(names, sizes)
            elif len(sizes):
                top = box[int(np.argmax(sizes))]
                yield _(f"{len(sizes)} bars, the highest {max(sizes):.3g} at {top.get_x():.3g}")
        elif isinstance(box, ErrorbarContainer) and box[0]:  # without a line it is that of bars
            yield from _named(_ticks(ax.yaxis), box[0].get_xdata())


def _ticks(axis: Any) -> list[str]:
    return [text for tick in axis.get_ticklabels() if (text := tick.get_text())]


def _named(names: Sequence[str], values: Sequence[float]) -> Iterator[str]:
    return (f"{name} {value:.3g}" for name, value in zip(names, values, strict=False))


def _groups(ax: Axes) -> Iterator[str]:
    """Tell how many points a group has, and from where to where a violin reaches."""
    for group in ax.collections:
        if isinstance(group, PathCollection) and (number := len(group.get_offsets())):
            name = "" if _nameless(group) else group.get_label()
            yield _(f"{number} points of {name}") if name else _(f"{number} points")
    shades = [each for each in ax.collections if type(each) is FillBetweenPolyCollection]
    violins = [each for each in shades if each.t_direction == "y"]  # others are bands about a line
    for name, each in zip(_ticks(ax.xaxis), violins, strict=False):
        reach = each.get_datalim(ax.transData)
        yield f"{name} {_(f'from {reach.y0:.3g} to {reach.y1:.3g}')}"


def _maps(ax: Axes) -> Iterator[str]:
    """Tell the size of pictures and maps, and their range."""
    for each in (*ax.images, *(each for each in ax.collections if isinstance(each, QuadMesh))):
        array = np.ma.masked_invalid(np.atleast_2d(each.get_array()))
        if array.count():
            size = f"{array.shape[0]} by {array.shape[1]}"
            kind = _(f"a picture of {size}") if each in ax.images else _(f"a map of {size}")
            kind = kind if _nameless(each) else each.get_label()  # a sheet says what it holds
            span = _(f", from {array.min():.3g} to {array.max():.3g}")
            yield kind + (span if array.ndim == 2 else _(", in colour"))
