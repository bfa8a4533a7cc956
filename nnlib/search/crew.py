"""Those who see to it that trials are trained: a thread for each that runs at the same time.

A thread claims a trial from the ledger, has it trained, answers for it every epoch whether to go
on, and writes the result down, until nothing is left to claim. Where it is trained is for the
subclasses: here, in processes, or on a cluster.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnlib.checks import InputError
from nnlib.config import TrainConfig
from nnlib.data import Dataset
from nnlib.search.storage import STORAGE_ERRORS

if TYPE_CHECKING:
    from nnlib.search.ledger import Ledger, Trial
    from nnlib.search.workers import Report, Result

    Train = Callable[[list[TrainConfig], Path, Report], Result]

ATTEMPTS = 3  # times that a trial may lose its process before it is given up
STARTS = 9  # times that a process may die before it is ready
PATIENCE = 5.0  # seconds that the end of a thread may take
IMAGES = ".nnlib-images-"  # how the folder begins in which a search holds them for its workers
PROGRAM = "from nnlib.search.workers import main; main()"
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Crew:
    """Threads that run the trials of a ledger, as many at a time as there is place for."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.threads: list[threading.Thread] = []
        self.failure: Exception | None = None

    def hire(self, trials: int) -> None:
        """Start threads, as far as there is place, for so many trials; raise what broke one."""
        if isinstance(self.failure, (*STORAGE_ERRORS, ConnectionError)):
            raise self.failure
        if self.failure:
            raise RuntimeError(f"trials could not be led: {self.failure!r}") from self.failure
        self.threads = [thread for thread in self.threads if thread.is_alive()]
        for _ in range(min(trials, self.places() - len(self.threads))):
            self.threads.append(threading.Thread(target=self._work, daemon=True))
            self.threads[-1].start()

    def places(self) -> int:
        """Return how many trials may run at the same time."""
        raise NotImplementedError

    def train(self, configs: list[TrainConfig], folder: Path, report: Report) -> Result:
        """Have a trial trained, and return its result; an empty one where the search ends."""
        raise NotImplementedError

    def _work(self) -> None:
        """Run trials until nothing is to do: what a thread does."""
        self._run_trials(self.train)

    def _run_trials(self, train: Train) -> None:
        try:
            while trial := self.ledger.claim():
                self.ledger.finish(trial, self._result(trial, train))
        except Exception as error:
            self.failure = error

    def _result(self, trial: Trial, train: Train) -> Result:
        try:
            configs = self.ledger.plan.runs_of(trial.params)
        except InputError as error:  # settings of which each is possible, but not all together
            return {"reason": str(error)}
        folder = self.ledger.folder / "trials" / f"{trial.user_attrs['number']:04d}"
        return train(configs, folder, partial(self.ledger.report, trial))

    def close(self) -> None:
        """End all that runs; trials that are not finished are for another time."""
        self.ledger.closed = True
        for thread in self.threads:
            thread.join(PATIENCE)


class LocalCrew(Crew):
    """Up to `jobs` worker processes on this machine.

    The arrays of `data` lie as files in a folder of their own, which goes with the crew.
    """

    def __init__(self, ledger: Ledger, jobs: int, data: Dataset) -> None:
        super().__init__(ledger)
        self.jobs, arrays = jobs, []
        self.workers: list[Worker] = []
        self.images = tempfile.TemporaryDirectory(
            prefix=IMAGES, dir=ledger.folder, ignore_cleanup_errors=True
        )
        self.data = pickle.dumps(data, 5, buffer_callback=arrays.append)
        for number, array in enumerate(arrays):
            path = Path(self.images.name, f"{number:03d}.npy")
            try:
                np.save(path, np.frombuffer(array, np.uint8))
            except OSError as error:
                raise OSError(f"cannot write the images into {ledger.folder}: {error}") from error

    def places(self) -> int:
        """Return how many trials may run at the same time."""
        return self.jobs

    def _work(self) -> None:
        with closing(Worker(self.images.name, self.data)) as worker:
            self.workers.append(worker)
            self._run_trials(worker)

    def close(self) -> None:
        """End all workers, whatever they are doing: nothing that they write can be left half."""
        self.ledger.closed = True
        for worker in self.workers:
            worker.close()
        super().close()
        self.images.cleanup()


class Worker:
    """A process that trains, started when there is something to do, and again where it died."""

    def __init__(self, images: str, data: bytes) -> None:
        self.images, self.data, self.closed = images, data, False
        self.process: subprocess.Popen | None = None

    def __call__(self, configs: list[TrainConfig], folder: Path, report: Report) -> Result:
        """Have a trial trained, and return its result."""
        for _ in range(ATTEMPTS):
            try:
                process = self._living()
            except OSError as error:
                return {} if self.closed else {"lost": f"no process could be started: {error}"}
            self._send(process, pickle.dumps((configs, folder)))
            for line in process.stdout:
                message = json.loads(line) if line.endswith(b"\n") else {}  # it died in the midst
                if isinstance(message, dict):
                    break
                self._send(process, pickle.dumps(report(*message)))
            else:
                message = {}
            if message or self.closed:
                return message
            process.wait()
        return {"lost": f"its process died, {ATTEMPTS} times"}

    def _living(self) -> subprocess.Popen:
        """Return the process, a new one where it died; OSError where none says that it is ready."""
        for _ in range(STARTS):
            if self.process and self.process.poll() is None:
                return self.process
            self.process = self._start()
            if self.closed:
                break
            self._send(self.process, self.data)
            if ready := self.process.stdout.readline():
                if fault := json.loads(ready):
                    raise OSError(fault)
            else:
                self.process.wait()
        raise OSError(f"it died as it started, {STARTS} times")

    def _start(self) -> subprocess.Popen:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        return subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, self.images],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | dict.fromkeys(THREADS, "1") | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the parent alone; the same for Windows:
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )

    def _send(self, process: subprocess.Popen, what: bytes) -> None:
        with suppress(OSError):  # it died: what it answers ends there
            process.stdin.write(what)
            process.stdin.flush()

    def close(self) -> None:
        """End the process, and any that is started at this moment, for good."""
        self.closed = True
        if self.process:
            self.process.kill()
            self.process.wait()
