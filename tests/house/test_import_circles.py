"""No module of the detectors imports itself by way of others: not at the top, not in a function, not for types only."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast
SOURCE = Path(__file__).parents[2] / "detectors"
ROOM = "davy_detectors"


def _modules(source: Path) -> dict[str, Path]:
    found = {}
    for path in (source / ROOM).rglob("*.py"):
        parts = path.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imported(path: Path, modules: dict[str, Path]) -> set[str]:
    """Return the modules of the room that any statement of a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module in modules:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & modules.keys()
            found |= inner or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & modules.keys()
    return found


def _circle(source: Path) -> list[str]:
    modules = _modules(source)
    graph = {name: _imported(path, modules) - {name} for name, path in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_of_the_detectors_imports_in_a_circle() -> None:
    assert _circle(SOURCE) == []


@pytest.mark.parametrize(
    "statement",
    [
        "from davy_detectors.one import x",
        "def f():\n    from davy_detectors import one",
        "import typing\nif typing.TYPE_CHECKING:\n    import davy_detectors.one",
    ],
)
def test_a_circle_is_found_however_it_is_closed(statement: str, tmp_path: Path) -> None:
    room = tmp_path / ROOM
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "one.py").write_text("from davy_detectors.two import y\nx = 1\n")
    (room / "two.py").write_text(f"{statement}\ny = 2\n")
    assert set(_circle(tmp_path)) == {"davy_detectors.one", "davy_detectors.two"}
