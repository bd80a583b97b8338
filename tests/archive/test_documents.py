"""What docs/archive.md shows runs, on an archive as Davy writes it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from archived import fraud_archive
from services import service_or_skip

TEXT = (Path(__file__).parents[2] / "docs/archive.md").read_text()
MARKS: dict[str, Any] = {
    "": [],
    " evidently": service_or_skip(
        "evidently", find_spec("evidently") is not None, "pip install evidently 'pandas<3.1'"
    ),
}
SNIPPETS = [
    pytest.param(code, marks=MARKS[wants], id=f"{number}{wants}")
    for number, (wants, code) in enumerate(
        re.findall(r"^```python archive(.*?)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    )
]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_every_snippet_runs(snippet: str, tmp_path: Path) -> None:
    fraud_archive(tmp_path)
    command = [sys.executable, "-c", snippet]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_snippet_is_found() -> None:
    assert len(SNIPPETS) == TEXT.count("```python")
