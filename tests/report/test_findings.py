"""What the chapters say about stored runs is what the tables in data/results say.

Each finding is a sentence of a chapter with its numbers worked out here; the chapter's Markdown
must hold it, word for word, whatever its line breaks.
"""

import json
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


# --- chapter 3


def findings_03() -> Iterator[str]:
    minute = stored("ablation").groupby("recipe")[["val_accuracy", "best_epoch", "epochs"]].mean()
    known = (100 * minute["val_accuracy"]).map("{:.1f}%".format)
    yield (
        "taking augmentation *away* raised validation accuracy from "
        f"{known['all']} to {known['no augmentation']}, and taking dropout away raised it to "
        f"{known['no dropout']}."
    )
    best, epochs = minute.loc["all", ["best_epoch", "epochs"]]
    yield f"the best epoch was on average number {best:.1f} of {epochs:.0f}"
    runs = stored("recipes").query("data == 'Fashion-MNIST' and goal == 88")
    how, accuracy = json.loads(runs["settings"].iloc[0]), 100 * runs["val_accuracy"]
    assert (len(runs), how["activation"], how["schedule"]) == (5, "relu", "one-cycle")
    yield (
        f"({how['hidden'][0]} hidden units, momentum {how['momentum']}, one-cycle with a peak of "
        f"{how['lr']}, batches of {how['batch_size']}, {how['epochs']} epochs) reaches "
        f"{accuracy.mean():.1f}% ± {accuracy.std():.1f} on the validation images of Fashion-MNIST, "
        f"over five seeds, after {runs['seconds'].mean():.1f} seconds of training."
    )


# --- chapter 4


# --- chapter 6


FINDINGS: dict[str, Callable[[], Iterator[str]]] = {  # by chapter
    "03": findings_03,
}


@pytest.mark.parametrize("chapter", FINDINGS)
def test_a_chapter_says_what_the_tables_say(chapter: str):
    text = prose(chapter)
    missing = [sentence for sentence in FINDINGS[chapter]() if sentence not in text]
    assert not missing
