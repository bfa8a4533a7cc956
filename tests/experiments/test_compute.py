"""Runs in processes of their own: the same whatever stands beside them, and told of if dead."""

import os
from dataclasses import dataclass, replace
from multiprocessing import parent_process

import numpy as np
import pytest
from conftest import needs_official

from experiments import compute
from experiments.catalogue import REPORT_D
from experiments.readings import VIEWS, as_trained, least_squares, many_views, refit_last_layer
from experiments.study import AS_TRAINED, Net, Recipe
from nnlib import TrainConfig
from nnlib.losses import log_softmax

SMALL = TrainConfig(dataset="digits", hidden=(8,), epochs=2)
LARGE = replace(SMALL, hidden=(32,))
RECIPES = [
    Recipe(SMALL, {"recipe": "small"}),
    Recipe(LARGE, {"recipe": "large"}, readings=(AS_TRAINED, "least squares")),
]


# --- several processes


def test_side_by_side_and_one_after_another_give_the_same() -> None:
    nets, heard = [Net(recipe, 0) for recipe in RECIPES], []
    together = {o.net: o for o in compute.outcomes(nets, 2, False, heard.append)}
    assert sorted(heard) == [0, 0, 1, 1]
    assert set(together) == set(nets)
    # both in processes of their own, whose BLAS finds out the processor by itself
    one_by_one = {o.net: o for o in compute.outcomes(nets, 1, False)}
    for net in nets:
        alone = one_by_one[net]
        assert list(together[net].rows) == list(alone.rows) == list(net.rows)
        for key, row in together[net].rows.items():
            assert (row["threads"], row["side_by_side"]) == (1, 2)
            assert (alone.rows[key]["threads"], alone.rows[key]["side_by_side"]) == (1, 1)
            for name in ("val_accuracy", "test_accuracy", "test_loss", "best_epoch", "settings"):
                assert row[name] == alone.rows[key][name]


def test_where_time_counts_a_run_is_alone_and_has_both_cores(monkeypatch) -> None:
    """And it finds out its processor itself, where the machine pins another."""
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    wide = TrainConfig(dataset="digits", hidden=(2048, 1024), epochs=1, batch_size=64)
    net = Net(Recipe(wide, {"recipe": "wide"}), 0)
    (outcome,) = compute.outcomes([net], 2, True)
    (row,) = outcome.rows.values()
    assert row["side_by_side"] == 1
    assert row["threads"] == min(2, os.cpu_count())
    assert "Prescott" not in row["processor"]
    assert f"{os.cpu_count()} cores" in row["processor"]
    assert os.environ["OPENBLAS_CORETYPE"] == "Prescott"


@dataclass(frozen=True)
class Deadly(TrainConfig):
    """Settings that kill their process."""

    def load(self) -> None:
        assert parent_process() is not None
        os._exit(9)


def test_a_run_whose_process_dies_is_told_of() -> None:
    recipe = Recipe(Deadly(dataset="digits"), {"recipe": "fatal"})
    with pytest.raises(RuntimeError, match="the process of a run died"):
        list(compute.outcomes([Net(recipe, 0)], 1, False))


# --- ways in which a net answers


def test_many_views_are_changes_that_the_net_was_trained_with() -> None:
    config = replace(SMALL, shift=1.0)
    data = config.load()
    model, images = config.make_model(data), data.val.images
    scores = many_views(model, data)(images)
    np.testing.assert_array_equal(scores, many_views(model, data)(images))
    rng = np.random.default_rng(0)
    views = [images, *(config.augmentation(images, rng) for _ in range(VIEWS - 1))]
    expected = np.mean([log_softmax(model.forward(model.scaling(v))) for v in views], axis=0)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    plain = SMALL.make_model(data)  # trained without changes: every view is the image itself
    logits = as_trained(plain, data)(images)
    np.testing.assert_allclose(many_views(plain, data)(images), log_softmax(logits), rtol=1e-5)


def test_a_refitted_net_leaves_the_trained_one_as_it_is() -> None:
    data = SMALL.load()
    model = SMALL.make_model(data)
    before = {name: w.copy() for name, w in model.state().items()}
    scores = least_squares(model, data)(data.val.images)
    for name, w in model.state().items():
        np.testing.assert_array_equal(w, before[name])
    assert (as_trained(model, data)(data.val.images) != scores).any()
    refit_last_layer(model, data.train)
    np.testing.assert_array_equal(as_trained(model, data)(data.val.images), scores)


@needs_official
def test_report_d_learns_from_165000_images() -> None:
    assert len(REPORT_D.load().train) == 165_000
