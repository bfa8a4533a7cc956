"""Threads: how many, and that the numbers do not depend on which of them computes what."""

import copy
import itertools
import random
import threading
from pathlib import Path

import numpy as np
import pytest

from nnlib import MLP, SGD, AdamW, engine
from nnlib.engine import Step, blas, threads
from nnlib.engine import step as engine_step
from nnlib.engine.blas import product

SIZES = {"small": [784, 128, 10], "middle": [784, 292, 10], "large": [784, 1024, 1024, 10]}
needs_openblas = pytest.mark.skipif(not blas.openblas(), reason="SciPy is here without OpenBLAS")


@pytest.mark.parametrize(
    ("net", "batch", "at_hand", "wanted"),
    [("small", 64, 16, 1), ("small", 64, 1, 1), ("large", 256, 1, 1), ("large", 256, 2, 2),
     ("large", 256, 8, 8), ("large", 1, 16, 1), ("middle", 128, 16, 2)],
)  # fmt: skip
def test_threads_follow_the_work_and_the_cores(net, batch, at_hand, wanted, monkeypatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: at_hand)
    monkeypatch.setattr(blas, "openblas", lambda: (None, None))
    assert engine.threads_for(SIZES[net], batch) == wanted
    monkeypatch.setattr(blas, "openblas", lambda: None)  # what is left is a crew's
    assert engine.threads_for(SIZES[net], batch) == (wanted if net == "large" else 1)


@pytest.mark.parametrize(
    ("text", "cores"),
    [("max 100000\n", 8), ("150000 100000\n", 2), ("10000 100000\n", 1), (None, 8)],
)
def test_cores_are_those_of_the_process_and_its_container(
    text, cores, tmp_path, monkeypatch
) -> None:
    quota: Path = tmp_path / "cpu.max"
    if text:
        quota.write_text(text)
    monkeypatch.setattr(threads, "QUOTA", quota)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert threads.cores() == cores


def test_every_call_is_made_once_and_an_error_arrives() -> None:
    crew, made = threads.Crew(3), []
    for _ in range(200):
        crew([lambda k=k: made.append(k) for k in range(7)])
    assert sorted(made) == sorted(list(range(7)) * 200)
    both = threading.Barrier(2)

    def fail() -> None:
        both.wait(10)
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError("in another thread")

    with pytest.raises(MemoryError, match="in another thread"):
        crew([fail, fail])


class Capricious(threads.Crew):
    """A crew in which any thread may be late: the blocks are made in any order."""

    def __call__(self, calls) -> None:
        calls = list(calls)
        random.shuffle(calls)
        super().__call__(calls)


@pytest.mark.parametrize("optimizer", [SGD(0.1, weight_decay=0.01), SGD(0.1, 0.9), AdamW(0.01)])
def test_who_computes_a_block_changes_no_bit(optimizer, monkeypatch) -> None:
    monkeypatch.setattr(engine_step, "BLOCK", 1)
    rng, found = np.random.default_rng(0), set()
    x, targets = (
        rng.random((40, 30), np.float32),
        np.eye(4, dtype=np.float32)[rng.integers(4, size=40)],
    )
    model = MLP([30, 50, 20, 4], dropout=0.3, batch_norm=True, seed=0)
    for _ in range(10):
        step = Step(copy.deepcopy(model), copy.deepcopy(optimizer), 3)
        step.crew = Capricious(3)
        for _ in range(5):
            step.propagate(x, targets, 0.1)
            step.finish(0.1)
        found.add(b"".join(array.tobytes() for array in step.model.state().values()))
    assert len(found) == 1


def run(step: Step, epochs: int = 5) -> bytes:
    """Take a few steps on noise; return all that the model has then."""
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        x, y = rng.random((128, 300)), rng.integers(4, size=128)
        step.propagate(x, np.eye(4)[y], 0.1)
        step.finish(0.1)
    return b"".join(array.tobytes() for array in step.model.state().values())


@needs_openblas
@pytest.mark.parametrize("optimizer", [SGD(0.1, weight_decay=0.01), SGD(0.1, 0.9), AdamW(0.01)])
def test_how_many_threads_share_the_products_changes_no_bit(optimizer, monkeypatch) -> None:
    model = MLP([300, 400, 300, 4], dropout=0.3, dtype="float64")
    alone, found, shared = Step(copy.deepcopy(model), copy.deepcopy(optimizer), 1), set(), set()
    share = threads.Pace.share

    def noted(pace, *call) -> None:
        shared.add(pace.now)
        share(pace, *call)

    monkeypatch.setattr(threads.Pace, "share", noted)
    for turns in [(1,), (2,), (3,), (1, 3, 2, 1, 2)]:
        endless = itertools.cycle((each, 0.0) for each in turns)
        monkeypatch.setattr(threads.Pace, "_turns", lambda _, endless=endless: endless)
        step = Step(copy.deepcopy(model), copy.deepcopy(optimizer), 3)
        found.add(run(step))
    assert len(found) == 1
    assert shared == {1, 2, 3}
    run(alone)
    for name, array in alone.model.state().items():
        np.testing.assert_allclose(step.model.state()[name], array, rtol=1e-6, atol=1e-9)


def test_as_many_threads_share_as_are_the_fastest_just_now(monkeypatch) -> None:
    now, held = [0.0], []
    monkeypatch.setattr(threads, "perf_counter", lambda: now[0])
    monkeypatch.setattr(blas, "openblas", lambda: (held.append, None))
    pace = threads.Pace(4)
    spent: dict[str, dict[int, float]] = {}
    for weather, took in {
        "idle": {1: 4e-3, 2: 2e-3, 4: 1e-3}, "busy": {1: 4e-3, 2: 6e-3, 4: 50e-3},
        "half": {1: 4e-3, 2: 3e-3, 4: 20e-3}, "idle again": {1: 4e-3, 2: 2e-3, 4: 1e-3},
    }.items():  # fmt: skip
        spent[weather], end = dict.fromkeys(took, 0.0), now[0] + 100
        while now[0] < end:
            with pace:
                pace.share(lambda: None)
                spent[weather][pace.now] += took[pace.now]
                now[0] += took[pace.now]
    best = {weather: max(of, key=of.get) for weather, of in spent.items()}
    assert best == {"idle": 4, "busy": 1, "half": 2, "idle again": 4}
    assert all(of[best[weather]] > 80 for weather, of in spent.items())  # of 100 seconds
    assert spent["busy"][4] < 3  # whoever comes is noticed at once
    assert set(held[::2]) == {1, 2, 4}
    assert set(held[1::2]) == {1}


@needs_openblas
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("orders", [a + b + c for a in "CF" for b in "CF" for c in "CF"])
def test_a_shared_product_is_the_same(dtype: str, orders: str) -> None:
    rng, pace = np.random.default_rng(0), threads.Pace(3)
    for m, k, n in [(400, 150, 130), (130, 150, 400), (7, 3, 2)]:
        a, b, c = (
            np.array(rng.random(shape), dtype, order=order)
            for shape, order in zip([(m, k), (k, n), (m, n)], orders, strict=True)
        )
        expected, found = 2 * a @ b + 0.5 * c, set()
        for pace.now in (1, 2, 3):
            shared = c.copy(order="K")
            product(a, b, shared, pace)(2.0, 0.5)
            np.testing.assert_allclose(shared, expected, rtol=1e-5)
            found.add(shared.tobytes())
        assert len(found) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("orders", [a + b + c for a in "CF" for b in "CF" for c in "CF"])
def test_a_product_goes_into_a_block_of_an_array(dtype: str, orders: str) -> None:
    rng = np.random.default_rng(0)
    for m, k, n in [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1)]:
        whole = [
            np.array(rng.random(shape), dtype, order=order)
            for shape, order in zip(
                [(m + 2, k + 1), (k + 2, n + 1), (m + 1, n + 2)], orders, strict=True
            )
        ]
        a, b, c = (
            x[1 : 1 + s[0], 1 : 1 + s[1]]
            for x, s in zip(whole, [(m, k), (k, n), (m, n)], strict=True)
        )
        around, expected = whole[2].copy(), 2 * a @ b + 0.5 * c
        around[1 : 1 + m, 1 : 1 + n] = expected
        product(a, b, c)(2.0, 0.5)
        np.testing.assert_allclose(whole[2], around, rtol=1e-5)
