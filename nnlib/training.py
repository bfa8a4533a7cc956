"""Training as a whole: from settings to a model, in a folder from which it can go on.

`fit` trains a model of yours on splits of yours. `train` does everything that a `TrainConfig`
says, in a folder of its own, and `resume` goes on there after an interruption, to the byte. All
of them, and whoever else trains, iterate `steps`.

Ctrl-C, and a notebook's stop button, end training between two chunks of images, so that model,
history and folder belong together: the model holds the best weights of the epochs that are done.
"""

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from nnlib import checks, optim
from nnlib.checks import InputError
from nnlib.config import TrainConfig, layers_text
from nnlib.data import Dataset
from nnlib.files import handling, without_nan
from nnlib.images import Split
from nnlib.network import MLP, save_model
from nnlib.runs import CONFIG, History, Progress, RunFolder, default_folder, versions
from nnlib.trainer import Trainer

OnProgress = Callable[[Progress], None]


class Interrupted(KeyboardInterrupt):
    """Training was stopped by hand; its line says what is kept and how to go on.

    `history` is that of the epochs that are done.
    """

    def __init__(self, line: str, history: History) -> None:
        super().__init__(line)
        self.history = history

    def _render_traceback_(self) -> list[str]:
        return [str(self)]  # what IPython shows in place of a traceback


# ---------------------------------------------------------------- the driver, and what is saved


def steps(trainer: Trainer, folder: RunFolder | None = None) -> Generator[Progress, None, None]:
    """Train, yielding what the loop tells, and save each epoch in a folder if there is one.

    However it ends, by itself, by an error or closed by whoever iterates, the model then has the
    best weights of the epochs that are done.
    """
    try:
        for progress in trainer.run():
            if progress.row and folder:
                save_run(trainer, folder)
            yield progress
    finally:
        trainer.restore_best()


def save_run(trainer: Trainer, folder: RunFolder, checkpoint: bool = True) -> None:
    """Write best weights if they are new, history and checkpoint, in this order: after an epoch.

    Without a checkpoint, the best weights in any case.
    """
    history, best = trainer.history, trainer.history.best
    if best is history.rows[-1] or not checkpoint:
        known = without_nan({key: best[key] for key in ("epoch", "val_loss", "val_accuracy")})
        trainer.model.info = trainer.best.info = trainer.model.info | {"best": known}
        save_model(trainer.best, folder.model, sync=False)
    folder.save_history(history)
    if checkpoint:
        folder.save_checkpoint(*trainer.state())
    folder.sync(now=trainer.finished or not checkpoint)


def make_trainer(config: TrainConfig, data: Dataset) -> Trainer:
    """Return the loop that a `TrainConfig` describes, with a new model, before its first step."""
    settings = config.arguments(Trainer) | {
        "optimizer": config.make_optimizer(),
        "schedule": config.make_schedule(-(-len(data.train) // config.batch_size)),
        "augment": config.augmentation,
    }
    return Trainer(config.make_model(data), data.train, data.val, **settings)


def save_settings(config: TrainConfig, trainer: Trainer, folder: RunFolder) -> None:
    """Write config.json: every setting, and what else decides the result."""
    sha256 = trainer.model.info["sha256"]
    about = {"threads": trainer.threads, "sha256": sha256, "versions": versions()}
    folder.save_config(config.as_dict() | about)


def _drive(
    trainer: Trainer, folder: RunFolder | None, on_progress: OnProgress | None, again: str
) -> History:
    """Train to the end; raise Interrupted, whose line ends with `again`, when told to stop."""
    try:
        with _held_interrupt() as held, closing(steps(trainer, folder)) as progresses:
            for progress in progresses:
                if on_progress:
                    on_progress(progress)
                if held:
                    break
    except KeyboardInterrupt:
        raise Interrupted(f"{_kept(trainer, folder)}; {again}", trainer.history) from None
    finally:
        if close := getattr(on_progress, "close", None):
            close()
    return trainer.history


# ---------------------------------------------------------------- a model of one's own


def fit(
    model: MLP,
    train: Split | tuple,
    val: Split | tuple | None = None,
    *,
    epochs: int = 10,
    batch_size: int = 64,
    optimizer: optim.Optimizer | str | None = None,
    schedule: optim.Schedule | str | None = None,
    seed: int = 0,
    out: str | os.PathLike | None = None,
    on_progress: OnProgress | None = None,
    **more: Any,
) -> History:
    """Train a model on a split and return its history; the model ends with its best weights.

    `train` and `val` may be (X, y) or (X, y, weights) in place of a split: floats X (N, D), used as
    they are, whole numbers y (N,), and how much each counts: the loss of a batch is then
    Σ wₙ lₙ / Σ wₙ. `Split.weighted` gives classes weights.

    The best epoch is that of the highest validation accuracy, without `val` the last. `optimizer`
    is plain SGD with a rate of 0.1 by default, `schedule` a function from the step to the rate;
    names that `TrainConfig` knows will do for both. `seed` is that of the order of the images.
    `more` are label_smoothing, clip_norm, average, patience, augment and threads, as in
    `TrainConfig`.

    `out` names a new folder for config.json, history.csv, model.safetensors and the checkpoints.
    `on_progress` is called several times a second; if it has a method `close`, that is called at
    the end. An interrupt at a prompt, a notebook's, ends the training and returns what there is;
    one in a program raises Interrupted. Raises InputError for a setting out of range and
    DivergedError when the loss stops being finite; the model then holds the best weights.
    """
    trainer = Trainer(
        model, train, val, epochs=epochs, batch_size=batch_size, optimizer=optimizer,
        schedule=schedule, seed=seed, **more,
    )  # fmt: skip
    again = "to train on from these weights, call fit again"
    try:
        with RunFolder.create(out) if out is not None else nullcontext() as folder:
            if folder:
                folder.save_config({"architecture": model.architecture, "threads": trainer.threads})
            return _drive(trainer, folder, on_progress, again)
    except Interrupted as stop:
        if not hasattr(sys, "ps1"):  # a program is to end
            raise
        print(stop, file=sys.stderr)
        return stop.history


def range_test(
    trainer: Trainer, low: float = 1e-5, high: float = 10.0
) -> tuple[list[float], list[float]]:
    """Return (rates, losses) of a run whose learning rate grows from `low` to `high`.

    The rate is multiplied by the same factor at every step of the trainer's epochs; the loss is
    that of the step's own batch. It stops where the loss is twice that of the untrained net, or
    not finite (after Smith 2017, section 3.3). The trainer is used up.
    """
    last = max(trainer.epochs * trainer.steps_per_epoch - 1, 1)
    trainer.schedule = lambda step: low * (high / low) ** (step / last)
    trainer.chunk_rows = 1  # a yield after every step
    rates, losses = [], []
    with suppress(ArithmeticError), closing(steps(trainer)) as progresses:  # it may diverge
        for progress in progresses:
            if progress.row is None:
                rates.append(progress.lr)
                losses.append(progress.recent_loss)
                if progress.recent_loss > 2 * losses[0]:
                    break
    return rates, losses


# ---------------------------------------------------------------- by settings


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
    on_progress: OnProgress | None = None,
) -> Run:
    """Train by settings in a new folder (by default one under runs/) and return the run.

    Raises as `resume` does, and InputError where the folder holds a run already.
    """
    data = config.load()
    words = data.name, layers_text(config.hidden), config.activation
    trainer = make_trainer(config, data)
    with RunFolder.create(data.outside(out or default_folder(*words))) as folder:
        save_settings(config, trainer, folder)
        return _finish(config, folder, trainer, on_progress)


def resume(
    path: str | os.PathLike,
    on_progress: OnProgress | None = None,
    *,
    dataset: str | os.PathLike | None = None,
    epochs: int | None = None,
) -> Run:
    """Go on with a run from its last checkpoint, or from its beginning where there is none.

    The weights and the history become those of a run that was never stopped. `dataset` says where
    the same data are now, `epochs` how many there shall be in all: the result is that of so many
    at once. Raises InputError where there is no run, it is damaged or in use, the data are not the
    same, or more epochs would have changed those that are done, Interrupted when told to stop, and
    DivergedError.
    """
    with RunFolder.open(path) as folder:
        saved = folder.load_config()
        try:
            before = TrainConfig.from_dict(saved)
        except InputError as error:
            raise InputError(f"{folder.path / CONFIG}: {error}") from None
        epochs = before.epochs if epochs is None else epochs
        config = replace(before, dataset=os.fspath(dataset or before.dataset), epochs=epochs)
        data = config.load()
        if saved.get("sha256") != data.sha256:
            raise InputError(f"{config.dataset} is not the data that {path} was trained on")
        trainer = make_trainer(config, data)
        folder.load_checkpoint(partial(trainer.load_state, folder=folder))
        if config != before:
            _check_epochs(before, config, trainer.epoch)
        if trainer.epoch and (config != before or not trainer.finished):
            folder.go_on()
            save_run(trainer, folder, checkpoint=False)  # what is there may be of later epochs
        if config != before:
            save_settings(config, trainer, folder)
        return _finish(config, folder, trainer, on_progress)


def _check_epochs(before: TrainConfig, config: TrainConfig, done: int) -> None:
    """Refuse a number of epochs with which those that are done would have been others."""
    checks.whole(f"epochs of a run that has done {done}", config.epochs, least=done)
    if config.epochs != before.epochs and config.schedule in optim.WHOLE_RUN:
        spans = f"the {config.schedule} schedule spans {before.epochs} epochs"
        raise InputError(f"{spans}, which must stay so, got {config.epochs}; train a new run")


def _finish(
    config: TrainConfig, folder: RunFolder, trainer: Trainer, on_progress: OnProgress | None
) -> Run:
    start, path = time.perf_counter(), str(folder.path)
    again = f"to go on: nnlib train --resume {shlex.quote(path)}, or nnlib.resume({path!r})"
    history = _drive(trainer, folder, on_progress, again)
    return Run(config, folder, history, trainer.model, time.perf_counter() - start)


# ---------------------------------------------------------------- interrupts


@contextmanager
def _held_interrupt() -> Iterator[list]:
    """Note Ctrl-C in what is yielded, and raise it at the end; a second acts at once."""
    held: list[int] = []

    def hold(number: int, frame: Any) -> None:
        if held:
            raise KeyboardInterrupt
        held.append(number)

    with handling(signal.default_int_handler, hold, "SIGINT"):
        yield held
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
