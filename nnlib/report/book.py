"""The report as a whole: every notebook executed, and published as pages and as one document.

A report is built beside the old one and takes its place in one step, so that whoever reads it
sees a whole report: the old one until all of the new one is there.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from filelock import FileLock, Timeout
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from nnlib import files
from nnlib.checks import InputError
from nnlib.data import DATASETS, DownloadError, full_name, load_dataset
from nnlib.files import make_folder, project_root, read_json, write_atomic, write_json
from nnlib.language import LANGUAGES, gettext, language
from nnlib.report.document import Document, typeset
from nnlib.report.execute import check_parameters, execute_all, own_dataset
from nnlib.report.exporter import tags_of, title_of
from nnlib.report.page import Page
from nnlib.report.reference import reference
from nnlib.report.translation import translated

TITLE = "A neural network from nothing but NumPy"
SUBTITLE = (
    "A multi-layer perceptron built by hand, trained, searched, opened up and measured. "
    "Every number that we call ours was measured: on these pages, or in longer runs stored with "
    "them."
)
LACKING = (
    "{} was neither at hand nor reachable: everything here was computed on the 1,797 small "
    "handwritten digits of scikit-learn instead."
)
ABOVE = '<h2 id="contents-of-the-report">'  # stands the link to the edition in the other language
EDITIONS = {"en": "English edition", "zh": "中文版"}
MANIFEST = ".nnlib-report.json"  # lists the files of a report: only those may ever be replaced
MARK = "nnlib-report-in-work"  # ends the name of the folder in which a report is being made
CLUTTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # what file managers leave behind


def project_notebooks() -> dict[str, NotebookNode]:
    """Return the project's notebooks by name, in reading order, in the language spoken."""
    folder = project_root() / "notebooks"
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise InputError(f"no notebooks in {folder}; run this inside a checkout of the project")
    return {path.stem: translated(nbformat.read(path, as_version=4)) for path in paths}


def publish(
    profile: str = "standard",
    dataset: str | None = None,
    out: str | os.PathLike = "report",
    parameters: Mapping[str, Any] | None = None,
    solutions: bool = True,
) -> Path:
    """Execute the notebooks in order, publish them in the folder `out`, and return its index.html.

    `parameters` sets names of the notebooks' `parameters` cells. Whatever goes wrong, a report
    that was in `out` stays as it was. Where Fashion-MNIST cannot be had, digits take its place
    everywhere, and where another chapter's own data set cannot, they do in that chapter. An edition
    in another language than English has a folder of its own in `out`, and a link there and back.
    Raises InputError for an unknown profile or parameter and for a folder that is not a report's,
    ReportError for a cell that fails.
    """
    notebooks, out = project_notebooks(), Path(os.path.expanduser(out), edition_folder()).resolve()
    wanted = {"profile": profile, "dataset": dataset, **(parameters or {})}
    check_parameters(wanted, notebooks)
    _check_out(out)
    wanted["dataset"], banner, lacking = _available(wanted["dataset"], notebooks)
    make_folder(out.parent)
    with files.stoppable(), _workplace(out) as folder:
        new, aside = folder / "report", folder / "previous"
        new.mkdir()
        if out.exists():
            _replace(out, aside, aside)  # and back: a mount point says no before the chapters run
        given = {name: value for name, value in wanted.items() if value is not None}
        swapped = {name: {"dataset": "digits"} for name in lacking}
        done = execute_all(notebooks, given | swapped, folder, new / "figures")
        for name, own in lacking.items():
            note = gettext(LACKING.format(DATASETS[own].title))
            done[name].cells.insert(1, new_markdown_cell(f"> {note}"))
        _write_report(done, new, banner, wanted, solutions)
        _check_out(out)  # again: the notebooks took their time
        _link_editions(out, new)
        _replace(out, new, aside)
    return out / "index.html"


@contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out` that is held alone; what a killed report left in it goes.

    Raises InputError where another report for `out` is being made.
    """
    folder = out.with_name(f".{out.name}.{MARK}")
    folder.mkdir(exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            if (folder / "previous").exists() and not out.exists():
                (folder / "previous").rename(out)
            for left in folder.glob("*/"):
                shutil.rmtree(left, ignore_errors=True)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        raise InputError(f"another report is being made in {out}; name another folder") from None


def _available(
    dataset: str | None, notebooks: Mapping[str, NotebookNode]
) -> tuple[str | None, str, dict[str, str]]:
    """Return the data set for all chapters, if one is meant, a banner, and what some chapters lack.

    These go on with digits, and so do all where Fashion-MNIST is lacking, which the banner says.
    """
    dataset = full_name(dataset) if dataset else None  # the kernels work in another folder
    if dataset not in (None, "fashion-mnist"):
        load_dataset(dataset)
    elif not _at_hand("fashion-mnist", "going on"):
        return "digits", gettext(LACKING.format("Fashion-MNIST")), {}
    meant = {} if dataset else {name: own_dataset(nb) for name, nb in notebooks.items()}
    others = {name: own for name, own in meant.items() if own != "fashion-mnist"}
    return dataset, "", {n: own for n, own in others.items() if not _at_hand(own, f"{n} goes on")}


def _at_hand(dataset: str, who: str) -> bool:
    """Return whether a data set can be had; if not, say on standard error who does without it."""
    try:
        load_dataset(dataset)
    except DownloadError as error:
        print(f"{error}; {who} with digits", file=sys.stderr)
        return False
    return True


def _check_out(out: Path) -> None:
    """Refuse a place that holds anything but an earlier report, in whatever languages."""
    with files.reading(out, advice="name another folder"):
        if out.exists() and not out.is_dir():
            raise InputError(f"{out} is a file; name a folder for the report")
        foreign = _leaves(out)
        for inner in ("", *(f"{name}/" for name in LANGUAGES)):
            listed = inner + MANIFEST
            named = read_json(out / listed).get("files") if listed in foreign else None
            if isinstance(named, list):
                foreign -= {listed, *(f"{inner}{file}" for file in named)}
    for file in sorted(foreign):
        if Path(file).name not in CLUTTER:
            what = f"{out} holds {file}, which is not a report's"
            raise InputError(f"{what}; move it or name another folder")


def _leaves(folder: Path) -> set[str]:
    """Return all that is in a folder: files, links, empty folders; OSError where one is closed."""

    def is_leaf(path: Path) -> bool:
        return path.is_symlink() or not path.is_dir() or not any(path.iterdir())

    inside = filter(is_leaf, [folder, *folder.rglob("*")])
    return {path.relative_to(folder).as_posix() for path in inside} - {"."}


def edition_folder() -> str:
    """Return the folder of the edition in the language spoken; English is at the top."""
    return "" if language() == "en" else language()


def _link_editions(out: Path, new: Path) -> None:
    """Keep what other editions the report has, and let front pages lead from one to the other."""
    links = []  # of a folder's front page to that of another one
    if (own := edition_folder()) and (out.parent / MANIFEST).exists():
        links = [(out.parent, own, own), (new, "..", "en")]
    for name in LANGUAGES if not own else ():
        if (out / name / MANIFEST).exists():
            shutil.copytree(out / name, new / name)
            links += [(new, name, name), (new / name, "..", "en")]
    for folder, to, edition in links:
        page = (folder / "index.html").read_text("utf-8")
        link = f'<p><a href="{to}/index.html" lang="{edition}">{EDITIONS[edition]}</a></p>\n'
        if link not in page:
            write_atomic(folder / "index.html", page.replace(ABOVE, link + ABOVE))


def _replace(out: Path, new: Path, aside: Path) -> None:
    """Let the new report take the old one's place; an interrupt in between brings the old back."""
    try:
        with files.reading(out, "put a report in place of", "name a folder in it"):
            if out.exists():
                out.rename(aside)
            new.rename(out)
    finally:
        if aside.exists() and not out.exists():
            aside.rename(out)


def _write_report(
    notebooks: dict[str, NotebookNode], out: Path, banner: str, how: Mapping, solutions: bool
) -> None:
    """Write front page, a page for each notebook, the PDF and the list of files into `out`."""
    book, title, subtitle = _book(notebooks), gettext(TITLE), gettext(SUBTITLE)
    shared = {"book": book, "banner": banner, "report_title": title, "profile": how["profile"]}
    shared["dataset"] = Path(how["dataset"] or "").name
    page, document = Page(solutions=solutions), Document(solutions=solutions)
    folder, chapters = out.with_name("typst"), []
    folder.mkdir()

    def about(name: str, **more: Any) -> dict[str, Any]:
        metadata = {"name": name, "path": str(project_root() / "notebooks")}
        return {"metadata": metadata, "nnlib": {**shared, **more}}

    front = _front(notebooks), about("index", front=True, title=title, subtitle=subtitle)
    front_page = Page(template_file="front.html.j2", solutions=solutions)
    write_atomic(out / "index.html", front_page.from_notebook_node(*front)[0])
    write_atomic(make_folder(out / "api") / "index.html", reference())
    for entry, (name, nb) in zip(book, notebooks.items(), strict=True):
        write_atomic(out / f"{name}.html", page.from_notebook_node(nb, about(name))[0])
        chapters.append(f"#counter(heading).update({entry['number'] - 1})")
        chapters.append(document.chapter(nb, about(name), folder)[0])
    look = f"report.with(front: [\n{document.chapter(*front, folder)[0]}\n])"
    words = {"title": title, "subtitle": subtitle, "lang": language(), "banner": banner}
    write_atomic(out / "nnlib-report.pdf", typeset(look, "\n\n".join(chapters), folder, **words))
    write_json(out / MANIFEST, {"files": sorted(_leaves(out))})


def _book(notebooks: dict[str, NotebookNode]) -> list[dict[str, Any]]:
    """Return what the contents say about each notebook: name, number, title, question."""
    told = ((name, *title_of(nb)) for name, nb in notebooks.items())
    return [
        {"name": name, "number": int(name[:2]), "title": title or name, "question": question}
        for name, title, question in told
    ]


def _front(notebooks: dict[str, NotebookNode]) -> NotebookNode:
    """Return the cells tagged `abstract`, `cover` and `headline`, as a notebook of their own."""
    cells = [cell for nb in notebooks.values() for cell in nb.cells]
    chosen = [c for tag in ("abstract", "cover", "headline") for c in cells if tag in tags_of(c)]
    return nbformat.v4.new_notebook(cells=chosen)
