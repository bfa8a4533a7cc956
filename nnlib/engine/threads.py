"""How many threads the matrix products may use, and which library's.

NumPy and SciPy, as pip installs them, each bring an OpenBLAS of their own with a pool of threads
that spin for a while after every product. Two pools of two threads on two cores wait for each
other and take several times as long as one thread alone. So one library at a time may have more
than one: SciPy's, which the fused step uses, or NumPy's, which the plain layers use.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import scipy.linalg  # noqa: F401  (its BLAS must be loaded to be found)
from threadpoolctl import ThreadpoolController


def threads_for(shapes: Iterable[tuple[int, int]], batch_size: int) -> int:
    """Return how many threads a step deserves: 1, or 2 for large weight matrices (D, H).

    Two threads wait for each other after every product, and each other process on the machine
    makes them wait longer; below about a hundred million multiplications a step it is not worth
    it.
    """
    multiplications = batch_size * sum(inputs * outputs for inputs, outputs in shapes)
    return min(2 if multiplications > 1e8 else 1, os.cpu_count() or 1)


@cache
def _pools() -> dict[bool, ThreadpoolController]:
    """Return SciPy's pools under True, all others under False; all are SciPy's if it has none.

    A conda environment has one BLAS for both libraries.
    """
    every = ThreadpoolController().select(user_api="blas")
    paths = [Path(pool["filepath"]) for pool in every.info()]
    own = [
        str(path) for path in paths if any(part.startswith("scipy") for part in path.parts[-3:-1])
    ]
    others = [str(path) for path in paths if str(path) not in own]
    if not own:
        own, others = others, own
    return {True: every.select(filepath=own), False: every.select(filepath=others)}


@contextmanager
def limited(threads: int, scipy: bool = True) -> Iterator[None]:
    """Give SciPy's products (or NumPy's) that many threads, the other library's one."""
    with _pools()[scipy].limit(limits=threads), _pools()[not scipy].limit(limits=1):
        yield
