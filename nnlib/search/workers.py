"""Trials in processes of their own, with one BLAS thread each and the images in memory once.

A worker opens the study itself and works until nothing waits there: it claims a trial, trains it,
reports every epoch, asks Optuna whether to go on, and tells the result. The search that started it
says nothing more to it and hears nothing of it; it dies with the search, because its standard
input then ends.
"""

import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock

import nnlib
from nnlib.checks import InputError
from nnlib.config import TrainConfig, versions
from nnlib.data import Dataset
from nnlib.files import make_folder
from nnlib.network import save_model
from nnlib.runs import RunFolder
from nnlib.search.ledger import STORAGE_ERRORS, Ledger
from nnlib.training import DivergedError, Trainer, make_trainer

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
PROGRAM = "from nnlib.search.workers import main; main()"
PATIENCE = 5.0  # seconds that a worker gets to end by itself
Outcome = dict[str, Any]  # seeds, seconds and pruned; or the reason why there is none
Report = Callable[[int, int, float], bool]  # (seed, epoch, accuracy) -> go on?
Train = Callable[[list[TrainConfig], Path, Report], Outcome]


# ---------------------------------------------------------------- what a worker does


def run_trials(ledger: Ledger, worker: str, folder: Path, train: Train) -> None:
    """Claim a trial, train it and write down its outcome, until none waits."""
    plan, claiming = ledger.plan, FileLock(folder / ".claim")
    while True:
        with claiming:
            trial = ledger.claim(worker)
        if trial is None:
            return
        place = folder / "trials" / f"{trial.user_attrs['number']:04d}"
        configs = plan.runs_of(trial.params)
        ledger.finish(trial, train(configs, place, partial(ledger.report, trial)))


def train_trial(data: Dataset, configs: list[TrainConfig], folder: Path, report: Report) -> Outcome:
    """Train one configuration with each of its seeds; the same settings give the same outcome.

    Each seed's settings, history and best weights go to a folder `seed-S` inside `folder`.
    `report` hears of every epoch and may say stop. Returns {"seeds": {seed: {"accuracy", "epoch",
    "epochs"}}, "seconds", "pruned"}, or {"reason"} in one line where training failed.
    """
    start, seeds, pruned = time.perf_counter(), {}, False
    try:
        for config in configs:
            trainer = make_trainer(config, data, threads=1)
            pruned = not _train(trainer, partial(report, config.seed), config is configs[-1])
            best = trainer.history.best
            seeds[str(config.seed)] = {
                "accuracy": best["val_accuracy"],
                "epoch": best["epoch"],
                "epochs": trainer.epoch,
            }
            if pruned:
                break
            _save(trainer, config, folder / f"seed-{config.seed}")
    except (DivergedError, InputError) as error:
        return {"reason": str(error)}
    except (ValueError, ArithmeticError, MemoryError, OSError) as error:
        return {"reason": f"{type(error).__name__}: {error}"}
    return {"seeds": seeds, "pruned": pruned, "seconds": time.perf_counter() - start}


def _train(trainer: Trainer, report: Callable[[int, float], bool], last: bool) -> bool:
    """Train to the end, or until told to stop: then return False."""
    for progress in trainer.run():
        if row := progress.row:
            go_on = report(row["epoch"], row["val_accuracy"])
            if not go_on and not (last and trainer.finished):
                return False
    return True


def _save(trainer: Trainer, config: TrainConfig, path: Path) -> None:
    """Write a run's folder, replacing what a trial that was killed may have left there."""
    folder = RunFolder(make_folder(path))
    trainer.restore_best()
    best = {key: trainer.history.best[key] for key in ("epoch", "val_loss", "val_accuracy")}
    trainer.model.info = trainer.model.info | {"best": best}
    save_model(trainer.model, folder.model)
    folder.save_history(trainer.history)
    about = {"threads": 1, "sha256": trainer.model.info["sha256"], "versions": versions()}
    folder.save_config(config.as_dict() | about)


# ---------------------------------------------------------------- a process


def main() -> None:
    """Run trials as standard input says, in the folder that the command line names."""
    folder = Path(sys.argv[1])
    images = [np.load(path, mmap_mode="r") for path in sorted((folder / "images").glob("*.npy"))]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with suppress(EOFError, InputError, *STORAGE_ERRORS):  # the search itself tells of them
        open_ledger, data = pickle.load(sys.stdin.buffer, buffers=images)  # from our parent alone
        threading.Thread(target=_end_with_the_search, daemon=True).start()
        run_trials(open_ledger(), str(os.getpid()), folder, partial(train_trial, data))


def _end_with_the_search() -> None:
    """Wait for the end of standard input, and end at once, even in the midst of an epoch."""
    while os.read(0, 1):
        pass
    os._exit(0)


class LocalCrew:
    """Up to `jobs` worker processes on this machine, for the trials of a folder.

    The arrays of `data` lie as files in `folder`/images, which every worker maps into its memory:
    the operating system then holds them once for all.
    """

    def __init__(
        self, jobs: int, folder: Path, data: Dataset, open_ledger: Callable[[], Ledger]
    ) -> None:
        self.jobs, self.folder, arrays = jobs, folder, []
        self.orders = pickle.dumps((open_ledger, data), 5, buffer_callback=arrays.append)
        images = make_folder(folder / "images")
        for number, array in enumerate(arrays):
            np.save(images / f"{number:03d}.npy", np.frombuffer(array, np.uint8))
        self.workers: list[subprocess.Popen] = []

    def at_work(self) -> set[str]:
        """Return the names of the living; raises ChildProcessError for one that gave up."""
        ended = [status for worker in self.workers if (status := worker.poll()) is not None]
        self.workers = [worker for worker in self.workers if worker.returncode is None]
        if any(status > 0 for status in ended):
            raise ChildProcessError(f"a worker process ended with exit status {max(ended)}")
        return {str(worker.pid) for worker in self.workers}

    def hire(self, trials: int) -> None:
        """Start processes, as many as are missing for so many trials."""
        for _ in range(len(self.workers), min(trials, self.jobs)):
            self.workers.append(self._start())

    def _start(self) -> subprocess.Popen:
        root = str(Path(nnlib.__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        worker = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=os.environ | dict.fromkeys(THREADS, "1") | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the parent alone; the same for Windows:
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        with suppress(OSError):  # it died at once
            worker.stdin.write(self.orders)
            worker.stdin.flush()
        return worker

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        for worker in self.workers:
            with suppress(OSError):
                worker.stdin.close()
        for worker in self.workers:
            try:
                worker.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
