"""The page that stays alive: one truth with the library, and what a reader does with it."""

import base64
import json
import re
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser as chrome
import firefox as fox
import nbformat
import numpy as np
import pages
import pytest
import strokes
from conftest import needs_official
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from pdf_glyphs import check_glyphs
from PIL import Image, ImageOps

import nnlib
from nnlib.images import make_scaling
from nnlib.layers import ACTIVATIONS
from nnlib.pictures import fit_picture, load_picture
from nnlib.report.document import Document
from nnlib.report.exporter import LIVE
from nnlib.report.page import Page
from nnlib.training import make_trainer, steps
from nnlib.widgets import Knobs, alive
from nnlib.widgets.canvas import decide

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


def notebook_of(*parts: dict[str, Any]) -> NotebookNode:
    """Return a notebook whose cells have put out these live parts."""
    cells = [new_markdown_cell("# Playground\n\nAlive.\n\n## Try it")]
    for number, part in enumerate(parts):
        about = {"image/svg+xml": {"alt": "A dot", "caption": "Dot", "name": f"07-{number}"}}
        svg = base64.b64decode(DOT).decode()
        shown = new_output("display_data", {"image/svg+xml": svg, LIVE: part}, metadata=about)
        cells.append(new_code_cell("show()", outputs=[shown]))
    notebook = new_notebook(cells=cells)
    nbformat.validate(notebook)
    return notebook


def exported(*parts: dict[str, Any]) -> str:
    """Return the page of such a notebook."""
    return Page().from_notebook_node(notebook_of(*parts))[0]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, reader: nnlib.MLP, digits) -> Path:
    file = tmp_path_factory.mktemp("alive") / "07_playground.html"
    parts = alive.learning(Knobs(hidden=(128,), seed=3)), alive.drawing(reader, digits.val)
    file.write_text(exported(*parts), encoding="utf-8")
    return file


BROWSERS = [
    pytest.param((chrome.Browser, chrome.chromium), id="chromium"),
    pytest.param((fox.Firefox, fox.firefox), id="firefox", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=BROWSERS)
def opened(request: pytest.FixtureRequest) -> Iterator[chrome.Browser]:
    """A browser that all tests share: Chromium, and in the slow tests Firefox as well."""
    kind, found = request.param
    if not found():
        name = found.__name__
        pytest.skip(f"no {name.capitalize()} here; name one in NNLIB_{name.upper()}")
    window = kind()
    yield window
    window.close()


SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
AWAKE = "[...document.querySelectorAll('.nnlib-live')].every(part => !part.hidden)"


@pytest.fixture
def window(opened: chrome.Browser, page: Path) -> Iterator[chrome.Browser]:
    """The page, awake; in the end nothing was asked of the network and no error went by."""
    opened.open(page)
    opened.wait(AWAKE)
    yield opened
    assert {*opened.requests()} <= {page.resolve().as_uri()}
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
        .observe(document.querySelector('.message'), {childList: true}); })()"""


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean difference of two images; one may lie a pixel beside, where a middle is."""
    shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return min(np.abs(np.roll(a, by, (0, 1)) - b).mean() for by in shifts)


def read(window: chrome.Browser, hands: list[tuple], model: nnlib.MLP, shape: tuple) -> list[str]:
    """Draw digits by mouse and by finger; return what the page did not read as the library does."""
    wrong = []
    window.evaluate(WATCH)
    for touch in (False, True):
        for digit in strokes.DIGITS:
            for hand in hands:
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
    late = ", ".join(f"{q:.0%} within {np.quantile(delays, q):.0f} ms" for q in (0.5, 0.9, 0.99, 1))
    print(f"{len(delays)} answers: {late}")
    assert np.median(delays) < 50
    return wrong


@pytest.fixture(scope="module")
def mnist_reader() -> nnlib.MLP:
    untidy = {"shift": 1.4, "rotate": 12, "zoom": 0.12, "shear": 0.2}
    how = {"epochs": 2, "batch_size": 128, "momentum": 0.9, "schedule": "cosine"}
    config = nnlib.TrainConfig(dataset="mnist", **how, **untidy)
    return trained(config, nnlib.load_dataset("mnist"))


def opened_page(window: chrome.Browser, file: Path, model: nnlib.MLP, examples: Any) -> None:
    """Open a page on which one draws for a net."""
    file.write_text(exported(alive.drawing(model, examples)), encoding="utf-8")
    window.open(file)
    window.wait(AWAKE)


@needs_official
@pytest.mark.timeout(1800)  # in three sizes and places each, and by finger as well
@pytest.mark.parametrize("hands", [HANDS[:1], pytest.param(HANDS, marks=pytest.mark.slow)])
def test_drawings_are_read_as_the_library_reads_them(
    opened: chrome.Browser, mnist_reader: nnlib.MLP, hands: list[tuple], tmp_path: Path
):
    file = tmp_path / "drawing.html"
    opened_page(opened, file, mnist_reader, nnlib.load_dataset("mnist").val)
    assert read(opened, hands, mnist_reader, (28, 28)) == []
    assert opened.problems() == []
    assert file.stat().st_size < 700_000


ANSWERED = "document.querySelector('.message').textContent.startsWith('This looks like')"
OWN = f"{ANSWERED} && !document.querySelector('.message').textContent.includes('it is')"


def drop(window: chrome.Browser, file: Path) -> None:
    """Drop a file onto the canvas."""
    content = base64.b64encode(file.read_bytes()).decode()
    window.evaluate(f"""(() => {{
        const bytes = Uint8Array.from(atob('{content}'), letter => letter.charCodeAt(0));
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([bytes], '{file.name}', {{type: 'image/png'}}));
        document.querySelector('.nnlib-drawing .paper').dispatchEvent(
            new DragEvent('drop', {{dataTransfer, bubbles: true, cancelable: true}})); }})()""")


@needs_official
def test_garments_are_chosen_dropped_and_read(opened: chrome.Browser, tmp_path: Path):
    data = nnlib.load_dataset("fashion-mnist")
    config = nnlib.TrainConfig(dataset="fashion-mnist", epochs=1, momentum=0.9, hidden=(64,))
    model = trained(config, data)
    opened_page(opened, tmp_path / "garments.html", model, data.val)
    opened.click("document.querySelectorAll('.choices input')[3]")
    assert f"(it is {data.classes[data.val.y[3]]})" in said(opened)
    same = 0
    for number in range(10):
        file = tmp_path / f"{number}.png"
        page = pages.garment_page(data.val.images[number])
        Image.fromarray(np.clip(page, 0, 255).astype(np.uint8)).save(file)
        seen = load_picture(file, (28, 28), "fashion-mnist")
        answer = data.classes[model.predict(model.scaling(seen[None]))[0]]
        opened.click("document.querySelector('.clear')")
        if number % 2:
            drop(opened, file)
        else:
            opened.choose_file("document.querySelector('.upload')", file)
        opened.wait(OWN)
        off = apart(seen, np.array(opened.evaluate(SEEN), float).reshape(28, 28))
        same += f"looks like {answer}:" in said(opened) and off < 2
    assert same == 10
    assert opened.problems() == []


@pytest.mark.parametrize("width", [1280, 390])
def test_a_student_s_own_net_and_images(opened: chrome.Browser, width: int, tmp_path: Path):
    rng, names = np.random.default_rng(0), ["left", "<b>right</b>", "neither of the two"]
    images = rng.integers(0, 256, (30, 12, 31), dtype=np.uint8)
    examples = nnlib.Split(images, rng.integers(0, 3, 30))
    model = nnlib.MLP([12 * 31, 5, 3], activation="gelu")
    model.info |= {"classes": names, "dataset": "own"}
    opened_page(opened, tmp_path / "own.html", model, examples)
    opened.resize(width)
    assert f"(it is {names[examples.y[0]]})" in said(opened)
    assert opened.evaluate("document.querySelectorAll('.bars li').length") == 3
    assert opened.evaluate(SIDEWAYS) == 0
    Image.fromarray(255 - images[7]).save(tmp_path / "own.png")
    drop(opened, tmp_path / "own.png")
    opened.wait(OWN)
    seen = load_picture(tmp_path / "own.png", (12, 31), "own")
    assert apart(seen, np.array(opened.evaluate(SEEN), float).reshape(12, 31)) == 0


COLOURS = """(canvas => {{ const {{ data }} = canvas.getContext('2d')
    .getImageData(0, 0, canvas.width, canvas.height);
    return [...data.filter((_, i) => i % 4 < 3)]; }})(document.querySelector('{} canvas'))"""
DECIDED = """((about, halves, image) => {
    const bytes = Uint8Array.from(atob(halves), c => c.charCodeAt(0));
    const answer = nnlib.answerOf(nnlib.netOf(about, bytes), about, image);
    return [answer.bars.map(bar => bar.probability), answer.units.map(unit => unit.number),
        answer.units.map(unit => unit.contribution)]; })"""


@pytest.mark.parametrize("kind", ["unit", "standard"])
def test_a_net_that_sees_colours(opened: chrome.Browser, kind: str, tmp_path: Path):
    shape = (12, 16, 3)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, *shape), dtype=np.uint8) // np.array([1, 2, 3], np.uint8)
    examples = nnlib.Split(images, rng.integers(0, 3, 30))
    scaling = make_scaling(kind, images)
    model = nnlib.MLP([12 * 16 * 3, 9, 3], activation="tanh", seed=1, scaling=scaling)
    model.info |= {"classes": ["lake", "wood", "town"], "dataset": "own"}
    halves = [array.astype(np.float16) for array in model.parameters.values()]
    model.load_state({f"{n}": h.astype("f4") for n, h in zip(model.state(), halves, strict=True)})
    opened_page(opened, tmp_path / "colour.html", model, examples)
    assert f"(it is {model.info['classes'][examples.y[0]]})" in said(opened)

    about = json.dumps({key: value for key, value in alive.drawing(model, examples).items()
                        if key not in ("images", "weights")})  # fmt: skip
    for image in images[:5]:  # one truth
        given = f"({about}, '{packed(*halves)}', {image.ravel().tolist()})"
        probabilities, units, contributions = opened.evaluate(DECIDED + given)
        decision = decide(model, image)
        np.testing.assert_allclose(probabilities, decision.probabilities, atol=1e-4)
        np.testing.assert_allclose(contributions, decision.contributions, atol=1e-4)
        assert units == decision.units.tolist()

    decision = decide(model, images[0])
    np.testing.assert_array_equal(opened.evaluate(COLOURS.format(".seen")), images[0].ravel())
    sought = 255 * (0.5 + decision.weights[0] / (2 * np.abs(decision.weights).max()))
    off = np.abs(opened.evaluate(COLOURS.format(".unit")) - sought.ravel())
    assert off.max() <= 1
    assert opened.evaluate(VISIBLE.format(".thickness")) == [False]  # nobody draws a photograph
    left, top, side, _ = opened.box("document.querySelector('.paper')")
    opened.drag([(left + side / 4, top + side / 4), (left + side / 2, top + side / 2)])
    assert "(it is" in said(opened)
    opened.click("document.querySelector('.clear')")
    assert said(opened) == "Choose a picture, or drop one here"

    y, x = np.mgrid[0:90, 0:70]  # the middle is cut out of a photograph
    photo = np.stack([127 + 100 * np.sin(x / 20), 2 * y, 255 - x - y], axis=-1).astype(np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    drop(opened, tmp_path / "photo.png")
    opened.wait(OWN)
    fitted = ImageOps.fit(Image.fromarray(photo), (16, 12), Image.Resampling.BILINEAR)
    seen = np.array(opened.evaluate(COLOURS.format(".seen"))).reshape(shape)
    assert np.abs(seen - np.asarray(fitted, float)).mean() < 2
    answer = model.info["classes"][model.predict(scaling(seen[None].astype(np.uint8)))[0]]
    assert f"looks like {answer}:" in said(opened)
    assert opened.problems() == []


CHOSEN = "document.querySelector('.choices input')"


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


def test_a_picture_of_one_s_own_is_read(window: chrome.Browser, tmp_path: Path, reader, digits):
    page = np.full((400, 300), 250.0)
    page[80:320, 140:165] = 30
    Image.fromarray(page.astype(np.uint8)).save(tmp_path / "one.png")
    window.choose_file("document.querySelector('.upload')", tmp_path / "one.png")
    window.wait(OWN)
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


def test_a_rate_too_large_is_told(window: chrome.Browser):
    for name, value in (("activation", "leaky_relu"), ("lr", "3"), ("momentum", "0.95")):
        turn(window, name, value)
    turn(window, "hidden", "64-64")
    turn(window, "batch_size", "4")
    window.wait(f"/has failed|has finished/.test({STATUS})")
    assert window.evaluate(STATUS).startswith("Run 5 has f")


def test_a_step_can_be_taken_without_a_hidden_layer(window: chrome.Browser):
    turn(window, "hidden", "none")
    window.click(STEP)
    window.wait(f"{STATUS} == 'Run 1 is paused.'")
    window.wait("document.querySelectorAll('.weights canvas').length == 10")


# --- the page around it


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_page_fits_and_axe_finds_no_fault(
    opened: chrome.Browser, page: Path, width: int, dark: bool
):
    opened.open(page, width, dark)
    opened.wait(AWAKE)
    ground = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 300) == dark
    opened.click(STEP)
    opened.wait(f"{ROWS}.length == 1")
    assert opened.evaluate(SIDEWAYS) == 0
    if chrome.axe():
        assert opened.violations() == []


REDRAWN = """(() => { globalThis.redrawn = 0; new MutationObserver(() => { redrawn += 1; })
    .observe(document.querySelector('.weights'), {childList: true}); })()"""


@pytest.mark.parametrize("calm", [False, True])
def test_who_wants_less_motion_gets_it(opened: chrome.Browser, page: Path, calm: bool):
    opened.open(page, calm=calm)
    opened.wait(AWAKE)
    opened.evaluate(REDRAWN)
    opened.click(GO)
    opened.pause(2.5)
    drawn = opened.evaluate("redrawn")
    opened.click(GO)
    assert 1 <= drawn <= 4 if calm else drawn > 4
    running = "document.getAnimations().filter(each => each.playState == 'running').length"
    assert opened.evaluate(running) == 0
    opened.prefer(dark=False)


FOCUSED = "document.activeElement.name || document.activeElement.className"


def test_everything_is_reached_and_used_by_keyboard(window: chrome.Browser):
    window.evaluate("document.querySelector('[name=hidden]').focus()")
    reached = [window.evaluate(FOCUSED)]
    for _ in range(7):
        window.press("Tab", 9)
        reached.append(window.evaluate(FOCUSED))
    knobs = ["hidden", "activation", "lr", "momentum", "weight_decay", "batch_size"]
    assert reached == [*knobs, "go", "step"]
    if window.evaluate("document.hasFocus()"):  # else, in a headless Firefox, Enter does nothing
        window.press("Enter", 13)
        window.wait(f"{STATUS} == 'Run 1 is paused.'")
        window.evaluate("document.querySelector('tbody button').focus()")
        window.press("Enter", 13)
        assert window.evaluate(ROWS) == []
        assert window.evaluate(FOCUSED) == "go"
    window.evaluate("document.querySelector('.clear').focus()")
    reached = []
    for _ in range(4):
        reached.append(window.evaluate(FOCUSED))
        window.press("Tab", 9)
    assert reached == ["clear", "example", "upload", "thickness"]
    assert window.evaluate("document.activeElement.type") == "radio"
    if window.evaluate("document.hasFocus()"):
        ring = "getComputedStyle(document.activeElement.nextElementSibling).outlineStyle"
        assert window.evaluate(ring) == "solid"


VISIBLE = "[...document.querySelectorAll('{}')].map(part => part.checkVisibility())"


def test_without_scripts_there_is_the_figure(opened: chrome.Browser, page: Path):
    if not isinstance(opened, fox.Firefox):  # which cannot be told to
        opened.without_scripts(page)
        assert opened.evaluate(VISIBLE.format("figure img")) == [True, True]
        assert opened.evaluate(VISIBLE.format(".nnlib-live")) == [False, False]


def test_on_paper_there_is_the_figure(reader: nnlib.MLP, digits):
    notebook = notebook_of(alive.learning(Knobs()), alive.drawing(reader, digits.val))
    pdf = Document().from_notebook_node(notebook)[0]
    check_glyphs(pdf)
    assert len(re.findall(rb"/S\s*/Figure", pdf)) == 2


def test_a_page_without_live_parts_has_no_scripts_for_them():
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
