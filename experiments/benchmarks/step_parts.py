"""Where a step's time goes: calls, products, memory, beside what the products alone would take.

    python experiments/benchmarks/step_parts.py [--rounds 2000]

One thread, float32. "calls" is a step of a net of the same layers with one unit each and a batch
of one: nothing but calls. "products" makes the step's own products and nothing else; the rest,
"memory", is what passes over arrays between them. Medians of the rounds, microseconds.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import numpy as np
from contenders import CASES

from nnlib import MLP, SGD
from nnlib.engine import Step, limited

SIZES, CLASSES = 784, 10


def median(call: Callable[[], object], rounds: int) -> float:
    """Return the median microseconds of a call."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times[rounds // 10 :])


def step_of(sizes: list[int], n: int) -> Callable[[], object]:
    """Return a whole step, forward, back and learning, on one batch."""
    rng = np.random.default_rng(0)
    step = Step(MLP(sizes, seed=0), SGD(0.05))
    x = rng.random((n, sizes[0]), dtype=np.float32)
    targets = np.asfortranarray(
        np.eye(sizes[-1], dtype=np.float32)[rng.integers(sizes[-1], size=n)]
    )
    return lambda: (step.propagate(x, targets, 0.05), step.finish(0.05))


def products_of(sizes: list[int], n: int) -> Callable[[], object]:
    """Return the matrix products of a step, as NumPy makes them best, into arrays that are kept."""
    rng, calls = np.random.default_rng(0), []
    levels = [rng.random((n, size), dtype=np.float32) for size in sizes]
    for x, y in itertools.pairwise(levels):
        w, g = rng.random((x.shape[1], y.shape[1]), dtype=np.float32), y.copy()
        calls += [(x, w, y), (x.T, g, np.empty_like(w))]
        if x is not levels[0]:
            calls.append((g, w.T, np.empty_like(x)))
    return lambda: [np.matmul(a, b, out=c) for a, b, c in calls]


def main() -> None:
    """Print a line for each case that is not regularised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    rounds = parser.parse_args().rounds
    print("net, batch | step | calls | products | memory | products alone / step")
    with limited(1), np.errstate(all="ignore"):
        for case in [case for case in CASES if not case.regular and max(case.hidden) < 1000]:
            sizes = [SIZES, *case.hidden, CLASSES]
            whole = median(step_of(sizes, case.batch), rounds)
            calls = median(step_of([1] * len(sizes), 1), rounds)
            products = median(products_of(sizes, case.batch), rounds)
            rest = whole - calls - products
            print(f"{case.name} | {whole:.0f} | {calls:.0f} | {products:.0f} | {rest:.0f}"
                  f" | {products / whole:.0%}")  # fmt: skip


if __name__ == "__main__":
    main()
