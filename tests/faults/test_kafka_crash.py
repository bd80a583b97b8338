"""Brokers that die: what was acknowledged is there, and a group reads it once and in order."""

from __future__ import annotations

import threading
from collections import defaultdict
from contextlib import ExitStack, closing
from itertools import count

import pytest
from support.kafka_server import Cluster, fresh_prefix, needs_brokers

from davy.demo.processes import wait_until
from davy.errors import LogError
from davy.log import Log, Message, Record, open_log
from davy.log._kafka.log import ClusterLog

pytestmark = needs_brokers()

TOPIC = "davy.inferences"
KEYS = [f"m:{number}" for number in range(6)]


class Writer(threading.Thread):
    """Appends numbers to every key until it is stopped; remembers what was acknowledged."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log
        self._stop_it = threading.Event()
        self._grown = threading.Condition()
        self.acknowledged = 0

    def run(self) -> None:
        with closing(self._log.producer()) as producer:
            for number in count():
                if self._stop_it.is_set():
                    return
                producer.append([Message(TOPIC, key, b"%d" % number) for key in KEYS], timeout=60)
                with self._grown:
                    self.acknowledged = number + 1
                    self._grown.notify_all()

    def wait_for(self, more: int) -> None:
        """Wait until this many more were acknowledged."""
        with self._grown:
            goal = self.acknowledged + more
            assert self._grown.wait_for(lambda: self.acknowledged >= goal, 90)

    def stop(self) -> None:
        self._stop_it.set()
        self.join()


@pytest.mark.parametrize("scheme", ["kafka", "kafka+librdkafka"])
def test_nothing_acknowledged_is_lost_or_stored_twice_when_a_broker_is_killed(
    kafka_cluster: Cluster, scheme: str
) -> None:
    url = f"{scheme}://{kafka_cluster.servers}/{fresh_prefix()}?partitions=6&replication=3"
    with closing(open_log(url)) as log, ExitStack() as stack:
        consumer = stack.enter_context(closing(log.consumer([TOPIC], "detect")))
        writer = Writer(log)
        writer.start()
        writer.wait_for(50)
        kafka_cluster.brokers[0].kill()
        writer.wait_for(50)
        writer.stop()
        seen = defaultdict(list)
        found: list[Record] = []
        while len(found) < writer.acknowledged * len(KEYS):
            try:
                records = consumer.poll(timeout=30)
            except LogError:  # a partition had no leader just when it was given: whoever reads begins anew
                consumer.close()
                consumer, found = stack.enter_context(closing(log.consumer([TOPIC], "detect"))), []
                continue
            assert records, f"{len(found)} of {writer.acknowledged * len(KEYS)} records came"
            found += records
    for record in found:
        seen[record.key].append(int(record.value))
    assert dict(seen) == {key: list(range(writer.acknowledged)) for key in KEYS}


def test_topics_can_be_made_after_the_broker_is_gone_that_was_asked_for_the_first(
    kafka_cluster: Cluster,
) -> None:
    """kafka-python asks it for ever."""
    with closing(open_log(f"kafka://{kafka_cluster.servers}/{fresh_prefix()}")) as log:
        assert isinstance(log, ClusterLog)
        admin = log._admin()
        admin.create(["first"], 1, 3, {})
        kafka_cluster.brokers[admin._client._controller_id - 1].kill()

        def made() -> bool:
            try:
                admin.create(["second"], 1, 2, {})
            except LogError:
                return False
            return True

        wait_until(made, "another topic to be made", seconds=30)
