"""What the figures of 05 add to the plots: signed values as pixels, on a symmetric scale."""

import numpy as np
import pytest

from nnlib.notebook import plots

SIGNED = np.array([[1.0, -2.0, 0.0], [0.5, 0.0, 0.0]])


@pytest.mark.parametrize(("limit", "full"), [(None, 2.0), (0.25, 0.25)])
def test_signed_image_draws_the_values_on_a_scale_that_is_white_at_zero(limit, full):
    _, ax = plots.figure()

    assert plots.signed_image(ax, SIGNED, limit) is ax

    (drawn,) = ax.images
    np.testing.assert_array_equal(drawn.get_array(), SIGNED)
    assert drawn.get_clim() == (-full, full)
    negative, zero, positive = drawn.cmap(drawn.norm([-full, 0.0, full]))[:, :3]
    assert zero.min() > 0.95
    assert negative[2] > negative[0]  # blue
    assert positive[0] > positive[2]  # red
    assert list(ax.get_xticks()) == list(ax.get_yticks()) == []


def test_signed_image_of_nothing_but_zeros_is_white():
    _, ax = plots.figure()

    plots.signed_image(ax, np.zeros((2, 3)))

    assert ax.images[0].get_clim() == (-1.0, 1.0)


def test_signed_image_keeps_pixels_square_unless_told_to_fill_the_ax():
    _, (square, filled) = plots.figure(columns=2)

    plots.signed_image(square, SIGNED)
    plots.signed_image(filled, SIGNED, aspect="auto")

    assert square.get_aspect() == 1
    assert filled.get_aspect() == "auto"
    assert filled.images[0].get_extent() == [-0.5, 2.5, 1.5, -0.5]


def test_pixels_are_not_blurred():
    _, ax = plots.figure()

    plots.signed_image(ax, SIGNED)

    assert ax.images[0].get_interpolation() == "nearest"
