"""What lives in an open notebook: the playground's panel, and a canvas to draw on."""

from nnlib.widgets.canvas import decide as decide
from nnlib.widgets.canvas import draw_decision as draw_decision
from nnlib.widgets.canvas import draw_your_own as draw_your_own
from nnlib.widgets.canvas import set_to_draw as set_to_draw
from nnlib.widgets.panel import play as play
from nnlib.widgets.playground import Knobs as Knobs
from nnlib.widgets.playground import Playground as Playground
