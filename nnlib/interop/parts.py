"""What every form of a net is written from: its layers by name, with their arrays in float32."""

import json
from collections.abc import Collection, Iterator

import numpy as np

from nnlib import layers
from nnlib.checks import InputError
from nnlib.images import Scaling
from nnlib.network import MLP
from nnlib.runs import VERSION

KINDS = {
    layers.Linear: "linear",
    layers.BatchNorm: "batch_norm",
    layers.Dropout: "dropout",
    **{kind: name for name, kind in layers.ACTIVATIONS.items()},
}
Arrays = dict[str, np.ndarray]


def parts(model: MLP, known: Collection[str]) -> Iterator[tuple[str, Arrays, layers.Layer]]:
    """Yield each layer's kind, parameters and statistics as float32, and the layer itself.

    Raises InputError for a kind that is not known, and for numbers beyond float32.
    """
    for layer in model.layers:
        kind = KINDS.get(type(layer), type(layer).__name__)
        if kind not in known:
            raise InputError(f"cannot export a layer {kind}: use {', '.join(known)}")
        yield kind, in_float32(layer.parameters | layer.statistics), layer


def in_float32(arrays: Arrays) -> Arrays:
    """Return arrays as float32; InputError where a number is none of them."""
    with np.errstate(over="ignore"):
        small = {name: array.astype(np.float32) for name, array in arrays.items()}
    for name, array in small.items():
        if not np.isfinite(array).all():
            raise InputError(f"{name} holds numbers that float32 cannot: train the net anew")
    return small


def described(model: MLP) -> dict[str, str]:
    """Return what a reader should know of a net, by name: each a line of ASCII."""
    known = {name: json.dumps(model.info[name]) for name in ("classes", "image_shape", "dataset")
             if name in model.info}  # fmt: skip
    pixels = model.scaling != Scaling(0.0, 1.0)
    x = "pixels of an image in a row, from 0 to 255" if pixels else "numbers as in training"
    net = "-".join(map(str, model.sizes))
    return {"net": net, "x": f"{model.sizes[0]} {x}", "written by": f"nnlib {VERSION}"} | known
