"""The same features as one JSON message each, and who reads them: ``streams.py TASK SERVERS TOPIC COUNT EDGES``.

Runs in an environment of its own (``requirements/streams.txt``), with nothing of Davy's. Every reader does what its
documentation shows, in one process, and counts every value into the same bins: row by row, or in blocks of 1,000 rows
by numpy, which is quicker. Prints JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

import numpy as np

BLOCK: Final = 1000
_POLLED: Final = 2000
_DRAWN: Final = 16_000
_SEED: Final = 7


class Histograms:
    """Counts of every feature between the edges of its bins, of shape ``(features, bins)``.

    Parameters
    ----------
    edges
        Shape ``(features, bins - 1)``.
    count
        How many rows will come.
    block
        So many rows are binned at once; of 1, each value is searched for on its own.
    """

    def __init__(self, edges: Any, count: int, block: int = BLOCK) -> None:
        self._edges = edges
        self._lists = edges.tolist()
        self._left = count
        self._block = block
        self._rows: list[list[float]] = []
        self._counts = [[0] * (edges.shape[1] + 1) for _ in edges]
        self.counts = np.zeros((len(edges), edges.shape[1] + 1), np.int64)
        self.began = self.ended = 0.0

    def add(self, row: dict[str, float]) -> bool:
        """Count a row; false when it was the last."""
        if not self.began:
            self.began = time.perf_counter()
        self._left -= 1
        if self._block == 1:
            for counts, edges, value in zip(self._counts, self._lists, row.values(), strict=True):
                counts[bisect_right(edges, value)] += 1
        else:
            self._rows.append(list(row.values()))
        if len(self._rows) == self._block or not self._left:
            self._bin()
        return self._left > 0

    def _bin(self) -> None:
        if self._block == 1:
            self.counts += self._counts
        else:
            for counts, edges, values in zip(self.counts, self._edges, np.array(self._rows).T, strict=True):
                counts += np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(counts))
        self._rows.clear()
        self.ended = time.perf_counter()


def write(servers: str, topic: str, count: int, histograms: Histograms) -> None:
    """Write the messages, by librdkafka."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 50, "compression.type": "lz4"})
    names = [f"feature_{i}" for i in range(len(histograms.counts))]
    drawn = np.random.default_rng(_SEED).standard_normal((_DRAWN, len(names)), dtype=np.float32)
    values = [json.dumps(dict(zip(names, row, strict=True))).encode() for row in drawn.tolist()]
    histograms.began = time.perf_counter()
    for number in range(count):
        while True:
            try:
                producer.produce(topic, values[number % _DRAWN])
                break
            except BufferError:
                producer.poll(0.05)
    if producer.flush(60):
        raise RuntimeError("the broker did not take every message")
    histograms.ended = time.perf_counter()


def quix(servers: str, topic: str, count: int, histograms: Histograms) -> None:
    """A streaming dataframe of Quix Streams with a function a row, without state."""
    from quixstreams import Application

    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            broker_address=servers,
            consumer_group=_group(),
            auto_offset_reset="earliest",
            state_dir=folder,
            loglevel="ERROR",
        )
        rows = app.dataframe(app.topic(topic, value_deserializer="json"))

        def count_row(row: dict[str, float]) -> None:
            if not histograms.add(row):
                app.stop()

        rows.update(count_row)
        app.run()


def kafka_python(decode: Callable[[bytes], Any], servers: str, topic: str, histograms: Histograms) -> None:
    """A consumer of kafka-python, polled: twice as quick as iterating over it."""
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(
        topic, bootstrap_servers=servers, group_id=_group(), auto_offset_reset="earliest"
    )
    going_on = True
    while going_on:
        for messages in consumer.poll(timeout_ms=1000, max_records=_POLLED).values():
            for message in messages:
                going_on = histograms.add(decode(message.value))
    consumer.close()


def with_json(servers: str, topic: str, count: int, histograms: Histograms) -> None:
    """Use the decoder of the standard library."""
    kafka_python(json.loads, servers, topic, histograms)


def with_msgspec(servers: str, topic: str, count: int, histograms: Histograms) -> None:
    """Use the decoder of msgspec."""
    import msgspec

    kafka_python(msgspec.json.Decoder(dict[str, float]).decode, servers, topic, histograms)


def _group() -> str:
    return f"group-{time.time_ns()}"


TASKS: Final = {
    "write": write, "quix-streams, row by row": quix, "quix-streams, blocks": quix,
    "kafka-python, json, blocks": with_json, "kafka-python, msgspec, blocks": with_msgspec,
}  # fmt: skip
DISTRIBUTIONS: Final = ("quixstreams", "kafka-python", "confluent-kafka", "msgspec", "numpy")

if __name__ == "__main__":
    task, servers, topic, count, edges = sys.argv[1:]
    histograms = Histograms(np.load(edges), int(count), 1 if task.endswith("row by row") else BLOCK)
    TASKS[task](servers, topic, int(count), histograms)
    found = {"seconds": histograms.ended - histograms.began, "binned": int(histograms.counts.sum())}
    print(json.dumps({**found, "versions": {name: version(name) for name in DISTRIBUTIONS}}))
