"""What report D alone needs: a loss that is summed, a penalty on norms, and an enlarged set."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnlib.augment import Augment
from nnlib.config import TrainConfig
from nnlib.data import Dataset
from nnlib.images import Split
from nnlib.optim import SGD

Arrays = dict[str, np.ndarray]


class SummedSGD(SGD):
    """SGD on Σ cross-entropy over the batch + λ Σ ‖W‖, in place of the mean and of ½ λ ‖W‖².

    g ← B g + λ W / ‖W‖ for the mean gradient g of a batch of B. The pull of λ ‖W‖ has length λ
    however small W becomes: it is L2 with λ / ‖W‖ for λ, computed anew at every step.
    """

    def __init__(self, lr: float, momentum: float, norm_decay: float, batch_size: int) -> None:
        super().__init__(lr, momentum)
        self.norm_decay, self.batch_size = norm_decay, batch_size

    def step(
        self, parameters: Arrays, gradients: Arrays, lr: float | None = None, clip_norm: float = 0.0
    ) -> None:
        """Change every parameter in place by one step, given the gradients of the mean."""
        summed = {name: self._whole(name, w, gradients[name]) for name, w in parameters.items()}
        super().step(parameters, summed, lr, clip_norm)

    def _whole(self, name: str, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Return the gradient of the sum and of the penalty."""
        g = g * w.dtype.type(self.batch_size)
        if name[0] == "W":
            g += w.dtype.type(self.norm_decay / max(float(np.linalg.norm(w)), 1e-12)) * w
        return g


@dataclass(frozen=True, kw_only=True)
class ReportD(TrainConfig):
    """Report D's settings: λ is that of λ ‖W‖, and the training set is enlarged once for all.

    `summed`: the loss is the batch's sum, not its mean.

    To every training image come `copies` that are scaled and as many that are rotated, by up to
    `copy_zoom` (a fraction) and `copy_rotate` (degrees), drawn before the first epoch. All are
    shuffled together, and an epoch sees each of them once.
    """

    summed: bool = True
    copies: int = 1
    copy_zoom: float = 0.15
    copy_rotate: float = 15.0

    def make_optimizer(self) -> SummedSGD:
        """Return SGD on the summed loss with the penalty on the norm."""
        size = self.batch_size if self.summed else 1
        return SummedSGD(self.lr, self.momentum, self.weight_decay, size)

    def load(self) -> Dataset:
        """Return the data set with the enlarged training split."""
        data = super().load()
        changes = [Augment(zoom=self.copy_zoom), Augment(rotate=self.copy_rotate)] * self.copies
        return replace(data, train=enlarged(data.train, changes, [self.seed, 2]))


def enlarged(split: Split, changes: list[Augment], seed: Sequence[int]) -> Split:
    """Return N (1 + C) images: those of the split, then all of them changed in each of C ways."""
    rng = np.random.default_rng(seed)
    images = [split.images, *(change(split.images, rng) for change in changes)]
    return Split(np.concatenate(images), np.tile(split.y, len(images)))
