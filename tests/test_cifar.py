"""CIFAR-10 in its binary version: files in that form, downloaded, unpacked, damaged."""

import gzip
import io
import tarfile

import numpy as np
import pytest
from idx_files import sum_of
from mirror import serving

from nnlib import formats, load_dataset, load_test_split, sources
from nnlib.cli import main
from nnlib.sources import DATASETS, DownloadError, KnownSet

NAMES = [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]
ARCHIVE = "cifar-10-binary.tar.gz"
CLASSES = DATASETS["cifar-10"].classes


def made_up(seed: int = 0, each: int = 20) -> tuple[dict[str, bytes], np.ndarray, np.ndarray]:
    """Return six files by name, and their images (N, 32, 32, 3) with labels (N,)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (6 * each, 32, 32, 3)).astype(np.uint8)
    labels = (np.arange(6 * each) % 10).astype(np.uint8)
    files = {}
    for number, name in enumerate(NAMES):
        part = range(number * each, (number + 1) * each)
        planes = [bytes([labels[n]]) + b"".join(images[n, :, :, c].tobytes() for c in range(3))
                  for n in part]  # fmt: skip
        files[name] = b"".join(planes)
    return files, images, labels


def archive(files: dict[str, bytes], **more) -> bytes:
    """Return an archive of files as the official one is; `more` are odd members by name."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, raw in ({"readme.html": b"<html>"} | files).items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
        for member in more.values():
            tar.addfile(member)
    return gzip.compress(stream.getvalue(), 1, mtime=0)


FILES, IMAGES, LABELS = made_up()
PACKED = archive(FILES)


def publish(monkeypatch, raw: bytes, *mirrors: str) -> None:
    known = KnownSet("CIFAR-10", CLASSES, (sum_of(raw),), mirrors, ARCHIVE)
    monkeypatch.setitem(DATASETS, "cifar-10", known)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv("NNLIB_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(sources, "project_root", lambda: tmp_path)
    publish(monkeypatch, PACKED)
    return tmp_path


def check(source) -> None:
    data, test = load_dataset("cifar-10", val_size=0), load_test_split("cifar-10")
    np.testing.assert_array_equal(data.train.images, IMAGES[:100])
    np.testing.assert_array_equal(data.train.y, LABELS[:100])
    np.testing.assert_array_equal(test.images, IMAGES[100:])
    np.testing.assert_array_equal(test.y, LABELS[100:])
    assert data.image_shape == (32, 32, 3)
    assert (data.title, data.classes) == ("CIFAR-10", CLASSES)
    assert data.source == str(source)


def test_what_is_published():
    known = sources.DATASETS["cifar-10"]
    assert (known.title, known.classes[0], known.classes[9]) == ("CIFAR-10", "airplane", "truck")
    assert known.archive == ARCHIVE
    assert known.mirrors == ("https://www.cs.toronto.edu/~kriz/",)
    assert [len(each) for each in known.sums] == [64]


def test_it_is_downloaded_once(project, monkeypatch, capsys):
    with serving({ARCHIVE: PACKED}) as (address, requests):
        publish(monkeypatch, PACKED, address)
        assert main(["data", "cifar-10"]) == 0
        assert capsys.readouterr().out == f"cifar-10: {project / 'data' / 'cifar-10'}\n"
        check(project / "data" / "cifar-10")
        assert requests == [f"/{ARCHIVE}"]
    assert (project / "data" / "cifar-10" / ARCHIVE).read_bytes() == PACKED


def test_a_wrong_archive_is_never_read(project, monkeypatch):
    with serving({ARCHIVE: archive(made_up(1)[0])}) as (address, _):
        publish(monkeypatch, PACKED, address)
        with pytest.raises(DownloadError, match="served a wrong file") as caught:
            load_dataset("cifar-10")
    assert "or put it, or what is in it, into" in str(caught.value)
    assert not (project / "data").exists()


@pytest.mark.parametrize("called", ["cifar-10", "CIFAR10", "cifar_10"])
@pytest.mark.parametrize(
    "how", [ARCHIVE, "cifar-10-binary (1).tar.gz", "unpacked", "cifar-10-batches-bin"]
)
def test_nnlib_data_comes_first(project, monkeypatch, called, how):
    folder = project / "given" / called
    folder.mkdir(parents=True)
    monkeypatch.setenv("NNLIB_DATA", str(project / "given"))
    if how.startswith("cifar-10-binary"):
        (folder / how).write_bytes(PACKED)
    else:
        folder = folder / how if "-" in how else folder
        folder.mkdir(exist_ok=True)
        for name, raw in FILES.items():
            (folder / name).write_bytes(raw)
    check(folder)
    assert not (project / "data").exists()


def test_a_damaged_archive_is_named(project, monkeypatch):
    (project / "given" / "cifar-10").mkdir(parents=True)
    monkeypatch.setenv("NNLIB_DATA", str(project / "given"))
    path = project / "given" / "cifar-10" / ARCHIVE
    path.write_bytes(PACKED[:-1])
    with pytest.raises(ValueError, match=r"is damaged: its SHA-256 is .* of cifar-10/cifar-10-b"):
        load_dataset("cifar-10")


def member(name: str, **more) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in more.items():
        setattr(info, key, value)
    return info


TEST = FILES["test_batch.bin"]
LINK = member("x/test_batch.bin", type=tarfile.SYMTYPE, linkname="/etc/passwd")
PIPE = member("../../test_batch.bin", type=tarfile.FIFOTYPE)
LACKING = {name: raw for name, raw in FILES.items() if name != "test_batch.bin"}
HOSTILE = {
    "a file lacks": (archive(LACKING), "it lacks test_batch.bin"),
    "a link": (archive(LACKING, link=LINK), "it lacks test_batch.bin"),
    "a pipe": (archive(LACKING, pipe=PIPE), "it lacks test_batch.bin"),
    "no archive": (b"Not Found", "truncated header|end of file|invalid header"),
    "packed nothing": (gzip.compress(b""), "empty file"),
    "cut": (PACKED[:-100], "end-of-stream"),
    "cut inside": (gzip.compress(gzip.decompress(PACKED)[:-60_000]), "unexpected end|records"),
    "a record is cut": (archive(FILES | {"test_batch.bin": TEST[:-1]}), "61,459 bytes are no"),
    "below nothing": (archive(FILES, odd=member("odd", size=-1024)), "has -1024 bytes"),
    "no record": (archive(FILES | {"test_batch.bin": b""}), "0 bytes are no whole"),
    "a label": (archive(FILES | {"test_batch.bin": b"\x0a" + TEST[1:]}), "a label is 10, not 0 to"),
    "a bomb": (gzip.compress(bytes(2_000_000)), "holds more than 1,000,000 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_in_one_line(project, monkeypatch, case):
    raw, message = HOSTILE[case]
    monkeypatch.setattr(formats, "MAX_CIFAR_BYTES", 1_000_000)
    with serving({ARCHIVE: raw}) as (address, _):
        publish(monkeypatch, raw, address)  # as if it had been published so
        with pytest.raises(ValueError, match=message) as caught:
            load_test_split("cifar-10")
    line = str(caught.value)
    assert line.startswith(f"cannot use {project / 'data' / 'cifar-10' / ARCHIVE} as CIFAR-10: ")
    assert "\n" not in line
    assert [path.name for path in project.rglob("*")] == ["data", "cifar-10", ARCHIVE]


def test_paths_in_the_archive_lead_nowhere(project, monkeypatch):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, raw in FILES.items():
            tar.addfile(member(f"../../../{name}", size=len(raw)), io.BytesIO(raw))
    raw = gzip.compress(stream.getvalue())
    with serving({ARCHIVE: raw}) as (address, _):
        publish(monkeypatch, raw, address)
        check(project / "data" / "cifar-10")
    assert len(list(project.rglob("*"))) == 3
