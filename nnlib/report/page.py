"""A notebook as a web page that asks nothing of the network and that everybody can read.

Styles, fonts, figures and mathematics (MathML, made by pandoc) are inside the page. nbconvert's
own HTML fetches MathJax, drops what describes an image, and fails contrast checks.
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup
from nbconvert.exporters import HTMLExporter
from nbconvert.filters import Highlight2HTML
from nbformat import NotebookNode

from nnlib.report.exporter import IMAGES, CommandLine, Exporter, for_pandoc, outputs_of, pandoc

SEPARATOR = "\n\n<!--next-->\n\n"
TYPES = {f".{ending}": mime for mime, ending in IMAGES.items()}
UPRIGHT = {code: code - 0x68 for code in range(0x1D468, 0x1D49C)}  # bold italic to bold letters


class Page(Exporter, HTMLExporter):
    """Export a notebook as one accessible page that needs nothing from the network."""

    export_from_notebook = "Report page (HTML)"
    priority = ("text/html", *IMAGES, "text/markdown", "text/latex", "text/plain")

    def default_filters(self) -> Iterator[tuple[str, Any]]:
        """Add the filters of the page's template."""
        yield from super().default_filters()
        yield "markdown2html", self._markdown
        yield "web_html", self._web_html
        yield "web_svg", _web_svg
        yield "inline", lambda html: re.sub(r"\A\s*<p>(.*)</p>\s*\Z", r"\1", html, flags=re.S)

    def _prepare(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        nb, resources = super()._prepare(nb, resources)
        self.page, self.place = resources["nnlib"], resources["metadata"].get("path", "")
        sources = [cell.source for cell in nb.cells if cell.cell_type == "markdown"]
        for output in outputs_of(nb):
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
        ready = [for_pandoc(source) for source in sources]
        parts = pandoc(SEPARATOR.join(ready), "html", *options).split(SEPARATOR.strip())
        if len(parts) != len(ready):  # an unclosed fence or tag swallowed what follows it
            parts = [pandoc(source, "html", *options) for source in ready]
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
        mime, coded = TYPES.get(file.suffix, "image/png"), base64.b64encode(file.read_bytes())
        image["src"] = f"data:{mime};base64,{coded.decode()}"


class CommandLinePage(CommandLine, Page):
    """`Page` under the name that `jupyter nbconvert --to` takes, nnlib-html."""


def _web_svg(svg: str) -> str:
    """Name a font of the same widths for machines that lack matplotlib's own, and a size."""
    svg = svg.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    unsized = r'<svg (?![^>]*\bwidth=)(?=[^>]*\bviewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)")'
    return re.sub(unsized, r'<svg width="\1pt" height="\2pt" ', svg, count=1)


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
