"""A search tries what was asked, each configuration once, and ranks it by validation accuracy."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from nnlib.checks import InputError
from nnlib.cli import main
from nnlib.config import TrainConfig
from nnlib.evaluation import evaluate
from nnlib.network import load_model
from nnlib.search import Choice, Range, cluster, parse_choice, parse_range, run_search
from nnlib.search.space import SAMPLERS, checked_space, configurations
from nnlib.training import train

CONFIG = TrainConfig(dataset="digits", hidden=(16,), epochs=3)
LR = {"lr": Range(0.01, 0.5, log=True)}
SPACE = LR | {"hidden": Choice([16, (16, 8)])}


def space_of(space):
    return checked_space(CONFIG, space)


# ---------------------------------------------------------------- the space


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr=0.01:0.5:log", ("lr", Range(0.01, 0.5, log=True))),
        ("weight-decay=0:1e-3", ("weight_decay", Range(0, 0.001))),
        ("--batch-size=16:256:log", ("batch_size", Range(16, 256, log=True, integer=True))),
        ("hidden=200:300", ("hidden", Range(200, 300, integer=True))),
        ("rotate=0:10:int", ("rotate", Range(0, 10, integer=True))),
        ("epochs=1:64:log-int", ("epochs", Range(1, 64, log=True, integer=True))),
    ],
)
def test_ranges_are_read_in_the_type_of_their_field(text, expected):
    assert parse_range(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hidden=128,128x64,linear", ("hidden", Choice(("128", "128x64", "linear")))),
        ("activation=relu,tanh", ("activation", Choice(("relu", "tanh")))),
        ("nesterov=true,False", ("nesterov", Choice((True, False)))),
        ("lr=1,0.1,1", ("lr", Choice((1.0, 0.1)))),
        ("init=default,he", ("init", Choice((None, "he")))),
    ],
)
def test_choices_are_read_in_the_type_of_their_field(text, expected):
    assert parse_choice(text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lr=0.2:0.1", "the low end 0.2 exceeds the high end 0.1"),
        ("lr=0:0.1:log", "a log range must begin above 0, got 0"),
        ("lr=a:1", "'a' is not a number"),
        ("lr=nan:1", "must be a finite number, got nan"),
        ("lr=1", "'' is not a number"),
        ("lr=1:2:cubic", "unknown kind of range 'cubic'"),
        ("lr", "cannot read 'lr'"),
        ("shade=1:2", "unknown hyperparameter 'shade': use one of hidden, activation"),
        ("dataset=1:2", "dataset cannot be varied"),
        ("seed=1:2", "seed cannot be varied"),
        ("activation=1:2", "activation has no order"),
        ("hidden=1.5:3", "whole numbers cannot end at 1.5"),
    ],
)
def test_a_bad_range_is_told_in_one_line(text, says):
    with pytest.raises(InputError) as error:
        parse_range(text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"lr": Range(0, 1)}, "lr=0:1: learning rate must be > 0, got 0.0"),
        ({"lr": Choice([0.1, -1])}, "learning rate must be > 0, got -1.0"),
        ({"hidden": Range(0, 9)}, "hidden size must be a whole number >= 1, got 0"),
        ({"hidden": Choice(["12y"])}, "cannot read layers '12y'"),
        ({"dropout": Range(0, 1)}, "dropout must be at least 0 and below 1"),
        ({"activation": Choice(["relu", "sin"])}, "unknown activation 'sin'"),
        ({"batch_size": Choice([1.5])}, "batch size must be a whole number"),
        ({"nesterov": Choice([True, False])}, "nesterov needs momentum"),
        ({"flip": Choice([True, "perhaps"])}, "unknown value of flip 'perhaps': use true, false"),
        ({"lr": Range(1, 2), "-lr": Range(1, 2)}, "varied twice"),
    ],
)
def test_a_value_that_training_refuses_is_found_before_anything_runs(space, says):
    with pytest.raises(InputError, match=r".") as error:
        checked_space(CONFIG, space)
    assert says in str(error.value)


def test_a_value_may_need_another_one():
    space = {"nesterov": Choice([False, True]), "momentum": Choice([0.0, 0.9])}
    assert list(checked_space(CONFIG, space)) == ["momentum", "nesterov"]


def test_a_longer_list_of_configurations_begins_with_the_shorter_one():
    space = space_of(SPACE)
    for sampler in ("random", "qmc"):
        assert configurations(space, sampler, 70, seed=3)[:9] == configurations(
            space, sampler, 9, seed=3
        )
        assert configurations(space, sampler, 9, 3) != configurations(space, sampler, 9, 4)


def test_the_order_of_the_space_does_not_matter():
    backwards = dict(reversed(SPACE.items()))
    assert configurations(space_of(SPACE), "random", 5) == configurations(
        space_of(backwards), "random", 5
    )


def test_a_grid_holds_every_combination_once():
    space = space_of({"lr": Choice([0.1, 0.2, 0.3]), "hidden": Choice([8, 16])})
    grid = configurations(space, "grid", None)
    assert sorted((c["lr"], c["hidden"]) for c in grid) == [
        (lr, hidden) for lr in (0.1, 0.2, 0.3) for hidden in ("16", "8")
    ]
    assert configurations(space, "grid", 4) == grid[:4]
    assert len(configurations(space, "random", 50)) == 6, "no configuration twice"


def test_a_log_range_is_uniform_in_the_logarithm_and_keeps_to_its_ends():
    space = space_of({"lr": Range(1e-4, 1, log=True), "batch_size": Range(1, 1000, log=True)})
    drawn = configurations(space, "qmc", 512)
    decades = np.histogram(np.log10([c["lr"] for c in drawn]), bins=4, range=(-4, 0))[0]
    assert (decades == 128).all()
    sizes = [c["batch_size"] for c in drawn]
    assert min(sizes) == 1
    assert max(sizes) <= 1000
    assert all(isinstance(size, int) for size in sizes)


def test_whole_numbers_reach_both_ends_equally_often():
    drawn = configurations(space_of({"hidden": Range(3, 6)}), "qmc", 4)
    assert sorted(c["hidden"] for c in drawn) == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ("space", "sampler", "trials", "says"),
    [
        (SPACE, "random", 0, "trials must be a whole number >= 1, got 0"),
        (SPACE, "random", None, "trials must be a whole number >= 1, got None"),
        (SPACE, "grid", None, "a grid takes choices alone, and lr is a range 0.01:0.5:log"),
        (SPACE, "genetic", 3, "unknown sampler 'genetic'"),
        ({}, "random", 3, "nothing varies"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_one_line(space, sampler, trials, says, tmp_path):
    with pytest.raises(InputError) as error:
        run_search(CONFIG, space, trials, sampler=sampler, out=tmp_path / "s")
    assert says in str(error.value)
    assert not (tmp_path / "s").exists()


# ---------------------------------------------------------------- the search


def test_the_table_tells_every_trial_best_first_and_its_models_are_kept(tmp_path):
    seen = []
    result = run_search(
        CONFIG, SPACE, 5, seeds=2, out=tmp_path / "s", on_trial=lambda row, _: seen.append(row)
    )
    table = result.table
    assert list(table.columns) == [
        "number", "hidden", "lr", "val_accuracy", "val_accuracy_se", "seed_0", "seed_1",
        "best_epoch", "seconds", "state", "reason",
    ]  # fmt: skip
    assert sorted(table["number"]) == [0, 1, 2, 3, 4]
    assert table["val_accuracy"].is_monotonic_decreasing
    seeds = table[["seed_0", "seed_1"]].to_numpy()  # (trials, 2)
    np.testing.assert_allclose(table["val_accuracy"], seeds.mean(axis=1))
    np.testing.assert_allclose(table["val_accuracy_se"], seeds.std(axis=1, ddof=1) / 2**0.5)
    assert sorted(row["number"] for row in seen) == [0, 1, 2, 3, 4]
    saved = pd.read_csv(tmp_path / "s" / "trials.csv", keep_default_na=False, na_values="nan")
    pd.testing.assert_frame_equal(saved, table, check_dtype=False)
    first = table.iloc[0]
    assert result.best["val_accuracy"] == first["val_accuracy"]
    assert result.best["lr"] == first["lr"]
    folder = tmp_path / "s" / "trials" / f"{first['number']:04d}" / "seed-1"
    val = CONFIG.load().val
    assert evaluate(load_model(folder), val).accuracy == pytest.approx(first["seed_1"])
    assert len(pd.read_csv(folder / "history.csv")) == 3


def test_a_trial_is_the_run_that_the_same_settings_give(tmp_path):
    result = run_search(CONFIG, SPACE, 2, out=tmp_path / "s")
    run = train(result.best_config, tmp_path / "run")
    trial = tmp_path / "s" / "trials" / f"{result.best['number']:04d}" / "seed-0"
    assert (trial / "model.safetensors").read_bytes() == run.folder.model.read_bytes()
    assert run.history.best["val_accuracy"] == result.best["val_accuracy"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_and_any_number_of_jobs_try_the_planned_configurations(sampler, tmp_path):
    space = {"lr": Choice([0.1, 0.2, 0.3]), "hidden": Choice([8, (8, 8)])}
    if sampler != "grid":
        space["lr"] = Range(0.05, 0.4)
    tables = [
        run_search(CONFIG, space, 6, sampler=sampler, jobs=jobs, out=tmp_path / f"{jobs}").table
        for jobs in (1, 2)
    ]
    one, two = (t.sort_values("number", ignore_index=True).drop(columns="seconds") for t in tables)
    assert len(one) == 6
    if sampler != "tpe":
        pd.testing.assert_frame_equal(one, two)
        planned = configurations(space_of(space), sampler, 6)
        assert one[["hidden", "lr"]].to_dict("records") == planned


@pytest.mark.parametrize("pruner", ["median", "halving", "hyperband"])
def test_pruning_saves_epochs_and_marks_the_trials_that_it_stopped(quick, pruner, tmp_path):
    config = TrainConfig(dataset="digits", hidden=(16,), epochs=9)
    result = run_search(config, LR, 16, pruner=pruner, jobs=2, out=tmp_path / "s")
    states = result.table["state"].value_counts().to_dict()
    assert states["complete"] + states["pruned"] == 16
    pruned = result.table[result.table["state"] == "pruned"]
    assert (pruned["reason"].str.extract(r"after epoch (\d+)")[0].astype(int) <= 9).all()
    for number in pruned["number"]:
        assert not (tmp_path / "s" / "trials" / f"{number:04d}" / "seed-0").exists()


def test_halving_decides_at_a_ninth_and_a_third_of_the_epochs(tmp_path):
    config = TrainConfig(dataset="digits", hidden=(16,), epochs=19)
    result = run_search(config, LR, 20, pruner="halving", out=tmp_path / "s")
    pruned = result.table[result.table["state"] == "pruned"]
    assert set(pruned["reason"]) == {"after epoch 3", "after epoch 9"}


def test_a_trial_that_diverges_has_failed_with_its_reason_and_the_search_goes_on(quick, tmp_path):
    result = run_search(CONFIG, {"lr": Choice([0.1, 1e30])}, sampler="grid", out=tmp_path / "s")
    good, bad = result.rows
    assert (good["lr"], good["state"], good["reason"]) == (0.1, "complete", "")
    assert (bad["lr"], bad["state"]) == (1e30, "failed")
    assert "epoch 1" in bad["reason"]
    assert result.best["lr"] == 0.1


IMPOSSIBLE = {  # settings of which each is possible, but not all together
    "Nesterov without momentum": (
        {"nesterov": Choice([False, True]), "momentum": Choice([0.0, 0.9])},
        "nesterov needs momentum > 0, got 0",
    ),
    "a batch of one, normalised": (
        {"batch_norm": Choice([False, True]), "batch_size": Choice([1, 64])},
        "1375 images in batches of 1 leave one alone",
    ),
    "the last batch of one": (
        {"batch_norm": Choice([False, True]), "batch_size": Choice([64, 687])},
        "1375 images in batches of 687 leave one alone",
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_a_combination_that_cannot_be_has_failed_with_its_reason(quick, tmp_path, case):
    space, reason = IMPOSSIBLE[case]
    quick = TrainConfig(dataset="digits", hidden=(4,), epochs=1)
    result = run_search(quick, space, sampler="grid", seeds=2, out=tmp_path / "s")
    states = [row["state"] for row in result.rows]
    assert states == ["complete"] * 3 + ["failed"]
    assert reason in result.rows[-1]["reason"]
    assert result.best["val_accuracy"] > 0
    assert json.loads((tmp_path / "s" / "search.json").read_text())["finished"]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_every_sampler_outlives_a_combination_that_cannot_be(quick, tmp_path, sampler):
    space, reason = IMPOSSIBLE["Nesterov without momentum"]
    space = space | {"lr": Range(0.01, 0.1)}
    quick = TrainConfig(dataset="digits", hidden=(4,), epochs=1)
    result = run_search(quick, space, 8, sampler=sampler, jobs=2, out=tmp_path / "s")
    impossible = [row for row in result.rows if row["nesterov"] and not row["momentum"]]
    assert len(result.rows) == 8
    assert impossible
    for row in result.rows:
        assert row["state"] == ("failed" if row in impossible else "complete")
        assert (reason in row["reason"]) == (row in impossible)


NUMPY = [  # spaces as NumPy writes them, and what they mean
    (Choice(np.int64(3)), Choice([3])),
    (Choice(3), Choice([3])),
    (Choice("relu"), Choice(["relu"])),
    (Choice(None), Choice([None])),
    (Choice(np.array([1, 2])), Choice([1, 2])),
    (Choice([np.float64(0.5), np.True_]), Choice([0.5, True])),
    (Choice([np.array([8, 4]), (np.int64(3),)]), Choice(["8x4", "3"])),
    (Range(np.int64(16), np.int32(64), integer=True), Range(16, 64, integer=True)),
    (Range(np.float32(0.5), 1, log=np.True_), Range(0.5, 1.0, log=True)),
]


@pytest.mark.parametrize(("given", "meant"), NUMPY, ids=map(str, range(len(NUMPY))))
def test_numbers_of_numpy_s_are_those_of_python(given, meant):
    assert given == meant
    assert repr(given) == repr(meant)
    json.dumps(given.values)


def test_a_space_of_numpy_s_numbers_is_searched(quick, tmp_path):
    space = {"hidden": Choice(np.int64(3)), "batch_size": Range(np.int64(16), np.int64(64)),
             "batch_norm": Choice(np.array([True, False]))}  # fmt: skip
    result = run_search(CONFIG, space, np.int64(2), seeds=np.int64(1), jobs=np.int64(1),
                        seed=np.int64(3), out=tmp_path / "s")  # fmt: skip
    assert [row["state"] for row in result.rows] == ["complete"] * 2
    assert result.best["hidden"] == [3]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Range("1", 2), "end of a range must be a finite number, got '1'"),
        (lambda: Range(1, 10**400), "end of a range must be a finite number, got 1000"),
        (lambda: Range(1, 2, log="false"), "log must be True or False, got 'false'"),
        (lambda: Range(1, 2, integer=1), "integer must be True or False, got 1"),
        (lambda: Choice([{"a": 1}]), "a choice takes numbers, names and layers, got {'a': 1}"),
        (lambda: Choice(np.array([])), "a choice needs at least one value"),
        (lambda: run_search(CONFIG, LR, "3"), "trials must be a whole number >= 1, got '3'"),
        (lambda: run_search(CONFIG, {"epochs": Choice([2.5])}, 3), "epochs must be a whole number"),
        (lambda: run_search(CONFIG, {"flip": Choice(["no"])}, 3), "unknown value of flip 'no'"),
    ],
)  # fmt: skip
def test_a_space_that_means_nothing_is_refused_by_name(make, says):
    with pytest.raises(InputError, match=re.escape(says)):
        make()


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_stopped_before_the_first_trial_it_says_so(tmp_path, monkeypatch, capfd, json_flag):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("nnlib.search.run._watch", stop)
    words = ["search", "--dataset", "digits", "--trials", "2", "--range", "lr=0.1:0.2"]
    assert main([*words, "--out", str(tmp_path / "s"), *json_flag]) == 0
    out = capfd.readouterr().out
    if json_flag:
        assert json.loads(out)["trials"] == 0
    else:
        assert out.startswith("no trial has finished; give the same command to go on\n")
        assert "DataFrame" not in out


def test_the_same_call_goes_on_and_more_trials_extend_it(quick, tmp_path):
    first = run_search(CONFIG, SPACE, 3, out=tmp_path / "s")
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("model.safetensors")}
    longer = run_search(CONFIG, SPACE, 5, out=tmp_path / "s")
    assert sorted(row["number"] for row in longer.rows) == [0, 1, 2, 3, 4]
    assert [row for row in longer.rows if row["number"] < 3] == first.rows
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps, "finished trials run no more"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"space": {"lr": Range(0.01, 0.6, log=True)}},
            "lr in 0.01:0.5:log and not in 0.01:0.6:log",
        ),
        ({"sampler": "qmc"}, "sampler random and not qmc"),
        ({"seed": 1}, "search seed 0 and not 1"),
        ({"config": TrainConfig(dataset="digits", hidden=(16,), epochs=4)}, "epochs 3 and not 4"),
    ],
)
def test_a_study_of_another_search_is_not_mixed_with_this_one(quick, change, says, tmp_path):
    call = {"config": CONFIG, "space": LR, "trials": 1}
    run_search(**call, out=tmp_path / "s")
    before = (tmp_path / "s" / "study.log").read_bytes()
    with pytest.raises(InputError) as error:
        run_search(**call | change, out=tmp_path / "s")
    assert says in str(error.value)
    with pytest.raises(InputError, match="holds another search"):
        run_search(**call | change, out=tmp_path / "t", storage=tmp_path / "s" / "study.log")
    assert (tmp_path / "s" / "study.log").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--range lr=0.5:0.1", r"the low end 0\.5 exceeds the high end 0\.1"),
        ("--range lr=0:0.1:log", "a log range must begin above 0, got 0"),
        ("--range shade=0:1", "unknown hyperparameter 'shade'"),
        ("--range lr=0.1:0.5 --trials 0", "trials must be a whole number >= 1, got 0"),
        (
            "--range lr=0.1:0.4 --out done",
            "done holds another search, with lr in",
        ),
        (
            "--range lr=0.1:0.4 --storage done/study.log",
            "the storage holds another search, with lr",
        ),
        (
            "--range lr=0.1:0.5 --storage postgresql+psycopg://me@127.0.0.1:9/db",
            r"cannot use the storage postgresql\+psycopg://127\.0\.0\.1:9/db: .*waited \d+\.\d s",
        ),
        (
            "--range lr=0.1:0.5 --scheduler tcp://127.0.0.1:9",
            r"cannot use the scheduler tcp://127\.0\.0\.1:9: .*waited 1\.\d s",
        ),
    ],
)
def test_the_command_refuses_bad_input_with_status_2_and_one_line(
    quick, words, says, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster, "CONNECT", 1.0)
    if "done" in words:
        run_search(CONFIG, {"lr": Range(0.1, 0.5)}, 1, out=tmp_path / "done")
    search = ["search", "--dataset", "digits", "--hidden", "16", "--epochs", "3", "--trials", "1"]
    status = main([*search, "--out", "s", *words.split()])
    printed = capfd.readouterr()
    assert (status, printed.out) == (2, ""), printed.err
    (line,) = printed.err.splitlines()
    assert re.search(says, line), line


@pytest.mark.parametrize(
    ("storage", "says"),
    [
        ("postgresql://me:secret@127.0.0.1:9/db?sslkey=secret", "127.0.0.1:9/db: connection"),
        ("postgresql+carrier://me:secret@host/db", "postgresql+carrier://host/db: Can't load"),
        ("mysql://me:secret@host/db", "mysql://host/db: No module named 'MySQLdb'"),
        ("sqlite:///nowhere/at/all.db", "sqlite:///nowhere/at/all.db: unable to open"),
        ("folder", "cannot use the storage folder: Is a directory"),
        ("folder/file/study.log", "cannot use the storage folder/file/study.log: "),
    ],
)
def test_a_storage_that_cannot_be_used_is_told_without_its_password(
    storage, says, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("folder/file").touch()
    with pytest.raises(InputError) as error:
        run_search(CONFIG, LR, 1, storage=storage, out="s")
    assert says in str(error.value)
    assert "s); start it, or name another" in str(error.value), "how long it waited"
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
    assert not Path("s").exists()


def test_an_address_that_cannot_be_read_is_not_repeated(tmp_path):
    with pytest.raises(InputError, match=r"write mysql://USER:PASSWORD@HOST:PORT/NAME") as error:
        run_search(CONFIG, LR, 1, storage="mysql://me:secret@host:port/db", out=tmp_path / "s")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n", b"no line end", b'{"a": 1}\n', b"[1]\n"])
def test_a_file_that_is_no_study_is_refused_and_left_as_it_was(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match="file is not the journal of a study"):
        run_search(CONFIG, LR, 1, storage=tmp_path / "file", out=tmp_path / "s")
    assert (tmp_path / "file").read_bytes() == content


def test_a_study_of_another_program_is_refused(tmp_path):
    storage = f"sqlite:///{tmp_path / 'other.db'}"
    study = optuna.create_study(study_name="search", storage=storage)
    study.tell(study.ask(), 1.0)
    with pytest.raises(InputError, match="the storage holds another search"):
        run_search(CONFIG, LR, 1, storage=storage, out=tmp_path / "s")


def test_a_journal_cut_off_in_the_midst_of_a_line_is_whole_again(quick, tmp_path):
    first = run_search(CONFIG, LR, 2, out=tmp_path / "s")
    with (tmp_path / "s" / "study.log").open("a") as stream:
        stream.write('{"op_code":7,"worker')
    longer = run_search(CONFIG, LR, 3, out=tmp_path / "s")
    assert [row for row in longer.rows if row["number"] < 2] == first.rows
    assert len(longer.rows) == 3


@pytest.mark.timeout(60)
def test_a_trial_whose_owner_died_before_signing_it_runs_again(quick, tmp_path):
    run_search(CONFIG, LR, 2, out=tmp_path / "s")
    journal = JournalFileBackend(str(tmp_path / "s" / "study.log"))
    study = optuna.load_study(study_name="search", storage=JournalStorage(journal))
    study.ask()
    table = run_search(CONFIG, LR, 3, out=tmp_path / "s").table.sort_values("number")
    assert list(table["number"]) == [0, 1, 2]
    assert table[["lr"]].to_dict("records") == configurations(space_of(LR), "random", 3)
    assert set(table["state"]) == {"complete"}


def test_a_search_never_opens_the_test_images(own_folder, tmp_path):
    folder = shutil.copytree(own_folder, tmp_path / "data")
    for file in folder.glob("t10k-*"):
        file.write_bytes(b"whoever reads this fails")
    config = TrainConfig(dataset=str(folder), hidden=(8,), epochs=2)
    result = run_search(config, LR, 2, pruner="median", out=tmp_path / "s")
    assert [row["state"] for row in result.rows] == ["complete"] * 2


def test_a_search_needs_validation_images(tmp_path):
    config = TrainConfig(dataset="digits", val_size=0)
    with pytest.raises(InputError, match="a search needs validation images, got validation size 0"):
        run_search(config, LR, 1, out=tmp_path / "s")


def test_a_callback_that_fails_loses_no_trial(tmp_path):
    def fail(row, _):
        raise RuntimeError("my own mistake")

    with pytest.raises(RuntimeError, match="my own mistake"):
        run_search(CONFIG, LR, 4, jobs=2, out=tmp_path / "s", on_trial=fail)
    assert len(pd.read_csv(tmp_path / "s" / "trials.csv")) == 1
    assert len(run_search(CONFIG, LR, 4, jobs=2, out=tmp_path / "s").rows) == 4


def test_the_folder_of_a_run_is_refused(tmp_path):
    train(CONFIG, tmp_path / "run")
    with pytest.raises(InputError, match="already holds a run"):
        run_search(CONFIG, LR, 1, out=tmp_path / "run")


# ---------------------------------------------------------------- being killed

SCRIPT = """
import sys
from nnlib.config import TrainConfig
from nnlib.search.run import Range, run_search
config = TrainConfig(dataset="digits", hidden=(64,), epochs=25)
result = run_search(config, {"lr": Range(0.01, 0.5, log=True)}, 8, jobs=2,
                    out=sys.argv[1] if len(sys.argv) > 1 else None)
print(result.table.to_csv(), result.interrupted)
"""


def start(*arguments: object, cwd: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_rows(folder: Path, rows: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        table = next(folder.rglob("trials.csv"), None)
        if table and len(table.read_text().splitlines()) > rows:
            return
        time.sleep(0.01)
    raise TimeoutError(f"fewer than {rows} trials in {folder} after 60 s")


def test_a_killed_search_goes_on_without_losing_or_repeating_a_trial(tmp_path):
    search = start(cwd=tmp_path)
    wait_for_rows(tmp_path, 2)
    search.kill()
    search.wait()
    (folder,) = (tmp_path / "runs").iterdir()
    before = {p: p.read_bytes() for p in folder.rglob("model.safetensors")}
    done = pd.read_csv(folder / "trials.csv").set_index("number")
    again = start(cwd=tmp_path)
    assert again.wait(60) == 0, again.stderr.read()
    assert list((tmp_path / "runs").iterdir()) == [folder], "the same command found its folder"
    table = pd.read_csv(folder / "trials.csv").set_index("number")
    assert sorted(table.index) == list(range(8))
    assert (table["state"] == "complete").all()
    pd.testing.assert_frame_equal(table.loc[done.index], done)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert json.loads((folder / "search.json").read_text())["finished"]
    assert not (folder / "images").exists()


def test_control_c_ends_with_the_table_of_what_is_done(tmp_path):
    search = start(tmp_path / "s", cwd=tmp_path)
    wait_for_rows(tmp_path, 1)
    search.send_signal(signal.SIGINT)
    out, err = search.communicate(timeout=30)
    assert search.returncode == 0, err
    assert out.strip().endswith("True")
    assert 1 <= out.count("complete") < 8
    assert "Traceback" not in err


def test_control_c_again_and_again_leaves_what_is_done_and_no_process(tmp_path):
    search = start(tmp_path / "s", cwd=tmp_path)
    wait_for_rows(tmp_path, 2)
    children = Path(f"/proc/{search.pid}/task").glob("*/children")
    workers = [worker for path in children for worker in path.read_text().split()]
    while search.poll() is None:
        search.send_signal(signal.SIGINT)
        time.sleep(0.02)
    assert len(pd.read_csv(tmp_path / "s" / "trials.csv")) >= 2
    deadline = time.monotonic() + 10
    while any(Path("/proc", worker).exists() for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived its search"
        time.sleep(0.02)
    again = start(tmp_path / "s", cwd=tmp_path)
    assert again.wait(60) == 0, again.stderr.read()
    assert sorted(pd.read_csv(tmp_path / "s" / "trials.csv")["number"]) == list(range(8))
