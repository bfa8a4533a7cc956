"""The playground without a browser: knobs, runs, what is drawn of them, and the panel's buttons."""

import asyncio
import csv
import io
import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import striped

import nnlib
from nnlib import InputError
from nnlib.config import TrainConfig
from nnlib.data import Dataset
from nnlib.notebook import axes as panels
from nnlib.notebook import live
from nnlib.notebook.output import rendered
from nnlib.widgets import panel as widgets
from nnlib.widgets.panel import Board
from nnlib.widgets.playground import (
    AUGMENTATIONS,
    OPTIMISERS,
    Knobs,
    Playground,
    Run,
    parse_sizes,
)


@pytest.fixture
def data() -> Dataset:
    train, val = striped(600, 4, (6, 5), 1), striped(200, 4, (6, 5), 3)
    rows = np.arange(600)
    return Dataset("stripes", train, val, tuple("abcd"), (6, 5), "", "", rows, rows[:0])


SMALL = {"hidden": (16,), "batch_size": 20, "epochs": 4}


def knobs(**more: Any) -> Knobs:
    return Knobs(**SMALL | more)


def trained(playground: Playground, turned: Knobs) -> Run:
    """Return a run that has learned to its end."""
    run = playground.start(turned)
    for _ in playground.learn(run):
        pass
    return run


# --- knobs


@pytest.mark.parametrize("text", ["128 64", "128, 64", "128-64", "128x64", "128 × 64", "(128, 64)"])
def test_sizes_are_read_as_people_write_them(text: str):
    assert parse_sizes(text) == (128, 64)


@pytest.mark.parametrize("text", ["", " ", "none", "()"])
def test_no_size_is_no_layer(text: str):
    assert parse_sizes(text) == ()


@pytest.mark.parametrize("text", ["many", "12.5", "128 -", "1e3", "9999999999"])
def test_what_is_no_size_is_named(text: str):
    with pytest.raises(InputError, match="hidden sizes must be whole numbers"):
        parse_sizes(text)


def test_knobs_are_settings_of_a_run():
    turned = knobs(lr=0.3, schedule="cosine", weight_decay=1e-3, dropout=0.2, seed=5)
    assert turned.config("digits") == TrainConfig(
        dataset="digits", lr=0.3, schedule="cosine", weight_decay=1e-3, dropout=0.2, seed=5, **SMALL
    )


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_is_one_of_the_library(name: str):
    config = knobs(optimiser=name).config("digits")
    assert (config.optimizer == "adamw") == (name == "AdamW")
    assert (config.momentum > 0) == ("momentum" in name)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_is_one_of_the_library(name: str):
    assert knobs(augmentation=name).config("digits").augmentation.active == (name != "none")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"optimiser": "Adam"}, "unknown optimiser 'Adam': use SGD"),
        ({"augmentation": "blur"}, "unknown augmentation 'blur': use none"),
        ({"lr": -1.0}, "learning rate must be > 0, got -1"),
        ({"dropout": 1.5}, "dropout"),
        ({"hidden": (10**7,)}, "make 340,000,000 weights"),
        ({"train_size": -1}, "images"),
    ],
)
def test_a_knob_out_of_range_is_named_and_starts_nothing(data, wrong: dict, message: str):
    playground = Playground(data)
    running = playground.start(knobs())
    with pytest.raises(InputError, match=message):
        playground.start(knobs(**wrong))
    assert playground.learning is running
    assert playground.runs == [running]


def test_differences_in_words():
    turned = knobs(lr=0.0630957, batch_size=8, weight_decay=1e-5, hidden=(), train_size=100)
    said = "hidden none, lr 0.0631, batch 8, L2 1e-05, images 100"
    assert turned.differences(knobs()) == said
    assert knobs().differences(knobs()) == ""


# --- runs


def test_a_run_is_that_of_fit(data):
    run = trained(Playground(data), knobs(train_size=0))
    model = nnlib.MLP([30, 16, 4], seed=0)
    history = nnlib.fit(model, data.train, data.val, epochs=4, batch_size=20)
    assert run.state == "finished"
    assert run.history.column("val_loss") == history.column("val_loss")
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(run.trainer.model.parameters[name], array)


def test_a_new_run_stops_the_one_that_learns_and_keeps_what_it_has(data):
    playground = Playground(data)
    first = playground.start(knobs())
    steps = playground.learn(first)
    while not first.history.rows:
        next(steps)
    second = playground.start(knobs(lr=0.3))
    assert (first.state, second.state) == ("stopped", "learning")
    assert list(steps) == []
    assert playground.learning is second
    assert playground.runs == [first, second]
    assert (first.name, second.name) == ("as given", "lr 0.3")


def test_a_run_stopped_in_its_first_epoch_is_dropped(data):
    playground = Playground(data)
    playground.start(knobs())
    second = playground.start(knobs())
    assert playground.runs == [second]
    assert second.number == 2


def test_few_images_are_drawn_by_the_seed(data):
    few = [Playground(data).start(knobs(train_size=100, seed=s)).trainer.train for s in (0, 0, 1)]
    assert [len(split) for split in few] == [100] * 3
    np.testing.assert_array_equal(few[0].images, few[1].images)
    assert (few[0].images != few[2].images).any()
    assert len(Playground(data).start(knobs(train_size=10**6)).trainer.train) == 600


def test_the_rate_is_turned_and_its_place_marked_once(data):
    playground = Playground(data)
    run = playground.start(knobs(lr=0.2))
    for _ in playground.learn(run):
        if len(run.history.rows) == 2 and not run.trace.turns:
            for factor in (0.5, 0.2, 0.1):  # a slider on its way
                run.turn_rate(factor)
    assert run.history.column("lr") == pytest.approx([0.2, 0.2, 0.02, 0.02])
    assert run.trace.turns == [2.0]
    run.turn_rate(5.0)
    assert run.trainer.lr_factor == 0.1  # it has ended


def test_divergence_is_told_in_a_line(data):
    run = trained(Playground(data), knobs(lr=1e30, activation="leaky_relu", hidden=(16, 16)))
    assert run.state == "failed"
    assert "epoch 1" in run.problem
    assert run.confusion().sum() == 200


def test_confusion_counts_validation_images(data):
    run = trained(Playground(data), knobs())
    counts = run.confusion()
    assert counts.sum(axis=1).tolist() == np.bincount(data.val.y).tolist()
    accuracy = nnlib.evaluate(run.trainer.model, data.val).accuracy
    assert np.trace(counts) / 200 == pytest.approx(accuracy)


def test_rows_are_every_epoch_of_every_run(data):
    playground = Playground(data)
    trained(playground, knobs())
    named = trained(playground, knobs(lr=0.3, epochs=2))
    playground.rename(named, '  quick,  "and" dirty ')
    playground.rename(named, "   ")
    table = list(csv.DictReader(io.StringIO(playground.csv)))
    assert [(row["run"], row["epoch"]) for row in table] == [
        *(("1", str(epoch)) for epoch in (1, 2, 3, 4)), ("2", "1"), ("2", "2"),
    ]  # fmt: skip
    assert table[-1]["name"] == 'quick, "and" dirty'
    assert (table[0]["lr"], table[-1]["lr"], table[-1]["hidden"]) == ("0.1", "0.3", "16")
    assert float(table[-1]["val_accuracy"]) == named.history.rows[-1]["val_accuracy"]
    playground.remove(named)
    assert len(list(csv.DictReader(io.StringIO(playground.csv)))) == 4


def test_a_large_net_yields_as_often_as_a_small_one(data):
    large = Playground(data).start(knobs(hidden=(3000, 3000)))
    small = Playground(data).start(knobs())
    assert large.trainer.chunk_rows < 50 < small.trainer.chunk_rows


# --- curves


def test_a_trace_s_points_are_means_and_few(data):
    run = trained(Playground(data), knobs(epochs=300))
    trace = run.trace
    assert len(trace.epoch) <= 120
    assert (np.diff(trace.epoch) > 0).all()
    assert 0 < trace.epoch[0] < trace.epoch[-1] < 300
    losses = run.history.column("train_loss")
    assert min(losses) <= trace.loss[-1] <= trace.loss[1] <= losses[0]
    assert len(trace.judged) <= 120
    assert trace.judged[-1] is run.history.rows[-1]
    assert (np.diff([row["epoch"] for row in trace.judged]) == 3).all()


def test_axes_span_what_is_planned_and_then_what_was_done(data):
    playground = Playground(data)
    run = playground.start(knobs(epochs=50))
    _, axes = panels.figure(2.0, 1, 2)
    steps = playground.learn(run)
    while len(run.history.rows) < 2:
        next(steps)
    panels.running(axes, {"": run.trace})
    assert axes[0].get_xlim() == (0, 50)
    run.stop()
    assert list(steps) == []
    panels.running(axes, {"": run.trace})
    assert axes[0].get_xlim() == (0, 2)


def test_curves_are_those_of_the_run_and_redrawn_in_place(data):
    playground = Playground(data)
    first = trained(playground, knobs())
    _, axes = panels.figure(2.0, 1, 2)
    panels.running(axes, {"one": first.trace})
    second = trained(playground, knobs(lr=0.3))
    second.trace.turns.append(1.5)
    panels.running(axes, {"one": first.trace, "two": second.trace})
    pale, strong, _, other, turn = axes[1].lines
    np.testing.assert_allclose(pale.get_ydata(), 100 * np.array(first.trace.accuracy))
    np.testing.assert_allclose(
        strong.get_ydata(), 100 * np.array(first.history.column("val_accuracy"))
    )
    assert pale.get_color() == strong.get_color() != other.get_color() == turn.get_color()
    assert list(turn.get_xdata()) == [1.5, 1.5]
    assert [text.get_text() for text in axes[1].get_legend().get_texts()] == ["one", "two"]


# --- the board, and the panel as its widgets call it


class Shown:
    """What a live figure was told to show, in place of a notebook."""

    def __init__(self) -> None:
        self.drawings: list[tuple[str, str, bool]] = []

    def __call__(
        self, fig: Any, kinds: Any, name: str, caption: str, alt: str, *_: Any, **place: Any
    ) -> None:
        assert rendered(fig, "svg").startswith("<?xml")
        assert len(alt.split()) > 4
        self.drawings.append((name, caption, "png" in kinds))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    shown = Shown()
    monkeypatch.setattr(live, "show_drawing", shown)
    monkeypatch.setattr(widgets, "display", lambda *_, **how: None)
    return shown


def test_unattended_there_are_the_figures_and_no_widget(data, shown: Shown):
    board = widgets.play(data, knobs(), "07")
    assert type(board) is Board
    last = {name: caption for name, caption, last in shown.drawings if last}
    assert set(last) == {"07-curves", "07-inside"}
    best = board.playground.runs[0].history.best
    assert f"{best['val_accuracy']:.1%}" in last["07-curves"]
    assert last["07-inside"].startswith("Run 1 after 4.0 epochs.")


@pytest.fixture
def panel(data, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> widgets.Panel:
    monkeypatch.setattr(widgets, "attended", lambda: True)
    return widgets.play(data, knobs(), "07")


def set_quietly(panel: widgets.Panel, **values: Any) -> None:
    """Turn knobs that start nothing."""
    panel.auto.value = False
    for name, value in values.items():
        panel.knobs[name].value = value


def afterwards(panel: widgets.Panel, *actions: Callable[[], Any]) -> None:
    """Do what a reader does, one thing after another, and wait for what learns then."""

    async def session() -> None:
        for action in actions:
            action()
            await asyncio.sleep(0.3)
        while panel.task:
            await asyncio.sleep(0.01)

    asyncio.run(session())


def test_a_turned_knob_starts_a_run_and_without_the_tick_it_does_not(panel):
    def turn(value: float) -> None:
        panel.knobs["lr"].value = value

    assert panel.auto.value
    afterwards(panel, lambda: turn(0.2), lambda: turn(0.3))
    assert [run.knobs.lr for run in panel.playground.runs] == [0.1, 0.2, 0.3]
    panel.auto.value = False
    afterwards(panel, lambda: turn(0.4))
    assert len(panel.playground.runs) == 3
    afterwards(panel, panel.train.click)
    assert panel.playground.runs[-1].knobs.lr == 0.4
    assert panel.playground.runs[-1].state == "finished"


def test_every_knob_reaches_the_run(panel):
    others = {
        "hidden": "8 8", "activation": "tanh", "optimiser": "AdamW", "lr": 0.01,
        "schedule": "cosine", "batch_size": 32, "weight_decay": 1e-3, "dropout": 0.5,
        "augmentation": "shift", "train_size": 100, "epochs": 2, "seed": 7,
    }  # fmt: skip
    assert set(others) == set(panel.knobs)
    set_quietly(panel, **others)
    afterwards(panel, panel.start)
    assert panel.playground.runs[-1].knobs == Knobs(**others | {"hidden": (8, 8)})


def test_the_list_names_chooses_and_removes(panel, shown: Shown):
    set_quietly(panel, lr=0.3)
    afterwards(panel, panel.start)
    first, second = panel.rows.values()
    assert "2 of" not in first.children[2].value
    assert second.children[2].value.endswith("finished, 4 of 4 epochs")
    name, show = second.children[1], first.children[0]
    name.value = "steeper"
    assert panel.playground.runs[1].name == "steeper"
    show.click()
    assert shown.drawings[-1][1].startswith("Run 1 after")
    first.children[-1].click()
    assert [run.name for run in panel.playground.runs] == ["steeper"]
    assert shown.drawings[-1][1].startswith("Run 2 after")
    second.children[-1].click()
    assert shown.drawings[-1][1] == "There is no run to look into."
    assert panel.list.children == ()


def test_stop_and_the_rate_act_on_the_run_that_learns(panel):
    set_quietly(panel, epochs=200, hidden="256 256")
    assert panel.halt.disabled
    assert panel.rate.disabled

    def turn() -> None:  # a quick machine may have finished by now
        assert panel.halt.disabled == panel.rate.disabled == (panel.playground.learning is None)
        panel.rate.value = 0.1

    afterwards(panel, panel.start, turn, panel.halt.click)
    run = panel.playground.runs[-1]
    if run.state == "stopped":
        assert run.trainer.lr_factor == 0.1
        assert len(run.trace.turns) == 1
        assert " stopped: epoch " in panel.status.value
    assert panel.halt.disabled


def test_a_wrong_knob_is_said_aloud(panel):
    set_quietly(panel, hidden="<many>")
    afterwards(panel, panel.start)
    assert 'role="alert"' in panel.status.value
    assert "&lt;many&gt;" in panel.status.value
    assert len(panel.playground.runs) == 1


def test_an_interrupt_stops_the_run_and_is_given_back(panel):
    usual = signal.getsignal(signal.SIGINT)
    set_quietly(panel, epochs=200)
    afterwards(panel, panel.start, lambda: panel.task and os.kill(os.getpid(), signal.SIGINT))
    assert panel.playground.runs[-1].state in ("stopped", "finished")
    assert signal.getsignal(signal.SIGINT) is usual


def test_a_panel_made_again_stops_the_one_before(panel, data):
    panel.playground.start(knobs())
    again = widgets.play(data, knobs())
    assert panel.playground.learning is None or panel.playground.learning.state == "stopped"
    assert again.playground.runs[0].state == "finished"
