"""Topics on real Kafka brokers that are deleted and made anew: what the new ones hold is counted from their start."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from time import time_ns

import pytest
from support.kafka_rig import Open, append, read
from support.kafka_server import needs_brokers
from support.streams import MODEL, envelopes, make_runtime, rows, sample

from davy.config import DetectSettings
from davy.demo.processes import wait_until
from davy.errors import LogError
from davy.event import INFERENCES
from davy.log._kafka.log import ClusterLog
from davy.meter import Meter
from davy.runtime import Runtime
from davy_detectors.stream.role import DetectTarget

pytestmark = needs_brokers()


def delete(open_: Open, url: str) -> None:
    """Delete the topic of inferences, by whichever library is spoken here."""
    log = open_(url.replace("kafka+librdkafka", "kafka"))
    assert isinstance(log, ClusterLog)
    log._admin()._client.delete_topics([log._address.topic(INFERENCES)])
    wait_until(lambda: not log.identity(INFERENCES), "the topic to be gone", seconds=60)


def test_a_topic_has_a_name_which_is_another_once_it_was_made_anew(url: str, open_: Open) -> None:
    log = open_(url)
    assert log.identity(INFERENCES) == ""
    append(log, "a")
    name = log.identity(INFERENCES)
    assert len(name) == 32
    assert open_(url).identity(INFERENCES) == name
    by_other = {"kafka": "kafka+librdkafka", "kafka+librdkafka": "kafka"}
    scheme, _, rest = url.partition("://")
    assert open_(f"{by_other[scheme]}://{rest}").identity(INFERENCES) == name
    delete(open_, url)
    append(log, "b")
    assert log.identity(INFERENCES) not in {"", name}


def counted(runtime: Runtime, expected: int) -> None:
    """Detect, as a process does that starts now and ends then, until so much is counted."""
    target = DetectTarget(runtime)

    def done() -> bool:
        target.counting.step(timeout=0.2)
        target.testing.turn()
        return sample(runtime, "davy_inferences_total", model=MODEL) == expected

    try:
        wait_until(done, f"{expected} to be counted", seconds=60)
    finally:
        target.close()


def test_a_topic_that_was_made_anew_while_nobody_read_is_counted_from_its_start(
    url: str, open_: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = open_(url.replace("partitions=4", "partitions=1"))
    memory = make_runtime("memory", tmp_path, DetectSettings())
    runtime = replace(memory, log=log, clock=time_ns)
    values = list(envelopes(rows(1_500, 7), [50]))
    append(log, *values[:10], key=MODEL)
    counted(runtime, 500)
    delete(open_, url)
    append(log, *values[10:], key=MODEL)
    wait_until(lambda: len(read(log)) == 20, "the new topic to be read", seconds=60)
    again = replace(runtime, meter=Meter())
    counted(again, 1_500)
    assert sample(again, "davy_log_replaced_total", role="detect") == 1
    assert "is another log than it read before" in caplog.text


def test_a_consumer_of_a_topic_that_was_made_anew_says_so(
    url: str, open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_(url.replace("partitions=4", "partitions=1"))
    append(log, *"abc")
    with closing(log.consumer([INFERENCES], "detect")) as consumer:
        assert len(consumer.poll(timeout=30)) > 0
        delete(open_, url)
        append(log, *"uvwxyz")
        monkeypatch.setattr(consumer, "_look_at", 0.0)
        with pytest.raises(LogError, match="was deleted and made anew"):
            consumer.poll(timeout=30)
