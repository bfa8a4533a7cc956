"""Hyperparameter search: spaces, the ledger of trials, and workers on one machine or many."""

from nnlib.search.run import SearchResult as SearchResult
from nnlib.search.run import run_search as run_search
from nnlib.search.space import Choice as Choice
from nnlib.search.space import Range as Range
from nnlib.search.space import parse_choice as parse_choice
from nnlib.search.space import parse_range as parse_range
