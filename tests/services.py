"""Tests that need a real service: skipped with the reason where it is missing, an error where it must be there."""

from __future__ import annotations

import os
from typing import Any

import pytest


def service_or_skip(name: str, present: bool, reason: str) -> Any:
    """Give the marks of a test, class or module that needs the service `name`.

    ``pytestmark = service_or_skip("prometheus", shutil.which("prometheus"), "apt install prometheus")``. Where the
    service is missing the test is skipped with the reason, unless the environment variable DAVY_REQUIRE_SERVICES
    names it (separated by commas; ``all`` names every service): then collecting the test is an error.
    """
    required = {part.strip() for part in os.environ.get("DAVY_REQUIRE_SERVICES", "").split(",")}
    if not present and required & {name, "all"}:
        raise RuntimeError(f"DAVY_REQUIRE_SERVICES names {name}, but it is missing: {reason}")
    return [pytest.mark.service(name), pytest.mark.skipif(not present, reason=f"{name} is missing: {reason}")]


def needs(name: str, present: bool, reason: str) -> Any:
    """Give a decorator with the marks of `service_or_skip`."""
    marks = service_or_skip(name, present, reason)

    def decorate(test: Any) -> Any:
        for mark in marks:
            test = mark(test)
        return test

    return decorate
