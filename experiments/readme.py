"""The results in the README: tables made from the stored runs, so that no number is typed.

`python -m experiments --readme` writes them, and a test fails where the README says otherwise.
Settings are quoted once all of their seeds are there.
"""

import itertools
from collections.abc import Iterator
from statistics import median

import pandas as pd

from experiments import store
from experiments.catalogue import STUDIES
from experiments.study import AS_TRAINED, Net, Recipe, key_of
from nnlib.files import project_root, read_json, write_atomic

SPEED = project_root() / "experiments" / "benchmarks" / "speed.json"
DEFAULT = "default"  # in place of a number of threads
BEGIN, END = "<!-- results -->\n", "<!-- /results -->"
INTRODUCTION = (
    "Test accuracy: mean ± standard deviation over the seeds, none left out; the test set chose "
    "nothing, but where it is said. `make results` computes all, [data/results](data/results) "
    "has every run with its settings, and [the results chapter](notebooks/06_results.ipynb) tells "
    "the rest.\n"
)
PEERS = {"nnlib": "nnlib", "scikit-learn": "scikit-learn", "pytorch": "PyTorch", "jax": "JAX"}
GROUPED = ["group", "data", "recipe", "minutes"]


def table(name: str) -> pd.DataFrame:
    """Return a stored table."""
    return pd.read_csv(store.folder() / f"{name}.csv")


def runs_of(recipe: Recipe, runs: pd.DataFrame, reading: str = AS_TRAINED) -> pd.DataFrame:
    """Return the rows of a recipe in one reading; none until all of its seeds are there."""
    nets = (Net(recipe, seed) for seed in recipe.seeds)
    keys = [key_of(net.labels | {"reading": reading}) for net in nets]
    rows = runs[runs["answers"].isin(keys)]
    return rows if len(rows) == len(keys) else rows[:0]


def spread(rows: pd.DataFrame) -> str:
    """Return mean ± standard deviation of the rows' test accuracy in percent."""
    percent = rows["test_accuracy"] * 100
    return f"{percent.mean():.2f} ± {percent.std():.2f} %"


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{share * 100:.2f} %"


def beside_published(name: str, title: str) -> Iterator[str]:
    """Yield the lines of a table of ours beside published numbers."""
    runs = table(name)
    yield f"\n| data | {title} | published | here |\n|---|---|---|---|\n"
    for recipe in STUDIES[name].recipes:
        for reading, net in recipe.told.items():
            rows = runs_of(recipe, runs, reading)
            if len(rows):
                data = recipe.columns["data"]
                yield f"| {data} | {net} | {recipe.published:g} % | {spread(rows)} |\n"


def soonest() -> Iterator[str]:
    """Yield the lines of the table of how long it takes to reach an accuracy."""
    runs = table("recipes")
    yield (
        "\nTime to accuracy: momentum, and one cycle of a large rate. Timed are training and "
        "the validation after each epoch, and no loading.\n\n"
        "| to reach | ReLU net and training | seconds | test accuracy |\n|---|---|---|---|\n"
    )
    for recipe in STUDIES["recipes"].recipes:
        rows, config = runs_of(recipe, runs), recipe.config
        if len(rows):
            hidden = "-".join(map(str, config.hidden))
            goal = f"{recipe.columns['data']} {recipe.labels['goal']} %"
            net = f"{hidden}, batch {config.batch_size}, {config.epochs} epochs"
            took = f"{rows['seconds'].mean():.1f} ± {rows['seconds'].std():.1f}"
            yield f"| {goal} | {net} | {took} | {spread(rows)} |\n"


def speed() -> Iterator[str]:
    """Yield the lines of the table of how fast it trains beside others: median, lowest, highest."""
    told = read_json(SPEED) if SPEED.exists() else {}
    cases = told.get("seconds", {})
    if cases:
        machine = told["machine"]
        where = f"{machine['cores']} cores ({machine['processor'].partition(',')[0]})"
        yield (
            "\nSpeed: seconds an epoch of 60,000 images, each with its defaults, "
            f"on {where}; in brackets, how many times as long as `nnlib` took in the same round "
            "(median, lowest – highest). `make bench` measures it: "
            "[how](experiments/benchmarks/README.md)."
            "\n\n"
            f"| net, batch | {' | '.join(PEERS.values())} |\n|---|{'---|' * len(PEERS)}\n"
        )
    for case, times in cases.items():
        cells = (beside(times, name) for name in PEERS)
        yield f"| {case.replace(' at ', ', ')} | {' | '.join(cells)} |\n"


def beside(times: dict[str, list[float]], name: str) -> str:
    """Return a library's median seconds, and its ratios to ours, in one cell."""
    ours, theirs = default(times, "nnlib"), default(times, name)
    if not theirs:
        return "–"
    seconds = theirs[1]
    if name == "nnlib":
        return f"{median(seconds):.2f}"
    ratios = [b / a for a, b in zip(ours[1], seconds, strict=True)]
    return f"{median(seconds):.2f} ({median(ratios):.1f}, {min(ratios):.1f} – {max(ratios):.1f})"


def default(times: dict[str, list[float]], name: str) -> tuple[str, list[float]] | None:
    """Return the key of a library that was left to its defaults, and the seconds of each round."""
    key = f"{name}/{DEFAULT}"
    return (key, times[key]) if key in times else None


def better(times: dict[str, list[float]], name: str) -> tuple[str, list[float]] | None:
    """Return "name/threads" of the better number of threads, and the seconds of each round."""
    told = {key: values for key, values in times.items() if not key.endswith(f"/{DEFAULT}")}
    own = {key: values for key, values in told.items() if key.startswith(f"{name}/")}
    return min(own.items(), key=lambda item: median(item[1])) if own else None


def best() -> Iterator[str]:
    """Yield the lines of the table of what can be reached in some minutes."""
    yield (
        "\nThe best reached within a few minutes of a core's time, without convolutions, on raw "
        "pixels. With many views, a net answers by the mean over an image and 15 random changes "
        "of it; together, the nets of all seeds do so. Unlike nets are those of any depth and "
        "20 minutes, and four others trained for as long; in colour five, each with a change of "
        "its own. CIFAR-10 as JPEG is a public copy, whose bytes are not quite the official "
        "ones; three recipes were given up there when two nets of each had been tested: five "
        "layers, with L2 and without (66.1 and 66.0 %, 64.2 and 64.1 %), and twice the width "
        "(67.4 and 67.2 %).\n\n"
        "| data and net | nets | one net | with many views | together | both |\n"
        "|---|---|---|---|---|---|\n"
    )
    for name in ("frontier", "colour"):
        yield from _best_of(table(name), table(f"{name}-ensembles"))


def _best_of(runs: pd.DataFrame, groups: pd.DataFrame) -> Iterator[str]:
    quoted = groups[(groups["nets"] == groups["of"]) & (groups["group"] != "all")]
    for (kind, data, recipe, minutes), rows in quoted.groupby(GROUPED, sort=False):
        title = f"{data} {recipe} {minutes:.0f} min"
        own = runs.query("held_out == 0 and data == @data and recipe == @recipe")
        own = own[own["minutes"] == minutes]
        each = [spread(own[own["reading"] == reading]) for reading in rows["reading"]]
        if kind == "unlike nets":
            title, each = f"{data} {kind}", map(percent, rows["mean_accuracy"])
        together = map(percent, rows["test_accuracy"])
        views = ([*cells, "–"][:2] for cells in (each, together))  # without changes there are none
        cells = [title, str(rows["nets"].iloc[0]), *itertools.chain(*views)]
        yield f"| {' | '.join(cells)} |\n"


def block() -> str:
    """Return what stands between the README's two marks."""
    reports = beside_published("reports", "net and training of five course reports")
    simard = beside_published("simard", "Simard, Steinkraus and Platt 2003, one hidden layer")
    return "".join([INTRODUCTION, *reports, *simard, *best(), *soonest(), *speed()])


def quoted() -> str:
    """Return what stands there now."""
    readme = (project_root() / "README.md").read_text(encoding="utf-8")
    return readme.split(BEGIN)[1].split(END)[0]


def write() -> None:
    """Bring the README up to date."""
    path = project_root() / "README.md"
    text = path.read_text(encoding="utf-8")
    write_atomic(path, text.replace(BEGIN + quoted() + END, BEGIN + block() + END))
