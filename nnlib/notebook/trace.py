"""The curves of a run as it goes: points for its training figures, a row for every epoch.

Give a `Trace` to `on_progress`, or call it with what the loop tells; it holds as many points as a
figure can show, however long the run.
"""

from dataclasses import dataclass, field

from nnlib.runs import History, Progress

POINTS = 120  # of a run's curve, however long the run: each is the mean of what falls into it


@dataclass
class Trace:
    """The curves of a run as it goes: a training point now and then, the row of every epoch.

    `epoch`, `loss` and `accuracy` belong together: means over the images between two points,
    placed in the middle of these. `rows` are those of the history, `turns` the epochs at which
    the learning rate was changed by hand.
    """

    epoch: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    rows: list[dict] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)
    last: Progress | None = None
    ended: bool = False
    _count: int = 0  # yields that went into the last point

    def __call__(self, progress: Progress) -> None:
        """Take in what the loop tells."""
        if progress.row:
            self.rows.append(progress.row)
        else:
            self._add(progress)
        self.last = progress

    def _add(self, progress: Progress) -> None:
        before = self.last.step if self.last else progress.step - 1  # it may have been resumed
        if not self._count or _place(before, progress) < _place(progress.step, progress):
            self._count = 0
            for column in (self.epoch, self.loss, self.accuracy):
                column.append(0.0)
        self._count += 1
        middle = (before + progress.step) / 2 / progress.steps * progress.epochs
        new = (middle, progress.recent_loss, progress.recent_accuracy)
        for column, value in zip((self.epoch, self.loss, self.accuracy), new, strict=True):
            column[-1] += (value - column[-1]) / self._count

    def turn(self) -> None:
        """Note that the rate was turned here; many turns at one place, by a slider, are one."""
        if self.last and (not self.turns or self.done - self.turns[-1] > self.last.epochs / 50):
            self.turns.append(self.done)

    @property
    def done(self) -> float:
        """How many epochs are done, with the part of the one that goes on."""
        return self.last.step / self.last.steps * self.last.epochs if self.last else 0.0

    @property
    def standing(self) -> str:
        """Where the run is, in words."""
        if (now := self.last) is None:
            return "before its first step"
        return (
            f"epoch {self.done:.1f} of {now.epochs}, learning rate {now.lr:.3g}, "
            f"training loss {now.loss:.3f}, accuracy {now.accuracy:.1%}"
        )

    @property
    def judged(self) -> list[dict]:
        """Rows for a drawing: the last, and so many before it that all are POINTS at most."""
        return self.rows[:: -max(1, -(-len(self.rows) // POINTS))][::-1]

    @property
    def span(self) -> float:
        """How many epochs its curves take: those that are planned, or done once it has ended."""
        return self.done if self.ended or not self.last else self.last.epochs

    @property
    def best(self) -> dict:
        """The row of the best epoch; empty before the first epoch's end."""
        return History(self.rows).best


def _place(step: int, progress: Progress) -> int:
    """Return which point a step belongs to."""
    return (step - 1) * POINTS // progress.steps
