"""What the figures of 01 and 02 add to the plots: a shaded plane, and a named colour scale."""

import numpy as np
import pytest

from nnlib import plots


def test_surface_shades_larger_values_darker_over_the_grid():
    x, y = np.linspace(-1, 1, 21), np.linspace(0, 3, 31)
    _, ax = plots.figure()
    values = np.maximum(np.add.outer(0 * y, x), 0)  # (31, 21): a ramp along x

    assert plots.surface(ax, x, y, values) is ax

    (drawn,) = ax.collections
    assert drawn.levels[0] <= 0
    assert drawn.levels[-1] >= 1
    low, high = drawn.cmap(drawn.norm([0.0, 1.0]))
    assert low[:3].sum() > high[:3].sum() + 1
    assert ax.get_aspect() == 1
    np.testing.assert_allclose([ax.get_xlim(), ax.get_ylim()], [(-1, 1), (0, 3)])


@pytest.mark.parametrize("unit", ["weight", "difference"])
def test_weight_images_say_what_their_colours_mean(unit):
    fig, ax = plots.figure()
    more = {} if unit == "weight" else {"unit": unit}

    plots.weight_images(ax, np.array([[1.0], [-2.0], [0.0], [0.5]]), (2, 2), 1, **more)

    (sheet,) = ax.images
    np.testing.assert_array_equal(sheet.get_array(), [[1.0, -2.0], [0.0, 0.5]])
    low, high = sheet.get_clim()
    assert low == -high
    bar = next(other for other in fig.axes if other is not ax)
    assert bar.get_ylabel() == unit
