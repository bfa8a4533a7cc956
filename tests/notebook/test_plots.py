"""What each figure draws: the data in its artists, its labels, its limits."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from nnlib.notebook import plots
from nnlib.runs import History

RNG = np.random.default_rng(0)
ROWS = [
    {"epoch": e, "train_loss": 1 / e, "val_loss": 1.1 / e, "train_accuracy": 0.8 + e / 50,
     "val_accuracy": 0.8 + min(e, 2) / 50}
    for e in (1, 2, 3)
]  # fmt: skip


@pytest.fixture
def ax():
    return plots.figure()[1]


def test_a_figure_is_as_wide_as_the_text_and_not_left_open() -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    fig, axes = plots.figure(3.5, rows=2, columns=3)
    assert tuple(fig.get_size_inches()) == (plots.WIDTH, 3.5)
    assert axes.shape == (2, 3)
    assert plt.get_fignums() == before


def test_no_text_is_smaller_than_eight_points() -> None:
    sizes = [value for key, value in plots.STYLE.items() if key.endswith("size")]
    assert len(sizes) >= 5
    assert min(sizes) >= 8


def test_colours_differ_in_grey_or_in_dash() -> None:
    greys = [np.dot(to_rgb(c), [0.299, 0.587, 0.114]) for c in plots.COLOURS]
    assert len({str(dash) for dash in plots.DASHES}) == len(plots.COLOURS)
    assert max(greys) < 0.65, "each is dark enough to be seen on white"


def test_label(ax) -> None:
    plots.label(ax, "width (units)", "time (s)", "Cost")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("width (units)", "time (s)")
    assert ax.get_title(loc="left") == "Cost" or ax.get_title() == "Cost"


def test_tile_puts_each_image_in_its_place() -> None:
    stack = np.arange(3 * 4 * 2).reshape(3, 4, 2)
    sheet = plots.tile(stack, columns=2, fill=-1)
    assert sheet.shape == (9, 5)
    np.testing.assert_array_equal(sheet[:4, :2], stack[0])
    np.testing.assert_array_equal(sheet[:4, 3:], stack[1])
    np.testing.assert_array_equal(sheet[5:, :2], stack[2])
    assert (sheet[5:, 3:] == -1).all()
    assert (sheet[4] == -1).all()


def test_images_are_dark_on_white_with_named_rows(ax) -> None:
    stack = RNG.integers(256, size=(6, 5, 5)).astype(np.uint8)
    plots.images(ax, stack, columns=3, row_labels=["shoe", "shirt"])
    (drawn,) = ax.images
    np.testing.assert_array_equal(drawn.get_array()[:5, :5], stack[0])
    assert drawn.get_clim() == (0, 255)
    assert drawn.cmap.name == "gray_r"
    assert [t.get_text() for t in ax.get_yticklabels()] == ["shoe", "shirt"]


def test_weights_share_one_symmetric_scale(ax) -> None:
    weights = RNG.normal(size=(6, 4))
    plots.weight_images(ax, weights, (2, 3), columns=2, limit=2.0)
    drawn = ax.images[0]
    assert drawn.get_clim() == (-2, 2)
    np.testing.assert_allclose(drawn.get_array()[:2, :3], weights[:, 0].reshape(2, 3))
    np.testing.assert_allclose(drawn.get_array()[:2, 4:], weights[:, 1].reshape(2, 3))


def test_heatmap(ax) -> None:
    matrix = np.array([[1.0, -4.0], [2.0, 3.0]])
    plots.heatmap(ax, matrix, ["a", "b"], ["c", "d"], numbers=".0f", unit="%")
    np.testing.assert_array_equal(ax.collections[0].get_array().reshape(2, 2), matrix)
    assert [t.get_text() for t in ax.texts] == ["1", "-4", "2", "3"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["c", "d"]


def test_confusion_colours_the_mistakes_alone(ax) -> None:
    counts = np.array([[90, 10], [25, 75]])
    plots.confusion(ax, counts, ["cat", "dog"])
    np.testing.assert_allclose(ax.collections[0].get_array().reshape(2, 2), [[0, 0.1], [0.25, 0]])
    assert [t.get_text() for t in ax.texts] == ["90", "10", "25", "75"]
    assert ax.get_xlabel() == "answer of the net"
    assert ax.get_ylabel() == "true class"


def test_lines_with_their_spread(ax) -> None:
    plots.lines(ax, [1, 2], {"a": [3, 4], "b": [5, 6]}, spread={"b": [1, 1]})
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [5, 6])
    (shade,) = ax.collections
    assert shade.get_datalim(ax.transData).y0 == pytest.approx(4)
    assert shade.get_datalim(ax.transData).y1 == pytest.approx(7)
    assert ax.lines[0].get_color() != ax.lines[1].get_color()
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()


def test_curves_are_in_percent(ax) -> None:
    plots.curves(ax, {"run": History(ROWS)})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [82, 84, 84])
    assert ax.get_ylabel() == "val accuracy (%)"
    plots.curves(ax, {"run": History(ROWS)}, "val_loss")
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [1.1, 0.55, 1.1 / 3])
    assert ax.get_ylabel() == "val loss"


def test_learning_shows_both_splits_and_the_best_epoch() -> None:
    _, (left, right) = plots.figure(columns=2)
    plots.learning((left, right), History(ROWS))
    assert [line.get_label() for line in left.lines[:2]] == ["training", "validation"]
    np.testing.assert_allclose(left.lines[0].get_ydata(), [1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(right.lines[1].get_ydata(), [82, 84, 84])
    assert list(right.lines[2].get_xdata()) == [2, 2]
    assert right.get_ylabel() == "accuracy (%)"


def test_bars_run_from_top_to_bottom(ax) -> None:
    plots.bars(ax, ["a", "b"], [2.0, 1.0], errors=[0.1, 0.2], numbers="{:.1f}")
    assert [bar.get_width() for bar in ax.patches] == [2.0, 1.0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert {"2.0", "1.0"} <= {t.get_text() for t in ax.texts}
    assert ax.yaxis_inverted()


def test_histogram_counts(ax) -> None:
    plots.histogram(ax, np.array([[0, 0], [1, 3]]), bins=[0, 1, 2, 4])
    assert [bar.get_height() for bar in ax.patches] == [2, 1, 1]


def test_violins_are_named(ax) -> None:
    plots.violins(ax, {"W1": RNG.normal(size=50), "W2": RNG.normal(5, 1, size=(5, 9))})
    assert [t.get_text() for t in ax.get_xticklabels()] == ["W1", "W2"]
    tops = [body.get_datalim(ax.transData).y1 for body in ax.collections[:2]]
    assert tops[1] > tops[0]


def test_points_have_a_colour_and_a_marker_a_group(ax) -> None:
    x = np.arange(6.0)
    plots.points(ax, x, x**2, ["a", "b", "a", "b", "a", "c"])
    offsets = [np.asarray(c.get_offsets()).tolist() for c in ax.collections]
    assert offsets == [[[0, 0], [2, 4], [4, 16]], [[1, 1], [3, 9]], [[5, 25]]]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b", "c"]


def test_points_without_groups_and_with_many(ax) -> None:
    plots.points(ax, np.arange(3), np.arange(3))
    assert len(ax.collections) == 1
    assert ax.get_legend() is None
    many = plots.figure()[1]
    plots.points(many, np.arange(600), np.arange(600), np.arange(600) % 10)
    assert len(many.collections) == 10
    assert many.collections[0].get_rasterized()


def test_boundary_shades_what_is_predicted(ax) -> None:
    x = np.array([[-1.0, 0], [1.0, 0]])
    plots.boundary(ax, lambda p: (p[:, 0] > 0).astype(int), x, np.array([0, 1]), steps=20)
    low, high = ax.get_xlim()
    assert low <= -1.3 + 1e-9
    assert high >= 1.3 - 1e-9
    assert len(ax.collections) >= 3
