"""Notebooks executed one after another, each in a new kernel, with parameters from outside.

papermill does the executing. What it leaves open is here: which parameters a notebook takes and
what the quick profile makes of them, a kernel that no setting of the machine can swap for another,
and failures told in one line.
"""

import ast
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import matplotlib
import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from papermill.translators import PythonTranslator

from nnlib.checks import InputError
from nnlib.files import stoppable
from nnlib.language import language
from nnlib.report import ReportError
from nnlib.report.exporter import tags_of


class _Kernel(AsyncKernelManager):
    """A kernel of this very interpreter, whatever kernels the machine or its user registered."""

    environment: ClassVar[dict[str, str]] = {}
    told_to_stop = False  # a kernel that dies by itself is never told to

    @property
    def kernel_spec(self) -> KernelSpec:
        quiet = ["--log-level=CRITICAL", "--HistoryManager.enabled=False"]
        return KernelSpec(**get_kernel_dict(quiet))

    async def start_kernel(self, **kwargs: Any) -> None:
        await super().start_kernel(env=os.environ | self.environment, **kwargs)

    async def shutdown_kernel(self, *args: Any, **kwargs: Any) -> None:
        _Kernel.told_to_stop = True
        await super().shutdown_kernel(*args, **kwargs)


def execute_all(
    notebooks: dict[str, NotebookNode], parameters: Mapping[str, Any], folder: Path, figures: Path
) -> dict[str, NotebookNode]:
    """Return every notebook executed; progress goes to standard error, figures to `figures`.

    Each takes those of the parameters that it has, before them what stands under its own name, and
    works in a folder of its own below `folder`. Raises ReportError for a cell that fails or a
    kernel that dies, KeyboardInterrupt if told to.
    """
    done, _Kernel.environment = {}, _environment(folder, figures)
    for number, (name, nb) in enumerate(notebooks.items(), 1):
        print(f"[{number}/{len(notebooks)}] {name} …", end=" ", file=sys.stderr, flush=True)
        start = time.perf_counter()
        try:
            done[name] = _execute(name, nb, {**parameters, **parameters.get(name, {})}, folder)
        finally:
            print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return done


def _execute(name: str, nb: NotebookNode, parameters: Mapping[str, Any], folder: Path) -> Any:
    """Return the notebook executed top to bottom in a new kernel, in a new folder of its name."""
    own = quick_values(nb) if parameters.get("profile") == "quick" else {}
    names = _parameter_names(nb)
    own |= {key: value for key, value in parameters.items() if key in names}
    work = folder / name
    work.mkdir()
    _Kernel.told_to_stop = False
    try:
        with stoppable():  # again, for nbclient leaves its signals unhandled
            done = papermill.execute_notebook(
                nb, None, own, kernel_name="python3", language="python", progress_bar=False,
                cwd=work, kernel_manager_class=_Kernel,
            )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        raise ReportError(_failure(name, nb, error, bool(own))) from error
    except (DeadKernelError, CellExecutionError) as error:
        if _Kernel.told_to_stop:  # nbclient takes Ctrl-C for itself, and stops the kernel
            raise KeyboardInterrupt from error
        raise ReportError(f"{name}: its kernel died, perhaps for want of memory") from error
    return _without_path(done, parameters.get("dataset"))


def _without_path(nb: NotebookNode, dataset: str | None) -> NotebookNode:
    """Leave of a data folder's path, among the parameters that were set, its name alone."""
    path, name = map(PythonTranslator.translate, (dataset or "", Path(dataset or "").name))
    for cell in nb.cells:
        if "injected-parameters" in tags_of(cell):
            cell.source = cell.source.replace(f"dataset = {path}", f"dataset = {name}")
    return nb


def _failure(name: str, nb: NotebookNode, error: Any, injected: bool) -> str:
    """Say in one line which cell of the notebook, as its author counts them, went wrong."""
    before = (tags_of(cell) for cell in nb.cells[: error.cell_index])
    shift = injected and any("parameters" in tags for tags in before)
    first = next(iter(error.source.strip().splitlines()), "")
    message = " ".join(str(error.evalue).split())
    return f"{name}, cell {error.cell_index + 1 - shift} ({first}): {error.ename}: {message}"


def _environment(folder: Path, figures: Path) -> dict[str, str]:
    """Return what the kernels' environment has beside, or in place of, what this one has."""
    places = {"IPYTHONDIR": str(folder / "ipython"), "NNLIB_FIGURES": str(figures)}
    places["MPLCONFIGDIR"] = matplotlib.get_cachedir()  # one that can be written, whatever HOME is
    if "NNLIB_DATA" in os.environ:  # the kernels work in another folder
        places["NNLIB_DATA"] = os.path.abspath(os.path.expanduser(os.environ["NNLIB_DATA"]))
    places["NNLIB_LANGUAGE"] = language()
    return {"TQDM_DISABLE": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1", **places}


def check_parameters(parameters: Mapping[str, Any], notebooks: dict[str, NotebookNode]) -> None:
    """Raise InputError for a profile that is none, or a parameter that no notebook has."""
    profile = parameters.get("profile")
    if profile not in ("quick", "standard"):
        raise InputError(f"profile must be quick or standard, got {profile!r}")
    known = set.union({"profile", "dataset"}, *map(_parameter_names, notebooks.values()))
    for name in parameters:
        if name not in known:
            raise InputError(f"no notebook has a parameter {name!r}; they have {sorted(known)}")


def quick_values(nb: NotebookNode) -> dict[str, Any]:
    """Return what the quick profile sets: `(quick: VALUE)` in a parameter's comment says it."""
    found = re.findall(r"^(\w+) = .*#.*\(quick: (.+)\)", _parameters_source(nb), re.MULTILINE)
    values = ((name, ast.literal_eval(value)) for name, value in found)
    # papermill would inject a tuple as text
    return {n: list(v) if isinstance(v, tuple) else v for n, v in values}


def own_dataset(nb: NotebookNode) -> str:
    """Return the data set that a notebook is on if none is given."""
    found = re.search(r"""^dataset = (["'])(.+?)\1""", _parameters_source(nb), re.MULTILINE)
    return found[2] if found else "fashion-mnist"


def _parameter_names(nb: NotebookNode) -> set[str]:
    """Return the names that the cell tagged `parameters` sets, each at the start of a line."""
    return set(re.findall(r"^(\w+)\s*(?::.+)?=", _parameters_source(nb), re.MULTILINE))


def _parameters_source(nb: NotebookNode) -> str:
    return "\n".join(cell.source for cell in nb.cells if "parameters" in tags_of(cell))
