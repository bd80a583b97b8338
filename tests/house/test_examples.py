"""Every example in a docstring runs and gives what it shows."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

PACKAGES = ("davy", "davy_detectors", "davy_miner", "davy_dashboards")
MODULES = [
    info.name
    for package in PACKAGES
    for info in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
    if not info.name.endswith(("__main__", "demo.serving"))
]

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAVY_URL", "memory://examples")
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0
