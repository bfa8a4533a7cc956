"""Every gradient is proven three ways: by hand, by differences, and by PyTorch's autograd."""

import numpy as np
import pytest

from nnlib import MLP, softmax_cross_entropy
from nnlib.gradcheck import numerical_gradient, relative_error
from nnlib.layers import ACTIVATIONS, Dropout

RNG = np.random.default_rng
WEIGHTS = np.array([0.5, 2.0, 0.0, 1.0, 3.0, 0.25, 1.0])  # of the examples of a batch


def small_net(depth: int, activation: str, **more) -> MLP:
    """A net of `depth` linear layers from 5 inputs to 3 classes, biases not zero."""
    model = MLP([5, *[6, 4, 5][: depth - 1], 3], activation, seed=3, dtype="float64", **more)
    for name, array in model.parameters.items():
        if name[0] != "W":
            array += RNG(len(name)).normal(scale=0.3, size=array.shape)
    return model


def check_gradients(model: MLP, x, y, weight_decay: float = 0.0, weights=None) -> dict[str, float]:
    """Return the relative error of every parameter's analytic gradient: {"W1": 3e-10, …}."""

    def loss() -> float:
        return model.loss_and_gradients(x, y, weight_decay, weights=weights)[0]

    _, analytic = model.loss_and_gradients(x, y, weight_decay, weights=weights)
    return {
        name: relative_error(analytic[name], numerical_gradient(loss, parameter))
        for name, parameter in model.parameters.items()
    }


def test_a_net_worked_by_hand() -> None:
    """2-2-2, ReLU, one example; every number below was computed on paper.

    x = (1, 2); z1 = (1·1 + 2·0.5 - 1, 1·(-1) + 2·0 + 0) = (1, -1); h = (1, 0);
    z2 = (1·1 + 0, 1·(-1) + 1) = (1, 0); p = (e, 1) / (e + 1) = (0.7310585786, 0.2689414214);
    label 1: loss = -log 0.2689414214 = 1.3132616875; δ2 = p - (0, 1) = (q, -q), q = 0.7310585786;
    ∂W2 = hᵀ δ2 = ((q, -q), (0, 0)); δ1 = δ2 W2ᵀ ⊙ (1, 0) = (q·1 + (-q)·(-1), 0) = (2q, 0);
    ∂W1 = xᵀ δ1 = ((2q, 0), (4q, 0)).
    """
    model = MLP([2, 2, 2], "relu", dtype="float64")
    model.load_state(
        {
            "W1": np.array([[1.0, -1.0], [0.5, 0.0]]),
            "b1": np.array([-1.0, 0.0]),
            "W2": np.array([[1.0, -1.0], [3.0, 2.0]]),
            "b2": np.array([0.0, 1.0]),
        }
    )
    loss, g = model.loss_and_gradients(np.array([[1.0, 2.0]]), np.array([1]))
    q = 0.7310585786300049
    assert loss == pytest.approx(1.3132616875182228, abs=1e-14)
    np.testing.assert_allclose(g["W2"], [[q, -q], [0, 0]], atol=1e-15)
    np.testing.assert_allclose(g["b2"], [q, -q], atol=1e-15)
    np.testing.assert_allclose(g["W1"], [[2 * q, 0], [4 * q, 0]], atol=1e-15)
    np.testing.assert_allclose(g["b1"], [2 * q, 0], atol=1e-15)


def test_the_penalty_by_hand() -> None:
    """½ λ ‖W‖² adds λ/2 · 5 to the loss for W = (1, 2), and λ W to its gradient, not to b."""
    model = MLP([1, 2], dtype="float64")
    model.load_state({"W1": np.array([[1.0, 2.0]]), "b1": np.array([5.0, 5.0])})
    x, y = np.array([[0.0]]), np.array([0])
    plain, g0 = model.loss_and_gradients(x, y)
    with_penalty, g = model.loss_and_gradients(x, y, weight_decay=0.1)
    assert with_penalty - plain == pytest.approx(0.25, abs=1e-15)
    np.testing.assert_allclose(g["W1"] - g0["W1"], [[0.1, 0.2]], atol=1e-15)
    np.testing.assert_array_equal(g["b1"], g0["b1"])


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("weight_decay", "weights"), [(0.0, None), (0.3, None), (0.3, WEIGHTS)])
def test_central_differences(activation, depth: int, weight_decay: float, weights, batch) -> None:
    errors = check_gradients(small_net(depth, activation), *batch, weight_decay, weights)
    assert len(errors) == 2 * depth
    assert max(errors.values()) < 1e-7, errors


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_central_differences_with_batch_normalisation(activation: str, batch) -> None:
    errors = check_gradients(small_net(3, activation, batch_norm=True), *batch, 0.1)
    # the bias before a normalisation has no effect: its gradient is zero but for rounding
    without = {name: e for name, e in errors.items() if name not in ("b1", "b2")}
    assert len(without) == 8
    assert max(without.values()) < 1e-7, errors


@pytest.mark.parametrize("weights", [None, WEIGHTS[:4]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_loss_gradient_by_differences(smoothing: float, weights) -> None:
    z, y = RNG(0).normal(size=(4, 3)), np.array([0, 2, 1, 1])
    _, gradient = softmax_cross_entropy(z, y, smoothing, weights)
    measured = numerical_gradient(lambda: softmax_cross_entropy(z, y, smoothing, weights)[0], z)
    assert relative_error(gradient, measured) < 1e-9


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_at_zero_and_far_out(name: str) -> None:
    """At 0 and ±50 each derivative is what its definition says, and finite."""
    at_zero = {"relu": 0.0, "leaky_relu": 0.01, "tanh": 1.0, "sigmoid": 0.25, "gelu": 0.5}
    far_out = {"relu": 1.0, "leaky_relu": 1.0, "tanh": 0.0, "sigmoid": 0.0, "gelu": 1.0}
    far_down = {"relu": 0.0, "leaky_relu": 0.01, "tanh": 0.0, "sigmoid": 0.0, "gelu": 0.0}
    layer = ACTIVATIONS[name]()
    layer.forward(np.array([[0.0, 50.0, -50.0]]))
    gradient = layer.backward(np.ones((1, 3)))
    expected = [[at_zero[name], far_out[name], far_down[name]]]
    np.testing.assert_allclose(gradient, expected, atol=1e-15)


def test_dropout_gradient_by_differences() -> None:
    """With the mask held still by the seed, dropout is linear, and its gradient its mask."""
    x, c = RNG(3).normal(size=(5, 8)), RNG(4).normal(size=(5, 8))

    def loss() -> float:
        return float((c * Dropout(0.4, RNG(5)).forward(x, training=True)).sum())

    layer = Dropout(0.4, RNG(5))
    y = layer.forward(x, training=True)
    assert 0 < (y == 0).sum() < y.size
    assert relative_error(layer.backward(c), numerical_gradient(loss, x)) < 1e-9


def test_weights_count_an_example_as_often_as_they_say(batch) -> None:
    """Whole weights are repetitions, 0 is absence, and the scale of all together is nothing."""
    model, (x, y), counts = small_net(3, "gelu"), batch, np.array([1, 2, 0, 1, 3, 0, 1])
    loss, gradients = model.loss_and_gradients(x.repeat(counts, 0), y.repeat(counts), 0.2, 0.1)
    for scale in (1, 0.37):
        ours, g = model.loss_and_gradients(x, y, 0.2, 0.1, scale * counts)
        assert ours == pytest.approx(loss, rel=1e-13)
        for name, array in gradients.items():
            np.testing.assert_allclose(g[name], array, rtol=1e-10, atol=1e-14)
    loss, g = model.loss_and_gradients(x, y, weights=np.zeros(7))
    assert (loss, max(np.abs(array).max() for array in g.values())) == (0, 0)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_against_pytorch(activation: str, batch_norm: bool, batch) -> None:
    """Loss and every gradient equal PyTorch's in float64, with L2 and label smoothing."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed beside the lock")
    model = small_net(3, activation, batch_norm=batch_norm)
    x, y = batch
    loss, gradients = model.loss_and_gradients(x, y, weight_decay=0.2, smoothing=0.1)
    t = {n: torch.tensor(a, requires_grad=True) for n, a in model.parameters.items()}
    functions = {
        "relu": torch.relu,
        "leaky_relu": lambda z: torch.nn.functional.leaky_relu(z, 0.01),
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "gelu": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
    }
    h = torch.tensor(x)
    for number in (1, 2):
        h = h @ t[f"W{number}"] + t[f"b{number}"]
        if batch_norm:
            gamma, beta = t[f"gamma{number}"], t[f"beta{number}"]
            h = torch.nn.functional.batch_norm(h, None, None, gamma, beta, training=True)
        h = functions[activation](h)
    logits = h @ t["W3"] + t["b3"]
    theirs = torch.nn.functional.cross_entropy(logits, torch.tensor(y), label_smoothing=0.1)
    theirs = theirs + 0.1 * sum((t[f"W{n}"] ** 2).sum() for n in (1, 2, 3))
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=1e-13)
    for name, tensor in t.items():
        np.testing.assert_allclose(gradients[name], tensor.grad.numpy(), rtol=1e-10, atol=1e-14)
