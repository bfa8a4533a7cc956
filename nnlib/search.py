"""Hyperparameter search: many configurations trained, their table, and nothing lost on the way.

One process, the one that calls `run_search`, owns the search: it alone speaks to Optuna's storage
and decides what runs, while workers only train. What it decides is in the `Ledger`; how trials
are trained is a pool's business; here the two meet, and the folder on disk is kept.

    search.json        what the search is, and whether it is finished
    study.log          the study, unless a storage was named; optuna-dashboard opens it
    trials.csv         one row a trial, best first, rewritten after each
    trials/0007/seed-0 settings, history and best weights of trial 7
"""

import math
import secrets
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from nnlib import checks
from nnlib.checks import InputError
from nnlib.config import TrainConfig
from nnlib.data import Dataset
from nnlib.files import make_folder, read_json, write_atomic, write_json
from nnlib.runs import RunFolder, rows_to_csv
from nnlib.space import SAMPLERS as SAMPLERS
from nnlib.space import Choice as Choice
from nnlib.space import Range as Range
from nnlib.space import Space, checked_space, configurations, settings_of
from nnlib.space import parse_choice as parse_choice
from nnlib.space import parse_range as parse_range
from nnlib.workers import LocalPool, Task, share_data

if TYPE_CHECKING:
    import optuna
    import pandas

    from nnlib.study import Ledger

TICK = 1.0  # seconds between two looks at the clock
ATTEMPTS = 3  # times that a trial may lose its process before it counts as failed
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass(frozen=True)
class SearchResult:
    """What a search found, finished or not: its trials, the study, and where they are."""

    rows: list[dict[str, Any]]  # best first
    planned: int  # how many trials there will be
    config: TrainConfig
    study: "optuna.Study"
    folder: Path
    seconds: float
    interrupted: bool = False

    @property
    def table(self) -> "pandas.DataFrame":
        """The finished trials as a DataFrame, best mean validation accuracy first.

        Columns: number, each varied setting, val_accuracy (mean over seeds), val_accuracy_se (its
        standard error), seed_S (accuracy of seed S), best_epoch (mean), seconds, state
        (complete, pruned, failed), reason.
        """
        import pandas as pd

        return pd.DataFrame(self.rows)

    @property
    def best(self) -> dict[str, Any]:
        """The settings that won, as JSON values, with number and val_accuracy; {} if none did."""
        for row in self.rows:
            if row["state"] == "complete":
                varied = settings_of({name: row[name] for name in self._varied})
                found = {k: list(v) if isinstance(v, tuple) else v for k, v in varied.items()}
                return found | {key: row[key] for key in ("number", "val_accuracy")}
        return {}

    @property
    def best_config(self) -> TrainConfig:
        """The settings of a training run with the winning configuration."""
        return replace(self.config, **{k: v for k, v in self.best.items() if k in self._varied})

    @property
    def _varied(self) -> list[str]:
        names = list(self.rows[0]) if self.rows else []
        return names[1 : names.index("val_accuracy")] if names else []


def run_search(
    config: TrainConfig,
    space: dict[str, Range | Choice],
    trials: int | None = None,
    *,
    sampler: str = "random",
    pruner: str = "none",
    seeds: int = 1,
    jobs: int | None = None,
    storage: str | Path | None = None,
    scheduler: str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    on_trial: Callable[[dict[str, Any], SearchResult], None] | None = None,
) -> SearchResult:
    """Try `trials` configurations of `space`, everything else as in `config`, and return them all.

    The objective is the best validation accuracy of a run, the mean over `seeds` runs with the
    seeds config.seed, config.seed + 1, …; test images are never loaded. For the samplers and
    what `seed` fixes see `configurations`; for the pruners, which hear of the first seed's
    epochs, `make_pruner`. `jobs` processes train, one BLAS thread each; with the address of a
    Dask `scheduler`, its workers do. `storage` is a file or a database URL that holds the study,
    by default a file in the folder `out`; by default a new one under runs/. Called again after
    any interruption, it goes on: with `out` where that search stands, without in the last one of
    these settings that did not finish. `on_trial` gets the row of each trial that ends here, and
    the result so far. Ctrl-C ends the search once, with what is done. Raises InputError, before
    anything runs, for whatever of this cannot be.
    """
    from nnlib import study

    start = time.perf_counter()
    space = checked_space(config, space)
    plan = configurations(space, sampler, trials, seed)
    checks.one_of("pruner", pruner, study.PRUNERS)
    checks.whole("seeds", seeds, least=1)
    checks.whole("jobs", 1 if jobs is None else jobs, least=1)
    data = config.load()
    if not len(data.val):
        raise InputError("a search needs validation images, got validation size 0")
    searched = {"sampler": sampler, "pruner": pruner, "seeds": str(seeds), "search seed": str(seed)}
    settings = _settings(config, space, data) | searched
    folder = Path(out) if out is not None else _unfinished(settings) or _new_folder(config.dataset)
    place = storage or folder / "study.log"
    with _own_folder(folder, settings) as owner, study.watching(place):
        made = study.make_pruner(pruner, _longest(config, space))
        opened = study.open_storage(place)
        drawn, alone = (sampler, seed), storage is None
        ledger = study.Ledger(opened, settings, space, plan, drawn, made, owner, alone)
        with _open_pool(jobs, scheduler, data, folder) as pool:
            del data  # the workers have it; here it would only take memory
            every, prunes = [config.seed + k for k in range(seeds)], pruner != "none"
            search = _Search(ledger, pool, config, every, prunes, folder, on_trial, start)
            search.run()
        result = search.save()
        write_json(folder / "search.json", _about(settings, owner, finished=ledger.done))
    return result


def _settings(config: TrainConfig, space: Space, data: Dataset) -> dict[str, str]:
    """Say what a search is, independent of where its data and its folder are."""
    held = {name: str(value) for name, value in config.as_dict().items() if name != "dataset"}
    varied = {name: f"in {dimension}" for name, dimension in space.items()}
    return held | varied | {"data": data.sha256}


def _longest(config: TrainConfig, space: Space) -> int:
    return max(space["epochs"].ends) if "epochs" in space else config.epochs


# ---------------------------------------------------------------- the folder


@contextmanager
def _own_folder(folder: Path, settings: dict[str, str]) -> Iterator[str]:
    """Hold the folder of a search, alone, and yield the name of its owner."""
    if RunFolder(folder).holds_a_run():
        raise InputError(f"{folder} already holds a run: name another folder")
    existed = folder.exists()
    lock = FileLock(make_folder(folder) / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{folder} is being searched by another process; name another folder"
        ) from None
    try:
        yield _owner(folder, settings)
    except InputError:
        if not existed and not (folder / "trials").exists():
            rmtree(folder, ignore_errors=True)
        raise
    finally:
        lock.release()
        rmtree(folder / "images", ignore_errors=True)


def _owner(folder: Path, settings: dict[str, str]) -> str:
    """Return the owner that a folder belongs to; InputError where it is another search's."""
    from nnlib.study import same_settings

    about = folder / "search.json"
    if about.exists():
        saved = read_json(about)
        same_settings(str(folder), saved["settings"], settings)
        return saved["owner"]
    owner = secrets.token_hex(8)
    write_json(about, _about(settings, owner, finished=False))
    return owner


def _about(settings: dict[str, str], owner: str, finished: bool) -> dict[str, Any]:
    return {"settings": settings, "owner": owner, "finished": finished}


def _unfinished(settings: dict[str, str]) -> Path | None:
    """Return the folder of a search with these settings that was cut short, the newest."""
    for about in sorted(Path("runs").glob("search-*/search.json"), reverse=True):
        saved = read_json(about)
        if saved["finished"] or saved["settings"] != settings:
            continue
        with suppress(Timeout), FileLock(about.parent / ".lock", timeout=0):
            return about.parent
    return None


def _new_folder(dataset: str) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"search-{Path(dataset).name}-{stamp}-{secrets.token_hex(3)}"


@contextmanager
def _open_pool(
    jobs: int | None, scheduler: str | None, data: Dataset, folder: Path
) -> Iterator[Any]:
    rmtree(folder / "images", ignore_errors=True)
    images = share_data(data, folder / "images")
    if scheduler is None:
        pool = LocalPool(jobs or 1, images)
    else:
        from nnlib.cluster import DaskPool

        pool = DaskPool(scheduler, jobs, images)
    try:
        yield pool
    finally:
        pool.close()


# ---------------------------------------------------------------- the search


@dataclass
class _Search:
    """The loop: trials from the ledger to the pool, events from the pool to the ledger."""

    ledger: "Ledger"
    pool: Any  # LocalPool or DaskPool
    config: TrainConfig
    seeds: list[int]
    prunes: bool
    folder: Path
    on_trial: Callable[[dict[str, Any], SearchResult], None] | None
    start: float
    running: dict[int, Any] = field(default_factory=dict)  # Optuna's trials by their number there
    lost: list[Any] = field(default_factory=list)  # those whose process died
    attempts: Counter[int] = field(default_factory=Counter)
    interrupted: bool = False

    def run(self) -> None:
        """Run trials until every number has a result, or an interrupt."""
        self.ledger.repair()
        with self._interrupts():
            while not self.interrupted:
                self._start_trials()
                if not self.running and self.ledger.done:
                    break
                event = self.pool.receive(TICK)
                if event is not None:
                    self._handle(*event)
                self.ledger.beat()
        for trial in self.running.values():
            self.ledger.give_up(trial)

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Let the first Ctrl-C end the loop between two events; a second one acts as ever."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def interrupt(*_: object) -> None:
            self.interrupted = True
            signal.signal(signal.SIGINT, before)
            self.pool.wake()

        signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _start_trials(self) -> None:
        while self.pool.free > 0:
            trial = self.lost.pop() if self.lost else self.ledger.claim()
            if trial is None:
                return
            self.running[trial.number] = trial
            self.pool.start(self._task(trial))

    def _task(self, trial: Any) -> Task:
        number = trial.user_attrs["number"]
        return {
            "id": trial.number,
            "config": replace(self.config, **settings_of(trial.params)).as_dict(),
            "seeds": self.seeds,
            "ask": self.prunes,
            "folder": str(self.folder / "trials" / f"{number:04d}"),
        }

    def _handle(self, kind: str, number: int | None, value: Any) -> None:
        trial = self.running.get(number)
        if trial is None:
            return
        if kind == "report":
            self._report(trial, *value)
            return
        del self.running[number]
        if kind == "lost":
            self._lose(trial, value)
        else:
            self._close(trial, self.ledger.finish if kind == "done" else self.ledger.fail, value)

    def _report(self, trial: Any, seed: int, epoch: int, accuracy: float) -> None:
        """Pass the first seed's accuracy on, and the answer back."""
        if seed == self.seeds[0]:
            go_on = self.ledger.report(trial, epoch, accuracy)
            if self.prunes:
                self.pool.answer(trial.number, go_on)

    def _lose(self, trial: Any, why: str) -> None:
        self.attempts[trial.number] += 1
        if self.attempts[trial.number] < ATTEMPTS:
            self.lost.append(trial)
        else:
            self._close(trial, self.ledger.fail, f"{why}, {ATTEMPTS} times")

    def _close(self, trial: Any, close: Callable[[Any, Any], None], value: Any) -> None:
        close(trial, value)
        result = self.save()
        number = trial.user_attrs["number"]
        row = next((row for row in result.rows if row["number"] == number), None)
        if self.on_trial and row:
            self.on_trial(row, result)

    def save(self) -> SearchResult:
        """Write the table of the finished trials so far, and return them."""
        trials = self.ledger.trials().items()
        rows = [self._row(number, t) for number, t in trials if t.state.name in STATES]
        rows.sort(key=_rank)
        write_atomic(self.folder / "trials.csv", rows_to_csv(rows))
        seconds, planned = time.perf_counter() - self.start, len(self.ledger.plan)
        study = self.ledger.study
        return SearchResult(
            rows, planned, self.config, study, self.folder, seconds, self.interrupted
        )

    def _row(self, number: int, trial: "optuna.trial.FrozenTrial") -> dict[str, Any]:
        outcome = trial.user_attrs.get("outcome", {"seeds": {}, "seconds": math.nan})
        runs = outcome["seeds"]
        accuracies = [run["accuracy"] for run in runs.values()]
        epochs = [run["epoch"] for run in runs.values()]
        stopped = f"after epoch {sum(run['epochs'] for run in runs.values())}"
        reason = stopped if trial.state.name == "PRUNED" else trial.user_attrs.get("reason", "")
        return {
            "number": number,
            **{name: trial.params.get(name) for name in self.ledger.space},
            "val_accuracy": statistics.fmean(accuracies) if runs else math.nan,
            "val_accuracy_se": _standard_error(accuracies),
            **{f"seed_{s}": runs.get(str(s), {}).get("accuracy", math.nan) for s in self.seeds},
            "best_epoch": statistics.fmean(epochs) if len(epochs) > 1 else (epochs or [0])[0],
            "seconds": outcome["seconds"],
            "state": STATES[trial.state.name],
            "reason": reason,
        }


def _standard_error(values: list[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _rank(row: dict[str, Any]) -> tuple[bool, float, int]:
    accuracy = row["val_accuracy"]
    return math.isnan(accuracy), -accuracy if accuracy == accuracy else 0.0, row["number"]
