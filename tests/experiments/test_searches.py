"""The course reports' searches: as the reports say, stored trial by trial, and gone on with."""

import json
from dataclasses import replace
from shutil import copytree

import pandas as pd
import pytest

from experiments import searches as report_searches
from experiments import store
from experiments.searches import SEARCHES, ReportSearch, Searches
from nnlib import TrainConfig
from nnlib.search import Choice, Range


def tiny_searches() -> dict[str, ReportSearch]:
    """Two searches of a few trials on digits."""
    config = TrainConfig(dataset="digits", hidden=(8,), epochs=2)
    grid = {"lr": Choice((0.1, 0.2)), "activation": Choice(("relu", "tanh"))}
    ranges = {"lr": Range(0.1, 0.2), "hidden": Range(8, 16)}
    return {
        "A": replace(SEARCHES["A"], config=config, space=grid),
        "B": replace(SEARCHES["B"], config=config, space=ranges, trials=3),
    }


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The two searches, in a folder of their own."""
    searches = tiny_searches()
    monkeypatch.setattr(report_searches, "SEARCHES", searches)
    monkeypatch.setattr(store, "folder", lambda: tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return searches


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """The folder of the two searches when all is computed, and what was said on the way."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("computed")
        patch.setattr(report_searches, "SEARCHES", tiny_searches())
        patch.setattr(store, "folder", lambda: place / "results")
        patch.chdir(place)
        lines, seconds, part = [], [], Searches()
        assert part.missing() == (7, 7)
        expected = part.seconds(jobs=2)
        part.compute(2, lines.append, lambda s, what: seconds.append(s))
        assert part.missing() == (0, 7)
        assert part.seconds(jobs=2) == 0
        assert len(lines) == 7
        assert sum(seconds) == pytest.approx(expected)
    return place


@pytest.fixture
def table(computed, tiny, tmp_path):
    """The two searches as they are stored, in a folder of their own."""
    copytree(computed / "results", tmp_path / "results")
    return stored()


def stored() -> pd.DataFrame:
    """Return the table of trials."""
    return pd.read_csv(store.folder() / "searches.csv")


def test_the_searches_are_those_of_the_reports():
    sizes = {name: len(report_searches.configs(name)) for name in SEARCHES}
    assert sizes == {"A": 72, "B": 50, "C": 27, "E": 10}
    b = pd.DataFrame([vars(config) for config in report_searches.configs("B")])
    assert b["lr"].between(0.15, 0.25).all()
    assert b["weight_decay"].between(1e-7, 1e-4).all()
    assert b["weight_decay"].median() < 1e-5, "log-uniform"
    assert b["hidden"].str[0].between(200, 300).all()
    e = SEARCHES["E"].config
    assert (e.train_size, e.val_size, e.init, e.init_scale) == (49_000, 1_000, "normal", 1e-3)
    assert (e.scale, e.batch_size, e.epochs) == ("none", 100, 10)
    assert (e.schedule, e.decay) == ("exponential", 0.95)


@pytest.mark.parametrize("name", SEARCHES)
def test_what_a_report_preferred_lies_in_its_space(name):
    search = SEARCHES[name]
    for field, value in search.winner.items():
        dimension = search.plan.space[field]
        if isinstance(dimension, Range):
            assert dimension.low <= value <= dimension.high
        else:
            assert value in dimension.values or str(value) in dimension.values
    assert 0.8 < search.best < 1
    assert search.of in ("validation", "test")


def test_a_table_has_a_row_a_trial_and_says_what_it_is(table, computed):
    assert list(table.columns) == list(report_searches.COLUMNS)
    assert list(table["report"]) == ["A"] * 4 + ["B"] * 3
    assert set(table["data"]) == {"digits"}
    assert table["val_accuracy"].between(0.2, 1).all()
    assert set(table["state"]) == {"complete"}
    for row in table.to_dict("records"):
        settings = json.loads(row["settings"])
        assert settings["lr"] == row["lr"]
        assert settings["activation"] == row["activation"]
        assert "x".join(map(str, settings["hidden"])) == str(row["hidden"])
    about = json.loads((computed / "results" / "searches.json").read_text())
    assert about["command"] == "python -m experiments searches"
    assert about["searches"]["B"]["varied"] == {
        "hidden": {"low": 8, "high": 16, "log": False, "integer": True},
        "lr": {"low": 0.1, "high": 0.2, "log": False, "integer": False},
    }
    assert about["searches"]["B"]["held"]["epochs"] == 2
    assert not list((computed / "runs").iterdir()), "the searches' own folders are gone"


def test_stopping_loses_nothing_and_repeats_nothing(table, tmp_path):
    class StopError(Exception):
        pass

    def stop_at_second(line):
        lines.append(line)
        if len(lines) == 2:
            raise StopError

    table[table["report"] == "A"].to_csv(tmp_path / "results" / "searches.csv", index=False)
    lines = []
    with pytest.raises(StopError):
        Searches().compute(1, stop_at_second)
    before = stored()
    assert len(before) == 6
    again = Searches()
    assert again.missing() == (1, 7)
    again.compute(1, lines.append)
    assert len(lines) in (2, 3), "one alone was missing, unless it ended as the one before was told"
    pd.testing.assert_frame_equal(stored().head(6), before)


def test_only_what_changed_is_computed_again(table, tiny):
    changed = replace(tiny["A"].config, epochs=3)
    tiny["A"] = replace(tiny["A"], config=changed)
    part = Searches()
    assert part.missing() == (4, 7)
    part.compute(1)
    before, after = table.set_index("report"), stored().set_index("report")
    pd.testing.assert_frame_equal(after.loc["B"], before.loc["B"])
    assert {json.loads(text)["epochs"] for text in after.loc["A", "settings"]} == {3}
    part.clear()
    assert Searches().missing() == (7, 7)


def test_a_trial_that_fails_has_a_row_without_an_accuracy(tiny):
    tiny["A"] = replace(tiny["A"], space={"lr": Choice((0.1, 1e30))})
    del tiny["B"]
    Searches().compute(1)
    failed = stored().set_index("state").loc["failed"]
    assert pd.isna(failed["val_accuracy"])
    assert "epoch 1" in failed["reason"]
    assert Searches().missing() == (0, 2)
