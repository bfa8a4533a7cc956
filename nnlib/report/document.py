"""A notebook on paper: pandoc makes typst of its cells, and typst a tagged PDF.

Typst and its fonts come from pip, so that no LaTeX has to be installed. templates/nnlib holds the
way there: index.md.j2 from cells to Markdown, typst.lua from there to typst, report.typ its look.
"""

import base64
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from traitlets import default

from nnlib.report import ReportError
from nnlib.report.exporter import IMAGES, TEMPLATES, CommandLine, Exporter, pandoc, tags_of

RENAMED = re.compile(r"\b(dot|times|minus)\.circle\b")  # by typst, which pandoc does not know yet


class Document(Exporter):
    """Export a notebook as a typeset, tagged PDF.

    Code that is folded in the notebook, which a page folds like any other, is left out on paper.
    """

    export_from_notebook = "Report (PDF)"
    output_mimetype = "application/pdf"
    priority = ("text/markdown", *IMAGES, "text/latex", "text/html", "text/plain")

    @default("file_extension")
    def _file_extension_default(self) -> str:
        return ".pdf"

    @default("template_extension")
    def _template_extension_default(self) -> str:
        return ".md.j2"

    def default_filters(self) -> Iterator[tuple[str, Any]]:
        """Add the filters of the document's template."""
        yield from super().default_filters()
        yield "fenced", _fenced
        yield "packed", lambda about: quote(json.dumps(about))

    def from_notebook_node(self, nb: Any, resources: Any = None, **kw: Any) -> tuple[bytes, Any]:
        """Return the PDF's bytes; raises ReportError where typst finds no way to set it."""
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            chapter, resources = self.chapter(nb, resources, folder, **kw)
            look = typst_call("notebook", title=resources["nnlib"]["title"])
            return typeset(look, chapter, folder), resources

    def chapter(self, nb: Any, resources: Any, folder: Path, **kw: Any) -> tuple[str, Any]:
        """Return the notebook in typst, its pictures written into `folder`."""
        text, resources = super().from_notebook_node(nb, resources, **kw)
        page, files = resources["nnlib"], resources.pop("nnlib_files")
        for file, content in files.items():
            (folder / file).write_bytes(content)
        book = " ".join(other["name"] for other in page["book"])
        where = resources["metadata"].get("path") or "."
        source = pandoc(
            text, "typst", "--wrap=none", f"--lua-filter={TEMPLATES / 'nnlib' / 'typst.lua'}",
            f"--metadata=chapter={page['name']}", f"--metadata=chapters={book}",
            f"--resource-path={os.path.abspath(where)}", "--extract-media=media", folder=folder,
        )  # fmt: skip
        source = RENAMED.sub(r"\1.o", source).replace("#h(0em)", "thick")  # \; becomes nothing
        return source, resources

    def _prepare(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        nb, resources = super()._prepare(nb, resources)
        nb.cells, files = _solutions_last(nb.cells), {}
        for cell in nb.cells:
            folded = cell.metadata.get("jupyter", {}).get("source_hidden")
            if folded and cell.cell_type == "code" and "solution" not in tags_of(cell):
                cell.source = ""
            if "exercise" in tags_of(cell):
                cell.outputs = []  # what its check says to one who has not begun
            for output in cell.get("outputs", []):
                if (mime := self._mime(output)) in IMAGES:
                    name = f"{resources['nnlib']['name']}-{len(files) + 1}.{IMAGES[mime]}"
                    files[name] = _picture(output.data[mime], mime)
                    output.metadata.nnlib.file = name
        resources["nnlib_files"] = files
        return nb, resources


class CommandLineDocument(CommandLine, Document):
    """`Document` under the name that `jupyter nbconvert --to` takes, nnlib-pdf."""


def _picture(content: str, mime: str) -> bytes:
    return content.encode() if mime == "image/svg+xml" else base64.b64decode(content)


def _solutions_last(cells: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Return the cells with the solutions of a section at its end, since paper cannot fold."""
    ordered, held = [], []
    for cell in [*cells, None]:
        if held and (cell is None or _opens_section(cell)):
            ordered += [new_markdown_cell("### Solutions"), *held]
            held = []
        if cell is not None:
            (held if "solution" in tags_of(cell) else ordered).append(cell)
    return ordered


def _opens_section(cell: NotebookNode) -> bool:
    return cell.cell_type == "markdown" and bool(re.match(r"##? ", cell.source))


def _fenced(text: str, kind: str) -> str:
    """Put text into a fence longer than any in it; endless words may break at 80 characters."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).rstrip()
    text = text if kind.startswith("{") else re.sub(r"(\S{80})(?=\S)", "\\1\u200b", text)
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    return f"\n\n{fence} {kind}\n{text}\n{fence}\n\n"


def typst_call(look: str, **texts: str | None) -> str:
    """Return the call of a function of report.typ, with those of its texts that are given."""
    given = [f"{k}: {json.dumps(text, ensure_ascii=False)}" for k, text in texts.items() if text]
    return f"{look}.with({', '.join(given)})"


def typeset(look: str, body: str, folder: Path) -> bytes:
    """Return the PDF of typst source under a look of report.typ, pictures being in `folder`.

    A document that misses PDF/UA, by a skipped heading level, say, is tagged all the same.
    Raises ReportError where typst finds no way to set it.
    """
    import typst  # of an extra that a notebook's menu of exporters must do without

    for file in ("report.typ", "code.tmTheme"):
        shutil.copy(TEMPLATES / "nnlib" / file, folder)
    source = folder / "main.typ"
    source.write_text(f'#import "report.typ": *\n#show: {look}\n{body}\n', encoding="utf-8")
    fonts = [Path(matplotlib.get_data_path()) / "fonts" / "ttf"]  # for DejaVu Sans, as in figures
    compiler = typst.Compiler(str(source), str(folder), fonts, ignore_system_fonts=True)
    try:
        return compiler.compile(format="pdf", pdf_standards=["ua-1"], timestamp=0)
    except typst.TypstError as error:
        missed = error
    try:
        pdf = compiler.compile(format="pdf", timestamp=0)
    except typst.TypstError as error:
        raise ReportError(f"the PDF could not be typeset: {error}") from error
    print(f"the PDF is tagged but not PDF/UA: {missed}", file=sys.stderr)
    return pdf
