"""The published pages in a real browser with the network cut, as readers meet them.

One page that has everything on it is made here; NNLIB_REPORT names the folder of a whole report
whose pages are all to be looked at instead.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import browser as chrome
import pytest
from nbformat.v4 import new_notebook, new_output
from sample_notebooks import code, data_notebook, network_notebook, text

from nnlib.report.page import Page

needs_browser = pytest.mark.skipif(
    not chrome.chromium(), reason="no Chromium here; name one in NNLIB_CHROMIUM"
)
needs_axe = pytest.mark.skipif(
    not chrome.axe(), reason="no axe-core here; name its axe.min.js in NNLIB_AXE"
)
pytestmark = needs_browser
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="700" height="300"><rect width="9"/></svg>'
LINE = "- $a = (-0.5 - 0.5,~ -1 + 3,~ -1.5 + 0.5,~ 1 - 2 + 3) = (-1,~ 2,~ -1,~ 2)$, as said.\n"
WIDE = "<table><tr><td></td>" + "".join(f"<th>column {i}</th>" for i in range(30)) + "</tr></table>"


REPORT = os.environ.get("NNLIB_REPORT")
PAGES = sorted(Path(REPORT).glob("*.html")) if REPORT else [None]


@pytest.fixture(scope="module", params=PAGES, ids=lambda path: path.stem if path else "sample")
def page(request: pytest.FixtureRequest, sample: Path) -> Path:
    """Each page of the report that NNLIB_REPORT names, or the sample."""
    return request.param or sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One page with everything on it, made without a kernel."""
    cells = data_notebook() + network_notebook()[3:]
    cells += [text(LINE), text("Solved.", "solution"), code("x" * 88, "solution")]
    drawn = code("draw()")
    about = {"image/svg+xml": {"alt": "A dot", "caption": "A dot in $\\mathbb{R}^2$", "name": "d"}}
    drawn.outputs = [
        new_output("display_data", {"image/svg+xml": SVG}, metadata=about),
        new_output("display_data", {"text/html": WIDE}),
        new_output("stream", name="stdout", text="word " * 100),
        new_output("stream", name="stderr", text="careful"),
        new_output(
            "error", ename="ValueError", evalue="no", traceback=["\x1b[31mValueError\x1b[0m"]
        ),
    ]
    file = tmp_path_factory.mktemp("page") / "page.html"
    html, _ = Page().from_notebook_node(new_notebook(cells=[*cells, drawn]))
    file.write_text(html, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def window() -> Iterator[chrome.Browser]:
    """A browser that all tests share."""
    opened = chrome.Browser()
    yield opened
    opened.close()


LOOKS = [(1280, False), (1280, True), (390, False), (390, True)]
UNFOLD = "document.querySelectorAll('details').forEach(fold => { fold.open = true; })"
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
CLIPPED = """[...document.querySelectorAll('main :is(p, li, math, img, code)')].filter(
    part => !part.closest('.scroll, summary, .side')
        && part.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map(part => part.outerHTML.slice(0, 200))"""
WITHOUT_NAME = """[...document.images].filter(image => !image.alt || !image.naturalWidth)
    .map(image => image.outerHTML.slice(0, 200))"""


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_page_is_whole_and_fits(window: chrome.Browser, page: Path, width: int, dark: bool):
    window.open(page, width, dark)
    assert window.requests() == [page.resolve().as_uri()]
    assert window.problems() == []
    window.evaluate(UNFOLD)
    assert window.evaluate(SIDEWAYS) == 0
    assert window.evaluate(CLIPPED) == []
    assert window.evaluate(WITHOUT_NAME) == []
    heights = "[...document.querySelectorAll('math')].map(m => m.getBoundingClientRect().height)"
    assert min(window.evaluate(heights), default=9) > 5
    assert page.stat().st_size < 6e6
    fonts = window.evaluate("[...document.fonts].filter(f => f.status == 'loaded').length")
    assert fonts >= 3


@needs_axe
@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_axe_finds_no_fault(window: chrome.Browser, page: Path, width: int, dark: bool):
    window.open(page, width, dark)
    assert window.violations() == []
    window.evaluate(UNFOLD)
    assert window.violations() == []


def test_links_lead_somewhere(window: chrome.Browser, page: Path):
    window.open(page)
    links = "[...document.querySelectorAll('a[href]')].map(link => link.getAttribute('href'))"
    for link in window.evaluate(links):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if REPORT and "://" not in link:
            assert target.is_file(), link
        if anchor and target.is_file():
            assert f'id="{unquote(anchor)}"' in target.read_text(encoding="utf-8"), link


def test_code_of_88_characters_fits_beside_the_contents(window: chrome.Browser, page: Path):
    window.open(page, 1280)
    window.evaluate(UNFOLD)
    cut = """[...document.querySelectorAll('details.code .scroll')].filter(
        box => box.scrollWidth > box.clientWidth
            && !box.textContent.split('\\n').some(line => line.length > 88))
        .map(box => box.textContent.slice(0, 200))"""
    assert window.evaluate(cut) == []


def test_what_overflows_can_be_reached_by_keyboard(window: chrome.Browser, page: Path):
    window.open(page, 390)
    window.evaluate(UNFOLD)
    window.evaluate("new Promise(done => setTimeout(done, 200))")
    wrong = """[...document.querySelectorAll('.scroll')].filter(
        box => (box.scrollWidth > box.clientWidth) != (box.tabIndex == 0))
        .map(box => box.outerHTML)"""
    assert window.evaluate(wrong) == []
    if not REPORT:
        assert window.evaluate("document.querySelectorAll('.scroll[tabindex]').length") >= 3


def test_switches_are_remembered(window: chrome.Browser, sample: Path):
    opened = "document.querySelectorAll('details.code[open]:not(.read)').length"
    ground = "getComputedStyle(document.body).backgroundColor"
    window.open(sample)
    light = window.evaluate(ground)
    assert window.evaluate(opened) == 0
    window.evaluate("document.getElementById('code-switch').click()")
    window.evaluate("document.getElementById('theme-switch').click()")
    dark = window.evaluate(ground)
    assert dark != light
    window.open(sample)
    assert window.evaluate(ground) == dark
    assert window.evaluate(opened) == window.evaluate(
        "document.querySelectorAll('details.code:not(.read)').length"
    )
    assert window.evaluate("document.getElementById('theme-switch').ariaPressed") == "true"
    window.evaluate("localStorage.clear()")


def test_without_scripts_code_still_unfolds(window: chrome.Browser, sample: Path):
    still = sample.with_name("still.html")
    still.write_text(
        re.sub(r"<script>.*?</script>", "", sample.read_text("utf-8"), flags=re.DOTALL)
    )
    window.open(still, 390)
    assert window.evaluate("[...document.querySelectorAll('button')].every(b => b.hidden)")
    assert window.evaluate(SIDEWAYS) == 0
    fold = "document.querySelector('details.code')"
    assert window.evaluate(f"{fold}.querySelector('summary').click(), {fold}.open")
    assert window.evaluate("document.querySelectorAll('.scroll:not([tabindex])').length") == 0


def test_a_page_runs_its_own_scripts_alone(window: chrome.Browser, sample: Path):
    changed = "document.title = 'changed'"
    hostile = (
        f'<img src=x onerror="{changed}"><script>{changed}</script><b onclick="{changed}">b</b>'
    )
    file = sample.with_name("hostile.html")
    file.write_text(sample.read_text("utf-8").replace("</main>", f"{hostile}</main>"))
    window.open(file)
    window.evaluate("document.querySelector('b[onclick]').click()")
    assert window.evaluate("document.title") != "changed"
    assert not window.evaluate("document.getElementById('theme-switch').hidden")
