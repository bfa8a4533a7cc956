"""The stored long runs: computing what `studies` describes and `stored` does not yet hold.

`make results` says what is missing and how long it will take, computes it run by run, and may be
stopped at any time: the same command goes on. Runs stand side by side, one BLAS thread each,
which is the most that two cores give; where its time is part of a result, a run is alone. The
test images are read here once training has ended, and in notebook 06; nothing is chosen by what
they say, and all of it is written down.
"""

import argparse
import json
import os
import platform
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from threadpoolctl import threadpool_info, threadpool_limits
from tqdm import tqdm

from experiments import readme as summary
from experiments.readings import NO_LOGITS, READINGS, Reading, as_trained
from experiments.stored import CURVE, Found, Outcome, Row, Table
from experiments.stored import found as found
from experiments.studies import STUDIES, Study
from nnlib import checks
from nnlib.checks import InputError
from nnlib.config import TrainConfig, versions
from nnlib.data import Dataset, Split, load_test_split
from nnlib.engine.threads import unpinned
from nnlib.files import make_folder, project_root
from nnlib.losses import accuracy, log_softmax, softmax_cross_entropy
from nnlib.network import MLP
from nnlib.runs import History
from nnlib.training import make_trainer

BAR = "{percentage:3.0f}% |{bar:20}| {remaining} left{postfix}"
MULTIPLICATIONS = 15e9  # a second on one core: a first guess at how long a run will take
AUGMENTED = 80e3  # images a second, likewise
IMAGES = 55_000  # to train on, likewise
JOBS = min(2, os.cpu_count() or 1)  # runs side by side
Run = tuple[str, TrainConfig]
Told = Callable[[str, TrainConfig], None]


# ---------------------------------------------------------------- one run


def run(
    study: Study,
    label: str,
    config: TrainConfig,
    threads: int | None = None,
    side_by_side: int = 1,
    on_epoch: Told = lambda label, config: None,
) -> Outcome:
    """Train once; then let the net answer the test images in each way that the study asks for."""
    data = config.load()
    start, cpu = time.perf_counter(), time.process_time()
    trainer = make_trainer(config, data, threads)
    for progress in trainer.run():
        if progress.row:
            on_epoch(label, config)
    trainer.restore_best()
    how = {
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "threads": trainer.threads,
        "side_by_side": side_by_side,
    }
    about = _about(config, data, trainer.history) | how
    rows, scores, test = [], {}, load_test_split(config.dataset)
    for name in study.rows_of(label):
        reading = as_trained if name == label else READINGS[name.removeprefix(f"{label}, ")]
        row, scores[f"{name}/{config.seed}"] = _read(reading, trainer.model, data, test)
        rows.append({"name": name} | row | about)
    return Outcome(
        rows,
        _curve(label, config.seed, trainer.history),
        {f"truth/{config.dataset}": test.y} | {k: s.argmax(axis=1) for k, s in scores.items()},
        {key: log_softmax(s) for key, s in scores.items()},
        trainer.model if study.keeps(label, config.seed) else None,
    )


def _about(config: TrainConfig, data: Dataset, history: History) -> Row:
    """Return what all rows of a run share."""
    return {
        "seed": config.seed,
        "best_epoch": history.best["epoch"],
        "epochs": len(history.rows),
        "train_images": len(data.train),
        "processor": processor(),
        "versions": json.dumps(versions()),
        "sha256": data.sha256,
        "settings": json.dumps(config.as_dict()),
    }


def _read(reading: Reading, model: MLP, data: Dataset, test: Split) -> tuple[Row, np.ndarray]:
    """Return how good a reading of a net is, and its scores for the test images (N, K)."""
    start = time.perf_counter()
    answer = reading(model, data)
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


def _curve(label: str, seed: int, history: History) -> list[Row]:
    """Return the row of each epoch, the seconds summed up to it."""
    passed = np.cumsum(history.column("seconds")).round(3).tolist()
    return [
        {name: row.get(name) for name in CURVE} | {"name": label, "seed": seed, "seconds": seconds}
        for row, seconds in zip(history.rows, passed, strict=True)
    ]


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
    study: Study, runs: Sequence[Run], jobs: int, on_epoch: Told = lambda label, config: None
) -> Iterator[Outcome]:
    """Yield what each run gives, as it ends; `jobs` stand side by side unless each must be alone.

    Every run is in a process of its own kind, the same whatever `jobs` is. `on_epoch` hears of
    each run's epochs. Raises what a run raises, and RuntimeError where its process died.
    """
    jobs = 1 if study.alone else jobs
    context = get_context("spawn")
    news = context.SimpleQueue()
    with unpinned(), ProcessPoolExecutor(jobs, context, _begin, (news, study.alone)) as pool:
        order = {pool.submit(_run_here, study, *each, jobs): n for n, each in enumerate(runs)}
        waiting = set(order)
        try:
            while waiting:
                done, waiting = wait(waiting, 0.5, FIRST_COMPLETED)
                while not news.empty():
                    on_epoch(*news.get())
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


def _run_here(study: Study, label: str, config: TrainConfig, jobs: int) -> Outcome:
    threads = None if study.alone else 1
    return run(study, label, config, threads, jobs, lambda *done: _news.put(done))


def expected(study: Study, label: str, config: TrainConfig, rows: Sequence[Row]) -> float:
    """Return how many seconds a run and its readings may take: as its like took, or a guess."""
    alike = [float(row["seconds"]) / int(row["epochs"]) for row in rows if row["name"] == label]
    if alike:
        training = config.epochs * sum(alike) / len(alike)
    else:
        training = 60 * study.minutes.get(label, 0) or _guess(config)
    return training + sum(_reading(name, config, rows) for name in study.rows_of(label)[1:])


def _guess(config: TrainConfig) -> float:
    """Return how many seconds training may take, by its arithmetic."""
    images = (config.train_size or IMAGES) * getattr(config, "enlargement", 1)
    products = sum(a * b for a, b in pairwise([784, *config.hidden, 10]))
    each = products / MULTIPLICATIONS + config.augmentation.active / AUGMENTED
    return config.epochs * images * each


def _reading(name: str, config: TrainConfig, rows: Sequence[Row]) -> float:
    """Return how many seconds a reading may take, or a guess: it passes the images once or so."""
    alike = [float(row["test_seconds"]) for row in rows if row["name"] == name]
    return sum(alike) / len(alike) if alike else 2 * _guess(config) / config.epochs


# ---------------------------------------------------------------- a study


class Part:
    """A study as a part of `make results`: what it lacks, how long that takes, computing it.

    Anything with these methods can be a part, as the stored searches are; `parts` lists them.
    """

    def __init__(self, name: str, study: Study) -> None:
        self.table, self.alone = Table(name, study), study.alone

    def missing(self) -> tuple[int, int]:
        """Return how many runs are missing, of how many."""
        return len(self.table.missing()), len(list(self.table.study.runs()))

    def seconds(self, jobs: int) -> float:
        """Return how long the missing runs may take."""
        return sum(self._share(*run, jobs) for run in self.table.missing())

    def _share(self, label: str, config: TrainConfig, jobs: int) -> float:
        """Return a run's part of that."""
        study, rows = self.table.study, self.table.read
        return expected(study, label, config, rows) / (1 if self.alone else jobs)

    def clear(self) -> None:
        """Forget all runs."""
        self.table.clear()

    def compute(
        self,
        jobs: int,
        say: Callable[[str], None] = lambda line: None,
        advance: Callable[[float, str], None] = lambda seconds, what: None,
    ) -> None:
        """Run what is missing, and write the table as each run ends.

        `say` gets a line for each run; `advance` hears, after each epoch, how many of the
        `seconds` are over, and which epoch of what it was.
        """
        missing = self.table.missing()
        shares = {run: self._share(*run, jobs) / run[1].epochs for run in missing}
        epochs: Counter[Run] = Counter()

        def on_epoch(label: str, config: TrainConfig) -> None:
            run = (label, config)
            epochs[run] += 1
            what = f"{label}, seed {config.seed}: epoch {epochs[run]} of {config.epochs}"
            advance(shares[run], what)

        for outcome in outcomes(self.table.study, missing, jobs, on_epoch):
            self.table.add(outcome)
            say(self._line(outcome.rows[0]))
        self.table.write()  # what it says of itself may have changed

    def _line(self, row: Row) -> str:
        missing, all_of_them = self.missing()
        return (
            f"{self.table.name} {all_of_them - missing}/{all_of_them}: {row['name']}, "
            f"seed {row['seed']}, {row['seconds']:.0f} s, validation {_percent(row)}"
        )


def _percent(row: Row) -> str:
    return f"{row['val_accuracy']:.2%}" if row["val_accuracy"] != "" else "none"


def recomputed(name: str) -> Found:
    """Return what `found` does, but computed now; what is stored stays as it is."""
    study = STUDIES[checks.one_of("study", name, STUDIES)]
    table = Table(name, study, fresh=True)
    for outcome in outcomes(study, list(study.runs()), JOBS):
        table.take(outcome)
    return table.found()


# ---------------------------------------------------------------- the command


def parts() -> dict[str, Part]:
    """Return all that can be computed, by name."""
    from experiments.searches import Searches  # loads Optuna, which notebook 06 does not need

    return {name: Part(name, study) for name, study in STUDIES.items()} | {"searches": Searches()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute the parts named on the command line, or all; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.readme:
            summary.write()
            return 0
        known = parts()
        chosen = {name: known[checks.one_of("study", name, known)] for name in options.names}
        _compute(chosen or known, checks.whole("jobs", options.jobs, 1), options)
    except KeyboardInterrupt:
        return _fail("stopped; finished runs are kept, and the same command goes on", 1)
    except ValueError as error:
        return _fail(error, 2)
    except (OSError, ArithmeticError, RuntimeError, MemoryError) as error:
        return _fail(error, 1)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description="Compute the stored long runs that are missing.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(parts()))
    parser.add_argument("--readme", action="store_true", help="only bring the README up to date")
    parser.add_argument("--plan", action="store_true", help="only say what is missing")
    parser.add_argument("--fresh", action="store_true", help="forget what there is, and begin anew")
    parser.add_argument(
        "--jobs", type=int, default=JOBS, help=f"runs side by side; {JOBS} by default"
    )
    return parser


@contextmanager
def _alone() -> Iterator[None]:
    """Let no other process write the same tables."""
    lock = FileLock(make_folder(project_root() / "runs") / "results.lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout:
        raise InputError("the stored runs are being computed by another process") from None


def _compute(chosen: dict[str, Part], jobs: int, options: argparse.Namespace) -> None:
    if options.plan:
        _plan(chosen, jobs)
        return
    with _alone():
        if options.fresh:
            for part in chosen.values():
                part.clear()
        _plan(chosen, jobs)
        total = sum(part.seconds(jobs) for part in chosen.values())
        with tqdm(total=total, bar_format=BAR, smoothing=0, disable=None, file=sys.stderr) as bar:

            def say(line: str) -> None:
                bar.write(line, file=sys.stderr)

            def advance(seconds: float, what: str) -> None:
                bar.set_postfix_str(what, refresh=False)
                bar.update(seconds)

            for part in chosen.values():
                part.compute(jobs, say, advance)


def _plan(chosen: dict[str, Part], jobs: int) -> None:
    """Say what is missing, and how long it may take."""
    for name, part in chosen.items():
        missing, all_of_them = part.missing()
        left = f"{missing} of {all_of_them} runs to compute, {_time(part.seconds(jobs))}"
        print(f"{name:10} {left if missing else f'all {all_of_them} runs are there'}")
    if any(part.missing()[0] for part in chosen.values()):
        total = _time(sum(part.seconds(jobs) for part in chosen.values()))
        print(f"in all {total}; Ctrl-C stops, and the same command goes on", flush=True)
    else:
        print("nothing to compute; --fresh begins anew", flush=True)


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    hours = f"{minutes // 60} h " if minutes >= 60 else ""
    return f"about {hours}{minutes % 60} min" if minutes else f"about {seconds:.0f} s"


def _fail(error: object, status: int) -> int:
    line = " ".join(str(error).split()) or type(error).__name__
    print(f"results: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    from experiments.compute import main as command  # by its own name, which other processes know

    sys.exit(command())
