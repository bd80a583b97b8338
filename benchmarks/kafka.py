"""The log on Kafka by both client libraries: inferences appended, and read, decoded and binned, a second.

An envelope holds 200 inferences of 30 float32 features. The brokers are those of ``DAVY_TEST_KAFKA``.
"""

from __future__ import annotations

import os
import time
import uuid
from contextlib import closing
from statistics import median
from typing import Any, Final

import numpy as np

from benchmarks.log import BINS, FEATURES, ROWS, Histograms, envelope
from davy.codec import decode
from davy.event import INFERENCES
from davy.log import Message, open_log

NAME: Final = "kafka"
ENVELOPES: Final = 2000
AT_ONCE: Final = 64
REPEATS: Final = 3
SCHEMES: Final = {"kafka": "kafka-python", "kafka+librdkafka": "confluent-kafka"}


def write(url: str, data: bytes, envelopes: int, at_once: int) -> float:
    """Append envelopes, `at_once` in an append; return the seconds after the first append, which makes the topic."""
    with closing(open_log(url)) as log, closing(log.producer()) as producer:
        messages = [Message(INFERENCES, f"bench:{number % 8}", data) for number in range(at_once)]
        producer.append(messages)
        begun = time.perf_counter()
        for _ in range(envelopes // at_once):
            producer.append(messages)
        return time.perf_counter() - begun


def read(url: str, histograms: Histograms) -> tuple[int, float]:
    """Poll, decode and bin everything as a role would, a commit a poll; return envelopes and seconds."""
    with closing(open_log(url)) as log, closing(log.consumer([INFERENCES], "bench")) as consumer:
        count, begun = 0, time.perf_counter()
        while records := consumer.poll(max_records=64, timeout=0):
            histograms.add(np.concatenate([decode(one.value)["inputs", "x"].values for one in records]))
            consumer.commit(consumer.position())
            count += len(records)
        return count, time.perf_counter() - begun


def run() -> dict[str, Any]:
    """Measure; return inferences a second, the median of the repeats."""
    servers = os.environ["DAVY_TEST_KAFKA"]
    generator = np.random.default_rng(7)
    data = envelope(generator)
    sample = generator.standard_normal((10_000, FEATURES), dtype=np.float32)
    return {
        library: {
            name: round(median(rates)) for name, rates in _measure(scheme, servers, data, sample).items()
        }
        for scheme, library in SCHEMES.items()
    } | {"envelope_bytes": len(data), "bins": BINS}


def _measure(scheme: str, servers: str, data: bytes, sample: np.ndarray[Any, Any]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"append_one_envelope": [], "append_64_envelopes": [], "read_and_bin": []}
    for _ in range(REPEATS):
        url = f"{scheme}://{servers}/bench{uuid.uuid4().hex[:8]}"
        found["append_one_envelope"].append(ENVELOPES * ROWS / write(url, data, ENVELOPES, 1))
        many = ENVELOPES // AT_ONCE * AT_ONCE
        found["append_64_envelopes"].append(many * ROWS / write(url, data, many, AT_ONCE))
        count, seconds = read(url, Histograms(sample))
        if count != ENVELOPES + 1 + many + AT_ONCE:
            raise RuntimeError("envelopes were lost between the append and the histograms")
        found["read_and_bin"].append(count * ROWS / seconds)
    return found
