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
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from PIL import Image

from nnlib.files import write_atomic
from nnlib.runs import versions

FIGURES = "NNLIB_FIGURES"  # the folder that figures are kept in, where anyone keeps them
MIME = {"png": "image/png", "svg": "image/svg+xml"}
_START = time.perf_counter()


def say(text: str) -> None:
    """Show a sentence in Markdown; written in a cell because it holds numbers of the run."""
    display(Markdown(_with_minus(text)))


def _with_minus(text: str) -> str:
    """Put a minus before negative numbers where a hyphen stands, but not in code or mathematics."""
    parts = re.split(r"(`[^`]*`|\$[^$]*\$|\]\([^)]*\))", text)
    return "".join(
        part if n % 2 else re.sub(r"(?<![\w-])-(?=\d)", "−", part) for n, part in enumerate(parts)
    )


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


def show(fig: Any, name: str, caption: str, alt: str, png: bool = False) -> None:
    """Show a figure with its caption (the finding) and alt text (what one would see).

    SVG, or PNG where the drawing is heavy. If NNLIB_FIGURES names a folder, the figure is kept
    there as `name`.
    """
    kind = "png" if png else "svg"
    data = _rendered(fig, kind)
    keep_figure(data, f"{name}.{kind}")
    display_figure(data, kind, {"alt": alt, "caption": caption, "name": name})


def _rendered(fig: Any, kind: str) -> bytes:
    stream = io.BytesIO()
    fig.savefig(stream, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return _in_256_colours(stream) if kind == "png" else stream.getvalue()


def _in_256_colours(png: io.BytesIO) -> bytes:
    """Keep the 256 colours that matter most: a third of the size, and no eye sees it."""
    stream = io.BytesIO()
    picture = Image.open(png).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def keep_figure(data: bytes, file: str) -> None:
    """Write a rendered figure into the folder that NNLIB_FIGURES names, if it names one."""
    if folder := os.environ.get(FIGURES):
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_atomic(Path(folder) / file, data)


def display_figure(
    data: bytes, kind: str, about: Mapping[str, str], instead: Mapping | None = None, **place: Any
) -> None:
    """Show a rendered figure, svg or png, with what the exports want to know `about` it.

    These are its alt, caption and name. The open notebook shows the caption below, which the
    exports leave out, as they set it themselves; with a bundle `instead`, it shows that alone.
    `place` is as `display` takes it.
    """
    about = {**about, "caption": _with_minus(about["caption"])}
    shown = {MIME[kind]: data.decode() if kind == "svg" else data}
    bundle = {**shown, **(instead or {}), "text/plain": about["alt"]}
    display(bundle, raw=True, metadata={MIME[kind]: about}, **place)
    if instead is None:
        if place:
            place["display_id"] += "-caption"
        caption = {"text/markdown": f"*{about['caption']}*"}
        display(caption, raw=True, metadata={"nnlib": "caption"}, **place)


# --- tables


def table(data: pd.DataFrame | list[dict], caption: str, formats: Mapping[str, str] | None = None):
    """Show a table with its caption, as HTML and as Markdown.

    `formats` gives a format for some columns, as {"accuracy": "{:.2%}"}; the index is left out.
    """
    display_table(data, caption, formats)


def display_table(
    data: pd.DataFrame | list[dict],
    caption: str,
    formats: Mapping[str, str] | None = None,
    **place: Any,
) -> None:
    """Show a table as `table` does, in a `place` as `display` takes it."""
    frame, caption = pd.DataFrame(data), _with_minus(caption)
    text = frame.astype(object)
    for column, pattern in (formats or {}).items():
        text[column] = [_formatted(value, pattern) for value in frame[column]]
    numeric = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]
    display(
        {
            "text/html": _as_html(text, numeric, caption),
            "text/markdown": _as_markdown(text, numeric),
            "text/plain": text.to_string(index=False),
        },
        raw=True,
        metadata={"text/markdown": {"caption": caption}, "text/html": {"caption": caption}},
        **place,
    )


def _formatted(value: Any, pattern: str) -> str:
    """Return what a cell holds as text; a dash where nothing is known."""
    missing = value is None or (isinstance(value, float) and np.isnan(value))
    return "–" if missing else _with_minus(pattern.format(value))


def _as_html(text: pd.DataFrame, numeric: list[bool], caption: str) -> str:
    sides = ["right" if number else "left" for number in numeric]

    def row(tag: str, cells: Iterable[Any]) -> str:
        inner = "".join(
            f'<{tag} style="text-align: {side}">{html.escape(str(cell))}</{tag.split()[0]}>'
            for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{inner}</tr>"

    head = row('th scope="col"', text.columns)
    body = "\n".join(row("td", cells) for cells in text.itertuples(index=False))
    return (
        f"<table><caption>{html.escape(caption)}</caption>\n<thead>{head}"
        f"</thead>\n<tbody>\n{body}\n</tbody></table>"
    )


def _as_markdown(text: pd.DataFrame, numeric: list[bool]) -> str:
    def row(cells: Iterable[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    rule = row("---:" if number else ":---" for number in numeric)
    return "\n".join([row(text.columns), rule, *map(row, text.itertuples(index=False))])


# --- where it all comes from


def shapes(model: Any) -> pd.DataFrame:
    """Return the table of a net's layers: kind, output (N examples), arrays, parameters."""
    rows, width = [], model.sizes[0]
    for layer in model.layers:
        width = layer.parameters["W"].shape[1] if "W" in layer.parameters else width
        arrays = {name: array.shape for name, array in layer.parameters.items()}
        rows.append(
            {
                "layer": type(layer).__name__,
                "output": f"(N, {width})",
                "shapes": ", ".join(f"{name} {shape}" for name, shape in arrays.items()),
                "parameters": sum(array.size for array in layer.parameters.values()),
            }
        )
    return pd.DataFrame(rows)


def provenance(data: Any = None, **more: Any) -> None:
    """Show the line that ends a notebook: versions, BLAS, threads, data hash, seed, time."""
    from threadpoolctl import threadpool_info

    blas = {
        f"{pool['internal_api']} {pool.get('version', '')} ({pool.get('architecture', '?')})"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    }
    parts = [f"{name} {version}" for name, version in versions().items()]
    parts += [", ".join(sorted(blas)), f"{os.cpu_count()} processors, {sys.platform}"]
    if data is not None:
        parts.append(f"{data.name} {data.sha256[:12]}")
    parts += [f"{name} {value}" for name, value in more.items()]
    parts.append(f"{time.perf_counter() - _START:.0f} s")
    say(f"<small>Provenance: {' · '.join(parts)}</small>")
