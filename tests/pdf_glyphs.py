"""Which glyphs the pages of a PDF show: none may be .notdef, which stands for a missing letter."""

import re
import zlib

STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.DOTALL)
ABOUT = re.compile(rb"<<.*?>>(?=\s*BDC)", re.DOTALL)
SHOWN = re.compile(rb"\(((?:\\.|[^\\()])*)\)", re.DOTALL)
ESCAPED = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)
NAMED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}


def _unescaped(mark: re.Match) -> bytes:
    octal = mark[1].isdigit()
    return bytes([int(mark[1], 8)]) if octal else NAMED.get(mark[1], mark[1])


def glyphs(pdf: bytes) -> list[int]:
    """Return the numbers of the glyphs shown, each of two bytes, as typst writes them."""
    found = []
    for stream in STREAM.findall(pdf):
        try:
            content = zlib.decompress(stream)
        except zlib.error:
            continue
        if b" Tf" in content:
            for shown in SHOWN.findall(ABOUT.sub(b"", content)):
                text = ESCAPED.sub(_unescaped, shown)
                found += [256 * high + low for high, low in zip(text[::2], text[1::2], strict=True)]
    return found


def check_glyphs(pdf: bytes) -> None:
    """Fail where a page shows .notdef, or nothing that this could read."""
    shown = glyphs(pdf)
    assert shown
    assert 0 not in shown
