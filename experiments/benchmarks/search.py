"""What the search is held to: report B's search with and without pruning, two jobs, memory.

    python experiments/benchmarks/search.py              all: an hour and a quarter on two cores
    python experiments/benchmarks/search.py --tiny OUT   on digits in a minute, into the folder OUT

Each search is a row of data/results/pruning.csv, written as it ends, so that a second start does
only what is missing; one that was cut short is done again from its beginning, since its time
counts. Chapter 4 reads the table. At its end, and with --table at once, it is printed and judged.
"""

import argparse
import csv
import dataclasses
import json
import math
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from experiments import store
from experiments.compute import processor, unpinned
from experiments.searches import SEARCHES, ReportSearch
from nnlib.config import TrainConfig
from nnlib.files import make_folder, write_atomic, write_json
from nnlib.runs import rows_to_csv, versions
from nnlib.search import SearchResult, run_search
from nnlib.search.workers import IMAGES

PRUNING = {
    "purpose": "pruning: what stopping trials early gives; jobs: what a second process gives",
    "pruner": "none is the exhaustive search",
    "seed": "of the search: which configurations",
    "jobs": "processes that train, one BLAS thread each",
    "trials": "configurations",
    "val_accuracy": "of the best trial: share of the validation images named right",
    "seconds": "of the whole search",
    "epochs": "trained in all trials together",
    "complete": "trials",
    "pruned": "trials",
    "failed": "trials",
    "workers_mb": "proportional set size of all workers together, the largest seen",
    "images_mb": "what of that are images",
    "files_mb": "what the images take on disk",
    "processor": "its name, its cores, and what BLAS takes it for",
    "versions": "of what the result depends on",
    "settings": "held fixed, and ranges",
}
MEGABYTES = ["workers_mb", "images_mb", "files_mb"]
SEEDS = (0, 1, 2)
Row = dict[str, Any]


def searches(tiny: bool) -> Iterator[Row]:
    """Yield what is to be measured: its columns from `purpose` to `trials`."""
    trials = 8 if tiny else 50
    pairs = [("pruning", pruner, 2) for pruner in ("none", "halving")]
    others = [("pruning", pruner, 2) for pruner in ("median", "hyperband")]
    for part in (pairs, [("jobs", "none", 1)], others):
        for seed in SEEDS:
            for purpose, pruner, count in part:
                yield {"purpose": purpose, "pruner": pruner, "seed": seed, "jobs": count,
                       "trials": trials}  # fmt: skip


def measured(search: ReportSearch, what: Row) -> Row:
    """Search from the beginning, and return the whole row."""
    how = {name: what[name] for name in ("pruner", "seed", "jobs")}
    about = {"processor": processor(), "versions": json.dumps(versions())}
    with tempfile.TemporaryDirectory() as folder:
        with unpinned(), Memory(Path(folder)) as memory:
            result = run_search(search.config, search.space, what["trials"], out=folder, **how)
        if result.interrupted:
            raise KeyboardInterrupt
        found = outcome(result) | memory.most
    return what | found | about | {"settings": settings_of(search)}


def outcome(result: SearchResult) -> Row:
    states = [row["state"] for row in result.rows]
    return {
        "val_accuracy": result.best["val_accuracy"],
        "seconds": round(result.seconds, 1),
        "epochs": sum(len(trial.intermediate_values) for trial in result.study.trials),
        **{state: states.count(state) for state in ("complete", "pruned", "failed")},
    }


def settings_of(search: ReportSearch) -> str:
    varied = {name: str(dimension) for name, dimension in search.plan.space.items()}
    return json.dumps(search.held | varied)


class Memory(threading.Thread):
    """Watch what the workers take, what they share divided among them; the largest seen, in MB."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.over = folder, threading.Event()
        self.most = dict.fromkeys(MEGABYTES, 0.0)

    def __enter__(self) -> "Memory":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.join()

    def run(self) -> None:
        images = str(self.folder / IMAGES)
        while not self.over.wait(0.5):
            children = Path("/proc/self/task").glob("*/children")
            workers = [process for file in children for process in file.read_text().split()]
            files = sum(path.stat().st_size for path in self.folder.glob(f"{IMAGES}*/*.npy"))
            seen = {
                "workers_mb": sum(pss(process, "smaps_rollup") for process in workers),
                "images_mb": sum(pss(process, "smaps", images) for process in workers),
                "files_mb": files / 1e6,
            }
            self.most = {k: max(most, round(seen[k], 1)) for k, most in self.most.items()}


def pss(process: str, file: str, mapped: str = "") -> float:
    """Return the proportional set size of a process in MB, or that of the files under `mapped`."""
    try:
        text = Path(f"/proc/{process}/{file}").read_text()
    except OSError:
        return 0.0
    areas = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", text, flags=re.MULTILINE)
    sizes = [re.search(r"^Pss: +(\d+) kB", area, re.MULTILINE) for area in areas if mapped in area]
    return sum(int(size[1]) for size in sizes if size) * 1024 / 1e6


# ---------------------------------------------------------------- the table


def read(file: Path, search: ReportSearch) -> list[Row]:
    """Return the rows that are of the present settings."""
    if not file.exists():
        return []
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return [row for row in rows if row["settings"] == settings_of(search)]


def write(file: Path, rows: list[Row]) -> None:
    about = {
        "about": "Report B's search, exhaustive and pruned, and with one job and two.",
        "command": "python experiments/benchmarks/search.py",
        "columns": PRUNING,
    }
    write_json(make_folder(file.parent) / file.with_suffix(".json").name, about)
    write_atomic(file, rows_to_csv([{name: row[name] for name in PRUNING} for row in rows]))


def judged(file: Path) -> str:
    """Return the table as text, and beside each demand what it says, with its spread over seeds."""
    table = pd.read_csv(file)
    shown = table.drop(columns=["processor", "versions", "settings"])
    formats = {"val_accuracy": "{:.2%}".format} | dict.fromkeys(MEGABYTES, "{:.0f}".format)
    text = shown.to_string(index=False, formatters=formats)
    return "\n".join([text, "", *pruning(table), *jobs(table), *memory(table)])


def pruning(table: pd.DataFrame) -> Iterator[str]:
    searches = table[table["purpose"] == "pruning"].set_index(["pruner", "seed"])
    for pruner in searches.index.unique("pruner"):
        own = searches.loc[pruner]
        yield verdict(pruner, own["seconds"], "s", at_most=480 if pruner == "none" else 150)
        lost = 100 * (searches.loc["none", "val_accuracy"] - own["val_accuracy"]).dropna()
        if pruner != "none" and len(lost):
            yield verdict(f"{pruner} loses", lost, "points", at_most=0.1)


def exhaustive(table: pd.DataFrame) -> pd.DataFrame:
    """Return the searches without pruning by jobs and seed."""
    return table[table["pruner"] == "none"].set_index(["jobs", "seed"]).sort_index()


def jobs(table: pd.DataFrame) -> Iterator[str]:
    seconds = exhaustive(table)["seconds"]
    if {1, 2} <= set(seconds.index.unique("jobs")):
        gain = (seconds.loc[1] / seconds.loc[2]).dropna()
        yield verdict("two jobs are", gain, "times as fast as one", at_least=1.8)


def memory(table: pd.DataFrame) -> Iterator[str]:
    most = exhaustive(table).groupby("jobs")[MEGABYTES].max()
    for number, row in most.iterrows():
        workers, images, files = row
        yield (
            f"{number} job(s) take {workers:.0f} MB, of which images, once in memory for all, "
            f"{images:.0f} MB; on disk they take {files:.0f} MB"
        )
    if {1, 2} <= set(most.index):
        more = pd.Series([most.loc[2, "workers_mb"] - most.loc[1, "workers_mb"]])
        yield verdict("a second job takes", more, "MB more", at_most=150)


def verdict(
    what: str, values: pd.Series, unit: str, at_most: float = math.inf, at_least: float = -math.inf
) -> str:
    """Compare a mean with a demand; each value is shown, as three say little of a spread."""
    met = "met" if at_least <= values.mean() <= at_most else "MISSED"
    demand = f"at most {at_most}" if at_most < math.inf else f"at least {at_least}"
    each = ", ".join(f"{value:.3g}" for value in values)
    return f"{what:22} {values.mean():.3g} {unit} ({each}); {demand}: {met}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", type=Path, metavar="OUT", help="a minute on digits, into OUT")
    parser.add_argument("--table", action="store_true", help="only print what there is")
    options = parser.parse_args()
    search, folder = SEARCHES["B"], options.tiny or store.folder()
    if options.tiny:
        small = TrainConfig(dataset="digits", epochs=18, batch_size=128)
        search = dataclasses.replace(search, config=small)
    file = folder / "pruning.csv"
    rows = read(file, search)
    if not options.table:
        compute(search, file, rows, list(searches(bool(options.tiny))))
    print(judged(file))


def compute(search: ReportSearch, file: Path, rows: list[Row], wanted: list[Row]) -> None:
    known = [[str(row[name]) for name in wanted[0]] for row in rows]
    missing = [what for what in wanted if [str(value) for value in what.values()] not in known]
    for what in tqdm(missing, file=sys.stderr, disable=None):
        told = " ".join(f"{name} {value}" for name, value in what.items())
        tqdm.write(f"{time.strftime('%H:%M:%S')} {told}", file=sys.stderr)
        rows.append(measured(search, what))
        write(file, rows)


if __name__ == "__main__":
    main()
