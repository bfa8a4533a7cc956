"""What the chapters say about stored runs is what the tables in data/results say.

Each finding is a sentence of a chapter with its numbers worked out here; the chapter's Markdown
must hold it, word for word, whatever its line breaks.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


def stored(name: str) -> pd.DataFrame:
    """Return a table of data/results."""
    return pd.read_csv(ROOT / "data" / "results" / f"{name}.csv")


def prose(chapter: str) -> str:
    """Return a chapter's Markdown in one line."""
    (path,) = (ROOT / "notebooks").glob(f"{chapter}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    return re.sub(r"\s+", " ", " ".join(c.source for c in cells if c.cell_type == "markdown"))


# --- chapter 4


# --- chapter 6


FINDINGS: dict[str, Callable[[], Iterator[str]]] = {}  # by chapter: "04": findings_04


@pytest.mark.parametrize("chapter", FINDINGS)
def test_a_chapter_says_what_the_tables_say(chapter: str):
    text = prose(chapter)
    missing = [sentence for sentence in FINDINGS[chapter]() if sentence not in text]
    assert not missing
