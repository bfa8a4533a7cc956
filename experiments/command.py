"""`python -m experiments [NAME ...]`: the stored long runs that are missing are computed.

It says what is missing and how long that will take, computes it run by run, and may be stopped at
any time: the same command goes on.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from filelock import FileLock, Timeout
from tqdm import tqdm

from experiments.catalogue import STUDIES
from experiments.compute import Runs
from nnlib import checks
from nnlib.checks import InputError
from nnlib.files import make_folder, project_root

BAR = "{percentage:3.0f}% |{bar:20}| {remaining} left{postfix}"
JOBS = min(2, os.cpu_count() or 1)  # runs side by side


class Part(Protocol):
    """What can be computed, stored in a table of its own: the runs of a study, or the searches."""

    def missing(self) -> tuple[int, int]:
        """Return how many runs are missing, of how many."""

    def seconds(self, jobs: int) -> float:
        """Return how long the missing runs may take."""

    def clear(self) -> None:
        """Forget all runs, on disk too."""

    def compute(
        self, jobs: int, say: Callable[[str], None], advance: Callable[[float, str], None]
    ) -> None:
        """Run what is missing, and write the table as each run ends.

        `say` gets a line for each run; `advance` hears how many of the `seconds` are over, and
        what they went to.
        """


def parts() -> dict[str, Part]:
    """Return all that can be computed, by name."""
    from experiments.searches import Searches  # loads Optuna

    runs = {name: Runs(name, study) for name, study in STUDIES.items()}
    return runs | {"searches": Searches()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute the parts named on the command line, or all; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.readme:
            from experiments import readme  # loads pandas, which the processes of runs need not

            readme.write()
            return 0
        known = parts()
        chosen = {name: known[checks.one_of("study", name, known)] for name in options.names}
        _compute(chosen or known, checks.whole("jobs", options.jobs, 1), options)
    except KeyboardInterrupt:
        return _fail("stopped; finished runs are kept, and the same command goes on", 1)
    except ValueError as error:
        return _fail(error, 2)
    except (OSError, ArithmeticError, RuntimeError, MemoryError) as error:
        return _fail(error, 1)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description="Compute the stored long runs that are missing.",
    )
    names = ", ".join([*STUDIES, "searches"])
    parser.add_argument("names", nargs="*", metavar="NAME", help=names)
    parser.add_argument("--readme", action="store_true", help="only bring the README up to date")
    parser.add_argument("--plan", action="store_true", help="only say what is missing")
    parser.add_argument("--fresh", action="store_true", help="forget what there is, and begin anew")
    parser.add_argument(
        "--jobs", type=int, default=JOBS, help=f"runs side by side; {JOBS} by default"
    )
    return parser


@contextmanager
def _alone() -> Iterator[None]:
    """Let no other process write the same tables."""
    lock = FileLock(make_folder(project_root() / "runs") / "results.lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout:
        raise InputError("the stored runs are being computed by another process") from None


def _compute(chosen: dict[str, Part], jobs: int, options: argparse.Namespace) -> None:
    if options.plan:
        _plan(chosen, jobs)
        return
    with _alone():
        if options.fresh:
            for part in chosen.values():
                part.clear()
        _plan(chosen, jobs)
        total = sum(part.seconds(jobs) for part in chosen.values())
        with tqdm(total=total, bar_format=BAR, smoothing=0, disable=None, file=sys.stderr) as bar:

            def say(line: str) -> None:
                bar.write(line, file=sys.stderr)

            def advance(seconds: float, what: str) -> None:
                bar.set_postfix_str(what, refresh=False)
                bar.update(seconds)

            for part in chosen.values():
                part.compute(jobs, say, advance)


def _plan(chosen: dict[str, Part], jobs: int) -> None:
    """Say what is missing, and how long it may take."""
    for name, part in chosen.items():
        missing, all_of_them = part.missing()
        left = f"{missing} of {all_of_them} runs to compute, {_time(part.seconds(jobs))}"
        print(f"{name:10} {left if missing else f'all {all_of_them} runs are there'}")
    if any(part.missing()[0] for part in chosen.values()):
        total = _time(sum(part.seconds(jobs) for part in chosen.values()))
        print(f"in all {total}; Ctrl-C stops, and the same command goes on", flush=True)
    else:
        print("nothing to compute; --fresh begins anew", flush=True)


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    hours = f"{minutes // 60} h " if minutes >= 60 else ""
    return f"about {hours}{minutes % 60} min" if minutes else f"about {seconds:.0f} s"


def _fail(error: object, status: int) -> int:
    line = " ".join(str(error).split()) or type(error).__name__
    print(f"results: {line}", file=sys.stderr)
    return status
