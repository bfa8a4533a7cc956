"""The committed notebooks: what they show is what their code, as it stands, has made."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode

from experiments.refresh import source_sha256
from nnlib.report.exporter import IMAGES, tags_of, title_of

ROOT = Path(__file__).parents[2]
PATHS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
MACHINE = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|work|Users|usr|opt|mnt|var)/|[A-Z]:\\\\Users")
TEST_IMAGES = {"load_test_split"}
OWN = {"08_colour": "cifar-10"}  # data sets of chapters that are not on Fashion-MNIST

every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(nb: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def outputs(nb: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    return ((cell.id, output) for cell in code_cells(nb) for output in cell.outputs)


def names(source: str) -> set[str]:
    """Return every name and attribute that Python source mentions or imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names}
    return found


def test_the_series_is_there():
    assert [path.stem[:2] for path in PATHS] == [f"{number:02}" for number in range(1, 9)]


@every_notebook
def test_outputs_are_those_of_the_present_code(path: Path):
    nb = read(path)
    nbformat.validate(nb)
    cells = code_cells(nb)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert nb.metadata["nnlib"]["profile"] == "standard"
    assert nb.metadata["nnlib"]["source_sha256"] == source_sha256(nb), (
        f"the code of {path.name} changed after it ran; run make notebooks"
    )


def test_a_changed_cell_changes_the_hash():
    nb = read(PATHS[0])
    before = source_sha256(nb)
    nb.cells[0].source += "prose may change\n"
    assert source_sha256(nb) == before
    code_cells(nb)[-1].source += "\n"
    assert source_sha256(nb) != before


@every_notebook
def test_no_cell_failed_warned_or_printed_an_object(path: Path):
    for cell, output in outputs(read(path)):
        assert output.output_type in ("display_data", "execute_result"), f"{cell} left {output}"
        plain = output.data.get("text/plain", "")
        assert not re.search(r"<[\w.]+ (object )?at|np\.\w+\(", plain), cell


@every_notebook
def test_figures_and_tables_speak_to_every_reader(path: Path):
    captions = []
    for cell, output in outputs(read(path)):
        for mime in output.data if output.output_type == "display_data" else ():
            about = output.metadata.get(mime, {})
            if mime in IMAGES:
                assert len(about["alt"].split()) >= 5, cell
                assert re.fullmatch(rf"{path.stem[:2]}-[\w-]+", about["name"]), cell
            if mime in IMAGES or mime == "text/html":
                assert len(about["caption"].split()) >= 5, (cell, about["caption"])
                assert about["caption"][-1] in ".)", (cell, about["caption"])
                captions.append((mime, about["caption"]))
        if set(output.data) & set(IMAGES):
            assert "image/png" in output.data, f"{cell}: who has not run it sees no SVG"
    assert captions
    assert len(captions) == len(set(captions))


@every_notebook
def test_form(path: Path):
    nb = read(path)
    assert path.stat().st_size < 3e6
    title, question = title_of(nb)
    assert title
    assert "?" in question
    tagged = [cell for cell in nb.cells if "parameters" in tags_of(cell)]
    assert len(tagged) == 1
    dataset = OWN.get(path.stem, "fashion-mnist")
    assert tagged[0].source.startswith(f'dataset = "{dataset}"')
    assert nb.cells[-1].source == "provenance(data, seed=seed)"
    assert nb.cells[-1].outputs[0].data["text/markdown"].startswith("<small>Provenance: nnlib")
    assert any("## Summary" in cell.source for cell in nb.cells if cell.cell_type == "markdown")


@every_notebook
def test_it_reads_as_a_chapter(path: Path):
    """Prose, a short cell, prose: what a reader in JupyterLab meets."""
    nb = read(path)
    cells = nb.cells
    heads = [i for i, cell in enumerate(cells) if re.match(r"#+ Exercise", cell.source)]
    assert len(cells[: heads[0] if heads else None]) <= 40
    lengths = [
        len([line for line in cell.source.splitlines() if line.strip()])
        * (cell.cell_type == "code")
        for cell in cells
    ]
    assert sum(lengths) <= 260
    assert max(lengths) <= 14
    assert np.mean([length <= 8 for length in lengths if length]) >= 0.8
    for run in "".join("c" if length else " " for length in lengths).split():
        assert len(run) <= 3
    assert not [cell.id for cell in cells if "hide-input" in tags_of(cell)]
    folded = [cell for cell in code_cells(nb) if "jupyter" in cell.metadata]
    assert len(folded) <= 5


@every_notebook
def test_links_lead_somewhere(path: Path):
    nb, known = read(path), {p.name for p in PATHS}
    following = [*PATHS, PATHS[0]][PATHS.index(path) + 1].name
    prose = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    linked = re.findall(r"\]\(([\w]+\.ipynb)(?:#([\w-]+))?\)", prose)
    assert following in {file for file, _ in linked}
    for file, anchor in linked:
        assert file in known
        text = "\n".join(cell.source for cell in read(ROOT / "notebooks" / file).cells)
        headings = re.findall(r"^##+ (.+)$", text, re.MULTILINE)
        ids = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in headings}
        assert not anchor or anchor in ids, f"{file} has no heading {anchor}"


@every_notebook
def test_nothing_tells_of_the_machine(path: Path):
    nb = read(path)
    for cell, output in outputs(nb):
        for mime, content in output.get("data", {}).items():
            if mime != "image/png":
                content = content if isinstance(content, str) else json.dumps(content)
                assert not MACHINE.search(content), (cell, MACHINE.search(content))
                assert " at 0x" not in content, cell
    assert set(nb.metadata) <= {"kernelspec", "language_info", "nnlib"}
    assert not MACHINE.search(json.dumps(nb.metadata))


# --- the test images stay shut


@every_notebook
def test_only_the_results_open_the_test_images(path: Path):
    uses = [cell for cell in code_cells(read(path)) if names(cell.source) & TEST_IMAGES]
    assert len(uses) == (1 if path.stem == "06_results" else 0)


def test_after_the_test_images_are_opened_nothing_is_trained():
    sources = [cell.source for cell in code_cells(read(ROOT / "notebooks" / "06_results.ipynb"))]
    opened = next(i for i, source in enumerate(sources) if names(source) & TEST_IMAGES)
    trains = {"fit", "train", "Trainer", "partial_fit", "trained", "run_search"}
    for source in sources[opened + 1 :]:
        calls = {node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)}
        called = {getattr(func, "id", getattr(func, "attr", "")) for func in calls}
        assert not called & trains, source


def test_in_the_library_only_evaluation_at_the_end_opens_them():
    users = {
        path.relative_to(ROOT).as_posix()
        for folder in ("nnlib", "experiments")
        for path in (ROOT / folder).rglob("*.py")
        if names(path.read_text(encoding="utf-8")) & TEST_IMAGES
    }
    # data defines it, and does not call it
    assert users == {"nnlib/__init__.py", "nnlib/cli.py", "experiments/compute.py"}
