"""What tests of searches share."""

from functools import partial

import pytest

from nnlib.search import run
from nnlib.search.workers import train_trial


class InThreads:
    """A crew without processes, for tests of what is around them."""

    trainer = staticmethod(train_trial)

    def __init__(self, folder, jobs, data):
        self.train = partial(self.trainer, data)

    def places(self):
        return 1

    def close(self):
        pass


@pytest.fixture
def quick(monkeypatch):
    """Let searches train in this process; the crew that does."""
    monkeypatch.setattr(run, "LocalCrew", InThreads)
    monkeypatch.setattr(run, "PAUSE", 0.01)
    return InThreads
