"""The files of a study in data/results/, which hold no row that is not of its present settings.

    NAME.json                   what it is, and the command that makes it
    NAME.csv                    one row a run and a reading of its net
    NAME-curves.csv             one row an epoch
    NAME-answers.safetensors    what each net answered to every test image
    NAME-ensembles.csv          one row a group of nets that answer together
    NAME-scores.safetensors     log-probabilities of the test images, where a group needs them

The last is large, and is not committed: a group whose row is complete does without it, and one
that gets another member needs all of its nets' scores, so that those which are not here are
computed again. Beside the tables, data/models/ holds the nets that a study saves. All files are
replaced as each run ends, the table last, so that stopping at any moment loses nothing that it
holds.
"""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.study import Labels, Net, Study, key_of
from nnlib.config import TrainConfig
from nnlib.files import (
    load_tensors,
    make_folder,
    project_root,
    save_tensors,
    write_atomic,
    write_json,
)
from nnlib.losses import accuracy, log_softmax
from nnlib.network import MLP, save_model
from nnlib.runs import rows_to_csv

DATA = {"data": "that it is trained and tested on"}
RUN = {
    "reading": "as trained, or another way in which the same net answers",
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
    "answers": "the key of its answers in the file of answers",
}
CURVE = {
    "seed": "of the run",
    "epoch": "from 1",
    "seconds": "since the start of training, validation included",
    "train_loss": "mean over the epoch, as it learned",
    "train_accuracy": "likewise",
    "val_loss": "after the epoch",
    "val_accuracy": "after the epoch",
}
ENSEMBLE = {
    "group": "one recipe: all seeds of it; all: the best of that data; unlike nets: of 20 minutes",
    **DATA,
    "recipe": "of the nets, where it is one",
    "minutes": "of training that each of them had, where it is the same",
    "reading": "of each of them: their mean log-probabilities decide",
    "nets": "that answer together",
    "of": "nets that it will have when all is computed",
    "seconds": "of training them, one after another",
    "mean_accuracy": "of its nets, each on its own, on the test images",
    "test_accuracy": "of all together",
}
Row = dict[str, Any]
Arrays = dict[str, np.ndarray]


def folder() -> Path:
    """Return where the tables are."""
    return project_root() / "data" / "results"


def models() -> Path:
    """Return where the nets are that are saved."""
    return project_root() / "data" / "models"


@dataclass(frozen=True)
class Outcome:
    """What a run gives: rows by key, the curve of its epochs, and the net if it is to be saved.

    By the same keys, the scores (N, K) of the test images; `truth` (N,) are their labels.
    """

    net: Net
    rows: dict[str, Row]
    curve: list[Row]
    scores: Arrays
    truth: np.ndarray
    model: MLP | None = None


class Store:
    """What there is of a study: rows, curves, answers, ensembles and scores."""

    def __init__(self, name: str, study: Study) -> None:
        """Read what is stored; `read` has also the rows of settings that are no more."""
        self.name, self.study = name, study
        planned = {key: net for net in study.nets() for key in net.rows}
        self.read = self._table("")
        rows = {row.get("answers"): row for row in self.read}
        self.rows = {k: rows[k] for k, net in planned.items() if k in rows and _same(rows[k], net)}
        self.curves = self._table("-curves")
        self.answers, self.scores = self._tensors("answers"), self._tensors("scores")
        self.columns = DATA | study.labels | RUN
        self.curve_columns = DATA | study.labels | CURVE
        stored = {_group_of(row): row for row in self._table("-ensembles")}
        self.ensembles = {
            key_of(labels): stored[key_of(labels)]
            for labels, keys in self._groups()
            if _whole(stored.get(key_of(labels)), keys) and set(keys) <= set(self.rows)
        }

    def missing(self) -> list[Net]:
        """Return the nets of which a row, scores that a group needs, or the file are not there."""
        open_groups = [k for labels, k in self._groups() if key_of(labels) not in self.ensembles]
        needed = {key for keys in open_groups for key in keys} - set(self.scores)
        return [
            net
            for net in self.study.nets()
            if any(key not in self.rows or key in needed for key in net.rows)
            or (net.saved and not (models() / net.saved).is_file())
        ]

    def expected(self, net: Net) -> float:
        """Return how many seconds a run and its readings may take: as its like took, or a guess."""
        columns = net.recipe.columns.items()
        alike = [row for row in self.read if all(row.get(k) == str(v) for k, v in columns)]
        if not alike:
            return 60 * net.recipe.minutes
        trained = sum(float(row["seconds"]) / int(row["epochs"]) for row in alike) / len(alike)
        tested = sum(float(row["test_seconds"]) for row in alike) / len(alike)
        return net.config.epochs * trained + len(net.rows) * tested

    def add(self, outcome: Outcome) -> None:
        """Take in what a run gave, in place of what an earlier one did, and write all files."""
        answers = {key: s.argmax(axis=1).astype(np.uint8) for key, s in outcome.scores.items()}
        changed = {k for k, a in answers.items() if not np.array_equal(self.answers.get(k), a)}
        for labels, keys in self._groups():
            if changed & set(keys):
                self.ensembles.pop(key_of(labels), None)
            for key in set(keys) & set(answers):
                self.scores[key] = log_softmax(outcome.scores[key]).astype(np.float16)
        self.rows |= outcome.rows
        run = key_of(outcome.net.labels)
        self.curves = [row for row in self.curves if self._run_of(row) != run] + outcome.curve
        self.answers |= answers
        self.answers[f"truth/{outcome.net.config.dataset}"] = outcome.truth.astype(np.uint8)
        if outcome.model is not None:
            save_model(outcome.model, make_folder(models()) / outcome.net.saved)
        self.write()

    def write(self) -> None:
        """Write all files, in the order of the study's runs."""
        nets = [net for net in self.study.nets() if any(key in self.rows for key in net.rows)]
        self.rows = {key: self.rows[key] for net in nets for key in net.rows if key in self.rows}
        place = {key_of(net.labels): number for number, net in enumerate(nets)}
        self.curves = [row for row in self.curves if self._run_of(row) in place]
        self.curves.sort(key=lambda row: (place[self._run_of(row)], int(row["epoch"])))
        self.answers = {
            key: answers
            for key, answers in sorted(self.answers.items())
            if key in self.rows or key.startswith("truth/")
        }
        self.scores = {key: self.scores[key] for key in self.rows if key in self.scores}
        ensembles = [row for group in self._groups() if (row := self._together(*group))]
        make_folder(folder())
        write_json(self._path(".json"), self._described())
        save_tensors(self._path("-answers.safetensors"), self.answers, {"study": self.name})
        if self.scores:
            save_tensors(self._path("-scores.safetensors"), self.scores, {"study": self.name})
        if self.study.groups:
            self._write_table("-ensembles", ensembles, ENSEMBLE)
        self._write_table("-curves", self.curves, self.curve_columns)
        self._write_table("", list(self.rows.values()), self.columns)

    def delete(self) -> None:
        """Delete all files but the nets."""
        for path in (self._path(".json"), self._path(".csv"), *folder().glob(f"{self.name}-*")):
            path.unlink(missing_ok=True)

    def _described(self) -> dict:
        """Return what stands in the table's JSON file."""
        told = {
            "about": self.study.about,
            "command": f"python -m experiments {self.name}",
            "recipes": [
                recipe.columns
                | {"seeds": recipe.seeds, "published": recipe.published, "note": recipe.note}
                for recipe in self.study.recipes
            ],
            "columns": self.columns,
            "curves": self.curve_columns,
            "answers": "uint8, one a test image in the file's order; truth/DATASET are the labels",
        }
        return told | ({"ensembles": ENSEMBLE} if self.study.groups else {})

    def _groups(self) -> list[tuple[Labels, list[str]]]:
        """Return the labels of each row of the ensembles, and the keys of its nets' rows."""
        return [row for group in self.study.groups for row in group.rows]

    def _together(self, labels: Labels, keys: list[str]) -> Row | None:
        """Return the row of a group: the stored one, or from the scores of two nets or more."""
        if stored := self.ensembles.get(key_of(labels)):
            return stored
        there = [key for key in keys if key in self.rows and key in self.scores]
        if len(there) < 2:
            return None
        rows = [self.rows[key] for key in there]
        together = np.mean([self.scores[key] for key in there], axis=0, dtype=np.float32)  # (N, K)
        dataset = json.loads(rows[0]["settings"])["dataset"]
        return labels | {
            "nets": len(rows),
            "of": len(keys),
            "seconds": sum(float(row["seconds"]) for row in rows),
            "mean_accuracy": np.mean([float(row["test_accuracy"]) for row in rows]),
            "test_accuracy": accuracy(together, self.answers[f"truth/{dataset}"]),
        }

    def _run_of(self, row: Row) -> str:
        """Return the key of the run that a row of a curve belongs to."""
        return key_of({name: row.get(name) for name in (*DATA, *self.study.labels, "seed")})

    def _path(self, end: str) -> Path:
        return folder() / f"{self.name}{end}"

    def _table(self, end: str) -> list[Row]:
        """Return a table's rows as text, so that writing them again changes nothing."""
        path = self._path(f"{end}.csv")
        if not path.is_file():
            return []
        return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))

    def _write_table(self, end: str, rows: list[Row], columns: dict[str, str]) -> None:
        text = rows_to_csv([{name: row.get(name, "") for name in columns} for row in rows])
        write_atomic(self._path(f"{end}.csv"), text or ",".join(columns) + "\n")

    def _tensors(self, kind: str) -> Arrays:
        path = self._path(f"-{kind}.safetensors")
        return load_tensors(path)[0] if path.is_file() else {}


def _same(row: Row, net: Net) -> bool:
    """Tell whether a row has a net's settings; one that it was made without has its default."""
    defaults = TrainConfig(dataset="any").as_dict()
    return defaults | json.loads(row["settings"]) == defaults | net.config.as_dict()


def _group_of(row: Row) -> str:
    return key_of({k: row.get(k) for k in ("group", "data", "recipe", "minutes", "reading")})


def _whole(row: Row | None, keys: list[str]) -> bool:
    """Tell whether a row of the ensembles is there, of as many nets as there are keys."""
    return row is not None and int(row["nets"]) == len(keys)
