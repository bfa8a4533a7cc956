"""Computing runs: training a net, letting it answer the test images, several side by side.

Runs stand side by side, one BLAS thread each, which is the most that two cores give; where its
time is part of a result, a run is alone. The test images are read here once training has ended,
and in notebook 06; nothing is chosen by what they say, and all of it is written down.
"""

import json
import os
import platform
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from experiments.readings import NO_LOGITS, READINGS
from experiments.store import CURVE, Outcome, Row, Store
from experiments.study import PICTURES, Net, Study
from nnlib.checks import InputError
from nnlib.data import Dataset, load_test_split
from nnlib.files import project_root
from nnlib.images import Split
from nnlib.losses import accuracy, softmax_cross_entropy
from nnlib.network import MLP
from nnlib.runs import History, versions
from nnlib.training import make_trainer, steps

# ---------------------------------------------------------------- one run


def outcome(
    net: Net,
    threads: int | None = None,
    side_by_side: int = 1,
    on_epoch: Callable[[], None] = lambda: None,
) -> Outcome:
    """Train a net; then let it answer the test images in each way that its recipe asks for."""
    config, place = net.config, whereabouts(net.config.dataset)
    data = replace(config, dataset=place).load()
    start, cpu = time.perf_counter(), time.process_time()
    trainer = make_trainer(replace(config, threads=threads), data)
    for progress in steps(trainer):
        if progress.row:
            on_epoch()
    shared = {
        "best_epoch": trainer.history.best["epoch"],
        "epochs": len(trainer.history.rows),
        "train_images": len(data.train),
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "threads": trainer.threads,
        "side_by_side": side_by_side,
        "processor": processor(),
        "versions": json.dumps(versions()),
        "sha256": data.sha256,
        "settings": json.dumps(config.as_dict()),
    }
    rows, scores, test = {}, {}, load_test_split(place)
    for key, labels in net.rows.items():
        found, scores[key] = read(labels["reading"], trainer.model, data, test)
        rows[key] = labels | found | shared | {"answers": key}
    curve, model = _curve(net, trainer.history), trainer.model if net.saved else None
    return Outcome(net, rows, curve, scores, test.y, model)


def whereabouts(dataset: str) -> str:
    """Return where a data set is: pictures in a folder in data/, all others by their name."""
    if dataset != PICTURES:
        return dataset
    folder = project_root() / "data" / dataset
    if not folder.is_dir():
        raise InputError(
            f"{folder} is missing: put CIFAR-10 there, as train/CLASS/*.jpg and test/…"
        )
    return str(folder)


def read(reading: str, model: MLP, data: Dataset, test: Split) -> tuple[Row, np.ndarray]:
    """Return how good a reading of a net is, and its scores for the test images (N, K)."""
    start = time.perf_counter()
    answer = READINGS[reading](model, data)
    scores = answer(test.images)  # (N, K)
    seconds = round(time.perf_counter() - start, 3)
    row = {
        "val_accuracy": accuracy(answer(data.val.images), data.val.y) if len(data.val) else "",
        "test_accuracy": accuracy(scores, test.y),
        "test_loss": "" if reading in NO_LOGITS else softmax_cross_entropy(scores, test.y)[0],
        "test_images": len(test),
        "test_seconds": seconds,
    }
    return row, scores


def _curve(net: Net, history: History) -> list[Row]:
    """Return the row of each epoch, the seconds summed up to it; six digits say all of a curve."""
    passed = np.cumsum(history.column("seconds")).round(3).tolist()
    return [
        net.labels
        | {name: float(f"{row[name]:.6g}") for name in CURVE if name in row}
        | {"epoch": row["epoch"], "seconds": seconds}
        for row, seconds in zip(history.rows, passed, strict=True)
    ]


@contextmanager
def unpinned() -> Iterator[None]:
    """Let OpenBLAS find out the processor where the machine pins it: an old one halves its speed.

    It looks when it is loaded, so this is for the processes that are started meanwhile.
    """
    pinned = os.environ.pop("OPENBLAS_CORETYPE", None)
    try:
        yield
    finally:
        if pinned is not None:
            os.environ["OPENBLAS_CORETYPE"] = pinned


@cache
def processor() -> str:
    """Return the processor's name, its number of cores, and the kind that BLAS takes it for."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        text = ""
    found = re.search(r"model name\s*: (.+)", text)
    name = found[1].strip() if found else platform.processor() or platform.machine()
    kinds = {pool.get("architecture") for pool in threadpool_info() if pool["user_api"] == "blas"}
    return f"{name}, {os.cpu_count()} cores, {' and '.join(sorted(filter(None, kinds)))}"


# ---------------------------------------------------------------- many runs


def outcomes(
    nets: Sequence[Net],
    jobs: int,
    alone: bool,
    on_epoch: Callable[[int], None] = lambda number: None,
) -> Iterator[Outcome]:
    """Yield what each net's run gives, as it ends; `jobs` stand side by side unless `alone`.

    Every run is in a process of its own kind, the same whatever `jobs` is. `on_epoch` hears which
    of the nets has done another epoch. Raises what a run raises, and RuntimeError where its
    process died.
    """
    jobs = 1 if alone else jobs
    context = get_context("spawn")
    news = context.SimpleQueue()
    with unpinned(), ProcessPoolExecutor(jobs, context, _begin, (news, alone)) as pool:
        order = {pool.submit(_outcome_here, n, net, alone, jobs): n for n, net in enumerate(nets)}
        waiting = set(order)
        try:
            while waiting:
                done, waiting = wait(waiting, 0.5, FIRST_COMPLETED)
                while not news.empty():
                    on_epoch(news.get())
                yield from (future.result() for future in sorted(done, key=order.get))
        except BrokenProcessPool:
            raise RuntimeError("the process of a run died, perhaps for want of memory") from None
        except BaseException:  # do not wait for the runs that are under way
            for process in active_children():
                process.terminate()
            raise


def _begin(news: Any, alone: bool) -> None:
    """Make this process one that takes runs: it ends with its parent, and not by Ctrl-C."""
    global _news
    _news = news
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the parent as well, which ends us
    if not alone:
        threadpool_limits(1)
    Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()


def _outcome_here(number: int, net: Net, alone: bool, jobs: int) -> Outcome:
    return outcome(net, None if alone else 1, jobs, lambda: _news.put(number))


# ---------------------------------------------------------------- a study


class Runs:
    """The runs of a study, as a part of what the command computes."""

    def __init__(self, name: str, study: Study) -> None:
        self.name, self.study, self.store = name, study, Store(name, study)

    def missing(self) -> tuple[int, int]:
        return len(self.store.missing()), len(self.study.nets())

    def seconds(self, jobs: int) -> float:
        return sum(self._share(net, jobs) for net in self.store.missing())

    def _share(self, net: Net, jobs: int) -> float:
        """Return a run's part of that."""
        return self.store.expected(net) / (1 if self.study.alone else jobs)

    def clear(self) -> None:
        self.store.delete()
        self.store = Store(self.name, self.study)

    def compute(
        self,
        jobs: int,
        say: Callable[[str], None] = lambda line: None,
        advance: Callable[[float, str], None] = lambda seconds, what: None,
    ) -> None:
        nets = self.store.missing()
        shares = [self._share(net, jobs) / net.config.epochs for net in nets]
        epochs: Counter[int] = Counter()

        def on_epoch(number: int) -> None:
            epochs[number] += 1
            net = nets[number]
            advance(shares[number], f"{net}: epoch {epochs[number]} of {net.config.epochs}")

        for found in outcomes(nets, jobs, self.study.alone, on_epoch):
            self.store.add(found)
            say(self._line(found))
        self.store.write()  # what it says of itself may have changed

    def _line(self, found: Outcome) -> str:
        missing, all_of_them = self.missing()
        row = next(iter(found.rows.values()))
        share = row["val_accuracy"]
        validation = f"{share:.2%}" if share != "" else "none"
        return (
            f"{self.name} {all_of_them - missing}/{all_of_them}: {found.net}, "
            f"{row['seconds']:.0f} s, validation {validation}"
        )
