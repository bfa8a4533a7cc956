"""What several tests share: a tiny data set on disk, and small problems in float64."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from idx_files import idx_bytes, pack

from nnlib import Split

# A process started in the background ignores Ctrl-C, and so would its children: not ours.
signal.signal(signal.SIGINT, signal.default_int_handler)


def striped(n: int, classes: int, shape: tuple[int, int], seed: int) -> Split:
    """Images whose class is the brightest column: learnable, and made here."""
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n)
    images = rng.integers(0, 120, size=(n, *shape)).astype(np.uint8)
    images[np.arange(n), :, y] += 100
    return Split(images, y)


@pytest.fixture(scope="session")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of one's own: 600 + 100 images of 6x5 pixels, 4 classes, labels gzipped."""
    folder = tmp_path_factory.mktemp("stripes")
    for prefix, n, seed in (("train", 600, 1), ("t10k", 100, 2)):
        split = striped(n, 4, (6, 5), seed)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(split.images))
        labels = pack(idx_bytes(split.y.astype(np.uint8)))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(labels)
    return folder


@pytest.fixture
def stripes() -> tuple[Split, Split]:
    """Training and validation images of the striped problem."""
    return striped(600, 4, (6, 5), 1), striped(200, 4, (6, 5), 3)


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    """Seven examples of five inputs and three classes, in float64."""
    rng = np.random.default_rng(7)
    return rng.normal(size=(7, 5)), rng.integers(3, size=7)


needs_official = pytest.mark.skipif(
    not os.environ.get("NNLIB_DATA"), reason="NNLIB_DATA does not name the official files"
)


LONGEST = "quick_report", "lab", "alive", "cluster", "search", "report", "live", "search_kill"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: beside them, other workers have the rest to do."""
    order = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
