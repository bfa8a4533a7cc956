"""A search killed at random moments, whole or a worker of it, loses and repeats no trial."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import optuna
import pandas as pd
import pytest

from nnlib.search.workers import ATTEMPTS

TRIALS = 12
SEARCH = f"""
import sys
from nnlib.config import TrainConfig
from nnlib.search.run import Range, run_search
config = TrainConfig(dataset="digits", hidden=(64,), epochs=int(sys.argv[2]))
run_search(config, {{"lr": Range(0.01, 0.5, log=True)}}, {TRIALS}, pruner="median", jobs=2,
           out=sys.argv[1], on_trial=lambda row, _: print(row["number"], flush=True))
"""
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="finds workers through /proc"
)
how_often = pytest.mark.parametrize(
    "kills", [3, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)


def start(out: Path, epochs: int) -> subprocess.Popen:
    command = [sys.executable, "-c", SEARCH, str(out), str(epochs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def workers_of(search: subprocess.Popen) -> list[str]:
    """Return the processes that the threads of a search have started."""
    started = []
    for children in Path(f"/proc/{search.pid}/task").glob("*/children"):
        with suppress(OSError):
            started += children.read_text().split()
    return started


def ended(search: subprocess.Popen) -> list[int]:
    """Wait for a search's end, and return the trials that it finished itself."""
    out, err = search.communicate(timeout=300)
    assert search.returncode in (0, -signal.SIGKILL), err
    return [int(line) for line in out.splitlines()]


def record(out: Path) -> pd.DataFrame:
    """Return the finished trials by number, read from the study itself."""
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(out / "study.log"))
    )
    trials = optuna.load_study(study_name="search", storage=storage).get_trials(
        states=(optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    )
    rows = [{"number": t.number, "lr": t.params["lr"], "value": t.value,
             "outcome": repr(t.user_attrs["outcome"])} for t in trials]  # fmt: skip
    return pd.DataFrame(rows).set_index("number").sort_index()


def check_whole(out: Path) -> None:
    """Check that a search has every trial once, in its table and in its study."""
    assert list(record(out).index) == list(range(TRIALS))
    table = pd.read_csv(out / "trials.csv")
    assert sorted(table["number"]) == list(range(TRIALS))
    assert set(table["state"]) <= {"complete", "pruned"}


@how_often
def test_the_whole_search_killed(kills: int, tmp_path: Path) -> None:
    rng, begin = random.Random(kills), time.monotonic()
    ended(start(tmp_path / "0", epochs=100))
    duration, hits, searches, kept = time.monotonic() - begin, 0, 0, 0
    while hits < kills:
        searches += 1
        out, finished, before = tmp_path / str(searches), [], None
        while True:
            search = start(out, epochs=100)
            if hits < kills:
                try:
                    search.wait(rng.uniform(0.1, 0.8) * duration)
                except subprocess.TimeoutExpired:
                    search.kill()
                    hits += 1
            finished += ended(search)
            if search.returncode == 0:
                break
            if finished:
                now = record(out)
                assert set(finished) <= set(now.index), "a finished trial is lost"
                if before is not None:
                    pd.testing.assert_frame_equal(now.loc[before.index], before)
                before, kept = now, kept + len(now)
        assert len(finished) == len(set(finished)), "a trial was counted twice"
        check_whole(out)
    print(f"{hits} kills over {searches} searches: {kept} finished trials all there, none twice")
    assert kept or kills < 20, "no kill fell between two trials"


@how_often
def test_single_workers_killed(kills: int, tmp_path: Path) -> None:
    """In each search as many as a single trial may lose, should it be hit every time."""
    rng, hits, searches = random.Random(kills), 0, 0
    while hits < kills:
        searches += 1
        out, search = tmp_path / str(searches), start(tmp_path / str(searches), epochs=200)
        most = min(kills, hits + ATTEMPTS - 1)
        while hits < most and search.poll() is None:
            time.sleep(rng.uniform(0.5, 1.5))
            workers = workers_of(search)
            if workers and search.poll() is None:
                os.kill(int(rng.choice(workers)), signal.SIGKILL)
                hits += 1
        finished = ended(search)
        assert sorted(finished) == list(range(TRIALS)), "a trial is lost, or counted twice"
        check_whole(out)
    print(f"{hits} workers killed over {searches} searches: every trial there, none twice")
