"""Prometheus is answered while what Davy stands on hangs: that is when its numbers are wanted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from support.redis_server import LOCAL, RedisServer

from davy.demo.processes import free_port, wait_until


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", [pytest.param("up", marks=LOCAL)])
def test_metrics_are_scraped_within_three_seconds_while_redis_hangs(name: str, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as redis:
        port = free_port()
        address = f"http://127.0.0.1:{port}/metrics"
        env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DAVY_")},
            "DAVY_URL": f"sqlite:///{tmp_path}/davy",
            "DAVY_STORE_URL": redis.url,
            "DAVY_GATEWAY_PORT": str(port),
        }

        def scrape() -> str:
            try:
                answer = httpx.get(address, timeout=20)
            except httpx.ConnectError:
                return ""
            return answer.text if answer.status_code == 200 else ""

        with subprocess.Popen([sys.executable, "-m", "davy", name], env=env) as process:
            try:
                wait_until(scrape, "the first scrape", seconds=60)
                redis.pause()
                slowest = 0.0

                def told() -> bool:
                    nonlocal slowest
                    begun = time.monotonic()
                    text = scrape()
                    slowest = max(slowest, time.monotonic() - begun)
                    assert text
                    return 'davy_check_failing{check="store"} 1.0' in text

                wait_until(told, "the metrics to say that the store hangs", seconds=60)
            finally:
                redis.resume()
                process.terminate()
                process.wait(40)
        assert slowest < 3
