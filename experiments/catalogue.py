"""The long runs, as data: every setting was fixed before the test images were looked at.

They were chosen by validation accuracy alone. Where a report leaves a setting open, the note of
its recipe says what was taken. How runs are made is the business of `compute`, how they are kept
that of `store`.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from experiments.report_d import ReportD
from experiments.study import AS_TRAINED, PICTURES, TITLES, Group, Recipe, Study
from nnlib.config import TrainConfig

# ---------------------------------------------------------------- the course reports

AS_PUBLISHED = "as published"
REFITTED = (AS_TRAINED, "least squares")
SPLIT = "our split, 5,000 validation images drawn class by class by seed 0; best weights by them"

REPORT_A = TrainConfig(dataset="fashion-mnist", hidden=(128, 128), lr=0.1, batch_size=16, epochs=20)
REPORT_B = TrainConfig(
    dataset="mnist",
    hidden=(292,),
    lr=0.24752157219042198,
    weight_decay=2.546591239423651e-07,
    batch_size=128,
    epochs=50,
)
REPORT_C = TrainConfig(
    dataset="fashion-mnist",
    hidden=(128,),
    lr=0.1,
    weight_decay=0.001,
    batch_size=64,
    epochs=50,
    schedule="exponential",
)
REPORT_D = ReportD(
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
)
REPORT_E = TrainConfig(
    dataset="mnist",
    hidden=(100,),
    lr=0.001,
    weight_decay=0.05,
    batch_size=100,
    epochs=10,
    schedule="exponential",
    scale="none",
    init="normal",
    init_scale=1e-3,
    train_size=49000,
    val_size=1000,
)


def _report(letter: str, config: TrainConfig, recipe: str = AS_PUBLISHED, **more: Any) -> Recipe:
    return Recipe(config, {"report": letter, "recipe": recipe}, readings=REFITTED, **more)


REPORTS = Study(
    "The five course reports: their nets and settings, and the last layer refitted.",
    {
        "report": "whose net it is",
        "recipe": f"{AS_PUBLISHED}: the settings that the report's number belongs to; or others",
    },
    (
        _report(
            "A",
            REPORT_A,
            published=88.0,
            told={AS_TRAINED: "128-128, ReLU, batch 16, 20 epochs"},
            note=f"Unstated: {SPLIT}; He initialisation; no L2.",
        ),
        _report(
            "B",
            REPORT_B,
            published=98.08,
            told={AS_TRAINED: "292, ReLU, lr 0.2475, batch 128, 50 epochs"},
            note=f"Unstated: {SPLIT}; He initialisation; constant learning rate.",
        ),
        _report(
            "C",
            REPORT_C,
            published=86.45,
            told={AS_TRAINED: "128, ReLU, batch 64, lr × 0.95 an epoch, 50 epochs"},
            note=f"Unstated: the learning rate at the start, 0.1; {SPLIT}.",
        ),
        _report(
            "D",
            REPORT_D,
            published=92.35,
            told={
                AS_TRAINED: "257, tanh, scaled and rotated copies, dropout, cosine",
                "least squares": "the same, its last layer refitted by least squares",
            },
            note="Unstated: momentum 0.9; dropout 0.2; batch 100; 20 epochs; warm-up of one epoch; "
            "Glorot initialisation; one copy of every training image scaled by up to 15 % and one "
            f"rotated by up to 15°, so 165,000 images; {SPLIT}. λ = 0.634 is taken as stated, on "
            "the norm of each weight matrix. Unstated, too, is whether the loss is summed or "
            "averaged over the batch: it is summed.",
        ),
        _report(
            "E",
            REPORT_E,
            published=97.7,
            told={AS_TRAINED: "100, ReLU, raw pixels, L2 0.05, batch 100, 10 epochs"},
            note="The best of its search. Unstated: plain SGD; λ is that of ½ λ ‖W‖²; 49,000 and "
            "1,000 images drawn class by class by seed 0; best weights by the 1,000. Tested on all "
            "10,000 test images; the report's 1,000 are taken to be the first.",
        ),
        _report(
            "D",
            replace(REPORT_D, summed=False),
            "loss averaged",
            note="As D, but with the mean of the loss over the batch. The penalty's pull then "
            "exceeds the loss's, and all weights go to 0; the best weights are early ones.",
        ),
        _report(
            "E",
            replace(REPORT_E, weight_decay=0.1),
            "the run it shows",
            note="As E, but λ = 0.1, as in the run that the report shows.",
        ),
        _report(
            "E",
            replace(REPORT_E, weight_decay=0.1 / 49_000),
            "penalty averaged",
            note="As the run it shows, but λ = 0.1 is that of ½ λ ‖W‖² / N: the penalty, as the "
            "loss, is a mean over the N = 49,000 training images.",
        ),
    ),
)

# ---------------------------------------------------------------- Simard's net

AFFINE = {"rotate": 12.0, "zoom": 0.12, "shear": 0.12}


def _simard(recipe: str, epochs: int, changes: dict[str, float], **more: Any) -> Recipe:
    """Return Simard's net, one hidden layer of 800, on MNIST changed in the given way."""
    config = TrainConfig(
        dataset="mnist",
        hidden=(800,),
        epochs=epochs,
        batch_size=128,
        lr=0.1,
        momentum=0.9,
        schedule="one-cycle",
        **changes,
    )
    return Recipe(config, {"recipe": recipe}, **more)


SIMARD = Study(
    "Simard, Steinkraus and Platt 2003: one hidden layer of 800 on MNIST.",
    {"recipe": "how the images are changed"},
    (
        _simard("plain", 20, {}, published=98.4, told={AS_TRAINED: "800, ReLU"}),
        _simard(
            "affine",
            60,
            {"shift": 2.0} | AFFINE,
            published=98.9,
            told={AS_TRAINED: "800, ReLU, images moved, turned and scaled"},
            note="Each image, each time: shifted by up to 2 px, turned by up to 12°, scaled by "
            "up to 12 %, sheared by up to 0.12 px a row.",
        ),
        _simard(
            "elastic",
            60,
            {"elastic": 1.4},
            published=99.3,
            told={AS_TRAINED: "800, ReLU, images bent"},
            note="Each image, each time: displaced by 1.4 px root-mean-square along each axis, "
            "smooth over σ = 4 px, as the paper's α = 34.",
        ),
        _simard(
            "affine and elastic",
            60,
            {"shift": 1.0, "elastic": 1.1} | AFFINE,
            note="Both: shifted by up to 1 px, displaced by 1.1 px.",
        ),
    ),
)

# ---------------------------------------------------------------- time to accuracy


def _quick(dataset: str, goal: int, hidden: tuple[int, ...], epochs: int, **changes: Any) -> Recipe:
    """Return what learns soonest: a few epochs, momentum, one cycle of a large rate."""
    usual = {"batch_size": 128, "lr": 0.1, "momentum": 0.9, "schedule": "one-cycle"}
    config = TrainConfig(dataset=dataset, hidden=hidden, epochs=epochs, **(usual | changes))
    return Recipe(config, {"goal": goal})


SMOOTH = {"label_smoothing": 0.1, "weight_decay": 1e-4}
RECIPES = Study(
    "Time to accuracy: nets and schedules that reach a test accuracy soonest on two cores.",
    {"goal": "the test accuracy to be reached, in percent"},
    (
        _quick("fashion-mnist", 88, (192,), epochs=11),
        _quick("fashion-mnist", 89, (256, 128), epochs=16, **SMOOTH),
        _quick("fashion-mnist", 90, (512, 256), epochs=25, dropout=0.2, batch_norm=True, **SMOOTH),
        _quick("mnist", 97, (128,), epochs=4, batch_size=64),
        _quick("mnist", 98, (256, 128), epochs=12, batch_size=256, lr=0.2),
    ),
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
ANY = "any depth"
# By minutes of training. The epochs are such that a run keeps within them on a core of two AVX-512
# cores, another run beside it; `cpu_seconds` in the table say whether it did.
BEST = [
    (5, "one hidden layer", replace(FASHION, hidden=(1536,), epochs=112)),
    (5, "two hidden layers", replace(FASHION, hidden=(1024, 512), epochs=105)),
    (5, ANY, replace(FASHION, epochs=135)),
    (5, "800 hidden units", replace(MNIST, hidden=(800,), epochs=186)),
    (5, ANY, replace(MNIST, epochs=97)),
    (20, ANY, replace(FASHION, hidden=(768, 768, 768), dropout=0.2, zoom=0.1, rotate=5.0,
                      epochs=280)),
    (20, ANY, replace(MNIST, hidden=(1024, 1024, 512), activation="gelu", epochs=205)),
]  # fmt: skip
# Nets unlike those of any depth and 20 minutes, each as good alone in five minutes or nearly so,
# that answer with them: they err on other images. Each takes 20 minutes.
UNLIKE = {
    "mirrored and shifted": replace(FASHION, hidden=(768, 768, 768), dropout=0.2, epochs=290),
    "bent": replace(FASHION, hidden=(768, 768, 768), elastic=0.7, epochs=255),
    "two layers": replace(
        FASHION, hidden=(1024, 512), dropout=0.2, zoom=0.05, rotate=5.0, epochs=345
    ),
    "ReLU on standard pixels": replace(
        FASHION, activation="relu", scale="standard", batch_size=256, lr=0.1,
        dropout=0.15, zoom=0.1, rotate=5.0, epochs=400,
    ),
    "batch normalisation": replace(
        MNIST, hidden=(512, 512, 512), activation="gelu", batch_norm=True, batch_size=256,
        epochs=400,
    ),
    "changed more": replace(MNIST, rotate=15.0, zoom=0.15, elastic=1.4, epochs=350),
    "tanh on standard pixels": replace(
        MNIST, activation="tanh", scale="standard", lr=0.05, epochs=345
    ),
    "smoothed labels": replace(MNIST, hidden=(800, 800), label_smoothing=0.1, epochs=340),
}  # fmt: skip
ON_ALL = "Trained on all 60,000 images, after the recipe was chosen; weights of the last epoch."
HELD_OUT = "The same recipe on 5,000 images fewer, which judge it after every epoch."


def _candidate(group: str, recipe: str, minutes: int, config: TrainConfig, **more: Any) -> Recipe:
    labels = {"group": group, "recipe": recipe, "minutes": minutes, "held_out": config.val_size}
    usual = {"readings": (AS_TRAINED, "many views"), "note": ON_ALL}
    noted = {"note": HELD_OUT} if config.val_size else {}
    return Recipe(config, labels, minutes=minutes, **usual | more | noted)


def _best(minutes: int, recipe: str, config: TrainConfig) -> Iterator[Recipe]:
    """Yield a recipe with its seeds, five or three, and once more with 5,000 images held out."""
    saved = f"{config.dataset}.safetensors" if (minutes, recipe) == (5, ANY) else ""
    seeds, late = ((0, 1, 2), True) if minutes > 5 else ((0, 1, 2, 3, 4), False)
    yield _candidate("best", recipe, minutes, config, seeds=seeds, late=late, saved=saved)
    held_out = replace(config, val_size=5000)
    yield _candidate("best", recipe, minutes, held_out, seeds=(0,), late=True)


def _all_seeds(recipe: Recipe) -> Group:
    """Return the nets of one recipe, which answer together."""
    about = {name: recipe.columns[name] for name in ("data", "recipe", "minutes")}
    return Group({"group": "one recipe"} | about, (recipe,))


def _groups(best: list[Recipe], unlike: list[Recipe]) -> Iterator[Group]:
    """Yield the nets that answer together: those of one recipe, all of them, and unlike ones."""
    whole = [recipe for recipe in best if not recipe.labels["held_out"]]
    for recipe in whole:
        yield _all_seeds(recipe)
    for data in (TITLES[config.dataset] for config in (FASHION, MNIST)):
        mixed = {"data": data, "recipe": "several"}
        own = [recipe for recipe in whole if recipe.columns["data"] == data]
        yield Group({"group": "all"} | mixed | {"minutes": ""}, tuple(own))
        differing = [recipe for recipe in unlike if recipe.columns["data"] == data]
        long = [recipe for recipe in own if recipe.minutes == 20] + differing
        yield Group({"group": "unlike nets"} | mixed | {"minutes": 20}, tuple(long))


def _frontier() -> Study:
    """Return the study of the best nets: five seeds at 5 minutes, then three at 20."""
    best = [recipe for row in BEST for recipe in _best(*row)]
    unlike = [
        _candidate("unlike", name, 20, config, seeds=(0,), late=True)
        for name, config in UNLIKE.items()
    ]
    return Study(
        "The best that fully connected nets on raw pixels reach in 5 and in 20 minutes a run.",
        {
            "group": "best: a recipe for its minutes; unlike: made to differ from those",
            "recipe": "its name in the group",
            "minutes": "of training that a run may take",
            "held_out": "images that judge it after every epoch, and are not trained on",
        },
        (*best, *unlike),
        tuple(_groups(best, unlike)),
    )


# ---------------------------------------------------------------- what each trick is worth


def _ablation() -> Study:
    """Return the study of what each trick is worth: a minute with all, and without each.

    What is left out makes a pass shorter or not, so each has as many as the minute holds.
    """
    whole = replace(FASHION, val_size=5000, epochs=28)
    constant = "Half of the highest rate of the cycle, at all times."
    recipes = {
        "all": whole,
        "no augmentation": replace(whole, flip=False, shift=0.0, epochs=29),
        "no dropout": replace(whole, dropout=0.0, epochs=31),
        "no batch normalisation": replace(whole, batch_norm=False, epochs=31),
        "no label smoothing": replace(whole, label_smoothing=0.0),
        "constant learning rate": replace(whole, schedule="constant", lr=0.1),
        "no weight averaging": replace(whole, average=0.0, epochs=29),
        "half the width": replace(whole, hidden=(256, 256, 256), epochs=68),
        "one layer fewer": replace(whole, hidden=(512, 512), epochs=41),
    }
    return Study(
        "What each trick is worth: Fashion-MNIST, a minute of training, with one left out.",
        {"recipe": "what is left out, or all"},
        tuple(
            Recipe(config, {"recipe": name}, note=constant if config.lr == 0.1 else "")
            for name, config in recipes.items()
        ),
    )


# ---------------------------------------------------------------- colour

COLOUR = TrainConfig(
    dataset=PICTURES,
    hidden=(512, 512),
    epochs=20,
    batch_size=128,
    lr=0.05,
    momentum=0.9,
    schedule="one-cycle",
    weight_decay=5e-4,
    batch_norm=True,
    scale="standard",
    flip=True,
    shift=3.0,
    zoom=0.1,
    rotate=5.0,
    val_size=0,
)
STILL: dict[str, Any] = {"flip": False, "shift": 0.0, "zoom": 0.0, "rotate": 0.0}
DEPTHS = {"no hidden layer": (), "one": (512,), "two": (512,) * 2, "three": (512,) * 3,
          "four": (512,) * 4}  # fmt: skip
CHANGES = {
    "none": STILL,
    "mirrored": STILL | {"flip": True},
    "and shifted": {"zoom": 0.0, "rotate": 0.0},
    "and light": {"brightness": 0.2, "contrast": 0.2, "colour": 0.2},
}
DEEP = replace(COLOUR, hidden=(1024,) * 3)
LIGHT = replace(DEEP, epochs=100, **CHANGES["and light"])
LONGER = [
    (5, "no augmentation", replace(COLOUR, hidden=(1024, 512), epochs=25, dropout=0.3, **STILL)),
    (5, "augmentation", replace(COLOUR, hidden=(1024, 512), epochs=40)),
    (20, "augmentation", replace(DEEP, epochs=80)),
    (40, "augmentation", replace(DEEP, epochs=160)),
    (40, "stronger L2", replace(DEEP, epochs=130, weight_decay=2e-3)),
    (40, "GELU and light", replace(LIGHT, activation="gelu")),
]
UNLIKE_IN_COLOUR = {  # nets of the recipe of 20 minutes, each with a change of its own
    "and light": LIGHT,
    "GELU": replace(DEEP, epochs=68, activation="gelu"),
    "smoothed labels": replace(DEEP, epochs=68, label_smoothing=0.1),
    "moved more": replace(DEEP, epochs=100, shift=4.0, zoom=0.2, rotate=10.0),
    "with holes": replace(DEEP, epochs=68, cutout=8),
}


def _colour() -> Study:
    """Return the study of colour: what depth and augmentation are worth, and the best of them."""

    def recipe(group: str, name: str, config: TrainConfig, minutes: int = 2, **more: Any) -> Recipe:
        many = group in ("best", "unlike") and config.flip
        views = (AS_TRAINED, "many views") if many else (AS_TRAINED,)
        return _candidate(group, name, minutes, config, readings=views, note="", **more)

    depth = [recipe("depth", n, replace(COLOUR, hidden=hidden)) for n, hidden in DEPTHS.items()]
    change = [recipe("change", n, replace(COLOUR, **changed)) for n, changed in CHANGES.items()]
    best = [recipe("best", name, config, minutes) for minutes, name, config in LONGER]
    judged = [
        recipe("best", name, replace(config, val_size=5000), minutes, seeds=(0,), late=True)
        for minutes, name, config in LONGER
        if minutes == 5
    ]
    unlike = [
        recipe("unlike", name, config, 40, seeds=(0,), late=True)
        for name, config in UNLIKE_IN_COLOUR.items()
    ]
    about = {"group": "unlike nets", "data": TITLES[PICTURES], "recipe": "several", "minutes": 40}
    return Study(
        "Colour: nets on CIFAR-10 as JPEG files, a public copy whose bytes are not the official.",
        {
            "group": "depth: hidden layers; change: of images; best: within so many minutes; "
            "unlike: made to differ from each other",
            "recipe": "its name in the group",
            "minutes": "of training that a run may take, on one core of two",
            "held_out": "images that judge it after every epoch, and are not trained on",
        },
        (*depth, *change, *best, *judged, *unlike),
        (*map(_all_seeds, best), Group(about, tuple(unlike))),
    )


STUDIES = {
    "reports": REPORTS,
    "simard": SIMARD,
    "recipes": RECIPES,
    "frontier": _frontier(),
    "ablation": _ablation(),
    "colour": _colour(),
}
