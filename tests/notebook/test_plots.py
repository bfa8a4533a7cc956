"""Whole figures: what each panel shows, and what `words` tells those who cannot see it."""

import io
import re
import warnings
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from nnlib.notebook import axes, output, plots
from nnlib.notebook.words import describe
from nnlib.runs import History

RNG = np.random.default_rng(0)
BYTES = RNG.integers(256, size=(7, 4, 3)).astype(np.uint8)
COLOUR = RNG.integers(256, size=(7, 4, 5, 3)).astype(np.uint8)
ROWS = [
    {"epoch": e, "train_loss": 1 / e, "val_loss": 1.1 / e, "train_accuracy": 0.8 + e / 50,
     "val_accuracy": 0.9 - abs(e - 2) / 50}
    for e in (1, 2, 3)
]  # fmt: skip
RUN = History(ROWS)
W = np.array([[1.0, -2.0], [0.0, 0.5]])


def test_a_run_by_epoch():
    left, right, third = plots.run(RUN, {"one batch": [3, 2, 1]}, "gradient norm").axes
    assert [line.get_label() for line in left.lines[:2]] == ["training", "validation"]
    np.testing.assert_allclose(left.lines[0].get_ydata(), [1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(right.lines[1].get_ydata(), [88, 90, 88])
    assert list(right.lines[2].get_xdata()) == [2, 2], "the best epoch is marked"
    assert (right.get_ylabel(), third.get_ylabel()) == ("accuracy (%)", "gradient norm")
    np.testing.assert_array_equal(third.lines[0].get_ydata(), [3, 2, 1])


def test_runs_hide_what_lies_far_above_chance():
    wild = History([row | {"train_loss": 1e6} for row in ROWS])
    loss, accuracy = plots.runs({"tame": RUN, "wild": wild}, chance=2.3).axes
    assert loss.get_ylim() == (0, 4.6)
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [88, 90, 88])
    assert [text.get_text() for text in accuracy.get_legend().get_texts()] == ["tame", "wild"]


def test_of_one_class_there_is_nothing_to_know():
    sure = History([row | {"train_loss": 0.0} for row in ROWS])
    with warnings.catch_warnings(action="error"):
        loss, _ = plots.runs({"sure": sure}, chance=0.0).axes
    assert loss.get_ylim()[0] == 0 < loss.get_ylim()[1]


def test_steps_have_their_running_mean():
    (ax,) = plots.steps([4.0, 2.0] * 10, chance=2.3).axes
    mean = np.asarray(ax.lines[1].get_ydata())
    np.testing.assert_allclose(mean[1:], 3.0)
    assert np.isnan(mean[0])


def test_lines_in_one_panel_or_in_several():
    (ax,) = plots.lines([1, 2], {"a": [3, 4], "b": [5, 6]}, "x", "y", spread={"b": [1, 1]}).axes
    (shade,) = ax.collections
    assert shade.get_datalim(ax.transData).intervaly.tolist() == pytest.approx([4, 7])
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()
    two = plots.lines([1, 2], {"p": {"a": [3, 4]}, "q": {"b": [5, 6]}}, "x", "y", log="x").axes
    assert [ax.get_title(loc="left") or ax.get_title() for ax in two] == ["p", "q"]
    assert [ax.get_xscale() for ax in two] == ["log", "log"]


def test_axes_of_epochs_have_whole_numbers_and_logarithmic_ones_plain_numbers():
    def numbers(x, log):
        (ax,) = plots.lines(x, {"a": x}, "epoch", "y", log=log).axes
        ax.figure.draw_without_rendering()
        return [tick.get_text() for tick in ax.get_xticklabels()]

    assert {"1", "2", "3"} <= set(numbers([1, 2, 3], "")) <= {str(n) for n in range(5)}
    assert {"1", "10", "100", "1000"} <= {re.sub(r"[^\d]", "", n) for n in numbers([1, 900], "x")}


def test_a_sheet_is_as_high_as_its_rows_and_their_names_stay_inside():
    stack = np.zeros((36, 28, 28), np.uint8)
    bare, named = plots.images(stack, 12), plots.images(stack, 12, ["T-shirt/top"] * 3)
    for fig in bare, named:
        fig.draw_without_rendering()
        (ax,) = fig.axes
        sheet = ax.get_window_extent()
        assert sheet.height > 0.85 * fig.bbox.height, "no blank margins above and below"
        assert ax.get_tightbbox().x0 >= 0
    assert named.get_figheight() < bare.get_figheight()


def test_dots_and_marks_stand_at_their_names():
    (ax,) = plots.dots({"A": (88, 0.3), "B": (89, 0.2)}, "%", {"B": 89.5}, "published").axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["A", "B"]
    assert ax.yaxis_inverted()
    (marks,) = [line for line in ax.lines if line.get_label() == "published"]
    assert (list(marks.get_xdata()), list(marks.get_ydata())) == ([89.5], [1])


def test_frames_stand_around_what_they_mark():
    stack = np.zeros((6, 8, 9), np.uint8)
    (ax,) = plots.framed(stack, 3, ["one", "two"], np.array([0, 1, 0, 0, 0, 1])).axes
    corners = [(patch.get_x(), patch.get_y()) for patch in ax.patches]
    assert corners == [(9, -1), (19, 8)]  # image 1 and image 5, a gap of one pixel between images
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "two"]
    (ax,) = plots.framed(COLOUR, 3, ["one", "two"], np.arange(7) == 4).axes
    assert [(patch.get_x(), patch.get_y()) for patch in ax.patches] == [(5, 4)]


def test_pictures_in_colour_keep_their_colours_and_signed_ones_say_what_grey_is():
    fig = plots.gallery([COLOUR[0], COLOUR[0] / 255], ["a picture", "weights"])
    np.testing.assert_array_equal(fig.axes[0].images[0].get_array(), COLOUR[0])
    assert fig.get_supxlabel().startswith("grey is 0")
    assert not plots.gallery([COLOUR[0]], ["a picture"]).get_supxlabel()
    many = RNG.integers(256, size=(1, 30, 30, 3)).astype(np.uint8)
    for stack, most in ((many, None), (many[..., 0], 256)):
        drawn = Image.open(io.BytesIO(output.rendered(plots.images(stack, 1), "png")))
        assert (drawn.mode, len(drawn.getcolors(2**20)) > 256) == (("P", False) if most else
                                                                   ("RGB", True))  # fmt: skip


def test_panels_of_weights_share_one_scale():
    before, after, *_ = plots.weights({"before": W, "after": 2 * W}, (1, 2), columns=2).axes
    assert before.images[0].get_clim() == after.images[0].get_clim()


def test_a_signed_map_is_white_at_zero():
    (ax, _) = plots.heatmaps(W, ["a", "b"], ["c", "d"], numbers=".0f").axes
    assert ax.collections[0].get_clim() == (-2, 2)
    assert [text.get_text() for text in ax.texts] == ["1", "-2", "0", "0"]


def test_a_way_down_a_bowl_stays_in_sight():
    ways = {"in": np.array([[4.0, 1.0], [0.0, 0.0]]), "out": np.array([[4.0, 1.0], [4.0, -90.0]])}
    first, second = plots.bowl(ways, np.array([1.0, 9.0])).axes
    np.testing.assert_array_equal(first.lines[0].get_xydata(), ways["in"])
    assert first.get_ylim() == second.get_ylim() == (-2, 2)
    assert np.abs(second.lines[0].get_ydata()).max() == 4, "what leaves the bowl is cut off"
    assert (first.get_title(loc="left"), second.get_ylabel()) == ("in", "")


def test_boundary_shades_what_is_predicted():
    x = np.array([[-1.0, 0], [1.0, 0]])
    nets = {"a net": lambda p: (p[:, 0] > 0).astype(int)}
    (ax,) = plots.boundary(nets, x, np.array([0, 1])).axes
    low, high = ax.get_xlim()
    assert low <= -1.3 + 1e-9
    assert high >= 1.3 - 1e-9
    assert len(ax.collections) >= 3
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0", "1"]


def test_network_has_a_circle_for_each_unit_and_a_line_for_each_weight():
    (ax,) = plots.network([4, 3, 2], ["inputs", "hidden", "logits"]).axes
    layers = [np.asarray(drawn.get_offsets()) for drawn in ax.collections]
    assert [len(units) for units in layers] == [4, 3, 2]
    assert [set(units[:, 0]) for units in layers] == [{0}, {1}, {2}]
    lines = {tuple(map(tuple, line.get_xydata())) for line in ax.lines}
    joined = {(tuple(a), tuple(b)) for one, two in pairwise(layers)
              for a in one for b in two}  # fmt: skip
    assert lines == joined
    arrows = {text.get_text() for text in ax.texts}
    assert {"inputs", "hidden", "logits", "forward: numbers"} <= arrows


MONEY = ["$a^$", "US$ or CA$"]  # names that matplotlib would take for mathematics, one with a fault


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.lines([1, 2], {name: [1, 2] for name in MONEY}, "x", "y"),
        lambda: plots.images(BYTES, 4, MONEY),
        lambda: plots.gallery(BYTES[:2], MONEY),
        lambda: plots.weights(dict.fromkeys(MONEY, W), (1, 2)),
        lambda: plots.framed(BYTES, 4, MONEY, np.ones(7)),
        lambda: plots.heatmaps(W, MONEY),
        lambda: plots.confusion(np.eye(2), MONEY),
        lambda: plots.dots(dict.fromkeys(MONEY, (1, 2)), "%", {}, ""),
        lambda: plots.violins(dict.fromkeys(MONEY, W), "x"),
        lambda: plots.scatters({"p": dict.fromkeys(MONEY, ([1], [2]))}, "x", "y"),
        lambda: plots.maps({"h": RNG.normal(size=(12, 3))}, np.array(MONEY * 6)),
    ],
)
def test_names_with_dollars_are_text_and_no_mathematics(draw):
    drawn = output.rendered(draw(), "svg")
    assert all(f">{name}</text>" in drawn for name in MONEY)


def test_powers_beside_a_logarithmic_axis_are_mathematics():
    fig = plots.lines([1, 2], {"a": [1e-9, 1]}, "x", "y", log="y")
    assert "mathdefault" not in re.sub("<!--.*?-->", "", output.rendered(fig, "svg"))


# --- in words


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        (lambda: plots.run(RUN), ["Panel 1: loss (nats) against epoch: training goes from 1 to",
                                  "validation goes from 88 to 88, highest 90 at 2"]),
        (lambda: plots.lines([1, 2, 3], {"flat": [2, 2, 2]}, "x", "y"), ["y against x: flat at 2"]),
        (lambda: axes.bars(plots.figure()[1], ["hat", "shoe"], [1.0, 3.5]).figure,
         ["hat 1; shoe 3.5"]),
        (lambda: plt.bar(["hat", "shoe"], [1.0, 3.5], yerr=[0.1, 0.2])[0].figure,
         ["hat 1; shoe 3.5"]),
        (lambda: plots.dots({"A": (88, 1), "B": (89, 1)}, "%", {"B": 89.5}, "published"),
         ["published at 89.5", "A 88; B 89"]),
        (lambda: plots.histograms(np.array([0.0, 1, 1]), "w", [0, 0.5, 1]),
         ["how many against w: 2 bars, the highest 2 at 0.5"]),
        (lambda: plots.violins({"W1": np.array([-1.0, 0, 2])}, "weight"), ["W1 from -1 to 2"]),
        (lambda: plots.scatters({"p": {"a": ([1, 2], [3, 4]), "b": ([1], [2])}}, "x", "y"),
         ["p: y against x: 2 points of a; 1 points of b"]),
        (lambda: plots.images(BYTES, 4), ["7 pictures of 4 by 3, 4 a row, from"]),
        (lambda: plots.images(BYTES, 4, ["hat", "shoe"]), ["4 a row: hat, shoe, from"]),
        (lambda: plots.images(COLOUR, 4), ["7 pictures of 4 by 5, 4 a row, in colour."]),
        (lambda: plots.weights(RNG.normal(size=(12, 3)), (2, 2, 3)),
         ["grey is 0, full colour ±", ": 3 pictures of 2 by 2, 8 a row, in colour."]),
        (lambda: plots.gallery(list(BYTES), [f"shoe\n{n}" for n in range(7)], 4),
         ["7 pictures: shoe, 0; shoe, 1"]),
        (lambda: plots.weights({"before": W, "after": W}, (1, 2)), ["Panel 2: after: 2 pictures"]),
        (lambda: plots.heatmaps(W, "ab", "cd"), ["a map of 2 by 2, from -2 to 1"]),
        (lambda: plots.confusion(np.array([[9, 1], [2, 8]]), ["cat", "dog"]),
         ["true class against answer of the net: a picture of 2 by 2, from 0 to 20"]),
        (plt.figure, ["A figure without data."]),
    ],
)  # fmt: skip
def test_a_figure_in_words(draw, told):
    fig = draw()
    plt.close("all")
    text = describe(fig)
    assert all(part in text for part in told), text
    assert text.endswith(".")
    assert ".." not in text


def test_a_band_about_a_line_is_no_violin():
    fig = plots.lines([1, 2], {"flat": [2, 2]}, "x", "y", spread={"flat": [1, 1]})
    fig.axes[0].set_xticks([1, 2], ["one", "two"])
    assert describe(fig) == "y against x: flat at 2."


@pytest.mark.parametrize(
    ("space", "groups"),
    [
        (np.zeros((40, 8)), [0] * 40),
        (np.ones((3, 1)), [0, 1, 1]),
        (RNG.normal(size=(1, 4)), [2]),
        (RNG.normal(size=(2, 4)), [2, 1]),
        (RNG.normal(size=(5, 1)), range(5)),
        (RNG.normal(size=(60, 4)), range(60)),
    ],
    ids=["one place", "one place, one unit", "one point", "two points", "a line", "many groups"],
)
@pytest.mark.filterwarnings("error")
def test_flat_maps_of_any_points(space, groups):
    panels = plots.maps({"before": space, "after": space}, groups).axes
    assert [ax.get_title("left") for ax in panels[:2]] == ["PCA, before", "t-SNE, before"]
    assert all(sum(len(each.get_offsets()) for each in ax.collections) == len(space)
               for ax in panels)  # fmt: skip
    legend = panels[0].get_figure().legends
    assert len(legend) == (len(set(groups)) <= 20)
    assert len(legend) == 0 or len(legend[0].get_texts()) == len(set(groups))


@pytest.mark.filterwarnings("error")
def test_a_logarithmic_axis_needs_something_to_show():
    assert plots.lines([1, 2], {"a": [0, 0]}, "x", "y", log="xy").axes[0].get_yscale() == "linear"
    assert plots.lines([1, 2], {"a": [0, 3]}, "x", "y", log="xy").axes[0].get_yscale() == "log"


def test_a_map_names_all_rows_or_as_many_as_there_is_room_for():
    for rows, named in ((10, 10), (200, 20)):
        fig = plots.heatmaps(np.eye(rows), [f"class {k}" for k in range(rows)])
        assert len(fig.axes[0].get_yticklabels()) == pytest.approx(named, abs=named // 10 - 1)


def test_images_of_one_row_of_pixels_leave_room_for_their_names():
    fig = plots.images(np.zeros((24, 1, 30), np.uint8), 12, ["a", "b"])
    assert fig.get_figheight() > 0.3
