"""A search on a Dask cluster and in a PostgreSQL database, both of them real and on loopback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import distributed
import pandas as pd
import pytest

from nnlib.checks import InputError
from nnlib.config import TrainConfig
from nnlib.search import cluster
from nnlib.search.run import Range, run_search

pytestmark = pytest.mark.timeout(90)
CONFIG = TrainConfig(dataset="digits", hidden=(16,), epochs=9)
LR = {"lr": Range(0.01, 0.5, log=True)}


def wait_until(happened, what: str, seconds: float = 60):
    """Return the first true value of `happened`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := happened():
            return value
        time.sleep(0.02)
    raise TimeoutError(f"{what}: not after {seconds} s")


# ---------------------------------------------------------------- a Dask cluster

COUNTING = """
import os
import shutil
from nnlib.data import Dataset

def arrive(self, state):
    with open({arrivals!r}, "a") as stream:
        stream.write(f"{{os.getpid()}}\\n")
    self.__dict__.update(state)

Dataset.__setstate__ = arrive
"""


class Cluster:
    """A scheduler and its workers, each a process of its own, on loopback at free ports."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, []
        self.arrivals = folder / "arrivals"
        (folder / "counting.py").write_text(COUNTING.format(arrivals=str(self.arrivals)))
        scheduler_file = folder / "scheduler.json"
        self.scheduler = self.start("scheduler", "--port", "0", "--scheduler-file", scheduler_file)
        wait_until(lambda: scheduler_file.exists() and scheduler_file.read_text(), "a scheduler")
        self.address = json.loads(scheduler_file.read_text())["address"]

    def start(self, *words: object) -> subprocess.Popen:
        words = [*map(str, words), "--host", "127.0.0.1", "--no-dashboard"]
        env = os.environ | {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s"}  # to a dead worker
        with (self.folder / f"{len(self.processes)}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *words],
                cwd=self.folder, stdout=log, stderr=log, env=env,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def start_worker(self) -> subprocess.Popen:
        options = ["--nthreads", "1", "--no-nanny", "--preload", self.folder / "counting.py"]
        return self.start("worker", self.address, *options)

    def start_workers(self, number: int) -> list[subprocess.Popen]:
        """Start several, and wait until all of them may be given work."""
        workers = [self.start_worker() for _ in range(number)]
        with distributed.Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(number, timeout=60)
        return workers

    def data_arrivals(self) -> list[str]:
        """The worker processes that received a data set, one entry each time."""
        return self.arrivals.read_text().split() if self.arrivals.exists() else []

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def dask(tmp_path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    started = Cluster(folder)
    try:
        yield started
    finally:
        started.stop()


def test_a_cluster_gives_the_trials_and_models_of_one_machine(dask, tmp_path):
    workers = dask.start_workers(2)
    call = {"seeds": 2}
    far = run_search(CONFIG, LR, 6, **call, scheduler=dask.address, out=tmp_path / "far")
    near = run_search(CONFIG, LR, 6, **call, out=tmp_path / "near")
    pd.testing.assert_frame_equal(
        far.table.drop(columns="seconds"), near.table.drop(columns="seconds")
    )
    for model in (tmp_path / "near").rglob("model.safetensors"):
        there = tmp_path / "far" / model.relative_to(tmp_path / "near")
        assert there.read_bytes() == model.read_bytes()
    arrived = dask.data_arrivals()
    assert len(set(arrived)) == len(arrived) == len(workers), "the data travel once to each"


def test_a_dead_worker_has_its_trial_run_by_another_and_pruning_goes_on(dask, tmp_path):
    workers = dask.start_workers(2)

    def strike(row, _):
        if row["number"] == 0:
            workers.pop().kill()
            dask.start_worker()

    call = {"pruner": "halving", "scheduler": dask.address, "on_trial": strike}
    table = run_search(CONFIG, LR, 16, **call, out=tmp_path / "s").table
    assert sorted(table["number"]) == list(range(16))
    assert set(table["state"]) == {"complete", "pruned"}
    for number, state in zip(table["number"], table["state"], strict=True):
        kept = tmp_path / "s" / "trials" / f"{number:04d}" / "seed-0" / "model.safetensors"
        assert kept.exists() == (state == "complete")


def test_the_data_outlive_every_worker_that_held_them(dask, tmp_path):
    only = [dask.start_worker()]

    def strike(row, _):
        if len(only) == 1:
            only[0].kill()
            only[0].wait()
            only.append(dask.start_worker())

    out, config = tmp_path / "s", replace(CONFIG, epochs=200)
    result = run_search(config, LR, 4, scheduler=dask.address, out=out, on_trial=strike)
    assert [row["state"] for row in result.rows] == ["complete"] * 4
    assert sorted(set(dask.data_arrivals())) == sorted(str(worker.pid) for worker in only)


SEARCH = """
import json, sys
from nnlib.search import ledger
from nnlib.config import TrainConfig
from nnlib.search.run import Range, run_search
ledger.BEAT, ledger.GRACE = 0.2, 2.0
call = json.loads(sys.argv[1])
config = TrainConfig(dataset="digits", hidden=(16,), epochs=call.pop("epochs"))
result = run_search(config, {"lr": Range(0.01, 0.5, log=True)}, **call,
                    on_trial=lambda row, _: print(row["number"], flush=True))
"""


def start_search(folder: Path, **call) -> subprocess.Popen:
    """Start a search in a process of its own, which prints the number of each trial that ends."""
    command = [sys.executable, "-c", SEARCH, json.dumps(call)]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def numbers_before_the_kill(search: subprocess.Popen, trials: int) -> list[int]:
    """Kill a search after so many trials, and return which these were."""
    lines = [search.stdout.readline() for _ in range(trials)]
    assert all(lines), f"it ended by itself: {search.communicate()[1]}"
    search.kill()
    numbers = [int(line) for line in lines]
    return numbers + [int(line) for line in the_rest(search)[0].splitlines()]


def the_rest(search: subprocess.Popen) -> tuple[str, str]:
    """Read to the end what a process prints; communicate would lose what readline read ahead."""
    printed = search.stdout.read(), search.stderr.read()
    search.wait()
    return printed


def test_a_killed_search_on_a_cluster_goes_on_where_it_stood(dask, tmp_path):
    dask.start_workers(2)
    call = {"epochs": 20, "trials": 12, "pruner": "median", "out": str(tmp_path / "s")}
    call["scheduler"] = dask.address
    done = numbers_before_the_kill(start_search(tmp_path, **call), 3)
    read = partial(pd.read_csv, tmp_path / "s" / "trials.csv", index_col="number", na_filter=False)
    before = read()
    again = start_search(tmp_path, **call)
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    table = read()
    assert sorted(table.index) == list(range(12))
    assert not set(done) & {int(line) for line in out.split()}, "a finished trial ran again"
    pd.testing.assert_frame_equal(table.loc[before.index], before)


def test_a_cluster_stops_the_trials_of_a_search_that_is_gone(dask, tmp_path):
    dask.start_worker()
    for pruner in ("none", "median"):
        out = tmp_path / pruner
        call = {"trials": 1, "pruner": pruner, "scheduler": dask.address}
        endless = start_search(tmp_path, epochs=1_000_000, out=str(out / "endless"), **call)
        journal = out / "endless" / "study.log"
        wait_until(lambda j=journal: j.exists() and '"step":20' in j.read_text(), "20 epochs")
        endless.kill()
        endless.wait()
        start = time.monotonic()
        run_search(CONFIG, LR, 1, scheduler=dask.address, out=out / "next")
        assert time.monotonic() - start < 30, "the only worker is free again"


def test_a_scheduler_that_cannot_be_used_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_port = silent.getsockname()[1]
        for address, says in [
            ("tcp://127.0.0.1:9", r"Timed out trying to connect .* \(waited 1\.\d s\)"),
            (f"tcp://127.0.0.1:{silent_port}", r"it is no Dask scheduler \(waited [12]\.\d s\)"),
            ("nowhere", "missing port number"),
            ("pigeon://127.0.0.1:1", "unknown address scheme 'pigeon'"),
        ]:
            with pytest.raises(InputError, match=says) as error:
                run_search(CONFIG, LR, 2, scheduler=address, out=tmp_path / "s")
            assert f"cannot use the scheduler {address}: " in str(error.value)
            assert "\n" not in str(error.value)
            assert not (tmp_path / "s").exists()


def test_a_scheduler_without_workers_and_one_that_goes_away(dask, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT", 1.0)
    with pytest.raises(InputError, match=r"it has no worker \(waited"):
        run_search(CONFIG, LR, 2, scheduler=dask.address, out=tmp_path / "s")
    dask.start_workers(1)
    monkeypatch.setattr(cluster, "CONNECT", 10.0)
    config = replace(CONFIG, epochs=60)

    def strike(row, _):
        dask.scheduler.kill()
        dask.scheduler.wait()

    with pytest.raises(ConnectionError, match="lost the scheduler tcp://"):
        run_search(config, LR, 9, scheduler=dask.address, out=tmp_path / "s", on_trial=strike)
    done = pd.read_csv(tmp_path / "s" / "trials.csv")
    result = run_search(config, LR, 9, out=tmp_path / "s")
    assert sorted(result.table["number"]) == list(range(9)), "it goes on without a cluster"
    assert set(done["number"]) <= set(result.table["number"])


# ---------------------------------------------------------------- PostgreSQL

PASSWORD = "open-sesame"


def postgres_programs() -> Path | None:
    """Return the folder of the system's PostgreSQL, the newest where there are several."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: len(str(p)))
    there = shutil.which("initdb") or (found[-1] if found else None)
    return Path(there).resolve().parent if there else None


def server_account() -> dict[str, str]:
    """Return whom the server runs as: it refuses to be root."""
    if os.name == "nt" or os.geteuid():
        return {}
    return {"user": "nobody"}


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a new PostgreSQL server's database, which a password protects."""
    pytest.importorskip("psycopg", reason="psycopg is not installed", exc_type=ImportError)
    programs = postgres_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL server on this system")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    account = server_account()
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        if account:
            shutil.chown(folder, **account)
        secret, data = Path(folder, "secret"), Path(folder, "data")
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        initdb = [programs / "initdb", "-D", data, "-U", "nn", "--auth=scram-sha-256", "-N"]
        quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([*initdb, f"--pwfile={secret}"], check=True, **account, **quiet)
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", folder]
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", port, *options], **account, **quiet
        )
        try:
            ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", port]
            wait_until(lambda: subprocess.run(ready).returncode == 0, "a PostgreSQL server")
            yield f"postgresql+psycopg://nn:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()


@pytest.fixture
def database(postgres: str) -> str:
    """The URL of an empty database."""
    import psycopg

    name = f"study_{time.monotonic_ns()}"
    with psycopg.connect(postgres.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres.rpartition("/")[0] + f"/{name}"


def test_two_machines_share_a_study_and_one_takes_over_from_the_dead(database, tmp_path):
    call = {
        "epochs": 90,
        "trials": 20,
        "pruner": "median",
        "storage": database,
    }  # longer than a look
    dying = start_search(tmp_path, out=str(tmp_path / "dying"), **call)
    other = start_search(tmp_path, out=str(tmp_path / "other"), **call)
    first = other.stdout.readline()
    by_dying = numbers_before_the_kill(dying, 1)
    out, err = the_rest(other)
    assert other.returncode == 0, err
    by_other = [int(line) for line in [first, *out.split()]]
    table = pd.read_csv(tmp_path / "other" / "trials.csv")
    assert sorted(table["number"]) == list(range(20))
    unseen = set(range(20)) - set(by_dying) - set(by_other)
    assert len(unseen) <= 1, "only the one that was written as its process died went unprinted"
    assert not set(by_dying) & set(by_other), "a trial was counted twice"
    assert len(by_other) == len(set(by_other))
    back = start_search(tmp_path, out=str(tmp_path / "dying"), **call)
    out, err = back.communicate(timeout=60)
    assert (back.returncode, out) == (0, ""), f"nothing is left to do: {err}"
    again = pd.read_csv(tmp_path / "dying" / "trials.csv")
    pd.testing.assert_frame_equal(again, table)
    written = [p for p in tmp_path.rglob("*") if p.is_file() and PASSWORD in p.read_text("latin1")]
    assert not written, "a password stays where it was given"


def test_a_database_of_another_search_is_refused(database, tmp_path):
    run_search(CONFIG, LR, 1, storage=database, out=tmp_path / "s")
    with pytest.raises(InputError, match="the storage holds another search, with lr in"):
        run_search(CONFIG, {"lr": Range(0.1, 0.2)}, 1, storage=database, out=tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_a_wrong_password_is_told_without_the_password(postgres, tmp_path):
    wrong = postgres.replace(PASSWORD, "swordfish") + "?application_name=swordfish"
    with pytest.raises(InputError, match="password authentication failed") as error:
        run_search(CONFIG, LR, 1, storage=wrong, out=tmp_path / "s")
    assert "swordfish" not in str(error.value)
    assert "\n" not in str(error.value)
    assert f"{postgres.rpartition('@')[2]}: " in str(error.value)


def test_a_database_that_goes_away_ends_the_search_in_one_line(database, tmp_path):
    import psycopg

    name = database.rpartition("/")[2]
    admin = database.replace("+psycopg", "").rpartition("/")[0] + "/postgres"

    def strike(row, _):
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    config = replace(CONFIG, epochs=200)  # the next trial is under way when the first is told
    with pytest.raises(ConnectionError, match=f"lost the storage .*{name}") as error:
        run_search(config, LR, 9, storage=database, out=tmp_path / "s", on_trial=strike)
    assert PASSWORD not in str(error.value)
    assert "\n" not in str(error.value)
    assert len(pd.read_csv(tmp_path / "s" / "trials.csv")) == 1
