"""Trials on a Dask cluster: a pool like that of one machine, behind a scheduler's address.

The images travel once to each worker and stay there; a task carries settings alone. It reports
every epoch through the scheduler, is answered on its worker, and returns the files of its runs,
since nothing says that the machines share a disk. Dask itself runs the task of a dead worker
elsewhere. When the search is gone, the scheduler drops its tasks, and each stops within an epoch.
"""

import asyncio
import logging
import queue
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import distributed
from distributed.comm import connect
from threadpoolctl import threadpool_limits

from nnlib.checks import InputError
from nnlib.data import Dataset
from nnlib.files import make_folder, write_atomic
from nnlib.runs import versions
from nnlib.search.workers import PATIENCE, Event, Task, finished, open_data

CONNECT = 10.0  # seconds to reach a scheduler and a worker of it
FRESH = 1.0  # seconds for which the number of workers is believed
Result = tuple[str, int, Any, dict[str, bytes]]  # an event, and the files of its runs

# ---------------------------------------------------------------- on a worker

_answers: dict[str, queue.SimpleQueue] = {}  # of the tasks that run in this process


def train_on_worker(task: Task, data: Dataset, topic: str) -> Result:
    """Train a task's configuration here and return its event with the files that it wrote."""
    _one_thread()
    worker = distributed.get_worker()
    key = worker.get_current_task()
    answers = _answers[key] = queue.SimpleQueue()

    def report(*epoch: Any) -> bool:
        worker.log_event(topic, ["report", task["id"], [worker.address, key, epoch]])
        while epoch[0] == task["asks"] and _is_wanted(worker, key):
            try:
                return answers.get(timeout=FRESH)
            except queue.Empty:
                continue
        return _is_wanted(worker, key)

    with tempfile.TemporaryDirectory() as folder:
        event = finished(task | {"folder": folder}, data, report)
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        _answers.pop(key, None)
        return *event, {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@cache
def _one_thread() -> None:
    """Hold BLAS to one thread for good: trials of one process would undo each other's limits."""
    threadpool_limits(1)


def _is_wanted(worker: distributed.Worker, key: str) -> bool:
    """Tell whether the scheduler still waits for a task that runs here."""
    task = worker.state.tasks.get(key)
    gone = worker.status in (distributed.Status.closing, distributed.Status.closed)
    return task is not None and task.state != "cancelled" and not gone


def answer_on_worker(key: str, go_on: bool) -> None:
    """Pass an answer to the task that waits for it here, if it still does."""
    if key in _answers:
        _answers[key].put(go_on)


# ---------------------------------------------------------------- the pool


class DaskPool:
    """The workers behind a Dask scheduler, at most `jobs` of their threads at a time.

    Methods and events are those of `LocalPool`; `folder` is what `share_data` wrote. Raises
    InputError for a scheduler without an answer, without a worker, or without this library, and
    ConnectionError where it goes away later.
    """

    def __init__(self, address: str, jobs: int | None, folder: Path) -> None:
        self.address, self.jobs, self.folder = address, jobs, folder
        self.running: dict[int, distributed.Future] = {}
        self.asking: dict[int, tuple[str, str]] = {}  # task id: its worker and its key there
        self.inbox: queue.SimpleQueue = queue.SimpleQueue()
        self.beside = ThreadPoolExecutor(8)  # a worker that just died must not hold up the rest
        self.client = _connect(address)
        self.topic = f"nnlib {self.client.id}"
        self.client.subscribe_topic(self.topic, lambda event: self.inbox.put(event[1]))
        self.data: distributed.Future | None = None
        self.threads, self.looked = 0, float("-inf")

    @property
    def free(self) -> int:
        """How many more tasks could run now."""
        if time.monotonic() - self.looked > FRESH:
            with self._connected():
                self.threads = sum(self.client.nthreads().values())
            self.looked = time.monotonic()
        return min(self.threads, self.jobs or self.threads) - len(self.running)

    @contextmanager
    def _connected(self) -> Iterator[None]:
        fault = f"lost the scheduler {self.address}: give the same command to go on"
        if self.client.status != "running":
            raise ConnectionError(fault)
        try:
            yield
        except OSError as error:
            raise ConnectionError(fault) from error

    def start(self, task: Task) -> None:
        """Send a task to the cluster; there must be a free place."""
        with self._connected():
            if self.data is None or self.data.status != "finished":  # all that held it have died
                data = open_data(self.folder)
                self.data = self.client.scatter(data, broadcast=True, hash=False)
            future = self.client.submit(train_on_worker, task, self.data, self.topic, pure=False)
        self.running[task["id"]] = future
        future.add_done_callback(lambda _: self.beside.submit(self._fetch, task, future))

    def _fetch(self, task: Task, future: distributed.Future) -> None:
        """Fetch a result and write its files; if its worker died with it, Dask makes it again."""
        try:
            *event, files = future.result()
            for name, content in files.items():
                path = Path(task["folder"]) / name
                write_atomic(make_folder(path.parent) / path.name, content)
        except distributed.KilledWorker as error:
            event = "failed", task["id"], f"its worker died, {error.allowed_failures + 1} times"
        except Exception as error:  # whatever a cluster may do; the trial is not to blame
            event = "lost", task["id"], f"{type(error).__name__}: {error}".splitlines()[0]
        self.inbox.put(event)

    def receive(self, timeout: float) -> Event | None:
        """Wait for the next event; None after `timeout` seconds without one."""
        with self._connected(), suppress(queue.Empty):
            kind, task_id, value = self.inbox.get(timeout=timeout)
            if kind == "report":
                *self.asking[task_id], value = value
            else:
                self.running.pop(task_id, None)
            return kind, task_id, value
        return None

    def answer(self, task_id: int, go_on: bool) -> None:
        """Tell the worker that reported an epoch of a task whether to go on."""
        address, key = self.asking[task_id]
        say = partial(self.client.run, workers=[address], on_error="ignore")
        self.beside.submit(say, answer_on_worker, key, go_on)

    def wake(self) -> None:
        """Make `receive` return; the queue allows this inside a signal handler."""
        self.inbox.put(("wake", None, None))

    def close(self) -> None:
        """Let the cluster drop what still runs, and go."""
        self.beside.shutdown(wait=False, cancel_futures=True)
        self.client.close(PATIENCE)


async def _reach(address: str) -> None:
    """Shake hands, as no more than that goes wrong in one line and in time."""
    async with asyncio.timeout(CONNECT + 1):
        security = distributed.Security().get_connection_args("client")
        (await connect(address, timeout=CONNECT, **security)).abort()


def _connect(address: str) -> distributed.Client:
    """Return a client of a cluster that can run trials; InputError where there is none."""
    start, client = time.monotonic(), None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # told here, in one line
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
    except (OSError, ValueError, TypeError, MemoryError) as error:
        known = str(error).splitlines() or ["it is no Dask scheduler"]
        reason = "it has no worker" if client else known[0]
        reason += f" (waited {time.monotonic() - start:.1f} s); start it, or name another"
    if client:
        client.close(PATIENCE)
    raise InputError(f"cannot use the scheduler {address}: {reason}")
