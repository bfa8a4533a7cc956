"""How sentences, captions and table cells are written, whoever fills in their numbers."""

import math

import pytest

from nnlib import MLP
from nnlib.notebook import output as notebook
from nnlib.notebook import shapes


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


def test_table_cells_and_caption_have_it_too(shown):
    rows = [{"what": "down", "by": -0.5}, {"what": "unknown", "by": math.nan}]
    notebook.table(rows, "From -1 on.", {"by": "{:+.1f}"})
    (data,) = shown
    assert "| down | −0.5 |" in data["text/markdown"]
    assert "| unknown | – |" in data["text/markdown"]
    assert "<caption>From −1 on.</caption>" in data["text/html"]


def test_summary_counts_every_parameter() -> None:
    rows = shapes(MLP([784, 128, 10], batch_norm=True, dropout=0.5)).to_dict("records")
    kinds = [row["layer"] for row in rows]
    assert kinds == ["Linear", "BatchNorm", "ReLU", "Dropout", "Linear"]
    assert [row["parameters"] for row in rows] == [100_480, 256, 0, 0, 1_290]
    assert rows[0]["shapes"] == "W (784, 128), b (128,)"
