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
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from filelock import FileLock

from nnlib.checks import InputError
from nnlib.config import TrainConfig
from nnlib.data import Dataset
from nnlib.files import make_folder
from nnlib.runs import RunFolder
from nnlib.search.ledger import STORAGE_ERRORS, Ledger
from nnlib.trainer import DivergedError
from nnlib.training import make_trainer, save_run, save_settings, steps

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
PROGRAM = "from nnlib.search.workers import main; main()"
Result = dict[str, Any]  # an outcome, or a reason
Report = Callable[[int, int, float], bool]  # (seed, epoch, accuracy) -> go on?
Train = Callable[[list[TrainConfig], Path, Report], Result]


# ---------------------------------------------------------------- what a worker does


def run_trials(ledger: Ledger, worker: str, train: Train) -> None:
    """Claim a trial, train it and write down its result, until none waits."""
    claiming = FileLock(ledger.folder / ".claim")
    while True:
        with claiming:
            trial = ledger.claim(worker)
        if trial is None:
            return
        folder = ledger.folder / "trials" / f"{trial.user_attrs['number']:04d}"
        try:
            configs = ledger.plan.runs_of(trial.params)
        except InputError as error:  # settings of which each is possible, but not all together
            ledger.finish(trial, {"reason": str(error)})
        else:
            ledger.finish(trial, train(configs, folder, partial(ledger.report, trial)))


def train_trial(data: Dataset, configs: list[TrainConfig], folder: Path, report: Report) -> Result:
    """Train one configuration with each of its seeds; the same settings give the same result.

    Each seed's settings, history and best weights go to a folder `seed-S` inside `folder`, where
    they replace what a trial that was killed may have left.
    `report` hears of every epoch and may say stop. Returns {"outcome": {"seeds": {seed:
    {"accuracy", "epoch", "epochs"}}, "seconds", "pruned"}}, or {"reason": why training failed}.
    """
    start, seeds, pruned = time.perf_counter(), {}, False
    try:
        for config in configs:
            trainer = make_trainer(config, data, threads=1)
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
    except (DivergedError, InputError) as error:
        return {"reason": str(error)}
    except (ValueError, ArithmeticError, MemoryError, OSError) as error:
        return {"reason": f"{type(error).__name__}: {error}"}
    seconds = time.perf_counter() - start
    return {"outcome": {"seeds": seeds, "seconds": seconds, "pruned": pruned}}


# ---------------------------------------------------------------- a process


def main() -> None:
    """Run trials as standard input says, in the folder that the command line names."""
    folder = Path(sys.argv[1])
    images = [np.load(path, mmap_mode="r") for path in sorted((folder / "images").glob("*.npy"))]
    with suppress(EOFError, InputError, *STORAGE_ERRORS):  # the search itself tells of them
        open_ledger, data = pickle.load(sys.stdin.buffer, buffers=images)  # from our parent alone
        threading.Thread(target=_end_with_the_search, daemon=True).start()
        run_trials(open_ledger(), str(os.getpid()), partial(train_trial, data))


def _end_with_the_search() -> None:
    """Wait for the end of standard input, and end at once, even in the midst of an epoch."""
    while os.read(0, 1):
        pass
    os._exit(0)


class LocalCrew:
    """Up to `jobs` worker processes on this machine.

    The arrays of `data` lie as files in the folder images, which every worker maps into its
    memory: the operating system then holds them once for all.
    """

    def __init__(self, jobs: int | None, ledger: partial[Ledger], data: Dataset) -> None:
        self.jobs, self.folder, arrays = jobs or 1, ledger.args[0], []
        self.orders = pickle.dumps((ledger, data), 5, buffer_callback=arrays.append)
        images = make_folder(self.folder / "images")
        for number, array in enumerate(arrays):
            np.save(images / f"{number:03d}.npy", np.frombuffer(array, np.uint8))
        self.workers: list[subprocess.Popen] = []

    def at_work(self) -> set[str]:
        """Return the names of the living; raises ChildProcessError for one that gave up."""
        if failed := [w for w in self.workers if (w.poll() or 0) > 0]:
            raise ChildProcessError(f"a worker ended with exit status {failed[0].returncode}")
        self.workers = [worker for worker in self.workers if worker.returncode is None]
        return {str(worker.pid) for worker in self.workers}

    def hire(self, waiting: int) -> None:
        """Start processes, as far as there is place, for so many trials that wait."""
        for _ in range(min(waiting, self.jobs - len(self.workers))):
            self.workers.append(self._start())

    def _start(self) -> subprocess.Popen:
        root = str(Path(__file__).resolve().parents[2])
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
        """End all workers, whatever they are doing: nothing that they write can be left half."""
        for worker in self.workers:
            worker.kill()
            worker.wait()
        rmtree(self.folder / "images", ignore_errors=True)
