"""Training killed at any moment goes on as if nothing had happened, to the byte."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SETTINGS = ["--hidden", "64", "32", "--epochs", "12", "--batch-size", "8", "--optimizer", "adamw",
            "--lr", "0.003", "--schedule", "cosine", "--dropout", "0.1", "--batch-norm",
            "--average", "0.99", "--shift", "1"]  # fmt: skip


def start(*words: str) -> subprocess.Popen:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", "nnlib", "train", *words], **quiet)


def finish(*words: str) -> float:
    """Run to the end; return the seconds it took."""
    begin, process = time.monotonic(), start(*words)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    return time.monotonic() - begin


def kill_after(seconds: float, *words: str) -> bool:
    """Kill a run after so many seconds; True if it was still going."""
    process = start(*words)
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    assert process.returncode == 0, errors.decode()
    return False


def record(run: Path) -> tuple[bytes, list[dict]]:
    """Return the weights' bytes and the history without the seconds."""
    rows = list(csv.DictReader((run / "history.csv").open()))
    kept = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    return (run / "model.safetensors").read_bytes(), kept


def killed_run(folder: Path, dataset: Path, kills: int, seed: int) -> tuple[int, int]:
    """Kill runs at random moments, resuming each; return how many kills hit, in how many runs."""
    rng = random.Random(seed)
    settings = ["--dataset", str(dataset), *SETTINGS]
    duration = finish(*settings, "--out", str(folder / "whole"))
    expected, hits, runs = record(folder / "whole"), 0, 0
    while hits < kills:
        run, runs = folder / f"run{runs}", runs + 1
        words = [*settings, "--out", str(run)]
        while hits < kills and kill_after(rng.uniform(0.2, 0.9) * duration, *words):
            hits += 1
            words = ["--resume", str(run)] if (run / "config.json").exists() else words
        finish("--resume", str(run)) if (run / "config.json").exists() else finish(*words)
        assert record(run) == expected
    return hits, runs


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    "kills", [5, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_killed_and_resumed(tmp_path: Path, own_folder: Path, kills: int) -> None:
    hits, runs = killed_run(tmp_path, own_folder, kills, seed=kills)
    print(f"{hits} kills over {runs} runs: every checkpoint readable, all bytes equal")
    assert hits == kills
