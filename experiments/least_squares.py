"""The last layer in closed form: the best linear read-out of features that stay as they are.

Gradient descent learns the last layer together with those below it. Once they are frozen, what is
left is a linear problem, and the weights that fit one-hot targets with the smallest squared error
can be computed outright. Whether that predicts better is another question: it minimises another
loss than the one that counts (notebook 06 answers it with numbers).
"""

import numpy as np
import scipy.linalg

from nnlib import checks
from nnlib.data import Split
from nnlib.network import MLP, in_pieces


def refit_last_layer(model: MLP, split: Split, ridge: float = 0.0) -> float:
    """Replace the last layer by the least-squares fit of one-hot targets; return the residual.

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
