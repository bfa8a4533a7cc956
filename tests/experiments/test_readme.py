"""The README quotes the stored runs, and no number of its tables is typed."""

from dataclasses import replace

import numpy as np
import pandas as pd

from experiments import command, readme
from experiments.catalogue import REPORTS, STUDIES
from nnlib.files import project_root


def test_the_readme_quotes_the_stored_runs() -> None:
    """Where this fails, `python -m experiments --readme` brings the README up to date."""
    assert readme.quoted() == readme.block()


def test_the_quoted_figures_are_those_of_the_table() -> None:
    runs = pd.read_csv(project_root() / "data" / "results" / "reports.csv")
    runs = runs[(runs["recipe"] == "as published") & (runs["reading"] == "as trained")]
    lines = readme.block().splitlines()
    assert list(runs.groupby("report").size()) == [5] * 5
    for recipe in REPORTS.recipes[:5]:
        own = runs[runs["report"] == recipe.labels["report"]]
        percent = own["test_accuracy"].to_numpy() * 100
        line = next(line for line in lines if recipe.told["as trained"] in line)
        assert f"{np.mean(percent):.2f} ± {np.std(percent, ddof=1):.2f} %" in line
        assert f"| {recipe.published:g} % |" in line


def test_settings_are_quoted_when_all_their_seeds_are_there(two, monkeypatch) -> None:
    told = {"as trained": "32 units", "least squares": "refitted"}
    large = replace(two.large, published=90.0, told=told)
    monkeypatch.setitem(STUDIES, "two", replace(two.study, recipes=(large,)))
    two.compute()
    lines = "".join(readme.beside_published("two", "net")).splitlines()
    assert [line.split(" | ")[:3] for line in lines[3:]] == [
        ["| digits", "32 units", "90 %"],
        ["| digits", "refitted", "90 %"],
    ]
    runs = two.table()
    assert len(readme.runs_of(large, runs)) == 2
    assert readme.runs_of(large, runs[runs["seed"] == 0]).empty


def test_the_readme_is_brought_up_to_date(monkeypatch, tmp_path) -> None:
    text = (project_root() / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(text.replace(readme.quoted(), "old\n"), encoding="utf-8")
    monkeypatch.setattr(readme, "project_root", lambda: tmp_path)
    assert readme.quoted() == "old\n"
    assert command.main(["--readme"]) == 0
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == text


def test_speed_is_told_round_by_round_and_by_default() -> None:
    times = {
        "nnlib/default": [0.5, 1.0], "nnlib/1": [0.4, 0.4], "nnlib/2": [0.6, 0.6],
        "jax/default": [1.0, 3.0], "jax/1": [0.1, 0.1],
    }  # fmt: skip
    cells = [readme.beside(times, name) for name in ("nnlib", "jax", "pytorch")]
    assert cells == ["0.75", "2.00 (2.5, 2.0 – 3.0)", "–"]
    assert readme.better(times, "nnlib") == ("nnlib/1", [0.4, 0.4])


def test_the_chinese_readme_quotes_the_same_figures() -> None:
    def figures(text: str) -> list[list[str]]:
        rows = [line.split("|")[-3:-1] for line in text.splitlines() if " ± " in line]
        return [[cell.strip() for cell in row] for row in rows]

    chinese = (readme.project_root() / "README.zh-CN.md").read_text(encoding="utf-8")
    assert figures(chinese)
    assert figures(chinese) == figures(readme.block())[: len(figures(chinese))]
