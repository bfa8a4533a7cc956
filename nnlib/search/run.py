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
import os
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
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
from nnlib.runs import RunFolder, default_folder, rows_to_csv
from nnlib.search.ledger import Ledger, accuracies, same_settings, watching
from nnlib.search.space import Choice, Plan, Range
from nnlib.search.workers import LocalCrew

PAUSE = 0.1  # seconds between two looks at the study, or up to a second where a look takes long
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass
class SearchResult:
    """What a search has found, finished or not: its trials, the study, and where they are."""

    plan: Plan
    study: optuna.Study
    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list)  # best first
    seconds: float = 0.0
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
    new = default_folder("search", data.name)
    folder = Path(os.path.expanduser(out)) if out is not None else _unfinished(settings) or new
    place = os.path.expanduser(storage) if storage else folder / "study.log"
    with _held_folder(folder, settings) as about, watching(place):
        open_ledger = partial(Ledger, folder, place, plan, about["owner"], storage is None)
        ledger = open_ledger()
        ledger.settle(settings)
        ledger.let_go()
        result = SearchResult(plan, ledger.study, folder)
        with closing(_make_crew(scheduler, jobs, open_ledger, data)) as crew:
            del data  # the workers have it; here it would only take memory
            try:
                _watch(result, ledger, crew, on_trial, start)
            except KeyboardInterrupt:  # whatever it broke off here, trials end in the workers
                result.interrupted = True
        ledger.let_go()
        _save(result, start)
        write_json(folder / "search.json", about | {"finished": len(result.rows) == result.planned})
    return result


# ---------------------------------------------------------------- the folder


@contextmanager
def _held_folder(folder: Path, settings: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Hold the folder of a search, alone, and yield what its search.json says."""
    if RunFolder(folder).holds_a_run():
        raise InputError(f"{folder} already holds a run: name another folder")
    existed, path = folder.exists(), folder / "search.json"
    about = {"settings": settings, "owner": secrets.token_hex(8), "finished": False}
    try:
        with FileLock(make_folder(folder) / ".lock", timeout=0):
            if path.exists():
                about = read_json(path)
                same_settings(str(folder), about["settings"], settings)
            write_json(path, about)
            yield about
    except Timeout:
        raise InputError(
            f"{folder} is being searched by another process; name another folder"
        ) from None
    except InputError:
        if not existed and not (folder / "trials").exists():
            rmtree(folder, ignore_errors=True)
        raise


def _unfinished(settings: dict[str, str]) -> Path | None:
    """Return the folder of a search with these settings that was cut short, the newest."""
    for path in sorted(Path("runs").glob("search-*/search.json"), reverse=True):
        about = read_json(path)
        if not about["finished"] and about["settings"] == settings:
            with suppress(Timeout), FileLock(path.parent / ".lock", timeout=0):
                return path.parent
    return None


def _make_crew(scheduler: str | None, jobs: int | None, *work: Any) -> Any:
    if scheduler is None:
        return LocalCrew(jobs or 1, *work)
    from nnlib.search.cluster import DaskCrew

    return DaskCrew(scheduler, jobs, *work)


# ---------------------------------------------------------------- the search


def _watch(
    result: SearchResult, ledger: Ledger, crew: Any, on_trial: OnTrial | None, start: float
) -> None:
    """Look after ledger and crew until every number has a result; what has ended becomes a row.

    The crew is a `LocalCrew`, or a `DaskCrew`, which has the same methods.
    """
    finished = ((n, trial) for n, trial in ledger.trials().items() if trial.state.is_finished())
    result.rows += [_row(result.plan, number, trial) for number, trial in finished]
    while len(result.rows) < result.planned:
        began, there = time.monotonic(), {row["number"] for row in result.rows}
        trials = ledger.review(crew.at_work())
        ended = [n for n, trial in trials.items() if trial.state.is_finished() and n not in there]
        for number in ended[:1]:  # then look again, as a callback may take long
            row = _row(result.plan, number, trials[number])
            result.rows.append(row)
            _save(result, start)
            if on_trial and ledger.owns(trials[number]):
                on_trial(row, result)
        if not ended:
            crew.hire(sum(trial.state.name == "WAITING" for trial in trials.values()))
            time.sleep(max(PAUSE, min(1.0, 9 * (time.monotonic() - began))))


def _save(result: SearchResult, start: float) -> None:
    """Write the table of the trials that have ended."""
    result.rows.sort(key=_rank)
    result.seconds = time.perf_counter() - start
    write_atomic(result.folder / "trials.csv", rows_to_csv(result.rows))


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
