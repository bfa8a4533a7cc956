"""A font for Chinese in every figure, of nnlib and of plain matplotlib alike, from nnlib/fonts.

A module, and a start-up file of IPython as well: where PYTHONSTARTUP names it, as in `make lab`,
figures have the font in notebooks that never import nnlib.
"""

from dataclasses import replace
from pathlib import Path

import matplotlib
from matplotlib.font_manager import fontManager

FAMILY = "Noto Sans SC"
STAND_FOR = ("SimHei", "Microsoft YaHei")  # as most Chinese notebooks ask for, if they are not here


def add_chinese() -> None:
    """Let matplotlib find the font, and take from it what its default fonts lack."""
    known = {font.name for font in fontManager.ttflist}
    for file in sorted((Path(__file__).parents[1] / "fonts").glob("NotoSansSC-*")):
        fontManager.addfont(file)
        own = fontManager.ttflist[-1]
        fontManager.ttflist += [replace(own, name=name) for name in STAND_FOR if name not in known]
    for settings in (matplotlib.rcParams, matplotlib.rcParamsDefault):
        if FAMILY not in settings["font.family"]:
            settings["font.family"] = [*settings["font.family"], FAMILY]


add_chinese()
if __name__ == "__main__":  # the notebook that follows finds no names of ours
    del FAMILY, STAND_FOR, Path, add_chinese, fontManager, matplotlib, replace
