"""One library training one net, epoch by epoch on command: the child process of `speed.py`.

    python contenders.py NAME [THREADS]

reads a line `CASE` for each epoch to train and answers with the seconds it took, by the clock and
of the processor. Every contender trains the same architecture on the same images with the same
batch size, rate and shuffling, in float32, and has warmed up before its first answer counts. With
THREADS it has so many cores and is told to use them all; without, it is left to its defaults.
"""

import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Case:
    """A net and how it is trained; `regular` adds momentum, dropout and batch normalisation.

    `shape` is that of the images.
    """

    hidden: tuple[int, ...]
    batch: int
    regular: bool = False
    shape: tuple[int, ...] = (28, 28)

    @property
    def sizes(self) -> list[int]:
        return [math.prod(self.shape), *self.hidden, 10]

    @property
    def name(self) -> str:
        more = ", regularised" * self.regular + ", colour" * (len(self.shape) > 2)
        return f"{'-'.join(map(str, self.sizes))} at {self.batch}{more}"


CASES = [
    Case((128, 128), 16),
    Case((128,), 64),
    Case((292,), 128),
    Case((1024, 1024), 256, regular=True),
    Case((1024, 1024), 256),
    Case((512,), 128, shape=(32, 32, 3)),
]
LR, MOMENTUM, DROPOUT = 0.05, 0.9, 0.2
Epoch = Callable[[], None]


def images(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return 60,000 training images: Fashion-MNIST, or noise where it is absent or has no colour.

    In pixels that are all alike there is nothing to learn, and as much to compute.
    """
    from nnlib import load_dataset

    with suppress(OSError):
        if case.shape == (28, 28):
            train = load_dataset("fashion-mnist", val_size=0).train
            return train.images, train.y
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(60_000, *case.shape), dtype=np.uint8)
    return pixels, rng.integers(10, size=len(pixels))


def floats(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return the same as rows of float32 (N, D), which peers take."""
    pixels, y = images(case)
    return pixels.reshape(len(pixels), -1) * np.float32(1 / 255), y


def nnlib(case: Case, threads: int | None) -> Epoch:
    """`nnlib.Trainer`, images as bytes, with its history and diagnostics."""
    from nnlib import MLP, SGD, Split, Trainer

    more = {"dropout": DROPOUT, "batch_norm": True} if case.regular else {}
    loop = Trainer(
        MLP(case.sizes, **more), Split(*images(case)), epochs=10**6,
        batch_size=case.batch, threads=threads,
        optimizer=SGD(LR, MOMENTUM if case.regular else 0.0),
    )  # fmt: skip
    run = loop.run()

    def epoch() -> None:
        while next(run).row is None:
            pass

    return epoch


def scikit_learn(case: Case, threads: int | None) -> Epoch | None:
    """MLPClassifier.partial_fit, which is one epoch; it has no dropout or normalisation."""
    import warnings

    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    if case.regular:
        return None
    warnings.simplefilter("ignore")
    threadpool_limits(threads)  # None: as it is
    x, y = floats(case)
    net = MLPClassifier(
        case.hidden, solver="sgd", alpha=0.0, batch_size=case.batch, learning_rate_init=LR,
        momentum=0.0, nesterovs_momentum=False, shuffle=True,
    )  # fmt: skip
    return lambda: net.partial_fit(x, y, classes=np.arange(10)) and None


def pytorch(case: Case, threads: int | None) -> Epoch:
    """Eager PyTorch, images on the way as float32 tensors, a permutation an epoch."""
    import torch
    from torch import nn

    if threads:
        torch.set_num_threads(threads)
    parts, (width, *_) = [], case.sizes
    for size in case.hidden:
        parts.append(nn.Linear(width, size))
        parts += (
            [nn.BatchNorm1d(size), nn.ReLU(), nn.Dropout(DROPOUT)] if case.regular else [nn.ReLU()]
        )
        width = size
    net = nn.Sequential(*parts, nn.Linear(width, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM if case.regular else 0.0)
    x, y = map(torch.from_numpy, floats(case))
    loss = nn.CrossEntropyLoss()

    def epoch() -> None:
        order = torch.randperm(len(x))
        for begin in range(0, len(x), case.batch):
            rows = order[begin : begin + case.batch]
            optimizer.zero_grad()
            loss(net(x[rows]), y[rows]).backward()
            optimizer.step()

    return epoch


def jax(case: Case, threads: int | None) -> Epoch:
    """JAX: a whole epoch is one compiled `lax.scan` over its batches."""
    import jax as j
    import jax.numpy as jnp

    key = j.random.key(0)
    net = [
        {"w": j.random.normal(key, (a, b)) * (2 / a) ** 0.5, "b": jnp.zeros(b),
         "gamma": jnp.ones(b), "beta": jnp.zeros(b)}
        for a, b in itertools.pairwise(case.sizes)
    ]  # fmt: skip
    velocity = j.tree.map(jnp.zeros_like, net)
    x, y = map(jnp.asarray, floats(case))
    steps = len(x) // case.batch

    def hidden(p, h, key):
        z = h @ p["w"] + p["b"]
        if not case.regular:
            return j.nn.relu(z)
        z = (z - z.mean(0)) / jnp.sqrt(z.var(0) + 1e-5) * p["gamma"] + p["beta"]
        return j.nn.relu(z) * j.random.bernoulli(key, 1 - DROPOUT, z.shape) / (1 - DROPOUT)

    def loss(net, x, y, key):
        for p in net[:-1]:
            key, sub = j.random.split(key)
            x = hidden(p, x, sub)
        log_p = j.nn.log_softmax(x @ net[-1]["w"] + net[-1]["b"])
        return -jnp.take_along_axis(log_p, y[:, None], 1).mean()

    def step(carry, batch):
        net, velocity, key = carry
        key, sub = j.random.split(key)
        value, g = j.value_and_grad(loss)(net, *batch, sub)
        if case.regular:
            velocity = j.tree.map(lambda v, g: MOMENTUM * v + g, velocity, g)
            g = velocity
        return (j.tree.map(lambda w, g: w - LR * g, net, g), velocity, key), value

    def one_epoch(net, velocity, key, x, y):
        key, sub = j.random.split(key)
        rows = j.random.permutation(sub, len(x))[: steps * case.batch].reshape(steps, case.batch)
        return j.lax.scan(lambda c, r: step(c, (x[r], y[r])), (net, velocity, key), rows)

    compiled = j.jit(one_epoch, donate_argnums=(0, 1))
    state = [(net, velocity, key)]

    def epoch() -> None:
        carry, values = compiled(*state[0], x, y)
        values.block_until_ready()
        state[0] = carry

    return epoch


def products(case: Case, threads: int | None) -> Epoch:
    """The matrix products of a step by SciPy's BLAS, in place: what is left to win around them."""
    from scipy.linalg import get_blas_funcs
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    gemm, rng = get_blas_funcs("gemm", dtype=np.float32), np.random.default_rng(0)

    def columns(*shape: int) -> np.ndarray:
        return np.asfortranarray(rng.random(shape, dtype=np.float32) / 1000)

    arrays = [columns(case.batch, size) for size in case.sizes]
    layers = [(x, y, columns(x.shape[1], y.shape[1])) for x, y in itertools.pairwise(arrays)]

    def epoch() -> None:
        for _ in range(60_000 // case.batch):
            for x, y, w in layers:
                gemm(1.0, x, w, 0.0, y, overwrite_c=1)
            for number, (x, g, w) in reversed(list(enumerate(layers))):
                if number:
                    gemm(1.0, g, w, 0.0, x, trans_b=1, overwrite_c=1)
                gemm(-1e-9, x, g, 1.0, w, trans_a=1, overwrite_c=1)

    return epoch


def peak(case: Case, threads: int | None) -> Epoch:
    """The machine's float32 matrix products, 2048 a side: 20 of them."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    a = np.random.default_rng(0).random((2048, 2048), dtype=np.float32)
    out = np.empty_like(a)

    def products() -> None:
        for _ in range(20):
            np.matmul(a, a, out=out)

    return products


CONTENDERS = {
    "nnlib": nnlib,
    "scikit-learn": scikit_learn,
    "pytorch": pytorch,
    "jax": jax,
    "products": products,
    "peak": peak,
}


def main() -> None:
    """Serve epochs to the parent until it closes the pipe."""
    name, threads = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None
    if threads and hasattr(os, "sched_setaffinity"):  # JAX counts the cores it may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    epochs: dict[int, Epoch | None] = {}
    for line in sys.stdin:
        number, answer = int(line), {}
        try:
            if number not in epochs:
                epochs[number] = CONTENDERS[name](CASES[number], threads)
                if epochs[number]:
                    epochs[number]()  # warm-up
            if epochs[number]:
                start, cpu = time.perf_counter(), time.process_time()
                epochs[number]()
                answer = {"cpu": time.process_time() - cpu}
                answer["seconds"] = time.perf_counter() - start
        except ImportError as error:
            print(json.dumps({"missing": str(error)}), flush=True)
            return
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
