"""New images from old: mirrored, moved, turned, bent, covered, in other light; of the same class.

A fully connected net does not know that a digit moved by a pixel is the same digit; it has to be
shown. Every image gets its own draw each time it is seen, so that the net hardly meets the same
picture twice (Simard, Steinkraus, Platt 2003; Cireşan, Meier, Gambardella, Schmidhuber 2010).

All that moves pixels is one question: where in the input does output pixel p look?

    q(p) = c + M (p − c) + t + d(p)

with the image's centre c, a linear map M (mirror, shear, rotation, zoom), a shift t and a smooth
random displacement d. The answer is read off by bilinear interpolation, with 0 outside the image.
Positions are (row, column) in pixels, rows downwards; images are uint8, (N, h, w) or, in colour,
(N, h, w, 3), throughout.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from nnlib import checks
from nnlib.checks import InputError
from nnlib.images import is_pixels

PIECE = 2**16  # pixels handled at a time: what a piece needs stays in a core's own cache
ONE_THREAD = 10**5  # multiplications in a matrix product that BLAS does not share among threads
LIGHT = ("brightness", "contrast", "colour")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue
SIGMA = 4.0  # pixels: how smooth elastic displacements are, as Simard's
Array = np.ndarray
Size = tuple[int, int]  # (h, w) in pixels
T = TypeVar("T")


@dataclass(frozen=True)
class Augment:
    """What may happen to an image; called on a batch, it draws and does it for each image.

    flip      mirror left and right with probability ½
    shift     t uniform in ±shift pixels along each axis; whole pixels, hence exact, where shift
              is a whole number and rotate, zoom, shear and elastic are 0
    rotate    angle uniform in ±rotate degrees, about the centre
    zoom      magnification uniform in 1 ± zoom, the same along both axes
    shear     k uniform in ±shear: a row moves sideways by k pixels per row below the centre
    elastic   root-mean-square displacement in pixels along each axis (√2 times that in length)
              of a random field with correlation exp(−r² / 4σ²) at distance r: white noise
              smoothed by a Gaussian of σ = 4 pixels, with equal strength up to the image's
              border. Simard's α = 34 with this σ on 28×28 is 1.4; Cireşan's are about 1.1.
    cutout    side in pixels of a square set to 0, its centre uniform over the pixels, so that it
              may hang over the border (DeVries, Taylor 2017); done last
    brightness, contrast, colour   factors b, c and s uniform in 1 ± each. A pixel p becomes
              z = b (c p + (1 − c) μ) and then s z + (1 − s) grey(z), cut off at 0 and 255: μ is
              the image's mean grey, grey(z) = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601)

    Raises InputError for a value that is negative, not finite or out of range.
    """

    flip: bool = False
    shift: float = 0.0
    rotate: float = 0.0
    zoom: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    cutout: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    colour: float = 0.0

    def __post_init__(self) -> None:
        checks.flag("flip", self.flip)
        checks.not_negative("shift", self.shift)
        for name in ("zoom", "shear", *LIGHT):
            checks.fraction(name, getattr(self, name))
        checks.not_negative("elastic", self.elastic)
        checks.whole("cutout", self.cutout)
        if checks.not_negative("rotate", self.rotate) > 180:
            raise InputError(f"rotate must be at most 180 degrees, got {self.rotate!r}")

    @property
    def active(self) -> bool:
        """Whether anything is on."""
        return any(vars(self).values())

    @property
    def _warps(self) -> bool:
        """Whether pixels must be interpolated, rather than only copied."""
        fractional = self.shift != int(self.shift)
        return bool(fractional or self.rotate or self.zoom or self.shear or self.elastic)

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return new images of the same shape, each drawn on its own from `rng`.

        The input is left as it is. The same generator state gives the same bytes.
        Raises InputError for images of another kind, and for a shift, displacement or cut-out
        that is larger than the image's shorter side.
        """
        self._check(images)
        if not self.active:
            return images.copy()
        result = np.empty(images.shape, np.uint8)
        step = max(1, PIECE // (images.shape[1] * images.shape[2]))
        for start in range(0, len(images), step):
            piece = slice(start, start + step)
            result[piece] = self._apply(images[piece], rng)
        return result

    def _check(self, images: Array) -> None:
        if not is_pixels(images) or 0 in images.shape[1:]:
            found = f"{images.dtype} {images.shape}"
            raise InputError(f"images must be uint8 (N, h, w) or (N, h, w, 3), got {found}")
        if self.colour and images.ndim == 3:
            raise InputError(f"colour must be 0 where images are grey, got {self.colour}")
        most = f"at most the image's shorter side, {min(images.shape[1:3])} pixels"
        for name in ("shift", "elastic", "cutout"):
            if (value := getattr(self, name)) > min(images.shape[1:3]):
                raise InputError(f"{name} must be {most}, got {value}")

    def _apply(self, images: Array, rng: np.random.Generator) -> Array:
        """Draw for one piece of a batch, and do it."""
        flipped = rng.random(len(images)) < self.flip / 2  # (N,)
        if self._warps:
            images = sample(images, self._positions(images.shape[:3], flipped, rng))
        else:
            images = images.copy()
            images[flipped] = images[flipped, :, ::-1]
            images = _moved(images, int(self.shift), rng)
        if any(spreads := [getattr(self, name) for name in LIGHT]):
            factors = (rng.uniform(1 - spread, 1 + spread, len(images)) for spread in spreads)
            images = lit(images, *(each.astype(np.float32) for each in factors))  # (N,)
        if self.cutout:
            _cover(images, self.cutout, rng)
        return images

    def _positions(self, shape: tuple[int, ...], flipped: Array, rng: np.random.Generator) -> Array:
        """Draw where the pixels of a piece look: (N, 2, h, w) float32."""
        n, h, w = shape
        shift = rng.uniform(-self.shift, self.shift, (n, 2))  # (N, 2)
        angle, zoom, shear = (
            rng.uniform(middle - spread, middle + spread, n)  # (N,)
            for middle, spread in ((0, self.rotate), (1, self.zoom), (0, self.shear))
        )
        matrix = linear_map(angle, zoom, shear, flipped)
        weights = None
        if self.elastic:
            size = n, 2, bumps(h).shape[1], bumps(w).shape[1]
            weights = rng.standard_normal(size, np.float32) * np.float32(self.elastic)
        return positions((h, w), matrix, shift, weights)


def linear_map(angle: Array, zoom: Array, shear: Array, flipped: Array) -> Array:
    """Return the maps M (N, 2, 2) from output to input positions, both relative to the centre.

    M = F K R / zoom, with R = [[cos, sin], [−sin, cos]], K = [[1, 0], [−shear, 1]] and
    F = diag(1, ±1) in (row, column). What is seen is the inverse: the image is mirrored where
    `flipped`, sheared, turned anticlockwise by `angle` degrees, magnified by `zoom`; all (N,).
    """
    turn = np.deg2rad(angle)
    cos, sin = np.cos(turn), np.sin(turn)
    sign = np.where(flipped, -1, 1)
    rows = np.stack([cos, sin], axis=1)  # (N, 2)
    columns = np.stack([-sin - shear * cos, cos - shear * sin], axis=1) * sign[:, None]  # (N, 2)
    return np.stack([rows, columns], axis=1) / np.reshape(zoom, (-1, 1, 1))  # (N, 2, 2)


@lru_cache(maxsize=64)
def bumps(size: int) -> Array:
    """Return Gaussians (size, R) whose weighted sum is a smooth function on `size` pixels.

    Column k is exp(−(i/σ − k)² / 2), i from the centre: one every σ pixels and two beyond either
    end. Independent weights of variance 1 give correlation exp(−(i − j)² / 4σ²) to 1e-4, as if
    noise on every pixel had been smoothed, for a fifth of the random numbers at 28×28 and σ = 4.
    Scaled to a variance of 1 in the mean over the pixels.
    """
    pixel = (np.arange(size) - (size - 1) / 2) / SIGMA
    last = np.ceil(size / 2 / SIGMA) + 2
    gaussians = np.exp(-(np.subtract.outer(pixel, np.arange(-last, last + 1)) ** 2) / 2)
    gaussians *= np.sqrt(size / np.sum(gaussians**2))
    gaussians.flags.writeable = False  # shared by every caller
    return gaussians


def positions(shape: Size, matrix: Array, shift: Array, weights: Array | None = None) -> Array:
    """Return where each output pixel looks, q = c + M (p − c) + t + d(p): (N, 2, h, w) float32.

    shape (h, w); matrix M (N, 2, 2); shift t (N, 2) in pixels; weights (N, 2, R, S), those of
    the products of `bumps` that sum to d, R along rows and S along columns. Rows come first.

    1, row, column and each term of d are products of a function of the row and a function of the
    column. So their sum is a product of three small matrices, A W Bᵀ, for each image and axis.
    """
    h, w = shape
    down, across = _axis(h, weights is not None), _axis(w, weights is not None)
    n, r, s = len(matrix), down.shape[1], across.shape[1]
    terms = np.zeros((n, 2, r, s), np.float32)
    terms[:, :, 0, 0] = shift + np.array([h - 1, w - 1]) / 2
    terms[:, :, 1, 0] = matrix[:, :, 0]
    terms[:, :, 0, 1] = matrix[:, :, 1]
    if weights is not None:
        terms[:, :, 2:, 2:] = weights
    along_rows = _product(terms, across.T, np.empty((n, 2, r, w), np.float32))
    return _product(down, along_rows, np.empty((n, 2, h, w), np.float32))


def _product(a: Array, b: Array, out: Array) -> Array:
    """Write a @ b to `out`, to the same last bit however many threads BLAS has.

    BLAS rounds a product that it shares among threads differently, and one below about 10⁵
    multiplications it does not share. Products for 28×28 images are below, others are cut up.
    """
    (m, k), n = a.shape[-2:], b.shape[-1]
    step = max(1, min(m, ONE_THREAD // (k * n)))
    for start in range(0, m, step):
        strip = slice(start, start + step)
        np.matmul(a[..., strip, :], b, out=out[..., strip, :])
    return out


@lru_cache(maxsize=64)
def _axis(size: int, elastic: bool) -> Array:
    """Return the functions of one axis as columns: 1, distance from the centre, bumps."""
    distance = np.arange(size) - (size - 1) / 2
    columns = [np.ones(size), distance, *(bumps(size).T if elastic else ())]
    return np.stack(columns, axis=1).astype(np.float32)


def sample(images: Array, positions: Array) -> Array:
    """Return the images read at `positions` (N, 2, h', w') by bilinear interpolation.

    Outside an image all is 0. Positions count in 1/256 of a pixel: the result, uint8
    (N, h', w') or (N, h', w', 3), is within one level of exact interpolation, rounded.

    Two rows are interpolated in one multiplication: a number holds the upper pixel in its low and
    the lower in its high 16 bits, and 256 a + f (b − a) is at most 256 · 255 in each half.
    """
    n, h, w = images.shape[:3]
    fixed = positions * np.float32(256)
    fixed += np.float32(256 + 0.5)  # a border of one pixel, and rounding to nearest
    for axis, size in enumerate((h, w)):
        np.clip(fixed[:, axis], 0, (size + 1) * 256, out=fixed[:, axis])
    place = fixed.astype(np.uint32)
    row, column = (place >> 8).transpose(1, 0, 2, 3)  # (N, h', w'), of the upper left pixel
    down, right = (place & 255).transpose(1, 0, 2, 3)  # how far on from there, in 1/256
    start = np.arange(n) * ((h + 2) * (w + 2))
    where = start[:, None, None] + (row * (w + 2) + column)

    def read(channel: Array) -> Array:  # (N, h, w) -> (N, h', w')
        # Every index is valid: "wrap" only spares NumPy's safety copy.
        corners = _corners(channel).take(where, mode="wrap")
        both = _between(corners & 0x00FF00FF, corners >> 8 & 0x00FF00FF, right)  # 256 × level
        level = _between(both & 0xFFFF, both >> 16, down)  # 65536 × level
        return (level + (1 << 15) >> 16).astype(np.uint8)

    if images.ndim == 3:
        return read(images)
    return np.stack([read(channel) for channel in np.moveaxis(images, -1, 0)], axis=-1)


def _corners(images: Array) -> Array:
    """Pack each pixel, that to its right, and the two below into one uint32: one lookup gets all.

    The images have a border of one pixel of 0 around them; the result is flat.
    """
    n, h, w = images.shape
    bordered = np.zeros((n, h + 2, w + 2), np.uint32)
    bordered[:, 1:-1, 1:-1] = images
    flat = bordered.reshape(-1)
    for step, bits in ((1, 8), (w + 2, 16)):
        flat[:-step] |= flat[step:] << bits
    return flat


def _between(a: Array, b: Array, fraction: Array) -> Array:
    """Return 256 a + fraction · (b − a) modulo 2³²."""
    return (a << 8) + fraction * (b - a)


def _moved(images: Array, reach: int, rng: np.random.Generator) -> Array:
    """Let each image look up to `reach` whole pixels away along each axis; 0 from outside."""
    n, h, w, *channels = images.shape
    shift = rng.integers(0, 2 * reach, (n, 2), endpoint=True)  # of a frame that begins at -reach
    bordered = np.zeros((n, h + 2 * reach, w + 2 * reach, *channels), np.uint8)
    bordered[:, reach : reach + h, reach : reach + w] = images
    size = h, w, *channels
    windows = sliding_window_view(bordered, size, axis=tuple(range(1, bordered.ndim)))
    return windows[np.arange(n), shift[:, 0], shift[:, 1], *[0] * len(channels)]


def _cover(images: Array, side: int, rng: np.random.Generator) -> None:
    """Set a square of `side` pixels around a random pixel of each image to 0, in place."""
    inside = []
    for size in images.shape[1:3]:
        place = np.arange(size) - rng.integers(size, size=(len(images), 1)) + side // 2
        inside.append((place >= 0) & (place < side))  # (N, size)
    covered = inside[0][:, :, None] & inside[1][:, None, :]  # (N, h, w)
    images[covered] = 0


def lit(images: Array, brightness: Array, contrast: Array, colour: Array) -> Array:
    """Return images in another light, by factors (N,); see `Augment`."""
    each = (-1, *[1] * (images.ndim - 1))
    shade = images @ LUMA if images.ndim == 4 else images.astype(np.float32)  # (N, h, w)
    mean = shade.mean(axis=(1, 2))  # (N,)
    lift = (brightness * (1 - contrast) * mean).reshape(each)
    z = images * (brightness * contrast).reshape(each) + lift  # float32
    if images.ndim == 4:  # grey(z) is a mean of its channels, and follows them
        z += (1 - colour).reshape(each) * ((z @ LUMA)[..., None] - z)
    return np.rint(z.clip(0, 255)).astype(np.uint8)


def ahead(batches: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Yield the items of `batches` in order, while a second thread makes the next `depth`.

    What making an item raises is raised here, in its place. When the consumer stops early,
    closes the generator or is interrupted, the thread ends after the item it is at.
    The thread draws ahead, so give it a random generator that nothing else uses.
    """
    end: Any = object()
    items = iter(batches)
    thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        waiting = deque(thread.submit(next, items, end) for _ in range(depth))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, items, end))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)
