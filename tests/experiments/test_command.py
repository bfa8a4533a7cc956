"""`python -m experiments`: it plans, goes on, begins anew, stops at Ctrl-C, and refuses."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from experiments import command
from experiments.catalogue import STUDIES
from nnlib.files import project_root

SCRIPT = """
import sys
from pathlib import Path
from dataclasses import replace
from nnlib import TrainConfig
from experiments import command, store
from experiments.catalogue import STUDIES
from experiments.study import Recipe, Study
net = TrainConfig(dataset="digits", hidden=(512, 512), epochs=200)
first = Recipe(replace(net, epochs=1), {"recipe": "first"}, seeds=(0, 1, 2))
second = Recipe(net, {"recipe": "second"}, seeds=(0, 1))
STUDIES.clear()
STUDIES["slow"] = Study("Slow.", {"recipe": "its name"}, (first, second))
store.folder = lambda: Path(sys.argv[1])
command.project_root = lambda: Path(sys.argv[1])
if __name__ == "__main__":
    sys.exit(command.main(sys.argv[2:]))
"""


def started(place: Path, *arguments: str) -> subprocess.Popen:
    """Start the command with a study of its own."""
    script = place / "slow.py"
    script.write_text(SCRIPT, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(script), str(place), "slow", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(project_root())},
    )


def test_killed_or_stopped_it_ends_with_its_processes_and_goes_on(tmp_path) -> None:
    """They hold its standard error open, which is at its end only when all are gone."""
    killed = started(tmp_path, "--jobs", "2")
    assert re.match(r"slow 1/5: digits, first, seed 0", killed.stderr.readline())
    killed.kill()
    killed.communicate(timeout=30)
    assert pd.read_csv(tmp_path / "slow.csv")["seed"].tolist() == [0]
    stopped = started(tmp_path, "--jobs", "2")
    assert re.match(r"slow 2/5: digits, first, seed 1", stopped.stderr.readline())
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=30)
    assert stopped.returncode == 1
    assert "4 of 5 runs to compute" in out
    *others, last = err.splitlines()
    assert last == "results: stopped; finished runs are kept, and the same command goes on"
    assert all(line.startswith("slow ") for line in others)
    assert pd.read_csv(tmp_path / "slow.csv")["seed"].tolist()[:2] == [0, 1]


@pytest.fixture
def only(two, monkeypatch: pytest.MonkeyPatch):
    """The study of two small nets, the only one there is."""
    for name in list(STUDIES):
        monkeypatch.delitem(STUDIES, name)
    monkeypatch.setitem(STUDIES, "two", two.study)
    monkeypatch.setattr(command, "project_root", lambda: two.place)
    return two


def test_it_plans_begins_anew_and_refuses(only, capsys) -> None:
    assert command.main(["two", "--plan"]) == 0
    assert re.search(r"two +4 of 4 runs to compute, about \d+ min\n", capsys.readouterr().out)
    assert not (only.place / "two.csv").exists()
    assert command.main(["two", "--jobs", "1"]) == 0
    assert "in all about" in capsys.readouterr().out
    first = only.table()
    assert command.main(["two", "--jobs", "1"]) == 0
    assert "all 4 runs are there\nnothing to compute; --fresh" in capsys.readouterr().out
    pd.testing.assert_frame_equal(first, only.table())
    assert command.main(["two", "--fresh", "--jobs", "1"]) == 0
    assert "4 of 4 runs" in capsys.readouterr().out
    assert command.main(["three"]) == 2
    assert capsys.readouterr().err == "results: unknown study 'three': use two, searches\n"
    assert command.main(["--jobs", "0"]) == 2
    assert capsys.readouterr().err.endswith("jobs must be a whole number >= 1, got 0\n")


def test_all_is_computed_where_nothing_is_named(only, capsys) -> None:
    assert command.main(["--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["two", "searches", "in"]


def test_two_of_them_do_not_write_the_same_table(only, capsys) -> None:
    with command._alone():
        assert command.main(["two"]) == 2
    assert "being computed by another process" in capsys.readouterr().err
