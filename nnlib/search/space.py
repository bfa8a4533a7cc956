"""Which settings a search tries: ranges, choices, and the list of configurations they give.

A configuration is a dict of plain values (numbers, names, layers as "128x64"), one for each
varied field of `TrainConfig`. For grid, random and quasi-random search the whole list is a pure
function of space, sampler and seed, so that neither the number of processes nor a restart can
change it; only a guided search has to wait for results. A `Plan` is all that decides a search.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from nnlib import checks
from nnlib.checks import InputError
from nnlib.config import TrainConfig, layers_text, read_layers

SAMPLERS = ("random", "grid", "tpe", "qmc")
PRUNERS = ("none", "median", "halving", "hyperband")
JUDGES = "it decides what the accuracy is measured on; search each value by itself"
FIXED = dict.fromkeys(("dataset", "image_size", "val_size", "train_size", "split_seed"), JUDGES) | {
    "seed": "a lucky seed is not a better setting; ask for several seeds a configuration"
}
DEFAULTS = {f.name: f.default for f in fields(TrainConfig) if f.name not in FIXED}
ATTEMPTS = 1000  # draws without a new configuration after which a small space counts as used up

Plain = int | float | str | bool | None
Configuration = dict[str, Plain]


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included: uniform, or with `log` uniform in the logarithm.

    `integer` keeps to whole numbers. Raises InputError for ends that are not finite or in the
    wrong order, a log range that touches 0, and whole numbers asked for between broken ends.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        log, integer = checks.flag("log", self.log), checks.flag("integer", self.integer)
        for end in (self.low, self.high):
            checks.finite("the end of a range", end)
            if integer and end != int(end):
                raise InputError(f"a range of whole numbers cannot end at {end!r}")
        if self.low > self.high:
            raise InputError(f"the low end {self.low!r} exceeds the high end {self.high!r}; swap")
        if log and self.low <= 0:
            raise InputError(f"a log range must begin above 0, got {self.low!r}; leave out log")
        kind = int if integer else float
        plain = {"low": kind(self.low), "high": kind(self.high), "log": log, "integer": integer}
        vars(self).update(plain)

    def at(self, u: float) -> float | int:
        """Return the value at the quantile u in [0, 1)."""
        ends = self.low, self.high + self.integer
        low, high = map(math.log, ends) if self.log else ends
        value = low + u * (high - low)
        value = math.exp(value) if self.log else value
        value = math.floor(value) if self.integer else value
        return min(max(value, self.low), self.high)

    @property
    def values(self) -> tuple[float, float]:
        """The two ends."""
        return self.low, self.high

    def __str__(self) -> str:
        kind = "-".join(["log"] * self.log + ["int"] * self.integer)
        return f"{self.low:g}:{self.high:g}" + (f":{kind}" if kind else "")


@dataclass(frozen=True)
class Choice:
    """A list of values, each as likely as any other; layers as "128x64" or (128, 64).

    A value given twice counts once. Raises InputError for an empty list.
    """

    values: tuple[Plain, ...]

    def __post_init__(self) -> None:
        given = checks.plain(self.values)
        single = isinstance(given, str) or not isinstance(given, Iterable)
        values = [checks.plain(value) for value in ([given] if single else given)]
        if not values:
            raise InputError("a choice needs at least one value, got none")
        plain = [layers_text(v) if isinstance(v, tuple | list) else v for v in values]
        if odd := [v for v in plain if not isinstance(v, Plain)]:
            raise InputError(f"a choice takes numbers, names and layers, got {odd[0]!r}")
        object.__setattr__(self, "values", tuple(dict.fromkeys(plain)))

    def at(self, u: float) -> Plain:
        """Return the value at the quantile u in [0, 1)."""
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]

    def __str__(self) -> str:
        return ",".join(map(str, self.values))


Space = dict[str, Range | Choice]


# ---------------------------------------------------------------- from text


def parse_range(text: str) -> tuple[str, Range]:
    """Read NAME=LOW:HIGH[:log|:int|:log-int] into a field of `TrainConfig` and its range.

    Raises InputError for anything else. Whether training takes the ends is for `checked_space`.
    """
    field, values = _named(text, "--range NAME=LOW:HIGH[:log|:int|:log-int]")
    low, high, kind = (*values.split(":", 2), "", "")[:3]
    with _telling(text):
        checks.one_of("kind of range", kind or "int", ("log", "int", "log-int"))
        ends = _number(low), _number(high)
        return field, _typed(field, Range(*ends, log="log" in kind, integer="int" in kind))


def parse_choice(text: str) -> tuple[str, Choice]:
    """Read NAME=V1,V2,… into a field of `TrainConfig` and its values; layers as 128x64.

    Raises InputError for anything else. Whether training takes the values is for `checked_space`.
    """
    field, values = _named(text, "--choice NAME=V1,V2,...")
    with _telling(text):
        return field, _typed(field, Choice([value.strip() for value in values.split(",")]))


def _named(text: str, form: str) -> tuple[str, str]:
    """Split NAME=VALUES into a field of `TrainConfig` and the text of its values."""
    name, _, values = text.partition("=")
    if not values:
        raise InputError(f"cannot read {text!r}: write {form}")
    return field_name(name), values


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Say which range or choice an error is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from None


def field_name(name: str) -> str:
    """Return the field of `TrainConfig` that a name with - or _ means, if it may vary."""
    field = name.strip().lstrip("-").replace("-", "_")
    if field in FIXED:
        raise InputError(f"{name} cannot be varied: {FIXED[field]}")
    if field not in DEFAULTS:
        raise InputError(f"unknown hyperparameter {name!r}: use one of {', '.join(DEFAULTS)}")
    return field


def _typed(field: str, dimension: Range | Choice) -> Range | Choice:
    """Return a range, or a choice whose values may still be text, in the type of its field."""
    default = DEFAULTS[field]
    if isinstance(dimension, Choice):
        return Choice(tuple(_value(field, value) for value in dimension.values))
    if isinstance(default, bool | str | None):
        raise InputError(f"{field} has no order: give a choice of its values")
    return replace(dimension, integer=dimension.integer or not isinstance(default, float))


def _value(field: str, value: Plain) -> Plain:
    """Return one value of a choice; what training makes of it is not asked here."""
    default = DEFAULTS[field]
    if isinstance(default, tuple):
        return layers_text(read_layers(str(value)))
    if isinstance(default, bool):
        return checks.one_of(f"value of {field}", str(value).lower(), ("true", "false")) == "true"
    if isinstance(default, str | None):
        return None if default is None and value == "default" else value
    number = _number(value) if isinstance(value, str) else value
    return float(number) if isinstance(default, float) and type(number) is int else number


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{text!r} is not a number") from None
    return int(value) if value.is_integer() else value


def checked_space(config: TrainConfig, space: Space) -> Space:
    """Return the space under field names, in alphabetical order, of their types.

    Every end of a range and every value of a choice is put into `config`, so that a bad one is
    found before anything runs. Raises InputError for that, and for a name that is unknown, cannot
    vary, or is given twice.
    """
    named: Space = {}
    for name in sorted(space, key=field_name):
        if (field := field_name(name)) in named:
            raise InputError(f"{name} is varied twice; give it one range or one choice")
        with _telling(f"{field}={space[name]}"):
            named[field] = _typed(field, space[name])
    for field, dimension in named.items():
        with _telling(f"{field}={dimension}"):
            for value in dimension.values:
                _must_be_possible(config, named, field, value)
    return named


def _must_be_possible(config: TrainConfig, space: Space, name: str, value: Plain) -> None:
    """Refuse a value that fails by itself and beside both the first and the last of the rest.

    It may need another one, as Nesterov's form does momentum.
    """
    first, last = ({other: d.values[end] for other, d in space.items()} for end in (0, -1))
    for beside in (last, first):
        with suppress(InputError):
            replace(config, **beside | {name: value})
            return
    replace(config, **{name: value})


# ---------------------------------------------------------------- configurations


def configurations(
    space: Space, sampler: str, trials: int | None, seed: int = 0
) -> list[Configuration]:
    """Return the configurations to try, the same for the same arguments, each of them once.

    grid     every combination of the choices, in an order drawn by seed, at most `trials`
    random   independent draws, number i from a generator of its own made from [seed, i]
    qmc      a scrambled Sobol sequence, which fills the space more evenly (Sobol 1967; Owen 1998)
    tpe      {} for each trial: results decide

    A longer list begins with the shorter one. A finite space may hold fewer than `trials`.
    Raises InputError for an empty space, fewer than one trial, or a range in a grid.
    """
    checks.one_of("sampler", sampler, SAMPLERS)
    if not space:
        raise InputError("nothing varies: give at least one range or choice")
    if trials is not None or sampler != "grid":
        checks.whole("trials", trials, least=1)
    seed = checks.whole("seed", seed)
    if sampler == "tpe":
        return [{} for _ in range(trials)]
    drawn = _combinations(space, seed) if sampler == "grid" else _draws(space, sampler, seed)
    chosen = itertools.islice(_distinct(drawn), trials)
    return [dict(zip(space, values, strict=True)) for values in chosen]


def _combinations(space: Space, seed: int) -> Iterator[tuple[Plain, ...]]:
    for name, dimension in space.items():
        if isinstance(dimension, Range):
            raise InputError(f"a grid takes choices alone, and {name} is a range {dimension}")
    every = list(itertools.product(*(dimension.values for dimension in space.values())))
    return (every[i] for i in np.random.default_rng(seed).permutation(len(every)))


def _draws(space: Space, sampler: str, seed: int) -> Iterator[tuple[Plain, ...]]:
    """Yield the values at points of the unit cube, without end."""
    if sampler == "qmc":
        from scipy.stats import qmc

        sobol = qmc.Sobol(len(space), scramble=True, rng=np.random.default_rng(seed))
        points = (sobol.random()[0] for _ in itertools.count())
    else:
        points = (np.random.default_rng([seed, n]).random(len(space)) for n in itertools.count())
    for point in points:
        dimensions = zip(space.values(), point.tolist(), strict=True)
        yield tuple(dimension.at(u) for dimension, u in dimensions)


def _distinct(drawn: Iterator[tuple[Plain, ...]]) -> Iterator[tuple[Plain, ...]]:
    """Yield each at its first appearance, until none comes for a long time."""
    seen, idle = set(), 0
    for values in drawn:
        idle = idle + 1 if values in seen else 0
        if idle == 0:
            seen.add(values)
            yield values
        elif idle >= ATTEMPTS:
            return


# ---------------------------------------------------------------- the whole of a search


@dataclass(frozen=True)
class Plan:
    """A search before it begins; raises InputError for whatever of it cannot be.

    `trials` configurations of `space`, all else as in `config`, drawn by `sampler` with `seed`;
    each trained with `seeds` seeds, and stopped early by `pruner`.
    """

    config: TrainConfig
    space: Space
    trials: int | None
    sampler: str
    pruner: str
    seeds: int
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "space", checked_space(self.config, self.space))
        checks.one_of("pruner", self.pruner, PRUNERS)
        checks.whole("seeds", self.seeds, least=1)
        self.configurations  # noqa: B018  (raises for what cannot be drawn)

    @cached_property
    def configurations(self) -> list[Configuration]:
        """What is tried, by the number of the trial."""
        return configurations(self.space, self.sampler, self.trials, self.seed)

    def config_of(self, trial: dict[str, Any]) -> TrainConfig:
        """Return the settings of a trial, given what varies, alone or among other things."""
        return replace(self.config, **{name: trial[name] for name in self.space})

    def runs_of(self, trial: dict[str, Any]) -> list[TrainConfig]:
        """Return the settings of a trial's runs, one for each seed."""
        return [replace(self.config_of(trial), seed=seed) for seed in self.run_seeds]

    @property
    def run_seeds(self) -> list[int]:
        """The seeds that each configuration is trained with."""
        return [self.config.seed + k for k in range(self.seeds)]

    def settings(self, sha256: str) -> dict[str, str]:
        """Say what the search is, its number of trials and the place of its data left out."""
        held = {name: str(value) for name, value in self.config.as_dict().items()}
        varied = {name: f"in {dimension}" for name, dimension in self.space.items()}
        how = {name: str(getattr(self, name)) for name in ("sampler", "pruner", "seeds")}
        return held | varied | how | {"search seed": str(self.seed), "dataset": sha256}
