"""Every number of every parameters cell may be changed: each notebook, each parameter, in turn.

Half an hour in all; `-k 03_training` or `-k "03_training and lr"` runs a part of it.
"""

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import needs_official

from nnlib.report.execute import execute_all, own_dataset, quick_values
from nnlib.report.exporter import tags_of

PATHS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9][0-9]_*.ipynb"))
OWN = "a folder of one's own"
OTHERS: dict[str, list[Any]] = {  # where the rule below would make no sense
    "dataset": ["mnist", "digits", OWN],
    "lr_range": [[0.01, 0.5]],
    "decay_range": [[1e-5, 1e-2]],
    "width_range": [[16, 64]],
}


def parameters(path: Path) -> dict[str, tuple[Any, str]]:
    """Return value and comment of each parameter, the value as the quick profile has it."""
    nb = nbformat.read(path, as_version=4)
    (cell,) = [cell for cell in nb.cells if "parameters" in tags_of(cell)]
    lines = re.findall(r"^(\w+) = (.*?)  # (.*)$", cell.source, re.MULTILINE)
    assert len(lines) == len(ast.parse(cell.source).body), f"{path.stem}: one knob a line"
    quick = quick_values(nb)
    return {name: (quick.get(name, ast.literal_eval(v)), about) for name, v, about in lines}


def others(name: str, value: Any, about: str) -> list[Any]:
    """Return other sensible values for a parameter, by its kind."""
    if name in OTHERS:
        return OTHERS[name]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, str):  # "hyperband"  # or halving, median
        return [re.search(r"\bor (\w+)", about)[1]]
    if isinstance(value, list | tuple):
        return [list(value[:-1]) if len(value) > 1 else [*value, max(1, value[0] // 2)]]
    if value is None:
        return [1000]
    if isinstance(value, int):
        return [value + 1 if value < 10 else value // 2]
    return [value / 2 or 0.1]


def cases() -> list:
    return [
        pytest.param(path, name, other, id=f"{path.stem}-{name}-{other}".replace(" ", ""))
        for path in PATHS
        for name, (value, about) in parameters(path).items()
        for other in others(name, value, about)
    ]


@needs_official
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("path", "name", "value"), cases())
def test_notebook_runs_with_another_value(
    path: Path, name: str, value: Any, own_folder: Path, tmp_path: Path
):
    nb = nbformat.read(path, as_version=4)
    given = {"profile": "quick", name: str(own_folder) if value == OWN else value}
    if own_dataset(nb) != "fashion-mnist":  # what has to be fetched is not of this test
        given = {"dataset": "digits"} | given
    done = execute_all({path.stem: nb}, given, tmp_path, tmp_path / "figures")[path.stem]
    said = [
        f"{cell.id}: {output.get('text', output.output_type)}"
        for cell in done.cells
        for output in cell.get("outputs", [])
        if output.output_type not in ("display_data", "execute_result")
    ]
    assert said == []


def test_the_rule_changes_every_value():
    changed = 0
    for path in PATHS:
        for name, (value, about) in parameters(path).items():
            new = others(name, value, about)
            assert list(value) not in new if isinstance(value, tuple) else value not in new, name
            changed += len(new)
    assert changed > 8 * len(PATHS)
