"""Files that are the right ones, or a line that says why not: IDX, finding, downloading."""

import gzip
import json
import os
import socket
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from idx_files import NAMES, idx_bytes, made_up_files, pack, sum_of, write_folder
from mirror import serving

from nnlib import sources
from nnlib.data import load_dataset, load_test_split
from nnlib.formats import read_idx
from nnlib.sources import DATASETS, DownloadError, KnownSet, fetch

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


def whole_numbers(array: np.ndarray, code: int, kind: str) -> bytes:
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(kind).tobytes()


COLUMN = np.array([3, 0, 255, 26])
QMNIST = np.stack([COLUMN, *[COLUMN * 1000] * 7], axis=1)  # class, hand, writer, …
WHOLE = {
    "int32": (whole_numbers(COLUMN, 12, ">i4"), COLUMN),
    "int16": (whole_numbers(COLUMN, 11, ">i2"), COLUMN),
    "int8": (whole_numbers(COLUMN[:2], 9, "i1"), COLUMN[:2]),
    "QMNIST's": (whole_numbers(QMNIST, 12, ">i4"), COLUMN),
    "QMNIST's, packed": (pack(whole_numbers(QMNIST, 12, ">i4")), COLUMN),
    "too large": (whole_numbers(COLUMN + 1, 12, ">i4"), "it holds 1 to 256, not numbers from 0"),
    "negative": (whole_numbers(-COLUMN, 11, ">i2"), "it holds -255 to 0, not numbers from 0"),
    "one-hot": (whole_numbers(np.eye(10), 12, ">i4"), "10 × 10 × 4 bytes, not one label an image"),
    "cut": (whole_numbers(COLUMN, 12, ">i4")[:-1], "4 × 4 bytes, more than the file can hold"),
    "two axes of bytes": (idx_bytes(np.eye(8, dtype=np.uint8)), "begins with 0x00000802"),
    "two bytes": (b"\0\0", "begins with 0x0000,"),
}


@pytest.mark.parametrize("case", WHOLE)
def test_labels_of_other_whole_numbers_are_read_where_they_fit(tmp_path, case):
    raw, expected = WHOLE[case]
    (tmp_path / "labels").write_bytes(raw)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            read_idx(tmp_path / "labels", 1)
    else:
        read = read_idx(tmp_path / "labels", 1)
        assert read.dtype == np.uint8
        assert read.tolist() == expected.tolist()


# ---------------------------------------------------------------- names that others give


CLOTHES = {f"{name}.gz": pack(raw) for name, raw in made_up_files(1).items()}
DIGITS = {f"{name}.gz": pack(raw) for name, raw in made_up_files(2).items()}


def known(files):
    return KnownSet("A set", ("a", "b", "c"), tuple(sum_of(files[f"{name}.gz"]) for name in NAMES))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of its own, whose two official sets are small and made up."""
    monkeypatch.delenv("NNLIB_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(sources, "project_root", lambda: tmp_path)
    monkeypatch.setitem(DATASETS, "fashion-mnist", known(CLOTHES))
    monkeypatch.setitem(DATASETS, "mnist", known(DIGITS))
    return tmp_path


def test_the_sums_of_the_contents_are_those_of_what_is_packed(monkeypatch):
    given = os.environ.get("NNLIB_DATA")
    if not given:
        pytest.skip("NNLIB_DATA does not name the official files")
    for name in ("fashion-mnist", "mnist"):
        for place, file in enumerate(NAMES):
            packed = Path(given, name, f"{file}.gz").read_bytes()
            sums = sum_of(packed), sum_of(gzip.decompress(packed))
            assert DATASETS[name].sums[place::4] == sums


HABITS = {  # what others make of train-images-idx3-ubyte.gz, True: packed
    "as it is": lambda name: (f"{name}.gz", True),
    "packed anew": lambda name: (f"{name}.gz", "anew"),
    "unpacked": lambda name: (name, False),
    "unpacked by name alone": lambda name: (f"{name}.gz", False),
    "with a dot": lambda name: (name.replace("-idx", ".idx"), False),
    "with a dot, packed": lambda name: (f"{name.replace('-idx', '.idx')}.gz", True),
    "in capitals": lambda name: (f"{name.upper()}.GZ", True),
    "second download": lambda name: (f"{name} (1).gz", True),
    "second download, bare": lambda name: (f"{name}(2)", False),
    "wget's second": lambda name: (f"{name}.gz.1", True),
    "copied on Windows": lambda name: (f"{name} - Copy.gz", True),
    "copied in Chinese": lambda name: (f"{name} - 副本.gz", True),
    "copied on a Mac": lambda name: (f"{name} copy 2", False),
    "EMNIST's": lambda name: (f"emnist-letters-{name.replace('t10k', 'test')}.gz", True),
    "QMNIST's": lambda name: (f"qmnist-{name.replace('idx1-ubyte', 'idx2-int')}", False),
    "short": lambda name: (f"{name.partition('-idx')[0]}.gz", True),
    "with another ending": lambda name: (f"{name}.bin", False),
    "with underscores": lambda name: (name.replace("-", "_"), False),
    "in folders of their names": lambda name: (f"{name}/{name}", False),
}
PLACES = ("fashion-mnist", "FashionMNIST/raw", "Fashion-MNIST", "fashion_mnist/raw", ".", "raw")


def lay_out(folder, habit, contents):
    for name, packed in contents.items():
        called, how = HABITS[habit](name)
        raw = gzip.decompress(packed)
        (folder / called).parent.mkdir(parents=True, exist_ok=True)
        as_found = {True: packed, False: raw, "anew": gzip.compress(raw, 9, mtime=5)}[how]
        (folder / called).write_bytes(as_found)
    (folder / "._train-images-idx3-ubyte.gz").write_bytes(b"a Mac's")
    (folder / "README.md").write_text("where it is from")


def small(files):
    return {name: files[f"{name}.gz"] for name in NAMES}


def with_contents(files):
    """A known set of which the sums of the unpacked files are known, too."""
    sums = known(files).sums + tuple(sum_of(gzip.decompress(files[f"{n}.gz"])) for n in NAMES)
    return replace(known(files), sums=sums, mirrors=())


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("place", PLACES)
def test_an_official_file_is_known_by_its_content(project, monkeypatch, habit, place):
    monkeypatch.setitem(DATASETS, "fashion-mnist", with_contents(CLOTHES))
    monkeypatch.setitem(DATASETS, "mnist", with_contents(DIGITS))
    given = project / "given"
    lay_out(given / place, habit, small(CLOTHES))
    lay_out(given / "MNIST" / "raw", "unpacked", small(DIGITS))
    monkeypatch.setenv("NNLIB_DATA", str(given))
    assert load_dataset("fashion-mnist").sha256 != load_dataset("mnist").sha256
    assert len(load_test_split("fashion-mnist")) == len(load_test_split("mnist")) == 30
    assert all(given in path.parents for path in fetch("fashion-mnist").values())


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("place", [".", "raw", "FashionMNIST/raw"])
def test_a_folder_of_ones_own_may_have_the_names_of_others(tmp_path, habit, place):
    expected = load_dataset(write_folder(tmp_path / "plain", made_up_files(1)))
    lay_out(tmp_path / "own" / place, habit, small(CLOTHES))
    own = load_dataset(tmp_path / "own")
    assert (own.sha256, own.name) == (expected.sha256, "own")
    assert len(load_test_split(tmp_path / "own")) == 30


def test_files_unpacked_by_hand_into_the_project_are_taken(project, monkeypatch):
    monkeypatch.setitem(DATASETS, "fashion-mnist", with_contents(CLOTHES))
    lay_out(project / "data" / "fashion-mnist", "with a dot", small(CLOTHES))
    assert len(load_dataset("fashion-mnist").train) == 110


def test_home_is_understood_in_nnlib_data_and_in_a_folder(project, monkeypatch):
    monkeypatch.setenv("HOME", str(project))
    monkeypatch.setenv("USERPROFILE", str(project))
    write_folder(project / "given" / "fashion-mnist", made_up_files(1))
    monkeypatch.setenv("NNLIB_DATA", "~/given")
    assert load_dataset("~/given/fashion-mnist").sha256 == load_dataset("fashion-mnist").sha256


ODD = {  # what is in NNLIB_DATA's fashion-mnist/, and what is said of it
    "the other set, unpacked": ({"train-images-idx3-ubyte": DIGITS}, "is damaged: its SHA-256"),
    "the other set, renamed": ({"train-images.idx3-ubyte.gz": DIGITS}, "is damaged: its SHA-256"),
    "another archive": ({"train-images-idx3-ubyte.zip": DIGITS}, "is damaged: its SHA-256"),
    "another format": ({"train_images.npy": DIGITS}, "is damaged: its SHA-256"),
    "cut short": ({"train-images-idx3-ubyte.gz.part": DIGITS}, "is damaged: its SHA-256"),
}


@pytest.mark.parametrize("case", ODD)
def test_a_file_that_is_not_the_official_one_is_named_with_the_one_wanted(
    project, monkeypatch, case
):
    files, says = ODD[case]
    given = project / "given" / "fashion-mnist"
    given.mkdir(parents=True)
    for name, contents in files.items():
        (given / name).write_bytes(contents[f"{NAMES[0]}.gz"])
    monkeypatch.setenv("NNLIB_DATA", str(given.parent))
    with pytest.raises(ValueError, match=says) as caught:
        load_dataset("fashion-mnist")
    assert str(given / name) in str(caught.value)
    assert f"{NAMES[0]}.gz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_of_ones_own_that_is_not_understood_says_what_it_holds(tmp_path):
    lay_out(tmp_path / "two" / "A" / "raw", "unpacked", small(CLOTHES))
    lay_out(tmp_path / "two" / "B" / "raw", "unpacked", small(DIGITS))
    with pytest.raises(ValueError, match=r"holds several sets \(A/raw/train-.*, B/raw/train-"):
        load_dataset(tmp_path / "two")
    lay_out(tmp_path / "prefixes", "EMNIST's", small(CLOTHES))
    lay_out(tmp_path / "prefixes", "QMNIST's", small(CLOTHES))
    with pytest.raises(ValueError, match=r"holds several sets \(emnist-letters-.*, qmnist-train"):
        load_dataset(tmp_path / "prefixes")
    lay_out(tmp_path / "prefixes", "unpacked", small(DIGITS))  # the makers' own names count
    assert len(load_dataset(tmp_path / "prefixes").train) == 110
    (tmp_path / "zipped").mkdir()
    (tmp_path / "zipped" / "archive.zip").touch()
    with pytest.raises(ValueError, match=r"lacks train-images-idx3-ubyte.*but holds archive\.zip;"):
        load_dataset(tmp_path / "zipped")


def test_a_folder_that_has_moved(tmp_path):
    with pytest.raises(ValueError, match="if it has moved, say where it is with --dataset"):
        load_dataset(str(tmp_path / "gone"))


# ---------------------------------------------------------------- downloading


def dead_address() -> str:
    """Return an address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def use_mirrors(*addresses, name="fashion-mnist"):
    DATASETS[name] = replace(DATASETS[name], mirrors=addresses)


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


FAULTS = {  # of a mirror, and what is said of it
    "dead": "connection failed",
    "stalls": "connection failed",
    "hangs": "no answer in time",
    "refuses": "HTTP status 404",
    "cuts": "connection cut",
    "wrong": r"served a wrong file \(SHA-256 [0-9a-f]{12}…\)",
    "mnist": r"served a wrong file \(SHA-256 [0-9a-f]{12}…\)",
    "endless": "sent more than 100,000 bytes",
    "nonsense": "Invalid URL",
}
SERVED = {
    "wrong": dict.fromkeys(CLOTHES, b"<html>Sign in to this network</html>"),
    "mnist": DIGITS,
    "endless": dict.fromkeys(CLOTHES, bytes(200_000)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_where_a_mirror_fails_one_line_says_why_and_the_next_is_tried(project, monkeypatch, fault):
    monkeypatch.setattr(sources, "TIMEOUT", (0.3, 0.3))
    monkeypatch.setattr(sources, "MAX_DOWNLOAD", 100_000)
    with (
        serving(SERVED.get(fault, CLOTHES), fault) as (bad, _),
        serving(CLOTHES) as (good, requests),
    ):
        bad = {"dead": dead_address(), "nonsense": "http://:/"}.get(fault, bad)
        use_mirrors(bad, dead_address())
        with pytest.raises(DownloadError, match=FAULTS[fault]) as caught:
            load_dataset("fashion-mnist")
        assert files_below(project) == {}
        assert not (project / "data").exists()
        use_mirrors(bad, good)
        fetch("fashion-mnist")
        assert len(requests) == 4
    assert files_below(project) == as_stored(CLOTHES)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    assert message.startswith("cannot download fashion-mnist (train-images-idx3-ubyte.gz): ")
    assert message.count("127.0.0.1:") == (1 if fault == "nonsense" else 2)
    assert "NNLIB_DATA" in message


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
from nnlib import data, sources
root, mirrors, sums = sys.argv[1], *map(json.loads, sys.argv[2:4])
sources.project_root = lambda: Path(root)
sources.DATASETS["mnist"] = sources.KnownSet("A set", ("a", "b", "c"), sums, mirrors)
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
