"""What the library loads: a core that is light to install, in floors that can be counted."""

import ast
import importlib.metadata
import json
import statistics
import subprocess
import sys
import time
import tomllib
from functools import cache
from itertools import chain
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OPTIONAL = PROJECT["optional-dependencies"]
WINGS = {"search", "notebook", "widgets", "exercises", "report", "interop"}
HEAVY = {
    "matplotlib",
    "pandas",
    "sklearn",
    "optuna",
    "distributed",
    "IPython",
    "PIL",
    "pooch",
    "onnx",
}
FLOORS = 8
MODEL = sorted((ROOT / "data" / "models").glob("*.safetensors"))[0]

# ---------------------------------------------------------------- with the core's packages alone

WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
COMMAND = "from nnlib.cli import main; sys.exit(main(sys.argv[1:]))"
LESSON = """
import nnlib
data = nnlib.load_dataset(sys.argv[1], val_size=100)
model = nnlib.MLP([30, 16, 4], seed=1)
history = nnlib.fit(model, data.train, data.val, epochs=4, batch_size=16)
nnlib.save_model(model, sys.argv[2])
found = nnlib.evaluate(nnlib.load_model(sys.argv[2]), nnlib.load_test_split(sys.argv[1]))
assert found == nnlib.evaluate(model, nnlib.load_test_split(sys.argv[1]))
print(len(history.rows), found.n, found.accuracy)
"""


def brought_by(*extras: str) -> set[str]:
    """Return the names of the packages that the project brings with these extras."""
    found: set[str] = set()
    seen: set[str] = set()
    lists = [PROJECT["dependencies"], *map(OPTIONAL.get, extras)]
    waiting = [Requirement(text) for texts in lists for text in texts]
    while waiting:
        wanted = waiting.pop()
        if wanted.name == "nnlib":
            waiting += map(Requirement, chain(*map(OPTIONAL.get, wanted.extras)))
            continue
        name, asked = canonicalize_name(wanted.name), {"", *wanted.extras}
        if (key := f"{name}{sorted(asked)}") not in seen:
            seen.add(key)
            found.add(name)
            waiting += [
                each
                for each in map(Requirement, importlib.metadata.requires(name) or [])
                if each.marker is None or any(each.marker.evaluate({"extra": e}) for e in asked)
            ]
    return found


@cache
def absent(*extras: str) -> list[str]:
    """Return the modules of every installed package that is not among those brought."""
    brought = brought_by(*extras) | {"nnlib"}
    return sorted(
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if brought.isdisjoint(map(canonicalize_name, owners))
    )


def alone(
    program: str, *arguments: object, extras: tuple[str, ...] = ()
) -> subprocess.CompletedProcess:
    """Run Python where nothing can be imported but the project and what it brings."""
    without = WITHOUT.format(absent=absent(*extras))
    return subprocess.run(
        [sys.executable, "-c", without + program, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_core_asks_for_little():
    assert {"numpy", "scipy", "safetensors", "threadpoolctl"} <= brought_by()
    assert {"matplotlib", "pandas", "sklearn", "optuna", "distributed", "IPython"} <= set(absent())
    assert len(brought_by()) <= 15  # pooch brings seven small ones


def test_the_core_alone_loads_trains_saves_and_tests(own_folder: Path, tmp_path: Path):
    done = alone(LESSON, own_folder, tmp_path / "m.safetensors")
    assert done.returncode == 0, done.stderr
    epochs, n, accuracy = done.stdout.split()
    assert (epochs, n) == ("4", "100")
    assert float(accuracy) > 0.5


def test_commands_of_the_core_need_no_extra(own_folder: Path, tmp_path: Path):
    run = tmp_path / "run"
    done = alone(COMMAND, "train", "--dataset", own_folder, "--hidden", 16, "--epochs", 2,
                 "--out", run, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epochs"] == 2
    done = alone(COMMAND, "test", run, "--json")
    assert json.loads(done.stdout)["n"] == 100, done.stderr
    Image.new("L", (50, 60)).save(tmp_path / "dark.png")
    done = alone(COMMAND, "predict", run, tmp_path / "dark.png")
    assert "it shows nothing" in done.stderr


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        ("search --dataset mnist --trials 2 --range lr=0.1:0.2", "optuna", "search"),
        ("report --profile quick", "nbformat", "report"),
        ("train --dataset digits", "sklearn", "notebook"),
        (f"export {MODEL} --to onnx", "onnx", "export"),
    ],
)
def test_a_missing_extra_is_named_in_one_line(words: str, package: str, extra: str):
    done = alone(COMMAND, *words.split())
    verb = words.split()[0]
    assert done.stderr == (
        f"nnlib: {verb} needs {package}, which is not installed: "
        f'pip install "nnlib[{extra}]"\n'
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")


def test_jupyterlab_lists_its_exporters_without_the_report_s_extra():
    """It imports every exporter that is registered, and an error of one leaves its menu empty."""
    program = "from nbconvert.exporters.base import get_exporter as get; get('nnlib_html')"
    done = alone(program, extras=("notebook",))
    assert done.returncode == 0, done.stderr


def test_what_a_command_lacks_is_what_its_extra_brings():
    assert any(text.startswith("optuna") for text in OPTIONAL["search"])
    assert any(text.startswith("nbformat") for text in OPTIONAL["report"])
    assert any(text.startswith("scikit-learn") for text in OPTIONAL["notebook"])


@pytest.mark.parametrize(
    ("room", "extras"),
    [
        ("*.py", ("notebook",)),  # in functions: tables and the digits
        ("engine/*.py", ()),
        ("search/*.py", ("search",)),
        ("notebook/*.py", ("notebook",)),
        ("widgets/*.py", ("notebook",)),
        ("exercises/*.py", ("notebook",)),
        ("report/*.py", ("report",)),
        ("interop/*.py", ("export",)),
    ],
)
def test_what_a_room_imports_its_extra_brings(room: str, extras: tuple[str, ...]):
    trees = [ast.parse(path.read_text("utf-8")) for path in (ROOT / "nnlib").glob(room)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert names
    assert {name.split(".")[0] for name in names}.isdisjoint(absent(*extras))


# ---------------------------------------------------------------- who imports whom


@pytest.mark.parametrize("module", ["nnlib", "nnlib.cli"])
def test_importing_the_core_loads_no_wing_and_nothing_heavy(module: str):
    program = f"import {module}, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                            check=True).stdout.split()  # fmt: skip
    assert HEAVY.isdisjoint(loaded)
    assert {f"nnlib.{wing}" for wing in WINGS}.isdisjoint(loaded)


@pytest.mark.slow
def test_importing_takes_little_more_than_what_it_stands_on():
    def seconds(program: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        return time.perf_counter() - start

    pairs = [
        (seconds("import nnlib"), seconds("import numpy, scipy.linalg, safetensors"))
        for _ in range(10)
    ]
    ours, theirs = (statistics.median(times) for times in zip(*pairs[1:], strict=True))
    assert ours < 1.3 * theirs


def test_floors():
    """The longest chain of modules, each importing the next as it is loaded.

    A package's face hands names on and is no floor. What is imported inside a function is wanted
    by some callers alone: the command's wings, a cluster's workers.
    """
    graph = grimp.build_graph("nnlib", cache_dir=None, exclude_type_checking_imports=True)
    faces = {name for name in graph.modules if graph.find_children(name)}

    def loads(importer: str, imported: str) -> bool:
        lines = {
            d["line_number"] for d in graph.get_import_details(importer=importer, imported=imported)
        }
        path = ROOT / (
            importer.replace(".", "/") + ("/__init__.py" if importer in faces else ".py")
        )
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        inside = [n for n in nodes if isinstance(n, ast.FunctionDef)]
        return any(not any(n.lineno <= line <= n.end_lineno for n in inside) for line in lines)

    @cache
    def below(module: str) -> list[str]:
        imported = [n for n in graph.find_modules_directly_imported_by(module) if loads(module, n)]
        return [module] * (module not in faces) + max(
            map(below, sorted(imported)), key=len, default=[]
        )

    longest = max(map(below, sorted(graph.modules - {"nnlib"})), key=len)
    assert len(longest) <= FLOORS, " -> ".join(longest)
    above = graph.find_modules_that_directly_import("nnlib")
    assert not above, "nothing needs the package's face"


def test_private_names_stay_at_home():
    taken = []
    for path in [*(ROOT / "nnlib").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                taken += [(path.name, name) for name in names if name[0:1] == "_" != name[1:2]]
    assert taken == []
