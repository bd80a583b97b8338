"""A command starts without what only other commands need."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast
OTHERS = {
    "davy_detectors",
    "davy_miner",
    "davy_dashboards",
    "fastapi",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
}
PROGRAM = """
import sys
from davy.cli import run_app
code = run_app(sys.argv[1:])
print(code, *{name.partition(".")[0] for name in sys.modules})
"""


def run(*arguments: str) -> tuple[str, int, set[str]]:
    """What a command prints, its exit code, and the packages that were imported."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    *said, last = done.stdout.splitlines()
    code, *imported = last.split()
    return "\n".join(said), int(code), set(imported)


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ("--version", set()),
        ("doctor --help", set()),
        ("keys --help", set()),
        ("reference --help", {"davy_detectors"}),
        ("candidates --help", {"davy_miner"}),
    ],
)
def test_a_command_imports_only_its_own_room(arguments: str, needed: set[str]) -> None:
    _, code, imported = run(*arguments.split())
    assert (code, imported & OTHERS) == (0, needed)


def test_the_version_is_the_installed_one() -> None:
    assert run("--version")[0] == f"davy {version('davy')}"


def test_help_lists_the_commands_of_every_room() -> None:
    said, code, _ = run("--help")
    assert code == 0
    assert {"up", "doctor", "keys", "reference", "candidates"} <= {
        line.split()[0] for line in said.splitlines() if line
    }


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_what_announces_goes_on_where_nothing_can_be_printed() -> None:
    code = (
        "from davy import console\nwith console.printing():\n  console.announce('here')\n  console.warn('on')"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
            timeout=60,
        )
    assert done.stderr.splitlines() == [
        "standard output cannot be written (No space left on device): going on without",
        "on",
    ]
