"""Matrix products into arrays that exist: what SciPy's BLAS can do and NumPy's operators cannot.

BLAS adds a product to what is there, c ← α a b + β c, and a scaled vector to another, so that
neither has to be formed first. Which product is worth a second thread is decided here as well.
"""

import numpy as np
from scipy.linalg import get_blas_funcs

LARGE = 3 * 10**6  # multiplications from which a product is worth a second thread
Array = np.ndarray


class Products:
    """Matrix products of one float type that write, or add, into an existing array."""

    def __init__(self, dtype: np.dtype, threads: int, rows: int) -> None:
        self.gemm, self.gemv, self.axpy = get_blas_funcs(("gemm", "gemv", "axpy"), dtype=dtype)
        self.threads, self.ones = threads, np.ones(rows, dtype)

    def multiply(self, a: Array, b: Array, out: Array) -> Array:
        """Compute out ← a b."""
        if self.threads > 1 and a.size * b.shape[1] > LARGE:
            return self.add_product(a, b, out)
        return np.matmul(a, b, out=out)  # quicker to call, on one thread

    def add_product(
        self, a: Array, b: Array, out: Array, alpha: float = 1.0, beta: float = 0.0
    ) -> Array:
        """Compute out ← alpha a b + beta out for arrays that are contiguous or transposed.

        BLAS counts columns first: else it is given outᵀ = bᵀ aᵀ, which moves no data.
        """
        c = out
        if not c.flags.f_contiguous:
            a, b, c = b.T, a.T, out.T
        (first, turn_first), (second, turn_second) = _columns_first(a), _columns_first(b)
        self.gemm(alpha, first, second, beta, c, turn_first, turn_second, 1)
        return out

    def add_sums(self, g: Array, out: Array, alpha: float = 1.0, beta: float = 0.0) -> None:
        """Compute out ← alpha Σₙ gₙ + beta out, the sum over the rows of g (n, H), out (H,)."""
        columns, turn = _columns_first(g)
        self.gemv(alpha, columns, self.ones[: len(g)], beta, out, 0, 1, 0, 1, 1 - turn, 1)

    def add_scaled(self, x: Array, out: Array, factor: float) -> None:
        """Compute out ← out + factor x in one pass; both contiguous, of any shape."""
        self.axpy(x.reshape(-1), out.reshape(-1), None, factor)


def _columns_first(matrix: Array) -> tuple[Array, int]:
    """Return the matrix, or its transpose and 1, whichever has its columns contiguous."""
    return (matrix, 0) if matrix.flags.f_contiguous else (matrix.T, 1)
