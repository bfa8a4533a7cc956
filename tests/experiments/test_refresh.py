"""Refreshing what is committed: all of it or nothing, and no trace of the run."""

import json
from pathlib import Path

import nbformat
import pytest
from sample_notebooks import code, text, write

from experiments import refresh
from nnlib.report import ReportError, book


def project(folder: Path, monkeypatch: pytest.MonkeyPatch, *cells: nbformat.NotebookNode) -> Path:
    """A project of one notebook."""
    for module in (book, refresh):
        monkeypatch.setattr(module, "project_root", lambda: folder)
    return write(folder, {"01_data": [text("# One"), *cells]})


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_executes_in_place_and_leaves_no_trace_of_the_run(tmp_path, monkeypatch):
    folder = project(
        tmp_path, monkeypatch, code("profile = 'standard'", "parameters"),
        code("import os, pathlib\nfolder = pathlib.Path(os.environ['NNLIB_FIGURES'])\n"
             "folder.mkdir()\n(folder / 'a.svg').write_text('<svg/>')\nprofile"),
    )  # fmt: skip
    refresh.refresh("quick")
    nb = nbformat.read(folder / "notebooks" / "01_data.ipynb", as_version=4)
    assert [cell.cell_type for cell in nb.cells] == ["markdown", "code", "code"]
    assert [cell.execution_count for cell in nb.cells[1:]] == [1, 2]
    assert nb.cells[2].outputs[0].data["text/plain"] == "'quick'"
    assert "papermill" not in json.dumps(nb)
    assert (folder / "figures" / "a.svg").read_text() == "<svg/>"
    first = contents(folder)
    refresh.refresh("quick")
    assert contents(folder) == first


def test_nothing_is_written_if_a_cell_fails(tmp_path, monkeypatch):
    folder = project(tmp_path, monkeypatch, code("1 / 0"))
    before = contents(folder)
    with pytest.raises(ReportError, match=r"01_data, cell 2 \(1 / 0\): ZeroDivision"):
        refresh.refresh()
    assert contents(folder) == before
