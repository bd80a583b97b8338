"""The demo on a cluster: every role a process, over real Kafka, Redis and S3, with the alarm as on SQLite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis_server
import s3_server
from kafka_server import Cluster, needs_brokers
from s3_server import S3Server

pytestmark = [*needs_brokers(), *redis_server.LOCAL, *s3_server.LOCAL]


def run(directory: Path, *arguments: str, **env: str) -> dict[str, Any]:
    """Run the demo once without Label Studio; return its figures."""
    figures = directory / "figures.json"
    command = [sys.executable, "-m", "davy", "demo", "--no-label-studio", "--json", str(figures)]
    done = subprocess.run(
        [*command, "--directory", str(directory), *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(figures.read_text())["runs"]
    del found["wall_s"]
    return dict(found)


@pytest.mark.timeout(900)
def test_the_demo_says_the_same_on_one_machine_and_on_a_cluster(
    tmp_path: Path, kafka_broker: Cluster, shared_redis: str, shared_s3: S3Server
) -> None:
    addresses = {
        "DAVY_URL": f"kafka://{kafka_broker.servers}",
        "DAVY_STORE_URL": f"{shared_redis}/0",
        "DAVY_BLOB_URL": "s3://davy",
        **shared_s3.environment,
    }
    # Frames that come after their epoch was tested move the alarm by a few; a busy machine falls many seconds behind.
    patient = {"DAVY_DETECT_LATENESS_SECONDS": "60"}
    apart = run(tmp_path / "apart", "--apart", **addresses, **patient)
    whole = run(tmp_path / "whole", **patient)
    assert apart["ledger"] == {"captured": 13_000, "stored": 13_000, "counted": 0}
    for run_of in (apart, whole):
        run_of["alarm"]["features"].sort()
    for name in ("seed", "alarm", "random", "ledger", "label_studio"):
        assert apart[name] == whole[name]
    # Samples of an incident are flagged from the moment a worker learns of it, so a few labels may differ.
    assert apart["mined"]["labels"] == whole["mined"]["labels"]
    assert abs(apart["mined"]["failures"] - whole["mined"]["failures"]) <= 5
    for traffic in ("bad", "clean"):
        for name, value in apart["accuracy"][traffic].items():
            assert value == pytest.approx(whole["accuracy"][traffic][name], abs=0.04)
