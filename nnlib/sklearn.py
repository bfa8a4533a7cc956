"""The net where scikit-learn's users expect one: `MLPClassifier`, for whatever takes theirs.

Names and meaning are scikit-learn's where it has the parameter, and `nnlib`'s where it has not.
Errors about X, y and weights are in scikit-learn's words, for its own functions check them. It
adds no learning of its own: `Trainer` trains, and this module says when to stop.
"""

import warnings
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from inspect import signature
from typing import Any, Self

import numpy as np

from nnlib import checks, optim
from nnlib.images import Scaling, Split
from nnlib.network import MLP
from nnlib.trainer import DivergedError, Trainer

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state, compute_sample_weight, multiclass, validation
except ImportError:
    lacking = "nnlib.sklearn needs scikit-learn, which is not installed"
    raise ImportError(f'{lacking}: pip install "nnlib[sklearn]"') from None

FLOATS = (np.float64, np.float32)


@dataclass(eq=False, repr=False)
class MLPClassifier(ClassifierMixin, BaseEstimator):
    """A multi-layer perceptron for classes of any kind, with scikit-learn's interface.

    Of scikit-learn's: hidden_layer_sizes, activation (logistic, and all of `nnlib.MLP`),
    solver (sgd, adamw), batch_size, learning_rate_init, max_iter, random_state, tol, verbose,
    warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2
    and n_iter_no_change mean what they mean there. So does `alpha`: it is divided by the weights
    of a batch, λ = alpha / (batch size · mean weight), and adamw decouples it from the gradient.
    `class_weight` is as in scikit-learn's other classifiers, and multiplies `sample_weight`. The
    loss of a batch is Σ wₙ lₙ / Σ wₙ over the batch.

    Beyond: dropout, input_dropout, batch_norm, init (glorot, whose scale is scikit-learn's, he or
    normal), label_smoothing, clip_norm, average (decay of the weights' moving average), and
    learning_rate, which names a schedule: constant, step, exponential, cosine or one-cycle, with
    decay, decay_every (epochs) and warmup (steps). They are those of `nnlib.TrainConfig`. `dtype`
    is that of the net, by default that of X; float32 takes half the time of float64.

    After `fit`: classes_, model_ (an `nnlib.MLP`, for `nnlib.save_model`), coefs_, intercepts_,
    n_iter_, loss_curve_, loss_, best_loss_, validation_scores_, best_validation_score_, and
    history_, whose rows have validation loss and accuracy of every epoch where there are
    validation data: those of early_stopping, or `X_val` and `y_val` of `fit`.
    """

    hidden_layer_sizes: Any = (100,)
    activation: str = "relu"
    _: KW_ONLY
    solver: str = "adamw"
    alpha: float = 0.0001
    batch_size: Any = "auto"
    learning_rate: str = "constant"
    learning_rate_init: float = 0.001
    max_iter: int = 200
    random_state: Any = None
    tol: float = 1e-4
    verbose: bool = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    n_iter_no_change: float = 10
    class_weight: Any = None
    dropout: float = 0.0
    input_dropout: float = 0.0
    batch_norm: bool = False
    init: str = "glorot"
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    average: float = 0.0
    decay: float = 0.95
    decay_every: int = 10
    warmup: int = 0
    dtype: str | None = None

    # ------------------------------------------------------------ learning

    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None) -> Self:
        """Train on X (N, D) and labels y (N,) until neither loss nor score becomes better.

        Validation data that are given are used in place of a part of X, and without early_stopping
        watched alone. Raises ValueError, about X, y and weights in scikit-learn's words.
        """
        epochs = checks.count("max_iter", self.max_iter, least=1)
        first = not (self.warm_start and hasattr(self, "model_"))
        data = self._checked(X, y, sample_weight, first)
        val = None if X_val is None else self._checked(X_val, y_val)
        if first:
            self._begin(data)
        self._optimizer = self._new_optimizer()
        if self.early_stopping and val is None:
            data, val = self._divided(data)
        if not self._train(data, val, epochs):
            line = f"Stochastic Optimizer: Maximum iterations ({epochs}) reached and the"
            warning = ConvergenceWarning(f"{line} optimization hasn't converged yet.")
            warnings.warn(warning, stacklevel=2)
        return self

    def partial_fit(self, X, y, sample_weight=None, classes=None) -> Self:
        """Train for one epoch more; `classes` are all that there will ever be, for the first."""
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.average:
            raise ValueError("partial_fit does not support average; call fit")
        if self.class_weight == "balanced":
            raise ValueError("class_weight 'balanced' is not supported for partial_fit.")
        first = multiclass._check_partial_fit_first_call(self, classes)
        data = self._checked(X, y, sample_weight, first, classes)
        if first:
            self._begin(data)
            self._optimizer = self._new_optimizer()
        self._train(data, None, 1, self._optimizer.steps)
        return self

    def _checked(self, X, y, weights=None, first: bool = False, classes=None) -> Split:
        """Return rows, labels from 0 and weights, after scikit-learn's own checks."""
        X, y = validation.validate_data(self, X, y, dtype=FLOATS, reset=first)
        multiclass.check_classification_targets(y)
        labels = multiclass.unique_labels(y)
        if first:
            self.classes_ = labels if classes is None else multiclass.unique_labels(classes)
        if len(np.setdiff1d(labels, self.classes_)):
            known = f"`self.classes_` has {self.classes_}. 'y' has {labels}."
            raise ValueError(f"`y` has classes not in `self.classes_`. {known}")
        if weights is not None:
            weights = validation._check_sample_weight(weights, X)
            validation.check_non_negative(weights, "`sample_weight`")
        if self.class_weight is not None:
            each = compute_sample_weight(self.class_weight, y)
            weights = each if weights is None else each * weights
        return Split(X, np.searchsorted(self.classes_, y), weights)

    def _begin(self, data: Split) -> None:
        """Make a new net, and forget what was."""
        self._random = check_random_state(self.random_state)
        hidden = np.ravel(self.hidden_layer_sizes).tolist()
        settings = self._settings(MLP) | {
            "activation": {"logistic": "sigmoid"}.get(self.activation, self.activation),
            "dtype": self.dtype or data.images.dtype.name,
            "seed": self._seed(),
            "scaling": Scaling(0.0, 1.0),
        }
        self.model_ = MLP([data.images.shape[1], *hidden, len(self.classes_)], **settings)
        self.model_.info = {"classes": [str(label) for label in self.classes_]}
        self._forget()

    def _forget(self) -> None:
        early, self._no_improvement_count = self.early_stopping, 0
        self.loss_curve_: list[float] = []
        self.best_loss_: Any = None if early else np.inf
        self.validation_scores_: Any = [] if early else None
        self.best_validation_score_: Any = -np.inf if early else None

    def _settings(self, of: Callable) -> dict[str, Any]:
        """Return the parameters that a function or class takes by the same names."""
        return {n: v for n, v in self.get_params().items() if n in signature(of).parameters}

    def _seed(self) -> int:
        return int(self._random.randint(2**31 - 1))

    def _new_optimizer(self) -> optim.Optimizer:
        if checks.one_of("solver", self.solver, optim.OPTIMIZERS) == "sgd":
            nesterov = bool(self.nesterovs_momentum and self.momentum)
            return optim.SGD(self.learning_rate_init, self.momentum, nesterov=nesterov)
        return optim.AdamW(self.learning_rate_init, betas=(self.beta_1, self.beta_2))

    def _divided(self, data: Split) -> tuple[Split, Split]:
        """Return the part to learn from and the part to judge by, each class in proportion."""
        rows, labels = np.arange(len(data)), self.classes_[data.y]
        how = {"test_size": self.validation_fraction, "random_state": self._random}
        learned, judged = train_test_split(rows, stratify=labels, **how)
        if len(judged) < 2:
            small = "The validation set is too small. Increase 'validation_fraction' or"
            raise ValueError(f"{small} the size of your dataset.")
        return data.take(learned), data.take(judged)

    def _train(self, data: Split, val: Split | None, epochs: int, done: int = 0) -> bool:
        """Train for so many epochs at most, after `done` steps; tell whether it ended before."""
        if self.early_stopping == (self.validation_scores_ is None):  # it has been changed
            self._forget()
        trainer, over = self._trainer(data, val, epochs, done), False
        self.history_ = trainer.history
        try:
            over = any(self._is_over(p.row) for p in trainer.run() if p.row)
        except DivergedError as error:
            found = "Solver produced non-finite parameter weights. The input data may contain"
            raise ValueError(f"{found} large values and need to be preprocessed.") from error
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=3)
            over = True
        best = trainer.best if self.early_stopping and trainer.epoch else trainer.answering
        self.model_.load_state(best.state())
        return over

    def _trainer(self, data: Split, val: Split | None, epochs: int, done: int) -> Trainer:
        n, size = len(data), self.batch_size
        size = min(200, n) if size == "auto" else checks.count("batch_size", size, least=1)
        if size > n:
            larger = "Got `batch_size` less than 1 or larger than sample size."
            warnings.warn(f"{larger} It is going to be clipped", stacklevel=4)
            size = n
        weight = size if data.weights is None else size * data.weights.mean()
        self._optimizer.weight_decay = checks.not_negative("alpha", self.alpha) / weight
        run = {"epochs": self.max_iter, "steps_per_epoch": -(-n // size)}
        of_run = self._settings(optim.make_schedule) | run
        rate = optim.make_schedule(self.learning_rate, self.learning_rate_init, **of_run)
        settings = self._settings(Trainer) | {"batch_size": size, "epochs": epochs}
        settings |= {"optimizer": self._optimizer, "schedule": lambda step: rate(step + done)}
        trainer = Trainer(self.model_, data, val, seed=self._seed(), **settings)
        trainer.every = trainer.steps_per_epoch  # one look inside an epoch: small nets are fast
        return trainer

    def _is_over(self, row: dict) -> bool:
        """Note an epoch; tell whether too many have passed without one better by `tol`."""
        self.n_iter_ = row["epoch"]
        squares = sum(float(np.vdot(w, w)) for w in self.coefs_)
        self.loss_ = row["train_loss"] + 0.5 * self._optimizer.weight_decay * squares
        self.loss_curve_.append(self.loss_)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
        if self.early_stopping:
            score, best = row["val_accuracy"], self.best_validation_score_
            self.validation_scores_.append(score)
            self.best_validation_score_ = max(best, score)
        else:
            score, best = -self.loss_, -self.best_loss_
            self.best_loss_ = min(self.best_loss_, self.loss_)
        stale = self._no_improvement_count + 1
        self._no_improvement_count = stale if score < best + self.tol else 0
        return self._no_improvement_count > self.n_iter_no_change

    # ------------------------------------------------------------ answering

    def predict(self, X) -> np.ndarray:
        """Return the most likely class of each row: (N, D) -> (N,)."""
        chosen = self.predict_proba(X).argmax(axis=1)
        return self.classes_[chosen]

    def predict_proba(self, X) -> np.ndarray:
        """Return the probability of each class, in the order of classes_: (N, D) -> (N, K)."""
        validation.check_is_fitted(self)
        X = validation.validate_data(self, X, dtype=FLOATS, reset=False)
        return self.model_.predict_proba(self.model_.inputs(X))

    def predict_log_proba(self, X) -> np.ndarray:
        """Return the logarithms of `predict_proba`: (N, D) -> (N, K)."""
        return np.log(self.predict_proba(X))

    @property
    def coefs_(self) -> list[np.ndarray]:
        """The weight matrices (D, H), first layer first."""
        return list(self.model_.weight_matrices.values())

    @property
    def intercepts_(self) -> list[np.ndarray]:
        """The biases (H,), first layer first."""
        layers = [layer.parameters for layer in self.model_.layers]
        return [own["b"] for own in layers if "b" in own]
