"""The fused step computes what the plain layers and optimisers compute, and allocates nothing."""

import copy
import tracemalloc

import numpy as np
import pytest

from nnlib import MLP, SGD, AdamW, softmax_cross_entropy
from nnlib.engine.step import Step
from nnlib.layers import ACTIVATIONS
from nnlib.optim import clip_by_norm

OPTIMIZERS = {
    "sgd": lambda: SGD(0.1),
    "sgd with L2": lambda: SGD(0.1, weight_decay=0.05),
    "momentum": lambda: SGD(0.1, momentum=0.9),
    "momentum with L2": lambda: SGD(0.1, momentum=0.9, weight_decay=0.05),
    "nesterov": lambda: SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.05),
    "adamw": lambda: AdamW(0.01, weight_decay=0.05),
}
RICH = {"dropout": 0.3, "input_dropout": 0.2, "batch_norm": True}


def batches(sizes: tuple[int, ...] = (16, 16, 5, 16), seed: int = 0):
    rng = np.random.default_rng(seed)
    for n in sizes:
        yield rng.normal(size=(n, 12)), rng.integers(4, size=n)


def targets_of(y: np.ndarray, dtype, smoothing: float = 0.0) -> np.ndarray:
    return ((1 - smoothing) * np.eye(4)[y] + smoothing / 4).astype(dtype)


def plain(model: MLP, optimizer, x, y, lr: float, smoothing: float, clip: float) -> np.ndarray:
    logits = model.forward(x, training=True)
    gradients = model.backward(softmax_cross_entropy(logits, y, smoothing)[1])
    if clip:
        clip_by_norm(gradients, clip)
    optimizer.step(model.parameters, gradients, lr)
    return logits


def compare(ours: dict, theirs: dict) -> None:
    assert ours.keys() == theirs.keys()
    for key, array in theirs.items():
        np.testing.assert_allclose(ours[key], array, rtol=1e-9, atol=1e-11, err_msg=key)


def both_ways(activation: str, name: str, *, threads=1, smoothing=0.0, clip=0.0, **more) -> None:
    model = MLP([12, 9, 7, 4], activation, dtype="float64", **more)
    twin, optimizer, other = copy.deepcopy(model), OPTIMIZERS[name](), OPTIMIZERS[name]()
    step = Step(twin, other, 16, threads, clip)
    for number, (x, y) in enumerate(batches()):
        lr = 0.1 / (1 + number)
        expected = plain(model, optimizer, x, y, lr, smoothing, clip)
        logits = step(x.copy(), targets_of(y, float, smoothing), lr)
        np.testing.assert_allclose(logits, expected, rtol=1e-10, atol=1e-11)
    compare(twin.state(), model.state())
    compare(other.state, optimizer.state)
    assert optimizer.steps == other.steps


@pytest.mark.parametrize("more", [{}, RICH], ids=["plain", "rich"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: str, more: dict) -> None:
    both_ways(activation, "momentum", **more)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("threads", [1, 2])
def test_every_optimiser(name: str, threads: int) -> None:
    # before a normalisation a bias's gradient is rounding alone, which AdamW makes large
    more = RICH | {"batch_norm": name != "adamw"}
    both_ways("relu", name, threads=threads, smoothing=0.1, **more)
    both_ways("relu", name, threads=threads, clip=0.3)


def test_a_linear_net() -> None:
    model = MLP([12, 4], dtype="float64")
    twin, (x, y) = copy.deepcopy(model), next(batches())
    plain(model, SGD(0.1), x, y, 0.1, 0, 0)
    Step(twin, SGD(0.1), 16)(x, targets_of(y, float), 0.1)
    np.testing.assert_allclose(twin.parameters["W1"], model.parameters["W1"], atol=1e-14)


@pytest.mark.parametrize("name", ["sgd", "momentum with L2"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_steady_state_allocates_no_array(name: str, threads: int) -> None:
    model = MLP([1200, 512, 256, 4], **RICH)
    step = Step(model, OPTIMIZERS[name](), 128, threads)
    x = np.random.default_rng(0).random((128, 1200), dtype=np.float32)
    targets = targets_of(np.arange(128) % 4, np.float32)
    for _ in range(3):
        step(x, targets, 0.1)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for _ in range(20):
        step(x, targets, 0.1)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    # the smallest hidden array is 128 x 256 float32, 131 kB; ufuncs cast through 33 kB of buffer
    assert peak < 50_000
