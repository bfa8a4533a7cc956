"""IDX files for tests: written byte by byte, so that the reader is not checked by itself."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim])
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def sum_of(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def pack(raw: bytes) -> bytes:
    return gzip.compress(raw, compresslevel=1, mtime=0)


def made_up_files(seed: int, n: int = 120, n_test: int = 30, shape=(6, 5), classes: int = 3):
    """Return the four files of a small data set, unpacked: name -> bytes."""
    rng = np.random.default_rng(seed)
    contents = {}
    for part, count in (("train", n), ("t10k", n_test)):
        labels = np.arange(count) % classes
        images = rng.integers(0, 256, (count, *shape))
        contents[f"{part}-images-idx3-ubyte"] = idx_bytes(images.astype(np.uint8))
        contents[f"{part}-labels-idx1-ubyte"] = idx_bytes(labels.astype(np.uint8))
    return contents


def write_folder(folder: Path, contents: dict[str, bytes], packed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in contents.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(pack(raw) if packed else raw)
    return folder


def labelled_files(y, y_test, shape=(8, 8), noise: int = 200):
    """Return the four files of a set with these labels: a class is a pattern in noise.

    Without noise all images are the same.
    """
    patterns = np.random.default_rng(99).random((256, *shape)) < 0.15
    rng, contents = np.random.default_rng(5), {}
    for part, labels in (("train", np.asarray(y)), ("t10k", np.asarray(y_test))):
        images = rng.integers(0, max(noise, 1), (len(labels), *shape))
        images += 150 * patterns[labels] * (noise > 0)
        contents[f"{part}-images-idx3-ubyte"] = idx_bytes(images.clip(0, 255).astype(np.uint8))
        contents[f"{part}-labels-idx1-ubyte"] = idx_bytes(labels.astype(np.uint8))
    return contents
