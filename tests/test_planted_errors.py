"""The gradient tests are tested: each of these errors, planted in a copy, must make them fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nnlib

PACKAGE, TESTS = Path(nnlib.__file__).parent, Path(__file__).parent
PLANTED = {
    "linear: weights not transposed": (
        "layers.py",
        'return gradient @ self.parameters["W"].T  # (N, D)',
        'return gradient @ np.resize(self.parameters["W"], self.parameters["W"].T.shape)',
    ),
    "linear: sign of dW": ("layers.py", '"W": self.x.T @ gradient', '"W": -self.x.T @ gradient'),
    "linear: bias averaged, not summed": (
        "layers.py",
        '"b": gradient.sum(axis=0)}\n        return gradient @',
        '"b": gradient.mean(axis=0)}\n        return gradient @',
    ),
    "relu: >= for >": ("layers.py", "gradient * (self.y > 0)", "gradient * (self.y >= 0)"),
    "relu: mask forgotten": ("layers.py", "gradient * (self.y > 0)", "gradient"),
    "leaky relu: >= for >": (
        "layers.py",
        "np.where(self.x > 0, gradient",
        "np.where(self.x >= 0, gradient",
    ),
    "leaky relu: slope forgotten": (
        "layers.py",
        "gradient, LEAKY_SLOPE * gradient)",
        "gradient, 0 * gradient)",
    ),
    "tanh: square forgotten": ("layers.py", "(1 - self.y**2)", "(1 - self.y)"),
    "tanh: sign": ("layers.py", "(1 - self.y**2)", "(1 + self.y**2)"),
    "sigmoid: factor forgotten": (
        "layers.py",
        "gradient * self.y * (1 - self.y)",
        "gradient * self.y",
    ),
    "gelu: inner derivative forgotten": (
        "layers.py",
        "(1 + t + x * (1 - t * t) * inner)",
        "(1 + t + x * (1 - t * t))",
    ),
    "gelu: factor 3 forgotten": ("layers.py", "(1 + 3 * self.A", "(1 + self.A"),
    "gelu: sign": ("layers.py", "(1 + t + x * (1 - t", "(1 + t - x * (1 - t"),
    "dropout: mask forgotten": (
        "layers.py",
        "return gradient if self.mask is None else gradient * self.mask",
        "return gradient",
    ),
    "dropout: scale forgotten": (
        "layers.py",
        "return gradient if self.mask is None else gradient * self.mask",
        "return gradient if self.mask is None else gradient * (self.mask > 0)",
    ),
    "batch norm: mean term forgotten": ("layers.py", '- self.gradients["beta"] / n ', ""),
    "batch norm: variance term forgotten": (
        "layers.py",
        " - self.normalised * (along / n)",
        "",
    ),
    "batch norm: gamma forgotten": (
        "layers.py",
        'gradient * (self.parameters["gamma"] * self.scale)',
        "gradient * self.scale",
    ),
    "batch norm: dgamma of the wrong array": (
        "layers.py",
        "along = (gradient * self.normalised).sum(axis=0)",
        "along = gradient.sum(axis=0)",
    ),
    "batch norm: sign of dbeta": (
        "layers.py",
        '"beta": gradient.sum(axis=0)}',
        '"beta": -gradient.sum(axis=0)}',
    ),
    "loss: 1/N forgotten": ("losses.py", "gradient /= logits.dtype.type(n)", "pass"),
    "loss: sign": (
        "losses.py",
        "gradient[rows, labels] -= logits",
        "gradient[rows, labels] += logits",
    ),
    "loss: smoothing forgotten in the gradient": (
        "losses.py",
        "gradient -= logits.dtype.type(smoothing / k)",
        "pass",
    ),
    "loss: smoothing over K - 1 classes": ("losses.py", "smoothing / k)", "smoothing / (k - 1))"),
    "net: penalty's gradient twice": (
        "network.py",
        "type(weight_decay) * w",
        "type(2 * weight_decay) * w",
    ),
    "net: penalty without its half": (
        "network.py",
        "loss += 0.5 * weight_decay",
        "loss += weight_decay",
    ),
    "net: penalty on biases too": ("network.py", 'if name[0] == "W"}', "}"),
    "net: layers backwards in forward order": (
        "network.py",
        "for layer in reversed(self.layers):\n            gradient",
        "for layer in [*self.layers[:-2][::-1], *self.layers[-2:]][::-1]:\n            gradient",
    ),
}  # fmt: skip
FAST = ("relu: >= for >", "loss: 1/N forgotten", "linear: weights not transposed")


def outcome(folder: Path, planted: str | None) -> int:
    """Run the gradient tests on a copy of the package, with one error planted; exit status."""
    shutil.copytree(PACKAGE, folder / "nnlib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "idx_files.py", "test_gradients.py"):
        shutil.copy(TESTS / name, folder / name)
    if planted:
        file, right, wrong = PLANTED[planted]
        source = (folder / "nnlib" / file).read_text()
        (folder / "nnlib" / file).write_text(source.replace(right, wrong))
    program = "import nnlib, pytest, sys; ours = nnlib.__file__.startswith(sys.argv[1])\n"
    program += (
        "sys.exit(pytest.main(['-x', '-q', '-p', 'no:cacheprovider', sys.argv[1]]) if ours else 9)"
    )
    command = [sys.executable, "-c", program, str(folder)]
    env = os.environ | {"PYTHONPATH": str(folder)}
    run = {"env": env, "cwd": folder, "capture_output": True, "timeout": 120, "check": False}
    return subprocess.run(command, **run).returncode


@pytest.mark.parametrize("planted", PLANTED)
def test_there_is_a_place_to_plant_each_error(planted: str) -> None:
    file, right, wrong = PLANTED[planted]
    assert (PACKAGE / file).read_text("utf-8").count(right) == 1, "the code has changed"
    assert right != wrong


def test_the_copy_passes_as_it_is(tmp_path: Path) -> None:
    assert outcome(tmp_path, None) == 0


@pytest.mark.parametrize(
    "planted",
    [p if p in FAST else pytest.param(p, marks=pytest.mark.slow) for p in PLANTED],
)
def test_a_planted_error_is_caught(planted: str, tmp_path: Path) -> None:
    assert outcome(tmp_path, planted) == 1
