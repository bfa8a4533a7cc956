"""Images and labels in memory: scaled by one rule, split the same way every time.

Images stay bytes until a batch needs numbers; `Scaling` says which numbers. Where the files
come from and why they are the right ones is the business of `sources`.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnlib import checks
from nnlib.checks import InputError
from nnlib.files import sha256
from nnlib.sources import DATASETS as DATASETS
from nnlib.sources import FILES as FILES
from nnlib.sources import TEST_FILES, TRAIN_FILES, fetch, idx_header, read_idx
from nnlib.sources import DownloadError as DownloadError

DIGITS_TEST = 297  # of scikit-learn's 1,797 images, the last ones
PIECE = 2**20  # bytes counted at a time


# ---------------------------------------------------------------- what a data set is in memory


@dataclass(frozen=True)
class Scaling:
    """How bytes become numbers: x = (p - offset) · factor, for each pixel by itself.

    images uint8 (N, h, w) or (N, D) -> float32 (N, D); `out` receives the result where given.
    Elementwise, so that a row has the same bits in every batch. Raises InputError for a number
    that is not finite.
    """

    offset: float
    factor: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise InputError(f"scaling {name} must be a finite number, got {value!r}")

    def __call__(self, images: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return the scaled pixels, (N, h, w) or (N, D) -> float32 (N, D)."""
        size = math.prod(images.shape[1:])
        pixels = np.ascontiguousarray(images).reshape(len(images), size)  # (N, D)
        if self.offset:  # else one pass over `out`: two cores may have it in their caches
            pixels = out = np.subtract(pixels, np.float32(self.offset), out=out, dtype=np.float32)
        return np.multiply(pixels, np.float32(self.factor), out=out, dtype=np.float32)


UNIT = Scaling(0.0, 1 / 255)


def make_scaling(kind: str, images: np.ndarray) -> Scaling:
    """Return the scaling of a kind, measured on training images uint8 (N, h, w).

    unit: p / 255. none: p. standard: (p - μ) / σ with the mean and standard deviation of all
    pixels together; where all are equal, p - μ. Raises InputError for any other kind, and for
    standard without a pixel.
    """
    if kind == "unit":
        return UNIT
    if kind == "none":
        return Scaling(0.0, 1.0)
    if kind == "standard":
        return _standard_scaling(images)
    raise InputError(f"unknown scaling {kind!r}: use unit, standard or none")


def _standard_scaling(images: np.ndarray) -> Scaling:
    """Count how often each byte occurs: exact, whatever the order of the images."""
    if not images.size:
        raise InputError("standard scaling needs at least one pixel, got none")
    flat = images.reshape(-1)
    pieces = (flat[i : i + PIECE] for i in range(0, flat.size, PIECE))  # bincount widens to int64
    counts = sum(np.bincount(piece, minlength=256) for piece in pieces)  # (256,)
    values = np.arange(256)
    mean = float(counts @ values) / flat.size
    deviation = math.sqrt(float(counts @ (values - mean) ** 2) / flat.size)
    return Scaling(mean, 1 / deviation if deviation else 1.0)


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels: `images` uint8 (N, h, w), `y` int64 (N,) from 0.

    Raises InputError where shapes, types or counts are wrong, or a label is negative.
    """

    images: np.ndarray
    y: np.ndarray

    def __post_init__(self) -> None:
        images, y = np.asarray(self.images), np.asarray(self.y)
        if images.dtype != np.uint8 or images.ndim != 3:
            raise InputError(f"images must be uint8 of shape (N, h, w), got {_kind(images)}")
        if y.dtype.kind not in "iu" or y.ndim != 1:
            raise InputError(f"labels must be whole numbers of shape (N,), got {_kind(y)}")
        if len(y) != len(images):
            raise InputError(f"there must be one label an image, got {len(y)} for {len(images)}")
        if y.size and y.min() < 0:
            raise InputError(f"labels must be >= 0, got {y.min()}")
        object.__setattr__(self, "y", y.astype(np.int64, copy=False))

    def __len__(self) -> int:
        return len(self.y)

    @property
    def x(self) -> np.ndarray:
        """Pixels / 255 as float32 (N, D), computed anew at each use: four times the bytes."""
        return UNIT(self.images)

    def take(self, indices: np.ndarray | Sequence[int] | slice) -> "Split":
        """Return the rows at `indices` (M,) as a Split of their own."""
        return Split(self.images[indices], self.y[indices])


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype} of shape {array.shape}"


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


# ---------------------------------------------------------------- loading


def load_dataset(
    name: str | os.PathLike,
    val_size: int | None = None,
    seed: int = 0,
    train_size: int | None = None,
) -> Dataset:
    """Load the training files of a data set and split off validation images by seed.

    name: fashion-mnist, mnist, digits, or else (`./mnist`, say) a folder holding four IDX files
    of the official names, `.gz` or not, with images of any size. `val_size` images
    (None: one twelfth of all) are drawn class by class, so that both parts keep the proportions;
    `train_size` keeps that many of the rest, likewise. Rows stay in the file's order. The test
    files are not opened. Raises InputError for bad arguments and damaged files, DownloadError
    where a file is neither at hand nor reachable.
    """
    images, labels, classes, source = _read(name, TRAIN_FILES)
    y = labels.astype(np.int64)  # (N,)
    train_rows, val_rows = _split_rows(y, val_size, seed, train_size)
    return Dataset(
        name=str(name) if name in DATASETS else Path(source).name or "data",
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
    if not paths:
        return *_read_digits(test=files == TEST_FILES), DATASETS["digits"].classes, "scikit-learn"
    images, labels, source = read_idx(paths[0], 3), read_idx(paths[1], 1), str(paths[0].parent)
    if len(images) != len(labels):
        counts = f"{len(images)} images but {paths[1]} {len(labels)} labels"
        raise InputError(f"{paths[0]} holds {counts}; give files that belong together")
    if name in DATASETS:
        classes = DATASETS[str(name)].classes
    else:
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
    val_size = _size("validation size", val_size, n // 12, 0, n - 1)
    train_size = _size("training size", train_size, n - val_size, 1, n - val_size)
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


def _size(what: str, value: int | None, default: int, least: int, most: int) -> int:
    """Return how many rows are wanted, of which there must be enough."""
    value = default if value is None else value
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
        raise InputError(f"{what} must be a whole number from {least} to {most}, got {value!r}")
    return int(value)
