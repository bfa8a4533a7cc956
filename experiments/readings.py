"""Ways in which a trained net may answer, beside the plain one.

A reading takes a trained model and the images that it learned from, and returns a function from
images uint8 (N, h, w) to scores (N, K), the largest of which is the answer. It changes nothing in
the model that it is given.
"""

import copy
from collections.abc import Callable

import numpy as np
import scipy.linalg

from experiments.study import AS_TRAINED
from nnlib import checks
from nnlib.config import TrainConfig
from nnlib.data import Dataset
from nnlib.images import Split
from nnlib.losses import log_softmax
from nnlib.network import MLP, in_pieces

VIEWS = 16  # of an image, itself among them

Answer = Callable[[np.ndarray], np.ndarray]
Reading = Callable[[MLP, Dataset], Answer]


def as_trained(model: MLP, data: Dataset) -> Answer:
    """Return the net's own logits."""

    def logits(images: np.ndarray) -> np.ndarray:
        return np.concatenate([model.forward(model.scaling(rows)) for rows in in_pieces(images)])

    return logits


def least_squares(model: MLP, data: Dataset) -> Answer:
    """Return what the net says with its last layer refitted on the training images."""
    refitted = copy.deepcopy(model)
    refit_last_layer(refitted, data.train)
    return as_trained(refitted, data)


def many_views(model: MLP, data: Dataset) -> Answer:
    """Return the mean log-probability over an image and 15 random changes of it.

    The changes are those that the net was trained with, drawn with a fixed seed (test-time
    augmentation; Cireşan et al. 2012 average over distorted copies likewise).
    """
    change = TrainConfig.from_dict(model.info["config"]).augmentation
    logits = as_trained(model, data)

    def mean(images: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(0)
        total = log_softmax(logits(images))  # (N, K)
        for _ in range(VIEWS - 1):
            total += log_softmax(logits(change(images, rng)))
        return total / VIEWS

    return mean


READINGS: dict[str, Reading] = {
    AS_TRAINED: as_trained,
    "least squares": least_squares,
    "many views": many_views,
}
NO_LOGITS = {"least squares"}  # whose scores are no logits, so that they have no cross-entropy


# ---------------------------------------------------------------- the last layer in closed form


def refit_last_layer(model: MLP, split: Split, ridge: float = 0.0) -> float:
    """Replace the last layer by the least-squares fit of one-hot targets; return the residual.

    Gradient descent learns the last layer together with those below it. Once they are frozen, what
    is left is a linear problem with a solution outright. Whether that predicts better is another
    question: it minimises another loss than the one that counts (notebook 06 has the numbers).

    min over W, b of 1/N ‖H W + b - T‖² + ridge ‖W‖², with H (N, H) the last hidden activations
    and T (N, K) one-hot. Solved by a QR factorisation with column pivoting of the features in
    float64 (LAPACK gelsy), which also copes with dead and duplicate units; the normal equations
    would square the condition number. The result is the mean squared residual. The "logits" of
    the refitted net estimate T itself: their largest is the answer, but softmax of them is no
    probability. Raises InputError for ridge < 0, an empty split, or labels the model lacks.
    """
    checks.not_negative("ridge", ridge)
    n, k = len(split), model.sizes[-1]
    if not n or split.y.max() >= k:
        raise checks.InputError(f"need labelled images of {k} classes, got {n} images")
    features = _features(model, split)  # (N, H)
    mean = features.mean(axis=0)  # the bias is not penalised: take means out, put them back
    targets = np.eye(k)[split.y]  # (N, K)
    a = np.vstack([features - mean, np.sqrt(n * ridge) * np.eye(len(mean))])  # (N + H, H)
    t = np.vstack([targets - targets.mean(axis=0), np.zeros((len(mean), k))])
    weights = scipy.linalg.lstsq(a, t, lapack_driver="gelsy")[0]  # (H, K)
    bias = targets.mean(axis=0) - mean @ weights  # (K,)
    last = model.layers[-1].parameters
    last["W"][...], last["b"][...] = weights, bias
    return float(((features @ weights + bias - targets) ** 2).mean())


def _features(model: MLP, split: Split) -> np.ndarray:
    """Return what the last layer sees, in float64: (N, H)."""
    parts = []
    for images in in_pieces(split.images):
        x = model.scaling(images).astype(model.dtype)
        for layer in model.layers[:-1]:
            x = layer.forward(x)
        parts.append(x.astype(np.float64))
    return np.concatenate(parts)
