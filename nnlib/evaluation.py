"""How good a model is on images it may or may not have learned from."""

import math
from dataclasses import dataclass

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


def must_suit(model: MLP, split: Split) -> None:
    """Raise InputError for images of another size than the model takes, and labels it lacks."""
    inputs = math.prod(checks.instance("images with their labels", split, Split).images.shape[1:])
    if inputs != model.sizes[0]:
        unlike = f"the model takes {model.sizes[0]} inputs but these images have {inputs} pixels"
        raise InputError(f"{unlike}: name the data set it was trained on")
    if len(split) and split.y.max() >= model.sizes[-1]:
        raise InputError(f"label {split.y.max()} but the model has {model.sizes[-1]} classes")


def evaluate(model: MLP, split: Split) -> Evaluation:
    """Return loss, accuracy and n on a split, scaled as the model was trained, in pieces.

    Raises InputError as `must_suit` does. An empty split gives NaN.
    """
    must_suit(model, split)
    loss, hits, n = 0.0, 0, len(split)
    for images, y in zip(in_pieces(split.images), in_pieces(split.y), strict=True):
        logits = model.forward(model.scaling(images))  # (rows, K)
        loss += softmax_cross_entropy(logits, y)[0] * len(y)
        hits += int((logits.argmax(axis=1) == y).sum())
    return Evaluation(loss / n, hits / n, n) if n else Evaluation(math.nan, math.nan, 0)
