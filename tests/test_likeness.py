"""Whether a picture is like what a net was trained on, and what is asked about that."""

import dataclasses
from pathlib import Path

import numpy as np
import pages
import pytest
from conftest import needs_official
from idx_files import made_up_files

from nnlib import MLP, InputError, TrainConfig, load_dataset, load_model, sources
from nnlib.data import Dataset, DownloadError
from nnlib.files import project_root
from nnlib.images import Split
from nnlib.likeness import training_data, unlike
from nnlib.pictures import fit_picture


def made(shape: tuple[int, ...], n: int = 2500, black: bool = False) -> Dataset:
    """Return a set of smooth images, of which there are more than are looked at in one piece."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 200, (n + 400, 2, 2, *shape[2:])).astype(np.uint8)
    grown = coarse.repeat(-(-shape[0] // 2), axis=1).repeat(-(-shape[1] // 2), axis=2)
    images = grown[:, : shape[0], : shape[1]] + rng.integers(0, 50, (n + 400, *shape), np.uint8)
    if black:
        images[:, [0, -1]] = images[:, :, [0, -1]] = 0
    y = rng.integers(3, size=n + 400)
    parts = Split(images[:n], y[:n]), Split(images[n:], y[n:])
    rows = np.arange(n), np.arange(n, n + 400)
    return Dataset("made", *parts, ("a", "b", "c"), shape, "sum", "here", *rows)


@pytest.mark.parametrize("shape", [(6, 5), (1, 1), (1, 7), (6, 5, 3)])
def test_distance_is_the_root_mean_square_difference_to_the_nearest_image(shape) -> None:
    data = made(shape)
    pictures = np.concatenate([data.val.images[-5:], data.train.images[[0, 2400]]])
    pictures[0] = 255
    all_of_them = data.train.images.reshape(len(data.train), -1) / 255.0
    for picture, found in zip(pictures, unlike(pictures, data), strict=True):
        every = np.sqrt(((all_of_them - picture.ravel() / 255.0) ** 2).mean(axis=1))
        assert found["distance"] == pytest.approx(every.min(), abs=1e-6)
        near = data.train.y[every < every.min() + 1e-6]
        assert found["nearest"] in {data.classes[k] for k in near}
        assert found["unlike"] == (found["distance"] > found["usual"])


@pytest.mark.parametrize("shape", [(6, 5), (7, 8), (6, 5, 3)])
def test_where_images_are_drawn_on_black_only_their_form_counts(shape) -> None:
    data = made(shape, black=True)
    own = data.train.images[2222]
    half, negative = unlike(np.stack([own // 2, 255 - own]), data)
    assert half["distance"] < 0.1
    assert 0.8 < negative["distance"] <= 2
    assert half["nearest"] == data.classes[data.train.y[2222]]
    assert not half["unlike"]


@pytest.mark.parametrize("black", [False, True])
def test_a_training_image_is_at_no_distance_and_few_validation_images_are_unlike(black) -> None:
    data = made((8, 8, 3), black=black)
    found = unlike(np.concatenate([data.train.images[:3], data.val.images]), data)
    assert [each["distance"] for each in found[:3]] == [0, 0, 0]
    assert 0.01 <= np.mean([each["unlike"] for each in found[3:]]) <= 0.06
    noise = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    assert all(each["unlike"] for each in unlike(noise, data))


def test_the_answer_does_not_depend_on_what_else_is_asked() -> None:
    data = made((6, 5))
    alone = [unlike(picture[None], data)[0] for picture in data.val.images[:4]]
    for one, together in zip(alone, unlike(data.val.images[:4], data), strict=True):
        assert one.pop("distance") == pytest.approx(together.pop("distance"), abs=1e-6)
        assert one.pop("usual") == pytest.approx(together.pop("usual"), abs=1e-6)
        assert one == together
    assert unlike(data.val.images[:0], data) == []


def test_what_cannot_be_compared_is_refused() -> None:
    data = made((6, 5))
    for odd in (
        np.zeros((2, 5, 6), np.uint8),
        np.zeros((2, 6, 5, 3), np.uint8),
        np.ones((2, 6, 5)),
    ):
        with pytest.raises(InputError, match=r"pictures must be uint8 \(2, 6, 5\), got "):
            unlike(odd, data)
    with pytest.raises(InputError, match="made has no validation images"):
        unlike(data.val.images, dataclasses.replace(data, val=data.val.take([])))


@pytest.mark.parametrize("val_size", [0, 40, None])
def test_training_data_are_split_as_for_the_training(own_folder: Path, val_size) -> None:
    config = TrainConfig(dataset=str(own_folder), val_size=val_size, train_size=300, split_seed=4)
    data = config.load()
    again = training_data(config.make_model(data), own_folder)
    assert len(again.val) == (val_size or 50)
    if val_size:
        np.testing.assert_array_equal(again.train_indices, data.train_indices)


def test_training_data_that_changed_or_are_gone_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    for name, raw in made_up_files(1).items():
        (folder / name).write_bytes(raw)
    config = TrainConfig(dataset=str(folder))
    model = config.make_model(config.load())
    for name, raw in made_up_files(2).items():
        (folder / name).write_bytes(raw)
    with pytest.raises(InputError, match="own has changed since"):
        training_data(model, folder)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="unknown data set"):
        training_data(model, folder)


@pytest.mark.parametrize("name", [name for name in sources.DATASETS if name != "digits"])
def test_nothing_is_downloaded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNLIB_DATA", str(tmp_path))
    monkeypatch.setattr(sources, "project_root", lambda: tmp_path)
    monkeypatch.setattr(sources, "_receive", lambda *_: pytest.fail("it asked the network"))
    with pytest.raises(DownloadError):
        training_data(MLP([4, 2]), name)


# --- real sets: few held-out images are called unlike, and most of what is foreign


def share(pictures: np.ndarray, data: Dataset) -> float:
    return float(np.mean([each["unlike"] for each in unlike(pictures, data)]))


@needs_official
@pytest.mark.parametrize(
    ("own", "foreign"), [("mnist", "fashion-mnist"), ("fashion-mnist", "mnist")]
)
def test_garments_are_unlike_digits_and_digits_unlike_garments(own: str, foreign: str) -> None:
    model = load_model(project_root() / f"data/models/{own}.safetensors")
    data, other = training_data(model, own), load_dataset(foreign).val.sample(300, seed=1).images
    rng = np.random.default_rng(0)
    noise = np.pad(rng.integers(0, 256, (20, 26, 26)).astype(np.uint8), ((0, 0), (1, 1), (1, 1)))
    assert 0.005 <= share(data.val.sample(1000, seed=1).images, data) <= 0.05
    assert share(other, data) >= 0.9
    assert share(noise, data) == 1


@needs_official
def test_digits_on_paper_are_like_mnist() -> None:
    data = load_dataset("mnist")
    photographs = [
        fit_picture(pages.changed(page, "photograph", np.random.default_rng(k)), (28, 28), "mnist")
        for k, (_, page) in enumerate(pages.digit_pages(100, seed=2))
    ]
    assert share(np.stack(photographs), data) <= 0.05
