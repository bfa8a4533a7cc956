"""Notebooks as pages and as typeset documents: exporters for nbconvert, registered with it.

`jupyter nbconvert --to nnlib-html` and `--to nnlib-pdf`, and JupyterLab's export menu (there
`nnlib_html` and `nnlib_pdf`, since a Jupyter server's addresses allow no hyphen), give what the
report gives, for a notebook that its reader has changed as well. The page needs nothing from
the network: styles, fonts, figures and mathematics (MathML, made by pandoc) are inside it. The
document is set by typst from the same cells. Templates stand in templates/nnlib.
"""

import base64
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pypandoc
from bs4 import BeautifulSoup
from nbconvert.exporters import HTMLExporter, TemplateExporter
from nbconvert.filters import Highlight2HTML
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from traitlets import Bool, default

TEMPLATES = Path(__file__).parent / "templates"
READER = "commonmark_x-emoji-subscript-superscript-alerts"
SEPARATOR = "\n\n<!--next-->\n\n"
IMAGES = {"image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpg"}
UPRIGHT = {code: code - 0x68 for code in range(0x1D468, 0x1D49C)}  # bold italic to bold letters
WIDGET = "application/vnd.jupyter.widget-view+json"


class ReportError(RuntimeError):
    """The report could not be made; one line names the notebook, the cell and the error."""


def tags_of(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return cell.metadata.get("tags", [])


def _pandoc(source: str, to: str, *options: str, folder: Path | None = None) -> str:
    where = {"cworkdir": str(folder)} if folder else {}
    text = pypandoc.convert_text(source, to, format=READER, extra_args=options, **where)
    if to == "typst":  # which has renamed its circled operators since; \; becomes nothing there
        text = re.sub(r"\b(dot|times|minus)\.circle\b", r"\1.o", text).replace("#h(0em)", "thick")
    return text


def _for_pandoc(source: str) -> str:
    r"""Put $$ around bare \begin{align} … \end{align}, which Jupyter draws and pandoc does not.

    Jupyter's boxes, `<div class="alert alert-info">`, become divisions that pandoc knows.
    """
    bare = r"^(?<!\$\$\n)\\begin\{(align|equation|gather|multline)(\*?)\}.*?\\end\{\1\2\}"
    source = re.sub(bare, r"$$\g<0>$$", source, flags=re.DOTALL | re.MULTILINE)
    box = r'^<div class="alert alert-(\w+)">\n(.*?)\n</div>$'
    boxed = r"::::: {.alert .alert-\1}\n\2\n:::::"
    return re.sub(box, boxed, source, flags=re.DOTALL | re.MULTILINE)


def title_of(nb: NotebookNode) -> tuple[str, str]:
    """Return the notebook's title in plain words and the paragraph after it, its question."""
    text = "\n\n".join(cell.source for cell in nb.cells[:3] if cell.cell_type == "markdown")
    found = re.search(r"^# +(.+?)\s*$\s*((?:[^#\s].*(?:\n|\Z))*)", text, re.MULTILINE)
    if not found:
        return "", ""
    return re.sub(r"[*_`$\\]", "", found[1]), re.sub(r"^> ?", "", found[2], flags=re.MULTILINE)


class _Exporter(TemplateExporter):
    """What both exporters share: which cells and outputs are shown, and their numbers."""

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
        config = super().default_config.copy()
        config.NbConvertBase.display_data_priority = list(self.priority)
        config.TagRemovePreprocessor.remove_cell_tags = {"remove-cell"}
        config.TagRemovePreprocessor.remove_input_tags = {"remove-input"}
        return config

    def default_filters(self) -> Iterator[tuple[str, Any]]:
        yield from super().default_filters()
        yield "for_pandoc", _for_pandoc

    def _init_preprocessors(self) -> None:
        super()._init_preprocessors()
        self.register_preprocessor(lambda nb, known: self._prepare(nb, known), enabled=True)

    def _prepare(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Choose and number what is shown, and tell the template what `resources.nnlib` holds."""
        name = resources["metadata"]["name"]
        given = resources.get("nnlib") or {}
        page = {"name": name, "title": title_of(nb)[0] or name, "book": [], **given}
        nb.cells = [cell for cell in nb.cells if self.solutions or "solution" not in tags_of(cell)]
        chapter = re.match(r"(\d+)_", name)
        self._number(nb, f"{int(chapter[1])}." if chapter else "", page.get("front", False))
        _mark_solutions(nb.cells)
        resources["nnlib"] = page
        return nb, resources

    def _number(self, nb: NotebookNode, prefix: str, front: bool) -> None:
        counts = {"figure": 0, "table": 0}
        for cell in nb.cells:
            for key, file in cell.get("attachments", {}).items():
                mime, coded = next(iter(file.items()))
                picture = f"data:{mime};base64,{coded}"
                cell.source = cell.source.replace(f"attachment:{key}", picture)
            cell.outputs = [output for output in cell.get("outputs", []) if self._shown(output)]
            for output in cell.outputs:
                about = self._describe(output)
                if about["kind"] in counts and about["caption"]:
                    counts[about["kind"]] += 1
                    about["number"] = "" if front else f"{prefix}{counts[about['kind']]}"
                output.metadata = NotebookNode(nnlib=NotebookNode(about))
            if cell.cell_type != "code":
                del cell["outputs"]

    def _mime(self, output: NotebookNode) -> str:
        return next((mime for mime in self.priority if mime in output.get("data", {})), "")

    def _shown(self, output: NotebookNode) -> bool:
        """Leave out widgets, which need a kernel, and captions, which figures bring themselves."""
        if output.get("metadata", {}).get("nnlib") == "caption":
            return False
        return WIDGET not in output.get("data", {}) or self._mime(output) in IMAGES

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


def _outputs(nb: NotebookNode) -> Iterator[NotebookNode]:
    return (output for cell in nb.cells for output in cell.get("outputs", []))


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


def _opens_section(cell: NotebookNode) -> bool:
    return cell.cell_type == "markdown" and bool(re.match(r"##? ", cell.source))


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


class Page(_Exporter, HTMLExporter):
    """Export a notebook as one accessible page that needs nothing from the network."""

    export_from_notebook = "Report page (HTML)"
    priority = ("text/html", *IMAGES, "text/markdown", "text/latex", "text/plain")

    def default_filters(self) -> Iterator[tuple[str, Any]]:
        """Add the filters of the page's template to nbconvert's."""
        yield from super().default_filters()
        yield "markdown2html", self._markdown
        yield "web_html", self._web_html
        yield "web_svg", _web_svg
        yield "inline", lambda html: re.sub(r"\A\s*<p>(.*)</p>\s*\Z", r"\1", html, flags=re.S)

    def _prepare(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        nb, resources = super()._prepare(nb, resources)
        self.page, self.place = resources["nnlib"], resources["metadata"].get("path", "")
        sources = [cell.source for cell in nb.cells if cell.cell_type == "markdown"]
        for output in _outputs(nb):
            sources.append(output.get("data", {}).get("text/markdown", ""))
            sources.append(output.metadata.nnlib.caption)
        sources += [other["question"] for other in self.page["book"] if self.page.get("front")]
        self.rendered = self._render(list(dict.fromkeys(sources)))
        soup = BeautifulSoup("".join(self.rendered.values()), "html.parser")
        heads = soup.find_all("h2", id=True)
        self.page["sections"] = [(head["id"], head.get_text(" ", strip=True)) for head in heads]
        self.page["has_h1"] = soup.h1 is not None
        return nb, resources

    def _render(self, sources: Sequence[str]) -> dict[str, str]:
        """Convert all Markdown of a page in one call of pandoc, which takes longer to start."""
        options = ("--mathml", "--syntax-highlighting=none", "--wrap=none")
        ready = [_for_pandoc(source) for source in sources]
        parts = _pandoc(SEPARATOR.join(ready), "html", *options).split(SEPARATOR.strip())
        if len(parts) != len(ready):  # an unclosed fence or tag swallowed what follows it
            parts = [_pandoc(source, "html", *options) for source in ready]
        return {source: self._tidy(part) for source, part in zip(sources, parts, strict=True)}

    def _markdown(self, source: str, about: Mapping | None = None) -> str:
        html = self.rendered.get(source) or self._render([source])[source]
        return self._web_html(html, about) if about and about["kind"] == "table" else html

    def _web_html(self, html: str, about: Mapping | None = None) -> str:
        """Return an output's HTML with its tables numbered, captioned and able to scroll."""
        if "<table" not in html:
            return html
        soup = BeautifulSoup(html, "html.parser")
        for style in soup.find_all("style"):
            style.decompose()
        if about and soup.table:
            _caption_table(soup, about, self._markdown)
        return self._tidy(str(soup))

    def _tidy(self, html: str) -> str:
        """Make a fragment accessible, and everything in it local."""
        soup = BeautifulSoup(html, "html.parser")
        for math in soup.find_all("math"):
            _tidy_math(soup, math)
        for table in soup.find_all("table"):
            _tidy_table(soup, table)
        for link in soup.find_all("a", href=True):
            name, _, place = link["href"].partition(".ipynb")
            if name in {other["name"] for other in self.page["book"]}:
                link["href"] = f"{name}.html{place}"
        for image in soup.find_all("img", src=True):
            self._embed(image)
        for code in soup.select("pre[class] > code"):
            shown = Highlight2HTML()(code.get_text(), language=code.parent["class"][0])
            box = _scrollable(soup, "Code", "code-sample")
            box.append(BeautifulSoup(shown, "html.parser"))
            code.parent.replace_with(box)
        return str(soup)

    def _embed(self, image: Any) -> None:
        """Put a local picture into the page; a remote one becomes its own description."""
        if image["src"].startswith("data:"):
            return
        file = Path(self.place, image["src"])
        if "://" in image["src"] or not file.is_file():
            image.replace_with(image.get("alt") or image["src"])
            return
        mime = {f".{end}": mime for mime, end in IMAGES.items()}.get(file.suffix, "image/png")
        image["src"] = f"data:{mime};base64,{base64.b64encode(file.read_bytes()).decode()}"


def _web_svg(svg: str) -> str:
    """Name a font of the same widths for machines that lack matplotlib's own."""
    return svg.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")


def _scrollable(soup: BeautifulSoup, label: str, kind: str, tag: str = "div") -> Any:
    """Return a box that scrolls by itself, can be reached by keyboard, and has a name."""
    box = soup.new_tag(tag, attrs={"class": f"{kind} scroll", "tabindex": "0", "role": "group"})
    box["aria-label"] = label
    return box


def _tidy_math(soup: BeautifulSoup, math: Any) -> None:
    if tex := math.find("annotation"):
        math["alttext"] = tex.get_text().strip()
        tex.decompose()
    for letter in math.find_all(mathvariant="bold-italic"):  # pandoc's \\mathbf, upright in TeX
        if "boldsymbol" not in math.get("alttext", ""):
            letter.string = letter.get_text().translate(UPRIGHT)
            letter["mathvariant"] = "bold"
    for prime in math.select("msup > mo"):  # fonts draw it raised and small already
        if prime.get_text() in "′″":
            prime.parent.name = "mrow"
            prime["lspace"] = prime["rspace"] = "0"
    for accent in math.select("mover > mo[accent]"):
        _tidy_accent(accent)
    for sign in math.find_all("mo", string=["−", "+"]):  # after a comma's space it is a sign
        if getattr(sign.find_previous_sibling(), "name", None) == "mspace":
            sign["form"] = "prefix"
    for apply in math.find_all("mo", string="\u2061"):  # TeX leaves a thin space after log, exp
        after = apply.find_next_sibling() or apply.parent.find_next_sibling()
        if after and after.get("form") != "prefix":
            apply.insert_after(soup.new_tag("mspace", attrs={"width": "0.17em"}))
    if math.get("display") == "block":
        math.wrap(_scrollable(soup, "Equation", "equation", "span"))
    elif end := re.match(r"[.,;:?!)]+", text := str(math.next_sibling or "")):
        math.next_sibling.replace_with(text[end.end() :])
        math.wrap(soup.new_tag("span", attrs={"class": "together"})).append(end[0])


def _tidy_accent(accent: Any) -> None:
    """Draw a bar as a border, as long as what it stands over, and a hat no wider than itself."""
    if accent.get_text() in ("¯", "‾", "\u0305"):
        accent.parent.name, accent.parent["class"] = "mrow", "over"
        accent.decompose()
    elif accent.get_text() in ("^", "\u0302"):
        accent.string, accent["stretchy"] = "^", "false"


def _caption_table(soup: BeautifulSoup, about: Mapping, markdown: Any) -> None:
    """Give the table of an output its caption and number."""
    caption = soup.table.caption or soup.new_tag("caption")
    if about["caption"]:
        inner = BeautifulSoup(markdown(about["caption"]), "html.parser")
        caption.clear()
        caption.extend(list((inner.p or inner).contents))
    if about["number"]:
        number = soup.new_tag("b")
        number.string = f"Table {about['number']}."
        caption.insert(0, " ")
        caption.insert(0, number)
    if caption.contents:
        soup.table.insert(0, caption)


def _tidy_table(soup: BeautifulSoup, table: Any) -> None:
    """Say which cells are heads, and let the table scroll inside the page."""
    table.attrs.pop("border", None)
    for cell in table.find_all("th"):
        if not cell.get_text(strip=True):
            cell.name = "td"
            continue
        cell["scope"] = "col" if cell.find_parent("thead") else "row"
    for cell in table.find_all("td"):  # numbers stay in one piece, and prose gets room
        cell["class"] = "whole" if len(cell.get_text(strip=True)) <= 18 else "long"
    caption = table.caption.get_text().strip() if table.caption else "Table"
    table.wrap(_scrollable(soup, caption, "table"))


class Document(_Exporter):
    """Export a notebook as a typeset, tagged PDF.

    Code tagged `hide-input`, which a page folds like any other, is left out on paper.
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

    @property
    def default_config(self) -> Any:
        """Add to nbconvert's: on paper, code that only draws is left out."""
        config = super().default_config
        config.TagRemovePreprocessor.remove_input_tags |= {"hide-input"}
        return config

    def default_filters(self) -> Iterator[tuple[str, Any]]:
        """Add the filters of the document's template to nbconvert's."""
        yield from super().default_filters()
        yield "fenced", _fenced
        yield "packed", lambda about: quote(json.dumps(about))

    def from_notebook_node(self, nb: Any, resources: Any = None, **kw: Any) -> tuple[bytes, Any]:
        """Return the PDF's bytes; raises ReportError where typst finds no way to set it."""
        with tempfile.TemporaryDirectory() as folder:
            chapter, resources = self.chapter(nb, resources, Path(folder), **kw)
            title = resources["nnlib"]["title"]
            return typeset(
                f"notebook.with(title: {typst_string(title)})", chapter, Path(folder)
            ), resources

    def chapter(self, nb: Any, resources: Any, folder: Path, **kw: Any) -> tuple[str, Any]:
        """Return the notebook in typst, its pictures written into `folder`."""
        text, resources = super().from_notebook_node(nb, resources, **kw)
        page, files = resources["nnlib"], resources.pop("nnlib_files")
        for file, content in files.items():
            (folder / file).write_bytes(content)
        book = " ".join(other["name"] for other in page["book"])
        where = resources["metadata"].get("path") or "."
        return _pandoc(
            text, "typst", "--wrap=none", f"--lua-filter={TEMPLATES / 'nnlib' / 'typst.lua'}",
            f"--metadata=chapter={page['name']}", f"--metadata=chapters={book}",
            f"--resource-path={os.path.abspath(where)}", "--extract-media=media", folder=folder,
        ), resources  # fmt: skip

    def _prepare(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        nb, resources = super()._prepare(nb, resources)
        nb.cells = _solutions_last(nb.cells)
        for cell in nb.cells:
            if "exercise" in tags_of(cell):
                cell.outputs = []  # what its check says to one who has not begun
        files = resources["nnlib_files"] = {}
        for output in _outputs(nb):
            mime = self._mime(output)
            if mime in IMAGES:
                name = f"{resources['nnlib']['name']}-{len(files) + 1}.{IMAGES[mime]}"
                content = output.data[mime]
                files[name] = (
                    content.encode() if mime == "image/svg+xml" else base64.b64decode(content)
                )
                output.metadata.nnlib.file = name
        return nb, resources


class _CommandLine(TemplateExporter):
    """The name with a hyphen: not offered by a Jupyter server, where it could only fail."""

    @default("enabled")
    def _enabled_default(self) -> bool:
        server = sys.modules.get("jupyter_server.serverapp")
        return not (server and server.ServerApp.initialized())


class CommandLinePage(_CommandLine, Page):
    """`Page` under the name that `jupyter nbconvert --to` takes, nnlib-html."""


class CommandLineDocument(_CommandLine, Document):
    """`Document` under the name that `jupyter nbconvert --to` takes, nnlib-pdf."""


def _fenced(text: str, kind: str) -> str:
    """Put text into a fence longer than any in it; endless words may break at 80 characters."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).rstrip()
    text = text if kind.startswith("{") else re.sub(r"(\S{80})(?=\S)", "\\1\u200b", text)
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    return f"\n\n{fence} {kind}\n{text}\n{fence}\n\n"


def typst_string(text: str) -> str:
    """Return a typst string."""
    return json.dumps(text, ensure_ascii=False)


def typeset(show: str, body: str, folder: Path) -> bytes:
    """Return the PDF of typst source under the look that `show` names in report.typ."""
    import matplotlib
    import typst

    for file in ("report.typ", "code.tmTheme"):
        shutil.copy(TEMPLATES / "nnlib" / file, folder)
    source = folder / "main.typ"
    source.write_text(f'#import "report.typ": *\n#show: {show}\n{body}\n', encoding="utf-8")
    fonts = [Path(matplotlib.get_data_path()) / "fonts" / "ttf"]  # for DejaVu Sans, as in figures
    compiler = typst.Compiler(str(source), str(folder), fonts, ignore_system_fonts=True)
    try:
        return compiler.compile(format="pdf", pdf_standards=["ua-1"], timestamp=0)
    except typst.TypstError as error:
        return _typeset_anyway(compiler, error)


def _typeset_anyway(compiler: Any, why: Exception) -> bytes:
    """Set a document that misses PDF/UA, by a skipped heading level, say: tagged all the same."""
    import typst

    try:
        pdf = compiler.compile(format="pdf", timestamp=0)
    except typst.TypstError as error:
        raise ReportError(f"the PDF could not be typeset: {error}") from error
    print(f"the PDF is tagged but not PDF/UA: {why}", file=sys.stderr)
    return pdf
