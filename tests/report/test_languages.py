"""Another language: how texts are looked up, what becomes of notebooks, that none is missing."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_notebook
from sample_notebooks import code, text, write

from experiments import languages
from nnlib import language
from nnlib.checks import InputError
from nnlib.language import gettext, speaking
from nnlib.notebook import output, plots
from nnlib.report import book
from nnlib.report.page import Page
from nnlib.report.translation import paragraphs, translated

ENTRIES = {
    "epoch": "轮次",
    "rate {}": "学习率 {}",
    "{} and {}": "{} 与 {}",
    "{} of {} are right": "共 {1} 个，对 {0} 个",
    "Coat": "外套",
    "# A title": "# 标题",
    "Two lines, $a + b$.": "两行，$a + b$。",
    "- an item": "- 一项",
    "Contents": "目录",
}


@pytest.fixture(autouse=True)
def chinese(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Catalogues of a few entries, in place of the real ones."""
    if "real" in request.keywords:
        yield
        return
    (tmp_path / "zh").mkdir()
    lines = (f'msgid "{english}"\nmsgstr "{told}"\n' for english, told in ENTRIES.items())
    (tmp_path / "zh" / "some.po").write_text("\n".join(lines), "utf-8")
    monkeypatch.setattr(language, "CATALOGUES", tmp_path)
    forget()
    yield
    forget()


def forget() -> None:
    for kept in (language.catalogue, language._patterns, language._translated):
        kept.cache_clear()


# --- a text


@pytest.mark.parametrize(
    ("english", "told"),
    [
        ("epoch", "轮次"),
        ("rate 0.001", "学习率 0.001"),
        ("3 of 10 are right", "共 10 个，对 3 个"),
        ("Coat and Shirt", "外套 与 Shirt"),  # names are looked up as well
        ("rate Coat", "学习率 外套"),
        ("nobody knows this", "nobody knows this"),
        ("", ""),
    ],
)
def test_a_text_is_looked_up_with_what_fills_it(english: str, told: str):
    assert gettext(english) == english
    with speaking("zh"):
        assert gettext(english) == told
    assert gettext(english) == english


def test_the_language_is_that_of_the_variable_or_of_the_folder(tmp_path, monkeypatch):
    place = tmp_path / "notebooks" / "zh"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    assert language.language() == "zh"
    monkeypatch.setenv("NNLIB_LANGUAGE", "en")
    assert language.language() == "en"
    monkeypatch.setenv("NNLIB_LANGUAGE", "klingon")
    with pytest.raises(InputError, match="unknown language 'klingon': use en, zh"):
        language.language()


def test_english_reads_no_catalogue():
    source = "import sys, nnlib.notebook, nnlib.exercises; assert 'babel' not in sys.modules"
    subprocess.run([sys.executable, "-c", source], check=True, env={"PATH": ""})


# --- a notebook

SOURCE = (
    "# A title\nTwo lines,\n$a + b$.\n\n- an item\n  that goes on\n- an item\n\n```\n# A title\n```"
)


def test_paragraphs_end_at_blank_lines_headings_and_items():
    found = ["# A title", "Two lines, $a + b$.", "- an item that goes on", "- an item"]
    assert paragraphs(SOURCE) == found
    assert paragraphs("$$\na\n\n+ b\n$$\n\n`code` $x$\n\n| one |\n|---|") == ["| one |\n|---|"]


def test_prose_is_translated_and_code_is_not():
    nb = new_notebook(cells=[text(SOURCE), code("epoch = 'epoch'")])
    assert translated(nb) is nb
    with speaking("zh"):
        done = translated(nb)
    assert done.cells[0].source == (
        "# 标题\n两行，$a + b$。\n\n- an item\n  that goes on\n- 一项\n\n```\n# A title\n```"
    )
    assert done.cells[1].source == nb.cells[1].source
    done.cells.append(text("## Part"))
    page = Page().from_notebook_node(done, {"metadata": {"name": "any", "path": "."}})[0]
    assert 'aria-label="目录"' in page


def test_the_words_of_a_figure_are_translated():
    fig, ax = plots.figure()
    ax.plot([1, 2], label="epoch")
    ax.legend()
    ax.set_yticks([1, 2], ["Coat", "Coat and Coat"])
    plots.label(ax, "epoch", "rate 3", "epoch\nCoat")
    assert output.in_language(fig).axes[0].get_xlabel() == "epoch"
    with speaking("zh"):
        output.in_language(fig)
    fig.canvas.draw()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("轮次", "学习率 3")
    assert ax.get_title(loc="left") + ax.get_title() == "轮次\n外套"
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["外套", "外套 与 外套"]
    assert ax.get_legend().get_texts()[0].get_text() == ax.lines[0].get_label() == "轮次"


def test_editions_lead_to_each_other_and_keep_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "project_root", lambda: tmp_path)
    monkeypatch.setattr(book, "execute_all", lambda notebooks, *rest: notebooks)
    write(tmp_path, {"01_data": [text("# A title\n\nWhy?")]})

    def made(name: str) -> str:
        with speaking(name):
            return book.publish("standard", "digits", tmp_path / "out").read_text("utf-8")

    out = tmp_path / "out"
    assert 'zh/index.html"' not in made("en")
    assert '<a href="../index.html" lang="en">' in made("zh")
    assert (out / "index.html").read_text("utf-8").count('<a href="zh/index.html" lang="zh">') == 1
    assert "标题" in (out / "zh" / "01_data.html").read_text("utf-8")
    assert made("en").count('<a href="zh/index.html" lang="zh">') == 1
    assert (out / "zh" / "nnlib-report.pdf").exists()
    made("zh")
    (out / "zh" / "mine.txt").touch()
    with pytest.raises(InputError, match=r"zh/mine\.txt"):
        made("en")


# --- the project's own catalogues


@pytest.fixture(scope="module")
def english() -> languages.Found:
    return languages.english()


@pytest.mark.real
@pytest.mark.parametrize("name", [*(path.stem for path in languages.chapters()), "nnlib"])
def test_every_text_is_translated(english: languages.Found, name: str):
    lines = [line for code in language.LANGUAGES[1:]
             for line in languages.faults(name, code, english[name])]  # fmt: skip
    assert not lines, "\n".join(lines)


@pytest.mark.real
def test_chinese_notebooks_are_the_english_ones_translated():
    for path in sorted((languages.ROOT / "notebooks" / "zh").glob("*.ipynb")):
        with speaking("zh"):
            due = translated(nbformat.read(path.parent.parent / path.name, as_version=4))
        found = nbformat.read(path, as_version=4)
        assert [c.source for c in found.cells] == [c.source for c in due.cells], path.name


@pytest.mark.real
def test_links_within_a_chinese_chapter_lead_to_its_headings():
    for path in sorted((languages.ROOT / "notebooks" / "zh").glob("*.ipynb")):
        nb = nbformat.read(path, as_version=4)
        nb.cells = [cell for cell in nb.cells if cell.cell_type == "markdown"]
        anchors = re.findall(r"\]\(#([^)]+)\)", "\n".join(cell.source for cell in nb.cells))
        known = {"metadata": {"path": str(path.parent)}}
        page = Page().from_notebook_node(nb, known)[0] if anchors else ""
        for anchor in anchors:
            assert f'id="{anchor}"' in page, (path.name, anchor)
