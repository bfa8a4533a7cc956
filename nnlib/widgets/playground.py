"""The playground without its widgets: knobs, runs, and what can be asked of them.

A `Playground` holds a data set and the runs made on it, of which one at a time learns. Nothing
here draws or waits: `learn` is a generator, and whoever steps it (a widget between two events of
the reader's, or a plain loop) decides when.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from nnlib.checks import InputError, one_of, whole
from nnlib.config import TrainConfig
from nnlib.data import Dataset
from nnlib.notebook.trace import Trace
from nnlib.runs import History, rows_to_csv
from nnlib.trainer import Trainer
from nnlib.training import make_trainer

OPTIMISERS: dict[str, dict[str, Any]] = {
    "SGD": {},
    "SGD, momentum 0.9": {"momentum": 0.9},
    "AdamW": {"optimizer": "adamw"},
}
AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "mirror": {"flip": True},
    "shift": {"shift": 1.0},
    "mirror and shift": {"flip": True, "shift": 1.0},
    "turn and zoom": {"rotate": 10.0, "zoom": 0.1},
    "elastic": {"elastic": 1.0},
}
SHORT = {"batch_size": "batch", "weight_decay": "L2", "train_size": "images"}
MOST_WEIGHTS = 10_000_000  # more would make every step a wait, and fill memory
CHUNK_WORK = 4e8  # multiplications between two yields: a few hundredths of a second
JUDGED = 2000  # validation images of a confusion matrix

LEARNING, FINISHED, STOPPED, FAILED = "learning", "finished", "stopped", "failed"


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """What the playground lets one turn; `train_size` 0 is all, the rest as in `TrainConfig`."""

    hidden: tuple[int, ...] = (128,)
    activation: str = "relu"
    optimiser: str = "SGD"
    lr: float = 0.1
    schedule: str = "constant"
    batch_size: int = 64
    weight_decay: float = 0.0
    dropout: float = 0.0
    augmentation: str = "none"
    train_size: int = 0
    epochs: int = 10
    seed: int = 0

    def config(self, dataset: str) -> TrainConfig:
        """Return the settings of a run; raises InputError for what is out of range."""
        own = asdict(self)
        optimiser = OPTIMISERS[one_of("optimiser", own.pop("optimiser"), OPTIMISERS)]
        augment = AUGMENTATIONS[one_of("augmentation", own.pop("augmentation"), AUGMENTATIONS)]
        own["train_size"] = self.train_size or None
        return TrainConfig(dataset=dataset, **own, **optimiser, **augment)

    def differences(self, other: "Knobs") -> str:
        """Return in words what is turned otherwise than in `other`, as "lr 0.5, dropout 0.2"."""
        mine, theirs = self.words(3), other.words(3)
        return ", ".join(
            f"{SHORT.get(name, name.replace('_', ' '))} {value}"
            for name, value in mine.items()
            if value != theirs[name]
        )

    def words(self, digits: int = 6) -> dict[str, str]:
        """Return every knob's value as it is read and written, to so many digits."""
        own = {name: f"{value:.{digits}g}" if isinstance(value, float) else str(value)
               for name, value in asdict(self).items()}  # fmt: skip
        own["hidden"] = "-".join(map(str, self.hidden)) or "none"
        return own | {"train_size": str(self.train_size or "all")}


def parse_sizes(text: str) -> tuple[int, ...]:
    """Read hidden sizes, as "128 64", "128, 64" or "128-64"; nothing, or "none", is no layer."""
    words = re.split(r"[\s,;x×-]+", text.strip(" ,()[]"))
    if words in ([""], ["none"]):
        return ()
    if not all(re.fullmatch(r"\d{1,9}", word) for word in words):
        raise InputError(f"hidden sizes must be whole numbers, as in 128 64, got {text!r}")
    return tuple(map(int, words))


@dataclass(eq=False)
class Run:
    """One training in the playground: its knobs, its trainer, and what was seen of it."""

    number: int
    name: str
    knobs: Knobs
    trainer: Trainer
    trace: Trace = field(default_factory=Trace)
    state: str = LEARNING
    problem: str = ""  # the one line of what went wrong

    @property
    def history(self) -> History:
        """The table of its epochs so far."""
        return self.trainer.history

    def turn_rate(self, factor: float) -> None:
        """From its next step on, multiply the learning rate that the schedule gives."""
        if self.state == LEARNING and factor != self.trainer.lr_factor:
            self.trainer.lr_factor = factor
            self._mark()

    def _mark(self) -> None:
        """Note where the rate was turned; many turns at one place, by a slider, are one."""
        here, turns = self.trace.done, self.trace.turns
        if here and (not turns or here - turns[-1] > self.knobs.epochs / 50):
            turns.append(here)

    def stop(self) -> None:
        """End it before its next step; it keeps the best weights of its finished epochs."""
        if self.state == LEARNING:
            self.state = STOPPED

    def first_weights(self, most: int) -> np.ndarray:
        """Return the incoming weights (D, H) of the first units of the first layer."""
        return self.trainer.model.parameters["W1"][:, :most]

    def confusion(self) -> np.ndarray:
        """Return counts (K, K) on validation images: rows the truth, columns the answer."""
        model, val = self.trainer.model, self.trainer.val.take(slice(JUDGED))
        counts = np.zeros((model.sizes[-1],) * 2, int)
        if len(val):
            np.add.at(counts, (val.y, model.predict(model.scaling(val.images))), 1)
        return counts


class Playground:
    """The runs made on one data set. `learning` is the one that learns, None between runs."""

    def __init__(self, data: Dataset) -> None:
        self.data, self.runs = data, []
        self.learning: Run | None = None
        self.first: Knobs | None = None  # whose values the later runs' names differ from
        self.count = 0

    def start(self, knobs: Knobs, name: str = "") -> Run:
        """Return a new run, ready to `learn`, after stopping the one that learns.

        A run stopped before the end of its first epoch is dropped. Raises InputError for a knob
        out of range.
        """
        trainer = self._trainer(knobs)
        if self.learning:
            self.learning.stop()
            if not self.learning.history.rows:
                self.remove(self.learning)
        self.first = self.first or knobs
        self.count += 1
        name = name or knobs.differences(self.first) or "as given"
        self.learning = Run(self.count, name, knobs, trainer)
        self.runs.append(self.learning)
        return self.learning

    def _trainer(self, knobs: Knobs) -> Trainer:
        sizes = [self.data.train.images[0].size, *knobs.hidden, len(self.data.classes)]
        weights = sum(a * b for a, b in pairwise(sizes))
        if weights > MOST_WEIGHTS:
            raise InputError(
                f"hidden sizes {knobs.words()['hidden']} make {weights:,} weights: "
                f"choose smaller ones, {MOST_WEIGHTS:,} is the most here"
            )
        config = knobs.config(self.data.name)
        trainer = make_trainer(config, _reduced(self.data, knobs.train_size, knobs.seed))
        trainer.chunk_rows = int(min(trainer.chunk_rows, CHUNK_WORK / weights))
        return trainer

    def learn(self, run: Run) -> Iterator[None]:
        """Train a run, yielding several times a second; in between, anything may be changed.

        It ends with `run.state` finished, stopped, or failed with `run.problem`.
        """
        try:
            for progress in run.trainer.run():
                run.trace(progress)
                yield
                if run.state != LEARNING:
                    break
            else:
                run.state = FINISHED
        except ArithmeticError as error:
            run.state, run.problem = FAILED, str(error)
        finally:
            run.stop()
            run.trace.ended = True
            run.trainer.restore_best()
            if self.learning is run:
                self.learning = None

    def train(self, knobs: Knobs, name: str = "") -> Run:
        """Start a run, wait for its end, and return it."""
        run = self.start(knobs, name)
        for _ in self.learn(run):
            pass
        return run

    def remove(self, run: Run) -> None:
        """Take a run from the list; one that learns is stopped."""
        run.stop()
        self.runs = [other for other in self.runs if other is not run]

    def rename(self, run: Run, name: str) -> None:
        """Give a run another name; an empty one leaves it as it is."""
        run.name = " ".join(name.split())[:60] or run.name

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row for each finished epoch of each run: run, name, knobs, history."""
        return [
            {"run": run.number, "name": run.name, **run.knobs.words()}
            | {"rate" if name == "lr" else name: value for name, value in row.items()}
            for run in self.runs
            for row in run.history.rows
        ]

    @property
    def csv(self) -> str:
        """The rows as CSV text."""
        return rows_to_csv(self.rows)


def _reduced(data: Dataset, size: int, seed: int) -> Dataset:
    """Return the data with so many of its training images, drawn at random; 0 is all."""
    if not 0 < whole("images", size) < len(data.train):
        return data
    rows = np.sort(np.random.default_rng(seed).permutation(len(data.train))[:size])
    return replace(data, train=data.train.take(rows), train_indices=data.train_indices[rows])
