"""Numerical gradients: the slow truth against which every backward pass is held.

A derivative is a limit, and a limit can be approached: move one number by a small step, compute
the loss twice, divide. It costs two forward passes for each parameter and knows nothing of the
chain rule, which is what makes it a proof.
"""

from collections.abc import Callable

import numpy as np


def numerical_gradient(
    loss: Callable[[], float], parameter: np.ndarray, step: float = 1e-5
) -> np.ndarray:
    """Return ∂loss/∂parameter by central differences: (f(w + h) - f(w - h)) / 2h.

    `loss` is called without arguments and must read `parameter` (float64, any shape), which is
    moved in place and put back. The error is O(h²) from the formula and O(10⁻¹⁶/h) from rounding.
    """
    if parameter.dtype != np.float64:
        raise ValueError(f"gradient checks need float64 parameters, got {parameter.dtype}")
    gradient = np.zeros_like(parameter)
    for index in np.ndindex(parameter.shape):
        original = parameter[index]
        parameter[index] = original + step
        above = loss()
        parameter[index] = original - step
        below = loss()
        parameter[index] = original
        gradient[index] = (above - below) / (2 * step)
    return gradient


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    """Return max |a - b| / max(|a|, |b|), the largest entry of each: 0 equal, 2 opposite.

    Measured against the largest entry of the array, so that entries which are zero but for
    rounding do not count as wrong.
    """
    scale = max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0))
    return float(np.abs(a - b).max(initial=0.0) / scale) if scale > 0 else 0.0
