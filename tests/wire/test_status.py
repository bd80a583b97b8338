"""`davy status` on real brokers and a real Redis: who has which partition, and what can be told when one is away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.kafka_server import Cluster, fresh_prefix, needs_brokers
from support.redis_server import LOCAL, RedisServer

from davy.demo.processes import free_port, wait_until
from davy.event import INFERENCES

pytestmark = [*needs_brokers(), *LOCAL]
SECONDS = 20.0
"""What a look takes at most, with a Python that starts on a busy machine."""
CAPTURE = """
import davy
for number in range(5_000):
    davy.capture(f"m:{number % 9}", {"x": float(number)}, {"probs": [0.5, 0.5]})
assert davy.flush(30)
"""


@contextmanager
def detecting(env: Mapping[str, str], file: Path) -> Iterator[subprocess.Popen[bytes]]:
    with file.open("wb") as output:
        command = [sys.executable, "-m", "davy", "run", "detect"]
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def status(env: Mapping[str, str], **other: str) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Return the exit code of `davy status`, what it says, and what it says of the role `detect`."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "davy", "status", "--json"]
    done = subprocess.run(command, env={**env, **other}, capture_output=True, text=True, check=False)
    assert time.monotonic() - begun < SECONDS
    assert not done.stderr, done.stderr
    told = json.loads(done.stdout)
    return done.returncode, told, next(one for one in told["roles"] if one["role"] == "detect")


@pytest.mark.alone  # what is asked answers within seconds, or is told not to
def test_who_has_what_is_told_and_what_is_known_when_kafka_or_redis_is_away(
    kafka_broker: Cluster, tmp_path: Path
) -> None:
    prefix = fresh_prefix()
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tmp_path / "redis"))
        env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DAVY_")},
            "DAVY_URL": f"kafka://{kafka_broker.servers}/{prefix}?partitions=3",
            "DAVY_STORE_URL": redis.url,
            "DAVY_BLOB_URL": f"file:///{tmp_path}",
        }
        both = [stack.enter_context(detecting(env, tmp_path / f"{number}.log")) for number in range(2)]

        def shared() -> bool:
            _, _, role = status(env)
            held = sorted(place for one in role["processes"] for place in one["holds"])
            return len(role["processes"]) == 2 and held == [f"{INFERENCES}/{number}" for number in range(3)]

        wait_until(shared, "both to have their partitions", seconds=90)
        assert status(env)[0] == 0
        subprocess.run([sys.executable, "-c", CAPTURE], env=env, check=True)

        def counted() -> bool:
            _, _, role = status(env)
            return role["unread"] == 0 and sum(place["position"] for place in role["places"]) >= 25

        wait_until(counted, "5,000 to be counted")
        code, told, role = status(env)
        assert (code, role["state"], told["state"]) == (1, "ok", "wrong")  # nobody mines what was flagged
        owners = {place["process"] for place in role["places"]}
        assert owners == {one["process"] for one in role["processes"]}
        for process in both:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        subprocess.run([sys.executable, "-c", CAPTURE], env=env, check=True)
        code, told, role = status(env)
        assert (code, role["state"], role["processes"]) == (1, "wrong", [])
        assert role["unread"] >= 25
        assert role["behind"] > 0
        ends = [place["end"] for place in role["places"]]

        nowhere = f"kafka://127.0.0.1:{free_port()}/{prefix}"
        code, told, role = status(env, DAVY_URL=nowhere)
        assert (code, told["log"]["state"], told["store"]["state"]) == (1, "wrong", "ok")
        assert "are the brokers up and within reach?" in told["log"]["remedy"]
        assert (role["unread"], {place["end"] for place in role["places"]}) == (None, {None})
        assert sum(place["position"] for place in role["places"]) >= 25

        redis.pause()
        code, told, role = status(env)
        redis.resume()
        assert (code, told["log"]["state"], told["store"]["state"]) == (1, "ok", "wrong")
        assert [place["end"] for place in role["places"]] == ends
        assert {one["role"] for one in told["roles"]} >= {"detect", "mine", "gateway", "retain"}

        code, told, _ = status(env, DAVY_URL=nowhere, DAVY_STORE_URL=f"redis://127.0.0.1:{free_port()}")
        assert (code, told["log"]["state"], told["store"]["state"]) == (1, "wrong", "wrong")
        said = "".join((tmp_path / f"{number}.log").read_text() for number in range(2))
    assert "Traceback" not in said
