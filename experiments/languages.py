"""The catalogues of other languages, brought up to date with the English, and what they still lack.

    python -m experiments.languages [--check] [NAME …]

A text is one paragraph of a chapter, or what its cells show: captions, headings of tables, words in
figures, read off the outputs that are committed. It stands in the catalogue of its chapter, in
nnlib.po where several chapters or the library have it. Translations are kept; where the English
was changed a little they are marked fuzzy, and count as missing until somebody has read them.
"""

import argparse
import ast
import csv
import html
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import nbformat
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

from nnlib.files import project_root
from nnlib.language import CATALOGUES, LANGUAGES, NUMBER
from nnlib.report.translation import paragraphs

ROOT = project_root()
SHOWN = [  # words of the library that only a table or a name of a trait leads to
    "hidden sizes", "learning rate", "batch size", "images", "activation", "optimiser", "schedule",
    "dropout", "augmentation", "epochs", "seed", "none", "mirror", "shift", "mirror and shift",
    "turn and zoom", "elastic", "learning", "finished", "stopped", "failed", "as given",
    "complete", "pruned", "SGD, momentum 0.9", "constant", "step", "exponential", "cosine",
    "one-cycle", "Exercise", "Messages", "Error", "Output", "{} line", "{} lines", ".",
    "fewer", "more", "less", "differences", "logarithms", "uniform", "log",
    "{}: no trial has ended yet.",
    "{}: {} of {} trials done; about {} left.",
    "{}: {} of {} trials done, best so far {}; about {} left.",
    "{}: the best {} of {} trials, in {}.",
    "{}: the best {} of {} trials; {} planned, in {}.",
    "{} s", "{} min",
    "Training has not begun.",
    "Epoch {} of {}: training loss {}, training accuracy {}.",
    "Epoch {} of {}: training loss {}, training accuracy {}, "
    "best validation accuracy {} in epoch {}.",
    "Loss and accuracy against the epoch, pale lines for training, marked for validation: "
    "still empty.",
    "Loss and accuracy against the epoch, pale lines for training, marked for validation. "
    "The training loss goes from {} to {}.",
    "Loss and accuracy against the epoch, a colour for each of {} runs.",
    "Best on validation: run {} ({}), {}. Pale lines: training; marked: validation.",
    "Pale lines: training; marked: validation.",
    "There is no run to look into.",
    "Two empty panels: there is no run.",
    "Left, weights, blue negative and red positive; right, true classes against answers.",
    "Left, weights in colour, grey zero; right, true classes against answers.",
    "grey is 0, lighter more, darker less", "grey is 0, full colour ±{}",
    "The net says {} with {}: of its logit of {}, hidden unit {} alone gives {}.",
    "Run {} {}: before its first step",
    "Run {} {}: epoch {} of {}, learning rate {}, training loss {}, accuracy {}",
    "best {}; {}, {} of {} epochs", "{} in epoch {}", "none yet",
    "this net is too large for the memory",
    "{} before, {} × {}", "{} after, {} × {}", "added",  # in pictures without words to read off
    "the way", "lowest place",
    "PCA, before", "PCA, after", "t-SNE, before", "t-SNE, after",
    "hidden sizes must be whole numbers, as in 128 64, got {}",
    "hidden sizes {} make {} weights: choose smaller ones, {} is the most here",
    "Show the weights and mistakes of run {}", "Remove run {}",
]  # fmt: skip
WORDS = re.compile(r"[^\W\d_]{2}")
Found = dict[str, dict[str, list[str]]]  # the texts of each catalogue, and where each was found


# ---------------------------------------------------------------- English


def english() -> Found:
    """Return what each catalogue should hold."""
    own: Found = {path.stem: {} for path in chapters()}
    own["nnlib"] = library()
    for path in chapters():
        exercises = ROOT / "nnlib" / "exercises" / f"{path.stem[3:]}.py"
        if exercises.exists():
            own[path.stem] |= {text: [exercises.name] for text in sentences(exercises)}
    for path in chapters():
        known = set(own["nnlib"]) | set(own[path.stem])
        for text, place in texts(path, known):
            own[path.stem].setdefault(text, []).append(place)
    return shared(own)


def chapters() -> list[Path]:
    """Return the notebooks, in reading order."""
    return sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def shared(own: Found) -> Found:
    """Move to the library's catalogue what several chapters have."""
    holders = defaultdict(list)
    for name, entries in own.items():
        for text in entries:
            holders[text].append(name)
    for text, names in holders.items():
        if names[1:]:
            for name in names:
                del own[name][text]
            own["nnlib"][text] = names
    return own


def library() -> dict[str, list[str]]:
    """Return what the library says: texts given to gettext, in Python, templates and scripts."""
    found = {text: ["shown"] for text in SHOWN}
    folder = ROOT / "nnlib"
    for path in sorted(folder.rglob("*")):
        told: list[str] = []
        if path.suffix == ".py":
            calls = (n for n in ast.walk(tree(path)) if isinstance(n, ast.Call))
            calls = (call for call in calls if name_of(call.func) in ("_", "gettext", "_button"))
            told = [text for call in calls for node in call.args for text in said_by(node) if text]
        elif path.suffix in (".js", ".typ", ".j2", ".html"):
            source = path.read_text("utf-8")
            told = re.findall(r"(?:\b_|#said)\(\"(.+?)\"", source)
            told += [text for _, text in re.findall(r"(['\"])([^'\"]+)\1 \| said", source)]
        for text in told:
            found.setdefault(text, []).append(path.relative_to(folder).as_posix())
    verdicts = folder / "exercises" / "verdicts.py"
    found |= {text: [verdicts.name] for text in sentences(verdicts)}
    for name in ("TITLE", "SUBTITLE", "LACKING"):
        found |= {text: ["report"] for text in constants(folder / "report" / "book.py", name)}
    return found | {text: ["ALT"] for text in constants(folder / "widgets" / "canvas.py", "ALT")}


def tree(path: Path) -> ast.Module:
    """Return Python source as a tree, without its docstrings."""
    made = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(made):
        body = getattr(node, "body", None) or None
        first = body[0] if isinstance(body, list) else None
        if isinstance(first, ast.Expr) and said_by(first.value):
            node.body = body[1:]
    return made


def name_of(node: ast.expr) -> str:
    """Return what is called."""
    return getattr(node, "id", getattr(node, "attr", ""))


def said_by(node: ast.AST) -> list[str]:
    """Return the text of a string or of an f-string, {} in place of what it fills in."""
    if isinstance(node, ast.JoinedStr):
        parts = [p.value if isinstance(p, ast.Constant) else "{}" for p in node.values]
        return [NUMBER.sub("{}", "".join(parts))]
    if isinstance(node, ast.Call) and name_of(node.func) == "format":
        return [re.sub(r"\{[^{}]*\}", "{}", text) for text in said_by(node.func.value)]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def strings(made: ast.AST) -> Iterator[str]:
    """Yield the text of all strings, but not of the parts of f-strings."""
    if said := said_by(made):
        yield from said
    else:
        for node in ast.iter_child_nodes(made):
            yield from strings(node)


def sentences(path: Path) -> list[str]:
    """Return the paragraphs of all strings with more than one word: hints and verdicts."""
    told = (part.strip() for text in strings(tree(path)) for part in text.split("\n\n"))
    return [text for text in told if " " in text and WORDS.search(text) and text[0] != "<"]


def constants(path: Path, name: str) -> list[str]:
    """Return the text of a constant of a module."""
    nodes = (n for n in tree(path).body if isinstance(n, ast.Assign) and n.targets[0].id == name)
    return [text for node in nodes for text in said_by(node.value)]


# ---------------------------------------------------------------- a chapter


def texts(path: Path, known: set[str]) -> Iterator[tuple[str, str]]:
    """Yield what a chapter says, each with the number of its cell."""
    cells = nbformat.read(path, as_version=4).cells
    code = [ast.parse(cell.source) for cell in cells if cell.cell_type == "code"]
    candidates = {text for made in code for text in strings(made) if WORDS.search(text)}
    for number, cell in enumerate(cells, 1):
        if cell.cell_type == "markdown":
            yield from ((text, f"cell {number}") for text in paragraphs(cell.source))
        else:
            for text in shown(cell):
                yield from ((each, f"cell {number}") for each in needed(text, known, candidates))


def needed(text: str, known: set[str], candidates: set[str]) -> list[str]:
    """Return the entries from which a text is put together: itself, or one with {} and its parts.

    `candidates` are the strings of the code, {} in place of what they fill in.
    """
    if not WORDS.search(text):
        return []
    if text in known | candidates:
        return [text]
    templates = [each for each in known | candidates if "{}" in each and WORDS.search(each)]
    for each in sorted(templates, key=lambda each: (-len(each.replace("{}", "")), each)):
        pattern = "(.+?)".join(map(re.escape, each.split("{}"))) + r"\.?"
        if found := re.fullmatch(pattern, text):
            return [each, *(more for part in found.groups() for more in needed(part, known, set()))]
    return [NUMBER.sub("{}", text)]


def shown(cell: nbformat.NotebookNode) -> Iterator[str]:
    """Yield the words of a cell's outputs: captions, tables, figures, sentences."""
    for output in cell.get("outputs", []):
        bundle, about = output.get("data", {}), output.get("metadata", {})
        if about.get("nnlib") == "caption":
            continue
        given = set(strings(ast.parse(cell.source)))  # other alt texts are read off the drawing
        for own in (own for own in about.values() if isinstance(own, dict)):
            yield from (own["caption"], *given.intersection([own.get("alt")]))
        tagged = bundle.get("text/html", "") + bundle.get("image/svg+xml", "")
        for _, text in re.findall(r"<(t[dh]|text)\b[^>]*>(.*?)</\1>", tagged, re.DOTALL):
            yield html.unescape(re.sub(r"<[^>]+>", "", text)).strip()
        if "image/png" in bundle and "image/svg+xml" not in bundle:
            yield from (text for text in strings(ast.parse(cell.source)) if " " in text)
        sentence = bundle.get("text/markdown", "<") if "text/html" not in bundle else "<"
        if sentence[0] != "<":
            yield sentence


# ---------------------------------------------------------------- catalogues


def read(path: Path, language: str) -> Catalog:
    """Return a catalogue, empty where there is none yet."""
    if not path.exists():
        return Catalog(language)
    with path.open("rb") as stream:
        return read_po(stream, language)


def update(path: Path, language: str, entries: dict[str, list[str]]) -> None:
    """Bring a catalogue up to date, keeping its translations; what is gone stays as a comment."""
    template, catalogue = Catalog(), read(path, language)
    for text, places in entries.items():
        template.add(text, auto_comments=[", ".join(dict.fromkeys(places))[:60]])
    catalogue.update(template)
    catalogue.revision_date = catalogue.creation_date = None
    with path.open("wb") as stream:
        write_po(stream, catalogue, width=None, omit_header=True, sort_output=False)


def faults(name: str, language: str, entries: dict[str, list[str]]) -> Iterator[str]:
    """Yield a line for each text that lacks its translation, and for each whose English is gone."""
    catalogue = read(CATALOGUES / language / f"{name}.po", language)
    done = {entry.id: entry for entry in catalogue if entry.id}
    for text, places in entries.items():
        entry = done.get(text)
        if entry is None or not entry.string or entry.fuzzy:
            yield f"{name}.po: missing ({places[0]}): {' '.join(text.split())[:70]}"
            continue
        holes = [sorted(re.findall(r"\{\d*\}", each)) for each in (text, entry.string)]
        if "{}" in text and len(holes[0]) != len(holes[1]):
            yield f"{name}.po: not the same number of {{}}: {text[:70]}"
        yield from (f"{name}.po: {line}" for line in unlike(text, entry.string, language))
    yield from (f"{name}.po: stale: {text[:70]}" for text in done if text not in entries)


def glossary(language: str) -> list[tuple[str, list[str]]]:
    """Return the terms, each with what may stand for it."""
    with (CATALOGUES / language / "glossary.csv").open(encoding="utf-8") as stream:
        rows = list(csv.reader(stream))[1:]
    return [(term, [main, *filter(None, others.split("|"))]) for term, main, others in rows]


def unlike(text: str, string: str, language: str) -> Iterator[str]:
    """Yield which terms of the glossary, pieces of code or formulas a translation lacks."""
    for title in re.findall(r"\*[^*]+\*", text):  # of a paper: it stays as it is
        text = text.replace(title, "") if title in string else text
    for term, allowed in glossary(language):
        if re.search(rf"\b{term}", text, re.IGNORECASE) and not any(w in string for w in allowed):
            yield f"{term} is {' or '.join(allowed)}: {text[:50]}"
    for part in re.findall(r"`[^`]+`|\$[^$]+\$|\]\([^)#]+", text):
        if part not in string:
            yield f"{part} is kept as it is: {text[:50]}"


def main() -> None:
    """Update the catalogues or check them; exit status 1 where something is missing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="catalogues, as 03_training; by default all")
    parser.add_argument("--check", action="store_true", help="only say what is missing")
    options = parser.parse_args()
    found, lines = english(), []
    for language in LANGUAGES[1:]:
        for name in options.names or found:
            if not options.check:
                update(CATALOGUES / language / f"{name}.po", language, found[name])
            lines += faults(name, language, found[name])
    print(*lines, f"{len(lines)} to do", sep="\n", file=sys.stderr)
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
