"""Optimisers against their formulas step by step and against PyTorch; schedules at their ends."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnlib import SGD, AdamW, InputError, optim

GRADIENTS = [np.array([[1.0, -2.0]]), np.array([[0.5, 0.5]]), np.array([[-3.0, 0.0]])]


def walk(optimizer, steps=GRADIENTS, name="W1") -> np.ndarray:
    weights = {name: np.array([[1.0, 2.0]])}
    for gradient in steps:
        optimizer.step(weights, {name: gradient.copy()})
    return weights[name]


def test_plain_sgd_by_hand() -> None:
    np.testing.assert_allclose(walk(SGD(0.1)), [[1 - 0.1 * (1 + 0.5 - 3), 2 - 0.1 * (-2 + 0.5)]])


def test_momentum_by_hand() -> None:
    """v: 1, 1.4, -1.74 with μ = 0.9; w = 1 - 0.1 · (1 + 1.4 - 1.74)."""
    assert walk(SGD(0.1, momentum=0.9))[0, 0] == pytest.approx(1 - 0.1 * (1 + 1.4 - 1.74))


def test_nesterov_by_hand() -> None:
    """Each step uses g + μ v: 1.9, 0.5 + 1.26, -3 - 1.566."""
    moved = 1 - 0.1 * (1.9 + 1.76 - 4.566)
    assert walk(SGD(0.1, momentum=0.9, nesterov=True))[0, 0] == pytest.approx(moved)


def test_weight_decay_acts_once_and_not_on_biases() -> None:
    zero = [np.zeros((1, 2))]
    np.testing.assert_allclose(walk(SGD(0.1, weight_decay=0.5), zero), [[0.95, 1.9]])
    np.testing.assert_allclose(walk(AdamW(0.1, weight_decay=0.5), zero), [[0.95, 1.9]])
    np.testing.assert_array_equal(walk(SGD(0.1, weight_decay=0.5), zero, "b1"), [[1, 2]])


def test_first_adam_step_is_the_rate_times_the_sign() -> None:
    np.testing.assert_allclose(walk(AdamW(0.01), GRADIENTS[:1]), [[0.99, 2.01]], atol=1e-9)


@pytest.mark.parametrize(
    ("ours", "theirs", "settings"),
    [
        (SGD, "SGD", {"lr": 0.1}),
        (SGD, "SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
        (SGD, "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
        (AdamW, "AdamW", {"lr": 0.01, "weight_decay": 0.1}),
    ],
)
def test_optimisers_follow_pytorch(ours, theirs, settings) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed beside the lock")
    rng = np.random.default_rng(0)
    start = rng.normal(size=(3, 4))
    weights, tensor = {"W1": start.copy()}, torch.tensor(start.copy(), requires_grad=True)
    optimizer, reference = ours(**settings), getattr(torch.optim, theirs)([tensor], **settings)
    for _ in range(20):
        gradient = rng.normal(size=(3, 4))
        tensor.grad = torch.tensor(gradient.copy())
        optimizer.step(weights, {"W1": gradient})
        reference.step()
    np.testing.assert_allclose(weights["W1"], tensor.detach().numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("value", [0, -0.1, math.nan, math.inf, "fast", True])
def test_a_learning_rate_must_be_positive(value) -> None:
    with pytest.raises(InputError, match=r"learning rate must be > 0, got"):
        SGD(value)


def test_other_settings_are_checked() -> None:
    with pytest.raises(InputError, match=r"momentum must be at least 0 and below 1, got 1"):
        SGD(0.1, momentum=1)
    with pytest.raises(InputError, match="weight decay must be >= 0, got -1"):
        AdamW(0.1, weight_decay=-1)
    with pytest.raises(InputError, match="nesterov needs momentum"):
        SGD(0.1, nesterov=True)


def test_average_of_constant_weights_is_that_constant_and_forgets_its_start() -> None:
    average = optim.Average(0.9, {"W1": np.zeros(2)})
    for _ in range(200):
        average.update({"W1": np.ones(2)})
    np.testing.assert_allclose(average.state["W1"], 1, atol=1e-6)


def test_average_by_hand() -> None:
    """First decay is min(0.9, 1/10), second min(0.9, 2/11)."""
    average = optim.Average(0.9, {"W1": np.array([1.0])})
    average.update({"W1": np.array([0.0])})
    assert average.state["W1"][0] == pytest.approx(0.1)
    average.update({"W1": np.array([0.0])})
    assert average.state["W1"][0] == pytest.approx(0.1 * 2 / 11)


def test_clipping_keeps_the_direction() -> None:
    gradients = {"W1": np.array([3.0]), "b1": np.array([4.0])}
    optim.clip_by_norm(gradients, 1.0)
    assert gradients["W1"][0] == pytest.approx(0.6)
    assert gradients["b1"][0] == pytest.approx(0.8)
    optim.clip_by_norm(gradients, 5.0)
    assert optim.gradient_norm(gradients) == pytest.approx(1.0)


def schedule(name: str, **more):
    return optim.make_schedule(name, 0.2, **{"epochs": 10, "steps_per_epoch": 5} | more)


def test_schedules_by_their_definitions() -> None:
    assert schedule("constant")(49) == 0.2
    assert schedule("exponential", decay=0.5)(4) == 0.2
    assert schedule("exponential", decay=0.5)(5) == 0.1
    assert schedule("exponential", decay=0.5)(49) == pytest.approx(0.2 * 0.5**9)
    assert schedule("step", decay=0.1, decay_every=3)(14) == 0.2
    assert schedule("step", decay=0.1, decay_every=3)(15) == pytest.approx(0.02)
    assert schedule("cosine")(0) == 0.2
    assert schedule("cosine")(49) == 0
    assert schedule("cosine")(24.5) == pytest.approx(0.1)
    cycle = schedule("one-cycle")
    assert cycle(0) == pytest.approx(0.008)
    assert max(cycle(step) for step in range(50)) == pytest.approx(0.2)
    assert cycle(49) == pytest.approx(0, abs=1e-12)


def test_warm_up_grows_linearly_from_zero() -> None:
    rate = schedule("constant", warmup=4)
    assert [rate(step) for step in range(6)] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.2])


@given(st.sampled_from(optim.SCHEDULES), st.integers(1, 9), st.integers(1, 9), st.integers(0, 9))
def test_every_schedule_stays_between_zero_and_its_rate(name, epochs, steps, warmup) -> None:
    rate = optim.make_schedule(name, 0.3, epochs=epochs, steps_per_epoch=steps, warmup=warmup)
    values = [rate(step) for step in range(epochs * steps)]
    assert all(0 <= value <= 0.3 + 1e-12 for value in values)
    assert values == [rate(step) for step in range(epochs * steps)]


def test_an_unknown_schedule_lists_the_known() -> None:
    with pytest.raises(InputError, match="unknown schedule 'linear': use constant, step"):
        schedule("linear")
