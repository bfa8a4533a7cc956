"""The results in the README: tables made from the stored runs, so that no number is typed.

`python -m experiments --readme` writes them, and a test fails where the README says otherwise.
Settings are quoted once all of their seeds are there.
"""

from collections.abc import Iterator
from statistics import median
from typing import Any

from experiments.stored import Found, found
from experiments.studies import STUDIES, Study
from nnlib.files import project_root, read_json, write_atomic

SPEED = project_root() / "experiments" / "benchmarks" / "speed.json"
BEGIN, END = "<!-- results -->\n", "<!-- /results -->"
INTRODUCTION = (
    "Test accuracy: mean ± standard deviation over the seeds, none left out; the test set chose "
    "nothing. `make results` computes all of it, [data/results](data/results) has every run with "
    "its settings, and [the results chapter](notebooks/06_results.ipynb) tells the rest.\n"
)
PEERS = {"nnlib": "nnlib", "scikit-learn": "scikit-learn", "pytorch": "PyTorch", "jax": "JAX"}
NETS = {
    "A": "128-128, ReLU, batch 16, 20 epochs",
    "B": "292, ReLU, lr 0.2475, batch 128, 50 epochs",
    "C": "128, ReLU, batch 64, lr × 0.95 an epoch, 50 epochs",
    "D": "257, tanh, scaled and rotated copies, dropout, cosine",
    "D, least squares": "the same, its last layer refitted by least squares",
    "E": "100, ReLU, raw pixels, batch 100, 10 epochs",
    "plain": "800, ReLU",
    "affine": "800, ReLU, images moved, turned and scaled",
    "elastic": "800, ReLU, images bent",
}


def complete(study: Study, name: str, runs: Any) -> bool:
    """Tell whether the row `name` is there with all of its settings' seeds."""
    label = max((each for each in study.settings if name in study.rows_of(each)), key=len)
    return set(runs.loc[runs["name"] == name, "seed"]) == set(study.seeds_of(label))


def spread(runs: Any, name: str) -> str:
    """Return mean ± standard deviation of a row's test accuracy in percent."""
    percent = runs.loc[runs["name"] == name, "test_accuracy"] * 100
    return f"{percent.mean():.2f} ± {percent.std():.2f} %"


def beside_published(name: str, title: str) -> Iterator[str]:
    """Yield the lines of a table of ours beside published numbers."""
    study, runs = STUDIES[name], found(name).runs
    rows = [row for row in NETS if row in study.published and complete(study, row, runs)]
    if rows:
        yield f"\n| data | {title} | published | here |\n|---|---|---|---|\n"
    for row in rows:
        data = "MNIST" if study.settings[row.split(",")[0]].dataset == "mnist" else "Fashion-MNIST"
        yield f"| {data} | {NETS[row]} | {study.published[row]:g} % | {spread(runs, row)} |\n"


def soonest() -> Iterator[str]:
    """Yield the lines of the table of how long it takes to reach an accuracy."""
    study, runs = STUDIES["recipes"], found("recipes").runs
    rows = [name for name in study.settings if complete(study, name, runs)]
    if rows:
        yield (
            "\nTime to accuracy: momentum, and one cycle of a large rate. Training alone is timed, "
            "validation after every epoch included.\n\n"
            "| to reach | ReLU net and training | seconds | test accuracy |\n|---|---|---|---|\n"
        )
    for row in rows:
        config, seconds = study.settings[row], runs.loc[runs["name"] == row, "seconds"]
        hidden = "-".join(map(str, config.hidden))
        net = f"{hidden}, batch {config.batch_size}, {config.epochs} epochs"
        took = f"{seconds.mean():.1f} ± {seconds.std():.1f}"
        yield f"| {row} | {net} | {took} | {spread(runs, row)} |\n"


def speed() -> Iterator[str]:
    """Yield the lines of the table of how fast it trains beside others: median, lowest, highest."""
    cases = read_json(SPEED)["seconds"] if SPEED.exists() else {}
    if cases:
        yield (
            "\nSpeed: seconds an epoch of 60,000 images, each with the better of one and two "
            "threads; in brackets, how many times as long as `nnlib` took in the same round "
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
    ours, theirs = better(times, "nnlib"), better(times, name)
    if not theirs:
        return "–"
    seconds = theirs[1]
    if name == "nnlib":
        return f"{median(seconds):.2f}"
    ratios = [b / a for a, b in zip(ours[1], seconds, strict=True)]
    return f"{median(seconds):.2f} ({median(ratios):.1f}, {min(ratios):.1f} – {max(ratios):.1f})"


def better(times: dict[str, list[float]], name: str) -> tuple[str, list[float]] | None:
    """Return "name/threads" of the better number of threads, and the seconds of each round."""
    own = {key: values for key, values in times.items() if key.startswith(f"{name}/")}
    return min(own.items(), key=lambda item: median(item[1])) if own else None


def best() -> Iterator[str]:
    """Yield the lines of the table of what can be reached in some minutes."""
    study, stored = STUDIES["frontier"], found("frontier")
    rows = [n for n in study.settings if n in study.ensembles and complete(study, n, stored.runs)]
    if rows:
        yield (
            "\nThe best within some minutes of training on one of two cores, without "
            "convolutions, on raw pixels. With many views, a net answers by the mean over "
            "an image and 15 random changes of it; together, the nets of all seeds do so. Unlike "
            "nets are those of any depth and 20 minutes, and others as long in training.\n\n"
            "| data and net | nets | one net | with many views | together | both |\n"
            "|---|---|---|---|---|---|\n"
        )
    for row in rows:
        views = f"{row}, many views"
        alone = [spread(stored.runs, each) for each in (row, views)]
        cells = [row, len(study.seeds_of(row)), *alone]
        cells += [together(stored, each) for each in (row, views)]
        yield f"| {' | '.join(map(str, cells))} |\n"
    if rows:
        yield from unlike(study, stored)


def unlike(study: Study, stored: Found) -> Iterator[str]:
    """Yield the lines of the nets that differ, once all of a group are there."""
    groups = stored.ensembles.set_index("name")
    for name in (name for name in study.ensembles if name.endswith("unlike nets")):
        if name in groups.index and groups.loc[name, "nets"] == groups.loc[name, "of"]:
            both = [f"{name}{views}" for views in ("", ", many views")]
            means = [f"{groups.loc[each, 'mean_accuracy'] * 100:.2f} %" for each in both]
            cells = [groups.loc[name, "nets"], *means, *(together(stored, each) for each in both)]
            yield f"| {name.replace(',', '')} | {' | '.join(map(str, cells))} |\n"


def together(stored: Found, name: str) -> str:
    """Return an ensemble's test accuracy in percent."""
    share = stored.ensembles.set_index("name").loc[name, "test_accuracy"]
    return f"{share * 100:.2f} %"


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
