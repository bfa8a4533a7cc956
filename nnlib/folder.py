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
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from nnlib import checks
from nnlib.checks import InputError
from nnlib.files import load_tensors, make_folder, project_root, reading, save_tensors, sha256
from nnlib.sources import SUFFIXES, Content, content_sum

PARTS = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
UNSEEN = (".", "__MACOSX")  # how names begin of what nobody has put there
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # told by content, not by name
FORMAT = 1  # of the cache; with another number it is made anew
MOST_PIXELS = 2**27  # of one picture
THREADS = 8  # at most; where pictures are small they wait for each other


# ---------------------------------------------------------------- what is in the folder


class Listing(NamedTuple):
    """The pictures of a folder: those for training, validation and test, each by class and name."""

    classes: tuple[str, ...]
    paths: list[str]
    labels: np.ndarray  # (N,)
    counts: list[int]  # for training, validation and test
    stamp: str  # another one where any picture is another one
    others: list[str]  # paths of what is no picture


def list_pictures(folder: Path) -> Listing:
    """Look through a folder, opening no file; InputError where it is laid out in another way."""
    tops, beside = _look(folder, folder)
    apart = any(name == "train" and _look(path, folder)[0] for name, path in tops)
    others = [each.path for each in beside if apart]
    paths: list[str] = []
    names, states, counts = [], [f"{FORMAT}"], [0, 0, 0]
    places = tops if apart else [("train", str(folder))]
    for top, place in sorted(places, key=lambda each: PARTS.get(each[0], 0)):
        if top not in PARTS:
            raise InputError(f"{place} is neither train, val nor test: take it away, or rename it")
        before = len(paths)
        for name, entry in _files(place, folder):
            if name and entry.name.lower().endswith(SUFFIXES) and entry.is_file():
                state = entry.stat()
                times = f"{state.st_mtime_ns} {state.st_ctime_ns}"
                states.append(f"{entry.path}\0{state.st_size} {times}")
                paths.append(entry.path)
                names.append(name)
            else:
                others.append(entry.path)
        if len(paths) == before:
            raise InputError(f"{place} holds no pictures in subfolders, each a class: add them")
        counts[PARTS[top]] += len(paths) - before
    classes = sorted(set(names[: counts[0]]))
    numbers = {name: number for number, name in enumerate(classes)}
    for name in sorted(set(names) - set(classes)):
        path = paths[names.index(name)]
        raise InputError(f"{path}: no training picture is of class {name!r}; add some")
    stamp = sha256("\0".join(states).encode(errors="surrogateescape"))
    labels = np.array([numbers[name] for name in names])
    return Listing(tuple(classes), paths, labels, counts, stamp, sorted(others))


def _files(place: str, root: Path) -> list[tuple[str, os.DirEntry]]:
    """Return (class, file) for the files in the subfolders of a place, ("", file) for its own."""
    classes, strays = _look(place, root)
    found = [("", entry) for entry in strays]
    for name, path in classes:
        folders, files = _look(path, root)
        for _, inner in folders:
            if any(_look(inner, root)):
                within = f"{inner} is a folder in class {name!r}"
                raise InputError(f"{within}: move its files up, or name {path} as the data set")
        found += [(name, entry) for entry in files]
    return found


def _look(folder: str | Path, root: Path) -> tuple[list[tuple[str, str]], list[os.DirEntry]]:
    """Return (name, path) of the folders in a folder, and its files; of both what is not hidden."""
    with reading(folder, advice="see whether it is there"):
        with os.scandir(folder) as entries:
            seen = [entry for entry in entries if not entry.name.startswith(UNSEEN)]
        for entry in filter(os.DirEntry.is_symlink, seen):
            if not os.path.realpath(entry.path).startswith(f"{root}{os.sep}"):
                out = f"{entry.path} is a link that leads out of {root}"
                raise InputError(f"{out}: put a copy in its place")
        # a name with an umlaut is written in one of two ways, which look the same
        folders = [(unicodedata.normalize("NFC", e.name), e.path) for e in seen if e.is_dir()]
        files = [entry for entry in seen if not entry.is_dir()]
    return sorted(folders), sorted(files, key=lambda entry: entry.name)


# ---------------------------------------------------------------- decoding


def upright(image: Image.Image, size: tuple[int, int] | None = None) -> Image.Image:
    """Return a picture as a viewer shows it, in mode L if it is stored in grey, else in RGB.

    Turned as its camera says, on white where it is transparent, 16 bits brought to 8; with a size
    (h, w) scaled until it covers that, and the middle cut out.
    """
    mode = "L" if _is_grey(image) else "RGB"
    if size:
        image.draft(None, (2 * max(size), 2 * max(size)))  # a JPEG then is decoded no larger
    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        deep = np.asarray(image)
        if deep.dtype.kind == "f" or deep.min() < 0 or deep.max() >= 2**16:
            raise ValueError("its numbers are not of 16 bits")
        image = Image.fromarray(np.rint(deep / 257).astype(np.uint8))
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    image = image.convert(mode)
    if size and image.size != size[::-1]:
        image = ImageOps.fit(image, size[::-1], Image.Resampling.BILINEAR)
    return image


def _is_grey(image: Image.Image) -> bool:
    return Image.getmodebase(image.mode) == "L"


def _opened(stream: Any) -> Image.Image:
    """Read the first bytes of a picture; no more is allocated before its size is known."""
    image = Image.open(stream, formats=FORMATS)
    if math.prod(image.size) > MOST_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are too many")
    return image


def _head(path: str) -> tuple[tuple[int, int], bool]:
    """Return (h, w) of a picture when upright, and whether it is grey."""
    with open(path, "rb") as stream, _opened(stream) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) > 4
        if turned and image.format != "TIFF":  # whose size is told as it is shown
            return image.size, _is_grey(image)
        return image.size[::-1], _is_grey(image)


class Decoded(NamedTuple):
    """Images (N, h, w) or (N, h, w, 3), and a number for each file's and each image's content."""

    images: np.ndarray
    files: np.ndarray  # (N,)
    pixels: np.ndarray  # (N,)


def decode(paths: list[str], size: tuple[int, int] | None = None, title: str = "") -> Decoded:
    """Decode pictures, in grey where all are; several threads at once, with a bar.

    Raises InputError where one cannot be read, where they differ in size and no size is given, and
    where they would not fit into memory.
    """
    from tqdm import tqdm

    quiet = os.environ.get("TQDM_DISABLE") == "1" or None  # None: where nobody looks
    bar = tqdm(desc=title, total=2 * len(paths), unit="file", leave=False, disable=quiet)
    with bar, ThreadPool(min(THREADS, os.cpu_count() or 1)) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow's; what it cannot read is an error
        each = partial(_each, pool, bar)
        found = each(_head, paths)
        heads = [head for head in found if not isinstance(head, Exception)]
        if not heads:
            _must_be_read(paths, found)
        shape = size or _one_size([size for size, _ in heads])
        channels = () if all(grey for _, grey in heads) else (3,)
        total = len(paths) * math.prod((*shape, *channels))
        checks.memory(f"reading {len(paths):,} pictures of {shape[0]}x{shape[1]} pixels", total)
        images = np.empty((len(paths), *shape, *channels), np.uint8)

        def read(path: str, out: np.ndarray) -> tuple[int, int]:
            with open(path, "rb") as stream:
                content = hashlib.file_digest(stream, "sha256")
                with _opened(stream) as image:
                    out[:] = upright(image, size).convert("RGB" if channels else "L")
            return _number(content), _number(hashlib.sha256(out.data))

        numbers = each(read, paths, images)
    _must_be_read(paths, numbers)
    return Decoded(images, *np.array(numbers, np.uint64).T)


def _each(pool: ThreadPool, bar: Any, work: Callable, *arguments: Iterable) -> list:
    """Return what `work` makes of each picture, or the error that it ends with."""

    def attempt(given: tuple) -> Any:
        try:
            return work(*given)
        except Exception as error:  # a damaged file brings any
            return error

    found = []
    for result in pool.imap(attempt, zip(*arguments, strict=True), chunksize=16):
        found.append(result)
        bar.update()
    return found


def _number(digest: Any) -> int:
    return int.from_bytes(digest.digest()[:8], "big")


def _must_be_read(paths: list[str], found: list) -> None:
    """Raise InputError where there are errors, which names the first and counts the others."""
    failed = [(path, e) for path, e in zip(paths, found, strict=True) if isinstance(e, Exception)]
    if failed:
        path, error = failed[0]
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = "it is none" if isinstance(error, UnidentifiedImageError) else reason
        more = f", and {len(failed) - 1:,} more" if failed[1:] else ""
        line = f"cannot read {path} as a picture ({reason}){more}"
        raise InputError(f"{line}: mend or remove what cannot be read")


def _one_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """Return the size of all pictures; InputError where there are several."""
    common = Counter(sizes).most_common()
    if len(common) > 1:
        some = ", ".join(f"{h}x{w} ({n:,})" for (h, w), n in common[:3])
        more = f" and {len(common) - 3:,} more" if common[3:] else ""
        line = f"the pictures are of several sizes, {some}{more}"
        raise InputError(f"{line}: choose one, HxW, with --image-size 64")
    return common[0][0]


# ---------------------------------------------------------------- from files to splits


def load_pictures(folder: str | Path, test: bool, size: tuple[int, int] | None = None) -> Content:
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
        warnings.warn(f"passed over {passed}, such as {listing.others[0]}", stacklevel=4)
    if twins := about.get("twins"):
        line = f"{twins:,} test pictures of {folder} are training pictures, too"
        warnings.warn(line, stacklevel=4)
    n_val = 0 if test else listing.counts[1]
    return Content(images, labels, listing.classes, str(folder), n_val, about["sha256"])


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

    Each file is replaced in one step, so that two processes at once do no harm.
    """
    images, files, pixels = decode(listing.paths, size, folder.name)
    for_test = _test_rows(listing, files)
    twins = np.isin(pixels[for_test], pixels[~for_test]).sum()
    about = {"stamp": listing.stamp, "twins": int(twins)}
    parts = [(images[rows], listing.labels[rows]) for rows in (~for_test, for_test)]
    del images  # half of the memory
    found = [(*part, about | {"sha256": content_sum(*part)}) for part in parts]
    try:
        for test, (pictures, labels, known) in enumerate(found):
            path = _place(folder, size, bool(test))
            if path.is_relative_to(folder):
                raise InputError(f"{path} would lie in it; start in another folder")
            make_folder(path.parent)
            save_tensors(path, {"images": pictures, "labels": labels}, known, sync=False)
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
