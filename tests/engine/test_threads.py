"""Threads: how many, and that the numbers do not depend on which of them computes what."""

import copy
import random
import threading
from pathlib import Path

import numpy as np
import pytest

from nnlib import MLP, SGD, AdamW, engine
from nnlib.engine import Step, threads
from nnlib.engine import step as engine_step
from nnlib.engine.blas import product

HIDDEN = {"small": ((784, 128), (128, 10)), "large": ((784, 1024), (1024, 1024), (1024, 10))}


@pytest.mark.parametrize(
    ("net", "batch", "at_hand", "wanted"),
    [("small", 64, 16, 1), ("small", 64, 1, 1), ("large", 256, 1, 1), ("large", 256, 2, 2),
     ("large", 256, 8, 8), ("large", 1, 16, 1)],
)  # fmt: skip
def test_threads_follow_the_work_and_the_cores(net, batch, at_hand, wanted, monkeypatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: at_hand)
    assert engine.threads_for(HIDDEN[net], batch) == wanted


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
