"""Hyperparameter search: spaces, the ledger of trials, and workers on one machine or many."""

from typing import Any

from nnlib.search.space import Choice as Choice
from nnlib.search.space import Range as Range
from nnlib.search.space import parse_choice as parse_choice
from nnlib.search.space import parse_range as parse_range


def __getattr__(name: str) -> Any:
    """Load Optuna with the first name that needs it (PEP 562)."""
    if name not in ("run_search", "SearchResult"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nnlib.search import run

    return getattr(run, name)
