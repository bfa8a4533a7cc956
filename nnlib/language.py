"""Texts in the reader's language: English as the code has it, or what stands for it in a catalogue.

The catalogues are gettext's .po files below report/languages/, a folder a language, read only where
it is spoken. An English text with {} in it stands for many: each {} is a number or other words.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache, lru_cache
from pathlib import Path

from nnlib.checks import one_of

CATALOGUES = Path(__file__).parent / "report" / "languages"
LANGUAGES = ("en", "zh")
NUMBER = re.compile(r"[-−+]?\d+(?:[.,:–-]\d+)*(?:e[-+−]?\d+)?%?")
_spoken = ContextVar("language", default="")


def language() -> str:
    """Return the language that `speaking`, NNLIB_LANGUAGE or the folder notebooks/zh asks for."""
    if given := _spoken.get() or os.environ.get("NNLIB_LANGUAGE"):
        return one_of("language", given, LANGUAGES)
    with suppress(FileNotFoundError, ValueError):  # a folder that is gone, or the root
        above, here = Path.cwd().parts[-2:]  # of a notebook in JupyterLab
        return here if above == "notebooks" and here in LANGUAGES else "en"
    return "en"


@contextmanager
def speaking(name: str) -> Iterator[None]:
    """Let texts be in a language for a while; "" changes nothing."""
    before = _spoken.set(one_of("language", name, LANGUAGES) if name else _spoken.get())
    try:
        yield
    finally:
        _spoken.reset(before)


def gettext(text: str) -> str:
    """Return a text in the language spoken, or as it is where the catalogues do not have it."""
    return text if (name := language()) == "en" else _translated(text, name)


@cache
def catalogue(name: str) -> dict[str, str]:
    """Return the texts of all catalogues of a language by their English, fuzzy ones left out."""
    from babel.messages.pofile import read_po  # of an extra

    found: dict[str, str] = {}
    for path in sorted((CATALOGUES / name).glob("*.po")):
        with path.open("rb") as stream:
            entries = read_po(stream)
        read = (each for each in entries if each.id and each.string and not each.fuzzy)
        found |= {str(each.id): str(each.string) for each in read}
    return found


@cache
def _patterns(name: str) -> list[tuple[re.Pattern, str]]:
    """Return those with {} as patterns and what to fill, those that say most first."""
    known = [text.split("{}") for text in catalogue(name) if "{}" in text]
    known.sort(key=lambda said: -sum(map(len, said)))
    return [
        (re.compile("(.+?)".join(map(re.escape, said)), re.S), catalogue(name)["{}".join(said)])
        for said in known
    ]


@lru_cache(10_000)
def _translated(text: str, name: str) -> str:
    if text in catalogue(name) or not text:
        return catalogue(name).get(text, text)
    for pattern, told in _patterns(name):
        if found := pattern.fullmatch(text):
            return _filled(told, [_translated(part, name) for part in found.groups()])
    return text


def _filled(told: str, parts: Sequence[str]) -> str:
    """Return a text with parts in place of {}, one after the other, or {0}, {1} by their number."""
    rest = iter(parts)
    return re.sub(r"\{(\d*)\}", lambda hole: parts[int(hole[1])] if hole[1] else next(rest), told)
