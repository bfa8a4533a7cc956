"""The ledger of a search: an Optuna study in which every configuration is done exactly once.

A trial is there from the moment it begins, with its number, its settings and the search that runs
it, all written at once. It counts while it runs or has a result (a failure with its reason is
one); one that was given up has none, and its number is to do again. Of two trials of one number,
which two machines may begin at the same moment, the first counts. One process of a search reads
and writes the study. A journal is held by one search; in a database others may take their share:
each shows the time of its clock, and one whose clock stands still is dead. (Optuna's heartbeat
overlooks a trial whose machine died between its begin and the first beat.)
"""

import math
import statistics
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna import distributions, pruners
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial
from optuna.trial import Trial as Trial

from nnlib.checks import InputError
from nnlib.files import sha256, to_json
from nnlib.search.space import Choice, Configuration, Plan, Range
from nnlib.search.storage import is_shared, open_study

BEAT, GRACE = 5.0, 30.0  # seconds between two signs of life; after so many without, dead
COUNTING = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
LOSSES = 3  # trials lost in a row after which the search stops

warnings.filterwarnings("ignore", "The reported value is ignored")  # of a second attempt


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


def _distribution(dimension: Range | Choice) -> distributions.BaseDistribution:
    if isinstance(dimension, Choice):
        return distributions.CategoricalDistribution(dimension.values)
    if dimension.integer:
        return distributions.IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


class Ledger:
    """The trials of one search, by number; all but `report` is for one thread.

    `owner` names the search, for ever: after a restart it knows its own trials. `settings` say
    what it is; InputError where the study holds another. `folder` is where its workers write.
    """

    def __init__(
        self, folder: Path, address: str | Path, plan: Plan, owner: str, settings: dict[str, str]
    ) -> None:
        self.folder, self.plan, self.owner = folder, plan, owner
        self.study, self.storage = open_study(address, make_pruner(plan.pruner, plan.epochs))
        self.alone = not is_shared(address)
        self.space = {name: _distribution(dimension) for name, dimension in plan.space.items()}
        self.ended: dict[int, FrozenTrial] = {}  # what counts among the first `settled` trials,
        self.settled = 0  # all of which have ended
        self.lost: dict[int, str] = {}  # why trials were given up, by number
        self.losses = 0  # in a row
        self.last_beat = -math.inf
        self.signs: dict[str, tuple[Any, float]] = {}  # owner: its sign, and when that was new
        there = self.study.user_attrs.get("settings", {})
        if there or self.study.get_trials(deepcopy=False):
            same_settings("the storage", there, settings)
        else:
            self.study.set_user_attr("settings", settings)
        self.let_go()
        self.trials()

    def trials(self) -> dict[int, FrozenTrial]:
        """Return the trial that counts for each number of the plan; missing ones are to do."""
        trials = self.study.get_trials(deepcopy=False)
        while self.settled < len(trials) and trials[self.settled].state.is_finished():
            self._count(trials[self.settled], self.ended)
            self.settled += 1
        counting = dict(self.ended)
        for trial in trials[self.settled :]:
            self._count(trial, counting)
        return counting

    def _count(self, trial: FrozenTrial, counting: dict[int, FrozenTrial]) -> None:
        """Let a trial count, unless an earlier one does; InputError for one that was altered."""
        number, state = trial.user_attrs.get("number"), trial.state
        counts = state in COUNTING or (state == TrialState.FAIL and "reason" in trial.user_attrs)
        if counts and type(number) is int and number in range(len(self.plan.configurations)):
            planned = self.plan.configurations[number] or trial.params
            if trial.params != planned or not _is_whole(trial):
                raise InputError(f"trial {number} has been altered; restore it, or begin anew")
            counting.setdefault(number, trial)

    def owns(self, trial: FrozenTrial) -> bool:
        """Tell whether this search runs or ran a trial."""
        return trial.user_attrs.get("owner") == self.owner

    def let_go(self) -> None:
        """Give up what runs under this name: before the first trial begins, or after the last."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self.alone or self.owns(trial):
                self.finish(trial, {})

    def review(self) -> None:
        """Show other searches that this one lives, and give up the trials of the dead."""
        if self.alone:
            return
        if time.monotonic() - self.last_beat >= BEAT:
            self.last_beat = time.monotonic()
            self.study.set_user_attr(f"alive {self.owner}", time.time())
        for trial in self.trials().values():
            others = trial.state == TrialState.RUNNING and not self.owns(trial)
            if others and self._is_dead(str(trial.user_attrs.get("owner"))):
                self.finish(trial, {})

    def _is_dead(self, owner: str) -> bool:
        sign, now = self.study.user_attrs.get(f"alive {owner}"), time.monotonic()
        if owner not in self.signs or self.signs[owner][0] != sign:
            self.signs[owner] = (sign, now)
        return now - self.signs[owner][1] > GRACE

    # ---------------- one trial

    def claim(self) -> Trial | None:
        """Begin the first trial that is to do, and return it; None where there is none.

        To do is what nobody runs or has run, and what was not lost.
        """
        study = self.storage.get_study_id_from_name(self.study.study_name)
        there = self.trials().keys() | self.lost.keys()
        for number in sorted(set(range(len(self.plan.configurations))) - there):
            begun = create_trial(
                state=TrialState.RUNNING,
                params=self.plan.configurations[number] or self._suggested(number),
                distributions=self.space,
                user_attrs={"number": number, "owner": self.owner},
            )
            trial = Trial(self.study, self.storage.create_new_trial(study, begun))
            if self.trials()[number].number == trial.number:
                return trial
            self.finish(trial, {})
        return None

    def _suggested(self, number: int) -> Configuration:
        """Return what the results so far suggest; seeded by the number, a restart repeats none."""
        study = optuna.load_study(study_name=self.study.study_name, storage=self.storage)  # reads
        mixed = (self.plan.seed * 1_000_003 + number) % 2**32
        sampler, blank = optuna.samplers.TPESampler(seed=mixed), create_trial(value=0.0)
        return {
            name: sampler.sample_independent(study, blank, name, distribution)
            for name, distribution in self.space.items()
        }

    def report(self, trial: Trial, seed: int, epoch: int, accuracy: float) -> bool:
        """Note the validation accuracy of the first seed's epoch; return whether to go on."""
        if seed != self.plan.run_seeds[0]:
            return True
        try:
            trial.report(accuracy, epoch)
            return not trial.should_prune()
        except UpdateFinishedTrialError:  # given up by another machine, which thought us dead
            return False

    def finish(self, trial: Trial | FrozenTrial, result: dict[str, Any]) -> None:
        """End a trial with its outcome, or the reason why it has none; without both, give it up."""
        number, state, value = trial.user_attrs.get("number"), TrialState.FAIL, None
        if outcome := result.get("outcome"):
            outcome["seal"] = _seal(number, outcome)
            state = TrialState.PRUNED if outcome["pruned"] else TrialState.COMPLETE
            value = None if outcome["pruned"] else statistics.fmean(accuracies(outcome))
        with suppress(UpdateFinishedTrialError):  # by another machine, just now
            for name in result.keys() - {"lost"}:
                trial.set_user_attr(name, result[name])
            self.study.tell(trial.number, value, state, skip_if_finished=True)
        if "lost" in result:
            self.lost[number] = result["lost"]
            self.losses += 1
        elif result:
            self.losses = 0


def accuracies(outcome: dict[str, Any]) -> list[float]:
    """Return the best validation accuracy of each seed."""
    return [seed["accuracy"] for seed in outcome["seeds"].values()]


def _seal(number: int, outcome: dict[str, Any]) -> str:
    """Return a sum by which an outcome is known that was altered, or that is another trial's."""
    told = {name: what for name, what in outcome.items() if name != "seal"}
    return sha256(to_json([number, told], sort_keys=True).encode())


def _is_whole(trial: FrozenTrial) -> bool:
    """Tell whether a trial that ended with an outcome has the one that it was given."""
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
        return True
    outcome = trial.user_attrs.get("outcome")
    seal = outcome.get("seal") if isinstance(outcome, dict) else None
    sealed = seal is not None and seal == _seal(trial.user_attrs["number"], outcome)
    return sealed and outcome["pruned"] == (trial.state == TrialState.PRUNED)


def same_settings(where: str, there: dict[str, str], here: dict[str, str]) -> None:
    """Raise InputError naming the first setting in which two searches differ."""
    for name in sorted(there.keys() | here.keys()):
        old, new = there.get(name, "not set"), here.get(name, "not set")
        if old != new:
            raise InputError(
                f"{where} holds another search, with {name} {old} and not {new}: "
                "name another folder or storage, or repeat that search's settings"
            )
