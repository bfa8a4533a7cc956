"""A small study of two nets on digits, and a folder of its own for its tables."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from experiments import compute, store
from experiments.study import AS_TRAINED, Group, Recipe, Study
from nnlib import TrainConfig

SMALL = TrainConfig(dataset="digits", hidden=(8,), epochs=2)


class Two:
    """The study of two small nets, two seeds each, its files, and what its runs give."""

    def __init__(self, place: Path) -> None:
        small = Recipe(SMALL, {"recipe": "small"}, seeds=(0, 1))
        large = Recipe(
            replace(SMALL, hidden=(32,)),
            {"recipe": "large"},
            seeds=(0, 1),
            readings=(AS_TRAINED, "least squares"),
        )
        self.small, self.large, self.place = small, large, place
        self.study = Study("Two nets.", {"recipe": "its name"}, (small, large))

    @property
    def grouped(self) -> Study:
        """Both nets in groups that answer together, and one of them saved."""
        small = replace(self.small, readings=self.large.readings)
        large = replace(self.large, saved="large.safetensors")
        about = {"data": "digits", "recipe": "several", "minutes": ""}
        groups = (
            Group({"group": "both"} | about, (small, large)),
            Group({"group": "large"} | about, (large,)),
        )
        return replace(self.study, recipes=(small, large), groups=groups)

    def compute(self, study: Study | None = None, say=lambda line: None) -> list[str]:
        """Compute what is missing of it; return the lines that were said."""
        lines: list[str] = []

        def hear(line: str) -> None:
            lines.append(line)
            say(line)

        compute.Runs("two", study or self.study).compute(1, hear)
        return lines

    def table(self, end: str = "") -> pd.DataFrame:
        """Return one of its tables as it is stored."""
        return pd.read_csv(self.place / f"two{end}.csv")


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, known: dict) -> Two:
    """The two small nets, nothing stored yet; their runs are made once, in this process."""

    def in_this_process(nets, jobs, alone, on_epoch) -> Iterator[store.Outcome]:
        for number, net in enumerate(nets):
            settings = (net.config, net.recipe.readings, net.saved)
            if settings not in known:
                known[settings] = compute.outcome(net, 1)
            for _ in range(net.config.epochs):
                on_epoch(number)
            yield replace(known[settings], net=net)

    monkeypatch.setattr(compute, "outcomes", in_this_process)
    monkeypatch.setattr(store, "folder", lambda: tmp_path)
    monkeypatch.setattr(store, "models", lambda: tmp_path / "models")
    return Two(tmp_path)


@pytest.fixture(scope="session")
def known() -> dict:
    """What a run gave, by what decides it."""
    return {}
