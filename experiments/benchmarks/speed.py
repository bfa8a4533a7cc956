"""How fast `nnlib` trains, beside scikit-learn, PyTorch, JAX and the machine's own peak.

    nnlib bench [--rounds 7] [--json]
    python experiments/benchmarks/speed.py [--rounds 7] [--cases 0 1 2 3] [--json] [--out FILE]

Every contender lives in a process of its own and trains one epoch when told to; they take turns,
round after round, so that a machine that slows down slows all of them. OPENBLAS_CORETYPE is taken
out of their environment, because a machine that pins it makes OpenBLAS slower than it is. Peers
are not in the lock; one that is not installed is a dash.
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

from experiments.readme import better
from nnlib.files import write_json

RESULT = Path(__file__).with_name("speed.json")
IMAGES = 60_000
REST = 0.3  # seconds before each turn, in which the threads of the one before stop spinning
PRODUCTS = 20 * 2 * 2048**3  # floating-point operations of one turn of `peak`


class Contender:
    """A library with a number of threads, in a process of its own."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self.threads, self.missing = name, threads, False
        env = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
        env |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        env.pop("OPENBLAS_NUM_THREADS", None)
        command = [
            sys.executable,
            str(Path(__file__).with_name("contenders.py")),
            name,
            str(threads),
        ]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def epoch(self, case: int) -> float | None:
        """Train one epoch of a case; its seconds, or None where it cannot."""
        if self.missing:
            return None
        time.sleep(REST)
        self.process.stdin.write(f"{case}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or "{}")
        self.missing = "seconds" not in answer
        return answer.get("seconds")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def operations(case: int) -> float:
    """Floating-point operations of the matrix products of one epoch: 2 each, three a matrix.

    The first layer needs no gradient of its input.
    """
    sizes = [784, *CASES[case].hidden, 10]
    products = [a * b for a, b in itertools.pairwise(sizes)]
    return IMAGES * 2 * (3 * sum(products) - products[0])


def measure(rounds: int, cases: list[int]) -> dict:
    """Return seconds by case and contender: {case: {"nnlib/1": [...], ...}}, peak as 'peak/1'."""
    found: dict[int, dict[str, list[float]]] = {}
    for case in cases:
        contenders = [Contender(name, threads) for name in CONTENDERS for threads in (1, 2)]
        found[case] = {}
        for _ in range(rounds):
            for contender in contenders:
                if (seconds := contender.epoch(case)) is not None:
                    found[case].setdefault(f"{contender.name}/{contender.threads}", []).append(
                        seconds
                    )
        for contender in contenders:
            contender.close()
        print(table(case, found[case]), file=sys.stderr, flush=True)
    return found


def table(case: int, times: dict[str, list[float]]) -> str:
    """Return the lines of one case: seconds an epoch and how many times slower than nnlib."""
    ours = better(times, "nnlib")[1]
    lines = [f"\n{CASES[case].name}: seconds an epoch of {IMAGES:,}, median (lowest – highest)"]
    for name in [n for n in CONTENDERS if n != "peak"]:
        if (chosen := better(times, name)) is None:
            lines.append(f"  {name:14} –")
            continue
        key, values = chosen
        ratios = sorted(theirs / own for theirs, own in zip(values, ours, strict=False))
        lines.append(
            f"  {name:14} {statistics.median(values):7.3f} ({min(values):.3f} – {max(values):.3f})"
            f"  {key.split('/')[1]} thread(s)   {statistics.median(ratios):5.2f} × nnlib's time"
            f" ({ratios[0]:.2f} – {ratios[-1]:.2f})"
        )
    for threads in ("1", "2"):
        if (key := f"peak/{threads}") in times and f"nnlib/{threads}" in times:
            rate = PRODUCTS / statistics.median(times[key])
            own = operations(case) / statistics.median(times[f"nnlib/{threads}"])
            lines.append(
                f"  on {threads} thread(s): peak {rate / 1e9:.0f} GFLOP/s, nnlib's products"
                f" {own / 1e9:.0f} GFLOP/s, {own / rate:.0%}"
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
        "processors": os.cpu_count(),
        "machine": platform.machine(),
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
    named = {CASES[case].name: times for case, times in found.items()}
    result = {"machine": machine(), "seconds": named}
    write_json(Path(options.out), result)
    if options.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{key}: {value}" for key, value in result["machine"].items()))
        print("\n".join(table(case, times) for case, times in found.items()))


if __name__ == "__main__":
    main()
