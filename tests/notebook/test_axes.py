"""What each part of a figure draws: the data in its artists, its labels, its limits."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from nnlib.notebook import axes

RNG = np.random.default_rng(0)
SIGNED = np.array([[1.0, -2.0, 0.0], [0.5, 0.0, 0.0]])


@pytest.fixture
def ax():
    return axes.figure()[1]


def test_a_figure_is_as_wide_as_the_text_and_not_left_open() -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    fig, grid = axes.figure(3.5, rows=2, columns=3)
    assert tuple(fig.get_size_inches()) == (axes.WIDTH, 3.5)
    assert grid.shape == (2, 3)
    assert plt.get_fignums() == before


def test_no_text_is_smaller_than_eight_points() -> None:
    sizes = [value for key, value in axes.STYLE.items() if key.endswith("size")]
    assert len(sizes) >= 5
    assert min(sizes) >= 8


def test_colours_differ_in_grey_or_in_dash() -> None:
    greys = [np.dot(to_rgb(c), [0.299, 0.587, 0.114]) for c in axes.COLOURS]
    assert len({str(dash) for dash in axes.DASHES}) == len(axes.COLOURS)
    assert max(greys) < 0.65, "each is dark enough to be seen on white"


def test_label(ax) -> None:
    axes.label(ax, "width (units)", "time (s)", "Cost")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("width (units)", "time (s)")
    assert ax.get_title(loc="left") == "Cost" or ax.get_title() == "Cost"


def test_tile_puts_each_image_in_its_place() -> None:
    stack = np.arange(3 * 4 * 2).reshape(3, 4, 2)
    sheet = axes.tile(stack, columns=2, fill=-1)
    assert sheet.shape == (9, 5)
    np.testing.assert_array_equal(sheet[:4, :2], stack[0])
    np.testing.assert_array_equal(sheet[:4, 3:], stack[1])
    np.testing.assert_array_equal(sheet[5:, :2], stack[2])
    assert (sheet[5:, 3:] == -1).all()
    assert (sheet[4] == -1).all()


def test_images_are_dark_on_white_with_named_rows(ax) -> None:
    stack = RNG.integers(256, size=(6, 5, 5)).astype(np.uint8)
    axes.images(ax, stack, columns=3, row_labels=["shoe", "shirt"])
    (drawn,) = ax.images
    np.testing.assert_array_equal(drawn.get_array()[:5, :5], stack[0])
    assert drawn.get_clim() == (0, 255)
    assert drawn.cmap.name == "gray_r"
    assert [t.get_text() for t in ax.get_yticklabels()] == ["shoe", "shirt"]


def test_weights_share_one_symmetric_scale(ax) -> None:
    weights = RNG.normal(size=(6, 4))
    axes.weight_images(ax, weights, (2, 3), columns=2, limit=2.0)
    drawn = ax.images[0]
    assert drawn.get_clim() == (-2, 2)
    np.testing.assert_allclose(drawn.get_array()[:2, :3], weights[:, 0].reshape(2, 3))
    np.testing.assert_allclose(drawn.get_array()[:2, 4:], weights[:, 1].reshape(2, 3))


def test_bars_run_from_top_to_bottom(ax) -> None:
    axes.bars(ax, ["a", "b"], [2.0, 1.0])
    assert [bar.get_width() for bar in ax.patches] == [2.0, 1.0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert ax.yaxis_inverted()


def test_points_have_a_colour_and_a_marker_a_group(ax) -> None:
    x = np.arange(6.0)
    axes.points(ax, x, x**2, np.array(["a", "b", "a", "b", "a", "c"]))
    offsets = [np.asarray(c.get_offsets()).tolist() for c in ax.collections]
    assert offsets == [[[0, 0], [2, 4], [4, 16]], [[1, 1], [3, 9]], [[5, 25]]]
    assert ax.get_legend_handles_labels()[1] == ["a", "b", "c"]


def test_many_points_become_pixels(ax) -> None:
    axes.points(ax, np.arange(600), np.arange(600), np.arange(600) % 10)
    assert len(ax.collections) == 10
    assert ax.collections[0].get_rasterized()


def test_weight_images_say_what_their_colours_mean():
    fig, ax = axes.figure()

    axes.weight_images(ax, np.array([[1.0], [-2.0], [0.0], [0.5]]), (2, 2), 1)

    (sheet,) = ax.images
    np.testing.assert_array_equal(sheet.get_array(), [[1.0, -2.0], [0.0, 0.5]])
    low, high = sheet.get_clim()
    assert low == -high
    bar = next(other for other in fig.axes if other is not ax)
    assert bar.get_ylabel() == "weight"


@pytest.mark.parametrize(("limit", "full"), [(None, 2.0), (0.25, 0.25)])
def test_signed_image_draws_the_values_on_a_scale_that_is_white_at_zero(limit, full):
    _, ax = axes.figure()

    assert axes.signed_image(ax, SIGNED, limit) is ax

    (drawn,) = ax.images
    np.testing.assert_array_equal(drawn.get_array(), SIGNED)
    assert drawn.get_clim() == (-full, full)
    negative, zero, positive = drawn.cmap(drawn.norm([-full, 0.0, full]))[:, :3]
    assert zero.min() > 0.95
    assert negative[2] > negative[0]  # blue
    assert positive[0] > positive[2]  # red
    assert list(ax.get_xticks()) == list(ax.get_yticks()) == []


def test_signed_image_of_nothing_but_zeros_is_white():
    _, ax = axes.figure()

    axes.signed_image(ax, np.zeros((2, 3)))

    assert ax.images[0].get_clim() == (-1.0, 1.0)


def test_signed_image_keeps_pixels_square_unless_told_to_fill_the_ax():
    _, (square, filled) = axes.figure(columns=2)

    axes.signed_image(square, SIGNED)
    axes.signed_image(filled, SIGNED, aspect="auto")

    assert square.get_aspect() == 1
    assert filled.get_aspect() == "auto"
    assert filled.images[0].get_extent() == [-0.5, 2.5, 1.5, -0.5]


def test_pixels_are_not_blurred():
    _, ax = axes.figure()

    axes.signed_image(ax, SIGNED)

    assert ax.images[0].get_interpolation() == "nearest"


# --- in colour


COLOUR = RNG.integers(256, size=(3, 4, 2, 3)).astype(np.uint8)


def test_images_in_colour_are_drawn_as_they_are_with_white_between(ax) -> None:
    axes.images(ax, COLOUR, columns=2, row_labels=["bird"])
    sheet = ax.images[0].get_array()
    assert (sheet.shape, sheet.dtype) == ((9, 5, 3), np.uint8)
    np.testing.assert_array_equal(sheet[:4, 3:], COLOUR[1])
    np.testing.assert_array_equal(sheet[5:, :2], COLOUR[2])
    assert (sheet[4] == 255).all()
    assert (sheet[5:, 2:] == 255).all()


def test_weights_in_colour_are_grey_at_zero_and_say_so(ax) -> None:
    weights = np.array([[0.0, 1], [2, -4], [-1, 0]])  # one pixel, two units
    axes.weight_images(ax, weights, (1, 1, 3), columns=2, limit=2.0)
    (drawn,) = ax.images
    half = [[[0.5, 1, 0.25], [1, 1, 1], [0.75, 0, 0.5]]]  # white between; what is beyond is cut
    np.testing.assert_allclose(drawn.get_array(), half)
    assert ax.get_xlabel() == "grey is 0, full colour ±2"
    assert len(ax.figure.axes) == 1, "no bar of colours"


def test_a_signed_image_in_colour_has_the_largest_value_at_its_brightest(ax) -> None:
    axes.signed_image(ax, np.array([[[0.0, 4, -4]], [[2, -2, 1]]]))
    np.testing.assert_allclose(ax.images[0].get_array(), [[[0.5, 1, 0]], [[0.75, 0.25, 0.625]]])
