"""The demo is the product's promise: the whole loop, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from services import needs

ROOT = Path(__file__).parents[2]
needs_label_studio = needs(
    "labelstudio", (ROOT / ".labelstudio/.installed").is_file(), "`make test` installs it"
)


def run_demo(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "davy", "demo", "--json", str(figures), *arguments]
    env = {key: value for key, value in os.environ.items() if not key.startswith("DAVY_")}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(figures.read_text())["runs"][0]


def assert_the_loop_was_worth_it(run: dict[str, Any]) -> None:
    alarm, ledger = run["alarm"], run["ledger"]
    assert alarm["raised"]
    assert alarm["clean_alarms"] == 0
    assert 0 < alarm["delay_events"] < 2_000
    assert abs(alarm["onset_event"] - alarm["true_onset_event"]) < 500
    assert alarm["features"]
    assert run["mined"]["labels"] == run["random"]["labels"]
    assert run["mined"]["distinct_failures"] >= 3 * run["random"]["distinct_failures"]
    assert run["accuracy"]["bad"]["mined"] > run["accuracy"]["bad"]["random"]
    assert run["accuracy"]["clean"]["mined"] > run["accuracy"]["clean"]["before"] - 0.01
    assert ledger["captured"] == ledger["stored"] + ledger["counted"] > 0


@pytest.mark.timeout(300)
def test_the_loop_closes_without_a_labelling_tool(tmp_path: Path) -> None:
    run = run_demo(tmp_path, "--no-label-studio", "--seed", "3", "--directory", str(tmp_path / "demo"))
    assert run["label_studio"] is None
    assert_the_loop_was_worth_it(run)


@needs_label_studio
@pytest.mark.timeout(500)
def test_the_loop_closes_through_a_real_label_studio(tmp_path: Path) -> None:
    run = run_demo(tmp_path, "--seed", "1", "--directory", str(tmp_path / "demo"))
    assert run["label_studio"]["duplicates"] == 0
    assert run["label_studio"]["tasks"] == run["label_studio"]["labels_read_back"] == run["mined"]["labels"]
    assert_the_loop_was_worth_it(run)


@pytest.mark.fast
def test_roles_apart_need_places_that_processes_share(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "davy",
        "demo",
        "--no-label-studio",
        "--apart",
        "--directory",
        str(tmp_path),
    ]
    env = {name: value for name, value in os.environ.items() if not name.startswith("DAVY_")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "DAVY_URL" in done.stderr
