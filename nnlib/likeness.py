"""Whether a picture is like anything that a net was trained on.

A net gives every picture one of its classes: a cat is a digit to it, and so is noise. What it
cannot know is seen from outside: how far the nearest of its training images is, beside how far
that is from validation images. What is near need not be one of the classes: letters are much like
digits, and plain pictures near to other plain ones.
"""

import numpy as np
from threadpoolctl import threadpool_limits

from nnlib.checks import InputError
from nnlib.config import TrainConfig
from nnlib.data import Dataset
from nnlib.images import UNIT
from nnlib.network import MLP, PREDICT_ROWS, in_pieces
from nnlib.sources import TRAIN_FILES, fetch

USUAL = 0.97  # of validation images have a training image as near as that
SAMPLE = 300  # of them, at most


def training_data(model: MLP, dataset: str) -> Dataset:
    """Return the data set that a model was trained on, split as it was then; downloads nothing.

    Where nothing was kept for validation, as much as by default is split off. Raises InputError
    where it is another one by now, DownloadError where it is not at hand.
    """
    fetch(dataset, TRAIN_FILES, download=False)
    settings = model.info.get("config", {})
    chosen = {"dataset": dataset, "val_size": settings.get("val_size") or None}
    data = TrainConfig.from_dict(settings | chosen).load()
    if data.sha256 != model.info.get("sha256", data.sha256):
        raise InputError(f"{dataset} has changed since the model was trained on it")
    return data


def unlike(pictures: np.ndarray, data: Dataset) -> list[dict]:
    """Say how far each picture is from all training images: uint8 (P, h, w) or (P, h, w, 3).

    `distance` is that to the nearest one, and `nearest` the class of that; `usual` is what 97 % of
    validation images keep within, and `unlike` whether the picture does not. A distance is the
    root mean square of differences between pixels from 0 to 1. Where images are drawn on black it
    is one of form alone, between blocks of 2×2 pixels brought to mean 0 and standard deviation 1,
    or a pale photograph would be nearer than a bold digit. Raises InputError for pictures of
    another shape, and where there are no validation images.
    """
    wanted = (len(pictures), *data.image_shape)
    if pictures.dtype != np.uint8 or pictures.shape != wanted:
        raise InputError(f"pictures must be uint8 {wanted}, got {pictures.dtype} {pictures.shape}")
    if not len(data.val):
        raise InputError(f"{data.name} has no validation images: choose a val_size above 0")
    known = data.val.sample(SAMPLE).images
    distances, rows = _nearest(np.concatenate([pictures, known]), data.train.images)
    usual = float(np.quantile(distances[len(pictures) :], USUAL))
    return [
        {"distance": d, "nearest": data.classes[k], "usual": usual, "unlike": d > usual}
        for d, k, _ in zip(distances.tolist(), data.train.y[rows], pictures, strict=False)
    ]


@threadpool_limits.wrap(limits=1, user_api="blas")  # the products are short: more threads wait
def _nearest(seen: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far the image nearest to each of those seen is, and its row: (Q,), (Q,)."""
    points = UNIT if np.median(images[:, 0, 0]) else _forms  # a corner of each is black, or not
    of_seen, found = points(seen), []  # (Q, D)
    for others in map(points, in_pieces(images)):  # (n, D)
        squares = (others**2).sum(axis=1) - 2 * of_seen @ others.T  # but for |seen|², (Q, n)
        found.append((squares.min(axis=1), squares.argmin(axis=1)))
    least, row = map(np.array, zip(*found, strict=True))  # (pieces, Q), (pieces, Q)
    piece = least.argmin(axis=0)
    rows = piece * PREDICT_ROWS + row[piece, np.arange(len(seen))]
    differences = of_seen - points(images[rows])  # anew: large squares leave small ones inexact
    return np.sqrt((differences**2).mean(axis=1)), rows


def _forms(images: np.ndarray) -> np.ndarray:
    """Return images as points (N, D) that neither brightness nor contrast moves."""
    for axis in (1, 2):
        pairs = np.arange(0, images.shape[axis], 2)
        images = np.add.reduceat(images, pairs, axis=axis, dtype=np.float32)
    blocks = images.reshape(len(images), -1)
    blocks -= blocks.mean(axis=1, keepdims=True)
    return blocks / (blocks.std(axis=1, keepdims=True) + 1)  # of four pixels; 1: they may be equal
