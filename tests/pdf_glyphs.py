"""What the pages of a PDF show: its text, and its glyphs.

None of these may be .notdef, which stands for a missing letter.
"""

import re
import shutil
import subprocess
import zlib
from collections.abc import Iterator

import pytest

STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.DOTALL)
TEXT = re.compile(rb"^BT (.*?)^ET$", re.DOTALL | re.MULTILINE)
TOKEN = re.compile(rb"\\([0-7]{1,3}|.)|[()]|[^\\()]+", re.DOTALL)
NAMED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}


def text_of(pdf: bytes, *how: str) -> str:
    """Return the text of a PDF as pdftotext reads it; without that the test is skipped."""
    if not shutil.which("pdftotext"):
        pytest.skip("pdftotext is missing: install poppler-utils")
    command = ["pdftotext", *how, "-", "-"]
    return subprocess.run(command, input=pdf, capture_output=True, check=True).stdout.decode()


def _strings(text: bytes) -> Iterator[bytes]:
    """Yield the strings of a text object; parentheses in one are balanced or escaped."""
    depth, string = 0, b""
    for token in TOKEN.finditer(text):
        if escaped := token[1]:
            octal = escaped.isdigit()
            string += bytes([int(escaped, 8)]) if octal else NAMED.get(escaped, escaped)
            continue
        depth -= token[0] == b")"
        if depth:
            string += token[0]
        elif token[0] == b")":
            yield string
            string = b""
        depth += token[0] == b"("


def glyphs(pdf: bytes) -> list[int]:
    """Return the numbers of the glyphs shown, each of two bytes, as typst writes them."""
    found = []
    for stream in STREAM.findall(pdf):
        try:
            content = zlib.decompress(stream)
        except zlib.error:
            continue
        for text in TEXT.findall(content):
            for shown in _strings(text):
                pairs = zip(shown[::2], shown[1::2], strict=True)
                found += [256 * high + low for high, low in pairs]
    return found


def check_glyphs(pdf: bytes) -> None:
    """Fail where a page shows .notdef, or nothing that this could read."""
    shown = glyphs(pdf)
    assert shown
    assert 0 not in shown
