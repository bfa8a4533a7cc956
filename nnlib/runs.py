"""The folder of a training run: what is in it, and how it survives being killed.

    config.json                      every setting, the threads, the data's hash
    history.csv                      one row an epoch
    model.safetensors                the best weights by validation accuracy
    checkpoint.safetensors           all that decides the future, after the last whole epoch
    checkpoint.previous.safetensors  the same one epoch earlier, should the last be damaged

Every file is replaced in one step, and the older checkpoint goes only after the newer one is
safe on disk, so that at any moment at least one of the two is whole.
"""

import csv
import io
import os
import secrets
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from nnlib.checks import InputError
from nnlib.files import load_tensors, make_folder, read_json, save_tensors, write_atomic, write_json

CONFIG, HISTORY, MODEL = "config.json", "history.csv", "model.safetensors"
CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"


def default_folder(dataset: str, hidden: Sequence[int], activation: str) -> Path:
    """Return a new name under runs/: data set, shape, activation, date and a random part."""
    shape = "x".join(map(str, hidden)) or "linear"
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{Path(dataset).name}-{shape}-{activation}-{stamp}-{secrets.token_hex(3)}"
    return Path("runs") / name


class RunFolder:
    """The files of one run. `create` starts a new one, `open` finds an existing one."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

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

    @property
    def model(self) -> Path:
        """Where the best weights are."""
        return self.path / MODEL

    def save_config(self, config: dict) -> None:
        """Write config.json."""
        write_json(self.path / CONFIG, config)

    def load_config(self) -> dict:
        """Read config.json; InputError where it is not a table."""
        config = read_json(self.path / CONFIG)
        if not isinstance(config, dict):
            raise InputError(f"{self.path / CONFIG} is not a table of settings; restore it")
        return config

    def save_history(self, rows: list[dict]) -> None:
        """Write history.csv, one row an epoch, numbers to the last digit."""
        write_atomic(self.path / HISTORY, rows_to_csv(rows))

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
