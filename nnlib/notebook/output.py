"""What the cells of every notebook use to speak: figures, tables, sentences, provenance.

Each shows itself in a form for every reader: a figure carries its caption and a description for
those who cannot see it, a table is HTML for the page and Markdown for the PDF, and a sentence may
hold numbers, so that the text cannot disagree with the run.
"""

import html
import io
import math
import os
import re
import sys
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython import get_ipython
from IPython.display import Markdown, display
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator
from PIL import Image

from nnlib.checks import InputError
from nnlib.files import project_root, read_json, write_atomic
from nnlib.language import gettext as _
from nnlib.language import language
from nnlib.notebook.fonts import FAMILY
from nnlib.notebook.words import describe
from nnlib.runs import versions

MIME = {"png": "image/png", "svg": "image/svg+xml"}
WIDGET = "application/vnd.jupyter.widget-view+json"
SHARES = {"accuracy", "error", "share", "probability", "confidence"}  # ends of such columns' names
NAMES_OWN = re.compile(r"(?<=[a-zA-Z0-9])\*(?=[a-zA-Z0-9])|(?<![^\W_])_|_(?![^\W_])")
_START = time.perf_counter()
warnings.filterwarnings("ignore", "The number of unique classes")  # few images of many classes


def say(text: str) -> None:
    """Show a sentence in Markdown; written in a cell because it holds numbers of the run.

    A name in it that looks like HTML, of a class, say, is shown as it stands.
    """
    display(Markdown(_with_minus(_(text), "&lt;")))


def _with_minus(text: str, less: str = "<") -> str:
    """Put a minus before negative numbers where a hyphen stands, but not in code or mathematics.

    `less` takes the place of the < of a tag, likewise.
    """
    parts = re.split(r"(`[^`]*`|\$[^$]*\$|\]\([^)]*\))", text)
    parts[::2] = (re.sub(r"(?<![\w-])-(?=\d)", "−", part) for part in parts[::2])
    parts[::2] = (re.sub(r"<(?=[a-zA-Z/!?])", less, part) for part in parts[::2])
    if less != "<":  # in Markdown, marks of a name, as in T*shirt or _x_, are no emphasis
        parts[::2] = (NAMES_OWN.sub(r"\\\g<0>", part) for part in parts[::2])
    return "".join(parts)


def place_in(searched: Any, value: Any) -> float:
    """Return where a value stands in the `Range` or `Choice` of a search, from 0 to 1.

    In a range, on its own scale; among values, by size, and 0.5 for two of them or without order.
    """
    if hasattr(searched, "low"):
        low, high, at = map(math.log if searched.log else float, (*searched.values, value))
        return (at - low) / ((high - low) or 1.0)
    try:
        ordered = sorted(map(float, searched.values))
        return ordered.index(float(value)) / (len(ordered) - 1) if ordered[2:] else 0.5
    except (ValueError, TypeError):  # names, or layers such as 128x64
        return 0.5


# --- figures


def show(figure: Any, name: str, caption: str, alt: str | None = None, png: bool = False) -> None:
    """Show a figure once, yours or one of `plots`, with a caption: what to look for in it.

    It is shown as PNG, which a notebook that nobody has run yet shows, too, and as SVG, unless
    that would be heavy (`png`). `alt` says in words what one would see, by default what
    `words.describe` reads off the drawing. If NNLIB_FIGURES names a folder, the figure is kept
    there as `name`.
    """
    fig = getattr(figure, "figure", figure)  # of an Axes or a seaborn grid
    plt.close(fig)  # else the inline backend shows it again
    show_drawing(fig, ("png",) if png else ("svg", "png"), name, caption, alt, {})


def in_language(fig: Any) -> Any:
    """Return a figure with its words in the language spoken, lines that belong together or each."""
    if language() == "en":
        return fig

    def said(text: str) -> str:
        told = _(text)
        return told if told != text else "\n".join(map(_, text.split("\n")))

    for artist in fig.findobj():
        if isinstance(artist, Text):
            artist.set_text(said(artist.get_text()))
        if isinstance(name := artist.get_label(), str):
            artist.set_label(said(name))
    for axis in (axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)):
        if isinstance(axis.get_major_locator(), FixedLocator):
            names = [tick.get_text() for tick in axis.get_ticklabels()]
            if (told := [said(name) for name in names]) != names:
                axis.set_ticklabels(told)
    return fig


def show_drawing(
    fig: Any, kinds: Sequence[str], name: str, caption: str, alt: str | None,
    beside: Mapping[str, Any], **place: Any,
) -> None:  # fmt: skip
    """Show a figure in some kinds, "svg" or "png", with what the exports want to know about it.

    The first kind is kept in the folder of NNLIB_FIGURES if a png is among them. The open notebook
    shows the caption below, which the exports leave out, as they set it themselves. What is
    `beside` the drawing is for exports, too; a widget there is all that the open notebook shows.
    `place` is as `display` takes it.
    """
    fig, caption = in_language(fig), _with_minus(_(caption), "&lt;")
    alt = _with_minus(_(alt) if alt else describe(fig))
    drawn = {MIME[kind]: rendered(fig, kind) for kind in kinds}
    if "png" in kinds and (folder := os.environ.get("NNLIB_FIGURES")):
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_atomic(Path(folder, f"{name}.{kinds[0]}"), drawn[MIME[kinds[0]]])
    about = {"alt": alt, "caption": caption, "name": name}
    bundle = {**drawn, **beside, "text/plain": alt}
    display(bundle, raw=True, metadata=dict.fromkeys(drawn, about), **place)
    if WIDGET not in beside:
        _show_caption(caption, place)


def _show_caption(caption: str, place: Mapping[str, Any]) -> None:
    """Show a caption in the open notebook, as wide as its text asks; exports set their own."""
    if place:
        place = {**place, "display_id": place["display_id"] + "-caption"}
    text = {"text/markdown": f"*{caption}*"}
    display(text, raw=True, metadata={"nnlib": "caption"}, **place)


def rendered(fig: Any, kind: str) -> str | bytes:
    """Return a figure as SVG, the same text for the same drawing, or as the bytes of a PNG.

    A PNG has 256 colours, unless there are pictures in colour.
    """
    stream, dpi = io.BytesIO(), None if fig.get_layout_engine() else "figure"  # live: smaller
    kept = {"figure.constrained_layout.use": False}  # saving gives a figure without layout this one
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "nnlib", **kept}):
        fig.savefig(stream, format=kind, dpi=200 if kind == "png" else dpi, metadata={"Date": None})
    if kind == "png":
        drawn = Image.open(stream).convert("RGB")
        if all(np.ndim(each.get_array()) == 2 for each in fig.findobj(AxesImage)):
            drawn = drawn.quantize(256, dither=Image.Dither.NONE)  # half the size, and nobody sees
        drawn.save(stream := io.BytesIO(), "PNG")
        return stream.getvalue()
    # without a size of its own it fills a notebook's pane, as a PNG does
    sized = r'(<svg [^>]*?) width="[^"]*" height="[^"]*"'
    svg = re.sub(sized, r"\1", stream.getvalue().decode(), count=1)
    return svg if max(svg) >= "\u2e80" else svg.replace(f", '{FAMILY}'", "")  # is it Chinese?


# --- tables


def table(data: Any, caption: str, formats: Mapping[str, str] | None = None, **place: Any) -> None:
    """Show a DataFrame, a Series or rows below a caption.

    Numbers are written as their kind asks: shares (see SHARES) in percent, whole numbers in
    thousands, a column of others with as many decimals as leave its largest four digits.
    `formats` sets it otherwise, as {"slope": "{:+.1f}"}. An index is shown where it has a name.
    `place` is as `display` takes it.
    """
    frame, caption = pd.DataFrame(data), _with_minus(_(caption), "&lt;")
    if any(frame.index.names):
        frame = frame.reset_index()
    formats = {name: _pattern(name, frame[name]) for name in frame} | dict(formats or {})
    cells = {name: [_formatted(each, formats[name]) for each in frame[name]] for name in frame}
    text = pd.DataFrame(cells).rename(columns=lambda name: _(str(name).replace("_", " ")))
    sides = ["right" if pd.api.types.is_numeric_dtype(kind) else "left" for kind in frame.dtypes]
    _show_caption(caption, place)
    bundle = {"text/html": _as_html(text, sides), "text/plain": text.to_string(index=False)}
    display(bundle, raw=True, metadata={"text/html": {"caption": caption}}, **place)


def _pattern(name: Any, values: pd.Series) -> str:
    """Return the format that suits a column's kind of number."""
    if pd.api.types.is_bool_dtype(values) or not pd.api.types.is_numeric_dtype(values):
        return "{}"
    known = np.abs(values.astype(float))
    known = known[np.isfinite(known)]
    if str(name).replace("_", " ").split(" ")[-1] in SHARES and known.max() <= 1:
        return "{:.2%}"
    if (known % 1 == 0).all():
        return "{:,.0f}"
    top, least = known.max(), known[known > 0].min()
    decimals = max(0, 3 - math.floor(math.log10(top)))
    return f"{{:.{decimals}f}}" if least * 10**decimals >= 10 and decimals < 6 else "{:.3g}"


def _formatted(value: Any, pattern: str) -> str:
    """Return what a cell holds as text; a dash where nothing is known."""
    return "–" if pd.isna(value) is True else _with_minus(_(pattern.format(value)))


def _as_html(text: pd.DataFrame, sides: Sequence[str]) -> str:
    def row(tag: str, cells: Iterable[str]) -> str:
        inner = (
            f'<{tag} style="text-align: {side}">{html.escape(cell)}</{tag[:2]}>'
            for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{''.join(inner)}</tr>"

    head, body = row('th scope="col"', text), "\n".join(row("td", cells) for cells in text.values)
    return f"<table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table>"


def _worded(frame: pd.DataFrame, **_kinds: Any) -> dict[str, str]:
    """Return what IPython shows of a frame as it is, with its words in the language spoken."""

    def said(value: Any) -> Any:
        return _(value) if isinstance(value, str) else value

    names = {"index": said, "columns": said}
    told = frame.rename(**names).rename_axis(**names).map(said)
    return {"text/html": told._repr_html_(), "text/plain": repr(told)}


if language() != "en" and (shell := get_ipython()):
    shell.display_formatter.mimebundle_formatter.for_type(pd.DataFrame, _worded)


# --- where it all comes from


def provenance(data: Any, **more: Any) -> None:
    """Show the line that ends a notebook: versions, BLAS, threads, data hash, seed, time."""
    from threadpoolctl import ThreadpoolController

    blas = {
        f"{pool['internal_api']} {pool['version'] or ''} ({pool.get('architecture', '?')})"
        for pool in ThreadpoolController().select(user_api="blas").info()
    }
    parts = [f"{name} {version}" for name, version in versions().items()]
    parts += [", ".join(sorted(blas)), _(f"{os.cpu_count()} processors, {sys.platform}")]
    parts += [f"{data.name} {data.sha256[:12]}"]
    parts += [f"{name} {value}" for name, value in more.items()]
    parts += [f"{time.perf_counter() - _START:.0f} s"]
    text = _with_minus(" · ".join(parts), "&lt;")
    display(Markdown(f"<small>{_('Provenance')}: {text}</small>"))


# --- what long runs left


def stored(name: str) -> pd.DataFrame:
    """Return the table data/results/NAME.csv; its `attrs` are what the JSON beside it says.

    Raises InputError, which names the file, where one of the two is missing or damaged, or where
    the table lacks columns or runs that the JSON promises.
    """
    main, _, part = name.partition("-")
    folder = project_root() / "data" / "results"
    path, beside = folder / f"{name}.csv", folder / f"{main}.json"
    about, anew = read_json(beside), f"restore it, or make it anew: python -m experiments {main}"
    try:
        columns, recipes = about[part or "columns"], [] if part else about["recipes"]
        said = [(recipe["seeds"], recipe["published"]) for recipe in recipes]
        runs = pd.read_csv(path)
    except (KeyError, TypeError) as error:
        raise InputError(f"{beside} does not describe {path.name}; restore it") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} ({' '.join(str(error).split())}); {anew}") from error
    if lacking := [column for column in columns if column not in runs]:
        raise InputError(f"{path} lacks the columns {', '.join(lacking)}; {anew}")
    if planned := sum(len(seeds) for seeds, __ in said):
        whole = (runs["reading"].eq("as trained") & runs[runs.columns[-1]].notna()).sum()
        if whole < planned:
            raise InputError(f"{path} lacks {planned - whole} of {planned} runs; {anew}")
    runs.attrs = about
    return runs
