"""What is in the files of a data set: IDX, and CIFAR-10's binary version without pickles.

Files of one's own have no published sum, so nothing that they say is believed before it was found
to be possible: a header may claim any size, an archive hold any name, a packed file never end.

CIFAR-10's makers (Krizhevsky 2009) publish the MD5 of their archive,
c32a1d4ab5d03f1284b67883e8d87530; the SHA-256 by which it is known is that of the same file, as
other libraries have it. Of what is in the archive no sum is published: files that somebody has
unpacked are judged by their form alone.
"""

import gzip
import io
import math
import os
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import numpy as np

from nnlib.checks import InputError

DEFLATE_RATIO = 1032  # no gzip file unpacks to more than this many times its size
DAMAGED = OSError, ValueError, EOFError, MemoryError, RecursionError, zlib.error, tarfile.TarError
IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4"}  # whole numbers; others are refused
QMNIST = b"\0\0\x0c\2"  # how its files of labels begin
MAX_IDX_BYTES = 800_000_000  # pixels of one file; larger ones would not fit beside the training
CIFAR_FOLDER = "cifar-10-batches-bin"  # in the archive
CIFAR_TRAIN, CIFAR_TEST = tuple(f"data_batch_{n}.bin" for n in range(1, 6)), ("test_batch.bin",)
SHAPE = (3, 32, 32)  # of an image there: all of red, then green, then blue, row by row
RECORD = 1 + math.prod(SHAPE)  # bytes, the label first
CIFAR_CLASSES = 10
MAX_CIFAR_BYTES = 2**28  # unpacked; the official archive has 184 million


@contextmanager
def _unpacking(path: str | os.PathLike, form: str) -> Iterator[tuple[BinaryIO, int]]:
    """Yield the content of a file, be it packed by gzip or not, and how many bytes it can be.

    `form` says what it should be; what is found wrong inside becomes one line about the file.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ValueError("it is not a regular file")
        with open(path, "rb") as raw:
            packed, size = raw.read(2) == b"\x1f\x8b", path.stat().st_size
            raw.seek(0)
            content = cast(BinaryIO, gzip.GzipFile(fileobj=raw) if packed else raw)
            yield content, size * (DEFLATE_RATIO if packed else 1)
    except DAMAGED as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"cannot use {path} as {form}: {reason}; replace the file") from error


# ---------------------------------------------------------------- IDX


def read_idx(path: str | os.PathLike, ndim: int) -> np.ndarray:
    """Read an IDX file of bytes with `ndim` axes: images 3, (N, h, w); labels 1, (N,).

    Layout: two zero bytes, 0x08 for unsigned bytes, the number of axes, each axis as a
    big-endian 32-bit number, then the data (LeCun, Cortes and Burges, the MNIST page). Other
    whole numbers are taken where they fit into bytes, QMNIST's labels, eight numbers an image,
    by the first. Packed by gzip or not is told by content. Raises InputError where anything
    differs, before allocating more than the file could hold.
    """
    with _unpacking(path, "IDX data") as (stream, capacity):
        return _parse_idx(stream, ndim, capacity)


def _parse_idx(stream: BinaryIO, ndim: int, capacity: int) -> np.ndarray:
    """Read header and data from a stream that holds at most `capacity` bytes."""
    start, expected = stream.read(4), bytes((0, 0, 8, ndim))
    qmnist = ndim == 1 and start == QMNIST
    known = len(start) == 4 and start[:2] == b"\0\0" and start[2] in IDX_TYPES
    if not (known and (qmnist or start[3] == ndim)):
        raise ValueError(f"it begins with 0x{start.hex()}, not with 0x{expected.hex()}")
    kind, axes = np.dtype(IDX_TYPES[start[2]]), start[3]
    header = stream.read(4 * axes)
    if len(header) < 4 * axes:
        raise ValueError("it ends within its header")
    shape = tuple(int(n) for n in np.frombuffer(header, ">u4"))
    extent = shape if kind.itemsize == 1 else (*shape, kind.itemsize)
    size = math.prod(extent)  # Python's integers: no overflow
    described = f"its header claims {' × '.join(map(str, extent))} bytes"
    if size == 0:
        raise ValueError(f"{described}, which is nothing")
    if size > capacity - len(start + header):
        raise ValueError(f"{described}, more than the file can hold")
    if size > MAX_IDX_BYTES:
        raise ValueError(f"{described}, more than the limit of {MAX_IDX_BYTES:,}")
    if qmnist and shape[1] != 8:
        raise ValueError(f"{described}, not one label an image")
    data = stream.read(size + 1)  # for gzip, to look for one more compares the checksum too
    if len(data) < size:
        raise ValueError(f"it ends after {len(data):,} of {size:,} bytes of data")
    if len(data) > size:
        raise ValueError(f"{described}, but more follow")
    values = np.frombuffer(data, kind).reshape(shape)
    values = values[:, 0] if qmnist else values
    if values.dtype != np.uint8 and (values.min() < 0 or values.max() > 255):
        raise ValueError(f"it holds {values.min()} to {values.max()}, not numbers from 0 to 255")
    return values.astype(np.uint8, copy=False)


# ---------------------------------------------------------------- CIFAR-10


def read_cifar(paths: Sequence[Path], test: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 (N, 32, 32, 3) and labels uint8 (N,) for training or for testing.

    `paths` are the archive alone or all files that were in it. It is unpacked in memory: no name in
    it becomes a path. Raises InputError where anything is not as it should be.
    """
    files = CIFAR_TEST if test else CIFAR_TRAIN
    unpacked = [path for path in paths if path.name in files]
    parts = [part for path in unpacked or paths for part in _parts(path, files)]
    pixels = [part[:, 1:].reshape(-1, *SHAPE).transpose(0, 2, 3, 1) for part in parts]
    images = np.empty((sum(map(len, parts)), *pixels[0].shape[1:]), np.uint8)  # in this order
    return np.concatenate(pixels, out=images), np.concatenate([part[:, 0] for part in parts])


def _parts(path: Path, files: Sequence[str]) -> list[np.ndarray]:
    """Return the records (n, 3073) of a file, or of each of those files in an archive."""
    with _unpacking(path, "CIFAR-10") as (stream, _):
        if len(raw := stream.read(MAX_CIFAR_BYTES + 1)) > MAX_CIFAR_BYTES:
            raise ValueError(f"it holds more than {MAX_CIFAR_BYTES:,} bytes")
        return [_records(part) for part in ([raw] if path.name in files else _taken(raw, files))]


def _taken(raw: bytes, files: Sequence[str]) -> Iterator[memoryview]:
    """Yield the content of those files in an archive, whatever folder it says they are in."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
        for member in archive:
            if member.size < 0:  # or it would be read for ever
                raise ValueError(f"{member.name!r} in it has {member.size} bytes")
            if member.isreg() and not member.issparse():
                found[PurePosixPath(member.name).name] = member
    for file in files:
        if file not in found:
            raise ValueError(f"it lacks {file}")
        start = found[file].offset_data
        yield memoryview(raw)[start : start + found[file].size]


def _records(raw: bytes | memoryview) -> np.ndarray:
    if len(raw) == 0 or len(raw) % RECORD:
        raise ValueError(f"{len(raw):,} bytes are no whole number of records of {RECORD:,}")
    records = np.frombuffer(raw, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() >= CIFAR_CLASSES:
        raise ValueError(f"a label is {records[:, 0].max()}, not 0 to {CIFAR_CLASSES - 1}")
    return records
