"""`import davy` starts nothing and loads nothing a serving app has no use for."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import davy

pytestmark = pytest.mark.fast

ALLOWED = {"davy", "numpy", "msgspec"}
PROBE = """
import sys, threading, json
before = set(sys.modules)
import davy
print(json.dumps({
    "modules": sorted({name.partition(".")[0] for name in set(sys.modules) - before}),
    "davy": sorted(name for name in sys.modules if name.startswith("davy.")),
    "threads": threading.active_count(),
}))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    loaded: dict[str, object] = json.loads(done.stdout)
    return loaded


def test_importing_starts_no_thread(found: dict[str, object]) -> None:
    assert found["threads"] == 1


def test_importing_loads_only_numpy_and_msgspec(found: dict[str, list[str]]) -> None:
    foreign = {
        name for name in found["modules"] if name not in sys.stdlib_module_names and not name.startswith("_")
    }
    # msgspec takes typing_extensions where it is installed
    assert foreign - {"typing_extensions"} <= ALLOWED


@pytest.mark.parametrize(
    "module",
    [
        "davy.meter",
        "davy.runtime",
        "davy.gateway",
        "davy.log.sqlite",
        "davy.log.memory",
        "davy.sdk.http_sink",
        "davy.store",
    ],
)
def test_importing_leaves_the_servers_and_adapters_alone(module: str, found: dict[str, list[str]]) -> None:
    assert module not in found["davy"]


@pytest.mark.parametrize("module", ["asyncio", "http.client", "sqlite3", "ssl", "multiprocessing", "email"])
def test_heavy_parts_of_the_standard_library_stay_out(module: str) -> None:
    code = f"import sys, numpy, msgspec; b = set(sys.modules); import davy; print({module!r} in set(sys.modules) - b)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_public_names_are_these() -> None:
    assert davy.__all__ == [
        "DavyError",
        "capture",
        "context",
        "feedback",
        "flush",
        "init",
        "pseudonym",
        "shutdown",
        "stats",
        "watch",
    ]
    assert all(callable(getattr(davy, name)) for name in davy.__all__)
