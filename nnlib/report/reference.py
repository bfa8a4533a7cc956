"""The reference of the library: a page made of what its public names say of themselves."""

import inspect
import pkgutil
import re
from functools import cache
from importlib import import_module
from textwrap import fill, indent
from types import ModuleType
from typing import Any

from nbformat import NotebookNode, v4

from nnlib.report.page import Page

WIDTH = 76  # of a signature's lines
ALIGNED = re.compile(r"\S {2,}\S|^>>> ", re.MULTILINE)
INTRODUCTION = """\
# Reference of nnlib

[To the report](../index.html)

What the modules of the library hold, in the words of their own docstrings. Shapes: N examples, D
inputs, H hidden units, K classes. These names stand in `nnlib` itself: """


@cache
def reference() -> str:
    """Return the page; it is the same in every report of a process."""
    return Page().from_notebook_node(docstrings(), {"metadata": {"name": "api"}})[0]


def docstrings() -> NotebookNode:
    """Return what modules, public classes and functions say of themselves as a notebook."""
    face = import_module("nnlib")
    names = ", ".join(f"[{name}](#{name.lower()})" for name in public(face))
    texts = [f"{INTRODUCTION}{names}."]
    for info in pkgutil.iter_modules(face.__path__, "nnlib."):
        if info.name not in ("nnlib.__main__", "nnlib.cli"):
            module = import_module(info.name)
            texts.append(f"## {info.name}\n\n{_told(module)}")
            texts += (_entry(n, v) for n, v in public(module).items() if v.__module__ == info.name)
    metadata = {"nnlib": {"language": "en"}}
    return v4.new_notebook(cells=list(map(v4.new_markdown_cell, texts)), metadata=metadata)


def public(of: ModuleType | type) -> dict[str, Any]:
    """Return the classes, functions and properties of a module or class that are meant for all."""
    known = (type, property, classmethod, type(public))
    return {n: v for n, v in vars(of).items() if n[0] != "_" and isinstance(v, known)}


def _entry(name: str, value: Any) -> str:
    members = public(value).items() if isinstance(value, type) else ()
    parts = [f"### {name}\n\n```python\n{_signature(name, value)}\n```\n\n{_told(value)}"]
    for inner, member in members:
        text = f"```python\n{_signature(inner, getattr(value, inner))}\n```\n\n{_told(member)}"
        parts.append("- " + indent(text, "  ").lstrip())
    return "\n\n".join(parts)


def _signature(name: str, value: Any) -> str:
    plain = not callable(value) or (isinstance(value, type) and issubclass(value, Exception))
    arguments = "" if plain else str(inspect.signature(value))
    return fill(name + arguments, WIDTH, subsequent_indent="    ", break_long_words=False)


def _told(value: Any) -> str:
    """Return a docstring as Markdown: what is aligned or typed at a prompt stays as it is."""
    paragraphs = (inspect.getdoc(value) or "").split("\n\n")
    return "\n\n".join(f"```text\n{p}\n```" if ALIGNED.search(p) else p for p in paragraphs)
