"""What the figures of 01 and 02 add to the plots: a shaded plane, and a named colour scale."""

from itertools import pairwise

import numpy as np
import pytest

from nnlib.notebook import plots


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


def test_network_has_a_circle_for_each_unit_and_a_line_for_each_weight():
    _, ax = plots.figure()

    assert plots.network(ax, [4, 3, 2], ["inputs", "hidden", "logits"]) is ax

    layers = [np.asarray(drawn.get_offsets()) for drawn in ax.collections]
    assert [len(units) for units in layers] == [4, 3, 2]
    assert [set(units[:, 0]) for units in layers] == [{0}, {1}, {2}]
    lines = {tuple(map(tuple, line.get_xydata())) for line in ax.lines}
    joined = {(tuple(a), tuple(b)) for one, two in pairwise(layers)
              for a in one for b in two}  # fmt: skip
    assert lines == joined
    arrows = {text.get_text() for text in ax.texts}
    assert {"inputs", "hidden", "logits", "forward: numbers"} <= arrows


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
