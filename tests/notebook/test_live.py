"""Live curves: what they cost, what they leave behind, what an interrupt does; and a search."""

import io
import re
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import nnlib
from nnlib import progress
from nnlib.notebook import axes, live
from nnlib.report.page import Page

FIT = """
import time
import nnlib
from nnlib.notebook import LiveCurves

class Timed(LiveCurves):  # in processor time, which a neighbour's load does not change
    spent, drawn = 0.0, 0

    def __call__(self, progress):
        start, due = time.process_time(), self.due
        super().__call__(progress)
        self.spent += time.process_time() - start
        self.drawn += self.due != due

    def close(self):
        start = time.process_time()
        super().close()
        self.spent += time.process_time() - start

data = nnlib.load_dataset("digits")
model = nnlib.MLP([64, 128, 10], seed=0)
curves = Timed("03-live")
begin, start = time.process_time(), time.perf_counter()
history = nnlib.fit(model, data.train, data.val, epochs={epochs}, on_progress=curves)
used, seconds = time.process_time() - begin, time.perf_counter() - start
"""
EPOCHS = 2000
TOLD = "print(curves.spent / used, curves.drawn / seconds, seconds)"
INTERRUPT = """
import os, signal
import nnlib
from nnlib.notebook import LiveCurves

class Stopped(LiveCurves):
    def __call__(self, progress):
        super().__call__(progress)
        if progress.step > progress.steps / 2:
            os.kill(os.getpid(), signal.SIGINT)

data = nnlib.load_dataset("digits")
model = nnlib.MLP([64, 32, 10], seed=0)
history = nnlib.fit(model, data.train, data.val, epochs=10, on_progress=Stopped("03-live"))
"""
KEPT = "print(len(history.rows), nnlib.evaluate(model, data.val).accuracy,\
 history.best['val_accuracy'])"


SEARCH = """
from nnlib.config import TrainConfig
from nnlib.notebook import SearchTable
from nnlib.search.run import Range, run_search
shown = SearchTable("A random search")
config = TrainConfig(dataset="digits", hidden=(8,), epochs=2)
result = run_search(config, {"lr": Range(0.01, 0.5, log=True)}, 12, on_trial=shown)
shown.close(result)
"""


def executed(folder: Path, *sources: str) -> nbformat.NotebookNode:
    nb = new_notebook(cells=[new_code_cell(source) for source in sources])
    where = {"metadata": {"path": str(folder)}}
    return NotebookClient(nb, kernel_name="python3", timeout=240, resources=where).execute()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """What one kernel runs, as it takes long to start: training watched by curves that time
    themselves, one that is stopped, and a search.
    """
    folder = tmp_path_factory.mktemp("watched")
    return executed(folder, FIT.format(epochs=EPOCHS), TOLD, INTERRUPT, KEPT, SEARCH)


def curves_cost(watched: nbformat.NotebookNode) -> float:
    """The share of the training's time, after a look at how often they were drawn."""
    share, rate, seconds = map(float, watched.cells[1].outputs[0].text.split())
    print(f"{share:.2%} of {seconds:.1f} s, {rate:.1f} drawings a second")
    assert 0 < rate <= 1 / live.FASTEST
    return share


def test_curves_take_little_time(watched):
    assert curves_cost(watched) < 0.15  # the last drawing is a large part of so short a training


@pytest.mark.slow
def test_curves_take_less_than_three_percent_of_the_time(tmp_path: Path):
    assert curves_cost(executed(tmp_path, FIT.format(epochs=9000), TOLD)) < 0.03


def test_the_last_drawing_stays_in_the_notebook_and_its_page(watched):
    figures = [o for o in watched.cells[0].outputs if "image/svg+xml" in o.get("data", {})]
    assert len(figures) == 1  # drawn again in its place
    about = figures[0].metadata["image/svg+xml"]
    assert about["name"] == "03-live"
    assert about["caption"].startswith(f"Epoch {EPOCHS} of {EPOCHS}: training loss ")
    page, _ = Page().from_notebook_node(new_notebook(cells=watched.cells[:2]))
    assert about["caption"] in page
    assert page.count("<figure") == 1


def test_an_interrupt_in_a_notebook_keeps_the_best_and_says_how_to_go_on(watched):
    stopped, kept = watched.cells[2:4]
    said = "".join(o.text for o in stopped.outputs if o.output_type == "stream")
    assert re.match(r"training stopped after epoch \d of 10; the best weights, of epoch", said)
    assert "call fit again" in said
    epochs, accuracy, best = kept.outputs[0].text.split()
    assert 4 <= int(epochs) < 10
    assert float(accuracy) == pytest.approx(float(best))
    (caption,) = [
        o.metadata["image/svg+xml"]["caption"]
        for o in stopped.outputs
        if "image/svg+xml" in o.get("data", {})
    ]
    assert re.match(r"Epoch [4-7] of 10", caption)


def test_the_last_showing_of_a_search_stays_in_the_notebook_and_on_the_page(watched):
    searched = watched.cells[4]
    _, output = searched.outputs  # below its caption
    assert output.output_type == "display_data"
    caption = output.metadata["text/html"]["caption"]
    assert re.fullmatch(r"A random search: the best 5 of 12 trials, in \d+ s\.", caption)
    assert output.data["text/html"].count("<tr>") == 6
    title = new_markdown_cell("# Search\n\n**Which?**")
    page, _ = Page().from_notebook_node(new_notebook(cells=[title, searched]))
    assert page.count("<caption") == 1
    assert "the best 5 of 12 trials" in page
    assert "no trial has ended yet" not in page


def test_a_figure_is_drawn_no_more_often_than_its_share_allows(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(live, "show_drawing", lambda *told, **place: None)

    def draw() -> tuple[Any, str, str]:
        now[0] += 0.06
        return figure, "", ""

    figure = axes.figure()[0]
    drawing = live.LiveFigure("x", draw, share=0.02)
    drawn = 0
    while now[0] < 60:
        now[0] += 0.01
        drawn += drawing.show_if_due()
    assert 15 <= drawn <= 21
    assert 0.06 * drawn / now[0] < 0.021


# --- in a terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_bar_with_loss_accuracy_and_remaining_time(monkeypatch, stripes):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TQDM_MININTERVAL", "0")
    bar = progress.Bar()
    train, val = stripes
    nnlib.fit(nnlib.MLP([30, 16, 4], seed=0), train, val, epochs=30, on_progress=bar)
    text = terminal.getvalue()
    times = r"\[\d\d:\d\d<\d\d:\d\d, "  # gone, and left
    assert re.search(rf"\d+%\|.*{times}.*loss \d\.\d{{4}}, accuracy \d+\.\d\d%\]", text)
    lines = re.findall(r"epoch +(\d+)/30 .* validation \d\.\d{4} +\d+\.\d\d%", text)
    assert lines == [str(number) for number in range(1, 31)]


def test_a_log_has_lines(monkeypatch, stripes):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    train, val = stripes
    lines = progress.Bar()
    nnlib.fit(nnlib.MLP([30, 16, 4], seed=0), train, val, epochs=2, on_progress=lines)
    assert [line.split()[1] for line in log.getvalue().splitlines()] == ["1/2", "2/2"]
