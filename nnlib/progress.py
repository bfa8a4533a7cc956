"""What the command shows of training while it goes on: a line for each epoch, and a bar.

Whoever is given to `on_progress` is called at every yield of the loop. It may have a method
`close`, which is called when training ends, however it ends.
"""

import math
import sys
from contextlib import suppress
from typing import Any

from tqdm import tqdm

from nnlib.runs import Progress


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """Return the line of a finished epoch, given its row of the history."""
    validation = f"  validation {row['val_loss']:.4f} {row['val_accuracy']:7.2%}"
    return (
        f"epoch {row['epoch']:>3}/{epochs}"
        f"  lr {row['lr']:<8.4g}"
        f"  train {row['train_loss']:.4f} {row['train_accuracy']:7.2%}"
        f"{'' if math.isnan(row['val_accuracy']) else validation}"
        f"  {row['seconds']:.2f} s"
    )


class Bar:
    """A line on standard error for each epoch; on a terminal a bar below, with the time left."""

    def __init__(self) -> None:
        how = {"unit": "step", "unit_scale": True, "leave": False, "dynamic_ncols": True}
        self.bar = tqdm(**how, delay=1e-9, disable=None)  # None: where nobody looks
        self.close = self.bar.close  # takes the bar away; the lines stay

    def __call__(self, progress: Progress) -> None:
        """Take in what the loop tells."""
        if self.bar.total is None:  # until then nothing is shown; a resumed run is in the middle
            self.bar.reset(progress.steps)
            self.bar.initial = self.bar.n = self.bar.last_print_n = progress.step
        shown = f"loss {progress.loss:.4f}, accuracy {progress.accuracy:.2%}"
        self.bar.set_postfix_str(shown, refresh=False)
        self.bar.update(progress.step - self.bar.n)
        if progress.row:
            with suppress(OSError):  # whoever reads it may be gone
                self.bar.write(epoch_line(progress.row, progress.epochs), file=sys.stderr)
