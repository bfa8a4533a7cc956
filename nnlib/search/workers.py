"""Trials trained on this machine, in processes of one BLAS thread each.

`train_trial` is what a worker does, wherever it runs. A process of this machine maps the images
into its memory, so that the operating system holds them once for all; it takes trials from its
standard input, writes every epoch and every result to its standard output, and ends with the epoch
in which its input does. It knows nothing of Optuna, and starts the faster for it. Processes of
`multiprocessing` would import the user's own program, which need not be made for that.
"""

import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnlib.config import TrainConfig
from nnlib.data import Dataset
from nnlib.files import make_folder, writing
from nnlib.runs import RunFolder
from nnlib.training import make_trainer, save_run, save_settings, steps

Result = dict[str, Any]  # what came of a trial, why nothing can, or how it was lost
Report = Callable[[int, int, float], bool]  # (seed, epoch, accuracy) -> go on?

ATTEMPTS = 3  # times that a trial may lose its process before it is given up
STARTS = 9  # times that a process may die before it is ready
PATIENCE = 5.0  # seconds that the end of a crew may take
IMAGES = ".nnlib-images-"  # how the folder begins in which a search holds them for its workers
PROGRAM = "from nnlib.search.workers import main; main()"
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
DIED = (OSError, EOFError, pickle.UnpicklingError)  # what pipes say whose other end is dead


def train_trial(data: Dataset, configs: list[TrainConfig], folder: Path, report: Report) -> Result:
    """Train one configuration with each of its seeds; the same settings give the same result.

    Each seed's settings, history and best weights go to a folder `seed-S` inside `folder`, where
    they replace what a trial that was killed may have left. `report` hears of every epoch and may
    say stop. Returns {"seeds": {seed: {"accuracy", "epoch", "epochs"}}, "seconds", "pruned"},
    {"reason": why these settings cannot be trained}, or {"lost": what failed outside the trial},
    as a disk or the memory may.
    """
    try:
        return _train(data, configs, folder, report)
    except (ValueError, ArithmeticError) as error:
        outside = isinstance(error.__cause__, OSError | MemoryError)
        return {"lost" if outside else "reason": " ".join(str(error).split())}
    except Exception as error:
        return {"lost": " ".join(f"{type(error).__name__}: {error}".split())}


def _train(data: Dataset, configs: list[TrainConfig], folder: Path, report: Report) -> Result:
    start, seeds, pruned = time.perf_counter(), {}, False
    for config in configs:
        trainer = make_trainer(replace(config, threads=1), data)
        with closing(steps(trainer)) as progresses:
            rows = filter(None, (progress.row for progress in progresses))
            stop = any(not report(config.seed, row["epoch"], row["val_accuracy"]) for row in rows)
        best = trainer.history.best
        about = {"accuracy": best["val_accuracy"], "epoch": best["epoch"]}
        seeds[str(config.seed)] = about | {"epochs": trainer.epoch}
        pruned = stop and not (trainer.finished and config is configs[-1])
        if pruned:
            break
        run = RunFolder(make_folder(folder / f"seed-{config.seed}"))
        save_run(trainer, run, checkpoint=False)
        save_settings(config, trainer, run)
    return {"seeds": seeds, "seconds": time.perf_counter() - start, "pruned": pruned}


# ---------------------------------------------------------------- in a process


def main() -> None:
    """Train what standard input asks for, with the images in the folder of the command line."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever is printed is no answer
    try:
        arrays = [np.load(path, mmap_mode="r") for path in sorted(Path(sys.argv[1]).iterdir())]
        data = pickle.loads(pickle.load(questions), buffers=arrays)  # from our parent alone
    except (OSError, ValueError, MemoryError, pickle.UnpicklingError) as error:
        _send(answers, f"the images could not be read ({error}); give the same command to go on")
        return

    def report(*epoch: float) -> bool:
        _send(answers, epoch)
        return pickle.load(questions)

    with suppress(*DIED):  # the search has ended
        _send(answers, "")  # ready
        while True:
            _send(answers, train_trial(data, *pickle.load(questions), report))


def _send(stream: Any, what: Any) -> None:
    pickle.dump(what, stream)
    stream.flush()


# ---------------------------------------------------------------- the search's side


class LocalCrew:
    """Up to `jobs` processes on this machine, which live until they are killed or the crew ends.

    The arrays of `data` lie as files in a folder of their own, which goes with the crew.
    """

    def __init__(self, folder: Path, jobs: int, data: Dataset) -> None:
        self.jobs, self.closed = jobs, False
        self.processes: list[subprocess.Popen] = []
        self.idle: list[subprocess.Popen | None] = [None] * jobs  # None: to be started
        self.images = tempfile.TemporaryDirectory(
            prefix=IMAGES, dir=folder, ignore_cleanup_errors=True
        )
        arrays: list[pickle.PickleBuffer] = []
        self.data = pickle.dumps(data, 5, buffer_callback=arrays.append)
        with writing(folder, "the images into"):
            for number, array in enumerate(arrays):
                file = Path(self.images.name, f"{number:03d}.npy")
                np.save(file, np.frombuffer(array, np.uint8))

    def places(self) -> int:
        """Return how many trials may run at the same time."""
        return self.jobs

    def train(self, configs: list[TrainConfig], folder: Path, report: Report) -> Result:
        """Have a trial trained, by another process where one dies, and return its result."""
        why = None
        for _ in range(ATTEMPTS):
            try:
                process = self.idle.pop() or self._ready_process()
                message = _ask(process, (configs, folder))
                while not isinstance(message, dict):
                    message = _ask(process, report(*message))
                self.idle.append(process)
                return message
            except DIED as error:
                self.idle.append(None)
                why = error
        return {"lost": f"its process died, {ATTEMPTS} times: {why}"}

    def _ready_process(self) -> subprocess.Popen:
        """Return a process that has the data; EOFError where each died before.

        RuntimeError where it could not read them, or where the crew has ended.
        """
        for _ in range(STARTS):
            process = self._new_process()
            with suppress(*DIED):
                if fault := "the search has ended" if self.closed else _ask(process, self.data):
                    process.kill()
                    raise RuntimeError(fault)
                return process
        raise EOFError("as it started")

    def _new_process(self) -> subprocess.Popen:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-P", "-c", PROGRAM, self.images.name]
        env = os.environ | dict.fromkeys(THREADS, "1") | {"PYTHONPATH": path}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        windows = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        apart = {"start_new_session": True, "creationflags": windows}  # Ctrl-C is for us alone
        process = subprocess.Popen(command, env=env, **pipes, **apart)
        for dead in self.processes:
            dead.poll()  # lets the system forget it
        self.processes.append(process)
        return process

    def close(self) -> None:
        """End all processes, whatever they are doing: nothing that they write can be left half."""
        self.closed = True
        for process in self.processes:
            process.kill()
            process.wait()
        self.images.cleanup()


def _ask(process: subprocess.Popen, what: Any) -> Any:
    """Send something to a process and return what it answers."""
    _send(process.stdin, what)
    return pickle.load(process.stdout)
