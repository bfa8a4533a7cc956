"""What a worker does, wherever it runs: it trains one configuration, and says how that went.

On this machine a worker is a process of its own with one BLAS thread, which maps the images into
its memory: the operating system holds them once for all. It takes trials from its standard input,
writes every epoch and every result to its standard output as a line of JSON, and ends when its
input does. It knows nothing of Optuna, and starts the faster for it.
"""

import json
import os
import pickle
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnlib.config import TrainConfig
from nnlib.data import Dataset
from nnlib.files import make_folder
from nnlib.runs import RunFolder
from nnlib.training import make_trainer, save_run, save_settings, steps

Result = dict[str, Any]  # an outcome, the reason why there can be none, or how it was lost
Report = Callable[[int, int, float], bool]  # (seed, epoch, accuracy) -> go on?


def train_trial(data: Dataset, configs: list[TrainConfig], folder: Path, report: Report) -> Result:
    """Train one configuration with each of its seeds; the same settings give the same result.

    Each seed's settings, history and best weights go to a folder `seed-S` inside `folder`, where
    they replace what a trial that was killed may have left. `report` hears of every epoch and may
    say stop. Returns {"outcome": {"seeds": {seed: {"accuracy", "epoch", "epochs"}}, "seconds",
    "pruned"}}, {"reason": why these settings cannot be trained}, or {"lost": what failed outside
    the trial}, as a disk or the memory may.
    """
    try:
        return {"outcome": _train(data, configs, folder, report)}
    except Exception as error:
        outside = isinstance(error.__cause__, OSError | MemoryError)
        of_settings = isinstance(error, ValueError | ArithmeticError) and not outside
        named = of_settings or outside
        text = str(error) if named else f"{type(error).__name__}: {error}"
        return {"reason" if of_settings else "lost": " ".join(text.split())}


def _train(data: Dataset, configs: list[TrainConfig], folder: Path, report: Report) -> Result:
    start, seeds, pruned = time.perf_counter(), {}, False
    for config in configs:
        trainer = make_trainer(replace(config, threads=1), data)
        with closing(steps(trainer)) as progresses:
            for row in filter(None, (progress.row for progress in progresses)):
                go_on = report(config.seed, row["epoch"], row["val_accuracy"])
                pruned = not go_on and not (trainer.finished and config is configs[-1])
                if pruned:
                    break
        best = trainer.history.best
        about = {"accuracy": best["val_accuracy"], "epoch": best["epoch"]}
        seeds[str(config.seed)] = about | {"epochs": trainer.epoch}
        if pruned:
            break
        run = RunFolder(make_folder(folder / f"seed-{config.seed}"))
        save_run(trainer, run, checkpoint=False)
        save_settings(config, trainer, run)
    return {"seeds": seeds, "seconds": time.perf_counter() - start, "pruned": pruned}


# ---------------------------------------------------------------- a process


def main() -> None:
    """Train what standard input asks for, with the images in the folder of the command line."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed is no answer

    def tell(what: Any) -> None:
        print(json.dumps(what), file=answers, flush=True)

    inbox: queue.SimpleQueue = queue.SimpleQueue()
    try:
        arrays = [np.load(path, mmap_mode="r") for path in sorted(Path(sys.argv[1]).iterdir())]
        data = pickle.load(sys.stdin.buffer, buffers=arrays)  # from our parent alone
    except (OSError, ValueError, MemoryError, pickle.UnpicklingError) as error:
        tell(f"the images could not be read ({error})")
        return
    tell("")  # ready
    threading.Thread(target=_listen, args=(inbox,), daemon=True).start()

    def report(*epoch: float) -> bool:
        tell(epoch)
        return inbox.get()

    while True:
        tell(train_trial(data, *inbox.get(), report))


def _listen(inbox: queue.SimpleQueue) -> None:
    """Pass on what the search says, and end with it at once, even in the midst of an epoch."""
    with suppress(Exception):
        while True:
            inbox.put(pickle.load(sys.stdin.buffer))
    os._exit(0)
