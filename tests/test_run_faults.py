"""A run in the world as it is: two at once, a full disk, closed streams, limits, odd names."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from PIL import Image
from test_kill import record
from test_training import StopNowError, stop_after

from nnlib import MLP, InputError, TrainConfig, files, load_model, resume, save_model, train
from nnlib.cli import main
from nnlib.runs import History, RunFolder, default_folder, rows_to_csv

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other limits and streams")
COMMAND = [sys.executable, "-m", "nnlib"]
SHORT = ["--epochs", "20", "--hidden", "16", "--batch-size", "8"]


def start(*words: object, **more) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more
    return subprocess.Popen([*COMMAND, *map(str, words)], **pipes)


def limited(shell: str, *words: object, seconds: int = 120) -> tuple[int, str, str]:
    """Run the command in a shell after, or about, what `shell` says: status, output, errors."""
    script = shell if "$@" in shell else f'{shell}; exec "$@"'
    whole = ["bash", "-c", script, "bash", *COMMAND, *map(str, words)]
    done = subprocess.run(whole, capture_output=True, text=True, timeout=seconds, check=False)
    return done.returncode, done.stdout, done.stderr


# ---------------------------------------------------------------- two at once


@pytest.fixture(scope="module")
def alone(own_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    run = tmp_path_factory.mktemp("alone") / "run"
    assert start("train", "--dataset", own_folder, *SHORT, "--out", run).wait() == 0
    return run


def commands(kind: str, data: Path, run: Path, alone: Path) -> list[list[object]]:
    """Return the two commands of a pair, after what must be there was made."""
    new = ["train", "--dataset", data, *SHORT, "--out", run]
    if kind == "train and search":
        ranges = ["--trials", 2, "--range", "lr=0.01:0.1", "--epochs", 1]
        return [new, ["search", "--dataset", data, *ranges, "--out", run]]
    if kind == "resume and resume":
        run.mkdir()
        shutil.copy(alone / "config.json", run)
        return [["train", "--resume", run]] * 2
    return [new, new]


@pytest.mark.parametrize("kind", ["train and train", "resume and resume", "train and search"])
@pytest.mark.parametrize(
    "pairs", [2, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])]
)
def test_of_two_at_once_one_wins_whole(
    own_folder: Path, tmp_path: Path, alone: Path, kind: str, pairs: int
) -> None:
    rng, refused = random.Random(pairs), 0
    for number in range(pairs):
        run = tmp_path / f"run{number}"
        first, second = commands(kind, own_folder, run, alone)
        processes = [start(*first)]
        time.sleep(rng.uniform(0, 0.3))
        processes.append(start(*second))
        told = [process.communicate(timeout=120) for process in processes]
        states = [process.returncode for process in processes]
        assert 0 in states, told
        for state, (_, errors) in zip(states, told, strict=True):
            if state:
                refused += 1
                assert state == 2, errors
                line = errors.splitlines()[-1]
                assert "in use" in line or "already holds" in line or "being searched" in line
        if (run / "search.json").exists():
            assert json.loads((run / "search.json").read_text())["finished"]
            assert not RunFolder(run).holds_a_run()
        else:
            assert record(run) == record(alone)
    print(f"{kind}: {refused} of {pairs} pairs refused one, every result as if alone")
    assert refused or pairs == 2


def test_a_folder_in_use_is_left_alone(own_folder: Path, tmp_path: Path) -> None:
    config = TrainConfig(dataset=str(own_folder), epochs=1)
    with RunFolder.create(tmp_path / "run"):
        with pytest.raises(InputError, match="run is in use by another process: wait for its end"):
            train(config, tmp_path / "run")
        assert [path.name for path in (tmp_path / "run").iterdir()] == [files.LOCK]
    train(config, tmp_path / "run")
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "search.json").write_text("{}")
    with pytest.raises(InputError, match="already holds a search: name another folder"):
        train(config, tmp_path / "search")


def test_what_a_killed_owner_left_half_written_goes_and_no_other_file(tmp_path: Path) -> None:
    ours = [".config.json.0123abcd.tmp", ".checkpoint.safetensors.00000000.tmp"]
    others = [".config.json.tmp", "config.json.0123abcd.tmp", ".letter.txt.0123abcd.tmp", "a.tmp"]
    for name in [*ours, *others]:
        (tmp_path / name).touch()
    with RunFolder.create(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {*others, files.LOCK}


# ---------------------------------------------------------------- what the machine refuses


@posix
@pytest.mark.parametrize(
    ("shell", "words", "says"),
    [
        ("ulimit -f 16", (), r"model.safetensors: File too large; raise the limit on a file's"),
        ("ulimit -v 1000000", ("--hidden", 11000, 11000), "out of memory"),
        (":", ("--hidden", 10**6, 10**6), "a net of 1,000,034,000,000 weights needs 11,176.3 GiB"),
    ],
)
def test_a_limit_is_one_line_that_says_what_to_do(
    own_folder: Path, tmp_path: Path, shell: str, words: tuple, says: str
) -> None:
    given = ("train", "--dataset", own_folder, "--hidden", 700, "--epochs", 1, *words)
    status, out, errors = limited(shell, *given, "--out", tmp_path / "run")
    assert (status, out) == (2, ""), errors
    assert says in errors
    assert "Traceback" not in errors
    assert len(errors.splitlines()) <= 2


@posix
def test_a_full_disk_loses_nothing(own_folder: Path, tmp_path: Path) -> None:
    """On a disk of 200 kB, made for it; where none can be made, the test of limits must do."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        words = ("train", "--dataset", own_folder, "--hidden", 400, "--epochs", 3)
        status, _, errors = limited(":", *words, "--out", disk / "run")
        assert status == 2
        assert "No space left on device; free some space" in errors.splitlines()[-1]
        subprocess.run(["mount", "-o", "remount,size=9m", "tmpfs", str(disk)], check=True)
        assert limited(":", "train", "--resume", disk / "run")[0] == 0
        assert limited(":", *words, "--out", tmp_path / "whole")[0] == 0
        assert record(disk / "run") == record(tmp_path / "whole")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@posix
@pytest.mark.parametrize(
    ("shell", "status"),
    [
        ('"$@" 2>&-', 0),
        ('"$@" <&- >&- 2>&-', 0),
        ('"$@" 2>/dev/full', 0),
        ('"$@" 2> >(exit)', 0),
        ('"$@" >/dev/full', 2),
        ('"$@" > >(exec <&-; exit)', 1),
    ],
)
def test_a_stream_that_is_closed_or_full_ends_no_run(
    own_folder: Path, tmp_path: Path, shell: str, status: int
) -> None:
    words = ("train", "--dataset", own_folder, "--epochs", 2, "--out", tmp_path / "run", "--json")
    found, out, errors = limited(shell, *words)
    assert found == status
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 3
    assert b"\0" not in (tmp_path / "run" / "config.json").read_bytes()
    if shell.startswith('"$@" 2>'):
        assert json.loads(out)["epochs"] == 2
    if status:
        assert errors.splitlines()[-1].startswith("nnlib: standard output: ")


@posix
def test_what_may_not_be_read_or_written(own_folder: Path) -> None:
    if os.geteuid() or shutil.which("setpriv") is None:
        pytest.skip("only root can become somebody else")
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        data = shutil.copytree(own_folder, Path(name) / "data")
        data.chmod(0o755)
        foreign(data, Path(name))


def foreign(data: Path, place: Path) -> None:
    """Use a run as somebody to whom neither it nor the folder about it belongs."""
    run = place / "run"
    train(TrainConfig(dataset=str(data), epochs=1), run)
    nobody = 'setpriv --reuid=65534 --regid=65534 --clear-groups "$@"'
    status, out, errors = limited(nobody, "train", "--resume", run)
    assert (status, errors) == (0, ""), "a finished run needs nothing written"
    run.joinpath("model.safetensors").chmod(0)
    more = ("train", "--resume", run, "--epochs", 2)
    new = ("train", "--dataset", data, "--out", place / "new")
    for words in (("test", run), more, new):
        status, out, errors = limited(nobody, *words)
        assert (status, out, len(errors.splitlines())) == (2, "", 1), errors
        assert "Permission denied; change its permissions, or choose another place" in errors


# ---------------------------------------------------------------- long and large


def test_a_checkpoint_does_not_grow_and_rows_are_appended(own_folder: Path, tmp_path: Path) -> None:
    sizes = []

    def look(progress) -> None:
        if progress.row:
            run = tmp_path / "run"
            stat = (run / "history.csv").stat()
            sizes.append(((run / "checkpoint.safetensors").stat().st_size, stat.st_ino))

    train(TrainConfig(dataset=str(own_folder), epochs=30, hidden=(4,)), tmp_path / "run", look)
    assert max(size for size, _ in sizes) - min(size for size, _ in sizes) <= 8  # more digits
    assert len({inode for _, inode in sizes[1:]}) == 1, "the table is rewritten"


def test_the_best_row_is_found_without_looking_at_all() -> None:
    class Row(dict):
        looks = 0

        def __getitem__(self, name):
            Row.looks += 1
            return super().__getitem__(name)

    history, best = History(), []
    for number, value in enumerate(np.random.default_rng(0).random(500)):
        history.rows.append(Row(epoch=number + 1, val_accuracy=value))
        best.append(history.best["epoch"])
    assert Row.looks < 10 * 500
    values = [row.get("val_accuracy") for row in history.rows]
    assert best == [values.index(max(values[: n + 1])) + 1 for n in range(500)]


def test_an_augmentation_that_cannot_be_is_refused_before_anything_is_written(
    own_folder: Path, tmp_path: Path
) -> None:
    config = TrainConfig(dataset=str(own_folder), cutout=50)
    with pytest.raises(InputError, match="cutout must be at most the image's shorter side"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_last_checkpoint_never_takes_the_other_s_place(own_folder, tmp_path) -> None:
    config, run = TrainConfig(dataset=str(own_folder), epochs=5), tmp_path / "run"
    with pytest.raises(StopNowError):
        train(config, run, stop_after(3))
    (run / "checkpoint.safetensors").write_bytes(b"nothing")
    with pytest.warns(UserWarning, match="going on"), pytest.raises(StopNowError):
        resume(run, stop_after(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resume(run)
    train(config, tmp_path / "whole")
    assert record(run) == record(tmp_path / "whole")


def test_rows_after_the_checkpoint_are_cut_off(own_folder: Path, tmp_path: Path) -> None:
    config, run = TrainConfig(dataset=str(own_folder), epochs=4), tmp_path / "run"
    with pytest.raises(StopNowError):
        train(config, run, stop_after(2))
    for name in ("history.csv", "diagnostics.csv"):
        with (run / name).open("a") as stream:
            stream.write((run / name).read_text().splitlines()[-1] + "\n3,0.1,0.")
    resume(run)
    train(config, tmp_path / "whole")
    assert record(run) == record(tmp_path / "whole")
    tables = [(run / "diagnostics.csv").read_text() for run in (run, tmp_path / "whole")]
    assert tables[0] == tables[1]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_net_of_a_gibibyte_is_saved_tested_and_resumed(tmp_path: Path) -> None:
    patient = partial(limited, ":", seconds=400)
    words = ("--dataset", "digits", "--train-size", 64, "--hidden", 16400, 16400, "--lr", 0.001)
    status, _, errors = patient("train", *words, "--epochs", 1, "--out", tmp_path / "run")
    assert status == 0, errors
    assert (tmp_path / "run" / "model.safetensors").stat().st_size > 2**30
    status, _, errors = patient("test", tmp_path / "run", "--json")
    assert status == 0, errors
    status, _, errors = patient("train", "--resume", tmp_path / "run", "--epochs", 2)
    assert status == 0, errors


# ---------------------------------------------------------------- names


def test_default_names_fit_into_any_file_system() -> None:
    for words in (
        ("digits", "x".join(["128"] * 60), "relu"),
        ("数" * 120, "8", "gelu"),
        ("a", "b"),
    ):
        name = default_folder(*words).name
        assert len(name.encode()) < 143
        assert name.startswith(words[0][:33])


ESCAPES = ["\x1b]0;title\x07", "\x1b[2J", "three\r\n"]


def test_escape_codes_of_a_file_do_not_reach_the_terminal(tmp_path: Path, capsys) -> None:
    model = MLP([4, 3])
    model.info = {"classes": ESCAPES, "dataset": "\x1b[31m"}
    save_model(model, tmp_path / "m.safetensors")
    Image.fromarray(np.full((2, 2), 200, np.uint8)).save(tmp_path / "one.png")
    main(["predict", str(tmp_path / "m.safetensors"), str(tmp_path / "one.png")])
    main(["test", str(tmp_path / "m.safetensors"), "--dataset", "\x1b[31mdigits"])
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err
    assert "\r" not in told.out


@pytest.mark.parametrize(
    ("info", "says"),
    [
        ({"classes": ["a", "b"]}, "info's classes must be 3 texts"),
        ({"classes": [1, 2, 3]}, "info's classes must be 3 texts"),
        ({"classes": "abc", "image_shape": [2, 2]}, "info's classes"),
        ({"image_shape": [4]}, r"info's image_shape must be .* of 4 inputs, got \[4\]"),
        ({"image_shape": 4}, "info's image_shape must be two sides"),
        ({"classes": None}, "info's classes must be 3 texts, got None"),
        ({"image_shape": [2.0, 2]}, r"info's image_shape must be .* of 4 inputs, got \[2.0"),
        ({"dataset": 5}, "info's dataset must be of type str, got 5"),
        ([], "info must be of type dict"),
    ],
)
def test_an_info_that_others_would_misread_is_refused(tmp_path: Path, info, says: str) -> None:
    model, path = MLP([4, 3]), tmp_path / "m.safetensors"
    model.info = info
    with pytest.raises(InputError, match=says):
        save_model(model, path)
    metadata = {"format": 1, "architecture": model.architecture, "info": info,
                "scaling": {"offset": 0.0, "factor": 1.0}}  # fmt: skip
    files.save_tensors(path, model.state(), metadata)
    with pytest.raises(InputError, match=says):
        load_model(path)


@pytest.mark.parametrize("text", ["=cmd()", "+1+1", "-2+3", "@SUM(A1)"])
def test_a_table_runs_nothing_in_a_spreadsheet(text: str) -> None:
    assert rows_to_csv([{"name": text, "rate": -0.5}]) == f"name,rate\n'{text},-0.5\n"
