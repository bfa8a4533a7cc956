"""`nnlib.sklearn.MLPClassifier` is one of scikit-learn's estimators, and means what theirs do."""

import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import neural_network
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from nnlib import InputError, load_model, save_model
from nnlib.sklearn import MLPClassifier

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)  # (150, 4)
WORDS = np.array(["setosa", "versicolor", "virginica"])[Y]
WEIGHTS = np.arange(150) % 4.0
QUICK = {"hidden_layer_sizes": 10, "max_iter": 25, "learning_rate_init": 0.05, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def net(**settings) -> MLPClassifier:
    return MLPClassifier(**QUICK | settings)


# ---------------------------------------------------------------- scikit-learn's own checks


@pytest.mark.parametrize("solver", ["sgd", "adamw"])
def test_every_check_of_scikit_learn_passes(solver: str) -> None:
    estimator = MLPClassifier(solver=solver, max_iter=40, learning_rate_init=0.02)
    checked = check_estimator(estimator, on_skip=None)  # raises for the first that fails
    statuses = {check["check_name"]: check["status"] for check in checked}
    assert len(statuses) > 50
    skipped = {name for name, status in statuses.items() if status != "passed"}
    assert skipped <= {"check_array_api_input"}  # asks for an environment of its own


# ---------------------------------------------------------------- the same meaning


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("alpha", [0.0, 3.0])
@pytest.mark.parametrize(
    "more",
    [
        {"activation": "logistic"},
        {"activation": "tanh", "nesterovs_momentum": False},
        {"activation": "relu", "momentum": 0.0, "hidden_layer_sizes": (8, 5)},
    ],
)
def test_from_the_same_weights_sgd_learns_what_theirs_learns(more, alpha: float, weights) -> None:
    settings = QUICK | {"solver": "sgd", "alpha": alpha, "warm_start": True} | more
    ours, theirs = MLPClassifier(**settings), neural_network.MLPClassifier(**settings)
    for each in (ours, theirs):
        each.set_params(max_iter=1).fit(X, Y)
        each.set_params(max_iter=25)
    theirs.coefs_ = [w.copy() for w in ours.coefs_]
    theirs.intercepts_ = [b.copy() for b in ours.intercepts_]
    for each in (ours, theirs):
        each.fit(X, Y, weights)
    # the penalty is that of the weights after an epoch here, before each step there
    rtol = 1e-2 if alpha else 1e-9
    np.testing.assert_allclose(ours.loss_curve_[1:], theirs.loss_curve_[1:], rtol=rtol)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-9)
    for a, b in zip(
        ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)
    assert ours.n_iter_ == theirs.n_iter_


@pytest.mark.parametrize("early", [False, True])
def test_it_stops_when_nothing_becomes_better(early: bool) -> None:
    ours = net(solver="sgd", tol=0.05, n_iter_no_change=3, max_iter=500, early_stopping=early)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.fit(X, Y)
    assert len(ours.loss_curve_) == ours.n_iter_ < 100
    assert ours.loss_ == ours.loss_curve_[-1]
    if early:
        assert ours.best_loss_ is None
        assert ours.best_validation_score_ == max(ours.validation_scores_)
        assert len(ours.validation_scores_) == ours.n_iter_
    else:
        assert ours.best_loss_ == min(ours.loss_curve_)
        assert ours.validation_scores_ is ours.best_validation_score_ is None
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
        net(max_iter=2).fit(X, Y)


def test_epochs_one_by_one_are_those_of_fit() -> None:
    whole, parts = net(max_iter=6), net(max_iter=6)
    whole.fit(X, WORDS)
    for _ in range(6):
        parts.partial_fit(X, WORDS, classes=np.unique(WORDS)[::-1])
    np.testing.assert_allclose(parts.predict_proba(X), whole.predict_proba(X), rtol=1e-9)
    assert len(parts.loss_curve_) == 6
    assert parts.n_iter_ == 1
    few = net().partial_fit(X[:60], WORDS[:60], classes=np.unique(WORDS))  # one is yet to come
    assert few.predict_proba(X).shape == (150, 3)


def test_a_warm_start_goes_on_and_a_cold_one_begins_anew() -> None:
    cold, warm = net(), net(warm_start=True)
    first = cold.fit(X, Y).predict_proba(X)
    np.testing.assert_array_equal(cold.fit(X, Y).predict_proba(X), first)
    assert len(cold.loss_curve_) == 25
    assert warm.fit(X, Y).fit(X, Y).loss_curve_[25] < warm.loss_curve_[0] / 2
    warm.set_params(early_stopping=True).fit(X, Y)
    assert len(warm.validation_scores_) == warm.n_iter_


def test_class_weights_are_weights_of_the_rows() -> None:
    each = {0: 1.0, 1: 0.0, 2: 2.5}
    by_class = net(class_weight=each).fit(X, Y, WEIGHTS)
    by_row = net().fit(X, Y, WEIGHTS * np.vectorize(each.get)(Y))
    np.testing.assert_array_equal(by_class.predict_proba(X), by_row.predict_proba(X))
    assert 1 not in by_class.predict(X)
    odd = np.r_[0:5, 50:150]
    balanced = net(class_weight="balanced").fit(X[odd], Y[odd])
    np.testing.assert_allclose(
        balanced.predict_proba(X),
        net().fit(X[odd], Y[odd], 105 / (3 * np.bincount(Y[odd]))[Y[odd]]).predict_proba(X),
    )


# ---------------------------------------------------------------- in scikit-learn's machinery


def test_it_works_in_pipelines_searches_and_calibration() -> None:
    chain = make_pipeline(StandardScaler(), net())
    assert cross_val_score(chain, X, WORDS, cv=3).mean() > 0.9
    search = GridSearchCV(chain, {"mlpclassifier__alpha": [0, 0.1]}, cv=2, n_jobs=2)
    try:
        assert search.fit(X, WORDS).best_score_ > 0.9
    finally:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)
    calibrated = CalibratedClassifierCV(net(), cv=2).fit(X, WORDS, sample_weight=WEIGHTS)
    assert calibrated.score(X, WORDS) > 0.85


@pytest.mark.parametrize("more", [{}, {"dropout": 0.1, "batch_norm": True, "solver": "sgd"}])
def test_a_copy_by_pickle_answers_and_learns_the_same(more: dict, tmp_path: Path) -> None:
    fitted = net(**more).fit(X, WORDS)
    twin = pickle.loads(pickle.dumps(fitted))
    for _ in range(3):
        np.testing.assert_array_equal(twin.predict_proba(X), fitted.predict_proba(X))
        fitted.partial_fit(X, WORDS)
        twin.partial_fit(X, WORDS)
    fresh = clone(fitted)
    assert fresh.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    save_model(fitted.model_, tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert again.info["classes"] == ["setosa", "versicolor", "virginica"]
    np.testing.assert_array_equal(
        again.predict(X), np.searchsorted(fitted.classes_, fitted.predict(X))
    )


# ---------------------------------------------------------------- beyond scikit-learn


@pytest.mark.parametrize(
    "more",
    [
        {"dropout": 0.1},
        {"batch_norm": True, "batch_size": 30},
        {"label_smoothing": 0.1},
        {"average": 0.9},
        {"clip_norm": 0.5},
        {"learning_rate": "cosine"},
        {"learning_rate": "step", "decay": 0.5, "decay_every": 8, "warmup": 4},
        {"learning_rate": "one-cycle", "solver": "sgd", "batch_size": 16},
        {"activation": "gelu", "init": "he", "dtype": "float32"},
        {"hidden_layer_sizes": ()},
    ],
)
def test_what_scikit_learn_lacks(more: dict) -> None:
    ours = net(**more).fit(X[::2], WORDS[::2], X_val=X[1::2], y_val=WORDS[1::2])
    assert ours.score(X, WORDS) > 0.85
    rows = ours.history_.rows
    assert len(rows) == ours.n_iter_
    assert all(row["val_loss"] > 0 for row in rows)
    if not more.get("average"):
        assert rows[-1]["val_accuracy"] == pytest.approx(ours.score(X[1::2], WORDS[1::2]))
    if more.get("learning_rate") == "cosine":
        assert (rows[0]["lr"], rows[-1]["lr"]) == (0.05, 0)
    assert ours.coefs_[0].dtype == more.get("dtype", "float64")
    assert sum(w.size for w in ours.coefs_) == sum(a * b for a, b in ours.model_.shapes)


def test_early_stopping_may_be_given_its_validation_data() -> None:
    ours = net(early_stopping=True).fit(X[::2], Y[::2], X_val=X[1::2], y_val=Y[1::2])
    assert ours.score(X[1::2], Y[1::2]) == pytest.approx(ours.best_validation_score_)
    assert net().fit(X.astype("float32"), Y).coefs_[0].dtype == np.float32


# ---------------------------------------------------------------- odd X, y and weights

MISSING = np.where(np.arange(600).reshape(150, 4) == 7, np.nan, X)
SAME = "as theirs"  # accepted or refused in the same words
ODD = {
    "X a list": (X.tolist(), Y, None, SAME),
    "X a DataFrame": (pd.DataFrame(X, columns=list("abcd")), pd.Series(WORDS), None, SAME),
    "X integers": ((10 * X).astype(int), Y, None, SAME),
    "X in Fortran's order": (np.asfortranarray(X), Y, None, SAME),
    "X every second column": (np.repeat(X, 2, axis=1)[:, ::2], Y, None, SAME),
    "X of one row": (X[:1], Y[:1], None, SAME),
    "X of no row": (X[:0], Y[:0], None, SAME),
    "X of no column": (X[:, :0], Y, None, SAME),
    "X with NaN": (MISSING, Y, None, SAME),
    "X with infinity": (np.where(np.isnan(MISSING), np.inf, MISSING), Y, None, SAME),
    "X of one dimension": (X[:, 0], Y, None, SAME),
    "X complex": (X + 0j, Y, None, SAME),
    "X of words": (np.full((150, 2), "a"), Y, None, SAME),
    "X sparse": (
        sparse.csr_array(X),
        Y,
        None,
        "Sparse data was passed for X, but dense data is req",
    ),
    "y of one class": (X, np.zeros(150), None, SAME),
    "y strings": (X, WORDS, None, SAME),
    "y objects": (X, WORDS.astype(object), None, SAME),
    "y booleans": (X, Y == 1, None, SAME),
    "y negative": (X, Y - 7, None, SAME),
    "y whole floats": (X, Y.astype(float), None, SAME),
    "y broken floats": (X, Y + 0.5, None, "Unknown label type: continuous. Maybe you are trying"),
    "y with NaN": (X, np.where(Y == 1, np.nan, Y), None, SAME),
    "y None": (X, None, None, SAME),
    "y of another length": (X, Y[:-1], None, SAME),
    "y a column": (X, Y[:, None], None, SAME),
    "y of two columns": (
        X,
        np.eye(2, dtype=int)[Y % 2],
        None,
        "y should be a 1d array, got an array of",
    ),
    "weights of another length": (X, Y, WEIGHTS[:-1], SAME),
    "weights of two columns": (X, Y, WEIGHTS.reshape(75, 2), SAME),
    "weights with NaN": (X, Y, np.full(150, np.nan), SAME),
    "weights all zero": (X, Y, np.zeros(150), SAME),
    "weights some zero": (X, Y, WEIGHTS, SAME),
    "weights integers": (X, Y, WEIGHTS.astype(int), SAME),
    "weights a list": (X, Y, WEIGHTS.tolist(), SAME),
    "weights a number": (X, Y, 2.0, SAME),
    "weights negative": (X, Y, WEIGHTS - 1, "Negative values in data passed to `sample_weight`"),
}


def outcome(estimator, x, y, weights) -> object:
    """Return the classes it finds in its own rows, or the line in which it refuses them."""
    try:
        return set(estimator.fit(x, y, weights).predict(x).tolist())
    except (ValueError, TypeError) as error:
        return f"{error}"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
@pytest.mark.parametrize("case", ODD)
def test_odd_rows_labels_and_weights(case: str) -> None:
    *given, expected = ODD[case]
    ours = outcome(net(solver="sgd", max_iter=60), *given)
    if expected is not SAME:
        assert isinstance(ours, str)
        assert ours.startswith(expected)
        return
    settings = QUICK | {"solver": "sgd", "max_iter": 60}
    theirs = outcome(neural_network.MLPClassifier(**settings), *given)
    assert ours == theirs


@pytest.mark.parametrize("given", [X[:, :3], X.tolist()[0], MISSING, pd.DataFrame(X[:, :2])])
def test_odd_rows_to_predict(given) -> None:
    lines = []
    for kind in (MLPClassifier, neural_network.MLPClassifier):
        fitted = kind(**QUICK).fit(X, Y)
        with pytest.raises(ValueError, match=r"X|array") as caught:
            fitted.predict(given)
        lines.append(str(caught.value))
    assert lines[0] == lines[1]


def test_a_column_of_labels_is_taken_with_a_warning() -> None:
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        net().fit(X, Y[:, None])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"solver": "adam"}, "unknown solver 'adam': use sgd, adamw"),
        ({"activation": "identity"}, "unknown activation 'identity'"),
        ({"learning_rate": "adaptive"}, "unknown schedule 'adaptive'"),
        ({"hidden_layer_sizes": (4, 0)}, "layer size must be a whole number >= 1, got 0"),
        ({"alpha": -1}, "alpha must be >= 0, got -1"),
        ({"batch_size": 0}, "batch_size must be a whole number >= 1, got 0"),
        ({"max_iter": 0}, "max_iter must be a whole number >= 1, got 0"),
        ({"learning_rate_init": 0}, "learning rate must be > 0, got 0"),
        ({"validation_fraction": 0.01, "early_stopping": True}, "should be greater or equal to"),
    ],
)
def test_a_wrong_parameter_is_refused_in_one_line(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        net(**settings).fit(X, Y)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, InputError) or "validation_fraction" in settings


def test_what_cannot_be_learned_is_refused_as_theirs() -> None:
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        net(solver="sgd").fit(X * (np.finfo("float64").max / 10), Y)
    for settings in ({"early_stopping": True}, {"average": 0.9}, {"class_weight": "balanced"}):
        with pytest.raises(ValueError, match="not support"):
            net(**settings).partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        net().partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`"):
        net().partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(ValueError, match="is not the same as on last call"):
        net().fit(X, Y).partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(ValueError, match="The least populated class"):
        net(early_stopping=True).fit(X[:51], Y[:51])
    with pytest.raises(ValueError, match="The validation set is too small"):
        net(early_stopping=True).fit(X[:5], Y[:5])
    with pytest.warns(UserWarning, match="Got `batch_size` less than 1 or larger than sample size"):
        net(batch_size=151).fit(X, Y)


def test_an_interrupt_keeps_what_was_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    over = MLPClassifier._is_over
    ours, whole = net(), net(max_iter=3).fit(X, Y)

    def stop(self: MLPClassifier, row: dict) -> bool:
        if over(self, row) or row["epoch"] == 3:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(MLPClassifier, "_is_over", stop)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        ours.fit(X, Y)
    np.testing.assert_array_equal(ours.predict_proba(X), whole.predict_proba(X))


def test_the_core_does_without_scikit_learn() -> None:
    program = "import sys, nnlib; assert 'nnlib.sklearn' not in sys.modules; import nnlib.sklearn"
    hidden = f"import sys; sys.modules['sklearn'] = None; {program}"
    done = subprocess.run(
        [sys.executable, "-c", hidden], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == (
        "ImportError: nnlib.sklearn needs scikit-learn, which is not installed: "
        'pip install "nnlib[sklearn]"'
    )
