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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes
from xml.etree import ElementTree

from bs4 import BeautifulSoup, Comment
from nbformat import NotebookNode
from PIL import Image

IMAGES = [f"image/{kind}" for kind in ("svg+xml", "png", "jpeg", "gif", "webp", "bmp", "tiff")]
FORMS = ["text/html", "text/markdown", "text/latex", *IMAGES, "application/json", "text/plain"]
SVG = 'xmlns="http://www.w3.org/2000/svg"'

# JupyterLab sets code and then mathematics aside before it reads Markdown.
CODE = re.compile(
    r"^[ >]*(`{3,}|~{3,})[^`\n]*\n.*?^[ >]*\1[`~]*$"
    r"|(?<![\\`])(`+)(?!`)[^\n]*?[^`\n]\2(?!`)", re.DOTALL | re.MULTILINE,
)  # fmt: skip
MARKS = r"\$\$?|\\(?:begin|end)\{[a-z]*\*?\}|\\[{}$]|[{}]|\n\s*\n|%s[()\[\]]"
IN_MARKDOWN = re.compile(MARKS % r"\\\\", re.IGNORECASE)  # `\\(`, of which it makes `\(`
IN_HTML = re.compile(MARKS % r"\\", re.IGNORECASE)
CLOSING = {"$": "$", "$$": "$$", r"\\(": r"\\)", r"\\[": r"\\]", r"\(": r"\)", r"\[": r"\]"}
FORMULA = re.compile(r"nnFormula(\d+)x")  # stands where a formula was
DOLLAR = "nnDollarx"  # stands for a dollar that is no mark
VERBATIM = ["pre", "code", "textarea", "math", "annotation"]
UNSEEN = ["script", "style", "noscript", "template", "link", "meta", "base", "title"]
NOT_STILL = ["iframe", "video", "audio", "object", "embed", "canvas"]
# Of an element's attributes: handlers, what is fetched or called by itself, what typst.lua obeys.
UNHEARD = re.compile(
    "on|data-|(form)?action$|srcset$|background$|ping$"
    "|(typst|picture|called|said|told|anchor|number|ground|ink)$"
)
RUNS = ("javascript:", "vbscript:", "data:text/html")
ELSEWHERE = re.compile(r"<script[^>]*\ssrc|\brequire(js)?\(\[|createElement\(.script")
HIDDEN = "[hidden], [style*='display:none'], [style*='display: none'], .sk-text-repr-fallback > b"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
TERMINAL = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[(?P<count>\d{0,3})[0-?]*[ -/]*(?P<act>[@-~])"
    r"|\x1b[ -/]*[0-~]?|(?P<text>[^\x1b\r\n\b]+)|(?P<move>[\r\n\b])"
)


def formulas(text: str, marks: re.Pattern) -> Iterator[tuple[int, int]]:
    """Yield where each formula begins and ends, by JupyterLab's rules.

    Braces in it are balanced, and no blank line is in it. `marks` are those of the kind of text.
    """
    start, last, place, braces, closing = None, None, 0, 0, ""
    while found := marks.search(text, place):
        mark, place = found[0], found.end()
        if start is None:
            begin = mark.startswith("\\begin")
            if closing := mark.replace("begin", "end", 1) if begin else CLOSING.get(mark):
                start, last, braces = found.start(), None, 0
        elif mark == closing and braces:
            last = place
        elif mark == closing:
            yield start, place
            start = None
        elif "\n" in mark:
            if last:
                yield start, last
                place = last
            start = None
        elif mark in "{}":
            braces = max(0, braces + (1 if mark == "{" else -1))
    if start is not None and last:
        yield start, last


def apart(text: str, marks: re.Pattern) -> list[str]:
    """Return the text in pieces: every second one is a formula."""
    pieces, place = [], 0
    for start, stop in formulas(text, marks):
        pieces += [text[place:start], text[start:stop]]
        place = stop
    return [*pieces, text[place:]]


def terminal(text: str) -> str:
    r"""Return what a terminal would show: \r, \b and erasures done, colours and links dropped."""
    rows: list[list[str]] = [[]]
    row = column = 0
    for found in TERMINAL.finditer(text):
        line, count, act = rows[row], int(found["count"] or 0), found["act"]
        step = max(1, count)
        if shown := found["text"]:
            line += " " * (column - len(line))
            line[column : column + len(shown)] = shown
            column += len(shown)
        elif found["move"] == "\n":
            row, column = row + 1, 0
            rows += [[]] * (row == len(rows))
        elif found["move"]:
            column = 0 if found["move"] == "\r" else max(0, column - 1)
        elif act == "A":
            row = max(0, row - step)
        elif act in ("C", "D", "G"):
            column = {"C": column + step, "D": max(0, column - step), "G": step - 1}[act]
        elif act in ("K", "J"):
            del line[0 if count else column :]
            del rows[row + 1 if act == "J" else len(rows) :]
    return CONTROL.sub("", "\n".join("".join(line).rstrip() for line in rows)).rstrip()


def decoded(content: bytes) -> tuple[str, bytes] | None:
    """Return a picture's MIME and bytes, as PNG if no browser draws it; None if nothing can."""
    try:
        if b"<svg" in content[:4096]:
            return "image/svg+xml", _well_formed(content.decode()).encode()
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            whole = image.format != "PNG" or b"IEND" in content[-99:]  # else typst refuses it
            if whole and image.format in ("PNG", "JPEG", "GIF", "WEBP"):
                return f"image/{image.format.lower()}", content
            return "image/png", png(image)
    except Exception:  # of many kinds, as many as there are formats
        return None


def png(image: Image.Image) -> bytes:
    """Return the first frame of an image as PNG."""
    stream = io.BytesIO()
    image.convert("RGBA").save(stream, "PNG")
    return stream.getvalue()


def _well_formed(svg: str) -> str:
    """Return an SVG with its namespaces declared, asking for no file; raises if it is no XML."""
    svg = re.sub(r"""\s(?:xlink:)?href\s*=\s*(["'])(?!\s*#|data:).*?\1""", "", svg)
    head = svg[svg.find("<svg") :].partition(">")[0]
    names = "" if "xmlns=" in head else f" {SVG}"
    if "xlink:" in svg and "xmlns:xlink" not in head:
        names += ' xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = svg.replace("<svg", f"<svg{names}", 1)
    ElementTree.fromstring(svg)
    return svg


def data_uri(mime: str, content: bytes) -> str:
    """Return a picture as an address that holds it."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def content_of(uri: str) -> tuple[str, bytes]:
    """Return the MIME and the bytes that an address of a picture holds; raises ValueError."""
    head, _, coded = uri.removeprefix("data:").partition(",")
    if head.endswith(";base64"):
        return head.partition(";")[0], base64.b64decode(unquote(coded))
    return head.partition(";")[0], unquote_to_bytes(coded)


@functools.cache
def _reader() -> Any:
    """Return a reader of Markdown: CommonMark, with GitHub's tables, strokes and bare addresses."""
    from markdown_it import MarkdownIt  # of an extra that a menu of exporters must do without

    reader = MarkdownIt("gfm-like", {"maxNesting": 100})
    reader.linkify.set({"fuzzy_link": False})  # else README.md is an address
    reader.validateLink = lambda address: True  # `_silence` knows better
    return reader


class Cell:
    """Reads what one cell holds; `name` is what warnings call it, `folder` where files are.

    Scripts of outputs stay if `live`, unless they ask for others from elsewhere.
    """

    def __init__(self, name: str, folder: str, attachments: Mapping[str, Any], live: bool = False):
        self.name, self.folder, self.attachments, self.live = name, folder, attachments, live

    def warn(self, what: str) -> None:
        """Say on standard error what is not shown as in JupyterLab."""
        print(f"{self.name}: {what}", file=sys.stderr)

    def markdown(self, source: str) -> BeautifulSoup:
        """Return a text in Markdown as HTML."""
        source = CODE.sub(lambda code: code[0].replace("$", DOLLAR), CONTROL.sub("", source))
        pieces = apart(source, IN_MARKDOWN)
        kept = pieces[1::2]
        pieces[1::2] = (f"nnFormula{n}x" for n in range(len(kept)))
        text = "".join(pieces).replace("\\$", DOLLAR)
        soup = self.html(_reader().render(text), kept)
        for item in soup.find_all("li"):  # a task
            first = item.find(string=True)
            if first and (box := re.match(r"\s*\[([ xX])\]\s", first)):
                first.replace_with(("☐ " if box[1] == " " else "☑ ") + first[box.end() :])
        return soup

    def html(self, source: str, kept: Sequence[str] = ()) -> BeautifulSoup:
        """Return HTML, closed and still, its pictures inside; `kept` are formulas set aside."""
        soup = BeautifulSoup(f"<body>{CONTROL.sub('', source)}", "html5lib")
        for svg in soup.find_all("svg"):
            text = svg.get_text(" ", strip=True)
            uri = data_uri("image/svg+xml", str(svg).encode())
            svg.replace_with(soup.new_tag("img", attrs={"src": uri, "alt": text}))
        _inline_styles(soup)
        unseen = [*soup.find_all(UNSEEN), *soup.select(HIDDEN)]
        for part in [*unseen, *soup.find_all(string=lambda text: isinstance(text, Comment))]:
            part.extract()
        _silence(soup)
        _mark_formulas(soup, kept)
        for part in soup.find_all(NOT_STILL):
            self._instead(soup, part)
        for image in soup.find_all("img"):
            self._embed(image)
        return soup

    def _instead(self, soup: BeautifulSoup, part: Any) -> None:
        """Put the address of what moves or is loaded from elsewhere in its place."""
        inner = part.find(src=True)
        address = part.get("src") or part.get("data") or (inner and inner["src"]) or ""
        if address and not address.startswith("data:"):
            link = soup.new_tag("a", attrs={"href": address})
            link.string = part.get("title") or address
            part.replace_with(link)
        else:
            part.replace_with(part.get_text(" ", strip=True) or f"({part.name})")
        self.warn(f"<{part.name}> {address[:60]} cannot be drawn here; its address stands for it")

    def _embed(self, image: Any) -> None:
        """Put a picture into the text, or its description where it cannot be had or decoded."""
        source = image.get("src", "")
        told = image.get("alt") or image.get("title") or ""
        picture = self._picture(source)
        if picture:
            image["src"] = data_uri(*picture)
            image["alt"] = told or "A picture without a description"
        else:
            source = source if len(source) < 100 else f"{source[:40]}…"
            image.replace_with(told or source)
            self.warn(f"the picture {source} cannot be drawn; its description stands for it")

    def _picture(self, source: str) -> tuple[str, bytes] | None:
        """Return a picture by its address: pasted into the cell, inside the text, or in a file."""
        try:
            if source.startswith("data:"):
                return decoded(content_of(source)[1])
            if source.startswith("attachment:"):
                name = source.removeprefix("attachment:")
                file = self.attachments.get(name) or self.attachments[unquote(name)]
                return decoded(_bytes(*next(iter(file.items()))))
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
            return "text/plain", terminal(output.text)
        if output.output_type == "error":
            said = "\n".join(output.traceback) or f"{output.ename}: {output.evalue}"
            return "text/plain", terminal(said)
        bundle, missed = output.get("data", {}), ""
        for mime in [form for form in forms if form in bundle]:
            if shown := self._form(mime, bundle[mime]):
                if missed:
                    self.warn(f"{missed} cannot be drawn; {mime} stands for it")
                return mime, shown
            drawn_by_script = "<script" in bundle[mime] and "<div" in bundle[mime]
            if mime not in IMAGES and not drawn_by_script:
                return mime, ""  # there is nothing to see in JupyterLab either
            missed = missed or mime
        others = [mime for mime in bundle if mime not in forms and "javascript" not in mime]
        if not missed and (not others or forms != FORMS):
            return "text/plain", ""
        self.warn(f"{missed or others[0]} cannot be drawn")
        return "text/plain", f"({missed or others[0]})"

    def _form(self, mime: str, content: Any) -> Any:
        """Return one form of an output as HTML or plain text, None if there is nothing to see."""
        if mime == "application/json":
            return json.dumps(content, indent=2, ensure_ascii=False)
        content = "".join(content)
        if mime == "text/plain":
            return terminal(content) or None
        if mime in IMAGES:
            picture = decoded(_bytes(mime, content))
            soup = BeautifulSoup("<body><img>", "html5lib")
            soup.img["src"] = data_uri(*picture) if picture else ""
            return soup if picture else None
        scripts = self.live and mime == "text/html" and "<script" in content
        if scripts and not ELSEWHERE.search(content):
            return self._running(content)
        if mime == "text/latex":
            soup = BeautifulSoup("<body><p>", "html5lib")
            soup.p.string = content
            _mark_formulas(soup, ())
        else:
            soup = self.markdown(content) if mime == "text/markdown" else self.html(content)
        return soup if soup.get_text(strip=True) or soup.find(["img", "hr", "math"]) else None

    def _running(self, content: str) -> BeautifulSoup:
        """Return HTML that draws itself: plotly with all it needs, an animation of matplotlib."""
        soup = BeautifulSoup(f"<body>{content}", "html5lib")
        for part in soup.find_all(["link", "meta", "base"]):
            part.extract()
        for image in soup.select("img[src]"):
            self._embed(image)
        return soup


def _bytes(mime: str, content: str) -> bytes:
    """Return the bytes of a picture that a notebook holds; none if they are not well coded."""
    if mime == "image/svg+xml" and "<svg" in content:
        return content.encode()
    try:
        return base64.b64decode(content)
    except ValueError:
        return b""


def _silence(soup: BeautifulSoup) -> None:
    """Take from all elements what would run, be fetched, or be taken for ours."""
    for tag in soup.find_all(True):
        for key, value in list(tag.attrs.items()):
            runs = isinstance(value, str) and re.sub(r"[\x00-\x20]", "", value).lower()
            if UNHEARD.match(key) or (runs and runs.startswith(RUNS)):
                del tag[key]


def _inline_styles(soup: BeautifulSoup) -> None:
    """Give each element what a sheet says of it by its id, as pandas' coloured tables do."""
    for sheet in soup.find_all("style"):
        for heads, rules in re.findall(r"([^{}]+)\{([^{}]*)\}", sheet.string or ""):
            for head in re.findall(r"#[\w-]+(?=\s*(?:,|$))", heads):
                for part in soup.find_all(id=head[1:]):
                    part["style"] = f"{part.get('style', '')};{' '.join(rules.split())}".strip(";")


def _mark_formulas(soup: BeautifulSoup, kept: Sequence[str]) -> None:
    """Put what was kept aside back, as formulas where MathJax looks for them, and find others."""

    def restored(text: str) -> str:
        return FORMULA.sub(lambda n: kept[int(n[1])], text).replace(DOLLAR, "$")

    for tag in soup.find_all(True):
        for key, value in tag.attrs.items():
            if isinstance(value, str):
                tag[key] = restored(value)
    for node in soup.find_all(string=True):
        if node.find_parent([*VERBATIM]):
            node.replace_with(restored(node))
            continue
        parts = []
        for n, text in enumerate(FORMULA.split(node)):
            pieces = ["", kept[int(text)]] if n % 2 else apart(text, IN_HTML)
            pieces[1::2] = (_formula(soup, restored(tex)) for tex in pieces[1::2])
            parts += [each if i % 2 else restored(each) for i, each in enumerate(pieces)]
        if parts != [node]:
            node.replace_with(*parts)


def _formula(soup: BeautifulSoup, source: str) -> Any:
    """Return a formula, as TeX between its marks, as an element."""
    marks = re.match(r"\$\$?|\\\\?[(\[]|", source)[0]
    kind = "inline" if marks[-1:] in ("$", "(") and marks != "$$" else "display"
    formula = soup.new_tag("span", attrs={"class": f"math {kind}"})
    formula.string = source[len(marks) : len(source) - len(marks)]
    return formula
