"""Ways in which a trained net may answer, beside the plain one.

A reading takes a trained model and the images that it learned from, and returns a function from
images uint8 (N, h, w) to scores (N, K), the largest of which is the answer. It changes nothing in
the model that it is given.
"""

import copy
from collections.abc import Callable

import numpy as np

from experiments.least_squares import refit_last_layer
from nnlib.config import TrainConfig
from nnlib.data import Dataset
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


READINGS: dict[str, Reading] = {"least squares": least_squares, "many views": many_views}
NO_LOGITS = {least_squares}  # whose scores are no logits, so that they have no cross-entropy
