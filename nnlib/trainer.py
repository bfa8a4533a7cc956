"""The training loop: a generator, in which the caller may look and take part.

`Trainer.run` yields several times a second. Whoever iterates it may draw, stop it, or change its
learning rate; the loop knows nothing of them. Its randomness comes from (seed, epoch) alone, so
that an epoch can be run again, and `state` holds all else that decides the future of a run.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import numpy as np

from nnlib import checks, diagnostics, optim
from nnlib.augment import Augment, ahead
from nnlib.checks import InputError
from nnlib.evaluation import evaluate, must_suit
from nnlib.images import Scaling, Split
from nnlib.losses import log_softmax, relative, softmax
from nnlib.network import MLP, check_tensors
from nnlib.runs import COLUMNS, DIAGNOSTICS, HISTORY, History, Progress, RunFolder

try:
    from nnlib import engine
except ImportError:  # its folder is gone: the plain layers take every step
    engine = None  # type: ignore[assignment]

CHUNK_ROWS = 1024  # rows gathered and scaled at once: 3 MB of float32, which stays in cache
SAMPLES = 4  # steps an epoch at which the net is looked at from inside
AHEAD = 2  # chunks that are made while another is learned from
PROBE_ROWS = 256  # images on which a unit must be silent to count as dead
STATE = 5  # of a checkpoint: 1, 3 and 4 were of steps that rounded otherwise, 2 held all history
Arrays = dict[str, np.ndarray]


def _generator(name: str, state: Any) -> Any:
    """Return the state of a generator, after one has taken it."""
    trial = np.random.PCG64()
    with suppress(ValueError, TypeError, KeyError, OverflowError):
        trial.state = state
    if trial.state != state:
        raise InputError(f"{name} is not the state of a generator")
    return state


NOT_NEGATIVE = ("square.", "variance")  # words in the names of arrays that are so


class DivergedError(ArithmeticError):
    """Training met a loss that is not finite; its one line says where, and the likely cause."""


class PlainStep:
    """One training step by the plain layers: what `engine.Step` does, for layers of any kind."""

    def __init__(self, model: MLP, optimizer: optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.gradients: Arrays = {}

    def propagate(
        self, x: np.ndarray, targets: np.ndarray, lr: float, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Go forward and back with x (n, D), targets (n, K) and weights (n,), whose mean is 1.

        Returns the logits (n, K).
        """
        logits = self.model.forward(x, training=True)
        error = (softmax(logits) - targets) / x.dtype.type(len(x))
        self.gradients = self.model.backward(error if weights is None else error * weights[:, None])
        return logits

    def finish(self, lr: float, clip_norm: float = 0.0) -> None:
        """Let the optimiser use the gradients."""
        self.optimizer.step(self.model.parameters, self.gradients, lr, clip_norm)


class Trainer:
    """The loop. Iterate `run()`; between two of its yields everything may be looked at.

    `lr_factor` multiplies the schedule and may be changed at any time; it is part of `state`.
    After every epoch the best weights by validation accuracy are in `best`. `answering` is the
    model that is validated: the one that learns, or the average of its weights. `train` and `val`
    are splits, or (X, y) or (X, y, weights) with floats X (N, D), which are used as they are.
    """

    def __init__(
        self,
        model: MLP,
        train: Split | tuple,
        val: Split | tuple | None = None,
        *,
        epochs: int = 10,
        batch_size: int = 64,
        optimizer: optim.Optimizer | str | None = None,
        schedule: optim.Schedule | str | None = None,
        seed: int = 0,
        label_smoothing: float = 0.0,
        clip_norm: float = 0.0,
        average: float = 0.0,
        patience: int = 0,
        augment: Augment | None = None,
        threads: int | None = None,
    ) -> None:
        train = must_suit(model, train)
        val = train.take(slice(0)) if val is None else must_suit(model, val)
        if not len(train):
            raise InputError("there is no training image; give a larger training set")
        copies = 5 + bool(average) + len(getattr(optimizer, "kinds", ""))  # best, gradients, a file
        numbers = sum(array.nbytes for array in model.state().values())
        checks.memory("training this net", numbers * copies)
        self.model, self.train, self.val = model, train, val
        self.epochs = checks.count("epochs", epochs, least=1)
        self.batch_size = checks.count("batch size", batch_size, least=1)
        self.steps_per_epoch = -(-len(train) // self.batch_size)  # the last batch perhaps smaller
        self.every = -(-self.steps_per_epoch // SAMPLES)  # steps between two looks inside
        self.seed, self.patience = checks.whole("seed", seed), checks.whole("patience", patience)
        if isinstance(optimizer := optimizer or "sgd", str):
            optimizer = optim.OPTIMIZERS[checks.one_of("optimizer", optimizer, optim.OPTIMIZERS)]()
        self.optimizer = checks.instance("optimizer", optimizer, optim.Optimizer)
        if isinstance(schedule := schedule or "constant", str):
            run = {"epochs": self.epochs, "steps_per_epoch": self.steps_per_epoch}
            schedule = optim.make_schedule(schedule, self.optimizer.lr, **run)
        self.schedule = checks.instance("schedule", schedule, Callable)
        self.label_smoothing = checks.fraction("label smoothing", label_smoothing)
        self.clip_norm = checks.not_negative("clip norm", clip_norm)
        average = checks.fraction("average", average)
        self.augment = checks.instance("augment", augment or Augment(), Augment)
        if self.augment.active or train.images.dtype == np.uint8:  # refuses what is too large now
            self.augment(train.images[:0], np.random.default_rng(0))
        if train.images.dtype != np.uint8:
            model.scaling = Scaling(0.0, 1.0)  # what is saved or exported takes rows, too
        self._check_batches()
        self.answering, self.best = copy.deepcopy(model) if average else model, copy.deepcopy(model)
        self.average = optim.Average(average, self.answering.state()) if average else None
        self.fused = engine is not None and engine.knows(model)
        suited = engine.threads_for(model.sizes, self.batch_size) if engine else 1
        self.threads = suited if threads is None else checks.count("threads", threads, least=1)
        spare = engine is not None and engine.cores() > self.threads > 1
        self.aside = self.augment.active or spare  # images are made ready on another thread
        self.step, self.open_step = self._make_step(bool(clip_norm)), self._make_step(whole=True)
        self.lr_factor, self.history = 1.0, History()
        self.chunk_rows = CHUNK_ROWS  # images between two yields
        turns = AHEAD + 1 if self.aside else 1  # one buffer stays in cache
        self.inputs = [np.empty((0, model.sizes[0]), model.dtype)] * turns
        self.pixels = [train.images[:0]] * turns
        self.probe = model.inputs(train.images[:PROBE_ROWS]).copy()

    def _check_batches(self) -> None:
        """Refuse a batch of one image where its mean and deviation are taken: nothing is left."""
        alone = len(self.train) % self.batch_size == 1 or self.batch_size == 1
        if alone and self.model.architecture["batch_norm"]:
            sizes = f"{len(self.train)} images in batches of {self.batch_size}"
            raise InputError(f"{sizes} leave one alone, with batch norm; change the batch size")

    def _make_step(self, whole: bool) -> Any:
        if self.fused:
            return engine.Step(self.model, self.optimizer, self.threads, whole)
        return PlainStep(self.model, self.optimizer)

    @property
    def epoch(self) -> int:
        """How many epochs are finished."""
        return len(self.history.rows)

    @property
    def looks(self) -> int:
        """How many times it looks inside in an epoch."""
        return -(-self.steps_per_epoch // self.every)

    @property
    def finished(self) -> bool:
        """True after the last epoch, or when patience has run out."""
        since = self.epoch - self.history.best.get("epoch", 0)  # the best one
        return self.epoch >= self.epochs or 0 < self.patience <= since

    def run(self) -> Iterator[Progress]:
        """Train until finished, yielding after every chunk of about a thousand images."""
        while not self.finished:
            yield from self._run_epoch()

    def _run_epoch(self) -> Iterator[Progress]:
        start, totals = time.perf_counter(), np.zeros(3)
        step = self.epoch * self.steps_per_epoch
        for x, rows in self._chunks():
            with self._computing(1 if self.fused else self.threads):  # a fused step has its own
                recent = self._learn(step, x, rows)
            totals += recent
            step += -(-len(rows) // self.batch_size)
            yield self._progress(step, totals, recent)
        paced = self.fused and engine.paced(self.model.sizes, self.batch_size, self.threads)
        with self._computing(1 if paced else self.threads):  # no second pool awake
            row = self._close_epoch(step, totals, start)
        yield self._progress(step, totals, totals, row)

    @contextmanager
    def _computing(self, blas: int) -> Iterator[None]:
        """Hold BLAS to so many threads, and be silent on what the loop checks itself.

        Entered only to compute, never across a yield.
        """
        with engine.limited(blas) if engine else nullcontext(), np.errstate(all="ignore"):
            yield

    # ------------------------------------------------------------ images

    def _chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the epoch's rows in a new order, some batches at once: inputs (n, D), rows (n,)."""
        order = np.random.default_rng([self.seed, self.epoch, 0]).permutation(len(self.train))
        rows = self.batch_size * max(1, self.chunk_rows // self.batch_size)
        starts = enumerate(range(0, len(order), rows))
        chunks = (self._chunk(number, order[start : start + rows]) for number, start in starts)
        return ahead(chunks, AHEAD) if self.aside else chunks

    def _chunk(self, number: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return those images as inputs (n, D), in buffers taken by turns, and their rows."""
        turn = number % len(self.inputs)
        self.pixels[turn] = _grown(self.pixels[turn], len(rows))
        self.inputs[turn] = _grown(self.inputs[turn], len(rows))
        images = self.pixels[turn][: len(rows)]  # (n, h, w)
        np.take(self.train.images, rows, axis=0, out=images, mode="clip")
        if self.augment.active:
            rng = np.random.default_rng([self.seed, self.epoch, 1, number])
            images = self.augment(images, rng)
        return self.model.inputs(images, out=self.inputs[turn][: len(rows)]), rows

    # ------------------------------------------------------------ learning

    def _learn(self, step: int, x: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Take a step for each batch of a chunk; return (loss · n, hits, n) of the chunk.

        `chosen` (n,) are the rows that x (n, D) shows; with weights n is their sum.
        """
        y, weights = self.train.y[chosen], self.train.weights
        weights = None if weights is None else weights[chosen]  # (n,)
        k, smoothing = self.model.sizes[-1], self.label_smoothing
        table = ((1 - smoothing) * np.eye(k) + smoothing / k).astype(x.dtype)  # (K, K), symmetric
        targets = table.take(y, axis=1).T  # (n, K), its columns contiguous, as are the logits'
        logits = np.empty_like(targets)
        for number, begin in enumerate(range(0, len(y), self.batch_size), start=step):
            rows = slice(begin, begin + self.batch_size)
            watch = number % self.steps_per_epoch % self.every == 0
            shares = None if weights is None else relative(weights[rows]).astype(x.dtype)
            logits[rows] = self._step(watch, x[rows], targets[rows], self._lr(number), shares)
            if self.average:
                self.average.update(self.model.state())
        losses = -(targets * log_softmax(logits)).sum(axis=1)  # (n,)
        if not np.isfinite(losses).all():
            self._diverged(step, x, losses)
        hits = logits.argmax(axis=1) == y
        if weights is None:
            return np.array([losses.sum(), hits.sum(), len(y)])
        return np.array([weights @ losses, weights @ hits, weights.sum()])

    def _step(
        self, watch: bool, x: np.ndarray, targets: np.ndarray, lr: float, weights: np.ndarray | None
    ) -> np.ndarray:
        """Take a step and return its logits; where it is watched, note what goes on inside."""
        step = self.open_step if watch else self.step
        logits = step.propagate(x, targets, lr, weights)
        if watch:
            norms = diagnostics.gradient_norms(step.gradients)
            before = {name: w.copy() for name, w in self.model.weight_matrices.items()}
        step.finish(lr, self.clip_norm)
        if watch:
            self.history.samples.append(self._sample(norms, before))
        return logits

    def _sample(self, norms: dict[str, float], before: Arrays) -> dict:
        """Return a row of diagnostics: the gradient's norms, and what a step has changed."""
        changes = diagnostics.relative_changes(before, self.model.weight_matrices)
        dead = diagnostics.dead_units(self.model, self.probe)
        place = {"epoch": self.epoch + 1, "step": self.optimizer.steps}
        return place | norms | changes | dead

    def _lr(self, step: int) -> float:
        return float(self.schedule(step) * self.lr_factor)  # of whatever type theirs are

    def _diverged(self, step: int, x: np.ndarray, losses: np.ndarray) -> None:
        """Raise DivergedError for the first batch of a chunk whose loss is not finite."""
        batch = int(np.flatnonzero(~np.isfinite(losses))[0]) // self.batch_size
        rows = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
        raise self._error(step + batch, f"the loss is {losses[rows].mean()}", x[rows])

    def _error(self, step: int, what: str, x: np.ndarray) -> DivergedError:
        epoch, within = divmod(step, self.steps_per_epoch)
        why = diagnostics.first_not_finite(self.model, x)
        return DivergedError(f"{what} at epoch {epoch + 1}, step {within + 1}: {why}")

    # ------------------------------------------------------------ what it tells

    def _progress(
        self, step: int, totals: np.ndarray, recent: np.ndarray, row: dict | None = None
    ) -> Progress:
        epoch, steps = -(-step // self.steps_per_epoch), self.epochs * self.steps_per_epoch
        place = epoch, self.epochs, step, steps, self._lr(step - 1)
        return Progress(*place, *_means(totals), *_means(recent), row)

    def _close_epoch(self, step: int, totals: np.ndarray, start: float) -> dict:
        if not all(np.isfinite(array).all() for array in self.model.state().values()):
            raise self._error(step - 1, "a weight is not finite", self.probe)
        loss, accuracy = _means(totals)
        norms = [sample["gradient"] for sample in self.history.samples[-self.looks :]]
        val = evaluate(self.answering, self.val)  # NaN where there are no images
        row = {
            "epoch": self.epoch + 1,
            "lr": self._lr(step - 1),
            "train_loss": loss,
            "train_accuracy": accuracy,
            "val_loss": val.loss,
            "val_accuracy": val.accuracy,
            "gradient_norm": sum(norms) / len(norms),
            "seconds": time.perf_counter() - start,
        }
        self.history.rows.append(row)
        if self.history.best is row:
            self.best.load_state(self.answering.state())
        return row

    def restore_best(self) -> None:
        """Put the best weights so far into the model, if an epoch has finished."""
        if self.epoch:
            self.model.load_state(self.best.state())

    # ------------------------------------------------------------ going on later

    def _arrays(self) -> Arrays:
        """Return all arrays that decide the future of the run by name: {"model/W1": …}."""
        groups = {
            "model": self.model.state(),
            "optimizer": self.optimizer.state,
            "average": self.average.state if self.average else {},
            "best": self.best.state(),
        }
        return {f"{group}/{name}": a for group, own in groups.items() for name, a in own.items()}

    def state(self) -> tuple[Arrays, dict]:
        """Return, after an epoch, all that decides the future of the run: arrays, JSON values.

        The history is no part of it, but how many rows it has; so many steps it has taken, too.
        """
        return self._arrays(), {
            "state": STATE,
            "epochs": self.epoch,
            "dropout_rng": self.model.rng.bit_generator.state,
            "lr_factor": self.lr_factor,
        }

    def load_state(self, arrays: Arrays, values: dict, folder: RunFolder) -> None:
        """Continue from a `state` whose history is in `folder`, as if never interrupted.

        Raises InputError, before anything is changed, for the state of another version, whose
        training would have gone on otherwise, and for what this run cannot have left.
        """
        if values.get("state") != STATE:
            raise InputError(
                f"its checkpoint is of kind {values.get('state', 1)}, of another version of nnlib, "
                f"and not {STATE}: its best weights can be used, but train it anew to go on"
            )
        self.optimizer.remember(self.model.parameters)
        own = self._arrays()
        check_tensors(arrays, {n: a.shape for n, a in own.items()}, self.model.dtype)
        for name, array in arrays.items():
            if any(word in name for word in NOT_NEGATIVE) and array.min() < 0:
                raise InputError(f"array {name} holds values below 0")
        epochs = checks.count("epochs", values.get("epochs"), least=1)
        dropout = _generator("dropout_rng", values.get("dropout_rng"))
        factor = checks.not_negative("lr_factor", values.get("lr_factor", math.nan))
        self.history = self._load_history(folder, epochs)
        for name, array in own.items():
            array[...] = arrays[name]
        self.optimizer.steps = epochs * self.steps_per_epoch
        if self.average:
            self.average.steps = self.optimizer.steps
        self.model.rng.bit_generator.state, self.lr_factor = dropout, factor

    def _load_history(self, folder: RunFolder, epochs: int) -> History:
        own = self.model.parameters, self.model.weight_matrices
        columns = self._sample(diagnostics.gradient_norms(own[0]), own[1])
        rows = folder.load_rows(HISTORY, epochs, COLUMNS)
        if [row["epoch"] for row in rows] != list(range(1, epochs + 1)):
            raise InputError(f"the epochs in {HISTORY} are not those from 1 to {epochs}")
        return History(rows, folder.load_rows(DIAGNOSTICS, epochs * self.looks, columns))


def _grown(buffer: np.ndarray, rows: int) -> np.ndarray:
    """Return a buffer of at least so many rows: the same, for fresh memory costs more than work."""
    return buffer if len(buffer) >= rows else np.empty((rows, *buffer.shape[1:]), buffer.dtype)


def _means(totals: np.ndarray) -> tuple[float, float]:
    """Return the mean loss and the accuracy of (loss · n, hits, n); NaN where n is 0."""
    loss, hits, n = totals.tolist()
    return (loss / n, hits / n) if n else (math.nan, math.nan)
