"""Live curves: what they cost, what they leave behind, and what an interrupt does."""

import io
import re
import sys
import time
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

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
        start, due = time.process_time(), self.drawing.due
        super().__call__(progress)
        self.spent += time.process_time() - start
        self.drawn += self.drawing.due != due

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
EPOCHS = 6000  # some ten seconds
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


def executed(*sources: str) -> nbformat.NotebookNode:
    nb = new_notebook(cells=[new_code_cell(source) for source in sources])
    return NotebookClient(nb, kernel_name="python3", timeout=240).execute()


@pytest.fixture(scope="module")
def watched() -> nbformat.NotebookNode:
    """Training in a kernel, watched by curves that time themselves; then one that is stopped."""
    return executed(FIT.format(epochs=EPOCHS), TOLD, INTERRUPT, KEPT)


def test_curves_take_less_than_three_percent_of_the_time(watched):
    share, rate, seconds = map(float, watched.cells[1].outputs[0].text.split())
    print(f"{share:.2%} of {seconds:.1f} s, {rate:.1f} drawings a second")
    assert seconds > 3
    assert share < 0.03
    assert 0 < rate <= 1 / live.FASTEST


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
    stopped, kept = watched.cells[2:]
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
