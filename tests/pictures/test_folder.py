"""Folders of pictures: what is in them is read rightly, or refused in one line."""

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import time
import unicodedata
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nnlib import load_dataset, load_test_split
from nnlib.cli import main
from nnlib.config import TrainConfig
from nnlib.data import read_size
from nnlib.files import owned
from nnlib.pictures import folder as pictures
from nnlib.pictures import load_picture


@pytest.fixture(autouse=True)
def project(tmp_path_factory, monkeypatch):
    """A project of its own, with an empty cache."""
    root = tmp_path_factory.mktemp("project")
    monkeypatch.setattr(pictures, "project_root", lambda: root)
    return root


def save(path: Path, seed: int = 0, size=(5, 4), mode: str = "RGB", **how) -> Path:
    """Write a picture of noise of (h, w) pixels; PNG unless its name says otherwise."""
    shape = (*size, 3) if mode == "RGB" else size
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **how)
    return path


def fill(folder: Path, counts: dict[str, int], start: int = 0, **how) -> Path:
    """Make so many pictures for each class."""
    for name, count in counts.items():
        for number in range(count):
            start += 1
            save(folder / name / f"{number:03d}.png", start, **how)
    return folder


def refused(folder, **how) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        load_dataset(folder, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rows(split) -> list[bytes]:
    return sorted(image.tobytes() for image in split.images)


# ---------------------------------------------------------------- layouts


def test_subfolders_are_classes_and_a_sixth_of_each_is_for_testing(tmp_path):
    fill(tmp_path, {"zebra": 12, "Äpfel 2": 24, "猫": 6, "one": 1})
    data, test = load_dataset(tmp_path, val_size=0), load_test_split(tmp_path)
    assert data.classes == ("one", "zebra", "Äpfel 2", "猫")
    assert data.image_shape == (5, 4, 3)
    assert np.bincount(data.train.y).tolist() == [1, 10, 20, 5]
    assert np.bincount(test.y).tolist() == [0, 2, 4, 1]
    assert not set(rows(data.train)) & set(rows(test))
    assert data.name == tmp_path.name
    assert data.source == str(tmp_path)
    first = np.asarray(Image.open(tmp_path / "one" / "000.png"))
    np.testing.assert_array_equal(data.train.images[0], first)


def test_the_split_depends_on_contents_alone(tmp_path):
    one = fill(tmp_path / "one", {"a": 30, "b": 12})
    test = rows(load_test_split(one))
    for number, path in enumerate(sorted((one / "a").iterdir(), reverse=True)):
        shutil.copy(path, path.with_name(f"renamed {number:03d}.PNG"))
        path.unlink()
    shutil.move(one, tmp_path / "elsewhere")
    assert rows(load_test_split(tmp_path / "elsewhere")) == test
    fill(tmp_path / "elsewhere", {"a": 1}, start=999)  # one more changes one or two at most
    assert len(set(rows(load_test_split(tmp_path / "elsewhere"))) - set(test)) <= 1


def test_equal_files_of_a_class_are_never_apart(tmp_path):
    fill(tmp_path, {"a": 12, "b": 12})
    for path in list((tmp_path / "a").iterdir()):
        shutil.copy(path, path.with_name(f"again {path.name}"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        test = load_test_split(tmp_path)
    assert np.bincount(test.y).tolist() == [4, 2]


def test_parts_in_folders_of_their_own(tmp_path):
    fill(tmp_path / "train", {"a": 7, "b": 5})
    fill(tmp_path / "test", {"b": 2, "a": 1}, 100)
    assert np.bincount(load_test_split(tmp_path).y).tolist() == [1, 2]
    whole = load_dataset(tmp_path)
    assert (len(whole.train), len(whole.val)) == (11, 1)
    fill(tmp_path / "val", {"b": 4, "a": 2}, 200)
    data = load_dataset(tmp_path)
    assert data.train_indices.tolist() == list(range(12))
    assert data.val_indices.tolist() == list(range(12, 18))
    assert np.bincount(data.val.y).tolist() == [2, 4]
    np.testing.assert_array_equal(
        data.val.images[0], np.asarray(Image.open(tmp_path / "val" / "a" / "000.png"))
    )
    drawn = load_dataset(tmp_path, val_size=3, train_size=6)
    assert np.bincount(drawn.val.y).tolist() == [1, 2]
    assert set(drawn.val_indices) <= set(range(12, 18))
    assert len(drawn.train) == 6
    assert "from 0 to 6, got 7" in refused(tmp_path, val_size=7)
    assert "from 1 to 12, got 13" in refused(tmp_path, train_size=13)


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
def test_without_test_a_sixth_is_taken_from_train(tmp_path, train):
    fill(tmp_path / train, {"a": 12, "b": 6})
    fill(tmp_path / "valid", {"a": 2, "b": 1}, 100)
    data, test = load_dataset(tmp_path), load_test_split(tmp_path)
    assert [np.bincount(split.y).tolist() for split in (data.train, data.val, test)] == [
        [10, 5], [2, 1], [2, 1],
    ]  # fmt: skip


def test_two_ways_to_write_an_umlaut_are_one_class(tmp_path):
    fill(tmp_path / "train", {unicodedata.normalize("NFD", "Bär"): 3, "a": 2})
    fill(tmp_path / "test", {unicodedata.normalize("NFC", "Bär"): 2}, 100)
    assert load_dataset(tmp_path).classes == ("Bär", "a")
    assert load_test_split(tmp_path).y.tolist() == [0, 0]


@pytest.mark.filterwarnings("ignore:passed over")
@pytest.mark.parametrize("table", ["train_labels.csv", "test labels.txt", "train_images.zip"])
def test_a_table_beside_pictures_makes_no_idx_folder(tmp_path, table):
    fill(tmp_path, {"train/a": 3, "train/b": 3, "test/a": 1, "test/b": 1})
    (tmp_path / table).write_text("1,a")
    assert len(load_test_split(tmp_path)) == 2


def test_a_browsers_name_for_a_jpeg_is_one(tmp_path):
    fill(tmp_path, {"a": 3})
    save(tmp_path / "a" / "1.jpg").rename(tmp_path / "a" / "1.JFIF")
    assert len(load_dataset(tmp_path, val_size=0).train) + len(load_test_split(tmp_path)) == 4


def test_labels_are_those_of_the_model_whatever_else_is_in_the_folder(tmp_path, capsys):
    parts = [f"{part}/{name}" for part in ("train", "test") for name in "bc"]
    folder, out = fill(tmp_path / "set", dict.fromkeys(parts, 2)), tmp_path / "run"
    assert load_test_split(folder, classes=("a", "b", "c")).y.tolist() == [1, 1, 2, 2]
    assert main(["train", "--dataset", str(folder), "--epochs", "1", "--out", str(out)]) == 0
    fill(folder, {"train/a": 2, "test/a": 2}, start=50)
    assert main(["test", str(out)]) == 2
    line = f"the model has no class 'a', a folder in {folder}: rename it"
    assert line in capsys.readouterr().err


def test_a_folder_that_has_changed_since_training_is_said(tmp_path, capsys):
    folder, out = fill(tmp_path / "set", {"a": 9, "b": 9}), tmp_path / "run"
    assert main(["train", "--dataset", str(folder), "--epochs", "1", "--out", str(out)]) == 0
    assert main(["test", str(out)]) == 0
    line = f"{folder} has changed since the model was trained on it"
    assert line not in capsys.readouterr().err
    fill(folder, {"b": 30}, start=50)
    assert main(["test", str(out)]) == 0
    assert line in capsys.readouterr().err
    assert main(["test", str(out), "--dataset", str(folder)]) == 0  # another set, for all we know
    assert line not in capsys.readouterr().err


def test_results_are_put_into_no_data_set(tmp_path, monkeypatch, capsys):
    folder = fill(tmp_path, {"a": 9, "b": 9})
    monkeypatch.chdir(folder)
    for words in ("train --dataset .", "search --dataset . --trials 1 --range lr=0.01:0.1"):
        for out in ([], ["--out", "new"], ["--out", str(folder / "a" / "run")]):
            assert main([*words.split(), *out]) == 2
            line = f"would lie in the data set {folder}: say with --out where else"
            assert line in capsys.readouterr().err
    assert sorted(os.listdir()) == ["a", "b"]


def test_grey_pictures_are_read_for_an_answer_as_they_were_to_learn_from(tmp_path):
    paths = sorted(fill(tmp_path / "set", {"a": 2, "b": 2}, mode="L", size=(9, 7)).glob("*/*"))
    data = load_dataset(tmp_path / "set", val_size=0, image_size=6)
    model = TrainConfig(dataset=str(tmp_path / "set"), image_size="6").make_model(data)
    made = [load_picture(path, (6, 6), model.info["dataset"]) for path in paths]
    assert sorted(map(bytes, made)) == sorted(map(bytes, data.train.images))


def test_an_idx_folder_is_none_of_pictures(own_folder, tmp_path):
    copy = shutil.copytree(own_folder, tmp_path / "set")
    save(copy / "raw pictures" / "example.png")
    assert load_dataset(copy).image_shape == (6, 5)
    with pytest.raises(ValueError, match=r"image size is for folders of pictures, .* its own"):
        load_dataset(copy, image_size=8)


LAYOUTS = {  # what is made -> what the line says
    "flat": (["1.png", "2.png"], "holds no pictures in subfolders, each a class"),
    "empty": (["a/", "b/"], "holds no pictures in subfolders, each a class"),
    "deep": (
        ["a/x/1.png", "b/2.png"],
        "x is a folder in class 'a': move its files up, or name the",
    ),
    "deeper": (["a/1.png", "a/b/c/d/2.png"], "d is too deep for a class"),
    "wrapped": (["set/train/a/1.png", "set/test/a/2.png"], "is a folder in class 'set'"),
    "no train": (["train/a/", "test/a/1.png"], "train holds no pictures in subfolders"),
    "flat test": (["train/a/1.png", "train/b/1.png", "test/1.png"], "a class: add them, or remove"),
    "a part of no name": (["train/a/1.png", "more/a/1.png"], "more is neither train, val nor test"),
    "a class in test": (["train/a/1.png", "test/b/2.png"], "no training picture is of class 'b'"),
    "a class in val": (["train/a/1.png", "val/b/2.png"], "no training picture is of class 'b'"),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_other_layouts_are_refused(tmp_path, case):
    paths, message = LAYOUTS[case]
    for number, path in enumerate(paths):
        if path.endswith("/"):
            (tmp_path / path).mkdir(parents=True)
        else:
            save(tmp_path / path, number)
    assert message in refused(tmp_path)
    assert main(["train", "--dataset", str(tmp_path), "--epochs", "1"]) == 2


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_class_may_be_called_as_a_part_is(tmp_path, name):
    fill(tmp_path, {name: 3, "plane": 3})
    assert load_dataset(tmp_path).classes == tuple(sorted([name, "plane"]))


def test_what_is_hidden_is_not_there_and_what_is_no_picture_is_said(tmp_path):
    fill(tmp_path, {"a": 4, "b": 4, ".thumbnails": 2, "__MACOSX": 1})
    (tmp_path / "a" / "._000.png").write_bytes(b"a Mac's")
    (tmp_path / "empty").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_dataset(tmp_path).classes == ("a", "b")
    (tmp_path / "a" / "notes.txt").write_text("to be sorted")
    with pytest.warns(UserWarning, match=r"passed over 1 file that .*notes\.txt"):
        load_dataset(tmp_path)
    (tmp_path / "README").write_text("from a camera")
    with pytest.warns(UserWarning, match="passed over 2 files that .*README$"):
        data = load_dataset(tmp_path)
    assert len(data.train) + len(data.val) == 6
    (tmp_path / "empty" / "001.HEIC").write_bytes(b"from a telephone")
    with pytest.warns(UserWarning, match="3 files .*; 'empty' holds nothing else, and is no class"):
        assert load_dataset(tmp_path).classes == ("a", "b")


def test_links_stay_in_the_folder(tmp_path):
    folder = fill(tmp_path / "set", {"a": 4, "b": 4})
    outside = save(tmp_path / "secret.png", 99)
    (folder / "b" / "same.png").symlink_to(folder / "a" / "000.png")
    data, test = load_dataset(folder, val_size=0), load_test_split(folder)
    assert len(data.train) + len(test) == 9
    for link, target in [("a/x.png", outside), ("c", tmp_path), ("a/up", folder), ("a/x.txt", "/")]:
        (folder / link).symlink_to(target)
        assert f"{link} is a link that leads out of {folder}" in refused(folder)
        (folder / link).unlink()
    (folder / "a" / "gone.png").symlink_to(folder / "nothing.png")
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    with pytest.warns(UserWarning, match=r"passed over 1 file .*gone\.png"):
        assert load_dataset(linked).sha256 == data.sha256
    (folder / "a" / "loop.png").symlink_to("loop.png")
    assert "Too many levels of symbolic links" in refused(folder)


def test_a_pipe_is_not_waited_for(tmp_path):
    fill(tmp_path, {"a": 4, "b": 4})
    os.mkfifo(tmp_path / "a" / "pipe.png")
    with pytest.warns(UserWarning, match=r"passed over 1 file .*pipe\.png"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("counts", "sizes"), [({"a": 5}, (4, 0, 1)), ({"a": 1}, (1, 0, None)), ({"a": 3}, (2, 1, None))]
)
def test_few_pictures(tmp_path, counts, sizes):
    data = load_dataset(fill(tmp_path, counts))
    if sizes[2] is None:
        with pytest.raises(ValueError, match="no class of 4 pictures to take a sixth of"):
            load_test_split(tmp_path)
    else:
        assert len(load_test_split(tmp_path)) == sizes[2]
    assert len(data.train) + len(data.val) == sizes[0] + sizes[1]


def test_pictures_of_train_that_are_in_test_are_counted_in_a_line(tmp_path, capsys):
    fill(tmp_path / "train", {"a": 3, "b": 3})
    fill(tmp_path / "test", {"a": 2, "b": 2}, 100)
    Image.open(tmp_path / "train" / "a" / "001.png").save(tmp_path / "test" / "b" / "x.webp",
                                                          lossless=True)  # fmt: skip
    shutil.copy(tmp_path / "train" / "a" / "000.png", tmp_path / "test" / "a" / "y.png")
    for _ in range(2):  # decoded, and from the cache
        with pytest.warns(UserWarning, match="2 test pictures of .* are training pictures, too"):
            load_dataset(tmp_path)
    assert main(["train", "--dataset", str(tmp_path), "--out", str(tmp_path.with_name("run"))]) == 0
    assert "nnlib: 2 test pictures of" in capsys.readouterr().err


# ---------------------------------------------------------------- decoding


def gradient(mode: str = "RGB") -> Image.Image:
    """A picture of 6 x 8 (h, w), no two corners alike."""
    y, x = np.mgrid[:6, :8]
    pixels = np.stack([30 * x, 40 * y, 10 * (x + y)], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def stored(image: Image.Image, kind: str, **how) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **how)
    return stream.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return stored(gradient(), "PNG", exif=exif)


def transparent() -> Image.Image:
    image = gradient("RGBA")
    image.paste((0, 0, 0, 0), (4, 0, 8, 6))
    return image


def on_white() -> np.ndarray:
    expected = np.array(gradient())
    expected[:, 4:] = 255
    return expected


RGB, GREY = np.asarray(gradient()), np.asarray(gradient("L"))
DEEP = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1300
PALETTE = gradient().quantize(48)
KINDS = {  # bytes, what is seen, how far off
    "png": (stored(gradient(), "PNG"), RGB, 0),
    "bmp": (stored(gradient(), "BMP"), RGB, 0),
    "tiff": (stored(gradient(), "TIFF"), RGB, 0),
    "ppm": (stored(gradient(), "PPM"), RGB, 0),
    "webp": (stored(gradient(), "WEBP", lossless=True), RGB, 0),
    "jpeg": (stored(gradient(), "JPEG", quality=100, subsampling=0), RGB, 6),
    "jpeg in CMYK": (stored(gradient("CMYK"), "JPEG", quality=100), RGB, 12),
    "grey jpeg": (stored(gradient("L"), "JPEG", quality=100), GREY, 3),
    "gif": (stored(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB")), 0),
    "animated gif": (
        stored(PALETTE, "GIF", save_all=True, append_images=[gradient().rotate(180)]),
        np.asarray(PALETTE.convert("RGB")),
        0,
    ),
    "transparent": (stored(transparent(), "PNG"), on_white(), 0),
    "transparent grey": (stored(transparent().convert("LA"), "PNG"),
                         np.where(np.arange(8) < 4, GREY, 255), 0),
    "grey": (stored(gradient("L"), "PNG"), GREY, 0),
    "two tones": (stored(gradient("1"), "PNG"), np.asarray(gradient("1").convert("L")), 0),
    "16 bits": (stored(Image.fromarray(DEEP), "PNG"), np.rint(DEEP / 257), 0),
    "16 bits, pgm": (b"P5 8 6 65535\n" + DEEP.astype(">u2").tobytes(), np.rint(DEEP / 257), 0),
    "turned by 90 degrees": (turned(6), np.rot90(RGB, -1), 0),
    "mirrored": (turned(2), RGB[:, ::-1], 0),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_read_as_a_viewer_shows_it(tmp_path, kind):
    raw, expected, off = KINDS[kind]
    for number in range(2):
        path = tmp_path / "a" / f"{number}.jpg"  # content decides, not the name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(raw)
    images = load_dataset(tmp_path, val_size=0).train.images
    assert images.shape == (2, *expected.shape)
    assert abs(images[0].astype(int) - expected).max() <= off


def test_one_picture_in_colour_makes_all_of_them_so(tmp_path):
    fill(tmp_path, {"a": 3}, mode="L")
    assert load_dataset(tmp_path).image_shape == (5, 4)
    save(tmp_path / "b" / "x.png", 9)
    data = load_dataset(tmp_path, val_size=0)
    assert data.image_shape == (5, 4, 3)
    assert (data.train.images[0] == data.train.images[0, :, :, :1]).all()


def test_several_sizes_need_one_to_be_chosen(tmp_path, capsys):
    fill(tmp_path, {"a": 3}, size=(5, 4))
    fill(tmp_path, {"b": 2}, size=(6, 9))
    (tmp_path / "b" / "turned.png").write_bytes(turned(6))
    line = "several sizes, 5x4 (3), 6x9 (2), 8x6 (1): choose one, HxW, with --image-size"
    assert line in refused(tmp_path)
    for seed, size in enumerate([(7, 7), (7, 8)]):
        save(tmp_path / "b" / f"x{size}.png", seed, size=size)
    assert "8x6 (1) and 2 more: choose" in refused(tmp_path)
    assert load_dataset(tmp_path, image_size="8x3").image_shape == (8, 3, 3)
    assert load_dataset(tmp_path, image_size=(5, 4)).image_shape == (5, 4, 3)
    assert main(["train", "--dataset", str(tmp_path)]) == 2
    assert "--image-size" in capsys.readouterr().err


def test_the_middle_is_cut_out_of_what_covers_the_frame(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    wide[:10, 20:40, 0] = 50
    for number in range(2):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.fromarray(wide).save(tmp_path / "a" / f"{number}.png")
    image = load_dataset(tmp_path, image_size=10, val_size=0).train.images[0]
    assert (image[1:4, 1:9] == [50, 200, 200]).all()
    assert (image[6:9, 1:9] == 200).all()


def test_pictures_that_have_the_size_are_as_they_were(tmp_path, project):
    fill(tmp_path, {"a": 4, "b": 4})
    data = load_dataset(tmp_path)
    kept = sorted((project / "data" / "cache").iterdir())
    assert load_dataset(tmp_path, image_size=(5, 4)).sha256 == data.sha256
    assert sorted((project / "data" / "cache").iterdir()) == kept


@pytest.mark.parametrize(
    ("value", "size"),
    [(None, None), (7, (7, 7)), ("7", (7, 7)), ("7X9", (7, 9)), ((7, 9), (7, 9)), ([7], (7, 7)),
     (np.int64(7), (7, 7)), ("", 0), ("x", 0), ("7x", 0), ("7x9x3", 0), (0, 0), (-7, 0), (7.5, 0),
     (True, 0), ("7.5", 0), ("²", 0), ("٧", (7, 7)), (5000, 0), ((), 0), ("1" * 5000, 0)],
)  # fmt: skip
def test_image_sizes(value, size):
    if size == 0:
        with pytest.raises(ValueError, match="image size must be"):
            read_size(value)
    else:
        assert read_size(value) == size


def bomb(side: int = 100_000) -> bytes:
    """A PNG that declares side x side pixels of 24 bits in a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        sealed = kind + content
        return struct.pack(">I", len(content)) + sealed + struct.pack(">I", zlib.crc32(sealed))

    header = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data)


JPEG = stored(gradient(), "JPEG")
FLOATS = stored(Image.fromarray(DEEP.astype(np.float32)), "TIFF")
DAMAGE = {
    "truncated": (JPEG[:-20], "truncated"),
    "empty": (b"", "it is none"),
    "text": (b"to be sorted", "it is none"),
    "a program's picture": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\n", "it is none"),
    "bomb": (bomb(), "pixels"),
    "small bomb": (bomb(13_000), "could be decompression bomb"),
    "floating point": (FLOATS, "not of 16 bits"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_what_cannot_be_read_is_one_line_that_names_the_first_and_counts(tmp_path, capsys, case):
    raw, reason = DAMAGE[case]
    fill(tmp_path, {"a": 3}, size=(6, 8))
    (tmp_path / "a" / "0.jpg").write_bytes(raw)
    line = refused(tmp_path)
    assert line.startswith(f"cannot read {tmp_path / 'a' / '0.jpg'} as a picture (")
    assert reason in line
    assert line.endswith("): mend or remove what cannot be read")
    for number, other in enumerate([raw, b"text", JPEG[:-9]]):
        (tmp_path / "b" / f"{number}.jpg").parent.mkdir(exist_ok=True)
        (tmp_path / "b" / f"{number}.jpg").write_bytes(other)
    assert refused(tmp_path).startswith(line.partition(": mend")[0] + ", and 3 more: mend")
    assert main(["train", "--dataset", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)


def test_more_than_memory_holds_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("nnlib.checks._free_memory", lambda: 2**20)
    monkeypatch.setattr("nnlib.checks.LITTLE", 2**20)
    fill(tmp_path, {"a": 8})
    line = refused(tmp_path, image_size=400)
    assert "reading 8 pictures of 400x400 needs" in line


# ---------------------------------------------------------------- the cache


@pytest.fixture
def decoded(monkeypatch):
    """The numbers of pictures that were decoded, one for each time."""
    counts, decode = [], pictures.decode

    def counting(paths, *more):
        counts.append(len(paths))
        return decode(paths, *more)

    monkeypatch.setattr(pictures, "decode", counting)
    return counts


def changed(path: Path) -> None:
    """Put another picture in a file's place, of the same size in bytes and time of change."""
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(stored(gradient().rotate(180), "BMP"))
    assert path.stat().st_size == len(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "changed": lambda folder: changed(folder / "a" / "new.bmp"),
    "added": lambda folder: save(folder / "b" / "x.png", 77, size=(6, 8)),
    "removed": lambda folder: (folder / "a" / "new.bmp").unlink(),
    "renamed": lambda folder: (folder / "a").rename(folder / "c"),
    "moved": lambda folder: (folder / "a" / "new.bmp").rename(folder / "b" / "new.bmp"),
    "made grey": lambda folder: gradient("L").save(folder / "a" / "000.png"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_second_start_decodes_only_what_has_changed(tmp_path, decoded, project, change):
    fill(tmp_path, {"a": 4, "b": 4}, size=(6, 8))
    gradient().save(tmp_path / "a" / "new.bmp")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    first = load_dataset(tmp_path)
    again, _ = load_dataset(tmp_path), load_test_split(tmp_path)
    assert decoded == [9]
    np.testing.assert_array_equal(again.train.images, first.train.images)
    assert again.sha256 == first.sha256
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    names = {path.name for path in (project / "data" / "cache").iterdir()}
    CHANGES[change](tmp_path)
    new = load_dataset(tmp_path, val_size=0)
    assert len(decoded) == 2
    shutil.rmtree(project / "data")
    np.testing.assert_array_equal(new.train.images, load_dataset(tmp_path, val_size=0).train.images)
    assert {path.name for path in (project / "data" / "cache").iterdir()} == names


def cut(raw: bytes) -> bytes:
    return raw[:-1]


def flipped(raw: bytes) -> bytes:
    return raw[:-7] + bytes([raw[-7] ^ 1]) + raw[-6:]


@pytest.mark.parametrize("damage", [cut, flipped, lambda raw: b"", lambda raw: bytes(len(raw))])
def test_a_damaged_cache_is_made_again(tmp_path, decoded, project, damage):
    fill(tmp_path, {"a": 8, "b": 8})
    first = load_dataset(tmp_path)
    kept = list((project / "data" / "cache").glob("*.safetensors"))
    for path in kept:
        path.write_bytes(damage(path.read_bytes()))
        path.with_name(f".{path.name}.0123abcd.tmp").write_bytes(b"of one that was killed")
    assert load_dataset(tmp_path).sha256 == first.sha256
    assert len(load_test_split(tmp_path)) == 2
    assert decoded == [16, 16]
    assert not list((project / "data" / "cache").glob(".*.tmp"))


def test_without_a_cache_it_works_and_is_said(tmp_path, decoded, project, monkeypatch):
    folder = fill(tmp_path / "set", {"a": 4, "b": 4})
    (project / "data").write_text("no folder")
    with pytest.warns(UserWarning, match="will be decoded again next time: cannot write"):
        first = load_dataset(folder)
    monkeypatch.setattr(pictures, "project_root", lambda: folder)
    with pytest.warns(UserWarning, match="again next time: .* would lie in it"):
        assert load_dataset(folder).sha256 == first.sha256
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]
    assert decoded == [8, 8]


READER = """
import sys
from pathlib import Path
from nnlib import load_dataset, load_test_split
from nnlib.pictures import folder
folder.project_root = lambda: Path(sys.argv[2])
print(flush=True)
sys.stdin.readline()  # both start together
print(load_dataset(sys.argv[1]).sha256, len(load_test_split(sys.argv[1])))
"""


def test_two_processes_decode_at_once(tmp_path, project):
    folder = fill(tmp_path, {"a": 40, "b": 40})
    words = [sys.executable, "-c", READER, str(folder), str(project)]
    pipes = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.PIPE)
    processes = [subprocess.Popen(words, **pipes, text=True) for _ in range(2)]
    (project / "data" / "cache").mkdir(parents=True, exist_ok=True)
    with owned(project / "data" / "cache", ()):  # by a third, for a moment
        for process in processes:
            process.stdout.readline()
            process.stdin.write("\n")
            process.stdin.flush()
        time.sleep(0.5)
    answers = [process.communicate(timeout=60) for process in processes]
    assert answers == [(f"{load_dataset(folder).sha256} 14\n", "")] * 2


# ---------------------------------------------------------------- by the command


def run(capsys, *words) -> dict:
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_train_test_and_search(tmp_path, capsys):
    folder = fill(tmp_path / "set", {"a": 20, "b": 20})
    save(folder / "b" / "large.png", 500, size=(30, 20))
    common = "--dataset", folder, "--image-size", "6x4", "--epochs", 1, "--batch-size", 8
    answer = run(capsys, "train", *common, "--out", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["image_size"] == "6x4"
    for model in (tmp_path / "run", answer["model"]):
        tested = run(capsys, "test", model)
        assert (tested["n"], tested["dataset"]) == (7, str(folder))
    tested = run(capsys, "test", answer["model"], "--dataset", folder)
    assert tested["n"] == 7
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    how = "--trials", 2, "--range", "lr=0.01:0.1", "--jobs", 2, "--out", tmp_path / "search"
    assert run(capsys, "search", *common, *how)["trials"] == 2
    assert main(["search", *map(str, common), "--trials", "2", "--choice", "image_size=4,8"]) == 2
    assert "image_size" in capsys.readouterr().err
    assert main(["data", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: {folder}\n"


# ---------------------------------------------------------------- whatever there is

NAMES = st.sampled_from(["a", "b c", "größe", "猫", "2", "10", "é" * 20, "x;$(y)", "\t", "a.png"])
FILES = st.sampled_from(
    ["picture"] * 12 + ["hidden", "text", "truncated", "bomb", "link", "alike", "empty folder"]
)


def result_or_line(load, folder):
    try:
        return load(folder)
    except ValueError as error:
        line = str(error)
    assert "\n" not in line
    return line


@settings(max_examples=40, deadline=None)
@given(
    parts=st.sampled_from([("",), ("train",), ("train", "test"), ("train", "test", "val")]),
    classes=st.lists(NAMES, min_size=1, max_size=3, unique=True),
    files=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), FILES), max_size=30),
)
def test_any_folder_is_read_or_refused_in_one_line(tmp_path_factory, parts, classes, files):
    root = tmp_path_factory.mktemp("any")
    folder = root / "set"
    outside, seen = save(root / "outside.png"), set()
    for number, (part, label, kind) in enumerate(files):
        part, name = parts[part % len(parts)], classes[label % len(classes)]
        path = folder / part / name / f"{number} {name[:1].strip()}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        seen.add(kind)
        if kind in ("picture", "alike"):
            save(path, 0 if kind == "alike" else number)
        elif kind == "hidden":
            path.with_name(f".{number}.png").write_bytes(b"hidden")
        elif kind == "text":
            path.with_suffix(".txt").write_text("text")
        elif kind == "link":
            path.symlink_to(outside)
        elif kind == "empty folder":
            path.with_suffix("").mkdir()
        else:
            path.write_bytes({"truncated": JPEG[:-20], "bomb": bomb()}[kind])
    folder.mkdir(exist_ok=True)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data, test = (result_or_line(load, folder) for load in (load_dataset, load_test_split))
    if isinstance(data, str):
        return
    assert not seen & {"link", "truncated", "bomb"}
    assert set(data.classes) <= set(classes)
    assert list(data.classes) == sorted(data.classes)
    made = sum(kind in ("picture", "alike") for *_, kind in files)
    if isinstance(test, str):
        assert "to take a sixth of" in test
        test = []
    assert len(data.train) + len(data.val) + len(test) == made
    assert any("no pictures" in str(each.message) for each in said) == ("text" in seen)
