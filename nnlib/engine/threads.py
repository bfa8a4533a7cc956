"""How many threads a step deserves, and how its work is shared among them.

A step is cut into blocks of units, the same for the same number of threads; whichever thread is
free takes the next block, and computes it by itself, with a BLAS of one thread. So the numbers do
not depend on who computed what, and a thread that the machine gives to another process in the
meantime holds up its own block alone. BLAS's own pools do not know that: their threads wait for
each other within every product, and two pools on the same cores wait for very long.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

PAYS = 1.4e7  # multiplications a step for which one more thread is worth waking
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds, of so many


def cores() -> int:
    """Return how many cores this process may use: those it is held to, at most its container's."""
    held = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    try:
        share, period = map(int, QUOTA.read_text().split())
    except (OSError, ValueError):  # no container, or "max"
        return len(held)
    return max(1, min(len(held), round(share / period)))


def threads_for(shapes: Iterable[tuple[int, int]], batch_size: int) -> int:
    """Return how many threads a step deserves, for weight matrices (D, H) and these cores."""
    multiplications = batch_size * sum(inputs * outputs for inputs, outputs in shapes)
    return min(cores(), max(1, int(multiplications / PAYS)))


class Crew:
    """So many threads that share out calls, the caller's own among them."""

    def __init__(self, threads: int) -> None:
        _pools()  # takes a moment the first time, which is to be in no epoch
        self.threads = threads
        silent = partial(np.seterr, all="ignore")  # whoever trains looks at the numbers himself
        self.pool = ThreadPoolExecutor(max(1, threads - 1), "crew", initializer=silent)

    def __call__(self, calls: Sequence[Callable[[], Any]]) -> None:
        """Make all the calls, each once, and return when all are done."""
        left = iter(calls)

        def work() -> None:
            for call in left:
                call()

        others = [self.pool.submit(work) for _ in range(min(self.threads, len(calls)) - 1)]
        work()
        for other in others:
            if not other.cancel():  # it has begun: let it finish its call
                other.result()


crew = cache(Crew)  # its threads stay, for the next run


@cache
def _pools() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401  (its BLAS must be loaded to be found)

    return ThreadpoolController()


def limited(threads: int) -> Any:
    """Give each BLAS that many threads, in a `with` block.

    NumPy's and SciPy's have a pool each. Two that are at work wait for each other for very long.
    """
    return _pools().limit(limits=threads, user_api="blas")
