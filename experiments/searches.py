"""The searches of four course reports, run again: what they varied, and a row for each trial.

They take minutes, so their trials are stored in data/results/searches.csv, for chapter 4 to read;
`python -m experiments searches` computes what is missing there. A search that is cut short goes
on where it stood, as every search does. What a report left open is stated in `chosen`.
"""

import csv
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from experiments import store
from experiments.catalogue import REPORT_A, REPORT_B, REPORT_C, REPORT_E
from experiments.study import TITLES
from nnlib.config import TrainConfig
from nnlib.files import make_folder, write_atomic, write_json
from nnlib.runs import rows_to_csv, versions
from nnlib.search import Choice, Range, SearchResult, run_search
from nnlib.search.space import Plan, Space

FILE = "searches.csv"
COLUMNS = {
    "report": "whose search it is",
    "data": "that it is trained and judged on",
    "number": "of the trial in its search",
    "activation": "of the hidden layers",
    "batch_size": "images a step",
    "hidden": "units of each hidden layer",
    "lr": "learning rate",
    "weight_decay": "λ of ½ λ ‖W‖²",
    "val_accuracy": "best share of the validation images named right; empty where it failed",
    "best_epoch": "after which that was",
    "seconds": "of training, validation after each epoch included",
    "state": "complete, or failed",
    "reason": "why it failed",
    "jobs": "trials at the same time, one BLAS thread each",
    "versions": "of what the result depends on",
    "sha256": "of the unpacked training files",
    "settings": "of the run",
}
PLAIN_L2 = "weight decay as ½ λ Σ w²"
OUR_SPLIT = "our 5,000 validation images"


@dataclass(frozen=True)
class ReportSearch:
    """A report's search. `best` is the accuracy it published, on the images that `of` names.

    `stated` is what the report says of the search, `chosen` what it leaves open and we took;
    `winner` are the settings that it preferred, `seconds` about what a trial takes on one core.
    """

    config: TrainConfig
    space: Space
    sampler: str
    trials: int | None
    best: float
    of: str
    winner: dict[str, Any]
    stated: str
    chosen: str
    seconds: float

    @property
    def plan(self) -> Plan:
        """The whole of the search."""
        return Plan(self.config, self.space, self.trials, self.sampler, "none", 1, seed=0)

    @property
    def data(self) -> str:
        """What it is trained and judged on, as a table has it."""
        return TITLES.get(self.config.dataset, self.config.dataset)

    @property
    def held(self) -> dict[str, Any]:
        """The settings that it does not vary."""
        return {k: value for k, value in self.config.as_dict().items() if k not in self.space}

    def run(self, jobs: int, trials: int | None, **more: Any) -> SearchResult:
        """Search, with as many trials of it as are asked for."""
        how = {"sampler": self.sampler, "jobs": jobs}
        return run_search(self.config, self.space, trials, **how, **more)

    @property
    def about(self) -> dict[str, Any]:
        """What the search is, as JSON values."""
        varied = {name: asdict(dimension) for name, dimension in self.plan.space.items()}
        names = ("sampler", "best", "of", "winner", "stated", "chosen")
        told = {"data": self.data} | {name: getattr(self, name) for name in names}
        return told | {"trials": len(self.plan.configurations), "varied": varied, "held": self.held}


SEARCHES = {
    "A": ReportSearch(
        REPORT_A,
        {
            "lr": Choice((0.01, 0.03, 0.1, 0.3)),
            "batch_size": Choice((16, 64)),
            "activation": Choice(("relu", "tanh", "sigmoid")),
            "weight_decay": Choice((0.0, 1e-4, 1e-3)),
        },
        "grid",
        None,
        best=0.88,
        of="test",
        winner={"lr": 0.1, "batch_size": 16, "activation": "relu"},
        stated="lists of learning rates, batch sizes, activations and L2; the net 128-128",
        chosen=f"the lists; a grid of them; 20 epochs each; {PLAIN_L2}; {OUR_SPLIT}",
        seconds=6.0,
    ),
    "B": ReportSearch(
        REPORT_B,
        {
            "lr": Range(0.15, 0.25),
            "weight_decay": Range(1e-7, 1e-4, log=True),
            "hidden": Range(200, 300),
        },
        "random",
        50,
        best=0.98125,
        of="validation",
        winner={"lr": 0.2475, "weight_decay": 2.5e-7, "hidden": 292},
        stated="50 at random, their ranges; batch 128, 50 epochs",
        chosen=f"which 50; {PLAIN_L2}; {OUR_SPLIT}",
        seconds=17.0,
    ),
    "C": ReportSearch(
        REPORT_C,
        {
            "lr": Choice((0.03, 0.1, 0.3)),
            "hidden": Choice((64, 128, 256)),
            "weight_decay": Choice((0.0, 1e-4, 1e-3)),
        },
        "grid",
        None,
        best=0.8645,
        of="test",
        winner={"hidden": 128},
        stated="a grid over learning rate, width and L2; batch 64, 50 epochs, × 0.95 an epoch",
        chosen=f"the values; {PLAIN_L2}; {OUR_SPLIT}",
        seconds=9.0,
    ),
    "E": ReportSearch(
        REPORT_E,
        {
            "lr": Choice((5e-5, 1e-4, 5e-4, 1e-3)),
            "hidden": Choice((50, 80, 100, 150)),
            "weight_decay": Choice((0.05, 0.1, 0.2)),
        },
        "random",
        10,
        best=0.957,
        of="validation",
        winner={"lr": 0.001, "weight_decay": 0.05, "hidden": 100},
        stated="10 at random from its sets; batch 100, 10 epochs, × 0.95 an epoch, weights from "
        "1e-3 · N(0, 1), pixels as they come, 49,000 and 1,000 images",
        chosen=f"which 10, and which images; {PLAIN_L2}",
        seconds=1.5,
    ),
}


def configs(name: str) -> list[TrainConfig]:
    """Return the settings of every trial of a report's search."""
    plan = SEARCHES[name].plan
    return [plan.config_of(configuration) for configuration in plan.configurations]


def _row(name: str, jobs: int, result: SearchResult, trial: dict[str, Any]) -> dict[str, Any]:
    settings = result.plan.config_of(trial).as_dict()
    known = trial | settings | {
        "report": name,
        "data": SEARCHES[name].data,
        "hidden": "x".join(map(str, settings["hidden"])),
        "val_accuracy": _known(trial["val_accuracy"]),
        "seconds": _known(round(trial["seconds"], 2)),
        "jobs": jobs,
        "versions": json.dumps(versions()),
        "sha256": result.study.user_attrs["settings"]["dataset"],
        "settings": json.dumps(settings),
    }  # fmt: skip
    return {column: known[column] for column in COLUMNS}


def _known(value: float) -> float | str:
    return "" if math.isnan(value) else value


def _key(row: dict[str, Any]) -> tuple[str, TrainConfig]:
    return row["report"], TrainConfig.from_dict(json.loads(row["settings"]))


class Searches:
    """The trials of all searches, as a part of what the command computes."""

    def __init__(self) -> None:
        path = store.folder() / FILE
        rows = csv.DictReader(path.open(newline="", encoding="utf-8")) if path.is_file() else ()
        planned = {(name, config) for name in SEARCHES for config in configs(name)}
        self.rows = [row for row in rows if _key(row) in planned]  # no others stay

    def missing(self) -> tuple[int, int]:
        planned = sum(len(configs(name)) for name in SEARCHES)
        return planned - len(self.rows), planned

    def _lacks(self, name: str) -> int:
        return len(configs(name)) - sum(row["report"] == name for row in self.rows)

    def seconds(self, jobs: int) -> float:
        return sum(self._lacks(name) * search.seconds for name, search in SEARCHES.items()) / jobs

    def clear(self) -> None:
        (store.folder() / FILE).unlink(missing_ok=True)
        self.rows = []

    def compute(
        self,
        jobs: int,
        say: Callable[[str], None] = lambda line: None,
        advance: Callable[[float, str], None] = lambda seconds, what: None,
    ) -> None:
        """Run every search that lacks a trial; raise KeyboardInterrupt where Ctrl-C ended one."""
        for name in filter(self._lacks, SEARCHES):
            self._run(name, jobs, say, advance)
        self._write()

    def _run(self, name: str, jobs: int, say: Callable, advance: Callable) -> None:
        search = SEARCHES[name]

        def keep(trial: dict[str, Any], result: SearchResult) -> None:
            self._take(name, jobs, result)
            what = f"searches, {name}: trial {len(result.rows)} of {result.planned}"
            say(f"{what}, {trial['seconds']:.0f} s, validation {trial['val_accuracy']:.2%}")
            advance(search.seconds / jobs, what)

        result = search.run(jobs, search.trials, on_trial=keep)
        self._take(name, jobs, result)
        if result.interrupted:
            raise KeyboardInterrupt
        shutil.rmtree(result.folder)

    def _take(self, name: str, jobs: int, result: SearchResult) -> None:
        """Take in the trials of a search that are not here yet, and write the table."""
        there = {_key(row) for row in self.rows}
        rows = [_row(name, jobs, result, trial) for trial in result.rows]
        self.rows += [row for row in rows if _key(row) not in there]
        self._write()

    def _write(self) -> None:
        self.rows.sort(key=lambda row: (row["report"], int(row["number"])))
        path = make_folder(store.folder()) / FILE.replace("csv", "json")
        write_json(path, _described())
        write_atomic(store.folder() / FILE, rows_to_csv(self.rows))


def _described() -> dict[str, Any]:
    return {
        "about": "The searches of four course reports, run again; accuracy on validation images.",
        "command": "python -m experiments searches",
        "columns": COLUMNS,
        "searches": {name: search.about for name, search in SEARCHES.items()},
    }
