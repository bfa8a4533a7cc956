"""Training as a whole: from settings to a model, in a folder from which it can go on.

`fit` trains a model of yours on splits of yours. `train` does everything that a `TrainConfig`
says, in a folder of its own, and `resume` goes on there after an interruption, to the byte.

Ctrl-C, and a notebook's stop button, end training between two chunks of images, so that model,
history and folder belong together: the model holds the best weights of the epochs that are done.
"""

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

AT_ONCE = 2.0  # seconds within which a second stop is meant for more than this training
_last_stop = -AT_ONCE


class Interrupted(KeyboardInterrupt):
    """Training was stopped by hand; its line says what is kept and how to go on.

    `history` is that of the epochs that are done.
    """

    def __init__(self, line: str, history: History) -> None:
        super().__init__(line)
        self.history = history

    def _render_traceback_(self) -> list[str]:
        return [str(self)]  # what IPython shows in place of a traceback


def fit(
    model: MLP,
    train: Split,
    val: Split | None = None,
    *,
    out: str | os.PathLike | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> History:
    """Train a model on a split and return its history; the model ends with its best weights.

    `settings` are those of `Trainer`: epochs, batch_size, optimizer, schedule, seed, ….
    `out` names a new folder for config.json, history.csv, model.safetensors and the checkpoints;
    with `resume`, the folder of an earlier call, which is gone on with from its last checkpoint.
    `on_progress` is called several times a second; if it has a method `close`, that is called at
    the end. An interrupt at a prompt, a notebook's, ends the training and returns what there is;
    a second one at once, and any in a program, raises Interrupted. Raises InputError for a setting
    out of range and DivergedError when the loss stops being finite; the model then holds the best
    weights.
    """
    trainer = Trainer(model, train, val, **settings)
    folder = _folder_for(trainer, out, resume) if out is not None else None
    again = "to train on from these weights, call fit again"
    if folder:
        again = "to go on where it stopped, make the same call with resume=True"
    try:
        return _drive(trainer, folder, on_progress, again)
    except Interrupted as stop:
        if _wants_out():
            raise
        print(stop, file=sys.stderr)
        return stop.history


def _folder_for(trainer: Trainer, out: str | os.PathLike, resume: bool) -> RunFolder:
    """Return the run's folder: a new one, or one whose checkpoint the trainer then goes on from."""
    about = {"architecture": trainer.model.architecture, "threads": trainer.threads}
    if not resume:
        folder = RunFolder.create(out)
        folder.save_config(about)
        return folder
    folder = RunFolder.open(out)
    if folder.load_config().get("architecture") != about["architecture"]:
        raise InputError(f"{out} is a run of another net: resume it with the model it began with")
    if (checkpoint := folder.load_checkpoint()) is not None:
        trainer.load_state(*checkpoint)
    return folder


def _wants_out() -> bool:
    """Tell whether an interrupt is to end more than this training: in a program, or given twice."""
    global _last_stop
    now, before = time.monotonic(), _last_stop
    _last_stop = now
    return not hasattr(sys, "ps1") or now - before < AT_ONCE


def _drive(
    trainer: Trainer,
    folder: RunFolder | None,
    on_progress: Callable[[Progress], None] | None,
    again: str,
) -> History:
    """Run a trainer to its end, saving after every epoch; the model ends with its best weights.

    Raises Interrupted, whose line ends with `again`, when told to stop.
    """
    try:
        with _held_interrupt() as held:
            for progress in trainer.run():
                if progress.row and folder:
                    _save_epoch(trainer, folder)
                if on_progress:
                    on_progress(progress)
                if held:
                    break
    except KeyboardInterrupt:
        raise Interrupted(f"{_kept(trainer, folder)}; {again}", trainer.history) from None
    finally:
        trainer.restore_best()
        if hasattr(on_progress, "close"):
            on_progress.close()
    return trainer.history


@contextmanager
def _held_interrupt() -> Iterator[list]:
    """Note the first Ctrl-C in what is yielded, and raise it at the end; a second acts as ever."""
    held: list[int] = []
    usual = signal.default_int_handler
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not usual:  # someone else cares for it
        yield held
        return

    def hold(number: int, frame: Any) -> None:
        held.append(number)
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, hold)
    try:
        yield held
    finally:
        signal.signal(signal.SIGINT, usual)
    if held:
        raise KeyboardInterrupt


def _kept(trainer: Trainer, folder: RunFolder | None) -> str:
    """Say how far training came, and where its best weights are."""
    best = trainer.history.best
    if not best:
        return f"training stopped in epoch 1 of {trainer.epochs}, before its end"
    where = folder.model if folder else "the model"
    accuracy = best["val_accuracy"]
    known = f" (validation accuracy {accuracy:.2%})" if accuracy == accuracy else ""
    return (
        f"training stopped after epoch {trainer.epoch} of {trainer.epochs}; "
        f"the best weights, of epoch {best['epoch']}{known}, are in {where}"
    )


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
    """Train by settings in a new folder (by default one under runs/) and return the run.

    Raises as `resume` does, and InputError where the folder holds a run already.
    """
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
    where there is no run, it is damaged, or the data are no longer the same, Interrupted when
    told to stop, and DivergedError.
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
    start, path = time.perf_counter(), str(folder.path)
    again = f"to go on: nnlib train --resume {shlex.quote(path)}, or nnlib.resume({path!r})"
    history = _drive(trainer, folder, on_progress, again)
    return Run(config, folder, history, trainer.model, time.perf_counter() - start)
