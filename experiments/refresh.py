"""The committed notebooks and figures, made anew by executing them: `make notebooks`.

    python -m experiments.refresh [--language zh] [--profile quick]

In another language than English the notebooks are a folder of their own in notebooks/, without
figures. Nothing is written before all of them have run.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from nnlib.files import make_folder, project_root, sha256, write_atomic
from nnlib.language import LANGUAGES, speaking
from nnlib.report.book import edition_folder, project_notebooks
from nnlib.report.execute import check_parameters, execute_all
from nnlib.report.exporter import tags_of


def refresh(profile: str = "standard") -> None:
    """Execute the notebooks and put them and their figures back where they are committed.

    Raises InputError for an unknown profile, ReportError for a cell that fails.
    """
    notebooks = project_notebooks()
    check_parameters({"profile": profile}, notebooks)
    other = edition_folder()  # "" for English
    place = project_root() / "notebooks" / other
    with tempfile.TemporaryDirectory() as temporary:
        figures = Path(temporary, "figures")
        given = {} if profile == "standard" else {"profile": profile}
        done = execute_all(notebooks, given, Path(temporary), figures)
        for name, nb in done.items():
            text = nbformat.writes(_committed(nb, profile, other)) + "\n"
            write_atomic(make_folder(place) / f"{name}.ipynb", text)
        for file in sorted(figures.glob("*")) if not other else ():
            write_atomic(make_folder(project_root() / "figures") / file.name, file.read_bytes())


def source_sha256(nb: NotebookNode) -> str:
    """Return the hash of a notebook's code: outputs of other code are out of date."""
    sources = [cell.source for cell in nb.cells if cell.cell_type == "code"]
    return sha256(json.dumps(sources).encode())


def _committed(nb: NotebookNode, profile: str, other: str) -> NotebookNode:
    """Return the executed notebook without what differs between two runs or was injected.

    Its metadata say which code made its outputs, with which profile, and the language if another.
    """
    nb.cells = [cell for cell in nb.cells if "injected-parameters" not in tags_of(cell)]
    code = [cell for cell in nb.cells if cell.cell_type == "code" and cell.execution_count]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
    for part in (nb, *nb.cells):
        part.metadata.pop("papermill", None)
        part.metadata.pop("execution", None)
    nb.metadata["language_info"] = {"name": "python"}
    made = {"profile": profile, "source_sha256": source_sha256(nb)}
    nb.metadata["nnlib"] = made | ({"language": other} if other else {})
    return nb


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--language", choices=LANGUAGES, default="en")
    parser.add_argument("--profile", default="standard", metavar="quick|standard")
    options = parser.parse_args()
    try:
        with speaking(options.language):
            refresh(options.profile)
    except (ValueError, RuntimeError) as error:
        sys.exit(f"notebooks and figures stay as they were: {error}")
