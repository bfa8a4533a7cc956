"""Publishing: what the pages and the PDF hold, and that nothing goes wrong half way."""

import base64
import errno
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbconvert.exporters import get_exporter
from nbformat.v4 import new_notebook
from pdf_glyphs import check_glyphs, text_of
from sample_notebooks import PARAMETERS, code, network_notebook, text, write

from nnlib.data import DownloadError
from nnlib.report import ReportError, book
from nnlib.report.document import Document
from nnlib.report.exporter import WIDGET
from nnlib.report.page import Page

NAMES = ["01_data", "02_network", "06_results"]
TINY = {"01_data": [text("# Tiny\n\nWhy?"), code("units = 3", "parameters"), code("units * 2")],
        "02_network": [text("# Second")]}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two notebooks that run in no time."""
    monkeypatch.setattr(book, "project_root", lambda: tmp_path)
    return write(tmp_path, TINY)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The sample's report, published once, on digits because nothing is reachable; its messages."""
    root = write(tmp_path_factory.mktemp("sample"))
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(io.StringIO()) as messages:
        patch.setattr(book, "project_root", lambda: root)
        patch.setattr(book, "load_dataset", _unreachable)
        index = book.publish("quick", out=root / "report", parameters={"units": 21})
    assert index == root / "report" / "index.html"
    return index.parent, messages.getvalue()


@pytest.fixture
def published(told: tuple[Path, str]) -> Path:
    """The folder of the sample's report."""
    return told[0]


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the kernels: the notebooks count as executed."""
    monkeypatch.setattr(book, "execute_all", _as_it_is)


@pytest.fixture(scope="module")
def tiny_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of the two notebooks, made once without a kernel."""
    root = write(tmp_path_factory.mktemp("tiny"), TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(book, "project_root", lambda: root)
        patch.setattr(book, "execute_all", _as_it_is)
        return book.publish("quick", "digits", root / "out").parent


@pytest.fixture
def old(project: Path, tiny_report: Path) -> Path:
    """The folder `out` of the project, in which a report stands already."""
    return shutil.copytree(tiny_report, project / "out")


def _as_it_is(notebooks: dict, *rest):
    return notebooks


def _unreachable(name: str):
    raise DownloadError(f"no mirror of {name} answered")


def soup(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def pdf_text(pdf: Path) -> str:
    return text_of(pdf.read_bytes(), "-layout")


# --- the published report


def test_report_holds_its_pages_and_nothing_outside_them(published: Path):
    files = {path.relative_to(published).as_posix() for path in published.rglob("*.*")}
    assert files == {"index.html", *(f"{name}.html" for name in NAMES), "nnlib-report.pdf",
                     "figures/tanh.svg", "figures/board.png", "api/index.html",
                     book.MANIFEST}  # fmt: skip
    assert sorted(path.name for path in published.parent.iterdir()) == ["notebooks", "report"]
    assert (published / "index.html").stat().st_mode & 0o444


def test_pages_ask_nothing_of_the_network(published: Path):
    for page in published.glob("*.html"):
        content = page.read_text(encoding="utf-8")
        addresses = set(
            re.findall(r"(?:https?:)?//[\w.]+", re.sub(r"base64,[\w+/=]+", "", content))
        )
        assert addresses <= {"http://www.w3.org"}, page.name
        for tag in soup(page).find_all(["img", "script", "link", "iframe"]):
            assert tag.get("src", "data:").startswith("data:")
            assert tag.name != "link"
        assert page.stat().st_size < 6e6


def test_front_page_shows_abstract_picture_headline_and_contents(published: Path):
    page = soup(published / "index.html")
    assert page.h1.get_text() == page.title.get_text() == book.TITLE
    assert "88.9 %" in page.main.find("strong").get_text()
    assert "quick profile" in page.main.get_text()
    assert page.main.find("img")["alt"] == 'A curve rising from −1 to "1" & flat at both ends'
    assert [row.td.get_text() for row in page.main.tbody.find_all("tr")][1] == "Trouser"
    entries = page.select("ol.contents li")
    assert [entry.a["href"] for entry in entries] == [f"{name}.html" for name in NAMES]
    assert entries[0].a.get_text() == "What is in the data"
    assert "how hard is each to tell" in entries[0].p.get_text()
    assert not page.select("details.code")
    assert "Figure" not in page.main.get_text()


def test_pages_lead_to_each_other(published: Path):
    first, second, third = (soup(published / f"{name}.html") for name in NAMES)
    assert first.select_one("a[rel=prev]") is None
    assert first.select_one("a[rel=next]")["href"] == "02_network.html"
    assert third.select_one("a[rel=prev]")["href"] == "02_network.html"
    assert third.select_one("a[rel=next]") is None
    assert second.select_one("[aria-current=page]").get_text(" ", strip=True).startswith("2")
    sections = [link["href"] for link in first.select(".sections a")]
    assert sections == ["#pixels-scaled", "#a-table-of-classes", "#exercises"]
    for page in (first, second, third):
        for link in page.select("a[href^='#']"):
            assert page.find(id=link["href"][1:]), link
    assert third.main.find("a", string="the data")["href"] == "01_data.html#counts"


def test_banner_stands_on_every_page_and_in_the_pdf(published: Path):
    for page in published.glob("*.html"):
        assert "1,797 small handwritten digits" in soup(page).select_one(".banner").get_text()
    assert "in place of Fashion-MNIST" in pdf_text(published / "nnlib-report.pdf")
    assert "Computed with the quick profile on digits." in soup(published / "index.html").get_text()


def test_figures_are_numbered_with_caption_and_alt(published: Path):
    figure = soup(published / "01_data.html").figure
    assert figure["id"] == "fig-tanh"
    assert figure.figcaption.get_text(" ", strip=True).startswith("Figure 1.1.")
    assert figure.figcaption.em.get_text() == "saturates"
    assert figure.figcaption.math["alttext"] == "\\pm 1"
    svg = base64.b64decode(figure.img["src"].partition(",")[2]).decode()
    assert "Verdana" in svg
    figures = soup(published / "02_network.html").find_all("figure")
    assert [f.figcaption.b.get_text() for f in figures] == ["Figure 2.1."]
    assert figures[0].img["src"].startswith("data:image/png;base64,iVBOR")


def test_tables_are_numbered_and_say_what_their_heads_are(published: Path):
    table = soup(published / "01_data.html").table
    assert table.caption.get_text() == "Table 1.1. Every class is as frequent as any other."
    assert {head["scope"] for head in table.find_all("th")} == {"col"}
    assert table.parent["tabindex"] == "0"
    assert table.parent["aria-label"] == table.caption.get_text()
    frame, prose = soup(published / "02_network.html").find_all("table")
    assert frame.tbody.th["scope"] == "row"
    assert frame.caption is None
    assert "border" not in frame.attrs
    assert prose.find_all("td")[2].get_text() == "0.01"


def test_mathematics_is_mathml(published: Path):
    page = soup(published / "02_network.html")
    equations = page.select("span.equation > math")
    assert len(equations) == 2
    assert equations[0].find("mtable")
    assert equations[0]["alttext"].startswith("\\begin{align}")
    assert "𝐖" in page.select("p math")[-1].get_text()  # \mathbf is upright
    assert not re.search(r"\\(frac|delta|begin)", page.main.get_text())
    assert page.find("mspace", width="0.17em").find_previous("mi").get_text() == "log"


def test_code_is_folded_to_its_first_line(published: Path):
    page = soup(published / "01_data.html")
    folds = page.select("details.code")
    assert folds[0].summary.code.get_text() == "import sys"
    assert folds[0].summary.select_one(".count").get_text() == "5 lines"
    opened = [fold for fold in folds if fold.has_attr("open")]
    assert [bool(fold.find_parent(class_="solution")) for fold in opened] == [True]
    assert folds[0].select_one(".highlight .kn")
    assert page.select_one(".output.stderr pre").get_text() == "a message"
    assert "model =" not in soup(published / "02_network.html").main.get_text()  # remove-input
    sample = page.select_one(".code-sample")
    assert sample.get_text().strip() == "model.forward(x)  # (N, K)"


def test_solutions_are_folded_as_one(published: Path):
    solutions = soup(published / "01_data.html").select("details.solution")
    assert len(solutions) == 1
    assert "sum divided by the number" in solutions[0].get_text()
    assert solutions[0].select_one(".output pre").get_text() == "42"


def test_sentences_with_numbers_read_as_prose_and_captions_come_once(published: Path):
    page = soup(published / "01_data.html")
    assert page.main.find("strong", string="42").parent.name == "p"
    assert page.main.get_text().count("The hyperbolic tangent") == 2 - 1 + _in_code(page)


def _in_code(page: BeautifulSoup) -> int:
    code_text = "".join(box.get_text() for box in page.select("details.code"))
    return code_text.count("The hyperbolic tangent")


def test_pdf_is_tagged_and_its_text_can_be_read(published: Path):
    pdf = published / "nnlib-report.pdf"
    check_glyphs(pdf.read_bytes())
    raw = pdf.read_bytes()
    for wanted in (b"/Lang(en)", b"/Marked true", b"/StructTreeRoot", b"/Outlines", b"pdfuaid"):
        assert wanted in raw, wanted
    shown = " ".join(pdf_text(pdf).split())
    assert book.TITLE in shown
    assert "Contents" in shown
    assert "Figure 1.1. The hyperbolic tangent saturates" in shown
    assert "Table 1.1. Every class" in shown
    assert re.search(r"T-shirt/top 6,000 10\.0%", shown)
    assert "Chapter 6 The results" in shown
    assert "Solution It is the sum" in shown
    assert "key number 11" in shown  # the end of a long line
    assert "−13.0" in shown or "-13.0" in shown


# --- parameters


def test_parameters_reach_the_notebooks_that_have_them(told: tuple[Path, str]):
    published, said = told
    page = soup(published / "01_data.html")
    assert page.main.find("strong", string="42")  # twice the 21 units
    assert re.search(r"\[1/3\] 01_data … [\d.]+ s\n\[2/3\] 02_network", said)


def test_a_comment_says_what_the_quick_profile_sets_and_what_is_given_comes_first(published: Path):
    assert "one line 21 1 [1]\n" in soup(published / "01_data.html").main.get_text()


def test_the_standard_profile_leaves_parameters_as_they_stand(project: Path):
    put(project, "01_data", code(PARAMETERS, "parameters"), code("print(units, depth, rates)"))
    (project / "notebooks" / "02_network.ipynb").unlink()
    book.publish("standard", "digits", project / "out")
    assert "3 2 (1, 2)" in soup(project / "out" / "01_data.html").main.get_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "fast"}, "profile must be quick or standard, got 'fast'"),
        ({"parameters": {"profile": "slow"}}, "profile must be quick or standard, got 'slow'"),
        ({"parameters": {"unit": 1}}, "no notebook has a parameter 'unit'; they have .*'units'"),
        ({"dataset": "mnits"}, "mnits"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(project, arguments, message):
    with pytest.raises(ValueError, match=message):
        book.publish(out=project / "out", **arguments)
    assert not (project / "out").exists()


def test_a_chosen_data_set_is_never_swapped(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(book, "load_dataset", _unreachable)
    with pytest.raises(DownloadError):
        book.publish("quick", "mnist", project / "out")


def test_a_chapter_whose_own_data_cannot_be_had_goes_on_with_digits(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    known = {"fashion-mnist": print, "cifar-10": _unreachable}
    monkeypatch.setattr(book, "load_dataset", lambda name: known[name](name))
    own = code('dataset = "cifar-10"', "parameters")
    (project / "notebooks" / "02_network.ipynb").unlink()
    put(project, "02_colour", text("# Colour\n\nWhich?"), own, code("print('it is', dataset)"))
    page = soup(book.publish("quick", out=project / "out").parent / "02_colour.html")
    assert "it is digits" in page.main.get_text()
    assert page.blockquote.get_text().strip().startswith("CIFAR-10 was neither at hand nor")
    assert soup(project / "out" / "01_data.html").blockquote is None
    assert "cifar-10 answered; 02_colour goes on with digits" in capsys.readouterr().err
    pdf = pdf_text(project / "out" / "nnlib-report.pdf")
    assert "CIFAR-10 was neither" in pdf


def test_no_notebooks_is_an_error_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(book, "project_root", lambda: tmp_path)
    with pytest.raises(ValueError, match="no notebooks in"):
        book.publish("quick", out=tmp_path / "out")


# --- what happens when something goes wrong


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


FOREIGN = {
    "a note in a report": Path.touch,
    "an empty folder": Path.mkdir,
    "a link": lambda path: path.symlink_to("/etc"),
    "a dead link": lambda path: path.symlink_to("nowhere"),
    "a pipe": lambda path: os.mkfifo(path),
}
MANIFESTS = [
    "", "null", "[]", "{}", "5", '{"files": null}', '{"files": 5}', '{"files": [["a"]]}',
    '{"files": ["../out/01_data.html", "/etc/passwd"]}', "[" * 100_000,
]  # fmt: skip


def put(project: Path, name: str, *cells) -> None:
    nbformat.write(new_notebook(cells=list(cells)), project / "notebooks" / f"{name}.ipynb")


@pytest.mark.usefixtures("canned")
def test_a_new_report_replaces_the_old_one_whole(project: Path):
    out = project / "out"
    book.publish("quick", "digits", out)
    (out / ".DS_Store").write_text("clutter")
    (project / "notebooks" / "02_network.ipynb").unlink()
    book.publish("quick", "digits", out)
    assert (out / "01_data.html").exists()
    assert not (out / "02_network.html").exists()
    assert sorted(path.name for path in project.iterdir()) == ["notebooks", "out"]


@pytest.mark.usefixtures("canned")
def test_publishing_the_same_run_twice_gives_the_same_bytes(tmp_path, monkeypatch):
    root = write(tmp_path)
    monkeypatch.setattr(book, "project_root", lambda: root)
    for out in ("one", "two"):
        book.publish("quick", "digits", root / out)
    assert snapshot(root / "one") == snapshot(root / "two")


def test_a_failing_cell_names_itself_and_leaves_the_old_report(project: Path, old: Path):
    before = snapshot(old)
    (project / "notebooks" / "01_data.ipynb").unlink()
    put(project, "02_network", text("# Second"), code("profile = 'standard'", "parameters"),
        code("# half way\nraise OverflowError('two\\nlines')"))  # fmt: skip
    with pytest.raises(ReportError) as caught:
        book.publish("quick", "digits", old)
    assert str(caught.value) == "02_network, cell 3 (# half way): OverflowError: two lines"
    assert snapshot(old) == before
    assert sorted(path.name for path in project.iterdir()) == ["notebooks", "out"]


def test_a_parameters_cell_that_is_not_python_fails_as_a_cell(project: Path):
    put(project, "01_data", code("units = = 3", "parameters"))
    with pytest.raises(ReportError, match=r"01_data, cell 1 \(units = = 3\): SyntaxError"):
        book.publish("quick", "digits", project / "out")


def test_a_kernel_that_dies_is_named(project: Path):
    put(project, "01_data", code("import os\nos._exit(3)"))
    with pytest.raises(ReportError, match="01_data: its kernel died"):
        book.publish("quick", "digits", project / "out")
    assert not (project / "out").exists()


INTERRUPTED = """
import sys
from pathlib import Path
from nnlib.report import book
book.project_root = lambda: Path(sys.argv[1])
book.load_dataset = print  # without scikit-learn, whose import takes longest
book.publish("quick", "digits", Path(sys.argv[1]) / "out")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ on Windows")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_what_is_told_to_stop_leaves_the_old_report_and_no_litter(project, old, name: str):
    before = snapshot(old)
    mark = project / "notebooks" / "running"
    put(project, "01_data", code(f"import pathlib, time\npathlib.Path({str(mark)!r}).touch()\n"
                                 "time.sleep(100)"))  # fmt: skip
    command = [sys.executable, "-c", INTERRUPTED, str(project)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert mark.exists()
    with pytest.raises(ValueError, match="another report is being made"):
        book.publish("quick", "digits", old)
    child.send_signal(getattr(signal, name))
    errors = child.communicate(timeout=60)[1]
    assert child.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert snapshot(old) == before
    assert sorted(path.name for path in project.iterdir()) == ["notebooks", "out"]


@pytest.mark.usefixtures("canned")
def test_an_interrupt_between_two_renames_brings_the_old_report_back(project, old, monkeypatch):
    before, rename = snapshot(old), Path.rename

    def interrupted(self: Path, target: Path):
        if self.name == "report":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        book.publish("quick", "digits", old)
    assert snapshot(old) == before
    assert sorted(path.name for path in project.iterdir()) == ["notebooks", "out"]


@pytest.mark.usefixtures("canned")
@pytest.mark.parametrize("kind", ["a file", "foreign files", *FOREIGN, *MANIFESTS])
def test_what_is_not_a_report_is_never_replaced(project, tiny_report: Path, kind: str, monkeypatch):
    out = project / "out"
    if kind == "a file":
        out.write_text("thesis")
    elif kind == "foreign files":
        out.mkdir()
        (out / "thesis.txt").write_text("three years of work")
    else:
        shutil.copytree(tiny_report, out)
        if kind in FOREIGN:
            FOREIGN[kind](out / "note")
        else:
            (out / book.MANIFEST).write_text(kind)
    before = snapshot(project), sorted(project.rglob("*"))
    monkeypatch.setattr(book, "execute_all", None)  # nothing is run
    with pytest.raises(ValueError, match=str(out)) as caught:
        book.publish("quick", "digits", out)
    assert "\n" not in str(caught.value)
    assert (snapshot(project), sorted(project.rglob("*"))) == before


@pytest.mark.usefixtures("canned")
def test_what_a_killed_report_left_is_cleared_away_and_nothing_else(project: Path, old: Path):
    left, other = project / f".out.{book.MARK}", project / ".out-thesis00"
    left.mkdir()
    other.mkdir()
    before = snapshot(old)
    old.rename(left / "previous")  # killed between two renames
    book.project_root = lambda: project / "nowhere"
    with pytest.raises(ValueError, match="no notebooks"):
        book.publish("quick", "digits", old)
    book.project_root = lambda: project
    book.publish("quick", "digits", old)
    assert sorted(path.name for path in project.iterdir()) == [".out-thesis00", "notebooks", "out"]
    assert snapshot(old) == before


@pytest.mark.usefixtures("canned")
def test_a_folder_that_cannot_make_room_is_refused_before_anything_runs(project, old, monkeypatch):
    def busy(self: Path, target: Path):
        raise OSError(errno.EBUSY, "Device or resource busy")  # as a mount point is

    monkeypatch.setattr(Path, "rename", busy)
    monkeypatch.setattr(book, "execute_all", None)
    with pytest.raises(ValueError, match="Device or resource busy; name a folder in it"):
        book.publish("quick", "digits", old)
    assert sorted(path.name for path in project.iterdir()) == ["notebooks", "out"]


def test_pages_hold_the_name_of_a_data_folder_and_no_path(project: Path, monkeypatch):
    monkeypatch.setattr(book, "load_dataset", print)
    monkeypatch.setenv("HOME", "/dev/null/none")  # matplotlib complains of where it cannot write
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/none")
    (project / "evil" / "x").mkdir(parents=True)
    monkeypatch.chdir(project)
    draw = "import matplotlib.font_manager"
    put(project, "01_data", code("dataset = 'digits'", "parameters"), code(draw))
    book.publish("quick", "evil/x", "out")
    page = soup(project / "out" / "01_data.html").get_text()
    assert 'dataset = "x"' in page
    assert "quick profile on x" in page
    assert not re.search(rf"{project}|MPLCONFIGDIR|evil", page)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_named(project: Path):
    locked = project / "locked"
    locked.mkdir(mode=0o555)
    with pytest.raises(ValueError, match=f"cannot write .*{locked}"):
        book.publish("quick", "digits", locked / "out")


@pytest.mark.usefixtures("canned")
def test_a_place_below_a_file_is_named(project: Path):
    (project / "file").write_text("")
    with pytest.raises(ValueError, match="file"):
        book.publish("quick", "digits", project / "file" / "out")


@pytest.mark.usefixtures("canned")
def test_without_solutions_none_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = write(tmp_path)
    monkeypatch.setattr(book, "project_root", lambda: root)
    book.publish("quick", "digits", root / "out", solutions=False)
    for page in (root / "out").glob("*.html"):
        assert "secret_solution" not in page.read_text(encoding="utf-8")
        assert not soup(page).select("details.solution")
    assert "secret_solution" not in pdf_text(root / "out" / "nnlib-report.pdf")


# --- the exporters by themselves


def test_exporters_are_registered_and_export_a_changed_notebook(tmp_path: Path):
    nb = new_notebook(cells=[*network_notebook(), text("### Mine\n\n[gone](#nowhere) ![x](y.png)")])
    page, _ = get_exporter("nnlib-html")().from_notebook_node(nb)
    body = BeautifulSoup(page, "html.parser")
    assert body.title.get_text() == "From one neuron to a net"
    assert body.select_one("nav .sections a")["href"] == "#backpropagation"
    assert not body.select(".pager, .banner")
    assert "x" in body.find(string=re.compile("gone")).find_parent("p").get_text()
    pdf, resources = get_exporter("nnlib-pdf")().from_notebook_node(nb)
    assert pdf.startswith(b"%PDF")
    assert resources["output_extension"] == ".pdf"


def test_a_notebook_without_title_or_cells_can_be_exported():
    resources = {"metadata": {"name": "scratch <1>"}}
    page, _ = Page().from_notebook_node(new_notebook(cells=[code("1 + 1")]), resources)
    body = BeautifulSoup(page, "html.parser")
    assert body.h1.get_text() == body.title.get_text() == "scratch <1>"
    assert Document().from_notebook_node(new_notebook())[0].startswith(b"%PDF")


def test_pictures_in_prose_are_embedded(tmp_path: Path):
    dot = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")
    (tmp_path / "dot.svg").write_bytes(base64.b64decode(dot))
    cell = text("# T\n\n![local](dot.svg) ![pasted](attachment:p.svg) ![far](https://x.org/a.png)")
    cell["attachments"] = {"p.svg": {"image/svg+xml": dot.decode()}}
    resources = {"metadata": {"name": "n", "path": str(tmp_path)}}
    nb = new_notebook(cells=[cell])
    page, _ = Page().from_notebook_node(nb, resources)
    images = BeautifulSoup(page, "html.parser").main.find_all("img")
    assert [image["alt"] for image in images] == ["local", "pasted"]
    assert all(image["src"] == f"data:image/svg+xml;base64,{dot.decode()}" for image in images)
    assert "x.org" not in page
    assert Document().from_notebook_node(nb, resources)[0].startswith(b"%PDF")


def test_widgets_leave_their_static_figure_alone():
    widget = {
        "output_type": "display_data",
        "metadata": {},
        "data": {WIDGET: {"model_id": "1"}, "text/plain": "IntSlider(value=3)"},
    }
    figure = {"output_type": "display_data",
              "data": {WIDGET: {"model_id": "2"}, "image/svg+xml": "<svg/>"},
              "metadata": {"image/svg+xml": {"alt": "curves", "caption": "Curves"}}}  # fmt: skip
    cell = code("play()")
    cell["outputs"] = [nbformat.from_dict(output) for output in (widget, figure)]
    page, _ = Page().from_notebook_node(new_notebook(cells=[cell]))
    assert "IntSlider" not in page
    assert BeautifulSoup(page, "html.parser").figure.figcaption.get_text() == "Figure 1. Curves"


def test_paper_leaves_out_what_only_draws_and_what_nobody_has_answered(tmp_path: Path):
    spoken, checked = code("say('spoken')"), code("check(None)", "exercise")
    spoken.metadata["jupyter"] = {"source_hidden": True}
    for cell, told in ((spoken, "It is spoken."), (checked, "No answer yet.")):
        cell["outputs"] = [nbformat.v4.new_output("display_data", {"text/markdown": told})]
    nb = new_notebook(cells=[text("# One"), spoken, checked])
    page, _ = Page().from_notebook_node(nb)
    assert all(each in page for each in ("say(", "It is spoken.", "check(", "No answer yet."))
    known = {"metadata": {"name": "one", "path": str(tmp_path)}}
    paper, _ = Document().chapter(nb, known, tmp_path)
    assert "It is spoken." in paper
    assert "check(None)" in paper
    assert not re.search(r"say\(|No answer", paper)


def test_prose_in_a_table_wraps_on_paper_and_other_tables_shrink(tmp_path: Path):
    wide = "a sentence that is longer than what stands beside other columns on a line of paper"
    table = "| n | what |\n|---:|:---|\n| 1 | {} |\n"
    nb = new_notebook(cells=[text("# One"), text(table.format(wide)), text(table.format("short"))])
    paper, _ = Document().chapter(nb, {"metadata": {"name": "one"}}, tmp_path)
    assert "#whole[#table(\n    columns: (auto, 1fr)," in paper
    assert "#fitted[#table(\n    columns: 2," in paper


def test_accents_and_signs_are_drawn_as_in_print():
    formulas = r"$\overline{g \hat x}$ and $(1,~ -2)$"
    page, _ = Page().from_notebook_node(new_notebook(cells=[text(f"# T\n\n{formulas}")]))
    bar, pair = BeautifulSoup(page, "html.parser").main.find_all("math")
    assert bar.select_one("mrow.over mover mo").get_text() == "^"
    assert not bar.find("mo", string="¯")
    assert pair.find("mo", string="−")["form"] == "prefix"


def test_a_skipped_heading_level_costs_the_standard_not_the_pdf(capsys):
    nb = new_notebook(cells=[text("# One\n\n#### Four")])
    assert Document().from_notebook_node(nb)[0].startswith(b"%PDF")
    assert "not PDF/UA" in capsys.readouterr().err


def test_an_unclosed_fence_does_not_swallow_the_page():
    cells = [text("# One\n\n```python\nopen"), text("## Two"), code("1")]
    page, _ = Page().from_notebook_node(new_notebook(cells=cells))
    assert BeautifulSoup(page, "html.parser").h2.get_text() == "Two"
