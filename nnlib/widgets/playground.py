"""The playground without its widgets: knobs, runs, and what can be asked of them.

A `Playground` holds a data set and the runs made on it, of which one at a time learns. Nothing
here draws or waits: `learn` is a generator, and whoever steps it (a widget between two events of
the reader's, or a plain loop) decides when.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import count, pairwise
from typing import Any

import numpy as np

from nnlib.checks import InputError, one_of, whole
from nnlib.config import TrainConfig
from nnlib.data import Dataset
from nnlib.notebook.trace import Trace
from nnlib.runs import History, rows_to_csv
from nnlib.trainer import Trainer
from nnlib.training import make_trainer, steps

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
        own = asdict(self) | {"train_size": self.train_size or None}
        for name, known in (("optimiser", OPTIMISERS), ("augmentation", AUGMENTATIONS)):
            own |= known[one_of(name, own.pop(name), known)]
        return TrainConfig(dataset=dataset, **own)

    def differences(self, other: "Knobs") -> str:
        """Return in words what is turned otherwise than in `other`, as "lr 0.5, dropout 0.2"."""
        mine, theirs = self.words(3), other.words(3)
        turned = [name for name in mine if mine[name] != theirs[name]]
        return ", ".join(f"{SHORT.get(name, name)} {mine[name]}" for name in turned)

    def words(self, digits: int = 6) -> dict[str, str]:
        """Return every knob's value as it is read and written, to so many digits."""
        hidden, size = "-".join(map(str, self.hidden)) or "none", self.train_size or "all"
        own = asdict(self) | {"hidden": hidden, "train_size": size}
        return {k: f"{v:.{digits}g}" if isinstance(v, float) else str(v) for k, v in own.items()}


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
            self.trace.turn()

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
        answers, k = model.predict(model.scaling(val.images)), model.sizes[-1]
        return np.bincount(k * val.y.astype(int) + answers, minlength=k * k).reshape(k, k)

    @property
    def standing(self) -> str:
        """Where it is, in one line."""
        known, now = f"Run {self.number} {self.state}", self.trace.last
        if now is None:
            return f"{known}: before its first step"
        known += f": epoch {self.trace.done:.1f} of {now.epochs}, learning rate {now.lr:.3g}"
        return f"{known}, training loss {now.loss:.3f}, accuracy {now.accuracy:.1%}"

    @property
    def best(self) -> str:
        """Its best validation accuracy, in words."""
        row = self.history.best
        return f"{row['val_accuracy']:.1%} in epoch {row['epoch']}" if row else "none yet"


class Playground:
    """The runs made on one data set. `learning` is the one that learns, None between runs."""

    def __init__(self, data: Dataset) -> None:
        self.data, self.runs = data, []
        self.learning: Run | None = None
        self.first: Knobs | None = None  # whose values the later runs' names differ from
        self.numbers = count(1)

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
        name = name or knobs.differences(self.first) or "as given"
        self.learning = Run(next(self.numbers), name, knobs, trainer)
        self.runs.append(self.learning)
        return self.learning

    def _trainer(self, knobs: Knobs) -> Trainer:
        weights = sum(a * b for a, b in pairwise(self.data.sizes(*knobs.hidden)))
        if weights > MOST_WEIGHTS:
            raise InputError(
                f"hidden sizes {knobs.words()['hidden']} make {weights:,} weights: "
                f"choose smaller ones, {MOST_WEIGHTS:,} is the most here"
            )
        data, n = self.data, len(self.data.train)
        if 0 < whole("images", knobs.train_size) < n:
            rows = np.sort(np.random.default_rng(knobs.seed).permutation(n)[: knobs.train_size])
            few = data.train.take(rows)
            data = replace(data, train=few, train_indices=data.train_indices[rows])
        trainer = make_trainer(knobs.config(data.name), data)
        trainer.chunk_rows = int(min(trainer.chunk_rows, CHUNK_WORK / weights))
        return trainer

    def learn(self, run: Run) -> Iterator[None]:
        """Train a run, yielding several times a second; in between, anything may be changed.

        It ends with `run.state` finished, stopped, or failed with `run.problem`.
        """
        learning = steps(run.trainer)
        try:
            for progress in learning:
                run.trace(progress)
                yield
                if run.state != LEARNING:
                    return
            run.state = FINISHED
        except ArithmeticError as error:
            run.state, run.problem = FAILED, str(error)
        finally:
            learning.close()
            run.stop()
            run.trace.ended = True
            if self.learning is run:
                self.learning = None

    def remove(self, run: Run) -> None:
        """Take a run from the list; one that learns is stopped."""
        run.stop()
        self.runs = [other for other in self.runs if other is not run]

    def rename(self, run: Run, name: str) -> None:
        """Give a run another name; an empty one leaves it as it is."""
        run.name = " ".join(name.split())[:60] or run.name

    @property
    def csv(self) -> str:
        """One row for each finished epoch of each run, as CSV: run, name, knobs, history."""
        rows = [
            {"run": run.number, "name": run.name, **run.knobs.words()}
            | {"rate" if name == "lr" else name: value for name, value in row.items()}
            for run in self.runs
            for row in run.history.rows
        ]
        return rows_to_csv(rows)
