"""Trials on a Dask cluster: the workers are behind a scheduler's address.

The cluster knows settings and images alone. The images travel once to each worker and stay there.
Every epoch is reported through the scheduler and answered on its worker, and the files of a run
come back with its result, since nothing says that the machines share a disk. Dask itself runs the
trial of a dead worker elsewhere. When the search is gone, the scheduler drops its tasks, and each
stops within an epoch.
"""

import asyncio
import logging
import queue
import secrets
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import distributed
from distributed.comm import connect
from threadpoolctl import threadpool_limits

from nnlib.checks import InputError
from nnlib.config import TrainConfig
from nnlib.data import Dataset
from nnlib.files import make_folder, write_atomic
from nnlib.runs import versions
from nnlib.search.workers import PATIENCE, Report, Result, train_trial

CONNECT = 10.0  # seconds to reach a scheduler and a worker of it
FRESH = 1.0  # seconds between two looks whether a trial is still wanted

# ---------------------------------------------------------------- on a worker of the cluster


class Held(distributed.WorkerPlugin):
    """A data set on every worker, also on those that come later, until the search ends.

    A scattered one would travel again and again: Dask's memory manager drops replicas of data that
    no task needs at the moment. `answers` are for the tasks that run there, by key.
    """

    def __init__(self, data: Dataset) -> None:
        self.data = data
        self.answers: dict[str, queue.SimpleQueue] = {}


def train_on_worker(configs: list[TrainConfig], topic: str) -> tuple[Result, dict[str, bytes]]:
    """Train a trial here and return its result with the files that it wrote."""
    threadpool_limits(1)  # for good: trials of one process would undo each other's limits
    worker = distributed.get_worker()
    key, held = worker.get_current_task(), worker.plugins[topic]
    answers = held.answers[key] = queue.SimpleQueue()

    def report(*epoch: float) -> bool:
        worker.log_event(topic, [worker.address, key, *epoch])
        while _is_wanted(worker, key):
            with suppress(queue.Empty):
                return answers.get(timeout=FRESH)
        return False

    with tempfile.TemporaryDirectory() as folder:
        result = train_trial(held.data, configs, Path(folder), report)
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        return result, {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def _is_wanted(worker: distributed.Worker, key: str) -> bool:
    """Tell whether the scheduler still waits for a task that runs here."""
    task = worker.state.tasks.get(key)
    gone = worker.status in (distributed.Status.closing, distributed.Status.closed)
    return task is not None and task.state != "cancelled" and not gone


def answer_on_worker(topic: str, key: str, go_on: bool, dask_worker: distributed.Worker) -> None:
    """Pass an answer to the task that waits for it here; KeyError where none does."""
    dask_worker.plugins[topic].answers[key].put(go_on)


# ---------------------------------------------------------------- the search's side


class DaskCrew:
    """The workers behind a scheduler, at most `jobs` of them at a time.

    Raises InputError for a scheduler without an answer, without a worker, or without this library,
    and ConnectionError where it goes away later.
    """

    def __init__(self, address: str, jobs: int | None, data: Dataset) -> None:
        self.address, self.jobs = address, jobs
        self.reports: dict[str, Report] = {}  # by the key of a trial's task
        self.beside = ThreadPoolExecutor(8)  # a worker that just died must not hold up the rest
        self.client = _connect(address)
        self.topic = f"nnlib {self.client.id}"
        self.client.subscribe_topic(self.topic, lambda e: self.beside.submit(self._answer, *e[1]))
        self.client.register_plugin(Held(data), name=self.topic)

    def places(self) -> int:
        """Return how many trials may run at the same time."""
        try:
            if self.client.status != "running":
                raise OSError(self.client.status)
            places = sum(self.client.nthreads().values())
        except Exception as error:
            fault = f"lost the scheduler {self.address}: give the same command to go on"
            raise ConnectionError(fault) from error
        return min(places, self.jobs or places)

    def train(self, configs: list[TrainConfig], folder: Path, report: Report) -> Result:
        """Have a trial trained on the cluster, and write the files of its runs."""
        key = f"trial-{secrets.token_hex(8)}"
        self.reports[key] = report
        try:
            task = self.client.submit(train_on_worker, configs, self.topic, key=key)
            result, files = task.result()
            for file, content in files.items():
                path = folder / file
                write_atomic(make_folder(path.parent) / path.name, content)
        except distributed.KilledWorker as error:
            return {"lost": f"its worker died, {error.allowed_failures + 1} times"}
        except Exception as error:
            self.places()  # raises where the search has ended, or the scheduler is gone
            return {"lost": f"{type(error).__name__}: {error}"}
        return result

    def _answer(self, address: str, key: str, *epoch: float) -> None:
        """Tell the worker that reported an epoch whether to go on."""
        go_on = self.reports[key](*epoch)
        answer = self.topic, key, go_on
        self.client.run(answer_on_worker, *answer, workers=[address], on_error="ignore")

    def close(self) -> None:
        """Let the cluster drop what still runs, and go."""
        self.beside.shutdown(wait=False, cancel_futures=True)
        with suppress(OSError):  # a scheduler that is gone
            self.client.unregister_worker_plugin(self.topic)
        self.client.close(PATIENCE)


async def _reach(address: str) -> None:
    """Shake hands, as no more than that goes wrong in one line and in time."""
    async with asyncio.timeout(CONNECT + 1):
        security = distributed.Security().get_connection_args("client")
        (await connect(address, timeout=CONNECT, **security)).abort()


def _connect(address: str) -> distributed.Client:
    """Return a client of a cluster that can run trials; InputError where there is none."""
    start, client = time.monotonic(), None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # told here, in one line
    try:
        with ThreadPoolExecutor(1) as beside:  # a notebook has an event loop in this thread
            beside.submit(asyncio.run, _reach(address)).result()
        client = distributed.Client(address, timeout=CONNECT, set_as_default=False)
        client.wait_for_workers(1, timeout=CONNECT)
        client.run_on_scheduler(versions)
        client.run(versions)
        return client
    except ImportError as error:
        reason = f"{error}; install this library beside the scheduler and every worker"
    except Exception as error:  # whoever answers there may say anything
        known = str(error).splitlines() or ["it is no Dask scheduler"]
        reason = "it has no worker" if client else known[0]
        reason += f" (waited {time.monotonic() - start:.1f} s); start it, or name another"
    if client:
        client.close(PATIENCE)
    raise InputError(f"cannot use the scheduler {address}: {reason}")
