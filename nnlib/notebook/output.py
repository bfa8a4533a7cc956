"""What the cells of every notebook use to speak: figures, tables, sentences, provenance.

Each shows itself in a form for every reader: a figure carries its caption and a description for
those who cannot see it, a table is HTML for the page and Markdown for the PDF, and a sentence may
hold numbers, so that the text cannot disagree with the run.
"""

import io
import os
import re
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from PIL import Image

from nnlib.config import versions
from nnlib.files import write_atomic

PAUSE = 0.4  # seconds between two showings of a live table, at least
FIGURES = "NNLIB_FIGURES"  # the folder that figures are kept in, where anyone keeps them
_START = time.perf_counter()


def say(text: str) -> None:
    """Show a sentence in Markdown; written in a cell because it holds numbers of the run."""
    display(Markdown(_minus(text)))


def show(fig: Any, name: str, caption: str, alt: str, png: bool = False) -> None:
    """Show a figure with its caption (the finding) and alt text (what one would see).

    SVG, or PNG where the drawing is heavy. If NNLIB_FIGURES names a folder, the figure is kept
    there as `name`.
    """
    kind = "png" if png else "svg"
    data = _rendered(fig, kind)
    _keep(data, f"{name}.{kind}")
    _display(data, kind, {"alt": alt, "caption": caption, "name": name})


class LiveFigure:
    """A figure that is drawn again in its place; its last drawing stays, as one of `show` does.

    The place is where it was first drawn, whichever cell runs by then. It is SVG.
    """

    def __init__(self, name: str) -> None:
        self.name, self.place, self.drawn = name, uuid.uuid4().hex, False

    def show(self, svg: bytes, caption: str, alt: str, last: bool = False) -> None:
        """Show a drawing with caption and alt text; only the `last` goes to NNLIB_FIGURES."""
        if last:
            _keep(svg, f"{self.name}.svg")
        about = {"alt": alt, "caption": caption, "name": self.name}
        _display(svg, "svg", about, display_id=self.place, update=self.drawn)
        self.drawn = True


def _keep(data: bytes, file: str) -> None:
    if folder := os.environ.get(FIGURES):
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_atomic(Path(folder) / file, data)


def _minus(text: str) -> str:
    """Put a minus before negative numbers where a hyphen stands, but not in code or mathematics."""
    parts = re.split(r"(`[^`]*`|\$[^$]*\$|\]\([^)]*\))", text)
    return "".join(
        part if n % 2 else re.sub(r"(?<![\w-])-(?=\d)", "−", part) for n, part in enumerate(parts)
    )


def _display(data: bytes, kind: str, about: dict[str, str], **where: Any) -> None:
    about = about | {"caption": _minus(about["caption"])}
    mime = {"png": "image/png", "svg": "image/svg+xml"}[kind]
    shown = data.decode() if kind == "svg" else data
    bundle = {mime: shown, "text/plain": about["alt"]}
    display(bundle, raw=True, metadata={mime: about}, **where)
    if where:
        where["display_id"] += "-caption"
    _caption(about["caption"], **where)


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


def _caption(text: str, **where: Any) -> None:
    """Show a caption in the open notebook; the exports set it themselves and leave this out."""
    display({"text/markdown": f"*{text}*"}, raw=True, metadata={"nnlib": "caption"}, **where)


def table(data: pd.DataFrame | list[dict], caption: str, formats: Mapping[str, str] | None = None):
    """Show a table with its caption, as HTML and as Markdown.

    `formats` gives a format for some columns, as {"accuracy": "{:.2%}"}; the index is left out.
    """
    _display_table(data, caption, formats)


class LiveTable:
    """A table that is shown again in its place; its last showing stays, as one of `table` does.

    The place is where it was first shown, whichever cell runs by then.
    """

    def __init__(self) -> None:
        self.place, self.shown = uuid.uuid4().hex, False

    def show(
        self,
        data: pd.DataFrame | list[dict],
        caption: str,
        formats: Mapping[str, str] | None = None,
    ) -> None:
        """Show rows and caption in place of what was there."""
        _display_table(data, caption, formats, display_id=self.place, update=self.shown)
        self.shown = True


class SearchTable:
    """The best trials of a search as it goes, how many are done, and how long the rest may take.

    Give it to `run_search` as `on_trial`, and what that returns to `close`, whose showing stays.
    `names` are headings for settings; `top` is the number of rows.
    """

    def __init__(self, title: str, names: Mapping[str, str] | None = None, top: int = 5) -> None:
        self.title, self.names, self.top = title, names or {}, top
        self.live, self.ended = LiveTable(), 0
        self.start = self.drawn = time.monotonic()
        self.live.show([], f"{title}: no trial has ended yet.")

    def __call__(self, row: dict[str, Any], result: Any) -> None:
        """Take note of a trial that ended; draw a few times a second at most."""
        self.ended, now = self.ended + 1, time.monotonic()
        if now - self.drawn >= PAUSE:
            self.drawn = now
            best, left = result.best.get("val_accuracy"), result.planned - len(result.rows)
            so_far = f", best so far {best:.2%}" if best else ""
            wait = _duration((now - self.start) / self.ended * left)
            done = f"{len(result.rows)} of {result.planned} trials done"
            self._show(result, f"{self.title}: {done}{so_far}; about {wait} left.")

    def close(self, result: Any) -> None:
        """Show what the search has come to."""
        rows, planned = len(result.rows), result.planned
        all_of_them = f"{rows} trials" if rows == planned else f"{rows} trials; {planned} planned"
        best = f"the best {min(self.top, rows)} of {all_of_them}"
        self._show(result, f"{self.title}: {best}, in {_duration(result.seconds)}.")

    def _show(self, result: Any, caption: str) -> None:
        rows = [self._row(result, trial) for trial in result.rows[: self.top]]
        of = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
        formats = {k: _digits(v) for k, v in of.items() if any(type(x) is float for x in v)}
        formats |= {"accuracy": "{:.2%}", "seconds": "{:.1f}"} if rows else {}
        self.live.show(rows, caption, formats)

    def _row(self, result: Any, trial: dict[str, Any]) -> dict[str, Any]:
        varied = {self.names.get(name, name): _plain(trial[name]) for name in result.plan.space}
        columns = {"accuracy": "val_accuracy", "epoch of it": "best_epoch", "seconds": "seconds"}
        state = {} if result.plan.pruner == "none" else {"state": trial["state"]}
        return varied | {title: trial[name] for title, name in columns.items()} | state


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _digits(values: list[Any]) -> str:
    """Return one format for a column: powers of ten where some value would be written so anyway."""
    return "{:.1e}" if any(type(x) is float and 0 < abs(x) < 1e-4 for x in values) else "{:.3g}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _display_table(data: Any, caption: str, formats: Mapping | None, **where: Any) -> None:
    frame, caption = pd.DataFrame(data), _minus(caption)
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
        **where,
    )


def _cell(value: Any, pattern: str) -> str:
    missing = value is None or (isinstance(value, float) and np.isnan(value))
    return "–" if missing else _minus(pattern.format(value))


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
