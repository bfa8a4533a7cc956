"""How fast `nnlib` trains, beside scikit-learn, PyTorch, JAX and the machine's own peak.

    nnlib bench [--rounds 7] [--json]
    python experiments/benchmarks/speed.py [--rounds 7] [--cases 0 1 2 3 4 5] [--json] [--out FILE]

Every contender lives in a process of its own and trains one epoch when told to; they take turns,
round after round, so that a machine that slows down slows all of them: left to their defaults,
and on 1, 2, 4, … cores with as many threads. OPENBLAS_CORETYPE is taken out of their environment,
because a machine that pins it makes OpenBLAS slower than it is. Peers are not in the lock; one
that is not installed is a dash.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from contenders import CASES, CONTENDERS

from experiments.compute import processor
from experiments.readme import DEFAULT, better, default
from nnlib.engine import cores
from nnlib.files import write_json

RESULT = Path(__file__).with_name("speed.json")
IMAGES = 60_000
REST = 0.3  # seconds before each turn, in which the threads of the one before stop spinning
PRODUCTS = 20 * 2 * 2048**3  # floating-point operations of one turn of `peak`


class Contender:
    """A library with a number of threads, or left to its defaults, in a process of its own."""

    def __init__(self, name: str, threads: str) -> None:
        self.key, self.missing = f"{name}/{threads}", False
        env = {k: v for k, v in os.environ.items() if not k.endswith(("_NUM_THREADS", "CORETYPE"))}
        told = [] if threads == DEFAULT else [threads]
        env |= {key: threads for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if told}
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("contenders.py"), name, *told],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def epoch(self, case: int) -> dict[str, float]:
        """Train one epoch of a case; its seconds, and the processor's, or nothing."""
        if self.missing:
            return {}
        time.sleep(REST)
        self.process.stdin.write(f"{case}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or "{}")
        self.missing = "seconds" not in answer
        return {} if self.missing else answer

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def operations(case: int) -> float:
    """Floating-point operations of the matrix products of one epoch: 2 each, three a matrix.

    The first layer needs no gradient of its input.
    """
    products = [a * b for a, b in itertools.pairwise(CASES[case].sizes)]
    return IMAGES * 2 * (3 * sum(products) - products[0])


def counts() -> list[str]:
    """Return the numbers of threads that are tried: 1, 2, 4, … up to all cores."""
    least_unused = cores().bit_length()
    return [str(2**power) for power in range(least_unused)]


def measure(rounds: int, cases: list[int]) -> dict:
    """Return by case what each took, round by round: {case: {"seconds": {"nnlib/1": [...]}}}."""
    found: dict[int, dict[str, dict[str, list[float]]]] = {}
    for case in cases:
        contenders = [Contender(name, n) for name in CONTENDERS for n in (DEFAULT, *counts())]
        found[case] = {"seconds": {}, "cpu": {}}
        for _ in range(rounds):
            for contender in contenders:
                for kind, value in contender.epoch(case).items():
                    found[case][kind].setdefault(contender.key, []).append(value)
        for contender in contenders:
            contender.close()
        print(table(case, found[case]), file=sys.stderr, flush=True)
    return found


def table(case: int, found: dict[str, dict[str, list[float]]]) -> str:
    """Return the lines of one case: by default and with the better count, beside nnlib so."""
    times, cpu = found["seconds"], found["cpu"]
    lines = [f"\n{CASES[case].name}: seconds an epoch of {IMAGES:,}, median (lowest – highest)"]
    for name in [n for n in CONTENDERS if n not in ("peak", "products")]:
        for kind, choose in (("default", default), ("better count", better)):
            if (chosen := choose(times, name)) is None:
                lines.append(f"  {name:14} –")
                break
            (key, values), ours = chosen, choose(times, "nnlib")[1]
            ratios = sorted(theirs / own for theirs, own in zip(values, ours, strict=False))
            lines.append(
                f"  {name:13} {key.split('/')[1] if choose is better else kind:>8}"
                f" {statistics.median(values):7.3f} ({min(values):.3f} – {max(values):.3f}),"
                f" processor {statistics.median(cpu[key]):6.3f};"
                f" {statistics.median(ratios):5.2f} × nnlib's ({ratios[0]:.2f} – {ratios[-1]:.2f})"
            )
    best, usual = better(times, "nnlib")[1], default(times, "nnlib")[1]
    share = statistics.median(a / b for a, b in zip(best, usual, strict=True))
    lines.append(f"  nnlib's better count takes {share:.2f} of its default's time")
    for n in counts():
        if {f"peak/{n}", f"nnlib/{n}"} <= times.keys():
            rate = PRODUCTS / statistics.median(times[f"peak/{n}"])
            own = operations(case) / statistics.median(times[f"nnlib/{n}"])
            alone = statistics.median(times[f"products/{n}"]) / statistics.median(
                times[f"nnlib/{n}"]
            )
            lines.append(
                f"  on {n} thread(s): peak {rate / 1e9:.0f} GFLOP/s, nnlib's products"
                f" {own / 1e9:.0f} GFLOP/s, {own / rate:.0%}; its products alone would take"
                f" {alone:.0%} of its time"
            )
    return "\n".join(lines)


def machine() -> dict:
    """Return what the figures depend on."""
    code = (
        "import json, numpy, scipy.linalg.blas; from threadpoolctl import threadpool_info;"
        "print(json.dumps([{k: p.get(k) for k in ('prefix', 'version', 'architecture')}"
        " for p in threadpool_info()]))"
    )
    env = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    blas = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    return {
        "processor": processor(),
        "cores": cores(),
        "python": platform.python_version(),
        "blas": json.loads(blas.stdout),
        "OPENBLAS_CORETYPE here": os.environ.get("OPENBLAS_CORETYPE", "unset"),
        "OPENBLAS_CORETYPE measured": "unset",
    }


def main() -> None:
    """Measure; the table goes to standard error as it grows, then to standard output, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cases", type=int, nargs="+", default=list(range(len(CASES))))
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", default=RESULT, help="where the same JSON is written")
    options = parser.parse_args()
    found = measure(options.rounds, options.cases)
    kinds = {
        kind: {CASES[case].name: each[kind] for case, each in found.items()}
        for kind in ("seconds", "cpu")
    }
    result = {"machine": machine(), **kinds}
    write_json(Path(options.out), result)
    if options.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{key}: {value}" for key, value in result["machine"].items()))
        print("\n".join(table(case, times) for case, times in found.items()))


if __name__ == "__main__":
    main()
