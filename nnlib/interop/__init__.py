"""A net for other tools: as ONNX, for PyTorch, or as one file of C.

Whatever the form, the input is what a user has: the pixels of each image in a row, as floats from
0 to 255, shape (N, D); of a net whose scaling is `Scaling(0, 1)`, the numbers that it was trained
on. Scaling and softmax are inside, so that the output is what `predict_proba` says, (N, K), all
computed in float32.
"""

import os
from importlib import import_module
from pathlib import Path

from nnlib import checks
from nnlib.checks import InputError
from nnlib.network import MLP, model_path

ENDINGS = {"onnx": ".onnx", "torch": ".torch.safetensors", "c": ".c"}


def beside(model: str | os.PathLike, to: str) -> Path:
    """Return where a form of a saved model goes by default: `model.onnx` in its folder, say."""
    return model_path(model).with_suffix(ENDINGS[checks.one_of("form", to, ENDINGS)])


def export(model: MLP, to: str, path: str | os.PathLike) -> str:
    """Write a net to a new file in the form `onnx`, `torch` or `c`; return how it is used.

    Raises InputError for another form, a file that is there, a place that cannot be written, and
    a layer that is none of the library's.
    """
    path, form = Path(os.path.expanduser(path)), checks.one_of("form", to, ENDINGS)
    if os.path.lexists(path):
        raise InputError(f"{path} is there already: name another file, or remove it")
    return import_module(f"nnlib.interop.to_{form}").write(model, path)
