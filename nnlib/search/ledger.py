"""The ledger of a search: an Optuna study in which every configuration is done exactly once.

The configurations wait in the study, each under its number. Whoever runs trials claims one after
the other. A trial counts while it waits, runs, or has a result (a failure with its reason is one);
a trial that was given up has neither, its number is missing from the ledger, and `repair` queues
it again. Where several machines share a storage, each writes the time of its own clock into the
study; one whose clock stands still is dead, and what it ran is given up. Of two trials of one
number, which two machines may have queued at the same moment, the first counts.
"""

import math
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from nnlib.checks import InputError
from nnlib.search.space import Choice, Configuration, Plan, Range

NAME = "search"  # of the study in its storage
BEAT, GRACE = 5.0, 30.0  # seconds between two signs of life; after so many without, dead
CONNECT = 10  # seconds to reach a database
TIMED = ("psycopg", "psycopg2", "pymysql", "mysqldb")  # drivers that can be told CONNECT
COUNTING = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
JOURNAL = b'{"op_code":'  # how every journal begins

Storage = JournalStorage | RDBStorage


def open_storage(address: str | Path) -> Storage:
    """Open a journal file, or the database that a URL names; InputError where that fails."""
    start = time.monotonic()
    try:
        return _open_database(str(address)) if "://" in str(address) else _open_journal(address)
    except InputError:
        raise
    except Exception as error:  # each driver has its own, and a file may hold anything
        why = f"{_reason(error)} (waited {time.monotonic() - start:.1f} s)"
        raise InputError(
            f"cannot use the storage {_shown(address)}: {why}; start it, or name another"
        ) from error


def _open_journal(address: str | Path) -> JournalStorage:
    """Open a journal, without the last line if its writer was killed in the midst of it."""
    path = Path(address)
    held = path.with_name(f".{path.name}.held")  # not .lock: Optuna gives that another meaning
    with (lock := FileLock(held, poll_interval=0.01)), path.open("a+b") as stream:
        stream.seek(0)
        content = stream.read()
        if content and not content.startswith(JOURNAL):
            raise InputError(f"{path} is not the journal of a study; name another file")
        stream.truncate(content.rfind(b"\n") + 1)
    return JournalStorage(JournalFileBackend(str(path), lock))


def _open_database(address: str) -> RDBStorage:
    try:
        driver = make_url(address).get_driver_name()
    except (ArgumentError, ValueError):  # whose text may hold a piece of the password
        scheme = address.partition("://")[0]
        raise InputError(
            f"cannot read the storage {scheme}://...: write {scheme}://USER:PASSWORD@HOST:PORT/NAME,"
            " with %40 for an @, %2F for a / and %3A for a : in the password"
        ) from None
    timeout = {"connect_timeout": CONNECT} if driver in TIMED else {}
    storage = partial(RDBStorage, address, {"connect_args": timeout, "pool_pre_ping": True})
    try:
        return storage()
    except (ProgrammingError, IntegrityError):  # another search was making the tables meanwhile
        time.sleep(1.0)
        return storage()


def _shown(address: str | Path) -> str:
    """Return an address without user, password and options."""
    return re.sub(r"//.*@", "//", str(address)).partition("?")[0]


def _reason(error: BaseException) -> str:
    """Return the first line of what lies at the bottom of an error."""
    while error.__cause__:
        error = error.__cause__
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[0]


@contextmanager
def watching(address: str | Path) -> Iterator[None]:
    """Keep Optuna quiet, and tell in one line when its storage fails in the midst of a search."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    except (OptunaError, SQLAlchemyError) as error:
        lost = f"lost the storage {_shown(address)}: {_reason(error)}"
        raise ConnectionError(f"{lost}; give the same command to go on") from error
    finally:
        optuna.logging.set_verbosity(before)


def make_pruner(name: str, epochs: int) -> optuna.pruners.BasePruner:
    """Return the pruner of a name for trials of `epochs` epochs, which it first judges at a ninth.

    median: below the median of the finished trials at the same epoch (Golovin et al. 2017).
    halving: asynchronous successive halving: at a ninth and at a third of the epochs, the best
    third goes on (Li et al. 2020); a later decision would save little.
    hyperband: halving in brackets, of which some begin at the ninth, some at the third (Li et al.
    2018).
    """
    first = 1 + epochs // 9
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=first)
    if name == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=3)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(first, epochs, reduction_factor=3)
    return optuna.pruners.NopPruner()


def _sampler(name: str, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return a sampler for one trial, seeded by its number, so that a restart repeats nothing."""
    if name != "tpe":
        return optuna.samplers.RandomSampler()  # never asked: every value is queued
    mixed = (seed * 1_000_003 + number) % 2**32
    return optuna.samplers.TPESampler(seed=mixed, n_startup_trials=10)


def _distribution(dimension: Range | Choice) -> optuna.distributions.BaseDistribution:
    if isinstance(dimension, Choice):
        return optuna.distributions.CategoricalDistribution(dimension.values)
    kind = "IntDistribution" if dimension.integer else "FloatDistribution"
    return getattr(optuna.distributions, kind)(dimension.low, dimension.high, log=dimension.log)


def _open_study(storage: Storage, pruner: optuna.pruners.BasePruner) -> optuna.Study:
    """Load the study, without writing to it, or create it."""
    study = {"study_name": NAME, "storage": storage, "pruner": pruner}
    try:
        return optuna.load_study(**study)
    except KeyError:  # another machine may create it at this moment
        return optuna.create_study(**study, direction="maximize", load_if_exists=True)


class Ledger:
    """The trials of one search, by number, in an Optuna study that others may share.

    `settings` say what the search is; InputError where the study holds another. `owner` names
    whoever runs trials here, for ever: after a restart it knows its own trials. With `alone`,
    nobody else can have the study, and all are its own.
    """

    def __init__(
        self, storage: Storage, plan: Plan, settings: dict[str, str], owner: str, alone: bool
    ) -> None:
        self.study = _open_study(storage, make_pruner(plan.pruner, plan.epochs))
        self.plan, self.owner, self.alone = plan, owner, alone
        self.distributions = {name: _distribution(d) for name, d in plan.space.items()}
        self.last_beat = -math.inf
        self.signs: dict[str, tuple[Any, float]] = {}  # owner: its sign, and when that was new
        self.mine: dict[int, int] = {}  # trials that run here: the last epoch reported
        there = self.study.user_attrs.get("settings", {})
        if there or self.study.get_trials(deepcopy=False):
            same_settings("the storage", there, settings)
        else:
            self.study.set_user_attr("settings", settings)

    def trials(self) -> dict[int, FrozenTrial]:
        """Return the trial that counts for each number of the plan; missing ones are to do."""
        counting: dict[int, FrozenTrial] = {}
        planned = range(len(self.plan.configurations))
        for trial in self.study.get_trials(deepcopy=False):
            counts = trial.state in COUNTING or "reason" in trial.user_attrs
            if counts and (number := trial.user_attrs.get("number")) in planned:
                counting.setdefault(number, trial)
        return counting

    @property
    def done(self) -> bool:
        """Whether every number has a result."""
        finished = sum(trial.state.is_finished() for trial in self.trials().values())
        return finished == len(self.plan.configurations)

    def repair(self) -> None:
        """Give up the trials of the dead, and queue every number that is missing."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._is_stale(trial):
                self._close(trial, TrialState.FAIL)
        trials = self.trials()
        for number, configuration in enumerate(self.plan.configurations):
            if number not in trials:
                fixed = configuration or self._tried(number)
                self.study.enqueue_trial(fixed, user_attrs={"number": number})

    def _tried(self, number: int) -> Configuration:
        """Return what a sampler had proposed for a number whose trial was given up."""
        for trial in reversed(self.study.get_trials(deepcopy=False)):
            complete = trial.params.keys() == self.distributions.keys()
            if complete and trial.user_attrs.get("number") == number:
                return trial.params
        return {}

    def _is_stale(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get("owner", f"trial {trial.number}")
        if self.alone or owner == self.owner:
            return trial.number not in self.mine
        sign, now = self.study.user_attrs.get(f"alive {owner}"), time.monotonic()
        if owner not in self.signs or self.signs[owner][0] != sign:
            self.signs[owner] = (sign, now)
        return now - self.signs[owner][1] > GRACE

    def beat(self) -> None:
        """Show that this process is alive, and look after the others; every few seconds."""
        if not self.alone and time.monotonic() - self.last_beat >= BEAT:
            self.last_beat = time.monotonic()
            self.study.set_user_attr(f"alive {self.owner}", time.time())
            self.repair()

    def claim(self) -> Trial | None:
        """Take the next number in the queue and return its trial, or None if nothing waits."""
        while waiting := self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            number = waiting[0].user_attrs.get("number", 0)
            self.study.sampler = _sampler(self.plan.sampler, self.plan.seed, number)
            trial = self.study.ask(self.distributions)
            if self._is_first(trial):
                self.mine[trial.number] = 0
                trial.set_user_attr("owner", self.owner)
                return trial
            self.give_up(trial)
        return None

    def _is_first(self, trial: Trial) -> bool:
        counting = self.trials().get(trial.user_attrs.get("number"))
        return counting is not None and counting.number == trial.number

    def report(self, trial: Trial, epoch: int, accuracy: float) -> bool:
        """Note an epoch's validation accuracy; return whether the trial should go on.

        Epochs that an earlier attempt of the same trial reported are known already.
        """
        if epoch <= self.mine.get(trial.number, 0):
            return True
        self.mine[trial.number] = epoch
        with suppress(UpdateFinishedTrialError):
            trial.report(accuracy, epoch)
            return not trial.should_prune()
        return False  # given up by another machine, which thought this one dead

    def finish(self, trial: Trial, outcome: dict[str, Any]) -> None:
        """Note the result of a trial: its seeds' accuracies, pruned or not."""
        with suppress(UpdateFinishedTrialError):
            trial.set_user_attr("outcome", outcome)
        if outcome["pruned"]:
            self._close(trial, TrialState.PRUNED)
        else:
            self._close(trial, TrialState.COMPLETE, statistics.fmean(accuracies(outcome)))

    def fail(self, trial: Trial, reason: str) -> None:
        """Note why a trial has no result; it will not run again."""
        with suppress(UpdateFinishedTrialError):
            trial.set_user_attr("reason", reason)
        self._close(trial, TrialState.FAIL)

    def give_up(self, trial: Trial) -> None:
        """Let a trial go without a result; its number will be queued again."""
        self._close(trial, TrialState.FAIL)

    def _close(self, trial: Any, state: TrialState, value: float | None = None) -> None:
        with suppress(UpdateFinishedTrialError):  # by another machine, just now
            self.study.tell(trial.number, value, state, skip_if_finished=True)
        self.mine.pop(trial.number, None)


def accuracies(outcome: dict[str, Any]) -> list[float]:
    """Return the best validation accuracy of each seed."""
    return [seed["accuracy"] for seed in outcome["seeds"].values()]


def same_settings(where: str, there: dict[str, str], here: dict[str, str]) -> None:
    """Raise InputError naming the first setting in which two searches differ."""
    for name in sorted(there.keys() | here.keys()):
        old, new = there.get(name, "not set"), here.get(name, "not set")
        if old != new:
            raise InputError(
                f"{where} holds another search, with {name} {old} and not {new}: "
                "name another folder or storage, or repeat that search's settings"
            )
