"""Notebooks of all kinds of cells, outputs and names: each is exported, and no word is lost.

A template's § is a word that JupyterLab shows, its № a number inside a formula. Junk may hide or
show anything: it is there to be survived, by itself and by the cells around it.
"""

# ruff: noqa: E501  (a case is a line)
import base64
import itertools
import re
import tempfile
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell
from pdf_glyphs import check_glyphs, text_of

from nnlib.report.document import Document
from nnlib.report.page import Page

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)
URI = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
PROSE = [
    "§ *§* **§** ~~§~~ `§` [§](https://example.org/§) <§@example.org>", "# §", "### § `§` $№$",
    "Setext §\n===", "§  \n§\n§", "- §\n- §\n  1. §\n     > §\n", "> §\n>\n> - §", "1. §\n\n   §\n2. §",
    "|§|§|\n|:-|-:|\n|§|$№$|\n|`§`|§|", "```python\n§ = '$§$'  # §\n```", "~~~\n§ ``` <!-- §\n~~~",
    "    § indented", "§ <!-- closed --> §", "<div>§ <b>§", "</div></div> §", "<div align=center>\n\n§\n\n</div>",
    '<div class="alert alert-warning">\n\n**§** §\n\n- §\n\n</div>', "<details><summary>§</summary>\n\n§\n</details>",
    "<table><tr><td>§</td><th>§</th></tr><tr><td colspan=2>§</table>", "<font color='red'>§</font><br><kbd>§</kbd>",
    "<dl><dt>§</dt><dd>§</dd></dl>", "<img src='nowhere.png' alt='§'> §", "![§](nowhere%20§.png 'title')",
    f"![alt]({URI}) §", f"| |\n|-|\n|![alt]({URI}) §|", f"> ![alt]({URI}) §", "![§](attachment:none.png)",
    "$ № $ § $$ № $$ §", "$$\n№ = x\n$$", "\\begin{align}№ &= a\\\\ № &= b\\end{align} §", "\\\\(№\\\\) § \\\\[№\\\\]",
    "$\\newcommand{\\vec}[1]{#1} \\vec{№}$ §", "$\\def\\a{№} \\a$", "- §\n  $$№\n  + 1$$\n- §", "§ costs \\$5 and \\$6 §",
    "§ `$a` and `$b` §", "$\\frac{№}{№} \\over №$", "$\\nonsense{№}$ §", "$\\begin{cases}№ & №\\end{cases}$",
    "§ --flag ... \"§\" '§' -- §", "#let § = [§ $ @§ <a> // §", "::: {.solution}\n§\n:::", "[§]: # (§) §", "§[^1]\n\n[^1]: §",
    "§ & < > &amp; § \\* \\_ \\# §", "中文 § 日本 é ß 😀 §", "- [ ] §\n- [x] §", "[§](#§) [§](02_network.ipynb#x) [§]() <a name='§ §'>§</a>",
    "## Same §\n\n## Same §", "<h2 id='a b'>§</h2><p id='a'>§<p id='a'>§", "§<br/>§<hr/>§", "H<sub>§</sub> x<sup>§</sup>",
]  # fmt: skip
OPEN = [  # each at the end of a cell, whose own it is to swallow
    "```\n§ never closed", "§\n\n<!-- open", "§\n\n<style> p { display: none", "<pre>§\n§", "§\n\n<script>open",
    "§\n\n<textarea>§", "<table><tr><td>§", "§ $$ § \\begin{x}",
]  # fmt: skip
HTML = [
    "<p>§</p>", "§ <b>§", "<table id='x'><thead><tr><th>§</th><th></th></tr></thead><tbody><tr><td>§<td>$№$</table>",
    "<table><caption>§</caption><tr><td rowspan=0 colspan=99>§</td></tr><tr></tr></table>", "<table></table>§",
    "<style>#T {color: red} td {color: blue}</style><table><tr><td id='T' style='background: rgb(1, 2, 3)'>§</table>",
    "<center>§</center><small>§</small><u>§</u>", f"<figure><img src='{URI}'><figcaption>§</figcaption></figure>",
    "<div style='display: none'>unseen</div>§", "<div hidden>unseen</div><pre>§\n§</pre>", "<svg><text>unseen</text></svg>§",
    "<iframe src='https://example.org/§'></iframe>", "<script>unseen()</script>§", "<ul><li>§<li>§<ol><li>§</ul>",
    "<a href='x'>§</a><a>§</a>", "<table><tr><td><table><tr><td>§</table></table>", "§<img src='data:image/png;base64,!'>",
    "<span style='color:#12'>§</span><span style='color:nocolour'>§</span>", "<blockquote>§<h1>§</h1></blockquote>",
]  # fmt: skip
TEXTS = [
    "§", "§\n§\n\n§", "lost\r§", "\x1b[1;31m§\x1b[0m §", "\x1b]8;;http://x.y\x07§\x1b]8;;\x07", "ab\b\b§\x1b[?25h", "§ " * 40,
    "§\x00§\x0c§", "```\n§", "<b>§ &amp; $§$ #§", "x" * 300 + " §", "lost\x1b[2K\r§\x1b[K", "a\tb § \ud83d".encode("utf-8", "replace").decode() + "§",
]  # fmt: skip
LATEX = [
    "$№$",
    "$\\displaystyle \\sum_{№} x$ §",
    "$$№$$",
    "\\begin{equation}№\\end{equation}",
    "§ \\(№\\)",
]
JUNK = st.text(
    st.sampled_from("aé0 \n\t`*_#$\\{}[]()<>!|&~-+=\"'/:@%^^;.,1\x00\ufeff中"), max_size=60
)
NAMES = st.text(
    st.sampled_from("ab0_ -()[]{}%<>'\"#@&$!~,;=+测试éß☃😀."), min_size=1, max_size=20
).map(lambda name: name.strip(". ") or "notebook")  # fmt: skip
PICTURES = st.sampled_from([PNG, PNG[:40], b"", b"GIF89a", b"BM", b"\xff\xd8\xff", b"II*\x00"])


@st.composite
def outputs(draw: st.DrawFn) -> nbformat.NotebookNode:
    kind = draw(
        st.sampled_from(["stream", "html", "markdown", "latex", "text", "error", "picture"])
    )
    if kind == "stream":
        text = draw(st.sampled_from(TEXTS)) + "\n"
        return new_output("stream", name=draw(st.sampled_from(["stdout", "stderr"])), text=text)
    if kind == "error":
        lines = [draw(st.sampled_from(TEXTS)), "§"]
        return new_output("error", ename="E", evalue="v", traceback=lines)
    meta = draw(st.sampled_from([{}, {"caption": "cap $x$ *a*", "name": "a b"}, {"alt": "alt"}]))
    if kind == "picture":
        content = draw(PICTURES)
        data = {
            draw(st.sampled_from(["image/png", "image/jpeg"])): base64.b64encode(content).decode()
        }
        data["text/plain"] = "not drawn" if content == PNG else "§"
    else:
        pool = {"html": HTML, "markdown": PROSE, "latex": LATEX, "text": TEXTS}[kind]
        mime = {"text": "plain"}.get(kind, kind)
        data = {f"text/{mime}": draw(st.sampled_from(pool))}
        if kind not in ("text", "html") or draw(st.booleans()):
            data.setdefault("text/plain", "less rich")
    return new_output("display_data", data, metadata=meta)


@st.composite
def notebooks(draw: st.DrawFn) -> tuple[str, nbformat.NotebookNode]:
    cells = []
    for _ in range(draw(st.integers(1, 7))):
        kind = draw(st.sampled_from(["markdown", "markdown", "code", "code", "raw", "junk"]))
        tags = draw(st.sampled_from([[], [], [], ["solution"], ["parameters"], ["odd tag"]]))
        if kind == "code":
            shown = draw(st.lists(outputs(), max_size=3))
            source = draw(
                st.sampled_from(["", "§ = 1  # §", "print('''§```\n§''')", "%%html\n<!-- §"])
            )
            cell = new_code_cell(source, outputs=shown)
        elif kind == "junk":
            cell = draw(st.sampled_from([new_markdown_cell, new_raw_cell]))(draw(JUNK))
        elif kind == "raw":
            cell = new_raw_cell(draw(st.sampled_from(["§ <!-- <b>§", "# §\n$§$ \\begin{§}"])))
        else:
            parts = draw(st.lists(st.sampled_from(PROSE), max_size=2))
            source = "\n\n".join([*parts, draw(st.sampled_from([*PROSE, *OPEN]))])
            cell = new_markdown_cell(source)
        cell.metadata["tags"] = tags
        cells.append(cell)
    nb = new_notebook(cells=cells)
    counter = itertools.count(10001)
    text = nbformat.writes(nb)
    text = re.sub(
        "[§№]", lambda mark: f"{next(counter)}" if mark[0] == "№" else f"w{next(counter)}x", text
    )
    nb = nbformat.reads(text, as_version=4)
    nbformat.validate(nb)
    return draw(NAMES), nb


def missing(words: set[str], text: str) -> list[str]:
    text = re.sub(r"[\s\u200b]+", "", text)
    return sorted(word for word in words if word not in text)


def words_of(nb: nbformat.NotebookNode) -> set[str]:
    """Return every word and number that JupyterLab shows; where several forms are, of the first."""
    texts = []
    for cell in nb.cells:
        texts.append(cell.source)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            rich = [
                data[mime] for mime in data if mime in ("text/html", "text/markdown", "text/latex")
            ]
            texts += rich or [data.get("text/plain", "")]
            texts += [output.get("text", ""), *output.get("traceback", [])]
    unseen = r"https://example\.org/w\d+x\)|nowhere%20w\d+x|<!-- w.*|\(#w\d+x\)|name='[^']*'|w\d+x@"
    unseen += r"|(?m:^\[[^\]]*\]:.*)|def\\a\{\d+\}"
    return set(
        re.findall(r"w\d{5}x|\b\d{5}\b", "\n".join(re.sub(unseen, "", each) for each in texts))
    )


def check(name: str, nb: nbformat.NotebookNode) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{name}.ipynb")
        nbformat.write(nb, file)
        page = Page().from_filename(str(file))[0]
        pdf = Document().from_filename(str(file))[0]
    check_glyphs(pdf)
    words = words_of(nb)
    main = BeautifulSoup(page, "html.parser").main
    assert not missing(words, main.get_text())
    assert not missing(words, text_of(pdf, "-raw"))


CALM = settings(
    deadline=None, suppress_health_check=list(HealthCheck), derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # a whole notebook says more than a shrunk one
)  # fmt: skip


@settings(CALM, max_examples=8)
@given(notebooks())
def test_a_few_notebooks(case):
    check(*case)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(CALM, max_examples=300)
@given(notebooks())
def test_many_notebooks(case):
    check(*case)
