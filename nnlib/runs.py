"""The folder of a training run: what is in it, and how it survives being killed.

    config.json                      every setting, the threads, the data's hash
    history.csv                      one row an epoch
    diagnostics.csv                  a few rows an epoch: norms, relative changes, dead units
    model.safetensors                the best weights by validation accuracy
    checkpoint.safetensors           all that decides the future, after the last whole epoch
    checkpoint.previous.safetensors  the same some epochs earlier, should the last be damaged
    .lock                            held by the process that trains here

Whoever trains in a folder holds it alone. The tables grow by a row or some at a time, and the
checkpoint counts the rows that belong to it; every other file is replaced in one step. A killed
process leaves at least one whole checkpoint. Waiting for the disk takes longer than a short epoch,
so it is done every few seconds and at the end; a power cut costs what was trained since, as the
checkpoint that was last safe on disk goes only after a newer one is.
"""

import csv
import io
import math
import os
import platform
import secrets
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nnlib import files
from nnlib.checks import InputError

VERSION = "0.1.0"  # of this library
CONFIG, HISTORY, MODEL = "config.json", "history.csv", "model.safetensors"
DIAGNOSTICS = "diagnostics.csv"
CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"
COLUMNS = ("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy",
           "gradient_norm", "seconds")  # fmt: skip
FILES = CONFIG, HISTORY, DIAGNOSTICS, MODEL, CHECKPOINT, PREVIOUS
SYNC_SECONDS = 3.0  # between two waits for the disk
LONGEST_NAME = 100  # bytes of a default folder's words; file systems take 143 or more


@dataclass(frozen=True)
class Progress:
    """What the loop tells whoever watches: means of this epoch so far, and its row at its end.

    `recent_loss` and `recent_accuracy` are means over the images since the last yield.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    lr: float
    loss: float
    accuracy: float
    recent_loss: float
    recent_accuracy: float
    row: dict | None = None


class History:
    """The table of a run: `rows`, one an epoch, and `samples`, a few an epoch.

    A sample holds epoch, step, gradient norms, relative changes and fractions of dead units.
    Losses leave the L2 penalty out; train figures are means over the epoch's batches as it
    learned; `gradient_norm` is the mean over the epoch's samples; `lr` is the last step's.
    """

    def __init__(self, rows: list[dict] | None = None, samples: list[dict] | None = None) -> None:
        self.rows, self.samples = rows or [], samples or []
        self._best, self._compared = 0, 0  # the best row among so many

    @property
    def table(self) -> Any:
        """The rows as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    @property
    def best(self) -> dict:
        """The row of the best epoch: first with the highest validation accuracy, else last."""
        if not self.rows or math.isnan(self.rows[0]["val_accuracy"]):
            return self.rows[-1] if self.rows else {}
        candidates = self._best, *range(self._compared, len(self.rows))  # each row but once
        self._best = max(candidates, key=lambda number: self.rows[number]["val_accuracy"])
        self._compared = len(self.rows)
        return self.rows[self._best]

    def column(self, name: str) -> list[float]:
        """Return one column, an entry an epoch."""
        return [row[name] for row in self.rows]


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {"nnlib": VERSION, "numpy": np.__version__, "python": platform.python_version()}


def default_folder(*words: str) -> Path:
    """Return a new name under runs/: the words, as far as they fit, the date and a random part."""
    name = os.fsencode("-".join(words))[:LONGEST_NAME].decode(errors="ignore")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / "-".join([name, stamp, secrets.token_hex(3)])


class RunFolder:
    """The files of one run. `create` holds a new one, `open` one that exists, both alone."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(os.path.expanduser(path))
        self.model = self.path / MODEL  # the best weights
        self.written = {HISTORY: 0, DIAGNOSTICS: 0}  # rows that this process has in the files
        self.safe, self.synced = True, 0.0  # is the checkpoint on disk; when was it waited for
        self.used: Path | None = None  # the checkpoint that is gone on from

    @classmethod
    @contextmanager
    def create(cls, path: str | os.PathLike) -> Iterator["RunFolder"]:
        """Make and hold a folder; InputError where it holds a run, or cannot be held or written."""
        folder = cls(path)
        folder._must_be_free()
        with files.owned(files.make_folder(path), FILES):
            folder._must_be_free()  # still
            yield folder

    @classmethod
    @contextmanager
    def open(cls, path: str | os.PathLike) -> Iterator["RunFolder"]:
        """Hold the folder of a run that exists; InputError where there is none, or it is held."""
        folder = cls(path)
        if not (folder.path / CONFIG).is_file():
            raise InputError(f"{path} holds no run ({CONFIG} is missing): name a run's folder")
        with files.owned(folder.path, FILES):
            yield folder

    def _must_be_free(self) -> None:
        if self.holds_a_run():
            raise InputError(f"{self.path} already holds a run: name another folder, or resume it")
        if (self.path / "search.json").exists():
            raise InputError(f"{self.path} already holds a search: name another folder")

    def holds_a_run(self) -> bool:
        """Tell whether any file of a run is there."""
        return any((self.path / name).exists() for name in FILES)

    def save_config(self, config: dict) -> None:
        """Write config.json."""
        files.write_json(self.path / CONFIG, config)

    def load_config(self) -> dict:
        """Read config.json."""
        return files.read_json(self.path / CONFIG)

    def save_history(self, history: History) -> None:
        """Add to history.csv and diagnostics.csv what they lack, numbers to the last digit."""
        for name, rows in ((HISTORY, history.rows), (DIAGNOSTICS, history.samples)):
            path, done = self.path / name, self.written[name]
            if done and path.exists():
                with files.writing(path), open(path, "ab") as stream:
                    stream.write(rows_to_csv(rows, done).encode())
            else:
                files.write_atomic(path, rows_to_csv(rows), sync=False)
            self.written[name] = len(rows)

    def load_rows(self, name: str, number: int, columns: Collection[str]) -> list[dict]:
        """Return so many rows of a table with those columns; InputError where it has others."""
        with files.reading(self.path / name) as path, open(path, encoding="utf-8") as stream:
            try:
                header, *rows = islice(csv.reader(stream), number + 1)
                if sorted(header) != sorted(columns) or len(rows) != number:
                    raise ValueError(f"{len(rows)} rows of {header}"[:100])
                return [{c: _number(c, t) for c, t in zip(header, r, strict=True)} for r in rows]
            except (ValueError, csv.Error) as error:
                raise InputError(f"{path} lacks the checkpoint's {number} rows ({error})") from None

    def save_checkpoint(self, tensors: dict[str, np.ndarray], metadata: dict) -> None:
        """Write a checkpoint; the last that is safe on disk stays beside it."""
        if self.safe and (self.path / CHECKPOINT).exists():
            os.replace(self.path / CHECKPOINT, self.path / PREVIOUS)
        files.save_tensors(self.path / CHECKPOINT, tensors, metadata, sync=False)
        self.safe = False

    def sync(self, now: bool = False) -> None:
        """Wait for the disk, if the last time is long ago."""
        if now or time.monotonic() > self.synced + SYNC_SECONDS:
            files.sync_folder(self.path, FILES)
            self.safe, self.synced = True, time.monotonic()

    def load_checkpoint(self, load: Callable[[dict[str, np.ndarray], dict], None]) -> None:
        """Have `load` take the newest checkpoint that it can use; nothing where there is none yet.

        One that is damaged or refused, by an InputError, costs a warning; both, an InputError.
        """
        refused: list[str] = []
        for path in filter(Path.exists, (self.path / CHECKPOINT, self.path / PREVIOUS)):
            try:
                load(*files.load_tensors(path))
            except InputError as error:
                line = str(error)
                refused.append(line if str(path) in line else f"{path}: {line}")
                continue
            self.used = path
            for line in refused:
                warnings.warn(f"{line}; going on from the one before it", stacklevel=2)
            return
        if refused:
            raise InputError(refused[0])

    def go_on(self) -> None:
        """Let the checkpoint that was loaded be the last; the tables are written anew with it."""
        if self.used == self.path / PREVIOUS:
            os.replace(self.used, self.path / CHECKPOINT)


def _number(column: str, text: str) -> float:
    """Read a number of a table: a NaN, or at least 0, and an accuracy at most 1."""
    number = int(text) if column in ("epoch", "step") else float(text)
    if number < 0 or (number > 1 and column.endswith("accuracy")):
        raise ValueError(f"{column} {text}")
    return number


def rows_to_csv(rows: list[dict], start: int = 0) -> str:
    """Return rows of equal keys as CSV text, floats with all their digits; or those from a place.

    Only at the beginning is there a header. No text begins as a formula of a spreadsheet does.
    """
    if not rows:
        return ""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    if not start:
        writer.writeheader()
    writer.writerows({name: _inert(cell) for name, cell in row.items()} for row in rows[start:])
    return stream.getvalue()


def _inert(cell: Any) -> Any:
    """Return a cell that no spreadsheet computes."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@")) else cell
