"""Everything a user can set, see or type is documented, and what the documents show runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from davy.config import Settings, describe
from davy.metrics import CATALOGUE

ROOT = Path(__file__).parents[2]
DOCS = "\n".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
SNIPPETS = [
    pytest.param(snippet, id=f"{path.name}-{number}")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for number, snippet in enumerate(
        re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
    )
]


@pytest.mark.fast
@pytest.mark.parametrize("variable", [one.variable for one in describe(Settings())])
def test_every_setting_is_documented(variable: str) -> None:
    assert f"`{variable}`" in DOCS


@pytest.mark.fast
@pytest.mark.parametrize("name", [metric.name for metric in CATALOGUE])
def test_every_metric_is_documented(name: str) -> None:
    assert f"`{name}`" in DOCS


@pytest.mark.fast
@pytest.mark.parametrize(
    "name",
    [
        point.name
        for group in ("davy.scorers", "davy.monitors", "davy.arms")
        for point in entry_points(group=group)
    ],
)
def test_every_detector_is_documented(name: str) -> None:
    assert f"`{name}`" in DOCS


def _commands() -> list[tuple[str, list[str]]]:
    import click
    import typer

    from davy.cli import app

    root = typer.main.get_command(app)
    context = typer.Context(root)
    found: list[tuple[str, list[str]]] = []

    def walk(command: click.Command, path: str) -> None:
        options = [o for p in command.params for o in p.opts if o.startswith("--") and o != "--help"]
        if getattr(command, "invoke_without_command", True):
            found.append((path, options))
        for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
            walk(command.get_command(context, name), f"{path} {name}")

    walk(root, "davy")
    return found


@pytest.mark.fast
@pytest.mark.parametrize(("command", "options"), _commands())
def test_every_command_and_option_is_documented(command: str, options: list[str]) -> None:
    assert command in DOCS
    assert [option for option in options if option not in DOCS] == []


@pytest.mark.fast
def test_every_snippet_of_an_integration_belongs_to_a_group_that_runs_it() -> None:
    groups = set(re.findall(r"^```python integration(.*)$", DOCS, re.MULTILINE))
    assert groups <= {f" {path.parent.name}" for path in ROOT.glob("tests/integrations/*/test_documents.py")}


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_every_python_snippet_runs(snippet: str, tmp_path: Path) -> None:
    env = {**os.environ, "DAVY_URL": "memory://docs"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", snippet],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
