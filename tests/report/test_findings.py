"""What the chapters say about stored runs is what the tables in data/results say.

Each finding is a sentence of a chapter with its numbers worked out here; the chapter's Markdown
must hold it, word for word, whatever its line breaks.
"""

import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from scipy.stats import spearmanr

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "data" / "results"


def stored(name: str) -> pd.DataFrame:
    """Return a table of data/results."""
    return pd.read_csv(RESULTS / f"{name}.csv")


def prose(chapter: str) -> str:
    """Return a chapter's Markdown in one line."""
    (path,) = (ROOT / "notebooks").glob(f"{chapter}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    return re.sub(r"\s+", " ", " ".join(c.source for c in cells if c.cell_type == "markdown"))


# --- chapter 2, whose figures are those of one net and not of a run


def test_what_the_gradient_of_784_128_64_10_costs():
    sizes = [784, 128, 64, 10]
    layers = list(pairwise(sizes))
    forward = sum(i * o for i, o in layers)
    backwards = 2 * forward + sum(i * o for i, o in layers[1:])
    moved = 64 + 64 * 10  # products that follow when one unit of the first layer moves
    singly = 785 * 128 * moved + 129 * 64 * 10
    text = prose("02")
    assert f"64 + 64 · 10 = {moved}" in text
    assert f"far fewer than the {forward:,} of a whole forward pass" in text
    assert f"the {sum((i + 1) * o for i, o in layers):,} weights and biases" in text
    assert round(backwards / forward) == 2
    assert f"about {round(singly / backwards, -1):.0f} times as much" in text
    assert round(785 * 128 * 10 / (2 * 784 * 128 + 3 * 128 * 10)) == 5  # of 784-128-10
    squares = sum(2 * width for width in sizes[1:])
    assert f"= {squares} for all layers" in text
    assert f"with λ = 0.01, is {squares * 0.01 / 2:.2f}" in text
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


def findings_04() -> Iterator[str]:
    trials = stored("searches")
    e = trials[trials["report"] == "E"]
    won = e.loc[e["val_accuracy"].idxmax()]
    assert len(e) == 10
    assert won["lr"] == e["lr"].max()
    assert int(won["hidden"]) == e["hidden"].astype(int).max()
    yield f"with rates up to {e['lr'].max():g} and up to {won['hidden']} units"
    yield f"the best of its ten trials, {won['val_accuracy']:.2%} on validation images"
    yield f"has a rate of {won['lr']:g} and {won['hidden']} units"

    b = trials[(trials["report"] == "B") & (trials["state"] == "complete")]
    accuracy = b["val_accuracy"]
    varied = json.loads((RESULTS / "searches.json").read_text())["searches"]["B"]["varied"]
    units, rates = ((varied[name]["low"], varied[name]["high"]) for name in ("hidden", "lr"))
    yield "among {} to {} units and rates from {} to {}".format(*units, *rates)
    width, rate = (spearmanr(b[name].astype(float), accuracy) for name in ("hidden", "lr"))
    yield f"its {len(b)} trials lie between {accuracy.min():.2%} and {accuracy.max():.2%}"
    correlated = f"{width.statistic:+.2f} with the width and {rate.statistic:+.2f} with the rate"
    yield correlated.replace("-", "−")
    yield f"at least that much in {width.pvalue:.0%} and {rate.pvalue:.0%} of cases"

    pruning = stored("pruning").query("purpose == 'pruning'")
    full, halved = (pruning[pruning["pruner"] == name] for name in ("none", "halving"))
    share = {name: halved[name].sum() / full[name].sum() for name in ("epochs", "seconds")}
    yield f"took {share['epochs']:.0%} of the epochs and {share['seconds']:.0%} of the time"
    accuracies = pruning.pivot(index="seed", columns="pruner", values="val_accuracy")
    lost = 100 * (accuracies["none"] - accuracies["halving"]).round(6)
    assert sorted(lost)[:2] == [0, 0]
    assert len(full) == len(halved) == 3
    yield "Twice it found a trial as good as the best of the full search"
    yield f"once one that was {lost.max():.2f} points worse"


# --- chapter 6


FINDINGS: dict[str, Callable[[], Iterator[str]]] = {  # by chapter
    "03": findings_03,
}
FINDINGS: dict[str, Callable[[], Iterator[str]]] = {"04": findings_04}  # by chapter


@pytest.mark.parametrize("chapter", FINDINGS)
def test_a_chapter_says_what_the_tables_say(chapter: str):
    text = prose(chapter)
    missing = [sentence for sentence in FINDINGS[chapter]() if sentence not in text]
    assert not missing
