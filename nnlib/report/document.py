"""A notebook on paper: pandoc makes typst of its cells, and typst a tagged PDF.

Typst and its fonts come from pip, so that no LaTeX has to be installed. templates/nnlib holds the
way there: index.paper.j2 from cells to HTML, typst.lua from there to typst, report.typ its look.
"""

import contextlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import matplotlib
from bs4 import BeautifulSoup, Tag
from matplotlib.colors import to_hex
from matplotlib.ft2font import FT2Font
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from traitlets import Unicode

from nnlib.files import sha256
from nnlib.language import gettext, speaking
from nnlib.report import ReportError
from nnlib.report.cells import CONTROL, content_of
from nnlib.report.exporter import FONTS, TEMPLATES, CommandLine, Exporter, pandoc, tags_of

SPANS = ["small", "font"]  # and blocks of HTML that pandoc would not keep
BLOCKS = ["center", "details", "summary"]
TTF = Path(matplotlib.get_data_path()) / "fonts" / "ttf"  # for DejaVu Sans, as in figures
LAST_RESORT = b"LastResortHE"  # the font that draws a sign of its script for what no other has
OTHER_SCRIPTS = re.compile("[\u0900-\u1cff\u2e80-\ud7ff\uf900-\ufaff\U0001f000-\U0003ffff]")
CELL = re.compile(r"^// nnCell (\S+) (\S*)\n.*?^// nnEnd$", re.DOTALL | re.MULTILINE)
RENAMED = re.compile(r"\b(dot|times|minus)\.circle\b")  # by typst, which pandoc does not know yet


class Document(Exporter):
    """Export a notebook as a typeset, tagged PDF.

    Code that is folded in the notebook, which a page folds like any other, is left out on paper,
    and so is what the check of an exercise says to one who has not begun.
    """

    export_from_notebook = "Report (PDF)"
    output_mimetype = "application/pdf"
    formulas = "typst"

    file_extension = Unicode(".pdf").tag(config=True)
    template_extension = Unicode(".paper.j2")

    def default_filters(self) -> Iterator[tuple[str, Any]]:
        """Add the filters of the document's template."""
        yield from super().default_filters()
        yield "broken", _broken

    def from_notebook_node(self, nb: Any, resources: Any = None, **kw: Any) -> tuple[bytes, Any]:
        """Return the PDF's bytes; raises ReportError where typst finds no way to set it."""
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            chapter, resources = self.chapter(nb, resources, folder, **kw)
            title, lang = self.page["title"], resources["language_code"][:2]
            with speaking("zh" if lang == "zh" else ""):
                return typeset("notebook", chapter, folder, title=title, lang=lang), resources

    def chapter(self, nb: Any, resources: Any, folder: Path, **kw: Any) -> tuple[str, Any]:
        """Return the notebook in typst, its pictures written into `folder`."""
        self.folder = folder
        text, resources = super().from_notebook_node(nb, resources, **kw)
        return pandoc(text, "typst", "html", "typst.lua"), resources

    def _arranged(self, cells: list[NotebookNode]) -> list[NotebookNode]:
        """Return the cells with the solutions of a section at its end, since paper cannot fold."""
        ordered, held = [], []
        for cell in [*cells, new_markdown_cell("# End")]:
            opens_section = cell.cell_type == "markdown" and re.match(r"##? ", cell.source)
            if held and opens_section:
                ordered += [new_markdown_cell(gettext("### Solutions")), *held]
                held = []
            (held if "solution" in tags_of(cell) else ordered).append(cell)
        return ordered[:-1]

    def _preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        nb, resources = super()._preprocess(nb, resources)
        _for_paper(self.shown)
        for image in self.shown.find_all("img"):  # typst reads files
            mime, content = content_of(image["src"])
            image["src"] = f"picture-{sha256(content)[:16]}.{mime[6:9]}"
            (self.folder / image["src"]).write_bytes(content)
        return nb, resources

    def _set_formula(self, span: Tag, done: str) -> None:
        tex = span.get_text()
        told = json.dumps(" ".join(tex.split()), ensure_ascii=False)
        done = RENAMED.sub(r"\1.o", done).replace("#h(0em)", "thick")  # \; becomes nothing
        done = done.replace('"||"', '"|"' if "vmatrix" in tex else '"‖"')  # one sign for typst
        block = "true" if "display" in span["class"] else "false"
        equation = f"#math.equation(alt: {told}, block: {block}, {done})" if done else ""
        span.attrs = {"class": "typst", "data-typst": equation}


class CommandLineDocument(CommandLine, Document):
    """`Document` under the name that `jupyter nbconvert --to` takes, nnlib-pdf."""


def _for_paper(soup: BeautifulSoup) -> None:
    """Name what pandoc would not keep of HTML: colours, and elements that it does not know."""
    for tag in soup.find_all([*SPANS, *BLOCKS]):
        tag["class"], tag.name = tag.name, "span" if tag.name in SPANS else "div"
    for cell in soup.select("td[colspan], th[colspan]"):  # pandoc takes its number at its word
        cell["colspan"] = min(int(re.sub(r"\D", "", cell["colspan"]) or 1) or 1, 40)
    for tag in soup.select("[style*='color'], [bgcolor], [color]"):
        rules = dict(re.findall(r"([\w-]+)\s*:\s*([^;]+)", tag.get("style", "")))
        ground = rules.get("background-color") or rules.get("background") or tag.get("bgcolor")
        for key, colour in (("ground", ground), ("ink", rules.get("color") or tag.get("color"))):
            with contextlib.suppress(ValueError):  # no colour, or one that only browsers know
                tag[f"data-{key}"] = to_hex(_colour(colour))


def _colour(text: str | None) -> Any:
    """Return a colour of CSS as matplotlib takes it."""
    numbers = re.findall(r"[\d.]+", text or "") if (text or "").startswith("rgb") else []
    return tuple(float(n) / 255 for n in numbers[:3]) if numbers else (text or "").strip()


def _broken(text: str) -> str:
    """Let endless words break at 80 characters."""
    return re.sub(r"(\S{80})(?=\S)", "\\1\u200b", CONTROL.sub("", text))


def typeset(look: str, body: str, folder: Path, **about: str) -> bytes:
    """Return the PDF of typst source under a look of report.typ, pictures being in `folder`.

    `about` is its title, subtitle, lang and banner.

    A document that misses PDF/UA, by a skipped heading level, say, is tagged all the same.
    Raises ReportError where typst finds no way to set it.
    """
    import typst  # of an extra that a notebook's menu of exporters must do without

    for file in ("report.typ", "code.tmTheme"):
        shutil.copy(TEMPLATES / "nnlib" / file, folder)
    said = re.findall(r'#said\("(.+?)"\)', (folder / "report.typ").read_text("utf-8"))
    drawn = {svg: svg.read_text("utf-8") for svg in folder.glob("*.svg")}
    strange = _strange("".join([body, *drawn.values()]))
    others = typst.Fonts(include_embedded_fonts=False).families() if strange else []
    words = json.dumps({text: gettext(text) for text in said})
    inputs = about | {"fonts": json.dumps(others), "words": words}
    compiler = typst.Compiler(b"", str(folder), [TTF, FONTS], not others, inputs)

    def compiled(part: str, *standards: str) -> bytes:
        text = f'#import "report.typ": *\n#show: {look}\n{part}\n'
        how = {"format": "pdf", "timestamp": 0, "pdf_standards": list(standards)}
        return compiler.compile(text.encode(), **how)

    if missing := [c for c in strange if LAST_RESORT in compiled(f'#"{c}"')]:
        _name_missing(missing, body, drawn)
        for svg, text in drawn.items():  # where all would look like the missing
            svg.write_text(re.sub(f"[{''.join(missing)}]", "\ufffd", text), "utf-8")
    try:
        return compiled(body, "ua-1")
    except typst.TypstError as error:
        missed = error
    with contextlib.suppress(typst.TypstError):
        pdf = compiled(body)
        print(f"the PDF is tagged but not PDF/UA: {missed}", file=sys.stderr)
        return pdf
    plainer = _settable(body, compiled)
    if plainer == body:
        raise ReportError(f"the PDF could not be typeset: {missed}") from missed
    return typeset(look, plainer, folder, **about)


def _strange(text: str) -> list[str]:
    """Return what is in a text and in no font that comes with us."""
    fonts = FT2Font(TTF / "DejaVuSans.ttf"), FT2Font(FONTS / "NotoSansSC-Regular.otf")
    known = {chr(code) for font in fonts for code in font.get_charmap()}
    return sorted({*OTHER_SCRIPTS.findall(text)} - known)


def _name_missing(characters: Sequence[str], body: str, drawn: Mapping[Path, str]) -> None:
    """Say on standard error where characters stand that no font has, in pictures as well."""
    places = []
    for cell in CELL.finditer(body):
        text = cell[0] + "".join(told for svg, told in drawn.items() if svg.name in cell[0])
        if found := [f"{c} (U+{ord(c):04X})" for c in characters if c in text]:
            places.append(f"{', '.join(found)} in {unquote(cell[1])}")
    if places:
        print(f"no font has {'; '.join(places)}: a sign stands there instead", file=sys.stderr)


def _settable(body: str, compiled: Callable[[str], bytes]) -> str:
    """Return typst source with the text alone of those cells that typst cannot set."""
    import typst

    for cell in CELL.finditer(body):
        try:  # links to other cells lead nowhere here
            compiled(re.sub(r"#link\(<[^>]*>\)", "", cell[0]))
        except typst.TypstError:
            name, text = map(unquote, cell.groups())
            print(f"{name}: cannot be typeset; its text alone is in the PDF", file=sys.stderr)
            raw = f'#raw({json.dumps(text, ensure_ascii=False)}, block: true, lang: "output")'
            body = body.replace(cell[0], raw)
    return body
