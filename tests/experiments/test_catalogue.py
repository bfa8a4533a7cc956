"""What is to be computed is what the reports state, all of it is stored, and in 15 MB."""

import os
from dataclasses import replace

import pandas as pd
import pytest

from experiments import catalogue, store
from experiments.catalogue import AS_PUBLISHED, REPORTS, STUDIES
from experiments.readings import READINGS
from experiments.searches import Searches
from experiments.store import Store
from experiments.study import TITLES
from nnlib.files import load_tensors, project_root, read_json

FRONTIER, ABLATION = STUDIES["frontier"], STUDIES["ablation"]
STATED = {
    "A": {"dataset": "fashion-mnist", "hidden": (128, 128), "activation": "relu", "lr": 0.1,
          "batch_size": 16, "epochs": 20},
    "B": {"dataset": "mnist", "hidden": (292,), "activation": "relu", "lr": 0.24752157219042198,
          "weight_decay": 2.546591239423651e-07, "batch_size": 128, "epochs": 50},
    "C": {"dataset": "fashion-mnist", "hidden": (128,), "activation": "relu", "init": None,
          "batch_size": 64, "epochs": 50, "schedule": "exponential", "decay": 0.95,
          "weight_decay": 0.001},
    "D": {"dataset": "mnist", "hidden": (257,), "activation": "tanh", "lr": 8.26e-4,
          "weight_decay": 0.634, "schedule": "cosine"},
    "E": {"dataset": "mnist", "hidden": (100,), "activation": "relu", "init": "normal",
          "init_scale": 1e-3, "lr": 0.001, "weight_decay": 0.05, "batch_size": 100, "epochs": 10,
          "schedule": "exponential", "decay": 0.95, "scale": "none", "train_size": 49000,
          "val_size": 1000},
}  # fmt: skip
PUBLISHED = {"A": 88.0, "B": 98.08, "C": 86.45, "D": 92.35, "E": 97.7}


def report(letter: str, name: str = AS_PUBLISHED):
    """Return the recipe of that name of a report."""
    (recipe,) = (r for r in REPORTS.recipes if r.labels == {"report": letter, "recipe": name})
    return recipe


@pytest.mark.parametrize("name", STATED)
def test_a_report_s_settings_are_those_that_it_states(name) -> None:
    recipe = report(name)
    assert {key: getattr(recipe.config, key) for key in STATED[name]} == STATED[name]
    assert recipe.published == PUBLISHED[name]
    assert "Unstated" in recipe.note
    assert recipe.readings == ("as trained", "least squares")
    if name == "D":
        config = recipe.config
        assert all((config.momentum, config.dropout, config.warmup, config.copies))


def test_report_e_is_the_best_of_its_search_beside_the_run_that_it_shows() -> None:
    shown = report("E", "the run it shows").config
    assert shown == replace(report("E").config, weight_decay=0.1)
    assert report("E", "penalty averaged").config.weight_decay == 0.1 / 49_000


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_its_seeds_and_no_run_twice(name) -> None:
    study = STUDIES[name]
    nets = study.nets()
    keys = [key for net in nets for key in net.rows]
    assert len(set(keys)) == len(keys)
    assert len({net.config for net in nets}) == len(nets)
    assert len(nets) == sum(len(recipe.seeds) for recipe in study.recipes)
    for recipe in study.recipes:
        assert list(recipe.labels) == list(study.labels)
        assert set(recipe.readings) <= set(READINGS)
        assert set(recipe.told) <= set(recipe.readings)
        assert recipe.late or recipe.seeds == (0, 1, 2, 3, 4)
    for group in study.groups:
        assert all(set(members) <= set(keys) for _, members in group.rows)


def test_the_best_are_trained_on_all_images_and_once_with_some_held_out() -> None:
    best = [recipe for recipe in FRONTIER.recipes if recipe.labels["group"] == "best"]
    whole = [recipe for recipe in best if not recipe.labels["held_out"]]
    assert len(whole) == 7
    for recipe in whole:
        (held_out,) = (r for r in best if r.columns == recipe.columns | {"held_out": 5000})
        assert (recipe.config.val_size, held_out.config.val_size) == (0, 5000)
        assert replace(held_out.config, val_size=0) == recipe.config
        assert recipe.seeds == tuple(range(5 if recipe.minutes == 5 else 3))
        assert held_out.seeds == (0,)
    nets = FRONTIER.nets()
    first_long = next(i for i, net in enumerate(nets) if net.recipe.minutes == 20)
    assert all(net.recipe.minutes == 20 or net.recipe.late for net in nets[first_long:])
    assert [net.recipe for net in nets[:5]] == [r for r in whole if r.minutes == 5]


def test_unlike_nets_are_trained_on_all_images_and_answer_with_those_of_any_depth() -> None:
    groups = [group for group in FRONTIER.groups if group.labels["group"] == "unlike nets"]
    assert [group.labels["data"] for group in groups] == ["Fashion-MNIST", "MNIST"]
    for group in groups:
        first, *others = group.recipes
        assert (first.labels["recipe"], first.minutes) == ("any depth", 20)
        assert len(others) == 4
        configs = [recipe.config for recipe in group.recipes]
        assert len(set(configs)) == 5
        assert {config.dataset for config in configs} == {group.labels["data"].lower()}
        assert {config.val_size for config in configs} == {0}
        assert all(recipe.seeds == (0,) for recipe in others)
        assert {recipe.minutes for recipe in group.recipes} == {20}
        alone, views = (keys for _, keys in group.rows)
        assert [key.replace("as trained", "many views") for key in alone] == views


def test_the_ablation_changes_one_thing_at_a_time() -> None:
    whole = ABLATION.recipes[0].config.as_dict()
    for recipe in ABLATION.recipes:
        changed = {k for k, value in recipe.config.as_dict().items() if value != whole[k]}
        own = {"epochs", "lr"}  # what keeps the minute full, and a constant rate from being large
        assert len(changed - own - {"flip"}) == (recipe.labels["recipe"] != "all"), recipe


def test_in_colour_a_group_differs_in_what_it_is_called_after() -> None:
    free = {"depth": {"hidden"}, "change": {*catalogue.STILL, *catalogue.CHANGES["and light"]}}
    for group, may in free.items():
        recipes = [r for r in STUDIES["colour"].recipes if r.labels["group"] == group]
        configs = [recipe.config.as_dict() for recipe in recipes]
        assert len({str(config) for config in configs}) == len(recipes)
        assert {name for c in configs for name in c if c[name] != configs[0][name]} <= may
        assert all(recipe.seeds == tuple(range(5)) for recipe in recipes)


def test_unlike_nets_in_colour_are_the_recipe_of_20_minutes_with_a_change_each() -> None:
    *_, team = STUDIES["colour"].groups
    (usual,) = (r.config for r in STUDIES["colour"].recipes if r.minutes == 20 and r.seeds[1:])
    own = [recipe.config.as_dict() for recipe in team.recipes]
    changes = [{n for n in c if c[n] != usual.as_dict()[n]} - {"epochs"} for c in own]
    assert len(own) == 5 == len({frozenset(change) for change in changes} - {frozenset()})
    assert all(recipe.seeds == (0,) and recipe.minutes == 40 for recipe in team.recipes)


# --- what is stored


@pytest.mark.parametrize("name", STUDIES)
def test_all_of_a_study_is_stored_and_its_answers_give_its_accuracies(name) -> None:
    kept = Store(name, STUDIES[name])
    assert kept.missing() == []
    about = read_json(store.folder() / f"{name}.json")
    table = pd.read_csv(store.folder() / f"{name}.csv")
    curves = pd.read_csv(store.folder() / f"{name}-curves.csv")
    assert list(about["columns"]) == list(table.columns) == list(kept.columns)
    assert list(about["curves"]) == list(curves.columns)
    assert table["data"].isin(TITLES.values()).all()
    answers, _ = load_tensors(store.folder() / f"{name}-answers.safetensors")
    names = {title: data for data, title in TITLES.items()}
    for row in table.itertuples():
        truth = answers[f"truth/{names[row.data]}"]
        assert (answers[row.answers] == truth).mean() == pytest.approx(row.test_accuracy)


def test_all_trials_of_the_searches_are_stored() -> None:
    assert Searches().missing() == (0, 159)


def test_what_is_committed_of_the_data_comes_to_15_megabytes_at_most() -> None:
    folders = [project_root() / "data" / name for name in ("models", "results")]
    files = [file for folder in folders for file in os.scandir(folder)]
    committed = [file for file in files if not file.name.endswith("-scores.safetensors")]
    assert sum(file.stat().st_size for file in committed) < 15e6
