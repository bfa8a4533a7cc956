"""The notebooks in a real JupyterLab, started by `make lab`, in a real browser, worked by hand.

NNLIB_SHOTS names a folder that keeps what the screen showed at the end of each test.
"""

import ast
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import browser
import lab
import nbformat
import pytest
import strokes
from conftest import needs_official
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image, ImageDraw

from nnlib import export, report

ROOT = Path(__file__).parents[1]
PATHS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SHOTS = os.environ.get("NNLIB_SHOTS")
WITHOUT = lab.missing() or ("" if browser.chromium() else "no Chromium: name one in NNLIB_CHROMIUM")
pytestmark = pytest.mark.skipif(bool(WITHOUT), reason=WITHOUT)

DRAW = """
import nnlib
from nnlib import drawing
from nnlib.config import TrainConfig
from nnlib.training import make_trainer

data = nnlib.load_dataset("mnist")
settings = TrainConfig(dataset="mnist", epochs=2, batch_size=128, lr=0.1, momentum=0.9,
                       schedule="cosine", shift=1.4, rotate=12, zoom=0.12, shear=0.2)
trainer = make_trainer(settings, data)
for _ in trainer.run():
    pass
""", "drawing.draw_your_own(trainer.model, data.val, '07-drawing')"  # fmt: skip
LONG = """
import nnlib
data = nnlib.load_dataset("digits")
model = nnlib.MLP([64, 32, 10], seed=0)
print("all is ready")
history = nnlib.fit(model, data.train, data.val, epochs=10**6)
""", "print(f'{model.predict(data.val.x).size} answers, {6 * 7}')"  # fmt: skip
SCRATCH = {"draw": DRAW, "long": LONG}


def quick(nb: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a notebook with the quick profile's values in its parameters cell, never run."""
    values = {name: repr(value) for name, value in report._quick_values(nb).items()}
    for cell in nb.cells:
        if "parameters" in export.tags_of(cell):
            for name, value in values.items():
                cell.source = re.sub(
                    rf"^{name} = [^#]*", f"{name} = {value}  ", cell.source, flags=re.MULTILINE
                )
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nb


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the project's, with the notebooks on quick values and some of our own."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    for path in PATHS:
        nb = quick(nbformat.read(path, as_version=4))
        nbformat.write(nb, folder / "notebooks" / path.name)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    for name, sources in SCRATCH.items():
        cells = [new_code_cell(source.strip()) for source in sources]
        nb = new_notebook(cells=cells, metadata=kernel)
        nbformat.write(nb, folder / "notebooks" / f"{name}.ipynb")
    return folder


@pytest.fixture(scope="module")
def server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Lab]:
    with lab.Lab(root, tmp_path_factory.mktemp("home")) as started:
        yield started
    assert "Traceback" not in started.log.read_text()


Open = Callable[..., lab.Notebook]


@pytest.fixture
def opened(server: lab.Lab, root: Path, shoot: Callable) -> Iterator[Open]:
    """Opens a notebook by name in a browser of its own; window and kernel end with the test."""
    with ExitStack() as until_done:

        def in_new_window(name: str, **look: int) -> lab.Notebook:
            window = browser.Browser()
            until_done.callback(window.close)
            notebook = lab.Notebook(server, window, root, name, **look)
            until_done.callback(server.end_kernel, notebook.where)
            until_done.callback(shoot, window)
            return notebook

        yield in_new_window


@pytest.fixture
def shoot(request: pytest.FixtureRequest) -> Callable[[browser.Browser], None]:
    """Keeps what a window shows, if anyone wants it."""
    name = re.sub(r"[^\w.-]", "_", request.node.name)

    def keep(window: browser.Browser) -> None:
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            window.screenshot(Path(SHOTS, f"{name}.png"), full=False)

    return keep


# --- every notebook


def fast_or_slow() -> list:
    first, *others = PATHS
    return [first, *(pytest.param(path, marks=pytest.mark.slow) for path in others)]


@needs_official
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", fast_or_slow(), ids=lambda path: path.stem)
def test_notebook_opens_and_runs_all_cells(opened: Open, path: Path):
    notebook = opened(path.stem)
    nb = notebook.run_all(400)
    assert lab.errors(nb) == []
    assert notebook.window.thrown() == []
    unseen = [cell.id for cell in nb.cells if cell.get("execution_count", 1) is None]
    assert unseen == []
    assert "displaying widget" not in notebook.window.evaluate("document.body.textContent")


# --- drawing


PAD = "document.querySelector('.nnlib-drawing')"
MESSAGE = f"{PAD}?.querySelector('.message')?.textContent"


def pad(notebook: lab.Notebook, part: str) -> str:
    return f"{PAD}.querySelector('{part}')"


def draw(notebook: lab.Notebook, digit: str, finger: bool = False) -> None:
    """Draw a digit as somebody would who has ten square centimetres."""
    notebook.window.click(pad(notebook, ".clear"))
    left, top, width, height = notebook.window.box(pad(notebook, ".paper"))
    box = left + 0.25 * width, top + 0.15 * height, 0.5 * width, 0.7 * height
    move = notebook.window.touch if finger else notebook.window.drag
    for stroke in strokes.DIGITS[digit]:
        move(strokes.path(stroke, *box))


def looks_like(notebook: lab.Notebook, digit: str) -> None:
    """Wait for the net's answer and be sure that it is this one, to which it comes to rest."""
    notebook.window.wait(f"{MESSAGE}.startsWith('This looks like {digit}')", 3)
    notebook.window.pause(0.3)
    assert notebook.window.evaluate(MESSAGE).startswith(f"This looks like {digit}")


@pytest.fixture(scope="module")
def drawn(server: lab.Lab, root: Path) -> Iterator[lab.Notebook]:
    """The notebook with the canvas, run once."""
    with closing(browser.Browser()) as window:
        notebook = lab.Notebook(server, window, root, "draw")
        assert lab.errors(notebook.run_all()) == []
        yield notebook


@pytest.fixture
def canvas(drawn: lab.Notebook, shoot: Callable) -> Iterator[lab.Notebook]:
    """The canvas, empty."""
    drawn.window.wait(MESSAGE)
    drawn.window.click(pad(drawn, ".clear"))
    yield drawn
    shoot(drawn.window)


@needs_official
def test_every_digit_drawn_by_mouse_is_recognised(canvas: lab.Notebook):
    for digit in strokes.DIGITS:
        draw(canvas, digit)
        looks_like(canvas, digit)
    assert canvas.window.thrown() == []


@needs_official
def test_the_net_answers_while_the_hand_still_moves(canvas: lab.Notebook):
    window = canvas.window
    left, top, width, height = window.box(pad(canvas, ".paper"))
    stroke = strokes.path([(0.5, 0.0), (0.5, 1.0)], left, top + height / 10, width, height / 2)
    window.press_mouse(stroke)
    window.wait(f"{MESSAGE}.startsWith('This looks like 1')", 1)
    window.release_mouse(stroke[-1])
    bars = f"[...{PAD}.querySelectorAll('.bars li')].map(bar => bar.textContent)"
    assert len(window.evaluate(bars)) == 10
    units = window.evaluate(f"{pad(canvas, '.units')}.textContent")
    assert re.fullmatch(r"(unit \d+[+−]\d+\.\d){6}", units)


@needs_official
def test_finger_thickness_clear_and_example(canvas: lab.Notebook):
    window = canvas.window
    draw(canvas, "7", finger=True)
    looks_like(canvas, "7")
    ink = f"""(canvas => canvas.getContext('2d').getImageData(0, 0, 280, 280).data
        .filter((value, i) => i % 4 == 0 && value < 128).length)({pad(canvas, ".paper")})"""
    thin = window.evaluate(ink)
    window.click(pad(canvas, ".thickness"))  # the middle of the slider
    for _ in range(6):
        window.press("ArrowUp", 38)
    draw(canvas, "7")
    assert window.evaluate(ink) > 1.15 * thin > 0
    looks_like(canvas, "7")
    window.click(pad(canvas, ".clear"))
    window.wait(f"{MESSAGE}.startsWith('Draw here')")
    assert window.evaluate(ink) == 0
    window.click(pad(canvas, ".example"))
    window.wait(f"{MESSAGE}.includes('(it is ')")
    assert window.evaluate(ink) > 100


@needs_official
def test_pictures_are_read_and_what_is_none_is_refused(canvas: lab.Notebook, tmp_path: Path):
    photo = Image.new("RGB", (900, 1600), (225, 220, 200))  # a grey pencil on yellowish paper
    for stroke in strokes.DIGITS["5"]:
        line = strokes.path(stroke, 200, 500, 300, 500)
        ImageDraw.Draw(photo).line(line, fill=(90, 90, 100), width=40, joint="curve")
    photo.save(tmp_path / "five.jpg")
    (tmp_path / "notes.png").write_text("no picture")
    canvas.window.choose_file(pad(canvas, ".upload"), tmp_path / "five.jpg")
    looks_like(canvas, "5")
    canvas.window.choose_file(pad(canvas, ".upload"), tmp_path / "notes.png")
    canvas.window.wait(f"{MESSAGE} == 'cannot read notes.png as a picture; choose a PNG or JPEG'")


@needs_official
def test_exports_show_the_last_drawing(canvas: lab.Notebook):
    draw(canvas, "3")
    looks_like(canvas, "3")

    def caption() -> str:
        figures = [
            output.metadata["image/svg+xml"]["caption"]
            for output in canvas.saved().cells[1].outputs
            if "image/svg+xml" in output.get("data", {})
        ]
        assert len(figures) == 1
        return figures[0]

    canvas.until(lambda: caption().startswith("The net says 3 with"), 5)
    page, _ = export.Page().from_filename(str(canvas.path))
    assert page.count("<figure") == 1
    assert caption() in page
    assert "Loading widget" not in page


@needs_official
def test_canvas_fits_a_narrow_window(canvas: lab.Notebook):
    canvas.window.resize(480)
    canvas.window.press("b", 66, browser.CONTROL)  # closes the side bar
    draw(canvas, "2")
    looks_like(canvas, "2")
    over = f"""(pad => [...pad.querySelectorAll('*')].filter(part =>
        part.getBoundingClientRect().right > pad.getBoundingClientRect().right + 1)
        .map(part => part.className))({PAD})"""
    assert canvas.window.evaluate(over) == []


# --- the kernel and the menu


def test_an_interrupted_kernel_goes_on(opened: Open):
    notebook = opened("long")
    notebook.run_cell(0)
    cells = "document.querySelectorAll('.jp-CodeCell')"
    notebook.window.wait(f"{cells}[0].textContent.includes('all is ready')")
    notebook.window.pause(1)
    assert notebook.state() == "busy"
    notebook.window.click("document.querySelector('[data-command=\"notebook:interrupt-kernel\"]')")
    notebook.until(lambda: notebook.state() == "idle", 10)
    notebook.run_cell(1)
    notebook.window.wait(f"{cells}[1].textContent.includes('125 answers, 42')", 10)


@pytest.mark.parametrize("kind", ["html", "pdf"])
def test_export_menu_downloads_the_page_and_the_document(opened: Open, kind: str, tmp_path: Path):
    notebook = opened("long")
    notebook.window.download_into(tmp_path)
    notebook.menu("File", "Save and Export Notebook As", f"Nnlib_{kind}")
    file = tmp_path / f"long.{kind}"
    notebook.until(lambda: file.is_file() and file.stat().st_size > 0)
    exporter = export.Page() if kind == "html" else export.Document()
    made, _ = exporter.from_filename(str(notebook.path))
    assert file.read_bytes() == (made.encode() if kind == "html" else made)


def test_quick_values_reach_the_parameters_cell():
    for path in PATHS:
        nb = quick(nbformat.read(path, as_version=4))
        (cell,) = [cell for cell in nb.cells if "parameters" in export.tags_of(cell)]
        names = {target.targets[0].id: target.value for target in ast.parse(cell.source).body}
        for name, value in report._quick_values(nb).items():
            found = ast.literal_eval(names[name])
            assert (list(found) if isinstance(found, tuple) else found) == value, (path.stem, name)
