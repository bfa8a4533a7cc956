"""The training loop: it learns, repeats itself to the byte, resumes to the byte, and stops well."""

import csv
import json
import math
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from nnlib import (
    MLP,
    SGD,
    DivergedError,
    InputError,
    Split,
    TrainConfig,
    Trainer,
    evaluate,
    fit,
    load_dataset,
    load_model,
    resume,
    save_model,
    softmax_cross_entropy,
    train,
)
from nnlib.augment import Augment
from nnlib.images import Scaling, make_scaling
from nnlib.trainer import PlainStep

COLUMNS = ["epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy",
           "gradient_norm", "seconds"]  # fmt: skip
RICH = {
    "hidden": (16, 8), "epochs": 5, "batch_size": 32, "optimizer": "adamw", "lr": 0.01,
    "weight_decay": 0.01, "schedule": "cosine", "warmup": 5, "dropout": 0.2, "batch_norm": True,
    "label_smoothing": 0.1, "clip_norm": 1.0, "average": 0.95, "flip": True, "shift": 1.0,
}  # fmt: skip


def fresh(seed: int = 0, **more) -> MLP:
    return MLP([30, 16, 4], seed=seed, **more)


def without_seconds(path: Path) -> list[dict]:
    rows = list(csv.DictReader((path / "history.csv").open()))
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_it_learns_and_keeps_the_best(stripes, tmp_path: Path) -> None:
    model = fresh()
    untrained = evaluate(model, stripes[1]).accuracy
    history = fit(model, *stripes, epochs=12, batch_size=16, out=tmp_path / "run")
    assert list(history.rows[0]) == COLUMNS
    assert [row["epoch"] for row in history.rows] == list(range(1, 13))
    accuracies = history.column("val_accuracy")
    assert max(accuracies) > 0.9 > 0.6 > untrained
    assert evaluate(model, stripes[1]).accuracy == max(accuracies) == history.best["val_accuracy"]
    assert accuracies.index(max(accuracies)) + 1 == history.best["epoch"]
    saved = load_model(tmp_path / "run")
    np.testing.assert_array_equal(saved.parameters["W1"], model.parameters["W1"])
    assert list(history.table.columns) == COLUMNS


def test_the_first_step_is_the_formula(stripes) -> None:
    """One batch of all rows: w ← w - η (∂loss + λ w), for W; b without λ."""
    data, _ = stripes
    model, reference = fresh(dtype="float64"), fresh(dtype="float64")
    _, g = reference.loss_and_gradients(data.x.astype(float), data.y, weight_decay=0.1)
    fit(model, data, epochs=1, batch_size=600, optimizer=SGD(0.5, weight_decay=0.1))
    for name, start in reference.parameters.items():
        np.testing.assert_allclose(model.parameters[name], start - 0.5 * g[name], atol=1e-7)


def test_history_of_an_epoch_without_learning_is_the_evaluation(stripes) -> None:
    """At a vanishing rate the running means are the loss and accuracy of the initial net."""
    model = fresh()
    start, start_val = (evaluate(model, split) for split in stripes)
    row = fit(model, *stripes, epochs=1, batch_size=64, optimizer=SGD(1e-12)).rows[0]
    assert row["train_loss"] == pytest.approx(start.loss, rel=1e-5)
    assert row["train_accuracy"] == pytest.approx(start.accuracy)
    assert row["val_loss"] == pytest.approx(start_val.loss, rel=1e-6)
    _, g = fresh().loss_and_gradients(stripes[0].x, stripes[0].y)
    assert row["gradient_norm"] > 0.5 * math.sqrt(sum((a**2).sum() for a in g.values()))


def test_every_row_is_seen_once_an_epoch_in_a_new_order(stripes) -> None:
    data, _ = stripes
    trainer = Trainer(fresh(), data, epochs=2, batch_size=7)
    first = np.concatenate([rows for _, rows in trainer._chunks()])
    trainer.history.rows.append({"epoch": 1})
    second = np.concatenate([rows for _, rows in trainer._chunks()])
    assert sorted(first) == sorted(second) == list(range(len(data)))
    assert not np.array_equal(first, second)


def test_the_same_seed_gives_the_same_bytes(own_folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(TrainConfig(dataset=str(own_folder), **RICH), tmp_path / name)
    a, b = tmp_path / "a", tmp_path / "b"
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()
    assert without_seconds(a) == without_seconds(b)
    train(TrainConfig(dataset=str(own_folder), **RICH, seed=1), tmp_path / "c")
    other = (tmp_path / "c" / "model.safetensors").read_bytes()
    assert other != (a / "model.safetensors").read_bytes()


def test_the_model_s_bytes_do_not_depend_on_where_the_data_are(own_folder, tmp_path) -> None:
    moved = tmp_path / "elsewhere" / own_folder.name
    shutil.copytree(own_folder, moved)
    for name, folder in (("a", own_folder), ("b", moved)):
        train(TrainConfig(dataset=str(folder), epochs=1), tmp_path / name)
    a, b = (tmp_path / name / "model.safetensors" for name in "ab")
    assert a.read_bytes() == b.read_bytes()


class StopNowError(Exception):
    """What a test raises to interrupt a run."""


def stop_after(epoch: int):
    def watch(progress) -> None:
        if progress.row and progress.row["epoch"] == epoch:
            raise StopNowError

    return watch


@pytest.mark.parametrize("plain", [True, False])
def test_a_resumed_run_equals_one_never_stopped(own_folder, tmp_path: Path, plain: bool) -> None:
    settings = {"epochs": 5, "momentum": 0.9} if plain else RICH
    config = TrainConfig(dataset=str(own_folder), **settings)
    whole = train(config, tmp_path / "whole")
    with pytest.raises(StopNowError):
        train(config, tmp_path / "cut", stop_after(2))
    resumed = resume(tmp_path / "cut")
    assert len(resumed.history.rows) == 5
    assert without_seconds(tmp_path / "cut") == without_seconds(tmp_path / "whole")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    np.testing.assert_array_equal(whole.model.parameters["W1"], resumed.model.parameters["W1"])


def test_a_damaged_checkpoint_costs_one_epoch(own_folder, tmp_path: Path) -> None:
    config = TrainConfig(dataset=str(own_folder), epochs=4)
    train(config, tmp_path / "whole")
    with pytest.raises(StopNowError):
        train(config, tmp_path / "cut", stop_after(3))
    checkpoint = tmp_path / "cut" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="going on from the one before"):
        resume(tmp_path / "cut")
    assert without_seconds(tmp_path / "cut") == without_seconds(tmp_path / "whole")
    for name in ("checkpoint.safetensors", "checkpoint.previous.safetensors"):
        (tmp_path / "cut" / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"checkpoint\.safetensors is not a model file"):
        resume(tmp_path / "cut")


def test_resuming_a_finished_run_changes_nothing(own_folder, tmp_path: Path) -> None:
    train(TrainConfig(dataset=str(own_folder), epochs=2), tmp_path / "run")
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    resume(tmp_path / "run")
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


def test_resuming_without_a_checkpoint_starts_from_the_beginning(own_folder, tmp_path) -> None:
    train(TrainConfig(dataset=str(own_folder), epochs=2), tmp_path / "run")
    model = (tmp_path / "run" / "model.safetensors").read_bytes()
    for path in (tmp_path / "run").iterdir():
        if path.name != "config.json":
            path.unlink()
    resume(tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == model


def test_resuming_on_other_data_is_refused(own_folder, tmp_path: Path) -> None:
    copy = shutil.copytree(own_folder, tmp_path / "data")
    train(TrainConfig(dataset=str(copy), epochs=1), tmp_path / "run")
    labels = copy / "train-labels-idx1-ubyte.gz"
    images = copy / "train-images-idx3-ubyte"
    raw = bytearray(images.read_bytes())
    raw[20] ^= 1
    images.write_bytes(raw)
    assert labels.exists()
    with pytest.raises(InputError, match="is not the data that"):
        resume(tmp_path / "run")


def test_an_existing_run_is_left_alone(own_folder, tmp_path: Path) -> None:
    config = TrainConfig(dataset=str(own_folder), epochs=1)
    train(config, tmp_path / "run")
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(InputError, match="already holds a run"):
        train(replace(config, seed=9), tmp_path / "run")
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    with pytest.raises(InputError, match="holds no run"):
        resume(tmp_path / "nothing")


def test_divergence_says_where_and_keeps_the_best(stripes, tmp_path: Path) -> None:
    model = fresh()
    trainer_rates = iter([0.1])

    def explode(progress) -> None:
        if progress.row and next(trainer_rates, None) is None:
            schedule.rate = 1e30

    class Rate:
        rate = 0.05

        def __call__(self, step: int) -> float:
            return self.rate

    schedule = Rate()
    with pytest.raises(DivergedError, match=r"the loss is (nan|inf) at epoch 3, step \d+: .*lower"):
        fit(model, *stripes, epochs=9, batch_size=32, schedule=schedule,
            out=tmp_path / "run", on_progress=explode)  # fmt: skip
    assert all(np.isfinite(a).all() for a in model.parameters.values())
    saved = load_model(tmp_path / "run")
    np.testing.assert_array_equal(saved.parameters["W1"], model.parameters["W1"])
    assert len(without_seconds(tmp_path / "run")) == 2


def test_early_stopping_waits_for_its_patience(stripes) -> None:
    history = fit(fresh(), *stripes, epochs=60, batch_size=8, patience=3, optimizer=SGD(0.5))
    assert len(history.rows) < 60
    assert history.rows[-1]["epoch"] - history.best["epoch"] == 3


def test_without_validation_the_last_weights_count(stripes) -> None:
    history = fit(fresh(), stripes[0], epochs=2)
    assert history.best["epoch"] == 2
    assert math.isnan(history.rows[0]["val_accuracy"])


def test_the_loop_can_be_watched_and_its_rate_changed(stripes) -> None:
    trainer = Trainer(fresh(), *stripes, epochs=2, batch_size=8, optimizer=SGD(0.1))
    seen = []
    for progress in trainer.run():
        seen.append(progress)
        trainer.lr_factor = 0.5
    assert [p.row["epoch"] for p in seen if p.row] == [1, 2]
    assert seen[-1].step == seen[-1].steps == 150
    assert trainer.history.rows[1]["lr"] == pytest.approx(0.05)
    assert trainer.state()[1]["lr_factor"] == 0.5


def test_the_threads_of_blas_are_given_back(stripes) -> None:
    from threadpoolctl import threadpool_info

    before = [pool["num_threads"] for pool in threadpool_info()]
    trainer = Trainer(fresh(), *stripes, epochs=1)
    for _ in trainer.run():
        assert [pool["num_threads"] for pool in threadpool_info()] == before


@pytest.mark.parametrize("scale", ["unit", "standard", "none"])
def test_constant_images_train_without_a_bad_number(scale: str) -> None:
    data = Split(np.full((8, 2, 2), 7, np.uint8), np.array([0, 1] * 4))
    model = MLP([4, 3, 2], scaling=make_scaling(scale, data.images))
    history = fit(model, data, data, epochs=2, batch_size=1)
    assert all(math.isfinite(v) for row in history.rows for v in row.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0}, "learning rate must be > 0, got 0"),
        ({"lr": float("nan")}, "learning rate must be > 0, got nan"),
        ({"batch_size": 0}, "batch size must be a whole number >= 1, got 0"),
        ({"hidden": (0,)}, "hidden size must be a whole number >= 1, got 0"),
        ({"hidden": (-5,)}, "hidden size must be a whole number >= 1, got -5"),
        ({"epochs": 0}, "epochs must be a whole number >= 1, got 0"),
        ({"activation": "swish"}, "unknown activation 'swish': use relu"),
        ({"schedule": "poly"}, "unknown schedule 'poly': use constant"),
        ({"optimizer": "adam"}, "unknown optimizer 'adam': use sgd, adamw"),
        ({"scale": "max"}, "unknown scale 'max': use unit, standard, none"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"weight_decay": -1}, "weight decay must be >= 0, got -1"),
        ({"seed": -1}, "seed must be a whole number >= 0, got -1"),
        ({"clip_norm": -1}, "clip norm must be >= 0, got -1"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(dataset="mnist", **settings)


TAKEN = [  # as people write settings, and what they mean
    ({"lr": np.float32(0.5)}, 0.5),
    ({"lr": np.array(0.5)}, 0.5),
    ({"momentum": np.longdouble(0.5)}, 0.5),
    ({"epochs": np.int64(3)}, 3),
    ({"batch_size": np.uint8(32)}, 32),
    ({"val_size": np.int32(50)}, 50),
    ({"seed": np.int64(7)}, 7),
    ({"batch_norm": np.True_}, True),
    ({"flip": np.False_}, False),
    ({"shift": np.float64(1)}, 1.0),
    ({"cutout": np.int16(2)}, 2),
    ({"activation": np.str_("tanh")}, "tanh"),
    ({"hidden": 64}, (64,)),
    ({"hidden": np.int64(64)}, (64,)),
    ({"hidden": "128x64"}, (128, 64)),
    ({"hidden": [np.int64(8), 4]}, (8, 4)),
    ({"hidden": np.array([8, 4])}, (8, 4)),
    ({"hidden": ()}, ()),
    ({"hidden": "linear"}, ()),
    ({"hidden": ["linear"]}, ()),
    ({"hidden": (n for n in (8, 4))}, (8, 4)),
]


@pytest.mark.parametrize(("setting", "value"), TAKEN, ids=lambda each: repr(each)[:40])
def test_settings_are_taken_for_what_they_mean(setting: dict, value) -> None:
    config = TrainConfig(dataset="digits", **setting)
    (name,) = setting
    assert getattr(config, name) == value
    assert type(getattr(config, name)) is type(value)
    again = TrainConfig.from_dict(json.loads(json.dumps(config.as_dict())))
    assert again == config


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"flip": "false"}, "flip must be True or False, got 'false'"),
        ({"nesterov": "False", "momentum": 0.9}, "nesterov must be True or False, got 'False'"),
        ({"batch_norm": 0}, "batch norm must be True or False, got 0"),
        ({"lr": "0.1"}, "learning rate must be > 0, got '0.1'"),
        ({"lr": np.complex64(1)}, r"learning rate must be > 0, got \(1\+0j\)"),
        ({"lr": 10**400}, "learning rate must be > 0, got 1000"),
        ({"lr": Fraction(1, 10)}, r"learning rate must be > 0, got Fraction\(1, 10\)"),
        ({"lr": None}, "learning rate must be > 0, got None"),
        ({"epochs": 3.0}, "epochs must be a whole number >= 1, got 3.0"),
        ({"hidden": 64.0}, "hidden size must be a whole number >= 1, got 64.0"),
        ({"hidden": None}, "hidden size must be a whole number >= 1, got None"),
        ({"hidden": (128, "64")}, "hidden size must be a whole number >= 1, got '64'"),
        ({"hidden": True}, "hidden size must be a whole number >= 1, got True"),
        ({"val_size": "100"}, "val size must be a whole number >= 0, got '100'"),
        ({"train_size": 0}, "train size must be a whole number >= 1, got 0"),
        ({"cutout": 2.5}, "cutout must be a whole number >= 0, got 2.5"),
        ({"optimizer": None}, "unknown optimizer None: use sgd, adamw"),
        ({"activation": None}, "unknown activation None: use relu"),
        ({"schedule": ["cosine"]}, r"unknown schedule \['cosine'\]: use constant"),
        ({"dataset": 5}, "dataset must be a name, got 5"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(setting: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**({"dataset": "digits"} | setting))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clip_norm": -1}, "clip norm must be >= 0, got -1"),
        ({"clip_norm": math.nan}, "clip norm must be >= 0, got nan"),
        ({"label_smoothing": 1.5}, "label smoothing must be at least 0 and below 1, got 1.5"),
        ({"average": -0.1}, "average must be at least 0 and below 1, got -0.1"),
        ({"patience": -1}, "patience must be a whole number >= 0, got -1"),
        ({"patience": 1.5}, "patience must be a whole number >= 0, got 1.5"),
        ({"threads": 0}, "threads must be a whole number >= 1, got 0"),
        ({"threads": "two"}, "threads must be a whole number >= 1, got 'two'"),
        ({"optimizer": "adam"}, "unknown optimizer 'adam': use sgd, adamw"),
        ({"optimizer": SGD}, "optimizer must be of type Optimizer, got <class"),
        ({"optimizer": 0.1}, "optimizer must be of type Optimizer, got 0.1"),
        ({"schedule": "poly"}, "unknown schedule 'poly': use constant"),
        ({"schedule": 0.1}, "schedule must be of type Callable, got 0.1"),
        ({"augment": True}, "augment must be of type Augment, got True"),
        ({"augment": "flip"}, "augment must be of type Augment, got 'flip'"),
        ({"epochs": "ten"}, "epochs must be a whole number >= 1, got 'ten'"),
        ({"seed": 0.5}, "seed must be a whole number >= 0, got 0.5"),
    ],
)
def test_fit_checks_what_it_is_given(stripes, arguments: dict, message: str) -> None:
    model = fresh()
    before = {name: array.copy() for name, array in model.parameters.items()}
    with pytest.raises(InputError, match=message) as caught:
        fit(model, *stripes, **arguments)
    assert "\n" not in str(caught.value)
    for name, array in before.items():
        np.testing.assert_array_equal(model.parameters[name], array)


@pytest.mark.parametrize(
    ("train_on", "message"),
    [
        (lambda data: (data, None), "images with their labels must be of type Split, got Dataset"),
        (lambda data: (data.train.x, None), "must be of type Split, got array"),
        (
            lambda data: (data.train, (data.val.x, data.val.y, None, None)),
            "must be of type Split, got \\(array",
        ),
        (
            lambda data: ((data.train.x, data.train.y), (data.val.x[:, :9], data.val.y)),
            "takes 64 inputs but these rows have 9 numbers: give rows as it was trained on",
        ),
        (lambda data: (data.train, data.train.take(slice(0))), None),
    ],
)
def test_fit_is_given_splits(train_on, message) -> None:
    data = load_dataset("digits")
    model = MLP(data.sizes(8))
    if message is None:
        assert len(fit(model, *train_on(data), epochs=1).rows) == 1
        return
    with pytest.raises(InputError, match=message) as caught:
        fit(model, *train_on(data), epochs=1)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="takes 784 inputs but these images have 64 pixels"):
        fit(MLP([784, 10]), data.train, data.val)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "step", "exponential", "cosine", "one-cycle"])
def test_names_that_train_takes_work_in_fit(stripes, optimizer: str, schedule: str) -> None:
    history = fit(fresh(), *stripes, epochs=3, optimizer=optimizer, schedule=schedule)
    config = TrainConfig(dataset="digits", optimizer=optimizer, schedule=schedule, epochs=3)
    lr = {"sgd": 0.1, "adamw": 0.001}[optimizer]
    by_name = replace(config, lr=lr).make_schedule(10)
    assert history.column("lr") == [by_name(step) for step in (9, 19, 29)]


def test_numbers_of_numpy_s_reach_no_file_as_such(stripes, tmp_path: Path) -> None:
    model = fresh()
    model.info = {"note": np.float32(0.5), "shape": np.array([6, 5]), "n": np.int64(3)}
    trainer_rate = np.float32(0.25)
    fit(model, *stripes, epochs=np.int64(1), batch_size=np.int64(32), out=tmp_path / "run",
        schedule=lambda step: trainer_rate, seed=np.int8(1))  # fmt: skip
    assert load_model(tmp_path / "run").info | {"best": 0} == {
        "note": 0.5, "shape": [6, 5], "n": 3, "best": 0}  # fmt: skip
    assert without_seconds(tmp_path / "run")[0]["lr"] == "0.25"
    model.info = {"where": tmp_path}
    with pytest.raises(InputError, match=r"cannot save .*Path.*: give a number, a text"):
        save_model(model, tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("n", "batch_size", "says"),
    [(600, 1, "600 images in batches of 1"), (600, 599, "600 images in batches of 599"),
     (1, 64, "1 images in batches of 64"), (600, 7, None)],
)  # fmt: skip
def test_batch_normalisation_needs_more_than_one_image(stripes, n, batch_size, says) -> None:
    model, data = fresh(batch_norm=True), stripes[0].take(slice(n))
    if says is None:
        assert len(fit(model, data, epochs=1, batch_size=batch_size).rows) == 1
        return
    with pytest.raises(InputError, match=f"{says} leave one alone, with batch norm; change the"):
        fit(model, data, epochs=1, batch_size=batch_size)


def test_a_run_that_cannot_begin_leaves_no_folder(own_folder, tmp_path: Path) -> None:
    config = TrainConfig(dataset=str(own_folder), batch_norm=True, batch_size=1)
    with pytest.raises(InputError, match="leave one alone"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- data that moved, more epochs


def test_a_relative_folder_is_found_from_anywhere(own_folder, tmp_path, monkeypatch) -> None:
    shutil.copytree(own_folder, tmp_path / "here" / own_folder.name)
    monkeypatch.chdir(tmp_path / "here")
    config = TrainConfig(dataset=own_folder.name, epochs=2)
    with pytest.raises(StopNowError):
        train(config, "run", stop_after(1))
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    resume("../here/run")
    assert str(tmp_path) not in (tmp_path / "here/run/model.safetensors").read_bytes().decode("l1")
    train(TrainConfig(dataset=str(own_folder), epochs=2), "whole")
    a, b = (Path(name, "model.safetensors").read_bytes() for name in ("../here/run", "whole"))
    assert a == b


def test_a_folder_that_moved_is_named_and_then_known(own_folder, tmp_path: Path) -> None:
    old = shutil.copytree(own_folder, tmp_path / "old" / own_folder.name)
    config = TrainConfig(dataset=old, epochs=2)
    with pytest.raises(StopNowError):
        train(config, tmp_path / "run", stop_after(1))
    old.parent.rename(tmp_path / "new")
    with pytest.raises(InputError, match="if it has moved, say where it is with --dataset"):
        resume(tmp_path / "run")
    with pytest.raises(InputError, match="digits is not the data that"):
        resume(tmp_path / "run", dataset="digits")
    assert (
        len(resume(tmp_path / "run", dataset=tmp_path / "new" / own_folder.name).history.rows) == 2
    )
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    resume(tmp_path / "run")  # which knows now
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


LONGER = {
    "plain": {},
    "the best is an early one": {"lr": 1.5, "batch_size": 8},
    "averaged, with dropout": {"average": 0.9, "dropout": 0.3, "momentum": 0.9, "flip": True},
    "decaying": {"schedule": "exponential", "warmup": 7, "optimizer": "adamw", "lr": 0.01},
    "by steps": {"schedule": "step", "decay_every": 2, "batch_norm": True},
    "patient": {"patience": 9},
}


@pytest.mark.parametrize("case", LONGER)
@pytest.mark.parametrize("cut", [False, True])
def test_more_epochs_are_as_many_at_once(own_folder, tmp_path: Path, case: str, cut: bool) -> None:
    config = TrainConfig(dataset=str(own_folder), epochs=4, **LONGER[case])
    if cut:
        with pytest.raises(StopNowError):
            train(config, tmp_path / "run", stop_after(2))
    else:
        train(config, tmp_path / "run")
    train(replace(config, epochs=7), tmp_path / "whole")
    longer = resume(tmp_path / "run", epochs=7)
    assert len(longer.history.rows) == 7
    assert longer.history.best["epoch"] <= 4 or case != "the best is an early one"
    assert without_seconds(tmp_path / "run") == without_seconds(tmp_path / "whole")
    for name in ("model.safetensors", "config.json"):
        a, b = ((tmp_path / run / name).read_bytes() for run in ("run", "whole"))
        assert a == b, name


@pytest.mark.parametrize(
    ("settings", "epochs", "message"),
    [
        ({}, 2, "epochs of a run that has done 3 must be a whole number >= 3, got 2"),
        ({}, 0, "epochs must be a whole number >= 1, got 0"),
        ({}, "9", "epochs must be a whole number >= 1, got '9'"),
        ({"schedule": "cosine"}, 9, "the cosine schedule spans 3 epochs, .* got 9; train a new"),
        ({"schedule": "one-cycle"}, 9, "the one-cycle schedule spans 3 epochs"),
    ],
)
def test_epochs_that_would_have_changed_what_is_done(
    own_folder, tmp_path: Path, settings, epochs, message
) -> None:
    train(TrainConfig(dataset=str(own_folder), epochs=3, **settings), tmp_path / "run")
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    with pytest.raises(InputError, match=message):
        resume(tmp_path / "run", epochs=epochs)
    resume(tmp_path / "run", epochs=3)
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


def test_home_is_understood_in_the_paths_of_python(own_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(shutil.copytree(own_folder, tmp_path / "data"))
    train(TrainConfig(dataset="~/data", epochs=1), "~/run")
    assert len(resume("~/run", epochs=2).history.rows) == 2
    save_model(load_model("~/run"), "~/copy.safetensors")
    assert load_model("~/copy.safetensors").sizes == load_model(tmp_path / "run").sizes
    assert not (tmp_path / "data" / "~").exists()


def test_a_model_for_other_images_is_refused(stripes) -> None:
    with pytest.raises(InputError, match="takes 784 inputs but these images have 30 pixels"):
        evaluate(MLP([784, 10]), stripes[0])
    with pytest.raises(InputError, match="label 3 but the model"):
        evaluate(MLP([30, 2]), stripes[0])
    with pytest.raises(InputError, match="label 3 but the model has 2 classes"):
        fit(MLP([30, 2]), *stripes)


def test_a_layer_of_the_reader_s_own_is_the_one_that_learns(stripes) -> None:
    """Broken on purpose: a ReLU that passes no gradient leaves the first layer as it was."""
    from nnlib.layers import ReLU

    class Broken(ReLU):
        def backward(self, gradient):
            return 0 * gradient

    model = fresh()
    model.layers[1] = Broken()
    start = {name: array.copy() for name, array in model.parameters.items()}
    fit(model, stripes[0], epochs=1)
    np.testing.assert_array_equal(model.parameters["W1"], start["W1"])
    assert not np.array_equal(model.parameters["W2"], start["W2"])


# ---------------------------------------------------------------- rows of numbers, and weights


def table(n: int = 400, seed: int = 5, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    """Rows of five numbers around one of three centres."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    return rng.normal(size=(n, 5)).astype(dtype) + 2 * np.eye(5, dtype=dtype)[y], y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("of_rows", ["float32", "float64"])
def test_rows_of_floats_are_used_as_they_are(dtype: str, of_rows: str) -> None:
    x, y = table(dtype=of_rows)
    model = MLP([5, 8, 3], dtype=dtype)
    history = fit(model, (x, y), (x[:99], y[:99]), epochs=10, batch_size=16)
    assert history.rows[-1]["val_accuracy"] > 0.8
    logits = model.forward(x.astype(dtype))
    found = evaluate(model, (x, y))
    assert found.loss == pytest.approx(softmax_cross_entropy(logits, y)[0], rel=1e-6)
    assert found.accuracy == (model.predict(x) == y).mean()
    assert found.n == 400
    assert Split(x, y).x is x
    assert model.scaling == Scaling(0.0, 1.0)  # as whoever loads or exports it needs to know


@pytest.mark.parametrize(
    "laid", [np.ascontiguousarray, np.asfortranarray, lambda x: np.repeat(x, 2, axis=1)[:, ::2]]
)
def test_rows_train_as_images_of_the_same_numbers(stripes, laid) -> None:
    images, val = stripes
    models = fresh(), fresh()
    given = (images, val), ((laid(images.x), images.y), (laid(val.x), val.y))
    one, two = (fit(m, *pair, epochs=2) for m, pair in zip(models, given, strict=True))
    assert one.column("val_loss") == two.column("val_loss")
    for name, array in models[0].parameters.items():
        np.testing.assert_array_equal(models[1].parameters[name], array)


@pytest.mark.parametrize("engine", [True, False], ids=["engine", "plain"])
def test_weights_of_whole_numbers_train_as_repetitions(engine: bool) -> None:
    x, y = table(60)
    counts = np.arange(60) % 4
    models = [MLP([5, 8, 3], "tanh", dtype="float64") for _ in range(2)]
    given = [(x.repeat(counts, axis=0), y.repeat(counts)), (x, y, counts)]
    rows = []
    for model, data in zip(models, given, strict=True):
        trainer = Trainer(model, data, data, epochs=4, batch_size=100, optimizer=SGD(0.5, 0.9))
        if not engine:
            trainer.step = trainer.open_step = PlainStep(model, trainer.optimizer)
        list(trainer.run())
        rows.append(trainer.history.rows[-1])
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "gradient_norm"):
        assert rows[1][name] == pytest.approx(rows[0][name], rel=1e-10), name
    for name, array in models[0].parameters.items():
        np.testing.assert_allclose(models[1].parameters[name], array, rtol=1e-8, atol=1e-12)


def test_class_weights_multiply_those_of_the_examples() -> None:
    x, y = table(30)
    split = Split(x, y, np.arange(30)).weighted([0, 1, 2.5])
    np.testing.assert_array_equal(split.weights, np.arange(30) * np.array([0, 1, 2.5])[y])
    np.testing.assert_array_equal(split.take([3, 4]).weights, split.weights[3:5])
    assert Split(x, y).take([1]).weights is None
    without, weighted = (MLP([5, 3], dtype="float64") for _ in range(2))
    fit(without, Split(x, y).take(y > 0), epochs=5)
    fit(weighted, Split(x, y).weighted([0, 1, 1]), epochs=5)
    np.testing.assert_allclose(weighted.parameters["W1"], without.parameters["W1"], rtol=1e-10)
    with pytest.raises(InputError, match="label 2 but there are 2 class weights"):
        Split(x, y).weighted([1, 2])
    with pytest.raises(InputError, match="class weight must be >= 0, got -1"):
        Split(x, y).weighted([1, -1, 1])


@pytest.mark.parametrize("weights", [[-1.0] + [1] * 29, [math.nan] + [1] * 29, [1.0] * 29])
def test_weights_that_cannot_be(weights: list) -> None:
    with pytest.raises(InputError, match="weights must be numbers >= 0, one for each of 30") as e:
        fit(MLP([5, 3]), (*table(30), weights))
    assert "\n" not in str(e.value)


def test_a_batch_whose_weights_are_all_zero_changes_nothing() -> None:
    model = MLP([5, 8, 3])
    before = {name: array.copy() for name, array in model.parameters.items()}
    history = fit(model, (*table(30), np.zeros(30)), epochs=1, batch_size=8)
    assert math.isnan(history.rows[0]["train_loss"])
    for name, array in before.items():
        np.testing.assert_array_equal(model.parameters[name], array)


def test_rows_cannot_be_augmented() -> None:
    with pytest.raises(InputError, match="images must be uint8"):
        fit(MLP([5, 3]), table(30), augment=Augment(flip=True))


def test_a_net_for_colour_is_trained_and_saved(tmp_path: Path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 200, (240, 6, 5, 3), dtype=np.uint8)
    y = rng.integers(0, 3, 240)
    images[np.arange(240), :, :, y] += 55  # a class a colour
    train, val = Split(images[:200], y[:200]), Split(images[200:], y[200:])

    def net() -> MLP:
        return MLP([90, 12, 3], scaling=make_scaling("standard", train.images))

    def run(model: MLP, out: Path) -> float:
        moved = Augment(flip=True, shift=1, rotate=5, brightness=0.1, colour=0.2)
        history = fit(model, train, val, epochs=6, batch_size=20, augment=moved, out=out)
        return history.best["val_accuracy"]

    model = net()
    assert run(model, tmp_path / "a") > 0.9
    loaded = load_model(tmp_path / "a")
    assert loaded.scaling == model.scaling
    assert evaluate(loaded, val) == evaluate(model, val)
    run(net(), tmp_path / "b")
    same = [(tmp_path / way / "model.safetensors").read_bytes() for way in "ab"]
    assert same[0] == same[1]
