"""Run a command with a real Kafka, Redis and S3 beside it: ``python -m benchmarks.services COMMAND …``.

They are those of the tests: processes of this machine in a directory that is gone at the end, Kafka from Maven's jars,
``redis-server`` from PATH, S3 by moto. The command finds them in DAVY_URL, DAVY_STORE_URL and DAVY_BLOB_URL.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"


@contextmanager
def kafka_and_redis(folder: Path, brokers: int = 1) -> Iterator[tuple[str, str]]:
    """Start them with their data in `folder`; return the addresses of the brokers and the URL of Redis."""
    sys.path.insert(0, str(TESTS))
    from support.kafka_server import Cluster
    from support.redis_server import RedisServer

    with (
        Cluster(brokers, folder / "kafka") as cluster,
        RedisServer(folder / "redis", appendonly="yes") as redis,
    ):
        yield cluster.servers, redis.url


@contextmanager
def services(brokers: int = 1) -> Iterator[dict[str, str]]:
    """Start them; return the environment that leads there."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers, redis = stack.enter_context(kafka_and_redis(folder, brokers))
        from support.s3_server import S3Server

        s3 = stack.enter_context(S3Server(folder))
        yield {
            "DAVY_URL": f"kafka://{servers}",
            "DAVY_STORE_URL": f"{redis}/0",
            "DAVY_BLOB_URL": "s3://davy",
            **s3.environment,
        }


def main(command: Sequence[str]) -> int:
    with services() as env:
        return subprocess.run(command, env={**os.environ, **env}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
