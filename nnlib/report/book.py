"""Execute the notebooks in order and publish them, as pages and as one typeset document.

A report is built beside the old one and takes its place in one step, so that whoever reads it
sees a whole report: the old one until all of the new one is there.
"""

import ast
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbformat import NotebookNode

from nnlib import data
from nnlib.checks import InputError
from nnlib.report.exporters import Document, Page, ReportError, tags_of, title_of, typeset, typst_string
from nnlib.files import make_folder, project_root, write_atomic, write_json

TITLE = "A neural network from nothing but NumPy"
SUBTITLE = (
    "A multi-layer perceptron built by hand, trained, searched, opened up and measured. "
    "Every number of ours comes from a run: of these pages, or of a longer one stored beside them."
)
BANNER = (
    "Fashion-MNIST was neither at hand nor reachable when this report was computed: "
    "everything here was computed on the 1,797 small handwritten digits of scikit-learn instead."
)
MANIFEST = ".nnlib-report.json"  # lists the files of a report: only those may ever be replaced
CLUTTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # what file managers leave behind
PDF_NAME = "nnlib-report.pdf"


class _Kernel(AsyncKernelManager):
    """A kernel of this very interpreter, whatever kernels the machine or its user registered."""

    told_to_stop = False  # a kernel that dies by itself is never told to

    @property
    def kernel_spec(self) -> KernelSpec:
        spec = KernelSpec(**get_kernel_dict())
        spec.argv += ["--log-level=CRITICAL", "--HistoryManager.enabled=False"]
        return spec

    async def shutdown_kernel(self, *args: Any, **kwargs: Any) -> None:
        _Kernel.told_to_stop = True
        await super().shutdown_kernel(*args, **kwargs)


def _notebooks() -> dict[str, NotebookNode]:
    """Return the project's notebooks by name, in reading order."""
    folder = project_root() / "notebooks"
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise InputError(f"no notebooks in {folder}; run this inside a checkout of the project")
    return {path.stem: nbformat.read(path, as_version=4) for path in paths}


def _parameter_names(nb: NotebookNode) -> set[str]:
    """Return the names that the cell tagged `parameters` sets."""
    source = "\n".join(cell.source for cell in nb.cells if "parameters" in tags_of(cell))
    found = set()
    try:
        tree = ast.parse(source)
    except SyntaxError:  # the cell will say so itself, better, when it runs
        return found
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def _quick_values(nb: NotebookNode) -> dict[str, Any]:
    """Return what the quick profile sets: `(quick: VALUE)` in a parameter's comment says it."""
    source = "\n".join(cell.source for cell in nb.cells if "parameters" in tags_of(cell))
    found = re.findall(r"^(\w+) = .*#.*\(quick: (.+)\)", source, re.MULTILINE)
    values = {name: ast.literal_eval(value) for name, value in found}
    # papermill would inject a tuple as text
    return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}


def _check_parameters(parameters: Mapping[str, Any], notebooks: dict[str, NotebookNode]) -> None:
    profile = parameters.get("profile")
    if profile not in ("quick", "standard"):
        raise InputError(f"profile must be quick or standard, got {profile!r}")
    known = set.union({"profile", "dataset"}, *map(_parameter_names, notebooks.values()))
    for name in parameters:
        if name not in known:
            raise InputError(f"no notebook has a parameter {name!r}; they have {sorted(known)}")


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables, which kernels inherit, for as long as the block runs."""
    before = dict(os.environ)
    if "NNLIB_DATA" in before:  # the kernels work in another folder
        values["NNLIB_DATA"] = os.path.abspath(before["NNLIB_DATA"])
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _execute(name: str, nb: NotebookNode, parameters: Mapping[str, Any], work: Path) -> Any:
    """Return the notebook executed top to bottom in a new kernel whose current folder is `work`.

    Raises ReportError for a cell that fails or a kernel that dies, KeyboardInterrupt if told to.
    """
    import papermill
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    own = _quick_values(nb) if parameters.get("profile") == "quick" else {}
    own |= {key: parameters[key] for key in parameters if key in _parameter_names(nb)}
    work.mkdir()
    _Kernel.told_to_stop = False
    try:
        return papermill.execute_notebook(
            nb, None, own, kernel_name="python3", language="python", progress_bar=False,
            cwd=work, kernel_manager_class=_Kernel,
        )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        raise ReportError(_failure(name, nb, error, bool(own))) from error
    except (DeadKernelError, CellExecutionError) as error:
        if _Kernel.told_to_stop:  # nbclient takes Ctrl-C for itself, and stops the kernel
            raise KeyboardInterrupt from error
        raise ReportError(f"{name}: its kernel died, perhaps for want of memory") from error


def _failure(name: str, nb: NotebookNode, error: Any, injected: bool) -> str:
    """Say in one line which cell of the notebook, as its author counts them, went wrong."""
    before = next((i for i, cell in enumerate(nb.cells) if "parameters" in tags_of(cell)), None)
    shift = injected and before is not None and error.cell_index > before
    first = next(iter(error.source.strip().splitlines()), "")
    message = " ".join(str(error.evalue).split())
    return f"{name}, cell {error.cell_index + 1 - shift} ({first}): {error.ename}: {message}"


def _execute_all(
    notebooks: dict[str, NotebookNode], parameters: Mapping[str, Any], folder: Path, figures: Path
) -> dict[str, NotebookNode]:
    """Return every notebook executed; progress goes to standard error, figures to `figures`."""
    done = {}
    places = {"IPYTHONDIR": str(folder / "ipython"), "NNLIB_FIGURES": str(figures)}
    with _environment(TQDM_DISABLE="1", PYDEVD_DISABLE_FILE_VALIDATION="1", **places):
        for number, (name, nb) in enumerate(notebooks.items(), 1):
            print(f"[{number}/{len(notebooks)}] {name} …", end=" ", file=sys.stderr, flush=True)
            start = time.perf_counter()
            try:
                done[name] = _execute(name, nb, parameters, folder / name)
            finally:
                print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return done


def publish(
    profile: str = "standard",
    dataset: str | None = None,
    out: str | os.PathLike = "report",
    parameters: Mapping[str, Any] | None = None,
    solutions: bool = True,
) -> Path:
    """Execute the notebooks in order, publish them in the folder `out`, and return its index.html.

    `parameters` sets names of the notebooks' `parameters` cells. Whatever goes wrong, a report
    that was in `out` stays as it was. Where Fashion-MNIST cannot be had, digits take its place.
    Raises InputError for an unknown profile or parameter and for a folder that is not a report's,
    ReportError for a cell that fails.
    """
    notebooks, out = _notebooks(), Path(out).resolve()
    wanted = {"profile": profile, "dataset": dataset, **(parameters or {})}
    _check_parameters(wanted, notebooks)
    _check_out(out)
    wanted["dataset"], banner = _available(wanted["dataset"])
    make_folder(out.parent)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        folder, new = Path(temporary), Path(temporary, "report")
        new.mkdir()
        given = {name: value for name, value in wanted.items() if value is not None}
        done = _execute_all(notebooks, given, folder, new / "figures")
        _write_report(done, new, banner, _footer(wanted), solutions)
        _check_out(out)  # again: the notebooks took their time
        _replace(out, new, folder / "previous")
    return out / "index.html"


def _available(dataset: str | None) -> tuple[str | None, str | None]:
    """Return the data set to use and, if it is not the one that was meant, the banner."""
    name = dataset or "fashion-mnist"
    if name not in data.DATASETS:
        name = dataset = os.path.abspath(name) if os.path.isdir(name) else name
    try:
        data.load_dataset(name)
    except data.DownloadError as error:
        if name != "fashion-mnist":
            raise
        print(f"{error}; going on with digits", file=sys.stderr)
        return "digits", BANNER
    return dataset, None


def _check_out(out: Path) -> None:
    """Refuse a place that holds anything but an earlier report."""
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the report")
    try:
        found = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
        known = json.loads((out / MANIFEST).read_text())["files"] if MANIFEST in found else []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot read the earlier report in {out}: {error}") from error
    foreign = sorted(file for file in found - {*known, MANIFEST} if Path(file).name not in CLUTTER)
    if foreign:
        raise InputError(
            f"{out} holds {foreign[0]}, which is not a report's; move it or name another folder"
        )


def _replace(out: Path, new: Path, aside: Path) -> None:
    """Let the new report take the old one's place; an interrupt in between brings the old back."""
    try:
        if out.exists():
            out.rename(aside)
        new.rename(out)
    except BaseException as error:
        if aside.exists() and not out.exists():
            aside.rename(out)
        if isinstance(error, OSError):
            raise InputError(f"cannot write the report {out}: {error.strerror}") from error
        raise


def _footer(wanted: Mapping[str, Any]) -> str:
    on = f" on {Path(wanted['dataset']).name}" if wanted["dataset"] else ""
    return f"Computed with the {wanted['profile']} profile{on}."


def _write_report(
    notebooks: dict[str, NotebookNode], out: Path, banner: str | None, footer: str, solutions: bool
) -> None:
    """Write front page, a page for each notebook, the PDF and the list of files into `out`."""
    book = _book(notebooks)
    shared = {"book": book, "banner": banner, "footer": footer, "report_title": TITLE}
    page, document = Page(solutions=solutions), Document(solutions=solutions)

    def about(name: str, **more: Any) -> dict[str, Any]:
        metadata = {"name": name, "path": str(project_root() / "notebooks")}
        return {"metadata": metadata, "nnlib": {**shared, **more}}

    front = _front(notebooks), about("index", front=True, title=TITLE, subtitle=SUBTITLE)
    front_page = Page(template_file="front.html.j2", solutions=solutions)
    write_atomic(out / "index.html", front_page.from_notebook_node(*front)[0])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        chapters = []
        for entry, before, after in zip(book, [None, *book], [*book[1:], None], strict=False):
            nb, name = notebooks[entry["name"]], entry["name"]
            known = about(name, number=entry["number"], previous=before, next=after)
            write_atomic(out / f"{name}.html", page.from_notebook_node(nb, known)[0])
            chapters.append(f"#counter(heading).update({entry['number'] - 1})")
            chapters.append(document.chapter(nb, known, folder)[0])
        show = _typst_call(banner, document.chapter(*front, folder)[0])
        write_atomic(out / PDF_NAME, typeset(show, "\n\n".join(chapters), folder))
    files = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    write_json(out / MANIFEST, {"files": files})


def _book(notebooks: dict[str, NotebookNode]) -> list[dict[str, Any]]:
    """Return what the contents say about each notebook: name, number, title, question."""
    titles = {name: title_of(nb) for name, nb in notebooks.items()}
    return [
        {"name": name, "number": int(name[:2]), "title": title or name, "question": question}
        for name, (title, question) in titles.items()
    ]


def _typst_call(banner: str | None, front: str) -> str:
    """Return the call of report.typ's `report` that begins the document."""
    fields = {"title": TITLE, "subtitle": SUBTITLE, "banner": banner}
    given = [f"{key}: {typst_string(text)}" for key, text in fields.items() if text]
    return f"report.with({', '.join(given)}, front: [\n{front}\n])"


def _front(notebooks: dict[str, NotebookNode]) -> NotebookNode:
    """Return the cells tagged `abstract`, `cover` and `headline`, as a notebook of their own."""
    cells = [cell for nb in notebooks.values() for cell in nb.cells]
    chosen = [c for tag in ("abstract", "cover", "headline") for c in cells if tag in tags_of(c)]
    return nbformat.v4.new_notebook(cells=chosen)


def refresh(profile: str = "standard") -> None:
    """Execute the notebooks and put them and their figures back where they are committed.

    Nothing is written before all of them have run. Raises as `publish` does.
    """
    notebooks = _notebooks()
    _check_parameters({"profile": profile}, notebooks)
    root = project_root()
    with tempfile.TemporaryDirectory() as temporary:
        figures = Path(temporary, "figures")
        given = {} if profile == "standard" else {"profile": profile}
        done = _execute_all(notebooks, given, Path(temporary), figures)
        for name, nb in done.items():
            write_atomic(
                root / "notebooks" / f"{name}.ipynb",
                nbformat.writes(_committed(nb, profile)) + "\n",
            )
        for file in sorted(figures.glob("*")):
            write_atomic(make_folder(root / "figures") / file.name, file.read_bytes())


def source_sha256(nb: NotebookNode) -> str:
    """Return the hash of a notebook's code: outputs of other code are out of date."""
    sources = [cell.source for cell in nb.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def _committed(nb: NotebookNode, profile: str) -> NotebookNode:
    """Return the executed notebook without what differs between two runs or was injected.

    Its metadata say which code made its outputs, with which profile.
    """
    nb.cells = [cell for cell in nb.cells if "injected-parameters" not in tags_of(cell)]
    code = [cell for cell in nb.cells if cell.cell_type == "code" and cell.execution_count]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
    for part in (nb, *nb.cells):
        part.metadata.pop("papermill", None)
        part.metadata.pop("execution", None)
    nb.metadata["language_info"] = {"name": "python"}
    nb.metadata["nnlib"] = {"profile": profile, "source_sha256": source_sha256(nb)}
    return nb
