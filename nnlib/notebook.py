"""What the cells of every notebook use to speak: figures, tables, sentences, provenance.

Each shows itself in a form for every reader: a figure carries its caption and a description for
those who cannot see it, a table is HTML for the page and Markdown for the PDF, and a sentence may
hold numbers, so that the text cannot disagree with the run.
"""

import io
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from PIL import Image

from nnlib.config import versions
from nnlib.files import write_atomic

FIGURES = "NNLIB_FIGURES"  # the folder that figures are kept in, where anyone keeps them
_START = time.perf_counter()


def say(text: str) -> None:
    """Show a sentence in Markdown; written in a cell because it holds numbers of the run."""
    display(Markdown(text))


def show(fig: Any, name: str, caption: str, alt: str, png: bool = False) -> None:
    """Show a figure with its caption (the finding) and alt text (what one would see).

    SVG, or PNG where the drawing is heavy. If NNLIB_FIGURES names a folder, the figure is kept
    there as `name`.
    """
    kind, mime = ("png", "image/png") if png else ("svg", "image/svg+xml")
    data = _rendered(fig, kind)
    if folder := os.environ.get(FIGURES):
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_atomic(Path(folder) / f"{name}.{kind}", data)
    described = {"alt": alt, "caption": caption, "name": name}
    shown = data if png else data.decode()
    display({mime: shown, "text/plain": alt}, raw=True, metadata={mime: described})
    _caption(caption)


def _rendered(fig: Any, kind: str) -> bytes:
    stream = io.BytesIO()
    fig.savefig(stream, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return _lighter(stream) if kind == "png" else stream.getvalue()


def _lighter(png: io.BytesIO) -> bytes:
    """Keep the 256 colours that matter most: a third of the size, and no eye sees it."""
    stream = io.BytesIO()
    picture = Image.open(png).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _caption(text: str) -> None:
    """Show a caption in the open notebook; the exports set it themselves and leave this out."""
    display({"text/markdown": f"*{text}*"}, raw=True, metadata={"nnlib": "caption"})


def table(data: pd.DataFrame | list[dict], caption: str, formats: Mapping[str, str] | None = None):
    """Show a table with its caption, as HTML and as Markdown.

    `formats` gives a format for some columns, as {"accuracy": "{:.2%}"}; the index is left out.
    """
    frame = pd.DataFrame(data)
    text = frame.astype(object)
    for column, pattern in (formats or {}).items():
        text[column] = [_cell(value, pattern) for value in frame[column]]
    numeric = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]
    display(
        {
            "text/html": _html(text, numeric, caption),
            "text/markdown": _markdown(text, numeric),
            "text/plain": text.to_string(index=False),
        },
        raw=True,
        metadata={"text/markdown": {"caption": caption}, "text/html": {"caption": caption}},
    )


def _cell(value: Any, pattern: str) -> str:
    missing = value is None or (isinstance(value, float) and np.isnan(value))
    return "–" if missing else pattern.format(value)


def _html(text: pd.DataFrame, numeric: list[bool], caption: str) -> str:
    import html

    side = ["right" if number else "left" for number in numeric]

    def row(tag: str, cells: Any) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        inner = "".join(
            f'<{tag}{scope} style="text-align: {s}">{html.escape(str(c))}</{tag}>'
            for c, s in zip(cells, side, strict=True)
        )
        return f"<tr>{inner}</tr>"

    body = "\n".join(row("td", cells) for cells in text.itertuples(index=False))
    return (
        f"<table><caption>{html.escape(caption)}</caption>\n<thead>{row('th', text.columns)}"
        f"</thead>\n<tbody>\n{body}\n</tbody></table>"
    )


def _markdown(text: pd.DataFrame, numeric: list[bool]) -> str:
    def row(cells: Any) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    rule = row("---:" if number else ":---" for number in numeric)
    return "\n".join([row(text.columns), rule, *map(row, text.itertuples(index=False))])


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
