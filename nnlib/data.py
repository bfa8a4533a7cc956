"""Data sets: loaded, and split into training and validation images the same way every time.

Where the files come from and why they are the right ones is the business of `sources`, what is in
them that of `formats`.
"""

import math
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nnlib import checks, sources
from nnlib.checks import InputError
from nnlib.formats import read_cifar, read_idx
from nnlib.images import Split
from nnlib.sources import DATASETS, Content, content_sum, full_name
from nnlib.sources import DownloadError as DownloadError

MOST_SIDE = 2**12  # pixels
DIGITS_TEST = 297  # of scikit-learn's 1,797 images, the last ones


@dataclass(frozen=True, eq=False)
class Dataset:
    """The training half of a data set: what may be looked at while choosing a model.

    `train_indices` and `val_indices` are the rows in the original training file, ascending.
    `sha256` is over the unpacked training files, images then labels; `source` says where they
    were found, and belongs in no result. `pictures` is true of a folder of pictures.
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
    pictures: bool = False

    @property
    def title(self) -> str:
        """The name as its makers write it, for prose."""
        return DATASETS[self.name].title if self.name in DATASETS else self.name

    def sizes(self, *hidden: int) -> list[int]:
        """Return the widths [D, *hidden, K] of a net for these images and classes."""
        return [math.prod(self.image_shape), *hidden, len(self.classes)]

    def outside(self, path: str | os.PathLike) -> Path:
        """Return a path; InputError where it would be a class of the folder of pictures."""
        path = Path(os.path.expanduser(path))
        if self.pictures and Path(self.source) in path.resolve().parents:
            where = f"{path} would lie in the data set {self.source}"
            raise InputError(f"{where}: say with --out where else")
        return path


# ---------------------------------------------------------------- loading


def load_dataset(
    name: str | os.PathLike,
    val_size: int | None = None,
    seed: int = 0,
    train_size: int | None = None,
    image_size: int | str | Sequence[int] | None = None,
) -> Dataset:
    """Load the training files of a data set and split off validation images by seed.

    name: fashion-mnist, mnist, cifar-10, digits, or else (`./mnist`, say) a folder holding four
    IDX files by their official names or nearly so, `.gz` or not, with images of any size, or
    pictures, a subfolder a class (`nnlib.pictures.folder` says more). `val_size` images (None: one
    twelfth of all, and one at least) are drawn class by class, so that both parts keep the
    proportions; where a folder has a val/, from that (None: all of it), and its rows follow the
    training rows.
    `train_size` keeps that many of the rest, likewise. Rows stay in the file's order. Pictures are
    scaled and cropped to `image_size`, h = w or (h, w) or "32x24", and must have one size without
    it. The test files are not opened, but for pictures the first time, which are decoded all at
    once; none is kept here. Raises InputError for bad arguments and damaged files, DownloadError
    where a file is neither at hand nor reachable.
    """
    found = _read(name, False, read_size(image_size))
    y = found.labels.astype(np.int64)  # (N,)
    train_rows, val_rows = _split_rows(y, val_size, seed, train_size, found.n_val)
    content = found.sha256 or content_sum(found.images, found.labels)
    val = Split(found.images[val_rows], y[val_rows])
    return Dataset(
        name=str(name) if name in DATASETS else Path(full_name(name)).resolve().name or "data",
        train=Split(_moved(found.images, train_rows), y[train_rows]),
        val=val,
        classes=found.classes,
        image_shape=found.images.shape[1:],
        sha256=content,
        source=found.source,
        train_indices=train_rows,
        val_indices=val_rows,
        pictures=found.pictures,
    )


def load_test_split(
    name: str | os.PathLike,
    image_size: int | str | Sequence[int] | None = None,
    classes: Sequence[str] = (),
    sha256: str = "",
) -> Split:
    """Load the test images of a data set, which choose nothing and are opened last.

    Of the training files only a folder's labels are read, because they say how many classes
    there are. With the `classes` of a net, the labels of a folder of pictures are their numbers
    there, by name; with the `sha256` of the data set it learned from, a folder of pictures that
    has changed is warned of. Raises as `load_dataset` does, and InputError for a label without a
    class.
    """
    found = _read(name, True, read_size(image_size))
    if sha256 and found.pictures and found.sha256 != sha256:
        now = f"{found.source} has changed since the model was trained on it"
        warnings.warn(f"{now}: it may have learned pictures that it is tested on", stacklevel=2)
    if not (classes and found.pictures):
        return Split(found.images, found.labels)
    numbers = {each: number for number, each in enumerate(classes)}
    if strange := [each for each in found.classes if each not in numbers]:
        raise InputError(f"the model has no class {strange[0]!r}, a folder in {name}: rename it")
    return Split(found.images, np.array([numbers[each] for each in found.classes])[found.labels])


def read_size(value: Any) -> tuple[int, int] | None:
    """Read an image size (h, w), given so, as a number or as a text, 32 or 32x24; None stays."""
    if (value := checks.plain(value)) is None:
        return None
    sides = value.lower().split("x") if isinstance(value, str) else value
    sides = list(sides) if isinstance(sides, list | tuple) else [sides]
    if len(sides) not in (1, 2):
        raise InputError(f"image size must be N or HxW pixels, got {value!r}")
    numbers: list[Any] = [int(x) if re.fullmatch(r"\d{1,5}", str(x)) else x for x in sides]
    height, width = (checks.whole("image size", side, 1, MOST_SIDE) for side in (numbers * 2)[:2])
    return height, width


def _read(name: str | os.PathLike, test: bool, image_size: tuple[int, int] | None) -> Content:
    """Return the training or the test half of a data set.

    In a folder of IDX files, the classes are the numbers from 0 to the largest training label.
    """
    if sources.holds_pictures(name):
        from nnlib.pictures.folder import load_pictures

        return load_pictures(full_name(name), test, image_size)
    if image_size:
        raise InputError(f"image size is for folders of pictures, {name} has its own: leave it out")
    known = DATASETS[str(name)] if name in DATASETS else None
    if known and not known.sums:
        return Content(*_read_digits(test), known.classes, "scikit-learn")
    files = sources.TEST_FILES if test else sources.TRAIN_FILES
    paths = list(sources.fetch(name, files).values())
    source = str(paths[0].parent)
    if known and known.archive:
        return Content(*read_cifar(paths, test), known.classes, source)
    images, labels = read_idx(paths[0], 3), read_idx(paths[1], 1)
    if len(images) != len(labels):
        counts = f"{len(images)} images but {paths[1]} {len(labels)} labels"
        raise InputError(f"{paths[0]} holds {counts}; give files that belong together")
    if known:
        classes = known.classes
    else:
        (path,) = sources.fetch(name, sources.TRAIN_FILES[1:]).values()
        classes = tuple(str(k) for k in range(int(read_idx(path, 1).max()) + 1))
    if labels.max() >= len(classes):
        need = f"labels in {source} must be below {len(classes)}, the number of classes"
        raise InputError(f"{need}, got {labels.max()}; give files that belong together")
    return Content(images, labels, classes, source)


def _read_digits(test: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's 8×8 digits, whose 17 grey levels become bytes from 0 to 255.

    Their file is read, as to load scikit-learn takes longer than to train on them.
    """
    if not (package := find_spec("sklearn")) or not package.origin:
        raise ModuleNotFoundError("digits are scikit-learn's", name="sklearn")
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows = slice(-DIGITS_TEST, None) if test else slice(None, -DIGITS_TEST)
    table = np.loadtxt(file, delimiter=",")[rows]  # (N, 65), the label last
    images = np.rint(table[:, :-1] * (255 / 16)).astype(np.uint8)  # (N, 64)
    return images.reshape(-1, 8, 8), table[:, -1].astype(np.uint8)


# ---------------------------------------------------------------- splitting


def _moved(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return those rows, ascending, moved to the front: new memory takes longer than to move."""
    if not images.flags.writeable:
        return images[rows]
    for start in range(0, len(rows), 1000):
        part = rows[start : start + 1000]
        images[start : start + len(part)] = images[part]
    return images[: len(rows)]


def _split_rows(
    y: np.ndarray, val_size: int | None, seed: int, train_size: int | None, n_val: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows for training and for validation, ascending: (N,) -> (T,), (V,).

    Where the last `n_val` are for validation, they are the ones to draw from, all by default.
    """
    n = len(y)
    given = (n_val or max(n // 12, min(1, n - 1))) if val_size is None else val_size
    val_size = checks.whole("validation size", given, 0, n_val or n - 1)
    rest = n - (n_val or val_size)
    given = rest if train_size is None else train_size
    train_size = checks.whole("training size", given, 1, rest)
    rng = np.random.default_rng(checks.whole("seed", seed))
    val_rows = _draw(y, np.arange(n - n_val if n_val else 0, n), val_size, rng)
    rest_rows = np.setdiff1d(np.arange(n - n_val), val_rows, assume_unique=True)
    return _draw(y, rest_rows, train_size, rng), val_rows


def _draw(y: np.ndarray, rows: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `size` of the rows, of each class its share by largest remainder; ascending, (size,)."""
    counts = np.bincount(y[rows])  # (K,)
    shares, remainders = np.divmod(counts * size, len(rows))  # integers: ties are exact
    largest = np.argsort(-remainders, kind="stable")[: size - shares.sum()]
    shares[largest] += 1
    drawn = [rng.permutation(rows[y[rows] == k])[:share] for k, share in enumerate(shares)]
    return np.sort(np.concatenate(drawn))
