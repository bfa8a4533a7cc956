"""What a page and a typeset document share: the cells and outputs that are shown, their numbers.

Both are exporters registered with nbconvert. `jupyter nbconvert --to nnlib-html` and
`--to nnlib-pdf`, and JupyterLab's export menu (there `nnlib_html` and `nnlib_pdf`, since a Jupyter
server's addresses allow no hyphen), give what the report gives, for a notebook that its reader has
changed as well. Templates stand in templates/nnlib; pandoc reads the Markdown of both.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nbconvert.exporters import TemplateExporter
from nbformat import NotebookNode
from traitlets import Bool, default

TEMPLATES = Path(__file__).parent / "templates"
READER = "commonmark_x-emoji-subscript-superscript-alerts"
IMAGES = {"image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpg"}
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


def outputs_of(nb: NotebookNode) -> Iterator[NotebookNode]:
    """Yield the outputs of a notebook in order."""
    return (output for cell in nb.cells for output in cell.get("outputs", []))


def pandoc(source: str, to: str, *options: str, folder: Path | None = None) -> str:
    """Return the notebook's Markdown as pandoc converts it, working in `folder` where given."""
    import pypandoc  # of an extra that a notebook's menu of exporters must do without

    return pypandoc.convert_text(source, to, format=READER, extra_args=options, cworkdir=folder)


def for_pandoc(source: str) -> str:
    r"""Put $$ around bare \begin{align} … \end{align}, which Jupyter draws and pandoc does not.

    Jupyter's boxes, `<div class="alert alert-info">`, become divisions that pandoc knows.
    """
    bare = r"^(?<!\$\$\n)\\begin\{(align|equation|gather|multline)(\*?)\}.*?\\end\{\1\2\}"
    source = re.sub(bare, r"$$\g<0>$$", source, flags=re.DOTALL | re.MULTILINE)
    box = r'^<div class="alert alert-(\w+)">\n(.*?)\n</div>$'
    boxed = r"::::: {.alert .alert-\1}\n\2\n:::::"
    return re.sub(box, boxed, source, flags=re.DOTALL | re.MULTILINE)


class Exporter(TemplateExporter):
    """Choose and number what is shown; `priority` orders the forms that an output comes in."""

    solutions = Bool(True, help="Show cells tagged `solution`, folded where possible.")
    solutions = solutions.tag(config=True)
    priority: Sequence[str] = ()

    @default("template_name")
    def _template_name_default(self) -> str:
        return "nnlib"

    @default("extra_template_basedirs")
    def _extra_template_basedirs_default(self) -> list[str]:
        return [str(TEMPLATES)]

    @property
    def default_config(self) -> Any:
        """Add to nbconvert's: which form of an output is taken, which cells are left out."""
        config = super().default_config.copy()
        config.NbConvertBase.display_data_priority = list(self.priority)
        config.TagRemovePreprocessor.remove_cell_tags = {"remove-cell"}
        config.TagRemovePreprocessor.remove_input_tags = {"remove-input"}
        return config

    def default_filters(self) -> Iterator[tuple[str, Any]]:
        """Add the filter that both templates use to nbconvert's."""
        yield from super().default_filters()
        yield "for_pandoc", for_pandoc

    def _init_preprocessors(self) -> None:
        super()._init_preprocessors()
        self.register_preprocessor(lambda nb, known: self._prepare(nb, known), enabled=True)

    def _prepare(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Choose and number what is shown, and tell the template what `resources.nnlib` holds."""
        name = resources["metadata"]["name"]
        given = resources.get("nnlib") or {}
        page = {"name": name, "title": title_of(nb)[0] or name, "book": [], **given}
        nb.cells = [cell for cell in nb.cells if self.solutions or "solution" not in tags_of(cell)]
        for cell in nb.cells:
            _embed_attachments(cell)
            if cell.cell_type == "code":
                cell.outputs = [each for each in cell.get("outputs", []) if self._shown(each)]
        chapter = re.match(r"(\d+)_", name)
        self._number(nb, f"{int(chapter[1])}." if chapter else "", page.get("front", False))
        _mark_solutions(nb.cells)
        resources["nnlib"] = page
        return nb, resources

    def _shown(self, output: NotebookNode) -> bool:
        """Leave out widgets, which need a kernel, and captions, which figures bring themselves."""
        if output.get("metadata", {}).get("nnlib") == "caption":
            return False
        return WIDGET not in output.get("data", {}) or self._mime(output) in IMAGES

    def _mime(self, output: NotebookNode) -> str:
        return next((mime for mime in self.priority if mime in output.get("data", {})), "")

    def _number(self, nb: NotebookNode, prefix: str, front: bool) -> None:
        """Describe each output in its metadata; those with a caption get a number."""
        counts = {"figure": 0, "table": 0}
        for output in outputs_of(nb):
            about = self._describe(output)
            if about["kind"] in counts and about["caption"]:
                counts[about["kind"]] += 1
                about["number"] = "" if front else f"{prefix}{counts[about['kind']]}"
            output.metadata = NotebookNode(nnlib=NotebookNode(about))

    def _describe(self, output: NotebookNode) -> dict[str, Any]:
        """Return kind, caption, alt, id and width of an output, as its metadata gives them."""
        mime, meta = self._mime(output), output.get("metadata", {})
        own = {**meta, **(meta.get(mime) or {})}
        caption, alt = own.get("caption", ""), own.get("alt", "")
        about = {"caption": caption, "number": "", "width": own.get("width"), "kind": "text"}
        about["id"] = f"fig-{own['name']}" if own.get("name") else ""
        if mime in IMAGES:
            about.update(kind="figure", alt=alt or caption or "A figure without a description")
        elif "<table" in output.get("data", {}).get("text/html", "") or caption:
            about["kind"] = "table"
        return about


class CommandLine(TemplateExporter):
    """A name with a hyphen: not offered by a Jupyter server, where it could only fail."""

    @default("enabled")
    def _enabled_default(self) -> bool:
        server = sys.modules.get("jupyter_server.serverapp")
        return not (server and server.ServerApp.initialized())


def _embed_attachments(cell: NotebookNode) -> None:
    """Put pictures that were pasted into a cell where its text names them."""
    for key, file in cell.get("attachments", {}).items():
        mime, coded = next(iter(file.items()))
        cell.source = cell.source.replace(f"attachment:{key}", f"data:{mime};base64,{coded}")


def _mark_solutions(cells: Sequence[NotebookNode]) -> None:
    """Mark where a run of cells tagged `solution` opens and closes: it folds as one.

    It opens with its name, which has the number of the exercise above it.
    """
    inside, name = [False, *("solution" in tags_of(cell) for cell in cells), False], "Solution"
    for i, cell in enumerate(cells, 1):
        if number := re.match(r"#+ Exercise ([\d.]*\d)", cell.source):
            name = f"Solution {number[1]}"
        cell.metadata["nnlib_opens"] = name if inside[i] and not inside[i - 1] else ""
        cell.metadata["nnlib_closes"] = inside[i] and not inside[i + 1]
