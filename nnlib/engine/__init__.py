"""The training step without waste: the numbers of the plain layers, in arrays that are kept.

The plain layers are written to be read, and make a new array for every result. A small net spends
more time on that than on arithmetic. Here the same numbers go into arrays that are used again:
`step` puts together the calls of a step, `blas` makes those of its matrix products and `units`
what stands between two of them, `threads` says how many threads share the calls, and how. Tests
hold both paths equal; delete this folder, and every result stays the same to rounding, only slower.
"""

from nnlib.engine.step import Step as Step
from nnlib.engine.step import knows as knows
from nnlib.engine.threads import cores as cores
from nnlib.engine.threads import limited as limited
from nnlib.engine.threads import paced as paced
from nnlib.engine.threads import threads_for as threads_for
