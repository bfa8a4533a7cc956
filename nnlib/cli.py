"""The `nnlib` command: words on the command line in, one call of the library, words out.

Results go to standard output, progress to standard error. A mistake of the user's ends with one
line and exit status 2, anything else that fails with one line and 1. The verbs and their options
stand in command.toml, each verb done by the function `run_` of its name; the flags of `train` are
the fields of `TrainConfig`, and no setting is named twice.
"""

import argparse
import io
import json
import math
import os
import subprocess
import sys
import tomllib
import typing
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from nnlib import checks, training
from nnlib.checks import InputError
from nnlib.config import TrainConfig, layers_text
from nnlib.data import load_test_split
from nnlib.evaluation import evaluate
from nnlib.files import HINTS, complaint, in_a_line, project_root, without_nan
from nnlib.language import speaking
from nnlib.network import MLP, load_model
from nnlib.runs import VERSION, RunFolder
from nnlib.sources import DATASETS, fetch, full_name, holds_pictures

COMMAND = Path(__file__).parent / "command.toml"  # every verb, and what it takes
MEANT: dict[Any, Any] = {  # what a table can but name
    "int": int,
    "NAME VALUE": ("NAME", "VALUE"),
    "data sets": ", ".join(DATASETS),
}
METAVARS: dict[Any, str] = {int: "N", float: "X", str: "NAME"}


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is a single line."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with status 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    _open_streams()
    options = make_parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: say(f"nnlib: {message}")
            return globals()[f"run_{options.verb}"](options) or 0
    except KeyboardInterrupt as stop:  # of training, it says how to go on
        return _fail(str(stop) or "interrupted", 1)
    except ValueError as error:
        return _fail(error, 2)
    except ModuleNotFoundError as error:
        return _fail(_missing(options.verb, error), 1)
    except MemoryError as error:
        why = f"out of memory ({error})" if str(error) else "out of memory"
        return _fail(f"{why}: choose a smaller net, batch or data set, or close programs", 2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(where + complaint(error), 2 if error.errno in HINTS else 1)
    except (ArithmeticError, RuntimeError) as error:
        return _fail(error, 1)
    finally:
        _flush()


def _open_streams() -> None:
    """Give what is closed a place that takes everything, so that no file of ours gets its number.

    A terminal that lacks a letter shows another.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _flush() -> None:
    """Let go what a stream cannot take, or Python would fail at its end once more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def printable(text: str) -> str:
    """Return a text in which nothing but a line's end acts on a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def say(line: str) -> None:
    """Write a line to standard error, whose reader may be gone."""
    with suppress(OSError):
        print(printable(line), file=sys.stderr, flush=True)


def _fail(error: object, status: int) -> int:
    say(f"nnlib: {in_a_line(error)}")
    return status


def _missing(verb: str, error: ModuleNotFoundError) -> str:
    """Say which extra brings the package that a command lacks."""
    package = (error.name or "").partition(".")[0]
    if package in ("", "nnlib"):  # a mistake of ours
        raise error
    extra = verb if verb in ("search", "report", "export") else "notebook"
    return f'{verb} needs {package}, which is not installed: pip install "nnlib[{extra}]"'


def make_parser() -> Parser:
    """Return the parser of the whole command, a subparser for each verb of command.toml."""
    parser = Parser(prog="nnlib", description="A multi-layer perceptron in NumPy, and its report.")
    parser.add_argument("--version", action="version", version=f"nnlib {VERSION}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    for name, options in tomllib.loads(COMMAND.read_text("utf-8")).items():
        text = options.pop("help")
        # abbreviations would turn a new flag into a change of what old commands mean
        verb = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
        for flag, how in options.items():
            verb.add_argument(flag, **{key: MEANT.get(value, value) for key, value in how.items()})
        if name in ("train", "search"):
            _add_settings(verb, leave_out=options)
    return parser


def _add_settings(verb: argparse.ArgumentParser, leave_out: Iterable[str]) -> None:
    """Give a subcommand one flag for each field of `TrainConfig`, but for those it has."""
    group = verb.add_argument_group("settings")
    for setting in fields(TrainConfig):
        if (flag := "--" + setting.name.replace("_", "-")) not in leave_out:
            group.add_argument(flag, default=argparse.SUPPRESS, **_how(setting))


def _how(setting: Field) -> dict[str, Any]:
    """Say to argparse what a field's type and default mean on the command line."""
    default, text = setting.default, setting.metadata["help"].replace("%", "%%")
    if not (default is MISSING or default is None or default is False):
        text += f" [{layers_text(default) if isinstance(default, tuple) else default}]"
    if setting.type is bool:
        return {"action": argparse.BooleanOptionalAction, "help": text}
    kind, *others = typing.get_args(setting.type) or [setting.type]  # of int | None, int
    metavar = "|".join(setting.metadata["choices"]) or METAVARS[kind]
    several = {"nargs": "+", "type": _layer} if ... in others else {}  # of tuple[int, ...]
    return {"type": kind, "metavar": metavar, "help": text} | several


def _layer(text: str) -> int | str:
    """Read the width of a layer; texts for whole nets are for `TrainConfig`."""
    try:
        return int(text) if text != "linear" and "x" not in text else text
    except ValueError:
        why = f"invalid int value: {text!r}; write 128, or linear for no hidden layer"
        raise argparse.ArgumentTypeError(why) from None


def config_of(options: argparse.Namespace, or_else: str = "") -> TrainConfig:
    """Return the settings given, the rest by default; a data set must be among them."""
    if "dataset" not in options:
        raise InputError(f"no data set given: add --dataset fashion-mnist{or_else}")
    return TrainConfig.from_dict(vars(options))


def run_data(options: argparse.Namespace) -> None:
    """Fetch and verify data sets, and say where they are."""
    for name in options.names or DATASETS:
        folders = dict.fromkeys(str(path.parent) for path in fetch(name).values())
        place = full_name(name) if holds_pictures(name) else "comes with scikit-learn"
        print(f"{name}: {' and '.join(folders) or place}")


def run_train(options: argparse.Namespace) -> None:
    """Train a new run, or go on with one."""
    from nnlib import progress

    watch = progress.Bar()
    given = [setting.name for setting in fields(TrainConfig) if setting.name in options]
    if options.resume is None:
        run = training.train(config_of(options, ", or --resume DIR"), options.out, watch)
    elif extra := [n for n in given if n not in ("dataset", "epochs")] or (options.out and ["out"]):
        flag = extra[0].replace("_", "-")
        raise InputError(f"--resume takes its settings from the run; leave out --{flag}")
    else:
        run = training.resume(options.resume, watch, **{n: getattr(options, n) for n in given})
    best = run.history.best
    summary = {
        "epochs": len(run.history.rows),
        "seconds": run.seconds,
        "val_accuracy": best["val_accuracy"],
        "val_loss": best["val_loss"],
        "best_epoch": best["epoch"],
        "model": str(run.folder.model),
    }
    text = f"best epoch {best['epoch']}: validation accuracy {best['val_accuracy']:.2%}"
    if math.isnan(best["val_accuracy"]):
        text = f"weights of the last epoch, {best['epoch']}: without validation none is best"
    _answer(options, summary, f"{text}\n{run.folder.model}")


def run_test(options: argparse.Namespace) -> None:
    """Print the accuracy of a saved model on the test images."""
    model = load_model(options.model)
    dataset = options.dataset or trained_on(options.model, model)
    shape = model.info.get("image_shape", ())[:2] if holds_pictures(dataset) else None
    learned = model.info.get("sha256", "") if options.dataset is None else ""
    split = load_test_split(dataset, shape or None, model.info.get("classes", ()), learned)
    result = evaluate(model, split)
    answer = {"accuracy": result.accuracy, "loss": result.loss, "n": result.n, "dataset": dataset}
    text = f"test accuracy {result.accuracy:.2%}, loss {result.loss:.4f}"
    _answer(options, answer, f"{text}, on {result.n:,} images of {dataset}")


def trained_on(path: str, model: MLP) -> str:
    """Return the data set of a run's folder or model file; InputError where it does not say."""
    folder = RunFolder(path)
    folder = folder if folder.path.is_dir() else RunFolder(folder.path.parent)
    if folder.holds_a_run() and (place := folder.load_config().get("dataset")):
        return place
    if (name := model.info.get("dataset", "")) in DATASETS:
        return name
    raise InputError(f"{path} does not say what it was trained on: add --dataset NAME")


def run_predict(options: argparse.Namespace) -> int:
    """Print what each picture shows, most likely first; return 2 where one could not be read.

    A picture that is refused gets its line on standard error, and costs the others nothing.
    """
    from nnlib.pictures import load_picture

    model = load_model(options.model)
    shape, dataset = picture_format(model)
    paths, pictures, refused = [], [], []
    for path in map(os.path.expanduser, options.images):
        try:
            pictures.append(load_picture(path, shape, dataset))
            paths.append(path)
        except InputError as error:
            refused.append({"image": path, "error": str(error)})
            _fail(error, 2)
    far = _unlike(options.model, model, pictures)
    answers = [
        {"image": path} | _ranked(model, picture) | {"unlike": each}
        for path, picture, each in zip(paths, pictures, far, strict=True)
    ]
    if answers or options.json:
        text = "\n".join(map(_shown, answers))
        _answer(options, {"predictions": answers, "refused": refused}, text)
    return 2 if refused else 0


def picture_format(model: MLP) -> tuple[tuple[int, ...], str]:
    """Return image shape and data set that a model was trained on; square if it does not say."""
    side = math.isqrt(model.sizes[0])
    shape = tuple(model.info.get("image_shape", (side, side)))
    if math.prod(shape) != model.sizes[0]:
        raise InputError(f"the model's {model.sizes[0]} inputs are not a picture it describes")
    return shape, model.info.get("dataset", "")


def _ranked(model: MLP, picture: np.ndarray) -> dict[str, Any]:
    probabilities = model.predict_proba(model.scaling(picture[None]))[0]  # (K,)
    names = model.info.get("classes") or [str(k) for k in range(len(probabilities))]
    best = probabilities.argsort()[::-1][:3]
    top = [{"label": names[k], "probability": float(probabilities[k])} for k in best]
    return {"label": top[0]["label"], "top": top}


def _unlike(path: str, model: MLP, pictures: list[Any]) -> list[dict[str, Any] | None]:
    """Return what `likeness` says of each picture, None where the data cannot be had."""
    from nnlib import likeness

    failures = ValueError, TypeError, AttributeError, OSError, ImportError, MemoryError
    with suppress(*failures), warnings.catch_warnings(action="ignore"):  # training has warned
        if pictures:
            data = likeness.training_data(model, trained_on(path, model))
            return [*likeness.unlike(np.stack(pictures), data)]
    return [None] * len(pictures)


def _shown(answer: dict[str, Any]) -> str:
    """Return a prediction as a line."""
    labels = ", ".join(f"{p['label']} {p['probability']:.1%}" for p in answer["top"])
    text, far = f"{answer['image']}: {labels}", answer["unlike"]
    if far and far["unlike"]:
        text += f"; unlike: {far['distance']:.2f} from the nearest training image"
        text += f" ({far['nearest']}), usual is up to {far['usual']:.2f}"
    return text


def run_export(options: argparse.Namespace) -> None:
    """Write a net for other tools, and say how it is used."""
    from nnlib import interop

    model = load_model(options.model)
    path = options.out or interop.beside(options.model, options.to)
    usage = interop.export(model, options.to, path)
    answer = {"file": str(path), "form": options.to, "usage": usage}
    _answer(options, answer, f"{path}\n\n{usage}")


def run_search(options: argparse.Namespace) -> None:
    """Search, and print the best configuration and the table's head."""
    from nnlib import search

    config = config_of(options)
    if options.trials is None and options.sampler != "grid":
        raise InputError("no number of trials given: add --trials 20")
    ranges = map(search.parse_range, options.ranges or ())
    space: dict[str, Any] = {}
    for name, values in [*ranges, *map(search.parse_choice, options.choices or ())]:
        if name in space:
            raise InputError(f"{name} is given twice: name it in one --range or --choice")
        space[name] = values
    names = ("sampler", "pruner", "seeds", "jobs", "storage", "scheduler", "seed", "out")
    more = {name: getattr(options, name) for name in names}
    result = search.run_search(config, space, options.trials, **more, on_trial=print_trial)
    answer = {"best": result.best, "trials": len(result.rows), "seconds": result.seconds}
    text = "no trial has finished; give the same command to go on"
    if result.rows:
        text = result.table.head(10).drop(columns="reason").to_string(index=False)
    text = f"{text}\n{result.folder / 'trials.csv'}"
    _answer(options, answer | {"folder": str(result.folder)}, text)


def print_trial(row: dict[str, Any], result: Any) -> None:
    """Write one line for each trial that ended to standard error."""
    value = row["val_accuracy"]
    shown = f"{value:.2%}" if isinstance(value, float) and math.isfinite(value) else row["reason"]
    varied = list(row)[1 : list(row).index("val_accuracy")]
    settings = "  ".join(f"{name} {row[name]}" for name in varied)
    say(f"trial {len(result.rows)}/{result.planned}  {row['state']} {shown}  {settings}")


def run_report(options: argparse.Namespace) -> None:
    """Execute the notebooks and publish the report."""
    from nnlib.report.book import publish

    parameters = {name: _literal(value) for name, value in options.parameters or ()}
    more = options.dataset, options.out, parameters, options.solutions
    with speaking(options.language):
        print(publish(options.profile, *more))


def run_bench(options: argparse.Namespace) -> None:
    """Run the benchmark of a checkout of the project."""
    script = project_root() / "experiments" / "benchmarks" / "speed.py"
    if not script.is_file():
        raise InputError(f"{script} does not exist: run this in a checkout of the project")
    checks.whole("rounds", options.rounds, 1)
    words = ["--rounds", str(options.rounds), *(["--json"] if options.json else [])]
    sys.exit(subprocess.run([sys.executable, str(script), *words], check=False).returncode)


def _literal(text: str) -> Any:
    """Read a parameter's value: a JSON value where it is one, else the text itself."""
    with suppress(ValueError):
        return json.loads(text)
    return text


def _answer(options: argparse.Namespace, values: dict[str, Any], text: str) -> None:
    """Print the result: JSON alone where asked for, words otherwise."""
    try:
        print(json.dumps(without_nan(values)) if options.json else printable(text), flush=True)
    except OSError as error:
        error.filename = "standard output"
        raise
