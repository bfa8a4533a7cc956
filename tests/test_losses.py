"""Cross-entropy where it is easy to get wrong: far out, alone, and all equal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnlib import softmax, softmax_cross_entropy
from nnlib.losses import accuracy, log_softmax


def test_uniform_logits_cost_log_k() -> None:
    loss, gradient = softmax_cross_entropy(np.zeros((3, 10)), np.array([1, 5, 9]))
    assert loss == pytest.approx(np.log(10), abs=1e-15)
    assert gradient[0, 1] == pytest.approx((0.1 - 1) / 3)
    assert gradient[0, 0] == pytest.approx(0.1 / 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("far", [1e4, -1e4])
def test_huge_logits_stay_finite_and_right(far: float, dtype: str) -> None:
    logits = np.array([[far, 0.0], [0.0, far]], dtype)
    loss, gradient = softmax_cross_entropy(logits, np.array([0, 0]))
    assert loss == pytest.approx(5000.0)
    wrong_row = 1 if far > 0 else 0
    np.testing.assert_allclose(gradient[wrong_row], [-0.5, 0.5])
    np.testing.assert_allclose(gradient[1 - wrong_row], [0, 0], atol=1e-30)
    assert gradient.dtype == dtype


def test_a_single_class_costs_nothing() -> None:
    loss, gradient = softmax_cross_entropy(np.array([[3.0], [-2.0]]), np.array([0, 0]))
    assert loss == 0
    np.testing.assert_array_equal(gradient, [[0.0], [0.0]])


def test_smoothing_is_cross_entropy_with_the_smoothed_target() -> None:
    rng = np.random.default_rng(0)
    z, y, s = rng.normal(size=(4, 3)), np.array([0, 1, 2, 1]), 0.1
    target = (1 - s) * np.eye(3)[y] + s / 3
    loss, gradient = softmax_cross_entropy(z, y, s)
    assert loss == pytest.approx(-(target * log_softmax(z)).sum() / 4, rel=1e-14)
    np.testing.assert_allclose(gradient, (softmax(z) - target) / 4, atol=1e-15)


@given(arrays(np.float64, (5, 4), elements=st.floats(-1e4, 1e4)), st.floats(-1e4, 1e4))
def test_probabilities_sum_to_one_and_ignore_a_shift(z: np.ndarray, shift: float) -> None:
    p = softmax(z)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    assert ((p >= 0) & (p <= 1)).all()
    np.testing.assert_allclose(softmax(z + shift), p, atol=1e-9)


@given(arrays(np.float64, (6, 3), elements=st.floats(-50, 50)), st.lists(
    st.integers(0, 2), min_size=6, max_size=6))  # fmt: skip
def test_gradient_rows_sum_to_zero_and_loss_is_positive(z: np.ndarray, labels: list) -> None:
    loss, gradient = softmax_cross_entropy(z, np.array(labels))
    assert loss >= 0
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-14)


def test_accuracy_counts_the_largest() -> None:
    logits = np.array([[1.0, 2, 0], [5, 1, 1], [0, 0, 9]])
    assert accuracy(logits, np.array([1, 0, 1])) == pytest.approx(2 / 3)
