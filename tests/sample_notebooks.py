"""A small report to publish in tests: three notebooks with everything that a real one has."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = """profile = "standard"
dataset = "fashion-mnist"
units = 3  # of each hidden layer (quick: 1)
depth = 2  # hidden layers (quick: 1)
rates = (1, 2)  # tried (quick: (1,))"""


def code(source: str, *tags: str):
    return new_code_cell(source, metadata={"tags": list(tags)} if tags else {})


def text(source: str, *tags: str):
    return new_markdown_cell(source, metadata={"tags": list(tags)} if tags else {})


def data_notebook():
    return [
        text("# What is in the *data*\n\nWhich classes are there, and how hard is each to tell from"
             " the others?\n"),
        code("import sys\n\nimport numpy as np\n\n"
             "from nnlib.notebook import plots, say, show, table"),
        code(PARAMETERS, "parameters"),
        text("## Pixels, scaled\n\nA pixel $x \\in \\{0, \\dots, 255\\}$ becomes $x / 255$, so that"
             " λ and a step of $10^{-1}$ mean the same everywhere. About ~5 % \"stay\" dark; see"
             " [the network](02_network.ipynb) and [below](#a-table-of-classes)."
             "\n\n$$\n\\bar{x}_k = \\frac{1}{N_k} \\sum_{n=1}^{N} x_n \\,[y_n = k]\n$$\n\n"
             "- one list item\n- another, with `code` in it\n\n> Test data chooses nothing.\n\n"
             "```python\nmodel.forward(x)  # (N, K)\n```\n"),
        code("fig, ax = plots.figure(height=2.2)\nx = np.linspace(-3, 3, 50)\n"
             "ax.plot(x, np.tanh(x), label='tanh')\nax.legend()\n"
             "plots.label(ax, 'input', 'output')\n"
             "show(fig, 'tanh', caption='The hyperbolic tangent *saturates* at '\n"
             "              '$\\\\pm 1$.', alt='A curve rising from -1 '\n"
             "              'to \"1\" & flat at both ends')", "cover"),
        text("## A table of classes\n\n### Counts\n\nThe counts are equal."),
        code("rows = [{'class': name, 'examples': 6000, 'share': 0.1} for name in "
             "('T-shirt/top', 'Trouser', 'Pullover')]\n"
             "table(rows, 'Every class is as frequent as any other.',"
             " formats={'share': '{:.1%}'})", "headline"),
        code("print('one line', units, depth, rates)\nprint('a message', file=sys.stderr)\n"
             "a_very_long_name = {f'key number {number}': number ** 2 for number in range(12)}; "
             "print('x' * 150, a_very_long_name, sep=' ')"),
        text("## Exercises\n\nWhat is the mean?"),
        text("It is the sum divided by the *number*.", "solution"),
        code("secret_solution = 41 + 1\nsecret_solution", "solution"),
        code("say(f'The answer is **{units * 2}**.')"),
    ]  # fmt: skip


def network_notebook():
    return [
        text("# From one neuron to a net\n\nHow does a net compute, and how does an error find its"
             " way back?"),
        code("import pandas as pd\n\nfrom nnlib.notebook import plots, show"),
        code(PARAMETERS, "parameters"),
        text("## Backpropagation\n\n\\begin{align}\n\\delta^{(L)} &= p - y \\\\\n"
             "\\frac{\\partial L}{\\partial W^{(l)}} &= \\left(a^{(l-1)}\\right)^\\top "
             "\\delta^{(l)} + \\lambda W^{(l)} \\odot M \\otimes N \\ominus O\n\\end{align}"
             "\n\nand a long one\n\n"
             "$$L = -\\frac{1}{N}\\sum_{n} \\log \\frac{\\exp z_{n, y_n}}{\\sum_k \\exp z_{nk}}"
             " + \\tfrac12 \\lambda \\sum_l \\lVert W^{(l)} \\rVert_F^2"
             " = \\begin{cases} 0 & \\text{if all is right} \\\\ \\mathbb{E}[\\ell(z)] &"
             " \\text{otherwise}\\end{cases}$$\n\n"
             "A shape is $\\mathbf{W} \\in \\mathbb{R}^{D \\times H}$."),
        code("fig, ax = plots.figure(height=3)\nax.imshow([[0, 1], [1, 0]])\n"
             "show(fig, 'board', caption='Four pixels.', alt='A board of two by two',"
             " png=True)"),
        code("pd.DataFrame({f'column {i}': [i * 1.5, -i] for i in range(14)})"),
        text("| rate | meaning |\n|---:|:---|\n| 0.1 | fast |\n| 0.01 | slow, with a long"
             " explanation that wraps on a narrow page |\n"),
        code("model = [width for width in (784, 128, 10)]\nmodel", "remove-input"),
    ]  # fmt: skip


def results_notebook():
    return [
        text("# The results\n\nHow good is it really?"),
        code("from IPython.display import Markdown, display"),
        code('profile = "standard"', "parameters"),
        code("display(Markdown(f'A net of two layers reaches **88.9 %** in the {profile} '\n"
             "                 'profile.'))", "abstract"),
        text("## Summary\n\nGood enough. Back to [the data](01_data.ipynb#counts)."),
    ]  # fmt: skip


SAMPLE = {
    "01_data": data_notebook(),
    "02_network": network_notebook(),
    "06_results": results_notebook(),
}


def write(root: Path, notebooks: dict[str, list] | None = None) -> Path:
    """Write notebooks, by default the three samples, below `root`, and return `root`."""
    folder = root / "notebooks"
    folder.mkdir(parents=True)
    for name, cells in (notebooks or SAMPLE).items():
        nbformat.write(new_notebook(cells=cells), folder / f"{name}.ipynb")
    return root
