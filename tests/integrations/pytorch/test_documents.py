"""Snippets and examples of this group run and capture."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.integration_documents import ROOT, captured_by, snippets


@pytest.mark.parametrize("snippet", snippets("pytorch"))
def test_every_snippet_runs_and_captures(snippet: str, tmp_path: Path) -> None:
    assert captured_by(["-c", snippet], tmp_path)


@pytest.mark.parametrize("name", ["torch", "transformers", "keras"])
def test_every_example_runs_and_captures(name: str, tmp_path: Path) -> None:
    assert captured_by([str(ROOT / "examples" / f"{name}_app.py")], tmp_path)
