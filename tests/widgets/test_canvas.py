"""Drawing: the decision is the net's own, and drawn digits are read, whoever draws them."""

from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import strokes
from conftest import needs_official
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import start_new_kernel
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image, ImageDraw

import nnlib
from nnlib import InputError
from nnlib.notebook.output import rendered
from nnlib.pictures import fit_picture
from nnlib.report.execute import quick_values
from nnlib.report.exporter import WIDGET
from nnlib.report.page import Page
from nnlib.widgets import canvas as drawing

PLAYGROUND = Path(__file__).parents[2] / "notebooks" / "07_playground.ipynb"
SIDE = 280  # of the canvas, pixels


@pytest.fixture(scope="module")
def digits() -> nnlib.data.Dataset:
    return nnlib.load_dataset("digits")


@pytest.fixture(scope="module")
def small(digits: nnlib.data.Dataset) -> nnlib.MLP:
    """A net for digits, trained for a moment."""
    model = nnlib.MLP([64, 24, 10], seed=0)
    nnlib.fit(model, digits.train, digits.val, epochs=10, batch_size=32)
    model.info = {"dataset": "digits", "classes": list(digits.classes)}
    return model


# --- the decision


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_contributions_and_bias_are_the_logit(digits, activation: str):
    model = nnlib.MLP([64, 24, 10], activation=activation, seed=0)
    nnlib.fit(model, digits.train, digits.val, epochs=3, batch_size=32)
    for image in digits.val.images[:20]:
        decision = drawing.decide(model, image, units=24)
        x = model.scaling(image[None])
        k = int(model.predict(x)[0])
        assert decision.answer == str(k)
        total = decision.contributions.sum() + model.parameters["b2"][k]
        assert total == pytest.approx(model.forward(x)[0, k], rel=1e-4)
        assert decision.logit == pytest.approx(model.forward(x)[0, k])
        assert sorted(decision.units) == list(range(24))
        assert (np.diff(np.abs(decision.contributions)) <= 0).all()


def test_units_bring_their_incoming_weights(small: nnlib.MLP, digits):
    decision = drawing.decide(small, digits.val.images[3])
    assert decision.weights.shape == (6, 8, 8)
    for unit, image in zip(decision.units, decision.weights, strict=True):
        np.testing.assert_array_equal(image.ravel(), small.parameters["W1"][:, unit])


def test_a_unit_taken_out_changes_the_logit_by_its_contribution(small: nnlib.MLP, digits):
    image = digits.val.images[5]
    decision = drawing.decide(small, image)
    k = int(decision.probabilities.argmax())
    without = nnlib.MLP([64, 24, 10], seed=0)
    without.load_state(small.state())
    without.parameters["W2"][decision.units[0], k] = 0.0
    changed = without.forward(small.scaling(image[None]))[0, k]
    assert decision.logit - changed == pytest.approx(decision.contributions[0], rel=1e-4)


def test_only_a_net_with_one_hidden_layer_decides_by_its_units(digits):
    deep = nnlib.MLP([64, 8, 8, 10], seed=0)
    with pytest.raises(InputError, match=r"one hidden layer, got layers \[64, 8, 8, 10\]"):
        drawing.draw_your_own(deep, digits.val, "x")


def test_of_many_classes_the_likeliest_have_bars():
    probabilities = np.arange(1.0, 101.0) / 5050
    names = tuple(str(k) for k in range(100))
    none = np.zeros(0, int)
    decision = drawing.Decision(
        np.zeros((2, 2), np.uint8), names, probabilities, 1.0, none, none, np.zeros((0, 2, 2))
    )
    assert list(decision.bars) == [str(k) for k in range(88, 100)]


def test_figure_shows_what_was_decided(small: nnlib.MLP, digits):
    decision = drawing.decide(small, digits.val.images[7])
    axes = drawing.draw_decision(decision).axes
    np.testing.assert_array_equal(axes[0].images[0].get_array(), decision.seen)
    widths = [bar.get_width() for bar in axes[1].patches]
    np.testing.assert_allclose(widths, 100 * decision.probabilities)
    assert axes[1].get_xlabel() == "probability (%)"
    for ax, unit, share in zip(axes[2:], decision.units, decision.contributions, strict=True):
        assert ax.get_title(loc="left") == f"unit {unit}"
        assert float(ax.get_xlabel().replace("−", "-")) == pytest.approx(share, abs=0.05)
        assert (np.sign(share) < 0) == ax.get_xlabel().startswith("−")
    assert rendered(drawing.draw_decision(decision), "svg")


def test_a_net_narrower_than_the_figure_is_drawn_too(digits):
    model = nnlib.MLP([64, 2, 10], seed=0)
    figure = drawing.draw_decision(drawing.decide(model, digits.val.images[0]))
    assert len(figure.axes) == 4


def test_a_picture_in_colour_is_decided_and_shown():
    rng = np.random.default_rng(0)
    some = nnlib.Split(rng.integers(256, size=(3, 4, 5, 3)).astype(np.uint8), np.arange(3))
    model = nnlib.MLP([60, 8, 3], seed=0)
    decision = drawing.decide(model, some.images[1])
    assert decision.weights.shape == (6, 4, 5, 3)
    shown = drawing.draw_decision(decision)
    np.testing.assert_array_equal(shown.axes[0].images[0].get_array(), some.images[1])
    assert all(ax.images[0].get_array().shape == (4, 5, 3) for ax in shown.axes[2:])
    pad = drawing.DrawingPad(model, some)
    pad._handle_custom_msg({"kind": "example"}, [])
    assert pad.answer["seen"] == {"height": 4, "width": 5, "values": some.images[0].tobytes()}
    assert {len(unit["weights"]) for unit in pad.answer["units"]} == {60}


# --- which set is drawn


def test_digits_are_drawn_in_place_of_clothes(monkeypatch: pytest.MonkeyPatch, own_folder: Path):
    def unreachable(name: str):
        raise nnlib.data.DownloadError(f"no mirror of {name} answered")

    monkeypatch.setattr(drawing, "load_dataset", unreachable)
    assert drawing.set_to_draw("fashion-mnist") == "digits"
    for itself in ("mnist", "digits", str(own_folder)):
        assert drawing.set_to_draw(itself) == itself


@needs_official
def test_mnist_is_drawn_where_it_is_at_hand():
    assert drawing.set_to_draw("fashion-mnist") == "mnist"


# --- the pad, as the page speaks to it


def page_picture(grey: np.ndarray) -> dict:
    height, width = grey.shape
    return {"height": height, "width": width, "grey": memoryview(grey.tobytes())}


def paper(*lines: list[strokes.Point], pen: int = 22) -> np.ndarray:
    """Return what the canvas holds after some strokes: black on white, round ends."""
    image = Image.new("L", (2 * SIDE, 2 * SIDE), 255)
    pencil = ImageDraw.Draw(image)
    for line in lines:
        doubled = [(2 * x, 2 * y) for x, y in line]
        pencil.line(doubled, fill=0, width=2 * pen, joint="curve")
        for x, y in doubled:
            pencil.ellipse((x - pen, y - pen, x + pen, y + pen), fill=0)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def test_pad_answers_a_drawing_and_forgets_it(small: nnlib.MLP, digits):
    pad = drawing.DrawingPad(small, digits.val)
    assert pad.answer == {"message": "Draw here, or choose a picture"}
    drawn = paper([(140, 40), (140, 240)])
    pad.picture = page_picture(drawn)
    seen = fit_picture(drawn, (8, 8), "digits")
    decision = drawing.decide(small, seen)
    assert pad.answer["message"] == f"This looks like {decision.answer}: " + (
        f"{decision.probabilities.max():.1%}"
    )
    assert pad.answer["seen"] == {"height": 8, "width": 8, "values": seen.tobytes()}
    assert [bar["probability"] for bar in pad.answer["bars"]] == list(decision.bars.values())
    strongest = max(np.abs(np.frombuffer(u["weights"], np.int8)).max() for u in pad.answer["units"])
    assert strongest == 127
    pad.picture = {}
    assert pad.answer == {"message": "Draw here, or choose a picture"}


def test_pad_says_what_is_wrong_with_an_empty_picture(small: nnlib.MLP, digits):
    pad = drawing.DrawingPad(small, digits.val)
    pad.picture = page_picture(np.full((30, 40), 255, np.uint8))
    assert pad.answer == {"message": "it shows nothing; draw with more contrast"}


def test_examples_follow_each_other_and_say_what_they_are(small: nnlib.MLP, digits):
    few = digits.val.take(slice(3))
    pad = drawing.DrawingPad(small, few)
    seen = []
    for _ in range(4):
        pad._handle_custom_msg({"kind": "example"}, [])
        seen.append(pad.answer["seen"]["values"])
        assert f"(it is {few.y[(len(seen) - 1) % 3]})" in pad.answer["message"]
    assert seen == [image.tobytes() for image in few.images] + [few.images[0].tobytes()]


def test_the_hand_at_rest_hands_the_decision_on(small: nnlib.MLP, digits):
    pad, kept = drawing.DrawingPad(small, digits.val), []
    pad.on_rest = kept.append
    pad._handle_custom_msg({"kind": "rest"}, [])
    assert kept == []  # nothing is drawn
    pad.picture = page_picture(paper([(140, 40), (140, 240)]))
    pad._handle_custom_msg({"kind": "rest"}, [])
    assert [f"This looks like {decision.answer}" in pad.answer["message"] for decision in kept]


# --- with somebody at the notebook, and with nobody

CELL = """
import nnlib
from nnlib.widgets import draw_your_own
data = nnlib.load_dataset("digits")
model = nnlib.MLP([64, 24, 10], seed=0)
draw_your_own(model, data.val, "07-drawing")
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[BlockingKernelClient]:
    manager, client = start_new_kernel(kernel_name="python3")
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(kernel: BlockingKernelClient, attended: bool) -> tuple[list, set[str]]:
    """Run the cell with or without a client that answers questions.

    Return its outputs, and the kinds of all the messages that it sent.
    """
    sent = []
    kernel.execute_interactive(CELL, allow_stdin=attended, timeout=60, output_hook=sent.append)
    outputs = [message["content"] for message in sent if "data" in message["content"]]
    return outputs, {message["msg_type"] for message in sent}


def figures(outputs: list) -> list[dict]:
    return [o["metadata"]["image/svg+xml"] for o in outputs if "image/svg+xml" in o["data"]]


def test_unattended_there_is_a_figure_and_no_widget(kernel: BlockingKernelClient):
    outputs, kinds = run(kernel, attended=False)
    (about,) = figures(outputs)
    assert about["name"] == "07-drawing"
    assert about["caption"].startswith("The net says ")
    assert len(about["alt"].split()) > 5
    assert not any(WIDGET in output["data"] for output in outputs)
    assert "comm_open" not in kinds


def test_attended_there_is_a_canvas_whose_exports_have_a_figure(kernel: BlockingKernelClient):
    outputs, kinds = run(kernel, attended=True)
    assert "comm_open" in kinds
    shown = [output for output in outputs if WIDGET in output["data"]]
    assert len(shown) == 2
    assert len(figures(shown)) == 1
    cell = new_code_cell(CELL, execution_count=1)
    cell.outputs = [
        nbformat.v4.new_output("display_data", output["data"], metadata=output["metadata"])
        for output in shown
    ]
    page, _ = Page().from_notebook_node(new_notebook(cells=[cell]))
    assert page.count("<figure") == 1
    assert figures(shown)[0]["caption"] in page


# --- drawn digits


def hands() -> Iterator[tuple[str, np.ndarray]]:
    """Ten digits by many hands: thick and thin, small and large, in a corner, leaning."""
    places = [((65, 40), (150, 200)), ((20, 30), (105, 140)), ((50, 20), (180, 240))]
    for digit, drawn in strokes.DIGITS.items():
        for pen in (14, 22, 32):
            for place, size in places:
                for lean in (-0.1, 0.0, 0.15):
                    yield (
                        digit,
                        paper(
                            *(
                                strokes.path(
                                    [(x + lean * (1 - y), y) for x, y in line], *place, *size
                                )
                                for line in drawn
                            ),
                            pen=pen,
                        ),
                    )


def notebook_net(dataset: str) -> nnlib.MLP:
    """Return the net of the notebook, trained by the notebook's own cells on quick values."""
    nb = nbformat.read(PLAYGROUND, as_version=4)
    parameters, imports, *others = [c for c in nb.cells if c.cell_type == "code"]
    (training,) = [c for c in others if "reader = " in c.source]
    space: dict = {}
    for source in (parameters.source, imports.source):
        exec(source, space)
    space |= quick_values(nb) | {"dataset": dataset}
    exec(training.source, space)
    return space["reader"]


@needs_official
def test_all_ten_digits_are_read_whoever_draws_them():
    model = notebook_net("fashion-mnist")
    digits, drawn = zip(*hands(), strict=True)
    seen = np.stack([fit_picture(grey, (28, 28), "mnist") for grey in drawn])
    answers = model.predict(model.scaling(seen)).astype(str)
    wrong = [f"{digit} read as {answer}" for digit, answer in zip(digits, answers, strict=True)
             if digit != answer]  # fmt: skip
    assert len(drawn) == 270
    assert len(wrong) <= 2, wrong
