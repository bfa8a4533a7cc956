"""Images and labels that are certainly the right ones, split the same way every time.

Fashion-MNIST and MNIST use the same file names and the same shapes, so one taken for the other
trains without complaint: every official file is checked by SHA-256 before anything reads it.
Files of one's own have no published sum, so `read_idx` believes nothing that they say.
Images stay bytes until a batch needs numbers; `Scaling` says which numbers.
"""

import difflib
import gzip
import io
import math
import os
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import numpy as np

from nnlib import checks
from nnlib.checks import InputError
from nnlib.files import make_folder, project_root, sha256, write_atomic

TRAIN_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
FILES = TRAIN_FILES + TEST_FILES

MAX_IDX_BYTES = 800_000_000  # pixels of one file; larger ones would not fit beside the training
MAX_DOWNLOAD = 2**26  # bytes; the largest official file has 26 million
DEFLATE_RATIO = 1032  # no gzip file unpacks to more than this many times its size
CHUNK = 2**20  # bytes read at a time
TIMEOUT = (5.0, 10.0)  # seconds: to connect, and between two pieces of an answer
DIGITS_TEST = 297  # of 1,797 images, the last ones


@dataclass(frozen=True)
class KnownSet:
    """What is published about a data set: class names, SHA-256 of the four `FILES`, its title."""

    classes: tuple[str, ...]
    sums: tuple[str, ...] = ()  # none: comes with scikit-learn
    title: str = ""  # where its makers write it in another way than we do


DIGITS = tuple("0123456789")
CLOTHES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
DATASETS = {
    "fashion-mnist": KnownSet(
        tuple(CLOTHES.split(",")),
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        "Fashion-MNIST",
    ),
    "mnist": KnownSet(
        DIGITS,
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        "MNIST",
    ),
    "digits": KnownSet(DIGITS),
}
MIRRORS: dict[str, tuple[str, ...]] = {
    "fashion-mnist": (
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
}


class DownloadError(OSError):
    """No mirror could deliver a file; the message names each one and its reason."""


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

    def __post_init__(self):
        for name, value in vars(self).items():
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise InputError(f"scaling {name} must be a finite number, got {value!r}")

    def __call__(self, images: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return the scaled pixels, (N, h, w) or (N, D) -> float32 (N, D)."""
        pixels = images.reshape(len(images), math.prod(images.shape[1:]))  # (N, D)
        if out is None:
            out = np.empty(pixels.shape, dtype=np.float32)
        if not self.offset:  # one pass over `out`: two cores may have it in their caches
            return np.multiply(pixels, np.float32(self.factor), out=out, dtype=np.float32)
        np.subtract(pixels, np.float32(self.offset), out=out, dtype=np.float32)
        return np.multiply(out, np.float32(self.factor), out=out)  # (N, D)


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
    pieces = (flat[i : i + CHUNK] for i in range(0, flat.size, CHUNK))  # bincount widens to int64
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

    def __post_init__(self):
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
        known = DATASETS.get(self.name)
        return (known and known.title) or self.name


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
    name = _text(name)
    images, labels, source = _read_pair(name, TRAIN_FILES)
    y = labels.astype(np.int64)  # (N,)
    train_rows, val_rows = _split_rows(y, val_size, seed, train_size)
    return Dataset(
        name=name if name in DATASETS else Path(source).name or "data",
        train=Split(images[train_rows], y[train_rows]),
        val=Split(images[val_rows], y[val_rows]),
        classes=_classes(name, labels, source),
        image_shape=images.shape[1:],
        sha256=sha256(_idx_header(images), images, _idx_header(labels), labels),
        source=source,
        train_indices=train_rows,
        val_indices=val_rows,
    )


def load_test_split(name: str | os.PathLike) -> Split:
    """Load the test images of a data set, which choose nothing and are opened last.

    Of the training files only a folder's labels are read, because they say how many classes
    there are. Raises as `load_dataset` does, and InputError for a label without a class.
    """
    name = _text(name)
    images, labels, source = _read_pair(name, TEST_FILES)
    _classes(name, labels, source)
    return Split(images, labels)


def _read_pair(name: str, files: tuple[str, str]) -> tuple[np.ndarray, np.ndarray, str]:
    """Return images (N, h, w) and labels (N,), both uint8, and where they come from."""
    if name == "digits":
        return *_read_digits(test=files == TEST_FILES), "scikit-learn"
    images_path, labels_path = fetch(name, files).values()
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        counts = f"{len(images)} images but {labels_path} {len(labels)} labels"
        raise InputError(f"{images_path} holds {counts}; give files that belong together")
    return images, labels, str(images_path.parent)


def _read_digits(test: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's 8×8 digits, whose 17 grey levels become bytes from 0 to 255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows = slice(-DIGITS_TEST, None) if test else slice(None, -DIGITS_TEST)
    images = np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8)  # (N, 8, 8)
    return images, digits.target[rows].astype(np.uint8)


def _classes(name: str, labels: np.ndarray, source: str) -> tuple[str, ...]:
    """Return the class names, of which every label must have one.

    In a folder, they are the numbers from 0 to the largest training label.
    """
    if name in DATASETS:
        names = DATASETS[name].classes
    else:
        (path,) = fetch(name, TRAIN_FILES[1:]).values()
        names = tuple(str(k) for k in range(int(read_idx(path, 1).max()) + 1))
    if labels.max() >= len(names):
        need = f"labels in {source} must be below {len(names)}, the number of classes"
        raise InputError(f"{need}, got {labels.max()}; give files that belong together")
    return names


# ---------------------------------------------------------------- splitting


def _split_rows(
    y: np.ndarray, val_size: int | None, seed: int, train_size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows for training and for validation, ascending: (N,) -> (T,), (V,)."""
    n = len(y)
    val_size = n // 12 if val_size is None else val_size
    _check_size("validation size", val_size, 0, n - 1)
    rest = n - val_size
    train_size = rest if train_size is None else train_size
    _check_size("training size", train_size, 1, rest)
    rng = np.random.default_rng(checks.whole("seed", seed))
    val_rows = _draw(y, val_size, rng)
    rest_rows = np.setdiff1d(np.arange(n), val_rows, assume_unique=True)
    return rest_rows[_draw(y[rest_rows], train_size, rng)], val_rows


def _draw(y: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `size` rows, of each class its share by largest remainder; ascending, (size,)."""
    counts = np.bincount(y)  # (K,)
    shares, remainders = np.divmod(counts * int(size), len(y))  # integers: ties are exact
    largest = np.argsort(-remainders, kind="stable")[: size - shares.sum()]
    shares[largest] += 1
    rows = [rng.permutation(np.flatnonzero(y == k))[:share] for k, share in enumerate(shares)]
    return np.sort(np.concatenate(rows))


def _check_size(what: str, value: object, low: int, high: int) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not low <= value <= high:
        raise InputError(f"{what} must be a whole number from {low} to {high}, got {value!r}")


# ---------------------------------------------------------------- IDX files


def read_idx(path: str | os.PathLike, ndim: int) -> np.ndarray:
    """Read an IDX file of bytes with `ndim` axes: images 3, (N, h, w); labels 1, (N,).

    Layout: two zero bytes, 0x08 for unsigned bytes, the number of axes, each axis as a
    big-endian 32-bit number, then the data (LeCun, Cortes and Burges, the MNIST page). Packed
    by gzip or not is told by content. Raises InputError where anything differs, before
    allocating more than the file could hold.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ValueError("it is not a regular file")
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            capacity = path.stat().st_size * (DEFLATE_RATIO if packed else 1)
            return _parse_idx(gzip.GzipFile(fileobj=raw) if packed else raw, ndim, capacity)
    except (ValueError, OSError, EOFError, MemoryError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"cannot use {path} as IDX data: {reason}; replace the file") from error


def _parse_idx(stream: BinaryIO, ndim: int, capacity: int) -> np.ndarray:
    """Read header and data from a stream that holds at most `capacity` bytes."""
    header = stream.read(4 + 4 * ndim)
    expected = bytes((0, 0, 8, ndim))
    if header[:4] != expected:
        raise ValueError(f"it begins with 0x{header[:4].hex()}, not with 0x{expected.hex()}")
    if len(header) < 4 + 4 * ndim:
        raise ValueError("it ends within its header")
    shape = tuple(int(n) for n in np.frombuffer(header, ">u4", offset=4))
    size = math.prod(shape)  # Python's integers: no overflow
    described = f"its header claims {' × '.join(map(str, shape))} bytes"
    if size == 0:
        raise ValueError(f"{described}, which is nothing")
    if size > capacity - len(header):
        raise ValueError(f"{described}, more than the file can hold")
    if size > MAX_IDX_BYTES:
        raise ValueError(f"{described}, more than the limit of {MAX_IDX_BYTES:,}")
    data = np.empty(size, dtype=np.uint8)
    _fill(stream, memoryview(data))
    if stream.read(1):  # for gzip, this compares the checksum too
        raise ValueError(f"{described}, but more follow")
    return data.reshape(shape)


def _fill(stream: BinaryIO, target: memoryview) -> None:
    """Read until `target` is full, a piece at a time so that unpacking needs no second copy."""
    done = 0
    while done < len(target):
        read = stream.readinto(target[done : done + CHUNK])
        if not read:
            raise ValueError(f"it ends after {done:,} of {len(target):,} bytes of data")
        done += read


def _idx_header(array: np.ndarray) -> bytes:
    """Return the header of the IDX file that holds `array`."""
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, dtype=">u4").tobytes()


# ---------------------------------------------------------------- finding and fetching files


def fetch(name: str | os.PathLike, files: Sequence[str] = FILES) -> dict[str, Path]:
    """Return where each file of a data set is, after finding or downloading and verifying it.

    An official set: NNLIB_DATA/<name>/<file>.gz where that exists, else data/<name>/ at the
    project's root, else the mirrors in order; always by SHA-256. A folder: its own files, which
    must all four exist. digits: nothing, for scikit-learn carries it. Raises InputError for an
    unknown name and for a damaged file that cannot be replaced, DownloadError where no mirror
    delivers.
    """
    name = _text(name)
    if name not in DATASETS:
        found = _own_files(name)
        return {file: found[file] for file in files}
    mirrors = list(MIRRORS.get(name, ()))
    sums = dict(zip(FILES, DATASETS[name].sums, strict=False))  # none for digits
    return {file: _official_file(name, file, sums[file], mirrors) for file in files if sums}


def _text(name: str | os.PathLike) -> str:
    """Keep a path object distinct from the name of a known set."""
    return os.path.abspath(name) if isinstance(name, os.PathLike) else str(name)


def _own_files(name: str) -> dict[str, Path]:
    """Find the four files in a folder of one's own, packed or not."""
    if not os.path.isdir(os.path.expanduser(name)):  # which says no to any text, however odd
        raise InputError(_unknown(name))
    folder = Path(name).expanduser().resolve()
    paths = {file: [folder / f"{file}.gz", folder / file] for file in FILES}
    found = {file: path for file, both in paths.items() for path in both[::-1] if path.exists()}
    missing = [file for file in FILES if file not in found]
    if missing:
        raise InputError(f"{folder} lacks {', '.join(missing)} (.gz or not); add what is missing")
    return found


def _unknown(name: str) -> str:
    known = ", ".join(DATASETS)
    close = difflib.get_close_matches(name.lower(), DATASETS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown data set {name!r}: use {known}, or a folder holding four IDX files{hint}"


def _official_file(name: str, file: str, expected: str, mirrors: list[str]) -> Path:
    """Return a verified file of a known set, downloading it where it is missing or damaged."""
    given = os.environ.get("NNLIB_DATA")
    if given and os.path.exists(path := Path(given, name, f"{file}.gz")):
        if (actual := _sum_of(path)) != expected:
            sums = f"its SHA-256 is {actual}, not {expected}"
            raise InputError(f"{path} is damaged: {sums}; replace it, or unset NNLIB_DATA")
        return path
    path = project_root() / "data" / name / f"{file}.gz"
    damaged = path.exists() and _sum_of(path) != expected
    try:
        if damaged or not path.exists():
            _download(name, path, expected, mirrors)
    except DownloadError as error:
        if damaged:
            raise InputError(f"{path} is damaged and could not be replaced: {error}") from error
        raise
    return path


_SUMS: dict[tuple[str, int, int], str] = {}  # (path, time of change, size): hashed once a process


def _sum_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    try:
        state = path.stat()
        key = (str(path), state.st_mtime_ns, state.st_size)
        if key not in _SUMS:
            _SUMS[key] = sha256(path.read_bytes())
        return _SUMS[key]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; replace the file") from error


def _download(name: str, path: Path, expected: str, mirrors: list[str]) -> None:
    """Write the file to `path` from the first mirror that serves it, and prefer that one after."""
    reasons = []
    for mirror in list(mirrors):
        try:
            raw = _receive(mirror + path.name, f"{name}/{path.name}")
            if (actual := sha256(raw)) != expected:
                raise ValueError(f"served a wrong file (SHA-256 {actual[:12]}…)")
        except (OSError, ValueError) as error:
            reasons.append(f"{urlsplit(mirror).netloc}: {_why(error)}")
            continue
        make_folder(path.parent)  # not earlier: without a network, nothing is left behind
        write_atomic(path, raw)
        mirrors.sort(key=lambda other: other != mirror)
        return
    raise DownloadError(
        f"cannot download {name} ({path.name}): {'; '.join(reasons) or 'no mirror is known'}; "
        f"check the network, or set NNLIB_DATA to a folder with fashion-mnist/ and mnist/"
    )


class _Bounded(io.BytesIO):
    """Memory that takes no more than the largest official file could need."""

    def write(self, piece) -> int:
        if self.tell() + len(piece) > MAX_DOWNLOAD:
            raise ValueError(f"sent more than {MAX_DOWNLOAD:,} bytes")
        return super().write(piece)


def _receive(url: str, title: str) -> bytes:
    """Return what a server sends. Into memory: nothing half-written can stay on the disk."""
    from pooch import HTTPDownloader
    from tqdm import tqdm

    quiet = os.environ.get("TQDM_DISABLE") == "1" or not sys.stderr.isatty()
    # total=1 until the length is known: pooch asks whether the bar is true, and tqdm counts
    bar = tqdm(desc=title, total=1, unit="B", unit_scale=True, disable=quiet, file=sys.stderr)
    with _Bounded() as received, bar:
        identity = {"Accept-Encoding": "identity"}  # the files are packed already
        get = HTTPDownloader(bar, chunk_size=2**16, timeout=TIMEOUT, headers=identity)
        get(url, received, None)
        return received.getvalue()


SHORTLY = {  # by the names of requests' exceptions
    "ConnectTimeout": "no connection in time",
    "ReadTimeout": "no answer in time",
    "ConnectionError": "connection failed",
    "ChunkedEncodingError": "connection cut",
}


def _why(error: Exception) -> str:
    """Say in a few words why a mirror failed; what requests says fills several lines."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    if isinstance(error, ValueError):
        return str(error)
    kind = type(error).__name__
    return SHORTLY.get(kind, kind)
