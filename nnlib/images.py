"""Images in memory: bytes, with their labels, until a batch needs numbers.

A `Split` holds images and labels, or rows of numbers that are used as they are; a `Scaling` says
which numbers the bytes become, and travels with a model, so that whatever it is shown is scaled as
what it learned from.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnlib import checks
from nnlib.checks import InputError

PIECE = 2**20  # bytes counted at a time
CHANNELS = 3  # of a colour: red, green, blue


@dataclass(frozen=True)
class Scaling:
    """How bytes become numbers: x = (p - offset) · factor, for each pixel by itself.

    images uint8 (N, h, w), (N, h, w, 3) or (N, D) -> float32 (N, D); `out` receives the result
    where given. Both numbers may be three, one for each channel of colour. Elementwise, so that a
    row has the same bits in every batch. Raises InputError for a number that is not finite.
    """

    offset: float | tuple[float, ...]
    factor: float | tuple[float, ...]

    def __post_init__(self) -> None:
        for name, value in list(vars(self).items()):
            object.__setattr__(self, name, _by_channel(f"scaling {name}", value))
        if np.ndim(self.offset) != np.ndim(self.factor):
            raise InputError(f"scaling by channel needs offset and factor to be so, got {self}")

    def __call__(self, images: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return the scaled pixels, (N, h, w), (N, h, w, 3) or (N, D) -> float32 (N, D)."""
        size = math.prod(images.shape[1:])
        pixels = np.ascontiguousarray(images).reshape(len(images), size)  # (N, D)
        offset, factor = self.terms(size)
        if self.offset:  # else one pass over `out`: two cores may have it in their caches
            pixels = out = np.subtract(pixels, offset, out=out, dtype=np.float32)
        return np.multiply(pixels, factor, out=out, dtype=np.float32)

    def terms(self, size: int) -> list[np.ndarray]:
        """Return offset and factor, float32: of no axis, or by channel one an input (D,)."""
        both = (np.array(value, np.float32) for value in (self.offset, self.factor))
        return [np.resize(value, size) if value.ndim else value for value in both]


def _by_channel(name: str, value: Any) -> float | tuple[float, ...]:
    if not isinstance(value, list | tuple):
        return checks.finite(name, value)
    if len(value) != CHANNELS:
        raise InputError(f"{name} must be one number or {CHANNELS}, got {value!r}")
    return tuple(checks.finite(name, each) for each in value)


UNIT = Scaling(0.0, 1 / 255)
SCALINGS = ("unit", "standard", "none")


def make_scaling(kind: str, images: np.ndarray) -> Scaling:
    """Return the scaling of a kind, measured on training images uint8 (N, h, w) or (N, h, w, 3).

    unit: p / 255. none: p. standard: (p - μ) / σ with the mean and standard deviation of all
    pixels together, of colour in each channel; where all are equal, p - μ. Raises InputError for
    any other kind, and for standard without a pixel.
    """
    if checks.one_of("scaling", kind, SCALINGS) != "standard":
        return UNIT if kind == "unit" else Scaling(0.0, 1.0)
    if images.ndim < 4:
        return Scaling(*_standard(images))
    return Scaling(*zip(*map(_standard, np.moveaxis(images, -1, 0)), strict=True))


def _standard(images: np.ndarray) -> tuple[float, float]:
    """Count how often each byte occurs: exact, whatever the order of the images."""
    if not images.size:
        raise InputError("standard scaling needs at least one pixel, got none")
    pieces = np.array_split(images.reshape(-1), -(-images.size // PIECE))  # bincount widens them
    counts = sum(np.bincount(piece, minlength=256) for piece in pieces)  # (256,)
    values = np.arange(256)
    mean = float(counts @ values) / images.size
    deviation = math.sqrt(float(counts @ (values - mean) ** 2) / images.size)
    return mean, 1 / deviation if deviation else 1.0


def is_pixels(images: np.ndarray) -> bool:
    """Tell whether an array holds images as they are kept: bytes (N, h, w) or (N, h, w, 3)."""
    shaped = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == CHANNELS)
    return images.dtype == np.uint8 and shaped


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels: `images` uint8 (N, h, w), of colour (N, h, w, 3), `y` (N,) from 0.

    In place of images it may hold rows of floats (N, D), which are no pixels and never scaled.
    `weights` (N,) say how much each counts in loss and accuracy: 2 as if it were there twice, 0 as
    if it were not (but to the statistics of batch normalisation). Raises InputError where shapes,
    types or counts are wrong, or a label or a weight is negative.
    """

    images: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        images, y = np.asarray(self.images), np.asarray(self.y)
        if not is_pixels(images) and (images.dtype.kind, images.ndim) != ("f", 2):
            wanted = f"images must be uint8 of shape (N, h, w) or (N, h, w, 3), got {_kind(images)}"
            raise InputError(f"{wanted}; rows of numbers must be floats of shape (N, D)")
        if y.dtype.kind not in "iu" or y.ndim != 1:
            raise InputError(f"labels must be whole numbers of shape (N,), got {_kind(y)}")
        if len(y) != len(images):
            raise InputError(f"there must be one label an image, got {len(y)} for {len(images)}")
        if y.size and y.min() < 0:
            raise InputError(f"labels must be >= 0, got {y.min()}")
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "y", y.astype(np.int64, copy=False))
        if self.weights is not None:
            weights = np.asarray(self.weights, np.float64)
            if weights.shape != y.shape or not (np.isfinite(weights) & (weights >= 0)).all():
                wanted = f"weights must be numbers >= 0, one for each of {len(y)}"
                raise InputError(f"{wanted}, got {' '.join(str(weights).split())[:80]}")
            object.__setattr__(self, "weights", weights)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def x(self) -> np.ndarray:
        """Pixels / 255 as float32 (N, D), computed anew at each use; rows of floats as they are."""
        return UNIT(self.images) if self.images.dtype == np.uint8 else self.images

    def take(self, indices: np.ndarray | Sequence[int] | slice) -> "Split":
        """Return the rows at `indices` (M,) as a Split of their own."""
        weights = None if self.weights is None else self.weights[indices]
        return Split(self.images[indices], self.y[indices], weights)

    def weighted(self, class_weights: Sequence[float]) -> "Split":
        """Return the same with each weight times that of its class, one a class (K,)."""
        each = np.array([checks.not_negative("class weight", weight) for weight in class_weights])
        if len(self) and self.y.max() >= len(each):
            raise InputError(f"label {self.y.max()} but there are {len(each)} class weights")
        own = 1.0 if self.weights is None else self.weights
        return Split(self.images, self.y, each[self.y] * own)

    def sample(self, n: int, seed: int = 0) -> "Split":
        """Return n rows drawn without repetition; all of them, shuffled, where there are fewer."""
        return self.take(np.random.default_rng(seed).permutation(len(self))[:n])


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype} of shape {array.shape}"
