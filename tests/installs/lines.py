"""The install lines of the documentation, and what each of them brings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")})
_LINE = re.compile(r"[\w./]*pip install (?P<what>[^`\n#]+)")
_OURS = re.compile(r"'?\.(?:\[(?P<extras>[\w,]+)\])?'?")
OTHERS = {"evidently 'pandas<3.1'": "evidently", "label-studio==1.23.2": "label-studio"}
"""Lines that install something else, with the journey that proves them."""


@dataclass(frozen=True)
class Line:
    """An install line: the page it is on, what is typed after ``pip install``, and its way to a first incident."""

    page: str
    what: str

    @property
    def journey(self) -> str:
        """The extras that it installs, separated by commas, or what else it is for."""
        ours = _OURS.fullmatch(self.what)
        return OTHERS[self.what] if ours is None else ours["extras"] or "base"

    def __str__(self) -> str:
        return f"{self.page}: {self.what}"


def lines() -> Iterator[Line]:
    """Find every install line of every page."""
    for page in PAGES:
        for found in _LINE.finditer(page.read_text(encoding="utf-8")):
            if "'davy[" not in found["what"]:  # what Davy says where it is installed already
                yield Line(str(page.relative_to(ROOT)), found["what"].strip())
