"""Which letters a document needs, and which fonts have them: Chinese comes with nnlib/fonts."""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path

from nbformat import NotebookNode

from nnlib.report.cells import Cell

FONTS = Path(__file__).parents[1] / "fonts"
STARTUP = FONTS.parent / "notebook" / "fonts.py"  # gives Chinese to figures of plain matplotlib
NO_GLYPH = re.compile(  # in what matplotlib warns of, with the line of code under it
    r"^.*Warning: Glyph (\d+) .*missing from .*font.*\n(?: .*\n)?", re.MULTILINE
)


def language_of(nb: NotebookNode) -> str:
    """Return the language that most of a notebook's prose is in, Chinese or English."""
    prose = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    prose = re.sub(r"`[^`]*`|\$[^$]*\$|\]\([^)]*\)|<[^>]*>", "", prose)
    kinds = ("[\u4e00-\u9fff]", "[\u3040-\u30ff]", "[A-Za-z]+")
    hanzi, kana, words = (len(re.findall(kind, prose)) for kind in kinds)
    return "zh-CN" if hanzi - kana > words else "en"


def take_warnings(outputs: Sequence[NotebookNode], reader: Cell) -> None:
    """Say on standard error, not in the document, which characters a figure was drawn without."""
    missed: dict[str, None] = {}
    for output in outputs:
        if output.output_type == "stream":
            missed |= dict.fromkeys(chr(int(code)) for code in NO_GLYPH.findall(output.text))
            output.text = NO_GLYPH.sub("", output.text)
    if missed:
        reader.warn(
            f"a figure was drawn with boxes for {' '.join(missed)}, which no font of it had; "
            "where nnlib.notebook is imported, figures have Chinese"
        )


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
    source = f"data:font/woff;base64,{base64.b64encode(stream.getvalue()).decode()}"
    reach = ",".join(f"U+{code:X}" for code in known)  # else it hides what it lacks
    rule = f"font-family: 'Report Han'; unicode-range: {reach}; src: url({source})"
    return f"@font-face {{ {rule}; }}" if known else ""
