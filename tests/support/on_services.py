"""Davy on Kafka and Redis, as `embedded` has it on one machine's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from davy.demo.processes import wait_until
from davy.event import TOPICS
from support.embedded import UP, Embedded
from support.kafka_server import Cluster, fresh_prefix
from support.redis_server import RedisServer


class OnServices(Embedded):
    """The processes and the app over a broker and a Redis; payloads lie in `directory`.

    Parameters
    ----------
    folder, roles
        As for files.
    cluster, redis
        Where log and store are; a prefix no other test has is used.
    more
        As for files.
    """

    def __init__(
        self,
        folder: Path,
        roles: Mapping[str, Sequence[str]] = UP,
        *,
        cluster: Cluster,
        redis: RedisServer,
        **more: Any,
    ) -> None:
        self.cluster, self.redis, self._prefix = cluster, redis, fresh_prefix()
        settings = {
            "DAVY_URL": f"kafka://{cluster.servers}/{self._prefix}?partitions=1&replication=1",
            "DAVY_STORE_URL": f"{redis.url}/0",
            "DAVY_BLOB_URL": f"file://{folder}/davy",
        }
        super().__init__(folder, roles, **settings, **more)

    def lose_store(self) -> None:
        """Empty Redis."""
        with closing(self.redis.client()) as client:
            client.flushall()

    def lose_log(self) -> None:
        """Delete every topic."""
        from kafka import KafkaAdminClient

        names = [f"{self._prefix}.{topic}" for topic in TOPICS]
        with closing(KafkaAdminClient(bootstrap_servers=self.cluster.servers)) as admin:
            admin.delete_topics([name for name in names if name in admin.list_topics()])
            wait_until(lambda: not set(names) & set(admin.list_topics()), "the topics to be gone", seconds=60)
