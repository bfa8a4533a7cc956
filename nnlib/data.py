"""Data sets: loaded, and split into training and validation images the same way every time.

Where the files come from and why they are the right ones is the business of `sources`.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnlib import checks
from nnlib.checks import InputError
from nnlib.files import sha256
from nnlib.images import Split
from nnlib.sources import DATASETS as DATASETS
from nnlib.sources import TEST_FILES, TRAIN_FILES, fetch, idx_header, read_idx
from nnlib.sources import DownloadError as DownloadError
from nnlib.sources import full_name as full_name

DIGITS_TEST = 297  # of scikit-learn's 1,797 images, the last ones


@dataclass(frozen=True, eq=False)
class Dataset:
    """The training half of a data set: what may be looked at while choosing a model.

    `train_indices` and `val_indices` are the rows in the original training file, ascending.
    `sha256` is over the unpacked training files, images then labels; `source` says where they
    were found, and belongs in no result.
    """

    name: str
    train: Split
    val: Split
    classes: tuple[str, ...]
    image_shape: tuple[int, int]  # (h, w) in pixels
    sha256: str
    source: str
    train_indices: np.ndarray
    val_indices: np.ndarray

    @property
    def title(self) -> str:
        """The name as its makers write it, for prose."""
        return DATASETS[self.name].title if self.name in DATASETS else self.name

    def sizes(self, *hidden: int) -> list[int]:
        """Return the widths [D, *hidden, K] of a net for these images and classes."""
        return [math.prod(self.image_shape), *hidden, len(self.classes)]


# ---------------------------------------------------------------- loading


def load_dataset(
    name: str | os.PathLike,
    val_size: int | None = None,
    seed: int = 0,
    train_size: int | None = None,
) -> Dataset:
    """Load the training files of a data set and split off validation images by seed.

    name: fashion-mnist, mnist, digits, or else (`./mnist`, say) a folder holding four IDX files
    by their official names or nearly so, `.gz` or not, with images of any size. `val_size` images
    (None: one twelfth of all, and one at least) are drawn class by class, so that both parts keep
    the proportions;
    `train_size` keeps that many of the rest, likewise. Rows stay in the file's order. The test
    files are not opened. Raises InputError for bad arguments and damaged files, DownloadError
    where a file is neither at hand nor reachable.
    """
    images, labels, classes, source = _read(name, TRAIN_FILES)
    y = labels.astype(np.int64)  # (N,)
    train_rows, val_rows = _split_rows(y, val_size, seed, train_size)
    return Dataset(
        name=str(name) if name in DATASETS else Path(full_name(name)).resolve().name or "data",
        train=Split(images[train_rows], y[train_rows]),
        val=Split(images[val_rows], y[val_rows]),
        classes=classes,
        image_shape=images.shape[1:],
        sha256=sha256(idx_header(images), images.data, idx_header(labels), labels.data),
        source=source,
        train_indices=train_rows,
        val_indices=val_rows,
    )


def load_test_split(name: str | os.PathLike) -> Split:
    """Load the test images of a data set, which choose nothing and are opened last.

    Of the training files only a folder's labels are read, because they say how many classes
    there are. Raises as `load_dataset` does, and InputError for a label without a class.
    """
    images, labels, *_ = _read(name, TEST_FILES)
    return Split(images, labels)


def _read(
    name: str | os.PathLike, files: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], str]:
    """Return images (N, h, w) and labels (N,), both uint8, class names, and the files' folder.

    In a folder of one's own, the classes are the numbers from 0 to the largest training label.
    """
    paths = list(fetch(name, files).values())
    classes = DATASETS[str(name)].classes if name in DATASETS else ()
    if not paths:
        return *_read_digits(test=files == TEST_FILES), classes, "scikit-learn"
    images, labels, source = read_idx(paths[0], 3), read_idx(paths[1], 1), str(paths[0].parent)
    if len(images) != len(labels):
        counts = f"{len(images)} images but {paths[1]} {len(labels)} labels"
        raise InputError(f"{paths[0]} holds {counts}; give files that belong together")
    if not classes:
        (path,) = fetch(name, TRAIN_FILES[1:]).values()
        classes = tuple(str(k) for k in range(int(read_idx(path, 1).max()) + 1))
    if labels.max() >= len(classes):
        need = f"labels in {source} must be below {len(classes)}, the number of classes"
        raise InputError(f"{need}, got {labels.max()}; give files that belong together")
    return images, labels, classes, source


def _read_digits(test: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's 8×8 digits, whose 17 grey levels become bytes from 0 to 255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows = slice(-DIGITS_TEST, None) if test else slice(None, -DIGITS_TEST)
    images = np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8)  # (N, 8, 8)
    return images, digits.target[rows].astype(np.uint8)


# ---------------------------------------------------------------- splitting


def _split_rows(
    y: np.ndarray, val_size: int | None, seed: int, train_size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows for training and for validation, ascending: (N,) -> (T,), (V,)."""
    n = len(y)
    given = max(n // 12, min(1, n - 1)) if val_size is None else val_size
    val_size = checks.whole("validation size", given, 0, n - 1)
    given = n - val_size if train_size is None else train_size
    train_size = checks.whole("training size", given, 1, n - val_size)
    rng = np.random.default_rng(checks.whole("seed", seed))
    val_rows = _draw(y, val_size, rng)
    rest_rows = np.setdiff1d(np.arange(n), val_rows, assume_unique=True)
    return rest_rows[_draw(y[rest_rows], train_size, rng)], val_rows


def _draw(y: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `size` rows, of each class its share by largest remainder; ascending, (size,)."""
    counts = np.bincount(y)  # (K,)
    shares, remainders = np.divmod(counts * size, len(y))  # integers: ties are exact
    largest = np.argsort(-remainders, kind="stable")[: size - shares.sum()]
    shares[largest] += 1
    rows = [rng.permutation(np.flatnonzero(y == k))[:share] for k, share in enumerate(shares)]
    return np.sort(np.concatenate(rows))
