"""A third party's package of plug-ins, installed as theirs is: it works, and fails alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import example_plugins
from support.embedded import MODEL, Embedded

from davy.demo.processes import wait_until

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path to modules of a process in which the package is installed."""
    target = example_plugins.installed(tmp_path_factory.mktemp("plugins"))
    return os.pathsep.join((str(target), str(TESTS)))


def _python(paths: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _found(paths: str, fails: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_python(paths, "-m", "support.example_plugins", fails))
    return found


@pytest.fixture(scope="module")
def well(paths: str) -> dict[str, Any]:
    """What is found while all is well."""
    return _found(paths)


def test_its_own_tests_pass(paths: str) -> None:
    _python(paths, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/plugins/tests")


def test_its_monitor_opens_an_incident_of_its_own(well: dict[str, Any]) -> None:
    assert well["causes"] == ["drift", "far"]
    assert (well["suspended"], well["doctor"], well["dead_letters"]) == ([], [], 0)


@pytest.mark.parametrize("fails", ["aggregate", "test", "sample_scores", "__init__"])
def test_made_to_raise_it_is_suspended_and_drift_is_found_as_before_to_the_bit(
    paths: str, well: dict[str, Any], fails: str
) -> None:
    found = _found(paths, fails)
    if fails != "sample_scores":  # called only when there is an alarm to look into
        assert found["suspended"] == [
            ["monitor", "far-share", "fraud:3", "0.1.0", "RuntimeError: made to raise"]
        ]
        assert "blind for this" in found["doctor"][0]
        assert found["causes"] == ["drift"]
    told = "\n".join(found["shown"])
    assert 'davy_plugin_failures_total{kind="monitor",plugin="far-share"}' in told
    assert (found["drift"], found["state"]) == (well["drift"], well["state"])
    assert len(found["drift"]) > 0
    assert found["dead_letters"] == 0


def test_davy_up_finds_it_and_its_incident_is_told(paths: str, tmp_path: Path) -> None:
    with Embedded(tmp_path, PYTHONPATH=paths) as davy:
        davy.fit()
        davy.begin()
        davy.wait_for(500)
        davy.drift()
        wait_until(lambda: "far-input" in davy.davy("incidents"), "its incident", seconds=90)
        told = json.loads(davy.davy("incidents", "--model", MODEL, "--json"))
        davy.stop()
        davy.down()
    assert {one["cause"] for one in told} >= {"far"}
