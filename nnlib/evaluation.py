"""How good a model is on examples it may or may not have learned from."""

import math
from dataclasses import dataclass

import numpy as np

from nnlib import checks
from nnlib.checks import InputError
from nnlib.images import Split
from nnlib.losses import softmax_cross_entropy
from nnlib.network import MLP, in_pieces


@dataclass(frozen=True)
class Evaluation:
    """How a model does on a split: mean cross-entropy, fraction right, and of how many."""

    loss: float
    accuracy: float
    n: int


def must_suit(model: MLP, split: Split | tuple) -> Split:
    """Return a Split, which may be given as (X, y) or (X, y, weights).

    Raises InputError for images of another size than the model takes, and labels it lacks.
    """
    made = Split(*split) if isinstance(split, tuple) and len(split) in (2, 3) else split
    found: Split = checks.instance("images with their labels", made, Split)
    if (inputs := math.prod(found.images.shape[1:])) != model.sizes[0]:
        unlike = f"images have {inputs} pixels: name the data set it was trained on"
        if found.images.ndim == 2:
            unlike = f"rows have {inputs} numbers: give rows as it was trained on"
        raise InputError(f"the model takes {model.sizes[0]} inputs but these {unlike}")
    if len(found) and found.y.max() >= model.sizes[-1]:
        raise InputError(f"label {found.y.max()} but the model has {model.sizes[-1]} classes")
    return found


def evaluate(model: MLP, split: Split | tuple) -> Evaluation:
    """Return loss, accuracy and n on a split or (X, y), scaled as the model was trained, in pieces.

    With weights, (X, y, weights) or a split's own, both are weighted means: Σ wₙ lₙ / Σ wₙ over
    all examples. Raises InputError as `must_suit` does. An empty split gives NaN.
    """
    split = must_suit(model, split)
    loss, hits, total = 0.0, 0.0, 0.0
    for rows in in_pieces(np.arange(len(split))):
        part = split.take(slice(rows[0], rows[-1] + 1))
        logits = model.forward(model.inputs(part.images))  # (rows, K)
        weights = np.ones(len(part)) if part.weights is None else part.weights
        loss += softmax_cross_entropy(logits, part.y, weights=part.weights)[0] * weights.sum()
        hits += weights @ (logits.argmax(axis=1) == part.y)
        total += weights.sum()
    means = (float(loss / total), float(hits / total)) if total else (math.nan, math.nan)
    return Evaluation(*means, len(split))
