"""The files of a data set: where they are, how they come, how they are read.

Fashion-MNIST and MNIST use the same file names and the same shapes, so one taken for the other
trains without complaint: every official file is checked by SHA-256 before anything reads it.
Files of one's own have no published sum, so `read_idx` believes nothing that they say.
"""

import difflib
import gzip
import io
import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from nnlib.checks import InputError
from nnlib.files import make_folder, project_root, sha256, write_atomic

TRAIN_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
FILES = TRAIN_FILES + TEST_FILES

MAX_IDX_BYTES = 800_000_000  # pixels of one file; larger ones would not fit beside the training
MAX_DOWNLOAD = 2**26  # bytes; the largest official file has 26 million
DEFLATE_RATIO = 1032  # no gzip file unpacks to more than this many times its size
TIMEOUT = (5.0, 10.0)  # seconds: to connect, and between two pieces of an answer


@dataclass(frozen=True)
class KnownSet:
    """What is published about a data set; one without files comes with scikit-learn."""

    title: str  # as its makers write it
    classes: tuple[str, ...]
    sums: tuple[str, ...] = ()  # SHA-256 of the four `FILES`
    mirrors: tuple[str, ...] = ()  # addresses of the folders that hold them, the first one first


CLOTHES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
DATASETS = {
    "fashion-mnist": KnownSet(
        "Fashion-MNIST",
        tuple(CLOTHES.split(",")),
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        (
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
    ),
    "mnist": KnownSet(
        "MNIST",
        tuple("0123456789"),
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    ),
    "digits": KnownSet("digits", tuple("0123456789")),
}


class DownloadError(OSError):
    """No mirror could deliver a file; the message names each one and its reason."""


# ---------------------------------------------------------------- finding files


def fetch(name: str | os.PathLike, files: Sequence[str] = FILES) -> dict[str, Path]:
    """Return where each file of a data set is, after finding or downloading and verifying it.

    An official set: NNLIB_DATA/<name>/<file>.gz where that exists, else data/<name>/ at the
    project's root, else the mirrors in order; always by SHA-256. A folder: its own files, which
    must all four exist. digits: nothing, for scikit-learn carries it. Raises InputError for an
    unknown name and for a damaged file that cannot be replaced, DownloadError where no mirror
    delivers.
    """
    # a path object is never the name of a known set
    name = os.path.abspath(name) if isinstance(name, os.PathLike) else str(name)
    if name not in DATASETS:
        found = _own_files(name)
        return {file: found[file] for file in files}
    sums = dict(zip(FILES, DATASETS[name].sums, strict=False))  # none for digits
    mirrors = list(DATASETS[name].mirrors)
    return {file: _official_file(name, file, sums[file], mirrors) for file in files if sums}


def _own_files(name: str) -> dict[str, Path]:
    """Find the four files in a folder of one's own, packed or not."""
    if not os.path.isdir(os.path.expanduser(name)):  # which says no to any text, however odd
        close = difflib.get_close_matches(name.lower(), DATASETS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        use = f"use {', '.join(DATASETS)}, or a folder holding four IDX files"
        raise InputError(f"unknown data set {name!r}: {use}{hint}")
    folder = Path(name).expanduser().resolve()
    places = [(file, folder / (file + end)) for file in FILES for end in ("", ".gz")]
    found = {file: path for file, path in places if path.exists()}
    missing = [file for file in FILES if file not in found]
    if missing:
        raise InputError(f"{folder} lacks {', '.join(missing)} (.gz or not); add what is missing")
    return found


def _official_file(name: str, file: str, expected: str, mirrors: list[str]) -> Path:
    """Return a verified file of a known set, downloading it where it is missing or damaged."""
    given = os.environ.get("NNLIB_DATA")
    if given and os.path.exists(path := Path(given, name, f"{file}.gz")):
        if (actual := _sum_of(path)) != expected:
            sums = f"its SHA-256 is {actual}, not {expected}"
            raise InputError(f"{path} is damaged: {sums}; replace it, or unset NNLIB_DATA")
        return path
    path = project_root() / "data" / name / f"{file}.gz"
    if not path.exists() or _sum_of(path) != expected:
        _download(name, path, expected, mirrors)
    return path


def _sum_of(path: Path) -> str:
    """Return the SHA-256 of a file, hashed once a process for as long as it stays the same."""
    try:
        state = path.stat()
        return _hashed(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; replace the file") from error


@lru_cache
def _hashed(path: Path, changed: int, size: int) -> str:
    return sha256(path.read_bytes())


# ---------------------------------------------------------------- downloading


def _download(name: str, path: Path, expected: str, mirrors: list[str]) -> None:
    """Write the file to `path` from the first mirror that serves it, and prefer that one after."""
    reasons, damaged = [], path.exists()
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
    why = "; ".join(reasons) or "no mirror is known"
    advice = "check the network, or set NNLIB_DATA to a folder with fashion-mnist/ and mnist/"
    failed = f"cannot download {name} ({path.name}): {why}; {advice}"
    if damaged:
        raise InputError(f"{path} is damaged and could not be replaced: {failed}")
    raise DownloadError(failed)


class _Bounded(io.BytesIO):
    """Memory that takes no more than the largest official file could need."""

    def write(self, piece) -> int:
        if self.tell() + len(piece) > MAX_DOWNLOAD:
            raise ValueError(f"sent more than {MAX_DOWNLOAD:,} bytes")
        return super().write(piece)


def _receive(url: str, title: str) -> bytes:
    """Return what a server sends. Into memory: nothing half-written can stay on the disk.

    Hence pooch's downloader without its `retrieve`, whose temporary file outlives a kill.
    """
    from pooch import HTTPDownloader
    from tqdm import tqdm

    quiet = os.environ.get("TQDM_DISABLE") == "1" or None  # None: where nobody looks
    # total=1 until the length is known: pooch asks whether the bar is true, and tqdm counts
    bar = tqdm(desc=title, total=1, unit="B", unit_scale=True, disable=quiet)
    identity = {"Accept-Encoding": "identity"}  # the files are packed already
    get = HTTPDownloader(bar, chunk_size=2**16, timeout=TIMEOUT, headers=identity)
    with _Bounded() as received, bar:
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
    if (response := getattr(error, "response", None)) is not None:
        return f"HTTP status {response.status_code}"
    kind = type(error).__name__
    return str(error) if isinstance(error, ValueError) else SHORTLY.get(kind, kind)


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


def _parse_idx(stream: io.BufferedIOBase, ndim: int, capacity: int) -> np.ndarray:
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
    data = stream.read(size + 1)  # for gzip, to look for one more compares the checksum too
    if len(data) < size:
        raise ValueError(f"it ends after {len(data):,} of {size:,} bytes of data")
    if len(data) > size:
        raise ValueError(f"{described}, but more follow")
    return np.frombuffer(data, np.uint8).reshape(shape)


def idx_header(array: np.ndarray) -> bytes:
    """Return the header of the IDX file that would hold `array`."""
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, dtype=">u4").tobytes()
