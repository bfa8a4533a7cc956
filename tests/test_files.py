"""Files: replaced in one step, and read with suspicion."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from nnlib import InputError, files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.txt"
    files.write_atomic(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        files.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(InputError, match=r"cannot write .*file.*; choose another place"):
        files.make_folder(blocked / "run")
    with pytest.raises(InputError, match="cannot write"):
        files.write_atomic(blocked / "x", "data")


@settings(deadline=None)  # it waits for the disk, which others use
@given(st.dictionaries(st.text("abcW12.", min_size=1, max_size=5), arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint8]),
    array_shapes(min_dims=0, max_dims=3, max_side=4)), max_size=3))  # fmt: skip
def test_tensors_come_back_as_they_were(tmp_path_factory, tensors: dict) -> None:
    path = tmp_path_factory.mktemp("t") / "t.safetensors"
    files.save_tensors(path, tensors, {"list": [1, 2.5, None]})
    loaded, metadata = files.load_tensors(path)
    assert metadata == {"list": [1, 2.5, None]}
    assert loaded.keys() == tensors.keys()
    for name, array in tensors.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


def test_a_transposed_matrix_is_stored_right(tmp_path: Path) -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3).T
    files.save_tensors(tmp_path / "t", {"m": matrix, "every other": np.arange(8.0)[::2]}, {})
    loaded, _ = files.load_tensors(tmp_path / "t")
    np.testing.assert_array_equal(loaded["m"], matrix)
    np.testing.assert_array_equal(loaded["every other"], [0, 2, 4, 6])


def test_tensors_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    names = [f"net/{number}" for number in range(9, -1, -1)]
    files.save_tensors(tmp_path / "t", dict.fromkeys(names, np.ones(2)), {})
    assert list(files.load_tensors(tmp_path / "t")[0]) == sorted(names)


def test_the_bytes_depend_on_the_content_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        files.save_tensors(tmp_path / name, {"x": np.ones(3), "y": np.zeros(2)}, {"k": 1, "j": 2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("content", [b"", b"\x80\x04K*.", b"\xff" * 100, b"[1, 2"])
def test_what_is_not_a_model_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"m\.safetensors is not a model file"):
        files.load_tensors(path)


def test_a_safetensors_file_of_others_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save

    path = tmp_path / "m.safetensors"
    for metadata in (None, {"nnlib": "[]"}, {"nnlib": "{"}, {"other": "{}"}):
        path.write_bytes(save({"x": np.ones(2)}, metadata))
        with pytest.raises(InputError, match=str(path)):
            files.load_tensors(path)


def test_missing_folder_and_oversized_files(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(InputError, match="No such file"):
        files.load_tensors(tmp_path / "none")
    with pytest.raises(InputError, match="directory"):
        files.load_tensors(tmp_path)
    monkeypatch.setattr(files, "MAX_JSON", 10)
    (tmp_path / "big").write_bytes(b"0" * 11)
    with pytest.raises(InputError, match="too large for a table, over 10 bytes"):
        files.read_json(tmp_path / "big")


def test_json_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    files.write_json(path, {"a": [1]})
    assert json.loads(path.read_text()) == {"a": [1]} == files.read_json(path)
    path.write_bytes(b"\xff{")
    with pytest.raises(InputError, match=r"c\.json is not valid JSON"):
        files.read_json(path)
    with pytest.raises(InputError, match="No such file"):
        files.read_json(tmp_path / "none.json")


def test_project_root_is_where_pyproject_is(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (files.project_root() / "pyproject.toml").is_file()
