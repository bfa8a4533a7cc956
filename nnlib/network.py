"""The multi-layer perceptron: layers in a row, their parameters under one set of names.

`MLP` only arranges what `layers` and `losses` define. Weights are W1, b1, W2, b2, … counted from
the input; with batch normalisation gamma1, beta1, … beside them. `save_model` writes one
safetensors file that any reader of that format opens, with all that is needed to use the net
again as readable JSON inside; `load_model` believes nothing in such a file before checking it.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from nnlib import checks, layers
from nnlib.checks import InputError
from nnlib.files import load_tensors, save_tensors
from nnlib.images import CHANNELS, UNIT, Scaling
from nnlib.losses import softmax, softmax_cross_entropy

FORMAT = 1
PREDICT_ROWS = 2048  # rows at a time, so that memory does not grow with the data


class MLP:
    """A fully connected net: sizes [D, H₁, …, K], an activation after every layer but the last.

    Each hidden layer is Linear, then BatchNorm if `batch_norm`, the activation, and Dropout with
    probability `dropout`; `input_dropout` acts on the pixels. `init` is he, glorot or normal (by
    default what suits the activation), its standard deviation multiplied by `init_scale`.
    `scaling` says how bytes become inputs, and travels with the model; `info` is free metadata.
    Raises InputError for sizes that are not at least two whole numbers > 0, an unknown activation
    or initialiser, or a probability outside [0, 1).
    """

    def __init__(
        self,
        sizes: list[int],
        activation: str = "relu",
        dropout: float = 0.0,
        seed: int = 0,
        dtype: str = "float32",
        *,
        input_dropout: float = 0.0,
        batch_norm: bool = False,
        init: str | None = None,
        init_scale: float = 1.0,
        scaling: Scaling = UNIT,
    ) -> None:
        self.sizes = _checked_sizes(sizes)
        self.shapes = list(pairwise(self.sizes))  # (inputs, outputs) of each linear layer
        weights = sum(inputs * outputs for inputs, outputs in self.shapes)
        checks.memory(f"a net of {weights:,} weights", 12 * weights)  # drawn in float64, then cast
        self.dtype = np.dtype(checks.one_of("dtype", dtype, ("float32", "float64")))
        self.architecture = {  # the arguments that build this net again, before its weights
            "sizes": self.sizes,
            "activation": activation,
            "dropout": checks.fraction("dropout", dropout),
            "input_dropout": checks.fraction("input dropout", input_dropout),
            "batch_norm": checks.flag("batch norm", batch_norm),
            "dtype": self.dtype.name,
        }
        self.scaling = scaling
        self.info: dict[str, Any] = {}
        self.rng = np.random.default_rng([checks.whole("seed", seed), 1])  # for dropout's masks
        init = init or layers.default_initialiser(activation)
        init_scale = checks.positive("init scale", init_scale)
        self.layers = self._build(init, init_scale, np.random.default_rng([seed, 0]))
        self.parameters = self._collect("parameters")
        self.statistics = self._collect("statistics")

    def _build(self, init: str, scale: float, rng: np.random.Generator) -> list[layers.Layer]:
        made: dict[str, Any] = self.architecture
        built: list[layers.Layer] = []
        if made["input_dropout"]:
            built.append(layers.Dropout(made["input_dropout"], self.rng))
        for number, (inputs, width) in enumerate(self.shapes, start=1):
            weights = layers.initial_weights(inputs, width, rng, init, scale).astype(self.dtype)
            built.append(layers.Linear(weights, np.zeros(width, self.dtype)))
            if number == len(self.shapes):
                break
            if made["batch_norm"]:
                ones = np.ones(width, self.dtype)
                built.append(layers.BatchNorm(ones, np.zeros_like(ones)))
            built.append(layers.activation(made["activation"]))
            if made["dropout"]:
                built.append(layers.Dropout(made["dropout"], self.rng))
        return built

    def _collect(self, kind: str) -> dict[str, np.ndarray]:
        """Return the layers' parameters, gradients or statistics as {"W1": …, "b1": …}."""
        collected, number = {}, 0
        for layer in self.layers:
            number += isinstance(layer, layers.Linear)
            for name, array in getattr(layer, kind).items():
                collected[f"{name}{number}"] = array
        return collected

    def inputs(self, images: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return x (N, D) for bytes, scaled, or rows of floats, as they are, in the net's type.

        `out` receives what must be computed.
        """
        if images.dtype == np.uint8:
            return self.scaling(images, out=out)
        return images.astype(self.dtype, copy=False)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        """Return the logits (N, K) for inputs x (N, D); `training` turns dropout on.

        Raises InputError where x has another number of columns.
        """
        if x.ndim != 2 or x.shape[1] != self.sizes[0]:
            raise InputError(f"inputs must have shape (N, {self.sizes[0]}), got {x.shape}")
        for layer in self.layers:
            x = layer.forward(x, training)
        return x

    def backward(self, gradient: np.ndarray) -> dict[str, np.ndarray]:
        """Return the gradient of every parameter from ∂loss/∂logits (N, K), last layer first."""
        for layer in reversed(self.layers):
            gradient = layer.backward(gradient)
        return self._collect("gradients")

    def loss_and_gradients(
        self,
        x: np.ndarray,
        y: np.ndarray,
        weight_decay: float = 0.0,
        smoothing: float = 0.0,
        weights: np.ndarray | None = None,
    ) -> tuple[float, dict[str, np.ndarray]]:
        """Return the loss of a batch in training mode and its exact gradient by name.

        loss = mean softmax cross-entropy + ½ λ Σ ‖W‖² over the weight matrices, λ = weight_decay;
        `smoothing` is label smoothing; `weights` (N,) those of the examples, by which the mean is
        taken. x (N, D), y (N,) -> (float, {"W1": (D, H), "b1": (H,), …}).
        """
        logits = self.forward(x, training=True)
        loss, gradient = softmax_cross_entropy(logits, y, smoothing, weights)
        gradients = self.backward(gradient)
        if weight_decay:
            for name, w in self.weight_matrices.items():
                loss += 0.5 * weight_decay * float((w * w).sum())
                gradients[name] = gradients[name] + w.dtype.type(weight_decay) * w
        return loss, gradients

    @property
    def weight_matrices(self) -> dict[str, np.ndarray]:
        """The parameters that weight decay acts on: W1, W2, … and nothing else."""
        return {name: array for name, array in self.parameters.items() if name[0] == "W"}

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the most likely label of each row: (N, D) -> (N,) integers."""
        return self.predict_proba(x).argmax(axis=1)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Return the class probabilities softmax(logits): (N, D) -> (N, K)."""
        parts = [softmax(self.forward(rows)) for rows in in_pieces(x)]
        return np.concatenate(parts) if parts else np.empty((0, self.sizes[-1]), self.dtype)

    def hidden(self, x: np.ndarray) -> list[np.ndarray]:
        """Return what each hidden layer's activation gives out: (N, D) -> [(N, H₁), …]."""
        outputs, last = [], self.activations
        for layer in self.layers:
            x = layer.forward(x)
            if layer in last:
                outputs.append(x)
        return outputs

    @property
    def activations(self) -> list[layers.Layer]:
        """The activation layers, one for each hidden layer."""
        kinds = tuple(layers.ACTIVATIONS.values())
        return [layer for layer in self.layers if isinstance(layer, kinds)]

    def state(self) -> dict[str, np.ndarray]:
        """Return all arrays that decide its predictions, by name (not copies)."""
        return self.parameters | self.statistics

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Copy arrays in by name; names, shapes and types must be its own, values finite."""
        own = self.state()
        check_tensors(state, {name: array.shape for name, array in own.items()}, self.dtype)
        for name, array in own.items():
            array[...] = state[name]


def in_pieces(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows of an array in pieces that fit into the processor's cache."""
    for start in range(0, len(rows), PREDICT_ROWS):
        yield rows[start : start + PREDICT_ROWS]


def save_model(model: MLP, path: str | os.PathLike, sync: bool = True) -> None:
    """Write weights and metadata as one safetensors file, atomically.

    The JSON holds architecture, scaling and `model.info` (data set, classes, training settings,
    validation figures, library versions). Same model, same bytes. Raises InputError for an info
    that `load_model` would refuse.
    """
    _check_info(model.info, model.sizes)
    metadata = {
        "format": FORMAT,
        "architecture": model.architecture,
        "scaling": asdict(model.scaling),
        "info": model.info,
    }
    save_tensors(path, model.state(), metadata, sync)


def model_path(path: str | os.PathLike) -> Path:
    """Return the file of a model that is named by itself or by its run's folder."""
    path = Path(os.path.expanduser(path))
    return path / "model.safetensors" if path.is_dir() else path


def load_model(path: str | os.PathLike) -> MLP:
    """Read a model: a file of `save_model`, or a run's folder that holds one.

    Raises InputError where the file is missing or damaged, its arrays do not fit its
    architecture, or a value is not finite.
    """
    path = model_path(path)
    tensors, metadata = load_tensors(path)
    try:
        return _assemble(tensors, metadata)
    except InputError as error:
        raise InputError(f"{path} cannot be used: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} lacks or garbles its description: {error!r}") from None


def _assemble(tensors: dict[str, np.ndarray], metadata: dict) -> MLP:
    """Build the net that the metadata describes, after its arrays were found to fit."""
    architecture, info = dict(metadata["architecture"]), metadata["info"]
    if metadata["format"] != FORMAT:
        raise InputError(f"model format {metadata['format']} is not {FORMAT}; update the library")
    sizes = _checked_sizes(architecture["sizes"])
    for number, shape in enumerate(pairwise(sizes), start=1):
        if (found := tensors[f"W{number}"].shape) != shape:  # before it is built: sizes may lie
            raise InputError(f"weight matrix W{number} is {found}, expected {shape}")
    _check_info(info, sizes)
    model = MLP(**architecture, scaling=Scaling(**metadata["scaling"]))
    model.load_state(tensors)
    model.info = info
    return model


def _check_info(info: dict[str, Any], sizes: list[int]) -> None:
    """Raise InputError where what others read in a model's info is not what they take it for."""
    checks.instance("info", info, dict)
    checks.instance("info's dataset", info.get("dataset", ""), str)
    classes = checks.plain(info.get("classes", [""] * sizes[-1]))
    texts = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
    if not texts or len(classes) != sizes[-1]:
        raise InputError(f"info's classes must be {sizes[-1]} texts, got {str(classes)[:80]}")
    shape = checks.plain(info.get("image_shape", [1, sizes[0]]))
    whole = isinstance(shape, list | tuple) and {type(side) for side in shape} == {int}
    sides = whole and (len(shape) == 2 or list(shape[2:]) == [CHANNELS])  # without colour, or with
    if not sides or min(shape) < 1 or math.prod(shape) != sizes[0]:
        wanted = f"two sides, and {CHANNELS} if there is colour, of {sizes[0]} inputs"
        raise InputError(f"info's image_shape must be {wanted}, got {shape}")


def check_tensors(
    tensors: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]], dtype: np.dtype
) -> None:
    """Raise InputError unless names, shapes and type are as expected and all values finite."""
    if set(tensors) != set(shapes):
        odd = ", ".join(sorted(set(tensors) ^ set(shapes)))[:200]
        raise InputError(f"array names differ from the architecture's: {odd}")
    for name, array in tensors.items():
        found, expected = f"{array.dtype} {array.shape}", f"{dtype} {shapes[name]}"
        if found != expected:
            raise InputError(f"array {name} is {found}, expected {expected}")
        if not np.isfinite(array).all():
            raise InputError(f"array {name} holds values that are not finite")


def _checked_sizes(sizes: list[int]) -> list[int]:
    if not isinstance(sizes, list | tuple) or len(sizes) < 2:
        raise InputError(f"layer sizes must be inputs, hidden … and classes, got {sizes!r}")
    return [checks.whole("layer size", size, least=1) for size in sizes]
