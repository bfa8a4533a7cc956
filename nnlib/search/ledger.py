"""The ledger of a search: an Optuna study in which every configuration is done exactly once.

The configurations wait in the study, each under its number. Every worker opens the study itself and
claims one after the other. A trial counts while it waits, runs, or has a result (a failure with
its reason is one); one that was given up has neither, its number is missing from the ledger, and
`review` queues it again. A search knows its own workers; it shows other searches that share the
storage the time of its clock, and one whose clock stands still is dead. (Optuna's heartbeat works
in databases alone, and overlooks a trial whose worker died between claim and first beat.) Of two
trials of one number, which two machines may have queued at the same moment, the first counts.
"""

import math
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna import pruners
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from nnlib.checks import InputError

NAME = "search"  # of the study in its storage
BEAT, GRACE = 5.0, 30.0  # seconds between two signs of life; after so many without, dead
CONNECT = 10  # seconds to reach a database
TIMED = ("psycopg", "psycopg2", "pymysql", "mysqldb")  # drivers that can be told CONNECT
ATTEMPTS = 3  # times that a trial may lose its process before it counts as failed
STORAGE_ERRORS = (OptunaError, SQLAlchemyError)
JOURNAL = b'{"op_code":'  # how every journal begins

optuna.logging.set_verbosity(optuna.logging.WARNING)


@contextmanager
def watching(address: str | Path, opening: bool = False) -> Iterator[None]:
    """Tell in one line, without its password, what is wrong with a storage.

    Raises InputError for one that cannot be opened, later ConnectionError for one that is lost.
    """
    start = time.monotonic()
    known = Exception if opening else STORAGE_ERRORS  # on opening, each driver has its own
    try:
        yield
    except InputError:
        raise
    except known as error:
        shown = re.sub("//.*@", "//", str(address)).partition("?")[0]
        why = f"the storage {shown}: {_reason(error)}"
        if not opening:
            raise ConnectionError(f"lost {why}; give the same command to go on") from error
        waited = f"(waited {time.monotonic() - start:.1f} s)"
        raise InputError(f"cannot use {why} {waited}; start it, or name another") from error


def _reason(error: BaseException) -> str:
    """Return the first line of what lies at the bottom of an error."""
    while error.__cause__:
        error = error.__cause__
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[0]


def open_storage(address: str | Path) -> BaseStorage:
    """Open a journal file, or the database that a URL names; InputError where that fails."""
    with watching(address, opening=True):
        return _open_database(str(address)) if "://" in str(address) else _open_journal(address)


def _open_journal(address: str | Path) -> BaseStorage:
    """Open a journal, without the last line if its writer was killed in the midst of it."""
    path = Path(address)
    held = path.with_name(f".{path.name}.held")  # not .lock: Optuna gives that another meaning
    with (lock := FileLock(held, poll_interval=0.005)), path.open("a+b") as stream:
        stream.seek(0)
        content = stream.read()
        if content and not content.startswith(JOURNAL):
            raise InputError(f"{path} is not the journal of a study; name another file")
        stream.truncate(content.rfind(b"\n") + 1)
    return JournalStorage(JournalFileBackend(str(path), lock))


def _open_database(address: str) -> BaseStorage:
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


def make_pruner(name: str, epochs: int) -> pruners.BasePruner:
    """Return the pruner of a name for trials of `epochs` epochs, which it first judges at a ninth.

    median: below the median of the finished trials at the same epoch (Golovin et al. 2017).
    halving: asynchronous successive halving: at a ninth and at a third of the epochs, the best
    third goes on (Li et al. 2020); a later decision would save little.
    hyperband: halving in brackets, of which some begin at the ninth, some at the third (Li et al.
    2018).
    """
    first = 1 + epochs // 9
    return {
        "none": pruners.NopPruner(),
        "median": pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=first),
        "halving": pruners.SuccessiveHalvingPruner(first, reduction_factor=3),
        "hyperband": pruners.HyperbandPruner(first, epochs, reduction_factor=3),
    }[name]


def _open_study(address: str | Path, pruner: pruners.BasePruner) -> optuna.Study:
    """Load the study, without writing to it, or create it."""
    study = {"study_name": NAME, "storage": open_storage(address), "pruner": pruner}
    try:
        return optuna.load_study(**study)
    except KeyError:  # another machine may create it at this moment
        return optuna.create_study(**study, direction="maximize", load_if_exists=True)


class Ledger:
    """The trials of one search, by number, in an Optuna study that others may share.

    `owner` names the search, for ever: after a restart it knows its own trials. With `alone`,
    nobody else can have the study. `folder` is where its workers write.
    """

    def __init__(
        self, folder: Path, address: str | Path, plan: Any, owner: str, alone: bool
    ) -> None:
        self.folder, self.plan, self.owner, self.alone = folder, plan, owner, alone
        self.study = _open_study(address, make_pruner(plan.pruner, plan.epochs))
        self.last_beat = -math.inf
        self.signs: dict[str, tuple[Any, float]] = {}  # owner: its sign, and when that was new
        self.deaths: Counter[int] = Counter()  # of workers, by the number of the trial they ran

    def settle(self, settings: dict[str, str]) -> None:
        """Write down what the search is; InputError where the study holds another."""
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
            counts = trial.state != TrialState.FAIL or "reason" in trial.user_attrs
            if counts and (number := trial.user_attrs.get("number")) in planned:
                counting.setdefault(number, trial)
        return counting

    def owns(self, trial: FrozenTrial) -> bool:
        """Tell whether a worker of this search claimed a trial."""
        return trial.user_attrs.get("owner") == self.owner

    # ---------------- the search's side

    def let_go(self) -> None:
        """Give up what runs under this name: before its first worker begins, or after its last."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self.alone or self.owns(trial):
                self.finish(trial, {})

    def review(self, at_work: set[str]) -> dict[int, FrozenTrial]:
        """Give up the trials of the dead, queue every number that is missing, return `trials`.

        `at_work` names the living workers of this search.
        """
        if not self.alone and time.monotonic() - self.last_beat >= BEAT:
            self.last_beat = time.monotonic()
            self.study.set_user_attr(f"alive {self.owner}", time.time())
        for number, trial in self.trials().items():
            if trial.state == TrialState.RUNNING and self._is_lost(trial, at_work):
                self.deaths[number] += 1
                again = self.deaths[number] < ATTEMPTS
                reason = {} if again else {"reason": f"its process died, {ATTEMPTS} times"}
                self.finish(Trial(self.study, trial._trial_id), reason)
        trials = self.trials()
        for number, configuration in enumerate(self.plan.configurations):
            if number not in trials:
                self.study.enqueue_trial(configuration, user_attrs={"number": number})
        return trials

    def _is_lost(self, trial: FrozenTrial, at_work: set[str]) -> bool:
        if self.owns(trial):
            return trial.user_attrs["worker"] not in at_work
        owner = trial.user_attrs.get("owner", f"trial {trial.number}")  # died before it signed
        sign, now = self.study.user_attrs.get(f"alive {owner}"), time.monotonic()
        if owner not in self.signs or self.signs[owner][0] != sign:
            self.signs[owner] = (sign, now)
        return now - self.signs[owner][1] > GRACE

    # ---------------- a worker's side

    def claim(self, worker: str) -> Trial | None:
        """Take the next number in the queue and return its trial, or None if nothing waits."""
        while waiting := self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            if self.plan.sampler == "tpe":  # seeded by the number: a restart repeats nothing
                number = waiting[0].user_attrs.get("number", 0)
                mixed = (self.plan.seed * 1_000_003 + number) % 2**32
                self.study.sampler = optuna.samplers.TPESampler(seed=mixed)
            trial = self.study.ask()
            trial.set_user_attr("worker", worker)
            trial.set_user_attr("owner", self.owner)
            counting = self.trials().get(trial.user_attrs.get("number"))
            if counting is not None and counting.number == trial.number:
                for name, dimension in self.plan.space.items():
                    dimension.suggest(trial, name)
                return trial
            self.finish(trial, {})
        return None

    def report(self, trial: Trial, seed: int, epoch: int, accuracy: float) -> bool:
        """Note the validation accuracy of the first seed's epoch; return whether to go on."""
        if seed != self.plan.run_seeds[0]:
            return True
        with suppress(UpdateFinishedTrialError):
            trial.report(accuracy, epoch)
            return not trial.should_prune()
        return False  # given up by another machine, which thought this one dead

    def finish(self, trial: Trial | FrozenTrial, result: dict[str, Any]) -> None:
        """End a trial with its outcome, or the reason why it has none; with neither, give it up."""
        outcome, state, value = result.get("outcome"), TrialState.FAIL, None
        if outcome:
            state = TrialState.PRUNED if outcome["pruned"] else TrialState.COMPLETE
            value = None if outcome["pruned"] else statistics.fmean(accuracies(outcome))
        with suppress(UpdateFinishedTrialError):  # by another machine, just now
            for name, what in result.items():
                trial.set_user_attr(name, what)
            self.study.tell(trial.number, value, state, skip_if_finished=True)


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
