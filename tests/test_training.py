"""The training loop: it learns, repeats itself to the byte, resumes to the byte, and stops well."""

import csv
import math
import shutil
from dataclasses import replace
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
    load_model,
    resume,
    train,
)
from nnlib.engine.threads import threads_for

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
    first = np.concatenate([y for _, y in trainer._chunks()])
    trainer.history.rows.append({"epoch": 1})
    second = np.concatenate([y for _, y in trainer._chunks()])
    assert sorted(first) == sorted(second) == sorted(data.y)
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
    with (
        pytest.warns(UserWarning, match="going on"),
        pytest.raises(InputError, match=r"checkpoint\.previous"),
    ):
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


def test_blas_threads_follow_the_size_and_are_given_back(stripes) -> None:
    from threadpoolctl import threadpool_info

    assert threads_for([(784, 128), (128, 10)], 64) == 1
    before = [pool["num_threads"] for pool in threadpool_info()]
    trainer = Trainer(fresh(), *stripes, epochs=1)
    for _ in trainer.run():
        assert [pool["num_threads"] for pool in threadpool_info()] == before


@pytest.mark.parametrize("scale", ["unit", "standard", "none"])
def test_constant_images_train_without_a_bad_number(scale: str) -> None:
    from nnlib.images import make_scaling

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
