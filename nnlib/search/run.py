"""Hyperparameter search: many configurations trained, their table, and nothing lost on the way.

The process that calls `run_search` trains nothing. It holds the folder and looks after all the
rest, several times a second: the `Ledger` says what is to do and what is done, a crew has trials
trained (by processes here, or on a cluster), each led by a thread, and what has ended becomes a
row of the table.

    search.json        what the search is, and whether it is finished
    study.log          the study, unless a storage was named; optuna-dashboard opens it
    trials.csv         one row a trial, best first, rewritten as they end
    trials/0007/seed-0 settings, history and best weights of trial 7
"""

import math
import queue
import statistics
import sys
import threading
import time
import warnings
from bisect import insort
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import optuna

from nnlib import checks, files
from nnlib.checks import InputError
from nnlib.config import TrainConfig
from nnlib.runs import RunFolder, default_folder, rows_to_csv
from nnlib.search.ledger import Ledger, Trial, accuracies, same_settings
from nnlib.search.space import Choice, Plan, Range
from nnlib.search.storage import AGAIN, hold, read_address, watching
from nnlib.search.workers import IMAGES, PATIENCE, LocalCrew

PAUSE = 0.5  # seconds between two looks at the study
LOSSES = 3  # trials lost in a row after which the search stops
TEMPORARY = f".*.{'[0-9a-f]' * 8}.tmp"  # what a `write_atomic` leaves that is killed
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
    place = read_address(storage) if storage else None
    data = config.load()
    if not len(data.val):
        raise InputError("a search needs validation images, got validation size 0")
    settings = plan.settings(data.sha256)
    folder = data.outside(out or _unfinished(settings) or default_folder("search", data.name))
    place = place or folder / "study.log"
    with (
        _held_folder(folder, settings) as about,
        files.stoppable(lambda number, _: sys.exit(128 + number)),
        ExitStack() as holding,
    ):
        with watching(place, opening=True):
            holding.enter_context(hold(place))
            ledger = Ledger(place, plan, settings)
        if scheduler is None:
            crew = LocalCrew(folder, min(jobs or 1, ledger.planned), data)
        else:
            from nnlib.search.cluster import DaskCrew

            crew = DaskCrew(scheduler, jobs, data)
        del data  # the workers have it; here it would only take memory
        result = SearchResult(plan, ledger.study, folder)
        with watching(place):
            try:
                _watch(result, ledger, crew, on_trial, start)
            except KeyboardInterrupt:
                result.interrupted = True
            about["finished"] = len(result.rows) == result.planned
            files.write_json(folder / "search.json", about)
    return result


# ---------------------------------------------------------------- the folder


@contextmanager
def _held_folder(folder: Path, settings: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Hold the folder of a search, alone, and yield what its search.json says.

    A folder is a search's by that file; one that holds anything else is refused untouched.
    """
    path = folder / "search.json"
    _check_folder(folder)
    with files.owned(files.make_folder(folder), ()):
        _check_folder(folder)
        new = {"settings": settings, "finished": False}
        about = _read_about(path) if path.exists() else new
        same_settings(str(folder), about["settings"], settings)
        if about is new:
            files.write_json(path, about)
        _sweep(folder)
        try:
            yield about
        except InputError:
            if about is new and not (folder / "trials").exists():
                _undo(folder)
            raise


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds a run, or anything else unless it is a search's."""
    with files.reading(folder):
        held = list(folder.iterdir()) if folder.exists() else []
    if RunFolder(folder).holds_a_run():
        raise InputError(f"{folder} already holds a run: name another folder")
    odd = [path.name for path in held if path.name != files.LOCK and not path.match(TEMPORARY)]
    if odd and not (folder / "search.json").exists():
        raise InputError(f"{folder} is no search's, it holds {min(odd)!r}: name a new folder")


def _read_about(path: Path) -> dict[str, Any]:
    about = files.read_json(path)
    if type(about.get("settings")) is dict and type(about.get("finished")) is bool:
        return about
    raise InputError(f"{path} is not what a search wrote; restore it, or name another folder")


def _sweep(folder: Path) -> None:
    """Remove what a search that was killed has left."""
    for images in folder.glob(f"{IMAGES}*"):
        rmtree(images, ignore_errors=True)
    for path in folder.rglob(TEMPORARY):
        path.unlink(missing_ok=True)


def _undo(folder: Path) -> None:
    """Remove the folder of a search that was refused; there was nothing in it before."""
    with suppress(OSError):
        for name in ("search.json", "study.log", ".study.log.held", files.LOCK):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _unfinished(settings: dict[str, str]) -> Path | None:
    """Return the folder of a search with these settings that was cut short, the newest."""
    for path in sorted(Path("runs").glob("search-*/search.json"), reverse=True):
        try:
            about = _read_about(path)
            if not about["finished"] and about["settings"] == settings:
                with files.owned(path.parent, ()):
                    return path.parent
        except InputError as error:
            warnings.warn(f"{error}; it is passed over", stacklevel=3)
    return None


# ---------------------------------------------------------------- the search


def _watch(
    result: SearchResult, ledger: Ledger, crew: Any, on_trial: OnTrial | None, start: float
) -> None:
    """Look after ledger and crew until every trial has an outcome; what has ended becomes a row.

    Raises ChildProcessError where trials were lost: three in a row, or when all others have ended.
    """
    due, lost, in_a_row = 0.0, {}, 0
    leaders: dict[int, threading.Thread] = {}  # of the trials that run here, by number
    inbox: queue.SimpleQueue = queue.SimpleQueue()
    try:
        while in_a_row < LOSSES:
            ledger.review()
            while len(leaders) < crew.places() and (trial := ledger.claim()):
                about = trial, ledger, crew, result.folder, inbox
                leaders[trial.number] = threading.Thread(target=_lead, args=about, daemon=True)
                leaders[trial.number].start()
            for ended in ledger.news():
                insort(result.rows, row := _row(result.plan, ended), key=_rank)
                if time.monotonic() >= due:
                    due = _save(result, start)
                if on_trial and ended.number in ledger.finished:
                    on_trial(row, result)
            if len(ledger.told | lost.keys()) == result.planned:
                break
            with suppress(queue.Empty):  # one at a time: others wait for what `on_trial` does
                trial, outcome = inbox.get(timeout=PAUSE)
                del leaders[trial.number]
                if isinstance(outcome, BaseException):
                    raise outcome
                if why := outcome.get("lost"):
                    lost[trial.number], in_a_row = why, in_a_row + 1
                else:
                    ledger.finish(trial, outcome)
                    in_a_row = 0
    finally:
        crew.close()
        for leader in leaders.values():
            leader.join(PATIENCE)
        with suppress(Exception):  # of a storage that is lost; those who come later will do it
            ledger.give_up(*ledger.running)
        _save(result, start)
    if lost := {number: why for number, why in lost.items() if number not in ledger.told}:
        number, why = lost.popitem()
        more = f", and {len(lost)} more" if lost else ""
        raise ChildProcessError(f"trial {number} was lost{more} ({why}); {AGAIN}")


def _lead(trial: Trial, ledger: Ledger, crew: Any, folder: Path, inbox: queue.SimpleQueue) -> None:
    """Have a trial trained, in a thread that no end waits for, and say what came of it."""
    try:
        runs, place = ledger.plan.runs_of(trial.params), folder / "trials" / f"{trial.number:04d}"
        inbox.put((trial, crew.train(runs, place, partial(ledger.report, trial))))
    except InputError as error:  # settings of which each is possible, but not all together
        inbox.put((trial, {"reason": str(error)}))
    except BaseException as error:
        inbox.put((trial, error))


def _save(result: SearchResult, start: float) -> float:
    """Write the table of the trials that have ended; return when to do so again, by the clock.

    It takes the longer the more there are: a twentieth of the time is for it.
    """
    began, result.seconds = time.monotonic(), time.perf_counter() - start
    files.write_atomic(result.folder / "trials.csv", rows_to_csv(result.rows))
    return time.monotonic() + 20 * (time.monotonic() - began)


def _row(plan: Plan, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    outcome = trial.user_attrs["outcome"]
    runs, each = outcome.get("seeds", {}), accuracies(outcome)
    epochs = [run["epoch"] for run in runs.values()]
    stopped = f"after epoch {sum(run['epochs'] for run in runs.values())}"
    return {
        "number": trial.number,
        **{name: trial.params.get(name) for name in plan.space},
        "val_accuracy": statistics.fmean(each) if each else math.nan,
        "val_accuracy_se": statistics.stdev(each) / len(each) ** 0.5 if each[1:] else math.nan,
        **{f"seed_{s}": runs.get(str(s), {}).get("accuracy", math.nan) for s in plan.run_seeds},
        "best_epoch": statistics.fmean(epochs) if len(epochs) > 1 else (epochs or [0])[0],
        "seconds": outcome.get("seconds", math.nan),
        "state": STATES[trial.state.name],
        "reason": stopped if trial.state.name == "PRUNED" else outcome.get("reason", ""),
    }


def _rank(row: dict[str, Any]) -> tuple[float, int]:
    """Order by accuracy, best first; trials without one come last."""
    accuracy = row["val_accuracy"]
    return math.inf if math.isnan(accuracy) else -accuracy, row["number"]
