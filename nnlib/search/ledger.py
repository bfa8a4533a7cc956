"""The ledger of a search: an Optuna study whose trial number k has configuration k of the plan.

A trial is there from the moment it begins. It ends with its outcome (a failure with its reason is
one) and is then never changed; one that was given up waits in Optuna's queue, from where exactly
one search takes it. One process of a search reads and writes the study. A journal is held by one
search; in a database others may take their share: each marks its running trials with the time of
its clock, and a trial whose mark stands still is that of a dead one. (Optuna's heartbeat overlooks
a trial whose machine died between its begin and the first beat, and runs it again under a new
number.)
"""

import math
import statistics
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna import pruners
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.samplers import PartialFixedSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from nnlib.checks import InputError
from nnlib.files import sha256, to_json
from nnlib.search.space import Choice, Plan, Range
from nnlib.search.storage import open_study

BEAT, GRACE = 5.0, 30.0  # seconds between two signs of life; after so many without, dead

warnings.filterwarnings("ignore", "The reported value is ignored")  # of a second attempt
warnings.filterwarnings("ignore", "PartialFixedSampler", ExperimentalWarning)


def make_pruner(plan: Plan) -> pruners.BasePruner:
    """Return the pruner of a plan, which first judges a trial at a ninth of the most epochs.

    median: below the median of the finished trials at the same epoch (Golovin et al. 2017).
    halving: asynchronous successive halving: at a ninth and at a third of the epochs, the best
    third goes on (Li et al. 2020); a later decision would save little.
    hyperband: halving in brackets, of which some begin at the ninth, some at the third (Li et al.
    2018).
    """
    epochs = max(plan.space["epochs"].values) if "epochs" in plan.space else plan.config.epochs
    first = 1 + epochs // 9
    return {
        "none": pruners.NopPruner(),
        "median": pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=first),
        "halving": pruners.SuccessiveHalvingPruner(first, reduction_factor=3),
        "hyperband": pruners.HyperbandPruner(first, epochs, reduction_factor=3),
    }[plan.pruner]


def _suggest(trial: Trial, name: str, dimension: Range | Choice) -> None:
    """Have the sampler of the trial's study give it a value."""
    if isinstance(dimension, Choice):
        trial.suggest_categorical(name, dimension.values)
    else:
        suggest = trial.suggest_int if dimension.integer else trial.suggest_float
        suggest(name, dimension.low, dimension.high, log=dimension.log)


class Ledger:
    """The trials of one search; all but `report` is for one thread.

    Raises InputError where the study at `address` is one of other `settings`, or its results have
    been altered.
    """

    def __init__(self, address: str | Path, plan: Plan, settings: dict[str, str]) -> None:
        self.plan, self.planned = plan, len(plan.configurations)
        self.study, self.storage = open_study(address, make_pruner(plan))
        self.alone = isinstance(address, Path)
        self.running: dict[int, Trial] = {}  # here, by number
        self.finished: set[int] = set()  # here
        self.told: set[int] = set()  # those that `news` has given
        self.marks: dict[tuple[int, Any], float] = {}  # of trials that run elsewhere: since when
        self.reviewed = -math.inf
        trials, there = self._trials(), self.study.user_attrs.get("settings", {})
        if there or trials:
            same_settings("the storage", there, settings)
        else:
            self.study.set_user_attr("settings", settings)
        for trial in trials:
            if trial.state.is_finished():
                self._check(trial)
            elif self.alone and trial.state == TrialState.RUNNING:  # when its search was killed
                self.give_up(trial.number)

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)[: self.planned]

    def _check(self, trial: FrozenTrial) -> None:
        """Raise InputError for a trial that did not end so, or with other settings than planned."""
        number, outcome = trial.number, trial.user_attrs.get("outcome")
        sealed = isinstance(outcome, dict) and outcome == _sealed(number, trial.state, outcome)
        if not sealed or trial.params != (self.plan.configurations[number] or trial.params):
            raise InputError(f"trial {number} has been altered; restore it, or begin anew")

    def news(self) -> list[FrozenTrial]:
        """Return the trials that have ended, here or elsewhere, and were not returned before."""
        ended = [t for t in self._trials() if t.state.is_finished() and t.number not in self.told]
        for trial in ended:
            self._check(trial)
        self.told.update(trial.number for trial in ended)
        return ended

    # ---------------- one trial

    def claim(self) -> Trial | None:
        """Begin the first trial that is to do, and return it; None where there is none."""
        trials = self._trials()
        if len(trials) == self.planned and all(t.state != TrialState.WAITING for t in trials):
            return None
        trial = self.study.ask()  # one that was given up, or else a new one
        if trial.number >= self.planned:  # another search has begun the last
            self.give_up(trial.number)
            return None
        if not self.alone:
            trial.set_user_attr("alive", time.time())  # over the mark of a dead one
        # seeded by the number: a restart repeats none
        guide = TPESampler(seed=(self.plan.seed * 1_000_003 + trial.number) % 2**32)
        planned = self.plan.configurations[trial.number]
        self.study.sampler = PartialFixedSampler(planned, guide)
        for name, dimension in self.plan.space.items():
            _suggest(trial, name, dimension)
        self.running[trial.number] = trial
        return trial

    def report(self, trial: Trial, seed: int, epoch: int, accuracy: float) -> bool:
        """Note the validation accuracy of the first seed's epoch; return whether to go on."""
        if seed != self.plan.run_seeds[0]:
            return True
        try:
            trial.report(accuracy, epoch)
            return not trial.should_prune()
        except UpdateFinishedTrialError:  # elsewhere, by a search that thought this one dead
            return False

    def finish(self, trial: Trial, outcome: dict[str, Any]) -> None:
        """End a trial that runs here, unless another search did, which thought this one dead."""
        state, value = TrialState.FAIL, None
        if "reason" not in outcome:
            state = TrialState.PRUNED if outcome["pruned"] else TrialState.COMPLETE
            value = None if outcome["pruned"] else statistics.fmean(accuracies(outcome))
        with suppress(UpdateFinishedTrialError):
            self._set_state(trial.number, TrialState.RUNNING)  # if it was given up meanwhile
            trial.set_user_attr("outcome", _sealed(trial.number, state, outcome))
            self.study.tell(trial, value, state, skip_if_finished=True)
            self.finished.add(trial.number)
        del self.running[trial.number]

    def give_up(self, *numbers: int) -> None:
        """Let trials wait for whoever runs them again."""
        for number in numbers:
            with suppress(UpdateFinishedTrialError):  # elsewhere, just now
                self._set_state(number, TrialState.WAITING)

    def _set_state(self, number: int, state: TrialState) -> None:
        study = self.storage.get_study_id_from_name(self.study.study_name)
        trial = self.storage.get_trial_id_from_study_id_trial_number(study, number)
        self.storage.set_trial_state_values(trial, state)

    # ---------------- other searches

    def review(self) -> None:
        """Show other searches that the trials here live, and give up those of the dead."""
        now = time.monotonic()
        if self.alone or now - self.reviewed < BEAT:
            return
        self.reviewed = now
        for trial in self.running.values():
            with suppress(UpdateFinishedTrialError):
                trial.set_user_attr("alive", time.time())
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        others = [trial for trial in running if trial.number not in self.running]
        marks = [(trial.number, trial.user_attrs.get("alive")) for trial in others]
        self.marks = {mark: self.marks.get(mark, now) for mark in marks}
        self.give_up(*(number for (number, _), since in self.marks.items() if now - since > GRACE))


def accuracies(outcome: dict[str, Any]) -> list[float]:
    """Return the best validation accuracy of each seed."""
    return [run["accuracy"] for run in outcome.get("seeds", {}).values()]


def _sealed(number: int, state: TrialState, outcome: dict[str, Any]) -> dict[str, Any]:
    """Return an outcome with a sum by which it is known if altered, or put to another trial."""
    told = {name: what for name, what in outcome.items() if name != "seal"}
    return told | {"seal": sha256(to_json([number, state.name, told], sort_keys=True).encode())}


def same_settings(where: str, there: dict[str, str], here: dict[str, str]) -> None:
    """Raise InputError naming the first setting in which two searches differ."""
    for name in sorted(there.keys() | here.keys()):
        old, new = there.get(name, "not set"), here.get(name, "not set")
        if old != new:
            raise InputError(
                f"{where} holds another search, with {name} {old} and not {new}: "
                "name another folder or storage, or repeat that search's settings"
            )
