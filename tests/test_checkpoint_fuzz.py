"""Runs whose files were edited: resumed, or refused in one line with the folder as it was."""

import json
import random
import shutil
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_model_fuzz import extend, flip, join, lie_about_a_tensor, lie_about_length, truncate
from test_model_fuzz import split as parts

from nnlib import InputError, TrainConfig, load_model, resume, train

CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"
RUN = {"hidden": (6, 5), "epochs": 4, "batch_size": 64, "optimizer": "adamw", "lr": 0.01,
       "schedule": "cosine", "dropout": 0.2, "batch_norm": True, "average": 0.9}  # fmt: skip
STRANGE = [None, [], {}, "x", "abc", -1, 0, 1, 1.5, 1e308, 10**12, 10**29, [10**9, 10**9], True,
           float("nan"), float("inf"), "../../x", [6, [5], 3], {"state": 1}, ""]  # fmt: skip


class EnoughError(Exception):
    """The run was resumed, and has trained as far as it is to be watched."""


def stop_at(epoch: int):
    def watch(progress) -> None:
        if progress.row and progress.row["epoch"] >= epoch:
            raise EnoughError

    return watch


def files_of(run: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in run.iterdir() if p.name != ".lock"}


def lie_in_a_value(raw: bytes, rng: random.Random) -> bytes:
    """Change, or take away, something that is said beside the arrays."""
    header, body = parts(raw)
    values = json.loads(header["__metadata__"]["nnlib"])
    place = rng.choice([values, values, values["dropout_rng"], values["dropout_rng"]["state"]])
    lie_in(place, rng)
    header["__metadata__"]["nnlib"] = json.dumps(values)
    return join(header, body)


def lie_in(table: dict, rng: random.Random) -> None:
    key = rng.choice(list(table))
    if rng.random() < 0.2:
        del table[key]
    else:
        table[key] = rng.choice(STRANGE)


def change_an_array(raw: bytes, rng: random.Random) -> bytes:
    """Write the file anew with an array of another shape, type or name, or with a bad value."""
    from safetensors.numpy import load, save

    arrays, metadata = load(raw), parts(raw)[0]["__metadata__"]
    name = rng.choice(list(arrays))
    array = arrays.pop(name)
    flat = array.reshape(-1).copy()
    flat[rng.randrange(flat.size)] = rng.choice([np.nan, np.inf, -np.inf])
    changed = rng.choice([
        {}, {name: array[:-1].copy()}, {name: array[None]}, {name: array.astype(np.float64)},
        {name: array.astype(np.int32)}, {f"{name}x": array}, {name.partition("/")[2]: array},
        {name: flat.reshape(array.shape)}, {name: array, "best/W9": array},
    ])  # fmt: skip
    return save(arrays | changed, metadata)


def lie_in_the_settings(raw: bytes, rng: random.Random) -> bytes:
    table = json.loads(raw)
    lie_in(table, rng)
    return json.dumps(table).encode()


def change_a_table(raw: bytes, rng: random.Random) -> bytes:
    """Take away a line or column, or write something else into a cell."""
    lines = [line.split(",") for line in raw.decode().splitlines()]
    row, column = rng.randrange(len(lines)), rng.randrange(len(lines[0]))
    change = rng.randrange(3)
    if change == 0:
        del lines[row]
    elif change == 1:
        lines = [line[:column] + line[column + 1 :] for line in lines]
    else:
        lines[row][column] = rng.choice(["", "x", "-1", "5.0", "1e999", '"', "\0", "a,b"])
    return "\n".join(map(",".join, lines)).encode()


DAMAGES = (truncate, extend, lie_about_length, change_an_array)  # none of which may pass
OF_TENSORS = (*DAMAGES, flip, lie_about_a_tensor, lie_in_a_value)
EDITS = [((CHECKPOINT,), edit) for edit in OF_TENSORS]
EDITS += [((CHECKPOINT, PREVIOUS), edit) for edit in OF_TENSORS]
EDITS += [(("config.json",), edit) for edit in (lie_in_the_settings, lie_in_the_settings, flip)]
EDITS += [((table,), edit) for table in ("history.csv", "diagnostics.csv")
          for edit in (change_a_table, flip, truncate)]  # fmt: skip


def cut_short(folder: Path, dataset: Path) -> tuple[dict[str, bytes], bytes]:
    """Return the files of a run stopped after three of four epochs, and a whole one's model."""
    config = TrainConfig(dataset=str(dataset), **RUN)
    train(config, folder / "whole")
    with pytest.raises(EnoughError):
        train(config, folder / "cut", stop_at(3))
    return files_of(folder / "cut"), (folder / "whole" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "examples", [100, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_edited_runs_are_resumed_or_refused(
    own_folder: Path, tmp_path: Path, examples: int
) -> None:
    before, whole = cut_short(tmp_path, own_folder)
    run, told = tmp_path / "edited", Counter()

    @settings(max_examples=examples, deadline=None, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.sampled_from(EDITS), st.integers(0, 2**32))
    def check(edit, seed: int) -> None:
        (names, change), rng = edit, random.Random(seed)
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        edited = before | {name: change(before[name], rng) for name in names}
        for name, content in edited.items():
            (run / name).write_bytes(content)
        with warnings.catch_warnings(record=True) as warned, np.errstate(all="ignore"):
            warnings.simplefilter("always")
            try:
                resume(run, stop_at(4))
            except InputError as error:
                outcome, lines = "refused", str(error).splitlines()
            except (EnoughError, ArithmeticError):
                outcome = "the previous" if warned else "resumed"
            else:
                outcome = "finished"
        told[outcome] += 1
        if outcome == "refused":
            assert len(lines) == 1
            assert files_of(run) == edited
        if change in DAMAGES and names == (CHECKPOINT,):
            assert outcome == "the previous"
            assert (run / "model.safetensors").read_bytes() == whole
        if change in DAMAGES and len(names) == 2:
            assert outcome == "refused"
        if outcome != "refused":
            assert load_model(run).sizes[0] == 30

    check()
    print(dict(told))
    assert all(told[outcome] for outcome in ("refused", "the previous", "resumed"))


@pytest.mark.parametrize("name", ["model/variance1", "average/variance2", "optimizer/square.W1"])
def test_what_cannot_be_negative_is_refused(own_folder: Path, tmp_path: Path, name: str) -> None:
    from safetensors.numpy import load, save

    cut_short(tmp_path, own_folder)
    path = tmp_path / "cut" / CHECKPOINT
    raw = path.read_bytes()
    arrays = load(raw)
    arrays[name].flat[0] = -1
    path.write_bytes(save(arrays, parts(raw)[0]["__metadata__"]))
    with pytest.warns(UserWarning, match=f"array {name} holds values below 0; going on from"):
        resume(tmp_path / "cut")
