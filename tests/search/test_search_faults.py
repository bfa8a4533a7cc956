"""Nothing of the user's is lost, nothing altered believed; a failed machine is no failed trial."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnlib.checks import InputError
from nnlib.config import TrainConfig
from nnlib.search import Choice, Range, cluster, run, run_search
from nnlib.search.workers import IMAGES, train_trial
from nnlib.trainer import DivergedError

CONFIG = TrainConfig(dataset="digits", hidden=(4,), epochs=1)
LR = {"lr": Range(0.01, 0.5, log=True)}


def everything(folder: Path) -> dict[str, bytes | None]:
    """Return all that a folder holds, file by file."""
    paths = (path for path in folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in paths}


@contextmanager
def telling(told: list[str]):
    """Note the line of an InputError, and let it pass."""
    try:
        yield
    except InputError as error:
        told.append(str(error))
        raise


def search_in(folder: Path, trials: int = 2, **more) -> run.SearchResult:
    return run_search(CONFIG, LR, trials, out=folder, **more)


# ---------------------------------------------------------------- what is not ours


@pytest.mark.parametrize(
    "name", ["images/holiday.jpg", "trials.csv", "study.log", ".held", "x.tmp"]
)
def test_a_folder_of_the_user_s_is_refused_before_anything_is_written(name, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(InputError, match=r"is no search's, it holds '.*': name a new folder"):
        search_in(tmp_path)
    assert everything(tmp_path) == before


def test_what_the_user_keeps_in_a_search_s_folder_stays(quick, tmp_path):
    search_in(tmp_path / "s")
    for name in ("images/mine.png", "notes.tmp", "trials/0000/why.txt"):
        (tmp_path / "s" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "s" / name).write_text("mine")
    search_in(tmp_path / "s", 3)
    mine = [path for path in (tmp_path / "s").rglob("*") if path.is_file()]
    assert sum(path.read_bytes() == b"mine" for path in mine) == 3


def test_a_search_that_is_refused_touches_nothing_of_the_one_that_runs(tmp_path):
    folder = tmp_path / "s"
    search_in(folder)
    (folder / f"{IMAGES}1234").mkdir()
    (folder / f"{IMAGES}1234" / "000.npy").write_bytes(b"the first one's")
    before = everything(folder)
    with FileLock(folder / ".lock"), pytest.raises(InputError, match="by another process"):
        search_in(folder, 3)
    with FileLock(folder / ".study.log.held"), pytest.raises(InputError, match="another search"):
        run_search(CONFIG, LR, 3, out=tmp_path / "t", storage=folder / "study.log")
    assert everything(folder) == before
    assert not (tmp_path / "t").exists()


def test_what_a_killed_search_left_is_swept_at_the_next_start(quick, tmp_path):
    search_in(tmp_path / "s")
    left = [f"{IMAGES}abcd/000.npy", ".trials.csv.0123abcd.tmp",
            "trials/0001/seed-0/.model.safetensors.0123abcd.tmp"]  # fmt: skip
    for name in left:
        (tmp_path / "s" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "s" / name).touch()
    search_in(tmp_path / "s")
    assert not any((tmp_path / "s" / name).exists() for name in left)


SCRIPT = """
import sys
from nnlib.config import TrainConfig
from nnlib.search.run import Range, run_search
config = TrainConfig(dataset="digits", hidden=(64,), epochs=25)
print(len(run_search(config, {"lr": Range(0.01, 0.5)}, int(sys.argv[2]), out=sys.argv[1]).rows))
"""


def start(folder: Path, trials: int) -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, str(folder), str(trials)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_search_that_is_told_to_end_leaves_none_of_its_images(name, tmp_path):
    search, number = start(tmp_path / "s", 200), getattr(signal, name)
    while not (tmp_path / "s" / "trials.csv").exists():
        assert search.poll() is None, search.stderr.read()
        time.sleep(0.02)
    search.send_signal(number)
    _, err = search.communicate(timeout=60)
    assert (search.returncode, err) == (128 + number, "")
    assert not list((tmp_path / "s").glob(f"{IMAGES}*"))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_of_fifty_pairs_started_at_once_one_searches_and_the_other_says_so(tmp_path):
    refused = 0
    for pair in range(50):
        both = [start(tmp_path / str(pair), 3), start(tmp_path / str(pair), 3)]
        told = [search.communicate(timeout=120) for search in both]
        for search, (out, err) in zip(both, told, strict=True):
            refused += search.returncode
            says = "name another folder" if search.returncode else ""
            assert says in err, err
            assert out == ("" if search.returncode else "3\n")
        assert 0 in [search.returncode for search in both]
        table = (tmp_path / str(pair) / "trials.csv").read_text()
        assert table.count("complete") == 3
    print(f"50 pairs: {refused} were refused, the other search was whole each time")


# ---------------------------------------------------------------- what fails outside a trial


def outcome_of(error: Exception, cause: Exception | None = None):
    def report(*_):
        raise error from cause

    return train_trial(CONFIG.load(), [CONFIG], Path("nowhere"), report)


@pytest.mark.parametrize(
    ("error", "cause", "result"),
    [
        (InputError("a batch of one"), None, {"reason": "a batch of one"}),
        (DivergedError("loss is nan"), None, {"reason": "loss is nan"}),
        (InputError("cannot write x"), OSError(28, "full"), {"lost": "cannot write x"}),
        (OSError(28, "full"), None, {"lost": "OSError: [Errno 28] full"}),
        (MemoryError("3 GiB"), None, {"lost": "MemoryError: 3 GiB"}),
        (KeyError("bug"), None, {"lost": "KeyError: 'bug'"}),
    ],
)
def test_what_fails_outside_a_trial_is_not_its_result(error, cause, result):
    assert outcome_of(error, cause) == result


def test_trials_that_a_machine_failed_run_again_by_the_same_command(tmp_path):
    search_in(tmp_path / "s", 1)
    os.rename(tmp_path / "s" / "trials", tmp_path / "elsewhere")
    (tmp_path / "s" / "trials").write_text("a file in the way")
    with pytest.raises(ChildProcessError, match=r"trial 3 was lost, and 2 more \(.*give the same"):
        search_in(tmp_path / "s", 9)
    assert (tmp_path / "s" / "trials.csv").read_text().count("\n") == 2, "three in a row are enough"
    (tmp_path / "s" / "trials").unlink()
    result = search_in(tmp_path / "s", 9)
    assert [row["state"] for row in result.rows] == ["complete"] * 9


def test_one_that_is_lost_costs_no_other_its_turn(quick, monkeypatch, tmp_path):
    def train(data, configs, folder, report):
        too_large = configs[0].hidden == (9,) and large.exists()
        return {"lost": "MemoryError"} if too_large else train_trial(data, configs, folder, report)

    large = tmp_path / "large"
    large.touch()
    monkeypatch.setattr(quick, "trainer", staticmethod(train))
    call = (CONFIG, {"hidden": Choice([4, 9, 5, 6])}, 4)
    with pytest.raises(ChildProcessError, match=r"trial \d was lost \(MemoryError\); give"):
        run_search(*call, out=tmp_path / "s")
    assert (tmp_path / "s" / "trials.csv").read_text().count("complete") == 3
    assert not json.loads((tmp_path / "s" / "search.json").read_text())["finished"]
    large.unlink()
    assert len(run_search(*call, out=tmp_path / "s").rows) == 4


# ---------------------------------------------------------------- what was altered

ABOUT = ["null", "[]", "{", "", "3", '{"settings": null, "owner": "a", "finished": true}',
         '{"settings": {}}']  # fmt: skip


@pytest.mark.parametrize("about", ABOUT)
def test_a_damaged_search_json_is_told_or_passed_over(about, quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    damaged = tmp_path / "runs" / "search-old" / "search.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text(about)
    with pytest.raises(InputError, match=r"search\.json is not .* restore") as error:
        search_in(damaged.parent)
    assert "\n" not in str(error.value)
    with pytest.warns(UserWarning, match="is passed over"):
        assert len(run_search(CONFIG, LR, 1).rows) == 1
    assert [path.name for path in damaged.parent.iterdir() if path.name != ".lock"] == [
        "search.json"
    ]


JUNK = st.sampled_from([None, [], {}, True, -1, 0, 1, 2, 0.5, 1e300, "", "x", [1], {"a": []}])


def altered(draw, lines: list[str]) -> list[str]:
    """Return the lines of a journal, one of them gone, doubled, cut, or altered."""
    n, how = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, 6))
    if how == 0:
        return lines[:n] + lines[n + 1 :]
    if how == 1:
        return [*lines[: n + 1], *lines[n:]]
    if how == 2:
        return [*lines[:n], json.dumps(draw(JUNK)), *lines[n + 1 :]]
    if how == 3:
        return [*lines[:n], lines[n][: draw(st.integers(0, len(lines[n])))], *lines[n + 1 :]]
    entry = json.loads(lines[n])
    place = entry
    while isinstance(place, dict) and place:
        key = draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or draw(st.booleans()):
            break
        place = place[key]
    else:
        return lines
    if how == 4:
        del place[key]
    else:
        place[key] = draw(JUNK)
    return [*lines[:n], json.dumps(entry), *lines[n + 1 :]]


@pytest.mark.parametrize(
    "examples",
    [40, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])],
)
def test_an_altered_journal_is_refused_in_one_line_or_changes_no_result(examples, quick, tmp_path):
    folder, seen = tmp_path / "s", {"refused": 0, "whole": 0}
    right = {row["number"]: row for row in search_in(folder, 3, pruner="median").rows}
    journal = folder / "study.log"
    lines = journal.read_text().splitlines()

    @settings(max_examples=examples, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.data())
    def check(data):
        journal.write_text("".join(f"{line}\n" for line in altered(data.draw, lines)))
        told = []
        with suppress(InputError), telling(told):
            rows = search_in(folder, 3, pruner="median").rows
        if told:
            seen["refused"] += 1
            assert "\n" not in told[0]
            return
        seen["whole"] += 1
        for row in rows:
            same = dict.fromkeys(("lr", "val_accuracy", "best_epoch", "state"))
            assert {k: row[k] for k in same} == {k: right[row["number"]][k] for k in same}
        assert len(rows) == 3

    check()
    print(f"{examples} altered journals: {seen}")


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "address",
    ["postgresql://me:open@sesame@host/db", "postgresql://me:open/sesame@host/db",
     "postgresql://me:open?sesame@host/db", "postgresql://me:open#sesame@host/db",
     "postgresql:/me:sesame@host/db", "postgresql:me:sesame@host/db",
     Path("postgresql://me:sesame@host/db")],
)  # fmt: skip
def test_a_password_that_can_be_misread_is_refused_and_not_repeated(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"with %40 for an @, %2F for a / ") as error:
        run_search(CONFIG, LR, 1, storage=address)
    assert "sesame" not in str(error.value)
    assert not list(tmp_path.iterdir())


GARBAGE = [b"HTTP/1.0 400 Bad\r\n\r\n", b"\x02" + bytes(31), bytes(16), b"\xff" * 64,
           (8).to_bytes(8, "little") + bytes(8)]  # fmt: skip


@pytest.mark.parametrize("answer", GARBAGE, ids=range(len(GARBAGE)))
def test_what_is_no_scheduler_is_told_in_one_line(answer, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    server.accept()[0].sendall(answer)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(InputError, match=f"cannot use the scheduler {address}: ") as error:
            run_search(CONFIG, LR, 1, scheduler=address, out=tmp_path / "s")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "s").exists()
