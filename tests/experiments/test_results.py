"""Stored long runs: written row by row, gone on with, and quoted truly in the README."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from multiprocessing import parent_process
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import needs_official

from experiments import compute as results
from experiments import readme as summary
from experiments import stored
from experiments.least_squares import refit_last_layer
from experiments.readings import READINGS, VIEWS, as_trained, least_squares, many_views
from experiments.studies import (
    ABLATION,
    FRONTIER,
    REPORTS,
    STUDIES,
    ReportD,
    Study,
    SummedSGD,
    enlarged,
)
from nnlib import MLP, Augment, InputError, TrainConfig, evaluate, load_model, load_test_split
from nnlib.data import UNIT
from nnlib.files import load_tensors, project_root
from nnlib.gradcheck import numerical_gradient
from nnlib.losses import log_softmax, softmax_cross_entropy
from nnlib.trainer import Trainer
from nnlib.training import make_trainer

SMALL = TrainConfig(dataset="digits", hidden=(8,), epochs=2)
TWO = Study(
    "Two nets.",
    {"small": SMALL, "large": replace(SMALL, hidden=(32,))},
    seeds=(0, 1),
    readings={"large": ("least squares",)},
)
GROUPS = {"both": ("small", "large"), "refitted": ("large, least squares",)}
WHOLE = replace(TWO, ensembles=GROUPS, kept={"large": "large.safetensors"})
NAMES = ["small", "large", "large, least squares"]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of its own for the tables."""
    monkeypatch.setattr(stored, "folder", lambda: tmp_path)
    monkeypatch.setattr(stored, "models", lambda: tmp_path / "models")
    return tmp_path


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch, place: Path) -> Study:
    """Two small nets on digits, two seeds each, the only study there is."""
    for name in list(STUDIES):
        monkeypatch.delitem(STUDIES, name)
    monkeypatch.setitem(STUDIES, "two", TWO)
    return TWO


def compute(study: Study, jobs: int = 1) -> list[str]:
    """Let this be the study, and compute what is missing; return the lines that were said."""
    lines: list[str] = []
    STUDIES["two"] = study
    results.Part("two", study).compute(jobs, lines.append)
    return lines


@pytest.fixture(scope="module")
def made() -> list[stored.Outcome]:
    """What the runs of the two small nets give."""
    return list(results.outcomes(WHOLE, list(WHOLE.runs()), 1))


@pytest.fixture
def computed(study: Study, made: list[stored.Outcome]) -> Study:
    """The study with all of its runs stored."""
    store(study, [replace(outcome, model=None) for outcome in made])
    return study


def store(study: Study, made: list[stored.Outcome]) -> None:
    """Store what runs gave."""
    table = stored.Table("two", study)
    for outcome in made:
        table.add(outcome)


# --- what a study leaves


def test_a_study_becomes_a_table_of_its_runs(study, place) -> None:
    lines = compute(study)
    table = results.found("two").runs
    assert list(table["name"]) == NAMES * 2
    assert list(table["seed"]) == [0, 0, 0, 1, 1, 1]
    assert list(table.columns) == list(stored.COLUMNS)
    assert table.drop(columns="test_loss").notna().all(axis=None)
    assert ((table["test_accuracy"] > 0.2) & (table["test_accuracy"] <= 1)).all()
    assert json.loads(table["settings"][1])["hidden"] == [32]
    assert (table["train_images"] == 1375).all()
    assert (table["test_images"] == 297).all()
    assert len(lines) == 4
    assert re.fullmatch(r"two 1/4: small, seed 0, 0 s, validation \d\d\.\d\d%", lines[0]), lines[0]


def test_a_study_says_what_it_is_and_explains_every_column(computed, place) -> None:
    about = json.loads((place / "two.json").read_text(encoding="utf-8"))
    assert about["command"] == "python -m experiments two"
    assert list(about["columns"]) == list(results.found("two").runs.columns)
    assert list(about["curves"]) == list(results.found("two").curves.columns)


def test_the_curves_lead_to_the_rows(computed) -> None:
    table, curves = results.found("two").runs, results.found("two").curves
    assert len(curves) == 4 * SMALL.epochs
    assert (curves.groupby(["name", "seed"])["seconds"].diff().dropna() > 0).all()
    for row in table[~table["name"].str.contains(",")].itertuples():
        curve = curves[(curves["name"] == row.name) & (curves["seed"] == row.seed)]
        assert curve["val_accuracy"].max() == row.val_accuracy
        assert curve.set_index("epoch")["val_accuracy"].idxmax() == row.best_epoch
        assert curve["seconds"].max() <= row.seconds + 0.01


def test_the_stored_answers_give_the_accuracy_of_each_row(computed) -> None:
    said = results.found("two").answers
    truth = said["truth/digits"]
    np.testing.assert_array_equal(truth, load_test_split("digits").y)
    for row in results.found("two").runs.itertuples():
        assert (said[f"{row.name}/{row.seed}"] == truth).mean() == row.test_accuracy
    assert len(said) == 7


def test_what_is_stored_is_what_the_net_does(study) -> None:
    outcome = results.run(study, "small", SMALL)
    data = SMALL.load()
    model = trained(SMALL)
    test = evaluate(model, load_test_split("digits"))
    assert outcome.rows[0]["test_accuracy"] == test.accuracy
    assert outcome.rows[0]["test_loss"] == pytest.approx(test.loss, rel=1e-5)
    assert outcome.rows[0]["val_accuracy"] == evaluate(model, data.val).accuracy


# --- stopping, going on, changing


def test_stopping_loses_nothing_and_repeats_nothing(study, place) -> None:
    def stop(line: str) -> None:
        if "two 2/4" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        results.Part("two", study).compute(1, stop)
    before = (place / "two.csv").read_text(encoding="utf-8")
    assert len(before.splitlines()) == 1 + 3
    lines = compute(study)
    assert [line.split(",")[0] for line in lines] == ["two 3/4: small", "two 4/4: large"]
    assert (place / "two.csv").read_text(encoding="utf-8").startswith(before)


def test_a_changed_setting_costs_its_own_rows_only(computed, place) -> None:
    study = computed
    first = results.found("two").runs
    changed = replace(study, settings=study.settings | {"small": replace(SMALL, lr=0.2)})
    assert [label for label, _ in results.Part("two", changed).table.missing()] == ["small"] * 2
    compute(changed)
    second = results.found("two").runs
    assert list(second["name"]) == NAMES * 2
    kept = second["name"] != "small"
    pd.testing.assert_frame_equal(first[kept], second[kept])
    assert (first["settings"] != second["settings"])[~kept].all()
    assert len(results.found("two").curves) == 4 * SMALL.epochs


def test_rows_of_settings_that_are_no_more_are_dropped(computed, place) -> None:
    study = computed
    fewer = replace(study, settings={"large": study.settings["large"]}, seeds=(1,))
    assert compute(fewer) == []
    assert list(results.found("two").runs["name"]) == ["large", "large, least squares"]
    assert set(results.found("two").curves["seed"]) == {1}
    answers = results.found("two").answers
    assert set(answers) == {"large/1", "large, least squares/1", "truth/digits"}


def test_a_reading_that_is_asked_for_later_is_added(study) -> None:
    compute(replace(study, readings={}))
    assert list(results.found("two").runs["name"]) == ["small", "large"] * 2
    compute(study)
    assert list(results.found("two").runs["name"]) == NAMES * 2


def test_a_setting_that_is_new_in_the_library_costs_nothing(computed, place) -> None:
    """Rows from before a setting was there have its default."""
    study = computed
    path = place / "two.csv"
    text = path.read_text(encoding="utf-8")
    older = text.replace('""cutout"": 0, ', "")
    assert older != text
    path.write_text(older, encoding="utf-8")
    assert results.Part("two", study).table.missing() == []
    path.write_text(text.replace('""cutout""', '""gone""'), encoding="utf-8")
    assert len(results.Part("two", study).table.missing()) == 4


def test_the_time_is_guessed_from_what_there_is(study) -> None:
    guess = results.Part("two", study).seconds(1)
    assert 0 < guess < 10
    assert results.Part("two", study).seconds(2) == guess / 2
    assert results.Part("two", replace(study, alone=True)).seconds(2) == guess
    rows = [{"name": "small", "seconds": "3.0", "epochs": "2"}] * 2
    assert results.expected(study, "small", replace(SMALL, epochs=20), rows) == 30
    rows = [{"name": "large", "seconds": "3.0", "epochs": "2"}]
    rows += [{"name": "large, least squares", "seconds": "3.0", "test_seconds": "0.5"}]
    assert results.expected(study, "large", SMALL, rows) == 3.5
    assert results.expected(replace(study, minutes={"small": 5}), "small", SMALL, []) == 300
    larger = ReportD(**SMALL.as_dict())
    plain = results.expected(study, "small", SMALL, [])
    assert results.expected(study, "small", larger, []) == pytest.approx(3 * plain)


# --- nets that answer together, and nets that are kept


@pytest.fixture
def grouped(study: Study, made: list[stored.Outcome], place: Path) -> Study:
    """The two small nets, all stored, in groups that answer together, and one of them kept."""
    STUDIES["two"] = WHOLE
    store(WHOLE, made)
    return WHOLE


def test_nets_answer_together_by_the_mean_of_their_log_probabilities(grouped, place) -> None:
    found, test = results.found("two"), load_test_split("digits")
    both = found.ensembles.set_index("name").loc["both"]
    alone = found.runs[found.runs["name"].isin(["small", "large"])]
    assert (both["nets"], both["of"]) == (4, 4)
    assert both["mean_accuracy"] == pytest.approx(alone["test_accuracy"].mean())
    assert both["seconds"] == pytest.approx(alone["seconds"].sum())
    nets = [trained(config) for _, config in grouped.runs()]
    total = sum(log_softmax(net.forward(test.x)) for net in nets)  # (N, K)
    assert both["test_accuracy"] == pytest.approx((total.argmax(1) == test.y).mean(), abs=1 / 297)
    assert both["test_accuracy"] > both["mean_accuracy"]


def trained(config: TrainConfig) -> MLP:
    """Return the net that a run trains."""
    trainer = make_trainer(config, config.load(), 1)
    for _ in trainer.run():
        pass
    trainer.restore_best()
    return trainer.model


def test_the_stored_scores_name_what_the_net_named(grouped, place) -> None:
    scores, _ = load_tensors(place / "two-scores.safetensors")
    answers = results.found("two").answers
    assert set(scores) == set(answers) - {"truth/digits"}
    for key, of in scores.items():
        assert of.dtype == np.float16
        assert (of.argmax(axis=1) == answers[key]).mean() > 0.99
        np.testing.assert_allclose(np.exp(of.astype(float)).sum(axis=1), 1, atol=0.01)


def test_the_net_of_the_first_seed_is_kept(grouped, place) -> None:
    (file,) = (place / "models").iterdir()
    model, found = load_model(file), results.found("two").runs
    row = found[(found["name"] == "large") & (found["seed"] == 0)].iloc[0]
    assert evaluate(model, load_test_split("digits")).accuracy == row["test_accuracy"]
    assert model.info["config"]["seed"] == 0


def test_a_group_is_smaller_while_runs_are_missing(grouped, place) -> None:
    table = stored.Table("two", grouped)
    table.rows = {key: row for key, row in table.rows.items() if row["seed"] == "0"}
    rows = table.found().ensembles
    assert list(rows["name"]) == ["both"]  # one net alone is no group
    assert (rows["nets"].item(), rows["of"].item()) == (2, 4)


def test_what_a_group_or_a_kept_net_lacks_is_computed_again(grouped, place) -> None:
    assert stored.Table("two", grouped).missing() == []
    (place / "models" / "large.safetensors").unlink()
    assert [config.seed for _, config in stored.Table("two", grouped).missing()] == [0]
    (place / "two-scores.safetensors").unlink()
    assert len(stored.Table("two", grouped).missing()) == 4


def test_many_views_are_changes_that_the_net_was_trained_with() -> None:
    config = replace(SMALL, shift=1.0)
    data, model = config.load(), trained(config)
    images = data.val.images
    scores = many_views(model, data)(images)
    np.testing.assert_array_equal(scores, many_views(model, data)(images))
    rng = np.random.default_rng(0)
    views = [images, *(config.augmentation(images, rng) for _ in range(VIEWS - 1))]
    expected = np.mean([log_softmax(model.forward(model.scaling(v))) for v in views], axis=0)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    plain = SMALL.make_model(data)  # trained without changes: every view is the image itself
    logits = as_trained(plain, data)(images)
    np.testing.assert_allclose(many_views(plain, data)(images), log_softmax(logits), rtol=1e-5)


# --- several processes


def test_side_by_side_and_one_after_another_give_the_same(study) -> None:
    alone = {row["name"]: row for row in _rows(study, jobs=1, seed=0)}
    together = {row["name"]: row for row in _rows(study, jobs=2, seed=0)}
    assert set(alone) == set(together) == set(NAMES)
    for name, row in together.items():
        assert (row["threads"], row["side_by_side"]) == (1, 2)
        assert (alone[name]["threads"], alone[name]["side_by_side"]) == (1, 1)
        for key in ("val_accuracy", "test_accuracy", "test_loss", "best_epoch", "settings"):
            assert row[key] == alone[name][key]


def _rows(study: Study, jobs: int, seed: int) -> list[dict]:
    runs = [run for run in study.runs() if run[1].seed == seed]
    heard = []
    found = list(results.outcomes(study, runs, jobs, lambda *run: heard.append(run)))
    assert sorted(map(str, heard)) == sorted(map(str, runs * SMALL.epochs))
    return [row for outcome in found for row in outcome.rows]


def test_where_time_counts_a_run_is_alone_and_has_both_cores(study) -> None:
    wide = TrainConfig(dataset="digits", hidden=(2048, 1024), epochs=1, batch_size=64)
    alone = Study("Wide.", {"wide": wide}, seeds=(0,), alone=True)
    (outcome,) = results.outcomes(alone, list(alone.runs()), 2)
    assert outcome.rows[0]["side_by_side"] == 1
    assert outcome.rows[0]["threads"] == min(2, os.cpu_count())


def test_a_run_finds_out_its_processor_itself(monkeypatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    study = Study("Any.", {"small": SMALL}, seeds=(0,))
    (outcome,) = results.outcomes(study, list(study.runs()), 1)
    assert "Prescott" not in outcome.rows[0]["processor"]
    assert f"{os.cpu_count()} cores" in outcome.rows[0]["processor"]
    assert os.environ["OPENBLAS_CORETYPE"] == "Prescott"


class Deadly(Study):
    """A study whose runs kill their process."""

    def rows_of(self, name: str) -> list[str]:
        if parent_process() is not None:
            os._exit(9)
        return [name]


def test_a_run_whose_process_dies_is_told_of() -> None:
    deadly = Deadly("Fatal.", {"small": SMALL}, seeds=(0, 1))
    with pytest.raises(RuntimeError, match="the process of a run died"):
        list(results.outcomes(deadly, list(deadly.runs()), 2))


# --- the command

SCRIPT = """
import sys
from pathlib import Path
from dataclasses import replace
from nnlib import TrainConfig
from experiments import compute as results, stored
from experiments.studies import STUDIES, Study
net = TrainConfig(dataset="digits", hidden=(512, 512), epochs=40)
STUDIES.clear()
STUDIES["slow"] = Study("Slow.", {"first": replace(net, epochs=1), "second": net}, seeds=(0, 1))
stored.folder = lambda: Path(sys.argv[1])
results.project_root = lambda: Path(sys.argv[1])
if __name__ == "__main__":
    sys.exit(results.main(sys.argv[2:]))
"""


def command(place: Path, *arguments: str) -> subprocess.Popen:
    """Start the command with a study of its own."""
    script = place / "slow.py"
    script.write_text(SCRIPT, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(script), str(place), "slow", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(project_root())},
    )


def finished(place: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the command to its end: exit status, standard output, standard error."""
    process = command(place, *arguments)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def after_the_first_run(place: Path) -> subprocess.Popen:
    """Start the command with two processes, and wait for its first finished run."""
    process = command(place, "--jobs", "2")
    assert re.match(r"slow 1/4: first, seed 0", process.stderr.readline())
    return process


def test_ctrl_c_ends_it_with_one_line_and_it_goes_on(tmp_path) -> None:
    process = after_the_first_run(tmp_path)
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=30)[1].splitlines()
    assert process.returncode == 1
    assert rest[-1] == "results: stopped; finished runs are kept, and the same command goes on"
    assert [line for line in rest if not line.startswith("slow ")] == rest[-1:]
    done = len((tmp_path / "slow.csv").read_text(encoding="utf-8").splitlines()) - 1
    assert 1 <= done < 4
    status, out, err = finished(tmp_path, "--jobs", "2")
    assert status == 0
    assert f"{4 - done} of 4 runs to compute" in out
    assert err.count("slow ") == 4 - done


def test_its_processes_do_not_outlive_it(tmp_path) -> None:
    """They hold its standard error open, which is at its end only when all are gone."""
    process = after_the_first_run(tmp_path)
    process.kill()
    process.communicate(timeout=15)
    assert (tmp_path / "slow.csv").is_file()


def test_it_plans_begins_anew_and_refuses(study, place, monkeypatch, capsys) -> None:
    monkeypatch.setattr(results, "project_root", lambda: place)
    assert results.main(["two", "--plan"]) == 0
    assert re.search(r"two +4 of 4 runs to compute, about \d+ s\n", capsys.readouterr().out)
    assert not (place / "two.csv").exists()
    assert results.main(["two", "--jobs", "1"]) == 0
    assert "in all about" in capsys.readouterr().out
    first = results.found("two").runs
    assert results.main(["two", "--jobs", "1"]) == 0
    assert "all 4 runs are there\nnothing to compute; --fresh" in capsys.readouterr().out
    pd.testing.assert_frame_equal(first, results.found("two").runs)
    assert results.main(["two", "--fresh", "--jobs", "1"]) == 0
    assert "4 of 4 runs" in capsys.readouterr().out
    assert results.main(["three"]) == 2
    assert capsys.readouterr().err == "results: unknown study 'three': use two, searches\n"
    assert results.main(["--jobs", "0"]) == 2
    assert capsys.readouterr().err.endswith("jobs must be a whole number >= 1, got 0\n")


def test_all_is_computed_where_nothing_is_named(study, capsys) -> None:
    assert results.main(["--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["two", "searches", "in"]


def test_two_of_them_do_not_write_the_same_table(study, place, monkeypatch, capsys) -> None:
    monkeypatch.setattr(results, "project_root", lambda: place)
    with results._alone():
        assert results.main(["two"]) == 2
    assert "being computed by another process" in capsys.readouterr().err


def test_an_unknown_or_missing_study_is_named(study) -> None:
    for read in (results.found, results.recomputed):
        with pytest.raises(InputError, match="unknown study 'three': use two"):
            read("three")
    nothing = results.found("two")
    assert nothing.runs.empty
    assert list(nothing.runs.columns) == list(stored.COLUMNS)
    assert nothing.answers == {}


def test_it_can_be_computed_without_touching_what_is_stored(study, place) -> None:
    again = results.recomputed("two")
    assert list(again.runs["name"]) == NAMES * 2
    assert len(again.curves) == 4 * SMALL.epochs
    assert len(again.answers) == 7
    assert not list(place.iterdir())


# --- what report D alone needs


def test_report_d_s_step_follows_the_gradient_of_its_loss() -> None:
    """Against a numerical gradient of Σ cross-entropy + λ Σ ‖W‖, weights and biases."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 5)), rng.integers(3, size=7)
    model = MLP([5, 4, 3], "tanh", dtype="float64")
    _, mean = model.loss_and_gradients(x, y)

    def loss() -> float:
        data = 7 * softmax_cross_entropy(model.forward(x), y)[0]
        return data + 0.634 * sum(np.linalg.norm(w) for w in model.weight_matrices.values())

    expected = {name: numerical_gradient(loss, w) for name, w in model.parameters.items()}
    before = {name: w.copy() for name, w in model.parameters.items()}
    SummedSGD(0.01, 0.0, 0.634, 7).step(model.parameters, mean)
    for name, w in model.parameters.items():
        np.testing.assert_allclose((before[name] - w) / 0.01, expected[name], atol=1e-6)


def test_the_training_loop_takes_report_d_s_steps(stripes) -> None:
    train = stripes[0].take(slice(60))
    model, plain = (MLP([30, 6, 4], "tanh", dtype="float64") for _ in range(2))
    optimizer = SummedSGD(0.001, 0.9, 0.5, 20)
    trainer = Trainer(model, train, epochs=3, batch_size=20, optimizer=optimizer)
    for _ in trainer.run():
        pass
    by_hand = SummedSGD(0.001, 0.9, 0.5, 20)
    for epoch in range(3):
        order = np.random.default_rng([0, epoch, 0]).permutation(60)
        for rows in order.reshape(3, 20):
            x = UNIT(train.images[rows], out=np.empty((20, 30)))
            _, gradients = plain.loss_and_gradients(x, train.y[rows])
            by_hand.step(plain.parameters, gradients)
    for name, w in model.parameters.items():
        np.testing.assert_allclose(w, plain.parameters[name], rtol=1e-9, atol=1e-12)


def test_a_weight_matrix_of_zeros_is_left_in_peace() -> None:
    w = np.zeros((2, 2))
    SummedSGD(0.1, 0.0, 0.5, 1).step({"W1": w}, {"W1": np.zeros((2, 2))})
    assert (w == 0).all()


def test_the_training_set_is_enlarged_with_copies(stripes) -> None:
    split = stripes[0]
    changes = [Augment(zoom=0.2), Augment(rotate=20)]
    larger = enlarged(split, changes, [0, 2])
    assert len(larger) == 3 * len(split)
    np.testing.assert_array_equal(larger.images[: len(split)], split.images)
    np.testing.assert_array_equal(larger.y, np.tile(split.y, 3))
    parts = larger.images.reshape(3, *split.images.shape)
    assert (parts[0] != parts[1]).any(axis=(1, 2)).mean() > 0.9
    assert (parts[1] != parts[2]).any(axis=(1, 2)).mean() > 0.9
    again, other = enlarged(split, changes, [0, 2]), enlarged(split, changes, [1, 2])
    np.testing.assert_array_equal(larger.images, again.images)
    assert (larger.images != other.images).any()


def test_report_d_trains_on_the_enlarged_set_and_is_judged_on_the_plain_one() -> None:
    config = ReportD(dataset="digits", hidden=(8,), epochs=1, weight_decay=0.1, lr=1e-3)
    plain, larger = TrainConfig(dataset="digits").load(), config.load()
    assert len(larger.train) == 3 * len(plain.train)
    np.testing.assert_array_equal(larger.val.images, plain.val.images)
    assert not config.augmentation.active  # copies are made once, not anew each time
    assert isinstance(config.make_optimizer(), SummedSGD)
    assert config.make_optimizer().batch_size == config.batch_size
    assert replace(config, summed=False).make_optimizer().batch_size == 1
    assert config.as_dict()["copy_zoom"] == 0.15


def test_a_refitted_net_leaves_the_trained_one_as_it_is(stripes) -> None:
    data = SMALL.load()
    model = SMALL.make_model(data)
    before = {name: w.copy() for name, w in model.state().items()}
    scores = least_squares(model, data)(data.val.images)
    for name, w in model.state().items():
        np.testing.assert_array_equal(w, before[name])
    assert (as_trained(model, data)(data.val.images) != scores).any()
    refit_last_layer(model, data.train)
    np.testing.assert_array_equal(as_trained(model, data)(data.val.images), scores)


# --- what is to be computed

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
          "init_scale": 1e-3, "lr": 0.001, "weight_decay": 0.1, "batch_size": 100, "epochs": 10,
          "schedule": "exponential", "decay": 0.95, "scale": "none", "train_size": 49000,
          "val_size": 1000},
}  # fmt: skip


@pytest.mark.parametrize("name", STATED)
def test_a_report_s_settings_are_those_that_it_states(name) -> None:
    config = REPORTS.settings[name]
    assert {key: getattr(config, key) for key in STATED[name]} == STATED[name]
    assert "Unstated" in REPORTS.notes[name]
    assert REPORTS.rows_of(name) == [name, f"{name}, least squares"]
    if name == "D":
        assert all((config.momentum, config.dropout, config.warmup, config.copies))


def test_every_study_has_its_seeds_and_no_setting_twice() -> None:
    for study in STUDIES.values():
        runs = list(study.runs())
        planned = sum(len(study.seeds_of(name)) for name in study.settings)
        assert len(set(runs)) == len(runs) == planned
        for named in (study.notes, study.readings, study.late, study.minutes, study.kept):
            assert set(named) <= set(study.settings)
        assert {name for names in study.readings.values() for name in names} <= set(READINGS)
        assert all(study.seeds_of(name) == (0, 1, 2, 3, 4) for name in study.settings
                   if name not in study.late)  # fmt: skip
        rows = {row for name in study.settings for row in study.rows_of(name)}
        assert {row for group in study.ensembles.values() for row in group} <= rows


def test_the_best_are_trained_on_all_images_and_once_with_some_held_out() -> None:
    full = [name for name in FRONTIER.settings if name.endswith(" min")]
    assert len(full) == 7
    for name in full:
        config, held_out = FRONTIER.settings[name], FRONTIER.settings[f"{name} held out"]
        assert (config.val_size, held_out.val_size) == (0, 5000)
        assert replace(held_out, val_size=0) == config
        assert FRONTIER.seeds_of(name) == tuple(range(5 if name.endswith(" 5 min") else 3))
        assert FRONTIER.seeds_of(f"{name} held out") == (0,)
    runs = [label for label, _ in FRONTIER.runs()]
    first_long = next(i for i, label in enumerate(runs) if "20 min" in label)
    assert all("20 min" in label or "unlike" in label for label in runs[first_long:])
    assert runs[:5] == [name for name in full if name.endswith(" 5 min")]


def test_unlike_nets_are_trained_on_all_images_and_answer_with_those_of_any_depth() -> None:
    for data in ("Fashion-MNIST", "MNIST"):
        recipe, *others = FRONTIER.ensembles[f"{data}, unlike nets"]
        assert recipe == f"{data} any depth 20 min"
        assert len(others) == 4
        configs = [FRONTIER.settings[name] for name in (recipe, *others)]
        assert len(set(configs)) == 5
        assert {config.dataset for config in configs} == {data.lower()}
        assert {config.val_size for config in configs} == {0}
        assert all(FRONTIER.seeds_of(name) == (0,) for name in others)
        assert {FRONTIER.minutes[name] for name in (recipe, *others)} == {20}
        alone, views = (FRONTIER.ensembles[f"{data}, unlike nets{v}"] for v in ("", ", many views"))
        assert views == tuple(f"{row}, many views" for row in alone)


def test_the_ablation_changes_one_thing_at_a_time() -> None:
    whole = ABLATION.settings["all"].as_dict()
    for name, config in ABLATION.settings.items():
        changed = {key for key, value in config.as_dict().items() if value != whole[key]}
        own = {"epochs", "lr"}  # what keeps the minute full, and a constant rate from being large
        assert len(changed - own - {"flip"}) == (name != "all"), (name, changed)


@needs_official
def test_report_d_learns_from_165000_images() -> None:
    assert len(REPORTS.settings["D"].load().train) == 165_000


# --- the README


def test_the_readme_quotes_the_stored_runs() -> None:
    """Where this fails, `python -m experiments --readme` brings the README up to date."""
    assert summary.quoted() == summary.block()


def test_the_quoted_figures_are_those_of_the_table() -> None:
    runs = pd.read_csv(project_root() / "data" / "results" / "reports.csv")
    block = summary.block()
    for name, group in runs[runs["name"].isin(STATED)].groupby("name"):
        assert len(group) == 5, name
        percent = group["test_accuracy"].to_numpy() * 100
        line = next(line for line in block.splitlines() if summary.NETS[name] in line)
        assert f"{np.mean(percent):.2f} ± {np.std(percent, ddof=1):.2f} %" in line
        assert f"| {REPORTS.published[name]:g} % |" in line


def test_settings_are_quoted_when_all_their_seeds_are_there(monkeypatch, grouped) -> None:
    runs = results.found("two").runs
    assert summary.complete(grouped, "large", runs)
    assert summary.complete(grouped, "large, least squares", runs)
    assert not summary.complete(grouped, "large", runs[runs["seed"] == 0])
    monkeypatch.setitem(STUDIES, "frontier", grouped)
    monkeypatch.setattr(summary, "found", lambda name: results.found("two"))
    assert "seeds" not in "".join(summary.best())  # no group has the name of a net


def test_the_readme_is_brought_up_to_date(monkeypatch, tmp_path, capsys) -> None:
    text = (project_root() / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(text.replace(summary.quoted(), "old\n"), encoding="utf-8")
    monkeypatch.setattr(summary, "project_root", lambda: tmp_path)
    assert summary.quoted() == "old\n"
    assert results.main(["--readme"]) == 0
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == text


def test_speed_is_told_round_by_round_with_the_better_number_of_threads() -> None:
    times = {"nnlib/1": [1.0, 2.0], "nnlib/2": [0.5, 1.0], "jax/1": [1.0, 3.0]}
    cells = [summary.beside(times, name) for name in ("nnlib", "jax", "pytorch")]
    assert cells == ["0.75", "2.00 (2.5, 2.0 – 3.0)", "–"]
