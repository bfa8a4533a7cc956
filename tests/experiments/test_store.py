"""Stored runs: written row by row, gone on with, and dropped when their settings change."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from experiments import compute
from experiments.store import ENSEMBLE, RUN, Store
from experiments.study import Net
from nnlib import MLP, TrainConfig, evaluate, load_model, load_test_split
from nnlib.files import load_tensors
from nnlib.losses import log_softmax
from nnlib.training import make_trainer

NAMES = ["small", "large", "large"]


def trained(config: TrainConfig) -> MLP:
    """Return the net that a run trains."""
    trainer = make_trainer(replace(config, threads=1), config.load())
    for _ in trainer.run():
        pass
    trainer.restore_best()
    return trainer.model


def tensors(two, kind: str) -> dict[str, np.ndarray]:
    return load_tensors(two.place / f"two-{kind}.safetensors")[0]


# --- what a study leaves


def test_a_study_becomes_a_table_of_its_runs(two) -> None:
    lines = two.compute()
    table = two.table()
    assert list(table["recipe"]) == NAMES * 2
    assert list(table["reading"]) == ["as trained", "as trained", "least squares"] * 2
    assert list(table["seed"]) == [0, 0, 0, 1, 1, 1]
    assert list(table.columns) == ["data", "recipe", *RUN]
    assert table.drop(columns="test_loss").notna().all(axis=None)
    assert table["test_loss"].isna().equals(table["reading"] == "least squares")
    assert ((table["test_accuracy"] > 0.2) & (table["test_accuracy"] <= 1)).all()
    assert json.loads(table["settings"][1])["hidden"] == [32]
    assert (table["train_images"] == 1375).all()
    assert (table["test_images"] == 297).all()
    assert len(lines) == 4
    line = r"two 1/4: digits, small, seed 0, 0 s, validation \d\d\.\d\d%"
    assert re.fullmatch(line, lines[0]), lines[0]


def test_a_study_says_what_it_is_and_explains_every_column(two) -> None:
    two.compute()
    about = json.loads((two.place / "two.json").read_text(encoding="utf-8"))
    assert about["command"] == "python -m experiments two"
    assert list(about["columns"]) == list(two.table().columns)
    assert list(about["curves"]) == list(two.table("-curves").columns)
    told = {"data": "digits", "recipe": "small", "seeds": [0, 1], "published": None, "note": ""}
    assert about["recipes"][0] == told


def test_the_curves_lead_to_the_rows(two) -> None:
    two.compute()
    table, curves = two.table(), two.table("-curves")
    assert len(curves) == 4 * 2
    assert (curves.groupby(["recipe", "seed"])["seconds"].diff().dropna() > 0).all()
    for row in table[table["reading"] == "as trained"].itertuples():
        curve = curves[(curves["recipe"] == row.recipe) & (curves["seed"] == row.seed)]
        assert curve["val_accuracy"].max() == row.val_accuracy
        assert curve.set_index("epoch")["val_accuracy"].idxmax() == row.best_epoch
        assert curve["seconds"].max() <= row.seconds + 0.01


def test_the_stored_answers_give_the_accuracy_of_each_row(two) -> None:
    two.compute()
    said = tensors(two, "answers")
    truth = said["truth/digits"]
    np.testing.assert_array_equal(truth, load_test_split("digits").y)
    for row in two.table().itertuples():
        assert (said[row.answers] == truth).mean() == row.test_accuracy
    assert len(said) == 7


def test_what_is_stored_is_what_the_net_does(two) -> None:
    (row,) = compute.outcome(Net(two.small, 0)).rows.values()
    config = Net(two.small, 0).config
    model, test = trained(config), load_test_split("digits")
    assert row["test_accuracy"] == evaluate(model, test).accuracy
    assert row["test_loss"] == pytest.approx(evaluate(model, test).loss, rel=1e-5)
    assert row["val_accuracy"] == evaluate(model, config.load().val).accuracy


# --- stopping, going on, changing


def test_stopping_loses_nothing_and_repeats_nothing(two) -> None:
    def stop(line: str) -> None:
        if "two 2/4" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        two.compute(say=stop)
    before = (two.place / "two.csv").read_text(encoding="utf-8")
    assert len(before.splitlines()) == 1 + 3
    lines = two.compute()
    told = [line.split(", seed")[0] for line in lines]
    assert told == ["two 3/4: digits, small", "two 4/4: digits, large"]
    assert (two.place / "two.csv").read_text(encoding="utf-8").startswith(before)


def test_a_changed_setting_costs_its_own_rows_only(two) -> None:
    two.compute()
    first = two.table()
    small = replace(two.small, config=replace(two.small.config, lr=0.2))
    changed = replace(two.study, recipes=(small, two.large))
    assert Store("two", changed).missing() == [Net(small, 0), Net(small, 1)]
    two.compute(changed)
    second = two.table()
    assert list(second["recipe"]) == NAMES * 2
    kept = second["recipe"] != "small"
    pd.testing.assert_frame_equal(first[kept], second[kept])
    assert (first["settings"] != second["settings"])[~kept].all()
    assert len(two.table("-curves")) == 4 * 2


def test_rows_of_settings_that_are_no_more_are_dropped(two) -> None:
    two.compute()
    fewer = replace(two.study, recipes=(replace(two.large, seeds=(1,)),))
    assert two.compute(fewer) == []
    assert list(two.table()["recipe"]) == ["large", "large"]
    assert set(two.table("-curves")["seed"]) == {1}
    assert set(tensors(two, "answers")) == {*two.table()["answers"], "truth/digits"}


def test_a_reading_that_is_asked_for_later_is_added(two) -> None:
    plain = replace(two.large, readings=("as trained",))
    two.compute(replace(two.study, recipes=(two.small, plain)))
    assert list(two.table()["recipe"]) == ["small", "large"] * 2
    two.compute()
    assert list(two.table()["recipe"]) == NAMES * 2


def test_a_setting_that_is_new_in_the_library_costs_nothing(two) -> None:
    """Rows from before a setting was there have its default."""
    two.compute()
    path = two.place / "two.csv"
    text = path.read_text(encoding="utf-8")
    older = text.replace('""cutout"": 0, ', "")
    assert older != text
    path.write_text(older, encoding="utf-8")
    assert Store("two", two.study).missing() == []
    path.write_text(text.replace('""cutout""', '""gone""'), encoding="utf-8")
    assert len(Store("two", two.study).missing()) == 4


# --- nets that answer together, and nets that are saved


def test_nets_answer_together_by_the_mean_of_their_log_probabilities(two) -> None:
    two.compute(two.grouped)
    table, groups, test = two.table(), two.table("-ensembles"), load_test_split("digits")
    assert list(groups.columns) == list(ENSEMBLE)
    plain = groups["reading"] == "as trained"
    both = groups[plain & (groups["group"] == "both")].iloc[0]
    alone = table[table["reading"] == "as trained"]
    assert (both["nets"], both["of"]) == (4, 4)
    assert both["mean_accuracy"] == pytest.approx(alone["test_accuracy"].mean())
    assert both["seconds"] == pytest.approx(alone["seconds"].sum())
    nets = [trained(net.config) for net in two.grouped.nets()]
    total = sum(log_softmax(net.forward(test.x)) for net in nets)  # (N, K)
    assert both["test_accuracy"] == pytest.approx((total.argmax(1) == test.y).mean(), abs=1 / 297)
    assert both["test_accuracy"] > both["mean_accuracy"]


def test_the_stored_scores_name_what_the_net_named(two) -> None:
    two.compute(two.grouped)
    scores, answers = tensors(two, "scores"), tensors(two, "answers")
    assert set(scores) == set(answers) - {"truth/digits"}
    for key, of in scores.items():
        assert of.dtype == np.float16
        assert (of.argmax(axis=1) == answers[key]).mean() > 0.99
        if "as trained" in key:  # refitted scores are no logits
            np.testing.assert_allclose(np.exp(of.astype(float)).sum(axis=1), 1, atol=0.01)


def test_the_net_of_the_first_seed_is_saved(two) -> None:
    two.compute(two.grouped)
    (file,) = (two.place / "models").iterdir()
    model, table = load_model(file), two.table()
    row = table[(table["recipe"] == "large") & (table["seed"] == 0)].iloc[0]
    assert evaluate(model, load_test_split("digits")).accuracy == row["test_accuracy"]
    assert model.info["config"]["seed"] == 0


def test_a_group_is_smaller_while_runs_are_missing(two) -> None:
    one = [replace(recipe, seeds=(0,)) for recipe in two.grouped.recipes]
    two.compute(replace(two.grouped, recipes=tuple(one)))
    groups = two.table("-ensembles")
    assert list(groups["group"]) == ["both", "both"]  # one net alone is no group
    assert set(groups["nets"]) == {2}
    assert set(groups["of"]) == {4}
    assert len(Store("two", two.grouped).missing()) == 2


def test_a_complete_group_does_without_scores_and_a_new_member_needs_all(two) -> None:
    """They are not committed: whoever has cloned the project has the groups' rows alone."""
    two.compute(two.grouped)
    before = two.table("-ensembles")
    (two.place / "two-scores.safetensors").unlink()
    assert two.compute(two.grouped) == []
    pd.testing.assert_frame_equal(two.table("-ensembles"), before)
    small, large = two.grouped.recipes
    three = replace(large, seeds=(0, 1, 2))
    both, alone = two.grouped.groups
    groups = (both, replace(alone, recipes=(three,)))
    grown = replace(two.grouped, recipes=(small, three), groups=groups)
    assert Store("two", grown).missing() == [Net(three, seed) for seed in (0, 1, 2)]
    two.compute(grown)
    after = two.table("-ensembles")
    pd.testing.assert_frame_equal(after[:2], before[:2])
    assert list(after["nets"]) == [4, 4, 3, 3]


def test_a_saved_net_that_is_gone_is_computed_again(two) -> None:
    two.compute(two.grouped)
    (two.place / "models" / "large.safetensors").unlink()
    assert [net.seed for net in Store("two", two.grouped).missing()] == [0]


# --- how long it takes


def test_the_time_is_expected_from_what_its_like_took(two) -> None:
    runs = compute.Runs("two", replace(two.study, recipes=(replace(two.small, minutes=5),)))
    assert runs.seconds(1) == 2 * 300, "nothing is known"
    assert runs.seconds(2) == 300
    assert compute.Runs("two", replace(runs.study, alone=True)).seconds(2) == 600
    row = {"data": "digits", "recipe": "large", "seconds": "3.0", "epochs": "2"}
    runs.store.read = [row | {"test_seconds": "0.5"}, row | {"test_seconds": "0.7"}]
    assert runs.store.expected(Net(two.large, 0)) == pytest.approx(3 + 2 * 0.6)
    longer = replace(two.large, config=replace(two.large.config, epochs=20))
    assert runs.store.expected(Net(longer, 0)) == pytest.approx(30 + 2 * 0.6)
