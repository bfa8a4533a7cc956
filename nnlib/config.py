"""The single list of what can be set in training.

The flags of `nnlib train`, a run's config.json, a model file's metadata and the names that the
search varies all come from the fields of `TrainConfig`: a new setting is one new line here.
"""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import partial
from inspect import signature
from typing import Any

from nnlib import checks, layers, optim
from nnlib.augment import Augment
from nnlib.checks import InputError
from nnlib.data import DATASETS, Dataset, full_name, load_dataset, read_size
from nnlib.images import SCALINGS, make_scaling
from nnlib.network import MLP
from nnlib.runs import versions

_from_0, _from_1 = partial(checks.count, least=0), partial(checks.count, least=1)
_seed = partial(checks.whole, least=0)  # of any size


def _option(
    default: Any, text: str, check: Callable | None = None, choices: Collection = ()
) -> Any:
    check = partial(checks.one_of, known=choices) if choices else check
    return field(default=default, metadata={"help": text, "check": check, "choices": choices})


def layers_text(layers: Sequence[int]) -> str:
    """Write layer sizes as 128x64; without a hidden layer, linear."""
    return "x".join(map(str, layers)) or "linear"


def read_layers(text: str) -> tuple[int, ...]:
    """Read layer sizes written as 128x64, or linear."""
    parts = [] if text == "linear" else text.split("x")
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"cannot read layers {text!r}: write 128 or 128x64, or linear for none")
    return tuple(map(int, parts))


def _hidden(name: str, sizes: Any) -> tuple[int, ...]:
    """Return layer sizes given one by one, alone, or as a text."""
    sizes = sizes[0] if isinstance(sizes, list | tuple) and len(sizes) == 1 else sizes
    sizes = read_layers(sizes) if isinstance(sizes, str) else sizes
    sizes = sizes if isinstance(sizes, Iterable) else [sizes]
    return tuple(checks.whole("hidden size", size, least=1) for size in sizes)


def _dataset(name: str, value: Any) -> str:
    """Return the name of a data set; that of a folder as its full path, good from anywhere."""
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"dataset must be a name, got {value!r}")
    return full_name(value)


def _image_size(name: str, value: Any) -> str:
    return "x".join(map(str, read_size(value) or ()))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run. Each field is a flag of `nnlib train`.

    Raises InputError, naming the thing and the value, for any setting out of range.
    """

    dataset: str = _option(MISSING, f"{', '.join(DATASETS)}, or a folder", _dataset)
    image_size: str | None = _option(None, "of pictures: N or HxW pixels, cropped", _image_size)
    hidden: tuple[int, ...] = _option((128,), "units of each hidden layer, or linear", _hidden)
    activation: str = _option("relu", "of the hidden layers", choices=tuple(layers.ACTIVATIONS))
    epochs: int = _option(10, "passes over the training images", _from_1)
    batch_size: int = _option(64, "images a step", _from_1)
    lr: float = _option(0.1, "learning rate")
    optimizer: str = _option("sgd", "how weights are updated", choices=tuple(optim.OPTIMIZERS))
    momentum: float = _option(0.0, "of SGD")
    nesterov: bool = _option(False, "Nesterov's form of momentum", checks.flag)
    weight_decay: float = _option(0.0, "L2, times half the sum of W^2; decoupled with adamw")
    schedule: str = _option("constant", "learning rate over time", choices=optim.SCHEDULES)
    decay: float = _option(0.95, "factor of the step and exponential schedules", checks.positive)
    decay_every: int = _option(10, "epochs between two steps of the step schedule", _from_1)
    warmup: int = _option(0, "steps in which the learning rate grows from 0", _from_0)
    dropout: float = _option(0.0, "probability that a hidden unit is dropped", checks.fraction)
    input_dropout: float = _option(0.0, "probability that a pixel is dropped", checks.fraction)
    batch_norm: bool = _option(False, "batch normalisation before each activation", checks.flag)
    label_smoothing: float = _option(0.0, "share of the target for all classes", checks.fraction)
    clip_norm: float = _option(0.0, "largest norm of a gradient; 0: any", checks.not_negative)
    average: float = _option(0.0, "decay of the weights' moving average; 0: none", checks.fraction)
    patience: int = _option(0, "stop after so many epochs without a better one; 0: never", _from_0)
    init: str | None = _option(None, "of the weights", choices=tuple(layers.INITIALISERS))
    init_scale: float = _option(1.0, "factor on the initial weights", checks.positive)
    scale: str = _option("unit", "pixels / 255, (p - mean) / sd, or as they are", choices=SCALINGS)
    flip: bool = _option(False, "augment: mirror left and right at random", checks.flag)
    shift: float = _option(0.0, "augment: pixels, at most, in each direction")
    rotate: float = _option(0.0, "augment: degrees, at most")
    zoom: float = _option(0.0, "augment: fraction, at most, larger or smaller")
    shear: float = _option(0.0, "augment: sideways pixels a row, at most")
    elastic: float = _option(0.0, "augment: elastic warp, root-mean-square pixels")
    cutout: int = _option(0, "augment: side in pixels of a blanked square")
    brightness: float = _option(0.0, "augment: fraction, at most, lighter or darker")
    contrast: float = _option(0.0, "augment: fraction, at most, of more or less contrast")
    colour: float = _option(0.0, "augment: fraction, at most, of more or less colour")
    val_size: int | None = _option(None, "validation images; one twelfth by default", _from_0)
    train_size: int | None = _option(None, "training images; all by default", _from_1)
    threads: int | None = _option(None, "of the processor; as many as pay by default", _from_1)
    split_seed: int = _option(0, "seed of the validation split", _seed)
    seed: int = _option(0, "seed of weights, order, dropout and augmentation", _seed)

    def __post_init__(self) -> None:
        for item in fields(self):
            value = checks.plain(getattr(self, item.name))
            check = item.metadata.get("check")  # a subclass may have fields of its own
            if check and (value is not None or item.default is not None):
                value = check(item.name.replace("_", " "), value)
            object.__setattr__(self, item.name, value)
        self.make_optimizer()
        self.augmentation  # noqa: B018  (raises for what it cannot do)

    def make_optimizer(self) -> optim.Optimizer:
        """Return a new optimiser with these settings."""
        kind = optim.OPTIMIZERS[self.optimizer]
        return kind(**self.arguments(kind))

    @property
    def augmentation(self) -> Augment:
        """The random changes made to training images."""
        return Augment(**self.arguments(Augment))

    def arguments(self, of: Callable) -> dict[str, Any]:
        """Return the settings that a function or class takes as arguments of the same names."""
        names = signature(of).parameters
        return {name: value for name, value in vars(self).items() if name in names}

    def make_schedule(self, steps_per_epoch: int) -> optim.Schedule:
        """Return the learning rate as a function of the step."""
        more = self.arguments(optim.make_schedule)
        return optim.make_schedule(self.schedule, steps_per_epoch=steps_per_epoch, **more)

    def load(self) -> Dataset:
        """Return the data set with the split that these settings ask for."""
        how = self.val_size, self.split_seed, self.train_size, self.image_size
        return load_dataset(self.dataset, *how)

    def make_model(self, data: Dataset) -> MLP:
        """Return a new net for the images and classes of `data`, scaling included."""
        scaling = make_scaling(self.scale, data.train.images)
        model = MLP(data.sizes(*self.hidden), scaling=scaling, **self.arguments(MLP))
        kind = "pictures" if data.pictures else "folder"
        model.info = {
            # the name of an official set; a folder's is marked, as it may be called the same
            "dataset": data.name if self.dataset in DATASETS else f"{kind} {data.name}",
            "sha256": data.sha256,
            "image_shape": list(data.image_shape),
            "classes": list(data.classes),
            # never a path, nor how fast: a run that is resumed knows its threads beforehand
            "config": self.as_dict() | {"dataset": data.name, "threads": None},
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
