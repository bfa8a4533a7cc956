"""The `nnlib` command: words on the command line in, one call of the library, words out.

Results go to standard output, progress to standard error. A mistake of the user's ends with one
line and exit status 2, anything else that fails with one line and 1. The flags of `train` are
the fields of `TrainConfig`; no setting is named twice.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import typing
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from typing import Any, NoReturn

import numpy as np

from nnlib import checks, training
from nnlib.checks import InputError
from nnlib.config import TrainConfig
from nnlib.data import DATASETS, fetch, full_name, holds_pictures, load_test_split
from nnlib.evaluation import evaluate
from nnlib.files import HINTS, complaint, project_root, without_nan
from nnlib.language import speaking
from nnlib.network import MLP, load_model
from nnlib.runs import VERSION, RunFolder

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
            return options.run(options) or 0
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
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        if reconfigure := getattr(getattr(sys, name), "reconfigure", None):
            reconfigure(errors="replace")


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
    say(f"nnlib: {' '.join(str(error).split()) or type(error).__name__}")
    return status


def _missing(verb: str, error: ModuleNotFoundError) -> str:
    """Say which extra brings the package that a command lacks."""
    package = (error.name or "").partition(".")[0]
    if package in ("", "nnlib"):  # a mistake of ours
        raise error
    extra = verb if verb in ("search", "report", "export") else "notebook"
    return f'{verb} needs {package}, which is not installed: pip install "nnlib[{extra}]"'


def make_parser() -> Parser:
    """Return the parser of the whole command, a subparser for each verb."""
    parser = Parser(prog="nnlib", description="A multi-layer perceptron in NumPy, and its report.")
    parser.add_argument("--version", action="version", version=f"nnlib {VERSION}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    data = _verb(verbs, "data", run_data, "download and verify data sets", json_flag=False)
    data.add_argument("names", nargs="*", metavar="NAME", help=", ".join(DATASETS))
    train = _verb(verbs, "train", run_train, "train a net and keep its best weights")
    train.add_argument("--out", metavar="DIR", help="a new folder; by default one under runs/")
    train.add_argument("--resume", metavar="DIR", help="go on from the last checkpoint in DIR")
    _add_settings(train)
    test = _verb(verbs, "test", run_test, "print a saved model's accuracy on the test images")
    predict = _verb(verbs, "predict", run_predict, "say what a picture shows")
    for verb in (test, predict):
        verb.add_argument("model", metavar="MODEL", help="a run's folder or a .safetensors file")
    test.add_argument("--dataset", metavar="NAME", help="by default the one it was trained on")
    predict.add_argument("images", nargs="+", metavar="IMAGE", help="any picture file")
    _add_export(verbs)
    _add_search(verbs)
    _add_report(verbs)
    bench = _verb(verbs, "bench", run_bench, "measure training beside other libraries")
    bench.add_argument("--rounds", type=int, default=7, metavar="N", help="epochs of each [7]")
    return parser


def _verb(verbs: Any, name: str, run: Callable, text: str, json_flag: bool = True) -> Parser:
    # abbreviations would turn a new flag into a change of what old commands mean
    verb = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
    verb.set_defaults(run=run)
    if json_flag:
        verb.add_argument("--json", action="store_true", help="print one JSON object")
    return verb


def _add_settings(verb: argparse.ArgumentParser, leave_out: Sequence[str] = ()) -> None:
    """Give a subcommand one flag for each field of `TrainConfig`."""
    group = verb.add_argument_group("settings")
    for setting in (each for each in fields(TrainConfig) if each.name not in leave_out):
        flag = "--" + setting.name.replace("_", "-")
        group.add_argument(flag, default=argparse.SUPPRESS, help=_help(setting), **_how(setting))


def _how(setting: Field) -> dict[str, Any]:
    """Say to argparse what a field's type means on the command line."""
    if setting.type is bool:
        return {"action": argparse.BooleanOptionalAction}
    kind, *others = typing.get_args(setting.type) or [setting.type]  # of int | None, int
    metavar = "|".join(setting.metadata.get("choices", ())) or METAVARS[kind]
    several = {"nargs": "+", "type": _layer} if ... in others else {}  # of tuple[int, ...]
    return {"type": kind, "metavar": metavar} | several


def _layer(text: str) -> int | str:
    """Read the width of a layer; texts for whole nets are for `TrainConfig`."""
    try:
        return int(text) if text != "linear" and "x" not in text else text
    except ValueError:
        why = f"invalid int value: {text!r}; write 128, or linear for no hidden layer"
        raise argparse.ArgumentTypeError(why) from None


def _help(setting: Field) -> str:
    default = setting.default
    text = setting.metadata["help"].replace("%", "%%")
    if default is MISSING or default is None or default is False:
        return text
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{text} [{shown}]"


def _add_export(verbs: Any) -> None:
    verb = _verb(verbs, "export", run_export, "write a saved model for other tools")
    verb.add_argument("model", metavar="MODEL", help="a run's folder or a .safetensors file")
    verb.add_argument("--to", required=True, metavar="onnx|torch|c", help="the form")
    verb.add_argument("--out", metavar="FILE", help="a new file; by default one beside the model")


def _add_search(verbs: Any) -> None:
    verb = _verb(verbs, "search", run_search, "try many settings and rank them")
    verb.add_argument("--trials", type=int, metavar="N", help="how many; grid: all by default")
    verb.add_argument("--range", action="append", default=[], dest="ranges",
                      metavar="NAME=LOW:HIGH[:log|:int|:log-int]",
                      help="search a setting between two numbers")  # fmt: skip
    verb.add_argument("--choice", action="append", default=[], dest="choices",
                      metavar="NAME=V1,V2,...",
                      help="search a setting among values; layers as 128x64")  # fmt: skip
    verb.add_argument("--sampler", default="random", metavar="grid|random|tpe|qmc")
    verb.add_argument("--pruner", default="none", metavar="none|median|halving|hyperband")
    verb.add_argument("--seeds", type=int, default=1, metavar="K", help="runs of each trial [1]")
    verb.add_argument("--jobs", type=int, metavar="J", help="processes that train")
    verb.add_argument("--storage", metavar="URL|FILE", help="where the study is kept")
    verb.add_argument("--scheduler", metavar="ADDRESS", help="a Dask cluster to train on")
    verb.add_argument("--seed", type=int, default=0, metavar="S", help="of the search [0]")
    verb.add_argument("--out", metavar="DIR", help="its folder; by default one under runs/")
    _add_settings(verb, leave_out=("seed",))


def _add_report(verbs: Any) -> None:
    verb = _verb(verbs, "report", run_report, "run the notebooks and publish the report", False)
    verb.add_argument("--profile", default="standard", metavar="quick|standard")
    verb.add_argument("--language", default="en", metavar="en|zh", help="of the report [en]")
    verb.add_argument("--dataset", metavar="NAME", help="instead of the notebooks' own")
    verb.add_argument("--out", default="report", metavar="DIR", help="where to publish [report]")
    verb.add_argument("--in-place", action="store_true",
                      help="refresh notebooks/ and figures/ instead of publishing")  # fmt: skip
    verb.add_argument("--no-solutions", dest="solutions", action="store_false",
                      help="publish without the exercises' solutions")  # fmt: skip
    verb.add_argument("-p", dest="parameters", nargs=2, action="append", default=[],
                      metavar=("NAME", "VALUE"), help="set a notebook's parameter")  # fmt: skip


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
    result = evaluate(model, load_test_split(dataset, shape or None))
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
        _ranked(path, model, picture) | {"unlike": each}
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


def _ranked(path: str, model: MLP, picture: Any) -> dict[str, Any]:
    probabilities = model.predict_proba(model.scaling(picture[None]))[0]  # (K,)
    names = model.info.get("classes") or [str(k) for k in range(len(probabilities))]
    best = probabilities.argsort()[::-1][:3]
    top = [{"label": names[k], "probability": float(probabilities[k])} for k in best]
    return {"image": path, "label": top[0]["label"], "top": top}


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
    ranges = map(search.parse_range, options.ranges)
    space: dict[str, Any] = {}
    for name, values in [*ranges, *map(search.parse_choice, options.choices)]:
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
    """Execute the notebooks and publish the report, or refresh what is committed."""
    from nnlib.report import book as report

    parameters = {name: _literal(value) for name, value in options.parameters}
    more = options.dataset, options.out, parameters, options.solutions
    with speaking(options.language):
        if options.in_place:
            report.refresh(options.profile)
        else:
            print(report.publish(options.profile, *more))


def run_bench(options: argparse.Namespace) -> None:
    """Run the benchmark of a checkout of the project."""
    script = project_root() / "experiments" / "benchmarks" / "speed.py"
    if not script.is_file():
        raise InputError(f"{script} does not exist: run this in a checkout of the project")
    checks.whole("rounds", options.rounds, 1)
    words = ["--rounds", str(options.rounds), *(["--json"] if options.json else [])]
    subprocess.run([sys.executable, str(script), *words], check=True)


def _literal(text: str) -> Any:
    """Read a parameter's value: a JSON value where it is one, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _answer(options: argparse.Namespace, values: dict[str, Any], text: str) -> None:
    """Print the result: JSON alone where asked for, words otherwise."""
    try:
        print(json.dumps(without_nan(values)) if options.json else printable(text), flush=True)
    except OSError as error:
        error.filename = "standard output"
        raise
