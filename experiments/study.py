"""What a long run is: settings, the seeds they are trained with, and what a table says of them.

A study is one table. Its recipes become nets, one a seed, and each net gives a row for each way
in which it is read. What a reader sorts or groups by are labels: columns of their own. The
settings themselves, as data, are in `catalogue`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from nnlib.config import TrainConfig

AS_TRAINED = "as trained"
PICTURES = "cifar-10-images"  # CIFAR-10 as JPEG files, put there by hand
TITLES = {"fashion-mnist": "Fashion-MNIST", "mnist": "MNIST", PICTURES: "CIFAR-10 as JPEG"}
Labels = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """Settings, the seeds they are trained with, and their labels, columns beside the data's.

    `readings` are the ways in which a trained net answers (see `readings.READINGS`). `minutes` is
    about what a run takes. A `late` recipe comes after all others. `saved` names the file in
    data/models/ that the net of the first seed is saved in. `note` says what was taken where a
    source leaves a setting open, `published` is the test accuracy of others in percent, and `told`
    the README's words for the readings it quotes.
    """

    config: TrainConfig
    labels: Labels = field(hash=False)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    readings: tuple[str, ...] = (AS_TRAINED,)
    minutes: float = 1.0
    late: bool = False
    saved: str = ""
    note: str = ""
    published: float | None = None
    told: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def columns(self) -> Labels:
        """The labels of every row that comes of it, the data first."""
        return {"data": TITLES.get(self.config.dataset, self.config.dataset)} | self.labels


@dataclass(frozen=True)
class Net:
    """One run: a recipe with a seed."""

    recipe: Recipe
    seed: int

    @property
    def config(self) -> TrainConfig:
        """Its settings."""
        return replace(self.recipe.config, seed=self.seed)

    @property
    def labels(self) -> Labels:
        """What is written before everything else in each row of its curve."""
        return self.recipe.columns | {"seed": self.seed}

    @property
    def rows(self) -> dict[str, Labels]:
        """The labels of its rows in the table, by their keys: one row a reading."""
        rows = [self.labels | {"reading": reading} for reading in self.recipe.readings]
        return {key_of(row): row for row in rows}

    @property
    def saved(self) -> str:
        """The file in data/models/ that it is saved in, if it is."""
        return self.recipe.saved if self.seed == self.recipe.seeds[0] else ""

    def __str__(self) -> str:
        return (
            f"{', '.join(str(value) for value in self.recipe.columns.values())}, seed {self.seed}"
        )


@dataclass(frozen=True)
class Group:
    """Nets that answer together, all seeds of some recipes, once in each of their readings."""

    labels: Labels
    recipes: tuple[Recipe, ...]

    @property
    def rows(self) -> Iterator[tuple[Labels, list[str]]]:
        """The labels of its rows in the table of ensembles, and the keys of the nets' rows."""
        for reading in self.recipes[0].readings:
            nets = [Net(recipe, seed).labels for recipe in self.recipes for seed in recipe.seeds]
            yield (
                self.labels | {"reading": reading},
                [key_of(n | {"reading": reading}) for n in nets],
            )


@dataclass(frozen=True)
class Study:
    """A table of runs: what it is about, its labels and what they mean, recipes and groups.

    Runs stand side by side, one BLAS thread each, unless `alone`: then a run has both cores,
    because its time is part of the result.
    """

    about: str
    labels: dict[str, str]
    recipes: tuple[Recipe, ...]
    groups: tuple[Group, ...] = ()
    alone: bool = False

    def nets(self) -> list[Net]:
        """Return all runs: every recipe with the first seed, every one with the next; then late."""
        nets = [Net(recipe, seed) for recipe in self.recipes for seed in recipe.seeds]
        return sorted(nets, key=lambda net: (net.recipe.late, net.seed))


def key_of(labels: Labels) -> str:
    """Return what a row of these labels is known by."""
    return "/".join(map(str, labels.values()))
