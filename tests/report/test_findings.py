"""What the chapters say about stored runs is what the tables in data/results say.

Each finding is a sentence of a chapter with its numbers worked out here; the chapter's Markdown
must hold it, word for word, whatever its line breaks.
"""

import json
import re
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise, permutations
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, spearmanr, t, ttest_ind
from sklearn.metrics import confusion_matrix

from nnlib.files import load_tensors, read_json

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "data" / "results"


def stored(name: str) -> pd.DataFrame:
    """Return a table of data/results."""
    return pd.read_csv(RESULTS / f"{name}.csv")


def prose(chapter: str) -> str:
    """Return a chapter's Markdown in one line."""
    (path,) = (ROOT / "notebooks").glob(f"{chapter}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    return re.sub(r"\s+", " ", " ".join(c.source for c in cells if c.cell_type == "markdown"))


# --- chapter 2, whose figures are those of one net and not of a run


def test_what_the_gradient_of_784_128_64_10_costs():
    sizes = [784, 128, 64, 10]
    layers = list(pairwise(sizes))
    forward = sum(i * o for i, o in layers)
    backwards = 2 * forward + sum(i * o for i, o in layers[1:])
    moved = 64 + 64 * 10  # products that follow when one unit of the first layer moves
    singly = 785 * 128 * moved + 129 * 64 * 10
    by_unit, back = 128 * moved + 64 * 10, 64 * 128 + 10 * 64
    text = prose("02")
    assert f"64 + 64 · 10 = {moved}" in text
    assert f"far fewer than the {forward:,} of a whole forward pass" in text
    assert f"the {sum((i + 1) * o for i, o in layers):,} weights and biases" in text
    assert 2 < backwards / forward < 3
    assert f"128 · 704 + 64 · 10 = {by_unit:,} multiplications" in text
    assert f"64 · 128 + 10 · 64 = {back:,}" in text
    assert f"costs about {by_unit / back:.0f} times as much" in text
    assert f"about {round(singly / backwards, -1):.0f} times as much" in text
    squares = sum(2 * width for width in sizes[1:])
    assert f"= {squares} for all layers" in text
    assert f"with λ = 0.01, is {squares * 0.01 / 2:.2f}" in text


# --- chapter 3


def findings_03() -> Iterator[str]:
    columns = ["val_accuracy", "test_accuracy", "best_epoch", "epochs"]
    minute = stored("ablation").groupby("recipe")[columns].mean()
    known = (100 * minute["val_accuracy"]).map("{:.1f}%".format)
    gain = minute.loc["no augmentation"] - minute.loc["all"]
    assert 0.4 < gain["test_accuracy"] / gain["val_accuracy"] < 0.6
    yield (
        "taking augmentation *away* raised validation accuracy from "
        f"{known['all']} to {known['no augmentation']} (on the test images, "
        "[chapter 6](06_results.ipynb), half as much), and taking dropout away raised it to "
        f"{known['no dropout']}."
    )
    best, epochs = minute.loc["all", ["best_epoch", "epochs"]]
    yield f"the best epoch was on average number {best:.1f} of {epochs:.0f}"
    runs = stored("recipes").query("data == 'Fashion-MNIST' and goal == 88")
    how, accuracy = json.loads(runs["settings"].iloc[0]), 100 * runs["val_accuracy"]
    assert (len(runs), how["activation"], how["schedule"]) == (5, "relu", "one-cycle")
    assert runs["processor"].str.contains("2 cores").all()
    yield (
        f"({how['hidden'][0]} hidden units, momentum {how['momentum']}, one-cycle with a peak of "
        f"{how['lr']}, batches of {how['batch_size']}, {how['epochs']} epochs) reaches "
        f"{accuracy.mean():.1f}% ± {accuracy.std():.1f} on the validation images of Fashion-MNIST, "
        f"over five seeds, after {runs['seconds'].mean():.1f} seconds of training on the machine "
        "that made the stored runs, two cores."
    )


# --- chapter 4


def findings_04() -> Iterator[str]:
    trials = stored("searches")
    e = trials[trials["report"] == "E"]
    won = e.loc[e["val_accuracy"].idxmax()]
    assert len(e) == 10
    assert won["lr"] == e["lr"].max()
    assert int(won["hidden"]) == e["hidden"].astype(int).max()
    yield f"with rates up to {e['lr'].max():g} and up to {won['hidden']} units"
    yield f"the best of its ten trials, {won['val_accuracy']:.2%} on validation images"
    yield f"has a rate of {won['lr']:g} and {won['hidden']} units"

    b = trials[(trials["report"] == "B") & (trials["state"] == "complete")]
    accuracy = b["val_accuracy"]
    varied = json.loads((RESULTS / "searches.json").read_text())["searches"]["B"]["varied"]
    units, rates = ((varied[name]["low"], varied[name]["high"]) for name in ("hidden", "lr"))
    yield "among {} to {} units and rates from {} to {}".format(*units, *rates)
    width, rate = (spearmanr(b[name].astype(float), accuracy) for name in ("hidden", "lr"))
    yield f"its {len(b)} trials lie between {accuracy.min():.2%} and {accuracy.max():.2%}"
    correlated = f"{width.statistic:+.2f} with the width and {rate.statistic:+.2f} with the rate"
    yield correlated.replace("-", "−")
    yield f"at least that much in {width.pvalue:.0%} and {rate.pvalue:.0%} of cases"

    pruning = stored("pruning").query("purpose == 'pruning'")
    full, halved = (pruning[pruning["pruner"] == name] for name in ("none", "halving"))
    share = {name: halved[name].sum() / full[name].sum() for name in ("epochs", "seconds")}
    yield f"took {share['epochs']:.0%} of the epochs and {share['seconds']:.0%} of the time"
    accuracies = pruning.pivot(index="seed", columns="pruner", values="val_accuracy")
    lost = 100 * (accuracies["none"] - accuracies["halving"]).round(6)
    assert sorted(lost)[:2] == [0, 0]
    assert len(full) == len(halved) == 3
    yield "Twice it found a trial as good as the best of the full search"
    yield f"once one that was {lost.max():.2f} points worse"


# --- chapter 6


def named_right(table: pd.DataFrame, file: str) -> np.ndarray:
    """Return which test images each row's net classifies rightly, (rows, N)."""
    answers, _ = load_tensors(ROOT / "data" / "results" / f"{file}.safetensors")
    (name,) = table["data"].unique()
    return np.array([answers[key] == answers[f"truth/{name.lower()}"] for key in table["answers"]])


def confused(table: pd.DataFrame) -> np.ndarray:
    """Return the confusion matrix (K, K) of all rows' nets together, right answers left out."""
    answers, _ = load_tensors(ROOT / "data" / "results" / "frontier-answers.safetensors")
    (name,) = table["data"].unique()
    counts = sum(confusion_matrix(answers[f"truth/{name.lower()}"], answers[key])
                 for key in table["answers"])  # fmt: skip
    return counts * (1 - np.eye(len(counts), dtype=int))


def disagreements(right: np.ndarray) -> str:
    """Return on how many images two of the nets disagree, least and most over all pairs."""
    counts = [int((one != other).sum()) for one, other in combinations(right, 2)]
    return f"{min(counts)} to {max(counts)}"


def shared_errors(right: np.ndarray) -> float:
    """Return the mean share of a net's errors that another of the nets makes, too, in percent."""
    return 100 * np.mean([np.mean(~other[~one]) for one, other in permutations(right, 2)])


def mean_of(table: pd.DataFrame) -> float:
    return 100 * table["test_accuracy"].mean()


def findings_06() -> Iterator[str]:
    """Yield what chapter 6 says about stored runs, in its order."""
    everything = stored("frontier").query("held_out == 0 and reading == 'as trained'")
    near = 0.89 * 0.11
    difference = 100 * (near / 5_000 + near / 10_000) ** 0.5
    assert 0.5 < difference < 0.55
    yield "the difference has a standard error of about half a point"
    yield f"10,000 images give it a standard error of {100 * (near / 10_000) ** 0.5:.2f} points"
    yield from who_is_confused(everything)
    yield from is_one_better(everything)
    yield from how_good(everything.query("group == 'best'"))
    yield from what_reports_claimed()
    yield from tricks_and_companions(everything)


def who_is_confused(nets: pd.DataFrame) -> Iterator[str]:
    fashion, digits = (nets[nets["data"] == name] for name in ("Fashion-MNIST", "MNIST"))
    errors = confused(fashion)
    both = errors + errors.T
    upper = [0, 2, 3, 4, 6]  # T-shirt/top, Pullover, Dress, Coat, Shirt
    assert np.triu(both).argmax() == 0 * 10 + 6
    share, among = both[0, 6] / errors.sum(), errors[np.ix_(upper, upper)].sum() / errors.sum()
    far = f"{len(fashion)} far stronger nets"
    yield f"stored runs of {far}. They make {among:.0%} of their mistakes"
    yield f"and {share:.0%} between T-shirt/top and Shirt alone"
    errors = confused(digits)
    both = errors + errors.T
    assert np.triu(both).argmax() == 4 * 10 + 9
    share = both[4, 9] / errors.sum()
    pair = f"the leading pair of {len(digits)} strong nets"
    yield f"{pair} is 4 and 9, with {share:.0%} of the mistakes"


def is_one_better(nets: pd.DataFrame) -> Iterator[str]:
    most = max(n for n in range(20, 200, 2) if binomtest((n + 20) // 2, n).pvalue < 0.05)
    yield f"disagree on at most {most} images"
    yield f"disagree on at most {most} of them"
    yield f"(exact count; the rule of thumb says {(20 / 1.96) ** 2:.0f})"
    yield f"If they disagree on 400, $p$ is {binomtest(210, 400).pvalue:.2f}"
    reports = stored("reports").query("recipe == 'as published' and reading == 'as trained'")
    c = named_right(reports.query("report == 'C'"), "reports-answers")
    yield f"disagree in pairs on {disagreements(c)} of the 10,000 images"
    best = nets.query("group == 'best' and minutes == 20")
    fashion, digits = (best[best["data"] == name] for name in ("Fashion-MNIST", "MNIST"))
    told = disagreements(named_right(fashion, "frontier-answers"))
    assert int(told.split()[0]) > 2 * most  # "on more than twice as many"
    yield f"Even our three best nets disagree on {told}."
    told = disagreements(named_right(digits, "frontier-answers"))
    yield f"our three best disagree on {told} images"


def how_good(nets: pd.DataFrame) -> Iterator[str]:
    quick = stored("recipes").groupby(["data", "goal"])[["seconds", "test_accuracy"]].mean()
    of = {key: 100 * row["test_accuracy"] for key, row in quick.iterrows()}
    seconds = quick["seconds"]
    deep = nets[nets["recipe"] == "any depth"].set_index(["data", "minutes"])["test_accuracy"] * 100
    five, twenty = (deep.loc["Fashion-MNIST", minutes] for minutes in (5, 20))
    yield (
        f"On Fashion-MNIST {seconds['Fashion-MNIST', 88]:.0f} seconds reach "
        f"{of['Fashion-MNIST', 88]:.1f}%, {seconds['Fashion-MNIST', 90]:.0f} seconds "
        f"{of['Fashion-MNIST', 90]:.1f}%, five minutes {five.mean():.2f}% and twenty minutes "
        f"{twenty.mean():.2f}%. The last step is a gain of {twenty.mean() - five.mean():.2f} points"
    )
    low, high = ttest_ind(twenty, five, equal_var=False).confidence_interval()
    yield f"interval from {low:.2f} to {high:.2f}, so it may be nothing".replace("-", "−")
    assert seconds["MNIST", 97] < 1
    five, twenty = (deep.loc["MNIST", minutes].mean() for minutes in (5, 20))
    yield (
        f"On MNIST it is {of['MNIST', 97]:.1f}% in less than a second, {five:.2f}% in five "
        f"minutes and {twenty:.2f}% in twenty."
    )
    groups = stored("frontier-ensembles").query("reading == 'as trained' and minutes == 5")
    together = groups[groups["recipe"] == "any depth"].set_index("data")["test_accuracy"] * 100
    for name in ("Fashion-MNIST", "MNIST"):
        five, twenty = (deep.loc[name, minutes].mean() for minutes in (5, 20))
        assert 0 < together[name] - twenty < 0.05  # "gain as much as one net gains from twenty"
    yield f"Twenty minutes take a fully connected net to {mean_20(nets, 'Fashion-MNIST')}"
    yield f"| **one net, twenty minutes** | **{mean_20(nets, 'Fashion-MNIST')}** |"
    yield f"| **one net, twenty minutes** | **{mean_20(nets, 'MNIST')}** |"
    alone = mean_of(nets[(nets["data"] == "Fashion-MNIST") & (nets["minutes"] == 20)])
    groups = stored("frontier-ensembles").query("reading == 'as trained' and minutes == 20")
    groups = groups[groups["group"] == "unlike nets"].set_index("data")
    seven = 100 * groups.loc["Fashion-MNIST", "test_accuracy"]
    yield f"{alone:.2f}% beside 92.04% is {100 * (alone - 92.04):.0f} images"
    error = sum(p * (100 - p) / 10_000 for p in (seven, 92.04)) ** 0.5
    assert seven - 92.04 < 2 * error  # "not proved"
    yield (
        f"{seven:.2f}% is {seven - 92.04:.2f} points more than 92.04%, with a standard error near "
        f"{error:.2f}"
    )
    assert all(groups["seconds"].between(115 * 60, 126 * 60))  # "in two hours"


def mean_20(nets: pd.DataFrame, name: str) -> str:
    return f"{mean_of(nets[(nets['data'] == name) & (nets['minutes'] == 20)]):.2f}%"


def what_reports_claimed() -> Iterator[str]:
    runs = stored("reports").set_index(["report", "recipe", "reading"])
    recipes = read_json(ROOT / "data" / "results" / "reports.json")["recipes"]
    claims = {each["report"]: each["published"] for each in recipes if each["published"]}
    ahead = {}
    for report, claimed in claims.items():
        own = runs.loc[(report, "as published", "as trained"), "test_accuracy"] * 100
        ahead[report] = own.mean() - claimed
        chance = t.ppf(0.975, len(own) - 1) * own.std() * (1 + 1 / len(own)) ** 0.5
        assert (abs(ahead[report]) < chance) == (report in "ABE")
    assert [report for report in ahead if ahead[report] < 0] == ["E"]
    yield "**A, B and E come out as claimed; C and D do better here"
    yield "Of five course reports, three come out as claimed; two do better here"
    yield f"The *margin* is {t.ppf(0.975, 4):.2f} times that"
    yield f"C is {ahead['C']:.2f} points better here"
    yield f"D is {ahead['D']:.2f} points better if its loss is summed over the batch."
    trained, solved = (
        {recipe: mean_of(runs.loc[("D", recipe, reading)])
         for recipe in ("as published", "loss averaged")}
        for reading in ("as trained", "least squares")
    )  # fmt: skip
    yield f"the net ends at {trained['loss averaged']:.2f}%"
    yield (
        f"({solved['loss averaged']:.2f}% in place of {trained['loss averaged']:.2f}%) and costs "
        f"where it went well ({solved['as published']:.2f}% in place of "
        f"{trained['as published']:.2f}%)"
    )
    yield f"E claims {-ahead['E']:.2f} points more than our mean."
    share = claims["E"] / 100
    error = 100 * (share * (1 - share) / 1000) ** 0.5
    yield f"give its {claims['E']}% a standard error of {error:.2f}"
    of_e = runs.loc["E"].groupby(["recipe", "reading"])["test_accuracy"].mean()
    of_e = of_e[:, "as trained"]
    assert of_e.idxmax() == "as published"  # "it comes out no better"
    assert len(of_e) == 3
    simard = stored("simard").groupby("recipe")["test_accuracy"].mean() * 100
    yield f"better with affine ones: {simard['affine']:.2f}% in place of 98.9%."
    yield (
        "worth a point to one hidden layer: from "
        f"{simard['plain']:.2f}% to {simard['affine and elastic']:.2f}%."
    )
    yield f"which they did not publish, reach {simard['affine and elastic']:.2f}%."


def tricks_and_companions(nets: pd.DataFrame) -> Iterator[str]:
    ablation = stored("ablation").groupby("recipe")[["test_accuracy", "val_accuracy"]].mean() * 100
    known = ablation["val_accuracy"] - ablation.loc["all", "val_accuracy"]
    ablation = ablation["test_accuracy"]
    yield f"train it for one minute with all of them ({ablation['all']:.2f}%)"
    change = ablation - ablation["all"]
    assert -1.1 < change["no batch normalisation"] < -0.9  # "worth a point"
    assert -0.3 < change["constant learning rate"] < -0.2  # "a quarter"
    yield (
        f"without dropout (+{change['no dropout']:.2f} points), without augmentation "
        f"(+{change['no augmentation']:.2f}) or with half the width "
        f"(+{change['half the width']:.2f})"
    )
    half = change["no augmentation"] / known["no augmentation"]
    assert 0.4 < half < 0.6  # "the direction and half of the size"
    yield (
        "On validation images leaving augmentation out was worth "
        f"+{known['no augmentation']:.2f}: the test confirms the direction and half of the size."
    )
    groups = stored("frontier-ensembles").query("reading == 'as trained' and minutes == 20")
    groups = groups.set_index(["data", "group"])
    fashion = nets[(nets["data"] == "Fashion-MNIST") & (nets["minutes"] == 20)]
    alike = named_right(fashion[fashion["group"] == "best"], "frontier-answers")
    others = named_right(fashion[fashion["group"] == "unlike"], "frontier-answers")
    yield f"another gets wrong in {shared_errors(alike):.0f} of 100 cases"
    told = shared_errors(np.concatenate([alike[:1], others]))
    yield f"An unlike net shares {told:.0f} of 100 errors."
    gains = 100 * (groups["test_accuracy"] - groups["mean_accuracy"]).loc["Fashion-MNIST"]
    best = 100 * groups["test_accuracy"].loc[:, "unlike nets"]
    yield (
        f"Three nets of one recipe gain {gains['one recipe']:.2f} points over one alone on "
        f"Fashion-MNIST, seven unlike ones {gains['unlike nets']:.2f}."
    )
    both = f"{best['Fashion-MNIST']:.2f}% and {best['MNIST']:.2f}%"
    yield f"**Seven unlike nets reach {both} together, in two hours.**"
    errors = [(p * (100 - p) / 10_000) ** 0.5 for p in best]
    yield f"with a standard error of {errors[0]:.2f} and {errors[1]:.2f} points"
    for name in best.index:
        yield f"| **seven unlike nets together** | **{best[name]:.2f}%** |"
    yield f"seven unlike nets together, in two hours, to {both}"


FINDINGS: dict[str, Callable[[], Iterator[str]]] = {  # by chapter
    "03": findings_03,
    "04": findings_04,
    "06": findings_06,
}


@pytest.mark.parametrize("chapter", FINDINGS)
def test_a_chapter_says_what_the_tables_say(chapter: str):
    text = prose(chapter)
    missing = [sentence for sentence in FINDINGS[chapter]() if sentence not in text]
    assert not missing
