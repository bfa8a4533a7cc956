"""The notebooks in a real JupyterLab, started by `make lab`, in a real browser, worked by hand.

NNLIB_SHOTS names a folder that keeps what the screen showed at the end of each test.
"""

import ast
import base64
import csv
import io
import os
import re
import shutil
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

from nnlib.report.document import Document
from nnlib.report.execute import own_dataset, quick_values
from nnlib.report.exporter import IMAGES, tags_of
from nnlib.report.page import Page
from nnlib.sources import DownloadError, fetch

ROOT = Path(__file__).parents[2]
PATHS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SHOTS = os.environ.get("NNLIB_SHOTS")
WITHOUT = lab.missing() or ("" if browser.chromium() else "no Chromium: name one in NNLIB_CHROMIUM")
pytestmark = pytest.mark.skipif(bool(WITHOUT), reason=WITHOUT)

LONG = """
import nnlib
data = nnlib.load_dataset("digits")
model = nnlib.MLP([64, 32, 10], seed=0)
print(f"{6 * 7} is ready")
history = nnlib.fit(model, data.train, data.val, epochs=10**6)
""", "print(f'{model.predict(data.val.x).size} answers, {6 * 7}')"  # fmt: skip
INTERRUPT = "document.querySelector('[data-command=\"notebook:interrupt-kernel\"]')"
SCRATCH = {"long": LONG}


def quick(nb: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a notebook with the quick profile's values in its parameters cell, never run."""
    values = {name: repr(value) for name, value in quick_values(nb).items()}
    for cell in nb.cells:
        if "parameters" in tags_of(cell):
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
        shutil.copy(path, folder / "notebooks" / f"opened_{path.name}")
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
    # the server's own; a kernel that is ended while it works may leave words of its own there
    assert re.findall(r"(?m)^\[[EC] .*", started.log.read_text()) == []


Open = Callable[[str], lab.Notebook]


@pytest.fixture(scope="module")
def window() -> Iterator[browser.Browser]:
    """A browser in which one notebook is opened after another: it loads Lab's scripts once."""
    with closing(browser.Browser()) as started:
        yield started


@pytest.fixture
def opened(server: lab.Lab, root: Path, window: browser.Browser, shoot: Callable) -> Iterator[Open]:
    """Opens a notebook by name; its page is left and its kernel ends with the test."""
    with ExitStack() as until_done:

        def in_window(name: str) -> lab.Notebook:
            notebook = lab.Notebook(server, window, root, name)
            until_done.callback(server.end_kernel, notebook.where)
            until_done.callback(window.visit, "about:blank")
            until_done.callback(shoot, window)
            return notebook

        yield in_window


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

IMAGES_SHOWN = """[...document.querySelectorAll('.jp-OutputArea-output')].flatMap(
    place => [...place.querySelectorAll(':scope > img, :scope > svg, .jp-RenderedHTML img')].map(
        image => [image.naturalWidth, image.getBoundingClientRect().width, place.clientWidth]))"""


def fast_or_slow() -> list:
    first, *others = PATHS
    return [first, *(pytest.param(path, marks=pytest.mark.slow) for path in others)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", fast_or_slow(), ids=lambda path: path.stem)
def test_a_notebook_that_nobody_has_run_shows_every_figure(opened: Open, path: Path):
    """As after a fresh clone: its outputs are not trusted, and SVG would be its own alt text."""
    nb = nbformat.read(path, as_version=4)
    figures = [
        output
        for cell in nb.cells
        for output in cell.get("outputs", [])
        if set(output.get("data", {})) & set(IMAGES)
    ]
    window = opened(f"opened_{path.stem}").window
    window.wait(f"({IMAGES_SHOWN}).filter(image => image[0]).length >= {len(figures)}", 60)
    seen = window.evaluate(IMAGES_SHOWN)
    outputs = "[...document.querySelectorAll('.jp-OutputArea-output')]"
    text = window.evaluate(f"{outputs}.map(place => place.textContent).join(' ')")
    assert len(seen) == len(figures), "each once"
    for natural, width, pane in seen:
        assert min(natural, 0.9 * pane) <= width <= pane
    for output in figures:
        assert output.data["text/plain"][:60] not in text, "a picture, not its description"


@needs_official
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", fast_or_slow(), ids=lambda path: path.stem)
def test_notebook_opens_and_runs_all_cells(opened: Open, path: Path):
    try:
        fetch(own_dataset(nbformat.read(path, as_version=4)), download=False)
    except DownloadError as error:
        pytest.skip(str(error))
    notebook = opened(path.stem)
    nb = notebook.run_all(400)
    assert lab.errors(nb) == []
    assert notebook.window.thrown() == []
    unseen = [cell.id for cell in nb.cells if cell.get("execution_count", 1) is None]
    assert unseen == []
    assert "displaying widget" not in notebook.window.evaluate("document.body.textContent")


# --- the playground


@pytest.fixture(scope="module")
def attended(server: lab.Lab, root: Path) -> Iterator[lab.Notebook]:
    """The playground's own notebook, all of its cells run once."""
    with closing(browser.Browser()) as window:
        notebook = lab.Notebook(server, window, root, "07_playground")
        assert lab.errors(notebook.run_all(120)) == []
        yield notebook


PANEL = "document.querySelector('.nnlib-playground')"
CURVES = f"{PANEL}.closest('.jp-OutputArea').querySelector('.jp-RenderedSVG img')?.src"
STATUS = f"{PANEL}.querySelector('.nnlib-status').textContent"
RUNS = f"{PANEL}.querySelectorAll('.nnlib-run')"


def part(selector: str) -> str:
    return f"{PANEL}.querySelector('.nnlib-{selector}')"


def slide(notebook: lab.Notebook, knob: str, pixels: int) -> None:
    """Draw a slider's handle to the right, or to the left, and let go."""
    left, top, width, height = notebook.window.box(part(f"{knob} .noUi-handle"))
    x, y = left + width / 2, top + height / 2
    notebook.window.drag([(x + pixels * step / 8, y) for step in range(9)])


def write(notebook: lab.Notebook, field: str, text: str) -> None:
    """Write over what stands in a text field."""
    notebook.window.click(field)
    notebook.window.evaluate(f"({field}).select()")
    notebook.window.call("Input.insertText", text=text)
    enter = {"key": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
    notebook.window.call("Input.dispatchKeyEvent", type="keyDown", **enter)
    notebook.window.call("Input.dispatchKeyEvent", type="keyUp", **enter)


def rows(notebook: lab.Notebook) -> list[dict[str, str]]:
    """What the link below the list of runs saves."""
    link = notebook.window.evaluate(f"{part('link a')}.href")
    text = base64.b64decode(link.partition("base64,")[2]).decode()
    return list(csv.DictReader(io.StringIO(text)))


def own_rows(notebook: lab.Notebook) -> list[dict[str, str]]:
    """Those of the run that the line below the buttons tells of."""
    number = re.match(r"Run (\d+)", notebook.window.evaluate(STATUS))[1]
    return [row for row in rows(notebook) if row["run"] == number]


def learning_rate(notebook: lab.Notebook) -> float:
    return float(re.search(r"learning rate ([\d.e-]+)", notebook.window.evaluate(STATUS))[1])


@pytest.fixture
def playground(attended: lab.Notebook, shoot: Callable) -> Iterator[lab.Notebook]:
    """The playground with nothing learning, set to runs of a minute that only *Train* starts."""
    window = attended.window
    window.evaluate(f"{PANEL}.scrollIntoView({{block: 'start'}})")
    if window.evaluate(f"{part('auto input')}.checked"):
        window.click(part("auto input"))
    slide(attended, "train-size", 200)  # to the end: all images
    write(attended, part("epochs input"), "150")
    yield attended
    shoot(window)
    if not window.evaluate(f"{part('stop')}.disabled"):
        window.click(part("stop"))
    window.wait(f"{part('stop')}.disabled")
    assert window.thrown() == []


WATCH = f"""(before => {{
    addEventListener('pointerup', () => {{ window.released = performance.now(); }},
        {{once: true, capture: true}});
    const look = () => {{
        const now = {CURVES};
        if (now && now !== before) window.redrawn = performance.now();
        else requestAnimationFrame(look);
    }};
    window.released = window.redrawn = 0;
    look();
}})({CURVES})"""


@needs_official
def test_a_slider_moved_starts_training_and_the_curves_change_within_a_second(
    playground: lab.Notebook,
):
    window = playground.window
    window.click(part("auto input"))
    for pixels in (-8, 8, -8):
        runs = window.evaluate(f"{RUNS}.length")
        window.evaluate(WATCH)
        slide(playground, "lr", pixels)
        window.wait("window.redrawn")
        waited = window.evaluate("window.redrawn - window.released") / 1000
        print(f"{waited:.2f} s until the curves changed")
        assert 0 < waited < 1
        window.wait(f"{STATUS}.includes(' learning: epoch ')", 2)
        assert window.evaluate(f"{RUNS}.length") == runs + 1
        seen = {window.evaluate(CURVES)}
        for _ in range(10):  # and they go on changing
            if len(seen) <= 3:
                window.pause(0.3)
                seen.add(window.evaluate(CURVES))
        assert len(seen) > 3
        window.click(part("stop"))
        window.wait(f"{STATUS}.includes(' stopped: epoch ')", 2)
        window.pause(0.5)


@needs_official
def test_the_rate_is_turned_while_a_run_learns(playground: lab.Notebook):
    window = playground.window
    window.click(part("train"))
    window.wait(f"{STATUS}.includes(' learning: epoch ')")
    playground.until(lambda: len(own_rows(playground)) >= 2)
    before = learning_rate(playground)
    slide(playground, "rate", -40)
    playground.until(lambda: learning_rate(playground) < before / 3, 2)
    turned = len(own_rows(playground))
    playground.until(lambda: len(own_rows(playground)) >= turned + 2)
    rates = [float(row["rate"]) for row in own_rows(playground)]
    assert rates[0] == rates[1] == pytest.approx(before, rel=1e-2)
    assert rates[-1] < before / 3
    window.click(part("stop"))
    window.wait(f"{STATUS}.includes(' stopped: epoch ')", 2)
    window.click(part("train"))
    window.wait(f"{STATUS}.includes(' learning: epoch ')", 2)
    assert learning_rate(playground) == before  # the next run begins with its own


@needs_official
def test_runs_are_named_looked_into_and_removed(playground: lab.Notebook):
    window = playground.window
    last = f"[...{RUNS}].at(-1)"
    window.click(part("train"))
    window.wait(f"{STATUS}.includes(' learning: epoch ')")
    playground.until(lambda: own_rows(playground))
    window.click(part("stop"))
    window.wait(f"{STATUS}.includes(' stopped: epoch ')", 2)
    write(playground, f"{last}.querySelector('input')", "mine")
    playground.until(lambda: rows(playground)[-1]["name"] == "mine", 5)
    number = rows(playground)[-1]["run"]
    window.click(f"{RUNS}[0].querySelector('button')")
    words = f"{PANEL}.closest('.jp-OutputArea').textContent"
    window.wait(f"{words}.includes('Run 1 after ')", 5)
    window.click(f"{last}.querySelector('button:last-of-type')")
    playground.until(lambda: number not in {row["run"] for row in rows(playground)}, 5)
    assert window.evaluate(f"{last}.querySelector('input').value") != "mine"


@needs_official
def test_a_wrong_knob_is_said_and_starts_nothing(playground: lab.Notebook):
    window, runs = playground.window, playground.window.evaluate(f"{RUNS}.length")
    write(playground, part("hidden input"), "many")
    window.click(part("train"))
    window.wait(f"{part('status [role=alert]')}?.textContent.includes(\"got 'many'\")", 5)
    write(playground, part("hidden input"), "128")
    assert window.evaluate(f"{RUNS}.length") == runs


@needs_official
def test_an_interrupt_stops_the_run_and_the_playground_goes_on(playground: lab.Notebook):
    window = playground.window
    for _ in range(2):
        window.click(part("train"))
        window.wait(f"{STATUS}.includes(' learning: epoch ')", 5)
        window.click(INTERRUPT)
        window.wait(f"{STATUS}.includes(' stopped: epoch ')", 5)
    window.click(part("train"))
    window.wait(f"{STATUS}.includes(' learning: epoch ')", 5)


# --- drawing


PAD = "document.querySelector('.nnlib-drawing')"
MESSAGE = f"{PAD}?.querySelector('.message')?.textContent"


def pad(notebook: lab.Notebook, part: str) -> str:
    return f"{PAD}.querySelector('{part}')"


EMPTY = f"{MESSAGE}.startsWith('Draw here')"


def clear(notebook: lab.Notebook) -> None:
    """Clear the canvas if need be, and wait until it is: no click is to come after a stroke."""
    if not notebook.window.evaluate(EMPTY):
        notebook.window.click(pad(notebook, ".clear"))
        notebook.window.wait(EMPTY)


def draw(notebook: lab.Notebook, digit: str, finger: bool = False) -> None:
    """Draw a digit as somebody would who has ten square centimetres."""
    clear(notebook)
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


@pytest.fixture
def canvas(attended: lab.Notebook, shoot: Callable) -> Iterator[lab.Notebook]:
    """The canvas, empty."""
    attended.window.wait(MESSAGE)
    clear(attended)
    yield attended
    shoot(attended.window)


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
    window.wait(EMPTY)
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
            output.metadata["image/svg+xml"]
            for cell in canvas.saved().cells
            for output in cell.get("outputs", [])
            if "image/svg+xml" in output.get("data", {})
        ]
        (shown,) = [about["caption"] for about in figures if about["name"] == "07-drawing"]
        return shown

    canvas.until(lambda: caption().startswith("The net says 3 with"), 5)
    page, _ = Page().from_filename(str(canvas.path))
    assert caption() in page
    assert "Loading widget" not in page


@needs_official
def test_canvas_fits_a_narrow_window(canvas: lab.Notebook):
    canvas.window.resize(480)
    canvas.window.press("b", 66, browser.CONTROL)  # closes the side bar
    canvas.window.wait("document.querySelector('#jp-left-stack').matches('.lm-mod-hidden')")
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
    notebook.window.wait(f"{cells}[0].textContent.includes('42 is ready')")
    notebook.window.pause(1)
    assert notebook.window.evaluate(f"{cells}[0].textContent.includes('[*]:')")
    notebook.window.click(INTERRUPT)
    notebook.window.wait(f"{cells}[0].textContent.includes('training stopped after epoch')", 10)
    notebook.window.wait(f"{cells}[0].textContent.includes('[1]:')", 10)
    notebook.until(lambda: notebook.state() == "idle", 10)
    notebook.run_cell(1)
    notebook.window.wait(f"{cells}[1].textContent.includes('125 answers, 42')", 10)


def test_export_menu_downloads_the_page_and_the_document(opened: Open, tmp_path: Path):
    notebook = opened("long")
    notebook.window.download_into(tmp_path)
    for kind, exporter in (("html", Page()), ("pdf", Document())):
        notebook.menu("File", "Save and Export Notebook As", f"Nnlib_{kind}")
        file = tmp_path / f"long.{kind}"
        notebook.until(lambda file=file: file.is_file() and file.stat().st_size > 0)
        made, _ = exporter.from_filename(str(notebook.path))
        assert file.read_bytes() == (made.encode() if kind == "html" else made)


def test_quick_values_reach_the_parameters_cell():
    for path in PATHS:
        nb = quick(nbformat.read(path, as_version=4))
        (cell,) = [cell for cell in nb.cells if "parameters" in tags_of(cell)]
        names = {target.targets[0].id: target.value for target in ast.parse(cell.source).body}
        for name, value in quick_values(nb).items():
            found = ast.literal_eval(names[name])
            assert (list(found) if isinstance(found, tuple) else found) == value, (path.stem, name)
