"""BLAS as a C program calls it: on any block of an array, in place, while other threads go on.

SciPy's Python functions for the same routines copy a block that is not contiguous, and hold the
interpreter's lock until they are done. `scipy.linalg.cython_blas` gives the routines' addresses.
OpenBLAS, which SciPy's wheels bring, has one more, for several products in one call: its threads
share them out, each product whole, so that no bit depends on how many threads there are.
"""

import ctypes
from collections.abc import Callable, Iterable
from ctypes import byref, c_char, c_char_p, c_int, c_void_p, py_object
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

Array = np.ndarray
KINDS: dict[str, tuple[str, Any]] = {"f": ("s", ctypes.c_float), "d": ("d", ctypes.c_double)}
BY_COLUMN, AS_IT_IS, TURNED = 102, 111, 112  # as CBLAS calls them
WORTH = 2**21  # multiplications of a piece; OpenBLAS to 0.3.31 fails below 10**6 (its #5980)


@cache
def pools() -> ThreadpoolController:
    """Return the hold on each BLAS of the process."""
    import scipy.linalg  # noqa: F401  (its BLAS must be loaded to be found)

    return ThreadpoolController()


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


@cache
def openblas(letter: str = "s") -> Any:
    """Return two functions of OpenBLAS: how many threads, and several products; None without it."""
    for library in pools().lib_controllers:
        for prefix in ("scipy_", ""):  # with another end where it counts in 64 bits
            names = f"{prefix}openblas_set_num_threads", f"{prefix}cblas_{letter}gemm_batch"
            if all(hasattr(library.dynlib, name) for name in names):
                threads, batch = (getattr(library.dynlib, name) for name in names)
                return threads, batch
    return None


def slices(length: int, pieces: int) -> list[slice]:
    """Cut so many rows into pieces, nearly equal, none of them empty."""
    edges = np.linspace(0, length, pieces + 1).round().astype(int).tolist()
    return [slice(start, end) for start, end in pairwise(edges) if start < end]


def _operand(x: Array) -> tuple[bool, int, int]:
    """Return how BLAS, which counts columns first, reads a matrix: turned or not, where, step."""
    turned = x.strides[0] != x.itemsize
    rows, step = (x.shape[1], x.strides[0]) if turned else (x.shape[0], x.strides[1])
    return turned, x.ctypes.data, max(step // x.itemsize, rows, 1)


def _cut(a: Array, b: Array, c: Array, pieces: int) -> list[tuple[Array, Array, Array]]:
    """Cut a product along the longer side of c (m, n), if it is worth it."""
    pieces = max(1, min(pieces, c.size * len(b) // WORTH))
    if len(c) > c.shape[1]:
        return [(a[rows], b, c[rows]) for rows in slices(len(c), pieces)]
    return [(a, b[:, columns], c[:, columns]) for columns in slices(c.shape[1], pieces)]


def product(a: Array, b: Array, c: Array, pace: Any = None) -> Callable[[float, float], None]:
    """Return the function of α and β that computes c ← α a b + β c, for a (m, k) and b (k, n).

    All are of one type, and in each either the rows or the columns lie without gaps. A `pace` has
    large ones shared out among OpenBLAS's threads.
    """
    if c.strides[0] != c.itemsize:  # cᵀ = bᵀ aᵀ moves no data
        a, b, c = b.T, a.T, c.T
    letter, real = KINDS[c.dtype.char]
    parts = _cut(a, b, c, pace.threads if pace else 1)
    alone, every = len(parts) == 1, range(len(parts))
    kind, marks = (c_char, (b"N", b"T")) if alone else (c_int, (AS_IT_IS, TURNED))

    def array(kind: Any, values: Iterable) -> Any:
        return byref((kind * len(parts))(*values))

    def place(values: tuple[int, ...]) -> Any:
        return c_void_p(*values) if alone else array(c_void_p, values)

    alpha, beta = (real * len(parts))(), (real * len(parts))()
    rows = [(*_operand(a), *_operand(b), *_operand(c), *c.shape, len(b)) for a, b, c in parts]
    turn_a, at_a, step_a, turn_b, at_b, step_b, _, at_c, step_c, *m_n_k = zip(*rows, strict=True)
    arguments = [
        array(kind, [marks[turned] for turned in turn_a]),
        array(kind, [marks[turned] for turned in turn_b]),
        *(array(c_int, sizes) for sizes in m_n_k),
        byref(alpha), place(at_a), array(c_int, step_a), place(at_b), array(c_int, step_b),
        byref(beta), place(at_c), array(c_int, step_c),
    ]  # fmt: skip
    if alone:
        call = partial(_routine(letter + "gemm"), *arguments)
    else:
        groups = len(parts), array(c_int, [1] * len(parts))
        call = partial(pace.share, openblas(letter)[1], BY_COLUMN, *arguments, *groups)

    def multiply(by: float, keep: float, held: Any = parts) -> None:  # BLAS has addresses alone
        for piece in every:
            alpha[piece], beta[piece] = by, keep
        call()

    return multiply
