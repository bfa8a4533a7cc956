"""A folder of pictures is a data set: a subfolder a class, named as the class is.

    DIR/CLASS/*                                            a sixth of each class is kept for testing
    DIR/train/CLASS/*, DIR/test/CLASS/*, DIR/val/CLASS/*   the last two if they are there

Nothing is ever written into it. Its pictures are decoded once, into two files in data/cache/ at
the project's root, of training and of test pictures, which are good for as long as no picture's
path, size or times change. A link is followed only if it stays in the folder.
"""

import hashlib
import math
import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.pool import ThreadPool
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from nnlib import checks
from nnlib.checks import InputError
from nnlib.files import (
    in_a_line,
    load_tensors,
    make_folder,
    owned,
    project_root,
    reading,
    save_tensors,
    sha256,
)
from nnlib.sources import SUFFIXES, Content, bar, content_sum

PARTS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2, "testing": 2}
UNSEEN = (".", "__MACOSX")  # how names begin of what nobody has put there
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # told by content, not by name
FORMAT = "2"  # of the cache; with another one it is made anew
THREADS = 8  # at most; where pictures are small they wait for each other
WAIT = 60  # seconds, at most, while another process writes into the cache


# ---------------------------------------------------------------- what is in the folder


class Listing(NamedTuple):
    """The pictures of a folder: those for training, validation and test, each by class and name."""

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: np.ndarray  # (N,)
    counts: list[int]  # for training, validation and test
    stamp: str  # another one where any picture is another one
    others: list[tuple[str, str]]  # what is no picture: the class that it lies in, its path


def list_pictures(folder: Path) -> Listing:
    """Look through a folder, opening no file; InputError where it is laid out in another way."""
    seen = list(_walk(folder, folder))
    apart = any(len(above) == 2 and above[0].lower() in PARTS for above, _ in seen)
    tops = [above[0] for above, _ in seen if apart and above]
    parts: dict[str, Any] = {top: PARTS.get(top.lower()) for top in tops}  # None: of no part
    rows, others = [], []  # part, class, path and state of each picture
    for above, entry in seen:
        part = parts[above[0]] if apart and above else 0
        if part is None:
            raise InputError(f"{folder / above[0]} is neither train, val nor test: remove it")
        if len(above) > 1 + apart:
            within = f"{os.path.dirname(entry.path)} is a folder in class {above[apart]!r}"
            raise InputError(f"{within}: move its files up, or name the folder above the classes")
        inside = len(above) == 1 + apart  # a class
        if inside and entry.name.lower().endswith(SUFFIXES) and entry.is_file():
            s = entry.stat()
            state = f"{s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}"
            rows.append((part, above[-1], entry.path, state))
        else:
            others.append((above[-1] if inside else "", entry.path))
    rows.sort(key=itemgetter(0))
    counts = [sum(row[0] == part for row in rows) for part in range(3)]
    for name, part in (parts | {"train": 0}).items():
        if not counts[part]:
            place = folder / name if apart else folder
            advice = "add them" if name == "train" else "add them, or remove it"
            raise InputError(f"{place} holds no pictures in subfolders, each a class: {advice}")
    _, names, paths, states = zip(*rows, strict=True)
    numbers = {name: k for k, name in enumerate(sorted(set(names[: counts[0]])))}
    for name, path in zip(names, paths, strict=True):
        if name not in numbers:
            raise InputError(f"{path}: no training picture is of class {name!r}; add some")
    stamp = sha256("\0".join((FORMAT, *paths, *states)).encode(errors="surrogateescape"))
    labels = np.array([numbers[name] for name in names])
    return Listing(tuple(numbers), paths, labels, counts, stamp, others)


def _walk(
    folder: str | Path, root: Path, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], os.DirEntry]]:
    """Yield (names of the folders from the root to it, file) for every file; none is hidden."""
    with reading(folder, advice="see whether it is there"):
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(UNSEEN)]
        for entry in sorted(shown, key=lambda entry: entry.name):
            if entry.is_symlink() and root not in Path(os.path.realpath(entry.path)).parents:
                out = f"{entry.path} is a link that leads out of {root}"
                raise InputError(f"{out}: put a copy in its place")
            if not entry.is_dir():
                yield above, entry
            elif len(above) == 3:  # a link may lead round in circles
                raise InputError(f"{entry.path} is too deep for a class: move it up")
            else:  # a name with an umlaut is written in one of two ways, which look the same
                name = unicodedata.normalize("NFC", entry.name)
                yield from _walk(entry.path, root, (*above, name))


# ---------------------------------------------------------------- decoding


def upright(image: Image.Image, shape: tuple[int, ...]) -> np.ndarray:
    """Return a picture as a viewer shows it, as bytes of a shape (h, w), grey, or (h, w, 3).

    Turned as its camera says, on white where it is transparent, 16 bits brought to 8; of another
    size, it is scaled until it covers that, and the middle cut out.
    """
    size = shape[1], shape[0]
    stored = "L" if _is_grey(image) else "RGB"
    image.draft(None, (2 * max(size), 2 * max(size)))  # a large JPEG is decoded smaller
    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        deep = np.asarray(image)
        if deep.dtype.kind == "f" or deep.min() < 0 or deep.max() >= 2**16:
            raise ValueError("its numbers are not of 16 bits")
        image = Image.fromarray(np.rint(deep / 257).astype(np.uint8))
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    image = image.convert(stored)
    if image.size != size:
        image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
    return np.array(image.convert("RGB" if len(shape) == 3 else "L"))


def _is_grey(image: Image.Image) -> bool:
    return Image.getmodebase(image.mode) == "L"


def _head(path: str) -> tuple[tuple[int, int], bool]:
    """Return (h, w) of a picture when upright, and whether it is grey, from its first bytes."""
    with Image.open(path, formats=FORMATS) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        turned = turned and image.format != "TIFF"  # whose size is told as it is shown
        width, height = image.size
        return (width, height) if turned else (height, width), _is_grey(image)


def _read(out: np.ndarray, path: str) -> int:
    """Decode a picture into `out`; return a number for the file's content."""
    with open(path, "rb") as stream:
        content = hashlib.file_digest(stream, "sha256")
        with Image.open(stream, formats=FORMATS) as image:
            out[:] = upright(image, out.shape)
    return int.from_bytes(content.digest()[:8], "big")


def decode(
    paths: Sequence[str], size: tuple[int, int] | None, title: str
) -> tuple[np.ndarray, np.ndarray]:
    """Decode pictures, in grey where all are: (N, h, w) or (N, h, w, 3), several at once.

    Returns with them a number for each file's content, (N,). Raises InputError where one cannot be
    read, where they differ in size and no size is given, and where they would not fit into memory.
    """
    with ThreadPool(min(THREADS, os.cpu_count() or 1)) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow's; what it cannot read is an error
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        each = partial(_each, pool, title)
        heads = [head for head in each(_head, paths) if not isinstance(head, Exception)]
        heads = heads or [((1, 1), True)]  # none can be read, as will be said
        height, width = size or _one_size([size for size, _ in heads])
        channels = () if all(grey for _, grey in heads) else (3,)
        shape = len(paths), height, width, *channels
        checks.memory(f"reading {len(paths):,} pictures of {height}x{width}", 2 * math.prod(shape))
        images = np.empty(shape, np.uint8)
        numbers = each(_read, images, paths)
    failed = [each for each in zip(paths, numbers, strict=True) if isinstance(each[1], Exception)]
    if failed:
        path, error = failed[0]
        none = isinstance(error, UnidentifiedImageError)
        reason = "it is none" if none else in_a_line(error)
        more = f", and {len(failed) - 1:,} more" if failed[1:] else ""
        line = f"cannot read {path} as a picture ({reason}){more}"
        raise InputError(f"{line}: mend or remove what cannot be read")
    return images, np.array(numbers, np.uint64)


def _each(pool: ThreadPool, title: str, work: Callable, *arguments: Collection) -> list:
    """Return what `work` makes of each picture, or the error that it ends with, under a bar."""

    def attempt(given: tuple) -> Any:
        try:
            return work(*given)
        except Exception as error:  # a damaged file brings any
            return error

    found = pool.imap(attempt, zip(*arguments, strict=True), chunksize=16)
    how = {"desc": title, "total": len(arguments[0]), "unit": "file", "leave": False}
    return list(bar(iterable=found, **how))


def _one_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """Return the size of all pictures; InputError where there are several."""
    (common, _), *others = counted = Counter(sizes).most_common()
    if others:
        some = ", ".join(f"{h}x{w} ({n:,})" for (h, w), n in counted[:3])
        more = f" and {len(counted) - 3:,} more" if counted[3:] else ""
        line = f"the pictures are of several sizes, {some}{more}"
        raise InputError(f"{line}: choose one, HxW, with --image-size 64")
    return common


# ---------------------------------------------------------------- from files to splits


def load_pictures(folder: str | Path, test: bool, size: tuple[int, int] | None) -> Content:
    """Return a folder's training pictures, those of val/ behind them, or its test pictures.

    Without test/, the first sixth of each class in the order of the files' SHA-256 is for testing:
    whatever they are called, and equal files together. What the cache lacks is decoded, train and
    test, and the half that was not asked for let go. Warns of files that are no pictures, and of
    test pictures that are equal to others. Raises InputError as `list_pictures` and `decode` do,
    and where there is nothing to test on.
    """
    folder = Path(folder).resolve()
    listing = list_pictures(folder)
    for each in dict.fromkeys((size, None)):  # they may be of that size as they are
        found = _cached(_place(folder, each, test), listing.stamp)
        if found and (size is None or found[0].shape[1:3] == size):
            break
    else:
        found = _make(folder, size, listing)[test]
    images, labels, about = found
    if not len(images):
        raise InputError(f"{folder} has no test/, and no class of 4 pictures to take a sixth of")
    if n := len(listing.others):
        passed = f"{n:,} {'file' if n == 1 else 'files'} that are no pictures by their names"
        lost = sorted({name for name, _ in listing.others} - {"", *listing.classes})
        line = f"passed over {passed}, such as {listing.others[0][1]}"
        line += f"; {lost[0]!r} holds nothing else, and is no class" if lost else ""
        warnings.warn(line, stacklevel=4)
    if twins := about.get("twins"):
        line = f"{twins:,} test pictures of {folder} are training pictures, too"
        warnings.warn(line, stacklevel=4)
    n_val = 0 if test else listing.counts[1]
    return Content(images, labels, listing.classes, str(folder), n_val, about["training"], True)


Kept = tuple[np.ndarray, np.ndarray, dict[str, Any]]  # images, labels, and what is known of them


def _place(folder: Path, size: tuple[int, int] | None, test: bool) -> Path:
    """Return the cache's file for a folder; a folder that has changed gets it again."""
    name = sha256(repr((folder, size)).encode())[:32]
    return project_root() / "data" / "cache" / f"{name}-{'test' if test else 'train'}.safetensors"


def _cached(path: Path, stamp: str) -> Kept | None:
    """Return what a file of the cache holds, if that is whole and of the pictures of now."""
    with suppress(InputError, KeyError):
        tensors, about = load_tensors(path)
        images, labels = tensors["images"], tensors["labels"]
        if (about["stamp"], about["sha256"]) == (stamp, content_sum(images, labels)):
            return images, labels, about
    return None


def _make(folder: Path, size: tuple[int, int] | None, listing: Listing) -> list[Kept]:
    """Decode all, and return what is for training and what for testing, kept if that is possible.

    Each file is replaced in one step, so that two processes at once do no harm; what one that was
    killed has left of them goes.
    """
    images, files = decode(listing.paths, size, folder.name)
    for_test = _test_rows(listing, files)
    parts = [(images[rows], listing.labels[rows]) for rows in (~for_test, for_test)]
    del images  # half of the memory
    train, tests = ([hash(image.tobytes()) for image in images] for images, _ in parts)
    sums = [content_sum(*part) for part in parts]
    twins = int(np.isin(tests, train).sum())
    about = {"stamp": listing.stamp, "twins": twins, "training": sums[0]}
    found = [(*part, about | {"sha256": own}) for part, own in zip(parts, sums, strict=True)]
    places = [_place(folder, size, test) for test in (False, True)]
    try:
        if places[0].is_relative_to(folder):
            raise InputError(f"{places[0]} would lie in it; start in another folder")
        with owned(make_folder(places[0].parent), [path.name for path in places], WAIT):
            for path, (pictures, labels, known) in zip(places, found, strict=True):
                tensors = {"images": pictures, "labels": labels}
                save_tensors(path, tensors, known, sync=False)
    except InputError as error:
        warnings.warn(f"{folder} will be decoded again next time: {error}", stacklevel=5)
    return found


def _test_rows(listing: Listing, files: np.ndarray) -> np.ndarray:
    """Return which pictures are for testing, bool (N,), by numbers of the files' contents (N,)."""
    train, val, test = listing.counts
    rows = np.arange(len(files)) >= train + val
    for label in range(len(listing.classes) if not test else 0):
        own = np.flatnonzero(listing.labels[:train] == label)
        distinct, which = np.unique(files[own], return_inverse=True)
        rows[own] = which < round(len(distinct) / 6)
    return rows
