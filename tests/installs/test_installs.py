"""Every install line of the documentation leads from an empty environment to an incident with the right feature."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
from installs.journeys import FEATURE, JOURNEYS, ROOT, UV, Place, Result, run
from installs.lines import Line, lines

pytestmark = [pytest.mark.installs, pytest.mark.timeout(600)]
LINES = list(dict.fromkeys(lines()))
RESULTS = os.environ.get("DAVY_TEST_INSTALLS_RESULTS", "")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    sys.path.insert(0, str(ROOT))
    from benchmarks.services import services

    with services() as addresses:
        yield Place(tmp_path_factory.mktemp("installs"), bool(RESULTS), addresses)


@pytest.fixture(scope="session")
def results(place: Place) -> Iterator[Mapping[str, Future[Result]]]:
    """Every journey by what it installs, under way from the first test on."""
    _ = place.wheel
    with ThreadPoolExecutor(1 if RESULTS else 3) as pool:
        begun = {journey: pool.submit(journey, place) for journey in dict.fromkeys(JOURNEYS.values())}
        found = {name: begun[journey] for name, journey in JOURNEYS.items()}
        yield found
        if RESULTS:
            made = {name: asdict(one.result()) for name, one in found.items()}
            Path(RESULTS).write_text(json.dumps(made), encoding="utf-8")


@pytest.mark.parametrize("line", [line for line in LINES if line.journey != "label-studio"], ids=str)
def test_a_line_leads_to_a_first_incident_with_the_feature_that_changed(
    line: Line, results: Mapping[str, Future[Result]]
) -> None:
    told = json.dumps(results[line.journey].result().incident)
    assert ("inputs.image.brightness" if line.journey == "demo" else FEATURE) in told


def test_every_role_of_the_image_works_over_the_three_services(results: Mapping[str, Future[Result]]) -> None:
    assert FEATURE in json.dumps(results["image"].result().incident)


def test_what_davy_says_is_missing_is_added_by_the_line_that_it_says(place: Place) -> None:
    home = place.folder / "environments" / "grown"
    run([str(UV), "venv", "--quiet", "--python", sys.executable, str(home)])
    place.add(home / "bin", str(place.wheel))
    davy = str(home / "bin" / "davy")
    told = subprocess.run([davy, "up"], check=False, capture_output=True, text=True, timeout=60)
    (what,) = re.findall(r"pip install '(davy\[.+\])'$", told.stderr.strip())
    assert told.returncode == 2
    place.add(home / "bin", what)
    assert run([davy, "--version"]).startswith("davy ")
    assert "uvicorn" in run([str(UV), "pip", "list", "--quiet", "--python", str(home / "bin" / "python")])


def test_label_studio_is_installed_in_the_version_that_the_tests_run() -> None:
    (line,) = [line for line in LINES if line.journey == "label-studio"]
    assert line.what in (ROOT / "requirements" / "labelstudio.txt").read_text(encoding="utf-8").splitlines()


def test_every_journey_is_that_of_a_line() -> None:
    assert {line.journey for line in LINES} == {*JOURNEYS, "label-studio"} - {"image"}
