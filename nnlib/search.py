"""Hyperparameter search: many configurations trained, their table, and nothing lost on the way.

One process, the one that calls `run_search`, owns the search: it alone speaks to Optuna's storage
and decides what runs, while workers only train. The configurations are queued in the study when
the search begins, each under its number, and every number is done exactly once: a trial whose
process died is closed without a reason and its number queued again. That is all that resuming,
several machines on one storage, and dying workers need.
"""

from nnlib.space import SAMPLERS as SAMPLERS
from nnlib.space import Choice as Choice
from nnlib.space import Range as Range
from nnlib.space import parse_choice as parse_choice
from nnlib.space import parse_range as parse_range
