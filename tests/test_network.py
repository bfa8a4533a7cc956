"""The net as a whole: names and shapes, initial weights, saving, and files that lie."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnlib import MLP, InputError, load_model, save_model
from nnlib.files import load_tensors, save_tensors
from nnlib.images import Scaling
from nnlib.layers import Dropout, initial_weights


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.booleans())
def test_gradients_have_the_names_and_shapes_of_the_parameters(sizes, batch_norm) -> None:
    model = MLP(sizes, batch_norm=batch_norm)
    x = np.random.default_rng(0).normal(size=(3, sizes[0])).astype(np.float32)
    loss, gradients = model.loss_and_gradients(x, np.zeros(3, int), weight_decay=0.1)
    assert np.isfinite(loss)
    assert model.forward(x).shape == (3, sizes[-1])
    assert gradients.keys() == model.parameters.keys()
    for name, array in model.parameters.items():
        assert gradients[name].shape == array.shape
        assert gradients[name].dtype == array.dtype == np.float32
    assert model.parameters["W1"].shape == (sizes[0], sizes[1])


def test_forward_is_the_formula(batch) -> None:
    x, _ = batch
    model = MLP([5, 4, 3], "tanh", dtype="float64")
    p = model.parameters
    expected = np.tanh(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]
    np.testing.assert_allclose(model.forward(x), expected, atol=1e-15)
    np.testing.assert_allclose(model.hidden(x)[0], np.tanh(x @ p["W1"] + p["b1"]), atol=1e-15)
    np.testing.assert_array_equal(model.predict(x), expected.argmax(axis=1))
    np.testing.assert_allclose(model.predict_proba(x).sum(axis=1), 1)


def test_a_backward_pass_changes_no_weight(batch) -> None:
    model = MLP([5, 4, 3], dtype="float64")
    before = {name: array.copy() for name, array in model.parameters.items()}
    model.loss_and_gradients(*batch)
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(("init", "variance"), [("he", 2 / 400), ("glorot", 2 / 700),
                                                ("normal", 1.0)])  # fmt: skip
def test_initial_weights_have_the_variance_they_should(init: str, variance: float) -> None:
    w = initial_weights(400, 300, np.random.default_rng(0), init, scale=0.5)
    assert w.var() == pytest.approx(0.25 * variance, rel=0.02)
    assert abs(w.mean()) < 4 * (0.25 * variance / w.size) ** 0.5


def test_the_default_initialiser_suits_the_activation() -> None:
    he, glorot = MLP([400, 300, 2], "relu"), MLP([400, 300, 2], "tanh")
    assert he.parameters["W1"].var() == pytest.approx(2 / 400, rel=0.03)
    assert glorot.parameters["W1"].var() == pytest.approx(2 / 700, rel=0.03)


def test_same_seed_same_weights_and_other_seed_others() -> None:
    a, b, c = (MLP([5, 4, 3], seed=s).parameters["W1"] for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_dropout_keeps_the_mean_in_training_and_everything_in_prediction() -> None:
    layer, x = Dropout(0.3, np.random.default_rng(0)), np.ones((400, 500), np.float32)
    y = layer.forward(x, training=True)
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.005)
    assert y.mean() == pytest.approx(1, abs=0.01)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1) / np.float32(0.7)}
    assert layer.forward(x) is x


def test_batch_norm_standardises_and_remembers() -> None:
    model = MLP([3, 4, 2], batch_norm=True, dtype="float64")
    x = np.random.default_rng(0).normal(5, 3, size=(64, 3))
    norm = model.layers[1]
    for _ in range(200):
        model.forward(x, training=True)
    z = x @ model.parameters["W1"]
    y = norm.forward(z, training=True)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=0), 1, atol=1e-4)
    np.testing.assert_allclose(model.statistics["mean1"], z.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(model.statistics["variance1"], z.var(axis=0, ddof=1), rtol=1e-6)


def test_batch_norm_of_one_example_is_finite() -> None:
    model = MLP([3, 4, 2], batch_norm=True)
    loss, gradients = model.loss_and_gradients(np.ones((1, 3), np.float32), np.array([1]))
    assert np.isfinite(loss)
    assert all(np.isfinite(g).all() for g in gradients.values())
    assert all(np.isfinite(s).all() for s in model.statistics.values())


@pytest.mark.parametrize("sizes", [[], [5], [5, 0, 2], [5, -1], [5, 2.0], [5, True], "52"])
def test_impossible_sizes_are_refused(sizes) -> None:
    with pytest.raises(InputError, match="layer size"):
        MLP(sizes)


def test_other_impossible_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="unknown activation 'softplus': use relu"):
        MLP([2, 2, 2], "softplus")
    with pytest.raises(InputError, match="dropout must be at least 0 and below 1, got 1"):
        MLP([2, 2], dropout=1)
    with pytest.raises(InputError, match="seed must be a whole number >= 0, got -1"):
        MLP([2, 2], seed=-1)
    with pytest.raises(InputError, match="unknown initialiser 'xavier'"):
        MLP([2, 2], init="xavier")
    with pytest.raises(InputError, match="unknown dtype 'float16'"):
        MLP([2, 2], dtype="float16")
    with pytest.raises(InputError, match=r"inputs must have shape \(N, 2\), got \(4, 3\)"):
        MLP([2, 2]).forward(np.zeros((4, 3)))


def full_model() -> MLP:
    model = MLP([6, 5, 3], "gelu", 0.2, 4, batch_norm=True, input_dropout=0.1,
                scaling=Scaling(33.0, 1 / 78))  # fmt: skip
    model.info = {"dataset": "mnist", "classes": ["a", "b", "c"]}
    return model


def test_a_saved_model_comes_back_whole(tmp_path: Path) -> None:
    model, path = full_model(), tmp_path / "m.safetensors"
    x = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    model.forward(x, training=True)
    save_model(model, path)
    loaded = load_model(path)
    np.testing.assert_array_equal(loaded.forward(x), model.forward(x))
    assert loaded.architecture == model.architecture
    assert loaded.scaling == model.scaling
    assert loaded.info == model.info
    save_model(loaded, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_pytorch_opens_the_weights(tmp_path: Path) -> None:
    reader = pytest.importorskip("safetensors.torch", reason="PyTorch is not installed")
    model = full_model()
    save_model(model, tmp_path / "m.safetensors")
    tensors = reader.load_file(tmp_path / "m.safetensors")
    assert set(tensors) == set(model.state())
    np.testing.assert_array_equal(tensors["W1"].numpy(), model.parameters["W1"])


def lie(path: Path, change) -> None:
    tensors, metadata = load_tensors(path)
    change(tensors, metadata)
    save_tensors(path, tensors, metadata)


LIES = {
    "other sizes": lambda t, m: m["architecture"].update(sizes=[7, 5, 3]),
    "huge sizes": lambda t, m: m["architecture"].update(sizes=[6, 10**9, 3]),
    "sizes of a wrong kind": lambda t, m: m["architecture"].update(sizes="653"),
    "deeper": lambda t, m: m["architecture"].update(sizes=[6, 5, 3, 3]),
    "a layer too few": lambda t, m: m["architecture"].update(sizes=[6, 5]),
    "an unknown activation": lambda t, m: m["architecture"].update(activation="evil"),
    "an unknown argument": lambda t, m: m["architecture"].update(command="rm"),
    "no architecture": lambda t, m: m.pop("architecture"),
    "a newer format": lambda t, m: m.update(format=2),
    "no scaling": lambda t, m: m.update(scaling=None),
    "info that is a list": lambda t, m: m.update(info=[1]),
    "a missing array": lambda t, m: t.pop("b2"),
    "an extra array": lambda t, m: t.update(b9=np.ones(2, np.float32)),
    "another type": lambda t, m: t.update(b1=t["b1"].astype(np.float64)),
    "another shape": lambda t, m: t.update(b1=np.ones(4, np.float32)),
    "a NaN": lambda t, m: t["W1"].__setitem__((0, 0), np.nan),
    "an infinity": lambda t, m: t["variance1"].__setitem__(0, np.inf),
}


@pytest.mark.parametrize("name", LIES)
def test_a_file_that_lies_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.safetensors"
    save_model(full_model(), path)
    lie(path, LIES[name])
    with pytest.raises(InputError, match=r"m\.safetensors") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
