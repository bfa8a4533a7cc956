"""Stored long runs: written row by row, gone on with, and quoted truly in the README."""

import json
import re

import pandas as pd
import pytest

from nnlib import InputError, TrainConfig, results
from nnlib.files import project_root


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch, tmp_path) -> results.Study:
    """A study of two small nets on digits, two seeds each, kept in a folder of its own."""
    settings = {name: TrainConfig(dataset="digits", hidden=(n,), epochs=2)
                for name, n in (("small", 8), ("large", 32))}  # fmt: skip
    made = results.Study("Two nets.", settings, seeds=(0, 1))
    monkeypatch.setattr(results, "STUDIES", {"two": made})
    monkeypatch.setattr(results, "folder", lambda: tmp_path / "results")
    return made


def test_a_study_becomes_a_table_with_its_description(study, tmp_path) -> None:
    results.compute("two")
    table = results.load("two")
    assert list(table["name"]) == ["small", "large", "small", "large"]
    assert list(table["seed"]) == [0, 0, 1, 1]
    assert ((table["test_accuracy"] > 0.2) & (table["test_accuracy"] <= 1)).all()
    assert json.loads(table["settings"][1])["hidden"] == [32]
    assert table["sha256"].nunique() == 1
    about = json.loads((tmp_path / "results" / "two.json").read_text())
    assert about["command"] == "python -m nnlib.results two"


def test_stopping_loses_nothing_and_repeats_nothing(study, monkeypatch) -> None:
    ran, run = [], results.run

    def stop_at_third(label, config):
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append((label, config.seed))
        return run(label, config)

    monkeypatch.setattr(results, "run", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        results.compute("two")
    assert len(results.load("two")) == 2
    first = results.load("two").to_dict("records")
    monkeypatch.setattr(results, "run", lambda *a: ran.append((a[0], a[1].seed)) or run(*a))
    results.compute("two")
    assert ran == [("small", 0), ("large", 0), ("small", 1), ("large", 1)]
    assert results.load("two").to_dict("records")[:2] == first


def test_an_unknown_or_missing_study_is_named(study) -> None:
    with pytest.raises(InputError, match="unknown study 'three': use two"):
        results.load("three")
    with pytest.raises(InputError, match=r"two\.csv does not exist: compute it with"):
        results.load("two")


def test_the_readme_quotes_the_stored_runs() -> None:
    """Mean and standard deviation of every report's runs, as they are in the table."""
    readme = (project_root() / "README.md").read_text(encoding="utf-8")
    block = readme.split("<!-- results -->")[1].split("<!-- /results -->")[0]
    quoted = re.findall(r"(\d+\.\d\d) ± (\d+\.\d\d) %", block)
    runs = pd.read_csv(project_root() / "data" / "results" / "reports.csv")
    percent = runs.groupby("name")["test_accuracy"].agg(["mean", "std"]) * 100
    expected = [(f"{row['mean']:.2f}", f"{row['std']:.2f}") for _, row in percent.iterrows()]
    assert quoted == expected
