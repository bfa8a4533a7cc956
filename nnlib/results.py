"""The long runs whose results the report shows: what they are, running them, their tables.

A study is a set of named settings, each run with several seeds. Its table, data/results/NAME.csv,
gains a row as each run finishes, so that stopping loses nothing and the same command goes on;
NAME.json beside it says what it is. The settings below were fixed before the test images were
looked at, and each run's test accuracy is written down whatever it is.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnlib import checks
from nnlib.config import TrainConfig, versions
from nnlib.data import load_test_split
from nnlib.files import make_folder, project_root, write_atomic, write_json
from nnlib.runs import rows_to_csv
from nnlib.training import Progress, evaluate, train


@dataclass(frozen=True)
class Study:
    """Settings by name, the seeds that each is run with, and what all of it is for."""

    about: str
    settings: dict[str, TrainConfig]
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)

    def runs(self) -> Iterator[tuple[str, TrainConfig]]:
        """Yield every run: all settings with the first seed, then all with the next."""
        for seed in self.seeds:
            for name, config in self.settings.items():
                yield name, replace(config, seed=seed)


def _quick(
    dataset: str,
    hidden: tuple[int, ...],
    epochs: int,
    batch_size: int = 128,
    smoothing: float = 0.0,
) -> TrainConfig:
    """Return what learns soonest: a few epochs, momentum, one cycle of a large rate."""
    return TrainConfig(
        dataset=dataset,
        hidden=hidden,
        epochs=epochs,
        batch_size=batch_size,
        lr=0.1,
        momentum=0.9,
        schedule="one-cycle",
        label_smoothing=smoothing,
        weight_decay=1e-4 if smoothing else 0.0,
    )


STUDIES = {
    "reports": Study(
        "The course reports' own nets and settings, on our split (5,000 validation images).",
        {
            "A": TrainConfig(
                dataset="fashion-mnist", hidden=(128, 128), lr=0.1, batch_size=16, epochs=20
            ),
            "B": TrainConfig(
                dataset="mnist",
                hidden=(292,),
                lr=0.24752157219042198,
                weight_decay=2.546591239423651e-07,
                batch_size=128,
                epochs=50,
            ),
            "C": TrainConfig(
                dataset="fashion-mnist",
                hidden=(128,),
                lr=0.1,
                weight_decay=0.001,
                batch_size=64,
                epochs=50,
                schedule="exponential",
            ),
        },
    ),
    "recipes": Study(
        "Time to accuracy: nets and schedules that reach a test accuracy soonest on two cores.",
        {
            "Fashion-MNIST 88 %": _quick("fashion-mnist", (256,), epochs=9),
            "Fashion-MNIST 89 %": _quick("fashion-mnist", (256, 128), epochs=16, smoothing=0.1),
            "Fashion-MNIST 90 %": replace(
                _quick("fashion-mnist", (512, 256), epochs=25, smoothing=0.1),
                dropout=0.2,
                batch_norm=True,
            ),
            "MNIST 97 %": _quick("mnist", (128,), epochs=4, batch_size=64),
            "MNIST 98 %": _quick("mnist", (256,), epochs=10, smoothing=0.1),
        },
    ),
}


def folder() -> Path:
    """Return where the tables are."""
    return project_root() / "data" / "results"


def load(name: str) -> Any:
    """Return a study's table as a pandas DataFrame, one row a run; InputError if it is absent."""
    import pandas as pd

    path = folder() / f"{checks.one_of('study', name, STUDIES)}.csv"
    if not path.is_file():
        raise checks.InputError(f"{path} does not exist: compute it with `make results`")
    return pd.read_csv(path)


def compute(name: str) -> None:
    """Run what is missing of a study, one row of its table as each run ends."""
    study = STUDIES[checks.one_of("study", name, STUDIES)]
    make_folder(folder())
    about = {"about": study.about, "command": f"python -m nnlib.results {name}"}
    write_json(folder() / f"{name}.json", about | {"seeds": study.seeds})
    rows = _stored(name)
    done = {(row["name"], row["settings"]) for row in rows}
    for label, config in study.runs():
        if (label, _settings(config)) not in done:
            rows.append(run(label, config))
            write_atomic(folder() / f"{name}.csv", rows_to_csv(rows))


def _stored(name: str) -> list[dict]:
    path = folder() / f"{name}.csv"
    return load(name).to_dict("records") if path.is_file() else []


def _settings(config: TrainConfig) -> str:
    return json.dumps(config.as_dict())


def run(label: str, config: TrainConfig) -> dict[str, Any]:
    """Train once, open the test set once, and return the row."""
    print(f"{label}, seed {config.seed}: ", end="", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        done = train(config, Path(scratch) / "run", _dots)
    start = time.perf_counter()
    test = evaluate(done.model, load_test_split(config.dataset))
    row = {
        "name": label,
        "seed": config.seed,
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "val_accuracy": done.history.best["val_accuracy"],
        "best_epoch": done.history.best["epoch"],
        "epochs": len(done.history.rows),
        "seconds": round(done.seconds, 2),
        "test_seconds": round(time.perf_counter() - start, 3),
        "settings": _settings(config),
        "sha256": done.model.info["sha256"],
        "versions": json.dumps(versions()),
    }
    print(f" test {test.accuracy:.2%}, {done.seconds:.1f} s", file=sys.stderr, flush=True)
    return row


def _dots(progress: Progress) -> None:
    if progress.row:
        print(".", end="", file=sys.stderr, flush=True)


def main() -> None:
    """Compute the studies named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="python -m nnlib.results", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(STUDIES), metavar="NAME")
    for name in parser.parse_args().names:
        compute(name)


if __name__ == "__main__":
    main()
