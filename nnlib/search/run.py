"""Hyperparameter search: many configurations trained, their table, and nothing lost on the way.

The process that calls `run_search` trains nothing. It holds the folder, queues the configurations
in the study, keeps a crew of workers at it, and writes down what they have finished: the `Ledger`
says what is to do and what is done, a crew (processes here, or threads that speak to a cluster)
runs trials, and here both are looked after, several times a second.

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
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import optuna
from filelock import FileLock, Timeout

from nnlib import checks
from nnlib.checks import InputError
from nnlib.config import TrainConfig
from nnlib.files import make_folder, read_json, write_atomic, write_json
from nnlib.runs import RunFolder, rows_to_csv
from nnlib.search.ledger import Ledger, accuracies, same_settings, watching
from nnlib.search.space import Choice as Choice
from nnlib.search.space import Plan
from nnlib.search.space import Range as Range
from nnlib.search.space import parse_choice as parse_choice
from nnlib.search.space import parse_range as parse_range
from nnlib.search.workers import LocalCrew

PAUSE = 0.1  # seconds between two looks at the study, or nine times what a look takes
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass(frozen=True)
class SearchResult:
    """What a search found, finished or not: its trials, the study, and where they are."""

    plan: Plan
    rows: list[dict[str, Any]]  # best first
    study: optuna.Study
    folder: Path
    seconds: float
    interrupted: bool = False

    @property
    def planned(self) -> int:
        """How many trials there will be."""
        return len(self.plan.configurations)

    @property
    def table(self) -> Any:
        """The finished trials as a pandas DataFrame, best mean validation accuracy first.

        Columns: number, each varied setting, val_accuracy (mean over seeds), val_accuracy_se (its
        standard error), seed_S (accuracy of seed S), best_epoch (mean), seconds, state
        (complete, pruned, failed), reason.
        """
        import pandas as pd

        return pd.DataFrame(self.rows)

    @property
    def best(self) -> dict[str, Any]:
        """The settings that won, as JSON values, with number and val_accuracy; {} if none did."""
        if (won := self._winner) is None:
            return {}
        names, settings = ("number", "val_accuracy"), self.best_config.as_dict()
        return {k: settings[k] for k in self.plan.space} | {k: won[k] for k in names}

    @property
    def best_config(self) -> TrainConfig:
        """The settings of a training run that won; those that are held fixed if none did."""
        return self.plan.config_of(self._winner) if self._winner else self.plan.config

    @property
    def _winner(self) -> dict[str, Any] | None:
        return next((row for row in self.rows if row["state"] == "complete"), None)


OnTrial = Callable[[dict[str, Any], SearchResult], None]


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
    on_trial: OnTrial | None = None,
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
    start = time.perf_counter()
    plan = Plan(config, space, trials, sampler, pruner, seeds, seed)
    checks.whole("jobs", 1 if jobs is None else jobs, least=1)
    data = config.load()
    if not len(data.val):
        raise InputError("a search needs validation images, got validation size 0")
    settings = plan.settings(data.sha256)
    folder = Path(out) if out is not None else _unfinished(settings) or _new_folder(config.dataset)
    place = storage or folder / "study.log"
    with _own_folder(folder, settings) as about, watching(place):
        open_ledger = partial(Ledger, place, plan, about["owner"], storage is None)
        ledger = open_ledger()
        ledger.settle(settings)
        ledger.let_go()
        crew = _make_crew(scheduler, jobs, folder, data, open_ledger)
        del data  # the workers have it; here it would only take memory
        search = _Search(ledger, crew, folder, on_trial, start)
        with closing(crew):
            search.run()
        ledger.let_go()
        result = search.save()
        write_json(folder / "search.json", about | {"finished": len(result.rows) == result.planned})
    return result


# ---------------------------------------------------------------- the folder


@contextmanager
def _own_folder(folder: Path, settings: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Hold the folder of a search, alone, and yield what its search.json says."""
    if RunFolder(folder).holds_a_run():
        raise InputError(f"{folder} already holds a run: name another folder")
    existed = folder.exists()
    lock = FileLock(make_folder(folder) / ".lock", timeout=0)
    try:
        with lock:
            yield _about(folder / "search.json", settings)
    except Timeout:
        raise InputError(
            f"{folder} is being searched by another process; name another folder"
        ) from None
    except InputError:
        if not existed and not (folder / "trials").exists():
            rmtree(folder, ignore_errors=True)
        raise
    finally:
        rmtree(folder / "images", ignore_errors=True)


def _about(path: Path, settings: dict[str, str]) -> dict[str, Any]:
    """Read or make search.json; InputError where it is another search's."""
    if path.exists():
        about = read_json(path)
        same_settings(str(path.parent), about["settings"], settings)
    else:
        about = {"settings": settings, "owner": secrets.token_hex(8), "finished": False}
        write_json(path, about)
    return about


def _unfinished(settings: dict[str, str]) -> Path | None:
    """Return the folder of a search with these settings that was cut short, the newest."""
    for path in sorted(Path("runs").glob("search-*/search.json"), reverse=True):
        about = read_json(path)
        if not about["finished"] and about["settings"] == settings:
            with suppress(Timeout), FileLock(path.parent / ".lock", timeout=0):
                return path.parent
    return None


def _new_folder(dataset: str) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"search-{Path(dataset).name}-{stamp}-{secrets.token_hex(3)}"


def _make_crew(scheduler: str | None, jobs: int | None, *work: Any) -> Any:
    if scheduler is None:
        return LocalCrew(jobs or 1, *work)
    from nnlib.search.cluster import DaskCrew

    return DaskCrew(scheduler, jobs, *work)


# ---------------------------------------------------------------- the search


@dataclass
class _Search:
    """The loop: what the ledger lacks is done by the crew, what has ended becomes a row."""

    ledger: Ledger
    crew: Any  # a LocalCrew, or a DaskCrew, which has the same methods
    folder: Path
    on_trial: OnTrial | None
    start: float
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)  # by the number of the trial
    interrupted: bool = False

    def run(self) -> None:
        """Look after crew and ledger until every number has a result, or an interrupt."""
        for number, trial in self.ledger.trials().items():
            if trial.state.is_finished():
                self._enter(number, trial)
        with self._interrupts():
            while not self.interrupted and len(self.rows) < len(self.ledger.plan.configurations):
                self._look()

    def _look(self) -> None:
        began = time.monotonic()
        trials = self.ledger.review(self.crew.at_work())
        for number, trial in trials.items():
            if trial.state.is_finished() and number not in self.rows:
                self._end(number, trial)
                return  # one at a time, as a callback may take long
        to_do = [t for t in trials.values() if t.state.name == "WAITING" or self.ledger.runs(t)]
        self.crew.hire(len(to_do))
        time.sleep(max(PAUSE, 9 * (time.monotonic() - began)))

    def _enter(self, number: int, trial: optuna.trial.FrozenTrial) -> None:
        self.rows[number] = _row(self.ledger.plan, number, trial)

    def _end(self, number: int, trial: optuna.trial.FrozenTrial) -> None:
        """Take note of a trial that has ended, and tell whoever listens if it ran here."""
        self._enter(number, trial)
        result = self.save()
        if self.on_trial and self.ledger.owns(trial):
            self.on_trial(self.rows[number], result)

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Let the first Ctrl-C end the loop between two events; a second one acts as ever."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def interrupt(*_: object) -> None:
            self.interrupted = True
            signal.signal(signal.SIGINT, before)

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def save(self) -> SearchResult:
        """Write the table of the finished trials so far, and return them."""
        rows = sorted(self.rows.values(), key=_rank)
        write_atomic(self.folder / "trials.csv", rows_to_csv(rows))
        seconds, ledger = time.perf_counter() - self.start, self.ledger
        return SearchResult(ledger.plan, rows, ledger.study, self.folder, seconds, self.interrupted)


def _row(plan: Plan, number: int, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    outcome = trial.user_attrs.get("outcome", {"seeds": {}, "seconds": math.nan})
    runs, each = outcome["seeds"], accuracies(outcome)
    epochs = [run["epoch"] for run in runs.values()]
    stopped = f"after epoch {sum(run['epochs'] for run in runs.values())}"
    reason = stopped if trial.state.name == "PRUNED" else trial.user_attrs.get("reason", "")
    return {
        "number": number,
        **{name: trial.params.get(name) for name in plan.space},
        "val_accuracy": statistics.fmean(each) if each else math.nan,
        "val_accuracy_se": statistics.stdev(each) / len(each) ** 0.5 if each[1:] else math.nan,
        **{f"seed_{s}": runs.get(str(s), {}).get("accuracy", math.nan) for s in plan.run_seeds},
        "best_epoch": statistics.fmean(epochs) if len(epochs) > 1 else (epochs or [0])[0],
        "seconds": outcome["seconds"],
        "state": STATES[trial.state.name],
        "reason": reason,
    }


def _rank(row: dict[str, Any]) -> tuple[float, int]:
    """Order by accuracy, best first; trials without one come last."""
    accuracy = row["val_accuracy"]
    return math.inf if math.isnan(accuracy) else -accuracy, row["number"]
