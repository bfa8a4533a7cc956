"""A notebook as a web page that asks nothing of the network and that everybody can read.

Styles, fonts, figures and mathematics (MathML, made by pandoc) are inside the page. nbconvert's
own HTML fetches MathJax, drops what describes an image, and fails contrast checks.
"""

import io
import json
import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bs4 import BeautifulSoup, Tag
from nbconvert.exporters import HTMLExporter
from nbconvert.filters import Highlight2HTML
from nbformat import NotebookNode
from traitlets import List, Unicode

from nnlib.language import gettext
from nnlib.report.cells import content_of, data_uri
from nnlib.report.exporter import FONTS, CommandLine, Exporter

UPRIGHT = {code: code - 0x68 for code in range(0x1D468, 0x1D49C)}  # bold italic to bold letters
MODULAR = re.compile(r"^import .*\n|^export (?:default .*\n)?", re.M)  # no module opens from a disk
SAID = re.compile(r'\b_\("(.+?)"')  # by a script
LONG = 30  # signs of a formula within a line that may be wider than a phone


class Page(Exporter, HTMLExporter):
    """Export a notebook as one accessible page that needs nothing from the network.

    Outputs that draw themselves by a script do so, but not in the report nor if `sanitize_html`.
    """

    export_from_notebook = "Report page (HTML)"
    formulas = "html"

    # What lives in a page stands beside the report.
    extra_template_paths = List(Unicode(), [str(Path(__file__).parents[1] / "widgets")])

    def default_filters(self) -> Iterator[tuple[str, Any]]:
        """Add the filters of the page's template."""
        yield from super().default_filters()
        yield "inert", lambda value: json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")
        yield "unmodular", lambda script: MODULAR.sub("", script)
        yield "words", lambda script: {text: gettext(text) for text in SAID.findall(script)}
        yield "hashed", lambda script: b64encode(sha256(script.encode()).digest()).decode()

    def from_notebook_node(self, nb: Any, resources: Any = None, **kw: Any) -> tuple[str, Any]:
        """Return the page, which holds the hanzi that stand in it in a font."""
        page, resources = super().from_notebook_node(nb, resources, **kw)
        return page.replace("</style>", f"{font_face(page)}</style>", 1), resources

    def _preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        self.live = not (self.sanitize_html or (resources.get("nnlib") or {}).get("book"))
        nb, resources = super()._preprocess(nb, resources)
        outputs = [output.metadata.nnlib for cell in nb.cells for output in cell.get("outputs", [])]
        self.page["alive"] = any(about.live for about in outputs)
        for about in outputs:
            if about.kind == "table" and about.caption and about.html.table:
                number = f"<b>{gettext(f'Table {about.number}.')}</b> " if about.number else ""
                caption = f"<caption>{number}{about.told.decode_contents()}</caption>"
                about.html.table.insert(0, BeautifulSoup(caption, "html.parser"))
        self._tidy(self.shown)
        return nb, resources

    def _set_formula(self, span: Tag, done: str) -> None:
        span.replace_with(*BeautifulSoup(done, "html.parser").contents)

    def _tidy(self, soup: BeautifulSoup) -> None:
        """Make what is shown accessible, and lead its links to pages."""
        for math in soup.find_all("math"):
            _tidy_math(soup, math)
        for table in soup.find_all("table"):
            _tidy_table(soup, table)
        for link in soup.find_all("a", href=True):
            name, _, place = link["href"].partition(".ipynb")
            if name in {other["name"] for other in self.page["book"]}:
                link["href"] = f"{quote(name)}.html{place}"
        for image in soup.select("img[src^='data:image/svg']"):
            image["src"] = data_uri("image/svg+xml", _web_svg(content_of(image["src"])[1]))
        for code in soup.select("pre > code[class*='language-']"):
            shown = Highlight2HTML()(code.get_text(), language=code["class"][0][9:])
            box = _scrollable(soup, gettext("Code"), "code-sample")
            box.append(BeautifulSoup(shown, "html.parser"))
            code.parent.replace_with(box)


class CommandLinePage(CommandLine, Page):
    """`Page` under the name that `jupyter nbconvert --to` takes, nnlib-html."""


def font_face(text: str) -> str:
    """Return a rule of CSS that brings the hanzi of a text, "" where it has none.

    In a Chinese page, dashes and quotation marks are as wide as hanzi.
    """
    letters = {ord(letter) for letter in {*text} if letter >= "\u2e80"}
    if not letters:
        return ""
    from fontTools import subset  # slow to import

    options = subset.Options(flavor="woff", notdef_outline=True)
    font = subset.load_font(FONTS / "NotoSansSC-Regular.otf", options)
    wide = map(ord, "—…“”" if '<html lang="zh' in text else "")
    known = sorted(letters.union(wide) & {*font.getBestCmap()})
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=known)
    subsetter.subset(font)
    subset.save_font(font, stream := io.BytesIO(), options)
    reach = ",".join(f"U+{code:X}" for code in known)  # else it hides what it lacks
    source = data_uri("font/woff", stream.getvalue())
    rule = f"font-family: 'Report Han'; unicode-range: {reach}; src: url({source})"
    return f"@font-face {{ {rule}; }}" if known else ""


def _web_svg(content: bytes) -> bytes:
    """Name a font of the same widths for machines that lack matplotlib's own, and a size."""
    svg = content.decode()
    svg = svg.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    if face := font_face(svg):
        svg = svg.replace("'DejaVu Sans'", "'Report Han', 'DejaVu Sans'")
        svg = re.sub("(<svg [^>]*>)", rf"\1<style>{face}</style>", svg, count=1)
    unsized = r'<svg (?![^>]*\bwidth=)(?=[^>]*\bviewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)")'
    return re.sub(unsized, r'<svg width="\1pt" height="\2pt" ', svg, count=1).encode()


def _scrollable(soup: BeautifulSoup, label: str, kind: str, tag: str = "div") -> Any:
    """Return a box that scrolls by itself, can be reached by keyboard, and has a name."""
    named = {"role": "group", "aria-label": label}
    return soup.new_tag(tag, attrs={"class": f"{kind} scroll", "tabindex": "0", **named})


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
        math.wrap(_scrollable(soup, gettext("Equation"), "equation", "span"))
        return
    formula = math
    if end := re.match(r"[.,;:?!)]+", text := str(math.next_sibling or "")):
        math.next_sibling.replace_with(text[end.end() :])
        formula = math.wrap(soup.new_tag("span", attrs={"class": "together"}))
        formula.append(end[0])
    if len(math.get_text()) > LONG:
        formula.wrap(_scrollable(soup, gettext("Equation"), "long", "span"))


def _tidy_accent(accent: Any) -> None:
    """Draw a bar as a border, as long as what it stands over, and a hat no wider than itself."""
    if accent.get_text() in ("¯", "‾", "\u0305"):
        accent.parent.name, accent.parent["class"] = "mrow", "over"
        accent.decompose()
    elif accent.get_text() in ("^", "\u0302"):
        accent.string, accent["stretchy"] = "^", "false"


def _tidy_table(soup: BeautifulSoup, table: Any) -> None:
    """Say which cells are heads, and let the table scroll inside the page."""
    table.attrs.pop("border", None)
    for cell in table.find_all("th"):
        if cell.get_text(strip=True):
            cell["scope"] = "col" if cell.find_parent("thead") else "row"
        else:
            cell.name = "td"
    for cell in table.find_all("td"):  # numbers stay in one piece, and prose gets room
        cell["class"] = "whole" if len(cell.get_text(strip=True)) <= 18 else "long"
    caption = table.caption.get_text().strip() if table.caption else gettext("Table")
    table.wrap(_scrollable(soup, caption, "table"))
