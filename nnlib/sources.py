"""The files of a data set: where they are, and how they come.

Fashion-MNIST and MNIST use the same file names and the same shapes, so one taken for the other
trains without complaint: every official file is checked by SHA-256 before anything reads it.
Unpacking, packing anew, browsers and other libraries change the names of files and nothing that
is in them, so a file is known by a name that is close enough, and by the sum of its content.
"""

import difflib
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from nnlib.checks import InputError
from nnlib.files import make_folder, project_root, reading, sha256, write_atomic
from nnlib.formats import CIFAR_FOLDER, CIFAR_TEST, CIFAR_TRAIN, MAX_IDX_BYTES

TRAIN_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
FILES = TRAIN_FILES + TEST_FILES
COPY = r"(?:[ ._-]*(?:copy|副本|\(?\d+\)?))*"  # what a second download or a copy adds to a name
NAMED = re.compile(  # train-images.idx3-ubyte, emnist-letters-test-labels-idx1-ubyte (1).gz, …
    r"(|.*[-_. ])(train|t10k|test)[-_. ]?(images|labels)(?:[-_. ]?idx\d[-_. ]?(?:ubyte|int))?"
    rf"{COPY}(?:\.gz)?{COPY}(.*)",
    re.IGNORECASE,
)
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm",
    ".pgm",
)  # fmt: skip

MAX_DOWNLOAD = 2**28  # bytes; the largest official file has 170 million
TIMEOUT = (5.0, 10.0)  # seconds: to connect, and between two pieces of an answer


@dataclass(frozen=True)
class KnownSet:
    """What is published about a data set; one without files comes with scikit-learn."""

    title: str  # as its makers write it
    classes: tuple[str, ...]
    sums: tuple[str, ...] = ()  # SHA-256 of the four `FILES`, then of what is packed in them
    mirrors: tuple[str, ...] = ()  # addresses of the folders that hold them, the first one first
    archive: str = ""  # the one file, of the first of the sums, that is there in place of the four


class Content(NamedTuple):
    """One half of a data set: `images` uint8 (N, h, w) or (N, h, w, 3) and `labels` (N,).

    The last `n_val` are what its makers keep for validation.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    source: str  # where the files are
    n_val: int = 0
    sha256: str = ""  # as of `content_sum`, of the half for training, where it is known already
    pictures: bool = False  # does it come from a folder of pictures


PUBLISHED = json.loads((Path(__file__).parent / "datasets.json").read_text("utf-8"))
DATASETS = {
    name: KnownSet(**known | {key: tuple(known[key]) for key in ("classes", "sums", "mirrors")})
    for name, known in PUBLISHED.items()
}


class DownloadError(OSError):
    """No mirror could deliver a file; the message names each one and its reason."""


# ---------------------------------------------------------------- finding files


def full_name(name: str | os.PathLike) -> str:
    """Return the name of a known set as it is, and that of a folder as its full path."""
    path = os.path.abspath(os.path.expanduser(str(name)))
    if isinstance(name, os.PathLike):  # which is never the name of a known set
        return path
    own = name and name not in DATASETS and os.path.isdir(path)  # no to any text, however odd
    return path if own else str(name)


def fetch(
    name: str | os.PathLike, files: Sequence[str] = FILES, download: bool = True
) -> dict[str, Path]:
    """Return where each file of a data set is, after finding or downloading and verifying it.

    An official set: below NNLIB_DATA where it is there, packed or not, else in data/<name>/ at
    the project's root, else from the mirrors in order; always by SHA-256. A set that is one
    archive: that file, or in its place what somebody has unpacked, of which no sum is known, so
    that its reader can judge it by its form alone. A folder: its own files, which must all four
    exist; of pictures: nothing, nor for digits, which scikit-learn carries. Raises InputError for
    an unknown name and for a damaged file that cannot be replaced, DownloadError where no mirror
    delivers.
    """
    name = full_name(name)
    if holds_pictures(name):
        return {}
    if name not in DATASETS:
        found = _own_files(name)
        return {file: found[file] for file in files}
    known, paths = DATASETS[name], {}
    mirrors = list(known.mirrors) if download else []
    wanted = [known.archive] if known.archive else files if known.sums else ()
    for file in wanted:
        sums = known.sums if known.archive else known.sums[FILES.index(file) :: len(FILES)]
        path = _file_at_hand(name, file, sums)
        if not path and known.archive and (unpacked := _unpacked(name)):
            return unpacked
        paths[file] = path or _download(name, file, sums[0], mirrors)
    return paths


def holds_pictures(name: str | os.PathLike) -> bool:
    """Say whether a name is that of a folder with subfolders or pictures, and no IDX file.

    A table of labels, train_labels.csv, is none.
    """
    name = full_name(name)
    if name in DATASETS or not os.path.isdir(name):
        return False
    named = _named_files(Path(name))
    idx = any(p.is_file() and ("ubyte" in p.name or not above[2]) for above, _, p in named)
    inside = Path(name).glob("[!.]*")
    return not idx and any(path.is_dir() or path.suffix.lower() in SUFFIXES for path in inside)


def _named_files(folder: Path) -> list[tuple[tuple[Path, str, str], str, Path]]:
    """Return ((place, before, behind), file, path) for all that is called as one of the four files.

    Places are the folder and torchvision's raw/ in it or below; the makers' own names come first.
    `before` and `behind` are what the name has beside that, in emnist-letters-… or ….gz.part.
    """
    found = []
    for place in (folder, folder / "raw", *sorted(folder.glob("*/raw"))):
        paths = sorted(place.glob("[!.]*"), reverse=True)
        for path in sorted(paths, key=lambda path: path.name.removesuffix(".gz") not in FILES):
            if named := NAMED.fullmatch(path.name):
                before, part, what, behind = named.groups()
                file = FILES[2 * (part.lower() != "train") + (what.lower() == "labels")]
                inside = path / path.name  # some archives unpack so
                path = inside if inside.is_file() else path
                found.append(((place, before, behind), file, path))
    return found


def _own_files(name: str) -> dict[str, Path]:
    """Find the four files in a folder of one's own, packed or not, as long as it holds one set."""
    if not os.path.isdir(name):
        close = difflib.get_close_matches(name.lower(), DATASETS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        hint = "; if it has moved, say where it is with --dataset" if os.path.isabs(name) else hint
        use = f"use {', '.join(DATASETS)}, or a folder holding four IDX files or pictures by class"
        raise InputError(f"unknown data set {name!r}: {use}{hint}")
    folder = Path(name).resolve()
    sets: dict[tuple[Path, str, str], dict[str, Path]] = {}
    for group, file, path in _named_files(folder):
        sets.setdefault(group, {}).setdefault(file, path)
    whole = {group: found for group, found in sets.items() if len(found) == len(FILES)}
    if (folder, "", "") in whole or len(whole) == 1:
        return whole.get((folder, "", "")) or whole.popitem()[1]
    if whole:
        several = sorted(str(found[FILES[0]].relative_to(folder)) for found in whole.values())
        which = ", ".join(several)
        raise InputError(f"{folder} holds several sets ({which}); name a folder with one of them")
    best: dict[str, Path] = max(sets.values(), key=len, default={})
    lacking = ", ".join(file for file in FILES if file not in best)
    others = sorted(path.name for path in folder.glob("[!.]*") if path not in best.values())
    seen = f", but holds {', '.join(others[:4])}" if others else ""
    raise InputError(f"{folder} lacks {lacking} (.gz or not){seen}; rename or add what is missing")


def _places(name: str) -> list[Path]:
    """Return where a known set may be: below NNLIB_DATA by its name, there itself, in data/."""
    own = project_root() / "data" / name
    if not (given := os.environ.get("NNLIB_DATA")):
        return [own]
    folder, letters = Path(os.path.expanduser(given)), re.sub("[^a-z]", "", name)
    # FashionMNIST, Fashion-MNIST, CIFAR10, …
    named = [p for p in folder.glob("*") if re.sub("[^a-z]", "", p.name.lower()) == letters]
    return [*named, folder, own]


def _file_at_hand(name: str, file: str, sums: tuple[str, ...]) -> Path | None:
    """Return a verified file of a known set; InputError for another in its place in NNLIB_DATA."""
    *given, own = _places(name)
    for place in given:
        if path := _first_right(place, file, sums):
            return path
    for path in (path for place in given[:-1] for path in _called(file, place)):
        actual = sha256(path.read_bytes())
        wrong = f"its SHA-256 is {actual}, not {sums[0]} of {name}/{_stored(file)}"
        raise InputError(f"{path} is damaged: {wrong}; replace it, or unset NNLIB_DATA")
    return _first_right(own, file, sums)


def _unpacked(name: str) -> dict[str, Path]:
    """Return the files that somebody has taken out of CIFAR-10's archive, if all are there."""
    for folder in (place / inner for place in _places(name) for inner in (CIFAR_FOLDER, "")):
        paths = {file: folder / file for file in CIFAR_TRAIN + CIFAR_TEST}
        if all(path.is_file() for path in paths.values()):
            return paths
    return {}


def _stored(file: str) -> str:
    """Return the name of one of the four files as it is served, packed; an archive's as it is."""
    return f"{file}.gz" if file in FILES else file


def _called(file: str, folder: Path) -> Iterator[Path]:
    if file not in FILES:  # an archive
        return (path for path in folder.glob(f"{file.split('.')[0]}*") if path.is_file())
    return (path for _, seen, path in _named_files(folder) if seen == file)


def _first_right(folder: Path, file: str, sums: tuple[str, ...]) -> Path | None:
    """Return the first path that goes by the file's name, and has, or has packed, its content."""
    for path in _called(file, folder):
        with reading(path, advice="replace the file"):
            state = path.stat()
            if _has_sum(path, tuple(sums), state.st_mtime_ns, state.st_size):
                return path
    return None


@lru_cache
def _has_sum(path: Path, sums: tuple[str, ...], changed: int, size: int) -> bool:
    """Hash a file, and what is packed in it, once a process for as long as it stays the same."""
    raw = path.read_bytes()
    if sha256(raw) in sums:
        return True
    with suppress(OSError, EOFError, zlib.error), gzip.open(io.BytesIO(raw)) as content:
        return sha256(content.read(MAX_IDX_BYTES)) in sums
    return False


def content_sum(images: np.ndarray, labels: np.ndarray) -> str:
    """Return the SHA-256 of the two unpacked IDX files that would hold images and labels."""
    return sha256(*(part for array in (images, labels) for part in (_header(array), array.data)))


def _header(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, dtype=">u4").tobytes()


# ---------------------------------------------------------------- downloading


def _download(name: str, file: str, expected: str, mirrors: list[str]) -> Path:
    """Fetch a file to data/ from the first mirror that serves it, and prefer that one after."""
    path = project_root() / "data" / name / _stored(file)
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
        return path
    why = "; ".join(reasons) or "no mirror is known"
    advice = "check the network, or set NNLIB_DATA to a folder with fashion-mnist/ and mnist/"
    if DATASETS[name].archive:
        advice = f"check the network, or put it, or what is in it, into {path.parent}"
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


def bar(**about: Any) -> Any:
    """Return a bar of tqdm's, which is silent where nobody looks and where that is asked for."""
    from tqdm import tqdm

    return tqdm(**about, disable=os.environ.get("TQDM_DISABLE") == "1" or None)


def _receive(url: str, title: str) -> bytes:
    """Return what a server sends. Into memory: nothing half-written can stay on the disk.

    Hence pooch's downloader without its `retrieve`, whose temporary file outlives a kill.
    """
    from pooch import HTTPDownloader

    # total=1 until the length is known: pooch asks whether the bar is true, and tqdm counts
    shown = bar(desc=title, total=1, unit="B", unit_scale=True)
    identity = {"Accept-Encoding": "identity"}  # the files are packed already
    get = HTTPDownloader(shown, chunk_size=2**16, timeout=TIMEOUT, headers=identity)
    with _Bounded() as received, shown:
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
