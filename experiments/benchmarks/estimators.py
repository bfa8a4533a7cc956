"""`nnlib.sklearn.MLPClassifier` beside scikit-learn's own: accuracy and time, fold by fold.

    python experiments/benchmarks/estimators.py          the table, and estimators.csv
    python experiments/benchmarks/estimators.py --quick  iris and wine alone, nothing written

Five-fold cross-validation on standardised columns, three times over (with 50,000 rows once, and 10
epochs), with the same settings: scikit-learn's defaults, and a rate of 0.05 for sgd. The contenders
take turns within a fold, one BLAS thread each. Their time is that of the processor, which other
programs on the machine change little. Ratios are formed within a fold, and the table shows their
median, lowest and highest.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import sklearn
from sklearn import datasets, neural_network
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from experiments.compute import processor
from nnlib.files import write_atomic
from nnlib.runs import rows_to_csv, versions
from nnlib.sklearn import MLPClassifier

MADE = {"n_informative": 50, "n_classes": 20, "n_clusters_per_class": 1, "random_state": 0}
DATA = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "50,000 x 200, 20 classes": lambda return_X_y: datasets.make_classification(
        50_000, 200, **MADE
    ),
}
SOLVERS = {
    "sgd": ("sgd", {"solver": "sgd", "learning_rate_init": 0.05}),
    "adam, adamw": ("adamw", {"solver": "adam"}),
}
CONTENDERS = ("scikit-learn", "nnlib", "nnlib float32")


def make(contender: str, solver: str, seed: int, epochs: int) -> BaseEstimator:
    """Return the estimator of that name, behind a scaler."""
    ours, settings = SOLVERS[solver]
    settings = settings | {"random_state": seed, "max_iter": epochs}
    if contender == "scikit-learn":
        net = neural_network.MLPClassifier(**settings)
    else:
        dtype = "float32" if "float32" in contender else None
        net = MLPClassifier(**settings | {"solver": ours}, dtype=dtype)
    return make_pipeline(StandardScaler(), net)


def measure(load: Callable, solver: str) -> Iterator[tuple[str, dict]]:
    """Yield each contender's accuracy, epochs and seconds on each fold."""
    x, y = load(return_X_y=True)
    epochs, times = (200, 3) if len(x) < 10_000 else (10, 1)
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=times, random_state=0)
    for seed, (train, test) in enumerate(folds.split(x, y)):
        for contender in CONTENDERS:
            net = make(contender, solver, seed, epochs)
            start = time.process_time()
            net.fit(x[train], y[train])
            seconds = time.process_time() - start
            accuracy = float(net.score(x[test], y[test]))
            found = {"fold": seed, "accuracy": accuracy, "epochs": net[-1].n_iter_}
            yield contender, found | {"seconds": round(seconds, 4)}


def line(name: str, solver: str, folds: dict[str, list[dict]]) -> str:
    """Return the line of a table: accuracies, and how many times as long theirs took."""
    words = [name, solver]
    for contender in CONTENDERS:
        values = [100 * fold["accuracy"] for fold in folds[contender]]
        epochs = statistics.mean(fold["epochs"] for fold in folds[contender])
        mean, spread = statistics.mean(values), statistics.stdev(values)
        words.append(f"{mean:.2f} ± {spread:.2f} % ({epochs:.0f})")
    for contender in CONTENDERS[1:]:
        pairs = zip(folds[CONTENDERS[0]], folds[contender], strict=True)
        each = [a["seconds"] * b["epochs"] / a["epochs"] / b["seconds"] for a, b in pairs]
        words.append(f"{statistics.median(each):.2f} ({min(each):.2f} – {max(each):.2f})")
    return "| " + " | ".join(words) + " |"


def main() -> None:
    """Measure, print a line as soon as it is known, and keep all folds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore", ConvergenceWarning)
    print("| data | solver | " + " | ".join(f"{each} (epochs)" for each in CONTENDERS), end="")
    print(" | an epoch's time, theirs to ours | … to float32 |\n" + "|---" * 7 + "|")
    rows: list[dict] = []
    with threadpool_limits(1):
        for name in list(DATA)[: 2 if quick else None]:
            for solver in SOLVERS:
                folds: dict[str, list[dict]] = {contender: [] for contender in CONTENDERS}
                for contender, fold in measure(DATA[name], solver):
                    folds[contender].append(fold)
                    rows.append({"data": name, "solver": solver, "contender": contender} | fold)
                print(line(name, solver, folds), flush=True)
    if not quick:
        made = {"processor": processor(), "scikit-learn": sklearn.__version__} | versions()
        text = rows_to_csv([row | made for row in rows])
        write_atomic(Path(__file__).with_suffix(".csv"), text)


if __name__ == "__main__":
    main()
