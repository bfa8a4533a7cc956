"""Chinese in, Chinese out: a student's notebook in the PDF, on the page and in its figures."""

import re
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont
from matplotlib.font_manager import fontManager
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from pdf_glyphs import check_glyphs, glyphs, text_of

from nnlib.notebook import axes
from nnlib.notebook.output import rendered
from nnlib.report.document import Document
from nnlib.report.exporter import FONTS, language_of
from nnlib.report.page import Page, font_face

SENTENCES = [
    "神经网络由许多简单的单元组成，每个单元把输入加权求和，再经过一个激活函数；层数越多，能表示的函数越复杂。",
    "“反向传播”利用链式法则，从输出层往回计算每个参数的梯度——这正是训练能够进行的原因……",
    "学习率太大，损失会振荡甚至发散；太小，则收敛缓慢（有时几乎不动）。请先试试 0.1，再看曲线！",
    "验证集用来选择超参数，测试集只打开一次：否则，报告中的准确率就不可信了，对吗？",
    "权重衰减、早停与随机失活（dropout）都能减轻过拟合，但它们不能代替更多的数据。",
]
NEVER_FIRST = "，。；：、！？）》”…"


def section(number: int) -> list[NotebookNode]:
    """Return cells of every kind, all in Chinese."""
    says = SENTENCES[number % 5 :] + SENTENCES[: number % 5]
    fig, ax = axes.figure()
    ax.plot([3, 1, 2], label="训练集")
    ax.legend()
    axes.label(ax, "轮数", "损失（对数）", f"第{number}次实验")
    frame = pd.DataFrame({"姓名": ["张三", "李四"], "成绩": [90.5, 88.0]})
    about = {
        "caption": f"第{number}次实验的损失曲线。",
        "alt": "曲线先降后升",
        "name": f"损失{number}",
    }
    drawn = {"image/svg+xml": rendered(fig, "svg"), "text/plain": "曲线"}
    html = {"text/html": frame.to_html(), "text/plain": str(frame)}
    shown = [
        new_output("stream", name="stdout", text="进度：完成\n"),
        new_output("stream", name="stderr", text="警告：数据较少\n"),
        new_output("display_data", drawn, metadata={"image/svg+xml": about}),
        new_output("display_data", html, metadata={"caption": "成绩表。"}),
        new_output(
            "error", ename="ValueError", evalue="错误", traceback=["ValueError: 学习率必须大于零"]
        ),
    ]
    return [
        new_markdown_cell(f"## 第{number}节：实验与**分析**\n\n{says[0]}\n\n### 步骤\n\n{says[1] * 3}"),
        new_markdown_cell(f"- 准备数据\n- 定义网络\n  1. 前向计算\n  2. 求梯度\n\n> 引用：{says[2]}"),
        new_markdown_cell("| 模型 | 准确率 |\n|:--|--:|\n| 线性 | 0.84 |\n| **多层感知机** | 0.89 |"),
        new_markdown_cell(
            "行内 $\\text{准确率} = \\frac{n}{N}$，裸字 $损失$，独立公式：\n\n"
            "$$\\nabla_W L = x^\\top\\delta \\quad \\text{其中 } \\delta \\text{ 为误差}$$"
        ),
        new_markdown_cell(f'<div class="alert alert-info">\n\n提示：{says[3]}\n\n</div>\n\n[教程链接](#步骤)'),
        new_code_cell(f"# 中文注释\n名称 = '字符串{number}'\nprint(名称)", outputs=shown),
        new_markdown_cell(f"#### 练习 {number}\n\n{says[4] * 2}\n\n- [x] 已完成"),
        new_code_cell("答案 = 42  # 解答", metadata={"tags": ["solution"]}),
    ]  # fmt: skip


def report(sections: int) -> NotebookNode:
    title = new_markdown_cell("# 实验报告：用 NumPy 搭建神经网络")
    return new_notebook(cells=[title, *(cell for n in range(sections) for cell in section(n + 1))])


def resources() -> dict:
    return {"metadata": {"name": "实验报告"}}


@pytest.fixture(scope="module")
def pdf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("zh") / "实验报告.pdf"
    file.write_bytes(Document().from_notebook_node(report(27), resources())[0])
    return file


def test_thirty_pages_hold_every_word_and_no_box(pdf: Path):
    content = pdf.read_bytes()
    check_glyphs(content)
    assert b"LastResort" not in content
    assert content.count(b"/Subtype/Link") == 27
    assert set(re.findall(rb"/Lang\s*\(([^)]*)\)", content)) <= {b"zh-CN", b"en"}
    text = text_of(pdf.read_bytes(), "-raw")
    assert text.count("\f") >= 30
    lines = [re.sub(r"\s", "", line) for line in re.split(r"[\n\f]+", text)]
    text = "".join(lines)
    for said in [*SENTENCES, "前向计算", "多层感知机", "准确率=", "其中", "为误差", "#中文注释", "名称=", "训练集",
                 "损失（对数）", "进度：完成", "警告：数据较少", "张三", "成绩表。", "学习率必须大于零", "解答",
                 "第27次实验的损失曲线。", "第27节：实验与分析", "☑已完成"]:  # fmt: skip
        assert re.sub(r"\s", "", said) in text
    floats = r"[\d.]+|轮数|损失（对数）|第\d+次实验|训练集|图\d+\.第\d+次实验的损失曲线。"
    prose = "".join(line for line in lines if not re.fullmatch(floats, line))
    place = 0
    for number in range(1, 28):  # every section's text, whole and in its order
        says = [SENTENCES[(number + k) % 5] for k in range(5)]
        for said in [f"第{number}节：实验与分析", says[0], "步骤", says[1] * 3, "引用：" + says[2],
                     "提示：" + says[3], f"名称='字符串{number}'", f"练习{number}", says[4] * 2]:  # fmt: skip
            place = prose.index(re.sub(r"\s", "", said), place)
    assert "图27." in text
    assert "表27." in text
    assert not re.search("Figure|Table|Solution", text)


def test_no_line_begins_with_a_mark_that_closes(pdf: Path):
    lines = [line.strip() for line in text_of(pdf.read_bytes(), "-layout").splitlines()]
    assert not [line for line in lines if line and line[0] in NEVER_FIRST]


def test_a_page_brings_its_hanzi_and_says_its_language():
    page, _ = Page().from_notebook_node(report(1), resources())
    assert BeautifulSoup(page, "html.parser").html["lang"] == "zh-CN"
    assert "U+8BD5" in page.split("Report Han", 1)[1]
    assert "://" not in re.sub(r"http://www\.w3\.org/\S+", "", page)


@pytest.mark.parametrize(
    ("prose", "language"),
    [("# 标题\n\n用 NumPy 做的 deep learning 实验", "zh-CN"), ("Mostly English, with 中文 in it", "en"),
     ("", "en"), ("ニューラルネットワークは学習する", "en"), ("`import numpy as np` 之后 $\\frac{a}{b}$", "zh-CN")],
)  # fmt: skip
def test_the_language_follows_the_prose(prose: str, language: str):
    assert language_of(new_notebook(cells=[new_markdown_cell(prose)])) == language


def test_what_no_font_has_is_named_once_with_its_place(tmp_path: Path, capsys):
    told = "a.py:1: UserWarning: Glyph 134071 (\\N{CJK}) missing from font(s) DejaVu Sans.\n  plt.show()\n"
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="40"><text y="20">缺𠮷字</text></svg>'
    outputs = [new_output("stream", name="stderr", text=f"before\n{told}after\n"),
               new_output("display_data", {"image/svg+xml": svg})]  # fmt: skip
    cells = [new_markdown_cell("# 生僻字𠮷与 🦄\n\n𠮷"), new_code_cell("x", outputs=outputs)]
    file = tmp_path / "a.pdf"
    file.write_bytes(Document().from_notebook_node(new_notebook(cells=cells), resources())[0])
    first, second, *rest = capsys.readouterr().err.splitlines()
    assert not rest
    assert first.startswith("实验报告, cell 2: a figure was drawn with boxes for 𠮷")
    assert re.fullmatch(r"no font has (🦄 \(U\+1F984\), )?𠮷 \(U\+20BB7\) in 实验报告, cell 1; "
                        r"𠮷 \(U\+20BB7\) in 实验报告, cell 2: a sign .*", second)  # fmt: skip
    check_glyphs(file.read_bytes())
    text = text_of(file.read_bytes(), "-raw")
    assert "UserWarning" not in text
    assert "before\nafter" in text
    assert "缺\ufffd字" in text
    assert "生僻字𠮷" in text


def test_the_font_holds_gb_2312_and_is_small():
    pairs = (bytes([high, low]) for high in range(0xA1, 0xF8) for low in range(0xA1, 0xFF))
    letters = {ord(c) for pair in pairs if (c := pair.decode("gb2312", "ignore"))}
    assert len(letters) == 7445
    fonts = sorted(FONTS.glob("NotoSansSC-*"))
    assert [letters - {*TTFont(file).getBestCmap()} for file in fonts] == [set(), set()]
    assert sum(file.stat().st_size for file in fonts) < 4e6
    assert "SIL OPEN FONT LICENSE" in (FONTS / "OFL.txt").read_text()


@pytest.mark.parametrize("settings", [{}, {"font.sans-serif": ["SimHei"]}, axes.STYLE])
@pytest.mark.filterwarnings("error:Glyph")
def test_figures_have_chinese_in_every_style(settings: dict):
    with matplotlib.rc_context(settings):
        fig, ax = plt.subplots()
        ax.set_title("损失曲线", weight="bold")
        fig.canvas.draw()
    plt.close(fig)
    assert {"Noto Sans SC", "SimHei"} <= {font.name for font in fontManager.ttflist}


def test_what_is_english_is_as_it_was():
    fig, ax = axes.figure()
    axes.label(ax, "epoch", "loss – naïve")
    assert "Noto" not in rendered(fig, "svg")
    assert font_face("English – naïve “quotes” ☑") == ""
    nb = new_notebook(cells=[new_markdown_cell("# One\n\nTwo.")])
    plain = Document().from_notebook_node(nb)[0]
    assert b"Noto" not in plain
    assert len(glyphs(plain)) == len("OneTwo.1")


def test_words_of_scripts_are_among_the_hanzi_that_a_page_brings():
    inert = dict(Page().default_filters())["inert"]
    assert inert({"said": "汉</script>"}) == '{"said": "汉\\u003c/script>"}'
