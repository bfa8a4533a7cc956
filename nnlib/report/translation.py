"""Notebooks in another language: the same code, and in place of each paragraph what is catalogued.

A paragraph ends at a blank line, a heading or an item of a list; blocks of code and of mathematics
within stay whole. In the catalogue its lines are joined, so that it may be wrapped otherwise.
"""

import copy
import re

from nbformat import NotebookNode

from nnlib.language import gettext, language

CODE, MATH = r"(?:(?m:^ *)```.*?```)", r"(?:\$\$.*?\$\$)"
PARAGRAPH = re.compile(
    rf"(?m:^#+ .*?$)|(?=\S)(?:{CODE}|{MATH}|(?!\n\s*?(?:\n|[-*+] |\d+\. |#+ )).)+", re.DOTALL
)
SILENT = re.compile(rf"{CODE}|{MATH}|\$[^$]*\$|`[^`]*`|<!--|-->", re.DOTALL)


def paragraphs(source: str) -> list[str]:
    """Return the paragraphs of Markdown that have words, as catalogues know them."""
    found = (match[0] for match in PARAGRAPH.finditer(source))
    return [joined(text) for text in found if re.search(r"[^\W\d_]{2}", SILENT.sub("", text))]


def joined(text: str) -> str:
    """Return a paragraph in one line, unless lines mean something in it: a table, code, HTML."""
    whole = re.search(rf"^\s*[|<>]|{CODE}", text, re.MULTILINE | re.DOTALL)
    return text.strip() if whole else " ".join(text.split())


def translated(nb: NotebookNode) -> NotebookNode:
    """Return a notebook in the language spoken; what no catalogue has stays, and so does code."""
    if language() == "en":
        return nb
    nb = copy.deepcopy(nb)
    nb.metadata.setdefault("nnlib", {})["language"] = language()
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = PARAGRAPH.sub(_paragraph, cell.source)
    return nb


def _paragraph(match: re.Match) -> str:
    key = joined(match[0])
    told = gettext(key) if paragraphs(match[0]) else key
    return match[0] if told == key else told
