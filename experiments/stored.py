"""The files of a study in data/results/, which hold no row that is not of its present settings.

    NAME.json                   what it is, and the command that makes it
    NAME.csv                    one row a run, and one for each further reading of its net
    NAME-curves.csv             one row an epoch
    NAME-answers.safetensors    what each net answered to every test image
    NAME-scores.safetensors     log-probabilities of the test images, for rows of an ensemble
    NAME-ensembles.csv          one row a group of nets that answer together

Beside them, data/models/ holds the nets that a study keeps. A row is known by its name and its
settings. All files are replaced as each run ends, the table last, so that stopping at any moment
loses nothing that it holds.
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.studies import STUDIES, Study
from nnlib import checks
from nnlib.config import TrainConfig
from nnlib.files import (
    load_tensors,
    make_folder,
    project_root,
    save_tensors,
    write_atomic,
    write_json,
)
from nnlib.losses import accuracy
from nnlib.network import MLP, save_model
from nnlib.runs import rows_to_csv

COLUMNS = {
    "name": "of the settings; after a comma, of a further reading of the same net",
    "seed": "of weights, order, dropout and augmentation",
    "val_accuracy": "share of the validation images named right",
    "test_accuracy": "share of the test images named right",
    "test_loss": "mean cross-entropy on the test images; empty where scores are no logits",
    "best_epoch": "whose weights are used: the first with the highest validation accuracy",
    "epochs": "passes over the training images",
    "train_images": "that an epoch passes over",
    "test_images": "that were answered",
    "seconds": "of training, validation after each epoch included",
    "cpu_seconds": "the same, in processor time of all threads",
    "test_seconds": "of preparing the reading and answering the test images",
    "threads": "of BLAS",
    "side_by_side": "runs at the same time on the machine",
    "processor": "its name, its cores, and what BLAS takes it for",
    "versions": "of what the result depends on",
    "sha256": "of the unpacked training files",
    "settings": "of the run",
}
CURVE = {
    "name": "of the settings",
    "seed": "of the run",
    "epoch": "from 1",
    "seconds": "since the start of training, validation included",
    "train_loss": "mean over the epoch, as it learned",
    "train_accuracy": "likewise",
    "val_loss": "after the epoch",
    "val_accuracy": "after the epoch",
}
ENSEMBLE = {
    "name": "of the group",
    "nets": "that answer together: the mean of their log-probabilities decides",
    "of": "nets that it will have when all is computed",
    "seconds": "of training them, one after another",
    "mean_accuracy": "of its nets, each on its own, on the test images",
    "test_accuracy": "of all together",
}
Row = dict[str, Any]


def folder() -> Any:
    """Return where the tables are."""
    return project_root() / "data" / "results"


def models() -> Any:
    """Return where the nets are that are kept."""
    return project_root() / "data" / "models"


@dataclass(frozen=True)
class Found:
    """What a study has found so far, as pandas DataFrames: a row a run, an epoch, an ensemble.

    `answers` to the test images, and the truth, are uint8 (N,) by "ROW/SEED" and "truth/DATASET".
    """

    runs: Any
    curves: Any
    ensembles: Any
    answers: dict[str, np.ndarray]


def found(name: str) -> Found:
    """Return what is stored of a study's present settings; without rows where nothing is."""
    return Table(name, STUDIES[checks.one_of("study", name, STUDIES)]).found()


@dataclass(frozen=True)
class Outcome:
    """What a run gives: rows, the curve of its epochs, and the net if it is to be kept.

    By key, answers and truth (N,), and scores, the log-probabilities (N, K) of the test images.
    """

    rows: list[Row]
    curve: list[Row]
    answers: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    model: MLP | None = None


class Table:
    """The rows, curves, answers and scores that a study has so far."""

    def __init__(self, name: str, study: Study, fresh: bool = False) -> None:
        """Read what is stored, or, if `fresh`, nothing."""
        self.name, self.study = name, study
        runs = list(study.runs())
        self.order = {
            _key(row, config.as_dict()): number
            for number, (label, config) in enumerate(runs)
            for row in study.rows_of(label)
        }
        self.read = [] if fresh else _read(f"{name}.csv")  # also rows of settings that are no more
        self.rows = {key: row for row in self.read if (key := _key_of(row)) in self.order}
        self.curves = [] if fresh else _read(f"{name}-curves.csv")
        self.answers, self.scores = (
            {} if fresh else _tensors(f"{name}-{kind}") for kind in ("answers", "scores")
        )
        self.together = {row for rows in study.ensembles.values() for row in rows}

    def missing(self) -> list[tuple[str, TrainConfig]]:
        """Return the runs of which a row, its scores or the net to be kept are not there."""
        return [run for run in self.study.runs() if self._lacks(*run)]

    def _lacks(self, label: str, config: TrainConfig) -> bool:
        study, names = self.study, self.study.rows_of(label)
        if study.keeps(label, config.seed) and not (models() / study.kept[label]).is_file():
            return True
        scored = (f"{name}/{config.seed}" for name in names if name in self.together)
        return any(_key(name, config.as_dict()) not in self.rows for name in names) or any(
            key not in self.scores for key in scored
        )

    def add(self, outcome: Outcome) -> None:
        """Take in what a run gave, and write all files, that of its net included."""
        self.take(outcome)
        if outcome.model is not None:
            make_folder(models())
            save_model(outcome.model, models() / self.study.kept[outcome.rows[0]["name"]])
        self.write()

    def take(self, outcome: Outcome) -> None:
        """Take in what a run gave, in place of what an earlier one did, and write nothing."""
        self.rows |= {_key_of(row): row for row in outcome.rows}
        run = _run_of(outcome.curve[0])
        self.curves = [row for row in self.curves if _run_of(row) != run] + outcome.curve
        self.answers |= {key: a.astype(np.uint8) for key, a in outcome.answers.items()}
        self.scores |= {
            key: scores.astype(np.float16)
            for key, scores in outcome.scores.items()
            if _row_of(key) in self.together
        }

    def write(self) -> None:
        """Write all files, in the order of the study's runs."""
        self.rows = {_key_of(row): row for row in self._in_order()}
        runs = [_run_of(row) for row in self.rows.values()]
        place = {run: number for number, run in enumerate(runs)}
        kept = [row for row in self.curves if _run_of(row) in place]
        kept.sort(key=lambda row: (place[_run_of(row)], int(row["epoch"])))
        told = {f"{name}/{seed}" for name, seed in runs}
        said = {k: a for k, a in sorted(self.answers.items()) if k in told or k[:6] == "truth/"}
        self.scores = {k: scores for k, scores in sorted(self.scores.items()) if k in told}
        make_folder(folder())
        write_json(folder() / f"{self.name}.json", self._about())
        save_tensors(folder() / f"{self.name}-answers.safetensors", said, {"study": self.name})
        if self.scores:
            scores = folder() / f"{self.name}-scores.safetensors"
            save_tensors(scores, self.scores, {"study": self.name})
            groups = list(self._ensembles())
            write_atomic(folder() / f"{self.name}-ensembles.csv", _text(groups, ENSEMBLE))
        write_atomic(folder() / f"{self.name}-curves.csv", _text(kept, CURVE))
        write_atomic(folder() / f"{self.name}.csv", _text(list(self.rows.values()), COLUMNS))

    def _about(self) -> dict:
        study = self.study
        about = {
            "about": study.about,
            "command": f"python -m experiments {self.name}",
            "seeds": {name: study.seeds_of(name) for name in study.settings},
            "notes": study.notes,
            "columns": COLUMNS,
            "curves": CURVE,
            "answers": "uint8, one a test image in the file's order; truth/DATASET are the labels",
        }
        if study.ensembles:
            about |= {"ensembles": ENSEMBLE, "members": study.ensembles, "models": study.kept}
        return about

    def _ensembles(self) -> Iterator[Row]:
        """Yield a row for each group of which two nets or more are there."""
        for name, members in self.study.ensembles.items():
            rows = [row for row in self.rows.values() if row["name"] in members]
            scores = [self.scores[f"{row}/{seed}"] for row, seed in map(_run_of, rows)]
            if len(scores) > 1:
                data = json.loads(rows[0]["settings"])["dataset"]
                together = np.mean(scores, axis=0, dtype=np.float32)  # (N, K)
                yield {
                    "name": name,
                    "nets": len(rows),
                    "of": sum(len(self.study.seeds_of(row.split(",")[0])) for row in members),
                    "seconds": sum(float(row["seconds"]) for row in rows),
                    "mean_accuracy": np.mean([float(row["test_accuracy"]) for row in rows]),
                    "test_accuracy": accuracy(together, self.answers[f"truth/{data}"]),
                }

    def found(self) -> Found:
        """Return all of it, as pandas has it."""
        return Found(
            _frame(self._in_order(), COLUMNS),
            _frame(self.curves, CURVE),
            _frame(list(self._ensembles()), ENSEMBLE),
            self.answers,
        )

    def _in_order(self) -> list[Row]:
        return [self.rows[key] for key in self.order if key in self.rows]

    def clear(self) -> None:
        """Forget everything, on disk too."""
        ends = (".csv", "-curves.csv", "-answers.safetensors", "-scores.safetensors")
        for end in (*ends, "-ensembles.csv"):
            (folder() / f"{self.name}{end}").unlink(missing_ok=True)
        self.rows, self.curves, self.answers, self.scores = {}, [], {}, {}


def _key(name: str, settings: dict) -> tuple[str, str]:
    """Return what a row is known by; a setting that it was made without has its default."""
    defaults = TrainConfig(dataset="any").as_dict()
    return name, json.dumps(defaults | settings, sort_keys=True)


def _key_of(row: Row) -> tuple[str, str]:
    return _key(row["name"], json.loads(row["settings"]))


def _row_of(key: str) -> str:
    """Return the row's name from the key "ROW/SEED"."""
    return key.rpartition("/")[0]


def _run_of(row: Row) -> tuple[str, int]:
    return row["name"], int(row["seed"])


def _read(file: str) -> list[Row]:
    """Return a table's rows as text, so that writing them again changes nothing."""
    path = folder() / file
    if not path.is_file():
        return []
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def _text(rows: list[Row], columns: dict[str, str]) -> str:
    return rows_to_csv([{name: row.get(name, "") for name in columns} for row in rows])


def _frame(rows: list[Row], columns: dict[str, str]) -> Any:
    """Return the table as it is read back from its file."""
    import pandas as pd

    return pd.read_csv(io.StringIO(_text(rows, columns))) if rows else pd.DataFrame(columns=columns)


def _tensors(name: str) -> dict[str, np.ndarray]:
    path = folder() / f"{name}.safetensors"
    return load_tensors(path)[0] if path.is_file() else {}
