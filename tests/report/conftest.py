"""What holds for every PDF that these tests make."""

from pathlib import Path

import pytest
from pdf_glyphs import glyphs

from nnlib.report import book, document


@pytest.fixture(autouse=True)
def no_missing_glyph_in_any_pdf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a PDF that is made in this process shows .notdef."""

    def checked(look: str, body: str, folder: Path, **about: str) -> bytes:
        pdf = typeset(look, body, folder, **about)
        assert 0 not in glyphs(pdf)
        return pdf

    typeset = document.typeset
    for module in (document, book):
        monkeypatch.setattr(module, "typeset", checked)
