"""The project's own report in its quick profile, as `make report PROFILE=quick` makes it."""

import subprocess
import sys
from pathlib import Path

import pytest
from pdf_glyphs import check_glyphs

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(900)  # a machine where all else is slow as well
def test_every_chapter_runs_and_is_published(tmp_path: Path):
    out = tmp_path / "report"
    command = [sys.executable, "-m", "nnlib", "report", "--profile", "quick", "--out", out]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out / 'index.html'}\n"
    chapters = {path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    assert {path.stem for path in out.glob("*.html")} == {"index", *chapters}
    check_glyphs((out / "nnlib-report.pdf").read_bytes())
    assert list(tmp_path.iterdir()) == [out]
