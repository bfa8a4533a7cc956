"""The page that stays alive: one truth with the library, and what a reader does with it."""

import base64
import json
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser as chrome
import nbformat
import numpy as np
import pytest
import strokes
from conftest import needs_official
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import nnlib
from nnlib.layers import ACTIVATIONS
from nnlib.pictures import fit_picture
from nnlib.report.exporter import LIVE
from nnlib.report.page import Page
from nnlib.training import make_trainer, steps
from nnlib.widgets import Knobs, alive

needs_browser = pytest.mark.skipif(
    not chrome.chromium(), reason="no Chromium here; name one in NNLIB_CHROMIUM"
)
DOT = base64.b64encode(
    b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9"/></svg>'
).decode()


@pytest.fixture(scope="module")
def digits() -> nnlib.data.Dataset:
    return nnlib.load_dataset("digits")


@pytest.fixture(scope="module")
def reader(digits: nnlib.data.Dataset) -> nnlib.MLP:
    """A net that reads digits as they are drawn."""
    config = nnlib.TrainConfig(
        dataset="digits", epochs=80, batch_size=64, momentum=0.9, schedule="cosine",
        shift=0.4, rotate=12, zoom=0.12, shear=0.2,
    )  # fmt: skip
    return trained(config, digits)


def trained(config: nnlib.TrainConfig, data: nnlib.data.Dataset) -> nnlib.MLP:
    trainer = make_trainer(config, data)
    for _ in steps(trainer):
        pass
    return trainer.model


def exported(*parts: dict[str, Any]) -> str:
    """Return the page of a notebook whose cells have put out these live parts."""
    cells = [new_markdown_cell("# Playground\n\nAlive.\n\n## Try it")]
    for number, part in enumerate(parts):
        about = {"image/svg+xml": {"alt": "A dot", "caption": "Dot", "name": f"07-{number}"}}
        svg = base64.b64decode(DOT).decode()
        shown = new_output("display_data", {"image/svg+xml": svg, LIVE: part}, metadata=about)
        cells.append(new_code_cell("show()", outputs=[shown]))
    notebook = new_notebook(cells=cells)
    nbformat.validate(notebook)
    return Page().from_notebook_node(notebook)[0]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, reader: nnlib.MLP, digits) -> Path:
    file = tmp_path_factory.mktemp("alive") / "07_playground.html"
    parts = alive.learning(Knobs(hidden=(128,), seed=3)), alive.drawing(reader, digits.val)
    file.write_text(exported(*parts), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def opened() -> Iterator[chrome.Browser]:
    window = chrome.Browser()
    yield window
    window.close()


AWAKE = "[...document.querySelectorAll('.nnlib-live')].every(part => !part.hidden)"


@pytest.fixture
def window(opened: chrome.Browser, page: Path) -> Iterator[chrome.Browser]:
    """The page, awake; in the end nothing was asked of the network and no error went by."""
    opened.open(page)
    opened.wait(AWAKE)
    yield opened
    assert opened.requests() == [page.resolve().as_uri()]
    assert opened.problems() == []


def packed(*arrays: np.ndarray) -> str:
    return base64.b64encode(b"".join(array.tobytes() for array in arrays)).decode()


def numbers(text: str) -> str:
    """Return JavaScript that reads bytes of base64 as numbers of 64 bits."""
    return f"new Float64Array(Uint8Array.from(atob('{text}'), c => c.charCodeAt(0)).buffer)"


# --- one truth


def some_net(seed: int, activation: str, dtype: str = "float32") -> nnlib.MLP:
    rng = np.random.default_rng(seed)
    hidden = rng.integers(3, 65, size=rng.integers(1, 4)).tolist()
    sizes = [int(rng.integers(4, 100)), *hidden, int(rng.integers(2, 12))]
    model = nnlib.MLP(sizes, activation=activation, seed=seed, dtype=dtype)
    for name, array in model.parameters.items():
        if name[0] == "b":
            array[...] = rng.normal(0, 0.3, array.shape)
    return model


@needs_browser
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_net_of_16_bits_gives_the_library_s_logits(window: chrome.Browser, activation: str):
    first = 4 * list(ACTIVATIONS).index(activation)
    for seed in range(first, first + 4):
        model = some_net(seed, activation)
        halves = [array.astype(np.float16) for array in model.parameters.values()]
        for array, half in zip(model.parameters.values(), halves, strict=True):
            array[...] = half
        x = np.random.default_rng(seed).random((50, model.sizes[0]))
        about = json.dumps({"sizes": model.sizes, "activation": activation})
        bytes_ = f"Uint8Array.from(atob('{packed(*halves)}'), c => c.charCodeAt(0))"
        script = f"Array.from(nnlib.netOf({about}, {bytes_}).forward({numbers(packed(x))}, 50))"
        logits = np.array(window.evaluate(script)).reshape(50, -1)
        off = np.abs(logits - model.forward(x.astype(np.float32))).max()
        print(f"{activation} {model.sizes}: largest difference of a logit {off:.1e}")
        assert off < 1e-4


STEPS = 200


@needs_browser
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("hidden", "knobs"),
    [
        ([32], {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0, "batch_size": 64}),
        ([64, 64], {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3, "batch_size": 32}),
        ([16, 8], {"lr": 0.3, "momentum": 0.5, "weight_decay": 1e-2, "batch_size": 100}),
        ([], {"lr": 0.5, "momentum": 0.0, "weight_decay": 1e-4, "batch_size": 7}),
    ],
)
def test_two_hundred_steps_are_the_library_s(
    window: chrome.Browser, digits, activation: str, hidden: list[int], knobs: dict[str, Any]
):
    model = nnlib.MLP([64, *hidden, 10], activation=activation, seed=1, dtype="float64")
    settings = {name: knobs[name] for name in ("lr", "momentum", "weight_decay")}
    optimiser, size, n = nnlib.SGD(**settings), knobs["batch_size"], len(digits.train)
    x, y = digits.train.images.reshape(n, -1) / 255, digits.train.y
    rng = np.random.default_rng(0)
    orders = [rng.permutation(n) for _ in range(STEPS * size // n + 2)]
    layers = range(1, len(hidden) + 2)
    given = ", ".join(
        f"{{W: {numbers(packed(model.parameters[f'W{k}']))},"
        f" b: {numbers(packed(model.parameters[f'b{k}']))}}}"
        for k in layers
    )
    script = f"""(() => {{
        const split = {{x: {numbers(packed(x))}, y: {y.tolist()}}};
        const data = {{train: split, val: split, classes: 10}};
        const knobs = {json.dumps({**knobs, "hidden": hidden, "activation": activation})};
        const given = {{parameters: [{given}], orders: {[o.tolist() for o in orders]}}};
        const training = new nnlib.Training(data, knobs, given);
        return Array.from({{length: {STEPS}}}, () => training.step());
    }})()"""
    theirs = window.evaluate(script)
    batches = [order[at : at + size] for order in orders for at in range(0, n, size)]
    ours = []
    for rows in batches[:STEPS]:
        loss, gradients = model.loss_and_gradients(x[rows], y[rows])
        optimiser.step(model.parameters, gradients)
        ours.append(loss)
    off = np.abs(np.array(theirs) - ours).max()
    print(f"{activation} {hidden}: {ours[0]:.3f} to {ours[-1]:.3f}, off by {off:.1e}")
    assert off < 1e-6


# --- drawing


def said(window: chrome.Browser) -> str:
    return window.evaluate("document.querySelector('.message').textContent")


def draw(window: chrome.Browser, digit: str, hand: tuple[int, int, int, int], touch: bool) -> None:
    """Draw a digit into a box of the canvas: left, top, width and height, of 280 pixels."""
    window.click("document.querySelector('.clear')")
    left, top, side, _ = window.box("document.querySelector('.paper')")
    scale = side / 280
    place = left + hand[0] * scale, top + hand[1] * scale, hand[2] * scale, hand[3] * scale
    for stroke in strokes.DIGITS[digit]:
        (window.touch if touch else window.drag)(strokes.path(stroke, *place))


HANDS = [(65, 40, 150, 200), (20, 30, 105, 140), (50, 20, 180, 240)]
GREY = """(() => { const canvas = document.querySelector('.paper');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return [...data.filter((_, i) => i % 4 == 0)]; })()"""
SEEN = """(() => { const canvas = document.querySelector('.seen canvas');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return [...data.filter((_, i) => i % 4 == 0)].map(value => 255 - value); })()"""
SETTLED = """(seen => { const before = globalThis.before; globalThis.before = String(seen);
    return String(seen) === before; })"""
WATCH = """(() => { globalThis.delays = []; let began = null;
    const begin = event => { if (event.buttons) began ??= performance.now(); };
    ['pointerdown', 'pointermove'].forEach(kind => addEventListener(kind, begin, true));
    new MutationObserver(() => { if (began) delays.push(performance.now() - began); began = null; })
        .observe(document.querySelector('.seen'), {childList: true}); })()"""


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean difference of two images; one may lie a pixel beside, where a middle is."""
    shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return min(np.abs(np.roll(a, by, (0, 1)) - b).mean() for by in shifts)


def read(window: chrome.Browser, digits: str, model: nnlib.MLP, shape: tuple) -> list[str]:
    """Draw digits by mouse and by finger; return what the page did not read as the library does."""
    wrong = []
    window.evaluate(WATCH)
    for touch in (False, True):
        for digit in digits:
            for hand in HANDS[:1] if touch else HANDS:
                draw(window, digit, hand, touch)
                window.pause(0.05)
                window.wait(f"{SETTLED}({SEEN})")
                grey = np.array(window.evaluate(GREY), np.float32).reshape(280, 280)
                seen = fit_picture(grey, shape, model.info["dataset"])
                off = apart(seen, np.array(window.evaluate(SEEN), float).reshape(shape))
                answer = model.predict(model.scaling(seen[None]))[0]
                if f"looks like {answer}:" not in said(window) or off > 2:
                    wrong.append(f"{digit} {hand}: {said(window)}, not {answer}; {off:.1f}")
                elif str(answer) != digit:
                    wrong.append(f"{digit} {hand} is read as {answer} by both")
    delays = window.evaluate("delays")
    print(f"{len(delays)} answers, median {np.median(delays):.0f} ms, most {max(delays):.0f} ms")
    assert np.median(delays) < 50
    return wrong


@needs_browser
@needs_official
def test_drawings_are_read_as_the_library_reads_them(opened: chrome.Browser, tmp_path: Path):
    data = nnlib.load_dataset("mnist")
    untidy = {"shift": 1.4, "rotate": 12, "zoom": 0.12, "shear": 0.2}
    how = {"epochs": 2, "batch_size": 128, "momentum": 0.9, "schedule": "cosine"}
    model = trained(nnlib.TrainConfig(dataset="mnist", **how, **untidy), data)
    file = tmp_path / "drawing.html"
    file.write_text(exported(alive.drawing(model, data.val)), encoding="utf-8")
    opened.open(file)
    opened.wait(AWAKE)
    assert read(opened, "0123456789", model, (28, 28)) == []
    assert opened.problems() == []
    assert file.stat().st_size < 700_000


CHOSEN = "document.querySelector('.choices input')"


@needs_browser
def test_examples_are_chosen_by_keyboard(window: chrome.Browser, digits):
    assert f"(it is {digits.val.y[0]})" in said(window)
    window.evaluate(f"{CHOSEN}.focus()")
    for row in (1, 2):
        window.press("ArrowRight", 39)
        assert f"(it is {digits.val.y[row]})" in said(window)
    seen = np.array(window.evaluate(SEEN)).reshape(8, 8)
    np.testing.assert_array_equal(seen, digits.val.images[2])
    window.click("document.querySelector('.clear')")
    assert said(window) == "Draw here, or choose a picture"


@needs_browser
def test_a_picture_of_one_s_own_is_read(window: chrome.Browser, tmp_path: Path, reader, digits):
    page = np.full((400, 300), 250.0)
    page[80:320, 140:165] = 30
    Image.fromarray(page.astype(np.uint8)).save(tmp_path / "one.png")
    window.choose_file("document.querySelector('.upload')", tmp_path / "one.png")
    window.wait("document.querySelector('.message').textContent.startsWith('This looks like')")
    window.wait("!document.querySelector('.message').textContent.includes('it is')")
    seen = fit_picture(page, (8, 8), "digits")
    answer = reader.predict(reader.scaling(seen[None]))[0]
    assert f"looks like {answer}:" in said(window)
    (tmp_path / "no.png").write_text("no picture")
    window.choose_file("document.querySelector('.upload')", tmp_path / "no.png")
    window.wait("document.querySelector('.message').textContent.startsWith('cannot read no.png')")


# --- learning


ROWS = "[...document.querySelectorAll('.nnlib-live tbody tr')].map(row => row.innerText)"
STATUS = "document.querySelector('.status').textContent"
GO, STEP = "document.querySelector('.go')", "document.querySelector('.step')"


def turn(window: chrome.Browser, name: str, value: str) -> None:
    """Choose another value of a knob, as its list does."""
    knob = f"document.querySelector('[name={name}]')"
    window.evaluate(f"{knob}.value = '{value}'; {knob}.dispatchEvent(new Event('change', "
                    "{bubbles: true}))")  # fmt: skip


@needs_browser
def test_a_net_learns_in_the_page_and_its_knobs_turn(window: chrome.Browser):
    start = time.monotonic()
    window.click(GO)
    window.wait(f"/9[5-9]\\.\\d %/.test({ROWS}[0])", 10)
    print(f"95 % on validation images after {time.monotonic() - start:.1f} s")
    turn(window, "lr", "0.3")
    turn(window, "activation", "tanh")
    window.wait(f"{STATUS} == 'Run 3 is learning.'")
    window.wait(f"/\\d\\d\\.\\d %/.test({ROWS}[2])")
    assert "activation tanh, learning rate 0.3" in window.evaluate(ROWS)[2]
    points = "document.querySelectorAll('.accuracy polyline.validation')[2].getAttribute('points')"
    assert len(window.evaluate(points).split()) >= 1
    assert window.evaluate("document.querySelectorAll('.weights canvas').length") == 64
    window.click(GO)
    assert window.evaluate(STATUS) == "Run 3 is paused."
    window.pause(0.2)
    before = window.evaluate(ROWS)
    window.pause(0.3)
    assert window.evaluate(ROWS) == before
    for _ in range(10):  # a row tells tenths of an epoch, and a step is less
        window.click(STEP)
    window.wait(f"{ROWS}[2] != {json.dumps(before[2])}")
    window.click("document.querySelector('tbody button')")
    assert len(window.evaluate(ROWS)) == 2
    window.click(GO)
    window.wait(f"{STATUS} == 'Run 3 has finished.'")


@needs_browser
def test_a_rate_too_large_is_told(window: chrome.Browser):
    for name, value in (("activation", "leaky_relu"), ("lr", "3"), ("momentum", "0.95")):
        turn(window, name, value)
    turn(window, "hidden", "64-64")
    turn(window, "batch_size", "4")
    window.wait(f"/has failed|has finished/.test({STATUS})")
    assert window.evaluate(STATUS).startswith("Run 5 has f")


@needs_browser
def test_without_a_hidden_layer_a_step_can_be_taken_by_keyboard(window: chrome.Browser):
    turn(window, "hidden", "none")
    window.click(GO)
    window.evaluate(f"{STEP}.focus()")
    window.press("Enter", 13)
    window.wait(f"{STATUS} == 'Run 1 is paused.'")
    assert window.evaluate("document.querySelectorAll('.weights canvas').length") == 10


# --- the page around it


@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_page_fits_and_axe_finds_no_fault(
    opened: chrome.Browser, page: Path, width: int, dark: bool
):
    opened.open(page, width, dark)
    opened.wait(AWAKE)
    opened.click(STEP)
    opened.wait(f"{ROWS}.length == 1")
    sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert opened.evaluate(sideways) == 0
    if chrome.axe():
        assert opened.violations() == []


def test_without_scripts_and_on_paper_there_is_the_figure(reader: nnlib.MLP, digits):
    html = exported(alive.drawing(reader, digits.val))
    assert html.count("<figure") == 1
    assert 'class="nnlib-live" hidden' in html
    plain = Page().from_notebook_node(new_notebook(cells=[new_markdown_cell("# Plain")]))[0]
    assert "nnlib-live" not in plain
    assert "DecompressionStream" not in plain


def test_what_a_notebook_holds_cannot_leave_its_place():
    html = exported({"kind": "</script><script>alert(1)</script>"})
    assert "<script>alert(1)" not in html


# --- what travels


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def test_a_drawing_s_net_travels_in_16_bits(reader: nnlib.MLP, digits):
    part = alive.drawing(reader, digits.val)
    sent = np.frombuffer(unpacked(part["weights"]), np.float16)
    own = np.concatenate([array.ravel() for array in reader.parameters.values()])
    np.testing.assert_array_equal(sent, own.astype(np.float16))
    images = np.frombuffer(unpacked(part["images"]), np.uint8).reshape(-1, 8, 8)
    np.testing.assert_array_equal(images, digits.val.images[: alive.EXAMPLES])
    share = nnlib.evaluate(reader, digits.val).accuracy
    assert f"reads {share:.1%} of 125 validation images" in part["said"]


def test_batch_normalisation_is_multiplied_in(digits):
    config = nnlib.TrainConfig(dataset="digits", epochs=5, hidden=(24,), batch_norm=True)
    model = trained(config, digits)
    folded = nnlib.MLP([64, 24, 10])
    folded.load_state(alive._folded(model))
    x = model.scaling(digits.val.images)
    np.testing.assert_allclose(folded.forward(x), model.forward(x), atol=1e-4)


def test_knobs_are_cut_to_what_a_page_can_train():
    part = alive.learning(Knobs(hidden=(300, 32, 8), batch_size=64, optimiser="SGD, momentum 0.9"))
    assert part["knobs"]["hidden"] == [64, 32]
    assert (part["knobs"]["batch_size"], part["knobs"]["momentum"]) == (16, 0.9)
    assert len(part["labels"]) == 1500
    assert len(json.dumps(part)) < 70_000
