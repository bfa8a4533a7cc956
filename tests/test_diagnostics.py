"""What is measured inside a run, the range test, the doctor, and runs compared."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.readings import refit_last_layer
from nnlib import MLP, SGD, InputError, Trainer, diagnostics, fit
from nnlib.training import range_test


def fresh(**more) -> MLP:
    return MLP([30, 16, 4], **more)


def test_samples_hold_what_their_names_say(stripes, tmp_path: Path) -> None:
    model = fresh()
    history = fit(model, *stripes, epochs=2, batch_size=20, out=tmp_path / "run")
    assert [s["epoch"] for s in history.samples] == [1] * 4 + [2] * 4
    first = history.samples[0]
    parts = [first[f"gradient {name}"] for name in ("W1", "b1", "W2", "b2")]
    assert first["gradient"] == pytest.approx(np.linalg.norm(parts))
    assert 0 < first["change W1"] < 1
    assert 0 <= first["dead 1"] <= 1
    assert history.rows[0]["gradient_norm"] == pytest.approx(
        np.mean([s["gradient"] for s in history.samples[:4]])
    )
    for name, rows in (("history", history.rows), ("diagnostics", history.samples)):
        saved = list(csv.DictReader((tmp_path / "run" / f"{name}.csv").open()))
        assert [{key: float(text) for key, text in row.items()} for row in saved] == rows


def test_relative_change_by_hand() -> None:
    change = diagnostics.relative_changes(
        {"W1": np.array([3.0, 4.0])}, {"W1": np.array([3.0, 4.5])}
    )
    assert change == {"change W1": pytest.approx(0.1)}


def test_dead_units_are_counted_for_relu_alone() -> None:
    model, x = fresh(), np.random.default_rng(0).random((50, 30)).astype(np.float32)
    model.parameters["b1"][:4] = -1e6
    assert diagnostics.dead_units(model, x)["dead 1"] >= 0.25
    alive = (model.hidden(x)[0] > 0).any(axis=0).mean()
    assert diagnostics.dead_units(model, x)["dead 1"] == pytest.approx(1 - alive)
    assert diagnostics.dead_units(fresh(activation="tanh"), x) == {}


def test_range_test_rises_by_a_constant_factor_and_ends_when_it_explodes(stripes) -> None:
    trainer = Trainer(fresh(), stripes[0], epochs=20, batch_size=20)
    rates, losses = range_test(trainer, 1e-4, 1e20)
    assert len(rates) == len(losses) < 600
    np.testing.assert_allclose(np.diff(np.log(rates)), np.log(1e24) / 599, rtol=1e-6)
    assert losses[0] == pytest.approx(np.log(4), abs=0.6)
    assert min(losses) < losses[0] / 2


def test_range_test_survives_overflow(stripes) -> None:
    trainer = Trainer(fresh(), stripes[0], epochs=5, batch_size=300)
    rates, _ = range_test(trainer, 1e20, 1e35)
    assert len(rates) >= 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m, x: x.__setitem__((0, 0), np.nan), "inputs hold values that are not finite"),
        (lambda m, x: m.parameters["W2"].__setitem__((0, 0), np.inf), "W2 is not finite after"),
        (lambda m, x: m.parameters["W1"].fill(1e38), r"layer 1 \(Linear\) overflows"),
        (lambda m, x: None, "logits are too far apart"),
    ],
)
def test_the_doctor_names_the_first_bad_place(spoil, message: str) -> None:
    model, x = fresh(), np.full((2, 30), 100, np.float32)
    spoil(model, x)
    with np.errstate(all="ignore"):
        assert re.search(message, diagnostics.first_not_finite(model, x))


def test_weights_that_blow_up_in_the_last_step_are_found(stripes) -> None:
    """One step an epoch: the loss was still finite, the weights after it are not."""
    from nnlib import DivergedError

    with pytest.raises(DivergedError, match=r"a weight is not finite at epoch 1, step 1: W1"):
        fit(fresh(), stripes[0], epochs=1, batch_size=600, schedule=lambda step: float("inf"))


def test_least_squares_solves_the_normal_equations(stripes) -> None:
    data, model = stripes[0], fresh(seed=1)
    residual = refit_last_layer(model, data, ridge=0.01)
    h = model.hidden(data.x)[0].astype(float)
    w, b = (model.layers[-1].parameters[name].astype(float) for name in "Wb")
    error = h @ w + b - np.eye(4)[data.y]  # (N, K)
    np.testing.assert_allclose(h.T @ error / len(data) + 0.01 * w, 0, atol=1e-5)
    np.testing.assert_allclose(error.mean(axis=0), 0, atol=1e-5)
    assert residual == pytest.approx((error**2).mean(), rel=1e-4)


def test_least_squares_copes_with_dead_and_duplicate_units(stripes) -> None:
    model = fresh()
    model.parameters["b1"][0] = -1e6
    model.parameters["W1"][:, 2] = model.parameters["W1"][:, 1]
    assert 0 < refit_last_layer(model, stripes[0]) < 0.2
    assert all(np.isfinite(a).all() for a in model.parameters.values())


def test_least_squares_reads_trained_features(stripes) -> None:
    from nnlib import evaluate

    model = fresh()
    fit(model, *stripes, epochs=8, batch_size=16, optimizer=SGD(0.1))
    before = evaluate(model, stripes[1]).accuracy
    refit_last_layer(model, stripes[0], ridge=1e-4)
    assert evaluate(model, stripes[1]).accuracy > before - 0.05
    with pytest.raises(InputError, match="ridge must be >= 0, got -1"):
        refit_last_layer(model, stripes[0], ridge=-1)
