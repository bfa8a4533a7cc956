"""The exporters as readers reach them: from the command line, and through JupyterLab's server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import lab
import nbformat
import pytest
from nbconvert.exporters import get_export_names, get_exporter
from nbformat.v4 import new_notebook
from sample_notebooks import network_notebook, text

HYPHENS, SERVED = {"nnlib-html", "nnlib-pdf"}, {"nnlib_html", "nnlib_pdf"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a student's own changed notebook, saved in JupyterLab."""
    root = tmp_path_factory.mktemp("student")
    (root / "notebooks").mkdir()
    cells = [*network_notebook(), text("## My own\n\nI changed ü and $x^2$.")]
    nbformat.write(new_notebook(cells=cells), root / "notebooks" / "02_changed.ipynb")
    return root


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Lab]:
    if reason := lab.missing():
        pytest.skip(reason)
    with lab.Lab(folder, tmp_path_factory.mktemp("home")) as started:
        yield started


def _exported(name: str, notebook: Path) -> bytes:
    content = get_exporter(name)().from_filename(str(notebook))[0]
    return content.encode() if isinstance(content, str) else content


def test_both_spellings_are_known_here():
    assert set(get_export_names()) >= HYPHENS | SERVED


@pytest.mark.parametrize("kind", ["html", "pdf"])
def test_command_line_gives_what_the_server_gives(kind: str, folder: Path, server: lab.Lab):
    source = folder / "notebooks" / "02_changed.ipynb"
    command = [sys.executable, "-m", "nbconvert", "--to", f"nnlib-{kind}"]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    made = source.with_suffix(f".{kind}").read_bytes()
    served = server.get(f"nbconvert/nnlib_{kind}/notebooks/02_changed.ipynb?download=true")
    assert served == made == _exported(f"nnlib_{kind}", source)
    assert b"My own" in made if kind == "html" else made.startswith(b"%PDF")


def test_menu_offers_the_names_that_work_and_no_others(server: lab.Lab):
    offered = set(json.loads(server.get("api/nbconvert")))
    assert offered & (HYPHENS | SERVED) == SERVED
    with pytest.raises(HTTPError, match="404"):
        server.get("nbconvert/nnlib-html/notebooks/02_changed.ipynb")
