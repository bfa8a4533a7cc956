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
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import nnlib
from nnlib.layers import ACTIVATIONS
from nnlib.pictures import fit_picture
from nnlib.report.exporter import LIVE
from nnlib.report.page import Page
from nnlib.widgets import Knobs, alive

needs_browser = pytest.mark.skipif(
    not chrome.chromium(), reason="no Chromium here; name one in NNLIB_CHROMIUM"
)
needs_axe = pytest.mark.skipif(
    not chrome.axe(), reason="no axe-core here; name its axe.min.js in NNLIB_AXE"
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
    from nnlib.training import make_trainer, steps

    trainer = make_trainer(config, digits)
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
    for seed in range(4):
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
