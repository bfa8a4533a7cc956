"""What JupyterLab shows is in the page and in the PDF, cell by cell, whatever other cells hold.

All cases are cells of one notebook, exported once in each form: none may disturb its neighbours.
"""

# ruff: noqa: E501  (a case is a line)
import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bs4 import BeautifulSoup
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell
from pdf_glyphs import check_glyphs, text_of
from PIL import Image

from nnlib.notebook import output, plots
from nnlib.report.document import Document
from nnlib.report.page import Page


def drawn(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, kind)
    return stream.getvalue()


def coded(content: bytes) -> str:
    return base64.b64encode(content).decode()


PNG = drawn("PNG")
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="4"/></svg>'
URI = f"data:image/png;base64,{coded(PNG)}"
STYLED = (
    "<style>#T_a_row0_col0 {background-color: yellow; color: #ff0000} #T_a th {color: blue}</style>"
    '<table id="T_a"><caption>Painted</caption><thead><tr><th>h</th></tr></thead>'
    '<tbody><tr><td id="T_a_row0_col0">ochre</td></tr></tbody></table>'
)
SKLEARN = (
    "<style>#sk-1 {color: black}</style><div id='sk-1' class='sk-top-container'>"
    "<div class='sk-text-repr-fallback'><pre>LogisticRegression(C=2)</pre><b>In a Jupyter "
    "environment, please rerun</b></div><div class='sk-container' hidden>diagram</div></div>"
)
PLOTLY = (
    "<div><script>require(['plotly'])</script><div id='p' class='plotly-graph-div'></div></div>"
)


def markdown(source: str, **attachments: bytes) -> NotebookNode:
    kept = {name: {"image/png": coded(content)} for name, content in attachments.items()}
    return new_markdown_cell(source, **({"attachments": kept} if kept else {}))


def told(metadata: dict | None = None, **bundle: Any) -> NotebookNode:
    """A code cell with one output; text_html stands for text/html."""
    data = {key.replace("_", "/", 1).replace("svg", "svg+xml"): v for key, v in bundle.items()}
    return new_code_cell(outputs=[new_output("display_data", data, metadata=metadata or {})])


def printed(*texts: str, name: str = "stdout") -> NotebookNode:
    return new_code_cell(outputs=[new_output("stream", name=name, text=text) for text in texts])


def raw(source: str, kind: str = "") -> NotebookNode:
    return new_raw_cell(source, metadata={"raw_mimetype": kind} if kind else {})


MATH, EQUATION = "#math.equation", "span.equation > math"
DRAWN, IMG = 'image\\("picture', "img[src^='data:image/']"
AS_CODE = r"`|#raw"
CASES: dict[str, tuple] = {  # cell, words in both, then what the page, and typst, must have
    # mathematics
    "spaces in dollars": (markdown("is $ x_1 $ so"), "is so", "math", MATH),
    "newline in dollars": (markdown("is $x\n+ y$ so"), "so", "math mo", MATH),
    "definition": (markdown(r"$\newcommand{\RR}[1]{\mathbb{R}^{#1}}$ defined"), "defined", "p", ""),
    "its use": (markdown(r"$x \in \RR{7}$ used"), "7 used", "math msup", "bb"),
    "def": (markdown(r"\begin{equation}\def\half{\frac12} \half\end{equation}"), "", EQUATION, "1 / 2"),
    "use in an output": (told(text_latex=r"$\displaystyle \RR{8}$"), "8", "math msup", "bb"),
    "eqnarray": (markdown("\\begin{eqnarray}a &=& b\\\\c &=& 5\\end{eqnarray}"), "5", EQUATION, MATH),
    "alignat": (markdown("\\begin{alignat}{2}a &= b & c &= 6\\end{alignat}"), "6", EQUATION, MATH),
    "cases": (markdown("$$f=\\begin{cases}0 & 4\\\\1 & 3\\end{cases}$$"), "4 3", EQUATION, "cases"),
    "bare pmatrix": (markdown("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}"), "1 2", "mtable", "mat"),
    "determinant": (markdown("$$\\begin{vmatrix}5&6\\\\7&8\\end{vmatrix}$$"), "", EQUATION, r'delim: "\|"'),
    "norm": (markdown("$$\\begin{Vmatrix}5&6\\end{Vmatrix}$$"), "", EQUATION, 'delim: "‖"'),
    "align in a list": (
        markdown("- item\n  \\begin{align}a &= b\\\\c &= 9\\end{align}\n- next"),
        "item 9 next", "li math", MATH),
    "double backslash": (markdown(r"so \\( k_9 \\) and \\[ 8 + 1 \\] too"), "so too", EQUATION, MATH),
    "single backslash": (markdown(r"so \( plain \) too"), "so ( plain ) too", "p", "plain"),
    "over": (markdown(r"${a \over b} + {1 \atop 2}$"), "", "mfrac", MATH),
    "tag": (markdown(r"$$x = 1 \tag{17}$$"), "17", "math", MATH),
    "tags in align": (
        markdown("\\begin{align}a &= 1 \\tag{18}\\\\ b &= 2 \\tag{19}\\end{align}"), "18 19", "math", MATH),
    "cancel": (markdown(r"$\cancel{x} + \textcolor{red}{y}$"), "", "math", "cancel"),
    "old fonts": (markdown(r"${\rm d}x\, {\bf y} \in {\cal L}$ here"), "here", "math", "cal"),
    "references": (markdown(r"$$x \label{eq:a} \nonumber$$ see $\eqref{eq:a}$"), "see", "math", MATH),
    "unknown command": (markdown(r"is $\unheardof{x}$ so"), r"is \unheardof{x} so", "code", AS_CODE),
    "broken": (markdown(r"is $\frac{1}{$ so"), "so", "p", ""),
    "dollars in code": (markdown("`$HOME` and `$PATH` cost $5"), "$HOME and $PATH cost $5", "code", ""),
    "dollars in a fence": (markdown("```sh\necho $a $b \\begin{x}\n```"), r"echo $a $b \begin{x}", "pre", ""),
    "escaped dollars": (markdown(r"from \$5 to \$6"), "from $5 to $6", "p:not(:has(math))", ""),
    "one dollar": (markdown("it costs $5 only\n\nand $6"), "costs $5 only and $6", "p", ""),
    "in a table": (markdown("|a|b|\n|-|-|\n|$p_1$|w|"), "w", "td math", MATH),
    "in HTML": (markdown("<div>\n<b>is</b> $q_1$ so</div>"), "is so", "div > math", MATH),
    "in an output": (told(text_html="<table><tr><td>$r_1$</td></tr></table>"), "", "td math", MATH),
    "stars in formulas": (markdown("$a*b$ and $c*d$ x"), "and", "math", MATH),
    "in a heading": (markdown("### The $L_2$ norm"), "The norm", "h3 math", MATH),
    # pictures
    "in a table cell": (markdown(f"|a|\n|-|\n|![dot]({URI})|"), "", f"td {IMG}", DRAWN),
    "in an alert": (
        markdown(f'<div class="alert alert-info">\n\n![dot]({URI}) **bold**\n\n</div>'),
        "bold", f".alert {IMG}", DRAWN),
    "in an alert's HTML": (
        markdown(f'<div class="alert alert-block alert-danger"><img src="{URI}"> risk</div>'),
        "risk", f".alert {IMG}", DRAWN),
    "in a quotation": (markdown(f"> said\n> ![dot]({URI})"), "said", f"blockquote {IMG}", DRAWN),
    "in a list": (markdown(f"1. first\n   ![dot]({URI})\n2. second"), "first second", f"li {IMG}", DRAWN),
    "file": (markdown("![dot](dot.png)"), "", IMG, DRAWN),
    "file with a space": (markdown("![dot](my%20dot%20%231.png)"), "", IMG, DRAWN),
    "file in HTML": (markdown('<img src="dot.png" width="2000"/>'), "", IMG, "100%"),
    "file in an output": (told(text_html='<img src="dot.png">'), "", IMG, DRAWN),
    "attachment": (markdown("![p](attachment:a.png)", **{"a.png": PNG}), "", IMG, DRAWN),
    "attachment with a space": (
        markdown("![p](attachment:my%20a.png)", **{"my a.png": PNG}), "", IMG, DRAWN),
    "attachment with brackets": (
        markdown("![p](<attachment:a (1) 100%.png>)", **{"a (1) 100%.png": PNG}), "", IMG, DRAWN),
    "lost attachment": (markdown("![lostpicture](attachment:gone.png)"), "lostpicture", "p", ""),
    "remote": (markdown("![farpicture](https://example.org/a.png)"), "farpicture", "p", ""),
    "cut short": (markdown("![cutpicture](cut.png)"), "cutpicture", "p:not(:has(img))", ""),
    "without an end": (told(image_png=coded(PNG[:-12])), "", IMG, DRAWN),
    "empty file": (markdown("![nopicture](empty.png)"), "nopicture", "p", ""),
    "GIF called PNG": (told(image_png=coded(drawn("GIF")), text_plain="x"), "", IMG, DRAWN),
    "BMP": (told(image_png=coded(drawn("BMP"))), "", "img[src^='data:image/png']", DRAWN),
    "TIFF": (told(image_tiff=coded(drawn("TIFF"))), "", "img[src^='data:image/png']", DRAWN),
    "WebP": (told(image_webp=coded(drawn("WEBP"))), "", IMG, DRAWN),
    "SVG": (told(image_svg=SVG), "", IMG, DRAWN),
    "SVG without namespace": (
        told(image_svg=SVG.replace('xmlns="http://www.w3.org/2000/svg" ', "")), "", IMG, DRAWN),
    "malformed SVG": (told(image_svg="<svg><g></svg>", text_plain="<Drawing of a net>"),
                      "<Drawing of a net>", "pre", ""),
    "malformed SVG beside PNG": (told(image_svg="<svg", image_png=coded(PNG)), "", IMG, DRAWN),
    "empty picture": (told(image_png="", text_plain="<Figure size 9x9>"), "<Figure size 9x9>", "pre", ""),
    "SVG in HTML": (told(text_html=f"<p>before{SVG}after</p>"), "before after", IMG, DRAWN),
    "ipympl": (told(**{"application_vnd.jupyter.widget-view+json": {"model_id": "1"}},
                    image_png=coded(PNG), text_plain="Canvas()"), "", IMG, DRAWN),
    # what a cell leaves open
    "open comment": (markdown("before it <!-- open"), "before it", "p", ""),
    "open pre": (markdown("<pre>inside pre"), "inside pre", "pre", ""),
    "open style": (markdown("before style\n\n<style> p {"), "before style", "p", ""),
    "open script": (markdown("before script\n\n<script> if (a"), "before script", "p", ""),
    "open fence": (markdown("```python\ninside fence"), "inside fence", "pre", ""),
    "open div": (markdown("<div><b>boldly open"), "boldly open", "b", ""),
    "stray ends": (markdown("</div></main></body></html> after ends"), "after ends", "", ""),
    "open table": (told(text_html="<table><tr><td>left open"), "left open", "td", "table"),
    "fences of pandoc": (markdown("::: {.solution}\n\ninside colons"), "::: {.solution} inside colons", "p", ""),
    "typst's signs": (markdown("#let x = 1 @ref <label> ]) // no /* comment"), "#let x = 1 @ref", "", ""),
    "equal headings 1": (markdown("## Twice"), "Twice", "#twice", ""),
    "equal headings 2": (markdown("## Twice"), "Twice", "#twice-1", ""),
    "anchor": (markdown("## My Results\n\nhere"), "here", "#my-results, #My-Results", ""),
    "link": (markdown("[there](#My-Results) [dead](#nowhere) [empty]()"),
             "there dead empty", "a[href='#my-results']", "#link"),
    # HTML that is no table
    "sub and sup": (markdown("H<sub>2</sub>O x<sup>5</sup>"), "H 2 O x 5", "sub", "#sub"),
    "centre": (told(text_html="<center>middle</center>"), "middle", "center", "align\\(center"),
    "details": (markdown("<details><summary>More</summary>hidden words</details>"),
                "More hidden words", "details", ""),
    "figure": (told(text_html=f"<figure><img src='{URI}'><figcaption>captionwords</figcaption></figure>"),
               "captionwords", f"figure {IMG}", DRAWN),
    "colour": (markdown('<span style="color:red">reddish</span> <font color="#00f">blue</font>'),
               "reddish blue", "span[style]", "(?s)ff0000.*0000ff"),
    "HTML beside text": (told(text_html="<i>rich</i> words", text_plain="poor"), "rich words", "i", ""),
    "table with id": (told(text_html="<table id='t'><tr><td>cell</td></tr></table>"),
                      "cell", "td", r"#fitted\[#table\("),
    "spans": (told(text_html="<table><tr><td rowspan=9 colspan=0>odd</td><td>2</td></tr></table>"),
              "odd 2", "td", "table"),
    "styler": (told(text_html=STYLED), "Painted h ochre", "td[style*='yellow']", "ffff00"),
    "estimator": (told(text_html=SKLEARN, text_plain="LogisticRegression()"),
                  "LogisticRegression(C=2)", "pre", ""),
    "plotly": (told(text_html=PLOTLY, text_plain="Figure({'data': 1})"), "Figure({'data': 1})", "pre", ""),
    "plotly alone": (told(text_html=PLOTLY, **{"application_vnd.plotly.v1+json": {}}), "text/html", "pre", ""),
    "iframe": (told(text_html='<iframe src="https://example.org/v"></iframe>'),
               "https://example.org/v", "a[href^=https]", "#link"),
    "JSON": (told(application_json={"key": ["value"]}, text_plain="<JSON>"), '"key"', "pre", ""),
    "latex output": (told(text_latex=r"$$\int_0^1 x\,dx$$", text_plain="Integral"), "", EQUATION, MATH),
    "markdown output": (told(text_markdown="**strong** `code`"), "strong code", "strong", "#strong"),
    # typography, streams, raw cells
    "flags": (markdown("run --flag or -1 ... \"quoted\" 'it'"), "run --flag or", "p", ""),
    "dots and quotes": (markdown("wait... \"straight\" 'it'"), "wait... \"straight\" 'it'", "p", ""),
    "bare address": (markdown("see https://example.org/x and README.md"), "README.md", "a[href$='/x']", "#link"),
    "tasks": (markdown("- [x] done\n- [ ] open"), "☑ done ☐ open", "li", ""),
    "carriage returns": (printed(*(f"\r{n}% of it" for n in range(101))), "100% of it", "pre", "(?s)^(?!.*99)"),
    "backspaces": (printed("abc\b\b\bxyz"), "xyz", "pre", "(?s)^(?!.*abc)"),
    "erased": (printed("long line\r\x1b[2Kshort\x1b[?25l\n"), "short", "pre", "(?s)^(?!.*long)"),
    "cursor up": (printed("one\ntwo\n\x1b[2A\x1b[Kthree\n"), "three two", "pre", "(?s)^(?!.*one)"),
    "cursor left": (printed("abcd\x1b[4Dwx\x1b[Cz\n"), "wxcz", "pre", "(?s)^(?!.*ab)"),
    "cursor's column": (printed("abcd\x1b[2Gyz\n"), "ayzd", "pre", "(?s)^(?!.*bc)"),
    "nothing right of it erased": (printed("stays\x1b[0K\x1b[1;2A\x1b[?A\n"), "stays", "pre", ""),
    "terminal links": (printed("\x1b]8;;http://a.b\x1b\\text\x1b]8;;\x1b\\ \x1b[1;31mred\x1b[0m"),
                       "text red", "pre", "(?s)^(?!.*8;;)"),
    "stderr": (printed("careful", name="stderr"), "careful", ".stderr", "stderr"),
    "control characters": (printed("a\x00b\x07 \x0cc"), "ab c", "pre", ""),
    "backticks": (printed("```\n````` end"), "``` ````` end", "pre", ""),
    "raw text": (raw("raw <b>words</b> $x$ <!--"), "raw <b>words</b> $x$ <!--", "pre", ""),
    "raw HTML": (raw("<b>rawbold</b> <!-- open", "text/html"), "rawbold", "b", ""),
    "raw Markdown": (raw("*rawitalic*", "text/markdown"), "rawitalic", "em", "#emph"),
    "traceback": (new_code_cell(outputs=[new_output("error", ename="KeyError", evalue="'k'",
                                                    traceback=["\x1b[0;31mKeyError\x1b[0m: 'k'"])]),
                  "KeyError: 'k'", ".error", "stderr"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the notebook's pictures are."""
    folder = tmp_path_factory.mktemp("pictures")
    files = {"dot.png": PNG, "my dot #1.png": PNG, "cut.png": PNG[:45], "empty.png": b""}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def exported(folder: Path) -> tuple[dict, dict, dict]:
    """Each cell's part of the page, its typst, and its words on paper."""
    cells = []
    for n, case in enumerate(CASES.values()):
        cells += [case[0], new_markdown_cell(f"sentinel{n}x")]
    nb = new_notebook(cells=cells)
    known = {"metadata": {"name": "odd [1] <2> 100% 测试/it's \udcff", "path": str(folder)}}
    page = Page().from_notebook_node(nb, dict(known))[0].partition("<main")[2]
    parts = re.split(r"<p>sentinel\d+x</p>", page)
    pdf = Document().from_notebook_node(nb, dict(known))[0]
    check_glyphs(pdf)
    words = re.split(r"sentinel\d+x", text_of(pdf, "-raw"))
    source = Document().chapter(nb, dict(known), folder)[0]
    typst = re.findall(r"(?ms)^// nnCell [^\n]*\n(.*?)^// nnEnd$", source)[::2]
    assert len(parts) == len(words) == len(typst) + 1 == len(CASES) + 1
    return tuple(dict(zip(CASES, each, strict=False)) for each in (parts, typst, words))


def squeezed(text: str) -> str:
    return re.sub(r"[\s\u200b]+", "", text.replace("−", "-"))


def assert_holds(text: str, words: str) -> None:
    text = squeezed(text)
    for word in words.split():
        assert squeezed(word) in text, (word, text)


@pytest.mark.parametrize("name", CASES)
def test_shown_in_both(exported: tuple[dict, dict, dict], name: str):
    _, words, selector, pattern = CASES[name]
    parts, typst, paper = exported
    part = BeautifulSoup("<main" * name.startswith("spaces in") + parts[name], "html.parser")
    assert_holds(part.get_text(" "), words)
    assert not selector or part.select(selector), parts[name]
    assert re.search(pattern, typst[name]), typst[name]
    assert_holds(paper[name], words)


def test_a_cell_that_typst_cannot_set_costs_no_other(capsys: pytest.CaptureFixture):
    cells = [markdown("before"), markdown("<div>" * 400 + "deepest"), markdown("after")]
    source, _ = Document().from_notebook_node(new_notebook(cells=cells))
    found = re.findall("before|deepest|after", text_of(source))
    assert found == ["before", "deepest", "after"]
    assert "cell 2: cannot be typeset" in capsys.readouterr().err


def test_a_wide_formula_ends_within_the_margins():
    wide = markdown("$$" + " + ".join(f"y_{{{n}}}" for n in range(60)) + "$$")
    source, _ = Document().from_notebook_node(new_notebook(cells=[wide]))
    words = re.findall(r'xMin="([-.\d]+)".* xMax="([-.\d]+)"', text_of(source, "-bbox"))
    assert min(float(left) for left, _ in words) > 70  # points, of 595
    assert max(float(right) for _, right in words) < 525


# --- text is never taken for markup, and nothing outside the notebook's folder is shown

TAG = "<img src=x onerror=alert(1)>"
ABOUT = {"caption": TAG, "alt": TAG, "name": TAG, "width": '1" onload="alert(1)', "height": ["9"]}
OUTSIDE = [
    "/etc/passwd",
    "../up.png",
    "in/../../up.png",
    "%2e%2e/up.png",
    "link.png",
    "/etc/hostname",
]
HOSTILE = [
    told({"image/png": ABOUT}, image_png=coded(PNG)),
    markdown(
        f"[a](javascript:alert(1)) <a href=' java\tScript:alert(1)'>b</a> {TAG} [c](vbscript:x)"
    ),
    told(
        text_html=f"<p onclick='alert(1)' style='color:red'>d</p><form action='javascript:1'>{TAG}"
    ),
    told(image_svg=SVG.replace("<circle", "<image href='/etc/passwd'/><circle onload='alert(1)'")),
    markdown("<span class='typst' typst='#panic()' data-typst='#panic()'>e</span>"),
    markdown("<div class='cell' said='' called='x&#10;#panic()'>f</div>"),
    raw(f"{TAG}<script>alert(1)</script>", "text/html"),
    raw('#read("/etc/passwd")', "text/x-typst"),
    new_code_cell(TAG, outputs=[new_output("error", ename=TAG, evalue=TAG, traceback=[])]),
    *(markdown(f"![refused]({place}) <img src='{place}' alt='refused'>") for place in OUTSIDE),
    markdown("![kept](in/dot.png)"),
]


def test_text_is_never_markup_and_pictures_are_the_folder_s_own(tmp_path: Path, capsys):
    home = tmp_path / "home"
    (home / "in").mkdir(parents=True)
    for file in (tmp_path / "up.png", home / "in" / "dot.png"):
        file.write_bytes(PNG)
    (home / "link.png").symlink_to(tmp_path / "up.png")
    nb, known = new_notebook(cells=HOSTILE), {"metadata": {"name": TAG, "path": str(home)}}
    page = BeautifulSoup(Page().from_notebook_node(nb, dict(known))[0], "html.parser")
    said = capsys.readouterr().err
    assert page.title.get_text() == page.h1.get_text() == TAG
    handlers = [key for tag in page.find_all(True) for key in tag.attrs if key.startswith("on")]
    assert not handlers
    assert not page.select("[href*=script i], [action]")
    assert len(page.find_all("script")) == 2
    assert [image["alt"] for image in page.main.find_all("img")][2:] == ["kept"]
    for n, place in enumerate(OUTSIDE, len(HOSTILE) - len(OUTSIDE)):
        assert said.count(f"cell {n}: the picture {place} cannot be drawn") == 2
    pdf = Document().from_notebook_node(nb, dict(known))[0]
    assert text_of(pdf).count("refused") == 2 * len(OUTSIDE)
    assert b"javascript" not in pdf.lower()
    assert "cannot be typeset" not in capsys.readouterr().err


DRAWS = told(
    text_html="<div id='d'></div><script>d.textContent = 'drawn'</script>", text_plain="poor"
)


@pytest.mark.parametrize(
    ("about", "config", "runs"),
    [({}, {}, True), ({}, {"sanitize_html": True}, False), ({"book": [{"name": "b"}]}, {}, False)],
)
def test_scripts_run_in_a_notebook_of_one_s_own_alone(about: dict, config: dict, runs: bool):
    known = {"metadata": {"name": "a"}, "nnlib": about}
    html, _ = Page(**config).from_notebook_node(new_notebook(cells=[DRAWS]), known)
    page = BeautifulSoup(html, "html.parser")
    policy = page.find("meta", attrs={"http-equiv": True})["content"]
    assert ("'drawn'" in html) == ("unsafe-eval" in policy) == runs
    assert ("poor" in page.main.get_text()) != runs
    assert policy.count("sha256-") == (0 if runs else 2)


# --- names of classes are shown as they stand


def test_marks_in_a_name_are_no_emphasis_and_dollars_no_formula(monkeypatch):
    outputs = []

    def display(what: Any, raw: bool = False, metadata: dict | None = None, **place: Any) -> None:
        data = what if raw else {"text/markdown": what.data}
        data = {mime: content for mime, content in data.items() if mime != "image/png"}
        outputs.append(new_output("display_data", data, metadata=metadata or {}))

    monkeypatch.setattr(output, "display", display)
    names = ["T*shirt", "a*b*c", "_coat_", "bag_1_2", "A$x_1$B"]
    output.say(f"{names[0]} and {names[1]}, {names[2]}, {names[3]}: **{0.5:.0%}** of *all*.")
    heaps = {" and ".join(names[-2:]): {names[-1]: [1.0, 2, 3]}}
    for figure in (
        plots.gallery([np.zeros((2, 2), np.uint8)] * 5, names, 5),
        plots.images(np.zeros((5, 2, 2), np.uint8), 1, names),
        plots.confusion(np.eye(5), names),
        plots.violins(heaps, "x"),
    ):
        output.show(figure, "a", f"Of {names[2]}, {names[1]}.")
    nb = new_notebook(cells=[new_code_cell(outputs=outputs)])
    main = BeautifulSoup(Page().from_notebook_node(nb)[0], "html.parser").main
    assert main.p.get_text() == "T*shirt and a*b*c, _coat_, bag_1_2: 50% of all."
    assert [part.get_text() for part in main.select("strong, em")] == ["50%", "all"]
    assert main.figcaption.get_text() == "Figure 1. Of _coat_, a*b*c."
    drawn = [base64.b64decode(each["src"].partition(",")[2]).decode() for each in main("img")]
    assert ["A$x_1$B" in svg for svg in drawn] == [True] * 4
