"""The fused step computes what the plain layers and optimisers compute, and allocates nothing."""

import copy
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from nnlib import MLP, SGD, AdamW, softmax_cross_entropy
from nnlib.engine import Step
from nnlib.engine import step as engine_step
from nnlib.layers import ACTIVATIONS
from nnlib.losses import relative
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


def batches(sizes: tuple[int, ...] = (40, 40, 5, 40), seed: int = 0):
    rng = np.random.default_rng(seed)
    for n in sizes:
        yield rng.normal(size=(n, 12)), rng.integers(4, size=n)


def targets_of(y: np.ndarray, dtype, smoothing: float = 0.0) -> np.ndarray:
    return ((1 - smoothing) * np.eye(4)[y] + smoothing / 4).astype(dtype)


def plain(model: MLP, optimizer, x, y, lr: float, smoothing, clip, weights=None) -> np.ndarray:
    logits = model.forward(x, training=True)
    gradients = model.backward(softmax_cross_entropy(logits, y, smoothing, weights)[1])
    if clip:
        clip_by_norm(gradients, clip)
    optimizer.step(model.parameters, gradients, lr)
    return logits


def compare(ours: dict, theirs: dict) -> None:
    assert ours.keys() == theirs.keys()
    for key, array in theirs.items():
        np.testing.assert_allclose(ours[key], array, rtol=1e-9, atol=1e-11, err_msg=key)


def take(step: Step, x, targets, lr: float, clip: float = 0.0, weights=None) -> np.ndarray:
    logits = step.propagate(x, targets, lr, weights)
    step.finish(lr, clip)
    return logits


def both_ways(
    activation: str, name: str, *, threads=1, smoothing=0.0, clip=0.0, weighted=False, **more
) -> None:
    model = MLP([12, 9, 7, 4], activation, dtype="float64", **more)
    twin, optimizer, other = copy.deepcopy(model), OPTIMIZERS[name](), OPTIMIZERS[name]()
    step = Step(twin, other, threads, whole=bool(clip))
    for number, (x, y) in enumerate(batches()):
        lr = 0.1 / (1 + number)
        weights = np.arange(len(y)) % 4 / 2 if weighted else None
        expected = plain(model, optimizer, x, y, lr, smoothing, clip, weights)
        shares = relative(weights) if weighted else None
        logits = take(step, x.copy(), targets_of(y, float, smoothing), lr, clip, shares)
        np.testing.assert_allclose(logits, expected, rtol=1e-10, atol=1e-11)
    compare(twin.state(), model.state())
    compare(other.state, optimizer.state)
    assert optimizer.steps == other.steps


@pytest.mark.parametrize("more", [{}, RICH], ids=["plain", "rich"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("threads", [1, 3])
def test_every_activation(activation: str, more: dict, threads: int, monkeypatch) -> None:
    monkeypatch.setattr(engine_step, "BLOCK", 1)
    both_ways(activation, "momentum", threads=threads, **more)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_optimiser(name: str, threads: int, monkeypatch) -> None:
    monkeypatch.setattr(engine_step, "BLOCK", 1)  # so that small layers are cut, too
    # before a normalisation a bias's gradient is rounding alone, which AdamW makes large
    more = RICH | {"batch_norm": name != "adamw"}
    both_ways("relu", name, threads=threads, smoothing=0.1, **more)
    both_ways("relu", name, threads=threads, clip=0.3)
    both_ways("gelu", name, threads=threads, weighted=True)


def test_a_linear_net() -> None:
    model = MLP([12, 4], dtype="float64")
    twin, (x, y) = copy.deepcopy(model), next(batches())
    plain(model, SGD(0.1), x, y, 0.1, 0, 0)
    take(Step(twin, SGD(0.1)), x, targets_of(y, float), 0.1)
    np.testing.assert_allclose(twin.parameters["W1"], model.parameters["W1"], atol=1e-14)


@pytest.mark.parametrize("name", ["sgd", "momentum with L2"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_steady_state_allocates_no_array(name: str, threads: int) -> None:
    model = MLP([1200, 1000, 1000, 4], **RICH)
    step = Step(model, OPTIMIZERS[name](), threads)
    x = np.random.default_rng(0).random((128, 1200), dtype=np.float32)
    targets = targets_of(np.arange(128) % 4, np.float32)
    for _ in range(2):
        take(step, x, targets, 0.1)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for _ in range(5):
        take(step, x, targets, 0.1)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    # On one thread a mask of a hidden array's 128,000 bytes would be the smallest that is new;
    # ufuncs look through up to three buffers of 33 kB. On two each may do so at once, and numbers
    # of a block of units have 256 kB; its calls are those of one thread.
    assert peak < (110_000 if threads == 1 else 220_000)


LESSON = """
import nnlib, numpy as np
rng = np.random.default_rng(0)
images, y = rng.integers(256, size=(600, 8, 8)).astype(np.uint8), rng.integers(10, size=600)
train, val = nnlib.Split(images, y), nnlib.Split(images[:100], y[:100])
model = nnlib.MLP([64, 32, 10], "gelu", dropout=0.1, batch_norm=True)
history = nnlib.fit(model, train, val, epochs=2, optimizer=nnlib.SGD(0.1, 0.9, 0.001))
print(history.rows[-1]["train_loss"], history.rows[-1]["val_loss"])
"""


def test_without_its_folder_every_result_stays_the_same_to_rounding(tmp_path: Path) -> None:
    package = Path(sys.modules["nnlib"].__file__).parent
    found = []
    for left_out in ("__pycache__", "engine"):
        copied = tmp_path / left_out
        shutil.copytree(package, copied / "nnlib", ignore=shutil.ignore_patterns(left_out))
        here = {"cwd": copied, "env": os.environ | {"PYTHONPATH": str(copied)}}
        run = [sys.executable, "-c", LESSON]
        done = subprocess.run(run, capture_output=True, text=True, check=True, **here)
        found.append([float(loss) for loss in done.stdout.split()])
    assert found[0] == pytest.approx(found[1], rel=1e-4)
