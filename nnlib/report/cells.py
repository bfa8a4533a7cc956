r"""Cells and outputs as JupyterLab shows them, each read by itself into clean HTML.

Page and PDF are made from these fragments, so that nothing a cell leaves open reaches another one,
and both show the same. A formula is a `<span class="math inline">` or `display` that holds its
TeX; every picture lies in its fragment as a data URI, and can be decoded.
"""

import base64
import functools
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from urllib.request import urlopen
from xml.etree import ElementTree

from bs4 import BeautifulSoup, Comment, Tag
from nbformat import NotebookNode
from PIL import Image

IMAGES = [f"image/{kind}" for kind in ("svg+xml", "png", "jpeg", "gif", "webp", "bmp", "tiff")]
FORMS = ["text/html", "text/markdown", "text/latex", *IMAGES, "application/json", "text/plain"]

# JupyterLab sets code and then mathematics aside before it reads Markdown.
CODE = re.compile(
    r"^[ >]*(`{3,}|~{3,})[^`\n]*\n.*?^[ >]*\1[`~]*$"
    r"|(?<![\\`])(`+)(?!`)[^\n]*?[^`\n]\2(?!`)", re.DOTALL | re.MULTILINE,
)  # fmt: skip
TOKEN = r"(?>\\[{}$]|\$\$?|(?!\n\s*\n)[^{}$])"  # of a formula, in which no line is blank
DOLLAR = "nnDollarx"  # stands for a dollar that is no mark
VERBATIM = ["pre", "code", "textarea", "math", "annotation"]
UNSEEN = (
    "script, style, noscript, template, link, meta, base, title, [hidden], "
    "[style*='display:none'], [style*='display: none'], .sk-text-repr-fallback > b"
)
NOT_STILL = ["iframe", "video", "audio", "object", "embed", "canvas"]
# Of an element's attributes: handlers, what is fetched or called by itself, what typst.lua obeys.
UNHEARD = re.compile(
    "on|data-|(form)?action$|srcset$|background$|ping$"
    "|(typst|picture|called|said|told|anchor|number|ground|ink)$"
)
RUNS = ("javascript:", "vbscript:", "data:text/html")
ELSEWHERE = re.compile(r"<script[^>]*\ssrc|\brequire(js)?\(\[|createElement\(.script")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
NO_GLYPH = re.compile(  # in what matplotlib warns of, with the line of code under it
    r"^.*Warning: Glyph (\d+) .*missing from .*font.*\n(?: .*\n)?", re.MULTILINE
)
TERMINAL = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[(?P<count>\d{0,3})[0-?]*[ -/]*(?P<act>[@-~])"
    r"|\x1b[ -/]*[0-~]?|(?P<text>[^\x1b\r\n\b]+)|(?P<sign>[\r\n\b])"
)


def _formulas(slash: str) -> re.Pattern:
    r"""Return a pattern of formulas by JupyterLab's rules; what it finds beside them is none.

    Braces in a formula are balanced, if they can be. `slash` is what opens and closes \( and \[.
    """
    body = TOKEN
    for _ in range(9):
        body = rf"(?:{TOKEN}|\{{(?>{body}*)\}})"
    marks = {r"\$\$": r"\$\$", r"\$(?!\$)": r"\$(?!\$)"} | {
        r"\\begin\{(?P<name>[a-z]*\*?)\}": r"\\end\{(?P=name)\}",
        rf"{slash}\(": rf"{slash}\)",
        rf"{slash}\[": rf"{slash}\]",
    }
    any_token = rf"(?:{TOKEN}|[{{}}])*"
    whole = "|".join(
        f"{start}(?:(?:{body}|}})*?|{any_token}){stop}" for start, stop in marks.items()
    )
    unclosed = rf"(?:\$|\\begin\{{[a-z]*\*?\}}|{slash}[(\[])(?>{any_token})"
    return re.compile(rf"\\[{{}}$]|(?P<formula>{whole})|{unclosed}", re.IGNORECASE)


IN_MARKDOWN = _formulas(r"\\\\")  # `\\(`, of which it makes `\(`
IN_HTML = _formulas(r"\\")


def terminal(text: str) -> str:
    r"""Return what a terminal would show: \r, \b and erasures done, colours and links dropped."""
    rows: list[list[str]] = [[]]
    row = column = 0
    for found in TERMINAL.finditer(text):
        line, count, act = rows[row], int(found["count"] or 0), found["act"] or found["sign"]
        step = max(1, count)
        to = {"\r": 0, "\b": column - 1, "C": column + step, "D": column - step, "G": step - 1}
        if shown := found["text"]:
            line += " " * (column - len(line))
            line[column : column + len(shown)] = shown
            column += len(shown)
        elif act in to:
            column = max(0, to[act])
        elif act == "\n":
            row, column = row + 1, 0
            rows += [[]] * (row == len(rows))
        elif act == "A":
            row = max(0, row - step)
        elif act in ("K", "J"):
            del line[0 if count else column :]
            del rows[row + 1 if act == "J" else len(rows) :]
    return CONTROL.sub("", "\n".join("".join(line).rstrip() for line in rows)).rstrip()


def decoded(content: bytes | str) -> tuple[str, bytes] | None:
    """Return a picture's MIME and bytes, as PNG if no browser draws it; None if nothing can.

    Text is what a notebook holds: SVG as it is, or what base64 made of bytes.
    """
    try:
        if isinstance(content, str):
            content = content.encode() if "<svg" in content else base64.b64decode(content)
        if b"<svg" in content[:4096]:
            return "image/svg+xml", _well_formed(content.decode()).encode()
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            whole = image.format != "PNG" or b"IEND" in content[-99:]  # else typst refuses it
            if whole and image.format in ("PNG", "JPEG", "GIF", "WEBP"):
                return f"image/{image.format.lower()}", content
            image.convert("RGBA").save(stream := io.BytesIO(), "PNG")
            return "image/png", stream.getvalue()
    except Exception:  # of many kinds, as many as there are formats
        return None


def _well_formed(svg: str) -> str:
    """Return an SVG with its namespaces declared, asking for no file; raises if it is no XML."""
    svg = re.sub(r"""\s(?:xlink:)?href\s*=\s*(["'])(?!\s*#|data:).*?\1""", "", svg)
    head = svg[svg.find("<svg") :].partition(">")[0]
    names = "" if "xmlns=" in head else ' xmlns="http://www.w3.org/2000/svg"'
    if "xlink:" in svg and "xmlns:xlink" not in head:
        names += ' xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = svg.replace("<svg", f"<svg{names}", 1)
    ElementTree.fromstring(svg)
    return svg


def data_uri(mime: str, content: bytes) -> str:
    """Return a picture as an address that holds it."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def content_of(uri: str) -> tuple[str, bytes]:
    """Return the MIME and the bytes that such an address holds; raises ValueError."""
    with urlopen(uri) as content:
        return content.headers.get_content_type(), content.read()


@functools.cache
def _reader() -> Any:
    """Return a reader of Markdown: CommonMark, with GitHub's tables, strokes and bare addresses."""
    from markdown_it import MarkdownIt  # of an extra that a menu of exporters must do without

    reader = MarkdownIt("gfm-like", {"maxNesting": 100})
    reader.linkify.set({"fuzzy_link": False})  # else README.md is an address
    reader.validateLink = lambda address: True  # `_silence` knows better
    return reader


def warn(place: str, what: str) -> None:
    """Say on standard error what is not shown as in JupyterLab, and where."""
    print(f"{place}: {what}", file=sys.stderr)


class Cell:
    """Reads what one cell holds; `name` is what warnings call it, `folder` where files are.

    Scripts of outputs stay if `live`, unless they ask for others from elsewhere.
    """

    def __init__(self, name: str, folder: str, attachments: Mapping[str, Any], live: bool = False):
        self.name, self.folder, self.attachments, self.live = name, folder, attachments, live

    def markdown(self, source: str, caption: bool = False) -> Tag:
        """Return a text in Markdown as HTML; a caption is one line, and no paragraph."""
        source = CODE.sub(lambda code: code[0].replace("$", DOLLAR), CONTROL.sub("", source))
        source = IN_MARKDOWN.sub(_aside, source).replace("\\$", DOLLAR)
        told = _reader().renderInline(source) if caption else _reader().render(source)
        for box, mark in (("☐", " "), ("☑", "[xX]")):  # of tasks
            told = re.sub(rf"(<li>\s*(?:<p>)?)\[{mark}\]\s", rf"\1{box} ", told)
        return self.html(re.sub("nnTeX((?:[0-9a-f]{2})+)x", _back, told))

    def html(self, source: str) -> Tag:
        """Return a body of HTML, closed and still, its formulas marked and its pictures inside."""
        soup = BeautifulSoup(f"<body>{CONTROL.sub('', source)}", "html5lib")
        for svg in soup.find_all("svg"):
            text = svg.get_text(" ", strip=True)
            uri = data_uri("image/svg+xml", str(svg).encode())
            svg.replace_with(soup.new_tag("img", attrs={"src": uri, "alt": text}))
        _inline_styles(soup)
        comments = soup.find_all(string=lambda text: isinstance(text, Comment))
        for part in [*soup.select(UNSEEN), *comments]:
            part.extract()
        _silence(soup)
        _mark_formulas(soup)
        for part in soup.find_all(NOT_STILL):
            self._instead(part)
        for image in soup.find_all("img"):
            self._embed(image)
        return soup.body

    def _instead(self, part: Any) -> None:
        """Put the address of what moves or is loaded from elsewhere in its place."""
        inner = part.find(src=True) or part
        address = part.get("src") or part.get("data") or inner.get("src") or ""
        what = f"<{part.name}> {address[:60]} cannot be drawn here"
        warn(self.name, f"{what}; its address stands for it")
        linked = address and not address.startswith("data:")
        told = part.get("title") or address if linked else part.get_text(" ", strip=True)
        part.string = told or f"({part.name})"
        part.name, part.attrs = "a", {"href": address} if linked else {}

    def _embed(self, image: Any) -> None:
        """Put a picture into the text, or its description where it cannot be had or decoded."""
        source = image.get("src", "")
        told = image.get("alt") or image.get("title") or ""
        if picture := self._picture(source):
            image["src"] = data_uri(*picture)
            image["alt"] = told or "A picture without a description"
        else:
            source = source if len(source) < 100 else f"{source[:40]}…"
            image.replace_with(told or source)
            warn(self.name, f"the picture {source} cannot be drawn; its description stands for it")

    def _picture(self, source: str) -> tuple[str, bytes] | None:
        """Return a picture by its address: pasted into the cell, inside the text, or in a file."""
        try:
            if source.startswith("data:"):
                return decoded(content_of(source)[1])
            if source.startswith("attachment:"):
                name = source.removeprefix("attachment:")
                file = self.attachments.get(name) or self.attachments[unquote(name)]
                return decoded("".join(next(iter(file.values()))))
            names = [source, unquote(source), unquote(source.partition("?")[0].partition("#")[0])]
            below = Path(self.folder).resolve()  # what is elsewhere is not the notebook's to show
            files = [(below / name).resolve() for name in names]
            known = (file for file in files if file.is_relative_to(below) and file.is_file())
            return decoded(next(known).read_bytes())
        except (LookupError, OSError, ValueError, StopIteration):
            return None

    def output(self, output: NotebookNode, forms: Sequence[str]) -> tuple[str, Any]:
        """Return the form of an output that is shown, the first of `forms` there is, and its HTML.

        What has no HTML is text: of a stream or an error, too.
        """
        if output.output_type == "stream":
            return "text/plain", terminal(self._without_warnings(output.text))
        if output.output_type == "error":
            said = "\n".join(output.traceback) or f"{output.ename}: {output.evalue}"
            return "text/plain", terminal(said)
        bundle, missed = output.get("data", {}), []
        for mime in (form for form in forms if form in bundle):
            shown = self._form(mime, bundle[mime])
            drawn_by_script = re.search("(?s)<div.*<script|<script.*<div", str(bundle[mime]))
            if shown or not (mime in IMAGES or drawn_by_script):
                if missed:
                    warn(self.name, f"{missed[0]} cannot be drawn; {mime} stands for it")
                return mime, shown or ""  # in JupyterLab, too, there may be nothing to see
            missed.append(mime)
        if forms == FORMS:
            missed += (mime for mime in bundle if mime not in forms and "javascript" not in mime)
        if missed:
            warn(self.name, f"{missed[0]} cannot be drawn")
        return "text/plain", f"({missed[0]})" if missed else ""

    def _without_warnings(self, text: str) -> str:
        """Say on standard error, not in the document, what a figure was drawn without."""
        if missed := " ".join(dict.fromkeys(chr(int(code)) for code in NO_GLYPH.findall(text))):
            boxes = f"a figure was drawn with boxes for {missed}, which no font of it had"
            warn(self.name, f"{boxes}; where nnlib.notebook is imported, figures have Chinese")
        return NO_GLYPH.sub("", text)

    def _form(self, mime: str, content: Any) -> Any:
        """Return one form of an output as HTML or plain text, nothing if there is none to see."""
        if mime == "application/json":
            return json.dumps(content, indent=2, ensure_ascii=False)
        content = "".join(content)
        if mime == "text/plain":
            return terminal(content)
        if mime in IMAGES:
            picture = decoded(content)
            return picture and _body(f'<img src="{data_uri(*picture)}">')
        scripts = self.live and mime == "text/html" and "<script" in content
        if scripts and not ELSEWHERE.search(content):
            return self._running(content)
        if mime == "text/latex":
            content = f"<p>{escape(content)}</p>"
        body = self.markdown(content) if mime == "text/markdown" else self.html(content)
        return body if body.get_text(strip=True) or body.find(["img", "hr", "math"]) else None

    def _running(self, content: str) -> Tag:
        """Return HTML that draws itself: plotly with all it needs, an animation of matplotlib."""
        body = _body(content)
        for part in body.find_all(["link", "meta", "base"]):
            part.extract()
        for image in body.select("img[src]"):
            self._embed(image)
        return body


def _body(source: str) -> Tag:
    """Return HTML as a browser reads it, whatever it leaves open."""
    return BeautifulSoup(f"<body>{source}", "html5lib").body


def _aside(found: re.Match) -> str:
    """Return a formula in letters and digits, in which Markdown finds nothing to do."""
    tex = found["formula"] or ""
    tex = tex[1:-3] + tex[-2:] if tex.startswith("\\\\") else tex
    return f"nnTeX{tex.encode().hex()}x" if tex else found[0]


def _back(found: re.Match) -> str:
    """Return the formula that was set aside, as text in HTML."""
    return escape(bytes.fromhex(found[1]).decode(errors="replace"))


def _silence(soup: BeautifulSoup) -> None:
    """Take from all elements what would run, be fetched, or be taken for ours."""
    for tag in soup.find_all(True):
        for key, value in list(tag.attrs.items()):
            value = value if isinstance(value, str) else " ".join(value)
            if UNHEARD.match(key) or re.sub(r"[\x00-\x20]", "", value).lower().startswith(RUNS):
                del tag[key]
            elif DOLLAR in value:
                tag[key] = value.replace(DOLLAR, "$")


def _inline_styles(soup: BeautifulSoup) -> None:
    """Give each element what a sheet says of it by its id, as pandas' coloured tables do."""
    for sheet in soup.find_all("style"):
        for heads, rules in re.findall(r"([^{}]+)\{([^{}]*)\}", sheet.string or ""):
            for head in re.findall(r"#[\w-]+(?=\s*(?:,|$))", heads):
                for part in soup.find_all(id=head[1:]):
                    part["style"] = f"{part.get('style', '')};{' '.join(rules.split())}".strip(";")


def _mark_formulas(soup: BeautifulSoup) -> None:
    """Make an element of each formula, where MathJax looks for them."""
    for node in soup.find_all(string=True):
        text = escape(node, quote=False)
        told = text if node.find_parent([*VERBATIM]) else IN_HTML.sub(_formula, text)
        if DOLLAR in told or told != text:
            told = BeautifulSoup(f"<p>{told.replace(DOLLAR, '$')}", "html.parser")
            node.replace_with(*told.p.contents)


def _formula(found: re.Match) -> str:
    """Return a formula, TeX between its marks, as HTML; what else was found stays."""
    if not (tex := found["formula"]):
        return found[0]
    marks = re.match(r"\$\$?|\\[(\[]|", tex)[0]
    kind = "inline" if marks in ("$", r"\(") else "display"
    return f'<span class="math {kind}">{tex[len(marks) : len(tex) - len(marks)]}</span>'
