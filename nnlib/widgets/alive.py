"""What goes into a page so that it lives on where no kernel runs: a net, images, knobs.

It lies beside a figure in the output of a cell, as a kind of its own, which an open notebook and
paper pass over. The page's exporter hands it to the scripts in the folder page, whose numbers are
those of the library: what they are given is all that they know.
"""

import base64
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from nnlib.data import load_dataset
from nnlib.images import Split
from nnlib.language import gettext as _
from nnlib.layers import BatchNorm
from nnlib.network import MLP

if TYPE_CHECKING:
    from nnlib.widgets.playground import Knobs

LIVE = "application/vnd.nnlib.live+json"
EXAMPLES = 20  # that a page has to choose from
WIDEST, DEEPEST, BATCH = 64, 2, 16  # the most of each in a page, where images are few


def drawing(model: MLP, validation: Split) -> dict[str, Any]:
    """Return a net with one hidden layer, and examples, for a page to draw on.

    Weights are rounded to 16 bits, batch normalisation is multiplied into them, and the accuracy
    that the page tells is that of the net so rounded.
    """
    rounded = {name: array.astype(np.float16) for name, array in _folded(model).items()}
    net = MLP(model.sizes, model.architecture["activation"], scaling=model.scaling)
    net.load_state({name: array.astype(np.float32) for name, array in rounded.items()})
    right = float((net.predict(net.scaling(validation.images)) == validation.y).mean())
    chosen = validation.take(slice(EXAMPLES))
    layers = "-".join(map(str, model.sizes))
    return {
        "kind": "draw",
        "sizes": model.sizes,
        "activation": model.architecture["activation"],
        "weights": _packed(*rounded.values()),
        "scaling": [model.scaling.offset, model.scaling.factor],
        "shape": list(chosen.images.shape[1:]),
        "dataset": model.info.get("dataset", ""),
        "classes": [*map(str, model.info.get("classes") or range(model.sizes[-1]))],
        "images": _packed(chosen.images),
        "labels": chosen.y.tolist(),
        "said": _(
            f"The net {layers} in this page, its weights rounded to 16 bits, reads {right:.1%}"
            f" of {len(validation):,} validation images rightly. What you show it stays here."
        ),
    }


def learning(knobs: "Knobs") -> dict[str, Any]:
    """Return the digits, and knobs as they stand at first, for a page to train nets in."""
    data = load_dataset("digits")
    images = np.concatenate([data.train.images, data.val.images])
    momentum, size = knobs.config("digits").momentum, min(knobs.batch_size, BATCH)
    same = {name: getattr(knobs, name) for name in ("activation", "lr", "weight_decay", "seed")}
    hidden = [min(width, WIDEST) for width in knobs.hidden[:DEEPEST]]
    return {
        "kind": "learn",
        "knobs": {"momentum": momentum, "batch_size": size, **same, "hidden": hidden},
        "shape": list(images.shape[1:]),
        "classes": len(data.classes),
        "images": _packed(images),
        "labels": [*data.train.y.tolist(), *data.val.y.tolist()],
        "train": len(data.train),
        "said": _(
            f"This trains in the page itself, on {len(data.train):,} digits of 8×8 pixels,"
            f" and is judged on {len(data.val)} validation images of them."
        ),
    }


def _folded(model: MLP) -> dict[str, np.ndarray]:
    """Return W1, b1, … of the net without its batch normalisation, the same function."""
    state = dict(model.state())
    if model.architecture["batch_norm"]:
        gamma, beta, mean, variance = map(state.pop, ("gamma1", "beta1", "mean1", "variance1"))
        scale = gamma / np.sqrt(variance + BatchNorm.EPSILON)  # (H,)
        state |= {"W1": state["W1"] * scale, "b1": (state["b1"] - mean) * scale + beta}
    return state


def _packed(*arrays: np.ndarray) -> str:
    """Return the bytes of arrays, one after the other, deflated, in base64."""
    raw = b"".join(array.astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays)
    return base64.b64encode(zlib.compress(raw, 9)).decode()
