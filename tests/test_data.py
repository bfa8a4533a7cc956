"""The right images, or a line that says why not: reading, splitting, scaling, downloading."""

import gzip
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from idx_files import NAMES, idx_bytes, made_up_files, pack, write_folder

from nnlib import data
from nnlib.data import (
    DownloadError,
    Scaling,
    Split,
    fetch,
    load_dataset,
    load_test_split,
    make_scaling,
    read_idx,
)

OFFICIAL = os.environ.get("NNLIB_DATA", "")
needs_official = pytest.mark.skipif(
    not Path(OFFICIAL, "fashion-mnist").is_dir() or not OFFICIAL,
    reason="NNLIB_DATA does not name a folder with the official files",
)


def sum_of(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


# ---------------------------------------------------------------- IDX files


@settings(max_examples=60, deadline=None)
@given(
    array=st.sampled_from([1, 3]).flatmap(
        lambda ndim: arrays(np.uint8, st.tuples(*[st.integers(1, 9)] * ndim))
    ),
    packed=st.booleans(),
)
def test_idx_round_trip(tmp_path_factory, array, packed):
    path = tmp_path_factory.mktemp("idx") / "misnamed.gz"  # content decides, not the name
    path.write_bytes(pack(idx_bytes(array)) if packed else idx_bytes(array))
    read = read_idx(path, array.ndim)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)


SMALL = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
DAMAGE = {
    "empty": (b"", "begins with 0x,"),
    "foreign": (b"PK\x03\x04 a zip file", "begins with 0x504b0304"),
    "labels": (idx_bytes(np.zeros(3, np.uint8)), "begins with 0x00000801"),
    "floats": (b"\0\0\x0d\x03" + SMALL[4:], "begins with 0x00000d03"),
    "half a header": (SMALL[:11], "ends within its header"),
    "too short": (SMALL[:-1], "more than the file can hold"),
    "too long": (SMALL + b"\0", "but more follow"),
    "no image": (SMALL[:4] + struct.pack(">3I", 0, 3, 4), "which is nothing"),
    "no width": (SMALL[:4] + struct.pack(">3I", 2, 3, 0), "which is nothing"),
    "gzip, too short": (pack(SMALL[:-1]), "ends after 23 of 24 bytes"),
    "gzip, too long": (pack(SMALL + b"\0"), "but more follow"),
    "gzip, cut": (pack(SMALL)[:-9], "end-of-stream|ended before"),
    "gzip, garbage behind": (pack(SMALL) + b"garbage", "Not a gzipped file"),
    "gzip, checksum": (pack(SMALL)[:-8] + b"\0\0\0\0" + pack(SMALL)[-4:], "CRC check failed"),
    "gzip, bits": (pack(SMALL)[:10] + b"\xff" * 9 + pack(SMALL)[19:], "decompressing|invalid"),
    "gzip of nothing": (pack(b""), "begins with 0x,"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_idx_file_is_named_with_what_is_wrong(tmp_path, case):
    raw, message = DAMAGE[case]
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_or_a_pipe_or_nothing_is_no_idx_file(tmp_path):
    with pytest.raises(ValueError, match="not a regular file"):
        read_idx(tmp_path, 3)
    with pytest.raises(ValueError, match="No such file"):
        read_idx(tmp_path / "absent", 3)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ValueError, match="not a regular file"):
            read_idx(tmp_path / "pipe", 3)


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
        (np.zeros((2, 9), np.uint8), [0, 1], r"shape \(N, h, w\), got uint8 of shape \(2, 9\)"),
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
    with pytest.raises(ValueError, match="unknown scaling 'log': use unit, standard or none"):
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
        ("cifar", ""),
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
    use = "use fashion-mnist, mnist, digits, or a folder holding four IDX files"
    assert str(caught.value) == f"unknown data set {str(name)!r}: {use}{hint}"


def test_a_path_object_is_never_the_name_of_a_known_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "digits", made_up_files(0))
    assert load_dataset(Path("digits")).image_shape == (6, 5)
    assert load_dataset("./digits").image_shape == (6, 5)
    assert load_dataset("digits").image_shape == (8, 8)


# ---------------------------------------------------------------- downloading


class Mirror(BaseHTTPRequestHandler):
    """Serves `server.files`, in the way that `server.manner` says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.requests.append(self.path)
        raw = self.server.files.get(self.path.rpartition("/")[2])
        if raw is None or self.server.manner == "refuses":
            self.send_error(404)
            return
        if self.server.manner == "hangs":
            self.server.released.wait(20)
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        half = self.server.manner in ("cuts", "stalls")
        time.sleep(self.server.delay)
        self.wfile.write(raw[: len(raw) // 2] if half else raw)
        if self.server.manner == "stalls":
            self.server.released.wait(20)
        self.close_connection = True

    def log_message(self, *_):
        pass


@contextmanager
def serving(files, manner="well", delay=0.0):
    """A real server on loopback; yields its address and the list of paths it was asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.files, server.manner, server.delay = files, manner, delay
    server.requests, server.released = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", server.requests
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def dead_address() -> str:
    """Return an address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


CLOTHES = {f"{name}.gz": pack(raw) for name, raw in made_up_files(1).items()}
DIGITS = {f"{name}.gz": pack(raw) for name, raw in made_up_files(2).items()}


def known(files):
    sums = tuple(sum_of(files[f"{name}.gz"]) for name in NAMES)
    return data.KnownSet(("a", "b", "c"), sums)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of its own, whose two official sets are small and made up."""
    monkeypatch.delenv("NNLIB_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(data, "project_root", lambda: tmp_path)
    monkeypatch.setitem(data.DATASETS, "fashion-mnist", known(CLOTHES))
    monkeypatch.setitem(data.DATASETS, "mnist", known(DIGITS))
    monkeypatch.setattr(data, "MIRRORS", {})
    return tmp_path


def use_mirrors(*addresses, name="fashion-mnist"):
    data.MIRRORS[name] = addresses


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def as_stored(files, name="fashion-mnist"):
    return {str(Path("data", name, file)): raw for file, raw in files.items()}


def test_files_are_downloaded_once_and_verified(project):
    with serving(CLOTHES) as (address, requests):
        use_mirrors(address)
        paths = fetch("fashion-mnist")
        assert fetch("fashion-mnist") == paths
        assert len(requests) == 4
    assert list(paths) == list(NAMES)
    assert paths[NAMES[0]] == project / "data" / "fashion-mnist" / f"{NAMES[0]}.gz"
    assert files_below(project) == as_stored(CLOTHES)
    (project / "ordinary").touch()  # others may read the data where they may read this file
    assert paths[NAMES[0]].stat().st_mode == (project / "ordinary").stat().st_mode
    loaded = load_dataset("fashion-mnist")  # the server is gone
    assert len(loaded.train) == 110
    assert loaded.classes == ("a", "b", "c")
    assert len(load_test_split("fashion-mnist")) == 30


def test_training_downloads_no_test_file(project):
    with serving(CLOTHES) as (address, requests):
        use_mirrors(address)
        load_dataset("fashion-mnist")
        assert [path.strip("/") for path in requests] == [f"{name}.gz" for name in NAMES[:2]]


@pytest.mark.parametrize(
    "fault", ["dead", "hangs", "stalls", "refuses", "cuts", "wrong", "mnist", "endless"]
)
def test_the_next_mirror_is_tried_where_one(project, monkeypatch, fault):
    monkeypatch.setattr(data, "TIMEOUT", (0.3, 0.3))
    monkeypatch.setattr(data, "MAX_DOWNLOAD", 100_000)
    served = {"wrong": dict.fromkeys(CLOTHES, b"<html>Sign in to this network</html>")}
    served |= {"mnist": DIGITS, "endless": dict.fromkeys(CLOTHES, bytes(200_000))}
    manner = fault if fault in ("hangs", "stalls", "refuses", "cuts") else "well"
    with (
        serving(served.get(fault, CLOTHES), manner) as (bad, _),
        serving(CLOTHES) as (good, requests),
    ):
        use_mirrors(dead_address() if fault == "dead" else bad, good)
        fetch("fashion-mnist")
        assert len(requests) == 4
    assert files_below(project) == as_stored(CLOTHES)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("dead", "connection failed"),
        ("stalls", "connection failed"),
        ("hangs", "no answer in time"),
        ("refuses", "HTTP status 404"),
        ("cuts", "connection cut"),
        ("mnist", r"served a wrong file \(SHA-256 [0-9a-f]{12}…\)"),
        ("endless", "sent more than 100,000 bytes"),
        ("nonsense", "Invalid URL"),
    ],
)
def test_where_every_mirror_fails_one_line_says_why(project, monkeypatch, fault, reason):
    monkeypatch.setattr(data, "TIMEOUT", (0.3, 0.3))
    monkeypatch.setattr(data, "MAX_DOWNLOAD", 100_000)
    served = {"mnist": DIGITS, "endless": dict.fromkeys(CLOTHES, bytes(200_000))}
    manner = fault if fault in ("hangs", "stalls", "refuses", "cuts") else "well"
    with serving(served.get(fault, CLOTHES), manner) as (bad, _):
        bad = {"dead": dead_address(), "nonsense": "http://:/"}.get(fault, bad)
        use_mirrors(bad, dead_address())
        with pytest.raises(DownloadError, match=reason) as caught:
            load_dataset("fashion-mnist")
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    assert message.startswith("cannot download fashion-mnist (train-images-idx3-ubyte.gz): ")
    assert message.count("127.0.0.1:") == (1 if fault == "nonsense" else 2)
    assert "NNLIB_DATA" in message
    assert files_below(project) == {}
    assert not (project / "data").exists()


def test_a_mirror_that_delivered_is_asked_first_for_the_next_file(project):
    with serving({}) as (bad, asked_in_vain), serving(CLOTHES) as (good, _):
        use_mirrors(bad, good)
        fetch("fashion-mnist")
        assert len(asked_in_vain) == 1


def test_the_two_sets_never_share_a_folder(project):
    with serving(CLOTHES) as (clothes, _), serving(DIGITS) as (digits, _):
        use_mirrors(clothes)
        use_mirrors(digits, name="mnist")
        fetch("fashion-mnist")
        fetch("mnist")
    assert files_below(project) == as_stored(CLOTHES) | as_stored(DIGITS, "mnist")


def test_a_damaged_file_is_downloaded_again(project):
    path = project / "data" / "fashion-mnist" / f"{NAMES[0]}.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(DIGITS[path.name])
    with serving(CLOTHES) as (address, _):
        use_mirrors(address)
        fetch("fashion-mnist")
    assert files_below(project) == as_stored(CLOTHES)


def test_a_damaged_file_that_cannot_be_replaced_is_named_and_kept(project):
    path = project / "data" / "fashion-mnist" / f"{NAMES[0]}.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    use_mirrors(dead_address())
    with pytest.raises(ValueError, match="is damaged and could not be replaced") as caught:
        load_dataset("fashion-mnist")
    assert str(path) in str(caught.value)
    assert "NNLIB_DATA" in str(caught.value)
    assert files_below(path.parent) == {path.name: b"damaged"}


def test_an_unreadable_file_is_named(project):
    path = project / "data" / "fashion-mnist" / f"{NAMES[0]}.gz"
    path.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"cannot read .*train-images.*; replace the file"):
        load_dataset("fashion-mnist")


def test_a_file_is_hashed_once(project, monkeypatch):
    with serving(CLOTHES) as (address, _):
        use_mirrors(address)
        fetch("fashion-mnist")
    fetch("fashion-mnist")
    reads = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or real(path))
    fetch("fashion-mnist")
    assert reads == []
    path = project / "data" / "fashion-mnist" / f"{NAMES[1]}.gz"
    os.utime(path, ns=(1, 1))
    fetch("fashion-mnist")
    assert reads == [path]


def listing(folder: Path):
    return {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in folder.rglob("*")}


def test_nnlib_data_comes_first_and_is_never_written(project, monkeypatch, tmp_path_factory):
    given = tmp_path_factory.mktemp("given")
    contents = {name: gzip.decompress(CLOTHES[f"{name}.gz"]) for name in NAMES[:2]}
    folder = write_folder(given / "fashion-mnist", contents)
    monkeypatch.setenv("NNLIB_DATA", str(given))
    folder.chmod(0o555)
    before = listing(given)
    with serving(CLOTHES) as (address, requests):
        use_mirrors(address)
        assert load_dataset("fashion-mnist").source == str(folder)
        assert requests == []
        paths = fetch("fashion-mnist")  # what it lacks is downloaded, elsewhere
        assert [path.parent for path in paths.values()] == [folder] * 2 + [
            project / "data" / "fashion-mnist"
        ] * 2
    assert listing(given) == before

    damaged = folder / f"{NAMES[1]}.gz"
    folder.chmod(0o755)
    damaged.write_bytes(DIGITS[damaged.name][:-1])
    before = listing(given)
    with pytest.raises(ValueError, match="is damaged: its SHA-256 is") as caught:
        load_dataset("fashion-mnist")
    message = str(caught.value)
    for part in (str(damaged), sum_of(DIGITS[damaged.name][:-1]), sum_of(CLOTHES[damaged.name])):
        assert part in message
    assert listing(given) == before


DOWNLOADER = """
import json, sys
from pathlib import Path
from nnlib import data
root, mirrors, sums = sys.argv[1], *map(json.loads, sys.argv[2:4])
data.project_root = lambda: Path(root)
data.MIRRORS = {"mnist": mirrors}
data.DATASETS["mnist"] = data.KnownSet(("a", "b", "c"), tuple(sums))
print("ready", flush=True)
sys.stdin.readline()  # both start together
print(data.load_dataset("mnist").sha256, len(data.load_test_split("mnist")))
"""


def start_downloader(project, address):
    sums = [sum_of(DIGITS[f"{name}.gz"]) for name in NAMES]
    arguments = [str(project), json.dumps([address]), json.dumps(sums)]
    process = subprocess.Popen(
        [sys.executable, "-c", DOWNLOADER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def test_two_processes_download_at_once(project):
    with serving(DIGITS, delay=0.2) as (address, requests):
        processes = [start_downloader(project, address) for _ in range(2)]
        for process in processes:
            go(process)
        outputs = [process.communicate(timeout=60)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0]
        assert len(requests) > 4  # they did overlap
    digest = sum_of(b"".join(gzip.decompress(DIGITS[f"{name}.gz"]) for name in NAMES[:2]))
    assert outputs == [f"{digest} 30\n"] * 2
    assert files_below(project) == as_stored(DIGITS, "mnist")


def test_a_process_killed_while_downloading_leaves_nothing(project):
    with serving(DIGITS, "stalls") as (address, requests):
        with start_downloader(project, address) as process:
            go(process)
            deadline = time.monotonic() + 30
            while not requests and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.1)  # the first half has arrived
            process.kill()
        assert requests
    assert files_below(project) == {}


def test_a_progress_bar_only_where_someone_looks(project, capsys, monkeypatch):
    with serving(CLOTHES) as (address, _):
        use_mirrors(address)
        fetch("fashion-mnist", NAMES[:1])
        assert capsys.readouterr() == ("", "")
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        fetch("fashion-mnist", NAMES[1:2])
        out, err = capsys.readouterr()
        assert out == ""
        assert f"fashion-mnist/{NAMES[1]}.gz" in err
        monkeypatch.setenv("TQDM_DISABLE", "1")
        fetch("fashion-mnist", NAMES[2:3])
        assert capsys.readouterr() == ("", "")


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
    code += "make_scaling('standard', d.train.images)\n"
    # not getrusage, whose peak a child takes over from its parent
    code += "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    peak = int(subprocess.check_output([sys.executable, "-c", code]))
    assert peak < 400_000  # kilobytes
