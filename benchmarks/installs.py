"""How long it takes from an install line of the documentation to a first incident, by pip as somebody's first time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

NAME = "installs"
_TESTS = Path(__file__).parents[1] / "tests"


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        env = {**os.environ, "DAVY_TEST_INSTALLS_RESULTS": str(results)}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(_TESTS / "installs")]
        subprocess.run(command, env=env, check=True)
        found: dict[str, dict[str, Any]] = json.loads(results.read_text(encoding="utf-8"))
    del found["evidently"]  # it installs something else
    for one in found.values():
        named = one.pop("incident")["features"]
        one["features"] = [each["feature"] if isinstance(each, dict) else each for each in named]
        seconds = one["seconds"]
        one["minutes_to_incident"] = round((sum(seconds.values()) - seconds.get("feature", 0)) / 60, 2)
        one["minutes_to_feature"] = round(sum(seconds.values()) / 60, 2)
    return found
