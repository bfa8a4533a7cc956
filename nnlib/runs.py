"""The folder of a training run: what is in it, and how it survives being killed.

    config.json                      every setting, the threads, the data's hash
    history.csv                      one row an epoch
    diagnostics.csv                  a few rows an epoch: norms, relative changes, dead units
    model.safetensors                the best weights by validation accuracy
    checkpoint.safetensors           all that decides the future, after the last whole epoch
    checkpoint.previous.safetensors  the same one epoch earlier, should the last be damaged

Every file is replaced in one step, and the older checkpoint goes only after the newer one is
safe on disk, so that at any moment at least one of the two is whole.
"""

import csv
import io
import math
import os
import platform
import secrets
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from nnlib.checks import InputError
from nnlib.files import load_tensors, make_folder, read_json, save_tensors, write_atomic, write_json

VERSION = "0.1.0"  # of this library
CONFIG, HISTORY, MODEL = "config.json", "history.csv", "model.safetensors"
DIAGNOSTICS = "diagnostics.csv"
CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"


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

    Losses leave the L2 penalty out; train figures are means over the epoch's batches as it
    learned; `gradient_norm` is the mean over the epoch's samples; `lr` is the last step's.
    """

    def __init__(self, rows: list[dict] | None = None, samples: list[dict] | None = None) -> None:
        self.rows, self.samples = rows or [], samples or []

    @property
    def table(self) -> Any:
        """The rows as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    @property
    def diagnostics(self) -> Any:
        """The samples as a pandas DataFrame: step, gradient norms, relative changes, dead units."""
        import pandas as pd

        return pd.DataFrame(self.samples)

    @property
    def best(self) -> dict:
        """The row of the best epoch: first with the highest validation accuracy, else last."""
        if not self.rows or math.isnan(self.rows[0]["val_accuracy"]):
            return self.rows[-1] if self.rows else {}
        return max(self.rows, key=lambda row: row["val_accuracy"])

    def column(self, name: str) -> list[float]:
        """Return one column, an entry an epoch."""
        return [row[name] for row in self.rows]

    def epochs_since_best(self) -> int:
        """Return how many epochs have passed without a better one."""
        return self.rows[-1]["epoch"] - self.best["epoch"] if self.rows else 0

    def mean_gradient_norm(self, epoch: int) -> float:
        """Return the mean norm of the whole gradient over an epoch's samples."""
        norms = [s["gradient"] for s in self.samples if s["epoch"] == epoch]
        return sum(norms) / len(norms)


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {"nnlib": VERSION, "numpy": np.__version__, "python": platform.python_version()}


def default_folder(*words: str) -> Path:
    """Return a new name under runs/: the words, the date and a random part."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / "-".join([*words, stamp, secrets.token_hex(3)])


class RunFolder:
    """The files of one run. `create` starts a new one, `open` finds an existing one."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(os.path.expanduser(path))
        self.model = self.path / MODEL  # the best weights

    @classmethod
    def create(cls, path: str | os.PathLike) -> "RunFolder":
        """Make the folder; InputError where it holds a run already or cannot be written."""
        folder = cls(path)
        if folder.holds_a_run():
            raise InputError(f"{path} already holds a run: name another folder, or resume it")
        make_folder(path)
        return folder

    @classmethod
    def open(cls, path: str | os.PathLike) -> "RunFolder":
        """Return the folder of a run that exists; InputError where there is none."""
        folder = cls(path)
        if not (folder.path / CONFIG).is_file():
            raise InputError(f"{path} holds no run ({CONFIG} is missing): name a run's folder")
        return folder

    def holds_a_run(self) -> bool:
        """Tell whether any file of a run is there."""
        names = (CONFIG, HISTORY, MODEL, CHECKPOINT, PREVIOUS)
        return any((self.path / name).exists() for name in names)

    def save_config(self, config: dict) -> None:
        """Write config.json."""
        write_json(self.path / CONFIG, config)

    def load_config(self) -> dict:
        """Read config.json; InputError where it is not a table."""
        config = read_json(self.path / CONFIG)
        if not isinstance(config, dict):
            raise InputError(f"{self.path / CONFIG} is not a table of settings; restore it")
        return config

    def save_history(self, history: History) -> None:
        """Write history.csv and diagnostics.csv, numbers to the last digit."""
        write_atomic(self.path / HISTORY, rows_to_csv(history.rows))
        write_atomic(self.path / DIAGNOSTICS, rows_to_csv(history.samples))

    def save_checkpoint(self, tensors: dict[str, np.ndarray], metadata: dict) -> None:
        """Keep the last checkpoint as the previous one, then write the new one."""
        newer = self.path / f".{CHECKPOINT}.new"
        save_tensors(newer, tensors, metadata)
        if (self.path / CHECKPOINT).exists():
            os.replace(self.path / CHECKPOINT, self.path / PREVIOUS)
        os.replace(newer, self.path / CHECKPOINT)

    def load_checkpoint(self) -> tuple[dict[str, np.ndarray], dict] | None:
        """Return the newest checkpoint that is whole, or None where there is none yet.

        A damaged last one costs one epoch and a warning; both damaged is an InputError.
        """
        present = [p for p in (self.path / CHECKPOINT, self.path / PREVIOUS) if p.exists()]
        for number, path in enumerate(present):
            try:
                return load_tensors(path)
            except InputError as error:
                if number == len(present) - 1:
                    raise
                warnings.warn(f"{error}; going on from the one before it", stacklevel=2)
        return None


def rows_to_csv(rows: list[dict]) -> str:
    """Return rows of equal keys as CSV text, floats with all their digits."""
    if not rows:
        return ""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
