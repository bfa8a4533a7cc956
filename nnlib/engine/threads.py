"""How many threads a step deserves, and how its work is shared among them.

The step of a large net is cut into blocks of units, the same for the same number of threads;
whichever thread of a crew is free takes the next block, and computes it by itself, with a BLAS of
one thread. So the numbers do not depend on who computed what, and a thread that the machine gives
to another process in the meantime holds up its own block alone. To wake a thread of Python takes
as long as a product of a smaller net. There OpenBLAS's own threads, which stay awake, share
products, as long as the clock says that it pays: they wait for each other, and beside a busy
process, or another pool on the same cores, for very long.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from nnlib.engine import blas

PAYS = 1.4e7  # multiplications a step for which one more thread is worth waking
LARGE = 2**17  # numbers in a hidden array from which a crew pays, and SciPy's products unit by unit
TRIAL, SOON, LATE = 0.06, 1.0, 16.0  # seconds of a trial, and between two of them
SLOW = 1.2  # times what another number took, from which it is too slow to wait for the next trial
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds, of so many


def cores() -> int:
    """Return how many cores this process may use: those it is held to, at most its container's."""
    held = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    try:
        share, period = map(int, QUOTA.read_text().split())
    except (OSError, ValueError):  # no container, or "max"
        return len(held)
    return max(1, min(len(held), round(share / period)))


def is_large(sizes: Sequence[int], n: int) -> bool:
    """Tell whether a net of so many units has a hidden array worth a crew, for a batch of n."""
    return n * max(sizes[1:]) >= LARGE


def threads_for(sizes: Sequence[int], n: int) -> int:
    """Return how many threads a step deserves, for a batch of n and these cores."""
    multiplications = n * sum(inputs * outputs for inputs, outputs in pairwise(sizes))
    shared = is_large(sizes, n) or blas.openblas() is not None
    return min(cores(), max(1, int(multiplications / PAYS) if shared else 1))


def paced(sizes: Sequence[int], n: int, threads: int) -> bool:
    """Tell whether OpenBLAS's threads share the products of a batch of n, and no crew its units."""
    return threads > 1 and not is_large(sizes, n) and blas.openblas() is not None


class Crew:
    """So many threads that share out calls, the caller's own among them."""

    def __init__(self, threads: int) -> None:
        blas.pools()  # takes a moment the first time, which is to be in no epoch
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


class Pace:
    """How many threads of OpenBLAS share a step's products: as many as are the fastest just now.

    One, half and all are tried again from time to time, the rarer the longer the answer is the
    same, and as soon as it has become slow. It changes with what else the cores have to do, and
    changes no bit.
    """

    def __init__(self, threads: int) -> None:
        self.threads, (self.hold, _) = threads, blas.openblas()
        self.turns, self.until, self.clock = self._turns(), 0.0, 0.0  # of steps alone

    def _turns(self) -> Iterator[tuple[int, float]]:
        """Yield again and again how many threads are next, and for how many seconds."""
        best, period = self.threads, SOON
        while True:
            took = {}
            for threads in sorted({1, self.threads // 2 or 1, self.threads}):
                yield threads, TRIAL
                took[threads] = self.seconds / self.steps if self.steps else math.inf
            fastest = min(took, key=lambda threads: took[threads])
            period = min(LATE, 2 * period) if fastest == best else SOON
            best, end = fastest, self.clock + period
            slow = SLOW * min(took[threads] for threads in took if threads != best)
            while self.clock < end:
                yield best, 4 * TRIAL
                if self.seconds > slow * self.steps:
                    break

    def __enter__(self) -> None:
        if self.clock >= self.until:
            self.now, length = next(self.turns)
            self.until, self.seconds, self.steps = self.clock + length, 0.0, 0
            self.settled = self.clock + length / 2  # OpenBLAS's threads stay awake for a while
        self.start = perf_counter()

    def __exit__(self, *error: object) -> None:
        took = perf_counter() - self.start
        if self.clock >= self.settled:
            self.seconds += took
            self.steps += 1
        self.clock += took

    def share(self, products: Callable, *arguments: Any) -> None:
        """Make a call of OpenBLAS with so many threads; all others are made with one."""
        self.hold(self.now)
        products(*arguments)
        self.hold(1)


def limited(threads: int) -> Any:
    """Give each BLAS that many threads, in a `with` block.

    NumPy's and SciPy's have a pool each. Two that are at work wait for each other for very long.
    """
    return blas.pools().limit(limits=threads, user_api="blas")
