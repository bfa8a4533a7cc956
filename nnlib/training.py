"""Training as a whole: from settings to a model, in a folder from which it can go on.

`fit` trains a model of yours on splits of yours. `train` does everything that a `TrainConfig`
says, in a folder of its own, and `resume` goes on there after an interruption, to the byte.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nnlib.checks import InputError
from nnlib.config import TrainConfig, versions
from nnlib.data import Dataset, Split
from nnlib.evaluation import Evaluation as Evaluation
from nnlib.evaluation import evaluate as evaluate
from nnlib.network import MLP, save_model
from nnlib.runs import History, RunFolder, default_folder
from nnlib.trainer import DivergedError as DivergedError
from nnlib.trainer import Progress, Trainer


def fit(
    model: MLP,
    train: Split,
    val: Split | None = None,
    *,
    out: str | os.PathLike | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> History:
    """Train a model on a split and return its history; the model ends with its best weights.

    `settings` are those of `Trainer`: epochs, batch_size, optimizer, schedule, seed, ….
    `out` names a new folder for config.json, history.csv, model.safetensors and the checkpoints.
    `on_progress` is called several times a second. Raises InputError for a setting out of range
    and DivergedError when the loss stops being finite; the model then holds the best weights.
    """
    trainer = Trainer(model, train, val, **settings)
    folder = RunFolder.create(out) if out is not None else None
    if folder:
        folder.save_config({"architecture": model.architecture, "threads": trainer.threads})
    return _drive(trainer, folder, on_progress)


def _drive(
    trainer: Trainer, folder: RunFolder | None, on_progress: Callable[[Progress], None] | None
) -> History:
    """Run a trainer to its end, saving after every epoch; the model ends with its best weights."""
    try:
        for progress in trainer.run():
            if progress.row and folder:
                _save_epoch(trainer, folder)
            if on_progress:
                on_progress(progress)
    finally:
        trainer.restore_best()
    return trainer.history


def _save_epoch(trainer: Trainer, folder: RunFolder) -> None:
    history = trainer.history
    if history.best is history.rows[-1]:
        best = {key: history.best[key] for key in ("epoch", "val_loss", "val_accuracy")}
        trainer.judged.info = trainer.model.info | {"best": _without_nan(best)}
        save_model(trainer.judged, folder.model)
    folder.save_checkpoint(*trainer.state())
    folder.save_history(history)


def _without_nan(values: dict) -> dict:
    """Return the values with None for NaN, which JSON does not know."""
    return {key: None if value != value else value for key, value in values.items()}


@dataclass(frozen=True)
class Run:
    """A finished run: its settings, folder, history, model and seconds of work."""

    config: TrainConfig
    folder: RunFolder
    history: History
    model: MLP
    seconds: float


def train(
    config: TrainConfig,
    out: str | os.PathLike | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Train by settings in a new folder (by default one under runs/) and return the run."""
    data = config.load()
    out = out or default_folder(config.dataset, config.hidden, config.activation)
    folder = RunFolder.create(out)
    trainer = make_trainer(config, data)
    folder.save_config(
        config.as_dict()
        | {"threads": trainer.threads, "sha256": data.sha256, "versions": versions()}
    )
    return _finish(config, folder, trainer, on_progress)


def resume(path: str | os.PathLike, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """Go on with a run from its last checkpoint, or from its beginning where there is none.

    The weights and the history become those of a run that was never stopped. Raises InputError
    where there is no run, it is damaged, or the data are no longer the same.
    """
    folder = RunFolder.open(path)
    saved = folder.load_config()
    config = TrainConfig.from_dict(saved)
    data = config.load()
    if saved.get("sha256") != data.sha256:
        raise InputError(f"{config.dataset} is not the data that {path} was trained on")
    trainer = make_trainer(config, data, saved.get("threads"))
    if (checkpoint := folder.load_checkpoint()) is not None:
        trainer.load_state(*checkpoint)
    return _finish(config, folder, trainer, on_progress)


def make_trainer(config: TrainConfig, data: Dataset, threads: int | None = None) -> Trainer:
    """Return the loop that a `TrainConfig` describes, with a new model, before its first step."""
    steps = -(-len(data.train) // config.batch_size)
    return Trainer(
        config.make_model(data),
        data.train,
        data.val,
        epochs=config.epochs,
        batch_size=config.batch_size,
        optimizer=config.make_optimizer(),
        schedule=config.make_schedule(steps),
        seed=config.seed,
        label_smoothing=config.label_smoothing,
        clip_norm=config.clip_norm,
        average=config.average,
        patience=config.patience,
        augment=config.augmentation,
        threads=threads,
    )


def _finish(
    config: TrainConfig,
    folder: RunFolder,
    trainer: Trainer,
    on_progress: Callable[[Progress], None] | None,
) -> Run:
    start = time.perf_counter()
    history = _drive(trainer, folder, on_progress)
    return Run(config, folder, history, trainer.model, time.perf_counter() - start)
