"""BLAS as a C program calls it: on any block of an array, in place, while other threads go on.

SciPy's Python functions for the same routines copy a block that is not contiguous, and hold the
interpreter's lock until they are done. `scipy.linalg.cython_blas` gives the routines' addresses.
"""

import ctypes
from collections.abc import Callable
from ctypes import c_char_p, c_int, c_void_p, py_object
from functools import cache, partial
from typing import Any

import numpy as np

Array = np.ndarray
KINDS: dict[str, tuple[str, Any]] = {"f": ("s", ctypes.c_float), "d": ("d", ctypes.c_double)}


@cache
def _routine(name: str) -> Callable:
    """Return a routine by its name; its arguments are addresses."""
    from scipy.linalg import cython_blas  # not above: half of what `import nnlib` would take

    capsule = cython_blas.__pyx_capi__[name]
    kind = ctypes.PYFUNCTYPE(c_char_p, py_object)(("PyCapsule_GetName", ctypes.pythonapi))
    at = ctypes.PYFUNCTYPE(c_void_p, py_object, c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    return ctypes.CFUNCTYPE(None)(at(capsule, kind(capsule)))


def _operand(x: Array) -> tuple[Any, Any, Any]:
    """Return how BLAS, which counts columns first, reads a matrix: turned or not, where, step."""
    turned = x.strides[0] != x.itemsize
    rows, step = (x.shape[1], x.strides[0]) if turned else (x.shape[0], x.strides[1])
    letter, step = ctypes.c_char(b"T" if turned else b"N"), max(step // x.itemsize, rows, 1)
    return ctypes.byref(letter), x.ctypes.data_as(c_void_p), ctypes.byref(c_int(step))


def product(a: Array, b: Array, c: Array) -> Callable[[float, float], None]:
    """Return the function of α and β that computes c ← α a b + β c, for a (m, k) and b (k, n).

    All are of one type, and in each either the rows or the columns lie without gaps.
    """
    if c.strides[0] != c.itemsize:  # cᵀ = bᵀ aᵀ moves no data
        a, b, c = b.T, a.T, c.T
    letter, real = KINDS[c.dtype.char]
    (turn_a, at_a, step_a), (turn_b, at_b, step_b), (_, at_c, step_c) = map(_operand, (a, b, c))
    alpha, beta = real(), real()
    numbers = (*map(c_int, (*c.shape, len(b))), alpha, beta)
    m, n, k, at_alpha, at_beta = map(ctypes.byref, numbers)
    gemm = partial(
        _routine(letter + "gemm"),
        turn_a, turn_b, m, n, k, at_alpha, at_a, step_a, at_b, step_b, at_beta, at_c, step_c,
    )  # fmt: skip

    def multiply(by: float, keep: float) -> None:
        alpha.value, beta.value = by, keep
        gemm()

    return multiply
