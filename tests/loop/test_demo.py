"""The demo is the product's promise: the whole loop, as a user runs it, on one machine and on a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import redis_server, s3_server
from support.kafka_server import Cluster, needs_brokers
from support.s3_server import S3Server
from support.services import needs

ROOT = Path(__file__).parents[2]
LABEL_STUDIO = ROOT / ".labelstudio/.installed"
needs_label_studio = needs("labelstudio", LABEL_STUDIO.is_file(), "`make test` installs it")
PATIENT = {"DAVY_DETECT_LATENESS_SECONDS": "30"}
"""Frames that come after their epoch was tested move the alarm by a few; a busy machine falls many seconds behind."""


def needs_kafka_redis_and_s3(test: Any) -> Any:
    for mark in [*needs_brokers(), *redis_server.LOCAL, *s3_server.LOCAL]:
        test = mark(test)
    return test


def run_demo(directory: Path, *arguments: str, **settings: str) -> dict[str, Any]:
    """Run the demo once; return its figures."""
    figures = directory.with_suffix(".json")
    command = [sys.executable, "-m", "davy", "demo", "--directory", str(directory), "--json", str(figures)]
    env = {key: value for key, value in os.environ.items() if not key.startswith("DAVY_")}
    done = subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env={**env, **settings},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(figures.read_text())["runs"]
    return dict(found)


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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The demo on one machine, with a real Label Studio where there is one."""
    without = [] if LABEL_STUDIO.is_file() else ["--no-label-studio"]
    return run_demo(tmp_path_factory.mktemp("whole") / "demo", *without, **PATIENT)


@needs_label_studio
@pytest.mark.timeout(500)
def test_the_loop_closes_through_a_real_label_studio(whole: dict[str, Any]) -> None:
    tool = whole["label_studio"]
    assert tool["duplicates"] == 0
    assert tool["tasks"] == tool["labels_read_back"] == whole["mined"]["labels"]
    assert_the_loop_was_worth_it(whole)


@needs_kafka_redis_and_s3
@pytest.mark.timeout(900)
def test_the_demo_says_the_same_on_one_machine_and_on_a_cluster(
    whole: dict[str, Any], tmp_path: Path, kafka_broker: Cluster, shared_redis: str, shared_s3: S3Server
) -> None:
    addresses = {
        "DAVY_URL": f"kafka://{kafka_broker.servers}",
        "DAVY_STORE_URL": f"{shared_redis}/0",
        "DAVY_BLOB_URL": "s3://davy",
        **shared_s3.environment,
    }
    apart = run_demo(tmp_path / "apart", "--no-label-studio", "--apart", **addresses, **PATIENT)
    assert_the_loop_was_worth_it(whole)
    assert apart["ledger"] == {"captured": 13_000, "stored": 13_000, "counted": 0}
    for name in ("seed", "random", "ledger"):
        assert apart[name] == whole[name]
    assert {**apart["alarm"], "features": sorted(apart["alarm"]["features"])} == {
        **whole["alarm"],
        "features": sorted(whole["alarm"]["features"]),
    }
    # Samples of an incident are flagged from the moment a worker learns of it, so a few labels may differ.
    assert apart["mined"]["labels"] == whole["mined"]["labels"]
    assert abs(apart["mined"]["failures"] - whole["mined"]["failures"]) <= 5
    for traffic in ("bad", "clean"):
        for name, value in apart["accuracy"][traffic].items():
            assert value == pytest.approx(whole["accuracy"][traffic][name], abs=0.04)


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
