"""The single list of what can be set in training.

The flags of `nnlib train`, a run's config.json, a model file's metadata and the names that the
search varies all come from the fields of `TrainConfig`: a new setting is one new line here.
"""

from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

import numpy as np

from nnlib import checks, layers, optim
from nnlib.augment import Augment
from nnlib.checks import InputError
from nnlib.data import DATASETS, Dataset, load_dataset, make_scaling
from nnlib.network import MLP


def _option(default: Any, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": text, **more})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run. Each field is a flag of `nnlib train`.

    Raises InputError, naming the thing and the value, for any setting out of range.
    """

    dataset: str = _option(MISSING, "fashion-mnist, mnist, digits, or a folder of four IDX files")
    hidden: tuple[int, ...] = _option((128,), "units of each hidden layer")
    activation: str = _option("relu", "of the hidden layers", choices=tuple(layers.ACTIVATIONS))
    epochs: int = _option(10, "passes over the training images")
    batch_size: int = _option(64, "images a step")
    lr: float = _option(0.1, "learning rate")
    optimizer: str = _option("sgd", "how weights are updated", choices=("sgd", "adamw"))
    momentum: float = _option(0.0, "of SGD")
    nesterov: bool = _option(False, "Nesterov's form of momentum")
    weight_decay: float = _option(0.0, "λ of ½ λ ‖W‖²; decoupled with adamw")
    schedule: str = _option("constant", "learning rate over time", choices=optim.SCHEDULES)
    decay: float = _option(0.95, "factor of the step and exponential schedules")
    decay_every: int = _option(10, "epochs between two steps of the step schedule")
    warmup: int = _option(0, "steps in which the learning rate grows from 0")
    dropout: float = _option(0.0, "probability that a hidden unit is dropped")
    input_dropout: float = _option(0.0, "probability that a pixel is dropped")
    batch_norm: bool = _option(False, "batch normalisation before each activation")
    label_smoothing: float = _option(0.0, "share of the target spread over all classes")
    clip_norm: float = _option(0.0, "largest norm of a gradient; 0: any")
    average: float = _option(0.0, "decay of the weights' moving average; 0: none")
    patience: int = _option(0, "stop after so many epochs without a better one; 0: never")
    init: str | None = _option(None, "of the weights", choices=tuple(layers.INITIALISERS))
    init_scale: float = _option(1.0, "factor on the initial weights")
    scale: str = _option("unit", "pixels / 255, (p - mean) / sd, or as they are",
                         choices=("unit", "standard", "none"))  # fmt: skip
    flip: bool = _option(False, "augment: mirror left and right at random")
    shift: float = _option(0.0, "augment: pixels, at most, in each direction")
    rotate: float = _option(0.0, "augment: degrees, at most")
    zoom: float = _option(0.0, "augment: fraction, at most, larger or smaller")
    shear: float = _option(0.0, "augment: sideways pixels a row, at most")
    elastic: float = _option(0.0, "augment: elastic warp, root-mean-square pixels")
    cutout: int = _option(0, "augment: side in pixels of a blanked square")
    val_size: int | None = _option(None, "validation images; one twelfth by default")
    train_size: int | None = _option(None, "training images; all by default")
    split_seed: int = _option(0, "seed of the validation split")
    seed: int = _option(0, "seed of weights, order, dropout and augmentation")

    def __post_init__(self) -> None:
        if not isinstance(self.dataset, str):
            raise InputError(f"dataset must be a name, got {self.dataset!r}")
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for size in self.hidden:
            checks.whole("hidden size", size, least=1)
        for item in fields(self):
            if (known := item.metadata.get("choices")) and getattr(self, item.name) is not None:
                checks.one_of(item.name, getattr(self, item.name), known)
        for name, least in {"epochs": 1, "batch_size": 1, "decay_every": 1, "warmup": 0,
                            "patience": 0, "split_seed": 0, "seed": 0}.items():  # fmt: skip
            checks.whole(_words(name), getattr(self, name), least)
        for name in ("dropout", "input_dropout", "label_smoothing", "average"):
            checks.fraction(_words(name), getattr(self, name))
        checks.positive("init scale", self.init_scale)
        checks.positive("decay", self.decay)
        checks.not_negative("clip norm", self.clip_norm)
        self.make_optimizer()
        self.augmentation  # noqa: B018  (raises for what it cannot do)

    def make_optimizer(self) -> optim.Optimizer:
        """Return a new optimiser with these settings."""
        if self.optimizer == "adamw":
            return optim.AdamW(self.lr, self.weight_decay)
        return optim.SGD(self.lr, self.momentum, self.weight_decay, self.nesterov)

    @property
    def augmentation(self) -> Augment:
        """The random changes made to training images."""
        names = ("flip", "shift", "rotate", "zoom", "shear", "elastic", "cutout")
        return Augment(**{name: getattr(self, name) for name in names})

    def make_schedule(self, steps_per_epoch: int) -> optim.Schedule:
        """Return the learning rate as a function of the step."""
        return optim.make_schedule(
            self.schedule,
            self.lr,
            epochs=self.epochs,
            steps_per_epoch=steps_per_epoch,
            decay=self.decay,
            decay_every=self.decay_every,
            warmup=self.warmup,
        )

    def load(self) -> Dataset:
        """Return the data set with the split that these settings ask for."""
        return load_dataset(self.dataset, self.val_size, self.split_seed, self.train_size)

    def make_model(self, data: Dataset) -> MLP:
        """Return a new net for the images and classes of `data`, scaling included."""
        height, width = data.image_shape
        model = MLP(
            [height * width, *self.hidden, len(data.classes)],
            self.activation,
            self.dropout,
            self.seed,
            input_dropout=self.input_dropout,
            batch_norm=self.batch_norm,
            init=self.init,
            init_scale=self.init_scale,
            scaling=make_scaling(self.scale, data.train.images),
        )
        model.info = {
            # the name of an official set; a folder's is marked, as it may be called the same
            "dataset": data.name if self.dataset in DATASETS else f"folder {data.name}",
            "sha256": data.sha256,
            "image_shape": list(data.image_shape),
            "classes": list(data.classes),
            "config": self.as_dict() | {"dataset": data.name},  # never a path
            "versions": versions(),
        }
        return model

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values, the data set by its name."""
        return asdict(self) | {"hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """Read settings back from JSON; keys that are not settings are left aside."""
        known = {item.name for item in fields(cls)}
        try:
            return cls(**{name: value for name, value in values.items() if name in known})
        except TypeError as error:
            raise InputError(f"settings are incomplete or of a wrong type: {error}") from None


def _words(name: str) -> str:
    return name.replace("_", " ")


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    import platform

    from nnlib import __version__

    return {"nnlib": __version__, "numpy": np.__version__, "python": platform.python_version()}
