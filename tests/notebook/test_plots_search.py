"""The figures of the search show the numbers that they are given."""

import numpy as np
import pytest

from nnlib.notebook import plots

X, Y = np.array([1e-3, 1e-2, 1e-1, 1e-2, 1.0]), np.array([1e-6, 1e-4, 1e-3, 1e-5, 1e-2])
VALUES = np.array([60.0, 80.0, 90.0, 70.0, 50.0])


def test_landscape_marks_the_highest_point_on_log_axes():
    fig, ax = plots.figure()
    assert plots.landscape(ax, X, Y, VALUES, "accuracy (%)") is ax
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    (cross,) = [line for line in ax.lines if line.get_marker() == "X"]
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (1e-1, 1e-3)
    dots = ax.collections[-1].get_offsets()
    np.testing.assert_allclose(dots, np.stack([X, Y], axis=1))
    assert "accuracy (%)" in [other.get_ylabel() for other in fig.axes]
    fig.savefig("/dev/null", format="svg")


def test_landscape_shades_between_the_points():
    _, ax = plots.figure()
    plots.landscape(ax, X, Y, VALUES)
    shades = ax.collections[0]
    assert shades.levels.min() <= VALUES.min()
    assert shades.levels.max() >= VALUES.max()


def test_parallel_draws_a_line_a_row_with_the_best_last():
    _, ax = plots.figure()
    plots.parallel(ax, {"lr": X, "width": np.arange(5) * 10}, VALUES, "accuracy (%)", log=["lr"])
    lines = ax.lines[: len(X)]
    best = lines[-1].get_ydata()
    np.testing.assert_allclose(best, [2 / 3, 0.5])  # lr 0.1 of 0.001 … 1, width 20 of 0 … 40
    assert lines[-1].get_linewidth() > lines[0].get_linewidth()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["lr", "width"]
    assert [text.get_text() for text in ax.texts] == ["0.001", "1", "0", "40"]


def test_parallel_takes_a_column_that_does_not_vary():
    _, ax = plots.figure()
    plots.parallel(ax, {"lr": X, "batch": np.full(5, 64)}, VALUES)
    assert [line.get_ydata()[1] for line in ax.lines[:5]] == pytest.approx([0] * 5)


def test_trend_draws_medians_of_equal_groups_with_an_interval_that_knows_how_sure_they_are():
    rng = np.random.default_rng(0)
    x = np.geomspace(1e-3, 1, 100)
    y = np.log10(x) + rng.normal(0, np.where(x < 0.03, 0.01, 1.0))
    _, ax = plots.figure()
    order = rng.permutation(100)
    assert plots.trend(ax, x[order], y[order]) is ax
    assert ax.get_xscale() == "log"
    (line,) = ax.lines
    np.testing.assert_allclose(line.get_ydata(), [np.median(part) for part in np.split(y, 5)])
    np.testing.assert_allclose(line.get_xdata(), [np.exp(np.log(p).mean()) for p in np.split(x, 5)])
    corners = ax.collections[-1].get_paths()[0].vertices
    widths = [np.ptp(corners[np.isclose(corners[:, 0], at), 1]) for at in line.get_xdata()]
    assert widths[0] < 0.3 < widths[-1], "more scatter, less certainty"
    dots = ax.collections[0].get_offsets()
    assert len(dots) == 100
