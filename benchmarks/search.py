"""What the search is held to: report B's search with and without pruning, jobs, memory.

    python benchmarks/search.py OUT            everything, about half an hour on two free cores
    python benchmarks/search.py OUT --tiny     the same on digits, in a minute

Each search has a folder in OUT and its figures in OUT/search.json, so that a second start does
only what is missing. A search that was cut short goes on, but is not timed: it is done again.
"""

import argparse
import json
import shutil
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

from nnlib.config import TrainConfig
from nnlib.files import write_json
from nnlib.search import Range, run_search

SPACE = {
    "lr": Range(0.15, 0.25),
    "weight_decay": Range(1e-7, 1e-4, log=True),
    "hidden": Range(200, 300),
}


def report_b(tiny: bool) -> tuple[TrainConfig, int]:
    """Return report B's settings and its number of trials."""
    if tiny:
        return TrainConfig(dataset="digits", epochs=18, batch_size=128), 8
    return TrainConfig(dataset="mnist", epochs=50, batch_size=128), 50


def search(out: Path, tiny: bool, pruner: str, jobs: int, seed: int, trials: int) -> dict[str, Any]:
    """Search from the beginning and return its figures."""
    shutil.rmtree(out, ignore_errors=True)
    config, every = report_b(tiny)
    with Memory() as memory:
        result = run_search(
            config, SPACE, trials or every, pruner=pruner, jobs=jobs, seed=seed, out=out
        )
    states = result.table["state"].value_counts().to_dict()
    return {
        "seconds": result.seconds,
        "val_accuracy": result.best["val_accuracy"],
        "states": states,
        "epochs": sum(len(trial.intermediate_values) for trial in result.study.trials),
        "megabytes_a_job": memory.most,
    }


class Memory(threading.Thread):
    """Watch the workers' proportional set size, in MB: the largest seen of any."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.over = 0.0, threading.Event()

    def __enter__(self) -> "Memory":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.join()

    def run(self) -> None:
        while not self.over.wait(0.5):
            own = Path("/proc/self/task").glob("*/children")
            workers = [process for file in own for process in file.read_text().split()]
            self.most = max([self.most, *map(proportional_set_size, workers)])


def proportional_set_size(process: str) -> float:
    """Return the MB that a process takes, what it shares divided among those that share it."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in text.splitlines() if line[:4] == "Pss:") / 1e3


def plan(tiny: bool) -> dict[str, dict[str, Any]]:
    """Return the searches by name."""
    searches = {
        f"{pruner}-{seed}": {"pruner": pruner, "jobs": 2, "seed": seed, "trials": 0}
        for seed in range(3)
        for pruner in ("none", "halving", "median")
    }
    few = 4 if tiny else 16  # an even number of equal trials, without pruning
    for jobs in (1, 2):
        searches[f"jobs-{jobs}"] = {"pruner": "none", "jobs": jobs, "seed": 3, "trials": few}
    return searches


def table(done: dict[str, dict[str, Any]]) -> str:
    """Return the figures as text."""
    lines = [f"{'search':<12}{'seconds':>9}{'epochs':>8}{'best':>9}{'MB a job':>10}  trials"]
    for name, figures in done.items():
        lines.append(
            f"{name:<12}{figures['seconds']:>9.1f}{figures['epochs']:>8}"
            f"{figures['val_accuracy']:>9.2%}{figures['megabytes_a_job']:>10.0f}  "
            + ", ".join(f"{n} {state}" for state, n in figures["states"].items())
        )
    return "\n".join([*lines, "", *verdicts(done)])


def verdicts(done: dict[str, dict[str, Any]]) -> list[str]:
    """Return the lines that compare searches, as far as these are done."""
    lines = []
    for pruner in ("halving", "median"):
        seeds = [s for s in range(3) if f"none-{s}" in done and f"{pruner}-{s}" in done]
        if seeds:
            lost = [
                done[f"none-{s}"]["val_accuracy"] - done[f"{pruner}-{s}"]["val_accuracy"]
                for s in seeds
            ]
            points = 100 * statistics.fmean(lost)
            lines.append(f"{pruner} loses {points:.3f} points, mean of {len(seeds)} search seeds")
    if {"jobs-1", "jobs-2"} <= set(done):
        gain = done["jobs-1"]["seconds"] / done["jobs-2"]["seconds"]
        lines.append(f"two jobs are {gain:.2f} times as fast as one")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    record = options.out / "search.json"
    done = json.loads(record.read_text()) if record.exists() else {}
    for name, settings in plan(options.tiny).items():
        if name not in done:
            start = time.strftime("%H:%M:%S")
            print(f"{start} {name}", file=sys.stderr, flush=True)
            done[name] = search(options.out / name, options.tiny, **settings)
            write_json(record, done)
    print(table(done))


if __name__ == "__main__":
    main()
