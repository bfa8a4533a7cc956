"""The reference: every public name with its words, on a page that everybody can read."""

import inspect
from pathlib import Path

import browser as chrome
import pytest
from bs4 import BeautifulSoup

import nnlib
from nnlib import layers
from nnlib.report.reference import public, reference


@pytest.fixture(scope="module")
def page() -> BeautifulSoup:
    return BeautifulSoup(reference(), "html.parser")


def test_every_name_of_the_library_s_face_is_told_and_linked_to(page: BeautifulSoup):
    names = {name for name, value in vars(nnlib).items() if inspect.isclass(value)
             or inspect.isfunction(value)}  # fmt: skip
    assert {"MLP", "fit", "SGD", "load_dataset", "evaluate"} <= names == set(public(nnlib))
    assert names <= {head.get_text() for head in page.select("h3")}
    for link in page.select("main a[href^='#']"):
        assert page.find(id=link["href"][1:]), link


def test_a_name_has_signature_and_docstring_and_a_class_its_methods(page: BeautifulSoup):
    text = " ".join(page.main.get_text().split())
    assert "fit(model: nnlib.network.MLP" in text
    assert inspect.getdoc(layers.Linear).splitlines()[0] in text
    assert "The parameters that weight decay acts on" in text  # of a property
    assert "MLP._build" not in text
    assert page.find("h4", string="MLP.forward")


def test_modules_are_the_contents_and_the_page_leads_back(page: BeautifulSoup):
    heads = [link.get_text() for link in page.select(".sections a")]
    assert {"nnlib.layers", "nnlib.network", "nnlib.interop", "nnlib.search"} <= set(heads)
    assert "nnlib.cli" not in heads
    assert page.html["lang"] == "en"
    assert page.main.find("a", href="../index.html")


def test_what_is_aligned_stays_so(page: BeautifulSoup):
    told = page.find("h3", string="complaint").find_next("pre").find_next("pre").get_text()
    assert told.startswith(">>> complaint(")
    assert "\n'No space left" in told


@pytest.mark.skipif(not chrome.chromium(), reason="no Chromium here; see NNLIB_CHROMIUM")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_asks_for_nothing_and_finds_no_fault(tmp_path: Path, width: int):
    file = tmp_path / "index.html"
    file.write_text(reference(), "utf-8")
    window = chrome.Browser()
    try:
        window.open(file, width)
        assert window.requests() == [file.resolve().as_uri()]
        assert window.problems() == []
        sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert window.evaluate(sideways) == 0
        assert not chrome.axe() or window.violations() == []
    finally:
        window.close()
