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
    placed in the middle of these. `history` is that of the run, `turns` are the epochs at which
    the learning rate was changed by hand.
    """

    epoch: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    history: History = field(default_factory=History)
    turns: list[float] = field(default_factory=list)
    last: Progress | None = None
    ended: bool = False
    _place: int = -1  # the last point's, among POINTS
    _count: int = 0  # yields that went into it

    def __call__(self, progress: Progress) -> None:
        """Take in what the loop tells."""
        if progress.row:
            self.history.rows.append(progress.row)
        else:
            self._add(progress)
        self.last = progress

    def _add(self, now: Progress) -> None:
        before = self.last.step if self.last else now.step - 1  # it may have been resumed
        columns = self.epoch, self.loss, self.accuracy
        place = (now.step - 1) * POINTS // now.steps
        if place != self._place:
            self._place, self._count = place, 0
            for column in columns:
                column.append(0.0)
        self._count += 1
        middle = (before + now.step) / 2 / now.steps * now.epochs
        new = middle, now.recent_loss, now.recent_accuracy
        for column, value in zip(columns, new, strict=True):
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
    def judged(self) -> list[dict]:
        """Rows for a drawing: the last, and so many before it that all are POINTS at most."""
        rows = self.history.rows
        return rows[:: -max(1, -(-len(rows) // POINTS))][::-1]

    @property
    def span(self) -> float:
        """How many epochs its curves take: those that are planned, or done once it has ended."""
        return self.done if self.ended or not self.last else self.last.epochs
