"""What the long runs are: settings by name, and the seeds that each is run with.

Every setting here was fixed before the test images were looked at, by validation accuracy alone.
Where a report leaves a setting open, `notes` says what was taken. How the runs are made and kept
is the business of `results`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nnlib.augment import Augment
from nnlib.config import TrainConfig
from nnlib.data import Dataset, Split
from nnlib.optim import SGD


@dataclass(frozen=True)
class Study:
    """Settings by name, the seeds that each is run with, and what all of it is for.

    `readings` names, for some settings, further ways in which the trained net answers (see
    `readings.READINGS`); each gives rows of its own. Runs stand side by side, one BLAS thread
    each, unless `alone`: then a run has both cores, because its time is part of the result.

    `late` gives some settings seeds of their own; they come after all others. `minutes` is what
    a run of some settings may take, and has been measured to take about. `ensembles` names groups
    of rows that answer together, with all their seeds. `kept` says under which name in
    data/models/ a net is saved, that of the first seed. `published` has test accuracies of
    others, in percent.
    """

    about: str
    settings: dict[str, TrainConfig]
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    notes: dict[str, str] = field(default_factory=dict)
    readings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    alone: bool = False
    late: dict[str, tuple[int, ...]] = field(default_factory=dict)
    minutes: dict[str, float] = field(default_factory=dict)
    ensembles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    published: dict[str, float] = field(default_factory=dict)

    def runs(self) -> Iterator[tuple[str, TrainConfig]]:
        """Yield every run: all settings with the first seed, all with the next; then `late`."""
        usual = {name: self.seeds for name in self.settings if name not in self.late}
        for part in (usual, self.late):
            for seed in sorted({seed for seeds in part.values() for seed in seeds}):
                for name in (name for name, seeds in part.items() if seed in seeds):
                    yield name, replace(self.settings[name], seed=seed)

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """Return the seeds that settings `name` are run with."""
        return self.late.get(name, self.seeds)

    def keeps(self, name: str, seed: int) -> bool:
        """Tell whether the net of that run is to be saved."""
        return name in self.kept and seed == self.seeds_of(name)[0]

    def rows_of(self, name: str) -> list[str]:
        """Return the names of the rows that a run of settings `name` gives."""
        return [name, *(f"{name}, {reading}" for reading in self.readings.get(name, ()))]


# ---------------------------------------------------------------- what report D alone needs


class SummedSGD(SGD):
    """SGD on Σ cross-entropy over the batch + λ Σ ‖W‖, in place of the mean and of ½ λ ‖W‖².

    g ← B g + λ W / ‖W‖ for the mean gradient g of a batch of B. The pull of λ ‖W‖ has length λ
    however small W becomes: it is L2 with λ / ‖W‖ for λ, computed anew at every step.
    """

    def __init__(self, lr: float, momentum: float, norm_decay: float, batch_size: int) -> None:
        super().__init__(lr, momentum, norm_decay)
        self.batch_size = batch_size

    def _update(self, name: str, w: np.ndarray, g: np.ndarray, lr: float, decay: float) -> None:
        pull = decay and decay / max(float(np.linalg.norm(w)), 1e-12)
        super()._update(name, w, g * w.dtype.type(self.batch_size), lr, pull)


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

    @property
    def enlargement(self) -> int:
        """How many times as many images there are to learn from."""
        return 1 + 2 * self.copies

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


# ---------------------------------------------------------------- the studies

SPLIT = "our split, 5,000 validation images drawn class by class by seed 0; best weights by them"
REPORTS = Study(
    "The five course reports: their nets and settings, and the last layer refitted.",
    {
        "A": TrainConfig(
            dataset="fashion-mnist", hidden=(128, 128), lr=0.1, batch_size=16, epochs=20
        ),
        "B": TrainConfig(
            dataset="mnist",
            hidden=(292,),
            lr=0.24752157219042198,
            weight_decay=2.546591239423651e-07,
            batch_size=128,
            epochs=50,
        ),
        "C": TrainConfig(
            dataset="fashion-mnist",
            hidden=(128,),
            lr=0.1,
            weight_decay=0.001,
            batch_size=64,
            epochs=50,
            schedule="exponential",
        ),
        "D": ReportD(
            dataset="mnist",
            hidden=(257,),
            activation="tanh",
            lr=8.26e-4,
            weight_decay=0.634,
            momentum=0.9,
            dropout=0.2,
            batch_size=100,
            epochs=20,
            schedule="cosine",
            warmup=1650,
        ),
        "E": TrainConfig(
            dataset="mnist",
            hidden=(100,),
            lr=0.001,
            weight_decay=0.1,
            batch_size=100,
            epochs=10,
            schedule="exponential",
            scale="none",
            init="normal",
            init_scale=1e-3,
            train_size=49000,
            val_size=1000,
        ),
    },
    notes={
        "A": f"Unstated: {SPLIT}; He initialisation; no L2.",
        "B": f"Unstated: {SPLIT}; He initialisation; constant learning rate.",
        "C": f"Unstated: the learning rate at the start, 0.1; {SPLIT}.",
        "D": "Unstated: momentum 0.9; dropout 0.2; batch 100; 20 epochs; warm-up of one epoch; "
        "Glorot initialisation; one copy of every training image scaled by up to 15 % and one "
        f"rotated by up to 15°, so 165,000 images; {SPLIT}. λ = 0.634 is taken as stated, on "
        "the norm of each weight matrix. Unstated, too, is whether the loss is summed or averaged "
        "over the batch: it is summed.",
        "D, loss averaged": "As D, but with the mean of the loss over the batch. The penalty's "
        "pull then exceeds the loss's, and all weights go to 0; the best weights are early ones.",
        "E": "Unstated: plain SGD; λ is that of ½ λ ‖W‖²; 49,000 and 1,000 images drawn class by "
        "class by seed 0; best weights by the 1,000. Tested on all 10,000 test images; the "
        "report's 1,000 are taken to be the first.",
        "E, penalty averaged": "As E, but λ = 0.1 is that of ½ λ ‖W‖² / N: the penalty, as the "
        "loss, is a mean over the N = 49,000 training images.",
    },
)
REPORTS.published.update(
    {"A": 88.0, "B": 98.08, "C": 86.45, "D": 92.35, "D, least squares": 92.35, "E": 97.7}
)
REPORTS.settings["D, loss averaged"] = replace(REPORTS.settings["D"], summed=False)
REPORTS.settings["E, penalty averaged"] = replace(REPORTS.settings["E"], weight_decay=0.1 / 49_000)
REPORTS.readings.update(dict.fromkeys(REPORTS.settings, ("least squares",)))


def _simard(epochs: int, **changes: float) -> TrainConfig:
    """Return Simard's net, one hidden layer of 800, on MNIST changed in the given way."""
    return TrainConfig(
        dataset="mnist",
        hidden=(800,),
        epochs=epochs,
        batch_size=128,
        lr=0.1,
        momentum=0.9,
        schedule="one-cycle",
        **changes,
    )


AFFINE = {"rotate": 12.0, "zoom": 0.12, "shear": 0.12}
SIMARD = Study(
    "Simard, Steinkraus and Platt 2003: one hidden layer of 800 on MNIST.",
    {
        "plain": _simard(20),
        "affine": _simard(60, shift=2.0, **AFFINE),
        "elastic": _simard(60, elastic=1.4),
        "affine and elastic": _simard(60, shift=1.0, elastic=1.1, **AFFINE),
    },
    notes={
        "affine": "Each image, each time: shifted by up to 2 px, turned by up to 12°, scaled by "
        "up to 12 %, sheared by up to 0.12 px a row.",
        "elastic": "Each image, each time: displaced by 1.4 px root-mean-square along each axis, "
        "smooth over σ = 4 px, as the paper's α = 34.",
        "affine and elastic": "Both: shifted by up to 1 px, displaced by 1.1 px.",
    },
    published={"plain": 98.4, "affine": 98.9, "elastic": 99.3},
)


def _quick(
    dataset: str,
    hidden: tuple[int, ...],
    epochs: int,
    batch_size: int = 128,
    smoothing: float = 0.0,
) -> TrainConfig:
    """Return what learns soonest: a few epochs, momentum, one cycle of a large rate."""
    return TrainConfig(
        dataset=dataset,
        hidden=hidden,
        epochs=epochs,
        batch_size=batch_size,
        lr=0.1,
        momentum=0.9,
        schedule="one-cycle",
        label_smoothing=smoothing,
        weight_decay=1e-4 if smoothing else 0.0,
    )


RECIPES = Study(
    "Time to accuracy: nets and schedules that reach a test accuracy soonest on two cores.",
    {
        "Fashion-MNIST 88 %": _quick("fashion-mnist", (192,), epochs=11),
        "Fashion-MNIST 89 %": _quick("fashion-mnist", (256, 128), epochs=16, smoothing=0.1),
        "Fashion-MNIST 90 %": replace(
            _quick("fashion-mnist", (512, 256), epochs=25, smoothing=0.1),
            dropout=0.2,
            batch_norm=True,
        ),
        "MNIST 97 %": _quick("mnist", (128,), epochs=4, batch_size=64),
        "MNIST 98 %": replace(_quick("mnist", (256, 128), epochs=12, batch_size=256), lr=0.2),
    },
    alone=True,
)

# ---------------------------------------------------------------- the best within some minutes

FASHION = TrainConfig(
    dataset="fashion-mnist",
    hidden=(512, 512, 512),
    activation="gelu",
    batch_size=512,
    lr=0.2,
    momentum=0.9,
    schedule="one-cycle",
    weight_decay=1e-4,
    batch_norm=True,
    dropout=0.1,
    label_smoothing=0.1,
    average=0.999,
    flip=True,
    shift=1.0,
    val_size=0,
)
MNIST = TrainConfig(
    dataset="mnist",
    hidden=(1024, 512),
    batch_size=128,
    lr=0.1,
    momentum=0.9,
    schedule="one-cycle",
    weight_decay=1e-5,
    shift=1.0,
    elastic=1.1,
    val_size=0,
    **AFFINE,
)
# By minutes of training. The epochs are such that a run keeps within them on a core of two AVX-512
# cores, another run beside it; `cpu_seconds` in the table say whether it did.
BEST = {
    5: {
        "Fashion-MNIST one hidden layer": replace(FASHION, hidden=(1536,), epochs=112),
        "Fashion-MNIST two hidden layers": replace(FASHION, hidden=(1024, 512), epochs=105),
        "Fashion-MNIST any depth": replace(FASHION, epochs=135),
        "MNIST 800 hidden units": replace(MNIST, hidden=(800,), epochs=186),
        "MNIST any depth": replace(MNIST, epochs=97),
    },
    20: {
        "Fashion-MNIST any depth": replace(
            FASHION, hidden=(768, 768, 768), dropout=0.2, zoom=0.1, rotate=5.0, epochs=280
        ),
        "MNIST any depth": replace(MNIST, hidden=(1024, 1024, 512), activation="gelu", epochs=205),
    },
}
# Nets unlike those of BEST[20], each as good alone in five minutes or nearly so, that answer with
# them: they err on other images. Each takes 20 minutes.
UNLIKE = {
    "Fashion-MNIST": {
        "mirrored and shifted": replace(FASHION, hidden=(768, 768, 768), dropout=0.2, epochs=290),
        "bent": replace(FASHION, hidden=(768, 768, 768), elastic=0.7, epochs=255),
        "two layers": replace(
            FASHION, hidden=(1024, 512), dropout=0.2, zoom=0.05, rotate=5.0, epochs=345
        ),
        "ReLU on standard pixels": replace(
            FASHION, activation="relu", scale="standard", batch_size=256, lr=0.1,
            dropout=0.15, zoom=0.1, rotate=5.0, epochs=400,
        ),
    },
    "MNIST": {
        "batch normalisation": replace(
            MNIST, hidden=(512, 512, 512), activation="gelu", batch_norm=True, batch_size=256,
            epochs=400,
        ),
        "changed more": replace(MNIST, rotate=15.0, zoom=0.15, elastic=1.4, epochs=350),
        "tanh on standard pixels": replace(
            MNIST, activation="tanh", scale="standard", lr=0.05, epochs=345
        ),
        "smoothed labels": replace(MNIST, hidden=(800, 800), label_smoothing=0.1, epochs=340),
    },
}  # fmt: skip
ON_ALL = "Trained on all 60,000 images, after the recipe was chosen; weights of the last epoch."
HELD_OUT = "The same recipe on 55,000 images, judged on the other 5,000 after every epoch."


def _frontier() -> Study:
    """Return the study of the best nets: five seeds at 5 minutes, then three at 20.

    Each recipe also trains once with 5,000 images held out, which shows how its accuracy grew.
    """
    study = Study(
        "The best that fully connected nets on raw pixels reach in 5 and in 20 minutes a run.",
        settings={},
        kept={"Fashion-MNIST any depth 5 min": "fashion-mnist.safetensors",
              "MNIST any depth 5 min": "mnist.safetensors"},
    )  # fmt: skip
    for minutes, recipes in BEST.items():
        for recipe, config in recipes.items():
            name, held_out = f"{recipe} {minutes} min", f"{recipe} {minutes} min held out"
            study.settings.update({name: config, held_out: replace(config, val_size=5000)})
            study.notes.update({name: ON_ALL, held_out: HELD_OUT})
            for each in (name, held_out):
                study.minutes[each], study.readings[each] = minutes, ("many views",)
            if minutes > 5:
                study.late[name] = (0, 1, 2)
            study.late[held_out] = (0,)
            for row in study.rows_of(name):
                study.ensembles[row] = (row,)
    for data in UNLIKE:
        _answer_together(study, f"{data}, all", [n for n in study.ensembles if n.startswith(data)])
        unlike = _add_unlike(study, data)
        _answer_together(study, f"{data}, unlike nets", [f"{data} any depth 20 min", *unlike])
    return study


def _answer_together(study: Study, name: str, rows: Sequence[str]) -> None:
    """Name a group of rows, and the group of their many views."""
    alone = tuple(row for row in rows if "views" not in row)
    study.ensembles[name] = alone
    study.ensembles[f"{name}, many views"] = tuple(f"{row}, many views" for row in alone)


def _add_unlike(study: Study, data: str) -> list[str]:
    """Add the nets that are to differ, one seed each, and return their names."""
    named = {f"{data} unlike: {what}": config for what, config in UNLIKE[data].items()}
    study.settings.update(named)
    for name in named:
        study.notes[name] = ON_ALL
        study.minutes[name], study.readings[name], study.late[name] = 20, ("many views",), (0,)
    return list(named)


def _ablation() -> Study:
    """Return the study of what each trick is worth: a minute with all, and without each.

    What is left out makes a pass shorter or not, so each has as many as the minute holds.
    """
    whole = replace(FASHION, val_size=5000, epochs=28)
    return Study(
        "What each trick is worth: Fashion-MNIST, a minute of training, with one left out.",
        settings := {
            "all": whole,
            "no augmentation": replace(whole, flip=False, shift=0.0, epochs=29),
            "no dropout": replace(whole, dropout=0.0, epochs=31),
            "no batch normalisation": replace(whole, batch_norm=False, epochs=31),
            "no label smoothing": replace(whole, label_smoothing=0.0),
            "constant learning rate": replace(whole, schedule="constant", lr=0.1),
            "no weight averaging": replace(whole, average=0.0, epochs=29),
            "half the width": replace(whole, hidden=(256, 256, 256), epochs=68),
            "one layer fewer": replace(whole, hidden=(512, 512), epochs=41),
        },
        notes={"constant learning rate": "Half of the highest rate of the cycle, at all times."},
        minutes=dict.fromkeys(settings, 1),
    )


FRONTIER, ABLATION = _frontier(), _ablation()
STUDIES = {
    "reports": REPORTS,
    "simard": SIMARD,
    "recipes": RECIPES,
    "frontier": FRONTIER,
    "ablation": ABLATION,
}
