"""The live table of a search: in its place while it runs; test_live has it in a notebook."""

import os
import re
import signal
import time

import pytest

from nnlib.config import TrainConfig
from nnlib.notebook import SearchTable, live, output, place_in
from nnlib.search import Choice, Range, run_search

CONFIG = TrainConfig(dataset="digits", hidden=(8,), epochs=2)
SPACE = {"lr": Range(0.01, 0.5, log=True), "hidden": Choice([8, 16])}


@pytest.fixture
def frames(monkeypatch) -> list[tuple]:
    """What is displayed: bundle, metadata, place, and whether it replaces what was there."""
    shown = []

    def display(bundle, raw, metadata, display_id=None, update=False):
        if "text/html" in metadata:  # and not the caption, which the open notebook shows above
            about = metadata["text/html"]["caption"]
            shown.append((bundle["text/plain"], about, display_id, update))

    monkeypatch.setattr(output, "display", display)
    return shown


def test_every_showing_tells_how_far_it_is_and_the_last_what_it_came_to(
    frames, tmp_path, monkeypatch
):
    monkeypatch.setattr(live, "PAUSE", 0.0)
    shown = SearchTable("A search", {"lr": "learning rate"}, top=3)
    result = run_search(CONFIG, SPACE, 6, out=tmp_path / "s", on_trial=shown)
    shown.close(result)
    texts, captions, places, updates = zip(*frames, strict=True)
    assert captions[0] == "A search: no trial has ended yet."
    for done, caption in enumerate(captions[1:7], start=1):
        found = re.fullmatch(
            rf"A search: {done} of 6 trials done, best so far (\d+\.\d\d)%; "
            r"about \d+ (?:s|min) left\.",
            caption,
        )
        assert found, caption
    assert float(found[1]) == round(100 * result.best["val_accuracy"], 2)
    assert re.fullmatch(r"A search: the best 3 of 6 trials, in \d+ (?:s|min)\.", captions[-1])
    assert len(set(places)) == 1
    assert updates == (False, *[True] * 7)
    header, *rows = texts[-1].splitlines()
    assert re.sub(r"\s+", " ", header).strip() == "hidden learning rate accuracy best epoch seconds"
    assert len(rows) == 3
    assert [row.split()[2] for row in rows] == [f"{r['val_accuracy']:.2%}" for r in result.rows[:3]]


def test_it_is_drawn_a_few_times_a_second_and_takes_no_time(frames, tmp_path):
    shown, spent = SearchTable("A search"), 0.0

    def watch(row, result):
        nonlocal spent
        start = time.thread_time()  # a neighbour's load is not its own
        shown(row, result)
        spent += time.thread_time() - start

    result = run_search(CONFIG, SPACE, 40, out=tmp_path / "s", on_trial=watch)
    shown.close(result)
    assert len(frames) <= 2 + result.seconds / live.PAUSE
    assert spent < 0.05 * result.seconds  # 0.02 on an idle machine


def test_a_search_that_was_stopped_or_pruned_says_so(frames, tmp_path):
    def stop(row, result):
        os.kill(os.getpid(), signal.SIGINT)

    shown = SearchTable("A search")
    shown.close(run_search(CONFIG, SPACE, 6, pruner="median", out=tmp_path / "s", on_trial=stop))
    text, caption, _, _ = frames[-1]
    assert re.fullmatch(r"A search: the best 1 of 1 trials; 6 planned, in \d+ s\.", caption)
    assert text.split()[-1] == "complete"


@pytest.mark.parametrize(
    ("dimension", "value", "place"),
    [
        (Range(0.1, 0.3), 0.2, 0.5),
        (Range(1e-4, 1, log=True), 0.1, 0.75),
        (Range(7, 7), 7, 0.0),
        (Choice([64, 256, 128]), "256", 1.0),
        (Choice([0.0, 1e-3, 1e-4]), 1e-4, 0.5),
        (Choice([16, 64]), 64, 0.5),
        (Choice(["relu", "tanh", "gelu"]), "tanh", 0.5),
        (Choice(["16", "16x8", "8"]), "8", 0.5),
    ],
)
def test_the_place_of_a_value_tells_whether_it_is_at_an_edge(dimension, value, place):
    assert place_in(dimension, value) == pytest.approx(place)
