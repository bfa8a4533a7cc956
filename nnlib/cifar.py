"""CIFAR-10 in its binary version, the one without pickles (Krizhevsky 2009).

Its makers publish the MD5 of the archive, c32a1d4ab5d03f1284b67883e8d87530; the SHA-256 by which it
is checked here is that of the same file, as other libraries have it. Of what is in the archive no
sum is published: files that somebody has unpacked are judged by their form alone.
"""

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from nnlib.files import unpacking

FOLDER = "cifar-10-batches-bin"  # in the archive
TRAIN_FILES, TEST_FILES = tuple(f"data_batch_{n}.bin" for n in range(1, 6)), ("test_batch.bin",)
SHAPE = (3, 32, 32)  # of an image: all of red, then green, then blue, row by row
RECORD = 1 + 3 * 32 * 32  # bytes, the label first
CLASSES = 10
MOST = 2**28  # bytes, unpacked; the official archive has 184 million


def read_cifar(paths: Sequence[Path], test: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 (N, 32, 32, 3) and labels uint8 (N,) for training or for testing.

    `paths` are the archive alone or all files that were in it. It is unpacked in memory: no name in
    it becomes a path. Raises InputError where anything is not as it should be.
    """
    files = TEST_FILES if test else TRAIN_FILES
    unpacked = [path for path in paths if path.name in files]
    parts = [part for path in unpacked or paths for part in _parts(path, files)]
    images = np.empty((sum(map(len, parts)), *SHAPE[1:], SHAPE[0]), np.uint8)
    start = 0
    for part in parts:
        planes = part[:, 1:].reshape(-1, *SHAPE)
        images[start : start + len(part)] = planes.transpose(0, 2, 3, 1)
        start += len(part)
    return images, np.concatenate([part[:, 0] for part in parts])


def _parts(path: Path, files: Sequence[str]) -> list[np.ndarray]:
    """Return the records (n, 3073) of a file, or of each of those files in an archive."""
    with unpacking(path, "CIFAR-10") as (stream, _):
        if len(raw := stream.read(MOST + 1)) > MOST:
            raise ValueError(f"it holds more than {MOST:,} bytes")
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
    if records[:, 0].max() >= CLASSES:
        raise ValueError(f"a label is {records[:, 0].max()}, not 0 to {CLASSES - 1}")
    return records
