"""How sentences, captions and table cells are written, whoever fills in their numbers."""

import math

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from nnlib.notebook import output as notebook


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list:
    """What is displayed, in its order."""
    seen = []
    monkeypatch.setattr(notebook, "display", lambda what, **how: seen.append(what))
    return seen


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("it fell by -1.7 points (-0.5 to -0.1)", "it fell by −1.7 points (−0.5 to −0.1)"),
        ("1e-05, 2026-11-25, 784-128-10, T-shirt", "1e-05, 2026-11-25, 784-128-10, T-shirt"),
        ("`x[-1]` and $x - 1 = -1$, but -1", "`x[-1]` and $x - 1 = -1$, but −1"),
        ("[back](01_data.ipynb#a-1) and\n- 5 images", "[back](01_data.ipynb#a-1) and\n- 5 images"),
    ],
)
def test_negative_numbers_have_a_minus_and_nothing_else_changes(shown, written, told):
    notebook.say(written)
    assert shown[0].data == told


def rows_of(data):
    """Return the cells of a table, its head first."""
    rows = BeautifulSoup(data["text/html"], "html.parser").find_all("tr")
    return [[cell.text for cell in row.find_all(["th", "td"])] for row in rows]


def test_table_cells_and_caption_have_it_too(shown):
    rows = [{"what": "down", "by": -0.5}, {"what": "unknown", "by": math.nan}]
    notebook.table(rows, "From -1 on.", {"by": "{:+.1f}"})
    caption, data = shown
    assert rows_of(data)[1:] == [["down", "−0.5"], ["unknown", "–"]]
    assert caption == {"text/markdown": "*From −1 on.*"}


@pytest.mark.parametrize(
    ("name", "values", "written"),
    [
        ("val_accuracy", [0.8812, None], ["88.12%", "–"]),
        ("share", [0.5, 1.5], ["0.500", "1.500"]),  # beyond 1 it is no share
        ("images", [12000, 5], ["12,000", "5"]),
        ("lr", [0.001, 10.0], ["0.001", "10"]),
        ("loss", [2.302585, 0.41], ["2.303", "0.410"]),
        ("change", [-0.25, 0.5], ["−0.2500", "0.5000"]),
        ("λ", [1e-5, 1e-3], ["1e-05", "0.001"]),
        ("whole", [3.0, math.nan], ["3", "–"]),
        ("mean", [88.214, 99.5], ["88.21", "99.50"]),
        ("nothing", [math.nan, math.nan], ["–", "–"]),
        ("none", [], []),
        ("overflow", [math.inf, 2.5], ["inf", "2.500"]),
        ("what", ["a", None], ["a", "–"]),
    ],
)
def test_a_column_is_written_as_its_kind_of_number_asks(shown, name, values, written):
    notebook.table([{name: value} for value in values], "A caption for a table.")
    assert rows_of(shown[1])[1:] == [[cell] for cell in written]


def test_a_named_index_is_shown_and_names_are_words(shown):
    frame = pd.DataFrame({"val_loss": [1.5]}, pd.Index(["shoe"], name="class_name"))
    notebook.table(frame, "A caption for a table.")
    assert rows_of(shown[1])[0] == ["class name", "val loss"]
    notebook.table(frame["val_loss"].reset_index(drop=True), "A caption for a table.")
    assert rows_of(shown[3])[0] == ["val loss"]


def test_a_figure_of_ones_own_is_shown_once_in_both_forms(shown):
    _, ax = plt.subplots()
    ax.plot([1, 2], [3, 5], label="mine")
    notebook.show(ax, "my-own", "What I drew.")
    assert plt.get_fignums() == [], "the inline backend has nothing left to show"
    figure, caption = shown
    assert {"image/png", "image/svg+xml"} < set(figure)
    assert "mine goes from 3 to 5" in figure["text/plain"]
    assert caption == {"text/markdown": "*What I drew.*"}
