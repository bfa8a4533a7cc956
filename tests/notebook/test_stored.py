"""Stored tables: a missing or damaged one is named in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nnlib import InputError
from nnlib.notebook import output, stored

RESULTS = Path(__file__).parents[2] / "data" / "results"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-700])


def without(old: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(path.read_text().replace(old, "other"))


def shorter(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))


@pytest.mark.parametrize(
    ("name", "file", "damage", "said"),
    [
        ("simard", "simard.csv", Path.unlink, "cannot read .*simard.csv .*No such file.*; restore"),
        ("simard", "simard.csv", lambda path: path.write_text(""), "cannot read .*simard.csv"),
        ("simard", "simard.csv", lambda path: path.write_bytes(b"\xff\0"), "cannot read .*simard"),
        ("simard", "simard.csv", without("recipe"), "simard.csv lacks the columns recipe; restore"),
        ("simard", "simard.csv", without("reading"), "simard.csv lacks the columns reading"),
        ("simard", "simard.csv", cut, "simard.csv"),
        ("simard", "simard.csv", shorter, "simard.csv lacks 2 of 20 runs; restore"),
        ("simard", "simard.json", Path.unlink, "cannot read .*simard.json"),
        ("simard", "simard.json", cut, "simard.json is not valid JSON"),
        ("simard", "simard.json", lambda path: path.write_text("[]"), "simard.json .*type dict"),
        ("simard", "simard.json", without("seeds"), "simard.json does not describe simard.csv"),
        ("simard", "simard.json", without("published"), "simard.json does not describe simard.csv"),
        ("frontier-ensembles", "frontier.json", without("ensembles"), "frontier.json does not"),
        ("frontier-ensembles", "frontier-ensembles.csv", without("nets"), "lacks the columns nets"),
    ],
)  # fmt: skip
def test_one_line_names_the_file(name, file, damage, said, tmp_path, monkeypatch):
    shutil.copytree(RESULTS, tmp_path / "data" / "results")
    monkeypatch.setattr(output, "project_root", lambda: tmp_path)
    damage(tmp_path / "data" / "results" / file)
    with pytest.raises(InputError, match=said) as told:
        stored(name)
    assert "\n" not in str(told.value)


def test_a_table_comes_with_what_is_said_of_it():
    runs = stored("simard")
    assert len(runs) == 20
    assert runs.query("seed == 0").attrs == json.loads((RESULTS / "simard.json").read_text())


def test_curves_are_read_as_well():
    curves = stored("simard-curves")
    assert {"seed", "epoch", "train_accuracy"} <= set(curves)
