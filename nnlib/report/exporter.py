"""What a page and a typeset document share: the cells and outputs that are shown, their numbers.

Both are exporters registered with nbconvert. `jupyter nbconvert --to nnlib-html` and
`--to nnlib-pdf`, and JupyterLab's export menu (there `nnlib_html` and `nnlib_pdf`, since a Jupyter
server's addresses allow no hyphen), give what the report gives, for a notebook that its reader has
changed as well. Templates stand in templates/nnlib; `cells` reads what is in them.
"""

import itertools
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bs4 import BeautifulSoup, Tag
from nbconvert.exporters import TemplateExporter
from nbformat import NotebookNode
from traitlets import Bool, List, Unicode, default

from nnlib.language import gettext, speaking
from nnlib.report.cells import CONTROL, FORMS, IMAGES, Cell, warn

TEMPLATES = Path(__file__).parent / "templates"
FONTS = Path(__file__).parents[1] / "fonts"
STARTUP = FONTS.parent / "notebook" / "fonts.py"  # gives Chinese to figures of plain matplotlib
MATH = "span.math.inline, span.math.display"
LIVE = "application/vnd.nnlib.live+json"  # what a page needs to live on, beside a figure
WIDGET = "application/vnd.jupyter.widget-view+json"


def tags_of(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return cell.metadata.get("tags", [])


def title_of(nb: NotebookNode) -> tuple[str, str]:
    """Return the notebook's title in plain words and the paragraph after it, its question."""
    text = "\n\n".join(cell.source for cell in nb.cells[:3] if cell.cell_type == "markdown")
    found = re.search(r"^# +(.+?)\s*$\s*((?:[^#\s].*(?:\n|\Z))*)", text, re.MULTILINE)
    if not found:
        return "", ""
    return re.sub(r"[*_`$\\]", "", found[1]), re.sub(r"^> ?", "", found[2], flags=re.MULTILINE)


def language_of(nb: NotebookNode) -> str:
    """Return the language that most of a notebook's prose is in, Chinese or English."""
    prose = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    prose = re.sub(r"`[^`]*`|\$[^$]*\$|\]\([^)]*\)|<[^>]*>", "", prose)
    kinds = ("[\u4e00-\u9fff]", "[\u3040-\u30ff]", "[A-Za-z]+")
    hanzi, kana, words = (len(re.findall(kind, prose)) for kind in kinds)
    return "zh-CN" if hanzi - kana > words else "en"


def pandoc(source: str, to: str, reader: str, script: str) -> str:
    """Return text as pandoc converts it, by a Lua filter of templates/nnlib."""
    import pypandoc  # of an extra that a notebook's menu of exporters must do without

    how = ["--wrap=none", "--quiet", "--mathml", f"--lua-filter={TEMPLATES / 'nnlib' / script}"]
    return pypandoc.convert_text(source, to, format=reader, extra_args=how)


def slug(text: str) -> str:
    """Return the anchor of a heading: `my-results`, also for Jupyter's own `My-Results`."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", unquote(text).lower())).strip("-")


class Exporter(TemplateExporter):
    """Choose, read and number what is shown.

    `formulas` is what pandoc makes of TeX, "html" (MathML) or "typst"; `live`, whether scripts of
    outputs may run. `shown` holds what was read of all cells, a body each, in reading order: the
    template writes each body where its cell is.
    """

    solutions = Bool(True, help="Show cells tagged `solution`, folded on a page").tag(config=True)
    formulas, live = "", False

    template_name = Unicode("nnlib").tag(config=True, affects_template=True)
    extra_template_basedirs = List(Unicode(), [str(TEMPLATES)])

    def default_filters(self) -> Iterator[tuple[str, Any]]:
        """Add the filters that both templates use to nbconvert's."""
        yield from super().default_filters()
        yield "said", gettext
        yield "written", lambda body: body.decode_contents() if body else ""

    def from_notebook_node(self, nb: Any, resources: Any = None, **kw: Any) -> tuple[Any, Any]:
        """Return the notebook exported, the exporter's own words in the notebook's language."""
        written = "zh" if language_of(nb) == "zh-CN" else ""
        with speaking(nb.metadata.get("nnlib", {}).get("language", written)):
            return super().from_notebook_node(nb, resources, **kw)

    def _preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Choose, read and number what is shown; `resources.nnlib` is what the template knows."""
        name = CONTROL.sub("�", resources["metadata"]["name"])  # bytes that are no text, too
        for number, cell in enumerate(nb.cells, 1):  # as its author counts them
            cell.metadata["nnlib_cell"] = f"{name}, cell {number}"
        os.environ.setdefault("PYTHONSTARTUP", str(STARTUP))  # of a kernel that is to execute it
        nb, resources = super()._preprocess(nb, resources)
        title = title_of(nb)[0] or name
        page = {"name": name, "title": title, "book": [], **(resources.get("nnlib") or {})}
        self.page = resources["nnlib"] = page
        self.shown = page["shown"] = BeautifulSoup("", "html.parser")
        self.counts = Counter()  # of figures and tables
        chosen = [cell for cell in nb.cells if self.solutions or "solution" not in tags_of(cell)]
        _mark_solutions(chosen)
        nb.cells = self._arranged(chosen)
        folder = resources["metadata"].get("path") or "."
        for cell in nb.cells:
            called = cell.metadata.setdefault("nnlib_cell", f"{name}, cell of solutions")
            reader = Cell(called, folder, cell.get("attachments", {}), self.live)
            if cell.cell_type == "code":
                merged = _merged(cell.get("outputs", []))
                cell.outputs = [output for output in merged if self._describe(output, reader)]
            elif body := _read(cell, reader):
                cell.metadata["nnlib_html"] = self._keep(body, called)
        for other in page["book"] if page.get("front") else ():
            question = Cell(other["name"], folder, {}).markdown(other["question"])
            other["nnlib_html"] = self._keep(question, other["name"])
        if resources.get("language_code", "en") == "en":  # unless its reader has set another
            resources["language_code"] = language_of(nb)
        _anchor(self.shown)
        self._set_formulas()
        return nb, resources

    def _arranged(self, cells: list[NotebookNode]) -> list[NotebookNode]:
        return cells

    def _keep(self, body: Tag, called: str) -> Tag:
        """Put what was read into the document, in a body that tells its cell to warnings."""
        body["title"] = called
        self.shown.append(body)
        return body

    def _describe(self, output: NotebookNode, reader: Cell) -> bool:
        """Say in an output's metadata what is shown of it: kind, caption, number, id and so on.

        Returns whether there is anything.
        """
        meta, bundle = output.get("metadata", {}), output.get("data", {})
        mime, shown = reader.output(output, IMAGES if WIDGET in bundle else FORMS)
        own = {**meta, **(meta[mime] if isinstance(meta.get(mime), dict) else {})}
        caption, alt, name = (str(own.get(key) or "") for key in ("caption", "alt", "name"))
        about = NotebookNode(caption=caption, number="", kind="text", live=bundle.get(LIVE))
        if isinstance(shown, str):
            about.text, about.kind = shown, output.get("name") or output.output_type
        else:
            about.html = self._keep(shown, reader.name)
            if mime in IMAGES:
                about.kind, image = "figure", shown.img
                image["alt"] = alt or caption or gettext("A figure without a description")
                size = {key: str(own.get(key)) for key in ("width", "height")}
                image.attrs |= {k: v for k, v in size.items() if re.fullmatch(r"[\d.]+(px|%)?", v)}
                shown["id"] = "fig-" + re.sub(r"[^-.\w]+", "-", name) if name else ""
            elif shown.table or caption:
                about.kind = "table"
                if caption and shown.caption:
                    shown.caption.decompose()
        if caption and about.kind in ("figure", "table") and not self.page.get("front"):
            self.counts[about.kind] += 1
            chapter = re.findall(r"^0*(\d+)_", self.page["name"])
            about.number = ".".join([*chapter, str(self.counts[about.kind])])
        about.told = self._keep(reader.markdown(caption, caption=True), reader.name)
        output.metadata = NotebookNode(nnlib=about)
        return bool(shown)

    def _set_formulas(self) -> None:
        """Turn all TeX into what this document is made of, in one call of pandoc, slow to start.

        They go in reading order, since definitions in one hold for those after it.
        """
        spans, blocks = self.shown.select(MATH), []
        for span in spans:
            kind = {"t": "DisplayMath" if "display" in span["class"] else "InlineMath"}
            blocks.append({"t": "Para", "c": [{"t": "Math", "c": [kind, span.get_text()]}]})
            blocks.append({"t": "Para", "c": [{"t": "Str", "c": "nnNextx"}]})
        document = json.dumps({"pandoc-api-version": [1, 23], "meta": {}, "blocks": blocks})
        made = pandoc(document, self.formulas, "json", "math.lua") if spans else ""
        parts = re.split(r"\s*(?:<p>)?nnNextx(?:</p>)?\s*", made)[:-1]
        for span, part in zip(spans, parts, strict=True):
            done = re.sub(r"\A<p>|</p>\Z", "", part)
            if re.match(r"<math|\$|\Z", done):
                self._set_formula(span, done)
            else:
                span.name, span.attrs = "code", {}
                tex = " ".join(span.get_text().split())[:60]
                place = span.find_parent("body")["title"]
                warn(place, f"the formula {tex} cannot be read; it stays TeX")


class CommandLine(TemplateExporter):
    """A name with a hyphen: not offered by a Jupyter server, where it could only fail."""

    @default("enabled")
    def _enabled_default(self) -> bool:
        server = sys.modules.get("jupyter_server.serverapp")
        return not (server and server.ServerApp.initialized())


def _read(cell: NotebookNode, reader: Cell) -> Tag | None:
    """Return a text cell in HTML; a raw one for another kind of document is left out."""
    kind = cell.metadata.get("raw_mimetype") or cell.metadata.get("format") or "text/plain"
    if cell.cell_type == "markdown" or kind == "text/markdown":
        return reader.markdown(cell.source)
    if kind == "text/plain":
        return reader.html(f"<pre>\n{escape(cell.source)}</pre>")
    return reader.html(cell.source) if kind == "text/html" else None


def _merged(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Return the outputs, a stream's pieces in one, without captions: figures bring theirs."""
    merged: list[NotebookNode] = []
    for output in outputs:
        if output.get("metadata", {}).get("nnlib") == "caption":
            continue
        if merged and output.get("name", 0) == merged[-1].get("name"):  # only streams have names
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def _anchor(shown: BeautifulSoup) -> None:
    """Give each heading an anchor, each anchor once, and let links find them as in Jupyter."""
    known = {""}
    for tag in shown.find_all(True):
        anchor = tag.get("id") or (tag.name == "a" and tag.get("name")) or ""
        if re.fullmatch("h[1-6]", tag.name):
            first = anchor or slug(tag.get_text()) or "section"
            more = (f"{first}-{n}" for n in itertools.count(1))
            anchor = next(each for each in itertools.chain([first], more) if each not in known)
        tag["id"] = anchor
        if not anchor or anchor in known or re.search(r"\s", anchor):
            del tag["id"]
        known.add(anchor)
    for link in shown.select("a[href*='#']"):
        place, _, anchor = link["href"].partition("#")
        if unquote(anchor) not in known and (not place or place.endswith(".ipynb")):
            link["href"] = f"{place}#{slug(anchor)}"


def _mark_solutions(cells: Sequence[NotebookNode]) -> None:
    """Mark where a run of cells tagged `solution` opens and closes: it folds as one.

    It opens with its name, which has the number of the exercise above it.
    """
    inside = [False, *("solution" in tags_of(cell) for cell in cells), False]
    name, word = gettext("Solution"), gettext("Exercise")
    for i, cell in enumerate(cells, 1):
        if number := re.match(rf"#+ {word} ([\d.]*\d)", cell.source):
            name = f"{gettext('Solution')} {number[1]}"
        cell.metadata["nnlib_opens"] = name if inside[i] and not inside[i - 1] else ""
        cell.metadata["nnlib_closes"] = inside[i] and not inside[i + 1]
