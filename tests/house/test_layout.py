"""The house: what is public, how long files are, what the wheel holds, who is answered how."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import davy

ROOT = Path(__file__).parents[2]
ROOMS = ("collector/davy", "detectors/davy_detectors", "miner/davy_miner", "dashboards/davy_dashboards")
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]

pytestmark = pytest.mark.fast


def test_the_public_names_are_sorted_and_present() -> None:
    assert davy.__all__ == sorted(davy.__all__)
    assert all(hasattr(davy, name) for name in davy.__all__)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_500_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_function_is_longer_than_80_lines(path: Path) -> None:
    long = [
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno >= 80
    ]
    assert long == []


@pytest.mark.parametrize("name", ["davy", "davy_detectors", "davy_miner", "davy_dashboards"])
def test_every_public_list_of_names_is_true(name: str) -> None:
    package = importlib.import_module(name)
    for info in pkgutil.walk_packages(package.__path__, f"{name}."):
        if info.name.endswith("__main__") or info.name == "davy.demo.serving":
            continue
        module = importlib.import_module(info.name)
        for public in getattr(module, "__all__", []):
            assert hasattr(module, public), f"{info.name}.{public}"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "nothing"], "no such role"),
        (["up", "--host", "0.0.0.0"], "DAVY_GATEWAY_API_KEY"),
        (["up", "--port", "many"], "--port"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_commands_get_one_line_and_exit_code_2(arguments: list[str], told: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "davy", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
