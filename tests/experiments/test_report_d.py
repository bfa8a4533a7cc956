"""What report D alone needs: its step against a numerical gradient, and its enlarged set."""

from dataclasses import replace

import numpy as np

from experiments.report_d import ReportD, SummedSGD, enlarged
from nnlib import MLP, Augment, TrainConfig
from nnlib.gradcheck import numerical_gradient
from nnlib.images import UNIT
from nnlib.losses import softmax_cross_entropy
from nnlib.trainer import Trainer


def test_report_d_s_step_follows_the_gradient_of_its_loss() -> None:
    """Against a numerical gradient of Σ cross-entropy + λ Σ ‖W‖, weights and biases."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 5)), rng.integers(3, size=7)
    model = MLP([5, 4, 3], "tanh", dtype="float64")
    _, mean = model.loss_and_gradients(x, y)

    def loss() -> float:
        data = 7 * softmax_cross_entropy(model.forward(x), y)[0]
        return data + 0.634 * sum(np.linalg.norm(w) for w in model.weight_matrices.values())

    expected = {name: numerical_gradient(loss, w) for name, w in model.parameters.items()}
    before = {name: w.copy() for name, w in model.parameters.items()}
    SummedSGD(0.01, 0.0, 0.634, 7).step(model.parameters, mean)
    for name, w in model.parameters.items():
        np.testing.assert_allclose((before[name] - w) / 0.01, expected[name], atol=1e-6)


def test_the_training_loop_takes_report_d_s_steps(stripes) -> None:
    train = stripes[0].take(slice(60))
    model, plain = (MLP([30, 6, 4], "tanh", dtype="float64") for _ in range(2))
    optimizer = SummedSGD(0.001, 0.9, 0.5, 20)
    trainer = Trainer(model, train, epochs=3, batch_size=20, optimizer=optimizer)
    for _ in trainer.run():
        pass
    by_hand = SummedSGD(0.001, 0.9, 0.5, 20)
    for epoch in range(3):
        order = np.random.default_rng([0, epoch, 0]).permutation(60)
        for rows in order.reshape(3, 20):
            x = UNIT(train.images[rows], out=np.empty((20, 30)))
            _, gradients = plain.loss_and_gradients(x, train.y[rows])
            by_hand.step(plain.parameters, gradients)
    for name, w in model.parameters.items():
        np.testing.assert_allclose(w, plain.parameters[name], rtol=1e-9, atol=1e-12)


def test_a_weight_matrix_of_zeros_is_left_in_peace() -> None:
    w = np.zeros((2, 2))
    SummedSGD(0.1, 0.0, 0.5, 1).step({"W1": w}, {"W1": np.zeros((2, 2))})
    assert (w == 0).all()


def test_the_training_set_is_enlarged_with_copies(stripes) -> None:
    split = stripes[0]
    changes = [Augment(zoom=0.2), Augment(rotate=20)]
    larger = enlarged(split, changes, [0, 2])
    assert len(larger) == 3 * len(split)
    np.testing.assert_array_equal(larger.images[: len(split)], split.images)
    np.testing.assert_array_equal(larger.y, np.tile(split.y, 3))
    parts = larger.images.reshape(3, *split.images.shape)
    assert (parts[0] != parts[1]).any(axis=(1, 2)).mean() > 0.9
    assert (parts[1] != parts[2]).any(axis=(1, 2)).mean() > 0.9
    again, other = enlarged(split, changes, [0, 2]), enlarged(split, changes, [1, 2])
    np.testing.assert_array_equal(larger.images, again.images)
    assert (larger.images != other.images).any()


def test_report_d_trains_on_the_enlarged_set_and_is_judged_on_the_plain_one() -> None:
    config = ReportD(dataset="digits", hidden=(8,), epochs=1, weight_decay=0.1, lr=1e-3)
    plain, larger = TrainConfig(dataset="digits").load(), config.load()
    assert len(larger.train) == 3 * len(plain.train)
    np.testing.assert_array_equal(larger.val.images, plain.val.images)
    assert not config.augmentation.active  # copies are made once, not anew each time
    assert isinstance(config.make_optimizer(), SummedSGD)
    assert config.make_optimizer().batch_size == config.batch_size
    assert replace(config, summed=False).make_optimizer().batch_size == 1
    assert config.as_dict()["copy_zoom"] == 0.15
