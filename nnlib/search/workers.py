"""Trials in processes of their own, with one BLAS thread each and the images shared.

A worker is `python -m nnlib.search.workers FOLDER`: it maps the images in FOLDER into memory, which
the operating system then holds once for all of them, and reads tasks from standard input, one
JSON object a line. It knows nothing of the search: it trains, reports every epoch, and stops when
told to. It dies with its parent, because its standard input then ends. `LocalPool` keeps J of
them; whoever owns the pool sees events, and a worker's death is one of them.
"""

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

import nnlib
from nnlib.checks import InputError
from nnlib.config import TrainConfig
from nnlib.data import Dataset
from nnlib.files import make_folder, read_json, write_json
from nnlib.images import Split
from nnlib.network import save_model
from nnlib.runs import RunFolder
from nnlib.trainer import DivergedError, Trainer
from nnlib.training import make_trainer

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
PATIENCE = 5.0  # seconds that a worker gets to end by itself
Report = Callable[[int, int, float], bool]  # (seed, epoch, accuracy) -> go on?
Task = dict[str, Any]  # JSON: id, config, seeds, asks (the seed that may be stopped), folder
Event = tuple[str, int | None, Any]  # report, done, failed, lost or wake; the task's id; a value


# ---------------------------------------------------------------- what a worker does


def train_trial(task: Task, data: Dataset, report: Report) -> dict[str, Any]:
    """Train one configuration with each of its seeds; the same task gives the same result.

    Each seed's settings, history and best weights go to a folder `seed-S` inside the task's.
    `report` hears of every epoch and may say stop. Returns {"seeds": {seed: {"accuracy", "epoch",
    "epochs"}}, "seconds", "pruned"}. Raises DivergedError.
    """
    start, config = time.perf_counter(), TrainConfig.from_dict(task["config"])
    outcome: dict[str, Any] = {"seeds": {}, "pruned": False}
    for seed in task["seeds"]:
        trainer = make_trainer(replace(config, seed=seed), data, threads=1)
        outcome["pruned"] = not _train(trainer, seed, report, last=seed == task["seeds"][-1])
        best = trainer.history.best
        outcome["seeds"][str(seed)] = {
            "accuracy": best["val_accuracy"],
            "epoch": best["epoch"],
            "epochs": trainer.epoch,
        }
        if outcome["pruned"]:
            break
        _save(trainer, replace(config, seed=seed), Path(task["folder"]) / f"seed-{seed}")
    outcome["seconds"] = time.perf_counter() - start
    return outcome


def _train(trainer: Trainer, seed: int, report: Report, last: bool) -> bool:
    """Train to the end, or until told to stop: then return False."""
    for progress in trainer.run():
        if row := progress.row:
            go_on = report(seed, row["epoch"], row["val_accuracy"])
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
    folder.save_config(config.as_dict() | {"threads": 1, "sha256": trainer.model.info["sha256"]})


def main(folder: str) -> None:
    """Serve tasks from standard input until it ends, answering on standard output."""
    inbox, answers = queue.SimpleQueue(), os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints must not come between the answers
    threading.Thread(target=_listen, args=(inbox,), daemon=True).start()
    data = open_data(folder)
    while True:
        _serve(inbox.get(), data, inbox, lambda *event: print(json.dumps(event), file=answers))


def _listen(inbox: queue.SimpleQueue) -> None:
    """Pass on what the parent says; when it is gone, end at once, even in the midst of an epoch."""
    for line in sys.stdin:
        inbox.put(json.loads(line))
    os._exit(0)


def _serve(task: Task, data: Dataset, inbox: queue.SimpleQueue, send: Callable[..., None]) -> None:
    def report(seed: int, epoch: int, accuracy: float) -> bool:
        send("report", task["id"], (seed, epoch, accuracy))
        return inbox.get() if seed == task["asks"] else True

    send(*finished(task, data, report))


def finished(task: Task, data: Dataset, report: Report) -> Event:
    """Run a task to its event: done with its outcome, or failed with the reason in one line."""
    try:
        return "done", task["id"], train_trial(task, data, report)
    except (DivergedError, InputError) as error:
        return "failed", task["id"], str(error)
    except (ValueError, ArithmeticError, MemoryError, OSError) as error:
        return "failed", task["id"], f"{type(error).__name__}: {error}"


# ---------------------------------------------------------------- images that are shared

ARRAYS = ("train.images", "train.y", "val.images", "val.y")
ABOUT = ("name", "classes", "image_shape", "sha256")


def share_data(data: Dataset, folder: Path) -> Path:
    """Write a data set anew, as files that `open_data` maps; like `data`, without test images."""
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", attrgetter(name)(data))
    write_json(folder / "data.json", {name: getattr(data, name) for name in ABOUT})
    return folder


def open_data(folder: str | Path) -> Dataset:
    """Map what `share_data` wrote: read-only, and in memory once for all processes."""
    folder = Path(folder)
    images, y, val_images, val_y = (
        np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in ARRAYS
    )
    about, none = read_json(folder / "data.json"), np.empty(0, np.int64)
    return Dataset(
        **about | {name: tuple(about[name]) for name in ("classes", "image_shape")},
        train=Split(images, y),
        val=Split(val_images, val_y),
        source=str(folder),
        train_indices=none,
        val_indices=none,
    )


# ---------------------------------------------------------------- many of them


@dataclass(eq=False)
class _Worker:
    """A process, and the thread that passes its answers on."""

    process: subprocess.Popen
    task: Task | None = None

    def send(self, message: Any) -> None:
        """Write one line; a worker that is gone will be noticed by its reader."""
        with suppress(OSError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()


class LocalPool:
    """Up to `jobs` workers on this machine, started when first needed.

    `receive` returns events (kind, task id, value): report, done, failed, and lost where the
    worker died; (wake, None, None) after `wake`, which a signal handler may call.
    """

    def __init__(self, jobs: int, folder: Path) -> None:
        self.jobs, self.folder = jobs, folder
        self.workers: list[_Worker] = []
        self.inbox: queue.SimpleQueue = queue.SimpleQueue()

    @property
    def free(self) -> int:
        """How many more tasks could run now."""
        return self.jobs - sum(worker.task is not None for worker in self.workers)

    def start(self, task: Task) -> None:
        """Give a task to an idle worker; there must be a free place."""
        idle = next((worker for worker in self.workers if worker.task is None), None)
        worker = idle or self._new()
        worker.task = task
        worker.send(task)

    def _new(self) -> _Worker:
        root = str(Path(nnlib.__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "nnlib.search.workers", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | dict.fromkeys(THREADS, "1") | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the parent alone; the same for Windows:
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        worker = _Worker(process)
        self.workers.append(worker)
        threading.Thread(target=self._read, args=(worker,), daemon=True).start()
        return worker

    def _read(self, worker: _Worker) -> None:
        """Pass a worker's answers on; a line cut short by its death is no answer."""
        for line in worker.process.stdout:
            if line.endswith("\n"):
                self.inbox.put((worker, json.loads(line)))
        self.inbox.put((worker, None))

    def receive(self, timeout: float) -> Event | None:
        """Wait for the next event; None after `timeout` seconds without one."""
        try:
            worker, event = self.inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        if event is None:
            return self._dead(worker)
        if event[0] in ("done", "failed"):
            worker.task = None
        return tuple(event)

    def _dead(self, worker: _Worker) -> Event | None:
        self.workers.remove(worker)
        status = worker.process.wait()
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return worker.task and ("lost", worker.task["id"], f"its process died ({how})")

    def answer(self, task_id: int, go_on: bool) -> None:
        """Tell the worker that reported an epoch of a task whether to go on."""
        for worker in self.workers:
            if worker.task is not None and worker.task["id"] == task_id:
                worker.send(go_on)

    def wake(self) -> None:
        """Make `receive` return; the queue allows this inside a signal handler."""
        self.inbox.put((None, ("wake", None, None)))

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        for worker in self.workers:
            with suppress(OSError):
                worker.process.stdin.close()
        for worker in self.workers:
            try:
                worker.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()


if __name__ == "__main__":
    main(sys.argv[1])
