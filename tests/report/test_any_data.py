"""Every chapter runs on any folder that `nnlib train` takes, however odd, and warns of nothing.

A quarter of an hour in all; `-k "letters and 05"` runs a part of it.
"""

from pathlib import Path

import nbformat
import numpy as np
import pytest
from conftest import needs_official
from idx_files import labelled_files, write_folder

from nnlib.report.execute import execute_all

PATHS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9][0-9]_*.ipynb"))
FEW = {"epochs": 2, "train_size": 300, "val_size": 100, "stored_size": 2000, "few": 60,
       "few_epochs": 3, "bug_images": 300, "bug_epochs": 2, "trials": 3, "points_shown": 60,
       "reader_images": 2000}  # fmt: skip


def turns(n: int, classes) -> np.ndarray:
    """Return n labels, the classes one after another."""
    return np.resize(np.array(classes), n)


LETTERS, RARE = range(1, 27), np.r_[turns(590, [2, 3, 4]), [0] * 5, [1] * 5]
FOLDERS = {
    "one class": labelled_files([0] * 300, [0] * 40),
    "one class, number 255": labelled_files([255] * 300, [255] * 40),
    "two classes": labelled_files(turns(400, [0, 1]), turns(60, [0, 1])),
    "letters": labelled_files(turns(1560, LETTERS), turns(260, LETTERS), (12, 12)),
    "200 classes": labelled_files(turns(2400, range(200)), turns(400, range(200))),
    "no validation image of the first classes": labelled_files(RARE, turns(100, range(5))),
    "few classes in the test": labelled_files(turns(600, range(5)), turns(100, [2, 4])),
    "60 images": labelled_files(turns(60, range(10)), turns(20, range(10)), (28, 28)),
    "14 images": labelled_files(turns(14, [0, 1]), turns(3, [0, 1])),
    "oblong": labelled_files(turns(600, range(5)), turns(100, range(5)), (12, 20)),
    "a row of pixels": labelled_files(turns(400, range(3)), turns(60, range(3)), (1, 30)),
    "one pixel": labelled_files(turns(400, [0, 1]), turns(60, [0, 1]), (1, 1)),
    "no mistakes": labelled_files(turns(900, range(4)), turns(100, range(4)), noise=5),
    "five test images": labelled_files(turns(600, range(4)), turns(5, range(4))),
    "blank images": labelled_files(turns(400, range(4)), turns(60, range(4)), noise=0),
}
QUICK = [("one class", "05"), ("letters", "02")]  # in every run of tests


def cases() -> list:
    return [
        pytest.param(
            path, folder, id=f"{folder}-{path.stem[:2]}",
            marks=[] if (folder, path.stem[:2]) in QUICK else pytest.mark.slow,
        )
        for folder in FOLDERS
        for path in PATHS
    ]  # fmt: skip


@needs_official  # for the net that reads what is drawn
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("path", "folder"), cases())
def test_a_chapter_runs_on_a_folder(path: Path, folder: str, tmp_path: Path):
    dataset = write_folder(tmp_path / "set", FOLDERS[folder], packed=False)
    nb, given = nbformat.read(path, as_version=4), {"profile": "quick", "dataset": str(dataset)}
    done = execute_all({path.stem: nb}, given | FEW, tmp_path, tmp_path / "figures")[path.stem]
    streams = [output for cell in done.cells for output in cell.get("outputs", [])]
    assert [output.text for output in streams if output.output_type == "stream"] == []
