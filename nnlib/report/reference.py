"""The reference of the library: a page made of what its public names say of themselves."""

import inspect
import pkgutil
import re
from functools import cache
from importlib import import_module
from textwrap import fill
from typing import Any

from nbformat import v4

from nnlib.report.page import Page

ALIGNED = re.compile(r"\S {2,}\S|^>>> ", re.MULTILINE)
TOP = """# Reference of nnlib\n\n[To the report](../index.html)\n
What the library's modules hold, in the words of their own docstrings. Shapes: N examples, D inputs,
H hidden units, K classes. These names stand in `nnlib` itself: {}."""


@cache
def reference() -> str:
    """Return the page; it is the same in every report of a process."""
    face = import_module("nnlib")
    texts = [TOP.format(", ".join(f"[{name}](#{name.lower()})" for name in public(face)))]
    for info in pkgutil.iter_modules(face.__path__, "nnlib."):
        if info.name not in ("nnlib.__main__", "nnlib.cli"):
            module = import_module(info.name)
            own = (n for n, value in public(module).items() if value.__module__ == info.name)
            texts += [f"## {info.name}\n\n{_told(module)}", *(_entry(module, n) for n in own)]
    nb = v4.new_notebook(cells=list(map(v4.new_markdown_cell, texts)))
    nb.metadata["nnlib"] = {"language": "en"}
    return Page().from_notebook_node(nb, {"metadata": {"name": "api"}})[0]


def public(of: Any) -> dict[str, Any]:
    """Return the classes, functions and properties of a module or class that are meant for all."""
    known = (type, property, classmethod, type(public))
    return {n: v for n, v in vars(of).items() if n[0] != "_" and isinstance(v, known)}


def _entry(of: Any, name: str) -> str:
    """Return heading, signature and docstring of a name, and of what a class holds."""
    value = getattr(of, name)
    inside = public(value) if isinstance(value, type) else {}
    plain = isinstance(value, property) or (inspect.isclass(value) and issubclass(value, Exception))
    signature = name if plain else name + str(inspect.signature(value))
    head = f"### {name}" if inspect.ismodule(of) else f"#### {of.__name__}.{name}"
    code = fill(signature, 76, subsequent_indent="    ", break_long_words=False)
    told = f"{head}\n\n```python\n{code}\n```\n\n{_told(value)}"
    return "\n\n".join([told, *(_entry(value, inner) for inner in inside)])


def _told(value: Any) -> str:
    """Return a docstring as Markdown: what is aligned or typed at a prompt stays as it is."""
    paragraphs = (inspect.getdoc(value) or "").split("\n\n")
    return "\n\n".join(f"```text\n{p}\n```" if ALIGNED.search(p) else p for p in paragraphs)
