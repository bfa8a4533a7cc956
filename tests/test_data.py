"""The right images: split, scaled, and read from known sets and from folders of one's own."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from idx_files import NAMES, idx_bytes, made_up_files, sum_of, write_folder

from nnlib import data
from nnlib.data import load_dataset, load_test_split
from nnlib.formats import read_idx
from nnlib.images import Scaling, Split, make_scaling
from nnlib.sources import fetch

OFFICIAL = os.environ.get("NNLIB_DATA", "")
needs_official = pytest.mark.skipif(
    not Path(OFFICIAL, "fashion-mnist").is_dir() or not OFFICIAL,
    reason="NNLIB_DATA does not name a folder with the official files",
)


# ---------------------------------------------------------------- splits


@settings(max_examples=150, deadline=None)
@given(
    y=arrays(np.int64, st.integers(2, 200), elements=st.integers(0, 7)),
    sizes=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 2**32),
)
def test_stratified_split(y, sizes, seed):
    n = len(y)
    val_size = round(sizes[0] * (n - 1))
    train_size = 1 + round(sizes[1] * (n - val_size - 1))
    train, val = data._split_rows(y, val_size, seed, train_size)
    again = data._split_rows(y, val_size, seed, train_size)
    assert (len(train), len(val)) == (train_size, val_size)
    assert not set(train) & set(val)
    assert (np.diff(train) > 0).all()
    assert (np.diff(val) > 0).all()
    np.testing.assert_array_equal(train, again[0])
    np.testing.assert_array_equal(val, again[1])
    ideal = np.bincount(y) * val_size / n
    assert (abs(np.bincount(y[val], minlength=len(ideal)) - ideal) < 1).all()
    rest = np.bincount(y) - np.bincount(y[val], minlength=len(ideal))
    ideal = rest * train_size / (n - val_size)
    assert (abs(np.bincount(y[train], minlength=len(ideal)) - ideal) < 1).all()
    whole, _ = data._split_rows(y, val_size, seed, None)
    assert sorted([*whole, *val]) == list(range(n))
    assert set(train) <= set(whole)


def test_the_largest_remainders_get_the_odd_images():
    y = np.repeat([0, 1, 2], [50, 30, 20])
    _, val = data._split_rows(y, 7, 0, None)  # 3.5, 2.1, 1.4
    assert np.bincount(y[val]).tolist() == [4, 2, 1]


def test_another_seed_draws_other_images():
    y = np.repeat([0, 1], 100)
    draws = {tuple(data._split_rows(y, 20, seed, None)[1]) for seed in range(10)}
    assert len(draws) == 10


@pytest.mark.parametrize(("n", "size"), [(1, 0), (2, 1), (11, 1), (12, 1), (60, 5), (60_000, 5000)])
def test_a_twelfth_is_kept_apart_and_one_image_at_least(n, size):
    assert len(data._split_rows(np.zeros(n, int), None, 0, None)[1]) == size


def test_the_first_sizes_of_digits():
    digits = load_dataset("digits")
    assert (len(digits.train), len(digits.val)) == (1375, 125)
    assert len(load_dataset("digits", val_size=0).val) == 0
    assert len(load_dataset("digits", val_size=0).train) == 1500
    assert len(load_dataset("digits", val_size=np.int64(10), train_size=100).train) == 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"val_size": -1}, "validation size must be a whole number from 0 to 1499, got -1"),
        ({"val_size": 1500}, "validation size must be a whole number from 0 to 1499, got 1500"),
        ({"val_size": 0.5}, "validation size .* got 0.5"),
        ({"val_size": True}, "validation size .* got True"),
        ({"val_size": float("nan")}, "validation size .* got nan"),
        ({"train_size": 0}, "training size must be a whole number from 1 to 1375, got 0"),
        ({"train_size": 1376}, "training size .* from 1 to 1375, got 1376"),
        ({"train_size": "9"}, "training size .* got '9'"),
        ({"seed": -3}, "seed must be a whole number >= 0, got -3"),
        ({"seed": 1.5}, "seed must be a whole number >= 0, got 1.5"),
    ],
)
def test_sizes_that_make_no_split(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("digits", **arguments)


def test_a_split_scales_on_demand_and_takes_rows():
    images = np.arange(24, dtype=np.uint8).reshape(4, 2, 3) * 10
    split = Split(images, np.array([3, 0, 1, 2], dtype=np.uint8))
    assert len(split) == 4
    assert split.y.dtype == np.int64
    assert split.x.dtype == np.float32
    assert split.x.shape == (4, 6)
    np.testing.assert_allclose(split.x, images.reshape(4, 6) / 255, rtol=1e-6)
    taken = split.take([2, 0])
    np.testing.assert_array_equal(taken.images, images[[2, 0]])
    assert taken.y.tolist() == [1, 3]
    empty = split.take([])
    assert len(empty) == 0
    assert empty.x.shape == (0, 6)


@pytest.mark.parametrize(
    ("images", "y", "message"),
    [
        (np.zeros((2, 3, 3)), [0, 1], "images must be uint8 .* got float64"),
        (np.zeros((2, 9), np.uint8), [0, 1], r"shape .*, got uint8 of shape \(2, 9\)"),
        (np.zeros((2, 3, 3), np.uint8), [0], "one label an image, got 1 for 2"),
        (np.zeros((2, 3, 3), np.uint8), [0, -1], "labels must be >= 0, got -1"),
        (np.zeros((2, 3, 3), np.uint8), [0.0, 1.0], "labels must be whole numbers"),
        (np.zeros((2, 3, 3), np.uint8), [[0], [1]], "labels must be whole numbers of shape"),
    ],
)
def test_a_split_that_does_not_fit_together(images, y, message):
    with pytest.raises(ValueError, match=message):
        Split(images, np.array(y))


# ---------------------------------------------------------------- scaling


def test_standard_scaling_gives_mean_zero_and_deviation_one():
    images = np.random.default_rng(0).integers(0, 200, (500, 4, 7), dtype=np.uint8)
    x = make_scaling("standard", images)(images).astype(np.float64)
    assert abs(x.mean()) < 1e-6
    assert abs(x.std() - 1) < 1e-6
    shuffled = make_scaling("standard", images[::-1])
    assert shuffled == make_scaling("standard", images)


def test_colour_is_scaled_by_channel():
    images = np.random.default_rng(3).integers(0, 256, (50, 4, 5, 3), dtype=np.uint8)
    images[..., 2] = 7  # a channel of one level
    scaling = make_scaling("standard", images)
    x = scaling(images).reshape(-1, 3)
    np.testing.assert_allclose(x.astype(float).mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(x.astype(float).std(axis=0), [1, 1, 0], rtol=1e-6)
    for channel in range(3):
        grey = np.ascontiguousarray(images[..., channel])
        assert make_scaling("standard", grey)(grey).tobytes() == x[:, channel].tobytes()


@pytest.mark.parametrize(
    ("offset", "factor", "says"),
    [
        ((1.0, 2.0), (1.0, 2.0), r"scaling offset must be one number or 3, got \(1.0, 2.0\)"),
        ((1.0, 2.0, "a"), (1.0,) * 3, "scaling offset must be a finite number, got 'a'"),
        (0.0, (1.0, 1.0, 1.0), "scaling by channel needs offset and factor to be so"),
    ],
)
def test_a_scaling_that_makes_no_sense_is_refused(offset, factor, says):
    with pytest.raises(ValueError, match=says):
        Scaling(offset, factor)


@pytest.mark.parametrize("kind", ["unit", "standard", "none"])
def test_scaling_a_row_does_not_depend_on_its_batch(kind):
    images = np.random.default_rng(1).integers(0, 256, (64, 5, 5), dtype=np.uint8)
    scaling = make_scaling(kind, images)
    whole = scaling(images)
    assert whole.dtype == np.float32
    for size in (1, 3, 10, 64):
        out = np.full((size, 25), np.nan, dtype=np.float32)
        assert scaling(images[:size], out=out) is out
        assert out.tobytes() == whole[:size].tobytes()
    np.testing.assert_array_equal(scaling(images.reshape(64, 25)), whole)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_pixel_stays_finite_under_every_scaling(value):
    images = np.full((3, 2, 2), value, dtype=np.uint8)
    assert make_scaling("standard", images) == Scaling(value, 1.0)
    assert make_scaling("standard", images)(images).tolist() == [[0.0] * 4] * 3
    assert make_scaling("none", images)(images).tolist() == [[value] * 4] * 3
    np.testing.assert_allclose(make_scaling("unit", images)(images), value / 255, rtol=1e-6)


def test_scalings_that_are_none():
    with pytest.raises(ValueError, match="unknown scaling 'log': use unit, standard, none"):
        make_scaling("log", np.zeros((1, 1, 1), np.uint8))
    with pytest.raises(ValueError, match="at least one pixel"):
        make_scaling("standard", np.zeros((0, 2, 2), np.uint8))
    for factor in (float("nan"), float("inf"), "2", None):
        with pytest.raises(ValueError, match="scaling factor must be a finite number"):
            Scaling(0.0, factor)


# ---------------------------------------------------------------- digits and own folders


def test_digits_are_scikit_learns_in_bytes():
    from sklearn.datasets import load_digits

    digits, original = load_dataset("digits"), load_digits()
    assert digits.image_shape == (8, 8)
    assert digits.classes == tuple("0123456789")
    assert fetch("digits") == {}
    expected = np.round(original.images * 255 / 16).astype(np.uint8)
    np.testing.assert_array_equal(digits.train.images, expected[digits.train_indices])
    np.testing.assert_array_equal(digits.val.y, original.target[digits.val_indices])
    test = load_test_split("digits")
    assert len(test) == 297
    np.testing.assert_array_equal(test.images, expected[-297:])
    assert max(digits.train_indices.max(), digits.val_indices.max()) < 1500


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_of_ones_own(tmp_path, packed):
    contents = made_up_files(0, n=120, shape=(6, 5), classes=4)
    folder = write_folder(tmp_path / "leaves", contents, packed)
    for name in (folder, str(folder), f"{folder}{os.sep}"):
        own = load_dataset(name)
        assert own.name == "leaves"
        assert own.image_shape == (6, 5)
        assert own.classes == ("0", "1", "2", "3")
        assert (len(own.train), len(own.val)) == (110, 10)
        assert own.source == str(folder)
    both = contents[NAMES[0]] + contents[NAMES[1]]
    assert own.sha256 == sum_of(both)  # of the unpacked training files, whichever way packed
    pixels = np.frombuffer(contents[NAMES[0]], np.uint8, offset=16).reshape(120, 6, 5)
    np.testing.assert_array_equal(own.val.images, pixels[own.val_indices])
    assert len(load_test_split(folder)) == 30


def test_training_opens_no_test_file_and_testing_no_training_image(tmp_path):
    folder = write_folder(tmp_path / "own", made_up_files(0))
    (folder / f"{NAMES[2]}.gz").write_bytes(b"not to be opened")
    (folder / f"{NAMES[3]}.gz").write_bytes(b"not to be opened")
    assert len(load_dataset(folder).train) == 110
    write_folder(folder, made_up_files(0))
    (folder / f"{NAMES[0]}.gz").write_bytes(b"not to be opened")
    assert len(load_test_split(folder)) == 30


def test_256_classes_and_one(tmp_path):
    many = write_folder(tmp_path / "many", made_up_files(0, n=512, n_test=256, classes=256))
    assert len(load_dataset(many).classes) == 256
    assert load_test_split(many).y.max() == 255
    one = write_folder(tmp_path / "one", made_up_files(0, n=1, n_test=1, shape=(1, 1), classes=1))
    assert load_dataset(one).classes == ("0",)
    assert (len(load_dataset(one).train), len(load_dataset(one).val)) == (1, 0)


def test_where_a_file_is_there_twice_the_official_name_counts(tmp_path):
    folder = write_folder(tmp_path / "twice", made_up_files(0))
    write_folder(folder, made_up_files(1, n=60), packed=False)
    assert len(load_dataset(folder, val_size=0).train) == 120


def test_a_folder_that_lacks_files_names_them(tmp_path):
    folder = write_folder(tmp_path / "half", made_up_files(0))
    (folder / f"{NAMES[1]}.gz").unlink()
    (folder / f"{NAMES[3]}.gz").unlink()
    with pytest.raises(ValueError, match=f"lacks {NAMES[1]}, {NAMES[3]} "):
        load_dataset(folder)


def test_files_that_do_not_belong_together(tmp_path):
    contents = made_up_files(0)
    other = made_up_files(0, n=60, classes=5)
    folder = write_folder(tmp_path / "counts", {**contents, NAMES[1]: other[NAMES[1]]})
    with pytest.raises(ValueError, match=r"holds 120 images but .*labels-idx1.* 60 labels"):
        load_dataset(folder)
    classes = idx_bytes((np.arange(30) % 4).astype(np.uint8))
    folder = write_folder(tmp_path / "classes", {**contents, NAMES[3]: classes})
    with pytest.raises(ValueError, match=r"labels in .* must be below 3, .* got 3"):
        load_test_split(folder)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fashion_mnist", "; did you mean 'fashion-mnist'?"),
        ("MNIST", "; did you mean 'mnist'?"),
        ("digit", "; did you mean 'digits'?"),
        ("cifar", "; did you mean 'cifar-10'?"),
        ("letters", ""),
        ("", ""),
        (None, ""),
        ("a\0b", ""),
        ("x" * 5000, ""),
        ("~nobody-here/x", ""),
    ],
)
def test_an_unknown_data_set(name, hint):
    with pytest.raises(ValueError, match="unknown data set") as caught:
        load_dataset(name)
    use = "use fashion-mnist, mnist, cifar-10, digits, or a folder holding four IDX files"
    use += " or pictures by class"
    assert str(caught.value) == f"unknown data set {str(name)!r}: {use}{hint}"


def test_a_path_object_is_never_the_name_of_a_known_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "digits", made_up_files(0))
    assert load_dataset(Path("digits")).image_shape == (6, 5)
    assert load_dataset("./digits").image_shape == (6, 5)
    assert load_dataset("digits").image_shape == (8, 8)


# ---------------------------------------------------------------- the official files


@needs_official
@pytest.mark.parametrize("name", ["fashion-mnist", "mnist"])
def test_the_official_files(name):
    loaded, test = load_dataset(name), load_test_split(name)
    assert (len(loaded.train), len(loaded.val), len(test)) == (55_000, 5_000, 10_000)
    assert loaded.image_shape == (28, 28)
    assert len(loaded.classes) == 10
    assert np.array_equal(np.union1d(loaded.train_indices, loaded.val_indices), np.arange(60_000))
    everything = np.bincount(loaded.train.y) + np.bincount(loaded.val.y)
    assert (abs(np.bincount(loaded.val.y) - everything / 12) < 1).all()
    folder = Path(OFFICIAL, name)
    packed = [gzip.decompress((folder / f"{file}.gz").read_bytes()) for file in NAMES[:2]]
    assert loaded.sha256 == sum_of(b"".join(packed))
    # Published figures: the first nine labels, and the mean of the training pixels.
    first = {"fashion-mnist": [9, 0, 0, 3, 0, 2, 7, 2, 5], "mnist": [5, 0, 4, 1, 9, 2, 1, 3, 1]}
    assert read_idx(folder / f"{NAMES[1]}.gz", 1)[:9].tolist() == first[name]
    mean = {"fashion-mnist": 0.2860, "mnist": 0.1307}[name]
    assert make_scaling("standard", loaded.train.images).offset / 255 == pytest.approx(
        mean, abs=2e-4
    )


@needs_official
def test_loading_stays_small():
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process is read from /proc, which this system lacks")
    code = "from nnlib.data import *; d = load_dataset('fashion-mnist')\n"
    code += "from nnlib.images import make_scaling; make_scaling('standard', d.train.images)\n"
    # not getrusage, whose peak a child takes over from its parent
    code += "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    peak = int(subprocess.check_output([sys.executable, "-c", code]))
    assert peak < 400_000  # kilobytes
